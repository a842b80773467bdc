"""Every slice of a data set in one array, and beside it who it is of, from which volume, and where in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .. import show
from ..files import content_key
from ..names import counted
from .reading import DataError, Scan, meaning, read_scan, reorient, slabs, stored_orientation, whole_labels
from .scans import Grid, from_grid

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Volume", "Codes", "Cohort", "native_labels", "match_classes", "class_order", "describe", "contact_sheet"]


@dataclass(frozen=True)
class Volume:
    """One scan of one person."""

    name: str  # unique in the cohort
    subject: str  # the person
    image: str = ""  # path of the file, or of the folder that holds one file per slice; "" where generated
    label: str = ""  # the same for its labels; "" where there are none
    shape: tuple[int, int, int] = (0, 0, 0)  # native rows, columns, slices, in the cohort's orientation
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)  # between rows, columns and slices, in `unit`
    files: tuple[str, ...] = ()  # names of the slices' files where the volume is a folder of pictures
    outlined: tuple[bool, ...] = ()  # for each of these files, whether an outline exists
    unit: str = "mm"  # of the spacing: "mm", or "pixel" where nobody knows the millimetres
    orientation: str = ""  # of the file as it is stored, such as "LPS"; "" where it does not say
    levels: tuple[float, ...] = ()  # low and high intensity in the file, before normalising
    outline: tuple[int, ...] = ()  # native voxels of every class; () where there are no labels
    labels: tuple[str, ...] = ()  # names of their label files where these differ from `files`
    content: tuple[str, ...] = ()  # sixteen digits of the values of each image; "" for a blank picture

    def label_path(self, k: int) -> Path:
        """The label file of picture `k` of a folder of pictures."""
        return Path(self.label) / (self.labels or self.files)[k]


@dataclass(frozen=True)
class Codes:
    """Which number in a label file means which class."""

    classes: tuple[tuple[int, int], ...]  # pairs: number in the file, index of the class
    other: int | None = None  # class of every other number; None makes it an error
    ignore: tuple[int, ...] = ()  # numbers of pixels that nobody judged

    def __call__(
        self,
        values: np.ndarray,  # [...] numbers as the label file holds them, of any type
        name: str,  # of the file, for the error
    ) -> np.ndarray:
        """Classes [...] uint8 of the numbers in a label file, UNJUDGED where it says ignore.

        DataError for a number that is not whole or not known.
        """
        values = np.asarray(values)
        whole = values if values.dtype == np.int32 else whole_labels(values, name)
        found, known = _distinct_numbers(whole), dict(self.classes) | dict.fromkeys(self.ignore, _UNJUDGED)
        unknown = [number for number in found.tolist() if number not in known]
        if unknown and self.other is None:
            between = min(known, default=0) < unknown[0] < max(known, default=0)
            maybe = "it lies between them: were labels resampled with interpolation? If it is a class, " * between
            todo = f"expected {sorted(known)}; {maybe}add it to dataset.json"
            raise DataError(f"{name}: holds the unknown label {unknown[0]}, {todo}")
        table = np.array([known.get(number, self.other or 0) for number in found.tolist()], np.uint8)
        classes = np.empty_like(whole, np.uint8)
        for part in slabs(whole):
            classes[part] = table[np.searchsorted(found, whole[part])]
        return classes

    def numbers(self, classes: np.ndarray) -> np.ndarray:
        """What a label file holds for indices of classes [...]: the first number of each, else the index itself.

        The type is the smallest of uint8, uint16 and int32 that holds all its numbers.
        """
        first: dict[int, int] = {}
        for number, index in self.classes:
            first.setdefault(index, number)
        last = max(first, default=int(classes.max(initial=0)))
        table = np.array([first.get(c, c) for c in range(last + 1)], np.int64)
        kinds = (kind for kind in (np.uint8, np.uint16, np.int32) if np.array_equal(table.astype(kind), table))
        return table.astype(next(kinds))[classes]


_UNJUDGED = 255
"""Stands for a class where nobody judged a pixel; no class has this index."""


def _distinct_numbers(whole: np.ndarray) -> np.ndarray:
    """The different numbers [n] in an array [...] of whole numbers, sorted; counted where they lie close together."""
    low, high = int(whole.min()), int(whole.max())
    if high - low > 100_000:
        return np.unique(whole)
    counts = (np.bincount((whole[part] - low).ravel(), minlength=high - low + 1) for part in slabs(whole))
    return np.flatnonzero(sum(counts, np.zeros(high - low + 1, int))) + low


def read_labels(path: str | Path, codes: Codes, image: Scan) -> np.ndarray:
    """Classes [X, Y, Z] uint8 of a label file, turned as its image is; DataError where it does not lie on it."""
    stored, shape = read_scan(path, mask=True), image.voxels.shape
    way = stored.orientation or (image.orientation and stored_orientation(image.path))  # a silent one lies like it
    mask = replace(reorient(replace(stored, orientation=way), image.orientation), orientation=stored.orientation)
    if mask.voxels.shape != shape:
        found = f"has the shape {mask.voxels.shape}, but its image {image.path} has {shape}"
        raise DataError(f"{path}: {found}; pair the right files")
    if bool(mask.orientation) == bool(image.orientation):
        x, y, z = np.meshgrid(*((0.0, length) for length in shape))
        corners = np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(8)])
        apart = np.abs((image.affine - mask.affine) @ corners)[:3].max()
        if not apart <= 0.1 * min(mask.spacing):
            found = f"lies up to {apart:.3g} mm away from its image {image.path} (affines differ)"
            raise DataError(f"{path}: {found}; resample it onto the image")
    elif not np.allclose(mask.spacing, image.spacing, rtol=0.1):
        found = f"has voxels of {mask.spacing} mm, but its image {image.path} of {image.spacing}"
        raise DataError(f"{path}: {found}; pair the right files")
    return codes(mask.voxels, str(path))


def without_voxels(scan: Scan) -> Scan:
    """The scan with a voxel in place of all: its shape and geometry are all that `read_labels` asks."""
    return replace(scan, voxels=np.broadcast_to(np.float32(0), scan.voxels.shape))


def complete_slices(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes [n, h, w] uint8, 0 all over a slice that holds an UNJUDGED pixel; [n] bool, which slices hold none."""
    whole = ~(labels == _UNJUDGED).any((1, 2))
    return labels * whole[:, None, None].astype(np.uint8), whole


