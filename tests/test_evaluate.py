"""Scores: parity with MONAI, examples computed by hand, empty cases, native grids, and labels for new scans."""

import json
import math
import tracemalloc
from dataclasses import replace

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from nibabel.affines import voxel_sizes
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image
from scipy import ndimage

from semicon_nb.data import DataError, Grid, Volume, folder, from_grid, native_labels, normalise, part_indices, phantom, split, to_grid
from semicon_nb.dice import dice_of, overlap_counts
from semicon_nb.evaluate import (
    evaluate,
    mean_known,
    nearest_distances,
    overlap_and_distance,
    report_of,
    score_volume,
)
from semicon_nb.files import without_nan
from semicon_nb.predict import Prediction, blend_slices, native_map, predict, predict_slices, segment, with_prediction
from semicon_nb.unet import UNet


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=4, size=32)


class Oracle(torch.nn.Module):
    """Looks up the truth of the slices of a cohort, perhaps changed: a network whose score is known."""

    def __init__(self, cohort, change=lambda labels: labels):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        pairs = zip(cohort.images, cohort.labels, strict=True)
        self.known = {image.astype(np.float32).tobytes(): change(labels) for image, labels in pairs}
        self.classes = len(cohort.classes)

    def forward(self, images):
        labels = torch.from_numpy(np.stack([self.known[image[0].numpy().tobytes()] for image in images])).long()
        return 20 * torch.nn.functional.one_hot(labels, self.classes).permute(0, 3, 1, 2).float()


def boxes(*corners, shape=(12, 14, 10)):
    labels = np.zeros(shape, np.uint8)
    for label, (low, high) in enumerate(corners, 1):
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return labels


# one volume ---------------------------------------------------------------------------------------------------------


def test_a_shifted_cube_by_hand():
    truth, found = boxes(((4, 4, 4), (8, 8, 8))), boxes(((5, 4, 4), (9, 8, 8)))
    dice, hd95 = overlap_and_distance(found, truth, 2, (3.0, 1.0, 1.0))
    assert dice.tolist() == [0.75] and hd95.tolist() == [3.0]


def test_distance_is_in_millimetres_along_each_axis():
    truth = boxes(((2, 2, 2), (6, 6, 6)))
    for axis, spacing in enumerate((0.5, 2.0, 7.0)):
        found = np.roll(truth, 1, axis=axis)
        assert overlap_and_distance(found, truth, 2, (0.5, 2.0, 7.0))[1][0] == pytest.approx(spacing)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_monais(seed):
    from monai.metrics import DiceMetric, HausdorffDistanceMetric

    random = np.random.default_rng(seed)
    truth, found = boxes(((1, 2, 1), (7, 9, 6)), ((6, 6, 4), (11, 12, 9))), boxes(((2, 2, 2), (8, 8, 6)), ((5, 6, 4), (10, 13, 9)))
    found = np.where(random.random(found.shape) < 0.05, random.integers(0, 3, found.shape), found)
    spacing = (0.9, 1.1, 2.3)
    masks = [torch.nn.functional.one_hot(torch.from_numpy(m).long(), 3).movedim(-1, 0)[None].float() for m in (found, truth)]
    theirs = [DiceMetric(include_background=False), HausdorffDistanceMetric(include_background=False, percentile=95)]
    dice, hd95 = overlap_and_distance(found, truth, 3, spacing)
    np.testing.assert_allclose(dice, theirs[0](*masks)[0], rtol=1e-6)
    np.testing.assert_array_equal(hd95, theirs[1](*masks, spacing=list(spacing))[0])
    np.testing.assert_allclose(dice, dice_of(overlap_counts(found, truth, 3))[1:], rtol=1e-6)


def test_hd95_by_brute_force():
    from scipy.ndimage import binary_erosion

    random = np.random.default_rng(0)
    truth, found = boxes(((2, 2, 2), (8, 9, 7))), boxes(((3, 2, 1), (9, 8, 7)))
    found[random.integers(0, 12), random.integers(0, 14), 9] = 1
    spacing = np.array([1.0, 2.0, 1.5])
    surface = [np.argwhere(m & ~binary_erosion(m)) * spacing for m in (found == 1, truth == 1)]
    apart = np.linalg.norm(surface[0][:, None] - surface[1][None], axis=-1)
    expected = max(np.percentile(apart.min(1), 95), np.percentile(apart.min(0), 95))
    assert overlap_and_distance(found, truth, 2, spacing)[1][0] == pytest.approx(expected, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.floats(0.3, 5)] * 3), st.integers(0, 2**31), st.floats(0, 1))
