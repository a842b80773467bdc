"""The exact supervised loss as two Triton kernels: no tile of the pair matrix ever leaves the multiprocessor.

Rows are scaled by sqrt(log2(e) / t), so that 2 ** (row . key) is exp(u . v / t). The forward kernel sums a block of anchors over all
keys. The backward kernel computes each tile again and multiplies it with the keys at once: the pair matrix P is symmetric, so the gradient
of row i is the sum over j of P_ij (w_i + w_j) u_j, with w = g / sum of an anchor and 0 of any other row. Every output is written by one
program: no atomic additions, the same bits each time. 2 N^2 C operations forward and 4 N^2 C backward, three times that in the x3 modes. float16 multiplies as
fast as bfloat16 and rounds eight times finer; its narrow range is no trouble, since unit rows and shares can be scaled to it.

Needs Triton and a GPU, or Triton and TRITON_INTERPRET=1 before the import, which runs it slowly in NumPy.
"""

import math
import os
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize, pad

from .contenders import mean_positive

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether the kernels run in NumPy."""


@dataclass(frozen=True)
class Mode:
    """How the products are multiplied."""

    dtype: torch.dtype  # in which rows are read
    split: bool  # each number is the sum of two of that type, and a product is three
    precision: str  # what Triton does with float32: "tf32" or "tf32x3"; says nothing for 16 bits


MODES = {
    "fp16": Mode(torch.float16, False, "tf32"),
    "bf16": Mode(torch.bfloat16, False, "tf32"),
    "bf16x3": Mode(torch.bfloat16, True, "tf32"),
    "tf32": Mode(torch.float32, False, "tf32"),
    "tf32x3": Mode(torch.float32, False, "tf32x3"),
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a program, all of them powers of two."""

    rows: int = 128  # that a program owns
    keys: int = 64  # that it reads at a time
    warps: int = 8
    stages: int = 3  # of keys that are on their way


@triton.jit
def _load(values, index, column, count, CHANNELS: tl.constexpr):
    """Rows [n, CHANNELS] of a table, zeros beyond `count`."""
    return tl.load(values + index[:, None] * CHANNELS + column[None, :], mask=index[:, None] < count, other=0.0)


@triton.jit
def _dot(left, right, out, PRECISION: tl.constexpr, WIDEN: tl.constexpr):
    """`out` with a product added; WIDEN is for the interpreter, which takes bfloat16 for whole numbers."""
    if WIDEN:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, acc=out, input_precision=PRECISION)


@triton.jit
def _tile(a, a_low, b, b_low, ROWS: tl.constexpr, KEYS: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr):
    """2 ** (a . b) of two blocks of rows [ROWS, C] and [KEYS, C]: [ROWS, KEYS] float32."""
    scores = _dot(a, tl.trans(b), tl.zeros([ROWS, KEYS], tl.float32), PRECISION, WIDEN)
    if SPLIT:
        scores = _dot(a, tl.trans(b_low), scores, PRECISION, WIDEN)
        scores = _dot(a_low, tl.trans(b), scores, PRECISION, WIDEN)
    return tl.exp2(scores)


