"""What is known of every pixel: votes, uncertainty, colours, places, and vectors in few bytes."""

import colorsys

import numpy as np
import pytest
import torch
from torch import nn

from semicon_nb.explore.embeddings import (
    RAMP,
    RIGHT_WRONG,
    Colouring,
    colourings,
    compact,
    gather,
    mosaic_of,
    shades,
    uncertainty,
    vote,
)
from semicon_nb.explore.scene import class_looks
from semicon_nb.show import PALETTE, rgb
from semicon_nb.unet import UNet


def a_slice(size: int = 24, slices: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and labels of two squares."""
    labels = np.zeros((slices, size, size), int)
    labels[:, 4:9, 4:9], labels[:, 12:18, 12:18] = 1, 2
    return np.random.default_rng(0).normal(size=labels.shape).astype(np.float32), labels


def network() -> nn.Module:
    """A small fixed network that is no UNet."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 12, 3, padding=1)).eval()


def test_a_pixel_never_votes_for_itself():
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    votes = vote(vectors, np.arange(4), np.array([1, 0, 0, 0]), 2, count=1)
    assert votes.argmax(1).tolist() == [0, 1, 0, 0]


def test_uncertainty_runs_from_certain_to_no_idea():
    assert uncertainty(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])) == pytest.approx([0, 1])


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5])
def test_every_pixel_has_a_place_of_its_own_in_the_mosaic(slices):
    mosaic = mosaic_of((slices, 4, 5))
    rows, columns = mosaic.place(np.arange(slices * 20))
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == slices * 20
    assert (rows < mosaic.size[0]).all() and (columns < mosaic.size[1]).all()
    picture = mosaic.picture(np.arange(slices * 20).reshape(slices, 4, 5))
    assert np.isnan(picture).sum() == picture.size - slices * 20
    assert np.array_equal(picture[rows, columns], np.arange(slices * 20))


def test_compact_vectors_keep_their_cosines_within_the_stated_error():
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(500, 6)) @ random.normal(size=(6, 40))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    short = compact(vectors, 6)
    unit = short.values / np.linalg.norm(short.values.astype(float), axis=1, keepdims=True)
    wrong = np.abs(unit @ unit.T - vectors @ vectors.T)
    assert short.kept > 0.999 and np.quantile(wrong, 0.95) < 1.2 * short.error < 0.03
    assert compact(vectors, 2).error > short.error


def test_every_code_has_a_colour_and_a_marker_of_its_own():
    images, labels = a_slice(slices=3)
    for colouring in gather(network(), images, labels, ("background", "a", "b")).colours("Sequential").values():
        assert len(set(colouring.palette)) == len(set(colouring.symbols)) == len(colouring.names)


def test_no_two_of_many_classes_look_alike():
    label, scene = Colouring("label", np.zeros((1, 2, 2)), ("one",) * 57), class_looks(57)
    assert len(set(zip(label.palette, label.symbols, strict=True))) == 57
    assert (label.palette, label.symbols) == (tuple(scene["colours"]), tuple(scene["symbols"]))


@pytest.mark.parametrize("colour", [*RAMP, *RIGHT_WRONG[1:], *shades(4)])
def test_what_is_no_structure_has_no_colour_of_a_structure(colour):
    for structure in PALETTE[1:3]:
        far = [abs(a - b) for a, b in zip(rgb(colour), rgb(structure), strict=True)]
        hues = [colorsys.rgb_to_hsv(*(v / 255 for v in rgb(c)))[:2] for c in (colour, structure)]
        turn = abs(hues[0][0] - hues[1][0])
        assert sum(far) > 90 and (hues[0][1] < 0.2 or min(turn, 1 - turn) > 0.05)


def test_without_labels_there_are_no_labels_errors_or_votes():
    view = gather(network(), a_slice()[0])
    assert list(colourings(view.stages["Sequential"], view.images, None, view.names)) == ["intensity", "row", "column"]


@pytest.mark.parametrize("labelled", [True, False])
def test_every_class_that_a_network_can_predict_has_a_name(labelled):
    images, labels = a_slice(32)
    view = gather(UNet(classes=5, width=4, depth=2).eval(), images, labels if labelled else None, ("background", "a") if labelled else None)
    assert view.names == ("background", "a" if labelled else "class 1", "class 2", "class 3", "class 4")
    assert view.colours("UNet")["prediction"].names == view.names


def test_labels_that_are_no_classes_of_a_run_are_refused(small_run):
    images, labels = a_slice(32)
    with pytest.raises(ValueError, match="labels: found -1 to 1, expected whole numbers from 0 to 255"):
        gather(small_run, images, labels - 1, small_run.cohort.classes)


def test_a_unets_own_head_predicts_and_its_stages_vote():
    images, labels = a_slice(32)
    model = UNet(width=4, depth=2).eval()
    alone, staged = gather(model, images, labels), gather({"local": model, "finetune": model}, images, labels)
    assert alone.stages["UNet"].read == staged.stages["finetune"].read == "the network's class head"
    assert staged.stages["local"].read == "a vote of the 10 nearest of 1,024 sampled pixels"
    expected = model(torch.from_numpy(images)[:, None]).softmax(1).permute(0, 2, 3, 1).detach().numpy()
    np.testing.assert_allclose(alone.stages["UNet"].probabilities, expected, atol=1e-5)
