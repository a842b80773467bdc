"""Ways to take the exact supervised loss without a kernel of one's own: tiles, compiled tiles, attention, one dense matrix.

Every contender takes raw rows [N, C], classes [N] (all of them foreground, with two pixels at least) and a temperature, and returns a
scalar with a graph.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

Loss = Callable[[Tensor, Tensor, float], Tensor]
SIDE = 4096
"""Rows of a compiled tile."""


def mean_positive(
    unit: Tensor,  # [A, C] unit rows of the anchors
    labels: Tensor,  # [A] int64, their classes
    temperature: float,  # t
) -> Tensor:  # scalar
    """Mean similarity of an anchor with its positives, divided by t: from the sums of the classes alone."""
    counts = torch.bincount(labels)
    sums = unit.new_zeros(len(counts), unit.shape[1]).index_add(0, labels, unit)
    each = (sums.square().sum(1) - counts) / (temperature * (counts - 1).clamp(min=1))
    return each.sum() / len(unit)


def ours(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The package's own tiles, at full resolution."""
    from semicon_nb.losses import supervised_local_contrastive_loss

    return supervised_local_contrastive_loss(rows.T[None, None, :, :, None], labels[None, None, :, None], temperature)


def without_itself(similarity: Tensor, first: int) -> Tensor:
    """Similarities [m, N] of the rows from `first` on, with minus infinity where a row meets itself."""
    own = torch.arange(len(similarity), device=similarity.device)
    return similarity.index_put((own, own + first), similarity.new_tensor(-math.inf))


def dense(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The least that dense code can do: one matrix, its diagonal left out, logsumexp, positives from class sums."""
    unit = normalize(rows, dim=1)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-math.inf)
    return similarity.logsumexp(1).mean() - mean_positive(unit, labels, temperature)


def row_chunks(rows: Tensor, labels: Tensor, temperature: float, chunk: int = 1024) -> Tensor:
    """The same some rows at a time, each chunk computed again in the backward pass: in float64 the measure of all others."""
    unit = normalize(rows, dim=1)

    def part(first: int) -> Tensor:
        return without_itself(unit[first : first + chunk] @ unit.T / temperature, first).logsumexp(1)

    logs = torch.cat([checkpoint(part, first, use_reentrant=False) for first in range(0, len(unit), chunk)])
    return logs.mean() - mean_positive(unit, labels, temperature)


# attention ------------------------------------------------------------------------------------------------------------
def attend(kernel: str, rows: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Softmax(scale rows rows') values [N, C] and the logarithm of its denominator [N] float32, by one of PyTorch's kernels.

    They keep that logarithm for their own backward pass, so it is there for the asking; only the public function hides it.
    """
    rows, values = rows[None, None], values[None, None]
    if kernel == "cpu":
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(rows, rows, values, scale=scale)
    elif kernel == "flash":
        found = torch.ops.aten._scaled_dot_product_flash_attention(rows, rows, values, scale=scale)
    elif kernel == "efficient":
        found = torch.ops.aten._scaled_dot_product_efficient_attention(rows, rows, values, None, True, scale=scale)
    else:
        found = torch.ops.aten._scaled_dot_product_cudnn_attention(rows, rows, values, None, True, scale=scale)
    return found[0][0, 0], found[1].flatten()[: rows.shape[2]].float()


class AttentionLogSums(Function):
    """Mean over rows of log sum over the others of exp(s), and its gradient, by two calls of attention."""

    @staticmethod
    def forward(
        ctx: Any,  # what PyTorch keeps for the backward pass
        unit: Tensor,  # [N, C] float32 unit rows
        temperature: float,  # t
        kernel: str,  # "cpu", "flash", "efficient" or "cudnn"
        dtype: torch.dtype,  # in which attention reads them
    ) -> Tensor:  # scalar
        """Attention of the rows to themselves gives the sums; each row's own term is taken away as it was added, rounding included."""
        rows = unit.to(dtype).contiguous()
        pulled, everything = attend(kernel, rows, rows, 1 / temperature)
        itself = torch.linalg.vecdot(rows.float(), rows.float()) / temperature
        logs = everything + torch.log1p(-torch.exp(itself - everything))
        ctx.save_for_backward(rows, pulled, everything, itself, logs)
        ctx.settings = temperature, kernel
        return logs.mean()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # what forward kept
        upstream: Tensor,  # scalar
    ) -> tuple[Tensor | None, ...]:  # [N, C] of the unit rows, None for the other three arguments
        """What a row pulls is there already; what pulls it is attention to rows divided by their sums."""
        rows, pulled, everything, itself, logs = ctx.saved_tensors
        temperature, kernel = ctx.settings
        lowest, wide = logs.min(), rows.float()
        values = (wide * torch.exp(lowest - logs)[:, None]).to(rows.dtype)
        pushed = attend(kernel, rows, values, 1 / temperature)[0].float()
        own = torch.exp(itself - logs)[:, None] * wide
        gradient = pulled.float() * torch.exp(everything - logs)[:, None] - own
        gradient += pushed * torch.exp(everything - lowest)[:, None] - own
        return gradient * (upstream / (len(rows) * temperature)), None, None, None


