"""What this machine is and does well: its processor's name, the device to train on, the precision that pays there."""

import itertools
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

__all__ = ["UNABLE", "chosen_device", "chosen_precision", "described", "duration", "machine", "one_thread"]

CLEARLY = 0.8
"""bf16 is chosen below this share of the time of fp32; native it takes 0.5 to 0.7 of it, emulated 2 to 20 times it."""

UNABLE = (NotImplementedError, RuntimeError, TypeError)
"""What PyTorch raises where Apple's MPS has no such operation or no such type."""


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's name as its maker says it, or its architecture where nothing says more."""
    try:
        if platform.system() == "Darwin":
            words = ["sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(words, capture_output=True, text=True, timeout=10).stdout
        else:
            lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
            name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    except (OSError, subprocess.SubprocessError):
        name = ""
    return " ".join(name.split()) or platform.processor() or platform.machine() or "unknown"


def machine(device: torch.device | str = "cpu") -> dict:
    """What runs a training on a `device`, as plain values."""
    gpu = torch.cuda.get_device_name(device if "cuda" in str(device) else None) if torch.cuda.is_available() else None
    made = {"system": platform.system(), "processor": processor(), "architecture": platform.machine()}
    return {**made, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "device": str(device), "gpu": gpu}


def devices() -> list[str]:
    """The kinds of device that are there, the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, found in there.items() if found]


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a network's weights are, or its buffers; the CPU for one that has neither."""
    held = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in held), torch.device("cpu"))


def chosen_device(device: str | torch.device = "auto") -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; or the `device` of this name, ValueError where it is not there."""
    if str(device) == "auto":
        return torch.device(devices()[0])
    kind, _, number = str(device).partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in devices() or (number and not (number.isdecimal() and int(number) < count)):
        raise ValueError(f"device: found {str(device)!r}, expected auto or one that is here ({', '.join(devices())})")
    return torch.device(device)


_SETTLED: dict[str, str] = {}
"""What "auto" stands for on a device, where the process that started this one has said so."""


def settle_precision(device: torch.device | str, word: str) -> None:
    """Let "auto" stand for a `word`, "fp32" or "bf16", on a `device` in this process, whose own measurement might say something else."""
    _SETTLED[str(device)] = word


def chosen_precision(device: torch.device | str = "cpu") -> str:
    """What "auto" stands for on a `device`: what is settled, else "bf16" where it is native and measured to pay, else "fp32"."""
    there = torch.device(device)
    if str(there) in _SETTLED:
        return _SETTLED[str(there)]
    return "bf16" if multiplies_bf16(there) and bf16_pays(there) else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself; else PyTorch emulates it, many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    said: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch has not got it
    old = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    able = any(there for name, there in said.items() if "bf16" in name) if said else old
    return able and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # which obeys ONEDNN_MAX_CPU_ISA


@lru_cache
def bf16_pays(device: torch.device, rounds: int = 5) -> bool:
    """Whether a convolution and its gradient are clearly faster in bf16 than in fp32; measured once in a process, `rounds` of each in turns."""
    with torch.random.fork_rng(devices=[]):
        convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(device)
    images = torch.zeros(4, 64, 32, 32, device=device, requires_grad=True)

    def seconds(low: bool) -> float:
        began = clock(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            found = convolution(images)
        found.float().sum().backward()
        return clock(device) - began

    with one_thread():
        taken = [(seconds(False), seconds(True)) for _ in range(rounds + 1)][1:]
    return min(low for _, low in taken) < CLEARLY * min(full for full, _ in taken)


def clock(device: torch.device) -> float:
    """Seconds of this thread's work on the CPU, which a busy machine does not stretch; of the clock on a GPU."""
    if device.type != "cuda":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread inside the block, in as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def duration(seconds: float) -> str:
    """So many `seconds` in words: 40 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def described(device: torch.device) -> str:
    """A device in words, with what decides its speed."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{device.type.upper()} ({processor()})"
    threads = torch.get_num_threads()
    return f"CPU ({processor()}, {threads} thread{'s' * (threads > 1)})"