def test_scores_of_any_two_masks_are_symmetric_and_those_of_scipy(shape, spacing, seed, share):
    random = np.random.default_rng(seed)
    truth, found = (random.integers(0, 3, shape).astype(np.uint8) * (random.random(shape) < share) for _ in range(2))
    dice, hd95 = overlap_and_distance(found, truth, 3, spacing)
    back = overlap_and_distance(truth, found, 3, spacing)
    np.testing.assert_allclose(dice, back[0])
    np.testing.assert_allclose(hd95, back[1])
    for c in (1, 2):
        one, other = found == c, truth == c
        if not (one.any() and other.any()):
            continue
        assert dice[c - 1] == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
        edges = [mask & ~ndimage.binary_erosion(mask) for mask in (one, other)]
        ways = [ndimage.distance_transform_edt(~b, sampling=spacing)[a] for a, b in (edges, edges[::-1])]
        assert hd95[c - 1] == pytest.approx(max(np.percentile(way, 95) for way in ways), rel=1e-5, abs=1e-6)


def test_a_noisy_surface_is_measured_in_pieces():
    """Any piece gives the same ways, and takes the memory of a piece."""
    random, peaks = np.random.default_rng(0), []
    surface, other = random.random((40, 60, 50)) < 0.5, np.zeros((40, 60, 50), bool)
    other[20] = True
    expected = nearest_distances(surface, other, (1.0, 2.0, 0.5))
    assert len(expected) == surface.sum() and expected.max() == 20
    for most in (2**22, 1000):
        tracemalloc.start()
        np.testing.assert_array_equal(nearest_distances(surface, other, (1.0, 2.0, 0.5), most), expected)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 2


def test_empty_cases():
    truth, found = boxes(((1, 1, 1), (3, 3, 3)), shape=(3, 4, 12)), np.zeros((3, 4, 12), np.uint8)
    diagonal = math.hypot(3, 8, 36)
    dice, hd95 = overlap_and_distance(found, truth, 3, (1, 2, 3))
    assert dice[0] == 0 and hd95[0] == pytest.approx(diagonal) and math.isnan(dice[1]) and math.isnan(hd95[1])
    dice, hd95 = overlap_and_distance(truth, found, 3, (1, 2, 3))
    assert dice[0] == 0 and hd95[0] == pytest.approx(diagonal) and math.isnan(dice[1])


def test_unordered_slices_are_measured_one_by_one():
    truth, found = boxes(((2, 2, 0), (8, 8, 10))), boxes(((2, 2, 0), (8, 8, 10)))
    found[:, :, 0] = np.roll(truth[:, :, 0], 2, axis=0)
    found[:, :, 1] = 0
    dice, hd95 = score_volume(found, truth, 2, (1.0, 1.0, 1.0), body=False)
    assert hd95[0] == pytest.approx((2 + math.hypot(12, 14)) / 10) and dice[0] == pytest.approx(dice_of(overlap_counts(found, truth, 2))[1])
    assert score_volume(found, truth, 2, (1.0, 1.0, 1.0), body=True)[1][0] < hd95[0]


# reports ------------------------------------------------------------------------------------------------------------


def test_the_truth_scores_one(cohort):
    report = evaluate(Oracle(cohort), cohort, np.arange(len(cohort.images)))
    assert report.pooled_dice == 1 and report.volume_dice == pytest.approx(1) and report.hd95 == 0
    assert report.slices == len(cohort.images) and len(report.volumes) == len(cohort.volumes)


def test_pooled_and_per_volume_differ_as_computed_by_hand(cohort):
    lost = np.flatnonzero(cohort.volume == 0)
    model = Oracle(cohort)
    for row in lost:
        model.known[cohort.images[row].astype(np.float32).tobytes()] = np.zeros_like(cohort.labels[row])
    names = [cohort.volumes[0].name, cohort.volumes[1].name]
    report = evaluate(model, cohort, names)
    for c, name in enumerate(cohort.classes[1:], 1):
        missed, found = ((cohort.labels[cohort.volume == v] == c).sum() for v in (0, 1))
        entry = report.per_class[name]
        assert entry["pooled_dice"] == pytest.approx(2 * found / (2 * found + missed))
        assert entry["volume_dice"] == pytest.approx(0.5) and entry["missed"] == 1
        assert entry["volume_dice_spread"] == pytest.approx(math.sqrt(0.5))
    assert abs(report.pooled_dice - report.volume_dice) > 0.01
    assert [v["dice"][cohort.classes[1]] for v in report.volumes] == [0, 1]


