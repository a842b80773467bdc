"""An image beside the map of its pixels: a lasso on either lights up the other, and every pixel shows what it resembles"""

__all__ = [
    "SYMBOL_NUMBERS",
    "SHAPES",
    "marker",
    "legend",
    "grey_picture",
    "points",
    "rings",
    "picture_axes",
    "dot_size",
    "picture_height",
    "slice_figure",
    "map_of_points",
    "likeness_figure",
    "selection_words",
    "anchor_words",
    "numbers_table",
    "pixel_controls",
    "pixel_under",
    "PixelState",
    "PixelFigures",
    "PixelCallbacks",
    "PixelAnswers",
    "PixelChoices",
    "PixelPages",
    "PixelExplorer",
    "tie",
    "make_figures",
    "lay_out",
]


import html
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from plotly.callbacks import Points

from ..embed import Map, Sample, UmapSettings, map_figure, pca, sample_pixels
from .widgets import Explorer, column, figure_widget, frame, heading, in_place, labelled, row, safely
from .pixel_page import GLOW, TEMPERATURES, Maps, View, gather, write_pixels
from .embeddings import Colouring, attention, similarity
from ..trust import Number


SYMBOL_NUMBERS = {"circle": 0, "square": 1, "diamond": 2, "cross": 3, "x": 4, "triangle-up": 5, "triangle-down": 6, "star": 17}
"""Plotly's numbers for the markers: an array of numbers travels faster than a list of words."""


def marker(
    colouring: Colouring,  # how to colour
    index: np.ndarray,  # [N] the shown pixels
    faint: bool = False,  # let the background show through, for points that lie on a picture
) -> dict:
    """Plotly's marker settings for the shown pixels."""
    values = np.asarray(colouring.values).reshape(-1)[index]
    if not colouring.names:
        look = {"color": values.astype(np.float32), "colorscale": "Cividis", "cmin": colouring.low, "cmax": colouring.high}
        return look | {"symbol": np.zeros(len(index), int)}
    count, numbers = len(colouring.names), np.array([SYMBOL_NUMBERS[s] for s in colouring.symbols])
    palette = [p + "30" if faint and name == "background" else p for p, name in zip(colouring.palette, colouring.names, strict=True)]
    steps = [[edge, colour] for c, colour in enumerate(palette) for edge in (c / count, (c + 1) / count)]
    return {"color": values.astype(np.float32), "colorscale": steps, "cmin": -0.5, "cmax": count - 0.5, "symbol": numbers[values]}


SHAPES = {
    "circle": '<circle cx="7" cy="7" r="5"/>',
    "diamond": '<path d="M7 1l6 6-6 6-6-6z"/>',
    "square": '<path d="M2 2h10v10H2z"/>',
    "triangle-up": '<path d="M7 1l6 11H1z"/>',
    "triangle-down": '<path d="M7 13L1 2h12z"/>',
    "cross": '<path d="M5 1h4v4h4v4H9v4H5V9H1V5h4z"/>',
    "x": '<path d="M3 1l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z"/>',
    "star": '<path d="M7 0l2 5h5l-4 3 2 6-5-4-5 4 2-6-4-3h5z"/>',
}


def legend(
    colouring: Colouring,  # that is shown
) -> str:  # HTML
    """What the colours mean."""
    said = f"<span style='opacity:.8'>{html.escape(colouring.name)}: {html.escape(colouring.says)}</span>"
    if not colouring.names:
        bar = "display:inline-block;width:110px;height:10px;background:linear-gradient(90deg,#00224e,#575d6d,#a59c74,#fee838)"
        return f"{said}<br>{colouring.low:.2f} <span style='{bar}'></span> {colouring.high:.2f}"
    box, keep = "width='14' height='14' viewBox='0 0 14 14'", "white-space:nowrap;margin-right:1em"
    items = [
        f"<span style='{keep}'><svg {box} fill='{colour}'>{SHAPES[symbol]}</svg> {html.escape(name)}</span>"
        for name, colour, symbol in zip(colouring.names, colouring.palette, colouring.symbols, strict=True)
    ]
    return f"{said}<br>{''.join(items)}"


