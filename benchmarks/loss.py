"""Time and memory of the exact loss beside its peers: CPU time of one thread, extra memory, each in a process of its own.

    python benchmarks/loss.py [--quick] [--out benchmarks/results/loss.json]

Forward and backward of the supervised loss (SupCon form, t = 0.1) of N random rows of C = 64 channels in K = 3 classes,
all of them anchors. Processor time, not wall time, so that other work on the machine disturbs little; the least of several
rounds, in which all contenders take turns, with as many timings each. The stored results are older: in each round this package had five
timings and the others two. Memory is the peak of the resident set during the first call beyond what was
resident before it (after a small call that loads the libraries).
"""

import argparse
import ctypes
import functools
import gc
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
OURS = "exact tiles (this package)"
CHANNELS, CLASSES, TEMPERATURE = 64, 3, 0.1
REPEATS = 2
"""Timings in a round after the first, of every contender."""
TARGETS = {"pytorch-metric-learning": 18, "SupContrast's formula, dense": 10, "row chunks, checkpointed": 7, "lean dense": 5.5}


def status(field: str) -> int:
    """A field of the kernel's account of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def extra_memory(call) -> tuple[int, float]:
    """Peak resident bytes during a call beyond those before it (Linux), and what the call returned."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    answer = call()
    return status("VmHWM") - before, answer


def problem(n: int, seed: int = 0, rank: int | None = None, foreground: float = 1.0, channels: int = CHANNELS):
    """Random rows [n, C] with a gradient and classes [n]."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, rank or channels, generator=generator)
    if rank:
        rows = rows @ torch.randn(rank, channels, generator=generator)
    labels = torch.randint(1, CLASSES + 1, (n,), generator=generator)
    labels[torch.rand(n, generator=generator) >= foreground] = 0
    return rows.requires_grad_(), labels


def step(function, rows, labels) -> float:
    """Loss with its gradient; the processor time."""
    rows.grad = None
    start = time.process_time()
    function(rows, labels, TEMPERATURE).backward()
    return time.process_time() - start


def matrix_rate(size: int = 2048) -> float:
    """Multiplications and additions a second in one large float32 matrix product."""
    import torch

    left, right = torch.randn(size, size), torch.randn(size, size)
    start = time.process_time()
    left @ right
    return 2 * size**3 / (time.process_time() - start)


def one(name: str, sizes: list[int], repeats: int, settings: dict) -> list[dict]:
    """What a child process measures at each size: memory of the first call, then the least time of the repeats."""
    import torch
    from peers import PEERS

    torch.set_num_threads(1)
    function, found = PEERS[name], []
    step(function, *problem(512))
    for n in sizes:
        rows, labels = problem(n, **settings)
        memory, first = extra_memory(functools.partial(step, function, rows, labels))
        seconds, rates = [first], []
        for _ in range(repeats if n <= 8192 or settings else 0):
            seconds.append(step(function, rows, labels))
            if name == OURS:
                rates.append(matrix_rate())
        found.append({"seconds": min(seconds), "bytes": memory, "rate": max(rates, default=0.0)})
    return found


def child(name: str, sizes: list[int], repeats: int, settings: dict | None = None) -> list[dict]:
    """Run `one` in a fresh process."""
    job = json.dumps([name, sizes, repeats, settings or {}])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, "--one", job], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} at {sizes} rows failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return json.loads(done.stdout)


def available_memory() -> int:
    """Bytes that a new process may take."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise KeyError("MemAvailable")


def accuracy(n: int) -> dict:
    """Relative error of loss and gradient (L2) against float64 row chunks, code that shares nothing with the tiles."""
    import torch
    from peers import ours, row_chunks

    torch.set_num_threads(1)
    rows, labels = problem(n)
    double = rows.detach().double().requires_grad_()
    found, exact = ours(rows, labels, TEMPERATURE), row_chunks(double, labels, TEMPERATURE, 512)
    found.backward()
    exact.backward()
    return {"loss": abs(found.item() / exact.item() - 1), "gradient": ((rows.grad - double.grad).norm() / double.grad.norm()).item()}


def largest(name: str, quick: bool) -> int:
    """The largest size that a contender is asked for: what memory holds, and what time allows."""
    from peers import MATRICES

    budget = min(6e9, 0.5 * available_memory())
    allowed = 8192 if quick else 16_384
    if name == "two attention calls" and not quick:
        return 65_536
    while 4 * allowed**2 * MATRICES.get(name, 0) > budget:
        allowed //= 2
    return allowed


def sweep(sizes: list[int], rounds: int, quick: bool) -> dict[str, dict[int, dict]]:
    """Every contender at every size, taking turns; large sizes once."""
    from peers import PEERS

    table = {name: {} for name in PEERS}
    for turn in range(rounds):
        for name in PEERS:
            limit = sizes[-1] if name == OURS else largest(name, quick)
            wanted = [n for n in sizes if n <= (limit if turn == 0 else min(limit, 8192))]
            for n, row in zip(wanted, child(name, wanted, REPEATS), strict=False):
                best = table[name].setdefault(n, row)
                table[name][n] = {
                    "seconds": min(best["seconds"], row["seconds"]),
                    "bytes": min(best["bytes"], row["bytes"]),
                    "rate": max(best["rate"], row["rate"]),
                }
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
    return table


