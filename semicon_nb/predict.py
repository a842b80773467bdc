"""Prediction, in one room: class probabilities of slices, alone or among their neighbours, and a label map for a scan."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .data import Cohort, Grid, Scan, from_grid, normalise, read_scan, reorient, to_grid
from .machine import device_of
from .names import check_intensities, check_type, check_whole, is_number

__all__ = [
    "Prediction",
    "at_precision",
    "evaluating",
    "predict",
    "predict_slices",
    "prediction_of",
    "segment",
    "with_prediction",
]

Network = TypeVar("Network", bound=nn.Module)
LOOKS = ((0.0, 1.0), (0.15, 1.0), (-0.15, 1.0), (0.0, 1.12), (0.0, 0.9))
"""Turn (radians) and magnification of each look at a slice."""


@dataclass(frozen=True)
class Prediction:
    """How probabilities are made of a network's answers; ValueError for what cannot be meant."""

    flips: bool = False  # average with the prediction of the mirrored slice
    looks: bool = False  # average over LOOKS: the slice as it is, turned a little, larger, smaller
    neighbours: float = 0.0  # mm; average with the slices beside, weighted by a Gaussian of this standard deviation
    precision: str = "fp32"  # "fp32" or "bf16"
    batch: int = 64  # slices at a time, at most; decides nothing about the outcome

    def __post_init__(self):
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f'precision: found {self.precision!r}, expected "fp32" or "bf16"')
        if not (is_number(self.neighbours) and 0 <= self.neighbours < math.inf):
            raise ValueError(f"neighbours: found {self.neighbours!r}, expected millimetres, 0 or more")
        check_whole("batch", self.batch, 1)
        for name in ("flips", "looks"):
            if not isinstance(found := getattr(self, name), bool):
                raise ValueError(f"{name}: found {found!r}, expected True or False")


def prediction_of(model: nn.Module) -> Prediction:
    """How a network wants to be asked: as its method says, else once for each slice."""
    return getattr(model, _KEPT, Prediction())


def with_prediction(model: Network, how: Prediction) -> Network:
    """The same `model`, which from now on is asked like this wherever nothing else is said."""
    check_type("how", how, Prediction, "such as Prediction(flips=True)")
    setattr(model, _KEPT, how)
    return model


_KEPT = "semicon_prediction"
"""The attribute of a network that says how it wants to be asked; `prediction` may be a layer of your own."""


def _asked(model: nn.Module, how: Prediction | None) -> Prediction:
    """How a network is asked: as is said, else as it wants; TypeError for what is no network, such as a run, or no way to ask one."""
    check_type("model", model, nn.Module, "of a run it is run.model")
    how = prediction_of(model) if how is None else how
    check_type("how", how, Prediction, "such as Prediction(flips=True)")
    return how


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and no gradients inside the block, the former mode of each part after it."""
    before = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        model.train(before[0][1])
        for part, training in before:
            part.training = training


def at_precision(
    function: Callable[[Tensor], Tensor],  # the network, or one of its methods: images -> tensor
    images: Tensor,  # [n, 1, H, W] float32
    precision: str = "fp32",  # "fp32", or "bf16" for autocast
) -> Tensor:
    """What the function makes of the images, of which it gets a copy, float32 [n, ...]; ValueError for another precision."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision: found {precision!r}, expected "fp32" or "bf16"')
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return function(images.clone()).float()  # a network of your own may write over what it is given


def look(
    values: Tensor,  # [B, C, H, W]
    turn: float,  # radians
    size: float,  # magnification
) -> Tensor:
    """The values [B, C, H, W] turned and magnified about the centre, in pixels of the same size; the border repeats."""
    high, wide = values.shape[2:]
    cos, sin = math.cos(turn) / size, math.sin(turn) / size
    matrix = torch.tensor([[cos, -sin * high / wide, 0], [sin * wide / high, cos, 0]], device=values.device, dtype=values.dtype)
    grid = functional.affine_grid(matrix.expand(len(values), 2, 3), list(values.shape), align_corners=False)
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)


def check_output(output: object, batch: int, shape: Sequence[int]) -> Tensor:
    """What a network gave, if it is [B, C, H, W], one vector for each pixel that went in; TypeError or ValueError where it is not."""
    if not isinstance(output, Tensor):
        raise TypeError(f"model: gave a {type(output).__name__}, expected a tensor [B, C, H, W]; wrap it in a function that picks one")
    if output.ndim != 4 or output.shape[0] != batch or tuple(output.shape[2:]) != tuple(shape):
        wanted = f"[{batch}, C, {shape[0]}, {shape[1]}]: one vector for each pixel"
        raise ValueError(f"model: gave {list(output.shape)} for images of {shape[0]} x {shape[1]}, expected {wanted}")
    return output


