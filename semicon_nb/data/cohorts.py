"""Every cohort by its name: where its files are looked for, how they get there, and what is made of them."""

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

from ..files import cache_folder
from ..names import check_name, check_place
from .cohort import Codes, Cohort, Volume
from .cohort import take as take_volumes
from .folders import folder, layout
from .phantoms import phantom
from .reading import DataError
from .scans import Grid
from .slices import assemble

__all__ = ["COHORTS", "cohort_folders", "hippocampus", "load", "mmwhs", "reader_of"]

_HIPPOCAMPUS = "Task04_Hippocampus"
_ARCHIVES = {_HIPPOCAMPUS: ("https://msd-for-monai.s3-us-west-2.amazonaws.com", "9d24dba78a72977dbd1d2e110310f31b")}
"""Address without the file's name, and MD5 checksum, of the tar files that can be fetched, by the folder they hold."""


def load(
    cohort: str | Path = "phantom",  # a name in COHORTS, or a folder
    take: Sequence[str] | None = None,  # only the volumes of these names
    **settings: Any,  # arguments of that cohort's function
) -> Cohort:
    """A cohort by its name, or from a folder; `load(**cohort.source)` gives a cohort back.

    FileNotFoundError for any other word.
    """
    if cohort not in COHORTS:
        check_place(str(cohort))
    found = reader_of(cohort)(**settings)
    return found if take is None else take_volumes(found, take)


def settled(source: dict) -> dict:
    """The arguments of `load`, with folders as whole paths: one folder is one, whatever it was called and through whatever link."""
    whole = source | ({"data": _whole(source["data"])} if source.get("data") is not None else {})
    if source.get("cohort", "phantom") in COHORTS:
        return whole
    place = _whole(source["cohort"])
    return whole | ({"cohort": "hippocampus", "data": place} if Path(place).name == _HIPPOCAMPUS else {"cohort": place})


def unplaced(source: dict) -> dict:
    """What the arguments of `load` say beside where the files lie, by which nothing is known that their content does not say."""
    kept = {name: value for name, value in source.items() if name != "data"}
    return kept | ({} if kept.get("cohort", "phantom") in COHORTS else {"cohort": ""})


def _whole(path: str | Path) -> str:
    """A path from the root on, without links."""
    return str(Path(path).expanduser().resolve())


def reader_of(cohort: str | Path) -> Callable[..., Cohort]:
    """The function that makes a cohort, which is a name in COHORTS or a folder, of its settings."""
    if cohort in COHORTS:
        return COHORTS[str(cohort)]
    place = Path(cohort).expanduser()
    return partial(hippocampus if place.resolve().name == _HIPPOCAMPUS else folder, place)


def hippocampus(
    data: str | Path | None = None,  # Task04_Hippocampus or the folder above it; None for SEMICON_DATA, then the cache
    size: int = 64,  # rows and columns of a slice, pixels
    download: bool = False,  # whether to fetch it where it is not found
    limit: int | None = None,  # only the first so many volumes
    orientation: str = "",  # where the axes of every file are made to run to; "" for that of most files
) -> Cohort:
    """Hippocampi in MRI: Task04 of the Medical Segmentation Decathlon, two volumes per person.

    DataError where the folder is another task's.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit: found {limit!r}, expected a number of volumes from 1 upwards, or None for all")
    if download and not cohort_folders(_HIPPOCAMPUS, data, "dataset.json"):
        place = _fetch_cohort(_HIPPOCAMPUS)
    else:
        todo = "fetch it with download=True (semicon-nb data hippocampus --download), or "
        place = _locate(_HIPPOCAMPUS, data, "dataset.json", todo)
    classes, codes, volumes = layout(place)
    if classes != ("background", "anterior", "posterior"):
        raise DataError(f"{place}: is another task, its classes are {', '.join(classes)}; load it as a folder")
    volumes = [replace(volume, subject=_person(volume.name)) for volume in volumes[:limit]]
    source = _source("hippocampus", data=data, size=size, limit=limit, orientation=orientation or None)
    return assemble("hippocampus", classes, codes, volumes, Grid(size, orientation=orientation), source)


def _person(volume: str) -> str:
    """Whose hippocampus `hippocampus_NNN` is: ids 2k - 1 and 2k are one person's two. Inferred, not documented."""
    number = re.fullmatch(r"hippocampus_(\d+)", volume)
    return f"person{(int(number[1]) + 1) // 2:03d}" if number else volume


