"""A folder that holds all there is to know of one training, complete or resumable"""

__all__ = [
    "save_weights",
    "read_weights",
    "build",
    "Run",
    "learned_from",
    "read_history",
    "read_run",
    "rebuilt",
    "stage_key",
    "network_facts",
    "Plan",
    "in_cache",
    "cached_stage",
    "description",
    "open_folder",
    "forecast",
    "outlook",
    "run_stages",
    "train_run",
]


import copy
import inspect
import io
import itertools
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from .data import Codes, Cohort, Grid, Split, load, load_split, save_split
from .files import cache_folder, content_key, versions, write_atomic
from .identity import code_key, source_of
from .data import seen
from .loop import StageSettings, Step, run
from .machine import UNABLE, chosen_device, chosen_precision, described, duration, machine
from .names import check_run
from .semisupervised import AveragedUNet
from .stages import Builder, Method, Preset, Stage, built, check_network, path_of, settings_for, settled
from .unet import UNet


def save_weights(
    path: str | Path,  # file to write
    model: torch.nn.Module,  # whose weights
) -> Path:
    """Write a network's weights, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in model.state_dict().items()}, buffer)
    return write_atomic(path, buffer.getvalue())


def read_weights(
    path: str | Path,  # file to read
) -> dict:
    """Weights by name; an error that names the file where it is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file of weights; was the stage trained?")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: is no file of weights, or a damaged one ({type(error).__name__}); train the run again") from error


