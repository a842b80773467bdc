"""Small files as hospitals and programs write them, for the tests of this wing."""

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SHAPE = (12, 10, 3)


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def png(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def scan(seed: int = 0, shape=(20, 24, 6)) -> tuple[np.ndarray, np.ndarray]:
    """An image and a label map that belong together."""
    labels = np.zeros(shape, np.uint8)
    labels[4:12, 5:14, 1:-1] = 1
    labels[12:16, 5:14, 1:-1] = 2
    return (np.random.default_rng(seed).random(shape) + labels).astype(np.float32), labels


def task(place: Path, count: int = 4, name: str = "Test") -> Path:
    """A Decathlon task with volumes scan_001, ..."""
    pairs = []
    for k in range(1, count + 1):
        image, labels = scan(k)
        nifti(place / "imagesTr" / f"scan_{k:03d}.nii.gz", image)
        nifti(place / "labelsTr" / f"scan_{k:03d}.nii.gz", labels)
        pairs.append({"image": f"./imagesTr/scan_{k:03d}.nii.gz", "label": f"./labelsTr/scan_{k:03d}.nii.gz"})
    about = {"name": name, "labels": {"0": "background", "1": "Head", "2": "Tail"}, "training": pairs}
    (place / "dataset.json").write_text(json.dumps(about))
    return place


def hearts(place: Path, index: bool = True) -> Path:
    """Pictures of three subjects, four slices each, every second one labelled."""
    lines = ["file,subject,labelled"]
    for who in "abc":
        for k in range(4):
            image, labels = (array[:, :, 1] for array in scan(4 * ord(who) + k, (40, 44, 3)))
            png(place / "images" / f"{who}{k}.png", (image * 60).astype(np.uint8))
            if k % 2:
                png(place / "labels" / f"{who}{k}.png", labels)
            lines.append(f"{who}{k}.png,person-{who},{k % 2}")
    (place / "dataset.json").write_text('{"labels": {"0": "background", "1": "muscle", "2": "cavity"}}')
    if index:
        (place / "index.csv").write_text("\n".join(lines) + "\n")
    return place


def disc(pad: float, kind=np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CT of a disc with an organ, its corners filled with `pad`: volume, organ, tissue."""
    y, x = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    far, rng = np.hypot(y, x), np.random.default_rng(0)
    organ = np.hypot(y - 0.2, x) < 0.25
    volume = np.full((64, 64, 12), -1000.0)
    volume[far < 0.85], volume[organ] = 50, 130
    volume += rng.normal(0, 12, volume.shape)
    volume[far >= 1] = pad
    return volume.astype(kind), organ, (far < 0.85) & (np.hypot(y - 0.2, x) > 0.3)


def classes_of(seed: int) -> np.ndarray:
    """Class of every voxel: 0, 1 and 2 in every slice."""
    found = np.random.default_rng(seed).integers(0, 3, SHAPE)
    found[:3, 0] = np.arange(3)[:, None]
    return found


def scans(place: Path, names=("a", "b", "c", "d"), numbers=(0, 1, 2), labels=None, about: dict | None = None) -> Path:
    """A folder of scans, with the label files of `labels` (all by default), whose classes are written as `numbers`."""
    for k, name in enumerate(names):
        nifti(place / "images" / f"{name}.nii.gz", (classes_of(k) + np.random.default_rng(k).random(SHAPE)).astype(np.float32))
    for k, name in enumerate(names if labels is None else labels):
        nifti(place / "labels" / f"{name}.nii.gz", np.array(numbers)[classes_of(k)].astype(np.int32))
    if about:
        (place / "dataset.json").write_text(json.dumps(about))
    return place
