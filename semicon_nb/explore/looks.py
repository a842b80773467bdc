"""The test slices of a run that was kept, worst first: what was found, missed and invented."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .canvas import mixed, swatches
from ..data import Cohort, part_indices
from ..dice import dice_of, overlap_counts
from ..evaluate import evaluate
from ..predict import predict_slices
from .cohort import runs as run_lengths
from ..runs import Run, read_run

__all__ = []

TINTS = ("#7fb77e", "#d92b2b", "#f2d13c", "#ffffff")
"""Of pixels that are right, missed, invented, and of the wrong class."""
MARKS = (0, 2, 1, 6)
"""The same, as marks of `canvas.js`: none, minus, plus, backslash."""
STRENGTHS = (0.35, 0.75, 0.75, 0.75)
"""The same: how much of the tint covers the slice."""


@dataclass(frozen=True)
class SliceScore:
    """One test slice of one run."""

    volume: str  # its name
    number: int  # in its volume, from 1
    dice: float  # mean over the classes that are there or predicted
    image: np.ndarray  # [H, W]
    truth: np.ndarray  # [H, W] uint8
    predicted: np.ndarray  # [H, W] uint8


@dataclass(frozen=True)
class Look:
    """A run whose slices can be looked at."""

    record: dict  # as in a results file
    slices: tuple[SliceScore, ...]  # worst first


def slice_scores(model: torch.nn.Module, cohort: Cohort, indices: np.ndarray) -> tuple[SliceScore, ...]:
    """Every slice of the indices [n] that holds foreground or is given some by the `model`, the worst first."""
    found, first = [], np.searchsorted(cohort.volume, np.arange(len(cohort.volumes)))
    maps = predict_slices(model, cohort, indices).argmax(1).astype(np.uint8)
    for i, predicted in zip(indices, maps, strict=True):
        dice = dice_of(overlap_counts(predicted, cohort.labels[i], len(cohort.classes)))[1:]
        if np.isfinite(dice).any():
            v = cohort.volume[i]
            where = cohort.volumes[v].name, int(i - first[v]) + 1
            found.append(SliceScore(*where, float(np.nanmean(dice)), cohort.images[i], cohort.labels[i], predicted))
    return tuple(sorted(found, key=lambda s: s.dice))


def look_at(
    model: torch.nn.Module,  # images -> logits
    cohort: Cohort,  # slices
    indices: np.ndarray,  # [n] test slices
    method: str,  # its name
    labels: float,  # labelled share
    split: int = 0,  # seed of the split
    seed: int = 0,  # of the weights
    preset: str = "",  # network and stage settings, by name
) -> Look:
    """Score a network on its test slices, and keep them to be looked at."""
    record = {"method": method, "labels": labels, "split": split, "seed": seed, "preset": f"{preset} kept runs".strip()}
    record |= {
        "data": cohort.source if "cohort" in cohort.source else cohort.name,
        **evaluate(model, cohort, indices).to_dict(),
    }
    return Look(record, slice_scores(model, cohort, indices))


def look_at_run(run: Run | Look | str | os.PathLike) -> Look:
    """The same for a finished run in its folder."""
    if isinstance(run, Look):
        return run
    run = run if isinstance(run, Run) else read_run(Path(run))
    part, preset = run.split, str(run.settings.get("preset", ""))
    rows, seed = part_indices(run.cohort, part, "test"), int(run.settings.get("seed", 0))
    return look_at(run.model, run.cohort, rows, run.method.name, part.labelled_fraction, part.seed, seed, preset)


def same_run(look: Look, record: dict) -> bool:
    """Whether a finished run, its `record`, is the one whose slices were kept in the `look`: named alike, and with its score."""
    names = ("method", "labels", "split", "seed")
    mine, score = look.record, record.get("pooled_dice")
    close = score is not None and abs(score - mine["pooled_dice"]) < 5e-4
    return close and all(record.get(name) == mine[name] for name in names)


def compared_slice(found: SliceScore) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 3] and marks [H, W] of a slice, as TINTS and MARKS say; background untouched."""
    truth, predicted = found.truth, found.predicted
    kind = np.select([(truth > 0) & (predicted == 0), (truth == 0) & (predicted > 0), truth != predicted], [1, 2, 3], 0)
    there = (truth > 0) | (predicted > 0)
    share = np.where(there, np.array(STRENGTHS)[kind], 0.0)
    marks = np.where(there, np.array(MARKS, np.uint8)[kind], 0).astype(np.uint8)
    return mixed(np.asarray(found.image, np.float32), swatches(*TINTS)[kind], share), marks


def slice_words(slices: Sequence[SliceScore], rank: int) -> str:
    """What the picture of the slice of this `rank` (1 for the worst) shows, in words."""
    chosen = slices[min(rank, len(slices)) - 1]
    missed = int(((chosen.truth > 0) & (chosen.predicted == 0)).sum())
    invented = int(((chosen.truth == 0) & (chosen.predicted > 0)).sum())
    wrong = int((chosen.truth != chosen.predicted).sum()) - missed - invented
    where = f"Slice {chosen.number} of {chosen.volume}, rank {rank} of {len(slices)} from the worst, Dice {chosen.dice:.2f}"
    kinds = f"{missed} pixels missed (red −), {invented} invented (yellow +), {wrong} of the wrong class (white \\)"
    return f"{where}: {kinds}. Light line: the true outline."


def packed_slices(looks: dict[int, Look], budget: int = 400_000) -> list[dict]:
    """The worst slices of each look (by the number of its run), as many as fit into a `budget` of bytes."""
    if not looks:
        return []
    size = max([s.image.size for look in looks.values() for s in look.slices], default=0) + 1000
    most = max(1, budget // (size * len(looks)))
    return [{"run": run, **_packed(s)} for run, look in looks.items() for s in look.slices[:most]]


def _packed(found: SliceScore) -> dict:
    """Image, truth and prediction of one slice."""
    maps = {name: [*run_lengths(labels)] for name, labels in (("truth", found.truth), ("predicted", found.predicted))}
    grey = np.rint(np.clip(np.asarray(found.image, np.float32), 0, 1) * 255).astype(np.uint8)
    named = {"volume": found.volume, "number": found.number, "dice": found.dice}
    return {**named, "image": grey, "height": grey.shape[0], "width": grey.shape[1], **maps}