def test_pooled_dice_ignores_which_volume_a_slice_is_of(cohort):
    model = Oracle(cohort, lambda labels: np.roll(labels, 1, axis=0))
    report = evaluate(model, cohort, np.arange(len(cohort.images)))
    counts = overlap_counts(np.roll(cohort.labels, 1, axis=1), cohort.labels, len(cohort.classes))
    assert report.pooled_dice == pytest.approx(dice_of(counts)[1:].mean())


def test_only_slices_with_an_outline_count(cohort):
    labelled = cohort.labelled.copy()
    labelled[cohort.volume == 1] = False
    partly = replace(cohort, labelled=labelled)
    report = evaluate(Oracle(cohort), partly, np.arange(len(cohort.images)))
    assert report.slices == int(labelled.sum()) and cohort.volumes[1].name not in [v["name"] for v in report.volumes]
    with pytest.raises(DataError, match="outline"):
        evaluate(Oracle(cohort), partly, [cohort.volumes[1].name])


@pytest.mark.parametrize(("chosen", "body"), [([4], False), ([4, 5], False), ([3, 5, 6], False), ([4, 5, 6], True), (slice(None), True)])
def test_fewer_than_three_neighbouring_slices_are_measured_outline_by_outline(chosen, body, cohort):
    model, rows = Oracle(cohort, lambda labels: np.roll(labels, (2, 2), axis=(0, 1))), np.flatnonzero(cohort.volume == 0)[chosen]
    true = native_labels(cohort, 0)[:, :, chosen] == 1
    found, spacing = np.roll(true, (2, 2), axis=(0, 1)), cohort.volumes[0].spacing
    planes = [farthest(found[..., k], true[..., k], spacing[:2]) for k in range(len(rows)) if true[..., k].any()]
    expected = farthest(found, true, spacing) if body else np.mean(planes)
    assert evaluate(model, cohort, rows).per_class[cohort.classes[1]]["hd95"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chosen", [[4], [4, 5], [3, 5, 6], [4, 5, 6], slice(None)])
def test_a_missed_structure_costs_the_diagonal_of_the_scan_whichever_slices_are_outlined(chosen, cohort):
    model, rows, volume = Oracle(cohort, np.zeros_like), np.flatnonzero(cohort.volume == 0)[chosen], cohort.volumes[0]
    assert evaluate(model, cohort, rows).hd95 == pytest.approx(math.dist((0, 0, 0), np.multiply(volume.shape, volume.spacing)))
    unknown = replace(cohort, position=np.full(len(cohort), np.nan, np.float32))
    assert evaluate(model, unknown, rows).hd95 == pytest.approx(math.dist((0, 0), np.multiply(volume.shape, volume.spacing)[:2]))


def test_a_report_is_json_without_nan(cohort):
    empty = replace(cohort, classes=(*cohort.classes, "absent"))
    report = evaluate(Oracle(empty), empty, np.flatnonzero(cohort.volume == 0))
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["per_class"]["absent"] == {
        "pooled_dice": None, "volume_dice": None, "volume_dice_spread": None, "hd95": None, "hd95_spread": None, "volumes": 0, "missed": 0,
    }  # fmt: skip
    assert {"pooled_dice", "volume_dice", "hd95", "per_class", "volumes"} <= json.loads(text).keys() and report.pooled_dice == 1
    assert "absent" in report._repr_html_()


def test_spreads_are_over_volumes():
    class Named:
        subject, unit = "s", "mm"

        def __init__(self, name):
            self.name = name

    scores = [(Named(str(i)), 3, np.array([d]), np.array([h])) for i, (d, h) in enumerate([(0.8, 1.0), (0.6, 3.0), (math.nan, math.nan)])]
    entry = report_of(["one"], np.array([0.75]), scores).per_class["one"]
    assert entry["volume_dice"] == pytest.approx(0.7) and entry["hd95"] == 2.0 and entry["volumes"] == 2
    assert entry["volume_dice_spread"] == pytest.approx(np.std([0.8, 0.6], ddof=1)) and entry["hd95_spread"] == pytest.approx(math.sqrt(2))


def test_millimetres_and_pixels_are_averaged_in_no_class():
    scores = [(Volume(unit, "s", unit=unit), 3, np.array([d]), np.array([h])) for unit, d, h in [("mm", 0.8, 1.0), ("pixel", 0.6, 9.0)]]
    mixed, apart = report_of(["one"], np.array([0.75]), scores), [report_of(["one"], np.array([0.75]), [one]) for one in scores]
    assert math.isnan(mixed.per_class["one"]["hd95"]) and math.isnan(mixed.per_class["one"]["hd95_spread"]) and math.isnan(mixed.hd95)
    assert mixed.per_class["one"]["volume_dice"] == pytest.approx(0.7) and [one.per_class["one"]["hd95"] for one in apart] == [1.0, 9.0]
    assert [volume["hd95"]["one"] for volume in mixed.volumes] == [1.0, 9.0] and mixed.to_dict()["per_class"]["one"]["hd95"] is None


def test_a_volume_is_missed_only_where_nothing_overlaps():
    scores = [(Volume(str(i), "s"), 3, np.array([dice]), np.array([1.0])) for i, dice in enumerate((0.0, 0.01, 0.4, math.nan))]
    assert report_of(["one"], np.array([0.1]), scores).per_class["one"]["missed"] == 1


def test_mean_and_nan_helpers():
    assert mean_known([1.0, math.nan, 3.0]) == 2 and math.isnan(mean_known([math.nan]))
    assert without_nan({"a": [np.float32(1.5), math.inf, np.int64(2)], "b": (math.nan, "x")}) == {"a": [1.5, None, 2], "b": [None, "x"]}


def test_a_network_of_other_classes_is_named(cohort):
    with pytest.raises(ValueError, match="5 classes.*3"):
        evaluate(UNet(classes=5, width=2, depth=1), cohort, [cohort.volumes[0].name])


@pytest.mark.parametrize(("chosen", "word"), [(["nobody"], "nobody"), ([0, 10**6], "1000000"), ([], "0 slices")])
def test_a_wrong_choice_is_named(chosen, word, cohort):
    with pytest.raises(ValueError, match=word):
        evaluate(Oracle(cohort), cohort, chosen)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (lambda cohort: (cohort, cohort, [0]), "model: found Cohort, expected Module; of a run it is run.model"),
        (lambda cohort: (Oracle(cohort), UNet(classes=3, width=2, depth=1), [0]), "cohort: found UNet, expected Cohort"),
        (lambda cohort: (Oracle(cohort), cohort, "test"), "chosen: found 'test', expected indices or names.*part_indices"),
        (lambda cohort: (Oracle(cohort), cohort, np.array([0.0, 1.0])), "chosen: found float64 numbers"),
        (lambda cohort: (Oracle(cohort), cohort, cohort.labelled), "chosen: found bool numbers.*flatnonzero"),
    ],
)
def test_arguments_in_the_wrong_place_are_named(arguments, said, cohort):
    with pytest.raises(TypeError, match=said):
        evaluate(*arguments(cohort))


