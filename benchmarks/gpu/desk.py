"""Where a section of `benchmarks/gpu.py` works: its device and time, what it says and writes down, and how it takes times."""

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .results import in_words


@dataclass(frozen=True)
class Desk:
    """What every section is given."""

    section: str  # its name
    out: Path  # folder of the results
    work: Path  # folder for runs and caches, which need not be kept
    end: float  # when it should be done, as time.monotonic() counts
    tiny: bool = False  # sizes that a CPU does in seconds
    device: torch.device = torch.device("cuda")

    def left(self) -> float:
        """Seconds until the section should be done."""
        return self.end - time.monotonic()

    def note(self, what: str, **values: Any) -> dict:
        """Print a result, and add it to results.jsonl."""
        row = {"section": self.section, "what": what, **values}
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print("  " + in_words(row), flush=True)
        return row

    @contextlib.contextmanager
    def trying(self, what: str, **values: Any) -> Iterator[None]:
        """An error inside the block is written down, and the rest goes on; memory that it held is given back."""
        failed = False
        try:
            yield
        except Exception as error:  # whatever a card, a driver or a compiler makes of it
            lines, failed = [line for line in str(error).splitlines() if line.strip()] or [""], True
            self.note(what, **values, error=f"{type(error).__name__}: {lines[0][:300]}")
        if failed and self.device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # a GPU that is lost says so again at the next call
                torch.cuda.empty_cache()


def wait_for(
    device: torch.device,  # any
) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(
    call: Callable[[], Any],  # what is timed
    device: torch.device,  # where it works
    repeats: int = 5,  # after one that does not count
) -> float:
    """Median time of a call: between two events of the GPU's own clock, or by the wall clock on a CPU."""
    call()
    if device.type != "cuda":
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - began))
        return statistics.median(taken)
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    torch.cuda.synchronize(device)
    for start, stop in marks:
        start.record()
        call()
        stop.record()
    torch.cuda.synchronize(device)
    return statistics.median(start.elapsed_time(stop) for start, stop in marks)


def peak_bytes(
    call: Callable[[], Any],  # what is watched
    device: torch.device,  # where it works
) -> int:
    """Most memory of a GPU during a call beyond what was taken before it; 0 on a CPU."""
    if device.type != "cuda":
        call()
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


@contextlib.contextmanager
def products(
    precision: str,  # "highest" for float32, "high" for TF32
) -> Iterator[None]:
    """How matrices of float32 are multiplied inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
