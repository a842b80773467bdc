"""Strategies: which pixels meet, that pictures and costs agree with the losses, and errors by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicon_nb.contrast import tile_size
from semicon_nb.losses import local_contrastive_loss, supervised_local_contrastive_loss
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, RandomSampling, Strategy, pixel_grid, places

batches = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
strategies = st.one_of(
    st.builds(FullResolution, st.booleans()),
    st.builds(Downsampling, st.integers(1, 11), st.booleans()),
    st.builds(BlockDivision, st.integers(1, 11), st.booleans()),
    st.builds(RandomSampling, st.integers(1, 300), st.booleans(), st.integers(0, 99)),
)
quick = settings(max_examples=60, deadline=None)


def random_labels(shape, seed=0):
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed))


def members(strategy, labels):
    return torch.cat([batch.index.flatten() for batch in strategy.groups(labels, tuple(labels.shape))])


@quick
@given(strategies, batches)
def test_no_pixel_is_in_two_groups(strategy, shape):
    index = members(strategy, random_labels(shape))
    assert len(index.unique()) == len(index) and index.min() >= 0 and index.max() < random_labels(shape).numel()


@quick
@given(st.integers(1, 11), st.booleans(), batches)
def test_blocks_keep_every_pixel_and_are_blocks(size, per_image, shape):
    labels = random_labels(shape)
    strategy = BlockDivision(size, per_image)
    assert torch.equal(members(strategy, labels).sort().values, torch.arange(labels.numel()))
    for batch in strategy.groups(labels, shape):
        for group in batch.index:
            image, view, row, column = torch.unravel_index(group, shape)
            assert len((row // size).unique()) == len((column // size).unique()) == 1
            assert len(view.unique()) == shape[1] and len(image.unique()) == (1 if per_image else shape[0])


@quick
@given(st.integers(1, 11), batches)
def test_downsampling_keeps_every_stride_th_row_and_column(stride, shape):
    _, _, row, column = torch.unravel_index(members(Downsampling(stride), random_labels(shape)), shape)
    assert (row % stride == 0).all() and (column % stride == 0).all()
    assert len(row.unique()) == -(-shape[2] // stride) and len(column.unique()) == -(-shape[3] // stride)


@quick
@given(strategies, batches, st.booleans(), st.integers(0, 10**6))
def test_what_is_compared_is_where_the_gradient_goes(strategy, shape, background, seed):
    """No pixel gets a gradient that `compared` does not name for some anchor."""
    labels = random_labels(shape, seed)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(*shape[:2], 4, *shape[2:], dtype=torch.float64, generator=generator).requires_grad_()
    supervised_local_contrastive_loss(features, labels, 0.5, strategy, background=background).backward()
    moved = features.grad.abs().sum(2) > 1e-15
    seen = torch.zeros(shape, dtype=torch.bool)
    for anchor in (labels > 0).nonzero().tolist():
        seen |= strategy.compared(labels, tuple(anchor), background) > 0
    assert not (moved & ~seen).any()


@quick
@given(strategies, batches, st.booleans())
def test_costs_count_what_is_compared(strategy, shape, background):
    labels = random_labels(shape)
    cost = strategy.cost(labels, 8, background)
    pictures = [
        strategy.compared(labels, tuple(anchor), background)
        for anchor in torch.cartesian_prod(*(torch.arange(n) for n in shape)).view(-1, 4).tolist()
    ]
    assert cost.anchors == sum(bool((seen == 3).any()) for seen in pictures)
    assert cost.pairs == sum(int(((seen == 1) | (seen == 2)).sum()) for seen in pictures)


@quick
@given(strategies, batches)
def test_without_labels_positives_are_the_same_place(strategy, shape):
    index = strategy.groups(None, shape)[0].index
    anchor = tuple(int(k) for k in torch.unravel_index(index[0, 0], shape))
    seen = strategy.compared(shape, anchor)
    positives = (seen == 1).nonzero().tolist()
    expected = [[anchor[0], view, *anchor[2:]] for view in range(shape[1]) if view != anchor[1]]
    assert positives == (expected if shape[1] > 1 else [])
    assert strategy.cost(shape, 4).pixels == sum(batch.index.numel() for batch in strategy.groups(None, shape))


def test_compared_of_a_background_or_dropped_pixel_is_empty():
    labels = torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 0
    assert (FullResolution().compared(labels, (0, 0, 0, 0)) == 0).all()
    assert (Downsampling(2).compared(labels, (0, 0, 1, 1)) == 0).all()
    seen = FullResolution().compared(labels, (0, 0, 1, 1))
    assert seen[0, 0, 1, 1] == 3 and (seen == 1).sum() == 14 and seen[0, 0, 0, 0] == 2
    assert FullResolution().compared(labels, (0, 0, 1, 1), background=False)[0, 0, 0, 0] == 0


def test_a_balanced_sample_is_balanced_and_weighs_back():
    labels = torch.zeros(1, 2, 40, 40, dtype=torch.int64)
    labels[..., :10, :10] = 1
    labels[..., 30:33, :3] = 2
    (batch,) = RandomSampling(300).groups(labels, (1, 2, 40, 40))
    counts = torch.bincount(labels.flatten()[batch.index[0]])
    assert counts.tolist() == [141, 141, 18]
    for name in range(3):
        assert batch.weight[0][labels.flatten()[batch.index[0]] == name].sum().item() == pytest.approx(
            int((labels == name).sum()), rel=1e-5
        )


def test_samples_follow_the_seed():
    labels = random_labels((2, 2, 20, 20))
    first, again, other = (RandomSampling(100, seed=seed).groups(labels, (2, 2, 20, 20))[0].index for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(0)
    drawn = RandomSampling(100, seed=None)
    one, two = (drawn.groups(labels, (2, 2, 20, 20))[0].index for _ in range(2))
    assert not torch.equal(one, two)


def test_a_balanced_sample_is_closer_to_the_exact_gradient_than_a_stride_of_equal_cost():
    torch.manual_seed(0)
    labels = torch.zeros(2, 2, 48, 48, dtype=torch.int64)
    labels[..., 10:22, 8:20], labels[..., 26:34, 26:36] = 1, 2
    features = torch.randn(3, 16)[labels].movedim(-1, 2) + 0.7 * torch.randn(2, 2, 16, 48, 48)
    head = torch.randn(16, 16, requires_grad=True)

    def gradient(strategy):
        loss = supervised_local_contrastive_loss(torch.einsum("bvchw,cd->bvdhw", features, head), labels, strategy=strategy)
        return torch.autograd.grad(loss, head)[0].flatten()

    exact = gradient(FullResolution())
    stride, sample = (torch.cosine_similarity(gradient(strategy), exact, dim=0) for strategy in (Downsampling(4), RandomSampling(576)))
    assert sample > 0.97 and sample > stride


def test_self_supervised_samples_keep_whole_places():
    features = torch.randn(2, 3, 4, 10, 10, requires_grad=True)
    local_contrastive_loss(features, strategy=RandomSampling(30)).backward()
    moved = features.grad.abs().sum(2) > 0
    assert moved.sum() == 30 and (moved.all(1) == moved.any(1)).all()


def test_places_and_positions():
    assert places((2, 2, 1, 2)).tolist() == [[[[1, 2]], [[1, 2]]], [[[3, 4]], [[3, 4]]]]
    assert pixel_grid((1, 2, 1, 2)).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("make, name", [(Downsampling, "stride"), (BlockDivision, "size"), (RandomSampling, "pixels")])
def test_bad_counts_are_named(make, name):
    for value in (0, -3):
        with pytest.raises(ValueError, match=f"{name}: found {value}, expected"):
            make(value)
    for value in (1.5, "4", None, True):
        with pytest.raises(TypeError, match=f"{name}: found"):
            make(value)


def test_a_strategy_without_groups_says_so():
    with pytest.raises(NotImplementedError, match="Strategy has no groups"):
        Strategy().groups(None, (1, 1, 1, 1))


@quick
@given(strategies, batches, st.booleans())
def test_costs_are_those_of_what_meets(strategy, shape, background):
    """Eight numbers a channel for each pair that meets, from either side; dense code holds three matrices of four bytes a number."""
    labels = random_labels(shape)
    one, two = (strategy.cost(labels, channels, background) for channels in (8, 9))
    met = set()
    for anchor in (labels > 0).nonzero().tolist():
        here = torch.arange(labels.numel()).view(shape)[tuple(anchor)].item()
        others = ((seen := strategy.compared(labels, tuple(anchor), background)) > 0) & (seen < 3)
        met |= {frozenset((here, other)) for other in others.flatten().nonzero().flatten().tolist()}
    assert one.operations == 8 * len(met) * 8 and one.dense_bytes == 3 * 4 * one.pairs
    kept = members(strategy, labels)
    assert one.pixels == (len(kept) if background else int((labels.flatten()[kept] > 0).sum()))
    assert two.bytes - one.bytes == 7 * 4 * one.pixels and one.bytes - 8 * (two.bytes - one.bytes) == 2 * 4 * tile_size(labels.device) ** 2


def test_a_uniform_sample_is_drawn_from_everywhere():
    labels = torch.zeros(1, 1, 40, 40, dtype=torch.int64)
    drawn = [RandomSampling(100, balanced=False, seed=seed).groups(labels, (1, 1, 40, 40))[0] for seed in (*range(40), 0)]
    assert torch.equal(drawn[0].index, drawn[-1].index) and not torch.equal(drawn[0].index, drawn[1].index)
    quarters = torch.stack([batch.index.flatten() // 400 for batch in drawn[:40]]).flatten().bincount()
    assert quarters.sum() == 4000 and quarters.min() > 900 and quarters.max() < 1100 and drawn[0].weight is None


@pytest.mark.parametrize(
    ("labels", "found"),
    [(torch.rand(1, 2, 8, 8), "torch.float32"), (torch.zeros(2, 8, 8, dtype=torch.uint8), r"\[2, 8, 8\]"), ([1, 2, 8, 8], "list"), ((2, 8, 8), r"\[2, 8, 8\]")],
)
def test_labels_that_are_none_have_no_cost(labels, found):
    """Probabilities were cut to 0 and counted as background."""
    for ask in (lambda: Downsampling(2).cost(labels, 4), lambda: BlockDivision(4).compared(labels, (0, 0, 1, 1))):
        with pytest.raises((TypeError, ValueError), match=f"labels: found {found}, expected"):
            ask()
