"""Run the committed experiments again from nothing: `make reproduce`, or `python benchmarks/reproduce.py --help`.

Every grid below is one file of results. A grid that was stopped continues where it stood when the same command is given again; to go
on from the rows of this repository instead of from nothing, copy results/ to the folder of --out first. On two cores the grid
"hippocampus" takes about two hours, and all that run without --grids about nine: their committed rows needed some seventeen hours of one
thread, two of them at a time. Six runs of these are planned here and not among the committed rows: four of the variants of the global
stage, and split 9 of best and scratch(strong).
"hippocampus-thorough", "hippocampus-outlines", "hippocampus-longer" and "sunnybrook-longer" train longer and are run only where --grids
names them; their parts stand in the order of what they tell. So is "hippocampus-paper", the paper's 64 filters and epochs, which want a
GPU. Of these, 278 planned runs are not among the committed rows: 147 of hippocampus-thorough, 109 of hippocampus-outlines, 20 of
sunnybrook-longer, and both of hippocampus-paper.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from semicon_nb.arguments import Words, check_factor, check_share, shares, words
from semicon_nb.names import PRESET_NAMES, check_name, check_whole

PAPER = "scratch global global+local(self) local(stride) local(block) global+local(stride) global+local(block) mixup tcsm".split()
OURS = ["local(exact)", "global+local(exact)", "global+local(random)"]
RIVALS = "best scratch(strong) mean-teacher cross-pseudo-supervision fixmatch pcl joint".split()
CARDIAC = "scratch global global+local(stride) global+local(block) global+local(exact) mean-teacher".split()
VARIANTS = [
    *(f"local(stride) {words}" for words in ("tau 0.05", "tau 0.5", "no head", "bent head", "4x local")),
    *(f"global {words}" for words in ("tau 0.1", "3x global")),
]
FRACTIONS = (0.05, 0.1, 0.2)
SPLITS = (0, 1, 2)


def thorough(methods: str, *full: str, labels: tuple[float, ...] = (0.05,), splits: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list[dict]:
    """Methods with a budget that leaves room for an answer, one split after the other."""
    about = {"methods": methods.split(), "full": [*full], "labels": labels, "preset": "thorough"}
    return [{**about, "splits": (split,)} for split in splits]


def spread(methods: str, share: float, splits: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list[dict]:
    """As many outlines over ever more people, one split after the other: some of everybody, then over 3 and 8 times as many as usual.

    All slices of few people, at 5 %, are runs of hippocampus-thorough.
    """
    about = {"methods": methods.split(), "labels": (share,), "preset": "thorough"}
    over = ("slices", 3, 8) if share == 0.05 else ("people", "slices", 3, 8)
    return [{**about, "splits": (number,), "spread": way} for number in splits for way in over]


def hearts(methods: str, *full: str, labels: tuple[float, ...] = (0.05,)) -> list[dict]:
    """Methods on hearts, one split after the other: the middle 112 pixels, which hold every outline, and steps that `budget.py` found enough."""
    about = {"methods": methods.split(), "full": [*full], "labels": labels, "data": {"cohort": "sunnybrook", "size": 112}}
    return [{**about, "splits": (split,)} for split in range(5)]


def longer(number: int) -> dict:
    """The demo's repeat of this number, with four times its steps."""
    people = {"cohort": "phantom", "kind": "simple", "subjects": 40, "size": 32, "seed": number}
    methods = {"methods": ["scratch", "global+local(block)"], "full": ["scratch"]}
    return {**methods, "labels": (0.05,), "splits": (number,), "data": people, "preset": "demo", "scale": 4}


def defect(method: str, name: str) -> dict:
    """One of the released code's defects, alone."""
    return {"methods": [method], "labels": (0.05,), "defects": (name,)}


GRIDS = {
    "hippocampus": [{"methods": PAPER + OURS, "full": ["scratch"]}],
    "hippocampus-thorough": [
        *thorough("scratch global+local(block) self-training", "scratch"),
        *thorough("global local(block) global+local(exact) mean-teacher"),
        {"methods": ["scratch averaged"], "labels": (0.05,), "splits": range(5), "preset": "thorough"},
        *thorough("best scratch(strong)", "scratch(strong)"),
        *thorough("copy-paste masked"),
        *thorough("local(stride) global+local(stride) global+local(self) mixup tcsm"),
        *thorough(" ".join([*PAPER, "self-training mean-teacher"]), labels=(0.2,)),
        *thorough(" ".join([*PAPER, "self-training mean-teacher"]), labels=(0.1,)),
    ],
    "hippocampus-outlines": [
        *spread("scratch", 0.05),
        *spread("self-training local(block)", 0.05),
        *spread("scratch self-training local(block)", 0.02),
        *spread("best", 0.05),
        *spread("best", 0.02),
    ],
    "hippocampus-longer": [{"methods": ["scratch", "scratch averaged"], "labels": (0.05,), "splits": range(5), "preset": "thorough", "scale": 2.5}],
    "hippocampus-rivals": [
        {"methods": RIVALS, "labels": (0.05,), "full": ["scratch(strong)"]},
        {"methods": ["best", "scratch(strong)"], "labels": (0.05,), "splits": range(3, 10)},
    ],
    "hippocampus-defects": [
        defect("scratch", "bilinear_labels"),
        defect("scratch", "split_by_volume"),
        defect("local(stride)", "identical_views"),
    ],
    "hippocampus-ablations": [{"methods": VARIANTS, "labels": (0.05,)}],
    "sunnybrook": [{"methods": CARDIAC, "scale": 0.25}],
    "sunnybrook-longer": [
        *hearts("scratch global+local(block)", "scratch"),
        *hearts("mean-teacher self-training"),
        *hearts("scratch global+local(block) mean-teacher self-training", labels=(0.2,)),
    ],
    "phantom": [longer(number) for number in range(5)],
    "hippocampus-paper": [
        {"methods": [method], "labels": (0.05,), "splits": (0,), "preset": "paper"} for method in ("scratch", "global+local(block)")
    ],
}
"""For each file of results what is run, in this order; the cohort's name comes first."""
LONG = ("hippocampus-thorough", "hippocampus-outlines", "hippocampus-longer", "hippocampus-paper", "sunnybrook-longer")
"""What is run only when it is asked for."""


