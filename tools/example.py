"""Trains the small run that explorers open with and writes it into the package: `python tools/example.py`.

Three stages on generated subjects: the weights after each, two test slices, and sixty moments of their pixels.
"""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from semicon_nb.data import part_indices, phantom, split
from semicon_nb.explore.record import EXAMPLE, Recorder
from semicon_nb.files import write_atomic
from semicon_nb.methods import PRESETS
from semicon_nb.train import finetune, train_global, train_local
from semicon_nb.unet import UNet

STAGES = (("global", train_global, 240, 20), ("local", train_local, 240, 15), ("finetune", finetune, 620, 20))
"""Name, function, steps, and steps between two moments: with the untrained network, sixty moments."""


def fullest(cohort, parts, count: int = 2) -> np.ndarray:
    """The fullest slice of each of the first `count` test subjects, as rows of the cohort."""
    rows = part_indices(cohort, parts, "test")
    rows = rows[np.argsort(-(cohort.labels[rows] > 0).sum(axis=(1, 2)), kind="stable")]
    _, first = np.unique(cohort.subject[rows], return_index=True)
    return rows[np.sort(first)[:count]]


def train() -> tuple[dict[str, np.ndarray], Recorder, dict]:
    """The weights after each stage, the recorder that watched, and the network's settings."""
    cohort = phantom(subjects=16, size=48)
    parts = split(cohort, labelled=1.0)
    shown = fullest(cohort, parts)
    settings = {"width": 8, "depth": 2, "pixel_dim": 16, "global_dim": 64}
    torch.manual_seed(0)
    model = UNet(**settings)
    name = "Three stages on generated slices"
    recorder = Recorder(model, cohort.images[shown].astype(np.float32), cohort.labels[shown], cohort.classes, name=name, count=600)
    weights = {"initial": parameters_to_vector(model.parameters()).detach().numpy().astype(np.float16)}
    for stage, run, steps, recorder.every in STAGES:
        how = replace(PRESETS["demo"].stages[stage], steps=steps, warmup=steps // 10, precision="fp32")
        list(recorder.watch(run(model, cohort, parts, how, seed=0)))
        weights[stage] = parameters_to_vector(model.parameters()).detach().numpy().astype(np.float16)
    return weights, recorder, settings


def main() -> None:
    """Train, and write the example."""
    weights, recorder, settings = train()
    made = recorder.recording
    about = {
        "name": made.name, "names": made.names, "balanced": made.sample.balanced, "network": settings,
        "moments": [(snap.stage, snap.step, snap.dice, snap.agreement) for snap in made.snapshots],
        "history": [asdict(replace(step, loss=round(step.loss, 4), rate=0.0, seconds=0.0)) for step in made.history],
    }  # fmt: skip
    arrays = {f"weights-{stage}": vector for stage, vector in weights.items()} | {
        "images": made.images.astype(np.float16),
        "labels": made.labels.astype(np.uint8),
        "index": made.sample.index.astype(np.int32),
        "vectors": np.stack([np.round(snap.vectors.astype(np.float32) * 127) for snap in made.snapshots]).astype(np.int8),
        "predictions": np.stack([snap.prediction for snap in made.snapshots]),
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    path = Path(__file__).resolve().parent.parent / "semicon_nb" / "explore" / "assets" / EXAMPLE
    write_atomic(path, file.getvalue())
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB, {len(made.snapshots)} moments, Dice {made.snapshots[-1].dice:.2f}")


if __name__ == "__main__":
    main()
