"""Views: independent, seeded, label-safe, traceable to a tenth of a pixel, and never in place."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semicon_nb.views import (
    FINETUNE,
    GLOBAL,
    IDENTITY,
    LOCAL,
    ViewSettings,
    augment,
    blur,
    change_contrast,
    change_intensities,
    correspondence,
    draw_affine,
    draw_warp,
    views,
)
from semicon_nb.warps import draw_control, draw_spline, lattice

CPU = torch.device("cpu")
MOVES_ONLY = {"gamma": (1.0, 1.0), "contrast": (1.0, 1.0), "brightness": 0.0, "bias": 0.0, "blur": 0.0, "noise": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slices(count: int = 4, height: int = 40, width: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = seeded(9)
    labels = torch.randint(0, 3, (count, height, width), generator=generator)
    return torch.rand(count, 1, height, width, generator=generator), labels


@pytest.mark.parametrize("preset", [GLOBAL, LOCAL, FINETUNE])
def test_views_of_a_slice_are_two_different_pictures_in_memory_of_their_own(preset: ViewSettings) -> None:
    images, labels = slices()
    before = images.clone(), labels.clone()
    pair = views(images, labels, preset, generator=seeded())
    assert pair.images.shape == (4, 2, 1, 40, 40) and pair.images.dtype == torch.float32
    assert pair.labels.shape == (4, 2, 40, 40) and pair.labels.dtype == torch.int64
    assert not any(torch.allclose(first, second) for first, second in pair.images)
    assert torch.equal(images, before[0]) and torch.equal(labels, before[1])
    pair.images[:, 0].zero_()
    assert pair.images[:, 1].abs().sum() > 0 and torch.equal(images, before[0])


@pytest.mark.parametrize("preset", [IDENTITY, replace(IDENTITY, noise=0.0, shared=True)])
def test_identity_gives_exact_copies_that_share_no_memory(preset: ViewSettings) -> None:
    images, labels = slices()
    pair = views(images, labels, preset, count=3)
    for view in range(3):
        assert torch.equal(pair.images[:, view], images) and torch.equal(pair.labels[:, view], labels)
    pair.images[:, 0].zero_()
    pair.labels[:, 0].zero_()
    assert torch.equal(pair.images[:, 1], images) and torch.equal(pair.labels[:, 1], labels) and images.abs().sum() > 0
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    assert torch.equal(pair.where[0], torch.stack([rows, columns], -1))


def test_the_seed_decides_everything_and_different_seeds_differ() -> None:
    images, labels = slices()
    first, same, other = (views(images, labels, FINETUNE, generator=seeded(s)) for s in (1, 1, 2))
    assert (
        torch.equal(first.images, same.images)
        and torch.equal(first.labels, same.labels)
        and torch.equal(first.warp.control, same.warp.control)
    )
    assert not torch.equal(first.images, other.images)


def test_without_a_generator_the_global_seed_decides() -> None:
    images, labels = slices(2)
    torch.manual_seed(3)
    first = augment(images, labels)
    torch.manual_seed(3)
    assert torch.equal(first[0], augment(images, labels)[0])


def test_views_and_slices_draw_independent_parameters() -> None:
    angles = draw_warp(replace(IDENTITY, rotation=0.3), (400, 2), (8, 8), seeded(), CPU).matrix[..., 1, 0]
    assert abs(float(np.corrcoef(angles[:, 0], angles[:, 1])[0, 1])) < 0.15
    assert float(angles.min()) < -math.sin(0.25) and float(angles.max()) > math.sin(0.25)


def test_batches_larger_than_a_piece_are_whole_and_in_order() -> None:
    images, labels = slices(70, 48, 48)
    images = images * 0 + torch.arange(70.0)[:, None, None, None] / 70
    pair = views(images, labels, replace(GLOBAL, **MOVES_ONLY), generator=seeded())
    assert pair.images.shape == (70, 2, 1, 48, 48) and pair.warp.control.shape[0] == 70
    middle = pair.images[:, :, 0, 20:28, 20:28].mean((2, 3))
    assert torch.allclose(middle, images[:, :, 0, 0].expand(70, 2), atol=1e-5)
    assert pair.where.shape == (70, 48, 48, 2)


def test_labels_are_never_values_between() -> None:
    labels = torch.zeros(3, 33, 47, dtype=torch.uint8)
    labels[:, 5:25, 10:30] = 7
    pair = views(torch.rand(3, 1, 33, 47), labels, replace(FINETUNE, rotation=1.0), generator=seeded())
    assert set(pair.labels.unique().tolist()) <= {0, 7}


def test_outside_of_the_slice_is_black_and_background() -> None:
    images, labels = torch.ones(2, 1, 32, 32), torch.ones(2, 32, 32, dtype=torch.int64)
    pair = views(images, labels, replace(IDENTITY, scale=(0.5, 0.5)), generator=seeded())
    assert pair.images[..., 0, 0].eq(0).all() and pair.labels[..., 0, 0].eq(0).all()
    assert pair.images[..., 16, 16].eq(1).all() and pair.labels[..., 16, 16].eq(1).all()


def test_image_and_labels_move_together() -> None:
    labels = torch.zeros(6, 64, 64, dtype=torch.int64)
    labels[:, 20:40, 25:50] = 1
    pair = views(labels[:, None].float(), labels, replace(FINETUNE, **MOVES_ONLY), generator=seeded())
    seen = pair.images[:, :, 0]
    assert ((seen > 0.5).long() == pair.labels).float().mean() > 0.995
    assert (seen[pair.labels == 1] > 0.2).all()


@pytest.mark.parametrize("shape", [(64, 64), (160, 160), (48, 70)])
@pytest.mark.parametrize("preset", [GLOBAL, replace(FINETUNE, mirror=("columns",), shear=0.2)])
def test_where_is_exact_to_a_tenth_of_a_pixel(shape: tuple[int, int], preset: ViewSettings) -> None:
    images, _ = slices(6, *shape)
    pair = views(images, None, preset, generator=seeded(5))
    where, kept = pair.where, ~pair.where[..., 0].isnan()
    source = pair.warp.sources()[:, 0].permute(0, 2, 3, 1)
    for b in range(6):
        there = spline_at(pair.warp.control[b, 1].double(), where[b][kept[b]].double(), shape)
        error = (there - source[b][kept[b]].double()).norm(dim=-1)
        back = torch.linalg.det(pair.warp.matrix[b, 1].double()).abs().sqrt()
        assert float((error / back).max()) < 0.1 and float(error.mean() / back) < 0.01
    assert 0.3 < kept.float().mean() < 1


@pytest.mark.parametrize("elastic", [0.03, 0.05, 0.1])
def test_where_is_exact_or_nan_however_strong_the_warp(elastic: float) -> None:
    pair = views(torch.zeros(4, 1, 64, 64), None, ViewSettings(elastic=elastic), generator=seeded(3))
    source, kept = pair.warp.sources()[:, 0].movedim(1, -1), ~pair.where[..., 0].isnan()
    for b in range(4):
        there = spline_at(pair.warp.control[b, 1].double(), pair.where[b][kept[b]].double(), (64, 64))
        assert float((there - source[b][kept[b]]).norm(dim=-1).max()) < 0.15
    assert 0.2 < kept.float().mean() < 1


def spline_at(control: torch.Tensor, places: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The spline of control points [2, k, k] at rows and columns [n, 2], evaluated directly, as ground truth."""
    knots = control.shape[-1] - 3
    weights = []
    for axis in (0, 1):
        distance = ((places[:, axis] + 0.5) * knots / shape[axis])[:, None] - torch.arange(-1, knots + 2)
        distance = distance.abs()
        near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance).clamp_min(0) ** 3 / 6
        weights.append(torch.where(distance < 1, near, far))
    return torch.einsum("nr,nc,irc->ni", *weights, control)


