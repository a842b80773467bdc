"""From a list of files to a cohort: read in parallel, checked, kept for next time, and compared with a new scan."""

import hashlib
import json
import os
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from ..files import cache_folder, content_key, from_json, write_atomic
from .cohort import Codes, Cohort, Volume, check_drawings, complete_slices, cut_through, is_sparse, read_labels, without_voxels
from .pairing import channel_of
from .reading import DataError, png_header, read_scan, reorient, stored_orientation, times, turned_shape
from .scans import Grid, normalise, to_grid, without_padding

__all__ = ["assemble", "deviations", "scan_profile"]


def assemble(
    name: str,  # of the cohort
    classes: Sequence[str],  # the first is "background"
    codes: Codes,  # what the numbers of the label files mean
    volumes: Sequence[Volume],  # not yet read
    grid: Grid,  # of the slices
    source: dict,  # load(**source) gives the cohort back
    named: bool = True,  # the name is the cohort's own, not that of the folder it happens to lie in
) -> Cohort:
    """The cohort of these volumes, from the cache where the files have not changed.

    DataError where no outlined slice is complete, or where slices are of several planes.
    """
    _check_names(volumes, name)
    settings = (name, named, list(classes), codes, [asdict(volume) for volume in volumes], grid)
    path = cache_folder() / "slices" / f"{name[:40]}-{content_key('4', *settings, _stamp(volumes))}.npz"
    if (found := _recall(path)) is None:
        found = _read(name, classes, codes, volumes, grid, named)
        _keep(path, *found)
    arrays, read, fingerprint, odd = found
    way = _with_axis(_with_orientation(grid, read), read, name)
    cohort = Cohort(
        name, tuple(classes), volumes=read, grid=way, fingerprint=fingerprint, source=source, codes=codes, **arrays,
    )  # fmt: skip
    told = *_silent_files(cohort), *_silent_pairs(cohort, odd["silent"]), *_sparse_files(read, odd["sparse"])
    for words in (*told, *cut_through(cohort), *_empty_files(cohort), *_absent_classes(cohort), *_lost_classes(cohort)):
        warnings.warn(f"{name}: {words}", stacklevel=2)
    return cohort


def _read(
    name: str, classes: Sequence[str], codes: Codes, volumes: Sequence[Volume], grid: Grid, named: bool
) -> "_Found":
    """What the cache keeps of these volumes; DataError where no outlined slice is complete."""
    stored = [replace(v, orientation="" if v.files else stored_orientation(v.image)) for v in volumes]
    way = _with_orientation(grid, stored)
    arrays, read, odd = _read_all(volumes, way, codes)
    if not named:
        _check_people(read, name)
        check_drawings(read, arrays["labels"], name)
    drawn = any(any(volume.outlined) if volume.files else volume.label for volume in volumes)
    if codes.ignore and drawn and not arrays["labelled"].any():
        todo = "sparse outlines inside slices are not supported"
        raise DataError(f"{name}: every outlined slice holds pixels marked ignore; {todo}")
    if 2 * len(odd["sparse"]) >= max(1, sum(any(volume.outline[1:]) for volume in read)):
        raise DataError(f"{name}: {_sparse_files(read, odd['sparse'])[0]}")
    return arrays, read, _fingerprint(name if named else "", classes, codes, read, way), odd


def _check_names(volumes: Sequence[Volume], name: str) -> None:
    """DataError for an empty cohort or one with two volumes of one name."""
    if not volumes:
        raise DataError(f"{name}: holds no images; expected .nii, .nii.gz or .png files")
    if twice := [one for one, count in Counter(volume.name for volume in volumes).items() if count > 1]:
        raise DataError(f"{name}: two volumes are called {twice[0]}; rename one")


def _check_people(volumes: Sequence[Volume], name: str) -> None:
    """DataError for one image under the names of two subjects, who could be in two parts of a split."""
    owner: dict[str, tuple[str, str]] = {}
    for volume in volumes:
        for content, file in zip(volume.content, volume.files or (volume.name,), strict=True):
            if content and (other := owner.setdefault(content, (file, volume.subject)))[1] != volume.subject:
                both = f"{other[0]} (subject {other[1]}) and {file} (subject {volume.subject})"
                raise DataError(f"{name}: {both} hold the same image; remove one, or give both to one subject in index.csv")


