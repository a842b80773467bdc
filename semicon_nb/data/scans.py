"""From a file to slices: reading, intensities that can be compared, and one size for all without hurting a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from .reading import DataError

__all__ = ["normalise", "Grid", "to_grid", "from_grid"]


def _holds_many(values: np.ndarray, one: float) -> bool:
    """Whether more than 1 in 200 of the values [n] are exactly this `one`, and at least two are not."""
    return bool(1 < values.size - np.count_nonzero(values == one) < 0.995 * values.size)


def without_padding(values: np.ndarray, floor: float = -1024.0, odd: float = -100.0) -> np.ndarray:
    """The intensities [n] that are no padding at the low end; `values` [...] as they are where there is none.

    Padding is a number that more than 1 voxel in 200 has exactly and that lies apart from all others by more than a
    quarter of their range, where no scanner measures: below `floor`, or below `odd` where nothing else lies below 0.
    """
    while (low := values.min()) < max(floor, odd):
        if not _holds_many(values, low):
            break
        rest = values[values > low]
        if not (low < floor or rest.min() >= 0):
            break
        bottom, top = np.percentile(rest, (0.5, 99.5))
        if not rest.min() - low > (top - bottom) / 4 > 0:
            break
        values = rest
    return values


def _range(values: np.ndarray, percentiles: tuple[float, float], name: str) -> tuple[float, float]:
    """Which of the intensities [n] become 0 and 1; DataError, of the image's name, where they are one or too close to tell apart."""
    low, high = np.percentile(values, percentiles)
    if low == high:
        low, high = values.min(), values.max()
    if low == high:
        raise DataError(f"{name}: has the value {low:g} everywhere, so there is nothing to see in it; remove it")
    if high - low < 256 * np.spacing(np.float32(max(abs(low), abs(high)))):
        found = f"its values lie between {low:.9g} and {high:.9g}, too close for 32 bits to tell apart"
        raise DataError(f"{name}: {found}; subtract {low:.9g}")
    return low, high


def normalise(
    volume: np.ndarray,  # intensities of one volume, any shape and unit
    name: str = "the image",  # what an error calls it
    percentiles: tuple[float, float] = (0.5, 99.5),  # which of the measured intensities become 0 and 1
) -> np.ndarray:
    """The volume as float32 in [0, 1]: low percentile 0, high one 1, clipped beyond, padding 0.

    DataError where there is nothing to see.
    """
    volume = np.asarray(volume, dtype=np.float32)
    if odd := int((~np.isfinite(volume)).sum()):
        raise DataError(f"{name}: {odd} of {volume.size} voxels are NaN or infinite; repair or remove it")
    kept = without_padding(volume)
    if _holds_many(kept, kept.max()):  # else nothing at the high end is padding, and no copy is needed
        kept = -without_padding(-kept, floor=-32766.0)
    low, high = _range(kept, percentiles, name)
    size, top = kept.size, kept.max()
    del kept  # as large as the volume
    shades = volume - np.float32(low)
    shades /= np.float32(high - low)
    np.clip(shades, 0, 1, out=shades)
    if size < volume.size:
        shades[volume > top] = 0
    return shades


_WIDEST = 8192
"""Rows and columns of a slice at most: more than any scanner makes, and a quarter of a gigabyte."""


@dataclass(frozen=True)
class Grid:
    """The common raster of a cohort's slices, and which way round they lie."""

    size: int  # rows and columns, pixels
    fit: str = "resize"  # "resize" stretches the whole slice; "centre" crops or pads about its centre
    axis: int = 2  # which axis of the turned scan the slices are stacked along
    orientation: str = ""  # where the axes of every scan are made to run to, such as "RAS"; "" leaves them as stored

    def __post_init__(self) -> None:
        if not isinstance(self.size, Integral) or not 8 <= self.size <= _WIDEST:
            raise ValueError(f"size: found {self.size!r}, expected a whole number of pixels from 8 to {_WIDEST}")
        object.__setattr__(self, "size", int(self.size))
        if self.fit not in ("resize", "centre"):
            raise ValueError(f"fit: found {self.fit!r}, expected 'resize' or 'centre'")
        if self.axis not in (0, 1, 2):
            raise ValueError(f"axis: found {self.axis!r}, expected 0, 1 or 2")
        pairs = sorted(letter in "LR" or 2 * (letter in "PA") or 3 * (letter in "IS") for letter in self.orientation)
        if self.orientation and pairs != [1, 2, 3]:
            expected = "expected one letter each of LR, PA and IS, such as 'RAS'"
            raise ValueError(f"orientation: found {self.orientation!r}, {expected}")

    def along(self, shape: Sequence[int]) -> int:
        """The axis that slices of a turned scan of this `shape` are stacked along: the grid's, or one of length 1."""
        single = [axis for axis in range(3) if shape[axis] == 1]
        return self.axis if self.axis in single or not single else single[-1]


def _linear_weights(old: int, new: int) -> np.ndarray:
    """Share [new, old] of every old pixel in every new one: linear, averaging where the picture shrinks."""
    width = max(old / new, 1.0)
    _centre = (np.arange(new) + 0.5) * old / new - 0.5
    share = np.clip(1 - np.abs(np.arange(old) - np.clip(_centre, 0, old - 1)[:, None]) / width, 0, None)
    return (share / share.sum(1, keepdims=True)).astype(np.float32)


def _nearest_index(old: int, new: int) -> np.ndarray:
    """The old pixel [new] that holds the centre of every new one."""
    return np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)


def _stretch(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values [..., h, w] on the raster `shape`: integers by nearest neighbour, real numbers linearly."""
    h, w = values.shape[-2:]
    if np.issubdtype(values.dtype, np.floating):
        return _linear_weights(h, shape[0]) @ values.astype(np.float32, copy=False) @ _linear_weights(w, shape[1]).T
    return values[..., _nearest_index(h, shape[0])[:, None], _nearest_index(w, shape[1])]


def _centre(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values [..., h, w] cropped or padded with 0 about their centre to `shape`."""
    out = np.zeros((*values.shape[:-2], *shape), values.dtype)
    source, target = [], []
    for old, new in zip(values.shape[-2:], shape, strict=True):
        n, cut = min(old, new), (abs(old - new) // 2) * (1 if old > new else -1)
        source.append(slice(max(cut, 0), max(cut, 0) + n))
        target.append(slice(max(-cut, 0), max(-cut, 0) + n))
    out[..., target[0], target[1]] = values[..., source[0], source[1]]
    return out


def to_grid(
    slices: np.ndarray,  # [n, h, w], intensities or labels
    grid: Grid,  # where they go
    labels: bool = False,  # whether they are labels, which never mix
) -> np.ndarray:
    """Slices [n, H, W] on the cohort's grid."""
    values = np.asarray(slices)
    values = values.astype(np.uint8 if labels else np.float32, copy=False)
    return (_stretch if grid.fit == "resize" else _centre)(values, (grid.size, grid.size))


def from_grid(
    values: np.ndarray,  # [n, H, W] or [n, C, H, W]; integers are labels, real numbers probabilities
    shape: tuple[int, int],  # rows and columns of the native slices
    grid: Grid,  # where the values are
) -> np.ndarray:
    """Values on the native raster [n, h, w] or [n, C, h, w]; what a centre crop never saw is 0."""
    return (_stretch if grid.fit == "resize" else _centre)(np.asarray(values), (shape[0], shape[1]))
