"""What each network makes of the pixels of some slices: vectors, predictions, colours, and the places of the slices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ..data import Codes, Cohort, class_order, match_classes, part_indices
from ..embed import Sample, as_slices, check_vectors, class_look, pixel_embeddings, sample_pixels, squared_distances
from ..machine import device_of
from ..runs import Run, read_run
from ..show import rgb
from ..unet import UNet
from .slices import page_labels

__all__ = []


def as_labels(
    labels: np.ndarray | torch.Tensor | None,  # [H, W] or [S, H, W], whole numbers from 0 to 255
    shape: tuple[int, int, int],  # of the images
) -> np.ndarray | None:  # [S, H, W] int64
    """Labels as a stack of the images' shape; ValueError for another shape, or for other than whole numbers from 0 to 255."""
    if labels is None:
        return None
    array = page_labels(labels)
    array = array[None] if array.ndim == 2 else array
    if array.shape != tuple(shape):
        raise ValueError(f"labels: found shape {array.shape}, expected {tuple(shape)} like the images; resize by nearest neighbour")
    return array


def class_names(
    classes: Sequence[str] | None,  # names, the background first
    labels: np.ndarray | None,  # [...] codes
) -> tuple[str, ...]:
    """A name for every class that can occur."""
    most = int(labels.max(initial=0)) if labels is not None else 1
    given = tuple(classes or ("background",))
    return given + tuple(f"class {c}" for c in range(len(given), most + 1))


STAGES = ("initial", "global", "local", "finetune")
"""Stages in the order in which they are trained."""

TITLES = {"initial": "Untrained", "global": "Global", "local": "Local", "finetune": "Fine-tuned"}
"""What readers see of a stage's name."""


def stages_of_run(
    run: Run,  # a finished one
) -> dict[str, UNet]:  # stage -> network
    """The network after each stage of a run; FileNotFoundError where no weights are kept."""
    found = {stage: run.after(stage) for stage in run.stages}
    if not found:
        wanted = ", ".join(f"{stage}.pt" for stage in STAGES)
        raise FileNotFoundError(f"{run.folder}: holds the weights of no stage ({wanted}); train the run again")
    return found