def grey_picture(
    view: View,  # the slices
) -> go.Heatmap:
    """The slices side by side in grey."""
    low, high = np.quantile(view.images, [0.005, 0.995])
    look = {"colorscale": [[0, "#000"], [1, "#fff"]], "showscale": False, "hoverinfo": "none", "zmin": low, "zmax": max(high, low + 1e-6)}
    return go.Heatmap(z=view.mosaic.cells(view.images), name="slices", **look)


def points(
    name: str,  # of the trace
    size: float,  # of a marker, px
) -> go.Scattergl:
    """The shown pixels, still without places and colours."""
    look = {"marker": {"size": size, "opacity": 0.75}, "unselected": {"marker": {"opacity": 0.06}}}
    look["selected"] = {"marker": {"opacity": 1.0}}
    return go.Scattergl(mode="markers", name=name, hoverinfo="none", **look)


def rings(
    x: float | None,  # place of the anchor in the figure; None where it is not shown
    y: float | None,  # the same, downwards; None with it
) -> list[dict]:
    """The mark of the anchor: a white ring in a black one, seen on any ground."""
    if x is None or y is None:
        return []
    pixel = {"type": "circle", "xsizemode": "pixel", "ysizemode": "pixel", "xanchor": float(x), "yanchor": float(y)}
    sizes = ((10, "#000000", 2), (8, "#ffffff", 2.5))
    return [pixel | {"x0": -r, "x1": r, "y0": -r, "y1": r, "line": {"color": c, "width": w}} for r, c, w in sizes]


def picture_axes(figure: go.Figure, view: View) -> go.Figure:
    """The `figure` with rows downwards, square pixels, and no numbers."""
    height, width = view.mosaic.size
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5], constrain="domain")
    figure.update_yaxes(visible=False, range=[height - 0.5, -0.5], scaleanchor="x", constrain="domain")
    return figure.update_layout(showlegend=False, dragmode="lasso", hovermode="closest", margin={"l": 4, "r": 4, "t": 4, "b": 4})


def dot_size(view: View) -> float:
    """About the size of a pixel of the slices on the screen, px."""
    return float(np.clip(380 / max(view.mosaic.size), 3, 11))


def picture_height(view: View) -> int:
    """Height in px that leaves no empty bands where the slices fill a column of about 350 px."""
    height, width = view.mosaic.size
    return int(np.clip(350 * height / width + 40, 180, 420))


def slice_figure(view: View) -> go.Figure:
    """The slices with the shown pixels on them."""
    dots = points("pixels", dot_size(view)).update(marker={"opacity": 0.5})
    return picture_axes(go.Figure([grey_picture(view), dots]), view)


def map_of_points() -> go.Figure:
    """The map of the shown pixels."""
    figure = go.Figure([points("pixels", 5)])
    figure.update_xaxes(showticklabels=False, zeroline=False).update_yaxes(showticklabels=False, zeroline=False)
    return figure.update_layout(showlegend=False, dragmode="lasso", hovermode="closest", margin={"l": 4, "r": 4, "t": 4, "b": 4})


def likeness_figure(view: View) -> go.Figure:
    """The slices under the likeness of every pixel to the anchor."""
    bar = {"thickness": 10, "len": 0.9, "tickvals": [0, 0.5, 1], "outlinewidth": 0}
    none = view.mosaic.cells(np.zeros(view.mosaic.shape))
    glow = go.Heatmap(z=none, zmin=0, zmax=1, colorscale=GLOW, colorbar=bar, hoverinfo="none", name="likeness")
    return picture_axes(go.Figure([grey_picture(view), glow]), view)


def selection_words(
    chosen: Sequence[int],  # positions among the shown pixels
    view: View,  # labels and names
    sample: Sample,  # the shown pixels
) -> str:
    """How many pixels are lit, and of which labels."""
    if not len(chosen):
        return "Nothing is selected: draw a lasso or a box on the slices or on the map."
    marks = view.flat_labels
    if marks is None:
        return f"{len(chosen):,} pixels are lit."
    counts = np.bincount(marks[sample.index[np.asarray(chosen)]], minlength=len(view.names))
    most_first = sorted(zip(counts, view.names, strict=True), reverse=True)
    kinds = ", ".join(f"{n:,} {name} ({n / len(chosen):.0%})" for n, name in most_first if n)
    return f"{len(chosen):,} of {len(sample.index):,} shown pixels are lit: {kinds}."


