"""One training over several processes, with the contrast over all of them"""

__all__ = []  # a program: torchrun -m semicon_nb.distributed

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .data import Cohort, Split, labelled_indices, load, split, unlabelled_indices
from .files import write_atomic
from .loop import StageSettings, Step, as_lines, check_batch, fit, run
from .losses import global_contrastive_loss, local_contrastive_loss, supervised_local_contrastive_loss
from .machine import chosen_precision, described, device_of
from .methods import named_method, named_preset
from .networks import load_weights, save_weights
from .plan import Plan, PlannedStage, plan_run
from .predict import at_precision
from .runs import in_cache, place_of
from .strategies import FullResolution, Strategy
from .train import allowed, at_step, identity_of, pair_of, train_global, train_local
from .unet import UNet


class Gather(torch.autograd.Function):
    """Rows of all ranks, whose gradients find their way back."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        """Rows [R * N, ...] of all R ranks, in their order, from those of this one [N, ...], of one shape on all."""
        everyone = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, rows.contiguous())
        context.count = len(rows)
        return torch.cat(everyone)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Gradient [N, ...] of this rank's rows, summed over the losses of all ranks."""
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * context.count
        return gradient[start : start + context.count]


def gathered(rows: Tensor) -> Tensor:
    """Rows [R * N, ...] of all ranks, in their order, from those of this one [N, ...]; the rows themselves where there is one process."""
    return Gather.apply(rows) if dist.is_initialized() and dist.get_world_size() > 1 else rows


def whole_batch(rows: Tensor) -> Tensor:
    """All slices of a batch [R * n, ...], in its order, from every R-th of them [n, ...]: a strategy counts pixels in that order."""
    return gathered(rows).unflatten(0, (world()[1], -1)).transpose(0, 1).flatten(0, 1)


class StageLoss(nn.Module):
    """A network with the contrastive loss of the batch of all ranks."""

    def __init__(self, model: UNet, stage: str, settings: StageSettings, form: str = "supcon"):
        super().__init__()
        self.model, self.stage, self.settings, self.form = model, stage, settings, form

    def forward(self, images: Tensor, labels: Tensor | None, strategy: Strategy = FullResolution()) -> Tensor:
        """The loss of all ranks' views together, a scalar, from two views of this rank's slices [b, 2, 1, H, W] and their labels [b, 2, H, W]."""
        embed = self.model.embed_images if self.stage == "global" else self.model.features
        vectors = at_precision(embed, images.flatten(0, 1), self.settings.precision)
        vectors = (vectors if self.stage == "global" else self.model.pixel_head(vectors)).unflatten(0, (-1, 2))
        vectors, heat = whole_batch(vectors), self.settings.temperature
        if self.stage == "global":
            return global_contrastive_loss(vectors[:, 0], vectors[:, 1], heat)
        if labels is None:
            return local_contrastive_loss(vectors, heat, strategy)
        return supervised_local_contrastive_loss(vectors, whole_batch(labels), heat, strategy, form=self.form)


def world() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def check_processes(step: int, batch: int) -> None:
    """Raise an error unless all ranks are at the same step and get equal shares of a `batch`."""
    _, ranks = world()
    if batch % ranks:
        raise ValueError(f"batch: {batch} slices can't be shared equally by {ranks} processes; use a multiple of {ranks}")
    steps = gathered(torch.tensor([step]))
    if steps.min() != steps.max():
        raise ValueError(f"resume: the processes' checkpoints are at steps {sorted(set(steps.tolist()))}; delete them and start again")


