"""Pick a pixel and see what each strategy compares it with, what it never sees, and what that does to the gradient."""

__all__ = ["StrategyExplorer"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..gradient import agreement, loss_gradient
from .canvas import beside, mixed, still, swatches
from .scene import TINTS, Asked, SliceExplorer, class_looks, slice_data
from .slices import Slice, slice_features, small_network
from ..show import METHOD_LOOKS
from ..strategies import BlockDivision, Downsampling, FullResolution, RandomSampling, Strategy

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SHARES = np.array([0.72, 0.62, 0.5, 0.85], np.float32)  # of the colour, for never compared, positive, negative, the anchor


@dataclass(frozen=True)
class Stop:
    """One setting of one strategy: what it keeps, what it costs, and how true its gradient is."""

    strategy: Strategy  # which pixels meet
    label: str  # on the slider
    groups: np.ndarray  # [H, W] int16, see group_map
    pairs: int  # (anchor, other pixel) comparisons
    bytes: int  # working memory of the tiled loss
    operations: int  # multiplications and additions
    seconds: float  # of processor time for loss and gradient, measured here
    loss: float  # its value
    cosine: float  # of its gradient to the exact one
    kept: tuple[int, ...]  # pixels kept of each class, background first
    lost: int  # connected structures without a single kept pixel


@dataclass(frozen=True)
class Family:
    """One panel: a strategy with the stops of its slider."""

    name: str  # above the panel
    control: str  # label of the slider, "" for none
    stops: tuple[Stop, ...]  # of the slider, from left to right
    start: int  # index of the first stop shown


@dataclass(frozen=True)
class _Strategies:
    """All that a StrategyExplorer shows."""

    slice: Slice  # that is looked at
    families: tuple[Family, ...]  # strategies and their measured settings
    note: str  # how the numbers were made
    anchor: tuple[int, int]  # row and column to begin with

    def start(self) -> dict:
        """What is chosen at first: the anchor, and the place of each slider."""
        return {"anchor": list(self.anchor), "stops": [family.start for family in self.families]}


def group_map(strategy: Strategy, labels: np.ndarray) -> np.ndarray:
    """Number of the strategy's own group for each pixel of `labels` [H, W]: [H, W] int16, -1 where none is kept."""
    target, (height, width) = torch.as_tensor(labels)[None, None], labels.shape
    numbers, count = torch.full((labels.size,), -1, dtype=torch.int16), 0
    for batch in strategy.groups(target, (1, 1, height, width)):
        numbers[batch.index] = torch.arange(count, count + len(batch.index), dtype=torch.int16)[:, None]
        count += len(batch.index)
    return numbers.view(labels.shape).numpy()


def compare(strategy: Strategy, labels: np.ndarray, anchor: tuple[int, int]) -> np.ndarray:
    """What the anchor meets [H, W] in `labels` [H, W]: 0 never compared, 1 positive, 2 negative, 3 the anchor."""
    return strategy.compared(torch.as_tensor(labels)[None, None], (0, 0, *anchor))[0, 0].numpy()


def lost_structures(labels: np.ndarray, groups: np.ndarray) -> int:
    """How many connected pieces of a class in labels [H, W] have no pixel that is kept in groups [H, W]."""
    lost = 0
    for label in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == label)
        lost += count - len(np.unique(pieces[(groups >= 0) & (pieces > 0)]))
    return lost


