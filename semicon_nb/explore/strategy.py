"""Pick a pixel and see what each strategy compares it with, what it never sees, and what that does to the gradient."""

__all__ = [
    "LARGEST",
    "SEEN",
    "TINTS",
    "SHARES",
    "MARKS",
    "KINDS",
    "LEGEND",
    "checked_slice",
    "embedded",
    "checked_features",
    "group_map",
    "compared",
    "painted",
    "Stop",
    "timed_gradient",
    "direction",
    "measured",
    "lost_structures",
    "Family",
    "families",
    "short",
    "numbers",
    "told",
    "trade_off",
    "first_anchor",
    "number_table",
    "Panel",
    "StrategyState",
    "StrategyPanels",
    "StrategyExplorer",
    "slice_or_phantom",
    "class_names",
    "untrained",
    "checked_anchor",
    "side_by_side",
    "stop_data",
    "panel_html",
    "strategy_page",
]


import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ipywidgets
import numpy as np
import plotly.graph_objects as go
import torch
from scipy import ndimage
from torch import Tensor

from ..explore import page
from .canvas import DOT, MINUS, NONE, PLUS, PixelCanvas, beside, chart, mixed, still, swatches
from ..data import phantom
from .widgets import Explorer, column, frame, in_place, labelled, row, safely
from ..losses import supervised_local_contrastive_loss
from ..show import PALETTE, SYMBOLS, style
from ..strategies import BlockDivision, Downsampling, FullResolution, RandomSampling, Strategy
from ..unet import UNet


LARGEST = 40_000
"""Pixels of the largest slice whose exact loss is computed for comparison."""


def checked_slice(
    image: np.ndarray,  # [H, W]
    labels: np.ndarray,  # [H, W] whole numbers, 0 background
) -> tuple[np.ndarray, np.ndarray]:  # image float32 in [0, 1], labels int64
    """Image and labels of one slice, or an error that says what came and what was expected."""
    image, labels = np.asarray(image, dtype=np.float32), np.asarray(labels)
    if image.ndim != 2:
        raise ValueError(
            f"image: found {image.ndim}-D input of shape {list(image.shape)}, expected one slice [H, W]; pick one of a volume's slices"
        )
    if labels.shape != image.shape:
        raise ValueError(f"labels: found shape {list(labels.shape)}, expected {list(image.shape)} as the image")
    if min(image.shape) < 4 or image.size > LARGEST:
        raise ValueError(f"image: found {image.shape[0]} x {image.shape[1]} pixels, expected 4 x 4 at least and {LARGEST:,} in all at most")
    if not np.isfinite(image).all():
        raise ValueError(f"image: found {int((~np.isfinite(image)).sum())} values that are no numbers, expected finite intensities")
    if (labels != np.round(labels)).any() or labels.min() < 0 or not (labels > 0).any():
        raise ValueError("labels: found no foreground, so no pixel is an anchor; expected whole numbers, 0 for background, some above it")
    low, high = float(image.min()), float(image.max())
    image = image if low >= 0 and high <= 1 else (image - low) / max(high - low, 1e-12)
    return image, labels.astype(np.int64)


def embedded(
    model: torch.nn.Module,  # with `embed_pixels`, or called itself: [1, 1, H, W] -> [1, C, H, W]
    image: np.ndarray,  # [H, W]
) -> Tensor:  # [C, H, W], with its graph
    """A network's embedding of every pixel of a slice; ValueError for an output of another shape."""
    found = getattr(model, "embed_pixels", model)(torch.as_tensor(image)[None, None])
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[-2:] != image.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"model: gave {shape} for an image {list(image.shape)}, expected embeddings [1, C, {image.shape[0]}, {image.shape[1]}]"
        )
    return checked_features(found[0], image.shape)


