"""Which image is whose, which label belongs to it, and which of its channels is taken; what is ambiguous is refused."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .scans import DataError
from .words import ABSENT, alike, flag, meaning, read_rows, same_name, whole_number

SUFFIXES = (".nii.gz", ".nii", ".png")
CHANNEL = re.compile(r"(.+)_([0-9]{4})")  # nnU-Net's: case_0000, case_0001, ...
OTHERS = (".nrrd", ".mha", ".mhd", ".mgz", ".img", ".dcm", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".npy", ".npz")


@dataclass(frozen=True)
class Line:
    """What index.csv says of a file."""

    number: int  # of the line
    subject: str  # whose it is
    labelled: bool | None = None  # whether a complete outline exists; None where it does not say


@dataclass(frozen=True)
class Pair:
    """An image, its label and whose they are."""

    name: str  # of the case
    subject: str  # the person
    image: Path  # the file
    label: Path | None  # the file; None where there is no complete outline


@dataclass(frozen=True)
class Files:
    """What is there to be paired, and what is said of it."""

    place: Path  # the folder, for errors
    images: dict[str, Path]  # by `alike` name without ending
    labels: dict[str, Path]  # the same
    index: dict[str, Line] = field(default_factory=dict)  # by `alike` file name
    channels: tuple[str, ...] = ()  # names of the channels, where dataset.json says them
    channel: int | str | None = None  # which one is wanted


def stem(name: str) -> str:
    """A file's name without folder and ending."""
    base = Path(name).name
    return next((base[: -len(suffix)] for suffix in SUFFIXES if base.lower().endswith(suffix)), base)


def by_name(
    paths: Sequence[Path],  # files that can be read
    place: Path,  # the folder, for errors
    kind: str,  # "image" or "label"
) -> dict[str, Path]:
    """Files by their name without ending; DataError for two that cannot be told apart by it."""
    found: dict[str, Path] = {}
    for path in paths:
        before = found.setdefault(alike(stem(path.name)), path)
        if before == path and before is not path:
            raise DataError(f"{place}: two volumes are called {stem(path.name)}, since {path.name} is listed twice; remove one entry")
        if before is not path:
            names = f"{before.name} and {path.name}" if before.name != path.name else f"{before} and {path}"
            raise DataError(f"{place}: two {kind}s are called {stem(path.name)}, {names}; rename or remove one")
    return found


def located(
    path: Path,  # as dataset.json names it
    numbered: bool,  # whether files that add a channel's number to the name count too
) -> list[Path]:
    """The file of this name, or the one that differs only in case or Unicode form, or its channels; FileNotFoundError where there is none."""
    if path.is_file():
        return [path]
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    found = [one for one in beside if alike(one.name) == alike(path.name)]
    if len(found) > 1:
        raise DataError(f"{path}: may be {found[0].name} or {found[1].name}; correct dataset.json or remove one")
    if not found and numbered:
        numbers = [CHANNEL.fullmatch(alike(stem(one.name))) for one in beside]
        found = [one for one, number in zip(beside, numbers, strict=True) if number and number[1] == alike(stem(path.name))]
    if not found:
        raise FileNotFoundError(f"{path}: there is no such file, but dataset.json names it; add it or correct dataset.json")
    return found


def entries(
    folder: Path,  # of the task
    training: object,  # the list in its dataset.json
    test: object = None,  # the list of images that are kept for a test, if it has one
) -> tuple[list[Path], dict[str, Path]]:  # images; labels by the `alike` name of the image, or of the case whose channels share one
    """Images and labels that a dataset.json lists; DataError for an entry without an image, or a label that is given to two cases."""
    if not isinstance(training, list):
        raise DataError(f"{folder / 'dataset.json'}: 'training' is {type(training).__name__}, expected a list of image and label; correct it")
    images: list[Path] = []
    of_label: dict[Path, list[str]] = {}
    for entry in training:
        image, label = (entry.get(name) if isinstance(entry, dict) else None for name in ("image", "label"))
        said = flag(entry["labelled"]) if isinstance(entry, dict) and "labelled" in entry else bool(label)
        if not (image and isinstance(image, str) and isinstance(label or "", str)) or said is None or (said and not label):
            expected = "{'image': path, 'label': path}"
            raise DataError(f"{folder / 'dataset.json'}: 'training' holds {entry!r}, expected {expected}; correct it")
        found = located(folder / image.strip().replace("\\", "/"), numbered=True)
        images += found
        if said and isinstance(label, str):
            outline = located(folder / label.strip().replace("\\", "/"), numbered=False)[0]
            of_label.setdefault(outline, []).extend(alike(stem(path.name)) for path in found)
    labels = {}
    for outline, names in of_label.items():
        cases = {match[1] if (match := CHANNEL.fullmatch(name)) else name for name in names}
        if len(names) > 1 and len(cases) > 1:
            raise DataError(f"{folder / 'dataset.json'}: gives the label {outline.name} to {names[0]} and {names[1]}; correct it")
        labels[names[0] if len(names) == 1 else cases.pop()] = outline
    check_entries(folder, {alike(stem(path.name)): path for path in images}, labels, test)
    return images, labels


