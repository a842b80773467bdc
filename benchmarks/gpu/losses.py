"""The exact loss, forward and backward: time, memory, accuracy, and the share of what the card multiplies."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import normalize

from semicon_nb.contrast import low_rank_basis

from . import contenders
from .contenders import Loss
from .desk import Desk, milliseconds, peak_bytes, products
from .results import known

TEMPERATURE, CLASSES = 0.1, 3
SIZES = ((65_536, 64), (4096, 64), (16_384, 64), (262_144, 64), (65_536, 128), (4096, 128), (16_384, 128), (262_144, 128))
"""Rows and channels, the most telling first."""
JUDGED = (16_384, 65_536)
"""Rows at which loss and gradient are compared with float64."""


TRIES = ({"fp16": 5, "bf16x3": 4, "bf16": 2, "tf32": 3, "tf32x3": 1}, {"fp16": 2, "bf16x3": 2, "bf16": 1, "tf32": 2})
"""Shapes of a program that are tried in each mode, for up to 64 channels and for more, where three products of TF32 do not fit a program."""


def problem(rows: int, channels: int, device: torch.device, foreground: float = 1.0) -> tuple[Tensor, Tensor]:
    """Random rows [N, C] float32 with a gradient, and their classes [N]: 0 for the background, the rest from 1 on."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, CLASSES + 1, (rows,), generator=generator)
    if foreground < 1:
        labels[torch.rand(rows, generator=generator) >= foreground] = 0
    return torch.randn(rows, channels, generator=generator).to(device).requires_grad_(), labels.to(device)


def with_gradient(loss: Loss, rows: Tensor, labels: Tensor) -> Tensor:
    """The loss, its gradient left in `rows`."""
    rows.grad = None
    found = loss(rows, labels, TEMPERATURE)
    found.backward()
    return found.detach()


