"""The vectors of pixels out of any network, a fair sample of them, and two kinds of map."""

__all__ = ["pixel_embeddings", "sample_pixels", "pca", "map_figure", "neighbours", "UmapSettings", "umap_map"]


import io
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from .files import cache_folder, content_key, write_atomic
from .machine import device_of
from .names import check_whole, is_number
from .predict import check_output, evaluating
from .show import PALETTE, SYMBOLS, style

if TYPE_CHECKING:
    import plotly.graph_objects as go


def as_slices(images: np.ndarray | torch.Tensor | Sequence) -> np.ndarray:
    """Images [H, W], [S, H, W] or [S, 1, H, W], of any intensities, as a stack of slices [S, H, W] float32.

    ValueError for other shapes, no pixel, or values that are not finite.
    """
    array = np.asarray(images.detach().cpu() if isinstance(images, torch.Tensor) else images)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (2, 3):
        raise ValueError(f"images: found shape {array.shape}, expected one slice [H, W] or several [S, H, W]; cut a volume into slices")
    stack = (array[None] if array.ndim == 2 else array).astype(np.float32)
    if 0 in stack.shape:
        raise ValueError(f"images: found shape {array.shape}, which holds no pixel")
    if not np.isfinite(stack).all():
        raise ValueError(f"images: {int((~np.isfinite(stack)).sum())} values are NaN or infinite; replace them first")
    return stack


def layer_of(model: nn.Module | Callable, layer: str = "features") -> Callable:
    """The function of `model` that gives one vector for each pixel: its own or its `layer`; TypeError or ValueError where it has none."""
    methods = {"features": "features", "head": "embed_pixels", "output": "__call__"}
    if layer not in methods:
        raise ValueError(f"layer: found {layer!r}, expected one of {', '.join(methods)}")
    if not callable(model):
        raise TypeError(f"model: found {type(model).__name__}, expected a network or a function from [B, 1, H, W] to [B, C, H, W]")
    found = getattr(model, methods[layer], None)
    if layer == "head" and not callable(found):
        raise ValueError(f"layer: found 'head', but {type(model).__name__} has no embed_pixels; take 'features' or 'output'")
    return found if callable(found) else model


def finite(output: torch.Tensor) -> torch.Tensor:
    """What a network gave [B, C, H, W], as float32; ValueError where a number is not finite."""
    if not torch.isfinite(output).all():
        bad = (~torch.isfinite(output)).any(dim=1).sum().item()
        raise ValueError(f"model: the embeddings of {bad} pixels are NaN or infinite; was training stopped by a loss that was NaN?")
    return output.float()


def pixel_embeddings(model: nn.Module | Callable, images: np.ndarray, layer: str = "features", batch: int = 16) -> np.ndarray:
    """The unit vector of every pixel of every slice [S, H, W, C] float32, for images [H, W] or [S, H, W].

    `model` is a network or a function [B, 1, H, W] -> [B, C, H, W], `layer` an output of a UNet: "features", "head" or "output"; `batch`
    slices go in at a time.
    """
    check_whole("batch", batch, 1)
    stack, call = as_slices(images), layer_of(model, layer)
    network, parts = model if isinstance(model, nn.Module) else nn.Identity(), []
    device = device_of(network)
    with evaluating(network):
        for start in range(0, len(stack), batch):
            given = torch.from_numpy(stack[start : start + batch])[:, None].to(device)
            raw = finite(check_output(call(given), len(given), stack.shape[1:]))
            parts.append(nn.functional.normalize(raw, dim=1).permute(0, 2, 3, 1).cpu().numpy())
    return np.ascontiguousarray(np.concatenate(parts))


