"""Every subject, volume and slice with its labels; who trains, validates and tests; and what the network is shown of a slice."""

__all__ = [
    "PARTS",
    "USES",
    "SETTINGS",
    "FRACTIONS",
    "windowed",
    "class_colours",
    "labelled_picture",
    "part_of_volumes",
    "places",
    "split_figure",
    "profile",
    "profile_figure",
    "two_views",
    "dealt",
    "slice_words",
    "legend_html",
    "CohortState",
    "CohortChoices",
    "CohortParts",
    "CohortCallbacks",
    "CohortDrawing",
    "CohortBrowser",
    "runs",
    "sampled_volumes",
    "some",
    "stored",
    "volume_data",
    "fitting",
    "cohort_page",
    "page_lead",
    "cohort_body",
]


import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from plotly.callbacks import Points
import torch

from ..explore import page
from .canvas import PixelCanvas, chart, mixed, redrawn, swatches
from ..data import Cohort, Split, phantom, split
from .widgets import Explorer, column, frame, in_place, labelled, row, safely
from ..show import PALETTE, SYMBOLS, style
from ..data import check_split
from ..views import FINETUNE, GLOBAL, LOCAL, ViewSettings, views


def windowed(
    image: np.ndarray,  # [H, W] in [0, 1]
    window: tuple[float, float],  # intensities shown as black and as white
) -> np.ndarray:  # [H, W] in [0, 1]
    """The intensities between the two ends of the window, stretched; what is outside is clipped."""
    low, high = window
    return np.clip((np.asarray(image, np.float32) - low) / max(high - low, 1e-6), 0, 1)


def class_colours(count: int) -> list[str]:
    """A colour for each of `count` classes, background first."""
    return [PALETTE[0], *(PALETTE[1 + k % (len(PALETTE) - 1)] for k in range(count - 1))]


def labelled_picture(
    image: np.ndarray,  # [H, W] in [0, 1]
    labels: np.ndarray,  # [H, W]
    classes: int,  # how many there are
) -> tuple[np.ndarray, np.ndarray]:  # colours [H, W, 3] and marks [H, W], bytes
    """An image tinted by its labels, and the mark of each pixel's class."""
    marks = np.where(labels > 0, 1 + (labels.astype(int) - 1) % 7, 0).astype(np.uint8)
    return mixed(image, swatches(*class_colours(classes))[labels], np.where(labels > 0, 0.45, 0.0)), marks


PARTS = ("labelled", "train", "val", "test", "unused")
USES = ("train, labels used", "train, images only", "validation", "test", "not in the split")


def part_of_volumes(
    cohort: Cohort,  # whose volumes
    chosen: Split | None,  # None: no volume is in the split
) -> np.ndarray:  # [V] int8, index into PARTS for each volume
    """Which part every volume belongs to."""
    names = {} if chosen is None else {name: k for k in (3, 2, 1, 0) for name in getattr(chosen, PARTS[k])}
    return np.array([names.get(volume.name, 4) for volume in cohort.volumes], np.int8)


def places(cohort: Cohort) -> np.ndarray:
    """Where each volume [V] stands along the subjects: whole numbers, volumes of one subject side by side."""
    number = {subject: k for k, subject in enumerate(cohort.subjects)}
    seen: dict[str, int] = {}
    found = np.zeros(len(cohort.volumes), np.float32)
    for i, volume in enumerate(cohort.volumes):
        found[i] = number[volume.subject] + 0.34 * seen.get(volume.subject, 0)
        seen[volume.subject] = seen.get(volume.subject, 0) + 1
    return found


def split_figure(
    cohort: Cohort,
    parts: np.ndarray,  # [V] index into PARTS for each volume
    chosen: int,  # index of the volume that is shown
) -> go.Figure:
    """One marker for each volume, in the row of its part, a ring round the volume shown."""
    figure, x = go.Figure(), places(cohort)
    names = [f"{v.subject}: {v.name}" for v in cohort.volumes]
    colours = [(PALETTE[5], PALETTE[1], PALETTE[2], PALETTE[6], PALETTE[0])[k] for k in parts]
    symbols = [(SYMBOLS[6], SYMBOLS[0], SYMBOLS[2], SYMBOLS[1], SYMBOLS[5])[k] for k in parts]
    figure.add_scatter(x=x, y=[USES[k] for k in parts], text=names, mode="markers", hovertemplate="%{text}<br>%{y}<extra></extra>",
                       marker={"size": 11, "color": colours, "symbol": symbols})  # fmt: skip
    figure.add_scatter(x=[x[chosen]], y=[USES[parts[chosen]]], mode="markers", hoverinfo="skip",
                       marker={"size": 22, "symbol": "circle-open", "color": "#7a7a7a", "line": {"width": 3}})  # fmt: skip
    rows = [use for k, use in enumerate(USES) if k < 4 or (parts == 4).any()]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=rows[::-1], range=[-0.6, len(rows) - 0.4], automargin=True)
    figure.update_xaxes(title="subjects", showticklabels=False, range=[-0.8, len(cohort.subjects) + 0.2])
    return style(figure, height=250).update_layout(showlegend=False, dragmode=False)


