"""One try in a process of its own: what came of it, how long it took, and how much memory."""

import contextlib
import io
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 10.0
"""Seconds after which a try counts as hung."""
ROOM = 1 << 30
"""Bytes that a try may take beyond what the process had before."""


class Refused(Exception):
    """A command ended with one sentence and exit code 2."""


class Wrong(Exception):
    """A value was taken that cannot be meant."""


@dataclass(frozen=True)
class Outcome:
    """What came of a try."""

    kind: str  # "right", "other", "refused", or what is bad: "traceback", "unnamed", "taken", "memory", "hang", "died"
    words: str  # the value's digest, or what the error says
    seconds: float  # wall time
    megabytes: float  # memory beyond what the process had before


def command(words: list[str]) -> str:
    """What `semicon-nb WORDS` prints; Refused with its last line where it ends with exit code 1 or 2, Wrong for any other."""
    from semicon_nb.cli import main

    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    if code in (1, 2):
        lines = [line for line in complained.getvalue().splitlines() if line.startswith("semicon-nb")]
        raise Refused(lines[-1] if code == 2 else " ".join(lines[-2:]))
    if code:
        raise Wrong(f"exit code {code}")
    return said.getvalue()


def attempt(job: Callable[[], str], names: tuple[str, ...], sound: str | None = None, checked: bool = False, patience: float = PATIENCE) -> Outcome:
    """Call a job in a forked process.

    An error must hold one of the `names`. `sound` is the value without the damage; where a file is `checked` no other is right.
    """
    reader, writer = os.pipe()
    began = time.monotonic()
    if not (child := os.fork()):
        os.close(reader)
        _child(job, writer)
    os.close(writer)
    content = _listen(reader, began + patience)
    if content is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - began
    if content is None:
        return Outcome("hang", "", seconds, 0.0)
    if not content:
        return Outcome("died", f"signal or exit code {status}", seconds, 0.0)
    said = json.loads(content)
    return Outcome(_judge(said, names, sound, checked), said["words"], seconds, said["megabytes"])


def _listen(reader: int, until: float) -> bytes | None:
    """All that comes through a pipe, or None where it has not ended by then."""
    parts = []
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while ready := select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            if not (part := pipe.read(1 << 16)):
                break
            parts.append(part)
    return b"".join(parts) if ready else None


def _child(job: Callable[[], str], writer: int) -> None:
    """Do the job and tell of it; never returns."""
    said: dict = {"words": "", "error": "", "memory": False, "trace": ""}
    code = 1
    try:
        os.setsid()
        before = _limit()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        warnings.simplefilter("ignore")
        try:
            said["words"] = job()
        except BaseException as error:  # noqa: BLE001  # all that can happen is what is asked for
            said |= _told(error)
        said["megabytes"] = max(0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(writer, json.dumps(said).encode())
        code = 0
    finally:
        os._exit(code)


def _limit() -> float:
    """Let this process take no more than ROOM beyond what it has; kilobytes of memory that it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        most = pages * resource.getpagesize() + ROOM + (ROOM >> 2)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _told(error: BaseException) -> dict:
    """What is told of an error: its words, its kind, whether memory was short, and where it came from."""
    chain, one = [], error
    while one is not None and len(chain) < 20:
        chain.append(one)
        one = one.__cause__ or one.__context__
    short = any(isinstance(one, MemoryError) or "allocate memory" in str(one) for one in chain)
    words = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        words = f"{error.filename}: {error.strerror}"
    place = traceback.extract_tb(error.__traceback__)[-1:]
    trace = "".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in place)
    kind = "Refused" if isinstance(error, ValueError | OSError | Refused) else type(error).__name__
    return {"words": words, "error": kind, "memory": short, "trace": trace}


def _judge(said: dict, names: tuple[str, ...], sound: str | None, checked: bool) -> str:
    """The kind of an outcome."""
    if said["memory"] or said["megabytes"] * (1 << 20) > ROOM:
        return "memory"
    if said["error"] == "Wrong":
        return "taken"
    if said["error"] == "Refused":
        return "refused" if any(name in said["words"] for name in names) and len(said["words"]) < 1000 else "unnamed"
    if said["error"]:
        said["words"] = f"{said['error']} at {said['trace']}: {said['words'][:200]}"
        return "traceback"
    if sound is None or said["words"] == sound:
        return "right"
    return "taken" if checked else "other"


def measured(job: Callable[[], dict]) -> dict:
    """What a job in a forked process finds, with its seconds and its gigabytes beyond what the process had before; no limits."""
    reader, writer = os.pipe()
    began = time.monotonic()
    if not (child := os.fork()):
        code = 1
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
                found = job()
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1 << 20)
            os.write(writer, json.dumps({**found, "gigabytes": round(more, 2)}).encode())
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    content = _listen(reader, began + 1800)
    if os.waitpid(child, 0)[1] or not content:
        raise RuntimeError("a job of the section load broke off, see above")
    return {**json.loads(content), "seconds": round(time.monotonic() - began, 1)}
