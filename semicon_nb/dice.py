"""Dice as a score, and Dice as a loss."""

__all__ = ["overlap_counts", "dice_of", "pooled_dice", "cross_entropy_dice"]


import numpy as np
import torch
from torch.nn import functional

from .names import check_whole


def overlap_counts(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Of each class the pixels found, predicted and there to be found, int64 [3, classes], in label maps `predicted` and `truth` [...].

    ValueError where shapes differ or a label is none of the `classes`, background among them.
    """
    check_whole("classes", classes, 1)
    if np.shape(predicted) != np.shape(truth):
        raise ValueError(f"predicted: found shape {np.shape(predicted)}, expected that of truth, {np.shape(truth)}")
    predicted, truth = (_whole(name, labels, classes) for name, labels in (("predicted", predicted), ("truth", truth)))
    found = predicted[predicted == truth]
    return np.stack([np.bincount(labels, minlength=classes) for labels in (found, predicted, truth)])


def _whole(name: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels [...] as int64 [n]; ValueError, which has their `name`, where one is none of the `classes`."""
    given = np.asarray(labels).ravel()
    whole = given if given.dtype.kind in "iub" else np.round(np.nan_to_num(given, nan=-1))
    if given.size and (whole != given).any():
        raise ValueError(f"{name}: found the label {given[whole != given][0]:g}, expected whole numbers; give label maps, not probabilities")
    if given.size and not 0 <= whole.min() <= whole.max() < classes:
        raise ValueError(f"{name}: found labels {whole.min():g} to {whole.max():g}, expected 0 to {classes - 1}")
    return whole.astype(np.int64)


def dice_of(counts: np.ndarray) -> np.ndarray:
    """Dice of every class [classes] float64 from its three `counts` [3, classes]; nan where a class is neither predicted nor there."""
    found, predicted, true = np.asarray(counts, np.float64)
    total = predicted + true
    return np.divide(2 * found, total, out=np.full_like(total, np.nan), where=total > 0)


def pooled_dice(predicted: np.ndarray, truth: np.ndarray, classes: int) -> float:
    """The paper's Dice, 0 to 1, of label maps `predicted` and `truth` [n, H, W] of so many `classes`, background among them.

    Counts are pooled over all slices, then the mean is taken over the foreground; nan where no class is predicted or there.
    """
    scores = dice_of(overlap_counts(predicted, truth, classes))[1:]
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


def soft_dice_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One minus the soft Dice of the foreground, pooled over the batch, of logits [B, classes, H, W] and labels [B, H, W]; a scalar, 0 is perfect."""
    shares = logits.softmax(1).flatten(2)[:, 1:]
    truth = functional.one_hot(labels.flatten(1).long(), logits.shape[1]).permute(0, 2, 1)[:, 1:].to(shares.dtype)
    shared, total = (shares * truth).sum((0, 2)), shares.sum((0, 2)) + truth.sum((0, 2))
    return 1 - ((2 * shared + 1) / (total + 1)).mean()


def cross_entropy_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy over all pixels plus soft Dice over the foreground, a scalar: the loss of fine-tuning.

    For logits [B, classes, H, W] of two classes or more and whole labels [B, H, W]; ValueError where they do not fit.
    """
    if logits.ndim != 4 or labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(f"labels: found shape {tuple(labels.shape)}, expected [B, H, W] to fit logits {tuple(logits.shape)}")
    if logits.shape[1] < 2 or not labels.numel():
        raise ValueError(f"logits: found shape {tuple(logits.shape)}, expected [B, classes, H, W] with background, a structure and a pixel at least")
    if labels.is_floating_point():
        raise ValueError(f"labels: found {labels.dtype}, expected whole numbers, 0 to {logits.shape[1] - 1}; give label maps, not probabilities")
    logits = logits.float()
    try:
        return functional.cross_entropy(logits, labels.long()) + soft_dice_loss(logits, labels)
    except (IndexError, RuntimeError) as error:
        if labels.numel() and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
            raise ValueError(f"labels: found {labels.min()} to {labels.max()}, expected 0 to {logits.shape[1] - 1}") from error
        raise
