"""What a method is made of, and what all methods share."""

__all__ = ["PRESETS", "Stage", "Method", "Preset", "preset_of"]


import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .arguments import check_factor
from .data import Cohort, Split, labelled_indices, unlabelled_indices
from .files import content_key
from .identity import code_key, held, is_own, makers, name_of, spelled
from .loop import STAGES, StageSettings, Step
from .predict import Prediction


Trainer = Callable[..., Iterator[Step]]
"""(model, cohort, split, settings, seed=, folder=, resume=, **options) -> steps"""


@dataclass(frozen=True)
class Stage:
    """One training function with its options."""

    name: str  # "global", "local" or "finetune": which settings of the preset it takes
    train: Trainer  # trains the model in place, yielding its steps
    options: dict = field(default_factory=dict)  # further arguments of `train`
    images: str = "labelled"  # whose images it sees: "labelled" volumes, or all of "train"
    labels: bool = True  # whether it reads the labelled volumes' labels
    changes: dict = field(default_factory=dict)  # stage settings that differ from the preset's
    longer: float = 1.0  # multiplies the preset's steps
    needs: tuple[str, ...] = ()  # what it asks of the network beside `forward`: keys of `plan.NEEDS`

    def __post_init__(self):
        if not callable(self.train):
            raise TypeError(f"train: found {self.train!r}, expected a function that trains a stage, such as train_local")
        if self.images not in ("labelled", "train"):
            raise ValueError(f'images: found {self.images!r}, expected "labelled" or "train"')
        if isinstance(self.needs, str):
            raise TypeError(f"needs: found {self.needs!r}, expected a tuple of names such as ({self.needs!r},)")

    def describe(self) -> dict:
        """Everything that decides what the stage does, as plain values; `code` where a function or class of it is your own."""
        options = {name: value if isinstance(value, (str, int, float)) else spelled(value) for name, value in self.options.items()}
        own = [one for part in (self.train, *self.options.values()) for one in makers(part) if is_own(one)]
        return {
            "stage": self.name, "train": name_of(self.train), "options": options, "images": self.images, "labels": self.labels,
            "changes": self.changes, "longer": self.longer, **({"code": code_key(*own)} if own else {}),
            **({} if inspect.isfunction(self.train) else {"with": content_key(held(self.train))}),
        }  # fmt: skip


@dataclass(frozen=True)
class Method:
    """A named composition of stages; ValueError where two of them have one name, TypeError for what is no stage."""

    name: str  # what the command, the results and the tables call it
    stages: tuple[Stage, ...]  # in the order in which they are trained
    source: str = ""  # where it comes from
    looks: bool = False  # average the prediction over several looks at a slice
    neighbours: float = 0.0  # mm, standard deviation of the Gaussian that averages it with the slices beside; 0 never

    def __post_init__(self):
        if not isinstance(self.stages, list | tuple) or not all(isinstance(stage, Stage) for stage in self.stages):
            raise TypeError(f"stages: found {self.stages!r} in {self.name}, expected a tuple of Stage; of one it is (FINETUNE_STAGE,)")
        names = [stage.name for stage in self.stages]
        Prediction(looks=self.looks, neighbours=self.neighbours)  # which refuses what cannot be meant
        if len({"initial", "model", *names}) < 2 + len(names):  # files of weights in a RUN folder
            expected = "a name of its own for each, which is neither initial nor model"
            todo = "rename one, and give the preset settings of that name"
            raise ValueError(f"stages: found {', '.join(names)} in {self.name}, expected {expected}; {todo}")

    @property
    def prediction(self) -> Prediction:
        """How its network is asked."""
        return Prediction(looks=self.looks, neighbours=self.neighbours)

    @property
    def key(self) -> str:
        """Sixteen digits that change with anything that changes the method."""
        return content_key(self.describe())

    def describe(self) -> dict:
        """The method as plain values; `neighbours` where it is not 0."""
        beside = {"neighbours": self.neighbours} if self.neighbours else {}
        return {"name": self.name, "stages": [stage.describe() for stage in self.stages], "looks": self.looks, **beside}

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Preset:
    """A network and the settings of each stage, shared by all methods."""

    name: str  # what the command, the results and the tables call it
    stages: dict[str, StageSettings]  # "global", "local", "finetune"
    width: int = 16  # channels at full resolution
    decoder_norm: bool = True  # normalise in the decoder too
    global_dim: int = 128  # length of a slice's vector
    pixel_dim: int = 64  # length of a pixel's vector
    epochs: dict[str, int] = field(default_factory=dict)  # stage -> passes over its slices, instead of its steps

    def __post_init__(self):
        if unknown := sorted(self.epochs.keys() - self.stages.keys()):
            raise ValueError(f"epochs: found {', '.join(unknown)}, expected some of the preset's stages, {', '.join(self.stages)}")

    def network(self, classes: int) -> dict:
        """Arguments of `UNet` for this many `classes`, background included."""
        sizes = {"width": self.width, "decoder_norm": self.decoder_norm, "global_dim": self.global_dim, "pixel_dim": self.pixel_dim}
        return {"classes": classes, **sizes}

    def scaled(self, factor: float) -> "Preset":
        """The same preset with all steps, warm-ups and epochs multiplied by a `factor` above 0."""
        if factor == 1:
            return self
        stages = {name: scaled_stage(settings, factor) for name, settings in self.stages.items()}
        return replace(self, stages=stages, epochs={name: max(1, round(count * factor)) for name, count in self.epochs.items()})


def scaled_stage(settings: StageSettings, factor: float) -> StageSettings:
    """Stage settings with the steps multiplied by a `factor`; ValueError for one that is not above 0, or too large."""
    check_factor("scale", factor)
    count = {name: max(1, round(getattr(settings, name) * factor)) for name in ("steps", "validate_every") if getattr(settings, name)}
    return replace(settings, warmup=round(settings.warmup * factor), **count)