def profile(
    cohort: Cohort,
    rows: np.ndarray,  # [n] indices of a volume's slices
) -> np.ndarray:  # [classes - 1, n] per cent of the slice
    """Share of each foreground class in each slice."""
    flat = cohort.labels[rows].reshape(len(rows), -1)
    return np.stack([(flat == k).mean(1) * 100 for k in range(1, len(cohort.classes))])


def profile_figure(shares: np.ndarray, classes: Sequence[str], chosen: int) -> go.Figure:
    """The `shares` of each class [classes - 1, n] along the slices, in per cent, and a line at the `chosen` slice."""
    figure, x = go.Figure(), np.arange(1, shares.shape[1] + 1)
    for k, (name, colour) in enumerate(zip(classes[1:], class_colours(len(classes))[1:], strict=True)):
        marker = {"symbol": SYMBOLS[(k + 1) % len(SYMBOLS)], "size": 7}
        figure.add_scatter(x=x, y=shares[k], name=name, mode="lines+markers", line={"color": colour}, marker=marker)
    top = float(max(shares.max(), 1)) * 1.08
    figure.add_scatter(
        x=[chosen + 1] * 2, y=[0, top], mode="lines", name="shown", line={"color": "#7a7a7a", "width": 3, "dash": "dot"}, hoverinfo="skip"
    )
    figure.update_xaxes(title="slice", range=[0.4, shares.shape[1] + 0.6])
    figure.update_yaxes(title="% of the slice", range=[0, top], automargin=True)
    return style(figure, height=250).update_layout(legend={"y": 1.02, "yanchor": "bottom", "x": 0}, dragmode=False)


SETTINGS: dict[str, ViewSettings] = {"global (stage 1)": GLOBAL, "local (stage 2)": LOCAL, "fine-tuning (stage 3)": FINETUNE}


def two_views(
    image: np.ndarray,  # [H, W] in [0, 1]
    labels: np.ndarray,  # [H, W]
    settings: ViewSettings,  # how far a view may depart
    seed: int = 0,  # another seed, other views
) -> tuple[np.ndarray, np.ndarray]:  # [2, H, W] in [0, 1] and [2, H, W] uint8
    """Two random views of a slice and of its labels."""
    generator = torch.Generator().manual_seed(seed)
    pair = views(
        torch.as_tensor(np.asarray(image, np.float32))[None, None], torch.as_tensor(labels.astype(np.int64))[None], settings, 2, generator
    )
    maps = cast(torch.Tensor, pair.labels)
    return pair.images[0, :, 0].clamp(0, 1).numpy(), maps[0].numpy().astype(np.uint8)


def dealt(cohort: Cohort, fraction: float, seed: int) -> Split | None:
    """A split by `seed` with this labelled fraction, or with the least that leaves one labelled volume; None where there are too few subjects."""
    try:
        train = len(split(cohort, 1.0, seed).labelled)
    except ValueError:
        return None
    return split(cohort, max(fraction, min(1.0, 0.51 / train)), seed)


def slice_words(cohort: Cohort, parts: np.ndarray, here: int, k: int, count: int, pixel: Sequence[int]) -> str:
    """Subject, volume, slice (`here` in the cohort, `k` of `count` in its volume), use (of the parts [V]), and the pixel that was pointed at."""
    volume = cohort.volumes[cohort.volume[here]]
    use = USES[parts[cohort.volume[here]]]
    outline = "" if cohort.labelled[here] else " This slice has no complete outline: unlabelled, not background."
    said = f"{volume.subject}, volume {volume.name} ({use}), slice {k + 1} of {count}.{outline}"
    if len(pixel) == 2:
        r, c = pixel
        said += f" Row {r}, column {c}: {cohort.classes[cohort.labels[here][r, c]]}, intensity {float(cohort.images[here][r, c]):.2f}."
    return said


