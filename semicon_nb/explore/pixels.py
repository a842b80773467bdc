"""An image beside the map of its pixels: a line drawn round some on either lights them up on the other."""

__all__ = ["PixelExplorer"]

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..data import Cohort
from ..embed import Map, Sample, UmapSettings, map_figure, pca, sample_pixels, umap_map
from ..trust import Number, trust
from .embeddings import RAMP, TITLES, Colouring, Compact, View, compact, gather
from .page import grey_bytes
from .record import example_models
from .widgets import DrawnExplorer, in_place, safely

if TYPE_CHECKING:
    import plotly.graph_objects as go

_METHODS = ("PCA", "UMAP")
_TEMPERATURES = tuple(float(f"{t:.2g}") for t in np.geomspace(0.01, 1, 21))
"""From only near twins to nearly everything."""

_BUDGET = 560_000
"""Bytes of embeddings in a page, before base64 makes four of three."""

_SHARED = ("label", "intensity", "row", "column", "slice")
"""Colourings that no network has a part in."""


@dataclass
class Maps:
    """Makes maps and numbers, one at a time, and keeps them."""

    view: View  # the vectors
    settings: UmapSettings  # for UMAP
    ready: dict[tuple, tuple[Map, list[Number]]] = field(default_factory=dict)  # (stage, method, count) -> map and numbers
    asked: dict[tuple, Future] = field(default_factory=dict)  # the same keys, under way
    turn: threading.RLock = field(default_factory=threading.RLock)  # guards both
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="semicon-maps"))

    def make(self, stage: str, method: str, sample: Sample, say: Callable = lambda share, text: None) -> tuple[Map, list[Number]]:
        """The map (`method` "PCA" or "UMAP") of a `stage` and its numbers, made now; `say(share, text)` hears it."""
        key = (stage, method, len(sample.index))
        with self.turn:
            if key not in self.ready:
                vectors, marks = self.view.flat(stage)[sample.index], self.view.flat_labels
                made = pca(vectors) if method == "PCA" else umap_map(vectors, self.settings, say)
                say(0.9, "measuring how far to trust it")
                self.ready[key] = made, trust(vectors, None if marks is None else marks[sample.index], made.places)
        return self.ready[key]

    def ask(self, stage: str, method: str, sample: Sample, say: Callable, done: Callable) -> Future:
        """Make them in the background, with the arguments of `make`; then call `done(key, problem or None)`."""
        key = (stage, method, len(sample.index))
        if key not in self.asked:
            self.asked[key] = self.worker.submit(self.make, stage, method, sample, say)
        self.asked[key].add_done_callback(lambda future: done(key, future.exception()))
        return self.asked[key]