def anchor_words(
    anchor: int,  # position in the flattened stack
    weights: np.ndarray,  # [P] its similarity to every pixel
    temperature: float,  # at which
    view: View,  # labels and names
) -> str:
    """Where the anchor lies, and where the loss's attention goes."""
    s, r, c = (int(v) for v in np.unravel_index(anchor, view.mosaic.shape))
    text = f"Anchor: slice {s + 1}, row {r}, column {c}"
    marks = view.flat_labels
    if marks is None:
        return f"{text}. {int((weights > 0.5).sum()) - 1:,} pixels have a likeness above one half at temperature {temperature:g}."
    share = attention(weights, anchor, marks)
    chance = (marks == marks[anchor]).mean()
    own = view.names[marks[anchor]]
    said = f"At temperature {temperature:g}, {share:.0%} of the loss's attention falls on {own}"
    return f"{text}, {own}. {said}; spread evenly it would be {chance:.0%}."


def numbers_table(
    numbers: Sequence[Number] | None,  # None while they are measured
) -> str:  # HTML
    """How far to trust the map, as a table."""
    if numbers is None:
        return "<em>Measuring how far to trust this map ...</em>"
    shown = {n: "–" if np.isnan(n) else f"{n:.2f}" for line in numbers for n in (line.value, line.control)}
    cells = "".join(
        f"<tr><td>{html.escape(n.name)}</td><td><b>{shown[n.value]}</b></td><td>{shown[n.control]}</td><td>{html.escape(n.reads)}</td></tr>"
        for n in numbers
    )
    head = "<tr><th>in the full space</th><th>here</th><th>control</th><th>reads</th></tr>"
    look = "border-spacing:.5em .1em;margin-left:-.5em;text-align:left;line-height:1.5"
    return f"<div style='overflow-x:auto'><table style='{look}'>{head}{cells}</table></div>"


def pixel_controls(
    view: View,  # what there is to choose from
    count: int,  # shown pixels at first
    method: str,  # "PCA" or "UMAP"
    temperature: float,  # at first
) -> dict[str, ipywidgets.Widget]:
    """Every control by name, with its label."""
    total, stages = view.images.size, list(view.stages)
    counts = sorted({min(c, total) for c in (512, 1024, 2048, 4096, count)} | ({total} if total <= 20000 else set()))
    near = min(TEMPERATURES, key=lambda t: abs(np.log(t / temperature)))
    made = {
        "stage": ipywidgets.Dropdown(options=stages, value=stages[-1], description="Stage"),
        "method": ipywidgets.Dropdown(options=["PCA", "UMAP"], value=method, description="Map"),
        "colour": ipywidgets.Dropdown(options=list(view.colours(stages[-1])), description="Colour by"),
        "count": ipywidgets.SelectionSlider(options=counts, value=min(count, total), description="Shown pixels", continuous_update=False),
        "temperature": ipywidgets.SelectionSlider(options=TEMPERATURES, value=near, description="Temperature"),
        "anchor": ipywidgets.IntSlider(min=0, max=1, description="Anchor", readout=False),
        "light": ipywidgets.Dropdown(options=["nothing", *view.names] if view.labels is not None else ["nothing"], description="Light up"),
        "follow": ipywidgets.Checkbox(value=True, description="Pointer moves the anchor, click pins it", indent=False),
    }
    return {name: labelled(control, "320px" if name == "follow" else "250px") for name, control in made.items()}


def pixel_under(
    trace: go.Heatmap | go.Scattergl,  # that was touched
    found: Points,  # that were touched
    view: View,  # the mosaic
    sample: Sample,  # the shown pixels
) -> int | None:  # position in the flattened stack; None in a gap
    """The pixel under the pointer."""
    if not found.point_inds:
        return None
    first = found.point_inds[0]
    if trace.type != "heatmap":
        return int(sample.index[int(first)])
    place = first if isinstance(first, tuple | list) else (found.ys[0], found.xs[0])
    return view.mosaic.pixel(*(int(v) for v in place))


