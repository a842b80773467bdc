"""Everything that has to be known of a GPU, in one command that stops by itself: `make gpu`, or

    python benchmarks/gpu.py --minutes 10 --out FOLDER [--only tests,loss,...] [--needs] [--tiny]

The sections, in this order, each with its share of the minutes and what earlier ones left over:
  tests     the tests marked cuda: losses, gradients, views, stages, resumption, every method, two processes
  loss      the exact loss, 4,096 to 262,144 rows: the package's tiles, attention, the dense matrix
  kernel    the same as a Triton kernel
  compiled  the same with compiled tiles
  stages    slices a second of each stage, 16 and 64 filters, fp32 and bf16
  ways      a step as it is, as a CUDA graph, compiled
  many      many small runs at once: in processes, with and without NVIDIA's MPS, in streams
  grid      rows of the grid hippocampus-thorough, as many at once as pay
  paper     rows of the grid hippocampus-paper
Every section is a process of its own, since a GPU's error leaves nothing usable behind in the one that met it. A failure is printed and
the rest goes on. FOLDER holds results.jsonl (one line a result, written as it comes), log.txt, summary.txt, and a file of rows for each
grid, which is to be put into results/. It needs PyTorch, NumPy and what --needs prints, and no installation. --tiny tries all of it
on a CPU in one to three minutes; its numbers say nothing.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
SECTIONS = {
    "tests": 16,
    "loss": 8,
    "kernel": 12,
    "compiled": 6,
    "stages": 9,
    "ways": 6,
    "many": 12,
    "grid": 25,
    "paper": 10,
}
"""Shares of the minutes."""
GRACE = 10
"""Seconds after which a section that did not stop by itself is ended."""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="after which it stops (default: 10)")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the results (default: gpu-results)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma between them (default: all)")
    parser.add_argument("--needs", action="store_true", help="print which packages must travel, and stop")
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU does in seconds")
    parser.add_argument("--work", type=Path, default=None, help="folder of runs and caches, kept (default: a temporary one)")
    for name, kind in (("job", str), ("seconds", float), ("number", int)):
        parser.add_argument(f"--{name}", type=kind, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if unknown := [name for name in given.only.split(",") if name not in SECTIONS]:
        parser.error(f"--only: found {unknown[0]}, expected some of {', '.join(SECTIONS)}")
    return given


# a section, in a process of its own -------------------------------------------------------------------------------------
def job(given: argparse.Namespace) -> None:
    """Do one section, with what is left of its time."""
    began = time.monotonic()
    import torch
    from gpu.desk import Desk

    torch.set_num_threads(1 if given.tiny or given.job in ("worker", "grid", "paper") else min(8, os.cpu_count() or 1))
    device = torch.device("cuda" if torch.cuda.is_available() and not given.tiny else "cpu")
    desk = Desk(given.job, given.out, given.work, began + given.seconds, given.tiny, device)
    if given.job in ("loss", "kernel", "compiled"):
        from gpu import losses

        {"loss": losses.plain, "kernel": losses.fused, "compiled": losses.compiled}[given.job](desk)
    elif given.job in ("grid", "paper"):
        from gpu import rows

        {"grid": rows.thorough, "paper": rows.paper}[given.job](desk)
    else:
        from gpu import speed

        if given.job == "worker":
            speed.worker(desk, given.number)
        else:
            {"stages": speed.stages, "ways": speed.ways, "many": speed.many}[given.job](desk)


# all of them ------------------------------------------------------------------------------------------------------------
class Log:
    """What is printed, and written to a file too."""

    def __init__(self, path: Path):
        self.file = path.open("a", encoding="utf-8")

    def say(self, text: str) -> None:
        """Print a line and keep it."""
        print(text, flush=True)
        self.file.write(text + "\n")
        self.file.flush()


def command_of(section: str, given: argparse.Namespace, seconds: float) -> list[str]:
    """What a section runs."""
    if section == "tests":
        words = "-m pytest -m cuda -q -rs --tb=short --durations=5 -p no:cacheprovider --no-header tests/test_cuda.py"
        return [sys.executable, *words.split()]
    own = ["--job", section, "--out", str(given.out), "--work", str(given.work), "--seconds", f"{seconds:.1f}"]
    return [sys.executable, str(HERE / "gpu.py"), *own, *["--tiny"] * given.tiny]


def environment(given: argparse.Namespace) -> dict[str, str]:
    """Variables of the sections: a cache of their own, and in --tiny the CPU for a card and Triton's interpreter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    path = os.pathsep.join([str(HERE.parent), *filter(None, [kept.get("PYTHONPATH")])])
    caches = {"SEMICON_CACHE": str(given.work / "cache"), "TRITON_CACHE_DIR": str(given.work / "triton")}
    small = {"SEMICON_CARD": "cpu", "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if given.tiny else {}
    return {**kept, **caches, **small, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def end_group(process: subprocess.Popen) -> None:
    """End a section and what it started; it leads a group of its own."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def clocks_of(section: str, process: subprocess.Popen, seconds: float) -> list[threading.Timer]:
    """Alarms that end a section; the tests are interrupted first, to say what failed so far."""
    clocks = [threading.Timer(seconds + GRACE, end_group, (process,))]
    if section == "tests":
        clocks.append(threading.Timer(seconds, process.send_signal, (signal.SIGINT,)))
    for clock in clocks:
        clock.start()
    return clocks


def run(section: str, given: argparse.Namespace, seconds: float, log: Log) -> int:
    """Run a section to its end, or to the end of its time; what it prints is passed on. Its exit status, negative where it was ended."""
    began = time.monotonic()
    log.say(f"\n## {section} (at most {seconds:.0f} s)")
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace", "cwd": HERE.parent}
    process = subprocess.Popen(command_of(section, given, seconds), env=environment(given), start_new_session=True, **how)
    clocks = clocks_of(section, process, seconds)
    try:
        for line in process.stdout:
            log.say(line.rstrip())
        code = process.wait()
    finally:
        for clock in clocks:
            clock.cancel()
        end_group(process)
        process.wait()
        end_service(given.work / "service")
    words = "" if code == 0 else f", ENDED with {code}" if code > 0 else ", ENDED: out of time" if code == -9 else f", ENDED by signal {-code}"
    log.say(f"  {section}: {time.monotonic() - began:.0f} s{words}")
    return code


def end_service(folder: Path) -> None:
    """End what a section that was ended could not."""
    from gpu.service import end

    end(folder)


def budget(section: str, wanted: list[str], left: float) -> float:
    """Seconds of a section: its share among those that are still to come."""
    rest = wanted[wanted.index(section) :]
    return max(5.0, left * SECTIONS[section] / sum(SECTIONS[name] for name in rest))


def about() -> str:
    """The machine and the versions, asked in a process of its own so that this one never holds the GPU."""
    code = """
import platform, torch
print("Python", platform.python_version(), "PyTorch", torch.__version__, "CUDA", torch.version.cuda)
if torch.cuda.is_available():
    card = torch.cuda.get_device_properties(0)
    print(card.name, f"{card.total_memory / 2**30:.0f} GiB,", card.multi_processor_count, "multiprocessors, capability", (card.major, card.minor))
    print("cuDNN", torch.backends.cudnn.version(), "NCCL", torch.cuda.nccl.version())
else:
    print("no CUDA device")
try:
    import triton
    print("Triton", triton.__version__)
except ImportError:
    print("no Triton")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return (done.stdout or done.stderr[-500:]).strip()


def all_of(given: argparse.Namespace) -> int:
    """The sections that were asked for, one after the other, and their summary; 1 where one of them failed or was ended, 2 without a GPU."""
    end = time.monotonic() + 60 * given.minutes - GRACE
    for folder in (given.out, given.work):
        folder.mkdir(parents=True, exist_ok=True)
    log, wanted, codes = Log(given.out / "log.txt"), [name for name in SECTIONS if name in given.only.split(",")], {}
    log.say(said := about())
    if "no CUDA device" in said and not given.tiny:
        log.say("device: found no CUDA GPU, expected one; --tiny tries all of it on a CPU")
        return 2
    for section in wanted:
        left = end - time.monotonic()
        if left < 5:
            log.say(f"\n## {section}: left out, no time")
            continue
        codes[section] = run(section, given, budget(section, wanted, left), log)
    from gpu.results import as_text

    (given.out / "summary.txt").write_text(text := as_text(given.out), encoding="utf-8")
    log.say(f"\n{text}\n\nIn {given.out}: {', '.join(sorted(path.name for path in given.out.glob('[!.]*')))}")
    return int(any(codes.values()))


def main(words: list[str] | None = None) -> int:
    """What the command says; its exit status is that of all sections."""
    given = arguments(words)
    if given.needs:
        from gpu.needs import as_text

        print(as_text())
        return 0
    given.out = given.out.resolve()
    if given.job:
        job(given)
        return 0
    if given.work:
        given.work = given.work.resolve()
        return all_of(given)
    with tempfile.TemporaryDirectory(prefix="semicon-gpu-", ignore_cleanup_errors=True) as folder:
        given.work = Path(folder)
        return all_of(given)


if __name__ == "__main__":
    sys.exit(main())
