"""The search that chose how far `best` and `scratch(strong)` look through the slices, judged on validation subjects only.

    python benchmarks/neighbours.py [--methods scratch] [--splits 0,1,2] [--out benchmarks/results/neighbours.json]

Each method is trained once for each split with 5 % of the labels and then predicts the validation subjects, each slice alone and
averaged with the slices beside it by a Gaussian of several widths (mm). No test subject is looked at. Two and a half minutes of a core
for each network. Needs SEMICON_DATA with the cohort.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from semicon_nb.data import load, part_indices, split  # noqa: E402
from semicon_nb.evaluate import evaluate  # noqa: E402
from semicon_nb.files import versions, write_atomic  # noqa: E402
from semicon_nb.methods import train_method  # noqa: E402
from semicon_nb.predict import has_neighbours, prediction_of  # noqa: E402

WIDTHS = (0.0, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5)


def main() -> int:
    """Train, predict, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="hippocampus", help="cohort (default: %(default)s)")
    parser.add_argument("--labels", type=float, default=0.05, help="labelled fraction (default: %(default)s)")
    parser.add_argument("--methods", default="scratch", help="comma between them (default: %(default)s)")
    parser.add_argument("--splits", default="0,1,2", help="seeds of the splits (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "neighbours.json", help="results (default: benchmarks/results)")
    given = parser.parse_args()
    cohort, rows = load(given.data), []
    if not has_neighbours(cohort, np.arange(len(cohort.images))):
        print(f"--data: found {given.data}, where the order of slices is not known, expected scans in NIfTI; name another", file=sys.stderr)
        return 2
    for method in given.methods.split(","):
        for number in map(int, given.splits.split(",")):
            part = split(cohort, given.labels, seed=number)
            with TemporaryDirectory() as folder:
                model = train_method(method, cohort, part, out=Path(folder) / "RUN", progress=False).model
            people = part_indices(cohort, part, "val")
            dice = {
                f"{mm:g}": round(evaluate(model, cohort, people, replace(prediction_of(model), neighbours=mm)).pooled_dice, 4)
                for mm in WIDTHS
            }
            rows.append({"method": method, "split": number, "labels": given.labels, "validation": dice})
            print(f"{method:16} split {number}  " + "  ".join(f"{mm} mm {value:.4f}" for mm, value in dice.items()), flush=True)
    write_atomic(given.out, json.dumps({"data": given.data, "rows": rows, "versions": versions()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