def checked_features(features: Tensor | np.ndarray | None, shape: Sequence[int]) -> Tensor:
    """The `features` [C, H, W] that fit the `shape` of the slice and are finite; ValueError for others."""
    if features is None:
        raise ValueError(f"features: none came, expected [C, {shape[0]}, {shape[1]}], or a model that gives them")
    features = torch.as_tensor(features)
    if features.ndim != 3 or tuple(features.shape[1:]) != tuple(shape):
        raise ValueError(f"features: found shape {list(features.shape)}, expected [C, {shape[0]}, {shape[1]}] to fit the image")
    if wrong := int((~torch.isfinite(features)).sum()):
        raise ValueError(f"features: found {wrong} values that are no numbers (NaN or infinite), expected finite embeddings")
    return features.float()


def group_map(
    strategy: Strategy,  # which pixels meet
    labels: np.ndarray,  # [H, W]
) -> np.ndarray:  # [H, W] int16: number of the group, -1 where the pixel is not kept
    """Which pixels meet, from the strategy's own groups."""
    target, (height, width) = torch.as_tensor(labels)[None, None], labels.shape
    found, count = torch.full((labels.size,), -1, dtype=torch.int16), 0
    for batch in strategy.groups(target, (1, 1, height, width)):
        found[batch.index] = torch.arange(count, count + len(batch.index), dtype=torch.int16)[:, None]
        count += len(batch.index)
    return found.view(labels.shape).numpy()


def compared(strategy: Strategy, labels: np.ndarray, anchor: tuple[int, int]) -> np.ndarray:
    """What the anchor meets [H, W] in `labels` [H, W]: 0 never compared, 1 positive, 2 negative, 3 the anchor; the strategy's own account."""
    return strategy.compared(torch.as_tensor(labels)[None, None], (0, 0, *anchor))[0, 0].numpy()


SEEN = ("never compared", "positive", "negative", "the anchor")
TINTS = ("#10141c", PALETTE[6], PALETTE[5], "#ffffff")
SHARES = (0.72, 0.74, 0.62, 0.85)
MARKS = (NONE, PLUS, MINUS, DOT)


def painted(
    image: np.ndarray,  # [H, W] in [0, 1]
    seen: np.ndarray,  # [H, W] index into SEEN
) -> tuple[np.ndarray, np.ndarray]:  # colours [H, W, 3] and marks [H, W], bytes
    """Each pixel's grey mixed with the colour of what it is to the anchor, and its mark."""
    colours = mixed(image, swatches(*TINTS)[seen], np.array(SHARES, np.float32)[seen])
    return colours, np.array(MARKS, np.uint8)[seen]


@dataclass(frozen=True)
class Stop:
    """One setting of one strategy: what it keeps, what it costs, and how true its gradient is."""

    strategy: Strategy  # which pixels meet
    label: str  # on the slider
    groups: np.ndarray  # [H, W] int16, see group_map
    pairs: int  # (anchor, other pixel) comparisons
    bytes: int  # working memory of the tiled loss
    operations: int  # multiplications and additions
    seconds: float  # loss and gradient, measured here
    loss: float  # its value
    cosine: float  # of its gradient to the exact one
    kept: tuple[int, ...]  # pixels kept of each class, background first
    lost: int  # connected structures without a single kept pixel


def timed_gradient(
    features: Tensor,  # [C, H, W]
    labels: np.ndarray,  # [H, W]
    strategy: Strategy,  # which pixels meet
    temperature: float,  # t
) -> tuple[float, Tensor, float]:  # loss, gradient [C, H, W], seconds
    """The loss of one setting, its gradient with respect to the embeddings, and the shorter time of two runs."""
    leaf = features.detach()[None, None].requires_grad_()
    target, seconds = torch.as_tensor(labels)[None, None], np.inf
    for _ in range(2):
        start = time.perf_counter()
        loss = supervised_local_contrastive_loss(leaf, target, temperature, strategy)
        (found,) = torch.autograd.grad(loss, leaf)
        seconds = min(seconds, time.perf_counter() - start)
    return loss.item(), found[0, 0], seconds


