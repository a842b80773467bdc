"""Downloads against a server on the loopback: whole, interrupted, resumed, corrupted, hostile."""

import hashlib
import io
import json
import re
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel
import numpy as np
import pytest

from semicon_nb.data import download, hippocampus
from semicon_nb.data.scans import DataError

NAME = "Task04_Hippocampus"


def task(folder: Path, count: int = 3) -> Path:
    """A tiny Decathlon task with `count` volumes."""
    rng = np.random.default_rng(0)
    for place in ("imagesTr", "labelsTr"):
        (folder / NAME / place).mkdir(parents=True)
    pairs = []
    for k in range(1, count + 1):
        file = f"hippocampus_{k:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(rng.random((20, 24, 6), np.float32), np.eye(4)), folder / NAME / "imagesTr" / file)
        nibabel.save(nibabel.Nifti1Image(rng.integers(0, 3, (20, 24, 6)).astype(np.uint8), np.eye(4)), folder / NAME / "labelsTr" / file)
        pairs.append({"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"})
    about = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "training": pairs}
    (folder / NAME / "dataset.json").write_text(json.dumps(about))
    return folder / NAME


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> bytes:
    """A tar file of a tiny task, with the hidden files that macOS adds."""
    folder = task(tmp_path_factory.mktemp("task"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, NAME)
        hidden = tarfile.TarInfo(f"{NAME}/imagesTr/._hippocampus_001.nii.gz")
        hidden.size = 3
        tar.addfile(hidden, io.BytesIO(b"mac"))
    return buffer.getvalue()


class Server:
    """Serves `content` under any path; can break off once, and can ignore Range."""

    def __init__(self):
        self.content, self.break_after, self.ranges, self.asked, self.status = b"", None, True, [], 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if self.status != 200:
            return handler.send_error(self.status)
        if start and start >= len(self.content):
            return handler.send_error(416)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        stop = len(self.content) if self.break_after is None else self.break_after
        self.break_after = None
        handler.wfile.write(self.content[start:stop])


@pytest.fixture
def server(monkeypatch, tmp_path, archive):
    """The server with the archive, as the mirror; an empty cache, and no other data folder."""
    server = Server()
    server.content = archive
    monkeypatch.setenv("SEMICON_MIRROR", server.base)
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEMICON_DATA", raising=False)
    monkeypatch.setitem(download.ARCHIVES, NAME, replace(download.ARCHIVES[NAME], md5=hashlib.md5(archive).hexdigest()))
    yield server
    server.http.shutdown()
    server.http.server_close()


def left(tmp_path: Path) -> list[str]:
    """Names of everything in the cache folder, the empty files by which programs take turns aside."""
    cache = tmp_path / "cache"
    return sorted(p.name for p in cache.iterdir() if not p.name.endswith(".lock")) if cache.is_dir() else []


def test_checksum_and_address_are_those_of_monai(monkeypatch):
    from monai.apps import DecathlonDataset

    monkeypatch.delenv("SEMICON_MIRROR", raising=False)
    assert download.ARCHIVES[NAME].address == DecathlonDataset.resource[NAME]
    assert download.ARCHIVES[NAME].md5 == DecathlonDataset.md5[NAME]


def test_hippocampus_downloads_on_request_and_only_once(server, tmp_path):
    with pytest.raises(FileNotFoundError, match="download=True"):
        hippocampus()
    assert server.asked == []
    cohort = hippocampus(download=True)
    assert [v.name for v in cohort.volumes] == [f"hippocampus_{k:03d}" for k in (1, 2, 3)]
    assert left(tmp_path) == [NAME, "slices"]
    assert not list((tmp_path / "cache").rglob("._*"))
    assert hippocampus(download=True).fingerprint == cohort.fingerprint
    assert len(server.asked) == 1


def test_interrupted_download_resumes_where_it_stopped(server, tmp_path):
    server.break_after = 10_000
    with pytest.raises(DataError, match=r"broke off after 10000 of \d+ bytes; run again to resume"):
        download.download(NAME, progress=False)
    assert left(tmp_path) == [f"{NAME}.tar.partial"]
    assert (tmp_path / "cache" / f"{NAME}.tar.partial").stat().st_size == 10_000
    download.download(NAME, progress=False)
    assert server.asked == [None, "bytes=10000-"]
    assert left(tmp_path) == [NAME]


def test_two_programs_that_want_the_same_archive_take_turns(server, tmp_path, archive):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: download.download(NAME, progress=False), range(4)))
    assert server.asked == [None] and set(found) == {tmp_path / "cache" / NAME} and left(tmp_path) == [NAME]
    target = tmp_path / "cache" / "x.tar"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: download.fetch(f"{server.base}/x.tar", target, hashlib.md5(archive).hexdigest(), False), range(4)))
    assert server.asked == [None, None] and target.read_bytes() == archive


def test_server_that_ignores_range_starts_anew(server, tmp_path, archive):
    server.break_after, server.ranges = 9_000, False
    with pytest.raises(DataError, match="broke off"):
        download.download(NAME, progress=False)
    path = download.fetch(f"{server.base}/x.tar", tmp_path / "cache" / f"{NAME}.tar", hashlib.md5(archive).hexdigest(), progress=False)
    assert server.asked[-1] == "bytes=9000-"
    assert path.read_bytes() == archive