def slices_of_run(
    run: Run,  # a finished one
    cohort: Cohort | None = None,  # other scans, or the run's own from another place
    count: int = 2,  # slices, each of another subject
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:  # images [S, H, W], labels [S, H, W], names of the classes
    """The fullest slices of a run's test subjects, or of other scans; DataError where those have other classes."""
    shown = run.cohort if cohort is None else match_classes(cohort, run.settings["classes"], run.codes)
    own = cohort is None or shown.fingerprint == run.settings["fingerprint"]
    rows = part_indices(shown, run.split, "test") if own else np.flatnonzero(shown.labelled)
    rows = rows[np.argsort(-(shown.labels[rows] > 0).sum(axis=(1, 2)), kind="stable")]
    _, first = np.unique(shown.subject[rows], return_index=True)
    rows = rows[np.sort(first)[:count]]
    return shown.images[rows].astype(np.float32), shown.labels[rows], shown.classes


def named_models(
    model: object,  # a network, a function, a mapping name -> network, or a run
) -> dict[str, Callable]:  # name -> network
    """The networks to compare, by name; ValueError for an empty mapping."""
    if isinstance(model, Run):
        return dict(stages_of_run(model))
    if isinstance(model, Mapping):
        if not model:
            raise ValueError("model: the mapping is empty, expected at least one name -> network")
        return {str(name): given for name, given in model.items()}
    return {type(model).__name__ if isinstance(model, nn.Module) else "model": cast(Callable, model)}


def vote(
    vectors: np.ndarray,  # [P, C] every pixel
    voters: np.ndarray,  # [N] which of them vote
    labels: np.ndarray,  # [P]
    classes: int,  # number of classes
    count: int = 10,  # neighbours that vote
    block: int = 1024,  # pixels at a time
) -> np.ndarray:  # [P, classes] float32
    """The share of votes for each class among the nearest of the voters."""
    data = torch.from_numpy(vectors)
    some, chosen = data[voters], torch.eye(classes)[torch.from_numpy(labels[voters])]
    count, shares = min(count, max(len(voters) - 1, 1)), []
    for start in range(0, len(data), block):
        square = squared_distances(data[start : start + block], some)
        own = torch.from_numpy(voters)[None] == torch.arange(start, start + len(square))[:, None]
        near = square.masked_fill_(own, torch.inf).topk(count, largest=False).indices
        shares.append(chosen[near].mean(1))
    return torch.cat(shares).numpy()


def uncertainty(
    probabilities: np.ndarray,  # [..., classes]
) -> np.ndarray:  # [...], 0 certain .. 1 no idea
    """The entropy of the probabilities as a share of the largest that it can be."""
    return -(probabilities * np.log(probabilities.clip(1e-12))).sum(-1) / np.log(max(probabilities.shape[-1], 2))


@dataclass(frozen=True)
class Stage:
    """What one network makes of the slices."""

    name: str  # such as "local"
    vectors: np.ndarray  # [S, H, W, C] unit vectors
    probabilities: np.ndarray | None  # [S, H, W, classes]; None where neither a class head nor labels are there
    read: str  # where the probabilities come from


@torch.no_grad()
def head_probabilities(
    model: UNet,  # with a trained class head
    images: np.ndarray,  # [S, H, W]
) -> np.ndarray:  # [S, H, W, classes]
    """What the class head says, as probabilities; ValueError where it says nothing."""
    was, given = model.training, torch.from_numpy(as_slices(images))[:, None].to(device_of(model))
    model.eval()
    said = torch.cat([model(part).softmax(1).cpu() for part in given.split(16)]).permute(0, 2, 3, 1).numpy()
    model.train(was)
    if not np.isfinite(said).all():
        raise ValueError("model: the class head gives NaN or infinite values; was training stopped by a loss that was NaN?")
    return said


def make_stage(
    name: str,  # of the stage
    model: Callable,  # the network
    images: np.ndarray,  # [S, H, W]
    labels: np.ndarray | None,  # [S, H, W]
    sample: Sample,  # the voters
    classes: int,  # number of classes
    layer: str = "features",  # of a UNet
) -> Stage:
    """Run a network on the slices and gather what can be shown."""
    vectors = pixel_embeddings(model, images, layer)
    if isinstance(model, UNet) and name not in STAGES[:3]:
        return Stage(name, vectors, head_probabilities(model, images), "the network's class head")
    if labels is None:
        return Stage(name, vectors, None, "")
    votes = vote(vectors.reshape(-1, vectors.shape[-1]), sample.index, labels.reshape(-1), classes)
    return Stage(name, vectors, votes.reshape(*images.shape, classes), f"a vote of the 10 nearest of {len(sample.index):,} sampled pixels")


RIGHT_WRONG = ("#8a8a8a", "#d92b2b")
"""Colours of predictions."""

RAMP = ("#3b1f4a", "#8d5a94", "#d3a9c4", "#fbf1e6")
"""Colours of a quantity from low to high, from plum to cream: none of them is a structure's."""


def shades(count: int) -> tuple[str, ...]:
    """So many colours of `RAMP`, evenly spaced, without its darkest end."""
    ramp = np.array([rgb(colour) for colour in RAMP], float)
    at = np.linspace(0.35, 1, count) * (len(ramp) - 1)
    mixed = np.stack([np.interp(at, np.arange(len(ramp)), channel) for channel in ramp.T], axis=1)
    return tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in mixed.round().astype(int))


@dataclass(frozen=True)
class Colouring:
    """One way to colour every pixel."""

    name: str  # such as "label"
    values: np.ndarray  # [S, H, W]: codes of `names`, or numbers
    names: tuple[str, ...] = ()  # of the codes; empty for a quantity
    low: float = 0.0  # ends of a quantity's scale
    high: float = 1.0  # the other end
    says: str = ""  # what it means, and where it comes from

    @property
    def palette(self) -> tuple[str, ...]:
        """A colour for each code: the structures' own for classes, for anything else colours that no structure has."""
        count = len(self.names)
        if self.name == "error":
            return RIGHT_WRONG
        return shades(count) if self.name == "slice" else tuple(class_look(code)[0] for code in range(count))

    @property
    def symbols(self) -> tuple[str, ...]:
        """A marker for each code."""
        if self.name == "error":
            return "circle", "x"
        return tuple(class_look(code)[1] for code in range(len(self.names)))


