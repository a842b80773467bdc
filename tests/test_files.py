"""Files are whole or absent, whatever happens while they are written, and never taken damaged."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pytest
import torch

from semicon_nb import files
from semicon_nb.files import check_kind, content_key, content_of, from_json, read_tensors, write_atomic


def test_what_killed_writers_left_goes_with_the_next_write_and_young_files_stay(tmp_path):
    old, young, other = (tmp_path / name for name in (".a[1].json.x1.partial", ".a[1].json.x2.partial", ".b.json.x3.partial"))
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    write_atomic(tmp_path / "a[1].json", "{}")
    assert not old.exists() and young.exists() and other.exists()


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    """Killed between the last byte and the new name, a hundred times faster than a disk could tell."""
    path = write_atomic(tmp_path / "weights.pt", b"old")
    code = f"""
import os, signal
from semicon_nb import files
files.os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomic({str(path)!r}, b"new" * 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])})
    assert done.returncode != 0 and path.read_bytes() == b"old"
    assert len(list(tmp_path.glob(".weights.pt.*.partial"))) == 1


def test_a_full_disk_names_the_file_and_how_to_go_on(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "model.pt", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="disk is full.*free some space and give the same command again.*model.pt"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_is_nested_too_deeply_is_no_json():
    assert from_json('{"a": [1, null]}') == {"a": [1, None]}
    for text in ("[" * 200_000, '{"a":' * 200_000, b"[" * 200_000):
        with pytest.raises(ValueError):
            from_json(text)


def test_a_turned_bit_of_tensors_is_found_wherever_a_number_stands(tmp_path):
    weights = {f"layer{k}": torch.arange(300.0) + k for k in range(3)}
    path = tmp_path / "weights.pt"
    torch.save(weights, path)
    assert all(torch.equal(read_tensors(path)[name], value) for name, value in weights.items())
    content = path.read_bytes()
    for value in weights.values():
        start = content.index(value.numpy().tobytes())
        for place in range(start, start + 1200, 131):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            with pytest.raises(ValueError, match="is damaged|CRC"):
                read_tensors(path)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_file_of_tensors_is_refused(cut, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError):
        read_tensors(path)


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_code_in_a_file_of_tensors_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Harmful()}, "weights.pt")
    with pytest.raises(ValueError):
        read_tensors("weights.pt")
    assert not Path("harmed").exists()


class Part(TypedDict):
    name: str
    share: NotRequired[float | None]


class Kept(TypedDict):
    count: int
    parts: list[Part]
    more: NotRequired[dict[str, list[int]]]


SOUND: dict[str, Any] = {"count": 3, "parts": [{"name": "a", "share": 1}, {"name": "b", "share": None}], "more": {"x": [1]}, "other": {}}


def test_a_sound_file_is_of_its_kind():
    assert from_json(json.dumps(SOUND), Kept) == SOUND


@pytest.mark.parametrize("change, words", [
    ({"count": True}, "count is True, expected a whole number"), ({"count": 3.0}, "count is 3.0, expected a whole number"),
    ({"count": 2**64}, "count is 18446744073709551616, expected a whole number"), ({"parts": {}}, "parts is {}, expected a list"),
    ({"parts": [{"name": 1}]}, r"parts\[0\].name is 1, expected text"), ({"parts": [{}]}, r"it lacks parts\[0\].name"),
    ({"parts": [{"name": "a", "share": float("nan")}]}, "share is nan, expected a number"),
    ({"parts": [{"name": "a", "share": 10**400}]}, "share is 1000"), ({"more": {"x": [None]}}, r"more\['x'\]\[0\] is None"),
])  # fmt: skip
def test_a_value_of_another_kind_is_named_by_its_place(change, words):
    with pytest.raises(ValueError, match=words):
        check_kind({**SOUND, **change}, Kept)


def test_all_of_it_may_be_of_another_kind():
    with pytest.raises(ValueError, match="all of it is \\[\\], expected an object"):
        from_json("[]", Kept)
    with pytest.raises(ValueError, match="it lacks count"):
        from_json("{}", Kept)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "endless").symlink_to("/dev/zero")
    places = ["folder", *["endless"] * Path("/dev/zero").exists()]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        places.append("pipe")
    for name in places:
        with pytest.raises(ValueError, match=f"{name}: is a folder, pipe or device"):
            content_of(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        content_of(tmp_path / "nothing")


def test_a_tensor_cannot_claim_more_than_its_file(tmp_path):
    torch.save({"a": [torch.zeros(1).expand(1 << 40)]}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="a tensor claims 1099511627776 numbers"):
        read_tensors(tmp_path / "weights.pt")


def test_numbers_of_numpy_have_the_keys_of_numbers():
    assert content_key({"a": np.int64(2)}, [np.float64(0.5)]) == content_key({"a": 2}, [0.5]) != content_key({"a": "2"}, [0.5])