def arguments() -> argparse.Namespace:
    """The budget, and where results go."""
    parser = Words(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", default="all", help=f"some of {','.join(GRIDS)} (default: all but {', '.join(LONG)})")
    parser.add_argument("--preset", default=None, help="demo, laptop, thorough or paper (default: that of each grid)")
    parser.add_argument("--scale", type=float, default=None, help="multiplies the steps of every stage (default: that of each grid)")
    parser.add_argument("--splits", type=int, default=None, help="splits by subject (default: those of each grid, three or ten)")
    parser.add_argument("--labels", type=shares, default=None, help="labelled shares, such as 0.05,0.2 (default: those of each grid)")
    parser.add_argument("--methods", type=words, default=None, help="methods, comma between them (default: those of each grid)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes with one thread each (default: the number of cores)")
    parser.add_argument("--device", default="auto", help="where to train: cuda, mps or cpu (default: the first that is there)")
    parser.add_argument("--out", default="reproduced", help="folder for results, runs and stages (default: reproduced)")
    parser.add_argument("--keep", action="store_true", help="keep the RUN folders")
    return parser.parse_args()


def check(given: argparse.Namespace, methods: Iterable[str]) -> None:
    """ValueError for words that mean nothing, before anything is trained."""
    for name in given.grids.split(",") if given.grids != "all" else ():
        check_name("--grids", name, GRIDS)
    for name in given.methods or ():
        check_name("--methods", name, methods)
    if given.preset is not None:
        check_name("--preset", given.preset, PRESET_NAMES)
    for value in given.labels or ():
        check_share(value)
    check_whole("--workers", given.workers, 1)
    check_whole("--splits", 1 if given.splits is None else given.splits, 1)
    check_factor("--scale", 1.0 if given.scale is None else given.scale)


def main() -> int:
    """Run the grids and print their tables; 1, and why, where some runs failed; 2, and a sentence, where that cannot be done."""
    try:
        lost = run(arguments())
    except (ValueError, OSError) as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        return 2
    for sentence in lost:
        print(f"reproduce.py: left out, because they failed: {sentence}", file=sys.stderr)
    return 1 if lost else 0


def run(given: argparse.Namespace) -> list[str]:
    """Run the grids that were asked for, and print their tables; why runs of them failed comes back."""
    out = Path(given.out).resolve()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("SEMICON_CACHE", str(out / "cache"))
    from semicon_nb.experiment import run_grid
    from semicon_nb.methods import METHODS
    from semicon_nb.study import variants
    from semicon_nb.tables import failures, table

    turned = variants(METHODS)
    chosen = [name for name in GRIDS if name not in LONG] if given.grids == "all" else given.grids.split(",")
    check(given, [*METHODS, *turned])
    for name in chosen:
        for part in GRIDS[name]:
            plan = {"labels": FRACTIONS, "splits": SPLITS, "data": name.split("-")[0], **part}
            plan |= {"splits": range(given.splits)} if given.splits else {}
            plan |= {"labels": given.labels} if given.labels else {}
            plan |= {"methods": given.methods, "full": ()} if given.methods else {}
            plan |= {"scale": given.scale} if given.scale else {}
            plan |= {"preset": given.preset or plan.get("preset", "laptop")}
            plan["methods"] = [turned.get(method, method) for method in plan["methods"]]
            how = {"workers": given.workers, "keep": given.keep, "device": given.device}
            rows = run_grid(name, results=out, folder=out / "runs" / name, **plan, **how)
            print(f"\n## {name}\n\n{table(rows) if len(rows) else 'No run finished; see the .failed.jsonl file.'}\n", flush=True)
    return [sentence for name in chosen for sentence in failures(out / f"{name}.jsonl")]


if __name__ == "__main__":
    sys.exit(main())
