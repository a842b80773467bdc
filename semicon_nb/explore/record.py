"""Small snapshots of the same pixels while a network learns, taken by a consumer of the training loop."""

__all__ = ["Recorder", "example_models"]


import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn.utils import vector_to_parameters

from ..dice import pooled_dice
from ..embed import COLLAPSED, Sample, as_slices, degenerate, neighbours, sample_pixels
from ..files import write_atomic
from ..loop import Step
from ..runs import Run, read_run
from ..trust import neighbour_agreement
from ..unet import UNet
from .embeddings import STAGES, as_labels, class_names, make_stage, slices_of_run, stages_of_run


@dataclass(frozen=True)
class Snapshot:
    """What a network made of the shown slices at one moment."""

    stage: str  # "initial", "global", "local" or "finetune"
    step: int  # steps since the recording began
    vectors: np.ndarray  # [N, C] float16, unit vectors of the shown pixels
    prediction: np.ndarray  # [S, H, W] uint8, by the class head or by vote
    dice: float  # pooled Dice of the shown slices
    agreement: float  # neighbour agreement of the shown pixels; nan where all have one vector


@dataclass(frozen=True)
class Recording:
    """The shown slices and a snapshot for each recorded moment."""

    name: str  # such as "local, full resolution"
    images: np.ndarray  # [S, H, W] float32
    labels: np.ndarray  # [S, H, W] int64
    names: tuple[str, ...]  # of the classes
    sample: Sample  # the shown pixels
    snapshots: tuple[Snapshot, ...]  # one for each moment
    history: tuple[Step, ...]  # every step of the training, numbered from the start of the recording


def look(
    model: UNet,  # as it is now
    recording: Recording,  # slices and shown pixels
    stage: str,  # the class head is asked only after "finetune" has begun
    step: int,  # steps since the recording began
) -> Snapshot:
    """Take one snapshot."""
    classes = len(recording.names)
    seen = make_stage(stage, model, recording.images, recording.labels, recording.sample, classes)
    vectors = seen.vectors.reshape(-1, seen.vectors.shape[-1])[recording.sample.index]
    prediction = cast(np.ndarray, seen.probabilities).argmax(-1).astype(np.uint8)  # there are labels, so there are probabilities
    marks = recording.labels.reshape(-1)[recording.sample.index]
    flat = degenerate(vectors) == COLLAPSED  # then every pixel is as near as any other
    agreement = float("nan") if flat else neighbour_agreement(neighbours(vectors, 10)[0], marks)
    return Snapshot(
        stage,
        step,
        vectors.astype(np.float16),
        prediction,
        pooled_dice(prediction, recording.labels, classes),
        agreement,
    )


def empty_recording(
    name: str,  # of the training
    images: np.ndarray,  # [H, W] or [S, H, W]
    labels: np.ndarray,  # like the images, [H, W] or [S, H, W]
    classes: Sequence[str] | None = None,  # names, background first
    count: int = 500,  # pixels shown
    seed: int = 0,  # of the sample
) -> Recording:
    """A recording without snapshots yet; ValueError for slices without foreground."""
    stack = as_slices(images)
    marks = as_labels(labels, stack.shape)
    if marks is None or not marks.any():
        raise ValueError("labels: the slices hold no foreground, expected slices with a structure to watch")
    return Recording(name, stack, marks, class_names(classes, marks), sample_pixels(stack.shape, count, marks, seed=seed), (), ())