@dataclass(frozen=True)
class Sample:
    """Which pixels are shown, and out of how many."""

    index: np.ndarray  # [N] positions in the flattened stack [S * H * W], ascending
    shape: tuple[int, int, int]  # slices, rows, columns
    balanced: bool  # were classes given equal shares?

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slice, row and column of each shown pixel, [N] each."""
        slices, rows, columns = np.unravel_index(self.index, self.shape)
        return slices, rows, columns

    @property
    def sentence(self) -> str:
        """What a reader must know about the sample."""
        total = int(np.prod(self.shape))
        if len(self.index) == total:
            return f"All {total:,} pixels are shown."
        how = "classes in shares as equal as they allow" if self.balanced else "drawn evenly from all"
        return f"A sample is shown: {len(self.index):,} of {total:,} pixels, {how}."


def shares(counts: Sequence[int], wanted: int) -> list[int]:
    """Equal shares of the `wanted` pixels for each class of so many, `counts`; what a small class cannot fill goes to the others."""
    given, left = [0] * len(counts), min(wanted, sum(counts))
    for rank, c in enumerate(order := sorted(range(len(counts)), key=lambda c: counts[c])):
        given[c] = min(counts[c], left // (len(order) - rank))
        left -= given[c]
    return given


def sample_pixels(
    shape: tuple[int, int, int], count: int = 4096, labels: np.ndarray | None = None, balanced: bool = True, seed: int = 0
) -> Sample:
    """A sample of `count` pixels out of slices, rows and columns, `shape`, without repetition; the same `seed` draws the same.

    Where labels [S, H, W] are given and it is `balanced`, classes have equal shares. ValueError for labels of another shape.
    """
    check_whole("count", count, 0)
    slices, rows, columns = shape
    if labels is not None and np.shape(labels) != (slices, rows, columns):
        found, todo = list(np.shape(labels)), "give the labels of these slices, one for each pixel"
        raise ValueError(f"labels: found shape {found}, expected {[slices, rows, columns]}; {todo}")
    total, random = slices * rows * columns, np.random.default_rng(seed)
    if count >= total:
        return Sample(np.arange(total), (slices, rows, columns), False)
    if labels is None or not balanced or len(np.unique(labels)) < 2:
        return Sample(np.sort(random.choice(total, count, replace=False)), (slices, rows, columns), False)
    pools = [np.flatnonzero(np.asarray(labels).reshape(-1) == c) for c in np.unique(labels)]
    drawn = [random.choice(pool, n, replace=False) for pool, n in zip(pools, shares([len(p) for p in pools], count), strict=True)]
    return Sample(np.sort(np.concatenate(drawn)), (slices, rows, columns), True)


def check_vectors(vectors: np.ndarray, least: int = 3) -> np.ndarray:
    """Vectors [N, C] that a map can be made of, float32.

    ValueError for another shape, fewer than `least`, or values that are not finite or whose squares are not.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"vectors: found shape {vectors.shape}, expected [pixels, channels]")
    if len(vectors) < least:
        raise ValueError(f"vectors: {len(vectors)} pixels are too few for a map, expected at least {least}; take a larger image")
    if not np.isfinite(vectors).all():
        raise ValueError(f"vectors: {int((~np.isfinite(vectors)).any(axis=1).sum())} of {len(vectors)} embeddings are NaN or infinite")
    if vectors.size and np.abs(vectors).max() > 1e15:
        raise ValueError(f"vectors: hold values up to {np.abs(vectors).max():.3g}, whose squares are beyond 32 bits; give unit vectors")
    return vectors


@dataclass(frozen=True)
class Map:
    """A place in few dimensions for each vector."""

    places: np.ndarray  # [N, dims] float32
    kept: float  # share of the variance kept; nan for a UMAP, which keeps none in this sense
    method: str  # "PCA" or "UMAP": what was drawn, which is not always what was asked for
    note: str = ""  # what a reader must know before looking, empty where nothing


COLLAPSED = "The embeddings have collapsed: every pixel has the same vector, so the map is one point."


def degenerate(vectors: np.ndarray, near: int = 15) -> str:
    """Why vectors [N, C] make no map of neighbours, fewer than `near` being different, in a sentence; empty where they do."""
    if np.ptp(vectors, axis=0).max() <= 1e-6 * max(float(np.abs(vectors).max()), 1e-6):
        return COLLAPSED
    if vectors.shape[1] == 1:
        return "One channel: the map is a line, drawn with PCA."
    kinds = len(np.unique(np.round(vectors, 6), axis=0))
    if kinds < min(near, len(vectors)):
        return f"Only {kinds} different vectors among {len(vectors):,} pixels: the map is drawn with PCA, which keeps equal ones together."
    return ""


