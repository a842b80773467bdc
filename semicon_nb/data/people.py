"""Whose a file is where no index.csv says it: the name may say it, say that two files are of one person, or leave it open."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from .reading import DataError, fold

__all__ = ()


@dataclass(frozen=True)
class Pair:
    """An image, its label and whose they are."""

    name: str  # of the case
    subject: str  # the person
    image: Path  # the file
    label: Path | None  # the file; None where there is no complete outline


def participant(name: str, image: Path) -> str:
    """Whose a case of this name is where no index.csv says it: the `sub-` of a name, or of a folder, as in BIDS, else the name."""
    words = (name, *reversed(image.parent.parts))
    return next((found[0] for word in words if (found := re.match(r"sub-[^_]+", word, re.IGNORECASE))), name)


# what is refused ------------------------------------------------------------------------------------------------------
_PARTICIPANT = re.compile(r"sub-[^_]+?(?=_|$|[ .-](?:ses|run|acq|rec|dir|echo|task|scan|slice|visit))")
"""Whose a file of a folded name may be, wherever the `sub-` of BIDS stands in it, and whatever parts it from the rest."""


def check_people(place: Path, pairs: Sequence[Pair]) -> None:
    """DataError where names alone do not say who is who: two spellings of one `sub-`, one inside of other names, or parts of one scan."""
    todo = "name the files alike, or say in index.csv (file, subject) whose each file is"
    named = [one for one in pairs if fold(one.subject).startswith("sub-")]
    check_spelling(place, [(one.subject, one.image.name) for one in named], todo)
    known: dict[str, Pair] = {}
    for one in pairs:
        if (found := _PARTICIPANT.search(fold(one.name))) and (before := known.setdefault(found[0], one)).subject != one.subject:
            both = f"{before.image.name} and {one.image.name} may be of one subject, {found[0]}"
            raise DataError(f"{place}: {both}, or of two; begin both names with {found[0]}_, or write an index.csv (file, subject)")
    for one, other, who in (several for several, sure in _marked(pairs) if sure):
        both = f"{one.image.name} and {other.image.name} are of one person by their names"
        raise DataError(f"{place}: {both}, but each file would count as a person of its own; {_index_words(one, who)}")


def check_spelling(path: Path, people: Sequence[tuple[str, str]], todo: str) -> None:
    """DataError for two spellings of what may be one person, who would be in two parts of a split.

    `people` are subjects, and where each is named.
    """
    known: dict[tuple[str | int, ...], tuple[str, str]] = {}
    for subject, where in people:
        parts = re.findall(r"\d+|[^\W\d_]+|[^\w\s.-]", fold(subject))  # words, numbers without leading zeros
        key = tuple(int(part) if part.isdecimal() else part for part in parts)
        if (before := known.setdefault(key, (subject, where)))[0] != subject:
            both = f"{before[0]!r} in {before[1]}, {subject!r} in {where}"
            raise DataError(f"{path}: two spellings of what may be one subject, {both}; {todo}")


def _index_words(one: Pair, who: str) -> str:
    """What to write so that a file is that person's."""
    return f"write an index.csv with the line file,subject and a line for each file, such as {one.image.name},{who or 'PERSON'}"


_APART = r"(?:[_. -]+)"
"""What parts the words of a name."""

_COUNTED = "ses|sess|session|frame|fr|slice|slc|time|timepoint|tp|phase|visit|echo|day|week|month|z|t"
"""What a scan, or a person's scans, are counted by."""

_HALVES = "left|right|t1|t2"
"""What is told and not refused where no more than these stand apart: organs that share no pixel, or contrasts, whose equal outlines are refused."""

_SIDES = f"ed|es|pre|post|baseline|followup|[234]ch|sa|la|t1w|t1n|t1c|t1ce|t1gd|t2w|t2f|flair|pdw?|dwi|adc|{_HALVES}"
"""What tells the phases, sides, views and contrasts of one person's scans apart."""

_MARK = re.compile(
    rf"(?P<head>.*?)(?:(?:^|{_APART})(?P<word>{_COUNTED}){_APART}?(?P<number>\d+)|(?<=\d)(?P<glued>frame|slice|phase|visit)(?P<count>\d+)|"
    rf"{_APART}(?P<side>{_SIDES}))(?P<rest>(?:{_APART}.*)?)"
)
"""A folded name with the first of these words in it."""


