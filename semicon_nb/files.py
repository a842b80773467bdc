"""Files that are never half-written and never taken damaged, one cache folder, and keys made from content."""

import contextlib
import errno
import glob
import hashlib
import io
import json
import math
import os
import platform
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from types import NoneType, UnionType
from typing import IO, Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

__all__ = ["cache_folder", "content_key", "versions", "without_nan", "write_atomic"]


def write_atomic(path: str | os.PathLike, data: bytes | str | Callable[[IO[bytes]], object]) -> Path:
    """Write `data` to a temporary file beside `path`, then rename it, so that `path` is whole or absent, whenever the machine stops.

    What is large is a function that writes into an open file, and need not be in memory twice. OSError that says how to go on where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                data(file) if callable(data) else file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, 0o666 & ~current_umask())
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        why = "the disk is full; what was written before is whole: free some space and give the same command again"
        raise OSError(error.errno, why, str(path)) from error
    return path


def _sweep(path: Path, age: float = 3600.0) -> None:
    """Remove what killed writers of `path` left beside it, `age` seconds ago or more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > age:
                left.unlink()


def from_json(text: str | bytes, kind: Any = Any) -> Any:
    """What a JSON `text` holds, of a `kind` as `check_kind` has it; ValueError where it is none, or nested more deeply than anything of ours."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    check_kind(found, kind)
    return found


def check_kind(value: Any, kind: Any, place: str = "") -> None:
    """ValueError that says where, unless a `value` from JSON is of a `kind`: a TypedDict, dict[str, X], list[X], X | None, or a plain type.

    A float may be a whole number but not NaN or infinite; of a TypedDict further keys are let pass.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        check_kind(value, dict, place)
        if missing := sorted(kind.__required_keys__ - value.keys()):
            raise ValueError(f"it lacks {f'{place}.' * bool(place)}{missing[0]}")
        for name, inner in get_type_hints(kind).items():
            if name in value:
                check_kind(value[name], inner, f"{place}.{name}" if place else name)
    elif origin in (list, dict):
        check_kind(value, origin, place)
        for key, part in value.items() if origin is dict else enumerate(value):
            check_kind(part, parts[-1], f"{place}[{key!r}]")
    elif origin is UnionType:
        if not (value is None and NoneType in parts):
            check_kind(value, next(part for part in parts if part is not NoneType), place)
    elif kind is not Any and not _is_plain(value, kind):
        raise ValueError(f"{place or 'all of it'} is {repr(value)[:60]}, expected {_WORDS[kind]}")


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", list: "a list", dict: "an object"}


def _is_plain(value: Any, kind: type) -> bool:
    """Whether a value is of a plain type; true and false are no numbers, and no number is infinite or NaN."""
    if isinstance(value, bool) or kind not in (int, float):
        return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    most = 2**63 if kind is int else sys.float_info.max
    return isinstance(value, int | kind) and -most <= value <= most


def content_of(path: str | os.PathLike) -> bytes:
    """The bytes of a file; ValueError for a pipe, a device or a folder, which may have no end."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is a folder, pipe or device, expected a file; remove it")
    return path.read_bytes()


def read_tensors(path: str | os.PathLike) -> Any:
    """Tensors and plain values in the file `path`, as torch.save wrote them; ValueError where a bit of it is not as it was written.

    PyTorch itself does not look at the checksums in its files. Nothing but tensors and plain values is made: no code is run.
    """
    import torch

    content = content_of(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            if damaged := parts.testzip():
                raise ValueError(f"its part {damaged} is damaged")
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    for tensor in _tensors_in(found):
        if tensor.numel() * tensor.element_size() > len(content):
            raise ValueError(f"a tensor claims {tensor.numel()} numbers, and the whole file has {len(content)} bytes")
    return found


def _tensors_in(tree: Any) -> Iterator[Any]:
    """Every tensor in nested dictionaries, lists and tuples."""
    if hasattr(tree, "element_size"):
        yield tree
    elif isinstance(tree, Mapping | list | tuple):
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _tensors_in(part)


def current_umask() -> int:
    """The process's file mode mask (mkstemp ignores it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Where downloads and prepared slices are kept: `SEMICON_CACHE`, or the platform's folder for caches."""
    if chosen := os.environ.get("SEMICON_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "semicon_nb"


def plain(value: object) -> object:
    """What JSON writes of a `value` that it does not know: a number of NumPy as one of Python, all else in words."""
    return value.item() if isinstance(value, np.generic) else str(value)


def content_key(*parts: object) -> str:
    """Sixteen hexadecimal digits that change whenever an array, dataclass or plain value among `parts` does."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and not part.dtype.hasobject:
            digest.update(f"array {part.dtype.str} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            value = asdict(part) if is_dataclass(part) and not isinstance(part, type) else part
            digest.update(json.dumps(value, sort_keys=True, default=_whole).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _whole(value: Any) -> object:
    """What a key takes of a `value` that JSON does not know: all numbers of an array or tensor, all members of a set; else as `plain`."""
    if isinstance(value, np.ndarray):
        return content_key(value.tolist() if value.dtype.hasobject else value)
    if isinstance(value, set | frozenset):
        return sorted(content_key(one) for one in value)
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return [str(value.dtype), content_key(value.detach().cpu().double().numpy())]
    return plain(value)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    names = ("semicon_nb", "torch", "numpy", "scipy", "umap-learn", "plotly")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def without_nan(value: object) -> object:
    """The same `value` (nested mappings, lists, numbers, text) with plain Python numbers, and None for those that are not finite."""
    if isinstance(value, Mapping):
        return {str(name): without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
