"""A run: one training, as its plan says, into a folder that holds all there is to know of it, complete or resumable."""

import copy
import itertools
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from .arguments import check_seed
from .data import Codes, Cohort, Grid, Split, load, load_split, save_split, scan_profile
from .files import cache_folder, content_of, from_json, versions, write_atomic
from .identity import difference
from .loop import Step, as_lines, read_history, run, same_numbers, seeded, steps_in
from .machine import UNABLE, described, device_of, duration, machine
from .names import check_run, counted
from .networks import Builder, load_network, load_weights, save_weights
from .plan import Plan, PlannedStage
from .predict import with_prediction
from .stages import Method
from .unet import UNet

__all__ = ["Run", "forecast", "learned_from", "read_run"]


class _MethodFile(TypedDict):
    """How a method is asked."""

    name: str
    looks: bool
    neighbours: NotRequired[float]


class _CodesFile(TypedDict):
    """What the numbers of label files meant."""

    classes: list[list[int]]
    other: NotRequired[int | None]
    ignore: NotRequired[list[int]]


class _NetworkFile(TypedDict):
    """What builds the network; the package's own has the sizes too."""

    classes: int
    model: NotRequired[str]
    width: NotRequired[int]
    depth: NotRequired[int]


class _GridFile(TypedDict):
    """The raster of its slices."""

    size: int
    fit: NotRequired[str]
    axis: NotRequired[int]
    orientation: NotRequired[str]


class _DataFile(TypedDict):
    """Where its scans are: arguments of `load`."""

    cohort: str


class _SeenFile(TypedDict):
    """The scans that it was trained on: lowest and highest of each."""

    kinds: list[str]
    orientation: str
    axis: int
    shape: list[list[float]] | None
    spacing: list[list[float]] | None
    levels: list[list[float]] | None
    channel: NotRequired[int | None]


class _CodeFile(TypedDict):
    """What code it was trained by: digits that change with it."""

    stages: dict[str, str]
    network: NotRequired[str]


class _RunFile(TypedDict):
    """What run.json holds, as far as it is read."""

    method: _MethodFile
    network: _NetworkFile
    grid: _GridFile
    data: _DataFile
    fingerprint: str
    classes: list[str]
    stages: dict[str, dict]
    finished: bool
    labels: NotRequired[float]
    seed: NotRequired[int]
    preset: NotRequired[str]
    codes: NotRequired[_CodesFile]
    code: NotRequired[_CodeFile]
    learned: NotRequired[dict[str, list[str]]]
    seen: NotRequired[_SeenFile]


class _BegunStage(TypedDict):
    """A stage of a run that was begun, as far as it is read."""

    precision: str


class _BegunFile(TypedDict):
    """What run.json holds of a run that was begun, as far as it is read."""

    stages: NotRequired[dict[str, _BegunStage]]


@dataclass(frozen=True)
class Run:
    """A trained method: network, split, settings, history."""

    folder: Path  # the RUN folder
    model: UNet  # trained, on the CPU, asked as its method says; or a network of your own
    method: Method  # what was trained
    split: Split  # on whom
    settings: dict  # the content of run.json
    history: list[Step]  # all stages, in order

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort that it was trained on, turned as it was then; FileNotFoundError where it is no longer there."""
        data, way = self.settings["data"], self.settings["grid"].get("orientation")
        try:
            found = load(**data)
            return load(**data | {"orientation": way}) if way and found.grid.orientation != way else found  # most files may lie otherwise now
        except FileNotFoundError as error:
            where = self.settings["data"].get("data", self.settings["data"]["cohort"])
            todo = f"name where they are now, with --data ({error})"
            raise FileNotFoundError(f"{self.folder}: the scans that it was trained on, {where}, are not there; {todo}") from error
        except (OSError, TypeError, ValueError) as error:
            todo = "name where they are, with --data"
            raise ValueError(f"{self.folder}: the scans that its run.json names as 'data' cannot be loaded ({error}); {todo}") from error

    @property
    def codes(self) -> Codes:
        """What the numbers of its label files meant; no numbers where run.json, being older, does not say."""
        kept = self.settings.get("codes", {"classes": ()})
        return Codes(tuple((number, index) for number, index in kept["classes"]), kept.get("other"), tuple(kept.get("ignore", ())))

    def after(self, stage: str) -> UNet:
        """The network as it was after a stage ("initial", "global", "local", "finetune"), asked as `model` is."""
        network = copy.deepcopy(self.model)
        load_weights(network, self.folder / f"{stage}.pt")
        return network.eval()

    @property
    def stages(self) -> list[str]:
        """The stages whose weights are there, "initial" first."""
        return [name for name in ("initial", *self.settings["stages"]) if (self.folder / f"{name}.pt").exists()]

    def __repr__(self) -> str:
        return f"Run({self.folder}: {self.method}, {counted(len(self.split.labelled), 'labelled volume')}, {counted(len(self.history), 'step')})"


def learned_from(run: Run, cohort: Cohort) -> list[str] | None:
    """The cohort's volumes with an image that the run trained on or was chosen by; None where run.json, being older, does not say."""
    if "learned" not in run.settings:
        return None
    names, known = run.settings["learned"], {mark for marks in run.settings["learned"].values() for mark in marks if mark}
    its = cohort.fingerprint == run.settings["fingerprint"]  # those of generated scans have no file that is marked
    return [volume.name for volume in cohort.volumes if (its and volume.name in names) or known & set(volume.content)]