def direction(
    features: Tensor,  # [C, H, W], with a graph where they come from a network
    upstream: Tensor,  # [C, H, W] gradient with respect to them
    parameters: Sequence[Tensor],  # [...] of the network; none: stay with the embeddings
) -> Tensor:  # [n] gradient
    """The gradient with respect to the parameters, or to the embeddings."""
    if not parameters:
        return upstream.flatten()
    found = torch.autograd.grad(features, parameters, upstream, retain_graph=True, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def measured(
    strategy: Strategy,  # which pixels meet
    label: str,  # on the slider
    features: Tensor,  # [C, H, W]
    labels: np.ndarray,  # [H, W]
    temperature: float,  # t
    parameters: Sequence[Tensor] = (),  # [...] of the network; none: the gradient is by the embeddings
    exact: Tensor | None = None,  # [n] the exact gradient; None: this is it
) -> tuple[Stop, Tensor]:
    """One setting, measured, and its gradient [n]."""
    loss, upstream, seconds = timed_gradient(features, labels, strategy, temperature)
    found = direction(features, upstream, parameters)
    cosine = 1.0 if exact is None else float(torch.cosine_similarity(found, exact, dim=0))
    groups = group_map(strategy, labels)
    cost = strategy.cost(torch.as_tensor(labels)[None, None], features.shape[0])
    kept = np.bincount(labels[groups >= 0], minlength=int(labels.max()) + 1)
    stop = Stop(
        strategy,
        label,
        groups,
        cost.pairs,
        cost.bytes,
        cost.operations,
        seconds,
        loss,
        cosine,
        tuple(map(int, kept)),
        lost_structures(labels, groups),
    )
    return stop, found


def lost_structures(labels: np.ndarray, groups: np.ndarray) -> int:
    """How many connected pieces of a class in labels [H, W] have no pixel that is kept in groups [H, W]."""
    lost = 0
    for label in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == label)
        lost += count - len(np.unique(pieces[(groups >= 0) & (pieces > 0)]))
    return lost


@dataclass(frozen=True)
class Family:
    """One panel: a strategy with the stops of its slider."""

    name: str  # above the panel
    control: str  # label of the slider, "" for none
    stops: tuple[Stop, ...]  # of the slider, from left to right
    start: int  # index of the first stop shown


def families(
    features: Tensor,  # [C, H, W]
    labels: np.ndarray,  # [H, W]
    temperature: float = 0.1,  # t
    parameters: Sequence[Tensor] = (),  # [...] of the network; none: gradients are by the embeddings
    strides: Sequence[int] = (2, 3, 4, 6, 8),  # pixels
    blocks: Sequence[int] = (4, 8, 16, 32),  # pixels a side
    samples: Sequence[int] = (64, 128, 256, 512, 1024, 2048),  # pixels
) -> tuple[Family, ...]:
    """All settings of all strategies, measured on one slice."""
    side, count = max(labels.shape), labels.size
    first, exact = measured(FullResolution(), f"{count:,}", features, labels, temperature, parameters)
    wanted: dict[tuple[str, str], list[tuple[Strategy, str]]] = {
        ("Downsampling", "Stride"): [(Downsampling(s), f"{s}") for s in strides if s < side],
        ("Block division", "Block size"): [(BlockDivision(s), f"{s}") for s in blocks if s < side],
        ("Random sampling", "Pixels"): [(RandomSampling(n), f"{n:,}") for n in samples if n < count],
    }
    found = [Family("Full resolution", "", (first,), 0)]
    for (name, control), settings in wanted.items():
        stops = tuple(measured(s, label, features, labels, temperature, parameters, exact)[0] for s, label in settings)
        if stops:
            found.append(Family(name, control, stops, min(len(stops) - 1, {"Random sampling": 4}.get(name, 2))))
    return tuple(found)