def _with_orientation(grid: Grid, volumes: Sequence[Volume]) -> Grid:
    """The grid with the orientation of most volumes, the first of equals, where none was asked for."""
    known = Counter(volume.orientation for volume in volumes if volume.orientation)
    return grid if grid.orientation or not known else replace(grid, orientation=known.most_common(1)[0][0])


def _with_axis(grid: Grid, volumes: Sequence[Volume], name: str) -> Grid:
    """The grid with the axis that the slices lie across, which a scan of one slice says itself; DataError where two scans do not agree."""
    across: dict[int, str] = {}
    for volume in volumes:
        if volume.orientation:
            alone = volume.shape[2] == 1
            across.setdefault(grid.along(turned_shape(volume.image, grid.orientation)) if alone else grid.axis, volume.name)
    if len(across) > 1:
        (one, first), (other, second), *_ = across.items()
        todo = "put scans of each plane into a folder of their own"
        raise DataError(f"{name}: the slices of {first} lie across axis {one}, those of {second} across axis {other}; {todo}")
    return replace(grid, axis=next(iter(across), grid.axis))


# reading --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Loaded:
    """A volume on the cohort's grid."""

    volume: Volume  # with its native shape and spacing
    images: np.ndarray  # [n, H, W] float16
    labels: np.ndarray  # [n, H, W] uint8
    labelled: np.ndarray  # [n] bool
    position: np.ndarray  # [n] float32
    odd: tuple[str, ...] = ()  # which of _ODD it is


_ODD = ("silent", "sparse")
"""What is told of a volume: only its image or its label file says which way round it lies; it is outlined on slices apart."""

_ARRAYS = {"images": np.float16, "labels": np.uint8, "labelled": np.bool_, "volume": np.int32, "position": np.float32}
"""Type of each array [S, ...] of a cohort."""


def _read_all(
    volumes: Sequence[Volume], grid: Grid, codes: Codes
) -> tuple[dict[str, np.ndarray], tuple[Volume, ...], dict[str, list[str]]]:
    """The arrays [S, ...] of a cohort by name, its volumes with their native shapes, and names of those that are `odd`, by what is."""
    known: list[Volume] = []
    odd: dict[str, list[str]] = {what: [] for what in _ODD}
    sides: dict[str, tuple[int, ...]] = {"images": (grid.size, grid.size), "labels": (grid.size, grid.size)}
    arrays: dict[str, np.ndarray] = {name: np.empty((0, *sides.get(name, ())), kind) for name, kind in _ARRAYS.items()}
    start = 0
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        for one in pool.map(lambda one: (_load_pictures if one.files else _load_scan)(one, grid, codes), volumes):
            for name, whole in arrays.items():
                _put(whole, start, np.full(len(one.images), len(known)) if name == "volume" else getattr(one, name))
            start += len(one.images)
            known.append(one.volume)
            for what in one.odd:
                odd[what].append(one.volume.name)
    for whole in arrays.values():
        whole.resize((start, *whole.shape[1:]), refcheck=False)
    return arrays, tuple(known), odd


