"""What was wrong in the released code, on switches, to learn how much each matters"""

__all__ = ["bilinear_labels", "method_with", "resized_as_released", "train_local_identical", "with_defects"]

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data import Cohort, Split, labelled_indices, native_labels, unlabelled_indices
from ..files import content_key
from ..identity import declared
from ..loop import StageSettings, Step, fit
from ..machine import device_of
from ..stages import Method
from ..strategies import FullResolution, Strategy
from ..train import allowed, at_step, identity_of, pair_of, pixel_loss, train_local
from ..unet import UNet
from ..views import Views


DEFECTS = ("bilinear_labels", "identical_views", "split_by_volume")


def resized_as_released(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The `labels` [X, Y, Z] as maps [Z, *shape], resized bilinearly and truncated to whole numbers."""
    stack = torch.from_numpy(np.moveaxis(labels, 2, 0).astype(np.float32))[:, None]
    return torch.nn.functional.interpolate(stack, size=shape, mode="bilinear", align_corners=False)[:, 0].to(torch.uint8).numpy()


def bilinear_labels(cohort: Cohort) -> np.ndarray:
    """All label maps [S, H, W] of a cohort as the released code makes them; ValueError where slices were cut without resampling."""
    if cohort.grid.fit != "resize":
        raise ValueError(f"defects: bilinear_labels needs resized slices, but those of {cohort.name} are cut without resampling")
    labels = cohort.labels.copy()
    for v in range(len(cohort.volumes)):
        labels[cohort.volume == v] = resized_as_released(native_labels(cohort, v), cohort.labels.shape[1:])
    return labels


def _known(defects: Sequence[str]) -> tuple[str, ...]:
    """The `defects`, each a name in DEFECTS; ValueError for an unknown one, TypeError for a word alone."""
    if isinstance(defects, str):
        raise TypeError(f"defects: found {defects!r}, expected a tuple of names such as ({defects!r},)")
    defects = tuple(defects)
    if unknown := set(defects) - set(DEFECTS):
        raise ValueError(f"defects: found {', '.join(sorted(unknown))}, expected some of {', '.join(DEFECTS)}")
    return defects


def with_defects(cohort: Cohort, defects: Sequence[str]) -> Cohort:
    """The cohort as the released code would see it with these `defects`, names in DEFECTS; ValueError for an unknown one."""
    defects = _known(defects)
    changes: dict[str, Any] = {}
    if "bilinear_labels" in defects:
        changes["labels"] = bilinear_labels(cohort)
    if "split_by_volume" in defects:
        changes["volumes"] = tuple(replace(volume, subject=volume.name) for volume in cohort.volumes)
    return replace(cohort, fingerprint=content_key(cohort.fingerprint, sorted(defects)), **changes) if changes else cohort


@declared("semicon_nb.defects.train_local_identical")
def train_local_identical(
    model: UNet,  # trained in place
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    settings: StageSettings,  # how to train
    strategy: Strategy = FullResolution(),  # which pixels meet
    form: str = "supcon",  # of the supervised loss: "supcon" or "printed"
    supervised: bool = True,  # whether labels decide who is positive
    seed: int = 0,  # of slices and views
    folder: str | Path | None = None,  # where the checkpoint goes
    resume: bool = False,  # go on from it
) -> Iterator[Step]:
    """The local stage as released: the second view takes the place of the first, so both are the same."""
    indices = labelled_indices(cohort, split) if supervised else unlabelled_indices(cohort, split)
    slices = allowed(cohort, split, indices, "labels" if supervised else "images", device_of(model))

    def batches(step: int) -> tuple[Views, Strategy]:
        pair = pair_of(slices, settings, step, seed, "local")
        labels = None if pair.labels is None else pair.labels[:, 1:].expand(-1, 2, -1, -1)
        same = replace(pair, images=pair.images[:, 1:].expand(-1, 2, -1, -1, -1), labels=labels)
        return same, at_step(strategy, seed, "local", step)

    def loss_of(model: UNet, batch: tuple[Views, Strategy]) -> torch.Tensor:
        return pixel_loss(model, batch[0], settings, batch[1], form)

    identity = identity_of(model, cohort, split, indices, seed, strategy=strategy, form=form, supervised=supervised, identical=True)
    return fit(model, loss_of, batches, settings, folder, resume, "local", identity=identity)


def method_with(method: Method, defects: Sequence[str]) -> Method:
    """The method as the released code would train it with these `defects`; ValueError for an unknown one, or a local stage that is not the package's."""
    if "identical_views" not in _known(defects):
        return method
    for stage in method.stages:
        if stage.name == "local" and stage.train not in (train_local, train_local_identical):
            raise ValueError(f"defects: found identical_views for {method.name}, whose local stage is its own; expected one that is trained by train_local")
    stages = (replace(stage, train=train_local_identical) if stage.train is train_local else stage for stage in method.stages)
    return replace(method, stages=tuple(stages))
