"""Which image is whose, which label belongs to it, and which of its channels is taken; what is ambiguous is refused."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .people import Pair, check_people, check_spelling, participant
from .reading import ABSENT, DataError, fold, meaning, read_rows, whole_number, yes_or_no

__all__ = ()

_SUFFIXES = (".nii.gz", ".nii", ".png")
_OTHERS = (".nrrd", ".mha", ".mhd", ".mgz", ".mnc", ".img", ".dcm", ".dicom", ".ima", ".jpg", ".jpeg", ".jp2", ".tif", ".tiff",
           ".bmp", ".gif", ".webp", ".npy", ".npz", ".h5", ".hdf5", ".bz2", ".xz", ".zst", ".mgh", ".nhdr", ".gipl", ".img.gz",
           ".mnc.gz", ".nii.zip")  # fmt: skip
_CHANNEL = re.compile(r"(.+)_([0-9]{4})")  # nnU-Net's: case_0000, case_0001, ...


@dataclass(frozen=True)
class Line:
    """What index.csv says of a file."""

    number: int  # of the line
    subject: str  # whose it is
    labelled: bool | None = None  # whether a complete outline exists; None where it does not say


@dataclass(frozen=True)
class Files:
    """What is there to be paired, and what is said of it."""

    place: Path  # the folder, for errors
    images: dict[str, Path]  # by folded name without ending
    labels: dict[str, Path]  # the same
    index: dict[str, Line] = field(default_factory=dict)  # by folded file name
    channels: tuple[str, ...] = ()  # names of the channels, where dataset.json says them
    channel: int | str | None = None  # which one is wanted


def pair(files: Files) -> list[Pair]:
    """Every case with its image, label and subject; DataError for what is ambiguous, left over or against index.csv."""
    if not files.images:
        todo = "put the scans into images/ and their label maps, named alike, into labels/, or add a dataset.json"
        raise DataError(f"{files.place}: holds no .nii, .nii.gz or .png file in images/; {todo}")
    _check_masks(files)
    chosen = _choose_images(files)
    used = {name for _, names in chosen.values() for name in names}
    if lonely := sorted(set(files.labels) - used):
        todo = "name both alike, add the image or remove the label"
        raise DataError(f"{files.place}: the label {files.labels[lonely[0]].name} has no image of that name; {todo}")
    _check_index(files, [image for image, _ in chosen.values()])
    pairs = sorted((_pair_of(files, key, image, names) for key, (image, names) in chosen.items()), key=lambda one: one.name)
    if not files.index:
        check_people(files.place, pairs)
    return pairs


def _pair_of(files: Files, key: str, image: Path, names: set[str]) -> Pair:
    """The pair of an image, the case of which is called `key`, and its label, which has one of `names`."""
    whole = unicodedata.normalize("NFC", _stem(image.name))
    name = whole if fold(whole) == key else whole[: -len("_0000")]
    line = files.index.get(fold(image.name), Line(0, participant(name, image.relative_to(files.place))))
    label = _label_of(files, image, names)
    if line.labelled and label is None:
        said = f"line {line.number} says that {image.name} is labelled, but it has no label"
        raise DataError(f"{files.place / 'index.csv'}: {said}; add it or write no")
    return Pair(name, line.subject, image, None if line.labelled is False else label)


def _label_of(files: Files, image: Path, names: set[str]) -> Path | None:
    """The label of an image, which has one of `names`, or None; DataError for two, or for one of another kind."""
    own, keys = fold(_stem(image.name)), sorted(name for name in names if name in files.labels)
    if len(keys) > 1 and not (own in keys and all(_CHANNEL.fullmatch(key) for key in keys)):
        both = " and ".join(files.labels[key].name for key in keys[:2])
        raise DataError(f"{files.place}: two labels are for {image.name}, {both}; remove one")
    label = files.labels[own if own in keys else keys[0]] if keys else None
    if label is not None and label.name.lower().endswith(".png") != image.name.lower().endswith(".png"):
        todo = "save both as .nii.gz or both as .png"
        raise DataError(f"{label}: is of another kind of file than its image {image.name}; {todo}")
    return label


_MASK = "label(?:s|ed|map)?|lbl|mask|msk|seg(?:mentation|mented|s)?|gt|ground[_-]?truth|annotations?|annotated|contours?|outlines?|manual"
"""What stands before or after the name of a case in that of its label file."""


def _check_masks(files: Files) -> None:
    """DataError for an image that is called as another is, but for a word that says that it is its label."""
    cases: dict[str, str] = {}
    for key, path in sorted(files.images.items(), reverse=True):
        case = found[1] if (found := _CHANNEL.fullmatch(key)) else key
        number, word = re.sub(r"^[^\W\d_]+[_. -]*(?=\d)", "", case), re.sub(r"[_. -]+[^\W_]*[^\W\d_][^\W_]*$", "", case)  # img0012, case_1_t1
        cases |= {name: path.name for name in (case, number, word) if not re.fullmatch(rf".*[_. -](?:{_MASK})|(?:{_MASK}).*", case)}
    for key, path in sorted(files.images.items()):
        found = re.fullmatch(rf"(.+?)[_. -]+(?:{_MASK})(?:[_. -]*\d)?|(?:{_MASK})[_. -]*(?=\d)(.+)", key)
        if found and (whose := cases.get(found[1] or found[2])):
            todo = f"move it into labels/ under the name of its image ({whose}), or take it out of the folder"
            raise DataError(f"{path}: lies among the images, but by its name it is the label of {whose}; {todo}")


# names of files -------------------------------------------------------------------------------------------------------
def _stem(name: str) -> str:
    """A file's name without folder and ending."""
    base = Path(name).name
    return next((base[: -len(suffix)] for suffix in _SUFFIXES if base.lower().endswith(suffix)), base)