def check_entries(
    folder: Path,  # of the task, for the error
    images: dict[str, Path],  # by `alike` name without ending
    labels: dict[str, Path],  # by the name of the image
    test: object,  # the list of test images in its dataset.json
) -> None:
    """DataError where a list gives one case the label of another, or a case is in two lists."""
    for name, label in labels.items():
        other = images.get(own := alike(stem(label.name)))
        if other is not None and own != name and name in images:
            raise DataError(f"{folder / 'dataset.json'}: gives {images[name].name} the label of {other.name}, {label.name}; correct it")
    for entry in test if isinstance(test, list) else ():
        word = entry.get("image") if isinstance(entry, dict) else entry
        if isinstance(word, str) and (twice := images.get(alike(stem(word.replace("\\", "/"))))) is not None:
            raise DataError(f"{folder / 'dataset.json'}: lists {twice.name} under 'training' and under 'test'; leave it in one")


def side(
    folder: Path,  # that holds images and labels
    names: tuple[str, ...],  # subfolders that may hold them
) -> list[Path]:
    """The files of the one of these subfolders that is there, sorted; DataError for both, or for a file of a kind that is not read."""
    there = [folder / name for name in names if (folder / name).is_dir()]
    if len(there) > 1:
        raise DataError(f"{folder}: holds both {' and '.join(path.name for path in there)}; keep one")
    found = sorted(path for path in there[0].iterdir() if not path.name.startswith(".")) if there else []
    read = [path for path in found if path.name.lower().endswith(SUFFIXES)]
    known = {stem(path.name) for path in read}
    for path in found:
        if path.is_dir() and any(one.name.lower().endswith((*SUFFIXES, *OTHERS)) for one in path.iterdir()):
            raise DataError(f"{path}: holds images in a folder of its own; move them into {there[0].name}, each with a name of its own")
        if path.suffix.lower() in OTHERS and path.name[: -len(path.suffix)] not in known:
            raise DataError(f"{path}: is of a kind that is not read; save it as .nii.gz or .png, or take it out of the folder")
    return read


def read_index(
    path: Path,  # of index.csv
) -> dict[str, Line]:  # by `alike` file name
    """What an index.csv says of every file; DataError where a line is incomplete, or contradicts another."""
    rows = read_rows(path, ("file", "subject"))
    headings = list(rows[0][1]) if rows else []
    if not rows:
        raise DataError(f"{path}: has no line under its headings; name each file and its subject")
    column = next((name for name in headings if name in ("labelled", "labeled")), None)
    check_columns(path, [row for _, row in rows], [name for name in headings if name not in ("file", "subject", column)])
    ticked = column is not None and {alike(row[column]) for _, row in rows} == {"x", ""}
    found: dict[str, Line] = {}
    for number, row in rows:
        if not row["file"] or alike(row["subject"]) in ABSENT or row["subject"].startswith("#"):
            found_words = f" (subject {row['subject']!r})" * bool(row["subject"])
            raise DataError(f"{path}: line {number} has no file or no subject{found_words}; complete it")
        if re.fullmatch(r"[0-9][.,]?[0-9]*[eE][+][0-9]+", row["subject"]):
            todo = "write its cells as text"
            raise DataError(f"{path}: line {number}: the subject {row['subject']!r} is a number that a spreadsheet has rounded; {todo}")
        said = None if column is None else flag(row[column] or "no" * ticked)
        if column is not None and said is None:
            raise DataError(f"{path}: line {number}, {row['file']}: 'labelled' is {row[column]!r}, expected yes or no, 1 or 0; correct it")
        if (key := alike(row["file"])) in found:
            raise DataError(f"{path}: lines {found[key].number} and {number} both are about {row['file']}; remove one")
        found[key] = Line(number, spelled(row["subject"]), said)
    same_people(path, found)
    return found


