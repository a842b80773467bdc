"""The search that chose the thorough preset: how long to train so that longer training no longer helps, and how to get there cheaply.

    python benchmarks/budget.py [--data hippocampus] [--out benchmarks/results/budget.jsonl]

Every try trains `scratch` with all labels of the training subjects and is judged on validation subjects; no test subject is looked at.
A try is a recipe (what differs from the laptop preset's fine-tuning), a number of slices that are seen, and a split. A recipe has room
enough at a length where twice the length gains less than .005. A search that was stopped goes on where it stood; tries that stand in
the results already are not run again. Needs SEMICON_DATA with the cohort.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from torch.nn import functional  # noqa: E402

from semicon_nb import train, unet  # noqa: E402
from semicon_nb.data import load, split  # noqa: E402
from semicon_nb.experiment import validation  # noqa: E402
from semicon_nb.files import content_key, versions  # noqa: E402
from semicon_nb.machine import processor  # noqa: E402
from semicon_nb.methods import train_method  # noqa: E402
from semicon_nb.stages import PRESETS  # noqa: E402

RECIPES: dict[str, dict] = {
    "laptop": {},
    "averaged": {"rate": 4e-3, "average": 0.97},
    "fast, averaged": {"rate": 8e-3, "average": 0.97},
    "small batch, averaged": {"batch": 8, "rate": 4e-3, "average": 0.98},
    "half size at first": {"rate": 8e-3, "average": 0.97, "half": 0.5},
    "small batch": {"batch": 8},
    "half size at first, usual rate": {"half": 0.5},
    "SGD": {"rate": 1e-2, "momentum": 0.99},
    "deep supervision": {"deep": 2},
}
"""What each differs in from the laptop preset's fine-tuning.

`half` is the share of the steps, the first ones, on slices of half the size. `momentum` trains by SGD with Nesterov's momentum in place
of AdamW, and `deep` has so many of the decoder's smaller maps guess too: rate, momentum and weights are those of nnU-Net (2021).
"""

TRIES = {
    "hippocampus": [
        *((recipe, 8_000, 0) for recipe in RECIPES if recipe != "half size at first, usual rate"),
        *((recipe, 8_000, seed) for seed in (1, 2) for recipe in ("laptop", "SGD", "deep supervision")),
        ("laptop", 32_000, 0),
        ("laptop", 64_000, 0),
        ("laptop", 64_000, 1),
        ("laptop", 32_000, 1),
        ("laptop", 64_000, 2),
        ("laptop", 32_000, 2),
        ("averaged", 32_000, 0),
        ("half size at first, usual rate", 44_000, 0),
    ],
    "sunnybrook": [("laptop", 16 * steps, seed) for steps in (500, 1_000) for seed in (0, 1, 2)],
}
"""For each cohort: recipe, slices that are seen (steps times batch), seed of the split, in this order."""
COHORTS: dict[str, dict] = {"hippocampus": {}, "sunnybrook": {"size": 112}}
"""Arguments of `load`. Every outline of sunnybrook lies within the middle 112 pixels, which cost half of the usual 160."""


@contextmanager
def halved(steps: int) -> Iterator[None]:
    """Fine-tuning sees slices of half the size in its first `steps` steps."""
    usual, seen = train.augment, []

    def augment(images: torch.Tensor, labels: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = usual(images, labels, *rest)
        seen.append(1)
        return (functional.avg_pool2d(images, 2), labels[:, ::2, ::2]) if len(seen) <= steps else (images, labels)

    train.augment = augment
    try:
        yield
    finally:
        train.augment = usual


@contextmanager
def by_momentum(momentum: float) -> Iterator[None]:
    """Weights are changed by SGD with Nesterov's momentum, not by AdamW."""

    def descent(weights: Iterator[torch.Tensor], lr: float, weight_decay: float, **_: object) -> torch.optim.SGD:
        return torch.optim.SGD(weights, lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay)

    with patch.object(torch.optim, "AdamW", descent):
        yield