class PixelState(Explorer):
    """What a PixelExplorer holds while it is open."""

    view: View  # slices, labels and vectors of all stages
    maps: Maps  # that are there or being made
    stage: str  # shown now
    current: Map  # shown now
    sample: Sample  # the shown pixels
    seed: int  # of the sample
    anchor: int  # position in the flattened stack
    chosen: tuple[int, ...]  # which of the shown pixels are lit
    controls: dict[str, ipywidgets.Widget]  # by name
    slices: go.FigureWidget  # the slices, with the shown pixels
    map: go.FigureWidget  # the map of the shown pixels
    likeness: go.FigureWidget  # the slices, with the likeness to the anchor
    progress: ipywidgets.FloatProgress  # of the work in the background
    status: ipywidgets.HTML  # problems
    legend: ipywidgets.HTML  # of the colours
    numbers: ipywidgets.HTML  # how far to trust the map
    said_sample: ipywidgets.HTML  # which pixels are shown
    said_selection: ipywidgets.HTML  # which are lit
    said_anchor: ipywidgets.HTML  # where the anchor lies
    map_words: Callable[[], str]  # which map is shown
    say: Callable[[float, str], None]  # shows how far the work is
    arrived: Callable[..., None]  # a map is ready


class PixelFigures(PixelState):
    """The three figures of a PixelExplorer, and what they can be told."""

    title = "Pixels and their map"
    ringed: tuple = ()  # what the rings stand round now

    def draw(self) -> None:
        """Put the shown pixels where the stage and the map say, in the chosen colours."""
        colouring = self.view.colours(self.stage)[self.controls["colour"].value]
        rows, columns = self.view.mosaic.place(self.sample.index)
        places = self.current.places
        for figure, x, y in ((self.slices, columns, rows), (self.map, places[:, 0], places[:, 1])):
            with figure.batch_update():
                figure.data[-1].update(x=x, y=y, marker=marker(colouring, self.sample.index, figure is self.slices))
        self.legend.value = legend(colouring)

    def select(self, chosen: Sequence[int] | np.ndarray | None) -> None:
        """Light up the `chosen` [n] of the shown pixels on both figures; None lights all."""
        lit = None if chosen is None else tuple(int(c) for c in chosen)
        for figure in (self.slices, self.map):
            figure.data[-1].selectedpoints = None  # the browser has its own idea of what is lit: start afresh
            figure.data[-1].selectedpoints = lit
        self.chosen = lit or ()
        self.said_selection.value = html.escape(selection_words(self.chosen, self.view, self.sample))

    def compare(self, anchor: int) -> None:
        """Show the likeness of every pixel to the `anchor` (position in the flattened stack)."""
        temperature = self.controls["temperature"].value
        self.anchor, self.weights = anchor, similarity(self.view.flat(self.stage), anchor, temperature)
        r, c = (int(v[0]) for v in self.view.mosaic.place(np.array([anchor])))
        near = np.flatnonzero(self.sample.index == anchor)
        on_map = self.current.places[near[0]] if len(near) else (None, None)
        self.likeness.data[1].z = self.view.mosaic.cells(self.weights.reshape(self.view.mosaic.shape))
        if self.ringed != (anchor, *on_map):
            self.ringed = (anchor, *on_map)
            for figure, x, y in ((self.slices, c, r), (self.likeness, c, r), (self.map, *on_map)):
                figure.layout.shapes = rings(x, y)
        self.said_anchor.value = html.escape(anchor_words(anchor, self.weights, temperature, self.view))