def test_evaluation_sees_the_split_s_slices(cohort):
    shares = split(cohort, labelled=0.5, seed=0)
    report = evaluate(Oracle(cohort), cohort, part_indices(cohort, shares, "test"))
    assert {v["name"] for v in report.volumes} == set(shares.test)


# the slices beside it ------------------------------------------------------------------------------------------------


def probabilities(n=9, classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), (n, 4, 5)).transpose(0, 3, 1, 2).astype(np.float32)


def blended(shares, places, sigma):
    """The slices of one volume, four at a time, each averaged with those beside it."""
    parts = ((slice(k, min(k + 4, len(shares))), shares[k : k + 4]) for k in range(0, len(shares), 4))
    return np.concatenate([some for _, some in blend_slices(parts, places, sigma)])


def test_blending_is_a_gaussian_of_millimetres():
    shares = probabilities(41)
    for apart, sigma in ((1.0, 1.3), (0.5, 1.0), (3.0, 4.0)):
        found = blended(shares, np.arange(41) * apart, sigma)
        usual = ndimage.gaussian_filter1d(shares.astype(float), sigma / apart, axis=0, truncate=10, mode="constant")
        np.testing.assert_allclose(found[20], usual[20], atol=1e-5)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_blending_of_distant_or_equal_slices_changes_nothing():
    shares = probabilities()
    np.testing.assert_allclose(blended(shares, np.arange(9) * 10.0, 1.3), shares, atol=1e-6)
    same = np.repeat(shares[:1], 6, axis=0)
    np.testing.assert_allclose(blended(same, np.arange(6.0), 1.3), same, atol=1e-6)


