"""What a folder of scans says of itself: which label belongs to which image, whose it is, and what its numbers mean."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .cohort import Codes, Cohort, Volume
from .pairing import Files, by_stem, list_files, pair, read_index, read_training
from .people import Pair, people_left_open
from .reading import DataError, fold, meaning, png_header, read_json, read_scan, whole_number
from .scans import Grid
from .slices import assemble

__all__ = ["folder"]

_LARGEST = (1 << 31) - 1  # of the 32 bits that label files are read into
_NAME = "name the numbers in 'labels' of dataset.json"

_NOTHING = ("background", "bg", "clear", "clearlabel", "none", "nothing", "unlabelled", "unlabeled", "outside", "other",
           "empty", "label0")  # fmt: skip
"""What the number 0 may be called, for it to be background."""

_IGNORED = ("ignore", "ignored", "ignorelabel", "void", "dontcare", "don'tcare", "donotcare", "unjudged", "notjudged")
"""What a number may be called that marks pixels nobody judged."""

_VAGUE = ("unknown", "undefined", "unlabelled", "unlabeled", "unsure", "uncertain", "unclassified", "other?")
"""Names that may mean a structure, or pixels that nobody judged."""


def folder(
    path: str | Path,  # a Decathlon task, or a folder with images/ and labels/ and maybe index.csv and dataset.json
    size: int = 64,  # rows and columns of a slice, pixels
    fit: str = "resize",  # "resize" stretches the whole slice; "centre" crops or pads about its centre
    axis: int = 2,  # which axis of a NIfTI file the slices are stacked along, once it is turned to the orientation
    orientation: str = "",  # where the axes of every file are made to run to, such as "RAS"; "" for that of most files
    channel: int | str | None = None,  # number or name of the channel to take, where a case has several
) -> Cohort:
    """The cohort in a folder of anybody's own; FileNotFoundError where there is none."""
    place = Path(path).expanduser().resolve()
    if not place.is_dir():
        todo = "name one that holds images/ and labels/, or a dataset.json"
        raise FileNotFoundError(f"{path}: there is no such folder; {todo}")
    classes, codes, volumes = layout(place, channel)
    source = {"cohort": str(place), "size": size, "fit": fit, "axis": axis}
    source |= {"orientation": orientation} if orientation else {}
    source |= {"channel": channel} if channel is not None else {}
    return assemble(place.name, classes, codes, volumes, Grid(size, fit, axis, orientation), source, named=False)


def layout(folder: Path, channel: int | str | None = None) -> tuple[tuple[str, ...], Codes, list[Volume]]:
    """Classes, codes and volumes of a Decathlon task or a folder with images/ and labels/.

    DataError where it contradicts itself or can be read in two ways. `channel` is the number or name of the one to
    take, where a case has several.
    """
    for name in ("dataset.json", "index.csv"):
        _check_overlooked(folder, name)
    path = folder / "dataset.json"
    about = read_json(path) if path.exists() else {}
    pairs = pair(files := _find_files(folder, about, channel))
    for words in [] if files.index else people_left_open(pairs):
        warnings.warn(f"{folder.name}: {words}", stacklevel=3)
    labelled = sum(one.label is not None for one in pairs)
    if (said := whole_number(about.get("numTraining"))) is not None and said not in (len(pairs), labelled):
        found = f"{len(pairs)} cases are here, {labelled} of them with a label"
        raise DataError(f"{path}: says 'numTraining' {said}, but {found}; add what is missing or correct it")
    volumes = _volumes(pairs, stacked=not about.get("training"))
    _check_palettes([path for volume in volumes for path in _label_paths(volume)])
    return (*(_read_classes(about, path) if "labels" in about else _find_classes(folder, volumes)), volumes)


