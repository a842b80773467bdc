"""Prediction, in one room: class probabilities of slices, alone or among their neighbours, and a label map for a scan."""

import math
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
    batch: int = 64  # slices at a time; decides nothing about the outcome

    def __post_init__(self):
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f'precision: found {self.precision!r}, expected "fp32" or "bf16"')
        if not 0 <= self.neighbours < math.inf:
            raise ValueError(f"neighbours: found {self.neighbours}, expected millimetres, 0 or more")
        if self.batch < 1:
            raise ValueError(f"batch: found {self.batch}, expected 1 or more")


def prediction_of(model: nn.Module) -> Prediction:
    """How a network wants to be asked: as its method says, else once for each slice."""
    return getattr(model, "prediction", Prediction())


def with_prediction(model: Network, how: Prediction) -> Network:
    """The same `model`, which from now on is asked like this wherever nothing else is said."""
    model.prediction = how  # type: ignore[assignment]
    return model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and no gradients inside the block, the former mode after it."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        model.train(before)


def at_precision(
    function: Callable[[Tensor], Tensor],  # the network, or one of its methods: images -> tensor
    images: Tensor,  # [n, 1, H, W] float32
    precision: str = "fp32",  # "fp32", or "bf16" for autocast
) -> Tensor:
    """What the function makes of the images, float32 [n, ...]; ValueError for another precision."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision: found {precision!r}, expected "fp32" or "bf16"')
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return function(images).float()


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


def _shares(model: nn.Module, images: Tensor, how: Prediction) -> Tensor:
    """Probabilities [n, classes, H, W] of images [n, 1, H, W]."""

    def once(some: Tensor) -> Tensor:
        return at_precision(model, some, how.precision).softmax(1)

    def averaged(some: Tensor) -> Tensor:
        if not how.looks:
            return once(some)
        return torch.stack([look(once(look(some, turn, size)), -turn, 1 / size) for turn, size in LOOKS]).mean(0)

    shares = averaged(images)
    return (shares + averaged(images.flip(-1)).flip(-1)) / 2 if how.flips else shares


def predict(
    model: nn.Module,  # images [n, 1, H, W] -> logits [n, classes, H, W]
    images: np.ndarray | Tensor,  # [n, H, W] or [n, 1, H, W] in [0, 1]
    how: Prediction | None = None,  # None: as the network wants to be asked; its neighbours need `predict_slices`
) -> np.ndarray:
    """Class probabilities [n, classes, H, W] float32 of slices, each by itself; ValueError for another shape, or for NaN."""
    how = how or prediction_of(model)
    stack = torch.as_tensor(images)
    stack = stack[:, None] if stack.ndim == 3 else stack
    if stack.ndim != 4 or stack.shape[1] != 1 or len(stack) == 0:
        raise ValueError(f"images: found shape {tuple(np.shape(images))}, expected [n, H, W] or [n, 1, H, W] with n > 0")
    device = next(model.parameters()).device
    with evaluating(model):
        found = [_shares(model, part.to(device, torch.float32), how).cpu() for part in stack.split(how.batch)]
    shares = torch.cat(found)
    if not torch.isfinite(shares).all():
        raise ValueError("model: gives NaN or infinite probabilities; was training stopped by a loss that was NaN? Train it again")
    return shares.numpy()


def blend_slices(
    shares: np.ndarray,  # [n, classes, H, W] class probabilities of the slices of one volume
    places: np.ndarray,  # [n] mm, where each slice lies
    sigma: float,  # mm, standard deviation of the weights
) -> np.ndarray:
    """Each slice averaged with those beside it, float32 [n, classes, H, W]; ValueError for a sigma or places that do not fit."""
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: found {sigma}, expected millimetres above 0")
    if len(places) != len(shares):
        raise ValueError(f"places: found {len(places)}, expected one for each of the {len(shares)} slices")
    weights = np.exp(-0.5 * (np.subtract.outer(places, places) / sigma) ** 2)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return np.tensordot(weights, shares.astype(np.float32), 1)


def predict_slices(
    model: nn.Module,  # images -> logits
    cohort: Cohort,  # slices
    indices: np.ndarray,  # [n] which of them, of one volume or of several
    how: Prediction | None = None,  # None: as the network wants to be asked
) -> np.ndarray:
    """Class probabilities [n, classes, H, W] float32, averaged with the slices beside where that is asked and their order is known."""
    how = how or prediction_of(model)
    shares = predict(model, cohort.images[indices], how)
    for v in np.unique(cohort.volume[indices]) if how.neighbours else ():
        own = cohort.volume[indices] == v
        if not np.isnan(cohort.position[indices[own]]).any():
            places = np.searchsorted(np.flatnonzero(cohort.volume == v), indices[own]) * cohort.volumes[v].spacing[2]
            shares[own] = blend_slices(shares[own], places, how.neighbours)
    return shares


def native_map(
    shares: np.ndarray,  # [n, classes, H, W] on the cohort's grid
    shape: Sequence[int],  # native rows and columns
    grid: Grid,  # how native slices were brought to H x W
) -> np.ndarray:
    """The most probable class of every native pixel, uint8 [rows, columns, n]; background where the grid does not reach."""
    native = from_grid(shares, (shape[0], shape[1]), grid)
    return np.moveaxis(native.argmax(1).astype(np.uint8), 0, 2)


def _open_scan(scan: str | Path | np.ndarray, grid: Grid, apart: float) -> Scan:
    """A scan as it is stored; a warning for a file that does not say which way round it lies."""
    if isinstance(scan, np.ndarray):
        if scan.ndim not in (2, 3) or 0 in scan.shape:
            raise ValueError(f"scan: found shape {scan.shape}, expected [X, Y, Z] or [X, Y] with no empty axis")
        return Scan("the scan", scan.reshape(scan.shape + (1,) * (3 - scan.ndim)), (apart,) * 3, np.eye(4))
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
    how = how or prediction_of(model)
    stored = _open_scan(scan, grid, apart)
    own = reorient(stored, grid.orientation)
    axis = grid.along(own.voxels.shape)
    stack = np.moveaxis(normalise(own.voxels, own.path), axis, 0)
    shares = predict(model, to_grid(stack, grid), how)
    if how.neighbours:
        shares = blend_slices(shares, np.arange(len(shares)) * own.spacing[axis], how.neighbours)
    found = np.moveaxis(native_map(shares, stack.shape[1:], grid), 2, axis)
    found = reorient(replace(own, voxels=found), stored.orientation).voxels
    flat = stored.unit == "pixel" or isinstance(scan, np.ndarray) and scan.ndim == 2
    return found[..., 0] if flat else np.ascontiguousarray(found)