def attention(rows: Tensor, labels: Tensor, temperature: float, kernel: str, dtype: torch.dtype) -> Tensor:
    """Two calls of attention."""
    unit = normalize(rows, dim=1)
    return AttentionLogSums.apply(unit, temperature, kernel, dtype) - mean_positive(unit, labels, temperature)


# compiled tiles -------------------------------------------------------------------------------------------------------
def tile_sums(left: Tensor, right: Tensor, diagonal: bool) -> tuple[Tensor, Tensor]:
    """Row sums [m] and column sums [n] of a tile of 2 ** (left . right), for scaled rows [m, C] and [n, C]."""
    tile = torch.exp2(left @ right.T)
    if diagonal:
        own = torch.arange(len(left), device=left.device)
        tile = torch.where(own[:, None] == own, 0.0, tile)
    return tile.sum(1), tile.sum(0)


def tile_pulls(left: Tensor, right: Tensor, share: Tensor, other: Tensor, diagonal: bool) -> tuple[Tensor, Tensor]:
    """What a tile adds to the gradient of its rows [m, C] and of its columns [n, C]; `share` [m] and `other` [n] are g / sum."""
    tile = torch.exp2(left @ right.T) * (share[:, None] + other)
    if diagonal:
        own = torch.arange(len(left), device=left.device)
        tile = torch.where(own[:, None] == own, 0.0, tile)
    return tile @ right, tile.T @ left


@lru_cache(maxsize=4)
def compiled(backend: str) -> tuple[Callable, Callable]:
    """Both functions of a tile, compiled."""
    made = partial(torch.compile, fullgraph=True, dynamic=False, backend=backend)
    return made(tile_sums), made(tile_pulls)


def pairs_of_tiles(count: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Every unordered pair of tiles once, the diagonal ones with themselves."""
    for top in range(0, count, side):
        for left in range(top, count, side):
            yield slice(top, min(top + side, count)), slice(left, min(left + side, count))


class CompiledLogSums(Function):
    """Logarithms of the sums over pairs, one compiled tile after the other."""

    @staticmethod
    def forward(
        ctx: Any,  # what PyTorch keeps for the backward pass
        unit: Tensor,  # [N, C] float32 unit rows
        temperature: float,  # t
        side: int,  # of a tile
        backend: str,  # of torch.compile
    ) -> Tensor:  # [N]
        """Sums of the rows and, where two different tiles meet, of the columns."""
        rows, sums = unit * math.sqrt(math.log2(math.e) / temperature), unit.new_zeros(len(unit))
        for i, j in pairs_of_tiles(len(rows), side):
            across, down = compiled(backend)[0](rows[i], rows[j], i == j)
            sums[i] += across
            if i != j:
                sums[j] += down
        ctx.save_for_backward(rows, sums)
        ctx.settings = temperature, side, backend
        return sums.log()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # what forward kept
        upstream: Tensor,  # [N]
    ) -> tuple[Tensor | None, ...]:  # [N, C] of the unit rows, None for the other three arguments
        """Each tile again, used for its rows and its columns."""
        rows, sums = ctx.saved_tensors
        temperature, side, backend = ctx.settings
        lowest, gradient = sums.min(), torch.zeros_like(rows)
        share = upstream * (lowest / sums)
        for i, j in pairs_of_tiles(len(rows), side):
            across, down = compiled(backend)[1](rows[i], rows[j], share[i], share[j], i == j)
            gradient[i] += across
            if i != j:
                gradient[j] += down
        scale = math.sqrt(math.log2(math.e) / temperature)
        return gradient * (1 / (lowest * temperature * scale)), None, None, None


def compiled_tiles(rows: Tensor, labels: Tensor, temperature: float, side: int = SIDE, backend: str = "inductor") -> Tensor:
    """Tiles whose exponential, sums and factors are fused by torch.compile."""
    unit = normalize(rows, dim=1)
    return CompiledLogSums.apply(unit, temperature, side, backend).mean() - mean_positive(unit, labels, temperature)
