"""Kills at random instants, two writers, a full disk, a folder that cannot be written, a clock set back, Ctrl-C."""

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from .files import warm
from .readers import cached_slices, make_folder, train, weights_of, with_cache
from .trial import attempt

STEPS = 10
"""Of each stage of the run that is killed; every one writes a checkpoint."""


def fork(job: Callable[[], None]) -> int:
    """The number of a process that does a job and says nothing."""
    if child := os.fork():
        return child
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(null, stream)
        job()
        os._exit(0)
    finally:
        os._exit(1)


def kill(child: int, seconds: float) -> bool:
    """Kill a process after some seconds; False where it had ended by itself, which must have gone well."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"a process that nobody killed ended with {status}")
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


# each returns how many kills there were; an error says what was lost ---------------------------------------------------
def training(work: Path, kills: int, luck: random.Random) -> dict:
    """Killed runs that go on end with the bits of one that was left alone."""
    began = time.monotonic()
    whole = attempt(lambda: weights_of(train(work / "whole", steps=STEPS)), (), patience=120)
    length, done, runs = time.monotonic() - began, 0, 0
    if whole.kind != "right":
        raise RuntimeError(f"the run that nobody kills: {whole.kind} {whole.words}")
    while done < kills:
        folder, alive = work / f"killed-{runs}", True
        while alive:
            alive = kill(fork(lambda: train(folder, resume=True, steps=STEPS)), luck.uniform(0.02, length) if done < kills else 600.0)  # noqa: B023
            done += alive
        ended = attempt(lambda: weights_of(train(folder, resume=True, steps=STEPS)), (), patience=120)  # noqa: B023
        if ended.words != whole.words:
            raise RuntimeError(f"{folder.name} after kills: {ended.kind} {ended.words}, expected {whole.words}")
        runs += 1
    return {"kills": done, "runs": runs, "identical": runs}


def appending(work: Path, kills: int, luck: random.Random, count: int = 40) -> dict:
    """Two writers on one results file, killed now and then, lose and double no run that was acknowledged."""
    from semicon_nb.experiment import append
    from semicon_nb.tables import read_lines

    path, done = work / "results" / "runs.jsonl", 0
    path.parent.mkdir(parents=True)

    def write(name: str) -> None:
        with (path.parent / f"{name}.txt").open("a") as told:
            for number in range(count):
                append(path, {"key": f"{name}{number}", "long": "x" * 20_000})
                told.write(f"{name}{number}\n")
                told.flush()

    going = {"a", "b"}
    while going:
        children = {name: fork(lambda: write(name)) for name in sorted(going)}  # noqa: B023
        for name, child in children.items():
            if kill(child, luck.uniform(0.005, 0.06) if done < kills else 600.0):
                done += 1
            else:
                going.discard(name)
    keys = [record["key"] for record in read_lines(path)]
    told = {line for name in "ab" for line in (path.parent / f"{name}.txt").read_text().split()}
    if sorted(keys) != sorted({f"{name}{number}" for name in "ab" for number in range(count)}) or told - set(keys):
        raise RuntimeError(f"{path}: {len(keys)} runs, {len(set(keys))} of them different, expected {2 * count}")
    return {"kills": done, "lines": len(keys)}


def replacing(work: Path, kills: int, luck: random.Random) -> dict:
    """A file that is being replaced is the old or the new one, whole; what killed writers left is swept away."""
    from semicon_nb.files import write_atomic

    path, contents = work / "replaced" / "file", [bytes([k]) * 3_000_000 for k in range(4)]

    def write() -> None:
        for number in range(10_000):
            write_atomic(path, contents[number % 4])

    write_atomic(path, contents[0])
    for _ in range(kills):
        kill(fork(write), luck.uniform(0.005, 0.1))
        if path.read_bytes() not in contents:
            raise RuntimeError(f"{path}: is neither the old nor the new file")
    for left in path.parent.glob(".*.partial"):
        os.utime(left, (time.time() - 7200,) * 2)
    write_atomic(path, contents[1])
    if left := [one.name for one in path.parent.iterdir() if one != path]:
        raise RuntimeError(f"{path.parent}: still holds {left[0]}")
    return {"kills": kills}


def caching(work: Path, kills: int, luck: random.Random) -> dict:
    """Slices that were being kept when the process died are those of the files."""
    whole = attempt(lambda: cached_slices(work / "cache-0"), (), patience=120).words
    for number in range(kills):
        folder = work / f"cache-{1 + number}"
        folder.mkdir()
        kill(fork(lambda: cached_slices(folder)), luck.uniform(0.001, 0.1))  # noqa: B023
        if (found := attempt(lambda: cached_slices(folder), (), patience=120).words) != whole:  # noqa: B023
            raise RuntimeError(f"{folder}: gives {found}, expected {whole}")
    return {"kills": kills}


# other trouble ----------------------------------------------------------------------------------------------------------
def trouble(work: Path) -> dict[str, str]:
    """What is said, or done, where something is not as it should be."""
    return {
        "two processes on one run": _second(work), "two processes on one cache": _sharing(work), "full disk": _full(work), "folder that cannot be written": _closed(work),
        "clock set back": _clock(work), "Ctrl-C": _interrupted(work),
    }  # fmt: skip


def _said(work: Path, job: Callable[[], str], names: tuple[str, ...], words: str) -> str:
    """The sentence with which a job is refused, which must hold some words; without the folder `work`."""
    outcome = attempt(job, names, patience=120)
    if outcome.kind != "refused" or words not in outcome.words:
        raise RuntimeError(f"{outcome.kind}: {outcome.words}, expected a sentence with {words!r}")
    return outcome.words.replace(str(work), "...")


def _second(work: Path) -> str:
    folder = work / "twice"
    first = fork(lambda: train(folder, resume=True, steps=20_000))
    until = time.monotonic() + 30
    while not (folder / "RUN" / "run.json").exists() and time.monotonic() < until:
        time.sleep(0.01)
    try:
        return _said(work, lambda: weights_of(train(folder, resume=True, steps=20_000)), ("RUN",), "another process is training this run")
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)


def _sharing(work: Path, times: int = 3) -> str:
    whole = attempt(lambda: weights_of(train(work / "apart")), (), patience=120).words

    def job(cache: Path, name: str) -> None:
        (cache / f"{name}.txt").write_text(with_cache(cache, lambda: weights_of(train(cache / name, cache=True))))

    for number in range(times):
        cache = work / f"shared-{number}"
        cache.mkdir()
        ended = [os.waitpid(child, 0)[1] for child in [fork(lambda: job(cache, name)) for name in "ab"]]  # noqa: B023
        found = {path.read_text() for path in cache.glob("*.txt")}
        if any(ended) or found != {whole}:
            raise RuntimeError(f"two processes on one cache: ended with {ended}, {found}, expected {whole}")
    return "the same bits"


def _full(work: Path) -> str:
    full = OSError(errno.ENOSPC, "No space left on device")

    def job() -> str:
        with patch("os.fsync", side_effect=full):
            return weights_of(train(work / "full"))

    return _said(work, job, ("run.json",), "the disk is full")


def _closed(work: Path) -> str:
    folder = work / "closed"
    (folder / "RUN").mkdir(parents=True)
    for place in (folder, folder / "RUN"):
        place.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)

    def job() -> str:
        if os.getuid() == 0:  # who may write everywhere
            train(work / "open")  # loads what nobody could
            os.setuid(65534)
        return weights_of(train(folder, resume=True))

    try:
        return _said(work, job, ("RUN", "closed"), "ermission denied")
    finally:
        for place in (folder, folder / "RUN"):
            place.chmod(stat.S_IRWXU)


def _clock(work: Path) -> str:
    whole, folder, real = attempt(lambda: weights_of(train(work / "now")), (), patience=120).words, work / "then", time.time

    def job() -> str:
        kill(fork(lambda: train(folder, resume=True)), 0.3)
        for path in folder.rglob("*"):
            os.utime(path, (real() + 86400,) * 2)
        with patch("time.time", lambda: real() - 86400):
            return weights_of(train(folder, resume=True))

    if (found := attempt(job, (), patience=120).words) != whole:
        raise RuntimeError(f"a clock set back: {found}, expected {whole}")
    return "the same bits"


def _listening() -> None:
    """What a shell starts in the background is deaf to Ctrl-C, and so is all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupted(work: Path) -> str:
    words = ["train", "scratch", "--data", str(work / "scans"), "--preset", "laptop", "--labels", "0.5", "--out", str(work / "stopped")]
    environment = {**os.environ, "SEMICON_CACHE": str(work / "cache")}
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": _listening}
    with subprocess.Popen([sys.executable, "-m", "semicon_nb", *words], env=environment, **pipes) as process:
        until = time.monotonic() + 120
        while not (work / "stopped" / "run.json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=60)
    lines = [line for line in complained.replace("\r", "\n").splitlines() if line.startswith("semicon-nb") or "Traceback" in line]
    if process.returncode != 130 or len(lines) != 1 or "--resume" not in lines[0]:
        raise RuntimeError(f"Ctrl-C: exit code {process.returncode}, {lines}")
    return f"exit code 130, one line that ends with {lines[0].split()[-1]}"


def section(work: Path, short: bool = False, seed: int = 0) -> dict:
    """The figures of this part."""
    warm()
    os.environ["SEMICON_CACHE"] = str(work / "cache")
    work.chmod(0o755)  # another user looks into it below
    make_folder(work / "scans")
    attempt(lambda: json.dumps(weights_of(train(work / "first"))), ())
    shutil.rmtree(work / "first", ignore_errors=True)
    luck, began = random.Random(seed), time.monotonic()
    many = {training: 50, appending: 20, replacing: 20, caching: 10}
    found = {part.__name__: part(work, max(2, count // 10) if short else count, luck) for part, count in many.items()}
    kills = sum(part["kills"] for part in found.values())
    return {"kills": kills, "lost": 0, **found, "trouble": trouble(work), "seconds": round(time.monotonic() - began)}
