"""Write README.md from the index page, and the paragraph on results from results/*.jsonl.

python tools/readme.py [--check]
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "nbs" / "index.ipynb"
SITE = "https://semicon-nb.github.io/semicon_nb"  # what is built only there
BETWEEN = re.compile(r"(<!-- results: [^>]*-->\n).*?(\n<!-- end of results -->)", re.S)


def readme(book: nbformat.NotebookNode) -> str:
    """The index page as Markdown for the repository's front page; links lead to the pages' files."""
    parts = []
    for cell in book.cells:
        if re.search(r"^#\|\s*hide\b", cell.source, re.M):
            continue
        source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
        if cell.cell_type == "markdown":
            parts.append(re.sub(r"\{#[\w-]+\}$", "", source, flags=re.M).rstrip())
        elif cell.cell_type == "code" and source:
            parts.append(f"```python\n{source}\n```")
    text = "\n\n".join(parts).replace("\n```\n\n```python\n", "\n\n")
    text = re.sub(r"\]\((?!https?:|#|mailto:)([^)]+)\)", r"](nbs/\1)", text)
    text = text.replace("](nbs/contributing.qmd)", "](CONTRIBUTING.md)").replace("](nbs/explorers/", f"]({SITE}/explorers/")
    return re.sub(r" +$", "", text, flags=re.M) + "\n"


ROWS = {
    "scratch": ("fine-tuning alone", ""),
    "global": ("first learn to tell scans apart, without outlines", "scratch"),
    "local(block)": ("first let the pixels of one label attract each other", "scratch"),
    "global+local(block)": ("first both, one after the other: the paper's method", "scratch"),
    "self-training": ("let the network label scans without outlines, and learn from these labels", "scratch"),
    "mean-teacher": ("agree on scans without outlines with the running average of its own weights", "scratch"),
    "best": ("add local contrast, scans without outlines and averaged predictions", "scratch(strong)"),
}
"""The rows that the front page shows: what each does, and what it is measured against."""
PAPER = ("global", "local(block)", "global+local(block)")
"""Those of the paper."""
SAID = {
    "holds": "is beaten by",
    "reversed": "beats",
    "cannot tell": "shows no clear difference to",
    "no room to tell": "leaves no room for a difference to",
}


ALT = "The Dice that each way brought over training from scratch with 5 % of the outlines, with its interval. The numbers stand above each line."


def finding(folder: Path) -> str:
    """What the finished runs say: in a sentence, in a figure, and folded below it the tables of both budgets."""
    from semicon_nb.tables import read_records, read_results

    if not any(path.stat().st_size for path in folder.glob("*.jsonl") if not path.name.endswith(".failed.jsonl")):
        return "No finished run of the grid is stored in `results/` yet."
    records = read_records(folder)
    runs = read_results(records).assign(training=[training_seconds(record) for record in records])
    usual = runs[runs["experiment"] == runs["experiment"].value_counts().index[0]]
    thorough = runs[runs["experiment"] == "hippocampus, thorough"]
    if thorough.query("method == 'global+local(block)' and labels < 1")["split"].nunique() < 2:
        return "\n\n".join(about(usual))
    (said, table), (short, other) = about(thorough), about(usual)
    besides = f"\n{as_long(runs)}{spreading(runs)}{on_hearts(runs)}"
    below = f"The same with 500 steps, where there was no room to tell{longer(usual)}:\n\n{short}\n\n{other}"
    folded = f"<details><summary>The numbers</summary>\n\n{table}\n\n{below}\n\n</details>"
    return f"{said}{besides}\n\n![{ALT}](images/finding.svg)\n\n{folded}"


def training_seconds(record: dict) -> float:
    """How long the stages of a run trained, without its scoring; nan where it does not say."""
    trained = (record.get("settings") or {}).get("trained") or {}
    return sum(stage["seconds"] for stage in trained.values()) if trained else float("nan")


def longer(runs: pd.DataFrame) -> str:
    """Which methods of a table fine-tune for more steps than training from scratch, in words; nothing where none does or nobody knows."""
    steps = runs.groupby("method")["steps"].max()
    more = [f"`{name}` {steps[name]:,.0f}" for name in ("best", "scratch(strong)") if steps.get(name, 0) > steps.get("scratch", np.inf)]
    return f"; the last row has more steps ({', '.join(more)}) and its own headroom" if more else ""


CLEAR = {
    "holds": "a clear gain",
    "reversed": "a clear loss",
    "cannot tell": "no clear difference",
    "no room to tell": "no answer, since the room itself is not clear",
}


def as_long(runs: pd.DataFrame, method: str = "mean-teacher") -> str:
    """How a method stands to training from scratch that takes as long or longer and averages its weights, too; nothing where that was not run."""
    from semicon_nb.tables import by_split, interval, judge, plus_minus

    thorough, longer = (runs[runs["experiment"] == f"hippocampus, thorough{more}"] for more in ("", " x 2.5"))
    if longer.query("method == 'scratch averaged'")["split"].nunique() < 2:
        return ""
    gains = by_split(thorough).loc[(0.05, method)] - by_split(longer).loc[(0.05, "scratch averaged")]
    mean, half, splits = interval(gains)
    gain = plus_minus(mean, half, signed=True)
    fair = "Give training from scratch that average and 2.5 times the steps, and"
    lead = f"\n- The steps of `{method}` take longer, and it predicts with a running average of its weights."
    where = machines(thorough.query("method == @method"), longer.query("method == 'scratch averaged'"))
    return f"{lead} {fair} `{method}` brings {gain} over it: {CLEAR[judge(gains, None)]} ({splits} splits{where})."


def machines(*sides: pd.DataFrame) -> str:
    """How the two sides of a difference at 5 % were trained otherwise, in words; nothing where they were not, or nobody knows."""
    known = [side.query("labels == 0.05").dropna(subset=["precision", "device"]) for side in sides]
    said = {"device": "one side trained on a GPU and the other on a CPU", "precision": "one side trained with 32-bit numbers and the other with 16-bit ones"}
    apart = [words for column, words in said.items() if len({frozenset(side[column]) for side in known if len(side)}) > 1]
    return f"; {apart[0]}" if apart else ""


def spreading(runs: pd.DataFrame) -> str:
    """What it brings to spread as many outlines over every scan; nothing where it was not run."""
    from semicon_nb.tables import by_split, interval, plus_minus

    spread = runs[runs["experiment"] == "hippocampus, thorough, outlines spread: slices"]
    if not len(spread):
        return ""
    scores = [by_split(part).loc[(0.05, "scratch")] for part in (spread, runs[runs["experiment"] == "hippocampus, thorough"])]
    gain = plus_minus(*interval(scores[0] - scores[1])[:2], signed=True)
    return f"\n- The same number of outlines brings {gain} more if they lie on one or two slices of every scan, and not on all slices of six scans."


def on_hearts(runs: pd.DataFrame) -> str:
    """What the paper's method and its rivals brought on hearts, where one person's outlines must do; nothing where that was not run."""
    from semicon_nb.tables import plus_minus, verdicts

    few = runs[runs["experiment"] == "sunnybrook (size 112), laptop"]
    named = {"global+local(block)": "the paper's method", "mean-teacher": "`mean-teacher`", "self-training": "`self-training`"}
    found = verdicts(few, [(method, "scratch") for method in named]).query("labels == 0.05 and splits > 1") if len(few) else few
    if not len(found):
        return ""
    room = plus_minus(*found.iloc[0][["headroom", "headroom_half"]], signed=True)
    said = []
    for word, rows in found.groupby("verdict", sort=False):
        gains = [plus_minus(row["difference"], row["half"], signed=True) for _, row in rows.iterrows()]
        methods = [claim.split(" > ")[0] for claim in rows["claim"]]
        names, apart = [named[method] for method in methods], [machines(*(few[few["method"] == one] for one in (method, "scratch"))) for method in methods]
        gains = [f"{gain} ({words[2:]})" if words else gain for gain, words in zip(gains, apart, strict=True)]
        each = re.sub(", (?=[^,]*$)", " and ", ", ".join(f"{name} {gain}" for name, gain in zip(names, gains, strict=True)))
        said.append(f"{each.replace(names[0], f'{names[0]} brings', 1)}: {CLEAR[word]}")
    lead = f"\n- On hearts, where one person of the 18 who train is outlined, outlining everything brings {room}"
    return f"{lead}. There {'; '.join(said)} ({found['splits'].min()} splits)."


def about(runs: pd.DataFrame) -> tuple[str, str]:
    """What the runs of one experiment say: a sentence, and the table that it rests on."""
    from semicon_nb.tables import verdicts

    share = min(runs[runs["method"] == PAPER[-1]]["labels"])
    few = runs[runs["labels"] == share]
    found = verdicts(runs, [(method, rival) for method, (_, rival) in ROWS.items() if rival])
    found = found[found["labels"] == share]
    found.index = pd.Index([claim.split(" > ")[0] for claim in found["claim"]])
    sentence = f"On real hippocampi, {pretrained(found.loc[[name for name in PAPER if name in found.index]])}"
    sentence += (f"; {recipe(found.loc['best'], few)}" if "best" in found.index else "") + "." + ahead(found.drop([*PAPER, "best"], errors="ignore"))
    said = f"With {100 * few['labels'].iloc[0]:g} % of the outlines and the {few['preset'].iloc[0]} preset: mean and 95 % interval over splits by person. "
    said += "Pooled Dice is the overlap with the true outlines over all pixels of the test, 0 to 1. Differences are taken on the same people. The headroom is "
    said += "what all outlines bring to training from scratch"
    if "best" in found.index:
        said += "; for `best`, what they bring to `scratch(strong)`. The Dice of `best` is taken over the splits that every method has"
    said += ". *Holds*: the interval lies above zero, and there was room."
    return f"**{sentence}**", f"{rows(few, found)}\n\n{said}"


def pretrained(found: pd.DataFrame) -> str:
    """Which of the paper's pretrainings lie above training from scratch, which below, by their verdicts, and the headroom."""
    from semicon_nb.tables import plus_minus

    named = {word: ", ".join(f"`{method}`" for method in found.index[found["verdict"] == word]) for word in SAID}
    said = "training from scratch " + " and ".join(f"{SAID[word]} {names}" for word, names in named.items() if names)
    room = plus_minus(*found.iloc[0][["headroom", "headroom_half"]], signed=True)
    few = f"{100 * found['labels'].iloc[0]:g} %"
    if set(found["verdict"]) == {"cannot tell"}:
        gain = plus_minus(*found.iloc[-1][["difference", "half"]], signed=True)
        brought = f"the paper's pre-training, shortened to fit a laptop, brought nothing that could be measured ({gain} Dice with {few} of the outlines)"
        if not room:
            return "the paper's pre-training cannot be judged: everything outlined was not run"
        return f"{brought}, though there was room: outlining everything brings {room}"
    if set(found["verdict"]) == {"no room to tell"}:
        return f"training from scratch is hardly better with all outlines than with {few} of them ({room} Dice), so a gain could hardly be seen"
    share = f"all outlines instead of {few} of them"
    return f"{said}: {share} bring it {room} Dice" if room else f"{said}: it was not run with {share}"