def _shares(model: nn.Module, images: Tensor, how: Prediction) -> Tensor:
    """Probabilities [n, classes, H, W] of images [n, 1, H, W]."""

    def once(some: Tensor) -> Tensor:
        return at_precision(lambda given: check_output(model(given), len(some), some.shape[2:]), some, how.precision).softmax(1)

    def averaged(some: Tensor) -> Tensor:
        if not how.looks:
            return once(some)
        return torch.stack([look(once(look(some, turn, size)), -turn, 1 / size) for turn, size in LOOKS]).mean(0)

    shares = averaged(images)
    return (shares + averaged(images.flip(-1)).flip(-1)) / 2 if how.flips else shares


_AT_ONCE = 2**20
"""Pixels that a network sees at a time, at most: of larger slices it sees fewer, and needs no more memory."""


def _stack(images: np.ndarray | Tensor) -> Tensor:
    """Slices [n, 1, H, W] of images [n, H, W] or [n, 1, H, W]; errors as of `predict`."""
    given = images if isinstance(images, Tensor) else np.ascontiguousarray(images)  # PyTorch takes no array that runs backwards
    floating = given.is_floating_point() if isinstance(given, Tensor) else given.dtype.kind == "f"
    if not floating:
        raise TypeError(f"images: found {given.dtype}, expected floating-point values in [0, 1]; divide by the largest value first")
    stack = torch.as_tensor(given)
    stack = stack[:, None] if stack.ndim == 3 else stack
    if stack.ndim != 4 or stack.shape[1] != 1 or 0 in stack.shape:
        raise ValueError(f"images: found shape {tuple(given.shape)}, expected [n, H, W] or [n, 1, H, W] with n > 0")
    check_intensities(stack)
    return stack


