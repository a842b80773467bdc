"""How far each strategy's parameter gradient is from the exact one, over training, on real slices, against its cost.

    python benchmarks/gradient.py [--quick] [--jobs 2] [--data FOLDER] [--out benchmarks/results/gradient.json]

A U-Net is trained with the supervised local loss; before the first step and at two later points, every strategy's gradient by
all weights is compared with that of the loss over every pixel, on several batches of two augmented views, with background
pixels as keys (as released) and left out. Cosine and length ratio with 95 % intervals over batches and seeds; processor time
of one thread for the loss, forward and backward; pairs and bytes as the strategies count them. Needs SEMICON_DATA (or --data)
with Task04_Hippocampus and sunnybrook; --quick uses the hippocampus at half size and fewer batches.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from semicon_nb.data import Cohort, Split, hippocampus, labelled_indices, split, sunnybrook  # noqa: E402
from semicon_nb.files import versions, write_atomic  # noqa: E402
from semicon_nb.gradient import measure_gradients  # noqa: E402
from semicon_nb.loop import STAGES, StageSettings  # noqa: E402
from semicon_nb.strategies import RandomSampling  # noqa: E402
from semicon_nb.train import allowed, pair_of, train_local  # noqa: E402
from semicon_nb.unet import UNet  # noqa: E402

FULL = {"cohorts": {"hippocampus": 64, "sunnybrook": 64}, "points": [0, 40, 150], "seeds": 3, "batches": 3, "slices": 4, "width": 16}
QUICK = {"cohorts": {"hippocampus": 32}, "points": [0, 20], "seeds": 1, "batches": 3, "slices": 4, "width": 8}


def load(name: str, size: int, data: str | None):
    """A cohort at a size."""
    if name == "hippocampus":
        return hippocampus(data, size=size, limit=30)
    return sunnybrook(data, size=size)


def table(summary: list[dict], point: int, background: bool) -> str:
    """Lines for the terminal: one a cohort and candidate, at one point of training."""
    head = f"{'cohort':12} {'strategy':18} {'size':>6} {'cosine':>8} {'95 % interval':>18} {'length':>7} {'ms':>8} {'pairs':>14}"
    lines = [f"\nafter {point} steps, background {'as keys' if background else 'left out'}", head]
    for e in summary:
        if (e["point"], e["background"]) == (point, background):
            span = f"{e['cosine_low']:.3f} to {e['cosine_high']:.3f}"
            name = f"{e['cohort']:12} {e['family']:18} {e['size'] or '':>6}"
            lines.append(f"{name} {e['cosine']:8.4f} {span:>18} {e['ratio']:7.2f} {e['milliseconds']:8.1f} {e['pairs']:14,.0f}")
    return "\n".join(lines)


def follow(
    model: UNet,  # fresh network, trained along the way
    cohort: Cohort,  # slices
    split: Split,  # who is labelled
    settings: StageSettings,  # of the local stage
    points: Sequence[int],  # numbers of steps after which to measure
    batches: int,  # batches measured at each point
    seed: int,  # of training and of measured batches
) -> Iterator[dict]:
    """Measure all candidates at several points of the local stage, trained with random pixels."""
    slices = allowed(cohort, split, labelled_indices(cohort, split), "labels")

    def measured(point: int) -> Iterator[dict]:
        for batch in range(batches):
            pair = pair_of(slices, settings, batch, seed, "measured")
            for background in (True, False):
                for row in measure_gradients(model, pair, settings.temperature, background, seed=1000 * seed + batch):
                    yield {"point": point, "seed": seed, "batch": batch, "background": background, **row}

    if 0 in points:
        yield from measured(0)
    for step in train_local(model, cohort, split, settings, RandomSampling(1024), seed=seed):
        if step.step in points:
            yield from measured(step.step)


def interval(
    values: np.ndarray,  # [seeds, batches]
    rounds: int = 2000,  # bootstrap samples
) -> tuple[float, float, float]:  # mean, low, high
    """Mean and 95 % interval of a two-level bootstrap."""
    values = np.asarray(values, float)
    random = np.random.Generator(np.random.PCG64(0))
    seeds = random.integers(0, values.shape[0], (rounds, values.shape[0], 1))
    batches = random.integers(0, values.shape[1], (rounds, *values.shape))
    low, high = np.percentile(values[seeds, batches].mean((1, 2)), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def summarise(
    rows: Sequence[dict],  # from `follow`, perhaps of several cohorts and seeds
) -> list[dict]:
    """One entry a cohort, point, use of the background and candidate."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in ("cohort", "point", "background", "family", "size")), []).append(row)
    entries = []
    for key, members in groups.items():
        entry = dict(zip(("cohort", "point", "background", "family", "size"), key, strict=True), n=len(members))
        seeds = sorted({m["seed"] for m in members})
        for name in ("cosine", "ratio"):
            values = np.array([[m[name] for m in members if m["seed"] == seed] for seed in seeds])
            entry[name], entry[f"{name}_low"], entry[f"{name}_high"] = (round(v, 5) for v in interval(values))
        entry |= {name: round(float(np.median([m[name] for m in members])), 3) for name in ("milliseconds", "pairs", "bytes")}
        entries.append(entry | {"cosines": [round(m["cosine"], 4) for m in members]})
    return entries


