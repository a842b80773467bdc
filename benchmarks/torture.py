"""What nobody wishes on a program, in one command: `make torture`, or

    python benchmarks/torture.py [--only files,kills,load,loss] [--short] [--seed 0] [--out results.json]

The sections:
  files  2,400 malformed files over every reader that a user's or a stranger's file can reach: a right answer or one clear sentence
  kills  100 processes killed at random instants; two at once, a full disk, a folder that cannot be written, a clock set back, Ctrl-C
  load   2,000 volumes, one of 512 x 512 x 400 and 8 noisy classes, a slice of 2,048 x 2,048, thousands of tiny steps: time and memory
  loss   10,000 random inputs of the loss against dense float64
Every try has a fixed seed and a process of its own. It prints the figures, writes them as JSON, and ends with exit code 1 where
something that must not be was found. Under 30 minutes on two cores; it needs fork, so Linux or macOS. --short is what the tests run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")
SECTIONS = ("files", "kills", "load", "loss")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma between them (default: all)")
    parser.add_argument("--short", action="store_true", help="a twentieth of it")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("torture.json"), help="file of the figures (default: torture.json)")
    options = parser.parse_args(words)
    options.sections = options.only.split(",")
    if odd := set(options.sections) - set(SECTIONS):
        parser.error(f"--only: found {sorted(odd)[0]}, expected some of {', '.join(SECTIONS)}")
    return options


def processor() -> str:
    """The processor's name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def loss(short: bool, seed: int) -> dict:
    """The figures of benchmarks/torture_loss.py, which is a program of its own."""
    words = [sys.executable, str(HERE / "torture_loss.py"), "--count", "200" if short else "10000", "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        return json.loads(done.stdout) | {"good": done.returncode == 0}
    except ValueError:
        return {"good": False, "said": (done.stdout + done.stderr)[-3000:]}


def take(name: str, work: Path, options: argparse.Namespace) -> dict:
    """The figures of a section, and whether they are good."""
    if name == "loss":
        return loss(options.short, options.seed)
    from torture import files, kills, load

    if name == "load":
        found = load.section(work, options.short)
        return found | {"good": load.good(found)}
    found = {"files": files, "kills": kills}[name].section(work, options.short, options.seed)
    return found | {"good": not found.get("bad")}


def main(words: list[str] | None = None) -> int:
    """Take all sections; 1 where one of them found something bad."""
    options, began = arguments(words), time.monotonic()
    figures: dict = {"processor": processor(), "seed": options.seed, "short": options.short}
    for name in options.sections:
        with tempfile.TemporaryDirectory(prefix="torture-") as work:
            try:
                figures[name] = take(name, Path(work), options)
            except RuntimeError as error:  # what a section says where something was lost
                figures[name] = {"good": False, "said": str(error)}
        print(f"{name}: {json.dumps(figures[name], indent=1)}", flush=True)
    figures["seconds"] = round(time.monotonic() - began)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    bad = [name for name in options.sections if not figures[name]["good"]]
    print(f"{options.out}: {figures['seconds']} s; " + (f"bad: {', '.join(bad)}" if bad else "all good"))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
