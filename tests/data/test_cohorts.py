"""Cohorts by name, and downloads against a server on the loopback: whole, interrupted, corrupted, hostile."""

import hashlib
import io
import json
import re
import tarfile
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel
import numpy as np
import pytest

from semicon_nb.data import (
    DataError,
    cohort_folders,
    cohorts,
    folder,
    hippocampus,
    load,
    mmwhs,
    native_labels,
    phantom,
    split,
    sunnybrook,
)
from semicon_nb.data.cohort import take

from .samples import nifti, task


def small_task(folder: Path, count: int = 3) -> Path:
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


NAME = "Task04_Hippocampus"


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> bytes:
    """A tar file of a tiny task, with the hidden files that macOS adds."""
    folder = small_task(tmp_path_factory.mktemp("task"))
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
    monkeypatch.setitem(cohorts._ARCHIVES, NAME, (cohorts._ARCHIVES[NAME][0], hashlib.md5(archive).hexdigest()))
    yield server
    server.http.shutdown()
    server.http.server_close()


def left(tmp_path: Path) -> list[str]:
    """Names of everything in the cache folder, the empty files by which programs take turns aside."""
    cache = tmp_path / "cache"
    return sorted(p.name for p in cache.iterdir() if not p.name.endswith(".lock")) if cache.is_dir() else []


def test_checksum_and_address_are_those_of_monai():
    from monai.apps import DecathlonDataset

    address, md5 = cohorts._ARCHIVES[NAME]
    assert f"{address}/{NAME}.tar" == DecathlonDataset.resource[NAME] and md5 == DecathlonDataset.md5[NAME]


def test_an_empty_folder_in_the_cache_does_not_stop_the_download(server, tmp_path):
    (tmp_path / "cache" / NAME).mkdir(parents=True)
    assert any(cohorts._fetch_cohort(NAME, progress=False).iterdir())


@pytest.mark.parametrize("place", ["http://127.0.0.1/x.tar", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_server_that_sends_from_https_to_anything_else_is_not_followed(place):
    request = urllib.request.Request("https://example.org/x.tar")
    with pytest.raises(DataError, match="sends to .*, expected an address with https"):
        cohorts._Upright().redirect_request(request, None, 302, "Found", {}, place)
    assert cohorts._Upright().redirect_request(request, None, 302, "Found", {}, "https://example.org/y.tar").full_url.endswith("y.tar")


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
        cohorts._fetch_cohort(NAME, progress=False)
    assert left(tmp_path) == [f"{NAME}.tar.partial"]
    assert (tmp_path / "cache" / f"{NAME}.tar.partial").stat().st_size == 10_000
    cohorts._fetch_cohort(NAME, progress=False)
    assert server.asked == [None, "bytes=10000-"]
    assert left(tmp_path) == [NAME]


def test_two_programs_that_want_the_same_archive_take_turns(server, tmp_path, archive):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: cohorts._fetch_cohort(NAME, progress=False), range(4)))
    assert server.asked == [None] and set(found) == {tmp_path / "cache" / NAME} and left(tmp_path) == [NAME]
    target = tmp_path / "cache" / "x.tar"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: cohorts._fetch(f"{server.base}/x.tar", target, hashlib.md5(archive).hexdigest(), False), range(4)))
    assert server.asked == [None, None] and target.read_bytes() == archive


def test_server_that_ignores_range_starts_anew(server, tmp_path, archive):
    server.break_after, server.ranges = 9_000, False
    with pytest.raises(DataError, match="broke off"):
        cohorts._fetch_cohort(NAME, progress=False)
    path = cohorts._fetch(f"{server.base}/x.tar", tmp_path / "cache" / f"{NAME}.tar", hashlib.md5(archive).hexdigest(), progress=False)
    assert server.asked[-1] == "bytes=9000-"
    assert path.read_bytes() == archive


