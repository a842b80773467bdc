"""How the exact loss shares a machine's cores: PyTorch's threads against whole tiles in Python threads, alone and beside busy programs.

    python benchmarks/threads.py [--rows 8192] [--repeats 7] [--out benchmarks/results/threads.json]

Wall time of the loss with its gradient, median and worst of the repeats, each way in a process of its own. "Beside" means that
one other program keeps one core busy, which on a laptop is the usual state of affairs.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
WAYS = ("one thread", "PyTorch's threads", "tiles in threads")


def measure(way: str, rows: int, repeats: int) -> list[float]:
    """Seconds of each repeat."""
    import torch

    import semicon_nb.contrast as pairs
    from semicon_nb.losses import supervised_local_contrastive_loss

    torch.set_num_threads(1 if way == "one thread" else os.cpu_count() or 1)
    if way == "PyTorch's threads":
        pairs.threads_for = lambda *_: 1
    torch.manual_seed(0)
    features, labels = torch.randn(1, 1, 64, rows, 1), torch.randint(1, 4, (1, 1, rows, 1))
    times = []
    for _ in range(repeats + 1):
        leaf = features.clone().requires_grad_()
        start = time.perf_counter()
        supervised_local_contrastive_loss(leaf, labels).backward()
        times.append(time.perf_counter() - start)
    return times[1:]


def keep_busy() -> None:
    """Use one core until the parent ends it."""
    while True:
        pass


def main() -> int:
    """Measure all ways, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192, help="pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="repeats (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.rows, given.repeats)))
        return 0
    found = []
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    print(f"{'':22} {'':8} {'median ms':>10} {'worst ms':>10}")
    for beside in (0, 1):
        others = [multiprocessing.Process(target=keep_busy, daemon=True) for _ in range(beside)]
        for other in others:
            other.start()
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--rows", str(given.rows), "--repeats", str(given.repeats)]
            times = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
            row = {"way": way, "beside": beside, "median": statistics.median(times), "worst": max(times)}
            found.append(row)
            print(f"{way:22} {'beside 1' if beside else 'alone':8} {1000 * row['median']:10.0f} {1000 * row['worst']:10.0f}", flush=True)
        for other in others:
            other.terminate()
    if given.out:
        given.out.write_text(json.dumps({"rows": given.rows, "cores": os.cpu_count(), "times": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