class Recorder:
    """Stands between a training loop and its consumer and takes snapshots; ValueError for `every` below 1."""

    def __init__(
        self,
        model: UNet,  # that is trained
        images: np.ndarray,  # [S, H, W] slices to watch
        labels: np.ndarray,  # [S, H, W]
        classes: Sequence[str] | None = None,  # names, background first
        every: int = 20,  # steps between snapshots
        folder: str | Path | None = None,  # where snapshots are kept, too, in place of an earlier recording's
        name: str = "training",  # of the recording
        count: int = 500,  # pixels shown
        seed: int = 0,  # of the sample
    ):
        if every < 1:
            raise ValueError(f"every: found {every}, expected 1 step or more")
        self.model, self.every, self.folder, self.done = model, every, folder and Path(folder), 0
        self.recording = empty_recording(name, images, labels, classes, count, seed)
        for path in _recording_files(self.folder) if self.folder else ():
            path.unlink()
        self.snap("initial")

    def snap(self, stage: str) -> None:
        """Take a snapshot now, under the name of the `stage` that is being trained, and keep it in place of one of the same step."""
        taken = look(self.model, self.recording, stage, self.done)
        before = [snap for snap in self.recording.snapshots if (snap.stage, snap.step) != (stage, self.done)]
        self.recording = replace(self.recording, snapshots=(*before, taken))
        if self.folder:
            save_recording(self.recording, self.folder)

    def watch(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Pass on the steps of one stage, looking every few of them, and after the last at the network that training leaves."""
        stage = None
        for step in steps:
            stage = step.stage
            self.done += 1
            self.recording = replace(self.recording, history=(*self.recording.history, replace(step, step=self.done)))
            if self.done % self.every == 0:
                self.snap(stage)
            yield step
        if stage is not None:  # `fit` puts the best or the averaged weights into the model after its last step
            self.snap(stage)


def packed(**arrays: np.ndarray) -> bytes:
    """Arrays [...] by name as the bytes of a compressed .npz file."""
    file = io.BytesIO()
    contents: dict[str, Any] = dict(arrays)
    np.savez_compressed(file, **contents)
    return file.getvalue()


def save_recording(
    recording: Recording,  # to keep
    folder: str | Path,  # where; made if need be
) -> Path:
    """Write a recording; snapshots already there are left alone, but for the last, which may have been taken again."""
    folder = Path(folder)
    fixed = {"name": recording.name, "names": recording.names, "balanced": recording.sample.balanced}
    if not (folder / "slices.npz").is_file():
        slices = {
            "images": recording.images,
            "labels": recording.labels.astype(np.uint8),
            "index": recording.sample.index,
        }
        write_atomic(folder / "slices.npz", packed(**slices))
        write_atomic(folder / "recording.json", json.dumps(fixed))
    for number, snap in enumerate(recording.snapshots):
        path = folder / f"{number:04d}-{snap.stage}-{snap.step:06d}.npz"
        if number == len(recording.snapshots) - 1 or not path.is_file():
            write_atomic(
                path,
                packed(vectors=snap.vectors, prediction=snap.prediction, numbers=np.array([snap.dice, snap.agreement])),
            )
    write_atomic(folder / "steps.jsonl", "".join(json.dumps(asdict(step)) + "\n" for step in recording.history))
    return folder


def _recording_files(folder: Path) -> list[Path]:
    """What `save_recording` has written into a folder, its slices last; nothing where it holds no recording."""
    slices = folder / "slices.npz"
    rest = [path for name in ("recording.json", "steps.jsonl") if (path := folder / name).is_file()]
    return [*_moments(folder), *rest, slices] if slices.is_file() else []


def _moments(folder: Path) -> list[Path]:
    """The files of a recording's snapshots, in their order."""
    return sorted(folder.glob("[0-9]*-*-*.npz"), key=lambda path: path.name.partition("-")[0].zfill(9))


def load_recording(
    folder: str | Path,  # written by `save_recording`
) -> Recording:
    """Read a recording; FileNotFoundError where there is none."""
    folder = Path(folder)
    if not (folder / "slices.npz").is_file():
        raise FileNotFoundError(f"{folder}: holds no slices.npz, expected a folder that a Recorder wrote")
    fixed = json.loads((folder / "recording.json").read_text())
    with np.load(folder / "slices.npz") as stored:
        images, labels, index = stored["images"], stored["labels"].astype(np.int64), stored["index"]
    snapshots = []
    for path in _moments(folder):
        stage, _, step = path.stem.partition("-")[2].rpartition("-")  # which may have hyphens in its name
        with np.load(path) as stored:
            snapshots.append(Snapshot(stage, int(step), stored["vectors"], stored["prediction"], *map(float, stored["numbers"])))
    steps = tuple(Step(**json.loads(line)) for line in (folder / "steps.jsonl").read_text().splitlines())
    sample = Sample(index, images.shape, fixed["balanced"])
    return Recording(fixed["name"], images, labels, tuple(fixed["names"]), sample, tuple(snapshots), steps)


def recording_of_run(
    run: str | Path | Run,  # a finished run, or its folder
    count: int = 500,  # pixels shown
    seed: int = 0,  # of the sample
) -> Recording:
    """The stages of a run as a recording, on slices of its test subjects."""
    run = run if isinstance(run, Run) else read_run(run)
    images, labels, names = slices_of_run(run)
    title = f"{run.method.name}, {100 * run.settings['labels']:g} % of labels, seed {run.settings['seed']}"
    recording = empty_recording(title, images, labels, names, count, seed)
    history = tuple(replace(step, step=number) for number, step in enumerate(run.history, start=1))
    last = {step.stage: step.step for step in history}
    moments = [look(model, recording, stage, last.get(stage, 0)) for stage, model in stages_of_run(run).items()]
    return replace(recording, snapshots=tuple(moments), history=history)


def as_recording(
    given: object,  # a Recording, a Recorder, the folder of either a recording or a run, or a Run
) -> Recording:
    """A recording from whatever holds one; TypeError for anything else."""
    if isinstance(given, Recorder):
        return given.recording
    if isinstance(given, Recording):
        return given
    if isinstance(given, Run) or (isinstance(given, str | Path) and (Path(given) / "run.json").is_file()):
        return recording_of_run(given)
    if isinstance(given, str | Path):
        return load_recording(given)
    raise TypeError(f"recording: found {type(given).__name__}, expected a Recording, a Recorder, a run, or the folder of one")


EXAMPLE = "example.npz"
"""The run in assets that tools/shipped.py wrote: generated slices, weights of stages, moments."""


def read_example() -> tuple[dict, dict[str, np.ndarray]]:
    """What is said about the example, and its arrays by name."""
    with resources.files("semicon_nb.explore").joinpath("assets", EXAMPLE).open("rb") as file, np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(arrays.pop("about").tobytes()), arrays


def example_models() -> tuple[dict[str, UNet], np.ndarray, np.ndarray, tuple[str, ...]]:
    """The example's network after each stage, its slices and labels [S, H, W], and the names of its classes."""
    about, arrays = read_example()
    models = {}
    for stage in STAGES:
        models[stage] = UNet(classes=len(about["names"]), **about["network"]).eval()
        vector_to_parameters(torch.from_numpy(arrays[f"weights-{stage}"].astype(np.float32)), models[stage].parameters())
    return models, arrays["images"].astype(np.float32), arrays["labels"].astype(np.int64), tuple(about["names"])


def example_recording() -> Recording:
    """The example's training, in sixty moments."""
    about, arrays = read_example()
    images, index = arrays["images"].astype(np.float32), arrays["index"].astype(np.int64)
    moments = [
        Snapshot(stage, step, vectors.astype(np.float16) / 127, prediction, dice, agreement)
        for (stage, step, dice, agreement), vectors, prediction in zip(
            about["moments"], arrays["vectors"], arrays["predictions"], strict=True
        )
    ]
    history = tuple(Step(**step) for step in about["history"])
    sample = Sample(index, images.shape, about["balanced"])
    return Recording(about["name"], images, arrays["labels"].astype(np.int64), tuple(about["names"]), sample, tuple(moments), history)
