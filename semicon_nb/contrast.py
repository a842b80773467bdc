"""Every contrastive loss is a short formula on sums over pairs of pixels: exact, in memory that grows with the pixels."""

__all__ = ["enough_float32", "log_pair_sums", "check_temperature"]

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# The same words everywhere: `unit` [G, M, C] holds unit rows in groups that meet only themselves, `temperature` is t, `weight` [G, M] says
# how often a row counts as a key (None: once), `classes` [G, M] whose sums are told apart (None: no one's). A tile meets the rows `i` with
# the rows `j` of the groups `part`; of these it has g groups, m rows and n columns.
Extents = tuple[tuple[int, int], ...]
"""Rows and anchors of each group, the anchors first; tiles have `size` rows a side."""


def tiles(rows: int, anchors: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Tiles (rows, columns), `size` rows a side, that meet every unordered pair with at least one of the first `anchors` of `rows` once.

    A tile on the diagonal meets its own twice.
    """
    for top in range(0, anchors, size):
        bottom = min(top + size, anchors)
        yield slice(top, bottom), slice(top, bottom)
        for left in range(bottom, rows, size):
            yield slice(top, bottom), slice(left, min(left + size, rows))


def tile_size(device: torch.device) -> int:
    """Side of a tile in rows on a `device`: what stays in a core's cache, or what fills a GPU."""
    return 576 if device.type == "cpu" else 4096


def enough_float32(
    temperature: float,  # t
    rows: float,  # terms of a sum, each as often as it counts
) -> bool:
    """Whether sums of `rows` terms between exp(-1/t) and exp(1/t), and what gradients divide by them, keep all digits of float32.

    Its numbers reach from e^-87 to e^88; the rest is room for gradients of anchors that count little.
    """
    return 1 / temperature + math.log(rows) < 72


def exponentials(left: Tensor, right: Tensor, temperature: float, diagonal: bool, memory: Tensor) -> Tensor:
    """One tile exp(left . right / t) [g, m, n] of unit rows [g, m, C] and [g, n, C], in `memory`, as a power of two of a scaled product.

    On the `diagonal` the two are the same rows: each is left out with itself.
    """
    shape = left.shape[0], left.shape[1], right.shape[1]
    tile = memory[: math.prod(shape)].view(shape)
    torch.baddbmm(tile, left, right.mT, beta=0, alpha=math.log2(math.e) / temperature, out=tile)
    tile.exp2_()
    if diagonal:
        tile.diagonal(dim1=1, dim2=2).zero_()
    return tile


def bracket(share_i: Tensor, share_j: Tensor, weight_i: Tensor | None, weight_j: Tensor | None, memory: Tensor) -> Tensor:
    """What a tile of exp(s) is multiplied with in the backward pass [g, m, n], in `memory`.

    Of its rows [g, m] and columns [g, n]: the share g / sum, 0 where a row is no anchor, and how often each counts as a key.
    """
    shape = share_i.shape[0], share_i.shape[1], share_j.shape[1]
    out = memory[: math.prod(shape)].view(shape)
    if weight_i is None or weight_j is None:
        return torch.add(share_i[:, :, None], share_j[:, None], out=out)
    torch.mul(share_i[:, :, None], weight_j[:, None], out=out)
    return out.addcmul_(weight_i[:, :, None], share_j[:, None])


def same_class(classes: Tensor | None, part: slice, i: slice, j: slice) -> Tensor | None:
    """Which pairs of a tile are of one class [g, m, n] bool; None where no classes are told apart."""
    return None if classes is None else classes[part, i, None] == classes[part, None, j]


def add_sums(sums: Tensor, tile: Tensor, weight: Tensor | None) -> None:
    """Add the row sums of a tile [g, m, n], each column counted `weight` [g, n] times, to `sums` [g, m]."""
    sums += tile.sum(2) if weight is None else (tile @ weight[:, :, None])[:, :, 0]


def cut(values: Tensor | None, part: slice, rows: slice) -> Tensor | None:
    """Some `rows` of some groups, `part`, of values [G, M], if there are any: [g, m]."""
    return None if values is None else values[part, rows]


def stacks(extents: Extents, size: int) -> Iterator[tuple[slice, int, int]]:
    """Groups that share tiles, and the most rows and anchors among them."""
    height, width = (min(size, max(extent[k] for extent in extents)) for k in (1, 0))
    stack = max(1, size * size // max(1, height * width))
    for start in range(0, len(extents), stack):
        part = extents[start : start + stack]
        yield slice(start, start + len(part)), max(rows for rows, _ in part), max(anchors for _, anchors in part)


def stacked_tiles(extents: Extents, size: int) -> Iterator[tuple[slice, slice, slice]]:
    """Groups, rows and columns of every tile of every stack."""
    for part, rows, anchors in stacks(extents, size):
        for i, j in tiles(rows, anchors, size):
            yield part, i, j


def tile_memory(unit: Tensor, extents: Extents, size: int) -> Tensor:
    """Memory [n] for the largest tile of any stack, not filled, of the type and on the device of `unit`."""
    return unit.new_empty(
        max((part.stop - part.start) * min(size, anchors) * min(size, rows) for part, rows, anchors in stacks(extents, size))
    )


def add_tile(sums: Tensor, tile: Tensor, weight: Tensor | None, part: slice, i: slice, j: slice) -> None:
    """Add the sums of a tile [g, m, n] to those of the anchors [G, A]: its row sums to its rows, its column sums to its columns."""
    add_sums(sums[part, i], tile, cut(weight, part, j))
    above = min(j.stop, sums.shape[1]) - j.start
    if i != j and above > 0:
        add_sums(sums[part, j.start : j.start + above], tile[:, :, :above].mT, cut(weight, part, i))


def pair_sums(
    unit: Tensor,  # [G, M, C] unit rows, anchors first
    temperature: float,  # t
    extents: Extents,  # rows and anchors of each group
    weight: Tensor | None,  # [G, M] how often a row counts as a key
    classes: Tensor | None,  # [G, M]
    size: int,  # side of a tile
    turn: tuple[int, int] = (0, 1),  # (k, n): every n-th tile from the k-th
) -> Tensor:  # [kinds, G, A] of exp(s): over all others; or over the own class, and over the rest
    """Sums over the pairs of each anchor."""
    sums = unit.new_zeros(1 if classes is None else 2, len(unit), max(anchors for _, anchors in extents))
    memory = tile_memory(unit, extents, size)
    for part, i, j in islice(stacked_tiles(extents, size), turn[0], None, turn[1]):
        tile = exponentials(unit[part, i], unit[part, j], temperature, i == j, memory)
        same = same_class(classes, part, i, j)
        if same is not None:
            add_tile(sums[1], tile.masked_fill(same, 0), weight, part, i, j)
            tile.mul_(same)
        add_tile(sums[0], tile, weight, part, i, j)
    return sums


def pair_gradient(
    unit: Tensor,  # [G, M, C] unit rows, anchors first
    share: Tensor,  # [kinds, G, M] g / sum of each anchor, 0 for other rows
    temperature: float,  # t
    extents: Extents,  # rows and anchors of each group
    weight: Tensor | None,  # [G, M] how often a row counts as a key
    classes: Tensor | None,  # [G, M]
    size: int,  # side of a tile
    turn: tuple[int, int] = (0, 1),  # (k, n): every n-th tile from the k-th
) -> Tensor:  # [G, M, C]
    """t times the gradient of the unit rows."""
    gradient, memory = torch.zeros_like(unit), tile_memory(unit, extents, size)
    factors = [torch.empty_like(memory) for _ in share]
    for part, i, j in islice(stacked_tiles(extents, size), turn[0], None, turn[1]):
        tile = exponentials(unit[part, i], unit[part, j], temperature, i == j, memory)
        weights = cut(weight, part, i), cut(weight, part, j)
        factor, *rest = (bracket(kind[part, i], kind[part, j], *weights, flat) for kind, flat in zip(share, factors, strict=True))
        same = same_class(classes, part, i, j)
        tile.mul_(factor if same is None else torch.where(same, factor, rest[0]))
        gradient[part, i].baddbmm_(tile, unit[part, j])
        if i != j:
            gradient[part, j].baddbmm_(tile.mT, unit[part, i])
    return gradient


def threads_for(unit: Tensor, extents: Extents, size: int) -> int:
    """As many threads as PyTorch may use, up to eight; one on a GPU, or where there are few tiles."""
    count = min(torch.get_num_threads(), 8)
    enough = 8 * count
    return count if unit.device.type == "cpu" and sum(1 for _ in islice(stacked_tiles(extents, size), enough)) == enough else 1


def over_threads(part: Callable[[tuple[int, int]], Tensor], threads: int) -> Tensor:
    """The sum [...] of all parts, turn -> [...], each computed by a thread of its own on one core."""
    if threads == 1:
        return part((0, 1))

    def one(k: int) -> Tensor:
        torch.set_num_threads(1)
        with torch.no_grad():  # threads do not inherit it
            return part((k, threads))

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with ThreadPoolExecutor(threads) as pool:
            first, *others = pool.map(one, range(threads))
    finally:
        torch.set_num_threads(before)
    for other in others:
        first += other
    return first


class LogPairSums(Function):
    """Logarithms of the sums over pairs, computed tile by tile, and again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,  # what PyTorch keeps for the backward pass
        unit: Tensor,  # [G, M, C] unit rows, anchors first
        basis: Tensor | None,  # [C, r] orthonormal columns that hold all rows, None to take the rows as they are
        temperature: float,  # t
        extents: Extents,  # (rows, anchors) of each group
        weight: Tensor | None,  # [G, M] how often a row counts as a key, None for once
        classes: Tensor | None,  # [G, M] int64, None to tell none apart
        size: int,  # side of a tile, in rows
    ) -> Tensor:  # [kinds, G, A]
        """Logarithms of the sums over pairs, `log sum_k w_k exp(u_i . u_k / t)`."""
        unit = unit if basis is None else unit @ basis
        threads = threads_for(unit, extents, size)
        sums = over_threads(lambda turn: pair_sums(unit, temperature, extents, weight, classes, size, turn), threads)
        ctx.save_for_backward(unit, basis, sums, weight, classes)
        ctx.settings = temperature, extents, size
        return sums.log()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # what forward kept
        upstream: Tensor,  # [kinds, G, A] gradient of the logarithms
    ) -> tuple[Tensor | None, ...]:  # [G, M, C] of the unit rows, None for the other six arguments
        """Gradient of the unit rows."""
        unit, basis, sums, weight, classes = ctx.saved_tensors
        temperature, extents, size = ctx.settings
        peak = upstream.abs().max().clamp(min=torch.finfo(upstream.dtype).tiny)
        share = sums.new_zeros(*sums.shape[:2], unit.shape[1])
        share[..., : sums.shape[2]] = torch.where(upstream != 0, upstream / peak / sums, 0)
        with torch.autocast(unit.device.type, enabled=False):
            threads = threads_for(unit, extents, size)
            gradient = over_threads(lambda turn: pair_gradient(unit, share, temperature, extents, weight, classes, size, turn), threads)
            gradient.mul_(peak / temperature)
            gradient = gradient if basis is None else gradient @ basis.T
        return gradient, *[None] * 6


def low_rank_basis(
    unit: Tensor,  # [G, M, C] unit rows
    tolerance: float = 2e-6,  # largest length of a row outside the basis
    least_gain: float = 0.7,  # worth it if rank / C is at most this
) -> Tensor | None:  # [C, r] orthonormal columns, None where no smaller basis holds all rows
    """A basis of few dimensions that provably holds every row."""
    rows = unit.detach().flatten(0, 1)
    rows = rows.cpu() if rows.device.type == "mps" else rows  # which has no float64
    if torch.linalg.matrix_rank(rows[:: max(1, len(rows) // (2 * rows.shape[1]))], tol=tolerance) > least_gain * rows.shape[1]:
        return None
    gram = sum(part.double().T @ part.double() for part in rows.split(4096)).cpu()
    values, vectors = torch.linalg.eigh(gram)
    rank = int((values.cumsum(0) > len(rows) * (tolerance / 4) ** 2).sum())
    if rank > least_gain * len(gram):
        return None
    basis = vectors[:, len(gram) - rank :].to(rows)
    residual = max(torch.linalg.vector_norm(part - part @ basis @ basis.T, dim=1).max().item() for part in rows.split(4096))
    return basis.to(unit) if residual <= tolerance else None


def log_pair_sums(
    unit: Tensor,  # [G, M, C] float32 or float64 unit rows, the anchors first in each group, zeros where a group has no pixel
    temperature: float,  # t, at least 0.002
    extents: Extents | None = None,  # (rows, anchors) of each group, None for all rows
    weight: Tensor | None = None,  # [G, M] how often a row counts as a key (0 where there is no pixel), None for once
    classes: Tensor | None = None,  # [G, M] int64, to sum over the own class and over the rest apart
    size: int | None = None,  # side of a tile, None for what suits the device
) -> Tensor:  # [1 or 2, G, A] log sum_k w_k exp(u_i . u_k / t) over the other rows k of the group
    """Exact logarithms of the sums over pairs, in memory linear in the rows; TypeError or ValueError for rows of another type, shape or length."""
    check_temperature(temperature)
    check_unit(unit)
    dtype, basis, groups, rows, channels = unit.dtype, None, *unit.shape
    extents = extents or ((rows, rows),) * groups
    most = rows if weight is None else float(weight.sum(1).max())
    if dtype == torch.float32 and not enough_float32(temperature, max(most, rows)):
        unit = unit.double()
    elif dtype == torch.float32 and max(anchors for _, anchors in extents) >= 8 * channels:
        basis = low_rank_basis(unit)
    weight = None if weight is None else weight.to(unit.dtype)
    with torch.autocast(unit.device.type, enabled=False):
        return LogPairSums.apply(unit, basis, temperature, extents, weight, classes, size or tile_size(unit.device)).to(dtype)


def check_unit(unit: Tensor) -> None:
    """Raise an error unless these are rows whose exponentials the sums can hold."""
    if not isinstance(unit, Tensor) or unit.dtype not in (torch.float32, torch.float64):
        found = unit.dtype if isinstance(unit, Tensor) else type(unit).__name__
        raise TypeError(f"unit: found {found}, expected a torch.Tensor [G, M, C] of float32 or float64")
    if unit.ndim != 3:
        raise ValueError(f"unit: found shape {list(unit.shape)}, expected [G, M, C]; of one group it is unit[None]")
    longest = float(torch.linalg.vector_norm(unit.detach(), dim=2).max()) if unit.numel() else 0.0
    if not longest < 1.01:
        raise ValueError(f"unit: found a row of length {longest:.3g}, expected 1; divide each by its length")


def check_temperature(temperature: float) -> None:
    """Raise an error unless the temperature is a number that the sums can hold."""
    if isinstance(temperature, bool) or not isinstance(temperature, Real):
        raise TypeError(f"temperature: found {type(temperature).__name__}, expected a positive number")
    if not 0.002 <= temperature < math.inf:
        raise ValueError(f"temperature: found {temperature}, expected a positive number of at least 0.002 (exp(1/t) must fit in float64)")


class UnitRows(Function):
    """Rows of unit length picked from a table, with the gradient of the raw rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        """Unit rows [G, M, C] by their `index` [G, M] in a table [P, C], zeros for -1, float32 or float64; ValueError where a row is not finite."""
        unit = rows.index_select(0, index.clamp(min=0).flatten()).to(torch.promote_types(rows.dtype, torch.float32))
        norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
        if not bool(torch.isfinite(norm).all()):
            raise ValueError(f"features: found {not_finite(unit)}, expected finite numbers")
        scale = torch.where((norm > 1e-12) & (index >= 0).view(-1, 1), 1 / norm, 0)
        unit.mul_(scale)
        ctx.save_for_backward(unit, scale, index)
        ctx.rows = rows.shape, rows.dtype
        return unit.view(*index.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """Gradient of the raw rows [P, C]: what lies across each row, divided by its length."""
        unit, scale, index = ctx.saved_tensors
        shape, dtype = ctx.rows
        upstream = upstream.reshape(unit.shape)
        with torch.autocast(unit.device.type, enabled=False):
            along = torch.linalg.vecdot(unit, upstream)[:, None]
        raw = torch.addcmul(upstream, unit, along, value=-1).mul_(scale)
        return raw.new_zeros(shape).index_add_(0, index.clamp(min=0).flatten(), raw).to(dtype), None


def not_finite(values: Tensor) -> str:
    """What is wrong with values [...] whose length is not a finite number."""
    nan, infinite = int(values.isnan().sum()), int(values.isinf().sum())
    return f"{nan} NaN and {infinite} infinite values" if nan or infinite else "values too large to square"
