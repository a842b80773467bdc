"""Slices a second: each stage as it is used, a step that is compiled or replayed as a CUDA graph, and many small runs on one card."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semicon_nb.data import Cohort, Split, phantom, split
from semicon_nb.dice import cross_entropy_dice
from semicon_nb.loop import StageSettings, Step
from semicon_nb.machine import chosen_precision
from semicon_nb.networks import build
from semicon_nb.predict import at_precision
from semicon_nb.stages import PRESETS
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution
from semicon_nb.train import finetune, train_global, train_local
from semicon_nb.unet import UNet

from .desk import Desk, milliseconds, wait_for
from .service import shared

STAGES: dict[str, tuple[str, Callable[..., Iterator[Step]], dict]] = {
    "global": ("global", train_global, {}),
    "local, every pixel": ("local", train_local, {"strategy": FullResolution()}),
    "local, stride 4": ("local", train_local, {"strategy": Downsampling(4)}),
    "local, blocks of 16": ("local", train_local, {"strategy": BlockDivision(16)}),
    "fine-tuning": ("finetune", finetune, {}),
}
"""What is timed: the stage whose settings it takes, its trainer, and its options."""
GO_AT = 0.05
"""Seconds between two looks of a worker at what it is asked to do."""


def people(desk: Desk) -> tuple[Cohort, Split]:
    """Generated slices of 64 x 64: no files are needed."""
    cohort = phantom(subjects=6 if desk.tiny else 20, size=32 if desk.tiny else 64)
    return cohort, split(cohort, labelled=0.3, seed=0)


def network(desk: Desk, width: int, classes: int) -> UNet:
    """A U-Net of this width, with the paper's decoder and vectors at 64 filters."""
    preset = PRESETS["paper" if width == 64 else "laptop"]
    return build({**preset.network(classes), "width": 2 if desk.tiny else width}, seed=0).to(desk.device)


def settings_of(stage: str, width: int, precision: str, tiny: bool) -> StageSettings:
    """The preset's batch and views, enough steps for any clock, and no validation."""
    settings = PRESETS["paper" if width == 64 else "laptop"].stages[stage]
    return replace(settings, steps=10**6, batch=2 if tiny else settings.batch, validate_every=0, precision=precision)


def slices_a_second(desk: Desk, steps: Iterator[Step], batch: int, patience: float) -> float:
    """Slices of a running stage for some seconds, after three steps that do not count."""
    for _ in itertools.islice(steps, 3):
        pass
    wait_for(desk.device)
    began, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - began < patience:
        next(steps)
        done += 1
    wait_for(desk.device)
    return done * batch / (time.perf_counter() - began)


def stages(desk: Desk) -> None:
    """Each stage with 16 and 64 filters in fp32 (with PyTorch's usual TF32 in convolutions) and bf16."""
    cohort, who = people(desk)
    desk.note("chosen precision", precision=chosen_precision(desk.device), convolutions_tf32=torch.backends.cudnn.allow_tf32)
    for width, precision, name in itertools.product((16,) if desk.tiny else (16, 64), ("fp32", "bf16"), STAGES):
        stage, train, options = STAGES[name]
        if desk.left() < 5:
            desk.note(name, filters=width, precision=precision, left_out="no time")
            continue
        with desk.trying(name, filters=width, precision=precision):
            settings = settings_of(stage, width, precision, desk.tiny)
            steps = train(network(desk, width, len(cohort.classes)), cohort, who, settings, **options)
            speed = slices_a_second(desk, steps, settings.batch, 0.0 if desk.tiny else min(1.5, desk.left() / 25))
            steps.close()
            desk.note(name, filters=width, precision=precision, batch=settings.batch, slices_a_second=speed)


# one step, three ways -------------------------------------------------------------------------------------------------
def optimiser_of(model: torch.nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """AdamW in one kernel; on a GPU with its step and its rate there, so that a graph can hold them."""
    gpu = device.type == "cuda"
    rate: Any = torch.tensor(2e-3, device=device) if gpu else 2e-3
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4, fused=True, capturable=gpu)