def _check_overlooked(folder: Path, name: str) -> None:
    """DataError where a file of this name is missing, but one is there that may have been meant to be it."""
    stem, ending = name.split(".")
    others = rf"{ending}([.]txt)?" if ending == "json" else rf"{ending}([.]txt)?|tsv|txt|xlsx?|ods|numbers"
    like = [one.name for one in sorted(folder.iterdir()) if re.fullmatch(rf"{stem}[.]({others})", fold(one.name))]
    if like and not (folder / name).exists():
        todo = f"save it as {name}" if fold(like[0]) != name else f"rename it to {name}"
        raise DataError(f"{folder / like[0]}: is not read, expected {name}; {todo}, or take it out of the folder")


def _find_files(folder: Path, about: dict, channel: int | str | None) -> Files:
    """What is there to be paired, `about` being its dataset.json; DataError for files that cannot be told apart."""
    if about.get("training"):
        images, labels = read_training(folder, about["training"], about.get("test"))
    else:
        images = list_files(folder, ("images", "imagesTr"))
        labels = by_stem(list_files(folder, ("labels", "labelsTr")), folder, "label")
    try:
        channels = tuple(name for _, name in _numbers_and_names(about.get("channel_names", about.get("modality"))))
    except ValueError:
        channels = ()
    index = read_index(folder / "index.csv") if (folder / "index.csv").exists() else {}
    return Files(folder, by_stem(images, folder, "image"), labels, index, channels, channel)


def _volumes(pairs: list[Pair], stacked: bool) -> list[Volume]:
    """The volumes that these pairs make, sorted by name; `stacked` pictures of one subject and size are one volume."""
    volumes: list[Volume] = []
    stacks: dict[tuple[str, tuple[int, int]], list[Pair]] = {}
    for one in pairs:
        if stacked and one.image.name.lower().endswith(".png"):
            stacks.setdefault((one.subject, png_header(one.image)[:2]), []).append(one)
        else:
            volumes.append(Volume(one.name, one.subject, str(one.image), str(one.label or "")))
    several = len({who for who, _ in stacks}) < len(stacks)
    for (who, (w, h)), slices in stacks.items():
        files, labels = tuple(s.image.name for s in slices), tuple(s.label.name if s.label else "" for s in slices)
        drawn = next((s.label.parent for s in slices if s.label), slices[0].image.parent)
        own = tuple(label or file for file, label in zip(files, labels, strict=True))
        volumes.append(Volume(
            f"{who}-{h}x{w}" if several else who, who, str(slices[0].image.parent), str(drawn), files=files,
            outlined=tuple(map(bool, labels)), labels=() if own == files else own,
        ))  # fmt: skip
    return sorted(volumes, key=lambda volume: volume.name)


def _label_paths(volume: Volume) -> list[Path]:
    """The label files of a volume."""
    drawn = [volume.label_path(k) for k, has in enumerate(volume.outlined) if has]
    return drawn or [Path(volume.label)] * bool(volume.label and not volume.files)


# what the numbers mean ------------------------------------------------------------------------------------------------
def _numbers_and_names(labels: Any) -> list[tuple[int, str]]:
    """Pairs of number and name, sorted, of a JSON object of either by the other; ValueError that says what is wrong."""
    if not isinstance(labels, dict) or not labels:
        raise ValueError("expected names by number such as {'0': 'background', '1': 'tumour'}")
    if several := next((key for key, value in labels.items() if isinstance(value, list)), None):
        todo = "give each number one name"
        raise ValueError(f"{several!r} is a list, but regions that overlap are not supported; {todo}")
    keys, values = ([whole_number(one) for one in side] for side in (labels, labels.values()))
    texts = [value.strip() for value in labels.values() if isinstance(value, str) and value.strip()]
    if None not in keys and len(texts) == len(keys) and all(v in (None, k) for k, v in zip(keys, values, strict=True)):
        pairs = [(number, name) for number, name in zip(keys, texts, strict=True) if number is not None]
    elif None not in values and all(key.strip() for key in labels) and None in keys:
        pairs = [(number, key.strip()) for key, number in zip(labels, values, strict=True) if number is not None]
    else:
        raise ValueError("expected a whole number for every name, such as {'0': 'background', '1': 'tumour'}")
    if twice := sorted(number for number, count in Counter(number for number, _ in pairs).items() if count > 1):
        raise ValueError(f"the number {twice[0]} has two names; give it one")
    if large := [number for number, _ in pairs if abs(number) > _LARGEST]:
        raise ValueError(f"the number {large[0]} is too large, expected at most {_LARGEST}; write smaller ones")
    return sorted(pairs)