@contextmanager
def guessed_early(count: int, classes: int) -> Iterator[None]:
    """The `count` maps of the decoder below the last one guess, too, and their losses count a half, a quarter and so on of the last one's."""
    guesses: list[torch.Tensor] = []

    class Deep(unet.Decoder):
        def __init__(self, widths: Sequence[int], norm: bool) -> None:
            super().__init__(widths, norm)
            self.heads = torch.nn.ModuleList(torch.nn.Conv2d(width, classes, 1) for width in widths[1 : count + 1])
            for head, block in zip(self.heads, self.blocks[-2::-1], strict=False):
                block.register_forward_hook(lambda _, __, found, head=head: guesses.append(head(found).float()))

        def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
            guesses.clear()
            return super().forward(maps)

    usual = train.cross_entropy_dice

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        every = [logits, *reversed(guesses)]
        weights = [0.5**k for k in range(len(every))]
        return sum(w * usual(g, labels[:, :: 2**k, :: 2**k]) for k, (g, w) in enumerate(zip(every, weights, strict=True))) / sum(weights)

    with patch.object(unet, "Decoder", Deep), patch.object(train, "cross_entropy_dice", loss):
        yield


def try_one(recipe: str, slices: int, seed: int, data: str) -> dict:
    """Train with a recipe and measure the kept network on the validation subjects."""
    cohort = load(data, **COHORTS[data])
    part = split(cohort, 1.0, seed=seed)
    changes = dict(RECIPES[recipe])
    half, momentum, deep = (changes.pop(name, 0) for name in ("half", "momentum", "deep"))
    usual = PRESETS["laptop"]
    batch = changes.get("batch", usual.stages["finetune"].batch)
    steps = slices // batch
    last = replace(usual.stages["finetune"], steps=steps, validate_every=max(1, steps // 5), **changes)
    preset = replace(usual, stages={**usual.stages, "finetune": last})
    began = time.process_time()
    with ExitStack() as stack:
        stack.enter_context(halved(round(half * steps)))
        if momentum:
            stack.enter_context(by_momentum(momentum))
        if deep:
            stack.enter_context(guessed_early(deep, len(cohort.classes)))
        folder = stack.enter_context(TemporaryDirectory())
        run = train_method("scratch", cohort, part, preset, out=Path(folder) / "RUN", progress=False, cache=False)
    seconds = time.process_time() - began
    precision = run.settings["stages"]["finetune"]["precision"]
    curve = {step.step: round(step.dice, 4) for step in run.history if step.dice is not None}
    dice = round(validation(run.model, cohort, part, precision), 4)
    about = {"precision": precision, "processor": processor(), "processor_seconds": round(seconds, 1), "versions": versions()}
    return {"validation": dice, "steps": steps, "batch": batch, "curve": curve, **about}


def main() -> int:
    """Try what has not been tried yet, append each result, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="hippocampus", choices=TRIES, help="cohort (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "budget.jsonl", help="results (default: benchmarks/results)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    for recipe, slices, seed in TRIES[given.data]:
        about = {"recipe": recipe, "changes": RECIPES[recipe], "slices": slices, "split": seed, "data": given.data, **COHORTS[given.data]}
        key = content_key(about)
        if key in {row["key"] for row in done}:
            continue
        done.append({"key": key, **about, **try_one(recipe, slices, seed, given.data)})
        with given.out.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(words(done[-1]), flush=True)
    print("\n| recipe | slices seen | steps x batch | split | validation Dice | processor seconds |\n|---|---|---|---|---|---|")
    for row in sorted((row for row in done if row["data"] == given.data), key=lambda row: (row["recipe"], row["slices"], row["split"])):
        print(words(row))
    return 0


def words(row: dict) -> str:
    """A try as a row of a table."""
    cells = [row["recipe"], f"{row['slices']:,}", f"{row['steps']} x {row['batch']}", row["split"], f"{row['validation']:.4f}"]
    return "| " + " | ".join(map(str, [*cells, f"{row['processor_seconds']:.0f}"])) + " |"


if __name__ == "__main__":
    sys.exit(main())