def build(
    network: dict,  # arguments of UNet; of a network of your own its import path "model" and its number of "classes"
    looks: bool = False,  # average over several looks when predicting
    seed: int = 0,  # of the first weights
    model: Builder | str | None = None,  # what builds a network of your own, where its import path does not lead there
) -> UNet:  # or a network of your own
    """A network whose first weights are a function of the seed."""
    if "model" in network:
        return cast(UNet, built(model or network["model"], network["classes"], seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AveragedUNet(**network) if looks else UNet(**network)


@dataclass(frozen=True)
class Run:
    """A trained method: network, split, settings, history."""

    folder: Path  # the RUN folder
    model: UNet  # trained, on the CPU, ready to predict; or a network of your own
    method: Method  # what was trained
    split: Split  # on whom
    settings: dict  # the content of run.json
    history: list[Step]  # all stages, in order

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort that it was trained on; FileNotFoundError where it is no longer there."""
        try:
            return load(**self.settings["data"])
        except FileNotFoundError as error:
            where = self.settings["data"].get("data", self.settings["data"]["cohort"])
            todo = f"name where they are now, with --data ({error})"
            raise FileNotFoundError(f"{self.folder}: the scans that it was trained on, {where}, are not there; {todo}") from error

    @property
    def codes(self) -> Codes:
        """What the numbers of its label files meant; no numbers where run.json, being older, does not say."""
        kept = self.settings.get("codes", {"classes": ()})
        return Codes(tuple((number, index) for number, index in kept["classes"]), kept.get("other"), tuple(kept.get("ignore", ())))

    def after(
        self,
        stage: str,  # "initial", "global", "local", "finetune"
    ) -> UNet:
        """The network as it was after a stage."""
        own = "model" in self.settings["network"]
        network = copy.deepcopy(self.model) if own else build(self.settings["network"])
        network.load_state_dict(read_weights(self.folder / f"{stage}.pt"))
        return network.eval()

    @property
    def stages(self) -> list[str]:
        """The stages whose weights are there, "initial" first."""
        return [name for name in ("initial", *self.settings["stages"]) if (self.folder / f"{name}.pt").exists()]

    def __repr__(self) -> str:
        return f"Run({self.folder}: {self.method}, {len(self.split.labelled)} labelled volumes, {len(self.history)} steps)"


def learned_from(
    run: Run,  # a finished one
    cohort: Cohort,  # any
) -> list[str] | None:
    """The cohort's volumes with an image that the run trained on or was chosen by; None where run.json, being older, does not say."""
    if "learned" not in run.settings:
        return None
    known = {mark for marks in run.settings["learned"].values() for mark in marks if mark}
    return [volume.name for volume in cohort.volumes if known & set(volume.content)]


def read_history(
    path: str | Path,  # history.jsonl
) -> list[Step]:
    """All steps in a history file; a line that was cut off in writing is left out."""
    steps = []
    for line in Path(path).read_text().splitlines() if Path(path).exists() else ():
        try:
            steps.append(Step(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return steps


def read_run(
    path: str | Path,  # RUN folder
    model: Builder | str | None = None,  # what builds the network, where it is your own; nothing is imported because run.json names it
) -> Run:
    """A finished run from its folder; FileNotFoundError or ValueError where there is none."""
    folder = Path(path)
    check_run(folder)
    try:
        settings = json.loads((folder / "run.json").read_text())
        own = settings["method"]
        method = Method(own["name"], (), looks=own["looks"], neighbours=own.get("neighbours", 0.0))
        network, finished, _ = settings["network"], settings["finished"], Grid(**settings["grid"])
        codes = {index for _, index in settings.get("codes", {}).get("classes", ())}
        if codes - {*range(len(settings["classes"]))} or (codes and len(codes) < len(settings["classes"])):
            raise ValueError("its 'codes' are not those of its classes")
        if missing := sorted({"data", "fingerprint", "classes", "stages"} - set(settings)):
            raise ValueError(f"it lacks {missing[0]}")
        if network["classes"] != len(settings["classes"]):
            raise ValueError(f"it names {len(settings['classes'])} classes for a network of {network['classes']}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'run.json'}: is damaged ({error}); train the run again") from error
    if not finished:
        raise ValueError(f"{folder}: this run isn't finished; go on with the same command and --resume")
    net = rebuilt(folder, network, model) if "model" in network else build(network, method.looks)
    net.load_state_dict(read_weights(folder / "model.pt"))
    net.neighbours = method.neighbours
    return Run(folder, net.eval(), method, load_split(folder / "split.json"), settings, read_history(folder / "history.jsonl"))


def rebuilt(
    folder: Path,  # of the run
    network: dict,  # "model" and "classes", from run.json
    model: Builder | str | None,  # what builds it, if it was given
) -> UNet:  # a network of your own
    """The network of a run that was not the package's; ValueError where nobody says what builds it."""
    if model is None:
        why = f"{folder}: its network was built by {network['model']}, and no code is imported because a file names it"
        raise ValueError(f"{why}; name it yourself: --model {network['model']}, or load_run(folder, model=...)")
    return build(network, model=model)


def stage_key(
    stage: Stage,  # about to be trained
    settings: StageSettings,  # its settings
    cohort: Cohort,  # slices
    split: Split,  # of which only what the stage sees matters
    network: dict,  # arguments of UNet, or `network_facts`
    seed: int,  # of weights, slices and views
    before: str,  # key of the stage before, "" for the first
) -> str:
    """Sixteen digits that are the same for stages that would end with the same weights."""
    seen = {"images": split.train if stage.images == "train" else split.labelled, "labels": split.labelled if stage.labels else ()}
    plain = {name: value for name, value in asdict(settings).items() if name != "save_every"}
    code = code_key(stage.train, *(type(value) for value in stage.options.values()))
    return content_key(stage.describe(), plain, cohort.fingerprint, seen, network, seed, before, code)


def network_facts(
    network: dict,  # "model" and "classes", as in run.json
    model: torch.nn.Module,  # with its first weights
) -> dict:
    """What makes a network of your own the same network, for `stage_key`."""
    kinds = {kind for part in model.modules() for kind in type(part).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))}
    functions = [one for kind in sorted(kinds, key=str) for one in vars(kind).values() if inspect.isfunction(one)]
    layers = re.sub(r" at 0x[0-9a-f]+", "", repr(model))
    weights = [value.detach().double().numpy() for value in model.state_dict().values()]
    return {**network, "content": content_key(layers, *map(source_of, functions), *weights)}


@dataclass(frozen=True)
class Plan:
    """A run before it starts."""

    method: Method  # stages to train
    cohort: Cohort  # slices
    split: Split  # who may be learned from
    preset: Preset  # with "fp32" or "bf16" in every stage
    seed: int  # of weights, slices and views
    network: dict  # arguments of UNet, or `network_facts`
    about: dict  # the part of run.json that a resumed run must agree with
    folder: Path | None = None  # RUN folder, where there is one
    cache: bool = True  # use and keep pre-trained stages

    @cached_property
    def stages(self) -> list[tuple[Stage, StageSettings, str]]:
        """Each stage with its settings and its key."""
        found, key = [], ""
        for stage in self.method.stages:
            settings = settings_for(stage, self.preset, self.cohort, self.split)
            key = stage_key(stage, settings, self.cohort, self.split, self.network, self.seed, key)
            found.append((stage, settings, key))
        return found

    def shared(self, number: int) -> bool:
        """Whether the cache is asked for the stage of this number; never for the last, which is what the run is for."""
        return self.cache and number < len(self.stages) - 1

    def done(self, number: int) -> int:
        """Steps of the stage of this number that need not be trained any more."""
        (stage, settings, key), place = self.stages[number], self.folder or Path("no folder yet")
        if (place / f"{stage.name}.pt").exists() or (self.shared(number) and in_cache(key)):
            return settings.steps
        history = read_history(place / "checkpoints" / str(number) / "history.jsonl")
        return min(settings.steps, max((step.step for step in history), default=0))


def in_cache(
    key: str,  # of a stage
) -> Path | None:
    """The weights that are kept under a key, their history beside them; None where they aren't there."""
    place = cache_folder() / "stages" / f"{key}.pt"
    return place if place.exists() and place.with_suffix(".jsonl").exists() else None


def cached_stage(
    model: UNet,  # trained in place
    key: str,  # of the stage
    train: Callable[[], list[Step]],  # trains it, returning its steps
) -> tuple[list[Step], bool]:
    """A stage's steps and whether its weights came from the cache; trains and keeps it where they aren't there."""
    place = cache_folder() / "stages" / f"{key}.pt"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if in_cache(key):
            model.load_state_dict(read_weights(place))
            return read_history(place.with_suffix(".jsonl")), True
        steps = train()
        write_atomic(place.with_suffix(".jsonl"), "".join(json.dumps(asdict(step)) + "\n" for step in steps))
        save_weights(place, model)
    return steps, False


def description(
    method: Method,  # stages to train
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    preset: Preset,  # network and stage settings
    seed: int,  # of weights, slices and views
    model: Builder | str | None = None,  # what builds a network of your own
) -> dict:
    """What a run is, before it starts: the part of run.json that a resumed run must agree with."""
    stages = {stage.name: asdict(settings_for(stage, preset, cohort, split)) for stage in method.stages}
    classes = len(cohort.classes)
    network = preset.network(classes) if model is None else {"model": path_of(model), "classes": classes}
    return json.loads(json.dumps({
        "method": method.describe(), "data": cohort.source, "cohort": cohort.name, "fingerprint": cohort.fingerprint,
        "classes": cohort.classes, "grid": asdict(cohort.grid), "labels": split.labelled_fraction, "labelled": split.labelled,
        "codes": asdict(cohort.codes), "learned": {v.name: v.content for v in cohort.volumes if v.name in {*split.train, *split.val}},
        "split": split.seed, "seed": seed, "preset": preset.name, "network": network, "stages": stages,
    }))  # fmt: skip


def recorded(
    folder: str | Path | None,  # RUN folder
) -> dict:
    """What run.json says so far, nothing where there is none; ValueError where it is damaged."""
    path = Path(folder or "no folder yet") / "run.json"
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); delete the folder, or choose another") from error


def difference(
    found: dict,  # settings of one run
    here: dict,  # settings of another
    within: str = "",  # where they stand
) -> str:
    """The first setting in which two runs differ, in words; empty where none does."""
    for name in [*here, *(name for name in found if name not in here)]:
        one, other = found.get(name), here.get(name)
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            return difference(one, other, f"{within}{name}: ")
        if one != other:
            return f"{within}{name} is {one!r} there and {other!r} here"
    return ""


def open_folder(
    out: str | Path | None,  # RUN folder, or None for a temporary one
    about: dict,  # description of the run
    resume: bool,  # go on with what is there
) -> Path:
    """Make a RUN folder ready, or refuse one that is in use or belongs to another run."""
    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="semicon-run-"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, expected a new or empty folder; choose another")
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise ValueError(f"{folder}: this folder is in use; go on with it by --resume (resume=True), or choose another")
    found = recorded(folder)
    if resume and not found and folder.exists() and any(not path.name.endswith(".partial") for path in folder.iterdir()):
        raise ValueError(f"{folder}: holds something else (no run.json), expected a run to go on with; choose another folder")
    if found:
        ours = {name: value for name, value in about.items() if name not in ("data", "cohort")}  # the same scans may lie elsewhere now
        if differs := difference({name: found.get(name) for name in ours}, ours):
            raise ValueError(f"{folder}: holds another run ({differs}); use the same settings, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def planned(
    method: Method,  # stages to train
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    preset: Preset,  # network and stage settings
    seed: int,  # of weights, slices and views
    out: str | Path | None,  # RUN folder, perhaps of an interrupted run
    cache: bool,  # use and keep pre-trained stages
    model: Builder | str | None,  # what builds a network of your own
    device: torch.device,  # where it will be trained
) -> tuple[Plan, UNet]:
    """The plan of a run, and its network with the first weights, on the CPU."""
    begun = {name: settings["precision"] for name, settings in recorded(out).get("stages", {}).items()}
    preset = settled(preset, device, begun)
    about = description(method, cohort, split, preset, seed, model)
    net, network = build(about["network"], seed=seed, model=model), about["network"]
    if model is not None:
        check_network(net, method, len(cohort.classes), cohort.images.shape[1:])
        network = network_facts(network, net)
    return Plan(method, cohort, split, preset, seed, network, about, Path(out) if out else None, cache), net


@contextmanager
def same_numbers() -> Iterator[None]:
    """Random numbers after the block are those that would have come without it."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def timed(
    model: UNet,  # left as it is
    plan: Plan,  # of the run
    number: int,  # of the stage
    patience: float = 0.3,  # seconds after which two steps are enough
) -> tuple[float, float]:
    """Seconds of a step of a stage, and of a measurement on the validation subjects."""
    stage, settings, _ = plan.stages[number]
    short = replace(settings, steps=4, validate_every=2 * bool(settings.validate_every))
    took, beside = [], 0.0
    with same_numbers():
        began = last = time.perf_counter()
        own = {"seed": plan.seed, "folder": None, "resume": False, **stage.options}
        steps = stage.train(copy.deepcopy(model), plan.cohort, plan.split, short, **own)
        for step in itertools.islice(steps, 4):
            took.append(step.seconds)
            last, beside = time.perf_counter(), time.perf_counter() - last - step.seconds
            if len(took) == 2 and last - began > patience:
                break
    return float(np.mean(took[1:] or took or [0.0])), max(0.0, beside) if settings.validate_every else 0.0


_TIMED: dict[str, tuple[float, float]] = {}
"""Times that were taken in this process: methods that are compared share stages."""


def seconds_left(
    model: UNet,  # where it will be trained, left as it is
    plan: Plan,  # of the run
) -> dict[str, float]:
    """About how many seconds each stage will take, 0 where nothing is left to do."""
    seconds = {}
    for number, (stage, settings, _) in enumerate(plan.stages):
        done, every, seconds[stage.name] = plan.done(number), settings.validate_every, 0.0
        if done < settings.steps:
            alike = replace(settings, steps=0, warmup=0, validate_every=bool(every))
            place = str(next(model.parameters()).device), torch.get_num_threads()
            what = replace(stage, longer=1.0, changes={}).describe()
            key = content_key(alike, what, plan.network, plan.cohort.fingerprint, place)
            step, look = _TIMED[key] = _TIMED.get(key) or timed(model, plan, number)
            looks = settings.steps // every - done // every + (settings.steps % every > 0) if every else 0
            seconds[stage.name] = (settings.steps - done) * step + looks * look
    return seconds


def foreseen(
    *run: Any,  # arguments of `planned`, in their order
) -> tuple[Plan, dict[str, float]]:
    """The plan of a run and the seconds that are left of it; for the CPU where Apple's MPS cannot train it."""
    plan, net = planned(*run)
    try:
        return plan, seconds_left(net.to(run[-1]), plan)
    except UNABLE:
        if run[-1].type != "mps":
            raise
    return foreseen(*run[:-1], torch.device("cpu"))


def forecast(
    method: Method,  # stages to train
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    preset: Preset,  # network and stage settings
    seed: int = 0,  # of weights, slices and views
    out: str | Path | None = None,  # RUN folder, perhaps of an interrupted run
    cache: bool = True,  # use and keep pre-trained stages
    model: Builder | str | None = None,  # what builds a network of your own
    device: str | torch.device = "auto",  # where it will be trained
) -> dict[str, float]:
    """About how many seconds each stage of a run will take on this machine, 0 where nothing is left to do."""
    return foreseen(method, cohort, split, preset, seed, out, cache, model, chosen_device(device))[1]


def outlook(
    seconds: dict[str, float],  # of `forecast`
) -> str:
    """About how long a run will take, in words."""
    if not (total := sum(seconds.values())):
        return "nothing is left to train"
    each = [f"{stage} {duration(left)}" if left else f"{stage} is there" for stage, left in seconds.items()]
    return f"about {duration(total)}" + (f": {', '.join(each)}" if len(each) > 1 else "")


def take_stage(
    model: UNet,  # trained in place
    plan: Plan,  # of the run
    number: int,  # of the stage
    bar: tqdm,  # over the whole run
    share: float,  # how far a step moves it
) -> bool:
    """Take a stage from the folder or the cache, or train it, and leave it in the folder; whether it came from the cache."""
    (stage, settings, key), folder = plan.stages[number], cast(Path, plan.folder)
    weights, place = folder / f"{stage.name}.pt", folder / "checkpoints" / str(number)

    def train() -> list[Step]:
        own = {"seed": plan.seed, "folder": place, "resume": True, **stage.options}
        run(stage.train(model, plan.cohort, plan.split, settings, **own), bar=bar, share=share)
        return read_history(place / "history.jsonl")

    if weights.exists():
        model.load_state_dict(read_weights(weights))
        return False
    steps, reused = cached_stage(model, key, train) if plan.shared(number) else (train(), False)
    write_atomic(folder / "history.jsonl", "".join(json.dumps(asdict(s)) + "\n" for s in [*earlier(folder, stage.name), *steps]))
    save_weights(weights, model)
    return reused


def earlier(
    folder: Path,  # RUN folder
    stage: str,  # about to be added
) -> list[Step]:
    """The history of the other stages."""
    return [step for step in read_history(folder / "history.jsonl") if step.stage != stage]


def run_stages(
    model: UNet,  # trained in place
    plan: Plan,  # of the run
    seconds: dict[str, float],  # of `seconds_left`
    progress: bool,  # show a bar
) -> dict[str, dict]:
    """Train or restore each stage in turn, leaving its weights and history in the folder; returns its seconds."""
    times, end, total = {}, 0.0, sum(seconds.values())
    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    how: dict[str, Any] = {"bar_format": form, "smoothing": 0.05, "mininterval": 0.5, "dynamic_ncols": True}
    with tqdm(total=total, disable=not (progress and total), **how) as bar:
        for number, (stage, settings, key) in enumerate(plan.stages):
            left = seconds.get(stage.name, 0.0)
            reused = take_stage(model, plan, number, bar, left / max(1, settings.steps - plan.done(number)))
            end += left
            bar.update(min(end, total) - bar.n)
            done = [s for s in read_history(cast(Path, plan.folder) / "history.jsonl") if s.stage == stage.name]
            times[stage.name] = {"key": key, "reused": reused, "steps": len(done), "seconds": round(sum(s.seconds for s in done), 2)}
    return times


def first_line(
    plan: Plan,  # of the run
    asked: Preset,  # the preset before its precision was settled
    device: torch.device,  # where it is trained
    seconds: dict[str, float],  # of `seconds_left`
) -> str:
    """Precision, device and about how long, before the first step."""
    words = " and ".join(sorted({settings.precision for _, settings, _ in plan.stages}))
    other = settled(asked, device) != plan.preset
    why = f", as the run was begun (this machine would choose {chosen_precision(device)})" if other else ""
    return f"{words} on {described(device)}{why}; {outlook(seconds)}"


def train_plan(
    plan: Plan,  # of the run, its folder open
    net: UNet,  # with the first weights, where it is to be trained
    seconds: dict[str, float],  # of `seconds_left`
    progress: bool,  # show a bar
    model: Builder | str | None,  # what builds a network of your own
    started: float,  # when, in seconds of the clock
) -> Run:
    """Train what was planned and write the RUN folder."""
    folder = cast(Path, plan.folder)
    facts = {
        **plan.about,
        "seen": seen(plan.cohort),
        "versions": versions(),
        "machine": machine(next(net.parameters()).device),
        "finished": False,
    }
    write_atomic(folder / "run.json", json.dumps(facts, indent=1))
    save_split(plan.split, folder / "split.json")
    save_weights(folder / "initial.pt", net)
    times = run_stages(net, plan, seconds, progress)
    save_weights(folder / "model.pt", net)
    facts |= {"finished": True, "trained": times, "seconds": round(time.time() - started, 1)}
    write_atomic(folder / "run.json", json.dumps(facts, indent=1))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return replace(read_run(folder, model), method=plan.method)


def train_run(
    method: Method,  # stages to train
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    preset: Preset,  # network and stage settings
    seed: int = 0,  # of weights, slices and views
    out: str | Path | None = None,  # RUN folder; a temporary one by default
    resume: bool = False,  # go on with a folder that was interrupted
    progress: bool = True,  # say beforehand how long it takes, show loss and time left
    cache: bool = True,  # use and keep pre-trained stages
    model: Builder | str | None = None,  # what builds a network of your own, or its import path; None for the preset's U-Net
    device: str | torch.device = "auto",  # where to train: "auto" takes CUDA, else Apple's MPS, else the CPU
) -> Run:
    """Train all stages of a method and write the RUN folder."""
    there, started = chosen_device(device), time.time()
    plan, net = planned(method, cohort, split, preset, seed, out, cache, model, there)
    plan = replace(plan, folder=open_folder(out, plan.about, resume))
    if (cast(Path, plan.folder) / "model.pt").exists() and recorded(plan.folder).get("finished"):
        return replace(read_run(cast(Path, plan.folder), model), method=method)
    try:
        seconds = seconds_left(net.to(there), plan) if progress or there.type == "mps" else {}
    except UNABLE as error:
        if there.type != "mps":
            raise
        if progress:
            print(f"device: Apple's MPS cannot train {method} ({str(error).splitlines()[0]}); the CPU does")
        return train_run(method, cohort, split, preset, seed, plan.folder, resume, progress, cache, model, "cpu")
    if progress:
        print(first_line(plan, preset, there, seconds))
    return train_plan(plan, net, seconds, progress, model, started)