@dataclass(frozen=True)
class _Measure:
    """Measures settings on one slice; the exact loss comes first, the others are judged by it."""

    features: Tensor  # [C, H, W], with a graph where they come from a network
    labels: np.ndarray  # [H, W]
    temperature: float  # of the loss
    parameters: Sequence[Tensor] = ()  # of the network; none: gradients are by the embeddings

    def gradient(self, strategy: Strategy) -> tuple[Tensor, float, float]:
        """Gradient [n] of one setting by parameters or embeddings, its loss, and the shorter time of two runs (s)."""
        pixels, target = self.features.detach()[None, None], torch.as_tensor(self.labels)[None, None]
        tries = [loss_gradient(pixels, target, strategy, self.temperature, True) for _ in range(2)]
        upstream, loss, _ = tries[0]
        seconds = min(seconds for *_, seconds in tries)
        if not self.parameters:
            return upstream.flatten(), loss, seconds
        parts = torch.autograd.grad(self.features, self.parameters, upstream[0, 0], retain_graph=True, allow_unused=True)
        return torch.cat([part.flatten() for part in parts if part is not None]), loss, seconds

    def stop(self, strategy: Strategy, label: str, exact: Tensor | None = None) -> tuple[Stop, Tensor]:
        """One setting, measured by the `exact` gradient [n] (None: this is it), and its own gradient [n]."""
        vector, loss, seconds = self.gradient(strategy)
        cosine = 1.0 if exact is None else agreement(exact, vector)[0]
        groups = group_map(strategy, self.labels)
        cost = strategy.cost(torch.as_tensor(self.labels)[None, None], self.features.shape[0])
        kept = np.bincount(self.labels[groups >= 0], minlength=int(self.labels.max()) + 1)
        measures = (cost.pairs, cost.bytes, cost.operations, seconds, loss, cosine)
        return Stop(strategy, label, groups, *measures, tuple(map(int, kept)), lost_structures(self.labels, groups)), vector


def measure_families(
    measure: _Measure,
    strides: Sequence[int] = (2, 3, 4, 6, 8),  # pixels
    blocks: Sequence[int] = (4, 8, 16, 32),  # pixels a side
    samples: Sequence[int] = (64, 128, 256, 512, 1024, 2048),  # pixels
) -> tuple[Family, ...]:
    """All settings of all strategies, measured on one slice."""
    side, count = max(measure.labels.shape), measure.labels.size
    first, exact = measure.stop(FullResolution(), f"{count:,}")
    settings: list[tuple[str, str, int, list[tuple[Strategy, int]]]] = [
        ("Downsampling", "Stride", 2, [(Downsampling(s), s) for s in strides if s < side]),
        ("Block division", "Block size", 2, [(BlockDivision(s), s) for s in blocks if s < side]),
        ("Random, balanced", "Pixels", 4, [(RandomSampling(n), n) for n in samples if n < count]),
    ]
    families = [Family("Full resolution", "", (first,), 0)]
    for name, control, start, strategies in settings:
        stops = tuple(measure.stop(strategy, f"{size:,}", exact)[0] for strategy, size in strategies)
        families += [Family(name, control, stops, min(len(stops) - 1, start))] if stops else []
    return tuple(families)


def first_anchor(labels: np.ndarray, families: Sequence[Family]) -> tuple[int, int]:
    """A foreground pixel of labels [H, W] that all strategies keep where there is one, close to another structure."""
    kept = np.logical_and.reduce([family.stops[family.start].groups >= 0 for family in families])
    candidates = kept & (labels > 0) & (np.bincount(labels.ravel())[labels] > 1)
    candidates = candidates if candidates.any() else labels > 0
    far = np.full(labels.shape, np.inf)
    for label in np.unique(labels[labels > 0]):
        others = (labels > 0) & (labels != label)
        if others.any():
            far = np.where(labels == label, ndimage.distance_transform_edt(~others), far)
    inside = ndimage.distance_transform_edt(labels > 0)
    score = np.where(candidates, np.minimum(far, 99) - 0.5 * inside, np.inf)
    row, column = np.unravel_index(score.argmin(), labels.shape)
    return int(row), int(column)