def exact(rows: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Loss and gradient in float64."""
    double = rows.detach().double().requires_grad_()
    found = with_gradient(contenders.row_chunks, double, labels)
    return found.item(), double.grad


def sizes_of(desk: Desk) -> tuple[tuple[int, int], ...]:
    """Rows and channels to try."""
    return ((128, 16), (150, 16)) if desk.tiny else SIZES


def judged(desk: Desk) -> dict[int, tuple[float, Tensor]]:
    """Rows -> loss and gradient in float64, at 64 channels; those that could be had."""
    wide, found = sizes_of(desk)[0][1], {}
    for rows in (128,) if desk.tiny else JUDGED:
        with desk.trying("float64", rows=rows, channels=wide):
            found[rows] = exact(*problem(rows, wide, desk.device))
    return found


def errors(loss: Loss, rows: Tensor, labels: Tensor, true: tuple[float, Tensor]) -> dict[str, float]:
    """Relative error of the loss, and of its gradient by length."""
    found = with_gradient(loss, rows, labels).item()
    return {"loss_error": abs(found / true[0] - 1), "gradient_error": ((rows.grad.double() - true[1]).norm() / true[1].norm()).item()}


def measured(desk: Desk, name: str, loss: Loss, rows: int, channels: int, true: dict, repeats: int = 5) -> float:
    """Time and peak memory of a contender at one size, written down; its seconds."""
    values, labels = problem(rows, channels, desk.device)
    call = partial(with_gradient, loss, values, labels)
    call()  # compiles, and takes the memory of libraries
    held = peak_bytes(call, desk.device)
    taken = milliseconds(call, desk.device, 1 if desk.tiny else repeats)
    beside = errors(loss, values, labels, true[rows]) if rows in true and channels == sizes_of(desk)[0][1] else {}
    done = 4 * rows**2 * channels / (taken / 1000) / 1e12
    shares = {f"share_of_{kind}": done / peak for kind, peak in peaks(desk).items()}
    desk.note(name, rows=rows, channels=channels, milliseconds=taken, peak_mb=held / 1e6, **shares, **beside)
    return taken / 1000


def peaks(desk: Desk) -> dict[str, float]:
    """The card's measured matrix rates, 10^12 operations a second."""
    found = {row["what"]: row.get("tera_per_second") for row in known(desk.out)}
    return {kind: found[f"matrix rate {kind}"] for kind in ("bf16", "tf32") if found.get(f"matrix rate {kind}")}


def fits(desk: Desk, name: str, rows: int) -> bool:
    """Whether what a contender holds, in matrices of N x N float32, fits the card."""
    if desk.tiny or not name.startswith("dense"):
        return True
    return 4 * rows**2 * 5 < 0.95 * torch.cuda.mem_get_info(desk.device)[0]


def sweep(desk: Desk, entries: Sequence[tuple[str, Loss, str]], true: dict, sizes: Sequence[tuple[int, int]]) -> None:
    """Each contender at each size; what cannot be done in the time that is left, by its time at another size, is left out."""
    seconds: dict[str, float] = {}  # of one call for a pair of rows and a channel
    for rows, channels in sizes:
        work = rows**2 * channels
        for name, loss, precision in entries:
            if 9 * seconds.get(name, 0.0) * work > desk.left() or desk.left() < 0 or not fits(desk, name, rows):
                desk.note(name, rows=rows, channels=channels, left_out="no time" if fits(desk, name, rows) else "does not fit")
                continue
            with desk.trying(name, rows=rows, channels=channels), products(precision):
                seconds[name] = measured(desk, name, loss, rows, channels, true) / work


def rate(desk: Desk, dtype: torch.dtype, precision: str) -> float:
    """Multiplications and additions a second in a product of two large matrices of random numbers."""
    size = 128 if desk.tiny else 8192
    left, right = (torch.randn(size, size, device=desk.device).to(dtype) for _ in range(2))
    with products(precision):
        return 2 * size**3 / (milliseconds(lambda: left @ right, desk.device, 10) / 1000)


def rates(desk: Desk) -> None:
    """What the card multiplies at best, in bf16, TF32 and float32; and moves."""
    for name, dtype, precision in (("bf16", torch.bfloat16, "highest"), ("tf32", torch.float32, "high"), ("fp32", torch.float32, "highest")):
        with desk.trying(f"matrix rate {name}"):
            desk.note(f"matrix rate {name}", tera_per_second=rate(desk, dtype, precision) / 1e12)
    with desk.trying("copy"):
        source = torch.empty(2**14 if desk.tiny else 2**30, device=desk.device)
        target = torch.empty_like(source)
        taken = milliseconds(lambda: target.copy_(source), desk.device) / 1000
        desk.note("copy, read and write", tera_per_second=2 * source.numel() * 4 / taken / 1e12)


def as_in_training(desk: Desk, name: str, loss: Loss) -> None:
    """Eight views of 64 x 64 pixels, 8 % of them foreground: anchors are few, and the background is keys only."""
    with desk.trying(f"{name}, 8 % foreground"):
        values, labels = problem(256 if desk.tiny else 32_768, sizes_of(desk)[0][1], desk.device, 0.08)
        taken = milliseconds(partial(with_gradient, loss, values, labels), desk.device)
        desk.note(f"{name}, 8 % foreground", pixels=len(values), milliseconds=taken)


def around_tiles(desk: Desk) -> None:
    """The package's tiles with other sides than its own, and what looking for a smaller basis costs beside them."""
    rows, channels = sizes_of(desk)[0]
    values, labels = problem(rows, channels, desk.device)
    for side in (64, 128) if desk.tiny else (2048, 4096, 8192):
        with desk.trying("side of a tile", side=side), mock.patch("semicon_nb.contrast.tile_size", lambda device, side=side: side):
            taken = milliseconds(partial(with_gradient, contenders.ours, values, labels), desk.device, 3)
            desk.note("side of a tile", side=side, pixels=rows, milliseconds=taken)
    with desk.trying("basis"):
        unit = normalize(values.detach(), dim=1)[None]
        desk.note("basis", pixels=rows, milliseconds=milliseconds(lambda: low_rank_basis(unit), desk.device))


def plain(desk: Desk) -> None:
    """The package's tiles, attention, and the dense matrix."""
    rates(desk)
    around_tiles(desk)
    as_in_training(desk, "tiles fp32", contenders.ours)
    entries = [("tiles fp32", contenders.ours, "highest"), ("tiles tf32", contenders.ours, "high")]
    kernels = [(kernel, dtype) for kernel in ("flash", "cudnn") for dtype in (torch.float16, torch.bfloat16)] + [("efficient", torch.float32)]
    for kernel, dtype in kernels if desk.device.type == "cuda" else [("cpu", torch.float32)]:
        word = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
        entries.append((f"attention {kernel} {word}", partial(contenders.attention, kernel=kernel, dtype=dtype), "highest"))
    entries += [("dense fp32", contenders.dense, "highest"), ("dense tf32", contenders.dense, "high")]
    sweep(desk, entries, judged(desk), sizes_of(desk))


def compiled(desk: Desk) -> None:
    """Tiles that torch.compile fuses; on a CPU without its compiler, which takes long."""
    how = {"side": 128, "backend": "aot_eager"} if desk.tiny else {}
    loss = partial(contenders.compiled_tiles, **how)
    entries = [("compiled tiles tf32", loss, "high"), ("compiled tiles fp32", loss, "highest")]
    sweep(desk, entries, judged(desk), sizes_of(desk))


def best_shape(desk: Desk, mode: str, rows: int, channels: int, count: int, reserve: float) -> Any:
    """The fastest of the first `count` shapes of a program in this mode, None where none works; stops `reserve` seconds before the end."""
    from .kernel import Shape, fused_loss

    tries = [Shape(128, 64, 8, 3), Shape(64, 64, 4, 3), Shape(128, 128, 8, 3), Shape(128, 64, 4, 3), Shape(128, 64, 8, 2)]
    tries = [Shape(64, 32, 4, 2)] if desk.tiny else tries if channels < 128 and mode != "tf32x3" else [tries[1], tries[4], tries[0]]
    found: dict[Shape, float] = {}
    for shape in tries[:count]:
        if found and desk.left() < reserve:
            break
        name = f"kernel {mode} {shape.rows} x {shape.keys}, {shape.warps} warps, {shape.stages} stages"
        with desk.trying(name, rows=rows, channels=channels):
            found[shape] = measured(desk, name, partial(fused_loss, mode=mode, shape=shape), rows, channels, {}, 3)
    return min(found, key=lambda shape: found[shape], default=None)


def fused(desk: Desk) -> None:
    """The Triton kernel in each mode, each in the best of some shapes."""
    if not find_spec("triton"):
        desk.note("kernel", left_out="Triton is not installed; PyTorch for CUDA brings it")
        return
    from .kernel import fused_loss

    true, total = judged(desk), desk.left()
    for wide, reserve in ((sizes_of(desk)[0][1], 0.5), (128, 0.15)):
        sizes = [size for size in sizes_of(desk) if size[1] == wide]
        entries = []
        for mode, count in (TRIES[wide > 64] if sizes else {}).items():
            if shape := best_shape(desk, mode, *sizes[0], count, reserve * total):
                entries.append((f"kernel {mode}", partial(fused_loss, mode=mode, shape=shape), "highest"))
        sweep(desk, entries, true, sizes)
        for name, loss, _ in entries[:1] if wide == sizes_of(desk)[0][1] else ():
            as_in_training(desk, name, loss)