class PixelCallbacks(PixelFigures):
    """What a PixelExplorer does when it is touched."""

    @safely
    def changed(self, change: object = None) -> None:
        """Another stage, map, colour or number of pixels."""
        marks = self.view.labels
        if len(self.sample.index) != self.controls["count"].value:
            self.sample = sample_pixels(self.view.mosaic.shape, self.controls["count"].value, marks, seed=self.seed)
            self.controls["anchor"].max = len(self.sample.index) - 1
            self.select(None)
        self.stage, method = self.controls["stage"].value, self.controls["method"].value
        key = (self.stage, method, len(self.sample.index))
        self.current, numbers = self.maps.ready.get(key) or (pca(self.view.flat(self.stage)[self.sample.index]), None)
        self.draw()
        self.compare(self.anchor)
        self.said_sample.value = html.escape(f"{self.sample.sentence} {self.map_words()}")
        self.numbers.value = numbers_table(numbers)
        if key not in self.maps.ready:
            self.maps.ask(self.stage, method, self.sample, self.say, self.arrived)

    @safely
    def touched(self, trace: object, found: Points, state: object = None) -> None:
        """The pointer is over a pixel: make it the anchor."""
        under = pixel_under(trace, found, self.view, self.sample) if self.controls["follow"].value else None
        if under is not None and under != self.anchor:
            self.compare(under)

    @safely
    def clicked(self, trace: object, found: Points, state: object = None) -> None:
        """A click pins the anchor."""
        under = pixel_under(trace, found, self.view, self.sample)
        if under is not None:
            self.controls["follow"].value = False
            self.compare(under)


class PixelAnswers(PixelCallbacks):
    """What a PixelExplorer does when work in the background is over."""

    def map_words(self) -> str:
        """Which map is shown."""
        if self.current.note:
            return self.current.note
        if self.current.method == "PCA":
            waiting = " It stands in until the UMAP is ready." if self.controls["method"].value == "UMAP" else ""
            return f"PCA keeps {self.current.kept:.0%} of the variance.{waiting}"
        return "UMAP: only who is near whom means anything, not distances between islands nor their sizes."

    def say(self, share: float, text: str) -> None:
        """Show how far the work in the background is: its `share`, 0 to 1, and a `text`."""
        self.progress.layout.visibility, self.progress.value, self.progress.description = "visible", share, text

    def arrived(self, key: tuple, problem: BaseException | None) -> None:
        """The map of a `key` (stage, method, number of pixels) is ready: show it, if it is still wanted; or the problem, if there was one."""
        self.progress.layout.visibility = "hidden"
        if problem is not None:
            self.fail(problem)
        elif key == (self.stage, self.controls["method"].value, len(self.sample.index)):
            self.changed()

    @safely
    def fail(self, problem: BaseException) -> None:
        """Show a failure of the work in the background."""
        raise problem


class PixelChoices(PixelAnswers):
    """What a reader of a PixelExplorer can choose besides stage, map and colour."""

    @safely
    def light(self, change: dict) -> None:
        """Light up one class."""
        wanted, marks = change["new"], self.view.flat_labels
        if wanted == "nothing" or marks is None:
            self.select(None)
        else:
            self.select(np.flatnonzero(marks[self.sample.index] == self.view.names.index(wanted)))

    @safely
    def lassoed(self, trace: object, found: Points, selector: object = None) -> None:
        """A lasso or a box was drawn; one round nothing lights all again. Plotly's echo of it has no points and no line."""
        self.select(found.point_inds or (self.chosen if selector is None else None) or None)

    @safely
    def unlit(self, trace: object, found: object) -> None:
        """A double click lights all again."""
        self.select(None)

    @safely
    def warmed(self, change: dict) -> None:
        """Another temperature."""
        self.compare(self.anchor)

    @safely
    def step(self, change: dict) -> None:
        """Another anchor by the slider."""
        self.controls["follow"].value = False
        self.compare(int(self.sample.index[change["new"]]))