def channel_of(name: str) -> int | None:
    """The number of a channel at the end of a file's name, such as 1 of case_0001.nii.gz; None where there is none."""
    found = _CHANNEL.fullmatch(_stem(name))
    return int(found[2]) if found else None


def by_stem(paths: Sequence[Path], place: Path, kind: str) -> dict[str, Path]:
    """Files by their folded name without ending; DataError for two of a `kind` that cannot be told apart by it."""
    found: dict[str, Path] = {}
    for path in paths:
        before, name = found.setdefault(fold(_stem(path.name)), path), _stem(path.name)
        if before == path and before is not path:
            todo = f"since {path.name} is listed twice; remove one entry"
            raise DataError(f"{place}: two volumes are called {name}, {todo}")
        if before is not path:
            names = f"{before.name} and {path.name}" if before.name != path.name else f"{before} and {path}"
            raise DataError(f"{place}: two {kind}s are called {name}, {names}; rename or remove one")
    return found


def list_files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The files of the one subfolder of these `names` that is there, sorted.

    DataError where both are, for a file of a kind that is not read, or where they lie in a folder that is called almost so.
    """
    there = [folder / name for name in names if (folder / name).is_dir()]
    if len(there) > 1:
        raise DataError(f"{folder}: holds both {' and '.join(path.name for path in there)}; keep one")
    found = sorted(path for path in there[0].iterdir() if not path.name.startswith(".")) if there else []
    read = [path for path in found if path.name.lower().endswith(_SUFFIXES)]
    known = {_stem(path.name) for path in read}
    for path in found:
        if _holds_images(path):
            todo = f"move them into {there[0].name}, each with a name of its own"
            raise DataError(f"{path}: holds images in a folder of its own; {todo}")
        if path.name.lower().endswith(_OTHERS) and path.name[: -len(path.suffix)] not in known:
            todo = "save it as .nii.gz or .png, or take it out of the folder"
            raise DataError(f"{path}: is of a kind that is not read; {todo}")
    if not read and (near := _near_folders(folder, names)):
        todo = f"rename it to {names[0]}, or take it out of the folder"
        other = f"but a folder {near[0].relative_to(folder)}"
        raise DataError(f"{folder}: holds no {names[0]} with files of {' or '.join(_SUFFIXES)}, {other}; {todo}")
    return read


_NEAR = {
    "images": "images?(tr)?|ima?gs?(tr)?|scans?|pictures?|volumes?|(raw)?data|inputs?",
    "labels": "labels?(tr)?|lbls?|labelmaps?|label(images?|volumes?)|(gt|seg|manual)?masks?|gts?|groundtruths?|segs?|segmentations?"
    "|annotations?|outlines?|contours?|targets?|truths?",
}
"""What a folder may be called, without blanks and hyphens, that holds what the program looks for in another."""


def _near_folders(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders in this one or its `derivatives`, none of these `names`, that may hold what is looked for in one of them."""
    beside = [path for path in sorted(folder.iterdir()) if path.name not in names] + sorted(folder.glob("[Dd]erivatives/*"))
    return [path for path in beside if re.fullmatch(_NEAR.get(names[0], ""), meaning(path.name)) and _holds_images(path)]


