"""Warps: where each pixel of a view comes from, smooth and random; the slice read there; and the way back."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Warp"]


def uniform(count: tuple[int, ...], low: float, high: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Values [*count] between `low` and `high`, drawn on the generator's device (None: torch's own) and put on this one."""
    source = generator.device if generator is not None else device
    return torch.rand(count, generator=generator, device=source).to(device) * (high - low) + low


@lru_cache(maxsize=64)
def spline_weights(size: int, knots: int, device: torch.device) -> Tensor:
    """Weights [size, knots + 3] of the cubic B-spline's control points at each pixel; each row sums to one.

    The spline has `knots` pieces along `size` pixels. A field is then a product of two small matrices, without filtering a noise image
    of full size.
    """
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * knots / size
    distance = (place[:, None] - torch.arange(-1, knots + 2, dtype=torch.float64)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp_min(0) ** 3 / 6
    return torch.where(distance < 1, near, far).float().to(device)


def draw_spline(control: Tensor, shape: tuple[int, int]) -> Tensor:
    """The smooth field [*, *shape] that the control points [*, knots + 3, knots + 3] pull up and down."""
    rows, columns = (spline_weights(size, count - 3, control.device) for size, count in zip(shape, control.shape[-2:], strict=True))
    return rows @ (control @ columns.T)


@lru_cache(maxsize=64)
def largest_control(
    shape: tuple[int, int],  # height and width of a field, pixels
    knots: int,  # pieces of the spline along each side
    device: torch.device,  # where the weights of the spline are
) -> float:
    """Up to where uniform control points give a field whose root mean square is one."""
    rows, columns = (spline_weights(size, knots, device).square().sum(1).mean().sqrt() for size in shape)
    return math.sqrt(3) / float(rows * columns)


def draw_control(
    count: tuple[int, ...], shape: tuple[int, int], knots: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Control points [*count, knots + 3, knots + 3] of random fields, `shape` pixels large, whose root mean square is one.

    They are uniform, not Gaussian, so that no draw is extreme enough to fold a picture over itself.
    """
    largest = largest_control(shape, knots, device)
    return uniform((*count, knots + 3, knots + 3), -largest, largest, generator, device)


@dataclass(frozen=True)
class Warp:
    """Where each pixel of each view comes from: T(q) = A (q + e(q)) + t, in pixels about the centre.

    A spline whose control points lie on a straight lattice is that lattice, so the spline through the moved, turned
    and shifted points is the whole warp: some hundred numbers, and only the last product touches the pixels.
    """

    matrix: Tensor  # A [B, V, 2, 2]
    shift: Tensor  # t [B, V, 2], pixels
    control: Tensor  # control points of T [B, V, 2, knots + 3, knots + 3], pixels
    shape: tuple[int, int]  # height and width of a view, pixels

    def sources(self) -> Tensor:
        """Row and column [B, V, 2, H, W] in the slice, measured from its centre in pixels."""
        return draw_spline(self.control, self.shape)

    def grid(self) -> Tensor:
        """The same as `F.grid_sample` wants it: x before y, the slice from -1 to 1, [B, V, H, W, 2]."""
        reach = torch.tensor([2 / side for side in self.shape[::-1]], device=self.control.device)
        return draw_spline(self.control.flip(2) * reach[:, None, None], self.shape).permute(0, 1, 3, 4, 2)


def lattice(shape: tuple[int, int], knots: int, device: torch.device) -> Tensor:
    """Row and column [2, knots + 3, knots + 3] of the control points of the warp that moves nothing."""
    axes = [(torch.arange(-1, knots + 2, device=device) / knots - 0.5) * side for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def sample(values: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Each view's reading [B, V, H, W] of values [B, H, W] at the places of `Warp.grid`, "bilinear" or "nearest"; 0 outside the slice."""
    repeated = values[:, None].expand(*grid.shape[:2], *values.shape[1:]).flatten(0, 1)
    read = F.grid_sample(repeated[:, None], grid.flatten(0, 1), mode=mode, padding_mode="zeros", align_corners=False)
    return read.view(grid.shape[:-1])


def invert(warp: Warp, view: int, points: Tensor, rounds: int = 12) -> Tensor:
    """Row and column [B, 2, H, W] in a view, about its centre, of each point of the slice [B, 2, H, W], in pixels about the slice's centre.

    The affine part is undone directly; e is smooth, so q <- r - e(q) closes in on the answer in a few `rounds`. Where the warp is too
    strong for that, and the place found misses the point by more than 0.1 pixels of the view, it is nan.
    """

    def undo(places: Tensor) -> Tensor:
        return torch.linalg.solve(warp.matrix[:, view], places.flatten(2) - warp.shift[:, view, :, None]).view(places.shape)

    elastic = _widened(undo(warp.sources()[:, view]) - centred_pixels(warp.shape, points.device))
    reach = torch.tensor([2 / (side + 2) for side in warp.shape[::-1]], device=points.device)

    def closer(places: Tensor) -> Tensor:
        grid = places.flip(1).permute(0, 2, 3, 1) * reach
        return straight - F.grid_sample(elastic, grid, padding_mode="border", align_corners=False)

    found = straight = undo(points)
    for _ in range(rounds):
        found = closer(found)
    return torch.where((found - closer(found)).norm(dim=1, keepdim=True) <= 0.1, found, torch.nan)


def _widened(field: Tensor) -> Tensor:
    """A smooth field [B, 2, H, W] with one more pixel on each side [B, 2, H + 2, W + 2], extrapolated linearly."""
    for axis in (2, 3):
        lines = field.split(1, axis)
        inner = min(1, len(lines) - 1)
        field = torch.cat([2 * lines[0] - lines[inner], field, 2 * lines[-1] - lines[-1 - inner]], axis)
    return field


def centred_pixels(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Row and column [2, H, W] of each pixel, measured from the centre of the slice."""
    axes = [torch.arange(size, device=device) - (size - 1) / 2 for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))