def legend_html(classes: Sequence[str]) -> str:
    """Colour and mark of all `classes`, background first, as HTML."""
    signs = "+−·|/\\▫"
    style = "display:inline-block;width:1.2em;text-align:center;border-radius:3px;color:#fff;font-weight:700;margin-right:.4em"
    items = []
    for k, (name, colour) in enumerate(zip(classes[1:], class_colours(len(classes))[1:], strict=True)):
        sign = f'<span style="{style};background:{colour}" aria-hidden="true">{signs[k % 7]}</span>'
        items.append(f'<span style="margin-right:1.2em;white-space:nowrap">{sign}{page.text(name)}</span>')
    return f'<div style="line-height:1.7;margin-bottom:.5rem">{"".join(items)}</div>'


FRACTIONS = (0.05, 0.1, 0.2, 0.5, 1.0)


class CohortState(Explorer):
    """What a CohortBrowser holds while it is open."""

    cohort: Cohort  # that is browsed
    split: Split | None  # the reader's, or None where the slider deals one
    split_seed: int  # of the split that the slider deals
    seed: int  # of the views
    parts: np.ndarray  # [V] use of each volume
    v: int  # number of the volume
    k: int  # number of the slice in the volume
    rows: np.ndarray  # [n] its slices' numbers in the cohort
    pixel: tuple[int, ...]  # row and column that are read, or ()
    connect: Callable[..., None]  # ties controls to what they change
    redraw: Callable[..., None]  # draws the slice
    draw_again: Callable[..., None]  # draws other views
    point: Callable[..., None]  # a pixel was pointed at
    click_volume: Callable[..., None]  # a volume was clicked
    click_slice: Callable[..., None]  # a slice was clicked


class CohortChoices(CohortState):
    """What a reader can choose from, and the words for it."""

    title = "A cohort, browsed"

    def deal(self, fraction: float) -> np.ndarray:
        """Part of every volume [V]: of the split that was given, or of one dealt with this labelled fraction."""
        return part_of_volumes(self.cohort, self.split or dealt(self.cohort, fraction, self.split_seed))

    def fractions(self) -> list[tuple[str, float]]:
        """Stops of the slider: the split's own, or all that leave a labelled volume."""
        if self.split is not None:
            return [(f"{100 * self.split.labelled_fraction:g} %", self.split.labelled_fraction)]
        return [(f"{100 * value:g} %", value) for value in FRACTIONS]

    def choices(self) -> list[tuple[str, int]]:
        """Entries of the menu of volumes."""
        return [(f"{volume.subject}: {volume.name}", i) for i, volume in enumerate(self.cohort.volumes)]

    def lead(self) -> str:
        """How to use it."""
        return (
            "Choose a volume in the menu or in the chart of the split, a slice with its slider or in the profile; click a pixel to read it."
        )

    def words(self, here: int) -> str:
        """What is shown, in words; `here` is the slice's number in the cohort."""
        return slice_words(self.cohort, self.parts, here, self.k, len(self.rows), self.pixel)