@triton.jit
def _sums_over(
    total, a, a_low, i, first, last, high, low, count, CHANNELS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    SPLIT: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """`total` [m] with the sums over the keys from `first` to `last` added; MASKED leaves out a row with itself and keys beyond `count`."""
    column = tl.arange(0, CHANNELS)
    for left in range(first, last, KEYS):
        j = left + tl.arange(0, KEYS)
        b = _load(high, j, column, count, CHANNELS)
        b_low = _load(low, j, column, count, CHANNELS) if SPLIT else b
        p = _tile(a, a_low, b, b_low, ROWS, KEYS, SPLIT, PRECISION, WIDEN)
        if MASKED:
            p = tl.where((i[:, None] != j[None, :]) & (j[None, :] < count), p, 0.0)
        total += tl.sum(p, axis=1)
    return total


@triton.jit
def _forward(
    high, low, sums, count, anchors, CHANNELS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, SPLIT: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Sums [anchors] over the other rows of 2 ** (row . key), a block of anchors in each program."""
    top = tl.program_id(0) * ROWS
    i = top + tl.arange(0, ROWS)
    column = tl.arange(0, CHANNELS)
    a = _load(high, i, column, count, CHANNELS)
    a_low = _load(low, i, column, count, CHANNELS) if SPLIT else a
    whole = count // KEYS * KEYS  # keys in full blocks
    before = tl.minimum(top // KEYS * KEYS, whole)  # the first key of a block that meets the own rows
    after = tl.maximum(tl.minimum(tl.cdiv(top + ROWS, KEYS) * KEYS, whole), before)
    total = tl.zeros([ROWS], tl.float32)
    total = _sums_over(total, a, a_low, i, 0, before, high, low, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, False)
    total = _sums_over(total, a, a_low, i, before, after, high, low, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, True)
    total = _sums_over(total, a, a_low, i, after, whole, high, low, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, False)
    total = _sums_over(total, a, a_low, i, whole, count, high, low, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, True)
    tl.store(sums + i, total, mask=i < anchors)


@triton.jit
def _pulls_over(
    out, a, a_low, own, i, first, last, high, low, share, count, CHANNELS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    SPLIT: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """`out` [m, C] with P (w_i + w_j) u_j added for the keys from `first` to `last`; keys beyond `count` are zeros and add nothing."""
    column = tl.arange(0, CHANNELS)
    for left in range(first, last, KEYS):
        j = left + tl.arange(0, KEYS)
        b = _load(high, j, column, count, CHANNELS)
        b_low = _load(low, j, column, count, CHANNELS) if SPLIT else b
        other = tl.load(share + j, mask=j < count, other=0.0)
        p = _tile(a, a_low, b, b_low, ROWS, KEYS, SPLIT, PRECISION, WIDEN) * (own[:, None] + other[None, :])
        if MASKED:
            p = tl.where(i[:, None] != j[None, :], p, 0.0)
        coarse = p.to(b.dtype)
        out = _dot(coarse, b, out, PRECISION, WIDEN)
        if SPLIT:
            rest = (p - coarse.to(tl.float32)).to(b.dtype)
            out = _dot(coarse, b_low, out, PRECISION, WIDEN)
            out = _dot(rest, b, out, PRECISION, WIDEN)
    return out


@triton.jit
def _backward(
    high, low, share, gradient, count, anchors, CHANNELS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, SPLIT: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Gradient [count, C] of the scaled rows, a block of rows in each program; rows that are no anchors meet anchors only."""
    top = tl.program_id(0) * ROWS
    i = top + tl.arange(0, ROWS)
    column = tl.arange(0, CHANNELS)
    a = _load(high, i, column, count, CHANNELS)
    a_low = _load(low, i, column, count, CHANNELS) if SPLIT else a
    own = tl.load(share + i, mask=i < count, other=0.0)
    end = tl.where(top < anchors, count, anchors)  # the keys that this block meets
    before = tl.minimum(top // KEYS * KEYS, end)
    after = tl.maximum(tl.minimum(tl.cdiv(top + ROWS, KEYS) * KEYS, end), before)
    out = tl.zeros([ROWS, CHANNELS], tl.float32)
    out = _pulls_over(out, a, a_low, own, i, 0, before, high, low, share, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, False)
    out = _pulls_over(out, a, a_low, own, i, before, after, high, low, share, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, True)
    out = _pulls_over(out, a, a_low, own, i, after, end, high, low, share, count, CHANNELS, ROWS, KEYS, SPLIT, PRECISION, WIDEN, False)
    tl.store(gradient + i[:, None] * CHANNELS + column[None, :], out, mask=i[:, None] < count)


def usual_shape(mode: str, channels: int) -> Shape:
    """A program whose rows and keys fit the 227 kB that a multiprocessor of an H100 holds."""
    return Shape(64, 64, 4, 2) if channels > 64 and MODES[mode].dtype == torch.float32 else Shape()


def parts(
    rows: Tensor,  # [M, C] float32, scaled
    mode: Mode,  # how they are multiplied
) -> tuple[Tensor, Tensor]:  # high and low [M, C], one after the other in memory
    """The rows in the mode's type, and what rounding took from them (the same tensor where the mode does not ask)."""
    high = rows.to(mode.dtype).contiguous()
    return high, (rows - high.float()).to(mode.dtype).contiguous() if mode.split else high


class LogSums(Function):
    """Logarithms of the sums over pairs of each anchor."""

    @staticmethod
    def forward(
        ctx: Any,  # what PyTorch keeps for the backward pass
        unit: Tensor,  # [M, C] float32 unit rows, the anchors first
        temperature: float,  # t
        anchors: int,  # A
        mode: str,  # of MODES
        shape: Shape,  # of a program
    ) -> Tensor:  # [A] log sum_k exp(u_i . u_k / t) over the other rows k
        """Sum over all keys, block by block."""
        how, channels = MODES[mode], unit.shape[1]
        scale = math.sqrt(math.log2(math.e) / temperature)
        wide = max(16, 1 << (channels - 1).bit_length())  # what a dot of Triton takes
        high, low = parts(pad(unit * scale, (0, wide - channels)), how)
        sums = unit.new_empty(anchors)
        ctx.sizes = {"CHANNELS": wide, "ROWS": shape.rows, "KEYS": shape.keys, "SPLIT": how.split, "PRECISION": how.precision}
        ctx.sizes |= {"WIDEN": INTERPRETED}
        ctx.sizes |= {"num_warps": shape.warps, "num_stages": shape.stages}
        _forward[(triton.cdiv(anchors, shape.rows),)](high, low, sums, len(unit), anchors, **ctx.sizes)
        ctx.save_for_backward(high, low, sums)
        ctx.settings = temperature, scale, channels, shape.rows
        return sums.log()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # what forward kept
        upstream: Tensor,  # [A] gradient of the logarithms
    ) -> tuple[Tensor | None, ...]:  # [M, C] of the unit rows, None for the other four arguments
        """Gradient of the unit rows: the shares are brought so near 1 that no pair is too large for float16, and back again afterwards."""
        high, low, sums = ctx.saved_tensors
        temperature, scale, channels, block = ctx.settings
        lowest = sums.min()
        each = upstream * (lowest / sums)
        room = min(1.0, 3e4 * math.exp(-1 / temperature))  # a pair is at most 2 exp(1/t) times a share
        most = each.abs().max().clamp(min=1e-30) / room
        share = sums.new_zeros(len(high))
        share[: len(sums)] = each / most
        gradient = torch.empty(high.shape, dtype=torch.float32, device=high.device)
        _backward[(triton.cdiv(len(high), block),)](high, low, share, gradient, len(high), len(sums), **ctx.sizes)
        factor = most / (lowest * temperature * scale)  # the keys carry the scale
        return gradient[:, :channels] * factor, None, None, None, None


def arranged(
    labels: Tensor,  # [P] classes, 0 background
) -> tuple[Tensor | None, int]:  # the order [P] that puts anchors first, None where it is so already; their number
    """Anchors are foreground pixels of a class that has two at least."""
    anchor = (labels > 0) & (torch.bincount(labels)[labels] > 1)
    count = int(anchor.sum())
    return (None if count == len(labels) else (~anchor).to(torch.int8).argsort(stable=True)), count


def fused_loss(
    rows: Tensor,  # [P, C] raw features of any float type
    labels: Tensor,  # [P] int64 classes, 0 background
    temperature: float,  # t, so large that float32 holds P exp(1/t); at least 0.05 for float16
    mode: str = "bf16x3",  # of MODES
    shape: Shape | None = None,  # of a program; None: one that fits an H100
) -> Tensor:  # scalar
    """Supervised local contrastive loss of every pixel with every other, background as keys; 0 where there is no anchor."""
    unit = normalize(rows.float(), dim=1)
    order, anchors = arranged(labels)
    if not anchors:
        return unit.mul(0).sum()
    if order is not None:
        unit, labels = unit.index_select(0, order), labels[order]
    logs = LogSums.apply(unit, temperature, anchors, mode, shape or usual_shape(mode, unit.shape[1]))
    return logs.mean() - mean_positive(unit[:anchors], labels[:anchors], temperature)