def is_sparse(labels: np.ndarray, least: int = 6, small: int = 9) -> bool:
    """Whether classes [n, h, w] of a scan are outlined on slices apart, along an axis of `least` slices or more, and on none beside them.

    What has fewer pixels on a slice than `small` may lie on one slice alone.
    """
    for axis in range(3):
        there = np.asarray(labels.any(tuple(other for other in range(3) if other != axis)))
        alone = len(there) >= least and there.any() and not (there[1:] & there[:-1]).any()
        if alone and np.count_nonzero(labels) >= small * np.count_nonzero(there):
            return True
    return False


def _drawing_of(labels: np.ndarray, least: float) -> str:
    """Sixteen digits of an outline [n, h, w]; "" for one that two people may share: of fewer pixels than `least`, or of boxes only."""
    counts = sum((np.bincount(one.ravel(), minlength=256) for one in labels), np.zeros(256, int))
    if counts[1:].sum() < least or all(_is_box(labels == c, count) for c, count in enumerate(counts.tolist()) if c and count):
        return ""
    return content_key(labels)


def _is_box(there: np.ndarray, count: int) -> bool:
    """Whether the pixels of a mask [n, h, w] bool, so many as `count`, are all that lie between the outermost."""
    ends = [np.flatnonzero(there.any(tuple(other for other in range(3) if other != axis)))[[0, -1]] for axis in range(3)]
    return count == int(np.prod([last - first + 1 for first, last in ends]))


