"""Ways to spoil a file: its bytes, its JSON, its table, its header, its pictures, its tensors; each decided by a generator alone."""

import gzip
import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Spoiler = Callable[[Path, random.Random], str]
"""(file, generator) -> what was done, in words; the file is changed in place."""

DEEP = "[" * 100_000
MARKER = "ran-code"
"""A file of this name stands in the working folder where code from a file was run."""


class Payload:
    """A pickle of it creates the marker where it is loaded."""

    def __reduce__(self) -> tuple:
        return os.mkdir, (MARKER,)


# bytes ----------------------------------------------------------------------------------------------------------------
def spoil_bytes(path: Path, luck: random.Random) -> str:
    """Cut, flip, overwrite, insert or repeat bytes."""
    content = bytearray(path.read_bytes())
    kind, at = luck.choice(["cut", "flip", "bits", "zeros", "noise", "insert", "twice", "drop"]), luck.randrange(max(1, len(content)))
    run = luck.choice([1, 4, 64, 1000])
    if kind == "cut":
        content = content[:at]
    elif kind in ("flip", "bits"):
        for _ in range(1 if kind == "flip" else luck.randrange(2, 40)):
            content[luck.randrange(len(content))] ^= 1 << luck.randrange(8)
    elif kind in ("zeros", "noise"):
        run = min(run, len(content) - at)
        content[at : at + run] = bytes(run) if kind == "zeros" else luck.randbytes(run)
    elif kind == "insert":
        content[at:at] = luck.randbytes(run)
    else:
        content = content * 2 if kind == "twice" else content[:at] + content[at + run :]
    path.write_bytes(content)
    return f"{kind} at {at}"


def spoil_bit(path: Path, luck: random.Random) -> str:
    """Turn one bit."""
    content = bytearray(path.read_bytes())
    at = luck.randrange(len(content))
    content[at] ^= 1 << luck.randrange(8)
    path.write_bytes(content)
    return f"a bit at {at}"


@lru_cache
def strangers() -> dict[str, bytes]:
    """Contents that are of another kind than any reader expects."""
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as whole:
        whole.writestr("a.txt", "nothing")
    return {
        "empty": b"", "space": b" \n", "page": b"<!doctype html><html><body>404 Not Found</body></html>", "deep": DEEP.encode(),
        "deep objects": b'{"a":' * 50_000, "zip": box.getvalue(), "gzip": gzip.compress(b"text"), "bomb": gzip.compress(bytes(1 << 28)),
        "pickle": pickle.dumps(Payload()), "noise": random.Random(0).randbytes(4000), "zeros": bytes(4000), "number": b"1" * 6000,
        "utf16": "{}".encode("utf-16"), "latin": b'{"labels": "\xe9"}', "null": b"null", "list": b"[]", "object": b"{}", "text": b'"a"',
        "gif": b"GIF89a" + bytes(100), "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (9,)}",
        "npy claims": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)}".ljust(200),
    }  # fmt: skip


def spoil_kind(path: Path, luck: random.Random) -> str:
    """Put something of another kind in the file's place."""
    name, content = luck.choice(sorted(strangers().items()))
    path.write_bytes(content)
    return f"another kind of file: {name}"


