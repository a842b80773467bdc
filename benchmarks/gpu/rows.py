"""Rows of a grid of `benchmarks/reproduce.py`, as many at once as pay, appended to a results file that the grid knows."""

import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from .desk import Desk
from .results import known
from .service import shared

LARGE = 3
"""Runs of 64 filters at once."""


def missing(desk: Desk) -> str:
    """What a grid of real scans lacks here, in words; empty where nothing is missing."""
    from importlib.util import find_spec

    if not find_spec("nibabel"):
        return "nibabel not installed, see --needs"
    place = Path(os.environ.get("SEMICON_DATA", "")) / "Task04_Hippocampus"
    return "" if desk.tiny or place.is_dir() else "SEMICON_DATA names no folder with Task04_Hippocampus"


def meant(names: Iterable[str]) -> list:
    """The methods of these names, the variants of the experiments among them."""
    from semicon_nb.methods import METHODS, named_method
    from semicon_nb.study import variants

    known = variants(METHODS)
    return [named_method(known.get(name, name)) for name in names]


def table_of(name: str, tiny: bool) -> tuple[pd.DataFrame, object]:
    """All rows of a grid in the order of what they tell, and their preset."""
    from reproduce import GRIDS

    from semicon_nb.experiment import grid
    from semicon_nb.methods import named_preset

    parts = GRIDS[name]
    if tiny:
        source = {"cohort": "phantom", "subjects": 6, "size": 32}
        few = {"methods": ["scratch"], "labels": (0.5,), "splits": (0, 1) if name.endswith("thorough") else (0,), "preset": "demo"}
        return grid(**few, data=source, scale=0.01), named_preset("demo").scaled(0.01)
    frames = []
    for part in parts:
        shared = {key: value for key, value in part.items() if key not in ("methods", "full", "labels")} | {"data": "hippocampus"}
        frames.append(grid(meant(part["methods"]), part["labels"], **shared))
        if part.get("full"):
            frames.append(grid(meant(part["full"]), (1.0,), **shared))
    rows = pd.concat(frames, ignore_index=True).drop_duplicates("key", ignore_index=True)
    return rows, named_preset(parts[0]["preset"])


def run(desk: Desk, name: str, workers: int, mps: bool = False) -> None:
    """Runs of a grid until the time is over: then this process ends, and its workers with it; finished rows are on the disk."""
    if why := missing(desk):
        desk.note(name, left_out=why)
        return
    from semicon_nb.experiment import run_rows

    path = desk.out / f"{name}.jsonl"
    committed = Path(__file__).resolve().parents[2] / "results" / path.name
    if committed.exists() and not path.exists() and not desk.tiny:
        shutil.copyfile(committed, path)
    before = lines_of(path)
    rows, preset = table_of(name, desk.tiny)
    desk.note(name, rows=len(rows), there=before, workers=workers)
    clock = threading.Timer(max(1.0, desk.left()), give_up, (desk, name, path, before))
    clock.daemon = True
    clock.start()
    methods = {method.name: method for method in meant(rows["method"].unique())}
    how = {"workers": workers, "folder": desk.work / "runs" / name, "progress": False, "device": desk.device}
    with shared(desk.work / "service") if mps else nullcontext():
        run_rows(rows, path, methods, preset, **how)
    clock.cancel()
    told(desk, name, path, before)


def lines_of(path: Path) -> int:
    """Rows of a results file."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def told(desk: Desk, name: str, path: Path, before: int) -> None:
    """How many rows came, and how many failed."""
    desk.note(name, added=lines_of(path) - before, failed=lines_of(path.with_name(f"{path.stem}.failed.jsonl")))


def give_up(desk: Desk, name: str, path: Path, before: int) -> None:
    """End this process and, since they watch it, its workers."""
    told(desk, name, path, before)
    os._exit(0)


def thorough(desk: Desk) -> None:
    """The grid that leaves room for an answer, with as many processes as train most together."""
    usual = {"processes": 2 if desk.tiny else min(8, os.cpu_count() or 1), "mps": False}
    best = [usual, *(row for row in known(desk.out) if row["what"] == "best")][-1]
    run(desk, "hippocampus-thorough", best["processes"], best["mps"])


def paper(desk: Desk) -> None:
    """The paper's network, batches and epochs: scratch, then global and local contrast."""
    run(desk, "hippocampus-paper", 1 if desk.tiny else LARGE)
