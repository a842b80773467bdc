"""One knob of a method turned at a time: the temperature, the head, the length of a stage"""

__all__ = ["variants"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..data import Cohort, Split
from ..identity import declared
from ..loop import StageSettings, Step
from ..stages import Method, Stage, Trainer
from ..strategies import FullResolution, Strategy
from ..train import train_local
from ..unet import UNet


HEADS: dict[str, Callable[[nn.Sequential], nn.Sequential]] = {
    "none": lambda head: nn.Sequential(),
    "bent": lambda head: nn.Sequential(head[0], nn.ReLU(), head[1]),
}
"""What stands in the place of the pixel head during the local stage; the convolutions are the network's own."""


@declared("semicon_nb.ablations.train_local_with")
def train_local_with(
    model: UNet,  # trained in place: encoder, decoder and pixel head
    cohort: Cohort,  # slices
    split: Split,  # who is used for what
    settings: StageSettings,  # how to train
    strategy: Strategy = FullResolution(),  # which pixels meet
    head: str = "none",  # a name in HEADS
    seed: int = 0,  # of batches, views and random strategies
    folder: str | Path | None = None,  # for checkpoint and history
    resume: bool = False,  # go on from the checkpoint
) -> Iterator[Step]:
    """The local stage with another pixel head; the network has its own again at the end. ValueError for an unknown head, or one that the network cannot have."""
    if head not in HEADS:
        raise ValueError(f"head: found {head!r}, expected one of {', '.join(HEADS)}")
    own = model.pixel_head
    if head == "bent" and not (isinstance(own, nn.Sequential) and len(own) == 2):
        raise ValueError(f"head: 'bent' puts a ReLU between two layers, but this network's pixel_head is {type(own).__name__}; use 'none'")
    model.pixel_head = HEADS[head](own)
    try:
        yield from train_local(model, cohort, split, settings, strategy, seed=seed, folder=folder, resume=resume)
    finally:
        model.pixel_head = own


def variant(
    method: Method,  # to start from
    words: str,  # what is different, added to its name
    stage: str,  # which stage is changed: "global", "local" or "finetune"
    longer: float = 1.0,  # multiplies the stage's steps once more
    train: Trainer | None = None,  # another training function
    options: dict[str, Any] | None = None,  # further arguments of the training function
    **changes: Any,  # stage settings, such as temperature=0.5
) -> Method:
    """The method with one stage changed; ValueError where it has no such stage."""
    if stage not in {part.name for part in method.stages}:
        raise ValueError(f"stage: found {stage!r}, expected one of {method.name}'s {', '.join(part.name for part in method.stages)}")

    def changed(part: Stage) -> Stage:
        return replace(
            part,
            train=train or part.train,
            options=part.options | (options or {}),
            changes=part.changes | changes,
            longer=part.longer * longer,
        )

    stages = tuple(changed(part) if part.name == stage else part for part in method.stages)
    return replace(method, name=f"{method.name} {words}", stages=stages, source="this package")


def variants(methods: Mapping[str, Method]) -> dict[str, Method]:
    """Our own experiments with one knob of `methods` (METHODS) turned, by name: five of local(stride), two of global, one of scratch."""
    local, whole = methods["local(stride)"], methods["global"]
    turned = (
        variant(local, "tau 0.05", "local", temperature=0.05),
        variant(local, "tau 0.5", "local", temperature=0.5),
        variant(local, "no head", "local", train=train_local_with, options={"head": "none"}),
        variant(local, "bent head", "local", train=train_local_with, options={"head": "bent"}),
        variant(local, "4x local", "local", longer=4),
        variant(whole, "tau 0.1", "global", temperature=0.1),
        variant(whole, "3x global", "global", longer=3),
        variant(methods["scratch"], "averaged", "finetune", average=0.99),
    )
    return {method.name: method for method in turned}