def colourings(
    stage: Stage,  # what the network says
    images: np.ndarray,  # [S, H, W]
    labels: np.ndarray | None,  # [S, H, W]
    names: tuple[str, ...],  # of the classes
) -> dict[str, Colouring]:  # by name
    """Every way in which the pixels of this stage can be coloured."""
    low, high = (float(v) for v in np.quantile(images, [0.01, 0.99]))
    found = [] if labels is None else [Colouring("label", labels, names, says="what the expert drew")]
    found += predicted(stage, labels, names)
    found.append(Colouring("intensity", images, low=low, high=max(high, low + 1e-6), says="brightness in the image"))
    return {c.name: c for c in (*found, *positions(images.shape))}


def predicted(stage: Stage, labels: np.ndarray | None, names: tuple[str, ...]) -> list[Colouring]:
    """Colourings by what the stage predicts: class of the `names`, whether that is the label [S, H, W], how sure."""
    if stage.probabilities is None:
        return []
    guess, said = stage.probabilities.argmax(-1), f"prediction from {stage.read}"
    unsure = Colouring("uncertainty", uncertainty(stage.probabilities), says="entropy: 0 certain, 1 no idea")
    found = [Colouring("prediction", guess, names, says=f"from {stage.read}"), unsure]
    if labels is not None:
        found.insert(1, Colouring("error", (guess != labels).astype(int), ("right", "wrong"), says=said))
    return found


def positions(shape: tuple[int, ...]) -> list[Colouring]:
    """Colourings by place in slices of this shape [S, H, W]."""
    rows, columns = np.meshgrid(*(np.linspace(0, 1, n) for n in shape[1:]), indexing="ij")
    found = [
        Colouring("row", np.broadcast_to(rows, shape), says="position from top (0) to bottom (1)"),
        Colouring("column", np.broadcast_to(columns, shape), says="position from left (0) to right (1)"),
    ]
    if shape[0] > 1:
        which = np.broadcast_to(np.arange(shape[0])[:, None, None], shape)
        names = tuple(f"slice {s + 1}" for s in range(shape[0]))
        found.append(Colouring("slice", which, names, says="which slice the pixel is from"))
    return found


@dataclass(frozen=True)
class Mosaic:
    """Slices laid out in rows and columns with a gap between them."""

    shape: tuple[int, int, int]  # slices, rows, columns
    across: int  # slices in a row
    gap: int = 2  # pixels between slices

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the whole picture."""
        slices, height, width = self.shape
        down = -(-slices // self.across)
        return down * (height + self.gap) - self.gap, self.across * (width + self.gap) - self.gap

    def place(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column [n] in the picture of pixels (`index` [n], positions in the flattened stack)."""
        s, row, column = np.unravel_index(index, self.shape)
        return row + s // self.across * (self.shape[1] + self.gap), column + s % self.across * (self.shape[2] + self.gap)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Values [S, H, W] as one picture, nan in the gaps."""
        whole = np.full(self.size, np.nan, np.float32)
        whole[self.place(np.arange(np.prod(self.shape)))] = np.asarray(values, np.float32).reshape(-1)
        return whole


def mosaic_of(
    shape: tuple[int, int, int],  # slices, rows, columns
    gap: int = 2,  # pixels between slices
) -> Mosaic:
    """A mosaic about as wide as it is high."""
    slices, rows, columns = shape
    return Mosaic((slices, rows, columns), int(np.ceil(np.sqrt(slices))), gap)


@dataclass(frozen=True)
class Compact:
    """Unit vectors in one byte for each of a few dimensions."""

    values: np.ndarray  # [P, dims] int8
    scale: float  # one step of the bytes
    kept: float  # share of the squared length that the dimensions keep
    error: float  # 95th percentile of the error of a cosine

    @property
    def unit(self) -> np.ndarray:
        """The directions [P, dims] that the bytes give, float32."""
        plain = self.values.astype(np.float32)
        return plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-9)


