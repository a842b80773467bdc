"""What today's rivals do with unlabelled images, each as one more term beside the segmentation loss."""

__all__ = ["finetune_with"]


import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .contrast import check_temperature
from .data import Cohort, Split, labelled_indices, unlabelled_indices
from .dice import cross_entropy_dice
from .identity import declared
from .loop import StageSettings, Step, blend, check_batch, draw, fit, generator_of
from .losses import supervised_local_contrastive_loss
from .machine import device_of
from .names import check_whole, is_number
from .predict import at_precision, evaluating
from .train import allowed, identity_of, pair_of, validator
from .unet import UNet
from .views import ViewSettings, augment


STRONG = ViewSettings(gamma=(0.5, 2.0), contrast=(0.6, 1.4), brightness=0.2, bias=0.2, blur=1.2, noise=0.1)
"""Intensity changes of the strong view; no warp, so that pixels stay where they are in the weak view."""


@dataclass(frozen=True)
class Batch:
    """Labelled slices, and unlabelled ones in a weak and a strong view."""

    step: int  # steps done before this one
    images: Tensor  # [B, 1, H, W] labelled slices, augmented
    labels: Tensor  # [B, H, W] int64
    weak: Tensor  # [U, 1, H, W] unlabelled slices, augmented
    strong: Tensor  # [U, 1, H, W] the same with stronger intensity changes
    generator: torch.Generator  # for whatever else the step draws