def ahead(found: pd.DataFrame) -> str:
    """Which of today's rivals lie clearly above training from scratch, in a sentence each; nothing where none does."""
    from semicon_nb.tables import plus_minus

    won = found[found["verdict"] == "holds"]
    gains = {name: plus_minus(row["difference"], row["half"], signed=True) for name, row in won.iterrows()}
    how = "which learns from the scans without outlines during fine-tuning"
    return "".join(f" `{name}`, {how}, brought {gain} with the same number of steps, though costlier ones." for name, gain in gains.items())


def recipe(row: pd.Series, few: pd.DataFrame) -> str:
    """What this package's recipe adds to the strongest baseline, and how much longer it takes."""
    from semicon_nb.tables import by_split, plus_minus

    gain = plus_minus(row["difference"], row["half"], signed=True)
    said = {"holds": f"adds {gain}", "reversed": f"loses {gain}", "cannot tell": f"adds nothing that can be measured ({gain})"}
    said["no room to tell"] = f"had no room to add anything that can be measured ({gain})"
    clock = by_split(few, "training").droplevel("labels")
    took = (clock.loc["best"] / clock.loc["scratch(strong)"]).median() if {"best", "scratch(strong)"} <= set(clock.index) else np.nan
    times = f", whose training takes {took:.2f} times as long in the median," * bool(np.isfinite(took))
    return f"`best`, this package's recipe{times or ','} {said[row['verdict']]} to `scratch(strong)`, training from scratch that is longer and averages, too"


