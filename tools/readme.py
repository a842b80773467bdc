"""Write README.md from the index page, and the paragraph on results from results/*.jsonl.

python tools/readme.py [--check]
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat

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
    """What the finished runs say, in the words of the page on results; without runs, that there are none."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    runs = [run for run in map(json.loads, lines) if "pooled_dice" in run]
    if not runs:
        return "No finished run of the grid is stored in `results/` yet."
    table = ["| Data | Labels | Method | Pooled Dice | Volume Dice | Runs |", "|:--|--:|:--|--:|--:|--:|"]
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        groups.setdefault((str(run["data"]), float(run["labels"]), str(run["method"])), []).append(run)
    for (data, labels, method), found in sorted(groups.items()):
        means = [sum(run[kind] for run in found) / len(found) for kind in ("pooled_dice", "volume_dice")]
        table.append(f"| {data} | {labels:.0%} | {method} | {means[0]:.3f} | {means[1]:.3f} | {len(found)} |")
    return "Means over the splits, on subjects that no stage has seen, computed from `results/*.jsonl`:\n\n" + "\n".join(table)


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