class CohortParts(CohortChoices):
    """The widget of the cohort browser."""

    def build(self, fraction: float) -> None:
        """Make controls (at this labelled `fraction`), pictures and figures, and put them together."""
        self.status = ipywidgets.HTML(f'<div style="line-height:1.4">{page.text(self.lead())}</div>')
        self.volumes = labelled(ipywidgets.Dropdown(options=self.choices(), value=self.v, description="Volume"), "300px")
        self.slice = labelled(ipywidgets.IntSlider(value=self.k + 1, min=1, max=len(self.rows), description="Slice"), "300px")
        self.window = labelled(
            ipywidgets.FloatRangeSlider(value=(0, 1), min=0, max=1, step=0.02, readout_format=".2f", description="Window"), "300px"
        )
        self.overlay = labelled(ipywidgets.Checkbox(value=True, description="Show labels", indent=False), "120px")
        self.fraction = labelled(
            ipywidgets.SelectionSlider(options=self.fractions(), value=fraction, description="Labelled fraction"), "300px"
        )
        self.kind = labelled(ipywidgets.Dropdown(options=list(SETTINGS), value="local (stage 2)", description="Views"), "220px")
        self.again = ipywidgets.Button(description="Draw other views", layout=ipywidgets.Layout(width="150px"))
        self.canvases = [PixelCanvas(widest=460, picks=k == 0) for k in range(3)]
        self.said, self.legend = ipywidgets.HTML(), ipywidgets.HTML(legend_html(self.cohort.classes))
        self.parts_chart = chart(split_figure(self.cohort, self.parts, self.v), 250)
        self.profile_chart = chart(profile_figure(profile(self.cohort, self.rows), self.cohort.classes, self.k), 250)
        self.connect()
        self.widget = frame(self.title, self.status, *self.arranged())
        self.redraw()

    def arranged(self) -> list[ipywidgets.Widget]:
        """Rows of controls, pictures and figures."""
        heads = [ipywidgets.HTML(f"<b>{text}</b>") for text in ("Who is used for what", "Through the volume")]
        pictures = row(*(column(canvas, width="250px") for canvas in self.canvases))
        figures = row(column(heads[0], self.parts_chart, width="380px"), column(heads[1], self.profile_chart, width="380px"))
        for line in (pictures, figures):
            line.layout.grid_gap = "8px 16px"
        return [
            row(self.volumes, self.slice, self.window),
            row(self.overlay, self.fraction, self.kind, self.again),
            self.legend,
            pictures,
            self.said,
            figures,
        ]