def exponent(row: dict[int, dict], what: str, low: int, high: int) -> float:
    """Growth between two sizes: 2 is quadratic, 1 linear."""
    return math.log(row[high][what] / row[low][what]) / math.log(high / low)


def realistic(quick: bool) -> dict[str, dict]:
    """Eight views of 64 x 64 pixels, 8 % of them foreground anchors and the rest keys: full rank, and rank 17 as after a linear head."""
    n, repeats = (16_384, 1) if quick else (32_768, 3)
    return {
        f"{n:,} pixels, 8 % foreground, {what}": child(OURS, [n], repeats, {"foreground": 0.08, "rank": rank})[0]
        for what, rank in (("full rank", None), ("rank 17", 17))
    }


def print_table(table: dict, sizes: list[int]) -> None:
    """Milliseconds (ratio to the tiles) and megabytes."""
    print(f"{'CPU ms (ratio)':32}" + "".join(f"{n:>18,}" for n in sizes))
    for name, row in table.items():
        cells = [
            f"{1000 * row[n]['seconds']:,.0f} ({row[n]['seconds'] / table[OURS][n]['seconds']:.1f})" if n in row else "-" for n in sizes
        ]
        print(f"{name:32}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"\n{'extra MB':32}" + "".join(f"{n:>18,}" for n in sizes))
    for name, row in table.items():
        print(f"{name:32}" + "".join(f"{row[n]['bytes'] / 1e6:>18,.1f}" if n in row else f"{'-':>18}" for n in sizes))


def judge(table: dict, errors: dict, sizes: list[int]) -> list[dict]:
    """Each target with what was measured."""
    mine, at, low, high = table[OURS], 8192, 4096, sizes[-1]
    checks = [
        (f"{name}, times slower at {at:,}", table[name][at]["seconds"] / mine[at]["seconds"], ">=", factor)
        for name, factor in TARGETS.items()
    ]
    checks += [(f"extra MB at {n:,}", mine[n]["bytes"] / 1e6, "<=", (40 * n * CHANNELS + 4e6) / 1e6) for n in sizes]
    if 65_536 in mine:
        checks.append(("extra MB at 65,536", mine[65_536]["bytes"] / 1e6, "<=", 150))
    checks += [
        (f"time exponent, {low:,} to {high:,}", exponent(mine, "seconds", low, high), "<=", 2.0),
        (f"memory exponent, {low:,} to {high:,}", exponent(mine, "bytes", low, high), "<=", 1.05),
    ]
    checks.append((f"share of the matrix rate at {at:,}", 4 * at * at * CHANNELS / mine[at]["seconds"] / mine[at]["rate"], ">=", 0.6))
    for n, error in errors.items():
        checks += [
            (f"relative error of the loss at {n:,}", error["loss"], "<=", 1e-6),
            (f"relative error of the gradient at {n:,}", error["gradient"], "<=", 2e-5),
        ]
    return [
        {"what": what, "measured": value, "sense": sense, "target": target, "met": value >= target if sense == ">=" else value <= target}
        for what, value, sense, target in checks
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and save; 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="peers up to 8,192 rows, one round: under 2 minutes on a free core")
    parser.add_argument("--rounds", type=int, default=2, help="turns that the contenders take (without --quick)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "loss.json")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(one(*json.loads(options.one))))
        return 0
    from semicon_nb.files import versions, write_atomic

    sizes = [1024, 4096, 8192, 16_384] if options.quick else [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
    table = sweep(sizes, 1 if options.quick else options.rounds, options.quick)
    errors = {n: accuracy(n) for n in ([1024, 2048] if options.quick else [1024, 8192])}
    cases = realistic(options.quick)
    checks = judge(table, errors, sizes)
    print_table(table, sizes)
    print()
    for name, row in cases.items():
        print(f"{name}: {1000 * row['seconds']:,.0f} ms, {row['bytes'] / 1e6:.1f} MB")
    print()
    for check in checks:
        print(
            f"{'met   ' if check['met'] else 'MISSED'}  {check['what']}: {check['measured']:.3g} ({check['sense']} {check['target']:.3g})"
        )
    result = {
        "settings": {"channels": CHANNELS, "classes": CLASSES, "temperature": TEMPERATURE, "threads": 1, "quick": options.quick, "timings": 1 + REPEATS},
        "table": table,
        "cases": cases,
        "errors": errors,
        "checks": checks,
        "versions": versions(),
        "machine": f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores",
    }
    write_atomic(options.out, json.dumps(result, indent=1))
    print(f"saved {options.out}")
    return 0 if all(check["met"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
