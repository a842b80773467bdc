"""How a command speaks: warnings, errors and interruptions in one sentence each, and its work goes on when nobody listens any more."""

__all__ = []

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, cast


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    """Print a warning of ours as one sentence, any other with its place."""
    ours = "semicon_nb" in Path(filename).parts
    print(f"semicon-nb: {message}" if ours else warnings.formatwarning(message, category, filename, lineno).rstrip(), file=sys.stderr)


def sentence_of(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def how_to_go_on(arguments: list[str]) -> str:
    """What to type after an interruption; `arguments` are the words after `semicon-nb`, as they were typed."""
    more = {"train": ["--resume"], "predict": ["--force"]}.get(arguments[0] if arguments else "", [])
    again = [*arguments, *(word for word in more if word not in arguments)]
    return f"semicon-nb: interrupted; go on with: semicon-nb {shlex.join(again)}"


class Unheard:
    """A stream whose reader may leave: from then on, what is written to it is dropped."""

    def __init__(self, stream: Any):
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write the `text`, signs that the stream cannot show by their number, or drop it."""
        code = getattr(self.stream, "encoding", None) or "utf-8"
        strict = getattr(self.stream, "errors", None) in (None, "strict")
        self._try(self.stream.write, text.encode(code, "backslashreplace").decode(code) if strict else text)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting, or drop it."""
        self._try(self.stream.flush)

    def _try(self, act: Callable, *arguments: str) -> None:
        try:
            act(*arguments)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # what is still waiting goes there, too
            os.close(nowhere)


@contextmanager
def unheard() -> Iterator[None]:
    """Within it, a closed pipe behind standard output or standard error raises nothing."""
    out, err = Unheard(sys.stdout), Unheard(sys.stderr)
    with redirect_stdout(cast(Any, out)), redirect_stderr(cast(Any, err)):
        try:
            yield
        finally:
            out.flush()
            err.flush()
