"""Intensities and the grid: every trap of the released code, there and back, and every bad value."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from semicon_nb.data import DataError, Grid, from_grid, native_labels, normalise, read_scan, to_grid
from semicon_nb.data.scans import _linear_weights, _stretch

from .samples import disc, scan


def dice(a: np.ndarray, b: np.ndarray, label: int) -> float:
    return float(2 * ((a == label) & (b == label)).sum() / max(1, (a == label).sum() + (b == label).sum()))


def test_bilinear_labels_lose_what_ours_keep(hippo):
    """Method 6.1: resizing label maps bilinearly and cutting off the decimals."""
    released, ours = [], []
    for v in range(len(hippo.volumes)):
        native = np.moveaxis(native_labels(hippo, v), 2, 0)
        truth = to_grid(native, hippo.grid, labels=True)
        blurred = _stretch(native.astype(np.float32), (64, 64)).astype(np.uint8)
        released += [dice(truth, blurred, k) for k in (1, 2)]
        ours += [dice(native, from_grid(hippo.labels[hippo.volume == v], native.shape[1:], hippo.grid), k) for k in (1, 2)]
    assert np.mean(released) < 0.9
    assert min(ours) > 0.999


def test_no_new_label_appears_between_two():
    labels = np.zeros((1, 30, 30), np.uint8)
    labels[:, 8:20, 8:20] = 7
    for size in (16, 64, 97):
        assert set(np.unique(to_grid(labels, Grid(size), labels=True))) == {0, 7}
    assert len(np.unique(_stretch(labels.astype(np.float32), (64, 64)).astype(np.uint8))) > 2


def test_intensities_of_a_cohort_can_be_compared(hippo):
    """Shared README: maxima run from 112 to 1.7 million. One scale for all leaves most scans black."""
    raw = [read_scan(v.image).voxels for v in hippo.volumes]
    highest = max(r.max() for r in raw)
    ours = [float(np.median(hippo.images[hippo.volume == v])) for v in range(len(raw))]
    common = [float(np.median(r / highest)) for r in raw]
    assert min(ours) > 0.2 and max(ours) < 0.8
    assert max(common) / min(common) > 3 * max(ours) / min(ours)


def test_one_bright_voxel_does_not_set_the_scale():
    image, _ = scan()
    spiked = image.copy()
    spiked[3, 3, 3] = 1e6
    ours, minmax = normalise(spiked), (spiked - spiked.min()) / np.ptp(spiked)
    assert np.abs(ours - normalise(image))[image == spiked].max() < 0.02
    assert np.median(minmax) < 1e-5 < 0.1 < np.median(ours)


def test_gain_and_offset_do_not_matter():
    image, _ = scan()
    np.testing.assert_allclose(normalise(image * 7000 + 123), normalise(image), atol=1e-4)
    assert normalise(image).min() == 0 and normalise(image).max() == 1 and normalise(image).dtype == np.float32


def test_mostly_empty_image_keeps_its_range():
    image = np.zeros((10, 10, 10), np.float32)
    image[5, 5, 5] = 3
    assert normalise(image).max() == 1


@pytest.mark.parametrize("pad", [-2000, -3024, -32768, -1e6, 32767, 63536])
def test_padding_of_a_ct_is_no_measurement(pad):
    shown = [normalise(disc(value)[0]) for value in (-1000, pad)]
    volume, organ, tissue = disc(pad)
    contrast = [float(one[organ].mean() - one[tissue].mean()) for one in shown]
    assert contrast[1] == pytest.approx(contrast[0], rel=0.02)
    assert not shown[1][volume == pad].any(), "padding is 0, also at the high end"


@pytest.mark.parametrize("pad", [-200, -1000, -1024, -2000, -32768])
def test_a_negative_number_among_magnitudes_is_padding(pad):
    """MR holds no negative intensity, so one far below all others is none, though a CT could measure it."""
    rng = np.random.default_rng(0)
    volume = rng.uniform(40, 500, (20, 20, 20)).astype(np.float32)
    padded = volume.copy()
    padded[:6] = pad
    low, high = np.percentile(volume[6:], (0.5, 99.5))
    np.testing.assert_allclose(normalise(padded)[6:], np.clip((volume[6:] - low) / (high - low), 0, 1), atol=1e-5)
    assert not normalise(padded)[:6].any()


def test_what_was_measured_is_no_padding():
    """Zeros around a brain, air, a few odd voxels and a steady tail all stay in the percentiles."""
    volume, rng = disc(-1000)[0], np.random.default_rng(0)
    tail = np.linspace(-4000, 300, volume.size).reshape(volume.shape)
    few = volume.copy()
    few.flat[:100] = -32768
    stripped = np.where(volume > 0, volume + 400, 0)
    for values in (volume, tail, few, stripped, -1.0 * (stripped == 0) + stripped / 900, np.rint(rng.normal(0, 900, (20, 20, 20)))):
        low, high = np.percentile(values.astype(np.float32), (0.5, 99.5))
        np.testing.assert_allclose(normalise(values), np.clip((values - low) / (high - low), 0, 1), atol=1e-5)


def test_two_paddings_and_nothing_but_padding():
    volume, organ, tissue = disc(-2000)
    volume[:, :, :2] = -32768
    shades = normalise(volume)
    assert shades[organ][:, 2:].mean() - shades[tissue][:, 2:].mean() == pytest.approx(0.068, abs=0.003)
    assert set(np.unique(normalise(np.where(volume > 0, 50.0, -2000.0)))) == {0, 1}


def test_values_too_close_for_32_bits_are_refused():
    values = 1e9 + np.arange(1000.0).reshape(10, 10, 10)
    with pytest.raises(DataError, match="x: its values lie between .* too close for 32 bits to tell apart; subtract"):
        normalise(values, "x")
    assert normalise(values - 1e9, "x").max() == 1


@pytest.mark.parametrize("shape,size", [((35, 50), 64), ((64, 64), 64), ((31, 33), 32), ((300, 20), 48)])
def test_resize_there_and_back(shape, size):
    rng = np.random.default_rng(0)
    smooth = _stretch(rng.random((3, 5, 5)).astype(np.float32), shape)
    grid = Grid(size)
    there = to_grid(smooth, grid)
    assert there.shape == (3, size, size) and there.dtype == np.float32
    assert np.abs(from_grid(there, shape, grid) - smooth).mean() < 0.02
    assert from_grid(there[:, None], shape, grid).shape == (3, 1, *shape)


@pytest.mark.parametrize("shape", [(256, 256), (100, 200), (160, 160), (161, 159), (7, 400)])
def test_centre_there_and_back(shape):
    labels = np.random.default_rng(0).integers(1, 4, (2, *shape)).astype(np.uint8)
    grid = Grid(160, "centre")
    back = from_grid(to_grid(labels, grid, labels=True), shape, grid)
    h, w = (min(160, n) for n in shape)
    kept = back > 0
    assert np.array_equal(back[kept], labels[kept]) and kept[0].sum() == h * w
    assert kept[0, shape[0] // 2, shape[1] // 2]


def test_weights_are_shares_and_agree_with_torch():
    import torch

    for old, new in ((35, 64), (50, 64), (64, 35), (160, 64), (5, 5)):
        assert np.allclose(_linear_weights(old, new).sum(1), 1)
        line = torch.rand(1, 1, old, 3)
        theirs = torch.nn.functional.interpolate(line, (new, 3), mode="bilinear", antialias=True)[0, 0]
        inner = slice(2, -2) if new < old else slice(None)
        np.testing.assert_allclose((_linear_weights(old, new) @ line[0, 0].numpy())[inner], theirs.numpy()[inner], atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70)), st.sampled_from([8, 16, 48]), st.sampled_from(["resize", "centre"]), st.integers(0, 2**31))
def test_no_grid_invents_a_label_or_an_intensity(shape, size, fit, seed):
    random, grid = np.random.default_rng(seed), Grid(size, fit)
    labels, image = random.choice([0, 3, 7], shape).astype(np.uint8), random.random(shape).astype(np.float32)
    there = to_grid(labels, grid, labels=True)
    assert there.shape == (shape[0], size, size) and there.dtype == np.uint8
    assert set(np.unique(there)) <= set(np.unique(labels)) | {0}
    back = from_grid(there, shape[1:], grid)
    assert back.shape == shape and set(np.unique(back)) <= set(np.unique(there)) | {0}
    seen = to_grid(image, grid)
    low = 0 if fit == "centre" else image.min()
    assert seen.min() >= low - 1e-6 and seen.max() <= image.max() + 1e-6
    one = np.full(shape, 5, np.uint8)
    assert fit == "centre" or (to_grid(one, grid, labels=True) == 5).all()


def test_grid_refuses_nonsense():
    for bad in ({"size": 4}, {"size": 64.0}, {"size": 64, "fit": "crop"}, {"size": 64, "axis": 3}):
        with pytest.raises(ValueError, match="size|fit|axis"):
            Grid(**bad)
