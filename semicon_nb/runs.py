"""A folder that holds all there is to know of one training, complete or resumable."""

import copy
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict

import torch

from .data import Codes, Cohort, Grid, Split, load, load_split
from .files import content_of, from_json
from .loop import Step, StepLine
from .names import check_run
from .networks import Builder, build, load_weights, read_weights
from .predict import Prediction, with_prediction
from .stages import Method
from .unet import UNet

__all__ = ["Run", "learned_from", "read_run"]


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
    learned: NotRequired[dict[str, list[str]]]
    seen: NotRequired[_SeenFile]


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
        """The cohort that it was trained on; FileNotFoundError where it is no longer there."""
        try:
            return load(**self.settings["data"])
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

    @property
    def prediction(self) -> Prediction:
        """How its networks are asked."""
        return self.method.prediction

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
        return f"Run({self.folder}: {self.method}, {len(self.split.labelled)} labelled volumes, {len(self.history)} steps)"


def learned_from(run: Run, cohort: Cohort) -> list[str] | None:
    """The cohort's volumes with an image that the run trained on or was chosen by; None where run.json, being older, does not say."""
    if "learned" not in run.settings:
        return None
    known = {mark for marks in run.settings["learned"].values() for mark in marks if mark}
    return [volume.name for volume in cohort.volumes if known & set(volume.content)]


def read_history(path: str | Path) -> list[Step]:
    """All steps in a history file, `path`; a line that was cut off in writing is left out."""
    steps = []
    for line in content_of(path).splitlines() if Path(path).exists() else ():
        try:
            steps.append(Step(**from_json(line, StepLine)))
        except (ValueError, TypeError):
            continue
    return steps


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
    if "model" not in network:
        _check_sizes(network, folder)
    net = with_prediction(build(network, model=model), how)
    load_weights(net, folder / "model.pt")
    parts = load_split(folder / "split.json")
    if parts.fingerprint != settings["fingerprint"]:
        raise ValueError(f"{folder}: split.json and run.json are of two cohorts; train the run again")
    return Run(folder, net.eval(), method, parts, settings, read_history(folder / "history.jsonl"))


def _check_settings(settings: _RunFile) -> None:
    """Raise a ValueError or TypeError for a run.json that cannot be right."""
    Grid(**settings["grid"])
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


def _check_sizes(network: dict, folder: Path) -> None:
    """ValueError where run.json describes a network that is larger than the weights; found before one of that size is made."""
    weights = read_weights(folder / "model.pt")
    try:
        if network.get("depth", 4) > len(weights):
            raise ValueError(f"depth is {network['depth']}")
        with torch.device("meta"):
            claimed = sum(value.numel() for value in UNet(**network).state_dict().values())
    except (RuntimeError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{folder / 'run.json'}: its 'network' makes no network ({first}); train the run again") from error
    if claimed > (there := sum(value.numel() for value in weights.values())):
        found = f"model.pt is from another network than run.json describes ({there} numbers, expected {claimed})"
        raise ValueError(f"{folder}: {found}; train the run again")


def read_settings(folder: str | Path | None) -> dict:
    """What run.json in a RUN `folder` says so far, nothing where there is none; ValueError where it is damaged."""
    path = Path(folder or "no folder yet") / "run.json"
    try:
        return from_json(content_of(path), dict) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); delete the folder, or choose another") from error


def difference(found: dict, here: dict, within: str = "") -> str:
    """The first setting in which one run, `found`, differs from another, `here`, in words; empty where none does."""
    for name in [*here, *(name for name in found if name not in here)]:
        one, other = found.get(name), here.get(name)
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            return difference(one, other, f"{within}{name}: ")
        if one != other:
            return f"{within}{name} is {one!r} there and {other!r} here"
    return ""


def open_folder(out: str | Path | None, about: dict, resume: bool) -> Path:
    """Make a RUN folder ready, a temporary one for None, or refuse one that is in use or belongs to another run than `about` says."""
    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="semicon-run-"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, expected a new or empty folder; choose another")
    there = [path.name for path in folder.iterdir() if path.name != ".lock"] if folder.exists() else []
    if there and not resume:
        raise ValueError(f"{folder}: this folder is in use; go on with it by --resume (resume=True), or choose another")
    found = read_settings(folder)
    if resume and not found and any(not name.endswith(".partial") for name in there):
        raise ValueError(f"{folder}: holds something else (no run.json), expected a run to go on with; choose another folder")
    if found:
        ours = {name: value for name, value in about.items() if name not in ("data", "cohort")}  # the same scans may lie elsewhere now
        if differs := difference({name: found.get(name) for name in ours}, ours):
            raise ValueError(f"{folder}: holds another run ({differs}); use the same settings, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
