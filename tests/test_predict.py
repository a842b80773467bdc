"""One way to predict, whoever asks: alone, mirrored, over looks, among neighbours."""

from dataclasses import replace

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from small import TINY

from semicon_nb.data import folder, part_indices, phantom, split
from semicon_nb.dice import pooled_dice
from semicon_nb.embed import pixel_embeddings
from semicon_nb.evaluate import evaluate
from semicon_nb.experiment import measure, validation
from semicon_nb.explore.embeddings import head_probabilities
from semicon_nb.methods import load_run, recipe_of, train_method
from semicon_nb.predict import (
    LOOKS,
    Prediction,
    evaluating,
    label_maps,
    look,
    predict,
    predict_slices,
    prediction_of,
    segment,
    with_prediction,
)
from semicon_nb.unet import UNet

EVERY = [Prediction(), Prediction(flips=True), Prediction(looks=True), Prediction(True, True, 3.0), Prediction(neighbours=4.0)]


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=6, size=32)


def network(seed=0):
    torch.manual_seed(seed)
    return UNet(classes=3, width=2, global_dim=8, pixel_dim=8)


def test_looks_are_undone():
    row, column = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    blob = torch.exp(-8 * ((row - 0.2) ** 2 + (column + 0.1) ** 2))[None, None]
    for turn, size in LOOKS:
        assert (look(look(blob, turn, size), -turn, 1 / size) - blob).abs().max() < 0.05


@pytest.mark.parametrize("how", EVERY)
def test_probabilities_are_finite_and_sum_to_one(how, cohort):
    shares = predict_slices(network(), cohort, np.arange(9), how)
    assert shares.shape == (9, 3, 32, 32) and shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)


def test_looks_and_flips_are_means_of_what_is_seen(cohort):
    model, images = network().eval(), torch.as_tensor(cohort.images[:3]).float()[:, None]

    def once(some):
        with torch.no_grad():
            return model(some).softmax(1)

    def looked(some):
        return sum(look(once(look(some, turn, size)), -turn, 1 / size) for turn, size in LOOKS) / len(LOOKS)

    expected = {
        Prediction(flips=True): (once(images) + once(images.flip(-1)).flip(-1)) / 2,
        Prediction(looks=True): looked(images),
        Prediction(flips=True, looks=True): (looked(images) + looked(images.flip(-1)).flip(-1)) / 2,
    }
    plain = predict(model, images)
    for how, wanted in expected.items():
        found = predict(model, images, how)
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
        assert np.abs(found - plain).max() > 1e-4


def test_batches_decide_nothing(cohort):
    model = network()
    whole, parts = (predict(model, cohort.images[:7], Prediction(looks=True, batch=batch)) for batch in (64, 3))
    np.testing.assert_allclose(whole, parts, atol=1e-6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(7)), st.integers(1, 7), st.sampled_from(EVERY))
def test_order_of_the_slices_and_size_of_a_batch_decide_nothing(cohort, order, batch, how):
    rows = np.array([0, 1, 2, 3, 4, 11, 12])
    whole = predict_slices(network(), cohort, rows, how)
    np.testing.assert_allclose(predict_slices(network(), cohort, rows[order], replace(how, batch=batch)), whole[order], atol=1e-5)


def test_slices_beside_count_whether_they_are_asked_for_or_not(cohort):
    """In any order, twice, or counted from the end: the average of all slices of the volume, computed in double."""
    model, rows = network(), np.array([14, 2, 5, 3, 5, -1])
    found = predict_slices(model, cohort, rows, Prediction(neighbours=4.0))
    for row, shares in zip(rows, found, strict=True):
        every = np.flatnonzero(cohort.volume == cohort.volume[row])
        apart = (every - np.arange(len(cohort))[row]) * cohort.volumes[cohort.volume[row]].spacing[2]
        weights = np.exp(-((apart / 4.0) ** 2) / 2)
        expected = np.tensordot(weights / weights.sum(), predict(model, cohort.images[every]).astype(float), 1)
        np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_validation_scores_what_evaluation_does_where_some_slices_are_outlined(cohort):
    partly, part = replace(cohort, labelled=np.arange(len(cohort)) % 3 > 0), split(cohort, labelled=0.3)
    rows = part_indices(partly, part, "val")
    assert len(rows) < len(part_indices(cohort, part, "val"))
    for how in (Prediction(), Prediction(neighbours=4.0)):
        expected = evaluate(network(), partly, rows, how).pooled_dice
        assert validation(network(), partly, part, "fp32", how) == pytest.approx(expected, abs=1e-9)


def test_a_network_is_asked_as_it_wants_unless_it_is_said(cohort):
    model, rows, how = network(), np.arange(8), Prediction(looks=True, neighbours=3.0)
    said = predict_slices(model, cohort, rows, how)
    assert prediction_of(model) == Prediction()
    assert with_prediction(model, how) is model and prediction_of(model) == how
    np.testing.assert_array_equal(predict_slices(model, cohort, rows), said)
    np.testing.assert_array_equal(predict_slices(model, cohort, rows, Prediction()), predict(network(), cohort.images[rows]))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("precision", "auto"), ("neighbours", -1.0), ("neighbours", float("nan")), ("batch", 0), ("batch", 2.5), ("neighbours", True), ("flips", "no")],
)
def test_what_cannot_be_meant_is_refused(name, wrong):
    with pytest.raises(ValueError, match=f"{name}: found"):
        replace(Prediction(), **{name: wrong})