class PixelPages(PixelChoices):
    """A PixelExplorer as a picture and as a page."""

    def picture(self) -> go.Figure:
        """The maps of all stages side by side, coloured by label."""
        count = min(len(self.sample.index), 800)
        some = np.sort(np.random.default_rng(self.seed).choice(len(self.sample.index), count, replace=False))
        shown = self.sample.index[some]
        labels = self.view.flat_labels
        marks = np.zeros(count, int) if labels is None else labels[shown]
        maps = {name: self.maps.ready.get((name, "UMAP", len(self.sample.index))) for name in self.view.stages}
        drawn = {name: made[0].places[some] if made else pca(self.view.flat(name)[shown]).places for name, made in maps.items()}
        titles = {name: f"{name}, {'UMAP' if maps[name] else 'PCA'}" for name in drawn}
        return map_figure({titles[name]: places for name, places in drawn.items()}, marks, self.view.names)

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """Write the page with both maps of every stage."""
        temperature = self.controls["temperature"].value
        written = write_pixels(path, self.view, self.maps, self.sample, self.title, plotly, temperature=temperature, say=self.say)
        self.progress.layout.visibility = "hidden"
        return written


class PixelExplorer(PixelPages):
    """Slices beside the map of their pixels' embeddings, linked by lasso, box, hover and keyboard."""

    @in_place
    def __init__(
        self,
        model: object,  # a network or function, a mapping name -> network, or a run (or its folder)
        images: np.ndarray | None = None,  # [H, W] or [S, H, W]; from the run where None
        labels: np.ndarray | None = None,  # [H, W] or [S, H, W] like the images
        classes: Sequence[str] | None = None,  # names, background first
        count: int = 2048,  # pixels shown at first
        layer: str = "features",  # of a UNet: "features", "head" or "output"
        method: str = "UMAP",  # map shown first; a PCA stands in until a UMAP is ready
        temperature: float = 0.1,  # at first
        seed: int = 0,  # of the sample
        umap: UmapSettings = UmapSettings(),  # how the UMAP is made
    ):
        self.view, self.seed = gather(model, images, labels, classes, layer, seed), seed
        self.maps, self.stage = Maps(self.view, umap), list(self.view.stages)[-1]
        self.sample, self.chosen = sample_pixels(self.view.mosaic.shape, 1, None), ()
        self.anchor = int(np.argmax(self.view.labels > 0)) if self.view.labels is not None else self.view.images.size // 2
        self.controls = pixel_controls(self.view, count, method, temperature)
        make_figures(self)
        self.changed()
        self.select(None)
        self.widget = lay_out(self)


def tie(explorer: PixelPages) -> None:
    """Tie figures and controls to the explorer's methods."""
    for figure in (explorer.slices, explorer.map, explorer.likeness):
        for trace in figure.data:
            trace.on_hover(explorer.touched)
            trace.on_click(explorer.clicked)
    for figure in (explorer.slices, explorer.map):
        figure.data[-1].on_selection(explorer.lassoed)
        figure.data[-1].on_deselect(explorer.unlit)
    for name in ("stage", "method", "colour", "count"):
        explorer.controls[name].observe(explorer.changed, "value")
    explorer.controls["temperature"].observe(explorer.warmed, "value")
    explorer.controls["light"].observe(explorer.light, "value")
    explorer.controls["anchor"].observe(explorer.step, "value")


def make_figures(explorer: PixelPages) -> None:
    """Make the figures and the places for words."""
    view = explorer.view
    tall = picture_height(view)
    explorer.slices, explorer.likeness = figure_widget(slice_figure(view), tall), figure_widget(likeness_figure(view), tall)
    explorer.map = figure_widget(map_of_points())
    for name in ("status", "legend", "numbers", "said_sample", "said_selection", "said_anchor"):
        setattr(explorer, name, ipywidgets.HTML())
    hidden = ipywidgets.Layout(visibility="hidden", width="auto")
    explorer.progress = ipywidgets.FloatProgress(max=1.0, style={"description_width": "initial"}, layout=hidden)
    tie(explorer)


def lay_out(explorer: PixelPages) -> ipywidgets.Widget:
    """Put everything in its place."""
    above = row(*explorer.controls.values())
    slices = column(heading("Slices"), explorer.slices, explorer.legend, explorer.said_selection, width="320px")
    places = column(heading("Map"), explorer.map, explorer.progress, explorer.said_sample, width="320px")
    likeness = column(heading("Likeness to the anchor"), explorer.likeness, explorer.said_anchor, width="320px")
    return frame(explorer.title, above, row(slices, places, likeness), explorer.numbers, explorer.status)