@contextmanager
def only_for(model: UNet, stage: str) -> Iterator[None]:
    """Freeze what a stage does not train, until it ends or is left."""
    unused = {"global": ("decoder", "pixel_head", "class_head"), "local": ("global_head", "class_head")}
    frozen = [weight for part in unused[stage] for weight in getattr(model, part).parameters() if weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(True)


def train_shared(
    model: UNet, cohort: Cohort, split: Split, settings: StageSettings, stage: str = "global", strategy: Strategy = FullResolution(),
    form: str = "supcon", supervised: bool = True, test_images: bool = False,
    seed: int = 0, folder: str | Path | None = None, resume: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """A contrastive stage, "global" or "local", over all processes, with the arguments of `train_global` and `train_local`; alone, what these do.

    The model is the same on all ranks; the settings are those of the whole batch; the `folder` holds the ranks' checkpoints.
    """
    rank, ranks = world()
    labels = stage == "local" and supervised
    use = "labels" if labels else "images" + "+test" * test_images
    indices = labelled_indices(cohort, split) if labels else unlabelled_indices(cohort, split, test_images=test_images)
    slices = allowed(cohort, split, indices, use, device_of(model))
    settings = settings if labels or stage == "global" else replace(settings, views=replace(settings.views, shared=True))
    if stage == "global":
        check_batch(settings, len(indices))
    check_processes(0, settings.batch)

    def batches(step: int) -> tuple[Tensor, Tensor | None, Strategy]:
        pair = pair_of(slices, settings, step, seed, stage)
        check_processes(step, len(pair.images))
        return pair.images[rank::ranks], None if pair.labels is None else pair.labels[rank::ranks], at_step(strategy, seed, stage, step)

    place = Path(folder) / f"rank{rank}" if folder else None
    identity = identity_of(model, cohort, split, indices, seed, strategy=strategy, form=form, supervised=supervised, ranks=ranks)
    with only_for(model, stage):
        net: nn.Module = StageLoss(model, stage, settings, form)
        net = DistributedDataParallel(net) if ranks > 1 else net
        yield from fit(net, lambda net, batch: net(*batch), batches, settings, place, resume, stage, identity=identity)


@contextmanager
def process_group() -> Iterator[torch.device]:
    """The processes that torchrun started, on GPUs where there are any, shared where they are too few; a single process otherwise."""
    if "RANK" not in os.environ:
        yield torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return
    gpus, here = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % gpus) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    # NCCL carries what is on GPUs and wants one for each process; gloo carries the rest, and lets processes share a GPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus and here <= gpus else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def shared_stage(model: UNet, plan: Plan, planned: PlannedStage, progress: bool) -> None:
    """Train one stage of a plan on all processes, or take it from the cache; the first process keeps it there."""
    stage, place, rank = planned.stage, in_cache(planned.key), world()[0]
    if bool(gathered(torch.tensor([float(place is not None)])).min()) and place:
        load_weights(model, place)
        return
    steps = train_shared(model, plan.cohort, plan.split, planned.settings, stage.name, seed=plan.seed, **stage.options)
    done = run(steps, progress and rank == 0)
    if rank == 0:
        write_atomic(place_of(planned.key).with_suffix(".jsonl"), as_lines(done))
        save_weights(place_of(planned.key), model)


SHARED: dict[Callable, set[str]] = {train_global: {"test_images"}, train_local: {"strategy", "form", "supervised"}}
"""Which stages can be trained on all processes, and their options."""


def agreed(device: torch.device | str) -> str:
    """What precision "auto" stands for on all ranks: "bf16" where it pays on each of them, else "fp32"."""
    mine = torch.tensor([float(chosen_precision(device) == "bf16")], device=device)
    return "bf16" if bool(gathered(mine).min()) else "fp32"


def pretrain(
    method: str,  # a name in METHODS
    cohort: Cohort,  # slices
    part: Split,  # who may be learned from
    preset: str = "laptop",  # a name in PRESETS
    seed: int = 0,  # of weights, slices and views
    scale: float = 1.0,  # multiplies the steps
    device: torch.device | str = "cpu",  # where this process trains
    progress: bool = True,  # show a bar
) -> UNet:
    """Train a method's contrastive stages on all processes and keep them for `train_method`; ValueError for a stage that cannot be shared."""
    sizes, usual = named_preset(preset).scaled(scale), agreed(device)
    plan = plan_run(named_method(method), cohort, part, sizes, seed, dict.fromkeys(sizes.stages, usual), device=device)
    if not plan.stages[1:]:
        raise ValueError(f"method: {method} has no stage before the last, expected one with a global or local stage to share")
    for stage in (planned.stage for planned in plan.stages[:-1]):
        if stage.train not in SHARED or stage.name not in ("global", "local"):
            raise ValueError(f"method: {method}'s stage {stage.name} can't be shared, only the global and local stages can")
        if odd := set(stage.options) - SHARED[stage.train]:
            raise ValueError(f"method: {method}'s stage {stage.name} has the option {min(odd)!r}, which can't be shared; train it in one process")
    if progress and world()[0] == 0:
        print(f"{plan.stages[0].settings.precision} on {described(plan.device)}, processes: {world()[1]}")
    model = plan.network.to(device)
    for planned in plan.stages[:-1]:
        shared_stage(model, plan, planned, progress)
        if dist.is_initialized():
            dist.barrier()
    return model


def main() -> None:
    """Arguments of `torchrun -m semicon_nb.distributed`."""
    parser = argparse.ArgumentParser(prog="semicon_nb.distributed", description="Train a method's contrastive stages on several devices.")
    parser.add_argument("method")
    parser.add_argument("--data", default="phantom", help="cohort or folder")
    usual = {"labels": (float, 0.1), "split": (int, None), "seed": (int, 0), "preset": (str, "laptop"), "scale": (float, 1.0)}
    for name, (kind, value) in usual.items():
        parser.add_argument(f"--{name}", type=kind, default=value)
    given = parser.parse_args()
    try:
        with process_group() as device:
            cohort = load(given.data)
            part = split(cohort, given.labels, seed=given.seed if given.split is None else given.split)
            pretrain(given.method, cohort, part, given.preset, given.seed, given.scale, device)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
