"""Numbers in prose have a source: each Dice, time and size is computed here, or it is quoted, made up or a wish, and listed as such."""

import json
import math
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
from scipy.stats import t as student

from semicon_nb.names import COHORT_LINES
from semicon_nb.stages import PRESETS

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.relative_to(ROOT / "nbs").with_suffix("").as_posix(): path for path in sorted((ROOT / "nbs").rglob("*.ipynb"))}
PAGES = {name: path for name, path in PAGES.items() if not any(part.startswith((".", "_")) for part in Path(name).parts)}
MAKE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOLD = re.compile(
    r"(?<![\d.])0?\.\d{3,}\b|(?<![\d.])\d\d\.\d\d\b|\bDice (?:of )?0\.\d+"
    r"|\b(?:\d[\d.,]*|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty) (?:seconds?|minutes?|hours?|days?|kB|MB|GB)\b"
)
"""What has to have a source: a score of three digits, a score in points, a Dice, a time, a size."""


def prose(text: str) -> str:
    """Text without what tools/readme.py computes, code and addresses, a space for each break of a line."""
    text = re.sub(r"<!-- results:.*?<!-- end of results -->|^```.*?^```|\]\([^)]*\)", "", text, flags=re.M | re.S)
    return re.sub(r"\s+", " ", text)


