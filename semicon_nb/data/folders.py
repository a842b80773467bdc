"""What a folder of scans says of itself: which label belongs to which image, whose it is, and what its numbers mean."""

__all__ = ["NOTHING", "IGNORED", "VAGUE", "named_classes", "picture_size", "label_paths", "discovered", "layout"]


from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .cohort import Codes, Volume
from .doubts import check_edges, check_numbers, check_palettes
from .pairing import Files, Pair, by_name, entries, pair, read_index, side
from .scans import DataError, read_image
from .words import LARGEST, meaning, read_json, whole_number


def numbered_names(
    labels: Any,  # an object from a JSON file, names by number or numbers by name
) -> list[tuple[int, str]]:
    """Pairs of number and name, sorted; ValueError that says what is wrong."""
    if not isinstance(labels, dict) or not labels:
        raise ValueError("expected names by number such as {'0': 'background', '1': 'tumour'}")
    if several := next((key for key, value in labels.items() if isinstance(value, list)), None):
        raise ValueError(f"{several!r} is a list, but regions that overlap are not supported; give each number one name")
    keys, values = ([whole_number(one) for one in side] for side in (labels, labels.values()))
    texts = [value.strip() for value in labels.values() if isinstance(value, str) and value.strip()]
    if None not in keys and len(texts) == len(keys) and all(v in (None, k) for k, v in zip(keys, values, strict=True)):
        pairs = [(number, name) for number, name in zip(keys, texts, strict=True) if number is not None]
    elif None not in values and all(key.strip() for key in labels) and None in keys:
        pairs = [(number, key.strip()) for key, number in zip(labels, values, strict=True) if number is not None]
    else:
        raise ValueError("expected a whole number for every name, such as {'0': 'background', '1': 'tumour'}")
    if twice := sorted({number for number, _ in pairs if [n for n, _ in pairs].count(number) > 1}):
        raise ValueError(f"the number {twice[0]} has two names; give it one")
    if large := [number for number, _ in pairs if abs(number) > LARGEST]:
        raise ValueError(f"the number {large[0]} is too large, expected at most {LARGEST}; write the labels with smaller ones")
    return sorted(pairs)


NOTHING = ("background", "bg", "clear", "clearlabel", "none", "nothing", "unlabelled", "unlabeled", "outside", "other", "empty", "label0")
"""What the number 0 may be called, for it to be background."""

IGNORED = ("ignore", "ignored", "ignorelabel", "void", "dontcare", "don'tcare", "donotcare", "unjudged", "notjudged")
"""What a number may be called that marks pixels nobody judged."""

VAGUE = ("unknown", "undefined", "unlabelled", "unlabeled", "unsure", "uncertain", "unclassified", "other?")
"""Names that may mean a structure, or pixels that nobody judged."""


def named_classes(
    about: dict,  # content of dataset.json
    path: Path,  # of that file, for the error
) -> tuple[tuple[str, ...], Codes]:
    """Names of the classes and what the numbers mean, from the 'labels' of a dataset.json; DataError where it does not say."""
    try:
        pairs = numbered_names(about.get("labels"))
    except ValueError as error:
        raise DataError(f"{path}: 'labels' is {str(about.get('labels'))[:200]}; {error}") from None
    pairs = [(number, f"label {number}" if whole_number(name) == number else " ".join(name.lower().split())) for number, name in pairs]
    ignore = tuple(number for number, name in pairs if meaning(name) in IGNORED)
    ground = [n for n, name in pairs if meaning(name) == "background" or (n == 0 and meaning(name) in NOTHING)]
    if not ground and (zero := dict(pairs).get(0)):
        raise DataError(f"{path}: calls 0 {zero!r} and nothing background; call the number of the background 'background'")
    if vague := next((name for n, name in pairs if n not in ground and meaning(name) in VAGUE), None):
        raise DataError(f"{path}: a number is called {vague!r}; call it 'ignore' where nobody judged, or by the structure's name")
    rest = [(number, name) for number, name in pairs if number not in (*ignore, *ground)]
    first = {meaning(name): name for _, name in reversed(rest)}
    names = list(dict.fromkeys(first[meaning(name)] for _, name in rest))
    if not 1 <= len(names) < 255:
        raise DataError(f"{path}: 'labels' names {len(names)} structures, expected 1 to 254; name what is outlined")
    codes = [(number, 1 + names.index(first[meaning(name)])) for number, name in rest]
    return ("background", *names), Codes((*((n, 0) for n in ground or [0]), *codes), ignore=ignore)


