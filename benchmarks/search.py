"""The search that chose the laptop preset's rates: each setting judged on validation subjects only, and written down.

    python benchmarks/search.py [--workers 2] [--data hippocampus] [--out benchmarks/results/search.jsonl]

Every method's own stage gets three values for the knob that matters most to it; all else is the preset's. One split, 5 % of the
labels, one seed: the table shows what was tried, not which of two close values is better. No test subject is looked at. The
results in this repository hold all but what comes before best; a line "from" results/ is the validation score of that run of the grid.
A search that was stopped goes on where it stood. Needs SEMICON_DATA with the cohort.
"""

import argparse
import json
import os
import sys
from concurrent.futures import as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from semicon_nb.data import load, split  # noqa: E402
from semicon_nb.experiment import local_pool, validation  # noqa: E402
from semicon_nb.files import content_key, versions  # noqa: E402
from semicon_nb.methods import METHODS, recipe_of, train_method  # noqa: E402
from semicon_nb.names import check_name, check_whole  # noqa: E402
from semicon_nb.semisupervised import OBJECTIVES, mixup  # noqa: E402
from semicon_nb.stages import PRESETS  # noqa: E402
from semicon_nb.views import FINETUNE, LOCAL  # noqa: E402

RATES = (3e-4, 1e-3, 3e-3)
VIEWS = {"intensity": LOCAL, "geometric": FINETUNE}
CANDIDATES = [
    *({"method": "scratch", "stage": "finetune", "rate": rate} for rate in (1e-3, 2e-3, 4e-3)),
    *({"method": "local(stride)", "stage": "local", "rate": rate, "views": "intensity"} for rate in RATES),
    *({"method": "local(stride)", "stage": "local", "rate": rate, "views": "geometric"} for rate in RATES),
    *({"method": "global", "stage": "global", "rate": rate} for rate in RATES),
    *({"method": "mean-teacher", "stage": "finetune", "weight": weight} for weight in (1.0, 10.0, 30.0)),
    *({"method": "fixmatch", "stage": "finetune", "weight": weight} for weight in (0.3, 1.0, 3.0)),
    *({"method": "cross-pseudo-supervision", "stage": "finetune", "weight": weight} for weight in (0.3, 1.0, 3.0)),
    *({"method": "mixup", "stage": "finetune", "alpha": alpha} for alpha in (0.1, 0.4, 1.0)),
    *({"method": "tcsm", "stage": "finetune", "weight": weight} for weight in (1.0, 10.0, 30.0)),
    *({"method": "pcl", "stage": "global", "near": near} for near in (0.05, 0.1, 0.2)),
    *({"method": "joint", "stage": "finetune", "weight": weight} for weight in (0.03, 0.1, 0.3)),
    *({"method": "best", "stage": "finetune", "pretraining": stages} for stages in ("none", "local", "global+local")),
]


def try_one(candidate: dict, data: str, labels: float, seed: int) -> dict:
    """Train with one setting and measure it on the validation subjects."""
    cohort = load(data)
    part = split(cohort, labels, seed=seed)
    knobs = {name: value for name, value in candidate.items() if name not in ("method", "stage")}
    method = METHODS[candidate["method"]]
    if "pretraining" in knobs:
        method = recipe_of(pretraining=tuple(name for name in knobs.pop("pretraining").split("+") if name != "none"))
    if "alpha" in knobs:
        OBJECTIVES["mixup"] = replace(OBJECTIVES["mixup"], loss=partial(mixup, alpha=knobs.pop("alpha")))
    options = {name: knobs.pop(name) for name in ("weight", "near") if name in knobs}
    changes = knobs | ({"views": VIEWS[knobs["views"]]} if "views" in knobs else {})
    stages = tuple(replace(s, options=s.options | options) if s.name == candidate["stage"] else s for s in method.stages)
    usual = PRESETS["laptop"]
    preset = replace(usual, stages=usual.stages | {candidate["stage"]: replace(usual.stages[candidate["stage"]], **changes)})
    with TemporaryDirectory() as folder:
        run = train_method(replace(method, stages=stages), cohort, part, preset, out=Path(folder) / "RUN", progress=False)
    dice = validation(run.model, cohort, part, run.settings["stages"]["finetune"]["precision"])
    seconds = round(sum(step.seconds for step in run.history), 1)
    steps = {name: settings["steps"] for name, settings in run.settings["stages"].items()}
    return {**candidate, "validation": round(dice, 4), "steps": steps, "labels": labels, "split": seed, "data": data, "seconds": seconds}


def key_of(candidate: dict, data: str, labels: float, seed: int) -> str:
    """The key of a try: what decides its score, the same on every machine and as it was when the stored tries were made."""
    usual = PRESETS["laptop"]
    # presets said "bf16" where they say "auto" now, which is what a machine chooses, and decides no more than that
    stages = {name: replace(settings, precision=settings.precision.replace("auto", "bf16")) for name, settings in usual.stages.items()}
    return content_key(candidate, data, labels, seed, repr(replace(usual, stages=stages)))


def main() -> int:
    """Try what has not been tried yet, append each result, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="hippocampus", help="cohort (default: %(default)s)")
    parser.add_argument("--labels", type=float, default=0.05, help="labelled fraction (default: %(default)s)")
    parser.add_argument("--split", type=int, default=0, help="seed of the split (default: %(default)s)")
    parser.add_argument("--methods", default=None, help="methods, comma between them (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: the number of cores)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "search.jsonl", help="results (default: benchmarks/results)")
    given = parser.parse_args()
    try:
        check_whole("--workers", given.workers, 1)
        for name in given.methods.split(",") if given.methods else ():
            check_name("--methods", name, dict.fromkeys(c["method"] for c in CANDIDATES))
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    keys = {row["key"] for row in done}
    chosen = [c for c in CANDIDATES if given.methods is None or c["method"] in given.methods.split(",")]
    left = {key_of(c, given.data, given.labels, given.split): c for c in chosen}
    with local_pool(given.workers) as pool:
        running = {
            pool.submit(try_one, candidate, given.data, given.labels, given.split): key
            for key, candidate in left.items() if key not in keys
        }  # fmt: skip
        for future in as_completed(running):
            row = {"key": running[future], **future.result(), "versions": versions()}
            done.append(row)
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{row['method']:26} {row['stage']:9} {own_of(row):34} {row['validation']:.3f}", flush=True)
    print("\n| method | stage | setting | validation Dice |\n|---|---|---|---|")
    for row in sorted((row for row in done if row["key"] in left), key=lambda row: (row["method"], own_of(row))):
        print(f"| {row['method']} | {row['stage']} | {own_of(row)} | {row['validation']:.3f} |")
    return 0


def own_of(row: dict) -> str:
    """The setting that was tried, in words."""
    return ", ".join(f"{name} {row[name]}" for name in ("rate", "views", "weight", "alpha", "near", "pretraining") if name in row)


if __name__ == "__main__":
    sys.exit(main())
