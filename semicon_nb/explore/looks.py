"""The test slices of a run that was kept, worst first."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data import Cohort, part_indices
from ..dice import dice_of, overlap_counts
from ..evaluate import evaluate
from ..predict import predict_slices
from .page import grey_bytes, run_lengths
from ..runs import Run, read_run

__all__ = []

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


def packed_slices(looks: dict[int, Look], budget: int = 400_000) -> list[dict]:
    """The worst slices of each look (by the number of its run), as many as fit into a `budget` of bytes."""
    if not looks:
        return []
    size = max([s.image.size for look in looks.values() for s in look.slices], default=0) + 1000
    most = max(1, budget // (size * len(looks)))
    return [{"run": run, **_packed(s, look)} for run, look in looks.items() for s in look.slices[:most]]


def _packed(found: SliceScore, look: Look) -> dict:
    """One slice of a `look` as the browser reads it, with the number of all that were scored in its volume."""
    named = {"volume": found.volume, "number": found.number, "dice": found.dice, "of": sum(s.volume == found.volume for s in look.slices)}
    return named | {"image": grey_bytes(found.image), "truth": run_lengths(found.truth), "predicted": run_lengths(found.predicted)}
