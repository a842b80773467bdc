"""Write nbs/images/finding.svg, the figure of the front page, from results/: what each way to spend effort brought.

python tools/finding.py [--check]
"""

import statistics
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "nbs" / "images" / "finding.svg"
EFFORTS = {
    "global+local(block)": "the paper's three stages, same outlines",
    "self-training": "the network's own labels, same outlines",
    "mean-teacher": "its own average as a teacher, same outlines",
}
"""Methods that are measured against training from scratch with the same steps, in words."""
FEW, EXPERIMENT = 0.05, "hippocampus, thorough"
GROUND, INK, FAINT, DOTS = "#0d1821", "#e8eef2", "#8fa3b0", ("#a78bfa", "#c9bf3a")  # violet: another method; olive: other outlines
WIDE, ROW, LEFT, RIGHT, TOP = 340, 66, 12, 12, 58  # as narrow as a telephone shows it, so its letters stay 13 pixels high there


def brought() -> list[tuple[str, float, float, int]]:
    """Words, mean gain in pooled Dice over training from scratch with few whole scans, half of its interval, and splits."""
    from semicon_nb.tables import by_split, interval, read_results

    runs = read_results(ROOT / "results")
    scores = by_split(runs[runs["experiment"] == EXPERIMENT])
    base, found = scores.loc[(FEW, "scratch")], {}
    for method, words in EFFORTS.items():
        if (FEW, method) in scores.index:
            found[words] = scores.loc[(FEW, method)] - base
    spread = runs[runs["experiment"] == f"{EXPERIMENT}, outlines spread: slices"]
    if len(spread):
        found["same number of outlines, some of every scan"] = by_split(spread).loc[(FEW, "scratch")] - base
    found[f"everything outlined, {times_the_scans():.0f} times the scans"] = scores.loc[(1.0, "scratch")] - base
    return [(words, *interval(gains)) for words, gains in found.items()]


def times_the_scans() -> float:
    """How many times as many scans were outlined with all labels as with few, by the scans that the runs name."""
    from semicon_nb.records import experiments_of
    from semicon_nb.tables import read_records

    records, scans = read_records(ROOT / "results"), {FEW: [], 1.0: []}
    for record, experiment in zip(records, experiments_of(records), strict=True):
        if experiment == EXPERIMENT and record["method"] == "scratch" and record["labels"] in scans:
            scans[record["labels"]].append(len(record["settings"]["labelled"]))
    return statistics.mean(scans[1.0]) / statistics.mean(scans[FEW])


def drawn(rows: list[tuple[str, float, float, int]]) -> str:
    """The figure as SVG: a line and a dot for each row on one axis, zero marked."""
    rows = [row for row in rows if row[3] > 1]
    low, high = (end(mean + sign * half for _, mean, half, _ in rows) for end, sign in ((min, -1), (max, 1)))
    low, high = min(low, -0.002), max(high, 0.002)

    def place(value: float) -> float:
        return round(LEFT + (WIDE - LEFT - RIGHT) * (value - low) / (high - low), 1)

    height = TOP + ROW * len(rows) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{height}" viewBox="0 0 {WIDE} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13.5" fill="{INK}">',
        f'<rect width="{WIDE}" height="{height}" rx="10" fill="{GROUND}"/>',
        f'<text x="{LEFT}" y="22" font-weight="700" font-size="14">Dice gained over training from scratch</text>',
        f'<text x="{LEFT}" y="41" fill="{FAINT}">real hippocampi with {100 * FEW:g} % of the outlines;</text>',
        f'<text x="{LEFT}" y="58" fill="{FAINT}">mean and 95 % interval, the tick is zero</text>',
    ]
    for number, (words, mean, half, splits) in enumerate(rows):
        y, colour = TOP + ROW * number + 58, DOTS[words not in EFFORTS.values()]
        ends = f'x1="{place(mean - half)}" x2="{place(mean + half)}"'
        said = f"{mean:+.3f} ± {half:.3f}, {splits} splits".replace("-", "−")
        parts += [
            f'<text x="{LEFT}" y="{y - 34}">{escape(words)}</text>',
            f'<text x="{LEFT}" y="{y - 17}" fill="{FAINT}">{said}</text>',
            f'<line x1="{place(0)}" x2="{place(0)}" y1="{y - 10}" y2="{y + 10}" stroke="{FAINT}" stroke-width="2"/>',
            f'<line {ends} y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>',
            f'<circle cx="{place(mean)}" cy="{y}" r="6" fill="{colour}"/>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    """Write the file, or with --check say whether it is up to date."""
    text = drawn(brought())
    fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
    if "--check" in sys.argv:
        print(f"{TARGET.name} is {'up' if fresh else 'out of date: run `make export`, not up'} to date")
        return int(not fresh)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