def pca(vectors: np.ndarray, dims: int = 2, fit_on: np.ndarray | None = None) -> Map:
    """The shadow of vectors [N, C] on the directions of largest spread, `dims` of them, with signs that never flip.

    Other vectors, `fit_on` [M, C], may choose the directions.
    """
    check_whole("dims", dims, 1)
    vectors = check_vectors(vectors)
    said = degenerate(vectors)
    base = vectors if fit_on is None else check_vectors(fit_on)
    centre = base.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(np.cov((base - centre).T.astype(np.float64)).reshape(base.shape[1], -1))
    axes = axes[:, ::-1][:, :dims]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    places = np.zeros((len(vectors), dims), np.float32)
    places[:, : axes.shape[1]] = (vectors - centre) @ axes
    if said == COLLAPSED and fit_on is None:
        places[:] = 0  # a spread of rounding errors is none
    spread = max(float(values.clip(0).sum()), 1e-12)
    return Map(places, float(values[::-1][:dims].clip(0).sum() / spread), "PCA", said)


def class_look(code: int) -> tuple[str, str]:
    """Colour and marker of the class with a `code`, 0 the background: no two below 57 look alike."""
    return PALETTE[1 + (code - 1) % (len(PALETTE) - 1) if code else 0], SYMBOLS[code % len(SYMBOLS)]


def map_figure(maps: Mapping[str, np.ndarray], classes: np.ndarray, names: Sequence[str]) -> "go.Figure":
    """Maps, title -> places [N, 2] of the same pixels, side by side, each of the `classes` [N] with its own colour, marker and one of the `names`."""
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=len(maps), subplot_titles=[escape(title) for title in maps], horizontal_spacing=0.04)
    for column, places in enumerate(maps.values(), start=1):
        unit = (places - places.min(axis=0)) / np.maximum(np.ptp(places, axis=0), 1e-12)
        for c in np.unique(classes):
            x, y = unit[classes == c].T.round(3)
            (colour, symbol), name = class_look(c), escape(str(names[c]))
            look = {"color": colour, "symbol": symbol, "size": 4, "opacity": 0.7}
            figure.add_scattergl(
                x=x, y=y, mode="markers", name=name, marker=look, legendgroup=str(c), showlegend=column == 1, row=1, col=column
            )
    style(figure, height=340).update_layout(legend={"y": -0.02, "yanchor": "top"}, margin={"l": 20, "t": 40, "b": 50})
    return figure.update_xaxes(showticklabels=False, showgrid=False).update_yaxes(showticklabels=False, showgrid=False)