def test_partial_that_is_already_whole_or_too_long(server, tmp_path, archive):
    partial = tmp_path / "cache" / f"{NAME}.tar.partial"
    for extra in (b"", b"rubbish"):
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(archive + extra)
        path = cohorts._fetch(f"{server.base}/x.tar", partial.with_suffix(""), hashlib.md5(archive).hexdigest(), progress=False)
        assert path.read_bytes() == archive
        path.unlink()


def test_corrupted_download_leaves_nothing(server, tmp_path):
    server.content = server.content[:5000] + b"X" + server.content[5001:]
    with pytest.raises(DataError, match="the checksum is [0-9a-f]{32}, expected"):
        cohorts._fetch_cohort(NAME, progress=False)
    assert left(tmp_path) == []


def test_stale_part_of_another_file_is_found_out_and_removed(server, tmp_path, archive):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.tar.partial").write_bytes(b"\1" * 4000)
    with pytest.raises(DataError, match="run again to fetch it anew"):
        cohorts._fetch_cohort(NAME, progress=False)
    assert left(tmp_path) == []
    cohorts._fetch_cohort(NAME, progress=False)
    assert left(tmp_path) == [NAME]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusing_server_is_named(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=rf"{NAME}.tar: the server answered {status}"):
        cohorts._fetch_cohort(NAME, progress=False)
    assert left(tmp_path) == []


