"""Warps: a spline that reproduces its lattice, and a slice that is read where the warp says."""

import torch

from semicon_nb.warps import Warp, draw_spline, lattice, sample, spline_weights

CPU = torch.device("cpu")


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