def _put(whole: np.ndarray, start: int, part: np.ndarray) -> None:
    """Write a part [n, ...] from `start` on; an array that is too short grows where it is, so that it never is in memory twice."""
    stop = start + len(part)
    if stop > len(whole):
        whole.resize((stop + stop // 8, *whole.shape[1:]), refcheck=False)
    whole[start:stop] = part


def _load_scan(volume: Volume, grid: Grid, codes: Codes) -> _Loaded:
    """A volume that is one file, and its labels if it has any."""
    stored = read_scan(volume.image)
    scan = reorient(stored, grid.orientation)
    axis = grid.along(scan.voxels.shape)
    slices = np.moveaxis(normalise(scan.voxels, volume.image), axis, 0)
    (n, h, w), images = slices.shape, to_grid(slices, grid).astype(np.float16)
    del slices  # as large as the scan
    levels, content = _levels(scan.voxels), (_imprint(reorient(stored, "RAS").voxels),)
    scan, orientation = without_voxels(scan), stored.orientation
    del stored
    labels, whole = np.zeros((n, h, w), np.uint8), np.full(n, bool(volume.label))
    if volume.label:
        labels, whole = complete_slices(np.moveaxis(read_labels(volume.label, codes, scan), axis, 0))
    down, along = (a for a in range(3) if a != axis)
    known = replace(
        volume, shape=(h, w, n), spacing=(scan.spacing[down], scan.spacing[along], scan.spacing[axis]), unit=scan.unit,
        orientation=orientation, levels=levels, outline=_count_classes(labels[whole]) if volume.label else (), content=content,
    )  # fmt: skip
    position = np.linspace(0, 1, n, dtype=np.float32) if n > 1 else np.full(1, np.nan, np.float32)
    silent = bool(volume.label) and bool(stored_orientation(volume.label)) != bool(orientation)
    odd = tuple(what for what, so in zip(_ODD, (silent, not codes.ignore and is_sparse(labels)), strict=True) if so)
    return _Loaded(known, images, to_grid(labels, grid, labels=True), whole, position, odd)


def _load_pictures(volume: Volume, grid: Grid, codes: Codes) -> _Loaded:
    """A volume that is a folder of pictures; a slice without a label file is unlabelled.

    DataError where some have 16 bits and some not.
    """
    places = [Path(volume.image) / name for name in volume.files]
    pictures, deep = [read_scan(path) for path in places], [png_header(path)[2] == 16 for path in places]
    if any(deep) and not all(deep):
        both = f"{volume.files[deep.index(True)]} has 16 bits and {volume.files[deep.index(False)]} has not"
        found = f"the pictures of {volume.subject} cannot be compared, since {both}"
        raise DataError(f"{volume.image}: {found}; save all alike")
    stack = np.concatenate([picture.voxels for picture in pictures], axis=2)
    slices = np.moveaxis(normalise(stack, f"{volume.image}/{volume.files[0]} and {len(volume.files) - 1} more"), 2, 0)
    labelled, labels = np.array(volume.outlined, bool), np.zeros(slices.shape, np.uint8)
    for k in np.flatnonzero(labelled).tolist():
        labels[k] = read_labels(volume.label_path(k), codes, pictures[k])[..., 0]
    labels, whole = complete_slices(labels)
    known = replace(
        volume, shape=stack.shape, unit="pixel", levels=_levels(stack),
        outline=_count_classes(labels[labelled & whole]),
        content=tuple("" if _is_blank(picture.voxels) else _imprint(picture.voxels) for picture in pictures),
    )  # fmt: skip
    images, labels = to_grid(slices, grid).astype(np.float16), to_grid(labels, grid, labels=True)
    return _Loaded(known, images, labels, labelled & whole, np.full(len(slices), np.nan, np.float32))


def _levels(voxels: np.ndarray) -> tuple[float, float]:
    """Low and high intensity of a scan, from about a hundred thousand of its voxels [...]."""
    low, high = np.percentile(without_padding(voxels.ravel()[:: max(1, voxels.size // 100_000)]), (0.5, 99.5))
    return float(low), float(high)


def _count_classes(labels: np.ndarray) -> tuple[int, ...]:
    """Native voxels of every class in labels [n, h, w] uint8."""
    counts = sum((np.bincount(one.ravel(), minlength=256) for one in labels), np.zeros(256, int))
    return tuple(np.trim_zeros(counts, "b").tolist())


def _imprint(values: np.ndarray) -> str:
    """Sixteen digits of an image's values [...]; "" where all are equal, which tells nobody from another."""
    if (values == values.flat[0]).all():
        return ""
    return content_key(np.add(values, np.float32(0), dtype=np.float32, order="C"))  # one zero, without a sign


def _is_blank(values: np.ndarray, share: float = 0.99) -> bool:
    """Whether more than a `share` of a picture's values are one, as beside the body; such pictures are equal by nature."""
    return bool((values == np.median(values)).mean() > share)


# known by content -----------------------------------------------------------------------------------------------------
def _files_of(volume: Volume) -> list[Path]:
    """Every file that a volume is made of."""
    if not volume.files:
        return [Path(path) for path in (volume.image, volume.label) if path]
    outlined = [volume.label_path(k) for k, has in enumerate(volume.outlined) if has]
    return [Path(volume.image) / name for name in volume.files] + outlined


def _stamp(volumes: Sequence[Volume]) -> list[tuple[str, int, int, int, int]]:
    """Path, size, time of change (the program's and the system's) and number of every file.

    FileNotFoundError for one that is missing.
    """
    found = []
    for path in (path for volume in volumes for path in _files_of(volume)):
        if not path.is_file():
            what = "is a link to nothing" if path.is_symlink() else "is no file" if path.exists() else "there is no such file, but it was listed"
            raise FileNotFoundError(f"{path}: {what}; add the file, or take its name out of the folder or its list")
        state = path.stat()
        found.append((str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    return found


def _digest(paths: Sequence[Path]) -> str:
    """Checksum of the bytes of files, one after the other."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _fingerprint(name: str, classes: Sequence[str], codes: Codes, volumes: Sequence[Volume], grid: Grid) -> str:
    """Sixteen digits of what a cohort holds; `name` is its own, "" for a folder.

    Of the grid's orientation they hold only which scans are turned to it, so nothing where none is.
    """
    table = {key: value for key, value in asdict(codes).items() if key != "ignore" or value}
    who: list[Any] = [(v.name, v.subject, v.shape, _digest(_files_of(v))) for v in volumes]
    if not name:
        digests = [[_digest([path]) for path in _files_of(v)] for v in volumes]
        who = [
            (v.name, v.subject, v.shape, bool(v.label), v.outlined, own)
            for v, own in zip(volumes, digests, strict=True)
        ]
    raster = {key: value for key, value in asdict(grid).items() if key != "orientation"}
    aside = {volume.name: volume.orientation for volume in volumes if volume.orientation not in ("", grid.orientation)}
    way: list[Any] = [grid.orientation, aside] if aside and grid.orientation else []
    return content_key(name, list(classes), table, who, raster, *way)


_Found = tuple[dict[str, np.ndarray], tuple[Volume, ...], str, dict[str, list[str]]]
"""Arrays [S, ...] by name, volumes as read, fingerprint, and names of the volumes that are `odd`, by what is."""


def _keep(path: Path, arrays: dict[str, Any], volumes: Sequence[Volume], fingerprint: str, odd: dict) -> None:
    """Write a cohort's arrays and facts to the cache; a cache that cannot be written costs only time."""
    facts = {"volumes": [asdict(volume) for volume in volumes], "fingerprint": fingerprint, "odd": odd}
    arrays = arrays | {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    try:
        write_atomic(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        warnings.warn(f"{path}: not kept ({error}); set SEMICON_CACHE to a folder that can be written", stacklevel=3)


class _VolumeFacts(TypedDict):
    """A volume as the cache holds it: each tuple of Volume as a list."""

    name: str
    subject: str
    image: str
    label: str
    shape: list[int]
    spacing: list[float]
    files: list[str]
    outlined: list[bool]
    unit: str
    orientation: str
    levels: list[float]
    outline: list[int]
    labels: list[str]
    content: list[str]


class _Facts(TypedDict):
    """What the cache holds beside the arrays."""

    volumes: list[_VolumeFacts]
    fingerprint: str
    odd: dict[str, list[str]]


def _recall(path: Path) -> _Found | None:
    """What the cache keeps of a cohort; None where there is no whole file.

    A damaged one is told.
    """
    if not path.is_file():
        return None
    if (found := _recalled(path)) is None:
        warnings.warn(f"{path}: is damaged and is made anew from the files of the cohort", stacklevel=4)
    return found


def _recalled(path: Path) -> _Found | None:
    """The same of a file that is there."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = from_json(stored["facts"].tobytes(), _Facts)
            odd = {what: facts["odd"][what] for what in _ODD}
            arrays = {name: stored[name] for name in _ARRAYS}
        plain: list[dict[str, Any]] = [
            {key: tuple(value) if isinstance(value, list) else value for key, value in volume.items()}
            for volume in facts["volumes"]
        ]
        volumes = tuple(Volume(**volume) for volume in plain)
        if any((len(volume.shape), len(volume.spacing)) != (3, 3) for volume in volumes):
            return None
    except (OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None
    slices = sum(volume.shape[2] for volume in volumes)
    whole = [array.dtype == kind and len(array) == slices for array, kind in zip(arrays.values(), _ARRAYS.values(), strict=True)]
    return (arrays, volumes, facts["fingerprint"], odd) if all(whole) else None


# what is told of a cohort ---------------------------------------------------------------------------------------------
def _silent_files(cohort: Cohort) -> list[str]:
    """A sentence where some files do not say which way round they lie."""
    silent = [volume.name for volume in cohort.volumes if volume.image and not volume.orientation]
    if not (cohort.grid.orientation and silent):
        return []
    what = f"{len(silent)} of {len(cohort.volumes)} volumes ({silent[0]}, ...) do not say which way round they lie"
    return [f"{what}; taken as stored, though the others are turned to {cohort.grid.orientation}"]


def _silent_pairs(cohort: Cohort, silent: list[str]) -> list[str]:
    """A sentence where an image or its label file, of volumes of these names, does not say which way round it lies."""
    what = f"in {len(silent)} of {len(cohort.volumes)} volumes ({', '.join(silent[:3])}) only the image or only the label file"
    return [f"{what} says which way round it lies; the other is taken to be stored like it"] if silent else []


def _sparse_files(volumes: Sequence[Volume], sparse: list[str]) -> list[str]:
    """A sentence where the outlines of volumes of these names lie on slices apart, between which nobody may have looked."""
    many = f"{len(sparse)} of {sum(any(volume.outline[1:]) for volume in volumes)} outlined volumes ({', '.join(sparse[:3])})"
    what = f"in {many} no two neighbouring slices show a structure, and those between count as empty"
    todo = "fill slices that nobody outlined with a number called 'ignore' in 'labels' of dataset.json; if somebody looked, naming one is enough"
    return [f"{what}; {todo}"] if sparse else []


def _absent_classes(cohort: Cohort) -> list[str]:
    """A sentence where no complete slice shows some classes."""
    drawn = {c for volume in cohort.volumes for c, count in enumerate(volume.outline) if count}
    there = {c for c, count in enumerate(_count_classes(cohort.labels)) if count} | drawn
    absent = [name for c, name in enumerate(cohort.classes) if c and c not in there]
    if not absent or not cohort.labelled.any():
        return []
    return [f"no complete slice shows {', '.join(absent)}, so nothing can be learned of it"]


def _empty_files(cohort: Cohort) -> list[str]:
    """A sentence where some label files of whole scans outline nothing, as those do that a program made and nobody filled."""
    drawn = [volume for volume in cohort.volumes if volume.label and not volume.files]
    empty = [volume.name for volume in drawn if volume.outline[:1] > (0,) and not any(volume.outline[1:])]
    what = f"{len(empty)} of {len(drawn)} label files ({', '.join(empty[:3])}) outline nothing, which says that nothing is there"
    return [f"{what}; where nobody looked, take them away"] if 0 < len(empty) < len(drawn) else []


def _lost_classes(cohort: Cohort) -> list[str]:
    """A sentence for every class that is so small in some volumes that the grid loses it."""
    told = []
    for c, name in enumerate(cohort.classes[1:], 1):
        there = set(cohort.volume[[(one == c).any() for one in cohort.labels]].tolist())
        holding = [v for v, volume in enumerate(cohort.volumes) if volume.outline[c : c + 1] > (0,)]
        if lost := [v for v in holding if v not in there]:
            voxels = [cohort.volumes[v].outline[c] for v in lost]
            size = max(max(cohort.volumes[v].shape[:2]) for v in lost)
            much = f"{min(voxels)} to {max(voxels)}" if min(voxels) < max(voxels) else f"{voxels[0]}"
            where = f"at {cohort.size} x {cohort.size} in {len(lost)} of the {len(holding)} volumes that hold it"
            todo = f"load it with --size {-(-size // 16) * 16} (size=...)"
            told.append(f"class {c} ({name}) is lost {where}, {much} voxels each; {todo}")
    return told


# what a new scan is compared with -------------------------------------------------------------------------------------
def scan_profile(cohort: Cohort) -> dict:
    """What a run keeps of its scans, as plain values.

    Kinds of file, orientation, and the span of spacing, shape and intensities.
    """
    volumes = cohort.volumes
    return {
        "kinds": sorted({"generated" if not v.image else "png" if v.unit == "pixel" else "nifti" for v in volumes}),
        "orientation": cohort.grid.orientation, "axis": cohort.grid.axis,
        "shape": _span([volume.shape for volume in volumes]),
        "spacing": _span([volume.spacing for volume in volumes if volume.unit == "mm"]),
        "levels": _span([volume.levels for volume in volumes if volume.levels]),
        "channel": _chosen_channel(cohort),
    }  # fmt: skip


def _chosen_channel(cohort: Cohort) -> int | None:
    """The number of the channel that was chosen by number or name, as the names of its files have it; None where none was."""
    files = (file for volume in cohort.volumes for file in volume.files or [volume.image])
    numbers = (channel_of(file) for file in files) if cohort.source.get("channel") is not None else iter(())
    return next((number for number in numbers if number is not None), None)


def deviations(
    path: str | Path,  # of a new scan
    profile: dict[str, Any],  # scan_profile of the run's cohort
) -> list[str]:
    """One sentence for everything in which a scan is clearly unlike all that a run was trained on."""
    scan = reorient(read_scan(path), profile["orientation"])
    own = "png" if scan.unit == "pixel" else "nifti"
    if own not in profile["kinds"]:
        kinds = " and ".join(profile["kinds"])
        return [f"{path}: is a {own} file, but the run was trained on {kinds} scans only; expect little"]
    axis = Grid(8, axis=profile["axis"]).along(scan.voxels.shape)
    down, along = (a for a in range(3) if a != axis)
    shape, apart = [scan.voxels.shape[a] for a in (down, along)], [scan.spacing[a] for a in (down, along, axis)]
    told, rows, levels = [], [ends[:2] for ends in profile["shape"]], profile["levels"]
    if scan.orientation and not profile["orientation"]:
        told.append(f"says that it runs to {scan.orientation}, but the scans of the run did not say which way round they lie; taken as stored")
    if own == "nifti" and profile["spacing"] and _beyond(apart, profile["spacing"], 2):
        size = f"{times(apart, 3)} mm (rows, columns, slices)"
        told.append(f"its voxels measure {size}, those of the run {_range(profile['spacing'])}")
    if _beyond(shape, rows, 2):
        told.append(f"its slices have {times(shape, 3)} pixels, those of the run {_range(rows)}")
    if levels and _unusual(reach := _levels(scan.voxels), levels):
        mine, theirs = ("{:.4g} to {:.4g}".format(*ends) for ends in (reach, (levels[0][0], levels[1][1])))
        told.append(f"its intensities reach from {mine}, those of the run from {theirs}; is it another kind of scan?")
    return [f"{path}: {words}" for words in told]


def _span(rows: Sequence) -> list | None:
    """Lowest and highest of each column of rows [n, k]: two lists [k] of plain numbers; None for no rows."""
    table = np.array(rows)
    return [table.min(0).tolist(), table.max(0).tolist()] if len(table) else None


def _beyond(values: Sequence[float], ends: Sequence[Sequence[float]], factor: float) -> bool:
    """Whether any value [k] lies `factor` below the lowest [k] or above the highest [k] of those known."""
    return any(not low / factor <= value <= high * factor for value, low, high in zip(values, *ends, strict=True))


def _unusual(own: Sequence[float], ends: Sequence[Sequence[float]]) -> bool:
    """Whether intensities reach below zero where none did, not where all did (CT, MR), or far beyond those of CT."""
    (low, high), ((lowest, least), (top, most)) = own, ends
    below, none, every = low < -0.1 * abs(high), lowest >= -0.1 * abs(most), top < -0.1 * abs(least)
    return (below and none) or (every and not below) or (every and not least / 4 <= high <= most * 4)


def _range(ends: Sequence[Sequence[float]]) -> str:
    """The words for a span."""
    return times(ends[0], 3) if ends[0] == ends[1] else f"{times(ends[0], 3)} to {times(ends[1], 3)}"