class Shades(torch.nn.Module):
    """The class of a pixel by its brightness: a network without parameters."""

    def forward(self, images):
        return -50 * (images - torch.linspace(0, 1, 3)[:, None, None]).square()


def test_a_network_without_parameters_is_asked_like_any_other(cohort):
    images = cohort.images[:3].astype(np.float32)
    expected = np.rint(2 * images)
    np.testing.assert_array_equal(predict(Shades(), images).argmax(1), expected)
    assert 0 < evaluate(Shades(), cohort, np.arange(11)).pooled_dice < 1
    assert segment(Shades(), np.moveaxis(images, 0, 2), cohort.grid).max() == 2
    assert pixel_embeddings(Shades(), images, "output").shape == (3, 32, 32, 3)
    assert head_probabilities(Shades(), images).shape == (3, 32, 32, 3)


def test_evaluation_mode_is_left_as_it_was():
    model = network().train()
    with evaluating(model):
        assert not model.training and not torch.is_grad_enabled()
    assert model.training and torch.is_grad_enabled()


class Whiten(torch.nn.Module):
    """A network of one's own that writes over what it is given, with a part that is frozen and a layer called `prediction`."""

    def __init__(self):
        super().__init__()
        self.norm, self.prediction = torch.nn.BatchNorm2d(1), torch.nn.Conv2d(1, 3, 1)

    def forward(self, images):
        images -= images.mean((2, 3), keepdim=True)
        return self.prediction(self.norm(images.mul_(4)))


def test_a_network_that_writes_over_its_images_changes_none():
    images = np.random.default_rng(0).random((3, 17, 11), np.float32)
    before, model = images.copy(), Whiten()
    whole = predict(model, images, Prediction(flips=True))
    np.testing.assert_array_equal(images, before)
    one, other = predict(model, images, Prediction()), predict(model, images[..., ::-1], Prediction())[..., ::-1]
    np.testing.assert_allclose(whole, (one + other) / 2, atol=1e-6)


def test_a_part_that_is_frozen_stays_frozen():
    model = Whiten().train()
    model.norm.eval()
    predict(model, np.zeros((1, 8, 8), np.float32))
    assert model.training and model.prediction.training and not model.norm.training


def test_a_layer_may_be_called_prediction():
    model = Whiten()
    assert prediction_of(model) == Prediction() and prediction_of(with_prediction(model, Prediction(flips=True))).flips
    assert isinstance(model.prediction, torch.nn.Conv2d)


@pytest.mark.parametrize("answer", [lambda x: (x,), lambda x: x[..., ::2], lambda x: x.mean((2, 3)), lambda x: x[:1]])
def test_what_a_network_gives_is_one_vector_for_each_pixel(cohort, answer):
    class Odd(torch.nn.Module):
        def forward(self, images):
            return answer(images.repeat(1, 3, 1, 1))

    for ask in (lambda: predict(Odd(), cohort.images[:2]), lambda: evaluate(Odd(), cohort, [0, 1]), lambda: pixel_embeddings(Odd(), cohort.images[:2])):
        with pytest.raises((TypeError, ValueError), match="model: gave .*, expected"):
            ask()


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_images_far_from_0_to_1_and_nan_are_refused():
    images = np.random.default_rng(0).random((2, 9, 9), np.float32)
    for bad, found in ((255 * images, "0.* to 25.*; scale them"), (images / 0, "NaN or infinite values"), (iter(images), "object")):
        with pytest.raises((TypeError, ValueError), match=f"images: (found|expected values in .0, 1., found) {found}"):
            predict(Shades(), bad)


@pytest.mark.parametrize("wrong", [3, [1.5], [10**6], ["a"]])
def test_slices_that_are_not_there_are_refused_by_name(cohort, wrong):
    for how in (Prediction(), Prediction(neighbours=2.0)):
        with pytest.raises((IndexError, ValueError), match=f"indices: .* expected .n. of the {len(cohort)} slices of phantom"):
            predict_slices(Shades(), cohort, wrong, how)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [({"apart": np.nan}, "nan"), ({"apart": 0}, "0"), ({"apart": "1"}, "'1'"), ({"grid": 32}, "int"), ({"how": "flips"}, "str"),
     ({"scan": torch.zeros(9, 9, 9)}, "Tensor"), ({"scan": np.ones((9, 9), complex)}, "complex128"), ({"model": None}, "NoneType")],
)  # fmt: skip
def test_a_scan_is_segmented_only_as_is_meant(cohort, wrong, found):
    scan = np.random.default_rng(0).random((12, 12, 5))
    given = {"model": Shades(), "scan": scan, "grid": cohort.grid, "how": Prediction(neighbours=2.0)} | wrong
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(wrong))}: found {found}"):
        segment(**given)