@cache
def pages() -> dict[str, str]:
    """The prose of every page, of README and of CONTRIBUTING."""
    found = {f"{name}.md": prose((ROOT / f"{name}.md").read_text(encoding="utf-8")) for name in ("README", "CONTRIBUTING")}
    for name, path in PAGES.items():
        cells = nbformat.read(path, 4).cells
        found[name] = prose("\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    return found


def made(pattern: str) -> str:
    """What the Makefile promises."""
    found = re.search(pattern, MAKE)
    assert found, f"the Makefile no longer says {pattern}"
    return found[1]


def hours() -> str:
    """Half the hours of one thread of all grids that `make reproduce` runs by itself, in a word."""
    apart = ("thorough", "outlines", "longer")
    files = [path for path in (ROOT / "results").glob("*.jsonl") if not path.stem.endswith(apart)]
    rows = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    return {8: "eight", 9: "nine", 10: "ten"}[round(sum(row.get("processor_seconds") or row["seconds"] for row in rows) / 7200)]


def longer(data: str, preset: str) -> str:
    """What twice the steps of a preset bring with all labels on a cohort's validation people, in thousandths, rounded up to five."""
    lines = (ROOT / "benchmarks" / "results" / "budget.jsonl").read_text(encoding="utf-8").splitlines()
    own = [row for row in map(json.loads, lines) if (row["data"], row["recipe"]) == (data, "laptop")]
    found = {(row["steps"], row["split"]): row["validation"] for row in own}
    long = PRESETS[preset].stages["finetune"].steps
    gains = [found[2 * long, split] - dice for (steps, split), dice in found.items() if steps == long and (2 * long, split) in found]
    return f"{math.ceil(sum(gains) / len(gains) * 200) / 200:.3f}"


FACTS: dict[str, Callable[[], str]] = {
    r"(\d+ MB) are fetched": lambda: COHORT_LINES["hippocampus"].download,
    r"(\d+ to \d+ minutes) on two cores": lambda: made(r"demo/index.html \((\d+ to \d+ minutes)\)"),
    r"`make test` takes (about \d+ minutes on two cores)": lambda: made(r"test: .*\((about \d+ minutes on two cores)\)"),
    r"(\d\.\d GB) to download": lambda: made(r"(\d\.\d GB) to download"),
    r"`make reproduce` runs [^.]*? (\w+) hours on two cores": hours,
    r"in under (\d+ minutes) on two cores, and every night": lambda: made(r"torture.json \(under (\d+ minutes)\)"),
    r"twice as long brings less than (\d\.\d+)": lambda: longer("hippocampus", "thorough"),
    r"twice as many steps bring less than (\d\.\d+)": lambda: longer("sunnybrook", "laptop"),
    r"bfloat16 rounds by up to (\d\.\d+)": lambda: f"{torch.finfo(torch.bfloat16).eps / 4:.3f}",
    r"\$\\log 16 \\approx (\d\.\d+)\$": lambda: f"{math.log(16):.2f}",
    r"\$-\\log \\frac12 = (\d\.\d+)\$": lambda: f"{math.log(2):.2f}",
    r"`stats.t.ppf\(0.975, n - 1\)` is (\d\.\d+) for \$n = 4\$": lambda: f"{student.ppf(0.975, 3):.2f}",
    r"\*\*Play\*\*\\ (\d+ minute)\b": lambda: f"{round(minutes(PAGES['play/00_playground']))} minute",
    r"\*\*Learn\*\*\\ (\S+ hours)": lambda: {4: "2 hours", 5: "2½ hours", 6: "3 hours"}[math.ceil(sum(course().values()) / 30)],
    r"hours\. (\w+) pages explain": lambda: {12: "Twelve", 13: "Thirteen", 14: "Fourteen"}[len(course())],
    r"Four splits need (\d\.\d+)": lambda: f"{student.ppf(0.975, 3):.2f}",
    r"`thorough` has about (\w+) passes over the slices in the global stage": lambda: {11: "eleven"}[passes()],
    r"Hippocampi with (\d+) steps: no room": lambda: str(PRESETS["laptop"].stages["finetune"].steps),
    r"we asked with (\d+ steps of fine-tuning)": lambda: f"{PRESETS['laptop'].stages['finetune'].steps} steps of fine-tuning",
    r"the interval of five splits grows by ([\w ]+), and that of nine (\w+)": lambda: {(1.63, 2.0): ("two thirds", "doubles")}[wider()],
    r"twice the channels and (\d+) steps of fine-tuning": lambda: str(PRESETS["laptop"].stages["finetune"].steps),
}
"""What prose says of ourselves, wherever it says it, and where that comes from."""

GIVEN = {
    "the paper's table": ["hippocampus 0.824, 0.849, 0.866 at 5, 10, 20 %", "(MMWHS) 0.382, 0.553, 0.764"],
    "MACL's table": [
        "it reports 78.27 for",
        "75.91 for",
        "78.14 for",
        "78.13 for",
        "and 78.33 for",
        "83.48, 83.35, 83.63, 83.98 and 84.13",
    ],
    "nnFilterMatch's page": [".830 becomes .895, and .896"],
    "made up, in a question": ['A paper says "Dice 0.85"', "has a Dice per volume of 0.84", "a true difference of 0.015"],
    "a setting of Student's t": ["`stats.t.ppf(0.975, n - 1)`", "t_{0.975,"],
    "the limits that the torture sets": ["within 10 s and 1 GB", "under 4 GB, the large volume under 2; in time"],
    "another's machine": ["on a GPU of 80 GB", "has another card for ten minutes"],
    "measured once, by hand": ["up to 15 minutes", "2 GB of disk", "takes about 2 GB"],
    "a way of speaking": ["Ten minutes with a contact sheet", "A film of ten seconds"],
}
"""Phrases with numbers that are not ours, or no measurement, by what they are."""


def passes() -> int:
    """How often the global stage of `thorough` sees each slice of the people who train, at most."""
    rows = map(json.loads, (ROOT / "results" / "hippocampus-thorough.jsonl").read_text(encoding="utf-8").splitlines())
    slices = [row["outlines"] for row in rows if row["labels"] == 1.0]
    stage = PRESETS["thorough"].stages["global"]
    return round(stage.steps * stage.batch * len(slices) / sum(slices))


def wider() -> tuple[float, float]:
    """By how much the interval of five and of nine splits grows when one person is tested for three who train."""
    five, nine = (math.sqrt((1 / splits + 1 / 3) * splits) for splits in (5, 9))
    return round(five, 2), round(nine, 2)


def without_source(text: str) -> list[str]:
    """The numbers of a text that are no fact and not given, each with the words about it."""
    spans = [found.span() for pattern in FACTS for found in re.finditer(pattern, text)]
    spans += [found.span() for phrases in GIVEN.values() for phrase in phrases for found in re.finditer(re.escape(phrase), text)]
    stray = [one for one in TOLD.finditer(text) if not any(start <= one.start() and one.end() <= end for start, end in spans)]
    return [text[max(0, one.start() - 50) : one.end() + 30] for one in stray]


@pytest.mark.parametrize("page", [*PAGES, "README.md", "CONTRIBUTING.md"])
def test_numbers_in_prose_have_a_source(page):
    assert not (stray := without_source(pages()[page])), f"compute them, or add them to FACTS or GIVEN: {stray}"


@pytest.mark.parametrize("pattern", FACTS)
def test_what_prose_says_is_what_is_so(pattern):
    right = FACTS[pattern]()
    said = {name: found for name, text in pages().items() if (found := re.findall(pattern, text))}
    assert said, f"no page says it any longer: {pattern}"
    assert all(word == right for words in said.values() for word in words), f"found {said}, expected {right}"


def test_given_phrases_are_still_there():
    text = " ".join(pages().values())
    assert not (gone := [phrase for phrases in GIVEN.values() for phrase in phrases if phrase not in text]), f"take out of GIVEN: {gone}"


@pytest.mark.parametrize("wrong", ["a gain of 0.031 Dice", "it takes 7 minutes", "of 3 GB", "Dice 0.9", "says 81.25", "adds .012"])
def test_a_number_without_source_is_seen(wrong):
    assert len(without_source(f"As we know, {wrong}, always.")) == 1


def test_hearts_are_as_many_as_prose_says():
    folder = Path(os.environ.get("SEMICON_DATA", "")) / "sunnybrook"
    if "SEMICON_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("SEMICON_DATA has no sunnybrook")
    from semicon_nb.data import labelled_indices, part_indices, split
    from semicon_nb.data.cohorts import load

    cohort = load("sunnybrook", size=112)
    people = len(set(cohort.subject))
    training = len({cohort.subject[place] for place in part_indices(cohort, split(cohort, labelled=1.0, seed=0), "train")})
    said = pages()["course/12_is_it_true"]
    assert f"{len(cohort)} slices of the beating heart (cine MR) of {people} people. In {cohort.labelled.sum()} of them" in said
    assert f"Of the {training} people who train, 5 % is one person, with ten slices at most" in said
    few = [split(cohort, labelled=0.05, seed=seed) for seed in range(5)]
    assert {len(dealt.labelled) for dealt in few} == {1} and max(len(labelled_indices(cohort, dealt)) for dealt in few) == 10
    assert (cohort.labels > 0).sum() == (load("sunnybrook", size=256).labels > 0).sum(), "an outline is cut off"


def test_hippocampi_are_as_many_as_prose_says() -> None:
    folder = Path(os.environ.get("SEMICON_DATA", "")) / "Task04_Hippocampus"
    if "SEMICON_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("SEMICON_DATA has no hippocampi")
    from semicon_nb.data.cohorts import load

    cohort = load("hippocampus")
    rows = (ROOT / "results" / "hippocampus-thorough.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(row)["settings"]["fingerprint"] for row in rows} == {cohort.fingerprint}
    assert f"These runs had {len(cohort.volumes)} of the 260 volumes." in pages()["course/12_is_it_true"]


def minutes(path: Path) -> float:
    """Minutes to read a page: prose at 220 words a minute, code at 20 lines, exported code at 60, rows of tables at 40."""
    total = 0.0
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            total += len(re.findall(r"\w+", re.sub(r"<details.*?</details>|\]\(.*?\)|<[^>]+>", " ", cell.source, flags=re.S))) / 220
            continue
        if re.search(r"^#\|\s*(hide|echo: false|code-fold: true)\b", cell.source, re.M):
            lines = 0
        else:
            lines = len([line for line in cell.source.splitlines() if line.strip() and not line.startswith("#|")])
        total += lines / (60 if re.search(r"^#\|\s*exporti?\b", cell.source, re.M) else 20)
        total += sum(min(output.get("data", {}).get("text/html", "").count("<tr"), 40) for output in cell.outputs) / 40
    return total


def course() -> dict[str, float]:
    """The minutes of each page of the course."""
    return {name: minutes(path) for name, path in PAGES.items() if name.startswith("course/")}


def test_course_is_read_in_two_and_a_half_hours():
    found = course()
    first = sum(time for name, time in found.items() if name < "course/04_vectors")
    assert first <= 35, f"the first contrastive loss comes after {first:.1f} minutes"
    assert all(4 <= one <= 13 for one in found.values()), f"a page of the course takes 4 to 13 minutes: {found}"
    assert sum(found.values()) <= 150
    assert sum(minutes(path) for path in PAGES.values()) <= 330


def test_the_method_that_the_guide_names_is_ahead_in_the_results():
    """The guide on own scans says which method was ahead of training from scratch, and which was not."""
    from semicon_nb.tables import by_split, judge, read_results, verdicts

    said = " ".join((ROOT / "nbs/guides/01_your_data.ipynb").read_text(encoding="utf-8").split())
    assert "no difference to training from scratch could be measured. `mean-teacher`" in said
    assert "was ahead with the same steps, but not of training from scratch that takes at least as long and averages its weights" in said
    found = verdicts(read_results(ROOT / "results/hippocampus-thorough.jsonl"), [("mean-teacher", "scratch"), ("global+local(exact)", "scratch")])
    assert [*found[found["labels"] == 0.05]["verdict"]] == ["holds", "cannot tell"]
    scores = [by_split(read_results(ROOT / f"results/hippocampus-{name}.jsonl")) for name in ("thorough", "longer")]
    gains = scores[0].loc[(0.05, "mean-teacher")] - scores[1].loc[(0.05, "scratch averaged")]
    assert judge(gains, None) == "cannot tell" and gains.notna().sum() == 5