def preset_of(name: str, steps: tuple[int, int, int], batch: tuple[int, int, int], precision: str = "auto", **network: Any) -> Preset:
    """A preset, `name`, from the default stage settings with other `steps` and slices of a `batch` in the global, local and finetune stages.

    `precision` is "auto", "fp32" or "bf16"; `network`: width, decoder_norm, global_dim, pixel_dim, epochs.
    """
    stages = {}
    for stage, count, size in zip(("global", "local", "finetune"), steps, batch, strict=True):
        usual = STAGES[stage]
        warmup = min(usual.warmup, max(1, count // 10))
        every = max(1, count // 5) if usual.validate_every else 0
        stages[stage] = replace(usual, steps=count, batch=size, warmup=warmup, validate_every=every, precision=precision)
    return Preset(name, stages, **network)


def paper_preset() -> Preset:
    """The paper's network, batches, rates and epochs."""
    usual = preset_of("paper", (70, 70, 120), (120, 4, 8), precision="fp32")
    rates = {"global": 1e-4, "local": 1e-4, "finetune": 1e-5}
    plain: dict[str, Any] = {"weight_decay": 0.0, "schedule": "constant", "warmup": 0}
    stages = {stage: replace(usual.stages[stage], rate=rate, **plain) for stage, rate in rates.items()}
    epochs = {"global": 70, "local": 70, "finetune": 120}
    return replace(usual, stages=stages, width=64, decoder_norm=False, pixel_dim=128, epochs=epochs)


def demo_preset() -> Preset:
    """A small network that learns generated scans in seconds: a high rate, steadied by a running average of the weights."""
    usual = preset_of("demo", (120, 60, 300), (24, 4, 8), width=8, pixel_dim=32)
    return replace(usual, stages={**usual.stages, "finetune": replace(usual.stages["finetune"], rate=8e-3, average=0.97)})


PRESETS: dict[str, Preset] = {
    "demo": demo_preset(),
    "laptop": preset_of("laptop", (400, 200, 500), (32, 4, 16)),
    "thorough": preset_of("thorough", (1600, 800, 2000), (32, 4, 16)),
    "paper": paper_preset(),
}
"""Presets by name. `thorough` has 2,000 fine-tuning steps because more bring little: on hippocampi (`benchmarks/budget.py`,
validation people of one split, all labels) pooled Dice is .834 after 500, .856 after 2,000 and .860 after 4,000. Higher rates
with an average of the weights, smaller batches and slices of half the size in the first half were tried and are no better."""


def settings_for(stage: Stage, preset: Preset, cohort: Cohort, split: Split, precision: str = "auto") -> StageSettings:
    """A stage's settings: the preset's, with the method's own changes and length; ValueError for a stage that the preset does not have.

    `precision` is what "auto" stands for: "fp32" or "bf16".
    """
    if stage.name not in preset.stages:
        raise ValueError(f"stage: found {stage.name!r}, expected one of the preset's {', '.join(preset.stages)}")
    settings = replace(preset.stages[stage.name], **stage.changes)
    if settings.precision == "auto":
        settings = replace(settings, precision=precision)
    if epochs := preset.epochs.get(stage.name):
        pool = stage.images == "train" and stage.name != "finetune"
        slices = unlabelled_indices(cohort, split) if pool else labelled_indices(cohort, split)
        per_epoch = math.ceil(len(slices) / settings.batch)
        counted: dict[str, Any] = {"steps": epochs * per_epoch, "validate_every": 10 * per_epoch if settings.validate_every else 0}
        settings = replace(settings, **{name: count for name, count in counted.items() if name not in stage.changes})
    return settings if stage.longer == 1 else scaled_stage(settings, stage.longer)


_LABELLED_ONLY = {f"semicon_nb.{place}" for place in ("train.train_local", "ablations.train_local_with", "defects.train_local_identical")}
"""Declared names of what trains on labelled volumes only, unless told that it isn't supervised."""


def _unsaid(stage: Stage, settings: StageSettings, split: Split) -> dict[str, tuple]:
    """Whom a stage may hang on beside those that it declares: people who choose its weights, and all whom a function of one's own is given."""
    keeps = name_of(stage.train) in _LABELLED_ONLY and stage.options.get("supervised", True)
    whole = {} if keeps or stage.images == "train" else {"train": split.train}
    return whole | ({"val": split.val} if settings.validate_every else {})


def stage_code(stage: Stage) -> str:
    """Sixteen digits that change with the code of a stage's training function and options."""
    return code_key(*makers(stage.train), *(one for option in stage.options.values() for one in makers(option)))


def stage_key(
    stage: Stage,
    settings: StageSettings,
    cohort: Cohort,
    split: Split,
    network: dict,
    seed: int,
    before: str,
    last: bool = False,
    code: str = "",
) -> str:
    """Sixteen digits that are the same for stages that would end with the same weights.

    `network` are the arguments of UNet, or `network_facts`; `before` is the key of the stage before, "" for the first.
    The `last` stage of a method, which no other run takes, counts only whom it declares. `code` is its `stage_code`, where that is known.
    """
    known: dict[str, tuple] = {"images": split.train if stage.images == "train" else split.labelled}
    known |= {"others": split.val + split.test} if stage.options.get("test_images") else {}
    known |= {} if last else _unsaid(stage, settings, split)
    known |= {"labels": split.labelled if stage.labels else ()}
    known |= {"outlined": split.outlined} if stage.labels and split.outlined is not None else {}
    about, decisive = stage.describe(), replace(settings, save_every=1)  # which decides nothing
    return content_key(about, decisive, cohort.fingerprint, known, network, seed, before, code or stage_code(stage))