def check_drawings(volumes: Sequence[Volume], labels: np.ndarray, name: str, least: int = 300) -> None:
    """DataError for one outline on the images of two subjects, who are one person in two sequences, or one of them was not looked at.

    `labels` [S, H, W] uint8 are of all slices, volume by volume; native outlines of fewer pixels than `least` may be alike.
    """
    owner: dict[str, tuple[str, str]] = {}
    start = 0
    for volume in volumes:
        h, w, n = volume.shape
        own, start, pixels = labels[start : start + n], start + n, least * max(1, labels[0].size / (h * w))
        for file, part in zip(volume.files, own[:, None], strict=True) if volume.files else [(volume.name, own)]:
            if (drawing := _drawing_of(part, pixels)) and (other := owner.setdefault(drawing, (file, volume.subject)))[1] != volume.subject:
                both = f"{other[0]} (subject {other[1]}) and {file} (subject {volume.subject})"
                todo = "give both to one subject in index.csv, or outline each"
                raise DataError(f"{name}: {both} have the same outline to the last pixel, expected one of their own; {todo}")


@dataclass(frozen=True)
class Cohort:
    """All slices of a data set, with subject, volume, position and geometry."""

    name: str  # what COHORTS, or the folder, calls it
    classes: tuple[str, ...]  # classes[0] is "background"
    images: np.ndarray  # [S, H, W] float16 in [0, 1], normalised per volume
    labels: np.ndarray  # [S, H, W] uint8, 0 where not labelled
    labelled: np.ndarray  # [S] bool, whether a complete outline exists
    volume: np.ndarray  # [S] int32, index into volumes
    position: np.ndarray  # [S] float32, 0 to 1 through the volume, nan where unknown
    volumes: tuple[Volume, ...]  # scans, in the order that `volume` counts
    grid: Grid  # raster that all slices share
    fingerprint: str  # changes with content and settings
    source: dict = field(default_factory=dict)  # load(**source) gives the cohort back
    codes: Codes = Codes(())  # what the numbers of the label files mean

    @cached_property
    def subject(self) -> np.ndarray:
        """Name [S] of every slice's subject."""
        return np.array([v.subject for v in self.volumes])[self.volume]

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, sorted."""
        return tuple(sorted({v.subject for v in self.volumes}))

    @property
    def size(self) -> int:
        """Rows and columns of a slice."""
        return self.grid.size

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        way = f" in {self.grid.orientation}" * bool(self.grid.orientation)
        counts = f"{counted(len(self.subjects), 'subject')}, {counted(len(self.volumes), 'volume')}, {counted(len(self), 'slice')}"
        known = f"{int(self.labelled.sum())} labelled, {', '.join(self.classes)}{_sparse_note(self)}"
        return f"Cohort({self.name}: {counts} of {self.size} x {self.size}{way}, {known})"


def _count_ignored(cohort: Cohort) -> int:
    """How many slices of the cohort have an outline that is not complete."""
    drawn = [there for v in cohort.volumes for there in (v.outlined or [bool(v.label)] * v.shape[2])]
    return sum(drawn) - int(cohort.labelled.sum()) if any(drawn) else 0


def _sparse_note(cohort: Cohort) -> str:
    """What is said of the cohort's sparse outlines; nothing where it has none."""
    if not cohort.codes.ignore:
        return ""
    known = cohort.labels[cohort.labelled]
    absent = ", ".join(name for index, name in enumerate(cohort.classes) if index not in known)
    rest = f"; no complete slice shows {absent}" if absent else ""
    return f"; {counted(_count_ignored(cohort), 'slice')} left out, with pixels marked ignore{rest}"