def test_the_followed_pixel_shows_the_same_point() -> None:
    smooth = draw_spline(draw_control((3,), (64, 64), 4, seeded(1), CPU), (64, 64))[:, None]
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    pair = views(smooth, None, replace(GLOBAL, **MOVES_ONLY), generator=seeded(2))
    grid = (pair.where.nan_to_num(-99) * 2 + 1) / 64 - 1
    looked_up = F.grid_sample(pair.images[:, 1], grid.flip(-1), align_corners=False)[:, 0]
    inner = ~pair.where[..., 0].isnan() & (pair.where > 2).all(-1) & (pair.where < 61).all(-1)
    source = pair.warp.sources()[:, 0].abs().amax(1) < 29
    error = (looked_up - pair.images[:, 0, 0])[inner & source].abs()
    assert error.quantile(0.99) < 0.03 and error.mean() < 0.01 < 0.05 * smooth.std()


def test_what_has_left_is_nan_and_what_was_never_there_too() -> None:
    images, _ = slices(1)
    gone = views(images, None, replace(IDENTITY, shift=0.5), generator=seeded(4))
    difference = gone.warp.shift[0, 0] - gone.warp.shift[0, 1]
    rows = torch.arange(40.0)[:, None].expand(40, 40) + difference[0]
    columns = torch.arange(40.0)[None].expand(40, 40) + difference[1]
    source = gone.warp.sources()[0, 0]
    inside = (rows > -0.5) & (rows < 39.5) & (columns > -0.5) & (columns < 39.5) & (source.abs() < 20).all(0)
    assert torch.equal(inside, ~gone.where[0, ..., 0].isnan()) and 0 < inside.sum() < 1600
    assert torch.allclose(gone.where[0][inside], torch.stack([rows, columns], -1)[inside], atol=1e-3)


