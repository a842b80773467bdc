"""How far the gradient of each strategy points from the gradient of the loss over every pixel, against what it saves."""

__all__ = ["loss_gradient", "agreement", "measure_gradients", "gradient_figure"]

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .losses import supervised_local_contrastive_loss
from .show import LINES, METHOD_LOOKS, style
from .strategies import BlockDivision, Downsampling, FullResolution, RandomSampling, Strategy
from .train import at_step
from .unet import UNet
from .views import Views

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Candidate:
    """A strategy that is compared with the exact loss."""

    family: str  # candidates of one family differ in size only
    size: int | None  # stride, side of a block or number of pixels; None where there is nothing to choose
    strategy: Strategy  # which pixels meet


CANDIDATES = (
    Candidate("every pixel", None, FullResolution()),
    Candidate("within each image", None, FullResolution(per_image=True)),
    *(Candidate("stride", n, Downsampling(n)) for n in (2, 4, 8)),
    *(Candidate("block", n, BlockDivision(n)) for n in (32, 16, 8)),
    *(Candidate("random, uniform", n, RandomSampling(n, balanced=False)) for n in (256, 1024, 4096)),
    *(Candidate("random, balanced", n, RandomSampling(n, balanced=True)) for n in (256, 1024, 4096)),
)
"""What is compared; the first is the reference."""


def loss_gradient(
    pixels: torch.Tensor, labels: torch.Tensor, strategy: Strategy, temperature: float, background: bool
) -> tuple[torch.Tensor, float, float]:
    """Gradient by the embeddings `pixels` [B, V, C, H, W] of labels [B, V, H, W], the loss, and the processor seconds of both.

    `temperature` is the loss's; `background` pixels are keys, or left out.
    """
    leaf = pixels.detach().requires_grad_()
    began = time.process_time()
    loss = supervised_local_contrastive_loss(leaf, labels, temperature=temperature, strategy=strategy, background=background)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient, loss.item(), time.process_time() - began


