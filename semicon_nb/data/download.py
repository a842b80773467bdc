"""Where the scans are looked for, and how they get there: whole, checked, and unpacked without trusting the archive."""

__all__ = ["ARCHIVES", "places", "locate", "not_found", "Archive", "ask", "receive", "checksum", "fetch", "checked", "unpack", "download"]


import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

from ..files import cache_folder
from .scans import DataError


def places(
    name: str,  # the cohort's folder, such as "Task04_Hippocampus"
    data: str | Path | None = None,  # the folder, or the one above it; None for the usual places
) -> list[Path]:
    """The folders in which a cohort is looked for, in order."""
    if data is not None:
        return [Path(data).expanduser() / name, Path(data).expanduser()]
    named = os.environ.get("SEMICON_DATA")
    return [*([Path(named).expanduser() / name] if named else []), cache_folder() / name]


def locate(
    name: str,  # the cohort's folder
    marker: str,  # pattern of a file that must be in it, such as "dataset.json"
    data: str | Path | None = None,  # the folder, or the one above it; None for the usual places
) -> Path | None:
    """The first of `places` that holds the cohort, or None."""
    return next((place for place in places(name, data) if place.is_dir() and any(place.glob(marker))), None)


def not_found(
    name: str,  # the cohort's folder
    marker: str,  # the file that was looked for in it
    data: str | Path | None = None,  # what the caller named
    downloads: bool = False,  # whether we could fetch it
) -> FileNotFoundError:
    """The error for a cohort that is nowhere: the places that were looked at, and what to do."""
    looked = "; ".join(str(place / marker) for place in places(name, data))
    unset = "" if data is not None or os.environ.get("SEMICON_DATA") else " (SEMICON_DATA is not set)"
    todo = f"set SEMICON_DATA, or data=, to the folder that holds {name}"
    fetch_it = "fetch it with download=True (semicon-nb data hippocampus --download), or " if downloads else ""
    return FileNotFoundError(f"{name}: not found; looked at {looked}{unset}. To go on, {fetch_it}{todo}")


@dataclass(frozen=True)
class Archive:
    """A tar file at a public address."""

    folder: str  # what it unpacks to
    base: str  # the address without the file's name
    md5: str  # checksum of the file

    @property
    def address(self) -> str:
        """The address, at the mirror where one is named."""
        return f"{os.environ.get('SEMICON_MIRROR', self.base).rstrip('/')}/{self.folder}.tar"


ARCHIVES = {
    "Task04_Hippocampus": Archive(
        "Task04_Hippocampus", "https://msd-for-monai.s3-us-west-2.amazonaws.com", "9d24dba78a72977dbd1d2e110310f31b"
    )
}


def ask(
    address: str,  # where the file is
    start: int,  # first byte wanted
) -> tuple[Any, bool]:
    """The server's answer to a request for the bytes from `start` on, and whether it will send just those; DataError where there is none."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            return ask(address, 0)
        raise DataError(f"{address}: the server answered {error.code} {error.reason}; check the address or try later") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{address}: cannot be reached ({error}); check connection and address, then run again to resume") from error
    resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return answer, resumed


def receive(
    address: str,  # where the file is
    partial: Path,  # where it grows
    progress: bool = True,  # whether to show a bar
) -> None:
    """Append what is missing to `partial`; DataError where the connection ends early, and the part is kept."""
    start = partial.stat().st_size if partial.is_file() else 0
    answer, resumed = ask(address, start)
    start = start if resumed else 0
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=partial.stem, disable=not progress)
    with answer, partial.open("ab" if resumed else "wb") as file, bar:
        try:
            while block := answer.read(1 << 18):
                file.write(block)
                bar.update(len(block))
        except OSError as error:
            raise DataError(f"{address}: broke off after {file.tell()} bytes ({error}); run again to resume") from error
        if total is not None and file.tell() < total:
            raise DataError(f"{address}: broke off after {file.tell()} of {total} bytes; run again to resume")


def checksum(
    path: Path,  # of a file
) -> str:
    """The MD5 sum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def fetch(
    address: str,  # where the file is
    path: Path,  # where it goes
    md5: str,  # checksum that it must have
    progress: bool = True,  # whether to show a bar
) -> Path:
    """Download a file, resuming an earlier attempt, and keep it only if its checksum is right; DataError where it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file() and checksum(path) == md5:
            return path
        receive(address, partial, progress)
        if (found := checksum(partial)) != md5:
            partial.unlink()
            raise DataError(f"{address}: the checksum is {found}, expected {md5}; the file was deleted, run again to fetch it anew")
        os.replace(partial, path)
    return path


def checked(
    member: tarfile.TarInfo,  # one entry of the archive
    archive: Path,  # for the error
) -> PurePosixPath | None:
    """The entry's path inside the target folder, None for a folder; DataError for anything else."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise DataError(f"{archive}: holds the entry {member.name!r} that points outside of its folder; do not use this archive")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive}: holds {member.name!r}, a link or device; do not use this archive")
    return path if member.isfile() else None


def unpack(
    archive: Path,  # a tar file
    folder: str,  # the folder that it must hold
    into: Path,  # where that folder goes
    limit: int = 4 << 30,  # bytes, all files together
) -> Path:
    """Unpack an archive's folder; DataError, and nothing left behind, where it is damaged, hostile or of something else."""
    into.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=".unpack-", dir=into))
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = checked(member, archive)
                limit -= member.size
                if limit < 0:
                    raise DataError(f"{archive}: is larger than expected when unpacked; do not use this archive")
                if path is not None and not path.name.startswith("._"):
                    (room / path).parent.mkdir(parents=True, exist_ok=True)
                    with (room / path).open("wb") as file, tar.extractfile(member) or io.BytesIO() as content:
                        shutil.copyfileobj(content, file)
        if not (room / folder).is_dir():
            raise DataError(f"{archive}: does not hold the folder {folder}; it is another archive")
        os.replace(room / folder, into / folder)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); delete it and fetch it again") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return into / folder


def download(
    name: str,  # a key of ARCHIVES
    progress: bool = True,  # whether to show a bar
) -> Path:
    """Fetch and unpack a cohort into the cache, and give its folder; at once where it is already there; ValueError for a cohort that cannot be downloaded."""
    if name not in ARCHIVES:
        raise ValueError(f"name: {name!r} cannot be downloaded, expected one of {', '.join(ARCHIVES)}")
    archive, target = ARCHIVES[name], cache_folder() / name
    cache_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / f".{name}.lock"):
        if not target.is_dir():
            path = fetch(archive.address, cache_folder() / f"{name}.tar", archive.md5, progress)
            try:
                unpack(path, archive.folder, cache_folder())
            finally:
                path.unlink(missing_ok=True)
    return target
