"""Bad files: spoil a sound file with a fixed seed, read it in a process of its own, and judge what came of it."""

import contextlib
import fnmatch
import importlib
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .readers import READERS, Reader, Target, make_folder
from .spoil import MARKER
from .trial import attempt

BAD = ("traceback", "unnamed", "taken", "memory", "hang", "died", "code", "wrote")
"""Kinds of outcomes that must not be."""


def warm() -> None:
    """Load what the readers use, once, before the processes part."""
    import filelock  # noqa: F401
    import nibabel  # noqa: F401
    import pandas  # noqa: F401
    import torch
    from PIL import Image

    import semicon_nb.explore  # noqa: F401
    from semicon_nb import cli, evaluate, masks, methods, runs  # noqa: F401
    from semicon_nb.data import reading  # noqa: F401

    Image.init()
    torch.set_num_threads(1)


def tries(reader: Reader, count: int, seed: int) -> Iterator[tuple[str, random.Random, Target]]:
    """Name, generator and target of each try."""
    for number in range(count):
        name = f"{reader.name}-{seed}-{number}"
        luck = random.Random(name)
        yield name, luck, luck.choice(reader.targets)


def listing(folder: Path) -> dict[str, tuple]:
    """What stands in a folder: size and time of change of every file in it."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            facts = path.lstat()
            found[str(path.relative_to(folder))] = (facts.st_size, facts.st_mtime_ns) if name in files else ()
    return found


def one_try(reader: Reader, sound: Path, value: str, name: str, luck: random.Random, target: Target) -> dict:
    """Spoil a copy of the sound files, read it, and say what came of it."""
    room = sound.parent.parent / "tries" / name
    folder = room / name
    shutil.rmtree(room, ignore_errors=True)
    shutil.copytree(sound, folder)
    path = sorted(folder.glob(target.path))[0]
    spoiler = luck.choice(target.spoilers)
    done = spoiler(path, luck)
    before = listing(room)

    def job() -> str:
        os.chdir(folder)
        return reader.read(folder)

    outcome = attempt(job, (path.name, folder.name, target.path), value, spoiler in target.checked)
    kind, words = outcome.kind, outcome.words
    if (folder / MARKER).exists():
        kind = "code"
    after = listing(room)
    allowed = [f"{name}/{pattern}" for pattern in (*reader.writes, *(str(Path(one).parent) for one in reader.writes))]
    odd = [one for one in after if after[one] != before.get(one) and not any(fnmatch.fnmatch(one, pattern) for pattern in allowed)]
    if odd and kind not in BAD:
        kind, words = "wrote", f"{odd[:3]}: {words}"
    shutil.rmtree(room, ignore_errors=True)
    return {"reader": reader.name, "try": name, "file": target.path, "done": done, "kind": kind, "words": words,
            "seconds": round(outcome.seconds, 2), "megabytes": round(outcome.megabytes)}  # fmt: skip


def prepare(reader: Reader, work: Path) -> tuple[Path, str]:
    """The folder of a reader's sound files, and the value that they give; an error where they give none."""
    sound = work / "sound" / reader.name
    sound.mkdir(parents=True)

    def make() -> str:
        reader.make(sound)
        return json.dumps(sorted(sys.modules))

    def read() -> str:
        return json.dumps([reader.read(copy), sorted(sys.modules)])

    made = attempt(make, (), patience=120)
    copy = work / "tries" / "sound" / "sound"
    if made.kind == "right":
        shutil.copytree(sound, copy)
    outcome = attempt(read, (), patience=120) if made.kind == "right" else made
    shutil.rmtree(copy.parent, ignore_errors=True)
    if outcome.kind != "right":
        raise RuntimeError(f"{reader.name}: sound files are not read, {outcome.kind} {outcome.words}")
    value, modules = json.loads(outcome.words)
    for name in modules:  # what each try would have to load
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    return sound, value


def bad_files(work: Path, count: int = 2400, seed: int = 0) -> list[dict]:
    """What came of so many tries over all readers, in a folder `work` that may be thrown away."""
    warm()
    os.environ["SEMICON_CACHE"] = str(work / "cache")
    make_folder(work / "scans")
    rows = []
    for reader in READERS:
        sound, value = prepare(reader, work)
        for name, luck, target in tries(reader, -(-count * reader.share // 1000), seed):
            rows.append(one_try(reader, sound, value, name, luck, target))
    return rows


def figures(rows: list[dict], seconds: float) -> dict:
    """How many tries of each kind, by reader, and the longest and largest."""
    by_reader = {name: dict(Counter(row["kind"] for row in rows if row["reader"] == name)) for name in dict.fromkeys(r["reader"] for r in rows)}
    bad = [row for row in rows if row["kind"] in BAD]
    return {
        "inputs": len(rows), "bad": len(bad), "kinds": dict(Counter(row["kind"] for row in rows)), "readers": by_reader,
        "longest_seconds": max(row["seconds"] for row in rows), "largest_megabytes": max(row["megabytes"] for row in rows),
        "seconds": round(seconds), "examples": bad[:40],
    }  # fmt: skip


def section(work: Path, short: bool = False, seed: int = 0) -> dict:
    """The figures of this part."""
    began = time.monotonic()
    return figures(bad_files(work, 110 if short else 2400, seed), time.monotonic() - began)