def cut_through(cohort: Cohort) -> list[str]:
    """A sentence where the thick slices of some scans lie across another axis than those of most: cut alike, some are cut through."""
    across: dict[str, int] = {}
    for volume in cohort.volumes:
        *_, next_to, thickest = sorted(volume.spacing)
        if volume.unit == "mm" and thickest > 1.5 * next_to:
            across[volume.name] = volume.spacing.index(thickest)
    usual = Counter(across.values()).most_common(1)
    other = [name for name, axis in across.items() if axis != usual[0][0]]
    what = f"{len(other)} of {len(cohort.volumes)} volumes ({', '.join(other[:3])}) were taken in another plane than most, but all are cut alike"
    return [f"{what}; put scans of each plane into a folder of their own"] if other else []


def native_labels(
    cohort: Cohort,
    v: int,  # index into cohort.volumes
) -> np.ndarray:
    """Labels [rows, columns, slices] uint8 of a volume on its own grid, in the cohort's order, 0 where not labelled."""
    volume = cohort.volumes[v]
    if not volume.image:
        slices = cohort.labels[cohort.volume == v]
        return np.moveaxis(from_grid(slices, volume.shape[:2], cohort.grid), 0, 2)
    if not volume.label:
        return np.zeros(volume.shape, np.uint8)
    if not volume.files:
        image = without_voxels(reorient(read_scan(volume.image), cohort.grid.orientation))
        outlines = np.moveaxis(read_labels(volume.label, cohort.codes, image), cohort.grid.along(image.voxels.shape), 0)
        return np.moveaxis(complete_slices(outlines)[0], 0, 2)
    out = np.zeros(volume.shape, np.uint8)
    for k in np.flatnonzero(volume.outlined).tolist():
        image = read_scan(Path(volume.image) / volume.files[k])
        out[:, :, k] = read_labels(volume.label_path(k), cohort.codes, image)[:, :, 0]
    return np.moveaxis(complete_slices(np.moveaxis(out, 2, 0))[0], 0, 2)


def match_classes(
    cohort: Cohort,  # whose classes may stand in another order
    classes: Sequence[str],  # names in the wanted order, background first
    codes: Codes = Codes(()),  # what the numbers of their label files meant
) -> Cohort:
    """The cohort with its classes in this order, by name; DataError, with both lists, for other structures."""
    if tuple(cohort.classes) == tuple(classes):
        return cohort
    place = class_order(cohort.name, cohort.classes, cohort.codes, classes, codes)
    pairs = tuple((number, place[index]) for number, index in cohort.codes.classes)
    return replace(
        cohort, classes=tuple(classes), labels=np.array(place, np.uint8)[cohort.labels],
        codes=replace(cohort.codes, classes=pairs), fingerprint=content_key(cohort.fingerprint, place, list(classes)),
    )


def class_order(
    name: str,  # of the data, for the error
    found: Sequence[str],  # names of its classes, background first
    found_codes: Codes,  # numbers of these
    wanted: Sequence[str],  # names in the wanted order, background first
    wanted_codes: Codes,  # numbers of those
) -> list[int]:
    """Index among the wanted classes of each found one; DataError, with both lists, for other structures."""
    by_name = {meaning(wanted_name): index for index, wanted_name in enumerate(wanted)}
    place = [0, *(by_name.get(meaning(found_name), -1) for found_name in found[1:])]
    nameless, wanted_nameless = _has_no_names(found, found_codes), _has_no_names(wanted, wanted_codes)
    known = dict(wanted_codes.classes)
    if -1 in place and (nameless or wanted_nameless):
        for number, index in found_codes.classes:
            place[index] = known.get(number, -1) if place[index] in (-1, known.get(number, -1)) else -1
    elif wanted_nameless and not nameless:
        for number, index in found_codes.classes:  # "label 2" for what the run calls 1 is no match
            place[index] = place[index] if known.get(number, place[index]) == place[index] else -1
    if set(place) != set(range(len(wanted))) or place[0] or 0 in place[1:]:
        both = f"{', '.join(found)}, but the run was trained on {', '.join(wanted)}"
        todo = "name them alike in 'labels' of dataset.json, or take other data"
        raise DataError(f"{name}: has the classes {both}; {todo}")
    return place