def short(value: float, unit: str = "") -> str:
    """A `value` with three digits, a prefix and its `unit`: 16.7 M, 41 MB, 96 ms."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def numbers(stop: Stop, names: Sequence[str]) -> dict[str, str]:
    """What stands below a panel: the costs, the loss, the gradient, and what is kept of each class (`names`, background first)."""
    total = stop.groups.size
    shares = ", ".join(f"{kept:,} {name}" for name, kept in zip(names[1:], stop.kept[1:], strict=False))
    return {
        "Pixels kept": f"{sum(stop.kept):,} of {total:,}", "of them": shares,
        "Structures lost": f"{stop.lost}" if stop.lost else "none",
        "Pairs": short(stop.pairs), "Memory": short(stop.bytes, "B"), "Operations": short(stop.operations),
        "Time here": short(stop.seconds, "s"), "Loss": f"{stop.loss:.3f}", "Cosine to the exact gradient": f"{stop.cosine:.3f}",
    }  # fmt: skip


def told(
    seen: np.ndarray,  # [H, W] index into SEEN
    labels: np.ndarray,  # [H, W]
    anchor: tuple[int, int],  # row and column
    names: Sequence[str],  # of the classes
) -> str:
    """What happens to this anchor, in words."""
    if labels[anchor] == 0:
        return "Background: never an anchor. Pick a pixel inside an outline."
    if not (seen == 3).any():
        return "Not kept: this pixel takes no part in the loss."
    same = int((labels == labels[anchor]).sum())
    positive, negative = int((seen == 1).sum()), int((seen == 2).sum())
    missed = [name for k, name in enumerate(names) if (labels == k).any() and not (seen[labels == k] > 0).any()]
    never = f" Never meets: {', '.join(missed)}." if missed else ""
    return f"Sees {positive:,} of {same - 1:,} positives and {negative:,} of {seen.size - same:,} negatives.{never}"


def trade_off(
    panels: Sequence[Family],  # all strategies, measured
    chosen: Sequence[int],  # index of the stop shown of each family
) -> go.Figure:
    """Gradient cosine against pairs, one line for each strategy, the settings shown now ringed."""
    figure = go.Figure()
    for k, family in enumerate(panels):
        colour, symbol, stops = PALETTE[k + 1], SYMBOLS[k], family.stops
        figure.add_scatter(
            x=[s.pairs for s in stops], y=[s.cosine for s in stops], text=[f"{family.control.lower()} {s.label}" for s in stops],
            name=family.name, mode="lines+markers", line={"color": colour, "width": 1.5},
            marker={"symbol": symbol, "size": 9, "color": colour},
            hovertemplate="%{text}<br>%{x:.3s} pairs, cosine %{y:.3f}<extra>" + family.name + "</extra>",
        )  # fmt: skip
    now = [family.stops[i] for family, i in zip(panels, chosen, strict=True)]
    figure.add_scatter(x=[s.pairs for s in now], y=[s.cosine for s in now], name="shown above", mode="markers", hoverinfo="skip",
                       marker={"symbol": "circle-open", "size": 19, "color": "#7a7a7a", "line": {"width": 2.5}})  # fmt: skip
    figure.update_xaxes(title="pairs compared", type="log", dtick=1)
    figure.update_yaxes(title="cosine to the exact gradient", range=[min(-0.05, *(s.cosine - 0.05 for f in panels for s in f.stops)), 1.08])
    style(figure, height=340)
    return figure.update_layout(legend={"y": 1.02, "yanchor": "bottom", "x": 0})


def first_anchor(
    labels: np.ndarray,  # [H, W]
    panels: Sequence[Family],  # all strategies, measured
) -> tuple[int, int]:
    """A foreground pixel that all strategies keep where there is one, close to another structure."""
    kept = np.logical_and.reduce([family.stops[family.start].groups >= 0 for family in panels])
    counts = np.bincount(labels.ravel())
    candidates = kept & (labels > 0) & (counts[labels] > 1)
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


def number_table(values: dict[str, str]) -> str:
    """The numbers below a panel, `values` by name, as HTML."""
    head, cell = "text-align:left;font-weight:normal;padding-right:.6em", "text-align:right;font-weight:bold"
    lines = "".join(
        f'<tr><th scope="row" style="{head}">{page.text(k)}</th><td style="{cell}">{page.text(v)}</td></tr>' for k, v in values.items()
    )
    return f'<table style="font-size:12px;line-height:1.35;width:100%">{lines}</table>'


class Panel:
    """One strategy, live: its slider, its picture, and what it costs."""

    def __init__(
        self,
        family: Family,  # a strategy and its settings
        changed: Callable[[dict], None],  # called when the slider moves
    ):
        self.family = family
        self.canvas = PixelCanvas(widest=460)
        self.said, self.table = ipywidgets.HTML(), ipywidgets.HTML()
        options = [(stop.label, i) for i, stop in enumerate(family.stops)]
        self.slider = labelled(
            ipywidgets.SelectionSlider(options=options, value=family.start, description=family.control or "All pixels"), "100%"
        )
        self.slider.disabled = len(options) == 1
        self.slider.observe(changed, "value")
        heading = ipywidgets.HTML(f"<b>{page.text(family.name)}</b>")
        self.widget = column(heading, self.slider, self.canvas, self.said, self.table, width="250px")

    @property
    def stop(self) -> Stop:
        """The setting shown now."""
        return self.family.stops[self.slider.value]

    def show(self, image: np.ndarray, labels: np.ndarray, anchor: tuple[int, int], names: Sequence[str]) -> None:
        """Draw what the anchor meets in an image [H, W] with labels [H, W] (`names` of the classes) under the setting shown now."""
        seen = compared(self.stop.strategy, labels, anchor)
        said = told(seen, labels, anchor, names)
        grid = self.stop.strategy.size if isinstance(self.stop.strategy, BlockDivision) else 0
        where = f"anchor in row {anchor[0]}, column {anchor[1]}, {names[labels[anchor]]}"
        alt = f"{self.family.name} {self.stop.label}, {where}. {said} Arrow keys move the anchor."
        self.canvas.show(*painted(image, seen), labels, anchor, grid, alt)
        self.said.value = f'<div style="line-height:1.35;min-height:4.1em">{page.text(said)}</div>'
        self.table.value = number_table(numbers(self.stop, names))


class StrategyState(Explorer):
    """What a StrategyExplorer holds while it is open."""

    image: np.ndarray  # [H, W]
    labels: np.ndarray  # [H, W]
    anchor: tuple[int, int]  # row and column
    classes: Sequence[str]  # names, background first
    temperature: float  # t
    wrt: str  # what the gradients are taken with respect to: "embeddings" or "parameters"
    families: tuple[Family, ...]  # strategies and their measured settings


class StrategyPanels(StrategyState):
    """The widget of the strategy explorer and what happens when its controls are touched."""

    title = "What a strategy compares"

    def build(self) -> None:
        """Put the widget together."""
        self.status = ipywidgets.HTML(f'<div style="line-height:1.4">{page.text(self.lead())}</div>')
        self.panels = [Panel(family, self.moved) for family in self.families]
        for panel in self.panels:
            panel.canvas.observe(self.picked, "anchor")
        self.chart = chart(trade_off(self.families, [p.slider.value for p in self.panels]), 340)
        panels = row(*(p.widget for p in self.panels))
        panels.layout.grid_gap = "8px 16px"
        self.widget = frame(self.title, self.status, panels, self.chart)
        self.redraw()

    def lead(self) -> str:
        """How to use it, in two sentences."""
        how = "Click a pixel, or focus a picture and use the arrow keys, to choose the anchor."
        what = "Blue + are its positives, orange − its negatives, dark pixels are never compared."
        return f"{how} {what} Cosines are of gradients with respect to the {self.wrt}, at temperature {self.temperature:g}."

    @safely
    def picked(self, change: dict) -> None:
        """A reader chose another anchor in one of the pictures."""
        if tuple(change["new"]) != self.anchor and len(change["new"]) == 2:
            self.anchor = checked_anchor(change["new"], self.image.shape)
            self.redraw()

    @safely
    def moved(self, change: dict) -> None:
        """A slider moved: draw its panel, and the ring in the chart."""
        panel = next(p for p in self.panels if p.slider is change["owner"])
        panel.show(self.image, self.labels, self.anchor, self.classes)
        now = [p.stop for p in self.panels]
        self.chart.data[-1].update(x=[s.pairs for s in now], y=[s.cosine for s in now])

    def redraw(self) -> None:
        """Draw all panels."""
        for panel in self.panels:
            panel.show(self.image, self.labels, self.anchor, self.classes)


class StrategyExplorer(StrategyPanels):
    """What each strategy compares one anchor with, what it costs, and what it loses."""

    @in_place
    def __init__(
        self,
        image: np.ndarray | None = None,  # [H, W]; None: a generated slice
        labels: np.ndarray | None = None,  # [H, W], 0 background
        features: Tensor | np.ndarray | None = None,  # [C, H, W] embeddings
        model: torch.nn.Module | None = None,  # gives them instead; None and no features: an untrained network
        anchor: tuple[int, int] | None = None,  # row and column to start with
        temperature: float = 0.1,  # t
        classes: Sequence[str] | None = None,  # names, background first
    ):
        image, labels, classes = slice_or_phantom(image, labels, classes)
        self.image, self.labels, self.temperature = *checked_slice(image, labels), temperature
        self.classes = class_names(self.labels, classes)
        self.wrt = "embeddings" if features is not None else "parameters"
        model = model or (None if features is not None else untrained(len(self.classes)))
        found = checked_features(features, self.image.shape) if model is None else embedded(model, self.image)
        self.families = families(
            found, self.labels, temperature, () if model is None else [p for p in model.parameters() if p.requires_grad]
        )
        self.anchor = first_anchor(self.labels, self.families) if anchor is None else checked_anchor(anchor, self.image.shape)
        self.build()

    def picture(self) -> go.Figure:
        """The panels side by side, for pages that are read and not run."""
        return side_by_side(self)

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """The page, see `strategy_page`."""
        return strategy_page(self, path, plotly)


def slice_or_phantom(
    image: np.ndarray | None,  # [H, W] the reader's slice
    labels: np.ndarray | None,  # [H, W] its labels
    classes: Sequence[str] | None,  # names, background first
) -> tuple[np.ndarray, np.ndarray, Sequence[str] | None]:
    """The reader's slice [H, W] and labels [H, W], or those with most foreground of a few generated subjects; ValueError where one comes without the other."""
    if (image is None) != (labels is None):
        raise ValueError(f"{'labels' if labels is None else 'image'}: none came, expected image and labels of one slice together")
    if image is not None and labels is not None:
        return image, labels, classes
    cohort = phantom(subjects=4, size=64)
    most = int((cohort.labels > 0).sum((1, 2)).argmax())
    return cohort.images[most], cohort.labels[most], cohort.classes


