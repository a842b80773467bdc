"""Tables, JSON files and the words in them, read as spreadsheets and other programs write them."""

import codecs
import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .scans import DataError

YES = ("1", "true", "t", "yes", "y", "x", "on", "ja", "j", "wahr", "oui", "vrai", "si", "sí", "verdadero", "vero")
ABSENT = ("", "-", "--", ".", "?", "na", "n/a", "#n/a", "nan", "<na>", "nat", "none", "null", "nil", "unknown", "missing", "unbekannt")
"""What stands in a cell that says nothing."""

NO = ("0", "false", "f", "no", "n", "off", "nein", "falsch", "non", "faux", "falso")
LARGEST = 1 << 24  # whole numbers up to here are exact in the float32 that label files are read as


def meaning(name: str) -> str:
    """A name without what does not change whom or what it names: case, Unicode form, blanks, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", alike(name))


def alike(name: str) -> str:
    """A name without what the eye may miss, and some file systems do: case, width, Unicode form, unseen signs, blanks around it."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(sign for sign in folded if unicodedata.category(sign) != "Cf").strip()


def same_name(name: str) -> tuple[str | int, ...]:
    """What two spellings of one name have in common: its words, and its numbers without leading zeros."""
    parts = re.findall(r"\d+|[^\W\d_]+|[^\w\s.-]", alike(name))
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def text_of(path: Path) -> str:
    """The text of the file at `path`, in UTF-8 or UTF-16, with or without a byte order mark; ValueError for any other."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    zeros = [content[k:200:2].count(0) for k in (0, 1)]
    if max(zeros) > len(content[:200]) / 4:
        return content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le")
    return content.decode("utf-8-sig")


def once(pairs: list[tuple[str, Any]]) -> dict:
    """A JSON object of these `pairs` of key and value; ValueError where it says two things under one key."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"{key!r} is there twice, as {found[key]!r} and as {value!r}")
        found[key] = value
    return found


def read_json(
    path: Path,  # of the file
) -> dict:
    """The object in a JSON file; DataError where it cannot be read or holds something else."""
    try:
        found = json.loads(text_of(path), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); copy it again or correct it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds {type(found).__name__}, expected an object with 'labels'; correct it")
    return found


def whole_number(value: object) -> int | None:
    """The whole number that a JSON value is or spells, such as 2, 2.0, "2" or " 2.0 "; None for any other."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", str(value).strip())
    return int(found[1]) if found and len(found[1]) < 20 else None


def flag(value: object) -> bool | None:
    """Yes or no, where `value` is how a spreadsheet or a program writes it (the words of YES and NO, 1.0, 1,0, true); None for any other word."""
    word = alike(str(value))
    word = re.sub(r"^([01])[.,]0*$", r"\1", word)
    return True if word in YES else False if word in NO else None


def read_rows(
    path: Path,  # of a table with a line of headings
    needed: tuple[str, ...],  # headings that must be there
) -> list[tuple[int, dict[str, str]]]:
    """Number and cells by heading of every line of a table; commas, semicolons or tabs part them; DataError where it is none."""
    try:
        text = text_of(path)
        first, start = text.lstrip("\r\n").splitlines()[:1] or [""], 0
        if re.fullmatch(r'"?sep=.?"?', first[0].strip(), re.IGNORECASE):
            text, start = text.lstrip("\r\n").split("\n", 1)[-1], 1
        tables = [list(numbered(text, mark, start)) for mark in ",;\t"]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); save it as UTF-8") from error
    headings = [[alike(cell) for cell in table[0][1]] if table else [] for table in tables]
    found = next((k for k, names in enumerate(headings) if set(needed) <= set(names)), 0)
    names = headings[found]
    if not set(needed) <= set(names):
        raise DataError(f"{path}: has the columns {names}, expected at least {' and '.join(map(repr, needed))}; add them")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{path}: has the column {twice[0]!r} twice; remove one")
    rows = []
    for number, cells in tables[found][1:]:
        if any(cells[len(names) :]):
            raise DataError(f"{path}: line {number} has {len(cells)} cells, expected {len(names)}; put text with commas in quotes")
        rows.append((number, dict(zip(names, [*cells, *[""] * len(names)], strict=False))))
    return rows


def numbered(text: str, mark: str, start: int) -> Iterator[tuple[int, list[str]]]:
    """Numbers, counted from `start`, and stripped cells of the lines of a `text` that are not blank, cells parted by `mark`."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True, strict=False)
    for cells in lines:
        if any(cell.strip() for cell in cells):
            yield lines.line_num + start, [re.sub(r'^="(.*)"$', r"\1", cell.strip()) for cell in cells]