def semi_batches(
    cohort: Cohort, split: Split, settings: StageSettings, seed: int, device: torch.device | str = "cpu"
) -> Callable[[int], Batch]:
    """Batches by step number: `batch` labelled slices, and half as many unlabelled ones."""
    known = allowed(cohort, split, labelled_indices(cohort, split), "labels", device)
    unknown = allowed(cohort, split, unlabelled_indices(cohort, split), "images", device)

    def batch(step: int) -> Batch:
        noise = generator_of(seed, "semi", "views", step)
        images, labels = known.pick(draw(len(known.images), settings.batch, step, seed, "semi", "labelled"))
        images, labels = augment(images, labels, settings.views, noise)
        others, _ = unknown.pick(draw(len(unknown.images), max(1, settings.batch // 2), step, seed, "semi", "unlabelled"))
        weak, _ = augment(others, None, settings.views, noise)
        strong, _ = augment(weak, None, STRONG, noise)
        return Batch(step, images, labels, weak, strong, noise)

    return batch


class Student(nn.Module):
    """One network and nobody else."""

    def __init__(self, student: UNet):
        super().__init__()
        self.student = student

    @property
    def chosen(self) -> UNet:
        """The network to keep."""
        return self.student

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes, H, W] of images [B, 1, H, W], by the network to keep."""
        return self.chosen(images)


class Teacher(Student):
    """A student, and the running average of its weights before each step; the last step is not in the average that is kept."""

    def __init__(self, student: UNet, average: float = 0.99):  # share of the old weights in each update
        super().__init__(student)
        self.teacher, self.average = copy.deepcopy(student).requires_grad_(False), average

    @property
    def chosen(self) -> UNet:
        """The teacher."""
        return self.teacher

    def follow(self, step: int) -> None:
        """Move the teacher towards the student after `step` steps, before the next one; in early steps the average is shorter."""
        blend(self.teacher, self.student, min(self.average, step / (step + 1)))


class Twins(Student):
    """Two networks that start from different first weights; the first is kept."""

    def __init__(self, student: UNet, seed: int = 0):  # of the second one's weights
        super().__init__(student)
        self.twin = student.twin(seed + 1_000_003)


@dataclass(frozen=True)
class Context:
    """What a loss may know besides the batch."""

    steps: int  # of the whole stage
    precision: str  # "fp32" or "bf16"
    weight: float  # of the added term, after the ramp
    threshold: float  # least probability of a pseudo-label
    temperature: float  # of a contrastive term


def ramp(step: int, steps: int, share: float = 0.4) -> float:
    """Weight of the added term after `step` of `steps` steps: from 0.007 up to 1 over the first `share` of the stage."""
    return math.exp(-5 * (1 - min(1.0, step / max(1, share * steps))) ** 2)


def logits_of(model: nn.Module, images: Tensor, context: Context) -> Tensor:
    """Logits [B, classes, H, W] of images [B, 1, H, W] in float32, computed in the stage's precision."""
    return at_precision(model, images, context.precision)


Objective = Callable[[Any, Batch, Context], Tensor]


def supervised(nets: Student, batch: Batch, context: Context) -> Tensor:
    """Cross entropy and soft Dice on the labelled slices; a scalar."""
    return cross_entropy_dice(logits_of(nets.student, batch.images, context), batch.labels)


def mixup(nets: Student, batch: Batch, context: Context, alpha: float = 0.4) -> Tensor:
    """The supervised loss on blends of two labelled slices in shares from Beta(alpha, alpha); labelled slices only; a scalar."""
    seed = int(torch.randint(2**31, (1,), generator=batch.generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(batch.images), generator=batch.generator).to(batch.images.device)
    logits = logits_of(nets.student, share * batch.images + (1 - share) * batch.images[other], context)
    return share * cross_entropy_dice(logits, batch.labels) + (1 - share) * cross_entropy_dice(logits, batch.labels[other])


def quarter_turn(values: Tensor, quarters: int, mirror: bool) -> Tensor:
    """A turned and mirrored copy of values [B, C, H, W] (H and W change places in a quarter turn); exact, since no pixel falls between others."""
    values = torch.rot90(values, quarters, (2, 3))
    return values.flip(3) if mirror else values


def mean_teacher(nets: Teacher, batch: Batch, context: Context, quarters: int = 0, mirror: bool = False) -> Tensor:
    """Supervised loss, and agreement of the student on the strong view, turned, with the teacher's turned answer to the weak one; a scalar.

    The teacher follows first, so it knows the student's steps up to the one before. It answers in evaluation mode, as it will predict: without
    dropout, and with the means that a BatchNorm keeps. (The first code of the method left it in training mode.)
    """
    nets.follow(batch.step)
    with evaluating(nets.teacher) as net:
        target = quarter_turn(logits_of(net, batch.weak, context).softmax(1), quarters, mirror)
    guess = logits_of(nets.student, quarter_turn(batch.strong, quarters, mirror), context).softmax(1)
    return supervised(nets, batch, context) + context.weight * ramp(batch.step, context.steps) * F.mse_loss(guess, target)


def tcsm(nets: Teacher, batch: Batch, context: Context) -> Tensor:
    """The loss of a mean teacher with a random turn; a scalar."""
    quarters, mirror = (int(torch.randint(high, (1,), generator=batch.generator)) for high in (4, 2))
    return mean_teacher(nets, batch, context, quarters, bool(mirror))


def pseudo_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely class [B, H, W] and its probability [B, H, W], from logits [B, classes, H, W]."""
    chance, label = logits.detach().softmax(1).max(1)
    return label, chance


def guessed(model: nn.Module, batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """What a network takes, as it would predict, for the labels [U, H, W] of the weak views, and how probable each is [U, H, W]."""
    with evaluating(model) as net:
        return pseudo_labels(logits_of(net, batch.weak, context))


def cross_pseudo(nets: Twins, batch: Batch, context: Context) -> Tensor:
    """Supervised loss of both networks, and cross entropy of each with the other's classes on unlabelled slices; a scalar.

    Both learn and teach in one pass, as in the method's own code, and so in training mode.
    """
    one, two = (logits_of(net, torch.cat([batch.images, batch.weak]), context) for net in (nets.student, nets.twin))
    known = len(batch.images)
    loss = cross_entropy_dice(one[:known], batch.labels) + cross_entropy_dice(two[:known], batch.labels)
    crossed = F.cross_entropy(one[known:], pseudo_labels(two[known:])[0]) + F.cross_entropy(two[known:], pseudo_labels(one[known:])[0])
    return loss + context.weight * ramp(batch.step, context.steps) * crossed


def agreement(nets: Student, batch: Batch, context: Context) -> Tensor:
    """Cross entropy of the student on the strong view with the confident classes of the weak view, by the network to keep; a scalar."""
    label, chance = guessed(nets.chosen, batch, context)
    terms = F.cross_entropy(logits_of(nets.student, batch.strong, context), label, reduction="none")
    return (terms * (chance >= context.threshold)).mean()


def fixmatch(nets: Student, batch: Batch, context: Context) -> Tensor:
    """Supervised loss, and cross entropy of the strong view with the confident classes of the weak view; a scalar."""
    added = agreement(nets, batch, context)
    return supervised(nets, batch, context) + context.weight * ramp(batch.step, context.steps) * added


class Rounds(Student):
    """A student, and what it was when the round of self-training began."""

    def __init__(self, student: UNet, rounds: int = 2, warmup: float = 0.3):
        super().__init__(student)
        self.labeller, self.rounds, self.warmup = copy.deepcopy(student).requires_grad_(False), rounds, warmup

    def begin(self, step: int, steps: int) -> bool:
        """Whether there are labels to learn from after `step` of `steps` steps; where a round begins, the labeller becomes the student."""
        starts = [round(steps * (self.warmup + (1 - self.warmup) * number / self.rounds)) for number in range(self.rounds)]
        if step in starts:
            self.labeller.load_state_dict(self.student.state_dict())
        return step >= starts[0]


def self_training(nets: Rounds, batch: Batch, context: Context) -> Tensor:
    """Supervised loss, and the same loss on the strong view with the labeller's classes of the weak view; a scalar."""
    if not nets.begin(batch.step, context.steps):
        return supervised(nets, batch, context)
    label, _ = guessed(nets.labeller, batch, context)
    logits = logits_of(nets.student, torch.cat([batch.images, batch.strong]), context)
    known = len(batch.images)
    return cross_entropy_dice(logits[:known], batch.labels) + context.weight * cross_entropy_dice(logits[known:], label)


def box(shape: tuple[int, int], generator: torch.Generator, share: float = 2 / 3) -> Tensor:
    """A random rectangle, bool [H, W], True inside, of a `share` of the rows and of the columns."""
    sides = [max(1, round(share * side)) for side in shape]
    first = [int(torch.randint(whole - side + 1, (1,), generator=generator)) for whole, side in zip(shape, sides, strict=True)]
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[first[0] : first[0] + sides[0], first[1] : first[1] + sides[1]] = True
    return inside


def copy_paste(nets: Teacher, batch: Batch, context: Context) -> Tensor:
    """Supervised loss, and the same loss on labelled slices with a box of unlabelled ones and the other way round; a scalar."""
    nets.follow(batch.step)
    label, _ = guessed(nets.teacher, batch, context)
    count = min(len(batch.images), len(batch.strong))
    inside = box(tuple(batch.labels.shape[1:]), batch.generator).to(batch.images.device)
    ours, theirs = (batch.images[:count], batch.labels[:count]), (batch.strong[:count], label[:count])
    pasted, named = (torch.cat([torch.where(inside, a, b), torch.where(inside, b, a)]) for a, b in zip(ours, theirs, strict=True))
    logits = logits_of(nets.student, torch.cat([batch.images, pasted]), context)
    known = len(batch.images)
    added = cross_entropy_dice(logits[known:], named)
    return cross_entropy_dice(logits[:known], batch.labels) + context.weight * ramp(batch.step, context.steps) * added


def chosen_pixels(labels: Tensor, sure: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions [n] int64 of pixels that are `sure` [P] bool, at random, an equal share for each class, `labels` [P], among them.

    A share is `count` by the number of these classes, rounded up: with 1,024 and three classes it is 342, so 1,026 in all.
    A class that has fewer gives all of them, and no other makes up for it.
    """
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = order[sure[order]]
    classes = labels[order].unique()
    share = -(-count // max(1, len(classes)))
    return torch.cat([order[labels[order] == c][:share] for c in classes]) if len(classes) else order


def pixel_contrast(nets: Student, batch: Batch, context: Context, pixels: int = 1024) -> tuple[Tensor, Tensor]:
    """Logits [B, classes, H, W] of the labelled slices, and the contrast of labelled and confidently pseudo-labelled pixels.

    The pass that learns also makes the pseudo-labels, and so in training mode.
    """
    images = torch.cat([batch.images, batch.weak])
    features = at_precision(nets.student.features, images, context.precision)
    logits = nets.student.class_head(features)
    known = len(batch.images)
    label, chance = pseudo_labels(logits[known:])
    labels = torch.cat([batch.labels, label]).flatten()
    sure = torch.cat([torch.ones_like(batch.labels, dtype=torch.bool), chance >= context.threshold]).flatten()
    picked = chosen_pixels(labels, sure, pixels, batch.generator)
    rows = features.movedim(1, -1).reshape(-1, features.shape[1])[picked]
    vectors = nets.student.pixel_head(rows.T[None, :, None])
    loss = supervised_local_contrastive_loss(vectors[None], labels[picked][None, None, None], context.temperature)
    return logits[:known], loss


def joint(nets: Student, batch: Batch, context: Context) -> Tensor:
    """Supervised loss, and the supervised local contrast with pseudo-labels; a scalar."""
    logits, contrast = pixel_contrast(nets, batch, context)
    return cross_entropy_dice(logits, batch.labels) + context.weight * ramp(batch.step, context.steps) * contrast


def recipe(nets: Teacher, batch: Batch, context: Context) -> Tensor:
    """Supervised loss, cross entropy with the teacher's confident classes, and a tenth of the pixel contrast; a scalar."""
    nets.follow(batch.step)
    agreed = agreement(nets, batch, context)
    logits, contrast = pixel_contrast(nets, batch, context)
    weight = context.weight * ramp(batch.step, context.steps)
    return cross_entropy_dice(logits, batch.labels) + weight * (agreed + 0.1 * contrast)


@dataclass(frozen=True)
class Ingredient:
    """A loss, the networks that it trains, and its settings."""

    loss: Objective  # (networks, batch, context) -> scalar
    nets: type[Student] = Student  # how many networks, and how they hang together
    weight: float = 1.0  # of the added term at the end of the ramp
    threshold: float = 0.0  # least probability of a pseudo-label
    needs: tuple[str, ...] = ()  # what it asks of the network beside `forward`, as `Stage.needs`


PIXELS = ("features", "pixel_head", "class_head")


OBJECTIVES = {
    "supervised": Ingredient(supervised),
    "mixup": Ingredient(mixup),
    "mean-teacher": Ingredient(mean_teacher, Teacher, weight=10.0),
    "tcsm": Ingredient(tcsm, Teacher),
    "cross-pseudo-supervision": Ingredient(cross_pseudo, Twins, weight=1.0, needs=("twin",)),
    "fixmatch": Ingredient(fixmatch, weight=1.0, threshold=0.95),
    "self-training": Ingredient(self_training, Rounds),
    "copy-paste": Ingredient(copy_paste, Teacher),
    "joint": Ingredient(joint, weight=0.1, threshold=0.95, needs=PIXELS),
    "recipe": Ingredient(recipe, Teacher, weight=1.0, threshold=0.9, needs=PIXELS),
}


def _ingredient(objective: str, changes: dict[str, Any]) -> Ingredient:
    """The ingredient of this name with some `changes`; ValueError for those that cannot be meant."""
    if unknown := sorted(changes.keys() - {"weight", "threshold"}):
        raise ValueError(f"changes: found {', '.join(unknown)}, expected weight or threshold")
    own = replace(OBJECTIVES[objective], **changes)
    if not (is_number(own.weight) and 0 <= own.weight < math.inf):
        raise ValueError(f"weight: found {own.weight!r}, expected a number of at least 0")
    if not (is_number(own.threshold) and 0 <= own.threshold <= 1):
        raise ValueError(f"threshold: found {own.threshold!r}, expected a probability, 0 to 1")
    return own


@declared("semicon_nb.semisupervised.finetune_with")
def finetune_with(
    model: UNet,  # changed in place; holds the chosen weights at the end
    cohort: Cohort,  # slices
    split: Split,  # who may be learned from
    settings: StageSettings,  # how to train
    seed: int = 0,  # of slices, views and second networks
    folder: str | Path | None = None,  # where the checkpoint goes
    resume: bool = False,  # go on from it
    objective: str = "mean-teacher",  # a name in OBJECTIVES
    **changes: Any,  # weight or threshold, if not the usual ones
) -> Iterator[Step]:
    """Fine-tune with a loss that may look at unlabelled images of the training volumes; ValueError for an unknown objective."""
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: found {objective!r}, expected one of {', '.join(OBJECTIVES)}")
    own = _ingredient(objective, changes)
    nets = own.nets(model, seed=seed) if own.nets is Twins else own.nets(model)
    context = Context(settings.steps, settings.precision, own.weight, own.threshold, settings.temperature)
    batches = semi_batches(cohort, split, settings, seed, device_of(model))
    changes = {"objective": objective, "weight": own.weight, "threshold": own.threshold}
    identity = identity_of(model, cohort, split, labelled_indices(cohort, split), seed, **changes)

    def loss_of(nets: Student, batch: Batch) -> Tensor:
        return own.loss(nets, batch, context)

    try:
        yield from fit(nets, loss_of, batches, settings, folder, resume, "finetune", validator(cohort, split, settings), identity)
    finally:  # whoever stops early gets the network that is kept, too
        model.load_state_dict(nets.chosen.state_dict())


def positional_loss(vectors: Tensor, positions: Tensor, slices: Tensor, temperature: float = 0.1, near: float = 0.1) -> Tensor:
    """Global contrast of vectors [N, D] whose positives are views of one of the `slices` [N], or of `positions` [N] nearer than `near`; a scalar.

    Positions are 0 to 1, nan where unknown; ValueError for other shapes.
    """
    if vectors.ndim != 2 or len(vectors) != len(positions) or len(vectors) != len(slices):
        raise ValueError(f"vectors: found shape {list(vectors.shape)}, expected [{len(positions)}, D], a row for each position")
    check_temperature(temperature)
    unit = F.normalize(vectors.float(), dim=1)
    alone = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    close = (positions[:, None] - positions[None]).abs() < near
    positive = (close | (slices[:, None] == slices[None])) & ~alone
    logs = (unit @ unit.T / temperature).masked_fill(alone, -torch.inf).log_softmax(1)
    count = positive.sum(1)
    terms = -logs.masked_fill(~positive, 0).sum(1) / count.clamp(min=1)
    return terms.sum() / (count > 0).sum().clamp(min=1)


@declared("semicon_nb.semisupervised.train_positional")
def train_positional(
    model: UNet, cohort: Cohort, split: Split, settings: StageSettings, seed: int = 0, folder: str | Path | None = None,
    resume: bool = False, near: float = 0.1,
) -> Iterator[Step]:  # fmt: skip
    """Stage 1, with the arguments of `train_global`, and slices whose positions are closer than `near` as positives; no labels."""
    if not (is_number(near) and 0 < near <= 1):
        raise ValueError(f"near: found {near!r}, expected a share of the height of a scan, above 0 and up to 1")
    indices = unlabelled_indices(cohort, split)
    check_batch(settings, len(indices))
    slices, place = allowed(cohort, split, indices, "images", device_of(model)), torch.from_numpy(cohort.position[indices])

    def batches(step: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = draw(len(indices), min(settings.batch, len(indices)), step, seed, "global")
        pair = pair_of(slices, settings, step, seed, "global")
        positions, which = (values.to(pair.images.device).repeat_interleave(2) for values in (place[rows], rows))
        return pair.images.flatten(0, 1), positions, which

    def loss_of(model: UNet, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        vectors = at_precision(model.embed_images, batch[0], settings.precision)
        return positional_loss(vectors, batch[1], batch[2], settings.temperature, near)

    identity = identity_of(model, cohort, split, indices, seed, near=near)
    return fit(model, loss_of, batches, settings, folder, resume, "global", identity=identity)


def hidden_squares(shape: tuple[int, int, int], share: float, side: int, generator: torch.Generator) -> Tensor:
    """Which pixels are hidden, bool [n, 1, H, W]: a `share` of the squares, `side` pixels each; smaller at the border."""
    slices, rows, columns = shape
    chosen = torch.rand((slices, 1, -(-rows // side), -(-columns // side)), generator=generator) < share
    return chosen.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :rows, :columns]


class Painter(nn.Module):
    """A network and a head that paints a slice from its features."""

    def __init__(self, model: UNet, images: Tensor, seed: int = 0):
        super().__init__()
        self.model = model
        with torch.random.fork_rng(devices=[]), evaluating(model):
            torch.manual_seed(seed)
            self.head = nn.Conv2d(model.features(images).shape[1], 1, 1).to(images.device)

    def forward(self, images: Tensor) -> Tensor:
        """The slices [n, 1, H, W] as they are painted from what `images` [n, 1, H, W] shows of them."""
        return self.head(self.model.features(images))


@declared("semicon_nb.semisupervised.train_masked")
def train_masked(
    model: UNet, cohort: Cohort, split: Split, settings: StageSettings, seed: int = 0, folder: str | Path | None = None,
    resume: bool = False, share: float = 0.6, side: int = 8,
) -> Iterator[Step]:  # fmt: skip
    """In place of stage 1, with the arguments of `train_global`: paint the hidden squares of slices, by least squares; no labels.

    A `share` of the squares is hidden, `side` pixels each. Encoder and decoder are trained.
    """
    check_whole("side", side, 1)
    if not (is_number(share) and 0 < share < 1):
        raise ValueError(f"share: found {share!r}, expected a share of the squares, above 0 and below 1")
    indices = unlabelled_indices(cohort, split)
    slices = allowed(cohort, split, indices, "images", device_of(model))
    painter = Painter(model, slices.pick(torch.zeros(1, dtype=torch.long))[0], seed)

    def batches(step: int) -> tuple[Tensor, Tensor]:
        noise = generator_of(seed, "masked", "views", step)
        images, _ = slices.pick(draw(len(indices), min(settings.batch, len(indices)), step, seed, "global"))
        images, _ = augment(images, None, settings.views, noise)
        return images, hidden_squares((len(images), *images.shape[2:]), share, side, noise).to(images.device)

    def loss_of(painter: Painter, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, hidden = batch
        painted = at_precision(painter, images.masked_fill(hidden, 0), settings.precision)
        return F.mse_loss(painted[hidden], images[hidden]) if hidden.any() else 0 * painted.sum()

    identity = identity_of(model, cohort, split, indices, seed, share=share, side=side)
    return fit(painter, loss_of, batches, settings, folder, resume, "global", identity=identity)