def test_correspondence_there_and_back_again() -> None:
    images, _ = slices(2, 64, 64)
    pair = views(images, None, replace(GLOBAL, scale=(1.0, 1.0)), generator=seeded(6))
    there, back = correspondence(pair, 0, 1), correspondence(pair, 1, 0)
    grid = (there.nan_to_num(-99) * 2 + 1) / 64 - 1
    again = F.grid_sample(back.permute(0, 3, 1, 2), grid.flip(-1), align_corners=False).permute(0, 2, 3, 1)
    ok = ~(there.isnan() | again.isnan()).any(-1) & (there > 2).all(-1) & (there < 61).all(-1)
    start = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"), -1).expand_as(again)
    assert ok.float().mean() > 0.3 and (again - start)[ok].abs().quantile(0.99) < 0.1


def test_shared_warps_keep_pixels_aligned() -> None:
    images, labels = slices(3)
    pair = views(images, labels, replace(FINETUNE, shared=True), generator=seeded())
    assert torch.equal(pair.labels[:, 0], pair.labels[:, 1]) and not torch.equal(pair.images[:, 0], pair.images[:, 1])
    kept = ~pair.where[..., 0].isnan()
    start = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij"), -1).expand_as(pair.where)
    assert (pair.where - start)[kept].abs().max() < 0.05 and kept.float().mean() > 0.6


def test_one_view_has_no_other_and_augment_is_one_view() -> None:
    images, labels = slices(2)
    assert views(images, count=1).where is None
    image, label = augment(images, labels, generator=seeded())
    assert image.shape == images.shape and label.shape == labels.shape
    assert augment(images)[1] is None


SPOILS = [lambda x: 255 * x, lambda x: 4000 * x - 1000, lambda x: 8 * x - 4, lambda x: 2 * x - 1, lambda x: 10 * x]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_images_far_from_0_to_1_are_refused_and_not_saturated(spoil, dtype) -> None:
    images, labels = slices()
    for change in (lambda x: augment(x, labels), lambda x: views(x, labels, GLOBAL), lambda x: views(x)):
        with pytest.raises(ValueError, match="images: expected values in .0, 1., found .* to .*; scale them, as"):
            change(spoil(images.to(dtype)))