def short(value: float, unit: str = "") -> str:
    """A `value` with three digits, a prefix and its `unit`: 16.7 M, 41 MB, 96 ms."""
    value = float(f"{value:.3g}")
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def stop_numbers(stop: Stop, names: Sequence[str]) -> dict[str, str]:
    """The numbers below a panel, the three in sight first; `names` are those of the classes, background first."""
    shares = ", ".join(f"{kept:,} {name}" for name, kept in zip(names[1:], stop.kept[1:], strict=False))
    return {
        "pairs": short(stop.pairs), "cosine to exact": f"{stop.cosine:.3f}",
        "lost structures": str(stop.lost or "none"),
        "Pixels kept": f"{sum(stop.kept):,} of {stop.groups.size:,}", "of them": shares,
        "Memory": short(stop.bytes, "B"), "Operations": short(stop.operations), "Time here": short(stop.seconds, "s"),
        "Loss": f"{stop.loss:.3f}",
    }  # fmt: skip


def _stop_data(stop: Stop, names: Sequence[str]) -> dict:
    """What the browser needs of one setting; `names` are those of the classes."""
    groups = stop.groups if stop.groups.max() > 126 else stop.groups.astype(np.int8)
    grid = stop.strategy.size if isinstance(stop.strategy, BlockDivision) else 0
    shown = {"label": stop.label, "numbers": stop_numbers(stop, names), "pairs": stop.pairs, "cosine": stop.cosine}
    return shown | {"groups": groups, "grid": grid}


def _scene_data(shown: _Strategies) -> dict:
    """What the browser needs of all."""
    names = shown.slice.classes
    looks = [dict(zip(("colour", "symbol", "dash"), look, strict=True)) for look in METHOD_LOOKS]
    return {
        **slice_data(shown.slice), "looks": looks, "note": shown.note, "state": shown.start(),
        "families": [
            {"name": f.name, "control": f.control, "stops": [_stop_data(s, names) for s in f.stops]}
            for f in shown.families
        ],
    }  # fmt: skip


class StrategyExplorer(SliceExplorer):
    """What each strategy compares one anchor with, what it costs, and what it loses.

    Without `features` and `model` the embeddings are those of an untrained network.
    """

    title = "What a strategy compares"
    lead = SliceExplorer.lead + " Sliders set what is left out."
    scripts = ("strategy.js",)

    def _open(self, asked: Asked) -> dict:
        """Measure all settings, the anchor at first where structures meet."""
        families, note = _measure_slice(asked)
        self.shown = _Strategies(asked.slice, families, note, asked.anchor or first_anchor(asked.slice.labels, families))
        return _scene_data(self.shown)

    def picture(self) -> "go.Figure":
        """The panels as they stand, side by side, for pages that are read and not run."""
        piece, pictures, texts = self.shown.slice, [], []
        for family, index in zip(self.shown.families, self.state["stops"], strict=True):
            stop = family.stops[index]
            met = compare(stop.strategy, piece.labels, tuple(self.state["anchor"]))
            colours = mixed(piece.image, swatches(*TINTS)[met], _SHARES[met])
            pictures.append(still(colours, met, piece.labels, swatches(*class_looks(len(piece.classes))["colours"])))
            texts.append(
                f"<b>{family.name}</b> {stop.label if family.control else ''}<br>cosine {stop.cosine:.2f}, {short(stop.pairs)} pairs"
            )
        return beside(pictures, texts, self.state["anchor"])


def _measure_slice(asked: Asked) -> tuple[tuple[Family, ...], str]:
    """All settings measured on a slice, with its features [C, H, W] or those of a model, and a note on how."""
    piece, model = asked.slice, asked.model
    if model is None and asked.features is None:
        model = small_network(len(piece.classes))
    found = slice_features(piece.image, asked.features, model)
    parameters = [] if asked.features is not None or model is None else [p for p in model.parameters() if p.requires_grad]
    of = "network's weights" if parameters else "embeddings"
    note = f"The gradients are those of the {of}, at temperature {asked.temperature:g}. The times are from the machine that measured them."
    return measure_families(_Measure(found, piece.labels, asked.temperature, parameters)), note
