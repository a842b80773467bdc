"""Every word that the command and the library know: methods, presets, cohorts, parts, metrics; no import that takes time."""

import difflib
import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_name", "check_place", "check_run"]


class Known(NamedTuple):
    """A cohort that can be named."""

    about: str  # what is in it, in words
    folder: str = ""  # where it is looked for below SEMICON_DATA; "" for a generated cohort
    marker: str = ""  # pattern of a file that must be in that folder
    download: str = ""  # how much is downloaded on request; "" where we cannot


COHORT_LINES = {
    "phantom": Known("hippocampi drawn by a formula, two structures; no download"),
    "phantom-cardiac": Known("hearts drawn by a formula, seven structures; no download"),
    "hippocampus": Known("hippocampi in MRI, two structures, 260 labelled volumes", "Task04_Hippocampus", "dataset.json", "27 MB"),
    "sunnybrook": Known("hearts in cine MR, the left ventricle", "sunnybrook", "index.csv"),
    "mmwhs": Known("whole hearts in CT or MR, seven structures", "mmwhs", "**/*_image.nii*"),
}

LABELLED, ALL = "labelled images", "all training images"
"""Whose images a method learns from; with ALL, those without labels too."""

METHOD_LINES = {
    "scratch": (LABELLED, "fine-tuning alone: the baseline"),
    "global": (ALL, "tell slices apart without labels, then fine-tune"),
    "global+local(self)": (ALL, "tell slices, then pixels apart without labels, then fine-tune"),
    "local(stride)": (LABELLED, "pull pixels of a structure together, every 4th pixel, then fine-tune"),
    "local(block)": (LABELLED, "pull pixels of a structure together within blocks, then fine-tune"),
    "global+local(stride)": (ALL, "global, then local(stride): three stages, as in the paper"),
    "global+local(block)": (ALL, "global, then local(block): three stages, as in the paper"),
    "mixup": (LABELLED, "fine-tune on blends of two labelled slices"),
    "tcsm": (ALL, "fine-tune; a turned slice must be segmented as its turned original"),
    "local(exact)": (LABELLED, "pull pixels of a structure together, every pixel, then fine-tune"),
    "global+local(exact)": (ALL, "global, then local(exact): three stages without leaving pixels out"),
    "global+local(random)": (ALL, "global, then the local stage on 2,048 random pixels"),
    "mean-teacher": (ALL, "fine-tune; a running average of the network is the teacher"),
    "cross-pseudo-supervision": (ALL, "two networks teach each other on slices without labels"),
    "fixmatch": (ALL, "fine-tune; sure answers become labels of a harder view of the slice"),
    "pcl": (ALL, "like global, but slices from nearly the same height belong together"),
    "masked": (ALL, "paint hidden squares of slices without labels, then fine-tune"),
    "self-training": (ALL, "fine-tune; after a warm-up learn from one's own labels too"),
    "copy-paste": (ALL, "fine-tune on labelled slices with boxes of unlabelled ones, and back"),
    "joint": (ALL, "fine-tune and pull pixels together at once, with pseudo-labels"),
    "scratch(strong)": (LABELLED, "scratch, four times as long, averaged over looks and slices"),
    "best": (ALL, "our recipe: local(exact), then a teacher on all images, averaged"),
}

PRESET_NAMES = {
    "demo": "a small network and few steps, to try things out",
    "laptop": "the usual network and steps, for a machine without a GPU",
    "thorough": "laptop's network, and as many steps as help; for comparisons",
    "paper": "the paper's network, batches and epochs, for a GPU",
}
PART_NAMES = ("all", "train", "val", "test")
WAYS = tuple(f"{score}_{way}" for score in ("pooled_dice", "volume_dice") for way in ("slice_by_slice", "with_neighbours"))
METRICS = ("pooled_dice", "volume_dice", "hd95", "validation", "seconds", "processor_seconds", *WAYS)