MARK = r"annotated|segmented|outlined|contoured|mask(ed)?|ground ?truth|gt|(is|has) ?(annotat|segment|outline|mask|gt)"
"""How a column may be called that says what 'labelled' does."""


def check_columns(
    path: Path,  # of index.csv, for the error
    rows: list[dict[str, str]],  # its cells by heading
    others: list[str],  # headings that are not read
) -> None:
    """DataError for a column that says whose a label is, or whether there is one, in words that are not read."""
    for name in others:
        cells = {alike(row[name]) for row in rows} - {""}
        flags = cells and all(flag(cell) is not None for cell in cells) and re.match(MARK, name.replace("_", " "))
        if re.match("label|(is|has)label", meaning(name)) or flags:
            raise DataError(f"{path}: has the column {name!r}, expected 'labelled' (yes or no); rename or remove it")
        told = [(row["file"], row[name]) for row in rows if row[name].lower().endswith(SUFFIXES)]
        if cross := [f"{file} and {other}" for file, other in told if alike(stem(file)) != alike(stem(other))]:
            todo = "give both files of a case one name, then remove the column"
            raise DataError(f"{path}: has the column {name!r}, which is not read, and puts {cross[0]} together; {todo}")


def spelled(subject: str) -> str:
    """A subject's name; a number as a number, where a spreadsheet made 7.0 of 7."""
    found = re.fullmatch(r"([0-9]+)[.,]0+", subject)
    return found[1] if found else subject


def same_people(
    path: Path,  # of index.csv, for the error
    lines: dict[str, Line],  # by file
) -> None:
    """DataError for two spellings of what may be one person, who would be in two parts of a split."""
    spelling: dict[tuple[str | int, ...], Line] = {}
    for line in lines.values():
        before = spelling.setdefault(same_name(line.subject), line)
        if before.subject != line.subject:
            both = f"{before.subject!r} in line {before.number}, {line.subject!r} in line {line.number}"
            raise DataError(f"{path}: two spellings of what may be one subject, {both}; write both alike, or make them differ more")


def channel_number(files: Files) -> int | None:
    """The number of the wanted channel; DataError for a name that dataset.json does not give."""
    if files.channel is None or (number := whole_number(files.channel)) is not None:
        return None if files.channel is None else number
    names = [meaning(name) for name in files.channels]
    if names.count(meaning(str(files.channel))) != 1:
        known = f"one of {', '.join(files.channels)}" if names else "its number, since dataset.json has no 'channel_names'"
        raise DataError(f"{files.place}: has no channel {files.channel!r}, expected {known}; correct channel")
    return names.index(meaning(str(files.channel)))


def are_channels(
    files: Files,  # to be paired
    cases: dict[str, dict[int, Path]],  # name of the case -> its images by number
) -> bool:
    """Whether the numbers at the end of the images' names count channels of a case; DataError where nobody can tell."""
    if files.channel is not None or any(case in files.labels for case in cases):
        return True
    several = [images for images in cases.values() if len(images) > 1]
    if not several:
        return all(list(images) == [0] for images in cases.values())
    one_case, from_zero = len(cases) == 1, any(0 in images for images in cases.values())
    if len(files.channels) < 2 and (files.index or one_case or not from_zero):
        return False
    one, other = (path.name for path in list(several[0].values())[:2])
    todo = "choose one channel (channel=0, --channel 0), or say in index.csv whose each file is"
    raise DataError(f"{files.place}: {one} and {other} may be two channels of one case, or two cases; {todo}")


def chosen_images(files: Files) -> dict[str, tuple[Path, set[str]]]:
    """Image by name of the case, and the names that its label may have; DataError for a case with more than one channel."""
    cases: dict[str, dict[int, Path]] = {}
    for key, path in files.images.items():
        if found := CHANNEL.fullmatch(key):
            cases.setdefault(found[1], {})[int(found[2])] = path
    wanted = channel_number(files)
    if not cases:
        if wanted:
            raise DataError(f"{files.place}: has one image a case, so there is no channel {files.channel!r}; leave channel out")
        return {key: (path, {key, f"{key}_0000"}) for key, path in files.images.items()}
    if not are_channels(files, cases):
        return {key: (path, {key}) for key, path in files.images.items()}
    chosen = {key: (path, {key}) for key, path in files.images.items() if not CHANNEL.fullmatch(key)}
    if wanted is None:
        wanted = only_channel(files, cases)
    for case, images in cases.items():
        if wanted not in images:
            there = ", ".join(path.name for path in images.values())
            raise DataError(f"{files.place}: the case {case} has no channel {wanted:04d}, only {there}; add it or remove the case")
        if case in chosen:
            names = f"{chosen[case][0].name} and {images[wanted].name}"
            raise DataError(f"{files.place}: two images are of the case {case}, {names}; rename or remove one")
        chosen[case] = images[wanted], {case, *(f"{case}_{number:04d}" for number in images)}
    return chosen