def agreement(exact: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Cosine and length ratio of the `other` gradient [n] to the exact one [n]; a gradient of zero agrees with nothing."""
    exact, other = exact.double(), other.double()
    lengths = exact.norm().item(), other.norm().item()
    cosine = (exact @ other).item() / (lengths[0] * lengths[1]) if min(lengths) > 0 else 0.0
    return cosine, lengths[1] / lengths[0] if lengths[0] > 0 else math.nan


def measure_gradients(
    model: UNet,  # or another network that embeds pixels
    pair: Views,  # two views of a batch, with labels
    temperature: float = 0.1,  # of the loss
    background: bool = True,  # background pixels are keys, or left out
    candidates: Sequence[Candidate] = CANDIDATES,  # the first is the reference
    seed: int = 0,  # of random strategies
) -> list[dict]:
    """Cosine, length ratio, time and cost of every candidate on one batch; ValueError for views without labels."""
    if pair.labels is None:
        raise ValueError("pair: has no labels, expected views of labelled slices")
    weights = [w for w in model.parameters() if w.requires_grad]
    pixels = model.embed_pixels(pair.images.flatten(0, 1)).unflatten(0, pair.images.shape[:2])
    rows, exact = [], None
    for candidate in candidates:
        strategy = at_step(candidate.strategy, "gradient", seed)
        by_pixels, loss, seconds = loss_gradient(pixels, pair.labels, strategy, temperature, background)
        parts = torch.autograd.grad(pixels, weights, by_pixels, retain_graph=True, allow_unused=True)
        vector = torch.cat([part.flatten() for part in parts if part is not None])
        exact = vector if exact is None else exact
        cosine, ratio = agreement(exact, vector)
        cost = strategy.cost(pair.labels, pixels.shape[2], background)
        rows.append({
            "family": candidate.family, "size": candidate.size, "cosine": cosine, "ratio": ratio, "loss": loss,
            "milliseconds": 1000 * seconds, "pairs": cost.pairs, "bytes": cost.bytes,
        })  # fmt: skip
    return rows


@dataclass(frozen=True)
class Look:
    """How a family is drawn."""

    name: str  # in the legend
    colour: str  # as in the strategies' explorer, where that draws the family
    symbol: str


FAMILIES = {
    "stride": Look("every n-th row and column", *METHOD_LOOKS[1][:2]),
    "block": Look("blocks of n × n", *METHOD_LOOKS[2][:2]),
    "random, balanced": Look("n random pixels, classes balanced", *METHOD_LOOKS[3][:2]),
    "random, uniform": Look("n random pixels", LINES[4], "cross"),
    "within each image": Look("every pixel, within its image", LINES[5], "x"),
}
"""Families in the order of the legend."""


def height(cosine: float, floor: float = 1e-4) -> float:
    """Distance of a cosine from 1, as drawn: nothing is closer to it than `floor`."""
    return max(1 - cosine, floor)


def legend_text(entries: Sequence[dict]) -> str:
    """The name of a family in the legend, with the size of each of its points, from the cheapest."""
    sizes = ", ".join(f"{e['size']:,}" for e in entries if e["size"])
    return FAMILIES[entries[0]["family"]].name + (f" (n = {sizes})" if sizes else "")


def hover_text(entry: dict) -> str:
    """All numbers of a point, `entry`."""
    name = FAMILIES[entry["family"]].name + (f", n = {entry['size']:,}" if entry["size"] else "")
    span = f"{entry['cosine']:.4f} ({entry['cosine_low']:.4f} to {entry['cosine_high']:.4f})"
    return f"{name}<br>cosine {span}<br>length {entry['ratio']:.2f}<br>{entry['milliseconds']:.0f} ms, {entry['pairs']:,.0f} pairs"


def draw_family(figure: "go.Figure", entries: Sequence[dict], place: tuple[int, int]) -> None:
    """Add one family at one point of training to a panel, its row and column being `place`."""
    entries = sorted(entries, key=lambda e: e["pairs"])
    look = FAMILIES[entries[0]["family"]]
    y, low, high = ([height(e[k]) for e in entries] for k in ("cosine", "cosine_low", "cosine_high"))
    reach = {"array": [b - a for a, b in zip(y, low, strict=True)], "arrayminus": [a - b for a, b in zip(y, high, strict=True)]}
    figure.add_scatter(
        x=[e["milliseconds"] for e in entries], y=y, row=place[0], col=place[1], mode="lines+markers", name=legend_text(entries),
        legendgroup=look.name, showlegend=place == (1, 1), marker={"size": 9, "symbol": look.symbol, "color": look.colour},
        line={"width": 2, "color": look.colour},
        error_y={"type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": look.colour, **reach},
        hovertext=[hover_text(e) for e in entries], hoverinfo="text",
    )  # fmt: skip


def draw_exact(figure: "go.Figure", entry: dict, place: tuple[int, int], top: float) -> None:
    """Mark the exact loss, `entry`, up to `top`: its direction is right by definition, its cost is what there is to save."""
    cost = entry["milliseconds"]
    figure.add_scatter(
        x=[cost, cost], y=[top, 2], row=place[0], col=place[1], mode="lines", line={"dash": "dot", "width": 1, "color": METHOD_LOOKS[0][0]},
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[cost], y=[top], row=place[0], col=place[1], mode="markers+text", text=["exact"], textposition="middle left", showlegend=False,
        marker={"symbol": "star", "size": 14, "color": METHOD_LOOKS[0][0]},
        hovertext=[f"every pixel: {cost:.0f} ms, {entry['pairs']:,.0f} pairs"], hoverinfo="text",
    )  # fmt: skip


def gradient_figure(
    results: dict,  # of benchmarks/gradient.py: "summary" is used
    background: bool = True,  # background pixels are keys (as released), or left out
    points: Sequence[int] | None = None,  # columns; None shows all
) -> "go.Figure":
    """Closeness of each strategy's gradient to the exact one against the processor time of its loss."""
    from plotly.subplots import make_subplots

    entries = [e for e in results["summary"] if e["background"] is background]
    cohorts = list(dict.fromkeys(e["cohort"] for e in entries))
    points = sorted({e["point"] for e in entries}) if points is None else list(points)
    titles = [f"{c}, {'before training' if p == 0 else f'after {p} steps'}" for c in cohorts for p in points]
    spacing = {"horizontal_spacing": 0.03, "vertical_spacing": 0.13}
    figure = make_subplots(len(cohorts), len(points), shared_yaxes=True, subplot_titles=titles, **spacing)
    top = 10 ** math.floor(math.log10(min(height(e["cosine_high"]) for e in entries if e["family"] in FAMILIES)))
    for row, cohort in enumerate(cohorts, 1):
        costs = np.log10([e["milliseconds"] for e in entries if e["cohort"] == cohort])
        figure.update_xaxes(range=[costs.min() - 0.3 * np.ptp(costs), costs.max() + 0.1 * np.ptp(costs)], row=row)
        for column, point in enumerate(points, 1):
            panel = [e for e in entries if e["cohort"] == cohort and e["point"] == point]
            draw_exact(figure, next(e for e in panel if e["family"] == "every pixel"), (row, column), top)
            for family in FAMILIES:
                draw_family(figure, [e for e in panel if e["family"] == family], (row, column))
    return finish(figure, len(cohorts), top)


def finish(figure: "go.Figure", rows: int, top: float) -> "go.Figure":
    """Axes, ticks and fonts of so many `rows` of panels that end at `top`, as 1 - cosine."""
    style(figure, height=190 + 290 * rows)
    ticks = [10.0**k for k in range(round(math.log10(top)), 0)] + [0.5, 1.0]
    names = [f"{1 - t:.{max(1, -round(math.log10(t)))}f}" if t < 0.5 else f"{1 - t:g}" for t in ticks]
    figure.update_yaxes(type="log", range=[math.log10(2), math.log10(top) - 0.15], tickvals=ticks, ticktext=names)
    figure.update_yaxes(title="cosine to the exact gradient", col=1)
    costs = [10**k for k in range(6)]
    figure.update_xaxes(type="log", tickvals=costs, ticktext=[f"{c:,}" for c in costs], tickangle=0, showticklabels=True)
    figure.update_xaxes(title="time of the loss, ms", row=rows)
    figure.update_annotations(font={"size": 13})
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    figure.update_layout(margin={"l": 70, "r": 20, "t": 40, "b": 150}, legend=legend)
    return figure