def test_a_view_of_a_view_of_a_view_is_let_pass() -> None:
    images = torch.cat([slices()[0], torch.zeros(1, 1, 40, 40), torch.ones(1, 1, 40, 40)])
    for seed in range(10):
        weak, _ = augment(images, None, FINETUNE, seeded(seed))
        strong, _ = augment(weak, None, replace(FINETUNE, bias=0.3, brightness=0.3, noise=0.2), seeded(seed))
        assert augment(strong, None, GLOBAL, seeded(seed))[0].isfinite().all()


def test_mirror_flips_exactly_about_half_of_the_views() -> None:
    images, labels = slices(200, 10, 14)
    for axis, name in ((2, "rows"), (3, "columns")):
        pair = views(images, labels, replace(IDENTITY, mirror=(name,)), count=1, generator=seeded())
        flipped = torch.tensor([torch.allclose(a, b.flip(axis - 1), atol=1e-4) for a, b in zip(pair.images[:, 0], images, strict=True)])
        same = torch.tensor([torch.allclose(a, b, atol=1e-4) for a, b in zip(pair.images[:, 0], images, strict=True)])
        assert (flipped | same).all() and 60 < flipped.sum() < 140
        assert torch.equal(pair.labels[flipped, 0], labels[flipped].flip(axis - 1))


def test_elastic_displacement_has_the_strength_that_it_says() -> None:
    warp = draw_warp(replace(IDENTITY, elastic=0.02), (60, 2), (64, 64), seeded(), CPU)
    moved = warp.sources() - draw_spline(lattice((64, 64), 6, CPU), (64, 64))
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.02 * 64, rel=0.05)


def test_no_preset_folds_the_picture() -> None:
    for preset in (GLOBAL, FINETUNE):
        source = draw_warp(preset, (100, 2), (64, 64), seeded(), CPU).sources()
        down, across = source.diff(dim=3)[..., :63], source.diff(dim=4)[..., :63, :]
        area = down[:, :, 0] * across[:, :, 1] - down[:, :, 1] * across[:, :, 0]
        assert (area > 0).float().mean() > 0.9999


def test_blur_agrees_with_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    image = torch.rand(2, 30, 41, generator=seeded())
    found = blur(image, torch.tensor([1.0, 0.6]), 1.0)
    for k, sigma in enumerate((1.0, 0.6)):
        wanted = gaussian_filter(image[k].double().numpy(), sigma, mode="nearest", radius=3)
        assert np.abs(found[k].numpy() - wanted).max() < 1e-5


def test_noise_has_the_strength_that_it_says() -> None:
    flat = torch.full((200, 1, 32, 32), 0.5)
    spread = views(flat, None, replace(IDENTITY, noise=0.2), generator=seeded()).images.std((-1, -2)).flatten()
    assert spread.max() < 0.22 and spread.mean() == pytest.approx(0.1, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.sampled_from([GLOBAL, LOCAL, FINETUNE, IDENTITY]))
def test_any_shape_and_count(batch: int, height: int, width: int, count: int, preset: ViewSettings) -> None:
    pair = views(torch.rand(batch, 1, height, width), torch.ones(batch, height, width, dtype=torch.int16), preset, count)
    assert pair.images.shape == (batch, count, 1, height, width) and pair.images.isfinite().all()
    assert count == 1 or pair.where.shape == (batch, height, width, 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5), st.sampled_from([GLOBAL, LOCAL, FINETUNE]))