def sunnybrook(
    data: str | Path | None = None,  # the folder sunnybrook or the one above it; None for SEMICON_DATA, then the cache
    size: int = 160,  # rows and columns cut from the centre, pixels
) -> Cohort:
    """Hearts in cine MR: Sunnybrook Cardiac Data; about half of the slices are labelled, positions are unknown.

    FileNotFoundError where it is not found.
    """
    found = layout(_locate("sunnybrook", data, "index.csv"))
    return assemble("sunnybrook", *found, Grid(size, "centre"), _source("sunnybrook", data=data, size=size))


_STRUCTURES = {"left ventricle": (500,), "right ventricle": (600,), "left atrium": (420, 421), "right atrium": (550,),
               "myocardium": (205,), "ascending aorta": (820,), "pulmonary artery": (850,)}  # fmt: skip
"""Numbers of MMWHS's structures in its label files."""


def mmwhs(
    data: str | Path | None = None,  # the folder mmwhs or the one above it; None for SEMICON_DATA, then the cache
    modality: str = "ct",  # "ct" or "mr"
    size: int = 160,  # rows and columns of a slice, pixels
    orientation: str = "",  # where the axes of every file are made to run to; "" for that of most files
) -> Cohort:
    """Whole hearts in CT or MR: the MMWHS challenge, seven structures; files NAME_image.nii.gz and NAME_label.nii.gz.

    FileNotFoundError where it is not found.
    """
    check_name("modality", modality, ("ct", "mr"))
    pattern = f"{modality}_*_image.nii*"
    place = _locate("mmwhs", data, f"**/{pattern}")
    numbers = [(number, i) for i, several in enumerate(_STRUCTURES.values(), start=1) for number in several]
    volumes = []
    for image in sorted(place.rglob(pattern)):
        name, label = image.name.split("_image.nii")[0], image.with_name(image.name.replace("_image.nii", "_label.nii"))
        volumes.append(Volume(name, name, str(image), str(label) if label.is_file() else ""))
    source = _source("mmwhs", data=data, modality=modality, size=size, orientation=orientation or None)
    codes, grid = Codes(((0, 0), *numbers), other=0), Grid(size, orientation=orientation)
    return assemble("mmwhs", ("background", *_STRUCTURES), codes, volumes, grid, source)


COHORTS: dict[str, Callable[..., Cohort]] = {
    "phantom": phantom, "phantom-cardiac": partial(phantom, "cardiac"), "hippocampus": hippocampus, "sunnybrook": sunnybrook,
    "mmwhs": mmwhs,
}  # fmt: skip
"""The function that makes each cohort that has a name."""


def _source(cohort: str, data: str | Path | None, **settings: Any) -> dict:
    """What Cohort.source holds: the settings that were given, the data folder as a whole path."""
    whole = None if data is None else _whole(data)
    return {key: value for key, value in {"cohort": cohort, "data": whole, **settings}.items() if value is not None}


# where they are looked for --------------------------------------------------------------------------------------------
def cohort_folders(
    name: str,  # the cohort's folder, such as "Task04_Hippocampus"
    data: str | Path | None = None,  # the folder, or the one above it; None for the usual places
    marker: str = "",  # pattern of a file that must be in it, such as "dataset.json"; "" for none
) -> list[Path]:
    """The folders in which a cohort is looked for, in order; with a marker, only those that hold the cohort."""
    if data is not None:
        folders = [Path(data).expanduser() / name, Path(data).expanduser()]
    else:
        named = os.environ.get("SEMICON_DATA")
        folders = [*([Path(named).expanduser() / name] if named else []), cache_folder() / name]
    return [place for place in folders if not marker or (place.is_dir() and any(place.glob(marker)))]


def _locate(name: str, data: str | Path | None, marker: str, todo: str = "") -> Path:
    """The folder that holds a cohort; else FileNotFoundError: the places that were looked at, and what to do."""
    if found := cohort_folders(name, data, marker):
        return found[0].resolve()
    looked = "; ".join(str(place / marker) for place in cohort_folders(name, data))
    unset = "" if data is not None or os.environ.get("SEMICON_DATA") else " (SEMICON_DATA is not set)"
    todo = f"{todo}set SEMICON_DATA, or data=, to the folder that holds {name}"
    raise FileNotFoundError(f"{name}: not found; looked at {looked}{unset}. To go on, {todo}")