class CohortCallbacks(CohortParts):
    """What happens when its controls are touched."""

    def connect(self) -> None:
        """Tie the controls to what they change."""
        self.volumes.observe(self.choose_volume, "value")
        for control in (self.slice, self.window, self.overlay, self.kind):
            control.observe(self.redraw, "value")
        self.fraction.observe(self.choose_fraction, "value")
        self.again.on_click(self.draw_again)
        self.canvases[0].observe(self.point, "anchor")
        self.parts_chart.data[0].on_click(self.click_volume)
        for trace in self.profile_chart.data[:-1]:
            trace.on_click(self.click_slice)

    @safely
    def choose_volume(self, change: dict | None = None) -> None:
        """Show the slice in the middle of another volume."""
        self.v, self.pixel = self.volumes.value, ()
        self.rows = np.flatnonzero(self.cohort.volume == self.v)
        fresh = profile_figure(profile(self.cohort, self.rows), self.cohort.classes, len(self.rows) // 2)
        redrawn(self.profile_chart, fresh)
        self.profile_chart.update_layout(xaxis_range=fresh.layout.xaxis.range, yaxis_range=fresh.layout.yaxis.range)
        with self.slice.hold_trait_notifications():
            self.slice.max, self.slice.value = len(self.rows), 1 + len(self.rows) // 2
        self.ring()
        self.redraw()

    @safely
    def choose_fraction(self, change: dict | None = None) -> None:
        """Deal the labels anew."""
        self.parts = self.deal(self.fraction.value)
        fresh = split_figure(self.cohort, self.parts, self.v)
        redrawn(self.parts_chart, fresh, [0])
        self.parts_chart.data[0].marker = fresh.data[0].marker.to_plotly_json()
        self.ring()
        self.redraw()

    def ring(self) -> None:
        """Move the ring in the chart of the split to the volume shown."""
        self.parts_chart.data[1].update(x=[float(places(self.cohort)[self.v])], y=[USES[self.parts[self.v]]])


class CohortDrawing(CohortCallbacks):
    """How one slice and its views are drawn."""

    @safely
    def draw_again(self, button: ipywidgets.Button | None = None) -> None:
        """Other random views of the same slice."""
        self.seed += 1
        self.redraw()

    @safely
    def point(self, change: dict) -> None:
        """A reader pointed at a pixel: say what it is."""
        if len(change["new"]) == 2 and tuple(change["new"]) != tuple(self.pixel):
            self.pixel = tuple(change["new"])
            self.redraw()

    @safely
    def click_volume(self, trace: go.Scatter, points: Points, state: object) -> None:
        """A marker of the split was clicked."""
        if points.point_inds:
            self.volumes.value = points.point_inds[0]

    @safely
    def click_slice(self, trace: go.Scatter, points: Points, state: object) -> None:
        """A point of the profile was clicked."""
        if points.point_inds:
            self.slice.value = points.point_inds[0] + 1

    @safely
    def redraw(self, change: dict | None = None) -> None:
        """Draw the slice, its two views, and the words."""
        self.k = min(self.slice.value, len(self.rows)) - 1
        here = self.rows[self.k]
        image, labels = self.cohort.images[here], self.cohort.labels[here]
        images, maps = two_views(image, labels, SETTINGS[self.kind.value], seed=self.seed)
        said = self.words(here)
        for canvas, picture, shown, name in zip(
            self.canvases, (image, *images), (labels, *maps), ("Slice", "View 1", "View 2"), strict=True
        ):
            shown = shown if self.overlay.value else np.zeros_like(shown)
            colours, marks = labelled_picture(windowed(picture, self.window.value), shown, len(self.cohort.classes))
            canvas.show(colours, marks, shown, self.pixel if name == "Slice" else (), 0, f"{name}. {said}")
        self.said.value = f'<div style="line-height:1.4">{page.text(said)}</div>'
        self.profile_chart.data[-1].x = [self.k + 1] * 2


class CohortBrowser(CohortDrawing):
    """Subjects, volumes and slices with their labels; the split; and the views that the network sees."""

    @in_place
    def __init__(
        self,
        cohort: Cohort | None = None,  # None: generated subjects
        split: Split | None = None,  # whose parts are shown; None: dealt by the slider
        labelled: float = 0.1,  # labelled fraction to start with where no split is given
        seed: int = 0,  # of the split and of the views
    ):
        if cohort is not None and not isinstance(cohort, Cohort):
            raise TypeError(
                f"cohort: found {type(cohort).__name__}, expected a Cohort; semicon_nb.data.load makes one from a name or folder"
            )
        self.cohort = phantom(subjects=24, size=64) if cohort is None else cohort
        if not 0 < labelled <= 1:
            raise ValueError(f"labelled: found {labelled!r}, expected a share above 0 and up to 1")
        if split is not None:
            check_split(self.cohort, split)
        if not len(self.cohort):
            raise ValueError("cohort: holds no slice, expected at least one")
        self.split, self.split_seed, self.seed, self.v, self.pixel = split, seed, seed, 0, ()
        self.rows = np.flatnonzero(self.cohort.volume == 0)
        self.k = len(self.rows) // 2
        fraction = split.labelled_fraction if split is not None else labelled
        self.parts = self.deal(fraction)
        self.build(min((value for _, value in self.fractions()), key=lambda value: abs(value - fraction)))

    def picture(self) -> go.Figure:
        """The split and its volumes, for pages that are read and not run."""
        return split_figure(self.cohort, self.parts, self.v)

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """The page, see `cohort_page`."""
        return cohort_page(self, path, plotly)


def runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `labels` [H, W] as values and lengths [n] of runs."""
    flat = labels.ravel()
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    return flat[starts].astype(np.uint8), np.diff(np.r_[starts, flat.size]).astype(np.uint16 if flat.size < 65536 else np.int32)


def sampled_volumes(
    parts: np.ndarray,  # [V] index into PARTS for each volume
    count: int,  # how many to keep
) -> np.ndarray:
    """Indices of volumes [n] for the page, in turn from each part, so that every part is seen."""
    waiting = [list(np.flatnonzero(parts == k)) for k in range(len(PARTS))]
    found: list[int] = []
    while len(found) < min(count, len(parts)):
        for queue in waiting:
            if queue and len(found) < count:
                found.append(int(queue.pop(0)))
    return np.array(sorted(found))


def some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the `rows` [n], numbers of slices, evenly spaced, the ends among them."""
    return rows if len(rows) <= most else rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def stored(image: np.ndarray, labels: np.ndarray) -> dict:
    """One `image` [H, W] and its labels [H, W] for the page: bytes and runs."""
    values, lengths = runs(labels)
    return {"image": np.rint(np.clip(np.asarray(image, np.float32), 0, 1) * 255).astype(np.uint8), "values": values, "lengths": lengths}


def volume_data(
    cohort: Cohort,
    v: int,  # index of the volume
    most: int,  # slices to keep
    seed: int,  # of the views
) -> dict:
    """Everything the page needs of one volume."""
    rows = np.flatnonzero(cohort.volume == v)
    kept = some(rows, most)
    middle = kept[len(kept) // 2]
    pairs = {}
    for name, settings in SETTINGS.items():
        images, maps = two_views(cohort.images[middle], cohort.labels[middle], settings, seed)
        pairs[name] = [stored(image, labels) for image, labels in zip(images, maps, strict=True)]
    slices = [
        stored(cohort.images[i], cohort.labels[i]) | {"number": int(i - rows[0]) + 1, "labelled": bool(cohort.labelled[i])} for i in kept
    ]
    volume = cohort.volumes[v]
    return {
        "index": int(v),
        "name": volume.name,
        "subject": volume.subject,
        "count": len(rows),
        "slices": slices,
        "middle": len(kept) // 2,
        "views": pairs,
    }


def fitting(cohort: Cohort, budget: int = 700_000) -> tuple[int, int]:
    """How many volumes, and how many slices of each, fit into a `budget` of bytes: three volumes at least, a dozen slices at most."""
    picture = cohort.images[0].size + 500
    most = min(12, max(1, budget // (3 * picture) - 6))
    longest = int(np.bincount(cohort.volume).max())
    return max(1, min(len(cohort.volumes), budget // (picture * (min(most, longest) + 6)))), most


def cohort_page(explorer: CohortBrowser, path: str | os.PathLike, plotly: str = "inline") -> Path:
    """Write the page that browses a cohort without a kernel to `path`, with `plotly` as in `to_html`."""
    cohort, (count, most) = explorer.cohort, fitting(explorer.cohort)
    kept = sampled_volumes(explorer.parts, count)
    stops = explorer.fractions()
    data = {
        "classes": list(cohort.classes), "uses": list(USES), "height": cohort.images.shape[1], "width": cohort.images.shape[2],
        "tints": swatches(*class_colours(len(cohort.classes))), "volumes": [volume_data(cohort, int(v), most, explorer.seed) for v in kept],
        "parts": [explorer.deal(value) for _, value in stops], "places": places(cohort),
        "split": [split_figure(cohort, explorer.deal(value), int(kept[0])) for _, value in stops],
        "profile": profile_figure(np.zeros((len(cohort.classes) - 1, 1)), cohort.classes, 0),
    }  # fmt: skip
    start = [value for _, value in stops].index(explorer.fraction.value)
    return page.write_page(
        path, explorer.title, cohort_body(explorer, kept, stops, start, most), data, ("canvas.js", "cohort.js"), page_lead(cohort), plotly
    )


def page_lead(cohort: Cohort) -> str:
    """One sentence on the cohort."""
    size = f"{cohort.size} x {cohort.size}"
    return f"{cohort.name}: {len(cohort.subjects)} subjects, {len(cohort.volumes)} volumes, {len(cohort)} slices of {size}."


def cohort_body(
    explorer: CohortBrowser,
    kept: np.ndarray,  # [n] numbers of the volumes in the page
    stops: Sequence[tuple[str, float]],  # labelled fractions to choose from, as text and number
    start: int,  # which of them comes first
    most: int,  # slices of a volume at most
) -> str:
    """Controls, pictures and charts of the page."""
    cohort = explorer.cohort
    names = {str(i): f"{cohort.volumes[v].subject}: {cohort.volumes[v].name}" for i, v in enumerate(kept)}
    hundred = [f"{k / 50:.2f}" for k in range(51)]
    controls = page.controls(
        page.select("volume", "Volume", names), page.slider("slice", "Slice", ["1"]),
        page.slider("low", "Shown as black", hundred, 0), page.slider("high", "Shown as white", hundred, 50),
        page.checkbox("overlay", "Show labels", True), page.slider("fraction", "Labelled fraction", [text for text, _ in stops], start),
        page.select("kind", "Views", list(SETTINGS), "local (stage 2)"),
    )  # fmt: skip
    heads = ("Slice", "One view", "Another view")
    pictures = "".join(
        f'<section class="panel"><h2 id="head{k}">{head}</h2><div id="picture{k}"></div></section>' for k, head in enumerate(heads)
    )
    part = page.panel(
        "split", "Who is used for what", "Each volume in the row of its part of the split, a column for each subject", height=250
    )
    along = page.panel("profile", "Through the volume", "Share of each class in each slice of the volume", height=250)
    every = "every slice" if np.bincount(cohort.volume).max() <= most else f"at most {most} slices"
    note = f"This page holds {len(kept)} of {len(cohort.volumes)} volumes, {every} of each, with views of the middle one."
    return (
        controls
        + legend_html(cohort.classes)
        + f'<div class="quarters thirds">{pictures}</div><p class="said" id="said"></p>'
        + page.columns(part, along)
        + page.note(note, "sample")
    )
