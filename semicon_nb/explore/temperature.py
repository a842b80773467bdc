"""What the temperature does to one anchor: how its attention spreads over the other pixels, which it pulls, which it pushes, and how hard."""

__all__ = [
    "TINTS",
    "MARKS",
    "TEMPERATURES",
    "BINS",
    "HEADINGS",
    "Felt",
    "unit",
    "felt",
    "hardest_share",
    "briefly_trained",
    "strengths",
    "attention",
    "forces",
    "coloured",
    "edges",
    "spread",
    "spread_figure",
    "curve_figure",
    "facts",
    "TemperatureState",
    "TemperatureFigures",
    "TemperatureCallbacks",
    "TemperatureExplorer",
    "told",
    "middle_anchor",
    "nearest_stop",
    "spaced",
    "three_temperatures",
    "compact",
    "temperature_page",
]


import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ipywidgets
import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from ..explore import page
from .canvas import DOT, MINUS, NONE, PLUS, PixelCanvas, beside, chart, mixed, moved, redrawn, still, swatches
from .strategy import (
    checked_anchor,
    checked_features,
    checked_slice,
    class_names,
    embedded,
    number_table,
    short,
    slice_or_phantom,
    untrained,
)
from .widgets import Explorer, column, frame, in_place, labelled, row, safely
from ..losses import supervised_local_contrastive_loss
from ..show import PALETTE, style
from ..strategies import RandomSampling


@dataclass(frozen=True)
class Felt:
    """What one anchor feels at one temperature."""

    similarity: np.ndarray  # [H, W] cosine to the anchor, -1 to 1
    weight: np.ndarray  # [H, W] softmax over all other pixels, 0 at the anchor
    force: np.ndarray  # [H, W] derivative of the loss by the similarity: below 0 pulled, above 0 pushed
    loss: float  # of this anchor; nan without a positive
    positives: float  # weight on the positives
    keys: float  # exp of the weights' entropy: as if so many pixels were compared
    hardest: float  # share of the negatives' weight on the most similar hundredth of them


def unit(features: Tensor | np.ndarray) -> np.ndarray:  # [H, W, C] float64
    """Embeddings, `features` [C, H, W], at unit length, channels last."""
    values = np.moveaxis(torch.as_tensor(features).detach().cpu().double().numpy(), 0, -1)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


def felt(
    vectors: np.ndarray,  # [H, W, C] of unit length
    labels: np.ndarray,  # [H, W]
    anchor: tuple[int, int],  # row and column
    temperature: float,  # t
) -> Felt:
    """Weights, forces and loss of one anchor against all other pixels."""
    similarity = np.clip(vectors @ vectors[anchor], -1, 1)
    score = similarity / temperature
    score[anchor] = -np.inf
    total = score.max() + np.log(np.exp(score - score.max()).sum())
    weight = np.exp(score - total)
    positive = (labels == labels[anchor]) & (weight >= 0)
    positive[anchor] = False
    count = int(positive.sum())
    force = (weight - positive / max(count, 1)) / temperature
    force[anchor] = 0
    loss = float(total - score[positive].mean()) if count else float("nan")
    entropy = -(weight * np.log(np.maximum(weight, 1e-300))).sum()
    return Felt(
        similarity,
        weight,
        force,
        loss,
        float(weight[positive].sum()),
        float(np.exp(entropy)),
        hardest_share(weight, labels != labels[anchor]),
    )