def _holds_images(path: Path) -> bool:
    """Whether this is a folder with images or masks of any kind in it, however deep."""
    return path.is_dir() and any(one.name.lower().endswith((*_SUFFIXES, *_OTHERS)) for one in path.rglob("*"))


# the list in a dataset.json -------------------------------------------------------------------------------------------
def read_training(folder: Path, training: object, test: object = None) -> tuple[list[Path], dict[str, Path]]:
    """Images, and labels by the folded name of the image (or of the case whose channels share one), of two lists.

    DataError for an entry without an image, or a label that is given to two cases.
    """
    about = folder / "dataset.json"
    if not isinstance(training, list):
        found = type(training).__name__
        raise DataError(f"{about}: 'training' is {found}, expected a list of image and label; correct it")
    images: list[Path] = []
    of_label: dict[Path, list[str]] = {}
    for entry in training:
        image, label = _entry(entry, about)
        found_images = _locate_file(folder / image, numbered=True)
        images += found_images
        if label:
            outline = _locate_file(folder / label, numbered=False)[0]
            of_label.setdefault(outline, []).extend(fold(_stem(path.name)) for path in found_images)
    labels = {}
    for outline, names in of_label.items():
        cases = {match[1] if (match := _CHANNEL.fullmatch(name)) else name for name in names}
        if len(names) > 1 and len(cases) > 1:
            raise DataError(f"{about}: gives the label {outline.name} to {names[0]} and {names[1]}; correct it")
        labels[names[0] if len(names) == 1 else cases.pop()] = outline
    _check_lists(about, {fold(_stem(path.name)): path for path in images}, labels, test)
    return images, labels


def _entry(entry: object, about: Path) -> tuple[str, str]:
    """Names of the image and of the label, "" where there is no complete one, in an entry of a list."""
    image, label = (entry.get(name) if isinstance(entry, dict) else None for name in ("image", "label"))
    said = yes_or_no(entry["labelled"]) if isinstance(entry, dict) and "labelled" in entry else bool(label)
    texts = isinstance(image, str) and isinstance(label or "", str) and len(f"{image}{label}") < 1000
    if not (image and texts) or said is None or (said and not label):
        raise DataError(f"{about}: 'training' holds {repr(entry)[:200]}, expected {{'image': path, 'label': path}}; correct it")
    names = [name.strip().replace("\\", "/") for name in (image, str(label) if said else "")]
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{about}: names {name[:200]}, outside of its folder; move the file there and correct the entry")
    return names[0], names[1]


def _locate_file(path: Path, numbered: bool) -> list[Path]:
    """The file at `path`, or the one that differs only in case or Unicode form, or, if `numbered`, its channels.

    FileNotFoundError where there is none.
    """
    if path.is_file():
        return [path]
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    found = [one for one in beside if fold(one.name) == fold(path.name)]
    if len(found) > 1:
        raise DataError(f"{path}: may be {found[0].name} or {found[1].name}; correct dataset.json or remove one")
    if not found and numbered:
        numbers = [_CHANNEL.fullmatch(fold(_stem(one.name))) for one in beside]
        case = fold(_stem(path.name))
        found = [one for one, number in zip(beside, numbers, strict=True) if number and number[1] == case]
    if not found:
        todo = "add it or correct dataset.json"
        raise FileNotFoundError(f"{path}: there is no such file, but dataset.json names it; {todo}")
    return found