def follow_one(name: str, seed: int, settings: dict, data: str | None) -> list[dict]:
    """All measurements of one cohort with one seed."""
    torch.set_num_threads(1)
    cohort = load(name, settings["cohorts"][name], data)
    torch.manual_seed(seed)
    model = UNet(classes=len(cohort.classes), width=settings["width"])
    plan = replace(STAGES["local"], steps=max(settings["points"]), batch=settings["slices"], schedule="constant", warmup=10)
    measured = follow(model, cohort, split(cohort, labelled=0.2, seed=seed), plan, settings["points"], settings["batches"], seed)
    return [{"cohort": name, **row} for row in measured]


def report(rows: list[dict], settings: dict, seconds: float) -> dict:
    """What is written: settings, circumstances and the summary, cohorts and points in their order."""
    order = {name: place for place, name in enumerate(settings["cohorts"])}
    rows = sorted(rows, key=lambda row: (order[row["cohort"]], row["point"], row["seed"], row["batch"]))
    about = {**settings, "rate": STAGES["local"].rate, "temperature": STAGES["local"].temperature, "labelled": 0.2, "threads": 1}
    return {"settings": about, "versions": versions(), "machine": platform.machine(), "seconds": round(seconds), "summary": summarise(rows)}


def main(arguments: list[str] | None = None) -> dict:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small run of under two minutes")
    parser.add_argument("--data", help="folder with the real cohorts (default: SEMICON_DATA)")
    parser.add_argument("--out", type=Path, help="JSON file to write (default: results/gradient.json beside this file; none with --quick)")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side, each of one thread")
    chosen = parser.parse_args(arguments)
    settings = QUICK if chosen.quick else FULL
    out = chosen.out or (None if chosen.quick else HERE / "results" / "gradient.json")
    began, rows, results = time.time(), [], {}
    with ProcessPoolExecutor(chosen.jobs) as pool:
        names = [(name, seed) for seed in range(settings["seeds"]) for name in settings["cohorts"]]
        tasks = {pool.submit(follow_one, name, seed, settings, chosen.data): f"{name}, seed {seed}" for name, seed in names}
        for task in as_completed(tasks):
            rows += task.result()
            print(f"{tasks[task]}: {time.time() - began:.0f} s", file=sys.stderr, flush=True)
            results = report(rows, settings, time.time() - began)
            if out:
                write_atomic(out, json.dumps(results, separators=(",", ":")).replace('{"cohort"', '\n{"cohort"') + "\n")
    for background in (True, False):
        for point in settings["points"]:
            print(table(results["summary"], point, background))
    return results


if __name__ == "__main__":
    main()