def _read_classes(about: dict, path: Path) -> tuple[tuple[str, ...], Codes]:
    """Classes, and what the numbers mean, as `about`, the dataset.json at `path`, says; DataError where it does not."""
    try:
        pairs = _numbers_and_names(about.get("labels"))
    except ValueError as error:
        raise DataError(f"{path}: 'labels' is {str(about.get('labels'))[:200]}; {error}") from None
    pairs = [(n, f"label {n}" if whole_number(name) == n else " ".join(name.lower().split())) for n, name in pairs]
    ignore = tuple(number for number, name in pairs if meaning(name) in _IGNORED)
    ground = [n for n, name in pairs if meaning(name) == "background" or (n == 0 and meaning(name) in _NOTHING)]
    if not ground and (zero := dict(pairs).get(0)):
        todo = "call the number of the background 'background'"
        raise DataError(f"{path}: calls 0 {zero!r} and nothing background; {todo}")
    if vague := next((name for n, name in pairs if n not in ground and meaning(name) in _VAGUE), None):
        todo = "call it 'ignore' where nobody judged, or by the structure's name"
        raise DataError(f"{path}: a number is called {vague!r}; {todo}")
    rest = [(number, name) for number, name in pairs if number not in (*ignore, *ground)]
    first = {meaning(name): name for _, name in reversed(rest)}
    names = list(dict.fromkeys(first[meaning(name)] for _, name in rest))
    if not 1 <= len(names) < 255:
        raise DataError(f"{path}: 'labels' names {len(names)} structures, expected 1 to 254; name what is outlined")
    codes = [(number, 1 + names.index(first[meaning(name)])) for number, name in rest]
    return ("background", *names), Codes((*((n, 0) for n in ground or [0]), *codes), ignore=ignore)


def _find_classes(place: Path, volumes: list[Volume], most: int = 32) -> tuple[tuple[str, ...], Codes]:
    """Classes and codes from the numbers that occur in the label files, each of which may hold at `most` so many.

    DataError for a file that is no label map, or numbers that mean two things.
    """
    found: set[int] = set()
    for path in (path for volume in volumes for path in _label_paths(volume)):
        voxels = read_scan(path, mask=True).voxels
        values = np.unique(voxels)
        if len(values) > most:
            found_words = f"holds {len(values)} values such as {values[len(values) // 2]:g}"
            todo = f"is it a label map, and was it resampled with interpolation? If these are classes, {_NAME}"
            raise DataError(f"{path}: {found_words}, expected a few whole numbers; {todo}")
        if path.suffix.lower() == ".png":
            _check_edges(path, voxels[..., 0])
        found.update(values.tolist())
    numbers = sorted(found - {0})
    if found and not numbers:
        raise DataError(f"{place}: its label files outline nothing, all of them hold only 0; expected a structure in some of them")
    _check_numbers(place, numbers, 0 in found)
    if numbers[-1:] == [255] and 0 < max(numbers[:-1], default=0) < 32:
        found_words = f"its label files hold 255 beside {', '.join(map(str, numbers[:-1][:4]))}, and it counts as a structure"
        warnings.warn(f"{place.name}: {found_words}; where it marks pixels that nobody judged, call it 'ignore' in 'labels' of dataset.json", stacklevel=4)
    codes = Codes(((0, 0), *((number, i + 1) for i, number in enumerate(numbers))))
    return ("background", *(f"label {number}" for number in numbers)), codes