def compact(
    vectors: np.ndarray,  # [P, C] unit vectors
    dims: int = 32,  # at most
    seed: int = 0,  # of the pairs on which the error is measured
) -> Compact:
    """Few bytes for each vector, with the error that this makes."""
    values, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    short = vectors @ axes[:, ::-1][:, :dims].astype(np.float32)
    scale = float(np.abs(short).max() / 127) or 1.0
    stored = np.round(short / scale).astype(np.int8)
    made = Compact(stored, scale, float(values[::-1][:dims].sum() / max(values.sum(), 1e-12)), np.nan)
    a, b = np.random.default_rng(seed).integers(0, len(vectors), (2, 2000))
    wrong = np.abs((made.unit[a] * made.unit[b]).sum(1) - (vectors[a] * vectors[b]).sum(1))
    return replace(made, error=float(np.quantile(wrong, 0.95)))


@dataclass(frozen=True)
class View:
    """The slices, and what each stage makes of them."""

    images: np.ndarray  # [S, H, W] float32
    labels: np.ndarray | None  # [S, H, W] int64
    names: tuple[str, ...]  # of the classes
    stages: dict[str, Stage]  # by name
    mosaic: Mosaic  # how the slices are laid out

    def flat(self, stage: str) -> np.ndarray:
        """The vectors of one stage as [S * H * W, C]."""
        vectors = self.stages[stage].vectors
        return vectors.reshape(-1, vectors.shape[-1])

    @property
    def flat_labels(self) -> np.ndarray | None:
        """The labels as [S * H * W]."""
        return None if self.labels is None else self.labels.reshape(-1)

    def colours(self, stage: str) -> dict[str, Colouring]:
        """The ways to colour the pixels at one stage."""
        return colourings(self.stages[stage], self.images, self.labels, self.names)


def gather(
    model: object,  # a network or function, a mapping name -> network, or a run (or its folder)
    images: np.ndarray | Cohort | None = None,  # [H, W] or [S, H, W], or a cohort; from the run where None
    labels: np.ndarray | None = None,  # like the images, [H, W] or [S, H, W]
    classes: Sequence[str] | None = None,  # names, background first
    layer: str = "features",  # of a UNet: "features", "head" or "output"
    seed: int = 0,  # of the voters
) -> View:
    """Run every network on the slices and gather what can be shown; ValueError where slices or classes do not fit."""
    model = read_run(model) if isinstance(model, str | Path) else model
    stack, marks, names = slices_of(model, images, labels, classes)
    voters = sample_pixels(stack.shape, 4096, marks, seed=seed)
    stages = {n: make_stage(n, m, stack, marks, voters, len(names), layer) for n, m in named_models(model).items()}
    check_vectors(next(iter(stages.values())).vectors.reshape(stack.size, -1), least=4)
    last = np.array([s.probabilities.shape[-1] - 1 for s in stages.values() if s.probabilities is not None], int)
    return View(stack, marks, class_names(names, last), stages, mosaic_of(stack.shape))


def slices_of(
    model: object,  # a run brings its own slices and classes
    images: np.ndarray | Cohort | None,  # [H, W] or [S, H, W]
    labels: np.ndarray | None,  # like the images
    classes: Sequence[str] | None,  # names, background first
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:  # images and labels [S, H, W], names of the classes
    """The slices to show; ValueError where there are none, or where labels do not fit them or the run."""
    if isinstance(model, Run) and (images is None or isinstance(images, Cohort)):
        images, labels, classes = slices_of_run(model, images)
    elif isinstance(model, Run) and labels is not None and classes is not None:
        order = class_order("classes", classes, Codes(()), model.settings["classes"], model.codes)
        labels, classes = np.array(order)[page_labels(labels)], model.settings["classes"]
    if images is None or isinstance(images, Cohort):
        found = "none" if images is None else "a cohort"
        raise ValueError(f"images: found {found}, expected one slice [H, W] or several [S, H, W]; only a run brings its own")
    stack = as_slices(images)
    marks = as_labels(labels, stack.shape)
    return stack, marks, class_names(classes, marks)