def step_of(model: torch.nn.Module, forward: Callable, batch: tuple[Tensor, Tensor], precision: str) -> Callable[[], None]:
    """A step of fine-tuning on one batch, with nothing in it that waits for the GPU."""
    optimiser = optimiser_of(model, batch[0].device)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        cross_entropy_dice(at_precision(forward, batch[0], precision), batch[1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def graphed(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph that is replayed; on a side stream first, as PyTorch asks."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def ways(desk: Desk) -> None:
    """A step of fine-tuning as it is, replayed as a CUDA graph, and with a compiled network."""
    cohort, _ = people(desk)
    graph = ("graph",) if desk.device.type == "cuda" else ()
    widths, precisions = ((16,), ("bf16",)) if desk.tiny else ((16, 64), ("fp32", "bf16"))
    for way, width, precision in itertools.product(("as it is", *graph, "compiled"), widths, precisions):
        if desk.left() < (25 if way == "compiled" and not desk.tiny else 3):
            desk.note(f"a step {way}", filters=width, precision=precision, left_out="no time")
            continue
        with desk.trying(f"a step {way}", filters=width, precision=precision):
            size = 2 if desk.tiny else 8 if width == 64 else 16
            images = torch.from_numpy(cohort.images[:size, None]).float().to(desk.device)
            labels = torch.from_numpy(cohort.labels[:size]).long().to(desk.device)
            model = network(desk, width, len(cohort.classes))
            backend = "aot_eager" if desk.tiny else "inductor"
            forward = torch.compile(model, dynamic=False, backend=backend) if way == "compiled" else model
            step = step_of(model, forward, (images, labels), precision)
            taken = milliseconds(graphed(step) if way == "graph" else step, desk.device, 2 if desk.tiny else 20)
            desk.note(f"a step {way}", filters=width, precision=precision, batch=size, milliseconds=taken, slices_a_second=1000 * size / taken)


# many runs at once ----------------------------------------------------------------------------------------------------
def small_run(desk: Desk, seed: int) -> tuple[Iterator[Step], int]:
    """Fine-tuning of 16 filters, as in the grids, and its batch."""
    cohort, who = people(desk)
    settings = settings_of("finetune", 16, "fp32", desk.tiny)
    return finetune(network(desk, 16, len(cohort.classes)), cohort, who, settings, seed), settings.batch


def slices_until(desk: Desk, steps: Iterator[Step], batch: int, end: float) -> int:
    """Slices that a run trains on until the wall clock says `end`."""
    done = 0
    while time.time() < end:
        next(steps)
        done += batch
    wait_for(desk.device)
    return done


def worker(desk: Desk, number: int) -> None:
    """One of the processes: it gets ready, and then trains whenever it is among those that are asked, until it is told to stop."""
    steps, batch = small_run(desk, number)
    for _ in itertools.islice(steps, 3):
        pass
    (desk.work / f"ready-{number}").touch()
    for turn in itertools.count():
        order = desk.work / f"turn-{turn}"
        while not order.exists():
            if desk.left() < -20:
                return
            time.sleep(GO_AT)
        what = json.loads(order.read_text())
        if what["stop"]:
            return
        if number < what["processes"]:
            time.sleep(max(0.0, what["begin"] - time.time()))
            done = slices_until(desk, steps, batch, what["end"])
            write(desk.work / f"done-{turn}-{number}", str(done))


def write(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(GO_AT)
    return True


def at_once(desk: Desk, turn: int, count: int, patience: float) -> float:
    """Slices a second of so many processes together."""
    begin = time.time() + 4 * GO_AT
    write(desk.work / f"turn-{turn}", json.dumps({"stop": False, "processes": count, "begin": begin, "end": begin + patience}))
    answers = [desk.work / f"done-{turn}-{number}" for number in range(count)]
    if not wait_until(lambda: all(path.exists() for path in answers), patience + 30):
        raise TimeoutError(f"{sum(path.exists() for path in answers)} of {count} processes answered")
    return sum(int(path.read_text()) for path in answers) / patience


def in_streams(desk: Desk, count: int, patience: float) -> float:
    """Slices a second of so many threads of this process, each on a stream of its own."""
    done = [0] * count
    runs = [small_run(desk, number) for number in range(count)]
    for steps, _ in runs:
        next(steps)
    wait_for(desk.device)  # the weights were changed on another stream
    end = time.time() + patience

    def train(number: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()) if desk.device.type == "cuda" else nullcontext():
            done[number] = slices_until(desk, *runs[number], end)

    threads = [threading.Thread(target=train, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / patience


def crowd(desk: Desk, counts: list[int], patience: float, **said: Any) -> dict[int, float]:
    """Slices a second of so many processes at once, for each of the counts; one set of processes serves them all."""
    desk.work.mkdir(exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve().parents[1] / "gpu.py"), "--job", "worker", "--out", str(desk.out)]
    command += ["--work", str(desk.work), "--seconds", str(desk.left()), *["--tiny"] * desk.tiny]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    jobs = [subprocess.Popen([*command, "--number", str(number)], env=environment) for number in range(max(counts))]
    found: dict[int, float] = {}
    try:
        ready = [desk.work / f"ready-{number}" for number in range(max(counts))]
        if not wait_until(lambda: all(path.exists() for path in ready), max(desk.left() / 2, min(25.0, desk.left() - 5))):
            desk.note("processes", **said, error=f"{sum(path.exists() for path in ready)} of {len(ready)} got ready in time")
            counts = [count for count in counts if all(path.exists() for path in ready[:count])]
        for turn, count in enumerate(counts):
            with desk.trying("processes", count=count, **said):
                found[count] = at_once(desk, turn, count, patience)
                desk.note("processes", count=count, **said, slices_a_second=found[count])
    finally:
        write(desk.work / f"turn-{len(counts)}", json.dumps({"stop": True}))
        for job in jobs:
            stop(job)
    return found


def many(desk: Desk) -> None:
    """One to sixteen small runs at once: in processes, in processes that share the GPU through its MPS service, in streams of one process."""
    cores, patience = os.cpu_count() or 1, 0.3 if desk.tiny else max(1.5, min(3.0, desk.left() / 30))
    counts = [1, 2] if desk.tiny else [count for count in (16, 8, 1) if count <= max(1, cores)]
    found = {(count, False): speed for count, speed in crowd(desk, counts, patience).items()}
    with desk.trying("MPS"), shared(desk.work / "service") as why:
        if why:
            desk.note("MPS", left_out=why)
        else:
            fast = [count for count in counts if count > 1]
            found |= {(count, True): speed for count, speed in crowd(replace(desk, work=desk.work / "mps"), fast, patience, mps=True).items()}
    if found:
        count, mps = max(found, key=lambda way: found[way])
        desk.note("best", processes=count, mps=mps)
    for count in (1, 2) if desk.tiny else (4,):
        if not desk.tiny and desk.left() < 3 * patience:
            desk.note("streams", count=count, left_out="no time")
            continue
        with desk.trying("streams", count=count):
            desk.note("streams", count=count, slices_a_second=in_streams(desk, count, patience))


def stop(job: subprocess.Popen) -> None:
    """Wait a moment for a process that was told to stop, then end it."""
    try:
        job.wait(10)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