def _check_lists(about: Path, images: dict[str, Path], labels: dict[str, Path], test: object) -> None:
    """DataError where a dataset.json gives a case the label of another, or has a case in its `test` list too."""
    for name, label in labels.items():
        other = images.get(own := fold(_stem(label.name)))
        if other is not None and own != name and name in images:
            raise DataError(f"{about}: gives {images[name].name} the label of {other.name}, {label.name}; correct it")
    for entry in test if isinstance(test, list) else ():
        word = entry.get("image") if isinstance(entry, dict) else entry
        if isinstance(word, str) and (twice := images.get(fold(_stem(word.replace("\\", "/"))))) is not None:
            raise DataError(f"{about}: lists {twice.name} under 'training' and under 'test'; leave it in one")


# index.csv ------------------------------------------------------------------------------------------------------------
def read_index(path: Path) -> dict[str, Line]:
    """What an index.csv says, by folded file name; DataError where a line is incomplete, or contradicts another."""
    rows = read_rows(path, ("file", "subject"))
    if not rows:
        raise DataError(f"{path}: has no line under its headings; name each file and its subject")
    headings = list(rows[0][1])
    column = next((name for name in headings if name in ("labelled", "labeled")), None)
    others = [name for name in headings if name not in ("file", "subject", column)]
    _check_columns(path, [row for _, row in rows], others)
    ticked = column is not None and {fold(row[column]) for _, row in rows} == {"x", ""}
    found: dict[str, Line] = {}
    for number, row in rows:
        line = Line(number, _subject(path, number, row), _labelled(path, number, row, column, ticked))
        if (key := fold(row["file"])) in found:
            raise DataError(f"{path}: lines {found[key].number} and {number} both are about {row['file']}; remove one")
        found[key] = line
    people = [(line.subject, f"line {line.number}") for line in found.values()]
    check_spelling(path, people, "write both alike, or make them differ more")
    return found


def _subject(path: Path, number: int, row: dict[str, str]) -> str:
    """Whose a line of index.csv says a file is; a number as a number, where a spreadsheet made 7.0 of 7."""
    subject = row["subject"]
    if not row["file"] or fold(subject) in ABSENT or subject.startswith("#"):
        words = f" (subject {subject!r})" * bool(subject)
        raise DataError(f"{path}: line {number} has no file or no subject{words}; complete it")
    if re.fullmatch(r"[0-9][.,]?[0-9]*[eE][+][0-9]+", subject):
        found = f"the subject {subject!r} is a number that a spreadsheet has rounded"
        raise DataError(f"{path}: line {number}: {found}; write its cells as text")
    whole = re.fullmatch(r"([0-9]+)[.,]0+", subject)
    return whole[1] if whole else subject


def _labelled(path: Path, number: int, row: dict[str, str], column: str | None, ticked: bool) -> bool | None:
    """Whether a line says that a file is labelled; None without a `column` for it. If `ticked`, nothing means no."""
    if column is None:
        return None
    if (said := yes_or_no(row[column] or "no" * ticked)) is None:
        found = f"'labelled' is {row[column]!r}, expected yes or no, 1 or 0"
        raise DataError(f"{path}: line {number}, {row['file']}: {found}; correct it")
    return said


_MARK = r"annotated|segmented|outlined|contoured|mask(ed)?|ground ?truth|gt|(is|has) ?(annotat|segment|outline|mask|gt)"
"""How a column may be called that says what 'labelled' does."""


def _check_columns(path: Path, rows: list[dict[str, str]], others: list[str]) -> None:
    """DataError for a column, one of the `others`, that says of labels in words that are not read what counts."""
    for name in others:
        cells = {fold(row[name]) for row in rows} - {""}
        flags = cells and all(yes_or_no(cell) is not None for cell in cells) and re.match(_MARK, name.replace("_", " "))
        if re.match("label|(is|has)label", meaning(name)) or flags:
            raise DataError(f"{path}: has the column {name!r}, expected 'labelled' (yes or no); rename or remove it")
        told = [(row["file"], row[name]) for row in rows if row[name].lower().endswith(_SUFFIXES)]
        if cross := [f"{file} and {other}" for file, other in told if fold(_stem(file)) != fold(_stem(other))]:
            todo = "give both files of a case one name, then remove the column"
            raise DataError(f"{path}: has the column {name!r}, which is not read, and puts {cross[0]} together; {todo}")


