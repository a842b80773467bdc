"""What the temperature does to one anchor: where its attention goes, which pixels it pulls and pushes, and how hard."""

__all__ = ["TemperatureExplorer"]

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .canvas import DOT, beside, mixed, still, swatches
from .scene import TINTS, Asked, SliceExplorer, class_looks, slice_data
from .slices import Slice, embed_slice, slice_features, small_network
from ..losses import supervised_local_contrastive_loss
from ..strategies import RandomSampling

if TYPE_CHECKING:
    import plotly.graph_objects as go

TEMPERATURES = tuple(round(10 ** (-2 + k / 20), 4) for k in range(41))
"""The stops of the slider, evenly spaced in the logarithm from 0.01 to 1."""


@dataclass(frozen=True)
class Anchor:
    """What one anchor feels at one temperature."""

    similarity: np.ndarray  # [H, W] cosine to the anchor, -1 to 1
    weight: np.ndarray  # [H, W] softmax over all other pixels, 0 at the anchor
    force: np.ndarray  # [H, W] derivative of the loss by the similarity: below 0 pulled, above 0 pushed; 0 where the loss is nan
    loss: float  # of this anchor; nan for background and without a positive: the loss has no such anchor
    positives: float  # weight on the positives
    keys: float  # exp of the weights' entropy: as if so many pixels were compared
    hardest: float  # share of the negatives' weight on the most similar hundredth of them


@dataclass(frozen=True)
class _Attention:
    """All that a TemperatureExplorer shows."""

    slice: Slice  # that is looked at
    vectors: np.ndarray  # [H, W, C] embeddings of unit length
    anchor: tuple[int, int]  # row and column to begin with
    stop: int  # place in TEMPERATURES to begin with
    note: str  # where the embedding comes from, if the reader gave none


def unit(features: Tensor | np.ndarray) -> np.ndarray:
    """Embeddings, `features` [C, H, W], at unit length, channels last: [H, W, C] float64."""
    values = np.moveaxis(torch.as_tensor(features).detach().cpu().double().numpy(), 0, -1)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


def feel(
    vectors: np.ndarray,  # [H, W, C] of unit length
    labels: np.ndarray,  # [H, W]
    anchor: tuple[int, int],  # row and column
    temperature: float,  # of the loss
) -> Anchor:
    """Weights, forces and loss of one anchor against all other pixels."""
    similarity = np.clip(vectors @ vectors[anchor], -1, 1)
    score = similarity / temperature
    score[anchor] = -np.inf
    total = score.max() + np.log(np.exp(score - score.max()).sum())
    weight = np.exp(score - total)
    positive = labels == labels[anchor]
    positive[anchor] = False
    count = int(positive.sum()) if labels[anchor] else 0
    force = (weight - positive / count) / temperature if count else np.zeros_like(weight)
    force[anchor] = 0
    loss = float(total - score[positive].mean()) if count else float("nan")
    keys = float(np.exp(-(weight * np.log(np.maximum(weight, 1e-300))).sum()))
    negatives = weight[labels != labels[anchor]]
    return Anchor(similarity, weight, force, loss, float(weight[positive].sum()), keys, _hardest_share(negatives))


