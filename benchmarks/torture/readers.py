"""Every reader that a user's or a stranger's file can reach: a sound set of files, how to spoil them, and what reading them gives."""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from . import spoil
from .trial import Wrong, command


@dataclass(frozen=True)
class Target:
    """A file to be spoilt."""

    path: str  # inside the folder
    spoilers: tuple[spoil.Spoiler, ...]  # each as often as the others
    checked: tuple[spoil.Spoiler, ...] = ()  # after these any value but the sound one is wrong


@dataclass(frozen=True)
class Reader:
    """One kind of input."""

    name: str  # in the figures
    share: int  # how many tries of a thousand
    make: Callable[[Path], None]  # writes sound files into a folder
    read: Callable[[Path], str]  # folder -> digest of what was read
    targets: tuple[Target, ...]  # what is spoilt
    writes: tuple[str, ...] = ()  # patterns of files that reading may write into the folder


def digest(*parts: Any) -> str:
    """Sixteen digits of arrays and plain values."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.hexdigest()[:16]


def need(good: bool, words: str) -> None:
    """Raise Wrong unless something is as it must be."""
    if not good:
        raise Wrong(words)


# scans and pictures ---------------------------------------------------------------------------------------------------
def volume(seed: int, shape: tuple[int, int, int] = (16, 14, 4)) -> tuple[np.ndarray, np.ndarray]:
    """An image [X, Y, Z] float32 and its label map uint8 of two structures."""
    labels = np.zeros(shape, np.uint8)
    labels[3:8, 4:10, 1:-1], labels[8:12, 4:10, 1:-1] = 1, 2
    return (np.random.default_rng(seed).random(shape) + labels).astype(np.float32), labels


def save(path: Path, array: np.ndarray) -> None:
    """Write a NIfTI file that says which way round it lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def make_scans(folder: Path) -> None:
    """A scan and a mask, packed and not."""
    for end in (".nii", ".nii.gz"):
        for name, array in zip(("image", "mask"), volume(0), strict=True):
            save(folder / f"{name}{end}", array)


def read_file(path: Path) -> str:
    """A file's voxels and geometry, as an image and, where it holds labels, as a mask."""
    from semicon_nb.data import read_scan

    scan = read_scan(path, mask=path.name.startswith("mask"))
    need(scan.voxels.ndim == 3 and scan.voxels.size > 0, f"shape {scan.voxels.shape}")
    need(bool(np.isfinite(scan.affine).all()) and all(0 < size < 1000 for size in scan.spacing), f"spacing {scan.spacing}")
    need(scan.voxels.dtype == (np.int32 if path.name.startswith("mask") else np.float32), f"type {scan.voxels.dtype}")
    return digest(scan.voxels, scan.affine, scan.spacing, scan.orientation)


def read_all(pattern: str) -> Callable[[Path], str]:
    """Reads every file of a folder that a pattern finds."""
    return lambda folder: digest(*(read_file(path) for path in sorted(folder.glob(pattern))))