def spoil_place(path: Path, luck: random.Random) -> str:
    """Put what is no file in the file's place: a pipe, a folder, a link to nowhere or to itself, a device without an end."""
    path.unlink()
    kind = luck.choice(["pipe", "folder", "nowhere", "loop", "device", "gone"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.symlink_to({"nowhere": "no-such-file", "loop": path.name, "device": "/dev/zero"}[kind])
    return f"no file: {kind}"


# JSON and tables ------------------------------------------------------------------------------------------------------
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 1.5, -0.0, 1e308, float("inf"), float("nan"), 10**30, 2**63, -(2**31), "", " ", "0", "1", "nan",
    "a" * 5000, "../../x", "/etc/passwd", "a\0b", "a\nb", "\ud800", "<img src=x onerror=alert(1)>", [], {}, [[]], {"a": {}}, [None],
    ["a", "a"], [1, "1"], {"": ""}, "background", "http.server:test", [1e400], {"0": "a", "1": "a"},
)  # fmt: skip


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree of dictionaries and lists."""
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        one = todo.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        todo += [one[key] for key in keys]
    return found


def change(tree: Any, luck: random.Random, values: tuple[Any, ...] = VALUES) -> tuple[Any, str]:
    """The tree with one of its places changed, and what was done."""
    where = places(tree)
    if not where or luck.random() < 0.03:
        return luck.choice(values), "all of it is another value"
    box, key = luck.choice(where)
    kind = luck.choice(["value", "value", "value", "remove", "more", "wrap", "text", "twice"])
    if kind == "value":
        box[key] = luck.choice(values)
    elif kind == "remove":
        del box[key]
    elif kind == "more" and isinstance(box, dict):
        box[luck.choice(["", "unknown", "model", "__class__", str(key).upper()])] = luck.choice(values)
    elif kind in ("more", "twice") and isinstance(box, list):
        box.append(box[key])
    elif kind == "text":
        box[key] = str(box[key])
    else:
        box[key] = [box[key]]
    return tree, f"{kind} at {str(key)[:40]!r}"


def spoil_json(path: Path, luck: random.Random) -> str:
    """Change one or two places of a JSON file, or of one line of a file of JSON lines."""
    lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
    at = luck.randrange(len(lines))
    tree, done = json.loads(lines[at]), []
    for _ in range(luck.choice([1, 1, 1, 2])):
        tree, words = change(tree, luck)
        done.append(words)
    lines[at] = json.dumps(tree)
    path.write_text("\n".join(lines) + "\n" * (path.suffix != ".json"))
    return f"line {at + 1}: " * (len(lines) > 1) + ", ".join(done)


CELLS = ("", " ", '"', '"open', "a,b", "x" * 5000, "\0", "7.0", "1e3", "1.5E+10", "NaN", "yes", "no", "maybe", "=1+1", "\u202e", "é", "\r", "#N/A")


def spoil_table(path: Path, luck: random.Random) -> str:
    """Change a table's cell, line, column or form."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    y, kind = luck.randrange(len(rows)), luck.choice(["cell", "cell", "cell", "line", "column", "twice", "form"])
    x = luck.randrange(len(rows[y]))
    if kind == "cell":
        rows[y][x] = luck.choice(CELLS)
    elif kind == "line":
        del rows[y]
    elif kind == "column":
        rows = [row[:x] + row[x + 1 :] for row in rows]
    elif kind == "twice":
        rows.append(rows[y])
    text = "\n".join(map(",".join, rows)) + "\n"
    form = luck.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"]) if kind == "form" else "utf-8"
    path.write_bytes(text.encode(form))
    return f"{kind} in line {y + 1}" + f" ({form})" * (kind == "form")


# NIfTI ----------------------------------------------------------------------------------------------------------------
_EXTREMES = {"i": (0, 1, -1, 2, 127, -128, 32767, -32768, 2**31 - 1, -(2**31), 511), "u": (0, 1, 255, 7, 8),
             "f": (0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38, 1e-38, 352.0, -352.0, 1e9)}  # fmt: skip


def spoil_header(path: Path, luck: random.Random) -> str:
    """Put extreme numbers into one to three fields of a NIfTI header; in a .nii.gz the checksum is made anew."""
    from nibabel.nifti1 import header_dtype

    packed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    head, done = np.frombuffer(content, header_dtype, 1).copy(), []
    for _ in range(luck.choice([1, 1, 2, 3])):
        name = luck.choice([one for one in header_dtype.names if header_dtype[one].base.kind in "iuf"])
        values, kind = head[name], header_dtype[name].base
        at = luck.randrange(values[0].size) if values[0].ndim else 0
        number = luck.choice([v for v in _EXTREMES[kind.kind] if kind.kind == "f" or np.iinfo(kind).min <= v <= np.iinfo(kind).max])
        values.reshape(-1)[at] = number
        done.append(f"{name}[{at}] = {number}")
    content[: head.nbytes] = head.tobytes()
    path.write_bytes(gzip.compress(bytes(content), 1) if packed else content)
    return "header: " + ", ".join(done)


# PNG ------------------------------------------------------------------------------------------------------------------
@lru_cache
def _squeezed() -> bytes:
    """A quarter of a gigabyte of zeros, packed."""
    return zlib.compress(bytes(1 << 28))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with the right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a PNG."""
    found, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def spoil_chunks(path: Path, luck: random.Random) -> str:
    """Change the header or the chunks of a PNG, with right checksums, or put another format under its name."""
    from PIL import Image

    parts = chunks(path.read_bytes())
    kind = luck.choice(["head", "head", "head", "remove", "order", "twice", "data", "text bomb", "animation", "format"])
    at = luck.randrange(len(parts))
    if kind == "format":
        word = luck.choice(["GIF", "BMP", "JPEG", "TIFF", "WEBP", "PPM"])
        Image.open(path).convert("L").save(path, format=word)
        return f"{word} under the name of a PNG"
    if kind == "head":
        w, h, *rest = struct.unpack(">IIBBBBB", parts[0][1])
        fields = [w, h, *rest]
        at = luck.randrange(7)
        fields[at] = luck.choice([0, 1, 2, 3, 7, 16, 255] + [20_000, 2**31 - 1, 2**32 - 1] * (at < 2))
        parts[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
    elif kind == "remove":
        del parts[at]
    elif kind == "order":
        luck.shuffle(parts)
    elif kind == "twice":
        parts.insert(at, parts[at])
    else:
        more = {"data": (b"IDAT", luck.randbytes(30)), "text bomb": (b"zTXt", b"a\0\0" + _squeezed()),
                "animation": (b"acTL", struct.pack(">II", 3, 0))}  # fmt: skip
        parts.insert(1, more[kind])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return f"chunks: {kind} at {at}"


# tensors and arrays ---------------------------------------------------------------------------------------------------
def spoil_tensors(path: Path, luck: random.Random) -> str:
    """Change one place in a file of tensors: another shape, type or kind of value, numbers that are not finite, code."""
    import torch

    tree = torch.load(path, weights_only=True)
    tree = {**tree} if isinstance(tree, dict) else tree
    box, key = luck.choice(places(tree))
    old, kind = box[key], luck.choice(["value", "remove", "nan", "shape", "type", "large", "code"])
    if kind == "remove":
        del box[key]
    elif kind == "code":
        box[key] = Payload()
    elif torch.is_tensor(old) and kind != "value":
        box[key] = {
            "nan": lambda: torch.full_like(old.float(), luck.choice([float("nan"), float("inf")])),
            "shape": lambda: old.new_zeros(luck.choice([(0,), (3,), (2, 3, 5), ()])),
            "type": lambda: old.to(luck.choice([torch.float64, torch.int32, torch.bool, torch.complex64])),
            "large": lambda: torch.zeros(1).expand(1 << 32),
        }[kind]()
    else:
        box[key] = luck.choice(VALUES[:16])
    torch.save(tree, path)
    return f"tensors: {kind} at {key!r}"


def spoil_arrays(path: Path, luck: random.Random) -> str:
    """Change one array, or the facts, of an .npz file."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored}
    name = luck.choice(sorted(arrays))
    kind = luck.choice(["remove", "shape", "type", "object", "facts", "facts"])
    if kind == "facts":
        tree, words = change(json.loads(arrays["facts"].tobytes()), luck)
        arrays["facts"] = np.frombuffer(json.dumps(tree).encode(), np.uint8)
        name = words
    elif kind == "remove":
        del arrays[name]
    elif kind == "object":
        arrays[name] = np.array([Payload()], object)
    else:
        arrays[name] = arrays[name].reshape(-1)[:3] if kind == "shape" else arrays[name].astype("S4" if luck.random() < 0.5 else "f8")
    np.savez(path, **arrays)
    return f"arrays: {kind} at {name}"


# archives -------------------------------------------------------------------------------------------------------------
_HOSTILE = ("../out", "/tmp/torture-out", "a/../../out", "..\\out", "C:\\out", "Task/../../out", "Task/" + "d/" * 200 + "f", "Task/" + "n" * 300,
            "Task/a\0b", "Task", "Task/dataset.json/x", "./../out", "Task/\udcff")  # fmt: skip


def spoil_archive(path: Path, luck: random.Random) -> str:
    """Put an entry into a tar file that must not be unpacked, or claims what is not there."""
    kind, name = luck.choice(["name", "name", "link", "hard", "device", "size", "sparse"]), luck.choice(_HOSTILE)
    with tarfile.open(path) as old:
        kept = [(member, (old.extractfile(member) or io.BytesIO()).read()) for member in old]
    entry = tarfile.TarInfo(name if kind == "name" else f"Task/{kind}")
    kinds = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": luck.choice([tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE])}
    entry.type, entry.linkname = kinds.get(kind, tarfile.REGTYPE), luck.choice(["../../out", "/etc/passwd", "Task/dataset.json"])
    with tarfile.open(path, "w", errors="surrogateescape") as new:
        for member, content in kept:
            new.addfile(member, io.BytesIO(content))
        if kind == "size":
            entry.size = luck.choice([1 << 40, 5 << 30, 4000])
            new.fileobj.write(entry.tobuf())
        else:
            new.addfile(entry, io.BytesIO())
    return f"archive: {kind} {name[:20]!r}"