def test_whoever_asks_is_told_the_same(cohort, tmp_path, monkeypatch):
    """A run, the same run from its folder or after its last stage, evaluation, a scan as a file, and the experiment."""
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    part = split(cohort, labelled=0.3)
    run = train_method(recipe_of("mine", neighbours=3.0), cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    rows = part_indices(cohort, part, "test")
    expected = predict_slices(run.model, cohort, rows, Prediction(looks=True, neighbours=3.0))
    nets = {"run": run.model, "read": load_run(run.folder).model, "after": load_run(run.folder).after("finetune")}
    for net in nets.values():
        np.testing.assert_array_equal(predict_slices(net, cohort, rows), expected)
        assert evaluate(net, cohort, rows) == evaluate(run.model, cohort, rows)
    pooled = pooled_dice(expected.argmax(1), cohort.labels[rows], 3)
    assert evaluate(run.model, cohort, rows).pooled_dice == pytest.approx(pooled, abs=1e-9)
    assert measure(run.model, cohort, cohort, part, "fp32")["pooled_dice"] == pytest.approx(pooled, abs=1e-9)
    v = cohort.volume[rows[0]]
    own = np.flatnonzero(cohort.volume == v)
    scan, apart = np.moveaxis(cohort.images[own].astype(np.float32), 0, 2), cohort.volumes[v].spacing[2]
    found = segment(run.model, scan, cohort.grid, apart=apart)
    plain = segment(run.model, scan, cohort.grid, Prediction(), apart=apart)
    shares = predict_slices(run.model, cohort, own)
    assert (np.moveaxis(found, 2, 0) == shares.argmax(1)).mean() > 0.99  # normalised once more, hence not all
    assert (found != plain).any()


@pytest.mark.parametrize("how", [Prediction(), Prediction(neighbours=4.0)])
def test_a_score_is_that_of_the_mask_that_is_written(how, tmp_path):
    """Of files, of which only some slices are outlined too: the same class in every pixel."""
    scans = phantom(subjects=2, size=40, seed=3)
    for side in ("images", "labels"):
        (tmp_path / "scans" / side).mkdir(parents=True)
    for v, volume in enumerate(scans.volumes):
        for side, stack in (("images", scans.images.astype(np.float32) * 3000 - 1000), ("labels", scans.labels)):
            voxels = nibabel.Nifti1Image(np.moveaxis(stack[scans.volume == v], 0, 2), np.diag([1, 1, 3, 1]))
            nibabel.save(voxels, tmp_path / "scans" / side / f"{volume.name}.nii.gz")
    cohort, net = folder(tmp_path / "scans", size=32), network()
    for v, volume in enumerate(cohort.volumes):
        rows = np.flatnonzero(cohort.volume == v)[1::3]
        _, found = label_maps(net, cohort, rows, how)
        mask = segment(net, volume.image, cohort.grid, how)
        np.testing.assert_array_equal(found, mask[:, :, 1::3])


def test_predict_in_batches_and_restores_the_mode(cohort):
    model = network().train()
    images = cohort.images[:7]
    whole, parts = predict(model, images), predict(model, images[:, None].astype(np.float32), Prediction(batch=3))
    assert model.training and whole.dtype == np.float32 and whole.shape == (7, 3, 32, 32)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-5)


def test_predicting_with_flips_is_symmetric(cohort):
    model, images = network(), cohort.images[:3].astype(np.float32)
    mirrored = predict(model, images[..., ::-1].copy(), Prediction(flips=True))
    np.testing.assert_allclose(predict(model, images, Prediction(flips=True)), mirrored[..., ::-1], atol=1e-6)
    assert np.abs(predict(model, images) - predict(model, images, Prediction(flips=True))).max() > 1e-4


def test_a_prediction_is_made_in_the_precision_that_is_asked_for(cohort):
    model, images = network(), cohort.images[:3]
    exact, rough = (predict(model, images, Prediction(precision=word)) for word in ("fp32", "bf16"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model.eval()(torch.as_tensor(images).float()[:, None]).float().softmax(1)
    np.testing.assert_array_equal(rough, expected.numpy())
    assert 0 < np.abs(exact - rough).max() < 0.05


def test_a_run_is_no_network_and_the_sentence_says_what_is(tmp_path):
    cohort = phantom(subjects=6, size=32)
    run = train_method("scratch", cohort, split(cohort, 0.5, 0), TINY, out=tmp_path / "RUN", progress=False)
    ask = (
        lambda: predict(run, cohort.images),
        lambda: predict_slices(run, cohort, np.arange(2)),
        lambda: segment(run, np.zeros((8, 8, 2), np.float32), cohort.grid),
    )
    for one in ask:
        with pytest.raises(TypeError, match="model: found Run, expected Module; of a run it is run.model"):
            one()


def test_images_of_whole_numbers_are_refused():
    """A network that learned from 0 to 1 would make something of 0 to 255, and nothing good."""
    with pytest.raises(TypeError, match=r"images: found uint8, expected floating-point values in \[0, 1\]; divide"):
        predict(network(), np.full((2, 32, 32), 200, np.uint8))