def hardest_share(weight: np.ndarray, negative: np.ndarray) -> float:
    """Share of the weight [H, W] on the pixels marked `negative` [H, W] that the heaviest hundredth of them carries."""
    values = np.sort(weight[negative])[::-1]
    return float(values[: max(1, len(values) // 100)].sum() / max(values.sum(), 1e-300)) if len(values) else float("nan")


def briefly_trained(
    image: np.ndarray,  # [H, W]
    labels: np.ndarray,  # [H, W]
    steps: int = 8,  # of training
    temperature: float = 0.1,  # t
) -> Tensor:  # [C, H, W]
    """Embeddings of a small network after a few steps of supervised local contrast on this very slice."""
    model = untrained(int(labels.max()) + 1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    target = torch.as_tensor(labels)[None, None]
    for step in range(steps):
        optimiser.zero_grad()
        supervised_local_contrastive_loss(
            embedded(model, image)[None, None], target, temperature, RandomSampling(512, seed=step)
        ).backward()
        optimiser.step()
    with torch.no_grad():
        return embedded(model, image)


TINTS = ("#10141c", PALETTE[6], PALETTE[5], "#ffffff")
MARKS = (NONE, PLUS, MINUS, DOT)


def strengths(values: np.ndarray) -> np.ndarray:
    """Values [H, W] >= 0 as shares of colour [H, W]: the root, so that the weak are seen too."""
    return 0.9 * np.sqrt(values / max(float(values.max()), 1e-300))


def attention(image: np.ndarray, found: Felt, labels: np.ndarray, anchor: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 3] and marks [H, W] of the weights that an `anchor` gives, over an image [H, W] with labels [H, W]."""
    kind = np.where(labels == labels[anchor], 1, 2)
    marks = np.where(found.weight > 1 / (labels.size - 1), kind, 0)
    return coloured(image, strengths(found.weight), kind, marks, anchor)


def forces(image: np.ndarray, found: Felt, anchor: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 3] and marks [H, W] of the forces on an `anchor`, over an image [H, W]."""
    size = np.abs(found.force)
    kind = np.where(found.force < 0, 1, 2)
    return coloured(image, strengths(size), kind, np.where(size > size.mean(), kind, 0), anchor)


def coloured(
    image: np.ndarray,  # [H, W]
    share: np.ndarray,  # [H, W] of the colour, 0 to 1
    kind: np.ndarray,  # [H, W] which colour
    marks: np.ndarray,  # [H, W]
    anchor: tuple[int, int],  # row and column
) -> tuple[np.ndarray, np.ndarray]:
    """The darkened image [H, W, 3] mixed with the colour of each pixel's kind, and its marks [H, W]."""
    share, marks = share.copy(), np.array(MARKS, np.uint8)[marks]
    share[anchor], marks[anchor] = 0, DOT
    return mixed(0.45 * image, swatches(*TINTS)[kind], share), marks


TEMPERATURES = tuple(round(10 ** (-2 + k / 20), 4) for k in range(41))
"""The stops of the slider, evenly spaced in the logarithm from 0.01 to 1."""
BINS = 40


def edges(similarity: np.ndarray) -> np.ndarray:
    """Borders [n] of the bins, from the least to the largest similarity of [H, W]."""
    low = float(similarity.min())
    return np.linspace(low, 1.0, BINS + 1) if low < 0.999 else np.linspace(0.999, 1.0, BINS + 1)


def spread(found: Felt, labels: np.ndarray, anchor: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Middle of each bin of similarity to the `anchor` [n] (labels are [H, W]), weight of positives and of negatives in it, and share of the pixels."""
    borders = edges(found.similarity)
    same, others = labels == labels[anchor], np.ones(labels.shape, bool)
    others[anchor] = False
    even = np.full(labels.shape, 1 / (labels.size - 1))
    wanted = ((same & others, found.weight), (~same & others, found.weight), (others, even))
    sums = [np.histogram(found.similarity[which], borders, weights=weight[which])[0] for which, weight in wanted]
    return (borders[:-1] + borders[1:]) / 2, *sums


def spread_figure(middles: np.ndarray, positive: np.ndarray, negative: np.ndarray, pixels: np.ndarray) -> go.Figure:
    """Weight [n] against similarity (`middles` of bins [n]), `positive` on `negative`, and the share of the pixels for comparison."""
    figure = go.Figure()
    for y, name, colour, shape in ((negative, "weight on negatives", PALETTE[5], "-"), (positive, "weight on positives", PALETTE[6], "+")):
        hatching = {"shape": shape, "size": 6, "solidity": 0.2, "bgcolor": colour, "fgcolor": "#ffffff"}
        figure.add_bar(x=middles, y=y, name=name, marker={"color": colour, "pattern": hatching, "line": {"color": colour, "width": 1}})
    figure.add_scatter(
        x=middles, y=pixels, name="share of the pixels", mode="lines", line={"color": "#7a7a7a", "dash": "dot", "width": 2, "shape": "hvh"}
    )
    figure.update_layout(barmode="stack", bargap=0.08)
    figure.update_xaxes(title="similarity to the anchor")
    figure.update_yaxes(title="share", rangemode="tozero")
    return style(figure, height=270).update_layout(legend={"y": 1.02, "yanchor": "bottom", "x": 0}, margin={"t": 10})


def curve_figure(values: Sequence[float], index: int, name: str, log: bool) -> go.Figure:
    """One quantity, `values` under its `name`, over the temperatures, with a ring at the `index` of the chosen one; `log` for a logarithmic axis."""
    figure = go.Figure()
    figure.add_scatter(
        x=TEMPERATURES,
        y=values,
        mode="lines",
        line={"color": PALETTE[6], "width": 2.5},
        name=name,
        showlegend=False,
        hovertemplate="τ = %{x:.3g}: %{y:.4g}<extra></extra>",
    )
    figure.add_scatter(x=[TEMPERATURES[index]], y=[values[index]], mode="markers", name="the slider", showlegend=False, hoverinfo="skip",
                       marker={"symbol": "circle-open", "size": 16, "color": "#7a7a7a", "line": {"width": 3}})  # fmt: skip
    figure.update_xaxes(title="temperature τ", type="log", tickvals=[0.01, 0.03, 0.1, 0.3, 1], ticktext=["0.01", "0.03", "0.1", "0.3", "1"])
    figure.update_yaxes(title={"text": name, "standoff": 6}, type="log" if log else "linear", automargin=True)
    if log:
        figure.update_yaxes(tickvals=[k * 10**n for n in range(6) for k in (1, 3)], tickformat=",")
    return style(figure, height=240).update_layout(margin={"t": 12})


def facts(found: Felt, temperature: float) -> dict[str, str]:
    """The numbers beside the pictures, at a `temperature`."""
    return {
        "Temperature τ": f"{temperature:.3g}",
        "Loss of this anchor": f"{found.loss:.3f}" if np.isfinite(found.loss) else "none: no positive",
        "Weight on positives": f"{100 * found.positives:.1f} %",
        "As if so many pixels were compared": f"{found.keys:,.0f}" if found.keys >= 10 else f"{found.keys:.1f}",
        "Hardest 1 % of the negatives carry": f"{100 * found.hardest:.1f} %" if np.isfinite(found.hardest) else "none there",
        "Sum of all pushes": f"{found.force[found.force > 0].sum():.3g}",
    }


class TemperatureState(Explorer):
    """What a TemperatureExplorer holds while it is open."""

    image: np.ndarray  # [H, W]
    labels: np.ndarray  # [H, W]
    vectors: np.ndarray  # [H, W, C] of unit length
    anchor: tuple[int, int]  # row and column
    classes: Sequence[str]  # names, background first
    note: str  # where the embedding comes from, if the reader gave none
    sweep: list[Felt]  # what the anchor feels at each of TEMPERATURES
    slid: Callable[..., None]  # the slider moved
    picked: Callable[..., None]  # another anchor was chosen
    redraw: Callable[..., None]  # draws what depends on the temperature


class TemperatureFigures(TemperatureState):
    """The widget of the temperature explorer."""

    title = "What the temperature does"

    def build(self, start: int) -> None:
        """Put the widget together; `start` is the place of its temperature in TEMPERATURES."""
        self.status = ipywidgets.HTML(f'<div style="line-height:1.4">{page.text(self.lead())}</div>')
        self.slider = labelled(
            ipywidgets.SelectionSlider(
                options=[(f"{t:.3g}", k) for k, t in enumerate(TEMPERATURES)], value=start, description="Temperature τ"
            ),
            "420px",
        )
        self.slider.observe(self.slid, "value")
        self.weights, self.pushes, self.table = PixelCanvas(widest=420), PixelCanvas(widest=420), ipywidgets.HTML()
        for canvas in (self.weights, self.pushes):
            canvas.observe(self.picked, "anchor")
        self.bars = chart(spread_figure(*spread(self.now(), self.labels, self.anchor)), 270)
        self.lines = [chart(figure, 240) for figure in self.curve_figures()]
        heads = [ipywidgets.HTML(f"<b>{name}</b>") for name in HEADINGS]
        self.widget = frame(
            self.title, self.status, row(self.slider),
            spaced(column(heads[0], self.weights, width="250px"), column(heads[1], self.pushes, width="250px"),
                   column(self.table, self.bars, width="330px")),
            spaced(*(column(head, line, width="330px") for head, line in zip(heads[2:], self.lines, strict=True))))  # fmt: skip
        self.redraw()

    def lead(self) -> str:
        """How to use it, in two sentences."""
        how = "Click a pixel, or focus a picture and use the arrow keys, to choose the anchor; move the slider to change the temperature."
        return f"{how} Blue + is a positive or is pulled, orange − is a negative or is pushed.{self.note}"

    def now(self) -> Felt:
        """What the anchor feels at the slider's temperature."""
        return felt(self.vectors, self.labels, self.anchor, TEMPERATURES[self.slider.value])

    def curve_figures(self) -> list[go.Figure]:
        """The two curves over all temperatures, for the anchor of now."""
        self.sweep = [felt(self.vectors, self.labels, self.anchor, t) for t in TEMPERATURES]
        index = self.slider.value
        return [
            curve_figure([f.keys for f in self.sweep], index, "pixels listened to", True),
            curve_figure([f.loss for f in self.sweep], index, "loss of this anchor", False),
        ]


class TemperatureCallbacks(TemperatureFigures):
    """What happens when its controls are touched."""

    @safely
    def slid(self, change: dict | None = None) -> None:
        """The temperature moved."""
        self.redraw()

    @safely
    def picked(self, change: dict) -> None:
        """A reader chose another anchor."""
        if tuple(change["new"]) != self.anchor and len(change["new"]) == 2:
            self.anchor = checked_anchor(change["new"], self.image.shape)
            for line, figure in zip(self.lines, self.curve_figures(), strict=True):
                redrawn(line, figure, [0])
            self.redraw()

    def redraw(self) -> None:
        """Draw everything that depends on the temperature."""
        index, found = self.slider.value, self.sweep[self.slider.value]
        said = told(found, self.labels, self.anchor, self.classes, TEMPERATURES[index])
        self.weights.show(*attention(self.image, found, self.labels, self.anchor), self.labels, self.anchor, 0, f"{HEADINGS[0]}. {said}")
        self.pushes.show(*forces(self.image, found, self.anchor), self.labels, self.anchor, 0, f"{HEADINGS[1]}. {said}")
        self.table.value = number_table(facts(found, TEMPERATURES[index]))
        middles, positive, negative, pixels = spread(found, self.labels, self.anchor)
        moved(self.bars, {0: (middles, negative), 1: (middles, positive), 2: (middles, pixels)})
        for line in self.lines:
            line.ring(1, TEMPERATURES[index], line.data[0].y[index])


class TemperatureExplorer(TemperatureCallbacks):
    """What the temperature does to one anchor."""

    @in_place
    def __init__(
        self,
        image: np.ndarray | None = None,  # [H, W]; None: a generated slice
        labels: np.ndarray | None = None,  # [H, W], 0 background
        features: Tensor | np.ndarray | None = None,  # [C, H, W] embeddings
        model: torch.nn.Module | None = None,  # gives them instead; neither: a network trained for a moment on this slice
        anchor: tuple[int, int] | None = None,  # row and column to start with
        temperature: float = 0.1,  # t to start with, 0.01 to 1
        classes: Sequence[str] | None = None,  # names, background first
    ):
        image, labels, classes = slice_or_phantom(image, labels, classes)
        self.image, self.labels = checked_slice(image, labels)
        self.classes, self.note = class_names(self.labels, classes), ""
        if features is None and model is None:
            features, self.note = (
                briefly_trained(self.image, self.labels),
                " The embedding is of a small network after 8 steps on this very slice.",
            )
        self.vectors = unit(
            embedded(model, self.image) if model is not None and features is None else checked_features(features, self.image.shape)
        )
        self.anchor = middle_anchor(self.labels) if anchor is None else checked_anchor(anchor, self.image.shape)
        self.build(nearest_stop(temperature))

    def picture(self) -> go.Figure:
        """Attention at three temperatures, for pages that are read and not run."""
        return three_temperatures(self)

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """The page, see `temperature_page`."""
        return temperature_page(self, path, plotly)


HEADINGS = ("Where its attention goes", "Pulled and pushed", "How many pixels it listens to", "Its loss")


def told(found: Felt, labels: np.ndarray, anchor: tuple[int, int], names: Sequence[str], temperature: float) -> str:
    """What the pictures of an `anchor` show of labels [H, W] (`names` of the classes) at a `temperature`, in words."""
    if labels[anchor] == 0:
        return "Background: never an anchor in the loss. Pick a pixel inside an outline."
    where = f"Anchor in row {anchor[0]}, column {anchor[1]}, {names[labels[anchor]]}, at temperature {temperature:.3g}"
    share = f"{100 * found.positives:.0f} % of its attention on positives, spread over {found.keys:,.0f} pixels"
    return f"{where}: {share}. Arrow keys move the anchor."


def middle_anchor(labels: np.ndarray) -> tuple[int, int]:
    """The pixel deepest inside the largest class of labels [H, W]."""
    from scipy import ndimage

    largest = 1 + int(np.bincount(labels[labels > 0])[1:].argmax())
    depth = ndimage.distance_transform_edt(np.pad(labels == largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), labels.shape)
    return int(row), int(column)


def nearest_stop(temperature: float) -> int:
    """The slider's stop for a temperature; ValueError outside 0.01 to 1."""
    if not 0.01 <= temperature <= 1:
        raise ValueError(f"temperature: found {temperature}, expected 0.01 to 1")
    return int(np.abs(np.log(np.array(TEMPERATURES) / temperature)).argmin())


def spaced(*children: ipywidgets.Widget) -> ipywidgets.HBox:
    """A row of `children` that keep their distance."""
    found = row(*children)
    found.layout.grid_gap = "8px 16px"
    return found


def three_temperatures(explorer: "TemperatureExplorer") -> go.Figure:
    """The attention of one anchor at 0.03, 0.1 and 0.5, side by side."""
    pictures, texts = [], []
    for temperature in (0.03, 0.1, 0.5):
        found = felt(explorer.vectors, explorer.labels, explorer.anchor, temperature)
        pictures.append(still(*attention(explorer.image, found, explorer.labels, explorer.anchor), explorer.labels))
        texts.append(f"<b>τ = {temperature}</b><br>listens to {short(found.keys)} pixels, {100 * found.positives:.0f} % positive")
    return beside(pictures, texts, explorer.anchor, height=330)


def compact(
    vectors: np.ndarray,  # [H, W, C] of unit length
    budget: int = 800_000,  # bytes
) -> tuple[np.ndarray, float, float]:  # int16 [P, r], size of one step, largest error of a similarity
    """Rotate the embeddings into the fewest dimensions that hold them and round to 16 bits."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    _, sizes, turn = np.linalg.svd(flat, full_matrices=False)
    left = 1 - np.cumsum(sizes**2) / (sizes**2).sum()
    rank = min(int((left > 1e-9).sum()) + 1, max(1, budget // (2 * len(flat))), len(sizes))
    turned = flat @ turn[:rank].T
    step = max(float(np.abs(turned).max()), 1e-12) / 32767
    codes = np.rint(turned / step).astype(np.int16)
    some = np.linspace(0, len(flat) - 1, min(len(flat), 200)).astype(int)
    error = np.abs(step**2 * codes[some].astype(float) @ codes.T.astype(float) - flat[some] @ flat.T).max()
    return codes, step, float(error)


def temperature_page(explorer: "TemperatureExplorer", path: str | os.PathLike, plotly: str = "inline") -> Path:
    """Write the page that explores the temperature without a kernel to `path`, with `plotly` as in `to_html`."""
    codes, step, error = compact(explorer.vectors)
    pictures = [f'<section class="panel"><h2>{name}</h2><div id="picture{k}"></div></section>' for k, name in enumerate(HEADINGS[:2])]
    curves = [page.panel(f"curve{k}", name, f"{name} over all temperatures", height=260) for k, name in enumerate(HEADINGS[2:])]
    bars = page.panel(
        "bars", "Attention by similarity", "Weight of positives and of negatives by their similarity to the anchor", height=270
    )
    body = page.controls(page.slider("temperature", "Temperature τ", [f"{t:.3g}" for t in TEMPERATURES], explorer.slider.value))
    body += '<p class="said" id="said"></p><div class="quarters thirds">' + "".join(pictures)
    body += (
        '<div class="stack"><section class="panel"><h2>In numbers</h2><div id="facts"></div></section>'
        + bars
        + "</div></div>"
        + page.columns(*curves)
    )
    body += page.note(
        f"All {explorer.labels.size:,} pixels are compared. Similarities in this page differ from the library's by at most {error:.1g}."
    )
    data = {
        "image": np.rint(explorer.image * 255).astype(np.uint8),
        "labels": explorer.labels.astype(np.uint8), "anchor": list(explorer.anchor),
        "classes": list(explorer.classes), "codes": codes, "step": step, "temperatures": list(TEMPERATURES), "bins": BINS,
        "tints": swatches(*TINTS), "marks": list(MARKS), "headings": list(HEADINGS), "curves": explorer.curve_figures(),
        "bars": spread_figure(*spread(explorer.now(), explorer.labels, explorer.anchor)),
    }  # fmt: skip
    return page.write_page(path, explorer.title, body, data, ("canvas.js", "temperature.js"), explorer.lead(), plotly)