def meant(word: str, names: Iterable[str]) -> str:
    """`; did you mean X?` where one of the `names` is close to the `word` or holds it, else nothing."""
    small = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), small, n=1, cutoff=0.6)
    near = near or [name for name in small if len(word) > 2 and word.lower() in name][:1]
    return f"; did you mean {small[near[0]]}?" if near else ""


def counted(count: int | str, noun: str) -> str:
    """A number of things, each called by the `noun`: 1 volume, 12 volumes; 1 process, 2 processes."""
    return f"{count} {noun}{('es' if noun.endswith('ss') else 's') * (str(count) != '1')}"


def unit_words(unit: str | None) -> str:
    """The `unit` of distances in words: "mm" or "pixel"; any other value where it differs or isn't known."""
    return {"mm": "mm", "pixel": "pixels"}.get(unit or "", "mm or pixels")


def check_type(name: str, value: Any, kind: type, todo: str) -> None:
    """Raise a TypeError for the argument `name` whose `value` is not of this `kind`; `todo` says what to give."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: found {type(value).__name__}, expected {kind.__name__}; {todo}")


def check_whole(name: str, value: Any, least: int) -> int:
    """The `value` of an argument `name` as Python's int; ValueError where it is no whole number of at `least` so much, as True is none."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}: found {value!r}, expected a whole number from {least} upwards")
    return int(value)


def is_number(value: Any) -> bool:
    """Whether a value is one real number, as True and a word are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_intensities(
    images: "Tensor",  # [...] floating-point, expected in [0, 1]
) -> None:
    """Raise a ValueError where values are not finite, or lie far from [0, 1]; views of views have room."""
    if images.device.type != "cpu":  # a GPU would have to wait
        return
    low, high = map(float, images.detach().aminmax())
    if not math.isfinite(high - low):
        raise ValueError("images: found NaN or infinite values, expected values in [0, 1]; replace them first")
    if not -0.5 <= low <= high <= 1.75:
        odd = float(((images < -0.5) | (images > 1.75)).float().mean())
        if not -2 <= low <= high <= 16 or odd > 0.1:
            found = f"{low:.4g} to {high:.4g}, {odd:.0%} of them far outside"
            raise ValueError(f"images: expected values in [0, 1], found {found}; scale them, as normalise does")


def check_name(kind: str, word: str, names: Iterable[str]) -> None:
    """Raise a ValueError, with all `names` and the nearest, for a `word` that is none of them; `kind` says what is named, such as "method".

    TypeError for what is no word.
    """
    names = list(names)
    check_type(kind, word, str, f"give one of {', '.join(names)}")
    if word not in names:
        raise ValueError(f"{kind}: found {word!r}, expected one of {', '.join(names)}{meant(word, names)}")


def check_place(word: str) -> None:
    """Raise a FileNotFoundError that tells a misspelt cohort from a folder that is not there; `word` names either."""
    place = Path(word).expanduser()
    if word in COHORT_LINES or place.is_dir():
        return
    if place.exists():
        raise FileNotFoundError(f"{word}: is a file, expected a cohort ({', '.join(COHORT_LINES)}) or a folder")
    if "/" in word or os.sep in word or word[:1] in ("~", "."):
        beside = [str(one) for one in place.parent.iterdir() if one.is_dir()] if place.parent.is_dir() else []
        raise FileNotFoundError(f"{word}: there is no such folder{meant(str(place), beside) or '; check the path'}")
    near = meant(word, COHORT_LINES) or "; check the spelling or the path"
    raise FileNotFoundError(f"{word}: neither a cohort ({', '.join(COHORT_LINES)}) nor a folder in {Path.cwd()}{near}")


def check_run(folder: Path) -> None:
    """Raise a FileNotFoundError where no run was begun in a `folder`."""
    if not (folder / "run.json").is_file():
        make = f"make one with `semicon-nb train METHOD --out {folder}`"
        raise FileNotFoundError(f"{folder}: is no RUN folder (no run.json); {make}")