def test_nobody_there(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SEMICON_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot be reached"):
        cohorts._fetch_cohort(NAME, progress=False)


def test_progress_is_shown(server, capsys):
    cohorts._fetch_cohort(NAME)
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
        cohorts._unpack(path, NAME, into)
    assert list(into.iterdir()) == []
    assert not (tmp_path / "evil").exists() and not Path("/tmp/evil").exists()


def test_link_then_file_through_it_writes_nothing_outside(tmp_path):
    path, into, outside = tmp_path / "a.tar", tmp_path / "into", tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.addfile(entry(NAME, tarfile.SYMTYPE, str(outside)))
        tar.addfile(entry(f"{NAME}/evil"), io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="link or device"):
        cohorts._unpack(path, NAME, into)
    assert list(outside.iterdir()) == []


def test_truncated_wrong_and_oversized_archives(tmp_path, archive):
    path = tmp_path / "a.tar"
    path.write_bytes(archive[: len(archive) // 2 + 100])
    with pytest.raises(DataError, match="cannot be unpacked"):
        cohorts._unpack(path, NAME, tmp_path / "into")
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(DataError, match="cannot be unpacked"):
        cohorts._unpack(path, NAME, tmp_path / "into")
    path.write_bytes(archive)
    with pytest.raises(DataError, match="does not hold the folder Task99"):
        cohorts._unpack(path, "Task99", tmp_path / "into")
    with pytest.raises(DataError, match="larger than expected"):
        cohorts._unpack(path, NAME, tmp_path / "into", limit=1000)
    assert list((tmp_path / "into").iterdir()) == []


def test_places_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_DATA", str(tmp_path / "env"))
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    assert cohort_folders("x") == [tmp_path / "env" / "x", tmp_path / "cache" / "x"]
    assert cohort_folders("x", tmp_path / "mine") == [tmp_path / "mine" / "x", tmp_path / "mine"]
    assert cohort_folders("x", marker="m.json") == []
    for place in ("env", "cache", "mine"):
        (tmp_path / place / "x").mkdir(parents=True)
        (tmp_path / place / "x" / "m.json").write_text("{}")
    assert cohort_folders("x", tmp_path / "mine", "m.json")[0] == tmp_path / "mine" / "x"
    assert cohort_folders("x", marker="m.json")[0] == tmp_path / "env" / "x"
    monkeypatch.delenv("SEMICON_DATA")
    assert cohort_folders("x", marker="m.json")[0] == tmp_path / "cache" / "x"


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
    with pytest.raises(ValueError, match="name: found 'Task99', expected one of Task04"):
        cohorts._fetch_cohort("Task99")


def test_two_hippocampi_of_a_person_share_a_subject(hippo):
    numbers = {v.name: int(v.name[-3:]) for v in hippo.volumes}
    for v in hippo.volumes:
        assert v.subject == f"person{(numbers[v.name] + 1) // 2:03d}"
    assert len(hippo.subjects) < len(hippo.volumes)


def test_pairs_really_are_alike(data_folder):
    """Why we believe ids 2k - 1 and 2k to be one person: their hippocampi are of one size, other people's are not."""
    place = data_folder / "Task04_Hippocampus" / "labelsTr"
    sizes = {int(p.name[12:15]): np.asarray(nibabel.load(p).dataobj).astype(bool).sum() for p in sorted(place.glob("*.nii.gz"))[:110]}
    pairs = np.array([(sizes[k], sizes[k + 1]) for k in sizes if k % 2 and k + 1 in sizes])
    assert np.corrcoef(pairs.T)[0, 1] > 0.8
    assert abs(np.corrcoef(pairs[:, 0], np.roll(pairs[:, 1], 1))[0, 1]) < 0.4


def test_hippocampus_by_folder_keeps_people_together(data_folder):
    cohort = load(data_folder / "Task04_Hippocampus", limit=6)
    assert cohort.name == "hippocampus" and cohort.subjects[0] == "person001"


def test_another_task_is_not_taken_for_hippocampi(tmp_path):
    with pytest.raises(DataError, match="is another task, its classes are background, head, tail; load it as a folder"):
        hippocampus(task(tmp_path / "t"))


def test_limit_must_leave_something(tmp_path):
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit"):
            hippocampus(tmp_path, limit=limit)


def test_cardiac_phantom_has_a_name():
    assert load("phantom-cardiac", subjects=3, size=16).fingerprint == phantom("cardiac", 3, 16).fingerprint


def test_mmwhs_maps_its_values(tmp_path):
    values = np.array([0, 500, 600, 420, 421, 550, 205, 820, 850, 999, 3])
    expected = [0, 1, 2, 3, 3, 4, 5, 6, 7, 0, 0]
    for modality in ("ct", "mr"):
        for k in range(3):
            labels = np.repeat(np.repeat(values[:, None, None], 24, 1), 5, 2).astype(np.int16)
            image = np.random.default_rng(k).normal(0, 300, labels.shape).astype(np.int16)
            nifti(tmp_path / "mmwhs" / f"{modality}_train" / f"{modality}_train_{k}_image.nii.gz", image)
            nifti(tmp_path / "mmwhs" / f"{modality}_train" / f"{modality}_train_{k}_label.nii.gz", labels)
    nifti(tmp_path / "mmwhs" / "ct_test" / "ct_test_9_image.nii.gz", image)
    cohort = mmwhs(tmp_path, size=32)
    assert len(cohort.classes) == 8 and len(cohort.volumes) == 4
    assert native_labels(cohort, 1)[:, 0, 0].tolist() == expected
    assert not cohort.labelled[cohort.volume == 0].any()
    assert len(mmwhs(tmp_path / "mmwhs", modality="mr", size=32).volumes) == 3
    s = split(cohort, 1.0)
    assert cohort.volumes[0].name in s.train and cohort.volumes[0].name not in s.labelled
    with pytest.raises(ValueError, match="modality"):
        mmwhs(tmp_path, modality="pet")


def test_source_gives_the_cohort_back(tmp_path, data_folder):
    for cohort in (
        phantom("cardiac", 2, 16, 3),
        folder(task(tmp_path / "t"), 32, "centre"),
        hippocampus(data_folder, 32, limit=5),
        hippocampus(limit=4),
        sunnybrook(size=64),
    ):
        source = json.loads(json.dumps(cohort.source))
        assert load(**source).fingerprint == cohort.fingerprint
        part = take(cohort, [cohort.volumes[1].name])
        again = load(**json.loads(json.dumps(part.source)))
        assert again.fingerprint == part.fingerprint != cohort.fingerprint and np.array_equal(again.images, part.images)


def test_fingerprints_of_named_cohorts_stay(data_folder):
    assert hippocampus(data_folder).fingerprint == "626a58915ff5509b" and sunnybrook(data_folder).fingerprint == "e183b78b18b271f4"
