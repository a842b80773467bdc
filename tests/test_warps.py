"""Warps: a spline that reproduces its lattice, a slice that is read where the warp says, and the way back."""

from dataclasses import replace

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from semicon_nb.views import FINETUNE, GLOBAL, IDENTITY, ViewSettings, correspondence, draw_warp, views
from semicon_nb.warps import Warp, centred_pixels, draw_spline, invert, lattice, sample, spline_weights

CPU = torch.device("cpu")
STILL = {"gamma": (1.0, 1.0), "contrast": (1.0, 1.0), "brightness": 0.0, "bias": 0.0, "blur": 0.0, "noise": 0.0}
MOVES = st.builds(
    lambda preset, **changes: replace(preset, **STILL, **changes), st.sampled_from([GLOBAL, FINETUNE]),
    rotation=st.floats(0, 3.1), shear=st.floats(0, 0.2), shift=st.floats(0, 0.3), elastic=st.floats(0, 0.02),
    mirror=st.sampled_from([(), ("rows",), ("columns",), ("rows", "columns")]), shared=st.booleans(),
)  # fmt: skip
"""Settings that move the pixels, as far as any preset does or further, and change no intensity."""
SIDES, SEEDS = st.integers(24, 72), st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(MOVES, SIDES, SIDES, SEEDS)
def test_labels_move_as_the_image_does(how: ViewSettings, high: int, wide: int, seed: int) -> None:
    """Where a view shows one structure alone its label is that structure's, and outside the slice it is background."""
    rows, columns = torch.meshgrid(torch.arange(high) * 3 // high, torch.arange(wide) * 3 // wide, indexing="ij")
    labels = (1 + rows + 3 * columns).expand(2, high, wide)
    shades = torch.nn.functional.one_hot(labels, 10).movedim(-1, 1).float()  # [2, 10, H, W], one picture for each structure
    pairs = [views(shade[:, None], labels, how, 2, seeded(seed)) for shade in shades.unbind(1)]
    alone = torch.stack([pair.images[:, :, 0] for pair in pairs])  # [10, 2, 2, H, W], what each structure gives to a pixel
    assert all(torch.equal(pair.labels, pairs[0].labels) for pair in pairs) and set(pairs[0].labels.unique().tolist()) <= set(range(10))
    sure = alone.amax(0) > 0.999
    assert torch.equal(alone.argmax(0)[sure], pairs[0].labels[sure])
    assert (pairs[0].labels[alone.sum(0) < 0.001] == 0).all() and (alone.sum(0)[pairs[0].labels > 0] > 0.2).all()


@settings(max_examples=40, deadline=None)
@given(MOVES, SIDES, SIDES, SEEDS)
def test_a_warp_undone_is_where_it_began(how: ViewSettings, high: int, wide: int, seed: int) -> None:
    warp = draw_warp(how, (2, 2), (high, wide), seeded(seed), CPU)
    if warp is None:
        return
    back = invert(warp, 1, warp.sources()[:, 1])
    assert (back - centred_pixels((high, wide), CPU)).abs().max() < 0.1


@settings(max_examples=40, deadline=None)
@given(MOVES, SIDES, SIDES, SEEDS)
def test_corresponding_pixels_come_from_one_place(how: ViewSettings, high: int, wide: int, seed: int) -> None:
    """Each pixel of view 0, followed into view 1 and read there, shows the place of the slice that it showed in view 0."""
    pair = views(torch.zeros(2, 1, high, wide), None, how, 2, seeded(seed))
    there, centre = correspondence(pair, 0, 1), torch.tensor([high / 2, wide / 2])
    if pair.warp is None:
        assert torch.equal(there[0], centred_pixels((high, wide), CPU).movedim(0, -1) + centre - 0.5)
        return
    first, second = pair.warp.sources().unbind(1)
    grid = ((there.nan_to_num(-99) + 0.5) / centre - 1).flip(-1)
    found = torch.nn.functional.grid_sample(second, grid, align_corners=False, padding_mode="border")
    inner = ((there > 0) & (there < 2 * centre - 1)).all(-1)
    assert (found - first).abs().amax(1)[inner].max() < 0.2 if inner.any() else True
    kept = ~there[..., 0].isnan()
    assert (first.movedim(1, -1)[kept].abs() <= centre).all() and (there[kept] >= -0.5).all() and (there[kept] <= 2 * centre - 0.5).all()


def test_settings_that_move_nothing_have_no_warp() -> None:
    assert draw_warp(IDENTITY, (2, 2), (9, 9), None, CPU) is None


def test_spline_weights_sum_to_one_and_reproduce_the_lattice() -> None:
    for size, knots in ((64, 6), (17, 1), (5, 9)):
        assert torch.allclose(spline_weights(size, knots, CPU).sum(1), torch.ones(size), atol=1e-6)
    drawn = draw_spline(lattice((20, 30), 4, CPU), (20, 30))
    assert torch.allclose(drawn[0, :, 0], torch.arange(20.0) - 9.5, atol=1e-5)
    assert torch.allclose(drawn[1, 0], torch.arange(30.0) - 14.5, atol=1e-5)


def test_a_turned_lattice_turns_the_slice() -> None:
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    control = torch.einsum("ij,jkl->ikl", quarter, lattice((32, 32), 6, CPU))
    warp = Warp(quarter[None, None], torch.zeros(1, 1, 2), control[None, None], (32, 32))
    slices = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sample(slices, warp.grid())[:, 0], torch.rot90(slices, -1, (1, 2)), atol=1e-4)