def rows(few: pd.DataFrame, found: pd.DataFrame) -> str:
    """The chosen methods with their scores, and their differences on the same people."""
    from semicon_nb.tables import as_markdown, plus_minus, summary

    scores, table = summary(few).droplevel("labels"), {}
    for method, (words, rival) in ((method, row) for method, row in ROWS.items() if method == "scratch" or method in found.index):
        cells = {"what it does": words, "pooled Dice": plus_minus(scores.loc[method, "mean"], scores.loc[method, "half"])}
        if rival:
            gain = found.loc[method]
            against = f"to `{rival}`, {gain['splits']} splits"
            cells["difference"] = f"{plus_minus(gain['difference'], gain['half'], signed=True)} {against}"
            cells["headroom"] = plus_minus(gain["headroom"], gain["headroom_half"], signed=True)
            cells["verdict"] = gain["verdict"]
        table[method] = cells
    return as_markdown(pd.DataFrame(table).T.fillna(""))


def main() -> int:
    """Write both files, or with --check say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where something is out of date")
    check = parser.parse_args().check
    book = nbformat.read(INDEX, 4)
    stale = []
    for cell in book.cells:
        filled = BETWEEN.sub(lambda found: found[1] + finding(ROOT / "results") + found[2], cell.source)
        if filled != cell.source:
            stale.append(INDEX)
            cell.source = filled
    text = readme(book)
    path = ROOT / "README.md"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        stale.append(path)
    if check:
        for name in stale:
            print(f"{name.relative_to(ROOT)} is out of date: run `make export`")
        return int(bool(stale))
    if INDEX in stale:
        nbformat.write(book, INDEX)
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
