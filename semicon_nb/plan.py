"""Plan, then execute: what a run does is made once, as a value; running it only reads that value."""

import copy
import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from filelock import FileLock, Timeout
from tqdm import tqdm

from .data import Cohort, Split, save_split, scan_profile
from .files import cache_folder, content_key, versions, write_atomic
from .identity import code_key
from .loop import StageSettings, Step, run
from .machine import UNABLE, chosen_device, chosen_precision, described, device_of, duration, machine
from .networks import Builder, build, network_facts, path_of, load_weights, save_weights
from .predict import evaluating
from .runs import Run, open_folder, read_history, read_run, read_settings
from .stages import Method, Preset, Stage, settings_for, with_precision
from .unet import UNet

__all__ = ["check_network", "forecast", "plan_run"]


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
    preset: Preset  # as it was asked for
    seed: int  # of weights, slices and views
    model: Builder | str | None  # what builds a network of your own
    device: torch.device  # where it is trained
    folder: Path | None  # RUN folder, perhaps of an interrupted run; None for a temporary one
    stages: tuple[PlannedStage, ...]  # in their order
    about: dict  # the part of run.json that a resumed run must agree with

    def first_weights(self) -> UNet:
        """The network before its first step, on the CPU."""
        return build(self.about["network"], self.seed, self.model)

    def steps_done(self, number: int) -> int:
        """Steps of the stage of this number that need not be trained any more."""
        planned, place = self.stages[number], self.folder or Path("no folder yet")
        if (place / f"{planned.stage.name}.pt").exists() or (planned.shared and in_cache(planned.key)):
            return planned.settings.steps
        history = read_history(place / "checkpoints" / str(number) / "history.jsonl")
        return min(planned.settings.steps, max((step.step for step in history), default=0))


def plan_run(
    method: Method,  # stages to train
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    preset: Preset,  # network and stage settings
    seed: int = 0,  # of weights, slices and views
    out: str | Path | None = None,  # RUN folder, perhaps of an interrupted run; None for a temporary one
    cache: bool = True,  # use and keep pre-trained stages
    model: Builder | str | None = None,  # what builds a network of your own
    device: str | torch.device = "auto",  # where to train
) -> Plan:
    """What a run will do, stage by stage; ValueError for what cannot be trained."""
    there, folder = chosen_device(device), Path(out) if out else None
    begun = {name: settings["precision"] for name, settings in read_settings(folder).get("stages", {}).items()}
    fixed = with_precision(preset, there, begun)
    settings = [settings_for(stage, fixed, cohort, split) for stage in method.stages]
    network = preset.network(len(cohort.classes)) if model is None else {"model": path_of(model), "classes": len(cohort.classes)}
    facts = network
    if model is not None:
        net = build(network, seed, model)
        check_network(net, method, len(cohort.classes), cohort.images.shape[1:])
        facts = network_facts(network, net)
    stages, key = [], ""
    for number, (stage, own) in enumerate(zip(method.stages, settings, strict=True), 1):
        key = stage_key(stage, own, cohort, split, facts, seed, key)
        stages.append(PlannedStage(stage, own, key, cache and number < len(settings)))
    about = _describe(method, cohort, split, preset, seed, network, stages)
    return Plan(method, cohort, split, preset, seed, model, there, folder, tuple(stages), about)


def check_network(network: nn.Module, method: Method, classes: int, shape: Sequence[int]) -> None:
    """Raise a ValueError that names what the method asks for and a network of your own, for slices of a `shape` and so many `classes`, does not have."""
    kind = type(network).__name__
    missing = {name: stage.name for stage in method.stages for name in stage.needs if not hasattr(network, name)}
    if missing:
        wanted = "; ".join(f"{NEEDS.get(name, name)} for the {stage} stage" for name, stage in missing.items())
        raise ValueError(f"model: {kind} has no {', '.join(missing)}, but {method} asks for {wanted}")
    with evaluating(network):
        found = network(torch.zeros(2, 1, *shape))
    if list(found.shape) != [2, classes, *shape]:
        raise ValueError(f"model: {kind} makes {list(found.shape)} of two slices, expected logits {[2, classes, *shape]}")


def stage_key(stage: Stage, settings: StageSettings, cohort: Cohort, split: Split, network: dict, seed: int, before: str) -> str:
    """Sixteen digits that are the same for stages that would end with the same weights.

    `network` are the arguments of UNet, or `network_facts`; `before` is the key of the stage before, "" for the first.
    """
    known: dict[str, tuple] = {"images": split.train if stage.images == "train" else split.labelled}
    known |= {"labels": split.labelled if stage.labels else ()}
    known |= {"outlined": split.outlined} if stage.labels and split.outlined is not None else {}
    plain = {name: value for name, value in asdict(settings).items() if name != "save_every"}
    code = code_key(stage.train, *(type(value) for value in stage.options.values()))
    return content_key(stage.describe(), plain, cohort.fingerprint, known, network, seed, before, code)


