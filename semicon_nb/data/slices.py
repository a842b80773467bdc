"""From a list of files to a cohort: read in parallel, checked, and kept for next time."""

__all__ = [
    "ARRAYS",
    "Loaded",
    "load_scan",
    "load_pictures",
    "files_of",
    "stamp",
    "digest",
    "placed",
    "keep",
    "recall",
    "unique",
    "one_person_each",
    "read_all",
    "assemble",
]


import hashlib
import io
import json
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .cohort import Codes, Cohort, Volume, complete, read_labels
from ..files import cache_folder, content_key, write_atomic
from .reading import bit_depth, stored_orientation
from .scans import DataError, Grid, measured, normalise, read_scan, to_grid, turned


@dataclass(frozen=True)
class Loaded:
    """A volume on the cohort's grid."""

    volume: Volume  # with its native shape and spacing
    images: np.ndarray  # [n, H, W] float16
    labels: np.ndarray  # [n, H, W] uint8
    labelled: np.ndarray  # [n] bool
    position: np.ndarray  # [n] float32


def levels(
    voxels: np.ndarray,  # [...] intensities as the file holds them
) -> tuple[float, float]:
    """Low and high intensity of a scan, from about a hundred thousand of its voxels."""
    low, high = np.percentile(measured(voxels.ravel()[:: max(1, voxels.size // 100_000)]), (0.5, 99.5))
    return float(low), float(high)


def outline(
    labels: np.ndarray,  # [n, h, w] uint8 classes
) -> tuple[int, ...]:
    """Native voxels of every class."""
    counts = sum((np.bincount(one.ravel(), minlength=256) for one in labels), np.zeros(256, int))
    return tuple(np.trim_zeros(counts, "b").tolist())


def load_scan(volume: Volume, grid: Grid, codes: Codes) -> Loaded:
    """A volume that is one file, and its labels if it has any."""
    stored = read_scan(volume.image)
    scan = turned(stored, grid.orientation)
    axis = grid.along(scan.voxels.shape)
    slices = np.moveaxis(normalise(scan.voxels, volume.image), axis, 0)
    labels, whole = np.zeros(slices.shape, np.uint8), np.full(len(slices), bool(volume.label))
    if volume.label:
        labels, whole = complete(np.moveaxis(read_labels(volume.label, codes, scan), axis, 0))
    (n, h, w), (down, along) = slices.shape, (a for a in range(3) if a != axis)
    known = replace(
        volume, shape=(h, w, n), spacing=(scan.spacing[down], scan.spacing[along], scan.spacing[axis]), unit=scan.unit,
        orientation=stored.orientation, levels=levels(scan.voxels), outline=outline(labels[whole]) if volume.label else (),
        content=(imprint(turned(stored, "RAS").voxels),),
    )  # fmt: skip
    position = np.linspace(0, 1, n, dtype=np.float32) if n > 1 else np.full(1, np.nan, np.float32)
    images, labels = to_grid(slices, grid).astype(np.float16), to_grid(labels, grid, labels=True)
    return Loaded(known, images, labels, whole, position)


def load_pictures(volume: Volume, grid: Grid, codes: Codes) -> Loaded:
    """A volume that is a folder of pictures; a slice without a label file is unlabelled; DataError where some have 16 bits and some not."""
    places = [Path(volume.image) / name for name in volume.files]
    pictures, deep = [read_scan(path) for path in places], [bit_depth(path)[0] == 16 for path in places]
    if any(deep) and not all(deep):
        both, todo = f"{volume.files[deep.index(True)]} has 16 bits and {volume.files[deep.index(False)]} has not", "save all alike"
        raise DataError(f"{volume.image}: the pictures of {volume.subject} cannot be compared, since {both}; {todo}")
    stack = np.concatenate([picture.voxels for picture in pictures], axis=2)
    slices = np.moveaxis(normalise(stack, f"{volume.image}/{volume.files[0]} and {len(volume.files) - 1} more"), 2, 0)
    labelled = np.array(volume.outlined, bool)
    labels = np.zeros(slices.shape, np.uint8)
    for k in np.flatnonzero(labelled).tolist():
        labels[k] = read_labels(volume.label_path(k), codes, pictures[k])[..., 0]
    labels, whole = complete(labels)
    known = replace(
        volume, shape=stack.shape, unit="pixel", levels=levels(stack), outline=outline(labels[labelled & whole]),
        content=tuple(imprint(picture.voxels) for picture in pictures),
    )  # fmt: skip
    unknown = np.full(len(slices), np.nan, np.float32)
    return Loaded(known, to_grid(slices, grid).astype(np.float16), to_grid(labels, grid, labels=True), labelled & whole, unknown)


def imprint(
    values: np.ndarray,  # [...] of one image, as its file holds them
) -> str:
    """Sixteen digits of an image's values; "" where all are equal, which tells nobody from another."""
    return "" if (values == values.flat[0]).all() else content_key(values.astype(np.float32) + np.float32(0))


def files_of(volume: Volume) -> list[Path]:
    """Every file that a volume is made of."""
    if not volume.files:
        return [Path(path) for path in (volume.image, volume.label) if path]
    outlined = [volume.label_path(k) for k, has in enumerate(volume.outlined) if has]
    return [Path(volume.image) / name for name in volume.files] + outlined


def stamp(volumes: Sequence[Volume]) -> list[tuple[str, int, int, int, int]]:
    """Path, size, time of change (the program's and the system's) and number of every file; FileNotFoundError for one that is missing."""
    found = []
    for path in (path for volume in volumes for path in files_of(volume)):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file, but the index of its folder names it; add it or correct the index")
        state = path.stat()
        found.append((str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    return found


def digest(
    paths: Sequence[Path],  # of files
) -> str:
    """Checksum of the bytes of files, one after the other."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def placed(grid: Grid, volumes: Sequence[Volume]) -> list:
    """What a fingerprint holds of the grid: of its orientation only which scans are turned to it, so that it says nothing where none is."""
    raster = {key: value for key, value in asdict(grid).items() if key != "orientation"}
    aside = {volume.name: volume.orientation for volume in volumes if volume.orientation not in ("", grid.orientation)}
    return [raster, *([grid.orientation, aside] if aside and grid.orientation else [])]


def fingerprint_of(
    name: str,  # of a cohort that has a name of its own, "" for a folder
    classes: Sequence[str],  # names
    codes: Codes,  # what the numbers of the label files mean
    volumes: Sequence[Volume],  # as read
    grid: Grid,  # of the slices
) -> str:
    """Sixteen digits of what a cohort holds."""
    table = {key: value for key, value in asdict(codes).items() if key != "ignore" or value}
    if name:
        who: list[Any] = [(v.name, v.subject, v.shape, digest(files_of(v))) for v in volumes]
    else:
        who = [(v.name, v.subject, v.shape, bool(v.label), v.outlined, [digest([path]) for path in files_of(v)]) for v in volumes]
    return content_key(name, list(classes), table, who, *placed(grid, volumes))


ARRAYS = ("images", "labels", "labelled", "volume", "position")


def keep(
    path: Path,  # of the file in the cache
    cohort: Cohort,  # what to keep
) -> None:
    """Write a cohort's arrays and facts to the cache; a cache that cannot be written costs only time."""
    facts = {"volumes": [asdict(volume) for volume in cohort.volumes], "fingerprint": cohort.fingerprint}
    buffer = io.BytesIO()
    np.savez(buffer, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **{name: getattr(cohort, name) for name in ARRAYS})
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        warnings.warn(f"{path}: not kept ({error}); set SEMICON_CACHE to a folder that can be written", stacklevel=2)


def recall(
    path: Path,  # of the file in the cache
) -> tuple[dict[str, np.ndarray], tuple[Volume, ...], str] | None:
    """Arrays [S, ...] by name, volumes and fingerprint from the cache, or None where there is no whole file."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            arrays = {name: stored[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    lists: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in volume.items()} for volume in facts["volumes"]]
    return arrays, tuple(Volume(**volume) for volume in lists), facts["fingerprint"]


def unique(volumes: Sequence[Volume], name: str) -> None:
    """DataError for an empty cohort or one with two volumes of one name."""
    if not volumes:
        raise DataError(f"{name}: holds no images; expected .nii, .nii.gz or .png files")
    seen = set()
    for volume in volumes:
        if volume.name in seen:
            raise DataError(f"{name}: two volumes are called {volume.name}; rename one")
        seen.add(volume.name)


def one_person_each(
    volumes: Sequence[Volume],  # as read
    name: str,  # of the cohort, for the error
) -> None:
    """DataError for one scan under the names of two subjects, who could be in two parts of a split."""
    owner: dict[tuple[str, ...], Volume] = {}
    for volume in (volume for volume in volumes if any(volume.content) and len(volume.files) != 1):
        if (other := owner.setdefault(tuple(sorted(volume.content)), volume)).subject != volume.subject:
            both = f"{other.name} (subject {other.subject}) and {volume.name} (subject {volume.subject})"
            raise DataError(f"{name}: {both} hold the same image; remove one, or give both to one subject in index.csv")


def read_all(volumes: Sequence[Volume], grid: Grid, codes: Codes) -> tuple[dict[str, np.ndarray], tuple[Volume, ...]]:
    """The arrays [S, ...] of a cohort by name, and its volumes with their native shapes."""
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        loaded = list(pool.map(lambda volume: (load_pictures if volume.files else load_scan)(volume, grid, codes), volumes))
    arrays = {name: np.concatenate([getattr(one, name) for one in loaded]) for name in ARRAYS if name != "volume"}
    arrays["volume"] = np.repeat(np.arange(len(loaded), dtype=np.int32), [len(one.images) for one in loaded])
    return arrays, tuple(one.volume for one in loaded)


def oriented(
    grid: Grid,  # as it was asked for
    volumes: Sequence[Volume],  # with the orientation of their files
) -> Grid:
    """The grid with the orientation of most volumes, the first of equals, where none was asked for."""
    known = Counter(volume.orientation for volume in volumes if volume.orientation)
    return grid if grid.orientation or not known else replace(grid, orientation=known.most_common(1)[0][0])


def noted(cohort: Cohort) -> Cohort:
    """The cohort, after a warning for what its files leave open and what its grid loses."""
    silent = [volume.name for volume in cohort.volumes if volume.image and not volume.orientation]
    if cohort.grid.orientation and silent:
        what = f"{len(silent)} of {len(cohort.volumes)} volumes ({silent[0]}, ...) do not say which way round they lie"
        warnings.warn(f"{cohort.name}: {what}; taken as stored, though the others are turned to {cohort.grid.orientation}", stacklevel=3)
    drawn = {c for volume in cohort.volumes for c, count in enumerate(volume.outline) if count}
    there = {int(c) for c in np.unique(cohort.labels)} | drawn
    if (absent := [name for c, name in enumerate(cohort.classes) if c and c not in there]) and cohort.labelled.any():
        warnings.warn(f"{cohort.name}: no complete slice shows {', '.join(absent)}, so nothing can be learned of it", stacklevel=3)
    for c, name in enumerate(cohort.classes[1:], 1):
        there = set(cohort.volume[(cohort.labels == c).any((1, 2))].tolist())
        holding = [v for v, volume in enumerate(cohort.volumes) if volume.outline[c : c + 1] > (0,)]
        if lost := [v for v in holding if v not in there]:
            voxels, size = [cohort.volumes[v].outline[c] for v in lost], max(max(cohort.volumes[v].shape[:2]) for v in lost)
            much = f"{min(voxels)} to {max(voxels)}" if min(voxels) < max(voxels) else f"{voxels[0]}"
            what = f"class {c} ({name}) is lost at {cohort.size} x {cohort.size} in {len(lost)} of the {len(holding)} volumes that hold it"
            warnings.warn(f"{cohort.name}: {what}, {much} voxels each; load it with --size {-(-size // 16) * 16} (size=...)", stacklevel=3)
    return cohort


def assemble(
    name: str,  # of the cohort
    classes: Sequence[str],  # the first is "background"
    codes: Codes,  # what the numbers of the label files mean
    volumes: Sequence[Volume],  # not yet read
    grid: Grid,  # of the slices
    source: dict,  # load(**source) gives the cohort back
    named: bool = True,  # the name is the cohort's own, not that of the folder it happens to lie in
) -> Cohort:
    """The cohort of these volumes, from the cache where the files have not changed; DataError where no outlined slice is complete."""
    unique(volumes, name)
    settings = (name, named, list(classes), codes, [asdict(volume) for volume in volumes], grid)
    path = cache_folder() / "slices" / f"{name[:40]}-{content_key('2', *settings, stamp(volumes))}.npz"
    if (known := recall(path)) is None:
        way = oriented(grid, [replace(v, orientation="" if v.files else stored_orientation(v.image)) for v in volumes])
        arrays, read = read_all(volumes, way, codes)
        if not named:
            one_person_each(read, name)
        if codes.ignore and any(any(v.outlined) if v.files else v.label for v in volumes) and not arrays["labelled"].any():
            raise DataError(f"{name}: every outlined slice holds pixels marked ignore; sparse outlines inside slices are not supported")
        found = arrays, read, fingerprint_of(name if named else "", classes, codes, read, way)
    arrays, read, fingerprint = known or found
    way = oriented(grid, read)
    cohort = Cohort(name, tuple(classes), volumes=read, grid=way, fingerprint=fingerprint, source=source, codes=codes, **arrays)
    if known is None:
        keep(path, cohort)
    return noted(cohort)
