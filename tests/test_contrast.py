"""The sums over pairs against a dense matrix, finite differences and scaled dot-product attention."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize, scaled_dot_product_attention

from semicon_nb.contrast import UnitRows, enough_float32, log_pair_sums, low_rank_basis, over_threads, stacked_tiles, threads_for, tiles


def unit_rows(groups, rows, channels, seed=0, dtype=torch.float64):
    values = torch.randn(groups, rows, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(values, dim=2).to(dtype).requires_grad_()


def dense_sums(unit, temperature, weight=None, classes=None):
    """[kinds, G, M] by writing the whole matrix out in the precision of `unit`."""
    similarity = unit @ unit.mT / temperature
    similarity = similarity.masked_fill(torch.eye(unit.shape[1], dtype=torch.bool), -math.inf)
    if weight is not None:
        similarity = similarity + weight.log()[:, None]
    if classes is None:
        return similarity.logsumexp(2)[None]
    same = classes[:, :, None] == classes[:, None]
    return torch.stack([similarity.masked_fill(~same, -math.inf).logsumexp(2), similarity.masked_fill(same, -math.inf).logsumexp(2)])


def relative(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@given(rows=st.integers(0, 40), anchors=st.integers(0, 40), size=st.integers(1, 50))
def test_tiles_meet_every_pair_with_an_anchor_once(rows, anchors, size):
    anchors = min(anchors, rows)
    met = torch.zeros(rows, rows, dtype=torch.int64)
    for i, j in tiles(rows, anchors, size):
        met[i, j] += 1
        if i != j:
            met[j, i] += 1
    assert (met[:anchors] == 1).all() and (met[:, :anchors] == 1).all() and (met[anchors:, anchors:] == 0).all()


@given(
    extents=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)).map(lambda e: (max(e), min(e))), min_size=1, max_size=12),
    size=st.integers(1, 40),
)
def test_stacks_hold_every_group_and_all_of_it(extents, size):
    met = torch.zeros(len(extents), 30, 30, dtype=torch.int64)
    for part, i, j in stacked_tiles(tuple(extents), size):
        met[part, i, j] += 1
    for seen, (rows, anchors) in zip(met, extents, strict=False):
        triangle = torch.ones(rows, rows).triu().bool()[:anchors]
        assert (seen[:anchors, :rows][triangle] == 1).all()


@pytest.mark.parametrize("size", [1, 7, 16, 64, 576])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kinds", [1, 2])
def test_value_and_gradient_equal_dense_float64(size, weighted, kinds):
    unit = unit_rows(3, 37, 6)
    weight = torch.rand(3, 37, dtype=torch.float64) + 0.1 if weighted else None
    classes = (torch.arange(37) // 10).expand(3, -1) if kinds == 2 else None
    extents = ((37, 20), (37, 37), (37, 5))
    upstream = torch.randn(kinds, 3, 37, dtype=torch.float64)
    for group, (_, anchors) in enumerate(extents):
        upstream[:, group, anchors:] = 0
    found = log_pair_sums(unit, 0.1, extents, weight, classes, size)
    expected = dense_sums(unit, 0.1, weight, classes)
    used = upstream != 0
    assert (found[used] - expected[used]).abs().max() < 1e-13
    gradients = [torch.autograd.grad(sums, unit, torch.where(used, upstream, 0))[0] for sums in (found, expected)]
    assert relative(*gradients) < 1e-13


def test_gradcheck():
    unit = unit_rows(2, 9, 4)
    classes = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]]).expand(2, -1)
    weight = torch.rand(2, 9, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(lambda u: log_pair_sums(u, 0.3, None, weight, classes, 4), unit)
    raw = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 3, 5, -1], [7, 1, 2, 11]])
    assert torch.autograd.gradcheck(lambda rows: UnitRows.apply(rows, index), raw)


def attention_log_sums(unit, temperature):
    """Logarithms of the sums read off attention: a value column that is 1 for the key itself gives exp(s_ii) / sum."""
    rows = unit.shape[0]
    share = scaled_dot_product_attention(unit[None], unit[None], torch.eye(rows, dtype=unit.dtype)[None], scale=1 / temperature)[
        0
    ].diagonal()
    everything = (unit * unit).sum(1) / temperature - share.log()
    return everything + torch.log1p(-share)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_an_oracle_through_attention(temperature):
    unit = unit_rows(1, 300, 16)
    found = log_pair_sums(unit, temperature)[0, 0]
    expected = attention_log_sums(unit[0], temperature)
    assert (found - expected).abs().max() < 1e-9
    gradients = [torch.autograd.grad(sums.mean(), unit, retain_graph=True)[0] for sums in (found, expected)]
    assert relative(*gradients) < 1e-8


@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.07, 0.02, 0.0141, 0.01, 0.003])
def test_float32_is_close_to_float64_at_any_temperature(temperature):
    double = unit_rows(1, 900, 32, dtype=torch.float32).double().detach().requires_grad_()
    with torch.no_grad():
        double[0, 1] = double[0, 0]
    single = double.detach().float().requires_grad_()
    found, expected = log_pair_sums(single, temperature), dense_sums(double, temperature)
    assert found.dtype == torch.float32 and relative(found.mean(), expected.mean()) < 1e-6
    gradients = [torch.autograd.grad(sums.mean(), rows)[0] for sums, rows in ((found, single), (expected, double))]
    assert relative(*gradients) < (2e-5 if temperature > 0.05 else 1e-4)


def test_worst_case_stays_finite_where_float32_is_used():
    temperature = 1 / (71.9 - math.log(500))
    assert enough_float32(temperature, 500) and not enough_float32(temperature, 5000)
    unit = torch.zeros(1, 500, 4)
    unit[..., 0] = 1
    unit[0, 250:, 0] = -1
    unit.requires_grad_()
    found = log_pair_sums(unit, temperature)
    (gradient,) = torch.autograd.grad(found.mean(), unit)
    assert torch.allclose(found, torch.full_like(found, 1 / temperature + math.log(249)), rtol=1e-6) and gradient.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(2, 60), first=st.integers(1, 70), second=st.integers(1, 70))
def test_tile_size_does_not_matter(seed, rows, first, second):
    unit = unit_rows(2, rows, 5, seed)
    one, other = (log_pair_sums(unit, 0.2, size=size) for size in (first, second))
    assert torch.allclose(one, other, rtol=1e-13, atol=0)


def test_one_row_has_no_other():
    assert log_pair_sums(unit_rows(1, 1, 3), 0.1).item() == -math.inf


@pytest.mark.parametrize("rank", [3, 17])
def test_rank_compression_is_certified(rank):
    generator = torch.Generator().manual_seed(rank)
    rows = torch.randn(1, 1200, rank, generator=generator) @ torch.randn(rank, 64, generator=generator)
    unit = normalize(rows, dim=2)
    basis = low_rank_basis(unit)
    assert basis.shape == (64, rank)
    assert (unit - unit @ basis @ basis.T).norm(dim=2).max() < 2e-6
    noisy = normalize(unit + 1e-4 * torch.randn(unit.shape, generator=generator), dim=2)
    assert low_rank_basis(noisy) is None
    one_outside = unit.clone()
    one_outside[0, 7] = normalize(torch.randn(64, generator=generator), dim=0)
    found = low_rank_basis(one_outside)
    assert found is None or found.shape[1] == rank + 1
    hardly_outside = unit.clone()
    hardly_outside[0, 7] = normalize(unit[0, 7] + 1e-5 * normalize(torch.randn(64, generator=generator), dim=0), dim=0)
    assert low_rank_basis(hardly_outside) is None


def test_compressed_value_and_gradient_equal_dense_float64():
    rows = torch.randn(1200, 17, generator=torch.Generator().manual_seed(1)) @ torch.randn(
        17, 64, generator=torch.Generator().manual_seed(2)
    )
    raw = rows.requires_grad_()
    everything = torch.arange(1200)[None]
    assert low_rank_basis(UnitRows.apply(raw, everything)) is not None
    (found,) = torch.autograd.grad(log_pair_sums(UnitRows.apply(raw, everything), 0.1).mean(), raw)
    double = raw.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(dense_sums(normalize(double, dim=1)[None], 0.1).mean(), double)
    assert relative(found, expected) < 2e-5


def test_a_row_of_length_zero_gets_no_gradient():
    raw = torch.randn(6, 3, requires_grad=True)
    with torch.no_grad():
        raw[2] = 0
    unit = UnitRows.apply(raw, torch.arange(6)[None])
    (gradient,) = torch.autograd.grad(log_pair_sums(unit, 0.1).mean(), raw)
    assert (unit[0, 2] == 0).all() and (gradient[2] == 0).all() and gradient.isfinite().all()


@pytest.mark.parametrize(
    "temperature, error",
    [
        (0, ValueError),
        (-1.0, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (0.001, ValueError),
        ("0.1", TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_a_bad_temperature_is_named(temperature, error):
    with pytest.raises(error, match="temperature: found"):
        log_pair_sums(unit_rows(1, 4, 2), temperature)


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_threads_share_the_tiles_and_give_the_same_bits_each_time(four_threads):
    torch.manual_seed(0)
    unit = normalize(torch.randn(2, 90, 6, dtype=torch.float64), dim=2)
    extents, weight, classes = ((90, 70), (80, 80)), torch.rand(2, 90).double(), torch.randint(0, 3, (2, 90))
    assert threads_for(unit, extents, 8) == 4 and threads_for(unit, extents, 90) == 1

    def both(threads):
        torch.set_num_threads(threads)
        rows = unit.clone().requires_grad_()
        logs = log_pair_sums(rows, 0.2, extents, weight, classes, size=8)
        (gradient,) = torch.autograd.grad((logs[:, :, :70] * torch.linspace(0.5, 1, 70)).sum(), rows)
        assert torch.get_num_threads() == threads
        return logs.detach(), gradient

    alone, shared, again = both(1), both(4), both(4)
    for one, other, same in zip(alone, shared, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        assert torch.equal(other, same)


def test_a_thread_that_fails_leaves_the_number_of_threads_as_it_was(four_threads):
    def part(turn):
        if turn[0] == 2:
            raise RuntimeError("no memory")
        return torch.zeros(3)

    with pytest.raises(RuntimeError, match="no memory"):
        over_threads(part, 4)
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(
    ("change", "found"),
    [(lambda u: u.half(), "torch.float16"), (lambda u: u.bfloat16(), "torch.bfloat16"), (lambda u: u.tolist(), "list"),
     (lambda u: u[0], r"shape \[9, 4\]"), (lambda u: 10 * u, "a row of length 10"), (lambda u: u / 0, "a row of length inf")],
)  # fmt: skip
def test_rows_whose_sums_would_overflow_are_refused(change, found):
    """In half precision, or of length 10, the sums were infinite, and nobody was told."""
    with pytest.raises((TypeError, ValueError), match=f"unit: found {found}, expected"):
        log_pair_sums(change(unit_rows(2, 9, 4)), 0.1)
