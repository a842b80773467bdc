"""Every cohort by its name: the phantom, real hippocampi, hearts, and a folder of your own."""

__all__ = ["MMWHS", "COHORTS", "folder", "person", "asked", "hippocampus", "cardiac", "sunnybrook", "mmwhs", "load"]

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cohort import Codes, Cohort, Volume
from .cohort import take as taken
from .download import download as fetch_cohort
from .download import locate, not_found
from .folders import layout
from ..names import check_place
from .phantoms import phantom
from .scans import DataError, Grid
from .slices import assemble


def folder(
    path: str | Path,  # a Decathlon task, or a folder with images/ and labels/ (NIfTI or PNG), index.csv and dataset.json being optional
    size: int = 64,  # rows and columns of a slice, pixels
    fit: str = "resize",  # "resize" stretches the whole slice; "centre" crops or pads about its centre
    axis: int = 2,  # which axis of a NIfTI file the slices are stacked along, once it is turned to the orientation
    orientation: str = "",  # where the axes of every file are made to run to, such as "RAS"; "" for that of most files
    channel: int | str | None = None,  # number or name of the channel to take, where a case has several
) -> Cohort:
    """The cohort in a folder of anybody's own; FileNotFoundError where there is none."""
    place = Path(path).expanduser().resolve()
    if not place.is_dir():
        raise FileNotFoundError(f"{path}: there is no such folder; name one that holds images/ and labels/, or a dataset.json")
    classes, codes, volumes = layout(place, channel)
    source = {"cohort": str(place), "size": size, "fit": fit, "axis": axis}
    source |= {"orientation": orientation} if orientation else {}
    source |= {"channel": channel} if channel is not None else {}
    return assemble(place.name, classes, codes, volumes, Grid(size, fit, axis, orientation), source, named=False)


def person(
    name: str,  # of a volume
) -> str:
    """Whose hippocampus `hippocampus_NNN` is: ids 2k - 1 and 2k are one person's two. Inferred, not documented."""
    number = re.fullmatch(r"hippocampus_(\d+)", name)
    return f"person{(int(number[1]) + 1) // 2:03d}" if number else name


def asked(
    **settings: Any,  # arguments of a cohort's function, None where not given
) -> dict:
    """Settings for Cohort.source: those that were given, the data folder as a whole path."""
    whole = {"data": lambda value: str(Path(value).expanduser().resolve())}
    return {key: whole.get(key, lambda value: value)(value) for key, value in settings.items() if value is not None}


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
    name = "Task04_Hippocampus"
    if limit is not None and limit < 1:
        raise ValueError(f"limit: {limit!r}, expected a number of volumes from 1 upwards, or None for all")
    place = locate(name, "dataset.json", data)
    if place is None and not download:
        raise not_found(name, "dataset.json", data, downloads=True)
    classes, codes, volumes = layout(place or fetch_cohort(name))
    if classes != ("background", "anterior", "posterior"):
        raise DataError(f"{place}: is another task, its classes are {', '.join(classes)}; load it as a folder")
    volumes = [replace(volume, subject=person(volume.name)) for volume in volumes[:limit]]
    source = {"cohort": "hippocampus", **asked(data=data, size=size, limit=limit, orientation=orientation or None)}
    return assemble("hippocampus", classes, codes, volumes, Grid(size, orientation=orientation), source)


def cardiac(
    subjects: int = 24,  # how many people
    size: int = 64,  # rows and columns of a slice, pixels
    seed: int = 0,  # another seed, other people
) -> Cohort:
    """Generated hearts: the phantom with seven structures."""
    return phantom("cardiac", subjects, size, seed)


def sunnybrook(
    data: str | Path | None = None,  # the folder sunnybrook or the one above it; None for SEMICON_DATA, then the cache
    size: int = 160,  # rows and columns cut from the centre, pixels
) -> Cohort:
    """Hearts in cine MR: Sunnybrook Cardiac Data; about half of the slices are labelled, positions are unknown.

    FileNotFoundError where it is not found.
    """
    place = locate("sunnybrook", "index.csv", data)
    if place is None:
        raise not_found("sunnybrook", "index.csv", data)
    classes, codes, volumes = layout(place)
    return assemble("sunnybrook", classes, codes, volumes, Grid(size, "centre"), {"cohort": "sunnybrook", **asked(data=data, size=size)})


MMWHS = {"left ventricle": (500,), "right ventricle": (600,), "left atrium": (420, 421), "right atrium": (550,),
         "myocardium": (205,), "ascending aorta": (820,), "pulmonary artery": (850,)}  # fmt: skip


def mmwhs(
    data: str | Path | None = None,  # the folder mmwhs or the one above it; None for SEMICON_DATA, then the cache
    modality: str = "ct",  # "ct" or "mr"
    size: int = 160,  # rows and columns of a slice, pixels
    orientation: str = "",  # where the axes of every file are made to run to; "" for that of most files
) -> Cohort:
    """Whole hearts in CT or MR: the MMWHS challenge, seven structures; files NAME_image.nii.gz and NAME_label.nii.gz.

    FileNotFoundError where it is not found.
    """
    if modality not in ("ct", "mr"):
        raise ValueError(f"modality: {modality!r}, expected 'ct' or 'mr'")
    pattern = f"{modality}_*_image.nii*"
    place = locate("mmwhs", f"**/{pattern}", data)
    if place is None:
        raise not_found("mmwhs", f"**/{pattern}", data)
    codes = Codes(((0, 0), *((number, i + 1) for i, numbers in enumerate(MMWHS.values()) for number in numbers)), other=0)
    volumes = []
    for image in sorted(place.rglob(pattern)):
        name, label = image.name.split("_image.nii")[0], image.with_name(image.name.replace("_image.nii", "_label.nii"))
        volumes.append(Volume(name, name, str(image), str(label) if label.is_file() else ""))
    source = {"cohort": "mmwhs", **asked(data=data, modality=modality, size=size, orientation=orientation or None)}
    return assemble("mmwhs", ("background", *MMWHS), codes, volumes, Grid(size, orientation=orientation), source)


COHORTS: dict[str, Callable[..., Cohort]] = {
    "phantom": phantom, "phantom-cardiac": cardiac, "hippocampus": hippocampus, "sunnybrook": sunnybrook, "mmwhs": mmwhs,
}  # fmt: skip


def load(
    cohort: str | Path = "phantom",  # a name in COHORTS, or a folder
    take: Sequence[str] | None = None,  # only the volumes of these names
    **settings: Any,  # arguments of that cohort's function
) -> Cohort:
    """A cohort by its name, or from a folder; `load(**cohort.source)` gives a cohort back; FileNotFoundError for any other word."""
    place = Path(cohort).expanduser()
    if cohort not in COHORTS:
        check_place(str(cohort))
    if cohort in COHORTS:
        found = COHORTS[str(cohort)](**settings)
    elif place.resolve().name == "Task04_Hippocampus":
        found = hippocampus(data=place, **settings)
    else:
        found = folder(place, **settings)
    return found if take is None else taken(found, take)