def test_a_gap_between_slices_counts_as_it_is():
    shares, places = probabilities(), np.array([0.0, 1, 2, 3, 50, 51, 52, 53, 54])
    np.testing.assert_allclose(blended(shares, places, 1.3)[4:], blended(shares[4:], places[4:], 1.3), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, math.nan, math.inf])
def test_blending_refuses_what_makes_no_sense(sigma):
    with pytest.raises(ValueError, match="sigma"):
        blended(probabilities(), np.arange(9), sigma)


def test_neighbours_are_of_the_same_volume_and_any_order_will_do(cohort):
    model, chosen = UNet(classes=3, width=4), np.flatnonzero(cohort.volume < 2)
    alone = predict_slices(model, cohort, chosen)
    np.testing.assert_array_equal(alone, predict(model, cohort.images[chosen]))
    with_prediction(model, Prediction(neighbours=4.0))
    beside = predict_slices(model, cohort, chosen)
    for v in (0, 1):
        own = cohort.volume[chosen] == v
        places = np.arange(own.sum()) * cohort.volumes[v].spacing[2]
        np.testing.assert_allclose(beside[own], blended(alone[own], places, 4.0), atol=1e-6)
    order = np.random.default_rng(0).permutation(len(chosen))
    np.testing.assert_allclose(predict_slices(model, cohort, chosen[order]), beside[order], atol=1e-5)


def test_evaluation_asks_the_network_and_may_be_told_otherwise(cohort):
    torch.manual_seed(1)
    model, rows = UNet(classes=3, width=4), np.arange(len(cohort.images))
    plain = evaluate(model, cohort, rows)
    with_prediction(model, Prediction(neighbours=6.0))
    assert evaluate(model, cohort, rows) != plain
    assert evaluate(model, cohort, rows, Prediction()).to_dict() == plain.to_dict()
    unknown = replace(cohort, position=np.full(len(rows), np.nan))
    assert evaluate(model, unknown, rows).pooled_dice == plain.pooled_dice, "where the order is not known nothing is averaged"