# label files that can be read in two ways -----------------------------------------------------------------------------
def _check_numbers(place: Path, numbers: list[int], ground: bool) -> None:
    """DataError where it is open which number is the background, or whether one below 0, or 255, is a structure, and for more than can be told apart.

    `numbers` occur, sorted, and 0, if `ground`.
    """
    if numbers and not ground:
        found = f"no label file holds 0, only {', '.join(map(str, numbers))}"
        raise DataError(f"{place}: {found}, so which is the background? {_NAME}")
    if numbers and numbers[0] < 0:
        found = f"its label files hold the negative number {numbers[0]}"
        what = "it may be a structure of its own, or pixels that nobody judged ('ignore')"
        raise DataError(f"{place}: {found}; {what}: {_NAME}")
    if len(numbers) >= 255:
        found = f"its label files hold {len(numbers)} numbers beside 0, such as {numbers[-1]}, expected at most 254 structures"
        raise DataError(f"{place}: {found}; give all objects of one kind one number, or {_NAME}, those of one structure alike")
    if numbers[:1] == [1] and numbers[-1] in (255, 65535):
        others = " and ".join(dict.fromkeys(("1", str(numbers[-2]))))
        what = "it may be a structure of its own, the same as 1, or pixels that nobody judged ('ignore')"
        raise DataError(f"{place}: its label files hold {numbers[-1]} beside {others}; {what}: {_NAME}")


def _check_edges(path: Path, mask: np.ndarray) -> None:
    """DataError where numbers of a mask [rows, columns] occur only between others, as those of soft edges do."""
    from scipy.ndimage import maximum_filter, minimum_filter

    values = np.unique(mask).tolist()
    gaps = [b for a, b, c in zip(values, values[1:], values[2:], strict=False) if max(b - a, c - b) > 1]
    low, high = minimum_filter(mask, 3), maximum_filter(mask, 3)
    if soft := [value for value in gaps if ((low < value) & (value < high))[mask == value].all()]:
        found = f"{', '.join(map(str, soft[:4]))} only between other numbers, as soft edges do"
        raise DataError(f"{path}: holds {found}; if these are classes, {_NAME}; else save the mask without smoothing")


def _check_palettes(paths: Sequence[Path]) -> None:
    """DataError where a colour of these masks has two numbers, or a palette says that 0 is not the background."""
    known: dict[object, tuple[object, Path]] = {}  # number -> its colour, and colour -> its number, and the file
    palettes: set[bytes] = set()
    for path in (path for path in paths if path.suffix.lower() == ".png"):
        try:
            with Image.open(path) as picture:
                palette = bytes(picture.getpalette("RGB") or ()) if picture.mode == "P" else b""
                used = np.unique(np.asarray(picture)).tolist() if palette and palette not in palettes else []
        except (OSError, SyntaxError, ValueError):
            continue  # reading it says what is wrong
        palettes.add(palette)
        colours = {number: tuple(palette[3 * number : 3 * number + 3]) for number in used}
        _check_background(path, colours)
        for one, other in [*colours.items(), *((colour, number) for number, colour in colours.items())]:
            if (before := known.setdefault(one, (other, path)))[0] != other and before[1] != path:
                todo = "save all masks with one palette, or as greyscale with the label numbers"
                both = f"{before[1].name} ({one}: {other} and {before[0]})"
                raise DataError(f"{path}: has another palette than {both}; {todo}")


def _check_background(path: Path, colours: dict[int, tuple[int, ...]]) -> None:
    """DataError where a number above 0 is black though 0 is not, or where greys do not ascend with their numbers."""
    black, shades = (0, 0, 0), [max(colour) for colour in colours.values()]
    greys = all(len(set(colour)) == 1 for colour in colours.values())
    if (colours.get(0) != black and black in colours.values()) or (greys and shades != sorted(shades)):
        found = f"its palette calls {next(iter(colours))} the colour {next(iter(colours.values()))}, not black"
        raise DataError(f"{path}: {found}; save it as greyscale with the label numbers")
