"""Trains the small run that comes with the package and writes it into assets: `python tools/shipped.py` (ten minutes of one core).

Three stages on generated subjects: the weights after each, two test slices, and sixty moments of their pixels.
"""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from semicon_nb.data import Cohort, Split, part_indices, phantom, split
from semicon_nb.explore.record import EXAMPLE, Recorder
from semicon_nb.files import write_atomic
from semicon_nb.loop import StageSettings
from semicon_nb.methods import PRESETS
from semicon_nb.train import finetune, train_global, train_local
from semicon_nb.unet import UNet

ASSET = Path(__file__).resolve().parent.parent / "semicon_nb" / "explore" / "assets" / EXAMPLE
NETWORK = {"width": 8, "depth": 2, "pixel_dim": 16, "global_dim": 64}
TRAINERS = {"global": train_global, "local": train_local, "finetune": finetune}
STAGES = {"global": (400, 40), "local": (1500, 100), "finetune": (1530, 46)}
"""Steps of each stage, and steps between two moments: with the untrained network, sixty moments."""

DICE = 0.84
"""Pooled Dice of the test people that the last stage reaches at least."""


def data() -> tuple[Cohort, Split]:
    """The subjects, and who is used for what."""
    cohort = phantom(subjects=40, size=48)
    return cohort, split(cohort, labelled=1.0)


def untrained() -> UNet:
    """The network before the first stage."""
    torch.manual_seed(0)
    return UNet(**NETWORK)


def settings_of(stage: str) -> StageSettings:
    """How a stage is trained: the demo's settings, for more steps."""
    steps = STAGES[stage][0]
    return replace(PRESETS["demo"].stages[stage], steps=steps, warmup=steps // 10, precision="fp32")


def recipe() -> dict:
    """Everything that decides the outcome, as plain values."""
    stages = {stage: asdict(settings_of(stage)) for stage in STAGES}
    return json.loads(json.dumps({"cohort": data()[0].fingerprint, "network": NETWORK, "stages": stages}))


def fullest(cohort: Cohort, parts: Split, count: int = 2) -> np.ndarray:
    """The fullest slice of each of the first `count` test subjects, as rows of the cohort."""
    rows = part_indices(cohort, parts, "test")
    rows = rows[np.argsort(-(cohort.labels[rows] > 0).sum(axis=(1, 2)), kind="stable")]
    _, first = np.unique(cohort.subject[rows], return_index=True)
    return rows[np.sort(first)[:count]]


def vector(model: UNet) -> np.ndarray:
    """All weights of a network as one row of half precision."""
    return parameters_to_vector(model.parameters()).detach().numpy().astype(np.float16)


def train() -> tuple[dict[str, np.ndarray], Recorder]:
    """The weights after each stage, and the recorder that watched."""
    (cohort, parts), model = data(), untrained()
    shown = fullest(cohort, parts)
    name = "Three stages on generated slices"
    recorder = Recorder(model, cohort.images[shown].astype(np.float32), cohort.labels[shown], cohort.classes, name=name, count=600)
    weights = {"initial": vector(model)}
    for stage, (_, recorder.every) in STAGES.items():
        list(recorder.watch(TRAINERS[stage](model, cohort, parts, settings_of(stage), seed=0)))
        weights[stage] = vector(model)
        print(f"{stage}: agreement of neighbours {recorder.recording.snapshots[-1].agreement:.2f}", flush=True)
    return weights, recorder


def main() -> None:
    """Train, and write the run."""
    weights, recorder = train()
    made = recorder.recording
    about = {
        "name": made.name, "names": made.names, "balanced": made.sample.balanced, "network": NETWORK, "recipe": recipe(),
        "moments": [(snap.stage, snap.step, snap.dice, snap.agreement) for snap in made.snapshots],
        "history": [asdict(replace(step, loss=round(step.loss, 4), rate=0.0, seconds=0.0)) for step in made.history],
    }  # fmt: skip
    arrays = {f"weights-{stage}": row for stage, row in weights.items()} | {
        "images": made.images.astype(np.float16),
        "labels": made.labels.astype(np.uint8),
        "index": made.sample.index.astype(np.int32),
        "vectors": np.stack([np.round(snap.vectors.astype(np.float32) * 127) for snap in made.snapshots]).astype(np.int8),
        "predictions": np.stack([snap.prediction for snap in made.snapshots]),
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_atomic(ASSET, file.getvalue())
    print(f"{ASSET.name}: {ASSET.stat().st_size / 1e3:.0f} kB, {len(made.snapshots)} moments, Dice {made.snapshots[-1].dice:.2f}")


if __name__ == "__main__":
    main()
