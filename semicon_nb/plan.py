"""What a run will do, decided before it starts, as one value that its execution only reads."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from .data import Cohort, Split, unlabelled_indices
from .files import plain
from .identity import name_of
from .loop import StageSettings
from .machine import chosen_device, chosen_precision
from .names import check_type
from .networks import Builder, build, network_code, network_facts, path_of, words_of
from .predict import evaluating
from .stages import Method, Preset, Stage, settings_for, stage_code, stage_key
from .unet import UNet

__all__ = ["check_network", "plan_run"]


NEEDS = {
    "embed_images": "embed_images(images) -> [B, D]",
    "features": "features(images) -> [B, C, H, W]",
    "pixel_head": "pixel_head(features) -> [B, D, H, W]",
    "class_head": "class_head(features) -> [B, classes, H, W]",
    "twin": "twin(seed) -> a network of the same kind with other first weights",
}
"""What a stage may ask of a network beside `forward(images) -> [B, classes, H, W]`, for images [B, 1, H, W]."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run before it starts."""

    stage: Stage  # what is trained
    settings: StageSettings  # how, with "fp32" or "bf16"
    key: str  # of the weights that it will end with
    shared: bool  # whether the cache is asked for them; never for the last stage, which is what the run is for


@dataclass(frozen=True)
class Plan:
    """A run before it starts."""

    method: Method  # what is trained
    cohort: Cohort  # slices
    split: Split  # who may be learned from
    seed: int  # of weights, slices and views
    network: UNet  # before its first step, on the CPU; a copy is trained
    device: torch.device  # where it is trained
    stages: tuple[PlannedStage, ...]  # in their order
    about: dict  # the part of run.json that a resumed run must agree with
    why: str  # why it isn't trained in the precision that this machine would choose; empty where it is


def plan_run(
    method: Method,  # stages to train
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    preset: Preset,  # network and stage settings
    seed: int = 0,  # of weights, slices and views
    begun: dict[str, str] | None = None,  # stage -> precision in which it was begun, where a run is to go on
    cache: bool = True,  # use and keep pre-trained stages
    model: Builder | str | None = None,  # what builds a network of your own
    device: str | torch.device = "auto",  # where to train
) -> Plan:
    """What a run will do, stage by stage; ValueError for what cannot be trained."""
    _check_given(method, cohort, split)
    there = chosen_device(device)
    first, network, facts, code = _network_of(method, cohort, preset, seed, model)
    about = _describe(method, cohort, split, preset, seed, network)
    about["code"] = {"stages": {stage.name: stage_code(stage) for stage in method.stages}, **code}
    usual, stages, key, other = chosen_precision(there), [], "", False
    for number, stage in enumerate(method.stages, 1):
        here = settings_for(stage, preset, cohort, split, usual)
        own = settings_for(stage, preset, cohort, split, (begun or {}).get(stage.name, usual))
        last, other = number == len(method.stages), other or own != here
        key = stage_key(stage, own, cohort, split, facts, seed, key, last, about["code"]["stages"][stage.name])
        stages.append(PlannedStage(stage, own, key, cache and not last))
    about["stages"] = json.loads(json.dumps({planned.stage.name: asdict(planned.settings) for planned in stages}, default=plain))
    why = f", as the run was begun (this machine would choose {usual})" if other else ""
    return Plan(method, cohort, split, seed, first, there, tuple(stages), about, why)


def _check_given(method: Method, cohort: Cohort, split: Split) -> None:
    """Raise a TypeError or ValueError for what is none, or a method that has nothing to do."""
    check_type("cohort", cohort, Cohort, "load one, or make one with phantom()")
    check_type("split", split, Split, "split(cohort, ...) makes one")
    if not method.stages:
        raise ValueError(f"method: {method} has no stage, expected at least one; FINETUNE_STAGE is the usual last")
    placed = "semicon_nb.semisupervised.train_positional" in {name_of(stage.train) for stage in method.stages}
    if placed and np.isnan(cohort.position[unlabelled_indices(cohort, split)]).all():
        why = f"{method} asks for the place of slices in their scans, which nobody knows of {cohort.name}"
        raise ValueError(f"method: {why}; take global instead")


def _network_of(method: Method, cohort: Cohort, preset: Preset, seed: int, model: Builder | str | None) -> tuple[UNet, dict, dict, dict]:
    """A run's network before its first step, what run.json and what keys say of it, and of one of your own its code."""
    classes = len(cohort.classes)
    if model is None:
        sizes = preset.network(classes)
        return build(sizes, seed), sizes, sizes, {}
    network = {"model": path_of(model), "classes": classes}
    first = build(network, seed, model)
    code = {"network": network_code(first)}  # before it is asked anything, which it may count
    check_network(first, method, classes, cohort.images.shape[1:])
    return first, network, network_facts(network, first), code


def check_network(network: nn.Module, method: Method, classes: int, shape: Sequence[int]) -> None:
    """Raise a ValueError that names what the method asks for and a network of your own, for slices of a `shape` and so many `classes`, does not have."""
    kind = type(network).__name__
    missing = {name: stage.name for stage in method.stages for name in stage.needs if not hasattr(network, name)}
    if missing:
        wanted = "; ".join(f"{NEEDS.get(name, name)} for the {stage} stage" for name, stage in missing.items())
        raise ValueError(f"model (--model): {kind} has no {', '.join(missing)}, but {method} asks for {wanted}")
    expected = f"expected logits {[2, classes, *shape]} of images {[2, 1, *shape]}"
    try:
        with evaluating(network):
            found = network(torch.zeros(2, 1, *shape))
    except Exception as error:
        raise ValueError(f"model (--model): {kind} cannot take two slices ({words_of(error)}), {expected}") from error
    made = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if made != [2, classes, *shape]:
        raise ValueError(f"model (--model): {kind} makes {made} of two slices, {expected}")


def _describe(method: Method, cohort: Cohort, split: Split, preset: Preset, seed: int, network: dict) -> dict:
    """What a run is, but for the settings of its stages, as JSON has it."""
    seen = {*split.train, *split.val, *(split.test if any(stage.options.get("test_images") for stage in method.stages) else ())}
    learned = {v.name: v.content for v in cohort.volumes if v.name in seen}
    return json.loads(json.dumps({
        "method": method.describe(), "data": cohort.source, "cohort": cohort.name, "fingerprint": cohort.fingerprint,
        "classes": cohort.classes, "grid": asdict(cohort.grid), "labels": split.labelled_fraction, "labelled": split.labelled,
        "codes": asdict(cohort.codes), "learned": learned, "split": split.seed, "seed": seed, "preset": preset.name,
        "network": network,
    }, default=plain))  # fmt: skip
