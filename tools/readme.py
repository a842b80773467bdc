"""Write README.md from the index page, and the paragraph on results from results/*.jsonl.

python tools/readme.py [--check]
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "nbs" / "index.ipynb"
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
    text = text.replace("](nbs/contributing.qmd)", "](CONTRIBUTING.md)")
    return re.sub(r" +$", "", text, flags=re.M) + "\n"


def summary(folder: Path) -> str:
    """What the finished runs say: one table for the experiment with the most of them, and the others by name."""
    from semicon_nb.methods import METHODS
    from semicon_nb.tables import as_markdown, interval, plus_minus, read_results, verdicts
    from semicon_nb.tables import summary as means

    if not any(path.stat().st_size for path in folder.glob("*.jsonl") if not path.name.endswith(".failed.jsonl")):
        return "No finished run of the grid is stored in `results/` yet."
    runs = read_results(folder)
    counts = runs["experiment"].value_counts()
    main = runs[(runs["experiment"] == counts.index[0]) & runs["method"].isin(list(METHODS))]
    scores = means(main)
    cells = [plus_minus(row["mean"], row["half"]) for _, row in scores.iterrows()]
    table = pd.Series(cells, index=scores.index).unstack("labels", fill_value="")
    table = table.reindex([name for name in METHODS if name in table.index])
    table = table[sorted(table.columns)]
    table.columns = [f"{100 * fraction:g} %" for fraction in table.columns]
    fewest = min(main["labels"])
    claims = [(name, "scratch") for name in table.index if name != "scratch"]
    found = verdicts(main[main["labels"] == fewest], claims)
    above, below = (found.loc[found["verdict"] == word, "claim"].str.removesuffix(" > scratch").tolist() for word in ("holds", "reversed"))
    said = [f"`{name}`" for name in above]
    shown = main[main["split"].isin(main.loc[main["method"] == "scratch", "split"])]
    seconds = interval(shown["seconds"])[0]
    lines = [
        f"Pooled Dice ({counts.index[0]} preset) on people that no stage has seen, by the labelled share of the training volumes; "
        f"mean and 95 % interval over up to {int(scores['splits'].max())} splits by person, {len(shown)} runs of {seconds / 60:.0f} minutes:",
        "",
        as_markdown(table),
        "",
        f"At {100 * fewest:g} %, with the differences taken on the same people, {', '.join(said) if said else 'no method'} "
        f"{'lie' if len(said) > 1 else 'lies'} above training from scratch with an interval that leaves zero out"
        + (f", and {', '.join(f'`{name}`' for name in below)} below it" if below else "")
        + f".{strongest(main, fewest)} [Is it true?](explanations/06_is_it_true.ipynb) goes through the paper's claims one by one.",
    ]
    return "\n".join(lines)


def strongest(runs: pd.DataFrame, fraction: float) -> str:
    """How the recipe of this package stands against the strongest baseline of the same cost, where both were run."""
    from semicon_nb.tables import plus_minus, verdicts

    found = verdicts(runs[runs["labels"] == fraction], [("best", "scratch(strong)")])
    if found.empty:
        return ""
    row = found.iloc[0]
    said = {"holds": "with zero left out", "reversed": "the wrong way", "cannot tell": "which cannot tell"}[row["verdict"]]
    gain = plus_minus(row["difference"], row["half"], signed=True)
    return f" `best` against `scratch(strong)`, its equal in cost, on {row['splits']} splits: {gain}, {said}."


def main() -> int:
    """Write both files, or with --check say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where something is out of date")
    check = parser.parse_args().check
    book = nbformat.read(INDEX, 4)
    stale = []
    for cell in book.cells:
        filled = BETWEEN.sub(lambda found: found[1] + summary(ROOT / "results") + found[2], cell.source)
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