def _describe(method: Method, cohort: Cohort, split: Split, preset: Preset, seed: int, network: dict, stages: list[PlannedStage]) -> dict:
    """What a run is, as JSON has it."""
    learned = {v.name: v.content for v in cohort.volumes if v.name in {*split.train, *split.val}}
    return json.loads(json.dumps({
        "method": method.describe(), "data": cohort.source, "cohort": cohort.name, "fingerprint": cohort.fingerprint,
        "classes": cohort.classes, "grid": asdict(cohort.grid), "labels": split.labelled_fraction, "labelled": split.labelled,
        "codes": asdict(cohort.codes), "learned": learned, "split": split.seed, "seed": seed, "preset": preset.name,
        "network": network, "stages": {planned.stage.name: asdict(planned.settings) for planned in stages},
    }))  # fmt: skip


def in_cache(key: str) -> Path | None:
    """The weights that are kept under a stage's key, their history beside them; None where they aren't there."""
    place = cache_folder() / "stages" / f"{key}.pt"
    return place if place.exists() and place.with_suffix(".jsonl").exists() else None


def keep_stage(key: str, steps: list[Step], model: UNet) -> None:
    """Keep a stage's weights under its key, its history beside them."""
    place = cache_folder() / "stages" / f"{key}.pt"
    write_atomic(place.with_suffix(".jsonl"), _lines(steps))
    save_weights(place, model)


def _cached(model: UNet, planned: PlannedStage) -> list[Step] | None:
    """A stage's steps, and its weights in the network, from the cache; None where they aren't there, or not whole."""
    if not (place := in_cache(planned.key)):
        return None
    try:
        steps = read_history(place.with_suffix(".jsonl"))
        if [step.step for step in steps] != [*range(1, planned.settings.steps + 1)]:
            raise ValueError("a step is missing")
        load_weights(model, place)
    except ValueError:
        print(f"{place}: is damaged; this stage is trained anew")
        return None
    return steps


def _lines(steps: list[Step]) -> str:
    """Steps as a history file holds them."""
    return "".join(json.dumps(asdict(step)) + "\n" for step in steps)


@contextmanager
def _same_numbers() -> Iterator[None]:
    """Random numbers after the block are those that would have come without it."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _time_stage(model: UNet, plan: Plan, number: int, patience: float = 0.3) -> tuple[float, float]:
    """Seconds of a step of a stage, and of a measurement on the validation subjects; after `patience` seconds two steps are enough."""
    stage, settings = plan.stages[number].stage, plan.stages[number].settings
    short = replace(settings, steps=4, validate_every=2 * bool(settings.validate_every))
    took, beside = [], 0.0
    with _same_numbers():
        began = last = time.perf_counter()
        own = {"seed": plan.seed, "folder": None, "resume": False, **stage.options}
        steps = stage.train(copy.deepcopy(model), plan.cohort, plan.split, short, **own)
        for step in itertools.islice(steps, 4):
            took.append(step.seconds)
            last, beside = time.perf_counter(), time.perf_counter() - last - step.seconds
            if len(took) == 2 and last - began > patience:
                break
    return float(np.mean(took[1:] or took or [0.0])), max(0.0, beside) if settings.validate_every else 0.0


_TIMES: dict[str, tuple[float, float]] = {}
"""Times that were taken in this process: methods that are compared share stages."""


def _seconds_left(model: UNet, plan: Plan) -> dict[str, float]:
    """About how many seconds each stage will take with the model where it is, 0 where nothing is left to do."""
    seconds = {}
    for number, planned in enumerate(plan.stages):
        settings, done = planned.settings, plan.steps_done(number)
        every, seconds[planned.stage.name] = settings.validate_every, 0.0
        if done < settings.steps:
            alike = replace(settings, steps=0, warmup=0, validate_every=bool(every))
            place = str(device_of(model)), torch.get_num_threads()
            what = replace(planned.stage, longer=1.0, changes={}).describe()
            key = content_key(alike, what, plan.about["network"], plan.cohort.fingerprint, place)
            step, look = _TIMES[key] = _TIMES.get(key) or _time_stage(model, plan, number)
            looks = settings.steps // every - done // every + (settings.steps % every > 0) if every else 0
            seconds[planned.stage.name] = (settings.steps - done) * step + looks * look
    return seconds


def _ready(plan: Plan, progress: bool = False, timed: bool = True) -> tuple[Plan, UNet, dict[str, float]]:
    """The plan, its first network where it will be trained, and `forecast`, if `timed`; for the CPU where Apple's MPS cannot train it."""
    model = plan.first_weights()
    try:
        return plan, model.to(plan.device), _seconds_left(model, plan) if timed or plan.device.type == "mps" else {}
    except UNABLE as error:
        if plan.device.type != "mps":
            raise
        if progress:
            print(f"device: Apple's MPS cannot train {plan.method} ({str(error).splitlines()[0]}); the CPU does")
    cache = any(planned.shared for planned in plan.stages)
    same = plan_run(plan.method, plan.cohort, plan.split, plan.preset, plan.seed, plan.folder, cache, plan.model, "cpu")
    return _ready(same, progress, timed)


def forecast(plan: Plan) -> dict[str, float]:
    """About how many seconds each stage of a run will take on this machine, 0 where nothing is left to do."""
    return _ready(plan)[2]