def make_pictures(folder: Path) -> None:
    """Pictures of four kinds of colours, and a mask."""
    grey = (volume(0, (40, 30, 3))[0][:, :, 1] * 60).astype(np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(np.stack([grey] * 3, 2)).save(folder / "colour.png")
    picture = Image.fromarray(volume(0, (40, 30, 3))[1][:, :, 1], "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(folder / "mask.png")


# folders of scans -----------------------------------------------------------------------------------------------------
def make_folder(folder: Path, suffix: str = ".nii.gz") -> None:
    """Four people's scans with labels, an index.csv and a dataset.json."""
    lines = ["file,subject,labelled"]
    for k, who in enumerate("abcd"):
        image, labels = volume(k)
        save(folder / "images" / f"{who}{suffix}", image)
        save(folder / "labels" / f"{who}{suffix}", labels)
        lines.append(f"{who}{suffix},person {who},yes")
    about = {"name": "small", "labels": {"background": 0, "head": 1, "tail": 2}, "numTraining": 4, "modality": {"0": "MR"}}
    (folder / "dataset.json").write_text(json.dumps(about))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def make_task(folder: Path) -> None:
    """The same as a Decathlon task."""
    make_folder(folder)
    (folder / "index.csv").unlink()
    pairs = [{"image": f"./images/{who}.nii.gz", "label": f"./labels/{who}.nii.gz"} for who in "abcd"]
    about = json.loads((folder / "dataset.json").read_text()) | {"training": pairs, "test": []}
    (folder / "dataset.json").write_text(json.dumps(about))


def read_folder(folder: Path) -> str:
    """The cohort in a folder, and a split of it."""
    from semicon_nb.data import load, split

    cohort = load(folder, size=16)
    need(bool(((cohort.images >= 0) & (cohort.images <= 1)).all()), "intensities outside of 0 to 1")
    need(int(cohort.labels.max(initial=0)) < len(cohort.classes), "a label without a class")
    need(len(set(cohort.classes)) == len(cohort.classes), "equal names of classes")
    need(all(v.subject.strip() for v in cohort.volumes), "a subject without a name")
    parts = split(cohort, 0.5)
    return digest(cohort.images, cohort.labels, cohort.classes, parts.train, parts.labelled)


def make_split(folder: Path) -> None:
    """A split file."""
    from semicon_nb.data import Split, save_split

    names = ("a", "b", "c"), ("d",), ("e", "f")
    save_split(Split("small", "0" * 16, 0, 0.5, *names, ("a",), (1, 2, 3)), folder / "split.json")


def read_split(folder: Path) -> str:
    """The split in the file."""
    from semicon_nb.data import load_split

    found = load_split(folder / "split.json")
    need(all(isinstance(word, str) for word in (found.cohort, found.fingerprint)), "a name that is no text")
    need(0 < found.labelled_fraction <= 1 and isinstance(found.seed, int), f"share {found.labelled_fraction}, seed {found.seed}")
    return digest(found)


# runs -----------------------------------------------------------------------------------------------------------------
def tiny(steps: int = 3, every: int = 1) -> Any:
    """A preset of a network with two filters and some steps a stage."""
    from semicon_nb.stages import PRESETS

    usual = PRESETS["demo"]
    stages = {
        name: replace(settings, steps=steps, batch=2, warmup=0, precision="fp32", save_every=every, validate_every=0)
        for name, settings in usual.stages.items()
    }
    return replace(usual, name="tiny", width=2, global_dim=8, pixel_dim=8, stages=stages)


def scans_above(folder: Path) -> Path:
    """The sound folder of scans that runs are trained on, in one of the folders above that of a try."""
    return next(place / "scans" for place in folder.parents if (place / "scans").is_dir())


def train(folder: Path, method: str = "global+local(exact)", resume: bool = False, cache: bool = False, steps: int = 3) -> Any:
    """A finished run in a folder."""
    from semicon_nb.data import load, split
    from semicon_nb.methods import train_method

    cohort = load(scans_above(folder), size=16)
    how: dict[str, Any] = {"out": folder / "RUN", "resume": resume, "progress": False, "cache": cache}
    return train_method(method, cohort, split(cohort, 0.5), preset=tiny(steps), **how)


def weights_of(run: Any) -> str:
    """A digest of a run's weights and steps, without what a clock says."""
    for value in run.model.state_dict().values():
        need(not value.is_floating_point() or bool(value.isfinite().all()), "weights that are not finite")
    weights = [value.numpy() for value in run.model.state_dict().values()]
    return digest(*weights, [(step.stage, step.step, step.loss) for step in run.history])


def use_run(folder: Path) -> str:
    """A run measured, and a mask of a scan, by the command."""
    said = json.loads(command(["evaluate", str(folder / "RUN"), "--part", "all", "--json"]))
    scores = [said[name] for name in ("pooled_dice", "volume_dice")]
    need(all(isinstance(s, float) and 0 <= s <= 1 for s in scores) and said["volumes"], f"scores {scores}")
    mask = folder / "mask.nii.gz"
    command(["predict", str(folder / "RUN"), str(scans_above(folder) / "images" / "a.nii.gz"), "-o", str(mask)])
    voxels = np.asarray(nibabel.load(mask).dataobj)
    need(voxels.shape == (16, 14, 4) and int(voxels.max()) <= 2 and voxels.dtype == np.uint8, f"mask {voxels.shape} {voxels.dtype}")
    return digest(scores, voxels, sorted(said["per_class"]))


def interrupt(folder: Path) -> None:
    """A run that was interrupted in its last stage."""
    run = train(folder)
    stage = run.stages[-1]
    (folder / "RUN" / "model.pt").unlink()
    (folder / "RUN" / f"{stage}.pt").unlink()
    about = json.loads((folder / "RUN" / "run.json").read_text())
    (folder / "RUN" / "run.json").write_text(json.dumps(about | {"finished": False}, indent=1))


def make_checkpoint(folder: Path) -> None:
    """A checkpoint in the middle of a stage, with its history."""
    _fit(folder, 4)


def _fit(folder: Path, count: int) -> str:
    """Take so many of six steps of a stage, from the checkpoint that is there."""
    from itertools import islice

    import torch

    from semicon_nb.loop import StageSettings, fit, generator_of

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 1))
    settings = StageSettings(steps=6, average=0.5, save_every=1, validate_every=1)
    steps = fit(
        model, lambda net, batch: net(batch).square().mean(), lambda step: torch.rand(8, 4, generator=generator_of("x", step)),
        settings, folder, resume=True, validate=lambda net: 0.5,
    )  # fmt: skip
    list(islice(steps, count))
    need(all(bool(value.isfinite().all()) for value in model.state_dict().values()), "weights that are not finite")
    return digest(*(value.numpy() for value in model.state_dict().values()), len((folder / "history.jsonl").read_text().splitlines()))