def test_partial_that_is_already_whole_or_too_long(server, tmp_path, archive):
    partial = tmp_path / "cache" / f"{NAME}.tar.partial"
    for extra in (b"", b"rubbish"):
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(archive + extra)
        path = download.fetch(f"{server.base}/x.tar", partial.with_suffix(""), hashlib.md5(archive).hexdigest(), progress=False)
        assert path.read_bytes() == archive
        path.unlink()


def test_corrupted_download_leaves_nothing(server, tmp_path):
    server.content = server.content[:5000] + b"X" + server.content[5001:]
    with pytest.raises(DataError, match="the checksum is [0-9a-f]{32}, expected"):
        download.download(NAME, progress=False)
    assert left(tmp_path) == []


def test_stale_part_of_another_file_is_found_out_and_removed(server, tmp_path, archive):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.tar.partial").write_bytes(b"\1" * 4000)
    with pytest.raises(DataError, match="run again to fetch it anew"):
        download.download(NAME, progress=False)
    assert left(tmp_path) == []
    download.download(NAME, progress=False)
    assert left(tmp_path) == [NAME]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusing_server_is_named(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=rf"{NAME}.tar: the server answered {status}"):
        download.download(NAME, progress=False)
    assert left(tmp_path) == []


def test_nobody_there(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SEMICON_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot be reached"):
        download.download(NAME, progress=False)


def test_progress_is_shown(server, capsys):
    download.download(NAME)
    assert NAME in capsys.readouterr().err


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 4) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return info


HOSTILE = {
    "climbing": entry(f"{NAME}/../../evil"),
    "absolute": entry("/tmp/evil"),
    "backslash": entry(f"{NAME}\\..\\evil"),
    "drive": entry("C:/evil"),
    "symlink": entry(f"{NAME}/link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": entry(f"{NAME}/link", tarfile.LNKTYPE, "/etc/passwd"),
    "device": entry(f"{NAME}/null", tarfile.CHRTYPE),
    "pipe": entry(f"{NAME}/pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive_is_refused_whole(tmp_path, kind):
    path, into = tmp_path / "a.tar", tmp_path / "into"
    with tarfile.open(path, "w") as tar:
        for info in (entry(f"{NAME}/dataset.json"), HOSTILE[kind]):
            tar.addfile(info, io.BytesIO(b"evil") if info.isfile() else None)
    with pytest.raises(DataError, match="do not use this archive"):
        download.unpack(path, NAME, into)
    assert list(into.iterdir()) == []
    assert not (tmp_path / "evil").exists() and not Path("/tmp/evil").exists()


def test_link_then_file_through_it_writes_nothing_outside(tmp_path):
    path, into, outside = tmp_path / "a.tar", tmp_path / "into", tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.addfile(entry(NAME, tarfile.SYMTYPE, str(outside)))
        tar.addfile(entry(f"{NAME}/evil"), io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="link or device"):
        download.unpack(path, NAME, into)
    assert list(outside.iterdir()) == []


def test_truncated_wrong_and_oversized_archives(tmp_path, archive):
    path = tmp_path / "a.tar"
    path.write_bytes(archive[: len(archive) // 2 + 100])
    with pytest.raises(DataError, match="cannot be unpacked"):
        download.unpack(path, NAME, tmp_path / "into")
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(DataError, match="cannot be unpacked"):
        download.unpack(path, NAME, tmp_path / "into")
    path.write_bytes(archive)
    with pytest.raises(DataError, match="does not hold the folder Task99"):
        download.unpack(path, "Task99", tmp_path / "into")
    with pytest.raises(DataError, match="larger than expected"):
        download.unpack(path, NAME, tmp_path / "into", limit=1000)
    assert list((tmp_path / "into").iterdir()) == []


def test_places_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_DATA", str(tmp_path / "env"))
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    assert download.places("x") == [tmp_path / "env" / "x", tmp_path / "cache" / "x"]
    assert download.places("x", tmp_path / "mine") == [tmp_path / "mine" / "x", tmp_path / "mine"]
    for place in ("env", "cache", "mine"):
        (tmp_path / place / "x").mkdir(parents=True)
        (tmp_path / place / "x" / "m.json").write_text("{}")
    assert download.locate("x", "m.json", tmp_path / "mine") == tmp_path / "mine" / "x"
    assert download.locate("x", "m.json") == tmp_path / "env" / "x"
    monkeypatch.delenv("SEMICON_DATA")
    assert download.locate("x", "m.json") == tmp_path / "cache" / "x"


def test_not_found_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEMICON_DATA", str(tmp_path / "env"))
    with pytest.raises(FileNotFoundError) as caught:
        hippocampus()
    message = str(caught.value)
    for part in (str(tmp_path / "env" / NAME), str(tmp_path / "cache" / NAME), "download=True", "SEMICON_DATA"):
        assert part in message
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "nowhere"))):
        hippocampus(tmp_path / "nowhere")


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="Task99.*cannot be downloaded"):
        download.download("Task99")