def _outlook(seconds: dict[str, float]) -> str:
    """About how long a run will take, in words."""
    if not (total := sum(seconds.values())):
        return "nothing is left to train"
    each = [f"{stage} {duration(left)}" if left else f"{stage} is there" for stage, left in seconds.items()]
    return f"about {duration(total)}" + (f": {', '.join(each)}" if len(each) > 1 else "")


def _first_line(plan: Plan, seconds: dict[str, float]) -> str:
    """Precision, device and about how long, before the first step."""
    words = " and ".join(sorted({planned.settings.precision for planned in plan.stages}))
    here = with_precision(plan.preset, plan.device)
    usual = [settings_for(planned.stage, here, plan.cohort, plan.split).precision for planned in plan.stages]
    other = usual != [planned.settings.precision for planned in plan.stages]
    why = f", as the run was begun (this machine would choose {chosen_precision(plan.device)})" if other else ""
    return f"{words} on {described(plan.device)}{why}; {_outlook(seconds)}"


def execute(plan: Plan, resume: bool = False, progress: bool = True) -> Run:
    """Train what was planned and write the RUN folder; with `resume`, go on with one that was interrupted. `progress`: a line beforehand, a bar."""
    folder = open_folder(plan.folder, plan.about, resume)
    lock = folder / ".lock"
    try:
        with FileLock(lock, timeout=0):
            if not (folder / "model.pt").exists() or not read_settings(folder).get("finished"):
                _train(replace(plan, folder=folder), progress)
            done = replace(read_run(folder, plan.model), method=plan.method)
    except Timeout as error:
        todo = "wait for it, or choose another folder"
        raise ValueError(f"{folder}: another process is training this run; {todo}") from error
    lock.unlink(missing_ok=True)
    return done


def _train(plan: Plan, progress: bool) -> None:
    """Train all stages into the plan's folder, from run.json that says so to run.json that says it is finished."""
    started, (plan, model, seconds) = time.time(), _ready(plan, progress, timed=progress)
    if progress:
        print(_first_line(plan, seconds))
    folder = cast(Path, plan.folder)
    facts = {**plan.about, "seen": scan_profile(plan.cohort), "versions": versions(), "machine": machine(plan.device), "finished": False}
    write_atomic(folder / "run.json", json.dumps(facts, indent=1))
    save_split(plan.split, folder / "split.json")
    save_weights(folder / "initial.pt", model)
    times = _train_stages(model, plan, seconds, progress)
    save_weights(folder / "model.pt", model)
    facts |= {"finished": True, "trained": times, "seconds": round(time.time() - started, 1)}
    write_atomic(folder / "run.json", json.dumps(facts, indent=1))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _train_stages(model: UNet, plan: Plan, seconds: dict[str, float], progress: bool) -> dict[str, dict]:
    """Train or restore each stage in turn, one bar over all, leaving weights and history in the folder; what each took."""
    times, end, total = {}, 0.0, sum(seconds.values())
    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    how: dict[str, Any] = {"bar_format": form, "smoothing": 0.05, "mininterval": 0.5, "dynamic_ncols": True}
    with tqdm(total=total, disable=not (progress and total), **how) as bar:
        for number, planned in enumerate(plan.stages):
            name, left = planned.stage.name, seconds.get(planned.stage.name, 0.0)
            reused = _take_stage(model, plan, number, bar, left / max(1, planned.settings.steps - plan.steps_done(number)))
            end += left
            bar.update(min(end, total) - bar.n)
            done = [step for step in read_history(cast(Path, plan.folder) / "history.jsonl") if step.stage == name]
            spent = round(sum(step.seconds for step in done), 2)
            times[name] = {"key": planned.key, "reused": reused, "steps": len(done), "seconds": spent}
    return times


def _take_stage(model: UNet, plan: Plan, number: int, bar: tqdm, share: float) -> bool:
    """Take a stage from the folder or the cache, or train it, and leave it in the folder; whether it came from the cache.

    The bar moves by `share` with each step.
    """
    planned, folder = plan.stages[number], cast(Path, plan.folder)
    stage, place, kept = planned.stage, folder / "checkpoints" / str(number), cache_folder() / "stages"
    if (folder / f"{stage.name}.pt").exists():
        load_weights(model, folder / f"{stage.name}.pt")
        return False
    if planned.shared:
        kept.mkdir(parents=True, exist_ok=True)
    with FileLock(kept / f"{planned.key}.pt.lock") if planned.shared else nullcontext():
        steps = _cached(model, planned) if planned.shared else None
        if not (reused := steps is not None):
            own = {"seed": plan.seed, "folder": place, "resume": True, **stage.options}
            run(stage.train(model, plan.cohort, plan.split, planned.settings, **own), bar=bar, share=share)
            steps = read_history(place / "history.jsonl")
            if planned.shared:
                keep_stage(planned.key, steps, model)
    others = [step for step in read_history(folder / "history.jsonl") if step.stage != stage.name]
    write_atomic(folder / "history.jsonl", _lines([*others, *(steps or ())]))
    save_weights(folder / f"{stage.name}.pt", model)
    return reused