def _check_index(files: Files, chosen: Sequence[Path]) -> None:
    """DataError where an index.csv does not list what is there: the `chosen` images."""
    if not files.index:
        return
    path, there = files.place / "index.csv", {fold(image.name) for image in files.images.values()}
    if missing := sorted(set(files.index) - there):
        meant = files.images.get(fold(_stem(missing[0].replace("\\", "/"))))
        todo = f"write {meant.name}" if meant else "add the file or remove the line"
        raise DataError(f"{path}: names {missing[0][:60]}, which is no image here; {todo}")
    if extra := sorted(image.name for image in chosen if fold(image.name) not in files.index):
        todo = "add a line for it or remove the file"
        raise DataError(f"{path}: does not name {extra[0]}, which is among the images; {todo}")


# channels -------------------------------------------------------------------------------------------------------------
def _choose_images(files: Files) -> dict[str, tuple[Path, set[str]]]:
    """Image by name of the case, and the names that its label may have; DataError for a case with several channels."""
    cases: dict[str, dict[int, Path]] = {}
    for key, path in files.images.items():
        if found := _CHANNEL.fullmatch(key):
            cases.setdefault(found[1], {})[int(found[2])] = path
    wanted = _channel_number(files)
    if not cases:
        if wanted:
            found_words = f"has one image a case, so there is no channel {files.channel!r}"
            raise DataError(f"{files.place}: {found_words}; leave channel out")
        return {key: (path, {key, f"{key}_0000"}) for key, path in files.images.items()}
    if not _are_channels(files, cases):
        return {key: (path, {key}) for key, path in files.images.items()}
    chosen = {key: (path, {key}) for key, path in files.images.items() if not _CHANNEL.fullmatch(key)}
    if wanted is None:
        wanted = _only_channel(files, cases)
    for case, images in cases.items():
        if wanted not in images:
            there = ", ".join(path.name for path in images.values())
            found_words = f"the case {case} has no channel {wanted:04d}, only {there}"
            raise DataError(f"{files.place}: {found_words}; add it or remove the case")
        if case in chosen:
            names = f"{chosen[case][0].name} and {images[wanted].name}"
            raise DataError(f"{files.place}: two images are of the case {case}, {names}; rename or remove one")
        chosen[case] = images[wanted], {case, *(f"{case}_{number:04d}" for number in images)}
    return chosen


def _channel_number(files: Files) -> int | None:
    """The number of the wanted channel; DataError for a name that dataset.json does not give."""
    if files.channel is None or (number := whole_number(files.channel)) is not None:
        return None if files.channel is None else number
    names = [meaning(name) for name in files.channels]
    if names.count(meaning(str(files.channel))) != 1:
        numbered = "its number, since dataset.json has no 'channel_names'"
        known = f"one of {', '.join(files.channels)}" if names else numbered
        raise DataError(f"{files.place}: has no channel {files.channel!r}, expected {known}; correct channel")
    return names.index(meaning(str(files.channel)))


def _are_channels(files: Files, cases: dict[str, dict[int, Path]]) -> bool:
    """Whether numbers at the end of names count channels; DataError where nobody can tell.

    `cases` holds the images of each case by their number.
    """
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


def _only_channel(files: Files, cases: dict[str, dict[int, Path]]) -> int:
    """The one channel that all `cases` have; DataError where they have several, or one each but not the same."""
    numbers = sorted({number for images in cases.values() for number in images})
    if len(numbers) > 1:
        names = [f"{n} ({files.channels[n]})" if n < len(files.channels) else str(n) for n in numbers]
        most = [path.name for path in max(cases.values(), key=len).values()]
        example = " and ".join(most[:2]) if len(most) > 1 else "one each, but not the same"
        todo = f"choose one, such as channel={numbers[0]} (--channel {numbers[0]})"
        found = f"its cases have the channels {', '.join(names)} ({example})"
        raise DataError(f"{files.place}: {found}, expected one; {todo}")
    return numbers[0]
