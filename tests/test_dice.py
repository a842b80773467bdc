"""Overlap as a score and as a loss."""

import math

import numpy as np
import pytest
import torch

from semicon_nb.dice import cross_entropy_dice, dice_of, overlap_counts, pooled_dice, soft_dice_loss


def test_dice_of_a_hand_computed_example():
    truth, predicted = np.array([[0, 1, 1, 2], [0, 0, 1, 2]]), np.array([[0, 1, 0, 2], [1, 0, 1, 0]])
    counts = overlap_counts(predicted, truth, 4)
    assert counts.tolist() == [[2, 2, 1, 0], [4, 3, 1, 0], [3, 3, 2, 0]]
    assert dice_of(counts)[:3].tolist() == [4 / 7, 4 / 6, 2 / 3] and math.isnan(dice_of(counts)[3])
    assert pooled_dice(predicted, truth, 4) == pytest.approx((4 / 6 + 2 / 3) / 2)


def test_pooled_dice_of_nothing_is_unknown():
    assert math.isnan(pooled_dice(np.zeros((2, 3, 3), int), np.zeros((2, 3, 3), int), 3))


@pytest.mark.parametrize(("predicted", "word"), [(np.zeros(3, int), "3 pixels"), (np.full(4, 5), "5"), (np.full(4, -1), "-1")])
def test_overlap_refuses_what_does_not_fit(predicted, word):
    with pytest.raises(ValueError, match=word):
        overlap_counts(predicted, np.zeros(4, int), 3)


def test_soft_dice_equals_its_formula():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    shares, terms = logits.softmax(1), []
    for c in (1, 2):
        p, y = shares[:, c], (labels == c).double()
        terms.append((2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))
    assert soft_dice_loss(logits, labels).item() == pytest.approx(1 - (sum(terms) / 2).item(), abs=1e-12)


def test_soft_dice_agrees_with_monai_over_the_batch():
    from monai.losses import DiceLoss

    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    theirs = DiceLoss(include_background=False, softmax=True, to_onehot_y=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert soft_dice_loss(logits, labels).item() == pytest.approx(theirs(logits, labels[:, None]).item(), abs=1e-6)


@pytest.mark.parametrize("fill", [0, 1])
def test_finetuning_loss_of_a_batch_without_a_class_is_finite(fill):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    cross_entropy_dice(logits, torch.full((2, 4, 4), fill)).backward()
    assert torch.isfinite(logits.grad).all()


def test_finetuning_loss_refuses_labels_of_another_shape():
    with pytest.raises(ValueError, match="labels"):
        cross_entropy_dice(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
