"""A training loop that yields its steps, and goes on bit for bit where it was interrupted."""

__all__ = ["STAGES", "Step", "StageSettings", "fit", "run"]

import contextlib
import copy
import io
import json
import math
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from .files import check_kind, content_key, content_of, from_json, read_tensors, write_atomic
from .graphs import Replayed, set_rate
from .names import check_type, check_whole, is_number
from .machine import device_of
from .views import FINETUNE, GLOBAL, LOCAL, ViewSettings


@dataclass(frozen=True)
class Step:
    """What one training step did."""

    stage: str  # "global", "local" or "finetune"
    step: int  # steps done, this one included
    steps: int  # steps of the whole stage
    loss: float  # loss of this step's batch, before the update
    rate: float  # learning rate of the update
    seconds: float  # wall time of the step, validation not included
    dice: float | None = None  # pooled Dice on the validation subjects, where measured


class StepLine(TypedDict):
    """A line of a history file: a `Step`."""

    stage: str
    step: int
    steps: int
    loss: float
    rate: float
    seconds: float
    dice: NotRequired[float | None]


@dataclass(frozen=True)
class StageSettings:
    """How one stage is trained; ValueError for the first setting that cannot be meant."""

    steps: int = 500  # updates of the weights
    batch: int = 16  # slices of a batch (each gives two views in the contrastive stages)
    rate: float = 1e-3  # largest learning rate
    weight_decay: float = 1e-4  # of AdamW; 0 is Adam
    schedule: str = "cosine"  # "constant", or "cosine": down towards zero, where the step after the last would be
    warmup: int = 0  # steps over which the rate rises to its largest value
    clip: float = 0.0  # largest length of the gradient; 0 leaves it alone
    precision: str = "fp32"  # "fp32", "bf16" for autocast in the network, or "auto" for what pays
    temperature: float = 0.1  # of the contrastive losses
    views: ViewSettings = field(default=FINETUNE)  # random augmentation of the batch
    validate_every: int = 100  # steps between measurements on the validation subjects; 0 never measures
    average: float = 0.0  # share of the old in a running average of the weights; 0 keeps none
    save_every: int = 200  # steps between checkpoints; decides nothing about the outcome

    def __post_init__(self):
        for name, least in {"steps": 0, "batch": 1, "warmup": 0, "validate_every": 0, "save_every": 1}.items():
            check_whole(name, getattr(self, name), least)
        for name in ("rate", "weight_decay", "clip", "temperature", "average"):
            if not is_number(found := getattr(self, name)):
                raise ValueError(f"{name}: found {found!r}, expected a number")
        rules = {
            "rate": (0 < self.rate < math.inf, "a number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "schedule": (self.schedule in ("constant", "cosine"), '"constant" or "cosine"'),
            "clip": (self.clip >= 0, "0 or more"),
            "precision": (self.precision in ("auto", "fp32", "bf16"), '"auto", "fp32" or "bf16"'),
            "temperature": (0 < self.temperature < math.inf, "a number above 0"),
            "average": (0 <= self.average < 1, "from 0 to below 1"),
        }
        for name, (good, expected) in rules.items():
            if not good:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, expected {expected}")
        check_type("views", self.views, ViewSettings, "such as LOCAL or ViewSettings(noise=0.1)")


def check_batch(settings: StageSettings, slices: int) -> None:
    """ValueError where a batch of a global stage with so many `slices` holds one: there is no other to tell it from, and rounding would be all it learns."""
    if (found := min(settings.batch, slices)) < 2:
        raise ValueError(f"batch: found {found} slice of {slices} in the global stage, expected two or more, which it tells apart")


STAGES: dict[str, StageSettings] = {
    "global": StageSettings(steps=500, batch=48, rate=1e-3, warmup=25, temperature=0.5, views=GLOBAL, validate_every=0),
    "local": StageSettings(steps=300, batch=4, rate=1e-3, warmup=25, temperature=0.1, views=LOCAL, validate_every=0),
    "finetune": StageSettings(steps=1000, batch=16, rate=2e-3, warmup=50, clip=1.0, views=FINETUNE, validate_every=100),
}
"""Settings of each stage, where a caller gives none."""


def rate_at(settings: StageSettings, step: int) -> float:
    """Learning rate of the step after `step` of them."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return settings.rate
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * progress))


def generator_of(*parts: str | int) -> torch.Generator:
    """A random number generator that is a function of `parts` only: seed, stage, step, purpose."""
    return torch.Generator().manual_seed(int(content_key(*parts), 16) >> 1)


def draw(count: int, batch: int, step: int, *parts: str | int) -> torch.Tensor:
    """Which of `count` slices a `batch` has after `step` steps, int64 [batch]; ValueError where there are none.

    `parts` are seed and stage.
    """
    if count < 1:
        raise ValueError("count: 0 slices to draw from, expected at least one")
    per_epoch = -(-count // batch)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(count, generator=generator_of(*parts, "epoch", epoch))
    return order[(place * batch + torch.arange(batch)) % count]


@dataclass
class State:
    """Everything that a step changes."""

    model: nn.Module  # the network in training
    optimiser: torch.optim.Optimizer  # holds moments for every weight
    settings: StageSettings  # how it is trained
    step: int = 0  # steps done
    smooth: nn.Module | None = None  # running average of the network, where one is kept
    best: dict | None = None  # weights with the best validation Dice so far
    best_dice: float = -1.0  # that Dice
    replayed: Replayed | None = None  # a step that a GPU has recorded

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.model if self.smooth is None else self.smooth


def start(model: nn.Module, settings: StageSettings, loss_of: Callable | None = None) -> State:
    """The state before the first step; ValueError for precision 'auto'.

    `loss_of`, (model, batch) -> scalar loss, is that of a step that an NVIDIA GPU may record.
    """
    if settings.precision == "auto":
        raise ValueError('precision: found "auto", expected "fp32" or "bf16" by now; take `machine.chosen_precision`')
    there = {weights.device.type for weights in model.parameters()}
    gpu, fused = there == {"cuda"}, there <= {"cpu", "cuda"}
    rate: Any = torch.tensor(settings.rate, device=device_of(model)) if gpu else settings.rate  # where a recorded step finds it
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=settings.weight_decay, fused=fused, capturable=gpu)
    smooth = copy.deepcopy(model).requires_grad_(False) if settings.average else None
    state = State(model, optimiser, settings, smooth=smooth)
    if loss_of and gpu:
        state.replayed = Replayed(lambda *batch: learn(state, loss_of(model, batch)))
    return state


def learn(state: State, loss: torch.Tensor) -> torch.Tensor:
    """Change the weights by the gradient of a `loss`, and return its value; nothing here waits for a GPU."""
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if state.settings.clip:
        nn.utils.clip_grad_norm_(state.model.parameters(), state.settings.clip)
    state.optimiser.step()
    return loss.detach()


def blend(smooth: nn.Module, model: nn.Module, keep: float) -> None:
    """Move a running average of weights, `smooth`, towards the newest ones; `keep` is the share of the old average.

    What a network counts beside its weights, such as the means that BatchNorm keeps, is taken over as it is.
    """
    with torch.no_grad():
        for old, new in zip(smooth.parameters(), model.parameters(), strict=True):
            old.lerp_(new, 1 - keep)
        for kept, newest in zip(smooth.buffers(), model.buffers(), strict=True):
            kept.copy_(newest)


class CheckpointFile(TypedDict):
    """What a checkpoint holds."""

    identity: str
    step: int
    model: dict
    optimiser: dict
    smooth: dict | None
    best: dict | None
    best_dice: float


def save_checkpoint(path: Path, state: State, identity: dict) -> None:
    """Write a checkpoint that is whole or absent; `identity` says what the run is, in plain values."""
    parts = CheckpointFile(
        identity=json.dumps(identity, sort_keys=True, default=str),
        step=state.step,
        model=state.model.state_dict(),
        optimiser=state.optimiser.state_dict(),
        smooth=None if state.smooth is None else state.smooth.state_dict(),
        best=state.best,
        best_dice=state.best_dice,
    )
    buffer = io.BytesIO()
    torch.save(parts, buffer)
    write_atomic(path, buffer.getvalue())


def read_checkpoint(path: Path) -> dict:
    """The parts of a checkpoint; FileNotFoundError or ValueError where it is none."""
    try:
        parts = read_tensors(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such checkpoint") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error}); delete it to start the stage again") from error
    try:
        check_kind(parts, CheckpointFile)
    except ValueError as error:
        raise ValueError(f"{path}: no checkpoint of this package ({error}); delete it to start the stage again") from error
    return parts


def check_moments(optimiser: torch.optim.Optimizer) -> None:
    """ValueError where a moment has another shape than its weights: the fused optimiser would write outside its memory."""
    for weight, moments in optimiser.state.items():
        if moments.keys() != {"step", "exp_avg", "exp_avg_sq"} or not all(map(torch.is_tensor, moments.values())):
            raise ValueError(f"the moments of a weight are {sorted(moments)}")
        for name, value in moments.items():
            if value.shape != (torch.Size() if name == "step" else weight.shape) or not value.is_floating_point():
                raise ValueError(f"{name} is {value.dtype} {[*value.shape]} for weights of {[*weight.shape]}")
            if not value.isfinite().all():
                raise ValueError(f"{name} holds numbers that are not finite")


def check_parts(parts: dict, state: State) -> None:
    """ValueError where a checkpoint's weights, best weights or numbers are not of this network."""
    if not 0 <= parts["step"] <= state.settings.steps:
        raise ValueError(f"step is {parts['step']!r}, expected 0 to {state.settings.steps}")
    known = {name: (value.shape, value.dtype) for name, value in state.model.state_dict().items()}
    for part in ("model", "best", "smooth"):
        if (stored := parts[part]) is None:
            continue
        if not all(map(torch.is_tensor, stored.values())):
            raise ValueError(f"{part} is {type(stored).__name__} and not only tensors")
        if {name: (value.shape, value.dtype) for name, value in stored.items()} != known:
            raise ValueError(f"{part} has other tensors than the network")
        if odd := [name for name, value in stored.items() if not value.isfinite().all()]:
            raise ValueError(f"{odd[0]} of {part} holds numbers that are not finite")


def restore(path: Path, state: State, identity: dict) -> None:
    """Put a checkpoint's weights, moments and step into a state, if it belongs to the same run; ValueError if it belongs to another."""
    parts, expected = read_checkpoint(path), json.loads(json.dumps(identity, default=str))
    try:
        stored = from_json(parts["identity"], dict)
    except ValueError as error:
        raise ValueError(f"{path}: no checkpoint of this package (identity: {error}); delete it to start the stage again") from error
    for name in sorted(stored.keys() | expected.keys()):
        if stored.get(name) != expected.get(name):
            raise ValueError(
                f"{path}: checkpoint of another run: {name} is {stored.get(name)} there and {expected.get(name)} here; "
                "use the same settings, or another folder"
            )
    try:
        state.model.load_state_dict(parts["model"])
        check_parts(parts, state)
        own = state.optimiser.state_dict()["param_groups"]  # rate and decay are those of the settings
        state.optimiser.load_state_dict({"state": parts["optimiser"]["state"], "param_groups": own})
        check_moments(state.optimiser)
        if state.smooth is not None:
            state.smooth.load_state_dict(parts["smooth"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: checkpoint of another network: {str(error).splitlines()[-1].strip()}") from error
    state.step, state.best, state.best_dice = parts["step"], parts["best"], parts["best_dice"]


def as_lines(steps: Iterable[Step]) -> str:
    """Steps as a history file holds them."""
    return "".join(json.dumps(asdict(step)) + "\n" for step in steps)


def read_history(path: Path) -> list[Step]:
    """All steps in a history file, `path`; a line that was cut off in writing is left out."""
    steps = []
    for line in content_of(path).splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, TypeError):
            steps.append(Step(**from_json(line, StepLine)))
    return steps


def trim_history(path: Path, stage: str, step: int) -> None:
    """Drop from a history file, perhaps of several stages, this stage's lines after a step, and a line that was cut short."""
    if not path.exists():
        return
    kept = [line for line in read_history(path) if line.stage != stage or line.step <= step]
    if (lost := step - sum(line.stage == stage for line in kept)) > 0:
        warnings.warn(f"{path}: {lost} of {step} steps are damaged or missing; their numbers are lost, the weights are not", stacklevel=4)
    write_atomic(path, as_lines(kept))


def open_run(folder: Path, state: State, identity: dict, resume: bool) -> tuple[Path, Path]:
    """Make the folder ready and restore what is there; the paths of checkpoint and history.

    ValueError for a stage that is there already, unless it is to be resumed.
    """
    checkpoint, history = folder / f"{identity['stage']}.pt", folder / "history.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        if not resume:
            raise ValueError(
                f"{checkpoint}: this folder already holds such a stage; pass resume=True to go on, or choose another folder"
            )
        restore(checkpoint, state, identity)
    trim_history(history, identity["stage"], state.step)
    return checkpoint, history


def take_step(state: State, loss_of: Callable, batches: Callable, stage: str, validate: Callable | None) -> Step:
    """Train on one batch, measure if that is due, and say what happened; ValueError for a loss that is not finite."""
    state.model.train()
    began, settings, step = time.perf_counter(), state.settings, state.step + 1
    batch, rate = batches(state.step), rate_at(settings, state.step)
    set_rate(state.optimiser, rate)
    loss = state.replayed(*batch) if state.replayed else loss_of(state.model, batch)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        found = f"shape {list(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise TypeError(f"loss_of: gave {found}, expected a torch.Tensor that is one number, the loss of the batch")
    if not math.isfinite(value := loss.item()):
        todo = f"lower rate={settings.rate} or set clip=1.0"
        raise ValueError(f"loss: {value} at step {step}, expected a finite number; {todo}")
    if not state.replayed:  # which has learned already
        learn(state, loss)
    state.step = step
    if state.smooth is not None:
        blend(state.smooth, state.model, min(settings.average, step / (step + 9)))
    seconds = time.perf_counter() - began
    return Step(stage, step, settings.steps, value, rate, seconds, measure(state, validate))


def check_resumed(resume: bool, folder: str | Path | None) -> None:
    """ValueError where training is to `resume` and no `folder` says from where."""
    if resume and not folder:
        raise ValueError("resume: found True without a folder, expected one that holds a checkpoint; name it with folder=")


def fit(
    model: nn.Module,  # trained in place
    loss_of: Callable,  # (model, batch) -> scalar loss
    batches: Callable[[int], object],  # step number from 0 -> batch; the same number gives the same batch
    settings: StageSettings,  # how to train
    folder: str | Path | None = None,  # where checkpoint and history go; None keeps them in memory only
    resume: bool = False,  # go on from the folder's checkpoint, if there is one
    stage: str = "fit",  # names the checkpoint
    validate: Callable[[nn.Module], float] | None = None,  # network -> validation Dice
    identity: dict | None = None,  # plain values that tell this run from others
    steady: bool = False,  # batches are tuples of tensors, steps the same operations: an NVIDIA GPU then replays them faster
) -> Iterator[Step]:
    """Train step by step, yielding each, until the model holds the weights to keep; ValueError for precision 'auto', or `resume` without a folder."""
    check_resumed(resume, folder)
    state = start(model, settings, loss_of if steady else None)
    decisive = {name: value for name, value in asdict(settings).items() if name != "save_every"}
    identity = {"stage": stage, **(identity or {}), **decisive}
    checkpoint, history = open_run(Path(folder), state, identity, resume) if folder else (None, None)
    try:
        while state.step < settings.steps:
            step = take_step(state, loss_of, batches, stage, validate)
            if checkpoint and history:
                write_down(step, history, checkpoint, state, identity)
            yield step
    except GeneratorExit:
        if checkpoint:
            save_checkpoint(checkpoint, state, identity)
        raise
    finally:
        keep(state)


def write_down(step: Step, history: Path, checkpoint: Path, state: State, identity: dict) -> None:
    """Add a line to the history; now and then, and at the end, write a checkpoint."""
    with history.open("a") as file:
        file.write(as_lines([step]))
    if state.step % state.settings.save_every == 0 or state.step == state.settings.steps:
        save_checkpoint(checkpoint, state, identity)


def measure(state: State, validate: Callable[[nn.Module], float] | None) -> float | None:
    """Validation Dice of this step, if it is due; the best weights so far stay in the state."""
    every = state.settings.validate_every
    if validate is None or not every or (state.step % every and state.step < state.settings.steps):
        return None
    dice = float(validate(state.judged))
    if dice > state.best_dice:
        state.best = {name: value.detach().cpu().clone() for name, value in state.judged.state_dict().items()}
        state.best_dice = dice
    return None if math.isnan(dice) else dice


def keep(state: State) -> None:
    """Put the weights to keep into the model, at the end of training."""
    if state.best is not None:
        state.model.load_state_dict(state.best)
    elif state.smooth is not None and state.step:
        state.model.load_state_dict(state.smooth.state_dict())


@contextlib.contextmanager
def same_numbers() -> Iterator[None]:
    """Random numbers after the block are those that would have come without it."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def steps_in(folder: Path) -> int:
    """The steps that are in the checkpoint of a stage's folder, 0 where there is none."""
    with contextlib.suppress(OSError, ValueError):  # which is told when the stage goes on from it
        return max((read_checkpoint(path)["step"] for path in folder.glob("*.pt")), default=0)
    return 0


def seeded(steps: Iterable[Step], done: int, *parts: str | int) -> Iterator[Step]:
    """Steps that draw global random numbers, as dropout does, by `parts` and the number of steps `done` only; others find theirs as before."""
    waiting = iter(steps)
    while True:
        with same_numbers():
            seed = generator_of(*parts, "global numbers", done).initial_seed()
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(seed)
            if (step := next(waiting, None)) is None:
                return
        yield step
        done = step.step


def run(
    steps: Iterable[Step],  # what `fit` or a stage yields
    progress: bool = True,  # show a bar with loss and time left
    bar: tqdm | None = None,  # one that is open already, over several stages; None for one of its own
    share: float = 1,  # how far a step moves the bar
) -> list[Step]:
    """Take all steps, with a progress bar."""
    done: list[Step] = []
    own, loss, dice = None, None, ""
    for step in steps:
        if bar is None:
            how: dict[str, Any] = {"disable": not progress, "mininterval": 0.5, "dynamic_ncols": True}
            bar = own = tqdm(total=step.steps, initial=step.step - 1, **how)
        loss = step.loss if loss is None else 0.95 * loss + 0.05 * step.loss
        dice = dice if step.dice is None else f", validation Dice {step.dice:.3f}"
        bar.set_postfix_str(f"{step.stage}: loss {loss:.3f}{dice}", refresh=False)
        bar.update(min(share, bar.total - bar.n))  # sums of shares are rounded
        done.append(step)
    if own is not None:
        own.close()
    return done
