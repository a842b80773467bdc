"""Everything that PixelExplorer shows, gathered once, and written as a page that needs no kernel"""

__all__ = [
    "BUDGET",
    "GLOW",
    "TEMPERATURES",
    "SHARED",
    "ALTS",
    "slices_of_run",
    "View",
    "gather",
    "Maps",
    "thinning",
    "stored",
    "stored_map",
    "stored_stage",
    "page_data",
    "panels",
    "body",
    "write_pixels",
]


import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..explore import page
from ..data import Codes, Cohort, class_order, match_classes, part_indices
from ..embed import Map, Sample, UmapSettings, as_slices, check_vectors, pca, sample_pixels, umap_map
from .embeddings import Colouring, Mosaic, Stage, as_labels, class_names, colourings, compact, make_stage, mosaic_of, named_models
from ..runs import Run, read_run
from ..trust import Number, trust


def slices_of_run(
    model: str | Path | Run,  # a finished run, or its folder
    count: int = 2,  # slices, each of another subject
    cohort: Cohort | None = None,  # other scans, or the run's own from another place
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:  # images [S, H, W], labels [S, H, W], names of the classes
    """The fullest slices of a run's test subjects, or of other scans; DataError where those have other classes."""
    run = model if isinstance(model, Run) else read_run(model)
    shown = run.cohort if cohort is None else match_classes(cohort, run.settings["classes"], run.codes)
    own = cohort is None or shown.fingerprint == run.settings["fingerprint"]
    rows = part_indices(shown, run.split, "test") if own else np.flatnonzero(shown.labelled)
    rows = rows[np.argsort(-(shown.labels[rows] > 0).sum(axis=(1, 2)), kind="stable")]
    _, first = np.unique(shown.subject[rows], return_index=True)
    rows = rows[np.sort(first)[:count]]
    return shown.images[rows].astype(np.float32), shown.labels[rows], shown.classes


@dataclass(frozen=True)
class View:
    """The slices, and what each stage makes of them."""

    images: np.ndarray  # [S, H, W] float32
    labels: np.ndarray | None  # [S, H, W] int64
    names: tuple[str, ...]  # of the classes
    stages: dict[str, Stage]  # by name
    mosaic: Mosaic  # how the slices are laid out

    def flat(self, stage: str) -> np.ndarray:
        """The vectors of one stage as [S * H * W, C]."""
        vectors = self.stages[stage].vectors
        return vectors.reshape(-1, vectors.shape[-1])

    @property
    def flat_labels(self) -> np.ndarray | None:
        """The labels as [S * H * W]."""
        return None if self.labels is None else self.labels.reshape(-1)

    def colours(self, stage: str) -> dict[str, Colouring]:
        """The ways to colour the pixels at one stage."""
        return colourings(self.stages[stage], self.images, self.labels, self.names)


def gather(
    model: object,  # a network or function, a mapping name -> network, or a run (or its folder)
    images: np.ndarray | None = None,  # [H, W] or [S, H, W]; from the run where None
    labels: np.ndarray | None = None,  # like the images, [H, W] or [S, H, W]
    classes: Sequence[str] | None = None,  # names, background first
    layer: str = "features",  # of a UNet: "features", "head" or "output"
    seed: int = 0,  # of the voters
) -> View:
    """Run every network on the slices and gather what can be shown; ValueError without slices, or with other classes than a run's."""
    if images is None:
        if not isinstance(model, str | Path | Run):
            raise ValueError("images: none were given, expected one slice [H, W] or several [S, H, W] (only a run brings its own)")
        images, labels, classes = slices_of_run(model)
    elif isinstance(model, str | Path | Run) and labels is not None and classes is not None:
        run = model if isinstance(model, Run) else read_run(model)
        order = class_order("classes", classes, Codes(()), run.settings["classes"], run.codes)
        labels, classes = np.array(order)[np.asarray(labels)], run.settings["classes"]
    stack = as_slices(images)
    marks = as_labels(labels, stack.shape)
    names = class_names(classes, marks)
    voters = sample_pixels(stack.shape, 4096, marks, seed=seed)
    stages = {n: make_stage(n, m, stack, marks, voters, len(names), layer) for n, m in named_models(model).items()}
    check_vectors(next(iter(stages.values())).vectors.reshape(stack.size, -1), least=4)
    return View(stack, marks, names, stages, mosaic_of(stack.shape))


@dataclass
class Maps:
    """Makes maps and numbers in the background and keeps them."""

    view: View  # the vectors
    settings: UmapSettings  # for UMAP
    ready: dict[tuple, tuple[Map, list[Number]]] = field(default_factory=dict)  # (stage, method, count) -> map and numbers
    asked: dict[tuple, Future] = field(default_factory=dict)  # the same keys, under way
    one_at_a_time: threading.RLock = field(default_factory=threading.RLock)  # guards both
    worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="semicon-maps")
    )  # makes one map at a time in the background

    def make(self, stage: str, method: str, sample: Sample, say: Callable = lambda share, text: None) -> tuple[Map, list[Number]]:
        """Make the map (`method` "PCA" or "UMAP") of a `stage` and its numbers here and now, or give the kept ones; `say(share, text)` hears how far it is."""
        key = (stage, method, len(sample.index))
        with self.one_at_a_time:
            if key not in self.ready:
                vectors, marks = self.view.flat(stage)[sample.index], self.view.flat_labels
                made = pca(vectors) if method == "PCA" else umap_map(vectors, self.settings, say)
                say(0.9, "measuring how far to trust it")
                self.ready[key] = made, trust(vectors, None if marks is None else marks[sample.index], made.places)
        return self.ready[key]

    def ask(self, stage: str, method: str, sample: Sample, say: Callable, done: Callable) -> Future:
        """Make them in the background, with the arguments of `make` (`stage`, `method`, `sample`, `say`); then call `done(key, problem or None)`."""
        key = (stage, method, len(sample.index))
        if key not in self.asked:
            self.asked[key] = self.worker.submit(self.make, stage, method, sample, say)
            self.asked[key].add_done_callback(lambda future: done(key, future.exception()))
        return self.asked[key]


