"""Overlap as a score and as a loss."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicon_nb.dice import cross_entropy_dice, dice_of, overlap_counts, pooled_dice, soft_dice_loss


def test_dice_of_a_hand_computed_example():
    truth, predicted = np.array([[0, 1, 1, 2], [0, 0, 1, 2]]), np.array([[0, 1, 0, 2], [1, 0, 1, 0]])
    counts = overlap_counts(predicted, truth, 4)
    assert counts.tolist() == [[2, 2, 1, 0], [4, 3, 1, 0], [3, 3, 2, 0]]
    assert dice_of(counts)[:3].tolist() == [4 / 7, 4 / 6, 2 / 3] and math.isnan(dice_of(counts)[3])
    assert pooled_dice(predicted, truth, 4) == pytest.approx((4 / 6 + 2 / 3) / 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 60))
def test_dice_has_the_properties_of_an_overlap(seed, classes, pixels):
    random = np.random.default_rng(seed)
    one, two = random.integers(0, classes, (2, pixels))
    counts = overlap_counts(one, two, classes)
    scores, shuffle, renamed = dice_of(counts), random.permutation(pixels), random.permutation(classes)
    assert ((scores >= 0) & (scores <= 1) | np.isnan(scores)).all()
    np.testing.assert_array_equal(scores, dice_of(overlap_counts(two, one, classes)))  # it has no sides
    np.testing.assert_array_equal(counts, overlap_counts(one[shuffle], two[shuffle], classes))  # nor places
    np.testing.assert_array_equal(scores, dice_of(overlap_counts(renamed[one], renamed[two], classes))[renamed])  # nor names
    half = pixels // 2
    np.testing.assert_array_equal(counts, sum(overlap_counts(a, b, classes) for a, b in ((one[:half], two[:half]), (one[half:], two[half:]))))
    assert np.nan_to_num(dice_of(overlap_counts(one, one, classes)), nan=1.0).tolist() == [1.0] * classes
    for c in range(classes):
        mine, theirs = set(np.flatnonzero(one == c)), set(np.flatnonzero(two == c))
        assert math.isnan(scores[c]) if not mine | theirs else scores[c] == pytest.approx(2 * len(mine & theirs) / (len(mine) + len(theirs)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4), st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
def test_the_loss_of_finetuning_has_its_properties(seed, classes, scale):
    """At least zero, the same for logits with something added to all classes, for slices in another order, and with a finite gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(3, classes, 5, 4, generator=generator)).requires_grad_()
    labels = torch.randint(0, classes, (3, 5, 4), generator=generator)
    loss = cross_entropy_dice(logits, labels)
    loss.backward()
    assert loss >= 0 and logits.grad.isfinite().all()
    torch.testing.assert_close(logits.grad.sum(1), torch.zeros(3, 5, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(cross_entropy_dice(logits.flip(0), labels.flip(0)), loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cross_entropy_dice(logits + scale, labels), loss, rtol=1e-3, atol=1e-4)
    right = torch.nn.functional.one_hot(labels, classes).movedim(3, 1) * 100.0
    assert cross_entropy_dice(right, labels) < 1e-3


def test_pooled_dice_of_nothing_is_unknown():
    assert math.isnan(pooled_dice(np.zeros((2, 3, 3), int), np.zeros((2, 3, 3), int), 3))


@pytest.mark.parametrize(("predicted", "word"), [(np.zeros(3, int), r"\(3,\)"), (np.zeros((2, 2), int), r"\(2, 2\)"), (np.full(4, 5), "5"), (np.full(4, -1), "-1"),
     (np.full(4, 0.9), "0.9.*whole numbers"), (np.full(4, np.nan), "nan"), (np.full(4, np.inf), "inf")])
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


@pytest.mark.parametrize("wrong", [torch.full((2, 4, 4), 255), torch.full((2, 4, 4), -100), torch.full((2, 4, 4), 0.9), torch.full((2, 4, 4), 3)])
def test_finetuning_loss_refuses_labels_that_are_no_class(wrong):
    with pytest.raises(ValueError, match=r"^labels: found"):
        cross_entropy_dice(torch.zeros(2, 3, 4, 4), wrong)


def test_whole_numbers_of_any_kind_are_labels():
    truth = np.array([[0, 1], [2, 1]])
    kinds = (np.uint8, np.int16, np.float32, np.float64)
    assert all(pooled_dice(truth.astype(kind), truth, 3) == 1.0 for kind in kinds)


def test_finetuning_loss_refuses_labels_of_another_shape():
    with pytest.raises(ValueError, match="labels"):
        cross_entropy_dice(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize(("logits", "labels"), [(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4)), (torch.zeros(0, 3, 4, 4), torch.zeros(0, 4, 4))])
def test_no_structure_and_no_pixel_have_no_loss(logits, labels):
    """The mean over nothing was NaN."""
    with pytest.raises(ValueError, match="logits: found shape .*, expected .B, classes, H, W. with background, a structure"):
        cross_entropy_dice(logits, labels.long())


def test_a_number_of_classes_is_asked_for_by_name():
    for wrong in (3.0, ["background", "anterior"], 0, True):
        with pytest.raises(ValueError, match="classes: found .*, expected a whole number"):
            pooled_dice(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), wrong)
    assert dice_of([[1, 1], [2, 2], [2, 2]]).tolist() == [0.5, 0.5]