def only_channel(
    files: Files,  # to be paired
    cases: dict[str, dict[int, Path]],  # name of the case -> its images by channel
) -> int:
    """The one channel that all cases have; DataError where they have several, or one each but not the same."""
    numbers = sorted({number for images in cases.values() for number in images})
    if len(numbers) > 1:
        names = [f"{n} ({files.channels[n]})" if n < len(files.channels) else str(n) for n in numbers]
        most = max(cases.values(), key=len)
        example = " and ".join(path.name for path in list(most.values())[:2] or []) if len(most) > 1 else "one each, but not the same"
        todo = f"choose one, such as channel={numbers[0]} (--channel {numbers[0]})"
        raise DataError(f"{files.place}: its cases have the channels {', '.join(names)} ({example}), expected one; {todo}")
    return numbers[0]


def label_of(
    files: Files,  # to be paired
    image: Path,  # of the case
    names: set[str],  # that its label may have
) -> Path | None:
    """The label of an image, None where there is none; DataError for two, or for one of another kind."""
    own, keys = alike(stem(image.name)), sorted(name for name in names if name in files.labels)
    if len(keys) > 1 and not (own in keys and all(CHANNEL.fullmatch(key) for key in keys)):
        both = " and ".join(files.labels[key].name for key in keys[:2])
        raise DataError(f"{files.place}: two labels are for {image.name}, {both}; remove one")
    label = files.labels[own if own in keys else keys[0]] if keys else None
    if label is not None and label.name.lower().endswith(".png") != image.name.lower().endswith(".png"):
        raise DataError(f"{label}: is of another kind of file than its image {image.name}; save both as .nii.gz or both as .png")
    return label


def pair(files: Files) -> list[Pair]:
    """Every case with its image, its label and its subject; DataError for what is ambiguous, left over or contradicts index.csv."""
    if not files.images:
        raise DataError(f"{files.place}: holds no .nii, .nii.gz or .png file in images/; expected images/ and labels/ or a dataset.json")
    chosen = chosen_images(files)
    used = {name for _, names in chosen.values() for name in names}
    if lonely := sorted(set(files.labels) - used):
        todo = "add the image or remove the label"
        raise DataError(f"{files.place}: the label {files.labels[lonely[0]].name} has no image of that name; {todo}")
    check_index(files, [image for image, _ in chosen.values()])
    pairs = []
    for key, (image, names) in chosen.items():
        whole = unicodedata.normalize("NFC", stem(image.name))
        name = whole if alike(whole) == key else whole[: -len("_0000")]
        line = files.index.get(alike(image.name), Line(0, participant(name)))
        label = label_of(files, image, names)
        if line.labelled and label is None:
            todo = "add it or write no"
            raise DataError(f"{files.place / 'index.csv'}: line {line.number} says that {image.name} is labelled, but it has no label; {todo}")
        pairs.append(Pair(name, line.subject, image, None if line.labelled is False else label))
    return sorted(pairs, key=lambda one: one.name)


def participant(name: str) -> str:
    """Whose a file of this name is where no index.csv says it: the `sub-` of a name as in BIDS, else the name."""
    found = re.match(r"(sub-[A-Za-z0-9]+)_ses-", name)
    return found[1] if found else name


def check_index(
    files: Files,  # to be paired
    chosen: Sequence[Path],  # images that are taken
) -> None:
    """DataError where an index.csv does not list what is there."""
    if not files.index:
        return
    path, there = files.place / "index.csv", {alike(image.name) for image in files.images.values()}
    if missing := sorted(set(files.index) - there):
        raise DataError(f"{path}: names {missing[0]}, which is no image here; add the file or remove the line")
    if extra := sorted(image.name for image in chosen if alike(image.name) not in files.index):
        raise DataError(f"{path}: does not name {extra[0]}, which is among the images; add a line for it or remove the file")