def thinning(
    shape: tuple[int, int, int],  # slices, rows, columns
    stages: int,  # networks compared
    channels: int,  # of the embeddings
) -> tuple[int, int]:  # dimensions kept, and every how many-th row and column has an embedding
    """What the budget affords; ValueError where that is nothing."""
    for step in range(1, max(shape[1:]) + 1):
        pixels = shape[0] * -(-shape[1] // step) * -(-shape[2] // step)
        dims = _BUDGET // (pixels * stages)
        if dims >= min(8, channels):
            return min(dims, channels, 32), step
    raise ValueError(f"images: found {shape[0]} slices and {stages} stages, expected fewer for one page; give some of them")


def stored(colouring: Colouring) -> dict:
    """A way to colour every pixel as the browser reads it: codes, or a quantity from 0 to 255."""
    values = np.asarray(colouring.values).reshape(-1)
    share = values if colouring.names else ((values - colouring.low) / (colouring.high - colouring.low)).clip(0, 1) * 255
    kind = np.uint16 if len(colouring.names) > 256 else np.uint8
    plain = {"values": np.round(share).astype(kind), "names": list(colouring.names), "says": colouring.says}
    return plain | {
        "low": colouring.low,
        "high": colouring.high,
        "palette": list(colouring.palette),
        "symbols": list(colouring.symbols),
    }


def turn_onto(
    places: np.ndarray,  # [N, 2]
    goal: np.ndarray,  # [N, 2] the same pixels on another map
) -> np.ndarray:  # [N, 2]
    """A map turned and mirrored, not stretched, to lie as near the goal as it can, so that little moves."""
    middle = places - (places.max(axis=0) + places.min(axis=0)) / 2
    left, _, right = np.linalg.svd((places - places.mean(axis=0)).T.astype(float) @ (goal - goal.mean(axis=0)))
    return (middle @ (left @ right)).astype(np.float32)


def stored_map(
    made: Map,  # of the shown pixels
    numbers: Sequence[Number] | None,  # how far to trust it; None where that is not measured yet
    goal: np.ndarray,  # [N, 2] the map that it is turned onto
) -> dict:
    """A map as the browser reads it: places from 0 to 65535."""
    turned = turn_onto(made.places, goal)
    middle, width = (turned.max(axis=0) + turned.min(axis=0)) / 2, max(float(np.ptp(turned, axis=0).max()), 1e-12)
    places = np.round(((turned - middle) / width + 0.5) * 65535).clip(0, 65535).astype(np.uint16)
    said = made.note or (
        f"PCA keeps {made.kept:.0%} of the variance."
        if made.method == "PCA"
        else "UMAP: only who is near whom means anything, not distances between islands nor their sizes."
    )
    return {"places": places, "note": said, "numbers": None if numbers is None else [asdict(n) for n in numbers]}


def attention(vectors: np.ndarray, anchors: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """The share [temperatures, anchors] of the attention of `anchors` [A] that falls on their own class, of unit vectors [P, C] and labels [P]."""
    far, own, found = 1 - vectors[anchors] @ vectors.T, marks[anchors][:, None] == marks, []
    for temperature in _TEMPERATURES:
        weights = np.exp(-far / temperature)
        weights[np.arange(len(anchors)), anchors] = 0
        found.append((weights * own).sum(1) / np.maximum(weights.sum(1), 1e-30))
    return np.array(found)


def attention_errors(
    view: View,  # everything
    name: str,  # of the stage
    short: Compact,  # vectors of its thinned rows and columns
    step: int,  # every how many-th row and column that is
) -> list[float]:  # at each temperature, from 0 to 1
    """How far a page's shares of attention are off for nine of ten pixels of the slice with most structure."""
    if view.labels is None:
        return []
    which = int((view.labels > 0).sum(axis=(1, 2)).argmax())
    marks, whole = view.labels[which], view.stages[name].vectors[which]
    thin = short.unit.reshape(len(view.images), *whole[::step, ::step].shape[:2], -1)[which]
    spread = thin.repeat(step, axis=0).repeat(step, axis=1)[: marks.shape[0], : marks.shape[1]]
    anchors = sample_pixels((1, *marks.shape), 40, marks[None]).index
    exact, told = (attention(v.reshape(marks.size, -1), anchors, marks.reshape(-1)) for v in (whole, spread))
    return np.quantile(np.abs(told - exact), 0.9, axis=1).round(4).tolist()


def stored_stage(
    name: str,  # of the stage
    view: View,  # everything
    maps: Mapping[str, tuple[Map, list[Number] | None]],  # by method
    goal: np.ndarray,  # [N, 2] the map that others are turned onto
) -> dict:
    """One stage as the browser reads it."""
    dims, step = thinning(view.mosaic.shape, len(view.stages), view.flat(name).shape[1])
    thin = view.stages[name].vectors[:, ::step, ::step]
    short = compact(thin.reshape(-1, thin.shape[-1]), dims)
    drawn = {method: stored_map(*made, goal) for method, made in maps.items()}
    colours = {c.name: stored(c) for c in view.colours(name).values() if c.name not in _SHARED}
    told = {"dims": short.values.shape[1], "kept": short.kept, "error": short.error, "step": step}
    vectors = {"vectors": short.values, "off": attention_errors(view, name, short, step), **told}
    return vectors | {"title": TITLES.get(name, name), "maps": drawn, "colours": colours}


def pixel_data(
    view: View,  # everything
    sample: Sample,  # the shown pixels
    maps: Mapping[str, Mapping[str, tuple[Map, list[Number] | None]]],  # stage -> method -> map and numbers
    start: dict,  # what is shown first: "method" and "temperature"
) -> dict:
    """All that the browser needs to explore."""
    goal = goal_of(view, sample)
    low, high = np.quantile(view.images, [0.005, 0.995])
    first = next(iter(view.stages))
    near = int(np.abs(np.log(np.array(_TEMPERATURES) / start["temperature"])).argmin())
    return {
        "shape": list(view.mosaic.shape), "across": view.mosaic.across, "gap": view.mosaic.gap,
        "names": list(view.names), "grey": grey_bytes(view.images, low, high),
        "labels": None if view.labels is None else view.labels.astype(np.uint8),
        "sample": sample.index.astype(np.int32), "sentence": sample.sentence, "ramp": list(RAMP),
        "shared": {c.name: stored(c) for c in view.colours(first).values() if c.name in _SHARED},
        "stages": {name: stored_stage(name, view, maps[name], goal) for name in view.stages},
        "temperatures": list(_TEMPERATURES), "start": {**start, "temperature": near},
        "methods": list(_METHODS), "counts": [],
    }  # fmt: skip


def check_start(count: int, method: str, temperature: float) -> None:
    """ValueError for a number of pixels, a map or a temperature that cannot be shown."""
    if method not in _METHODS:
        raise ValueError(f"method: found {method!r}, expected 'PCA' or 'UMAP'")
    if not temperature > 0:
        raise ValueError(f"temperature: found {temperature}, expected a number above 0")
    if count < 4:
        raise ValueError(f"count: found {count}, expected 4 pixels or more")


def goal_of(view: View, sample: Sample) -> np.ndarray:
    """The map [N, 2] that all others are turned onto: the last stage's PCA."""
    return pca(view.flat(list(view.stages)[-1])[sample.index]).places


def first_data(view: View, sample: Sample, start: dict) -> dict:
    """What a live explorer starts from: every stage's PCA, its numbers still to come."""
    maps = {name: {"PCA": (pca(view.flat(name)[sample.index]), None)} for name in view.stages}
    return pixel_data(view, sample, maps, start) | {"counts": counts_of(view.images.size, len(sample.index))}


def stage_figure(view: View, sample: Sample, most: int = 800) -> "go.Figure":
    """The PCA maps of all stages side by side, coloured by label, of at most so many pixels."""
    few = sample_pixels((1, 1, len(sample.index)), most).index
    some = replace(sample, index=sample.index[few])
    marks = np.zeros(len(few), int) if view.flat_labels is None else view.flat_labels[some.index]
    goal = goal_of(view, some)
    drawn = {f"{TITLES.get(n, n)}, PCA": turn_onto(pca(view.flat(n)[some.index]).places, goal) for n in view.stages}
    return map_figure(drawn, marks, ("pixels",) if view.labels is None else view.names)


def counts_of(total: int, count: int) -> list[int]:
    """Numbers of shown pixels to choose from, of a `total`, among them `count`."""
    return sorted({min(c, total) for c in (512, 1024, 2048, 4096, count)} | ({total} if total <= 20000 else set()))


class PixelExplorer(DrawnExplorer):
    """Slices beside the map of their pixels' embeddings: draw round some, point at one, change the stage."""

    title = "Pixels and their map"
    scripts, look = ("pixels.js",), "dots"
    methods = _METHODS  # whose maps a page holds

    @in_place
    def __init__(
        self,
        model: object = None,  # a network or function, name -> network, a run (or its folder), None for an example
        images: np.ndarray | Cohort | None = None,  # [H, W] or [S, H, W]; a run picks its own, or some of a cohort
        labels: np.ndarray | None = None,  # [H, W] or [S, H, W] like the images
        classes: Sequence[str] | None = None,  # names, background first
        count: int = 2048,  # pixels shown at first
        layer: str = "features",  # of a UNet: "features", "head" or "output"
        method: str = "PCA",  # map shown first; a UMAP is made when it is asked for
        temperature: float = 0.1,  # at first
        seed: int = 0,  # of the sample
        umap: UmapSettings = UmapSettings(),  # how the UMAP is made
    ):
        check_start(count, method, temperature)
        if model is None and images is None:
            model, images, labels, classes = example_models()
        self.view, self.seed = gather(model, images, labels, classes, layer, seed), seed
        self.maps = Maps(self.view, umap)
        self.start = {"method": method, "temperature": temperature, "stage": list(self.view.stages)[-1]}
        self.sample = sample_pixels(self.view.mosaic.shape, count, self.view.labels, seed=seed)
        self.begin(first_data(self.view, self.sample, self.start))

    @property
    def chosen(self) -> tuple[int, ...]:
        """Which of the shown pixels are lit, as positions in `sample.index`."""
        return tuple(self.state.get("chosen") or ())

    @property
    def anchor(self) -> int | None:
        """The pixel that others are compared with (position in the flattened stack); None before the reader points."""
        return self.state.get("anchor")

    def select(self, chosen: Sequence[int] | np.ndarray | None) -> None:
        """Light up the `chosen` [n] of the shown pixels (positions in `sample.index`); None lights all."""
        self.live.state = {**self.state, "chosen": None if chosen is None else [int(c) for c in chosen]}

    @safely
    def answer(self, asked: dict) -> None:
        """The browser has `asked` for another number of pixels, or for a map and its numbers."""
        if asked["count"] != len(self.sample.index):
            self.sample = sample_pixels(self.view.mosaic.shape, asked["count"], self.view.labels, seed=self.seed)
            state = {key: value for key, value in asked.items() if key not in ("count", "serial")}
            self.live.show(first_data(self.view, self.sample, self.start) | {"state": state})
        else:
            self.maps.ask(asked["stage"], asked["method"], self.sample, self._say, self._arrived)

    def _say(self, share: float, text: str) -> None:
        """Tell how far the work in the background is: its `share`, 0 to 1, and a `text`."""
        self.live.tell({"progress": f"{text} ({share:.0%})"})

    @safely
    def _arrived(self, key: tuple, problem: BaseException | None) -> None:
        """The map of a `key` (stage, method, number of pixels) is there, or the problem that kept it away."""
        if problem is not None:
            self.live.tell({"progress": ""})
            raise problem
        if key[2] == len(self.sample.index):
            made = stored_map(*self.maps.ready[key], goal_of(self.view, self.sample))
            self.live.tell({"stage": key[0], "method": key[1], "map": made, "progress": ""})

    def picture(self) -> "go.Figure":
        """The maps of all stages side by side, coloured by label."""
        return stage_figure(self.view, self.sample)

    def stored(self) -> dict:
        """The data of the page, with a map by each of the `methods` for every stage."""
        maps = {name: {m: self.maps.make(name, m, self.sample, self._say) for m in self.methods} for name in self.view.stages}
        self.live.tell({"progress": ""})
        start = self.start if self.start["method"] in self.methods else {**self.start, "method": self.methods[0]}
        return pixel_data(self.view, self.sample, maps, start) | {"methods": list(self.methods)}