def found_files(
    folder: Path,  # a task, or a folder with images/ and labels/
    about: dict,  # its dataset.json, {} where there is none
    channel: int | str | None,  # number or name of the wanted channel
) -> Files:
    """What is there to be paired; DataError for files that cannot be told apart."""
    if about.get("training"):
        images, labels = entries(folder, about["training"], about.get("test"))
    else:
        images, found = side(folder, ("images", "imagesTr")), side(folder, ("labels", "labelsTr"))
        labels = by_name(found, folder, "label")
    try:
        channels = tuple(name for _, name in numbered_names(about.get("channel_names", about.get("modality"))))
    except ValueError:
        channels = ()
    index = read_index(folder / "index.csv") if (folder / "index.csv").is_file() else {}
    return Files(folder, by_name(images, folder, "image"), labels, index, channels, channel)


def picture_size(
    path: Path,  # of a PNG
) -> tuple[int, int]:  # pixels
    """Columns and rows of a picture, from its first bytes; DataError where it is none."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture ({error}); copy it again") from error


def volumes_of(
    pairs: list[Pair],  # images with their labels
    stacked: bool,  # pictures of one subject and size are the slices of one volume
) -> list[Volume]:
    """The volumes that these pairs make, sorted by name."""
    volumes: list[Volume] = []
    stacks: dict[tuple[str, tuple[int, int]], list[Pair]] = {}
    for one in pairs:
        if stacked and one.image.name.lower().endswith(".png"):
            stacks.setdefault((one.subject, picture_size(one.image)), []).append(one)
        else:
            volumes.append(Volume(one.name, one.subject, str(one.image), str(one.label or "")))
    several = len({who for who, _ in stacks}) < len(stacks)
    for (who, (w, h)), slices in stacks.items():
        name = f"{who}-{h}x{w}" if several else who
        files, labels = tuple(s.image.name for s in slices), tuple(s.label.name if s.label else "" for s in slices)
        outlined, drawn = tuple(map(bool, labels)), next((s.label.parent for s in slices if s.label), slices[0].image.parent)
        own = tuple(label or file for file, label in zip(files, labels, strict=True))
        volume = Volume(name, who, str(slices[0].image.parent), str(drawn), files=files, outlined=outlined)
        volumes.append(replace(volume, labels=() if own == files else own))
    return sorted(volumes, key=lambda volume: volume.name)


def label_paths(volume: Volume) -> list[Path]:
    """The label files of a volume."""
    drawn = [volume.label_path(k) for k, has in enumerate(volume.outlined) if has]
    return drawn or [Path(volume.label)] * bool(volume.label and not volume.files)


def discovered(
    place: Path,  # the folder, for errors
    volumes: list[Volume],  # whose label files are read
    most: int = 32,  # different numbers that a label map may hold
) -> tuple[tuple[str, ...], Codes]:
    """Classes and codes from the numbers that occur in the label files; DataError for a file that is no label map, or numbers that mean two things."""
    found: set[int] = set()
    for volume in volumes:
        for path in label_paths(volume):
            voxels = read_image(path, mask=True)[0]
            values = np.unique(voxels)
            if len(values) > most:
                example, todo = values[len(values) // 2], "is it a label map, and was it resampled with interpolation?"
                raise DataError(f"{path}: holds {len(values)} values such as {example:g}, expected a few whole numbers; {todo}")
            if path.suffix.lower() == ".png":
                check_edges(path, voxels[..., 0])
            found.update(int(value) for value in values)
    numbers = sorted(found - {0})
    check_numbers(place, numbers, 0 in found)
    codes = Codes(((0, 0), *((number, i + 1) for i, number in enumerate(numbers))))
    return ("background", *(f"label {number}" for number in numbers)), codes


def layout(
    folder: Path,  # a Decathlon task, or a folder with images/ and labels/
    channel: int | str | None = None,  # number or name of the channel to take, where a case has several
) -> tuple[tuple[str, ...], Codes, list[Volume]]:
    """Classes, codes and volumes of a folder; DataError where it contradicts itself or can be read in two ways."""
    path = folder / "dataset.json"
    about = read_json(path) if path.is_file() else {}
    pairs = pair(found_files(folder, about, channel))
    labelled = sum(one.label is not None for one in pairs)
    if (said := whole_number(about.get("numTraining"))) is not None and said not in (len(pairs), labelled):
        found = f"{len(pairs)} cases are here, {labelled} of them with a label"
        raise DataError(f"{path}: says 'numTraining' {said}, but {found}; add what is missing or correct it")
    volumes = volumes_of(pairs, stacked=not about.get("training"))
    check_palettes([path for volume in volumes for path in label_paths(volume)])
    return (*(named_classes(about, path) if "labels" in about else discovered(folder, volumes)), volumes)