def test_contrast_keeps_the_order_of_pixels_and_looks_at_one_slice(seed: int, count: int, preset: ViewSettings) -> None:
    stack = torch.rand(count, 12, 9, generator=seeded(seed))
    before, changed = stack.clone(), change_contrast(stack, preset, seeded(seed))
    assert torch.equal(stack, before)
    order = stack.flatten(1).argsort(1)
    assert (changed.flatten(1).gather(1, order).diff(dim=1) >= -1e-6).all()  # a bright pixel stays brighter than a dark one
    other = torch.cat([stack[:1], torch.rand(count - 1, 12, 9)])
    assert torch.equal(change_contrast(other, preset, seeded(seed))[0], changed[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 3), st.floats(0, 3))
def test_blur_is_a_mean_of_neighbours(seed: int, first: float, second: float) -> None:
    """Linear, between the smallest and the largest pixel, mirrored with the picture, and nothing for a width of nothing."""
    generator, sigma = seeded(seed), torch.tensor([first, second])
    one, two = torch.rand(2, 14, 11, generator=generator), torch.rand(2, 14, 11, generator=generator)
    found = blur(one, sigma, 3.0)
    torch.testing.assert_close(blur(one + 2 * two, sigma, 3.0), found + 2 * blur(two, sigma, 3.0))
    low, high = one.amin((1, 2), keepdim=True), one.amax((1, 2), keepdim=True)
    assert (found >= low - 1e-6).all() and (found <= high + 1e-6).all()
    torch.testing.assert_close(blur(one.flip(2), sigma, 3.0), found.flip(2))
    torch.testing.assert_close(blur(torch.full_like(one, 0.3), sigma, 3.0), torch.full_like(one, 0.3))
    torch.testing.assert_close(blur(one, torch.zeros(2), 3.0), one)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.5), st.floats(0, 0.2))
def test_bias_brightens_and_noise_is_added(seed: int, bias: float, noise: float) -> None:
    still = replace(IDENTITY, bias=bias)
    stack = torch.rand(3, 16, 16, generator=seeded(seed))
    field = change_intensities(stack, still, seeded(seed))
    assert (field > 0).eq(stack > 0).all()  # a factor above zero
    twice = change_intensities(2 * stack, still, seeded(seed))
    torch.testing.assert_close(twice, 2 * field)
    grain = change_intensities(stack, replace(IDENTITY, noise=noise), seeded(seed)) - stack
    assert grain.abs().max() <= 6 * noise + 1e-6
    torch.testing.assert_close(grain, change_intensities(stack + 1, replace(IDENTITY, noise=noise), seeded(seed)) - stack - 1, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    images, labels = slices(2)
    assert views(images, labels.to(dtype)).labels.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_any_floating_type(dtype: torch.dtype) -> None:
    assert views(slices(2)[0].to(dtype)).images.dtype == torch.float32


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (1.2, 0.8)}, {"scale": (0.0, 1.0)}, {"gamma": (1.0,)}, {"rotation": -0.1}, {"noise": float("nan")}, {"mirror": "rows"},
     {"mirror": ("depth",)}, {"knots": 0}, {"elastic": float("inf")}, {"scale": 1.2}, {"rotation": (0, 0.3)}, {"knots": "4"},
     {"knots": 2.5}, {"knots": 65}, {"mirror": None}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ViewSettings(**wrong)


def test_slices_that_do_not_fit_are_refused_by_name() -> None:
    images, labels = slices(2)
    for bad, error in (
        (images[:, 0], ValueError),
        (images.expand(2, 3, 40, 40), ValueError),
        (images[:0], ValueError),
        (images.long(), TypeError),
    ):
        with pytest.raises(error, match="images"):
            views(bad)
    for bad, error in ((labels[:, :20], ValueError), (labels.float(), TypeError), (labels > 0, TypeError)):
        with pytest.raises(error, match="labels"):
            views(images, bad)
    for count in (0, 1.5, True):
        with pytest.raises(ValueError, match="count"):
            views(images, count=count)
    for bad in ({"images": images.numpy()}, {"labels": labels.numpy()}, {"settings": 2}):
        with pytest.raises(TypeError, match=next(iter(bad))):
            views(**{"images": images} | bad)