BUDGET = 560_000
"""Bytes of embeddings in a page, before base64 makes four of three."""

GLOW = [
    [0, "rgba(0,60,140,0)"],
    [0.08, "rgba(0,90,178,.45)"],
    [0.4, "rgba(190,80,150,.85)"],
    [0.75, "rgba(240,150,60,.95)"],
    [1, "rgba(250,240,110,1)"],
]
"""Likeness over a grey slice: nothing shows through as the slice, much glows; brightness rises all the way."""

TEMPERATURES = tuple(float(f"{t:.2g}") for t in np.geomspace(0.01, 1, 21))
"""From only near twins to nearly everything."""


def thinning(
    shape: tuple[int, int, int],  # slices, rows, columns
    stages: int,  # networks compared
    channels: int,  # of the embeddings
) -> tuple[int, int]:  # dimensions kept, and every how many-th row and column has an embedding
    """What the budget affords; ValueError where that is nothing."""
    for step in range(1, max(shape[1:]) + 1):
        pixels = shape[0] * -(-shape[1] // step) * -(-shape[2] // step)
        dims = BUDGET // (pixels * stages)
        if dims >= min(8, channels):
            return min(dims, channels, 32), step
    raise ValueError(f"images: {shape[0]} slices and {stages} stages are too many for one page; export fewer")


def stored(
    colouring: Colouring,  # codes or a quantity for every pixel
) -> dict:
    """A colouring as the page reads it."""
    values = np.asarray(colouring.values).reshape(-1)
    share = values if colouring.names else ((values - colouring.low) / (colouring.high - colouring.low)).clip(0, 1) * 255
    plain = {"values": np.round(share).astype(np.uint8), "names": list(colouring.names), "says": colouring.says}
    return plain | {"low": colouring.low, "high": colouring.high, "palette": list(colouring.palette), "symbols": list(colouring.symbols)}


def stored_map(
    made: Map,  # of the shown pixels
    numbers: Sequence[Number],  # how far to trust it
) -> dict:
    """A map as the page reads it: places from 0 to 65535."""
    middle, width = (made.places.max(axis=0) + made.places.min(axis=0)) / 2, max(float(np.ptp(made.places, axis=0).max()), 1e-12)
    places = np.round(((made.places - middle) / width + 0.5) * 65535).clip(0, 65535).astype(np.uint16)
    return {"places": places, "kept": made.kept, "note": made.note, "numbers": [asdict(n) for n in numbers]}


def stored_stage(
    name: str,  # of the stage
    view: View,  # everything
    maps: Maps,  # makes the maps that are missing
    sample: Sample,  # the shown pixels
    methods: Sequence[str],  # maps to write
    say: Callable[[float, str], None],  # hears the progress
) -> dict:
    """One stage as the page reads it."""
    dims, step = thinning(view.mosaic.shape, len(view.stages), view.flat(name).shape[1])
    thin = view.stages[name].vectors[:, ::step, ::step]
    short = compact(thin.reshape(-1, thin.shape[-1]), dims)
    drawn = {method: stored_map(*maps.make(name, method, sample, say)) for method in methods}
    colours = {c.name: stored(c) for c in view.colours(name).values()}
    vectors = {"vectors": short.values, "dims": short.values.shape[1], "kept": short.kept, "error": short.error}
    return vectors | {"maps": drawn, "colours": colours}


SHARED = ("label", "intensity", "row", "column", "slice")
"""Colourings that no network has a part in."""


def page_data(
    view: View,  # everything
    maps: Maps,  # makes the maps that are missing
    sample: Sample,  # the shown pixels
    methods: Sequence[str] = ("PCA", "UMAP"),  # maps to write
    say: Callable[[float, str], None] = lambda share, text: None,  # hears the progress
) -> dict:
    """All that the page needs."""
    stages = {name: stored_stage(name, view, maps, sample, methods, say) for name in view.stages}
    shared = {name: c for name, c in next(iter(stages.values()))["colours"].items() if name in SHARED}
    for stage in stages.values():
        stage["colours"] = {name: c for name, c in stage["colours"].items() if name not in SHARED}
    low, high = np.quantile(view.images, [0.005, 0.995])
    grey = ((view.images - low) / max(high - low, 1e-6)).clip(0, 1) * 255
    _, step = thinning(view.mosaic.shape, len(view.stages), view.flat(next(iter(view.stages))).shape[1])
    return {
        "shape": list(view.mosaic.shape),
        "across": view.mosaic.across,
        "gap": view.mosaic.gap,
        "step": step,
        "names": list(view.names),
        "labels": None if view.labels is None else view.labels.astype(np.uint8),
        "grey": grey.astype(np.uint8),
        "sample": sample.index.astype(np.int32),
        "sentence": sample.sentence,
        "stages": stages,
        "shared": shared,
        "temperatures": list(TEMPERATURES),
        "glow": GLOW,
    }


ALTS = {
    "slices": "The slices in grey with the shown pixels as coloured points; draw a lasso to light them up on the map",
    "map": "One point for each shown pixel, alike ones close together; draw a lasso to light them up on the slices",
    "likeness": "The slices in grey; pixels glow where they resemble the anchor",
}
"""What each panel shows, for readers who cannot see it."""


def panels(
    view: View,  # the mosaic decides how the panels stand
) -> str:
    """The three panels and their words: wide slices above one another beside the map, square ones all in a row."""
    rows, columns = view.mosaic.size
    wide = columns > 1.3 * rows
    height = int(np.clip((640 if wide else 430) * rows / columns, 200, 460)) + 32
    slices = page.panel("slices", "Slices", ALTS["slices"], height)
    like = page.panel("likeness", "Likeness to the anchor", ALTS["likeness"], height)
    drawn = page.panel("map", "Map of the embeddings", ALTS["map"], 520 if wide else 462)
    key = '<div class="key"><p class="note" id="colour-says"></p><ul class="legend" id="legend"></ul></div>'
    words = key + '<p id="said-selection" aria-live="polite"></p><p id="said-anchor"></p>'
    words += page.table([{"in the full space": "", "here": "", "control": "", "reads": ""}], "How far to trust this map", "numbers")
    if wide:
        return page.columns(f'<div class="stack">{slices}{like}</div>', f'<div class="stack">{drawn}<div>{words}</div></div>')
    return page.columns(slices, drawn, like) + words


def body(
    view: View,  # everything
    data: dict,  # what `page_data` gave
    temperature: float = 0.1,  # at first
) -> str:
    """The HTML between the page's head and its scripts."""
    stages, first = list(data["stages"]), next(iter(data["stages"].values()))
    colours = [*data["shared"], *first["colours"]]
    near = min(range(len(TEMPERATURES)), key=lambda i: abs(np.log(TEMPERATURES[i] / temperature)))
    methods = {m: m for m in first["maps"]}
    controls = page.controls(
        page.select("stage", "Stage", stages, stages[-1]),
        page.select("method", "Map", methods, list(methods)[-1]),
        page.select("colour", "Colour by", [*colours, "likeness to the anchor"], colours[0]),
        page.slider("tau", "Temperature of the likeness", TEMPERATURES, near),
        page.slider("anchor", "Anchor (also: point at a pixel)", range(1, len(data["sample"]) + 1)),
        page.select("light", "Light up", ["nothing", *(view.names if view.labels is not None else ())]),
        page.checkbox("follow", "Pointer moves the anchor (a click pins it)", True),
        page.button("clear", "Clear the selection"),
    )
    return controls + panels(view) + page.note("", "page-notes")


def write_pixels(
    path: str | os.PathLike,  # of the page
    view: View,  # everything
    maps: Maps,  # makes the maps that are missing
    sample: Sample,  # the shown pixels
    title: str = "Pixels and their map",  # of the page
    plotly: str = "inline",  # "inline", "shared", or the path of a plotly.min.js
    methods: Sequence[str] = ("PCA", "UMAP"),  # maps to write
    temperature: float = 0.1,  # at first
    say: Callable[[float, str], None] = lambda share, text: None,  # hears the progress
) -> Path:
    """Write the page."""
    data = page_data(view, maps, sample, methods, say)
    lead = "Draw a lasso or a box on the slices or on the map: the same pixels light up on the other. Point at a pixel to see its like."
    return page.write_page(path, title, body(view, data, temperature), data, ("pixels.js",), lead, plotly)