def _parts(
    model: nn.Module,  # images -> logits
    images: np.ndarray | Tensor,  # [n, H, W] or [n, 1, H, W] in [0, 1]
    how: Prediction,  # how it is asked
) -> Iterator[tuple[slice, np.ndarray]]:
    """Which slices, and their class probabilities [m, classes, H, W], part by part; errors as of `predict`."""
    stack, device, start = _stack(images), device_of(model), 0
    for part in stack.split(max(1, min(how.batch, _AT_ONCE // stack[0].numel()))):
        with evaluating(model):
            shares = _shares(model, part.to(device, torch.float32), how).cpu()
        if not torch.isfinite(shares).all():
            raise ValueError("model: gives NaN or infinite probabilities; was training stopped by a loss that was NaN? Train it again")
        yield slice(start, start + len(part)), shares.numpy()
        start += len(part)


def predict(
    model: nn.Module,  # images [n, 1, H, W] -> logits [n, classes, H, W]
    images: np.ndarray | Tensor,  # [n, H, W] or [n, 1, H, W] in [0, 1]
    how: Prediction | None = None,  # None: as the network wants to be asked; its neighbours need `predict_slices`
) -> np.ndarray:
    """Class probabilities [n, classes, H, W] float32 of slices, each by itself.

    ValueError for another shape, for NaN, or for values far from [0, 1]; TypeError for integers.
    """
    how, found = _asked(model, how), np.empty(0, np.float32)
    for part, shares in _parts(model, images, how):
        if not part.start:
            found = np.empty((len(images), *shares.shape[1:]), np.float32)
        found[part] = shares
    return found


def _blend_weights(places: np.ndarray, sigma: float) -> np.ndarray:
    """What every slice counts for every other [n, n] float32, by their `places` [n] in mm; each row sums to 1."""
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: found {sigma}, expected millimetres above 0")
    weights = np.exp(-0.5 * (np.subtract.outer(places, places) / sigma) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def blend_slices(
    parts: Iterator[tuple[slice, np.ndarray]],  # of one volume: which slices, and their class probabilities [m, classes, H, W]
    places: np.ndarray,  # [n] mm, where each slice lies
    sigma: float,  # mm, standard deviation of the weights
) -> Iterator[tuple[slice, np.ndarray]]:
    """The parts, each slice averaged with those beside it; no more of them are held than count for some to come. ValueError for a sigma of 0 or less."""
    weights = _blend_weights(places, sigma)
    reach = np.array([np.flatnonzero(row)[[0, -1]] for row in weights])
    first = np.minimum.accumulate(reach[::-1, 0])[::-1]
    held, start, waiting = None, 0, []
    for part, shares in parts:
        held = shares if held is None else np.concatenate([held, shares])
        waiting.append(part)
        while waiting and reach[waiting[0], 1].max() < part.stop:
            rows = waiting.pop(0)
            held, start = held[first[rows.start] - start :], first[rows.start]
            stop = reach[rows, 1].max() + 1
            yield rows, np.tensordot(weights[rows, start:stop], held[: stop - start], 1)


def _blended_parts(
    model: nn.Module,  # images -> logits
    images: np.ndarray | Tensor,  # [n, H, W] slices of one volume
    places: np.ndarray | None,  # [n] mm, where each slice lies; None where that is not known
    how: Prediction | None = None,  # None: as the network wants to be asked
) -> Iterator[tuple[slice, np.ndarray]]:
    """Which slices, and their class probabilities [m, classes, H, W] float32, in parts that follow each other.

    They are averaged with the slices beside where that is asked for and the places are known.
    """
    how = _asked(model, how)
    parts = _parts(model, images, how)
    return blend_slices(parts, places, how.neighbours) if how.neighbours and places is not None else parts


def _places(
    cohort: Cohort,  # slices
    every: np.ndarray,  # [n] all of one volume
) -> np.ndarray | None:
    """Where in their volume slices lie, [n] mm; None where their order is not known."""
    if np.isnan(cohort.position[every]).any():
        return None
    return np.arange(len(every)) * cohort.volumes[cohort.volume[every[0]]].spacing[2]


def has_neighbours(
    cohort: Cohort,  # slices
    rows: np.ndarray,  # [n] which of them
) -> bool:
    """Whether averaging with neighbours means something: some volume has several slices, and of each that has, their order is known."""
    several = [every for v in np.unique(cohort.volume[rows]) if len(every := np.flatnonzero(cohort.volume == v)) > 1]
    return bool(several) and all(_places(cohort, every) is not None for every in several)


def _volume_parts(
    model: nn.Module,  # images -> logits
    cohort: Cohort,  # slices
    rows: np.ndarray,  # [n] which of them, of one volume, in any order
    how: Prediction | None = None,  # None: as the network wants to be asked
) -> Iterator[tuple[slice | np.ndarray, np.ndarray]]:
    """Which of the rows, and their class probabilities [m, classes, H, W] float32, part by part.

    They are averaged with the slices beside, outlined or not and among the rows or not, as `segment` does.
    """
    how, every = _asked(model, how), np.flatnonzero(cohort.volume == cohort.volume[rows[0]])
    places = _places(cohort, every) if how.neighbours else None
    if places is None:
        yield from _parts(model, cohort.images[rows], how)
        return
    for part, shares in _blended_parts(model, cohort.images[every], places, how):
        wanted = np.flatnonzero(np.isin(rows, every[part]))
        yield wanted, shares[np.searchsorted(every[part], rows[wanted])]


def _rows(cohort: Cohort, indices: np.ndarray) -> np.ndarray:
    """Places [n] from 0 of the slices that are wanted; IndexError or ValueError where there are no such."""
    expected = f"expected [n] of the {len(cohort.images)} slices of {cohort.name}"
    try:
        rows = np.arange(len(cohort.images))[indices]
    except IndexError as error:
        raise IndexError(f"indices: {error}; {expected}") from None
    if rows.ndim != 1:
        raise ValueError(f"indices: found shape {list(rows.shape)}, {expected}")
    return rows


def predict_slices(
    model: nn.Module,  # images -> logits
    cohort: Cohort,  # slices
    indices: np.ndarray,  # [n] which of them, of one volume or of several
    how: Prediction | None = None,  # None: as the network wants to be asked
) -> np.ndarray:
    """Class probabilities [n, classes, H, W] float32, averaged with all slices beside where that is asked and their order is known."""
    how, rows, found = _asked(model, how), _rows(cohort, indices), np.empty(0, np.float32)
    if not (how.neighbours and len(rows)):
        return predict(model, cohort.images[rows], how)
    for v in np.unique(cohort.volume[rows]):
        own = np.flatnonzero(cohort.volume[rows] == v)
        for part, shares in _volume_parts(model, cohort, rows[own], how):
            found = found if len(found) else np.empty((len(rows), *shares.shape[1:]), np.float32)
            found[own[part]] = shares
    return found


def native_map(
    shares: np.ndarray,  # [n, classes, H, W] on the cohort's grid
    shape: Sequence[int],  # native rows and columns
    grid: Grid,  # how native slices were brought to H x W
) -> np.ndarray:
    """The most probable class of every native pixel, uint8 [rows, columns, n]; background where the grid does not reach."""
    found = np.empty((len(shares), *shape[:2]), np.uint8)
    for k in range(len(shares)):  # one at a time: native probabilities of all classes are many
        found[k] = from_grid(shares[k : k + 1], (shape[0], shape[1]), grid)[0].argmax(0)
    return np.moveaxis(found, 0, 2)


def label_maps(
    model: nn.Module,  # images -> logits
    cohort: Cohort,  # slices
    rows: np.ndarray,  # [n] which of them, of one volume
    how: Prediction | None = None,  # None: as the network wants to be asked
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class of every pixel, uint8 [n, H, W] on the cohort's grid and [rows, columns, n] on the volume's own.

    ValueError where the network knows other classes than the cohort.
    """
    shape, names = cohort.volumes[cohort.volume[rows[0]]].shape, cohort.classes
    small, native = np.empty((len(rows), cohort.size, cohort.size), np.uint8), np.empty((len(rows), *shape[:2]), np.uint8)
    for part, shares in _volume_parts(model, cohort, rows, how):
        if shares.shape[1] != len(names):
            raise ValueError(f"model: predicts {shares.shape[1]} classes, expected the {len(names)} of {cohort.name}: {names}")
        small[part] = shares.argmax(1)
        native[part] = np.moveaxis(native_map(shares, shape, cohort.grid), 2, 0)
    return small, np.moveaxis(native, 0, 2)


def _open_scan(scan: str | Path | np.ndarray, grid: Grid, apart: float) -> Scan:
    """A scan as it is stored; a warning for a file that does not say which way round it lies."""
    if isinstance(scan, np.ndarray):
        if scan.dtype.kind not in "buif":
            raise TypeError(f"scan: found {scan.dtype} values, expected whole or floating-point numbers")
        if scan.ndim not in (2, 3) or 0 in scan.shape:
            raise ValueError(f"scan: found shape {scan.shape}, expected [X, Y, Z] or [X, Y] with no empty axis")
        return Scan("the scan", scan.reshape(scan.shape + (1,) * (3 - scan.ndim)), (apart,) * 3, np.eye(4))
    if not isinstance(scan, str | os.PathLike):
        raise TypeError(f"scan: found {type(scan).__name__}, expected the path of a file, or an array [X, Y, Z] or [X, Y]")
    stored = read_scan(scan)
    if grid.orientation and not stored.orientation:
        warnings.warn(f"{scan}: does not say which way round it lies; taken to run to {grid.orientation} as the cohort does", stacklevel=3)
    return stored


def segment(
    model: nn.Module,  # images -> logits
    scan: str | Path | np.ndarray,  # a NIfTI or PNG file, or intensities [X, Y, Z] or [X, Y]
    grid: Grid,  # of the cohort that the network was trained on
    how: Prediction | None = None,  # None: as the network wants to be asked
    apart: float = 1.0,  # mm between the slices of an array; a file tells its own
) -> np.ndarray:
    """The class of every pixel of a scan on its own grid, uint8 of the scan's shape ([rows, columns] for a PNG); ValueError for another."""
    how = _asked(model, how)
    check_type("grid", grid, Grid, "of a cohort it is cohort.grid")
    if not (is_number(apart) and 0 < apart < math.inf):
        raise ValueError(f"apart: found {apart!r}, expected millimetres above 0")
    stored = _open_scan(scan, grid, apart)
    if stored.unit == "pixel" and not np.ptp(stored.voxels):
        warnings.warn(f"{scan}: has the value {stored.voxels.flat[0]:g} everywhere; its mask is empty", stacklevel=2)
        return np.zeros(stored.voxels.shape[:2], np.uint8)
    own = reorient(stored, grid.orientation)
    axis = grid.along(own.voxels.shape)
    if stored.orientation and axis != grid.axis:
        what = f"is one slice across axis {axis}; taken as one across axis {grid.axis}, along which the cohort is cut"
        warnings.warn(f"{scan}: {what}; expect little of another plane", stacklevel=2)
    stack = np.moveaxis(normalise(own.voxels, own.path), axis, 0)
    images, found = to_grid(stack, grid).astype(np.float16), np.empty(stack.shape, np.uint8)  # as a cohort keeps its slices
    del stack  # as large as the scan
    for part, shares in _blended_parts(model, images, np.arange(len(images)) * own.spacing[axis], how):
        found[part] = np.moveaxis(native_map(shares, found.shape[1:], grid), 2, 0)
    found = np.moveaxis(found, 0, axis)
    found = reorient(replace(own, voxels=found), stored.orientation).voxels
    flat = stored.unit == "pixel" or isinstance(scan, np.ndarray) and scan.ndim == 2
    return found[..., 0] if flat else np.ascontiguousarray(found)