def _has_no_names(classes: Sequence[str], codes: Codes) -> bool:
    """Whether all names are only numbers of the label files, such as "label 500"."""
    numbers = {(index, meaning(f"label {number}")) for number, index in codes.classes}
    return len(classes) > 1 and all((index, meaning(name)) in numbers for index, name in enumerate(classes) if index)


def take(cohort: Cohort, names: Sequence[str]) -> Cohort:
    """The cohort of the volumes of these names, in its own order; ValueError for a name that is none of them."""
    known = {v.name: i for i, v in enumerate(cohort.volumes)}
    missing = [n for n in names if n not in known]
    if missing or not len(names):
        found = missing[0] if missing else "nothing"
        some = ", ".join(list(known)[:4])
        raise ValueError(f"names: found {found!r}, expected volumes of {cohort.name}, such as {some}")
    kept = sorted(known[n] for n in set(names))
    rows = np.isin(cohort.volume, kept)
    return replace(
        cohort, images=cohort.images[rows], labels=cohort.labels[rows], labelled=cohort.labelled[rows],
        volume=np.searchsorted(kept, cohort.volume[rows]).astype(np.int32), position=cohort.position[rows],
        volumes=tuple(cohort.volumes[i] for i in kept),
        fingerprint=content_key(cohort.fingerprint, [cohort.volumes[i].name for i in kept]),
        source={**cohort.source, "take": [cohort.volumes[i].name for i in kept]},
    )


def describe(cohort: Cohort) -> "pd.DataFrame":
    """One line per volume: subject, native shape and spacing, how it is stored, slices, share of each class in %."""
    import pandas as pd

    units = " or ".join(sorted({volume.unit.replace("pixel", "pixels") for volume in cohort.volumes}))
    lines = []
    for v, volume in enumerate(cohort.volumes):
        rows = cohort.volume == v
        known = cohort.labels[rows & cohort.labelled]
        shares = np.bincount(known.ravel(), minlength=len(cohort.classes))[1:] / max(known.size, 1) * 100
        lines.append({
            "volume": volume.name, "subject": volume.subject, "shape": " x ".join(map(str, volume.shape)),
            f"spacing ({units})": " x ".join(f"{s:g}" for s in volume.spacing),
            **({"stored": volume.orientation} if cohort.grid.orientation else {}),
            "slices": int(rows.sum()), "labelled": int((rows & cohort.labelled).sum()),
            **{f"{name} (%)": round(float(share), 1) for name, share in zip(cohort.classes[1:], shares, strict=True)},
        })
    return pd.DataFrame(lines).set_index("volume")


def contact_sheet(
    cohort: Cohort,
    volumes: int = 6,  # how many volumes, one per row
    slices: int = 6,  # how many slices of each, evenly spaced
    scale: int = 2,  # enlargement
    shades: int = 16,  # grey levels; few make a small file, since noise does not compress
) -> Image.Image:
    """Slices of the first volumes with their labels, one volume per row."""
    chosen = np.linspace(0, len(cohort.volumes) - 1, min(volumes, len(cohort.volumes))).round().astype(int)
    pictures, titles = [], []
    for v in np.unique(chosen):
        rows = np.flatnonzero(cohort.volume == v)
        for i in rows[np.linspace(0, len(rows) - 1, slices).round().astype(int)]:
            image = np.rint(cohort.images[i].astype(np.float32) * (shades - 1)) / (shades - 1)
            pictures.append(show.overlay(image, cohort.labels[i], scale=scale))
            titles.append(cohort.volumes[v].name)
    return show.sheet(pictures, columns=slices, titles=titles)