def go_on(folder: Path) -> str:
    """The stage's end, from its checkpoint."""
    return _fit(folder, 6)


# caches, results, archives --------------------------------------------------------------------------------------------
def with_cache(folder: Path, job: Callable[[], str]) -> str:
    """What a job gives with its cache in a folder."""
    os.environ["SEMICON_CACHE"] = str(folder)
    return job()


def cached_slices(folder: Path) -> str:
    """A cohort whose slices are in the cache."""
    return with_cache(folder, lambda: read_folder(scans_above(folder)))


def cached_stages(folder: Path) -> str:
    """A run whose first stages are in the cache."""
    return with_cache(folder, lambda: weights_of(train(folder, cache=True)))


def make_stages(folder: Path) -> None:
    """The stages in the cache, without the run that made them, under names that do not change."""
    import shutil

    cached_stages(folder)
    shutil.rmtree(folder / "RUN")


def make_slices(folder: Path) -> None:
    """The slices in the cache."""
    cached_slices(folder)


def make_results(folder: Path) -> None:
    """Twelve finished runs as a grid writes them."""
    lines = []
    for method in ("scratch", "global", "best"):
        for split in range(4):
            score = 0.5 + split / 20 + 0.1 * (method == "best")
            lines.append({
                "method": method, "labels": 0.1, "split": split, "seed": 0, "pooled_dice": score, "volume_dice": score, "hd95": 3.0,
                "validation": score, "seconds": 9.0, "preset": "tiny", "scale": 1.0, "key": f"{method}{split}", "defects": [],
                "data": {"cohort": "phantom"}, "settings": {"fingerprint": "0" * 16, "method": {"name": method}},
            })  # fmt: skip
    (folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_table(folder: Path) -> str:
    """The table of a results file, by the command, and its page."""
    from semicon_nb.explore import ResultsExplorer

    said = command(["table", str(folder / "runs.jsonl")])
    ResultsExplorer(folder / "runs.jsonl").to_html(folder / "page.html")
    page = (folder / "page.html").read_text()
    need("<img src=x" not in page and "<img src=x" not in said, "markup of a file stands in the page")
    return digest(said)


def make_archive(folder: Path) -> None:
    """A task in a tar file."""
    make_task(folder / "Task")
    with tarfile.open(folder / "Task.tar", "w") as tar:
        tar.add(folder / "Task", "Task")
    for path in sorted((folder / "Task").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (folder / "Task").rmdir()


def unpack(folder: Path) -> str:
    """The task of the archive, unpacked."""
    from semicon_nb.data.cohorts import _unpack

    place = _unpack(folder / "Task.tar", "Task", folder / "into")
    for path in (folder / "into").rglob("*"):
        need(not path.is_symlink() and (path.is_file() or path.is_dir()), f"{path.name} is a link or device")
    need([path.name for path in (folder / "into").iterdir()] == ["Task"], "something beside the task")
    return digest(sorted((path.name, path.read_bytes()) for path in place.rglob("*") if path.is_file()))


ANY = (spoil.spoil_bytes, spoil.spoil_kind, spoil.spoil_place)
JSON = (*ANY, *[spoil.spoil_json] * 4)
KEPT = (spoil.spoil_bit, spoil.spoil_bytes)
"""Damage that a checksum must find."""
TENSORS = (*ANY, spoil.spoil_bit, *[spoil.spoil_tensors] * 4)


def _targets(names: tuple[str, ...], spoilers: tuple[spoil.Spoiler, ...], checked: tuple[spoil.Spoiler, ...] = ()) -> tuple[Target, ...]:
    return tuple(Target(name, spoilers, checked) for name in names)


PACKED = (*ANY, spoil.spoil_bit, spoil.spoil_bit, *[spoil.spoil_header] * 3)
RUN = tuple(f"RUN/{name}" for name in ("run.json", "run.json", "run.json", "split.json", "history.jsonl"))
READERS = (
    Reader("NIfTI", 220, make_scans, read_all("*.nii*"), (
        *_targets(("image.nii", "mask.nii"), (*ANY, *[spoil.spoil_header] * 4)), *_targets(("image.nii.gz", "mask.nii.gz"), PACKED, KEPT))),
    Reader("PNG", 150, make_pictures, read_all("*.png"), _targets(
        ("grey.png", "deep.png", "colour.png", "mask.png"), (*ANY, spoil.spoil_bit, *[spoil.spoil_chunks] * 4), KEPT)),
    Reader("folder", 110, make_folder, read_folder, (
        Target("index.csv", (*ANY, *[spoil.spoil_table] * 4)), Target("dataset.json", JSON),
        Target("images/b.nii.gz", PACKED, KEPT), Target("labels/b.nii.gz", PACKED, KEPT))),
    Reader("task", 60, make_task, read_folder, _targets(("dataset.json",), JSON)),
    Reader("split", 60, make_split, read_split, _targets(("split.json",), JSON)),
    Reader("RUN", 110, train, use_run, (*_targets(RUN, JSON), Target("RUN/model.pt", TENSORS, KEPT)), ("mask.nii.gz", "RUN/.lock")),
    Reader("checkpoint", 80, make_checkpoint, go_on, (
        Target("fit.pt", TENSORS, KEPT), Target("history.jsonl", JSON)), ("fit.pt", "history.jsonl", "no-such-file")),
    Reader("slices", 50, make_slices, cached_slices, _targets(
        ("slices/*.npz",), (*ANY, spoil.spoil_bit, spoil.spoil_arrays), (*ANY, spoil.spoil_bit)), ("slices/*",)),
    Reader("stages", 40, make_stages, cached_stages, (
        Target("stages/*.pt", TENSORS, KEPT), Target("stages/*.jsonl", JSON)), ("RUN", "RUN/*", "RUN/*/*", "stages/*", "slices", "slices/*")),
    Reader("results", 80, make_results, read_table, _targets(("runs.jsonl",), JSON), ("page.html",)),
    Reader("archive", 40, make_archive, unpack, _targets(("Task.tar",), (*ANY, *[spoil.spoil_archive] * 4)), ("into", "into/*")),
)  # fmt: skip
"""All readers; their shares add up to a thousand."""