def _hardest_share(weight: np.ndarray) -> float:
    """Share of the negatives' weight [n] that the heaviest hundredth of them carries; nan without one."""
    values = np.sort(weight)[::-1]
    return float(values[: max(1, len(values) // 100)].sum() / max(values.sum(), 1e-300)) if len(values) else float("nan")


def _train_briefly(piece: Slice, steps: int = 8, temperature: float = 0.1) -> Tensor:
    """Embeddings [C, H, W] of a small network after a few steps of supervised local contrast on this very slice."""
    model, target = small_network(len(piece.classes)), torch.as_tensor(piece.labels)[None, None]
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(steps):
        optimiser.zero_grad()
        features = embed_slice(model, piece.image)[None, None]
        supervised_local_contrastive_loss(features, target, temperature, RandomSampling(512, seed=step)).backward()
        optimiser.step()
    return embed_slice(model, piece.image).detach()


def middle_anchor(labels: np.ndarray) -> tuple[int, int]:
    """The pixel deepest inside the largest class of labels [H, W]."""
    largest = 1 + int(np.bincount(labels[labels > 0])[1:].argmax())
    depth = ndimage.distance_transform_edt(np.pad(labels == largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), labels.shape)
    return int(row), int(column)


def nearest_stop(temperature: float) -> int:
    """The slider's stop for a temperature; ValueError outside 0.01 to 1."""
    if not 0.01 <= temperature <= 1:
        raise ValueError(f"temperature: found {temperature}, expected 0.01 to 1")
    return int(np.abs(np.log(np.array(TEMPERATURES) / temperature)).argmin())


def compact(vectors: np.ndarray, budget: int = 800_000) -> tuple[np.ndarray, float, float]:
    """Unit vectors [H, W, C] in the fewest dimensions that hold them, within a `budget` of bytes, rounded to 16 bits.

    Codes int16 [P, r], the size of one step, and the error that no similarity exceeds.
    """
    flat = vectors.reshape(-1, vectors.shape[-1])
    _, sizes, turn = np.linalg.svd(flat, full_matrices=False)
    left = 1 - np.cumsum(sizes**2) / (sizes**2).sum()
    rank = min(int((left > 1e-9).sum()) + 1, max(1, budget // (2 * len(flat))), len(sizes))
    turned = flat @ turn[:rank].T
    step = max(float(np.abs(turned).max()), 1e-12) / 32767
    codes = np.rint(turned / step).astype(np.int16)
    rounding = np.linalg.norm(step * codes - turned, axis=1).max()
    left_out = max(0.0, float(((flat**2).sum(1) - (turned**2).sum(1)).max()))
    return codes, step, float(rounding * (2 + rounding) + left_out)


def _scene_data(shown: _Attention) -> dict:
    """What the browser needs of a slice and its embeddings."""
    piece, (codes, step, error) = shown.slice, compact(shown.vectors)
    most = float(Context(prec=1, rounding=ROUND_CEILING).create_decimal_from_float(error))
    note = f"All {piece.labels.size:,} pixels are compared; similarities are rounded, by at most {most:g}.{shown.note}"
    return {
        **slice_data(piece), "codes": codes, "step": step, "temperatures": list(TEMPERATURES),
        "note": note, "state": {"anchor": list(shown.anchor), "stop": shown.stop},
    }  # fmt: skip


class TemperatureExplorer(SliceExplorer):
    """What the temperature, 0.01 to 1, does to one anchor.

    Without `features` and `model` a small network is trained for a moment on this slice.
    """

    title = "What the temperature does"
    lead = SliceExplorer.lead + " The slider sets the temperature."
    scripts = ("temperature.js",)

    def _open(self, asked: Asked) -> dict:
        """Embed the slice, by a network trained for a moment where there is no other; the anchor is at first deep inside."""
        piece, features, stop, note = asked.slice, asked.features, nearest_stop(asked.temperature), ""
        if features is None and asked.model is None:
            features, note = _train_briefly(piece), " The embeddings are of a small network after 8 steps."
        vectors = unit(slice_features(piece.image, features, asked.model))
        self.shown = _Attention(piece, vectors, asked.anchor or middle_anchor(piece.labels), stop, note)
        return _scene_data(self.shown)

    def picture(self) -> "go.Figure":
        """The anchor's attention at 0.03, 0.1 and 0.5, side by side, for pages that are read and not run."""
        shown, anchor, pictures, texts = self.shown, tuple(self.state["anchor"]), [], []
        outlines = swatches(*class_looks(len(shown.slice.classes))["colours"])
        for temperature in (0.03, 0.1, 0.5):
            found = feel(shown.vectors, shown.slice.labels, anchor, temperature)
            pictures.append(still(*_attention_colours(shown.slice, found, anchor), shown.slice.labels, outlines))
            texts.append(f"<b>τ = {temperature}</b><br>listens to {found.keys:,.0f} pixels, {100 * found.positives:.0f} % positive")
        return beside(pictures, texts, anchor, height=330)


def _attention_colours(piece: Slice, found: Anchor, anchor: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 3] and marks [H, W] of the weights that an `anchor` gives; their root, so that the weak show."""
    kind = np.where(piece.labels == piece.labels[anchor], 1, 2)
    share = 0.9 * np.sqrt(found.weight / max(float(found.weight.max()), 1e-300))
    marks = np.where(found.weight > 1 / (piece.labels.size - 1), kind, 0)
    share[anchor], marks[anchor] = 0, DOT
    return mixed(0.45 * piece.image, swatches(*TINTS)[kind], share), marks