def test_neighbours_mend_a_slice_that_failed(cohort):
    truth = Oracle(cohort)
    rows = np.flatnonzero(cohort.volume == 0)
    middle = rows[len(rows) // 2]
    truth.known[cohort.images[middle].astype(np.float32).tobytes()] = np.zeros_like(cohort.labels[middle])
    failed, mended = (evaluate(truth, cohort, rows, Prediction(neighbours=mm)).pooled_dice for mm in (0.0, 4.0))
    assert failed < mended <= 1


# native grids -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 27), (50, 34), (32, 32)])
@pytest.mark.parametrize("fit", ["resize", "centre"])
def test_native_maps_have_the_native_shape_and_lie_where_they_should(shape, fit):
    grid = Grid(32, fit)
    native = np.zeros((3, *shape), np.uint8)
    native[:, shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 1
    on_grid = to_grid(native, grid, labels=True)
    shares = np.stack([on_grid == c for c in range(2)], 1).astype(np.float32)
    back = native_map(shares, shape, grid)
    assert back.shape == (*shape, 3) and back.dtype == np.uint8
    assert dice_of(overlap_counts(np.moveaxis(back, 2, 0), native, 2))[1] > (0.9 if fit == "resize" else 0.999)


def test_probabilities_are_enlarged_before_the_decision():
    shares = np.zeros((1, 2, 8, 8), np.float32)
    shares[0, 1] = np.clip(1.2 - np.hypot(*np.mgrid[-3.5:4, -3.5:4]) / 4, 0, 1)
    shares[0, 0] = 1 - shares[0, 1]
    late = native_map(shares, (64, 64), Grid(8))[:, :, 0]
    early = from_grid(shares.argmax(1).astype(np.uint8), (64, 64), Grid(8))[0]
    truth = np.clip(1.2 - np.hypot(*(np.mgrid[-31.5:32, -31.5:32] / 8)) / 4, 0, 1) > 0.5
    assert dice_of(overlap_counts(late, truth, 2))[1] > dice_of(overlap_counts(early, truth, 2))[1]


def test_real_volumes_round_trip_on_their_own_grid(hippo):
    report = evaluate(Oracle(hippo), hippo, [v.name for v in hippo.volumes[:4]])
    assert report.pooled_dice == 1 and 0.9 < report.volume_dice <= 1 and report.hd95 <= 1.5
    assert native_labels(hippo, 0).shape == hippo.volumes[0].shape


# new scans ----------------------------------------------------------------------------------------------------------


class Bright(torch.nn.Module):
    """Calls every pixel above one half foreground."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return torch.cat([0.5 - images, images - 0.5], 1) * 50


def ramp(shape):
    return np.broadcast_to(np.linspace(0, 1000, shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 26, 5), (31, 33), (24, 20, 1)])
def test_segment_keeps_the_shape_of_an_array(shape):
    scan = ramp(shape)
    labels = segment(Bright(), scan, Grid(32))
    assert labels.shape == shape and labels.dtype == np.uint8 and (labels == (normalise(scan) > 0.5)).mean() > 0.96


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_segment_reads_nifti_along_the_grid_s_axis(axis, tmp_path):
    scan = ramp((18, 20, 22))
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan, np.diag([2, 1, 1, 1])), path)
    labels = segment(Bright(), path, Grid(32, axis=axis))
    assert labels.shape == scan.shape and (labels == (normalise(scan) > 0.5)).mean() > 0.94


def test_segment_a_picture(tmp_path):
    path = tmp_path / "slice.PNG"
    Image.fromarray((ramp((30, 44)) / 4).astype(np.uint8)).save(path)
    assert segment(Bright(), path, Grid(32, "centre")).shape == (30, 44)


def test_segment_agrees_with_predict(cohort):
    torch.manual_seed(0)
    model, volume = UNet(classes=3, width=4, depth=2), cohort.images[cohort.volume == 0].astype(np.float32)
    scan = np.moveaxis(volume, 0, 2)
    expected = predict(model, normalise(volume)).argmax(1)
    assert (np.moveaxis(segment(model, scan, Grid(32)), 2, 0) == expected).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_segment_blends_by_the_file_s_millimetres(axis, tmp_path):
    torch.manual_seed(0)
    model, scan, spacing = UNet(classes=3, width=4), np.random.default_rng(0).random((18, 20, 22)).astype(np.float32), [1.0, 2.0, 4.0]
    nibabel.save(nibabel.Nifti1Image(scan, np.diag([*spacing, 1.0])), tmp_path / "scan.nii.gz")
    grid = Grid(16, "resize", axis)
    with_prediction(model, Prediction(neighbours=3.0))
    found = segment(model, tmp_path / "scan.nii.gz", grid)
    np.testing.assert_array_equal(found, segment(model, scan, grid, apart=spacing[axis]))
    assert (found != segment(model, scan, grid, apart=100.0)).any()


@pytest.mark.parametrize(
    ("scan", "word"),
    [
        (np.full((9, 9, 3), 4.0), "everywhere"),
        (np.full((9, 9), np.nan), "NaN"),
        (np.zeros((2, 2, 2, 2)), "shape"),
        (np.zeros((0, 3)), "shape"),
    ],
)
def test_a_scan_that_cannot_be_used_is_refused(scan, word):
    with pytest.raises(ValueError, match=word):
        segment(Bright(), scan, Grid(32))


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.nii"):
        segment(Bright(), tmp_path / "no.nii.gz", Grid(32))
    (tmp_path / "cut.nii.gz").write_bytes(b"\x1f\x8b\x08\x00damaged")
    with pytest.raises(ValueError, match=r"cut\.nii\.gz"):
        segment(Bright(), tmp_path / "cut.nii.gz", Grid(32))


# whichever way round ------------------------------------------------------------------------------------------------

AXES = [(a, b, c) for a in "RL" for b in "AP" for c in "SI"]


class Lean(torch.nn.Module):
    """Foreground where a pixel is brighter than a ramp that rises down the rows and, less, along the columns: not the same from any other side."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        h, w = images.shape[-2:]
        ramp = torch.linspace(0.2, 0.7, h)[:, None] + torch.linspace(0, 0.2, w)
        return torch.cat([ramp - images, images - ramp], 1) * 50


def leaning(pictures):
    """What Lean says, in numpy: [h, w, n] 0 or 1."""
    h, w = pictures.shape[:2]
    return (pictures > (np.linspace(0.2, 0.7, h)[:, None] + np.linspace(0, 0.2, w))[..., None]).astype(np.uint8)


def stored(place, array, codes, tilt, spacing):
    """A file of a box [X, Y, Z] given as RAS, stored in another order, tilted by some degrees."""
    angle, affine = np.radians(tilt), np.eye(4)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = (3, -40, 11)
    place.parent.mkdir(parents=True, exist_ok=True)
    way = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    nibabel.save(nibabel.Nifti1Image(array, affine).as_reoriented(way), place)


def farthest(found, true, spacing):
    """HD95 by scipy's distance transform."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (found, true)]
    apart = [ndimage.distance_transform_edt(~edges[1 - k], sampling=spacing)[edges[k]] for k in (0, 1)]
    return max(np.percentile(one, 95) for one in apart)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.permutations([0, 1, 2]), st.sampled_from(AXES)), min_size=4, max_size=4),
    st.tuples(*[st.floats(0.4, 5)] * 3), st.floats(-20, 20), st.integers(0, 2),
)  # fmt: skip
def test_any_orientation_gives_what_nibabel_numpy_and_scipy_give(tmp_path_factory, ways, spacing, tilt, axis):
    place, shape = tmp_path_factory.mktemp("any") / "scans", (20, 24, 18)
    orders = ["".join(axes[k] for k in order) for order, axes in ways]
    for k in range(2):
        rng = np.random.default_rng(k)
        truth = np.zeros(shape, np.uint8)
        truth[3 + k : 11, 4:15, 2:9] = 1
        image = (truth * 2 + ndimage.gaussian_filter(rng.random(shape), 1) + np.linspace(0, 1, 20)[:, None, None]).astype(np.float32)
        stored(place / "images" / f"s{k}.nii.gz", image, orders[2 * k], tilt, spacing)
        stored(place / "labels" / f"s{k}.nii.gz", truth, orders[2 * k + 1], tilt, spacing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMICON_CACHE", str(place.parent / "cache"))
        cohort = folder(place, size=24, fit="centre", axis=axis)
    assert cohort.grid.orientation == orders[0] and [v.orientation for v in cohort.volumes] == [orders[0], orders[2]]
    report = evaluate(Lean(), cohort, ["s0", "s1"])
    for k, volume in enumerate(cohort.volumes):
        pair = [nibabel.load(place / side / f"s{k}.nii.gz") for side in ("images", "labels")]
        pair = [one.as_reoriented(ornt_transform(io_orientation(one.affine), axcodes2ornt(orders[0]))) for one in pair]
        image, truth = (np.moveaxis(np.asarray(one.dataobj), axis, 2) for one in pair)
        low, high = np.percentile(image, (0.5, 99.5))
        shades = np.clip((image - low) / (high - low), 0, 1)
        room = [((24 - n) // 2, 24 - n - (24 - n) // 2) for n in image.shape[:2]]
        padded = np.pad(shades, [*room, (0, 0)])
        np.testing.assert_allclose(np.moveaxis(cohort.images[cohort.volume == k], 0, 2), padded, atol=1e-3)
        assert np.array_equal(native_labels(cohort, k), truth)
        sizes = voxel_sizes(pair[0].affine)
        sizes = [*np.delete(sizes, axis), sizes[axis]]
        np.testing.assert_allclose(volume.spacing, sizes, rtol=1e-5)
        seen = np.moveaxis(cohort.images[cohort.volume == k].astype(np.float32), 0, 2)
        found = leaning(seen)[tuple(slice(a, 24 - b) for a, b in room)]
        entry = report.volumes[k]
        assert entry["dice"]["label 1"] == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()), abs=1e-6)
        assert entry["hd95"]["label 1"] == pytest.approx(farthest(found > 0, truth > 0, sizes), rel=1e-4)
        mask, file = segment(Lean(), place / "images" / f"s{k}.nii.gz", cohort.grid), nibabel.load(place / "images" / f"s{k}.nii.gz")
        assert mask.shape == file.shape
        back = nibabel.Nifti1Image(mask, file.affine)
        back = back.as_reoriented(ornt_transform(io_orientation(file.affine), axcodes2ornt(orders[0])))
        expected = leaning(padded)[tuple(slice(a, 24 - b) for a, b in room)]
        assert (np.moveaxis(np.asarray(back.dataobj), axis, 2) == expected).mean() > 0.999


@pytest.mark.parametrize(("single", "axis"), [(0, 0), (0, 2), (1, 2), (2, 0), (2, 1)])
def test_a_single_slice_is_cut_the_same_way_in_training_and_prediction(single, axis, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    shape = np.insert([20, 24], single, 1)
    for k in range(2):
        truth = np.zeros(shape, np.uint8)
        truth[tuple(slice(None) if n == 1 else slice(4, 13 + k) for n in shape)] = 1
        image = (truth + np.random.default_rng(k).random(shape)).astype(np.float32)
        for side, array in (("images", image), ("labels", truth)):
            (tmp_path / "flat" / side).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "flat" / side / f"s{k}.nii.gz")
    cohort = folder(tmp_path / "flat", size=24, fit="centre", axis=axis)
    assert len(cohort) == 2 and cohort.volumes[0].shape == (20, 24, 1)
    report = evaluate(Lean(), cohort, ["s0", "s1"])
    path = tmp_path / "flat" / "images" / "s1.nii.gz"
    mask = segment(Lean(), path, cohort.grid)
    assert mask.shape == tuple(shape) and cohort.grid.along((24, 24, 24)) == single
    with pytest.warns(UserWarning, match=f"s1.nii.gz: is one slice across axis {single}; taken as one across axis {(single + 1) % 3},"):
        segment(Lean(), path, replace(cohort.grid, axis=(single + 1) % 3))
    assert report.volumes[1]["dice"]["label 1"] == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()), abs=0.01)


def test_a_file_that_does_not_say_which_way_round_is_taken_as_it_is(tmp_path):
    scan = np.random.default_rng(0).random((20, 24, 5)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(scan, None), tmp_path / "x.nii.gz")
    with pytest.warns(UserWarning, match="x.nii.gz: does not say which way round it lies; taken to run to LPS"):
        found = segment(Lean(), tmp_path / "x.nii.gz", Grid(24, "centre", 2, "LPS"))
    assert np.array_equal(found, segment(Lean(), scan, Grid(24, "centre")))


def test_pictures_are_measured_in_pixels(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    for k in range(2):
        truth = np.zeros((24, 24), np.uint8)
        truth[4:15, 5 + k : 14] = 1
        for side, array in (("images", truth * 200 + np.arange(24, dtype=np.uint8)), ("labels", truth)):
            (tmp_path / "flat" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "flat" / side / f"s{k}.png")
    report = evaluate(Lean(), folder(tmp_path / "flat", size=24), ["s0", "s1"])
    assert report.unit == report.to_dict()["unit"] == "pixel" and "hd95 (pixels)" in report._repr_html_()
    mixed = report_of(["one"], np.ones(1), [(Volume(u, "s", unit=u), 3, np.ones(1), np.ones(1)) for u in ("mm", "pixel")])
    assert mixed.unit == "" and math.isnan(mixed.hd95) and "hd95 (mm or pixels)" in mixed._repr_html_()


def test_planes_are_measured_in_their_own_millimetres():
    truth, found = boxes(((2, 2, 0), (8, 8, 10))), boxes(((2, 2, 0), (8, 8, 10)))
    found[:, :, 0] = np.roll(truth[:, :, 0], 2, axis=0)
    found[:, :, 1] = 0
    _, hd95 = score_volume(found, truth, 2, (3.0, 0.5, 9.0), body=False)
    assert hd95[0] == pytest.approx((2 * 3 + math.hypot(12 * 3, 14 * 0.5)) / 10)


@pytest.mark.parametrize(("chosen", "body"), [([2, 3, 4, 5], True), ([2, 4, 5], False), ([2, 3, 6], False)])
def test_slices_with_gaps_between_them_are_measured_one_by_one(chosen, body, cohort):
    """And only those that are chosen and outlined, though the others are there, too."""
    known = cohort.labelled.copy()
    known[7] = False
    report = evaluate(Oracle(cohort, lambda labels: np.roll(labels, 1, axis=0)), replace(cohort, labelled=known), [*chosen, 7])
    truth = native_labels(cohort, 0)[:, :, chosen]
    dice, hd95 = score_volume(np.roll(truth, 1, axis=0), truth, 3, cohort.volumes[0].spacing, body)
    assert report.slices == len(chosen) and report.pooled_dice == pytest.approx(dice.mean())
    assert [*report.volumes[0]["dice"].values()] == dice.tolist() and [*report.volumes[0]["hd95"].values()] == hd95.tolist()