_Several = tuple[Pair, Pair, str]
"""Two cases that may be of one person, and what that one is called, "" where the names do not say it."""


def _marked(pairs: Sequence[Pair]) -> list[tuple[_Several, bool]]:
    """Cases that differ in what counts a person's scans, and whether it is sure that what comes before says whose they are; sure ones first."""
    found: dict[tuple[str, str], dict[str, Pair]] = defaultdict(dict)
    for one in pairs:
        if one.subject == one.name and (mark := _MARK.fullmatch(fold(one.name))):
            rest = mark["rest"] if re.search(r"\d", mark["rest"]) and not _MARK.fullmatch(mark["rest"]) else ""
            value = mark["side"] or (mark["word"] or mark["glued"]) + (mark["number"] or mark["count"])
            found[mark["head"], rest].setdefault(value + mark["rest"] * (not rest), one)
    several = {who: cases for who, cases in found.items() if len(cases) > 1}
    ahead = sum(bool(head) and not rest for head, rest in several)
    told: list[tuple[_Several, bool]] = []
    for (head, rest), cases in several.items():
        whose = bool(re.search(r"\d", head)) or (bool(head) and not rest and ahead > 1)
        halves = all(re.match(rf"(?:{_HALVES})(?![^\W_])", value) for value in cases)
        one, other, *_ = cases.values()
        told.append(((one, other, one.name[: len(head)] if whose else rest.strip("_. -")), whose and not halves))
    return sorted(told, key=lambda case: not case[1])


# what is told ---------------------------------------------------------------------------------------------------------
_OTHERS = "case|subj|subject|sub|pat|patient|pt|p|person|participant|volunteer|id"
"""What people, and not the scans of one, are counted by."""

_GROUPS = r"(?:site|cent(?:er|re)|hospital|scanner|vendor|fold|batch|set|dataset|group|cohort|part|train|test|val)[_. -]*\d+|(?:19|20)\d\d"
"""What holds several people."""

_SERIAL = re.compile(rf"(?P<head>.*\d.*?){_APART}(?P<word>[a-z]{{0,12}}){_APART}?(?P<number>\d{{1,6}})")
"""A folded name that ends in a number of its own, after what has a number too."""


def people_left_open(pairs: Sequence[Pair]) -> list[str]:
    """A sentence where two cases, which count as two people, may be of one by their names."""
    alone = [one for one in pairs if one.subject == one.name]
    for one, other, who in chain((several for several, _ in _marked(alone)), _extended(alone), _serial(alone)):
        what = f"{one.image.name} and {other.image.name} may be of one person, but each file counts as a person of its own"
        return [f"{what}, so that one can be in training and the other in the test; if they are of one, {_index_words(one, who)}"]
    return []


def _extended(pairs: Sequence[Pair]) -> Iterator[_Several]:
    """Two cases, one of which is called as the other, which has a number, and more."""
    known = {fold(one.name): one for one in pairs}
    for name, one in known.items():
        for cut in re.finditer(r"[_. -]", name):
            start = name[: cut.start()]
            if start in known and re.search(r"\d", start):
                yield known[start], one, known[start].name


def _serial(pairs: Sequence[Pair]) -> Iterator[_Several]:
    """Two cases that have all but the last number in common, where others have other numbers before the same last ones."""
    ends = {re.sub(r".*\d", "", fold(one.name)) for one in pairs}
    end = ends.pop() if len(ends) == 1 else ""
    kinds: dict[tuple[str, str], dict[str, dict[str, Pair]]] = defaultdict(lambda: defaultdict(dict))
    for one in pairs:
        mark = _SERIAL.fullmatch(fold(one.name).removesuffix(end))
        if mark and not re.fullmatch(_OTHERS, mark["word"]) and not re.fullmatch(rf"(?:.*{_APART})?(?:{_GROUPS})", mark["head"]):
            kinds[re.sub(r"\d+", "#", mark["head"]), mark["word"]][mark["head"]][mark["number"]] = one
    for heads in kinds.values():
        several = [(head, list(cases.values())) for head, cases in heads.items() if len(cases) > 1]
        count, different = sum(map(len, heads.values())), len({number for cases in heads.values() for number in cases})
        if len(heads) > 1 and several and count >= 1.1 * different:
            head, (one, other, *_) = several[0]
            yield one, other, one.name[: len(head)]