def read_run(path: str | Path, model: Builder | str | None = None) -> Run:
    """A finished run from its folder, `path`; `model` builds a network of your own. FileNotFoundError or ValueError where there is none."""
    folder = Path(path)
    check_run(folder)
    try:
        settings = from_json(content_of(folder / "run.json"), _RunFile)
        own = settings["method"]
        method = Method(own["name"], (), looks=own["looks"], neighbours=own.get("neighbours", 0.0))
        _check_settings(settings)
        how = method.prediction
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'run.json'}: is damaged ({error}); train the run again") from error
    if not settings["finished"]:
        raise ValueError(f"{folder}: this run isn't finished; go on with the same command and --resume")
    network = settings["network"]
    if "model" in network and model is None:
        why = f"{folder}: its network was built by {network['model']}, and no code is imported because a file names it"
        raise ValueError(f"{why}; name it yourself: --model {network['model']}, or load_run(folder, model=...)")
    net = load_network(network, folder / "model.pt", model, settings.get("seed", 0), settings.get("code", {}).get("network", "")).eval()
    parts = load_split(folder / "split.json")
    if parts.fingerprint != settings["fingerprint"]:
        raise ValueError(f"{folder}: split.json and run.json are of two cohorts; train the run again")
    return Run(folder, with_prediction(net, how), method, parts, settings, read_history(folder / "history.jsonl"))


def _check_settings(settings: _RunFile) -> None:
    """Raise a ValueError or TypeError for a run.json that cannot be right."""
    Grid(**settings["grid"])
    check_seed("seed", settings.get("seed", 0))
    classes: list[str] = settings["classes"]
    codes = settings.get("codes", _CodesFile(classes=[]))
    if any(len(pair) != 2 for pair in codes["classes"]):
        raise ValueError("its 'codes' are no pairs of a number and a class")
    known = {index for _, index in codes["classes"]} | {codes.get("other") or 0}
    if known - {*range(len(classes))} or (codes["classes"] and len(known) < len(classes)):
        raise ValueError("its 'codes' are not those of its classes")
    if settings["network"]["classes"] != len(classes):
        raise ValueError(f"it names {len(classes)} classes for a network of {settings['network']['classes']}")
    if len({name.strip().casefold() for name in classes}) < len(classes) or not all(map(str.strip, classes)):
        raise ValueError("two of its classes have one name, or one has none")
    if odd := [name for name in settings["stages"] if Path(name).name != name]:
        raise ValueError(f"its stage {odd[0]!r} is no name of a file")
    for name, columns in {"shape": 3, "spacing": 3, "levels": 2}.items():
        if (ends := settings["seen"][name] if "seen" in settings else None) and [len(row) for row in ends] != [columns] * 2:  # type: ignore[literal-required]
            raise ValueError(f"its 'seen' has a {name} that is not two rows of {columns} numbers")


def read_settings(folder: str | Path | None) -> dict:
    """What run.json in a RUN `folder` says so far, nothing where there is none; ValueError where it is damaged."""
    path = Path(folder or "no folder yet") / "run.json"
    try:
        return from_json(content_of(path), _BegunFile) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); delete the folder, or choose another") from error