def squared_distances(rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Squared distances [R, N] float64 between all rows [R, C] and all vectors [N, C].

    From the mean of the vectors and in double, since those that lie close together, or far from 0, lose all their digits in float32.
    """
    centre = vectors.mean(0, dtype=torch.float64)
    rows, vectors = rows - centre, vectors - centre
    return torch.addmm(vectors.square().sum(1)[None], rows, vectors.T, alpha=-2).add_(rows.square().sum(1)[:, None]).clamp_(min=0)


def neighbours(vectors: np.ndarray, count: int = 15, block: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of every vector [N, C], exact, itself left out: indices [N, count] int64 and distances [N, count] float32.

    There are fewer than `count` where there are fewer vectors; `block` rows are looked at at a time.
    """
    data = torch.from_numpy(check_vectors(vectors, 2))
    count, found = min(check_whole("count", count, 0), len(data) - 1), []
    check_whole("block", block, 1)
    for start in range(0, len(data), block):
        square = squared_distances(data[start : start + block], data)
        own = torch.arange(len(square))
        square[own, start + own] = torch.inf
        found.append(square.topk(count, largest=False))
    return torch.cat([f.indices for f in found]).numpy(), torch.cat([f.values for f in found]).sqrt().float().numpy()


@dataclass(frozen=True)
class UmapSettings:
    """Everything that decides what a UMAP looks like."""

    neighbours: int = 15  # small: fine detail and crumbs; large: the broad shape
    spread: float = 0.1  # umap's min_dist: how tightly linked points may pack
    epochs: int = 100  # sweeps over the graph, 50 to 200
    seed: int = 0  # the same seed gives the same map on the same machine

    def __post_init__(self):
        check_whole("neighbours", self.neighbours, 2)
        check_whole("epochs", self.epochs, 1)
        check_whole("seed", self.seed, 0)
        if not (is_number(self.spread) and 0 <= self.spread <= 1):
            raise ValueError(f"spread: found {self.spread!r}, expected a number from 0 to 1")


def kept_file(key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array [...] with this key, of everything that it depends on, from the cache, or made and kept where the cache can be written.

    One that is not finite is never kept.
    """
    path = cache_folder() / "maps" / f"{key}.npy"
    try:
        found = np.load(path, allow_pickle=False)
        if np.isfinite(found).all():
            return found
    except (OSError, ValueError, TypeError):
        pass
    made, file = make(), io.BytesIO()
    np.save(file, made)
    with suppress(OSError):
        if np.isfinite(made).all():
            write_atomic(path, file.getvalue())
    return made


UMAP_LOCK = threading.Lock()
"""One layout at a time: umap-learn compiles on first use and is not made for two threads."""


def keep_compiled() -> None:
    """Let numba keep what it compiles of umap-learn on disk, as it does of most libraries: 7 seconds less in every later process."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "umap"]
    for function in (value for module in modules for value in vars(module).values() if hasattr(value, "enable_caching")):
        with suppress(RuntimeError):  # no folder on this machine can be written: it is compiled again each time, as before
            function.enable_caching()


def lay_out(vectors: np.ndarray, settings: UmapSettings, say: Callable[[float, str], None]) -> np.ndarray:
    """Run umap-learn once, on exact neighbours of vectors [N, C]: places [N, 2] float32; `say` hears the share done and what is being done."""
    say(0.05, "finding exact neighbours")
    near, far = neighbours(vectors, min(settings.neighbours, len(vectors) - 1) - 1)
    own = np.arange(len(vectors))[:, None]
    known = (np.hstack([own, near]), np.hstack([np.zeros_like(far[:, :1]), far]), None)
    say(0.25, "loading umap-learn (slow the first time)")
    from umap import UMAP

    keep_compiled()
    say(0.45, f"laying out {len(vectors):,} pixels")
    with warnings.catch_warnings(record=True) as said:  # umap-learn says that `transform` will be missing: it is not used
        reducer = UMAP(
            n_neighbors=known[0].shape[1],
            min_dist=settings.spread,
            n_epochs=settings.epochs,
            init="pca",
            random_state=settings.seed,
            n_jobs=1,
            precomputed_knn=known,
        )
        places = reducer.fit_transform(vectors).astype(np.float32)
    for other in said:
        if "precomputed_knn" not in str(other.message):
            warnings.warn(str(other.message), other.category, stacklevel=2)
    return places


def umap_map(
    vectors: np.ndarray, settings: UmapSettings = UmapSettings(), say: Callable[[float, str], None] = lambda share, text: None
) -> Map:
    """A seeded UMAP of vectors [N, C], kept on disk by content; a PCA with a note where neighbours have nothing to tell; `say` hears the progress."""
    vectors = check_vectors(vectors, 4)
    if degenerate(vectors):
        return pca(vectors)

    def make() -> np.ndarray:
        with UMAP_LOCK:
            return lay_out(vectors, settings, say)

    places = kept_file(content_key("umap 2", vectors, settings), make)
    say(1.0, "done")
    if not np.isfinite(places).all():
        return replace(pca(vectors), note="UMAP found no place for some of these vectors: the map is drawn with PCA.")
    return Map(places, float("nan"), "UMAP")


def aligned(
    epochs: Sequence[np.ndarray],  # [N, C] vectors of the same pixels, one array for each epoch
    method: str = "PCA",  # or "UMAP"
    settings: UmapSettings = UmapSettings(),  # for UMAP
    say: Callable[[float, str], None] = lambda share, text: None,  # hears the progress
) -> list[Map]:
    """One map for all epochs, cut into one part for each, so that nothing moves that did not move; ValueError where the epochs differ in shape, or for another method."""
    if not epochs or len({np.shape(e) for e in epochs}) > 1:
        raise ValueError(f"epochs: found shapes {[np.shape(e) for e in epochs]}, expected the same pixels and channels in each")
    if method not in ("PCA", "UMAP"):
        raise ValueError(f"method: found {method!r}, expected 'PCA' or 'UMAP'")
    pooled = np.concatenate(list(epochs))
    whole = pca(pooled) if method == "PCA" else umap_map(pooled, settings, say)
    return [replace(whole, places=part) for part in np.split(whole.places, len(epochs))]