# how they get there ---------------------------------------------------------------------------------------------------
def _fetch_cohort(name: str, progress: bool = True) -> Path:
    """Fetch and unpack a cohort into the cache, and give its folder; at once where it is already there.

    The environment variable SEMICON_MIRROR names another address. ValueError for a cohort that cannot be fetched.
    """
    check_name("name", name, _ARCHIVES)
    (address, md5), target = _ARCHIVES[name], cache_folder() / name
    address = f"{os.environ.get('SEMICON_MIRROR', address).rstrip('/')}/{name}.tar"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / f".{name}.lock"):
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()  # what an interrupted copy left
        if not target.is_dir():
            path = _fetch(address, cache_folder() / f"{name}.tar", md5, progress)
            try:
                _unpack(path, name, cache_folder())
            finally:
                path.unlink(missing_ok=True)
    return target


def _fetch(address: str, path: Path, md5: str, progress: bool = True) -> Path:
    """Download a file to `path`, resuming an earlier attempt; DataError, and no file, for another checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file() and _checksum(path) == md5:
            return path
        _receive(address, partial, progress)
        if (found := _checksum(partial)) != md5:
            partial.unlink()
            todo = "the file was deleted, run again to fetch it anew"
            raise DataError(f"{address}: the checksum is {found}, expected {md5}; {todo}")
        os.replace(partial, path)
    return path


def _checksum(path: Path) -> str:
    """The MD5 sum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _receive(address: str, partial: Path, progress: bool) -> None:
    """Append what is missing to `partial`; DataError where the connection ends early, and the part is kept."""
    start = partial.stat().st_size if partial.is_file() else 0
    answer, resumed = _ask(address, start)
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


class _Upright(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but not from https to one that anybody on the way can change."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: D102  # urllib's own words
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise DataError(f"{req.full_url}: sends to {newurl}, expected an address with https; do not fetch it from there")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _ask(address: str, start: int) -> tuple[Any, bool]:
    """The server's answer to a request for the bytes from `start` on, and whether it will send just those.

    DataError where there is none.
    """
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.build_opener(_Upright).open(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            return _ask(address, 0)
        todo = "check the address or try later"
        raise DataError(f"{address}: the server answered {error.code} {error.reason}; {todo}") from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        todo = "check connection and address, then run again to resume"
        raise DataError(f"{address}: cannot be reached ({error}); {todo}") from error
    resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return answer, resumed


def _unpack(archive: Path, folder: str, into: Path, limit: int = 4 << 30) -> Path:
    """Unpack the `folder` that an archive holds, at most `limit` bytes.

    DataError, and nothing left behind, where the archive is damaged, hostile or of something else.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: is no file, expected an archive; remove it and fetch it again")
    into.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=".unpack-", dir=into))
    try:
        _extract(archive, room, limit)
        if not (room / folder).is_dir():
            raise DataError(f"{archive}: does not hold the folder {folder}; it is another archive")
        os.replace(room / folder, into / folder)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); delete it and fetch it again") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return into / folder


def _extract(archive: Path, room: Path, limit: int) -> None:
    """Write the files of an archive below `room`, without their owners, modes, times and a Mac's shadow files."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = _check_member(member, archive)
            limit -= member.size
            if limit < 0:
                raise DataError(f"{archive}: is larger than expected when unpacked; do not use this archive")
            if path is not None and not path.name.startswith("._"):
                (room / path).parent.mkdir(parents=True, exist_ok=True)
                with (room / path).open("wb") as file, tar.extractfile(member) or io.BytesIO() as content:
                    shutil.copyfileobj(content, file)


def _check_member(member: tarfile.TarInfo, archive: Path) -> PurePosixPath | None:
    """An entry's path inside the target folder, None for a folder; DataError for anything else."""
    path, todo = PurePosixPath(member.name), "do not use this archive"
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise DataError(f"{archive}: holds the entry {member.name!r} that points outside of its folder; {todo}")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive}: holds {member.name!r}, a link or device; {todo}")
    return path if member.isfile() else None
