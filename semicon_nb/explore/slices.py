"""One slice with its labels and embeddings, checked: what the strategy and the temperature explorer look at."""

__all__ = []

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data import phantom
from ..machine import device_of
from ..predict import evaluating
from ..unet import UNet

LARGEST = 40_000
"""Pixels of the largest slice whose exact loss is computed."""


@dataclass(frozen=True)
class Slice:
    """One slice, its labels, and the names of its classes."""

    image: np.ndarray  # [H, W] float32 in [0, 1]
    labels: np.ndarray  # [H, W] int64, 0 background
    classes: tuple[str, ...]  # names, background first


def chosen_slice(image: np.ndarray | None, labels: np.ndarray | None, classes: Sequence[str] | None) -> Slice:
    """The reader's `image` and `labels` [H, W], or a generated slice without them; ValueError for what does not fit."""
    if (image is None) != (labels is None):
        raise ValueError(f"{'labels' if labels is None else 'image'}: found none, expected image and labels of one slice together")
    if image is None or labels is None:
        cohort = phantom(subjects=4, size=64)
        most = int((cohort.labels > 0).sum((1, 2)).argmax())
        image, labels, classes = cohort.images[most], cohort.labels[most], cohort.classes
    image = _checked_image(image)
    marks = _checked_labels(labels, image.shape)
    return Slice(image, marks, _class_names(int(marks.max()) + 1, classes))


def _checked_image(image: np.ndarray) -> np.ndarray:
    """The image [H, W] as float32 in [0, 1]; ValueError for another shape, too many pixels, or nan."""
    image = np.asarray(image, dtype=np.float32)
    if image.ndim != 2:
        raise ValueError(f"image: found {image.ndim}-D input {list(image.shape)}, expected [H, W]; pick one of a volume's slices")
    if min(image.shape) < 4 or image.size > LARGEST:
        raise ValueError(f"image: found {image.shape[0]} x {image.shape[1]} pixels, expected 4 x 4 to {LARGEST:,} in all")
    if wrong := int((~np.isfinite(image)).sum()):
        raise ValueError(f"image: found {wrong} values that are no numbers, expected finite intensities")
    low, high = float(image.min()), float(image.max())
    return image if low >= 0 and high <= 1 else (image - low) / max(high - low, 1e-12)


def page_labels(labels: np.ndarray | Tensor) -> np.ndarray:
    """The `labels` [...] as int64; ValueError for other than whole numbers from 0 to 255, as many as a page tells apart."""
    array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if not np.array_equal(array, np.round(array)):
        raise ValueError("labels: found some that are not whole numbers, expected 0 to 255; resize labels by nearest neighbour")
    if array.size and (array.min() < 0 or array.max() > 255):
        found = f"{array.min():g} to {array.max():g}"
        raise ValueError(f"labels: found {found}, expected whole numbers from 0 to 255; number the classes from 0, the background")
    return array.astype(np.int64)


def _checked_labels(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The `labels` [H, W] as int64; ValueError for another `shape` than the image's, for what `page_labels` refuses, and without foreground."""
    if np.shape(labels) != shape:
        raise ValueError(f"labels: found shape {list(np.shape(labels))}, expected {list(shape)} as the image")
    marks = page_labels(labels)
    if not marks.any():
        raise ValueError("labels: found no foreground, so no anchor; expected whole numbers, 0 for background, some above it")
    return marks


def _class_names(count: int, classes: Sequence[str] | None) -> tuple[str, ...]:
    """A name for each of `count` classes: the given ones, or numbered ones; ValueError where they are too few."""
    if classes is not None and len(classes) < count:
        raise ValueError(f"classes: found {len(classes)} names, expected {count} for labels up to {count - 1}")
    return tuple(classes) if classes is not None else ("background", *(f"class {k}" for k in range(1, count)))


def slice_features(image: np.ndarray, features: Tensor | np.ndarray | None, model: torch.nn.Module | None) -> Tensor:
    """Embeddings [C, H, W] of an image [H, W]: the given `features`, or those of a model; ValueError for neither."""
    if features is not None:
        return _checked_features(features, image.shape)
    if model is None:
        raise ValueError("features: found none, expected embeddings [C, H, W], or a model that gives them")
    return embed_slice(model, image)


def embed_slice(model: torch.nn.Module, image: np.ndarray) -> Tensor:
    """Embeddings [C, H, W], with their graph, of an image [H, W] by a network as it predicts; ValueError for another shape."""
    with evaluating(model), torch.enable_grad():
        found = getattr(model, "embed_pixels", model)(torch.as_tensor(image, device=device_of(model))[None, None])
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[-2:] != image.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"model: found output {shape} for an image {list(image.shape)}, expected embeddings [1, C, {image.shape[0]}, {image.shape[1]}]"
        )
    return _checked_features(found[0], image.shape)


def _checked_features(features: Tensor | np.ndarray, shape: Sequence[int]) -> Tensor:
    """The `features` [C, H, W], on the CPU, where they fit the `shape` of the slice and are finite; ValueError for others."""
    features = torch.as_tensor(features)
    if features.ndim != 3 or tuple(features.shape[1:]) != tuple(shape):
        raise ValueError(f"features: found shape {list(features.shape)}, expected [C, {shape[0]}, {shape[1]}] to fit the image")
    if wrong := int((~torch.isfinite(features)).sum()):
        raise ValueError(f"features: found {wrong} values that are no numbers (NaN or infinite), expected finite embeddings")
    return features.float().cpu()


def small_network(classes: int) -> UNet:
    """A small network for this many `classes` as it is before any training, the same one every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(classes=max(classes, 2), width=16)


def checked_anchor(anchor: Sequence[int], shape: tuple[int, ...]) -> tuple[int, int]:
    """The `anchor`, row and column, inside a slice of this `shape`; ValueError outside."""
    place = tuple(int(v) for v in anchor)
    if len(place) != 2 or not (0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]):
        raise ValueError(f"anchor: found {place}, expected a row below {shape[0]} and a column below {shape[1]}")
    return place[0], place[1]