def begun_in(folder: str | Path | None) -> dict[str, str]:
    """The precision of each stage of a run that was begun in a RUN `folder`."""
    return {name: settings["precision"] for name, settings in read_settings(folder).get("stages", {}).items()}


def open_folder(out: str | Path | None, about: dict, resume: bool) -> Path:
    """Make a RUN folder ready, a temporary one for None, or refuse one that is in use or belongs to another run than `about` says."""
    if resume and not out:
        raise ValueError("resume: found True without a folder, expected the RUN folder of a run to go on with; name it with out=")
    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="semicon-run-"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, expected a new or empty folder; choose another")
    there = [path.name for path in folder.iterdir() if path.name != ".lock"] if folder.exists() else []
    if there and not resume:
        raise ValueError(f"{folder}: holds files already; go on with a run by --resume (resume=True), or choose another")
    found = read_settings(folder)
    if resume and not found and any(not name.endswith(".partial") for name in there):
        raise ValueError(f"{folder}: holds something else (no run.json), expected a run to go on with; choose another folder")
    if found:
        beside = ("data", "cohort", "code")  # the same scans may lie elsewhere now
        ours = {name: value for name, value in about.items() if name not in beside}
        if differs := difference({name: found.get(name) for name in ours}, ours):
            raise ValueError(f"{folder}: holds another run ({differs}); use the same settings, or choose another folder")
        _check_same_code(folder, found, about["code"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_same_code(folder: Path, found: dict, code: dict) -> None:
    """Raise a ValueError where a run that isn't finished was begun with other code than this; older ones do not say."""
    begun = found.get("code")
    if isinstance(begun, dict) and not found.get("finished") and (differs := difference(begun, code)):
        todo = "go on with the code that it was begun with, or choose another folder"
        raise ValueError(f"{folder}: was begun with other code, of this package, of your own or of another Python ({differs}); {todo}")


def _check_same_people(folder: Path, split: Split) -> None:
    """Raise a ValueError where a run was begun in the folder with other people in train, validation or test than this split has."""
    path = folder / "split.json"
    if path.exists() and replace(load_split(path), cohort=split.cohort) != split:
        raise ValueError(f"{path}: deals people otherwise than the split given here; go on with that split, or choose another folder")


def in_cache(key: str) -> Path | None:
    """The weights that are kept under a stage's key, their history beside them; None where they aren't there."""
    place = place_of(key)
    return place if all(map(os.path.exists, (place, place.with_suffix(".jsonl")))) else None


def place_of(key: str) -> Path:
    """Where the cache keeps the weights of a stage under its `key`."""
    return cache_folder() / "stages" / f"{key}.pt"


def _time_stage(model: UNet, plan: Plan, planned: PlannedStage, patience: float = 0.3) -> tuple[float, float]:
    """Seconds of a step of a stage, and of a measurement on the validation subjects; after `patience` seconds two steps are enough."""
    settings = planned.settings
    short = replace(settings, steps=4, validate_every=2 * bool(settings.validate_every))
    took, beside = [], 0.0
    with same_numbers():
        began = last = time.perf_counter()
        own = {"seed": plan.seed, "folder": None, "resume": False, **planned.stage.options}
        steps = planned.stage.train(copy.deepcopy(model), plan.cohort, plan.split, short, **own)
        for step in itertools.islice(steps, 4):
            took.append(step.seconds)
            last, beside = time.perf_counter(), time.perf_counter() - last - step.seconds
            if len(took) == 2 and last - began > patience:
                break
    return float(np.mean(took[1:] or took or [0.0])), max(0.0, beside) if settings.validate_every else 0.0


_TIMES: dict[tuple, tuple[float, float]] = {}
"""Times that were taken in this process: methods that are compared share stages."""


def _steps_left(planned: PlannedStage, number: int, folder: Path | None) -> int:
    """Steps of a stage that are neither in the RUN folder nor in the cache."""
    place = folder or Path("no folder yet")
    if (place / f"{planned.stage.name}.pt").exists() or (planned.shared and in_cache(planned.key)):
        return 0
    history = read_history(place / "checkpoints" / str(number) / "history.jsonl")
    return max(0, planned.settings.steps - max((step.step for step in history), default=0))


def _seconds_left(model: UNet, plan: Plan, folder: Path | None) -> dict[str, float]:
    """About how many seconds each stage will take with the model where it is, 0 where nothing is left to do."""
    seconds = {}
    for number, planned in enumerate(plan.stages):
        settings, left = planned.settings, _steps_left(planned, number, folder)
        every, seconds[planned.stage.name] = settings.validate_every, 0.0
        if left:
            alike = replace(settings, steps=0, warmup=0, validate_every=int(bool(every)))
            where = plan.cohort.fingerprint, str(plan.about["network"]), str(device_of(model)), torch.get_num_threads()
            key = (planned.stage.train, str(planned.stage.options), alike, *where)
            step, look = _TIMES[key] = _TIMES.get(key) or _time_stage(model, plan, planned)
            looks = settings.steps // every - (settings.steps - left) // every + (settings.steps % every > 0) if every else 0
            seconds[planned.stage.name] = left * step + looks * look
    return seconds


def _ready(plan: Plan, folder: Path | None, progress: bool = False, timed: bool = True) -> tuple[UNet, dict[str, float]]:
    """The plan's network where it will be trained, and `forecast`, if `timed`; on the CPU where Apple's MPS cannot train it."""
    mps = plan.device.type == "mps"
    try:
        model = copy.deepcopy(plan.network).to(plan.device)
        return model, _seconds_left(model, plan, folder) if timed or mps else {}
    except UNABLE as error:
        if not mps:
            raise
        if progress:
            print(f"device: Apple's MPS cannot train {plan.method} ({str(error).splitlines()[0]}); the CPU does")
    return _ready(replace(plan, device=torch.device("cpu")), folder, progress, timed)


def forecast(plan: Plan, folder: str | Path | None = None) -> dict[str, float]:
    """About how many seconds each stage of a run will take on this machine, 0 where nothing is left to do.

    `folder` is the RUN folder, perhaps of an interrupted run.
    """
    return _ready(plan, Path(folder) if folder else None)[1]


def _outlook(seconds: dict[str, float]) -> str:
    """About how long a run will take, in words."""
    if not (total := sum(seconds.values())):
        return "nothing is left to train"
    each = [f"{stage} {duration(left)}" if left else f"{stage} is there" for stage, left in seconds.items()]
    return f"about {duration(total)}" + (f": {', '.join(each)}" if len(each) > 1 else "")


def _first_line(plan: Plan, device: torch.device, seconds: dict[str, float]) -> str:
    """Precision, device and about how long, before the first step."""
    words = " and ".join(sorted({planned.settings.precision for planned in plan.stages}))
    return f"{words} on {described(device)}{plan.why}; {_outlook(seconds)}"


def execute(plan: Plan, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train what was planned into the RUN folder `out`, or a temporary one, and return it.

    With `resume`, go on with one that was interrupted. `progress`: a line beforehand, a bar.
    """
    folder = open_folder(out, plan.about, resume)
    _check_same_people(folder, plan.split)
    lock = folder / ".lock"
    try:
        with FileLock(lock, timeout=0):
            if not (folder / "model.pt").exists() or not read_settings(folder).get("finished"):
                _train(plan, folder, progress)
    except Timeout as error:
        todo = "wait for it, or choose another folder"
        raise ValueError(f"{folder}: another process is training this run; {todo}") from error
    lock.unlink(missing_ok=True)
    return folder


def _train(plan: Plan, folder: Path, progress: bool) -> None:
    """Train all stages into a folder, from run.json that says so to run.json that says it is finished."""
    started, (model, seconds) = time.time() - _spent(folder), _ready(plan, folder, progress, timed=progress)
    device = device_of(model)
    if progress:
        print(_first_line(plan, device, seconds))
    learned = replace(plan.cohort, volumes=tuple(volume for volume in plan.cohort.volumes if volume.name in plan.split.train))
    facts = {**plan.about, "seen": scan_profile(learned), "versions": versions(), "machine": machine(device), "finished": False}
    write_atomic(folder / "run.json", json.dumps(facts, indent=1))
    save_split(plan.split, folder / "split.json")
    save_weights(folder / "initial.pt", model)
    times = _train_stages(model, plan, folder, seconds, progress)
    save_weights(folder / "model.pt", model)
    facts |= {"finished": True, "trained": times, "seconds": round(time.time() - started, 1)}
    write_atomic(folder / "run.json", json.dumps(facts, indent=1))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _spent(folder: Path) -> float:
    """Seconds that the steps of a run took before it was interrupted, those from the cache not included."""
    places = {path.parent for path in (folder / "checkpoints").glob("*/*.pt")}  # where a stage was trained
    return sum(step.seconds for place in places for step in read_history(place / "history.jsonl"))


def _train_stages(model: UNet, plan: Plan, folder: Path, seconds: dict[str, float], progress: bool) -> dict[str, dict]:
    """Train or restore each stage in turn, one bar over all, leaving weights and history in the folder; what each took."""
    times, history, end, total = {}, "", 0.0, sum(seconds.values())
    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    how: dict[str, Any] = {"bar_format": form, "smoothing": 0.05, "mininterval": 0.5, "dynamic_ncols": True}
    with tqdm(total=total, disable=not (progress and total), **how) as bar:
        for number, planned in enumerate(plan.stages):
            name, left = planned.stage.name, seconds.get(planned.stage.name, 0.0)
            steps, reused = _take_stage(model, plan, number, folder, bar, left)
            end += left
            bar.update(min(end, total) - bar.n)
            spent = round(sum(step.seconds for step in steps), 2)
            times[name] = {"key": planned.key, "reused": reused, "steps": len(steps), "seconds": spent}
            history += as_lines(steps)
    write_atomic(folder / "history.jsonl", history)
    return times


def _take_stage(model: UNet, plan: Plan, number: int, folder: Path, bar: tqdm, left: float) -> tuple[list[Step], bool]:
    """Take a stage that is in the folder or in the cache, or train it, and leave it in both.

    Its steps come back, and whether they came from the cache. The bar moves by `left`, the stage's seconds, in all.
    """
    planned = plan.stages[number]
    stage, kept = planned.stage, place_of(planned.key)
    weights, history = folder / f"{stage.name}.pt", folder / "checkpoints" / str(number) / "history.jsonl"
    with _cache_of(kept) if planned.shared else nullcontext():
        fresh = planned.shared and not weights.exists() and bool(in_cache(planned.key))
        if fresh:
            write_atomic(history, kept.with_suffix(".jsonl").read_bytes())
            write_atomic(weights, kept.read_bytes())
        taken = planned.shared and weights.exists() and history.exists()
        reused = fresh or (taken and not any(history.parent.glob("*.pt")))  # which training leaves
        steps = read_history(history)
        whole = not fresh or [step.step for step in steps] == [*range(1, planned.settings.steps + 1)]
        if not (whole and _loaded(model, weights)):
            if weights.exists():
                print(f"{kept if fresh else weights}: is damaged; this stage is trained anew")
            own = {"seed": plan.seed, "folder": history.parent, "resume": True, **stage.options}
            share = left / max(1, planned.settings.steps - len(steps))
            steps_of = stage.train(model, plan.cohort, plan.split, planned.settings, **own)
            run(seeded(steps_of, steps_in(history.parent), plan.seed, stage.name), bar=bar, share=share)
            steps, reused = read_history(history), False
            save_weights(weights, model)
            if planned.shared:
                _keep(kept, weights, steps)
    return steps, reused


@contextmanager
def _cache_of(kept: Path) -> Iterator[None]:
    """Nobody else trains the stage that is `kept` there; a cache that cannot be written costs only time."""
    lock = FileLock(f"{kept}.lock")
    with suppress(OSError):  # which is told where there is something to keep
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _keep(kept: Path, weights: Path, steps: list[Step]) -> None:
    """Put a stage's weights and history into the cache, or say why not."""
    try:
        write_atomic(kept.with_suffix(".jsonl"), as_lines(steps))
        write_atomic(kept, weights.read_bytes())
    except OSError as error:
        warnings.warn(f"{kept}: not kept ({error}); set SEMICON_CACHE to a folder that can be written", stacklevel=3)


def _loaded(model: UNet, weights: Path) -> bool:
    """Whether there is a file of weights, which are then in the network."""
    try:
        load_weights(model, weights)
    except (FileNotFoundError, ValueError):
        return False
    return True