def test_nan_and_infinite_values_are_called_by_their_name() -> None:
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="images: found NaN or infinite values"):
            views(slices(2)[0].index_fill(0, torch.tensor(0), value))


@pytest.mark.parametrize("preset", [IDENTITY, GLOBAL])
def test_a_view_that_is_not_there_has_no_pixels_to_follow(preset: ViewSettings) -> None:
    with pytest.raises(ValueError, match="start, end: found 0 and 2, expected views of these, 0 to 1"):
        correspondence(views(slices(2)[0], settings=preset), 0, 2)


def test_gradients_reach_the_slices_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    images = slices(2)[0].requires_grad_()
    views(images, settings=LOCAL).images.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0 and not recwarn.list


def test_a_turn_turns_a_magnification_magnifies_and_a_shear_shears() -> None:
    def drawn(**how) -> torch.Tensor:
        return draw_affine(replace(IDENTITY, **how), (500, 2), seeded(), CPU).flatten(0, 1)

    turned, still = drawn(rotation=0.3), torch.eye(2).expand(1000, 2, 2)
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    torch.testing.assert_close(turned @ turned.mT, still)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(1000))
    assert -0.3 <= angle.min() < -0.29 and 0.29 < angle.max() <= 0.3
    size = 1 / drawn(scale=(0.5, 4.0))[:, 0, 0]
    torch.testing.assert_close(drawn(scale=(0.5, 4.0)), still / size[:, None, None])
    assert 0.5 <= size.min() < 0.51 and 3.9 < size.max() <= 4 and size.log().mean().exp() == pytest.approx(2**0.5, rel=0.05)
    sheared = drawn(shear=0.2)
    assert torch.equal(sheared[:, 0, 0], still[:, 0, 0]) and torch.equal(sheared[:, 1], still[:, 1])
    assert -0.2 <= sheared[:, 0, 1].min() < -0.19 and 0.19 < sheared[:, 0, 1].max() <= 0.2


def test_a_shift_goes_to_every_side_by_a_share_of_it() -> None:
    shift = draw_warp(replace(IDENTITY, shift=0.1), (500, 2), (40, 20), seeded(), CPU).shift.flatten(0, 1)
    assert torch.allclose(shift.amax(0), torch.tensor([4.0, 2.0]), rtol=0.03) and torch.allclose(shift.amin(0), -shift.amax(0), rtol=0.03)


def test_intensities_change_as_far_as_they_may_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """To both ends of each range: exponents evenly in their logarithm, contrast about each slice's own mean."""
    stack = torch.rand(500, 6, 6, generator=seeded(1))

    def changed(**how) -> torch.Tensor:
        return change_intensities(stack, replace(IDENTITY, **how), seeded())

    gamma = changed(gamma=(0.5, 4.0)).log() / stack.log()
    assert 0.5 <= gamma.min() + 1e-3 < 0.52 and 3.9 < gamma.max() <= 4.001 and gamma.log().mean().exp() == pytest.approx(2**0.5, rel=0.05)
    flat = changed(contrast=(0.5, 1.5))
    torch.testing.assert_close(flat.mean((1, 2)), stack.mean((1, 2)))
    factor = flat.std((1, 2)) / stack.std((1, 2))
    assert 0.499 < factor.min() < 0.52 and 1.48 < factor.max() < 1.501
    added = changed(brightness=0.2) - stack
    assert added.std((1, 2)).max() < 1e-6 and -0.2001 < added.min() < -0.19 and 0.19 < added.max() < 0.2001
    assert (changed(bias=0.1) / stack).log().square().mean().sqrt() == pytest.approx(0.1, rel=0.05)
    seen: list = []
    monkeypatch.setattr("semicon_nb.views.blur", lambda stack, sigma, largest: seen.append((sigma, largest)) or stack)
    changed(blur=1.2)
    assert 0 <= seen[0][0].min() < 0.02 and 1.18 < seen[0][0].max() <= 1.2 == seen[0][1]