def class_names(labels: np.ndarray, classes: Sequence[str] | None) -> tuple[str, ...]:
    """A name for every class of the labels [H, W]: the given `classes`, or numbered ones; ValueError where they are too few."""
    count = int(labels.max()) + 1
    if classes is not None and len(classes) < count:
        raise ValueError(f"classes: found {len(classes)} names, expected {count} for labels up to {count - 1}")
    return tuple(classes) if classes is not None else ("background", *(f"class {k}" for k in range(1, count)))


def untrained(classes: int) -> UNet:
    """A small network for this many `classes` as it is before any training, the same one every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(classes=max(classes, 2), width=16)


def checked_anchor(anchor: Sequence[int], shape: tuple[int, int]) -> tuple[int, int]:
    """The `anchor`, row and column, inside a slice of this `shape`; ValueError outside."""
    found = tuple(int(v) for v in anchor)
    if len(found) != 2 or not (0 <= found[0] < shape[0] and 0 <= found[1] < shape[1]):
        raise ValueError(f"anchor: found {found}, expected a row below {shape[0]} and a column below {shape[1]}")
    return found


def side_by_side(explorer: "StrategyExplorer") -> go.Figure:
    """The panels as they stand, in one figure without a kernel."""
    pictures, texts = [], []
    for panel in explorer.panels:
        seen = compared(panel.stop.strategy, explorer.labels, explorer.anchor)
        pictures.append(still(*painted(explorer.image, seen), explorer.labels))
        setting = panel.stop.label if panel.family.control else ""
        texts.append(f"<b>{panel.family.name}</b> {setting}<br>cosine {panel.stop.cosine:.2f}, {short(panel.stop.pairs)} pairs")
    return beside(pictures, texts, explorer.anchor)


KINDS = (("plus", "+", "positive"), ("minus", "−", "negative"), ("never", "", "never compared"), ("ring", "", "the anchor"))
LEGEND = f'<ul class="legend marks">{"".join(f"""<li><i class="{kind}">{sign}</i>{name}</li>""" for kind, sign, name in KINDS)}</ul>'


def stop_data(stop: Stop, names: Sequence[str]) -> dict:
    """What the page needs of one setting; `names` are those of the classes."""
    groups = stop.groups if stop.groups.max() > 126 else stop.groups.astype(np.int8)
    grid = getattr(stop.strategy, "size", 0)
    return {
        "label": stop.label,
        "groups": groups,
        "grid": grid,
        "numbers": numbers(stop, names),
        "pairs": stop.pairs,
        "cosine": stop.cosine,
    }


def panel_html(k: int, family: Family) -> str:
    """The place of one strategy in the page, the one with number `k`."""
    control = (
        page.slider(f"stop{k}", family.control, [s.label for s in family.stops], family.start)
        if family.control
        else '<p class="note nothing">Every pixel meets every other: nothing to set.</p>'
    )
    return (f'<section class="panel strategy"><h2>{page.text(family.name)}</h2>{control}<div id="picture{k}"></div>'
            f'<p class="said" id="said{k}"></p><div id="numbers{k}"></div></section>')  # fmt: skip


def strategy_page(explorer: "StrategyExplorer", path: str | os.PathLike, plotly: str = "inline") -> Path:
    """Write the page that compares strategies without a kernel to `path`, with `plotly` as in `to_html`."""
    panels = explorer.families
    body = LEGEND + '<div class="quarters">' + "".join(panel_html(k, family) for k, family in enumerate(panels)) + "</div>"
    alt = "Cosine to the exact gradient against pairs, a line for each strategy"
    note = "Up and to the left is better. Every number was measured when this page was written; times are of that machine."
    body += page.panel("trade", "Pairs compared, and how true the gradient is", alt, height=340, note=note)
    data = {
        "image": np.rint(explorer.image * 255).astype(np.uint8),
        "labels": explorer.labels.astype(np.uint8), "anchor": list(explorer.anchor),
        "classes": list(explorer.classes), "tints": swatches(*TINTS), "shares": list(SHARES), "marks": list(MARKS),
        "panels": [{"name": f.name, "start": f.start, "stops": [stop_data(s, explorer.classes) for s in f.stops]} for f in panels],
        "figure": trade_off(panels, [f.start for f in panels]),
    }  # fmt: skip
    return page.write_page(path, explorer.title, body, data, ("canvas.js", "strategy.js"), explorer.lead(), plotly)
