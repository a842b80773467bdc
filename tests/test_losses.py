"""The losses against the formulas written densely in float64, against peers, and in every degenerate case."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import ContrastiveLoss
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch.nn.functional import normalize

from semicon_nb.losses import (
    global_contrastive_loss,
    local_contrastive_loss,
    mean_positive,
    supervised_local_contrastive_loss,
)
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, RandomSampling

STRATEGIES = [
    FullResolution(),
    FullResolution(per_image=True),
    Downsampling(2),
    Downsampling(3, per_image=True),
    BlockDivision(4),
    BlockDivision(3, per_image=True),
    RandomSampling(90, False),
    RandomSampling(90, True),
]


def batch(images=2, views=2, channels=5, high=9, wide=7, classes=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, views, channels, high, wide, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return features, torch.randint(0, classes + 1, (images, views, high, wide), generator=generator)


def formula(unit, labels, t, form, background=True, weight=None):
    """The mean over anchors, term by term as method.md prints it; None where no pixel is an anchor."""
    kept = labels >= 0 if background else labels > 0
    unit, labels = unit[kept], labels[kept]
    weight = torch.ones_like(labels, dtype=unit.dtype) if weight is None else weight[kept].to(unit.dtype)
    exps = (unit @ unit.T / t).exp() * weight
    terms, shares = [], []
    for i in range(len(labels)):
        others = torch.arange(len(labels)) != i
        positive, negative = others & (labels == labels[i]), labels != labels[i]
        if labels[i] == 0 or not positive.any() or (form == "printed" and not negative.any()):
            continue
        if form == "supcon":
            terms.append(-(exps[i][positive] / weight[positive] / exps[i][others].sum()).log().mean())
        else:
            count = positive.sum() if (weight == 1).all() else weight[positive].sum() + weight[i] - 1
            terms.append(-(exps[i][positive].sum() / exps[i][negative].sum()).log() / count)
        shares.append(weight[i])
    return (torch.stack(terms) * torch.stack(shares)).sum() / sum(shares) if terms else None


def reference(features, labels, t=0.1, strategy=STRATEGIES[0], form="supcon", background=True):
    """The loss of each group by its formula, averaged over the groups that hold an anchor."""
    unit = normalize(features.movedim(2, -1).flatten(0, 3), dim=1)
    losses = []
    for groups in strategy.groups(labels, tuple(labels.shape)):
        weights = [None] * len(groups.index) if groups.weight is None else groups.weight
        for index, weight in zip(groups.index, weights, strict=True):
            losses.append(formula(unit[index], labels.flatten()[index], t, form, background, weight))
    losses = [loss for loss in losses if loss is not None]
    return torch.stack(losses).mean()


def relative(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def assert_same(found, expected, features, tolerance=1e-12):
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    gradients = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in (found, expected)]
    assert relative(*gradients) < tolerance


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("form", ["supcon", "printed"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_every_strategy_equals_the_formula(strategy, form, background):
    features, labels = batch()
    found = supervised_local_contrastive_loss(features, labels, 0.1, strategy, form, background)
    assert_same(found, reference(features, labels, 0.1, strategy, form, background), features)


@pytest.mark.parametrize("strategy", STRATEGIES[:6], ids=str)
@pytest.mark.parametrize("views", [2, 3])
def test_self_supervised_equals_the_formula(strategy, views):
    features, labels = batch(views=views, high=6, wide=5)
    places = torch.arange(1, 61).view(2, 1, 6, 5).expand(-1, views, -1, -1)
    assert_same(local_contrastive_loss(features, 0.1, strategy), reference(features, places, 0.1, strategy), features)


@pytest.mark.parametrize("form", ["supcon", "printed"])
def test_gradcheck(form):
    features, labels = batch(1, 2, 3, 4, 3, 2)
    assert torch.autograd.gradcheck(lambda f: supervised_local_contrastive_loss(f, labels, 0.4, form=form), features)
    assert torch.autograd.gradcheck(lambda f: supervised_local_contrastive_loss(f, labels, 0.4, BlockDivision(3), form), features)
    assert torch.autograd.gradcheck(lambda f: local_contrastive_loss(f, 0.4), features)


def test_equals_pytorch_metric_learning_supcon():
    features, labels = batch()
    rows = features.movedim(2, -1).flatten(0, 3)
    foreground = labels.clamp(min=1)
    assert_same(
        supervised_local_contrastive_loss(features, foreground, 0.1), SupConLoss(temperature=0.1)(rows, foreground.flatten()), features
    )
    alone = torch.where(labels == 0, 1000 + torch.arange(labels.numel()).view(labels.shape), labels)
    assert_same(supervised_local_contrastive_loss(features, labels, 0.1), SupConLoss(temperature=0.1)(rows, alone.flatten()), features)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_global_equals_pytorch_metric_learning_and_monai(temperature):
    z1, z2 = torch.randn(2, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind()
    z1, z2 = z1.detach().requires_grad_(), z2.detach()
    found = global_contrastive_loss(z1, z2, temperature)
    names = torch.arange(20).repeat(2)
    assert_same(found, NTXentLoss(temperature)(torch.cat([z1, z2]), names), z1)
    assert_same(global_contrastive_loss(z1, z2, temperature), ContrastiveLoss(temperature)(z1, z2), z1, 1e-6)
    assert global_contrastive_loss(z1, z2).item() == global_contrastive_loss(z1, z2, 0.5).item()


def test_released_form_with_views_equals_global_loss_for_one_pixel():
    features, _ = batch(6, 2, 5, 1, 1)
    assert_same(
        local_contrastive_loss(features, 0.3), global_contrastive_loss(features[:, 0, :, 0, 0], features[:, 1, :, 0, 0], 0.3), features
    )


def test_printed_form_nearly_vanishes():
    features, labels = batch(2, 2, 16, 24, 24, 2)
    printed, released = (supervised_local_contrastive_loss(features, labels, form=form).item() for form in ("printed", "supcon"))
    assert abs(printed) < 0.02 and released > 5


# Degenerate input


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@pytest.mark.parametrize("form", ["supcon", "printed"])
@pytest.mark.parametrize("background", [True, False])
def test_all_background_is_zero_with_a_graph_and_zero_gradients(strategy, form, background):
    features, labels = batch(dtype=torch.float32)
    loss = supervised_local_contrastive_loss(features, labels * 0, 0.1, strategy, form, background)
    loss.backward()
    assert loss.item() == 0 and loss.requires_grad and (features.grad == 0).all()


def test_an_anchor_without_a_positive_is_left_out_but_stays_a_key():
    features, labels = batch()
    lonely = labels.clone()
    lonely[0, 0, 0, 0] = 77
    background = labels.clone()
    background[0, 0, 0, 0] = 0
    assert_same(supervised_local_contrastive_loss(features, lonely), supervised_local_contrastive_loss(features, background), features)
    assert_same(supervised_local_contrastive_loss(features, lonely), reference(features, lonely), features)


def test_single_class():
    features, labels = batch()
    one = torch.ones_like(labels)
    assert_same(supervised_local_contrastive_loss(features, one), reference(features, one), features)
    printed = supervised_local_contrastive_loss(features, one, form="printed")
    printed.backward()
    assert printed.item() == 0 and (features.grad == 0).all()


@pytest.mark.parametrize("views, expected", [(1, 0.0), (2, 0.0)])
def test_one_pixel(views, expected):
    features, _ = batch(1, views, 4, 1, 1)
    labels = torch.ones(1, views, 1, 1, dtype=torch.int64)
    for loss in (
        supervised_local_contrastive_loss(features, labels),
        local_contrastive_loss(features),
        supervised_local_contrastive_loss(features, labels, strategy=Downsampling(9)),
    ):
        assert loss.item() == pytest.approx(expected, abs=1e-12)
        assert torch.autograd.grad(loss, features)[0].abs().max() < 1e-12


def test_one_image_has_no_negatives():
    z1 = torch.randn(1, 5, requires_grad=True)
    loss = global_contrastive_loss(z1, torch.randn(1, 5))
    assert loss.item() == pytest.approx(0, abs=1e-5) and torch.autograd.grad(loss, z1)[0].isfinite().all()


def test_one_view_has_no_positives():
    features, _ = batch(views=1)
    loss = local_contrastive_loss(features)
    loss.backward()
    assert loss.item() == 0 and (features.grad == 0).all()


@pytest.mark.parametrize("form", ["supcon", "printed"])
@pytest.mark.parametrize("temperature", [0.003, 0.01, 0.012, 0.0141, 5.0])
def test_extreme_temperatures(temperature, form):
    features, labels = batch(dtype=torch.float32)
    loss = supervised_local_contrastive_loss(features, labels, temperature, form=form)
    double = features.detach().double().requires_grad_()
    expected = supervised_local_contrastive_loss(double, labels, temperature, form=form)
    found, exact = torch.autograd.grad(loss, features)[0], torch.autograd.grad(expected, double)[0]
    assert loss.isfinite() and found.isfinite().all()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5) and relative(found, exact) < 2e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_summed_in_float32(dtype):
    features, labels = batch(dtype=dtype)
    loss = supervised_local_contrastive_loss(features, labels)
    (gradient,) = torch.autograd.grad(loss, features)
    exact = features.detach().double().requires_grad_()
    expected = supervised_local_contrastive_loss(exact, labels)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert relative(gradient, torch.autograd.grad(expected, exact)[0]) < (1e-2 if dtype == torch.bfloat16 else 2e-3)
    assert local_contrastive_loss(features).isfinite() and global_contrastive_loss(features[0, 0, 0], features[0, 1, 0]).isfinite()


@pytest.mark.parametrize("rank", [5, 2])
def test_autocast_changes_nothing(rank):
    features, labels = batch(2, 2, 5, 20, 20, dtype=torch.float32)
    with torch.no_grad():
        features[:, :, rank:] = 0
    plain = supervised_local_contrastive_loss(features, labels)
    expected = torch.autograd.grad(plain, features)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss = supervised_local_contrastive_loss(features, labels)
        inside = torch.autograd.grad(loss, features, retain_graph=True)[0]
    assert loss.dtype == torch.float32 and loss.item() == plain.item()
    assert torch.equal(torch.autograd.grad(loss, features)[0], expected) and torch.equal(inside, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.bool])
def test_labels_of_any_integer_type(dtype):
    features, labels = batch(classes=1)
    assert (
        supervised_local_contrastive_loss(features, labels.to(dtype)).item() == supervised_local_contrastive_loss(features, labels).item()
    )


def test_class_numbers_may_be_large():
    features, labels = batch()
    assert supervised_local_contrastive_loss(features, labels * 10**15).item() == pytest.approx(
        supervised_local_contrastive_loss(features, labels).item()
    )


def test_memory_layout_of_the_features_does_not_matter():
    features, labels = batch()
    turned = features.detach().transpose(3, 4).contiguous().transpose(3, 4)
    assert supervised_local_contrastive_loss(turned, labels).item() == supervised_local_contrastive_loss(features, labels).item()


@pytest.mark.parametrize("strategy", [Downsampling(50), BlockDivision(50)], ids=str)
def test_a_stride_or_block_larger_than_the_image_is_the_right_answer(strategy):
    features, labels = batch()
    labels[:, :, 0, 0] = 1
    assert_same(
        supervised_local_contrastive_loss(features, labels, strategy=strategy), reference(features, labels, strategy=strategy), features
    )


# Bad input


def with_nan(value):
    features, labels = batch()
    with torch.no_grad():
        features[0, 0, 0, 3, 3] = value
    return features, labels


@pytest.mark.parametrize("value, words", [(math.nan, "1 NaN and 0 infinite"), (math.inf, "0 NaN and 1 infinite")])
def test_numbers_that_are_not_finite_are_named(value, words):
    features, labels = with_nan(value)
    for call in (
        lambda: supervised_local_contrastive_loss(features, labels),
        lambda: supervised_local_contrastive_loss(features, labels * 0),
        lambda: local_contrastive_loss(features, strategy=Downsampling(2)),
    ):
        with pytest.raises(ValueError, match=f"features: found {words}"):
            call()
    with pytest.raises(ValueError, match=f"z2: found {words}"):
        global_contrastive_loss(torch.ones(9, 7), features[0, 0, 0].float())


FEATURES, LABELS = batch(dtype=torch.float32)


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"features": FEATURES[0]}, ValueError, r"features: found shape \[2, 5, 9, 7\], expected \[B, V, C, H, W\]"),
        ({"features": FEATURES[:0]}, ValueError, r"features: found shape \[0, "),
        ({"features": FEATURES.detach().numpy()}, TypeError, "features: found ndarray"),
        ({"features": LABELS[:, :, None]}, TypeError, "features: found torch.int64"),
        ({"labels": LABELS[:, :, :8]}, ValueError, r"labels: found shape \[2, 2, 8, 7\], expected \[2, 2, 9, 7\]"),
        ({"labels": LABELS.float()}, TypeError, "labels: found torch.float32, expected an integer"),
        ({"labels": LABELS.numpy()}, TypeError, "labels: found ndarray"),
        ({"labels": LABELS - 2}, ValueError, "labels: found -2"),
        ({"temperature": 0}, ValueError, "temperature: found 0"),
        ({"temperature": -0.1}, ValueError, "temperature: found -0.1"),
        ({"temperature": math.nan}, ValueError, "temperature: found nan"),
        ({"temperature": "warm"}, TypeError, "temperature: found str"),
        ({"form": "paper"}, ValueError, "form: found 'paper'"),
        ({"strategy": "stride"}, TypeError, "strategy: found 'stride'"),
        ({"strategy": Downsampling}, TypeError, "strategy: found"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    with pytest.raises(error, match=words):
        supervised_local_contrastive_loss(**{"features": FEATURES, "labels": LABELS} | change)


def test_bad_arguments_of_the_global_loss_are_named():
    with pytest.raises(ValueError, match=r"z2: found .*\[3, 4\], expected .*\[2, 4\]"):
        global_contrastive_loss(torch.ones(2, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"z1: found shape \[4\]"):
        global_contrastive_loss(torch.ones(4), torch.ones(4))
    with pytest.raises(ValueError, match="temperature"):
        global_contrastive_loss(torch.ones(2, 4), torch.ones(2, 4), 0)
    with pytest.raises(TypeError, match="strategy"):
        local_contrastive_loss(FEATURES, strategy=4)


# Properties

shapes = st.tuples(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(0, 3), st.integers(0, 10**6)
)
quick = settings(max_examples=30, deadline=None)


@quick
@given(shapes, st.sampled_from(["supcon", "printed"]))
def test_order_of_images_views_and_places_does_not_matter(shape, form):
    features, labels = batch(*shape)
    turned = [x.flip(0).flip(1).flip(-1).transpose(-1, -2) for x in (features, labels)]
    assert supervised_local_contrastive_loss(*turned, form=form).item() == pytest.approx(
        supervised_local_contrastive_loss(features, labels, form=form).item(), abs=1e-12
    )


@quick
@given(shapes, st.floats(1e-6, 1e6))
def test_length_of_an_embedding_does_not_matter(shape, factor):
    features, labels = batch(*shape)
    lengths = torch.rand(features[:, :, :1].shape, dtype=torch.float64) + 0.5
    found = supervised_local_contrastive_loss(features * factor * lengths, labels)
    assert found.item() == pytest.approx(supervised_local_contrastive_loss(features, labels).item(), abs=1e-10)


@quick
@given(shapes)
def test_names_of_the_classes_do_not_matter(shape):
    features, labels = batch(*shape)
    renamed = torch.tensor([0, 9, 4, 7])[labels]
    assert supervised_local_contrastive_loss(features, renamed).item() == pytest.approx(
        supervised_local_contrastive_loss(features, labels).item(), abs=1e-12
    )


@quick
@given(shapes, st.sampled_from(["supcon", "printed"]), st.booleans())
def test_strategies_that_keep_everything_agree(shape, form, background):
    features, labels = batch(*shape)
    whole = supervised_local_contrastive_loss(features, labels, form=form, background=background).item()
    for strategy in (BlockDivision(7), Downsampling(1), RandomSampling(10**6, False), RandomSampling(10**6, True)):
        assert supervised_local_contrastive_loss(features, labels, 0.1, strategy, form, background).item() == pytest.approx(
            whole, abs=1e-12
        )


@quick
@given(shapes)
def test_per_image_is_the_mean_over_the_images_that_hold_an_anchor(shape):
    features, labels = batch(*shape)
    for strategy, alone in ((FullResolution(per_image=True), FullResolution()), (Downsampling(2, per_image=True), Downsampling(2))):
        found = supervised_local_contrastive_loss(features, labels, strategy=strategy).item()
        each = [supervised_local_contrastive_loss(features[b : b + 1], labels[b : b + 1], strategy=alone) for b in range(len(labels))]
        held = [loss.item() for loss, image in zip(each, labels, strict=False) if strategy.cost(image[None], 4).anchors]
        assert found == pytest.approx(sum(held) / max(len(held), 1), abs=1e-12)


@quick
@given(shapes)
def test_rotating_all_embeddings_does_not_matter(shape):
    features, labels = batch(*shape)
    turn, _ = torch.linalg.qr(torch.randn(features.shape[2], features.shape[2], dtype=torch.float64))
    turned = torch.einsum("bvchw,cd->bvdhw", features, turn)
    assert supervised_local_contrastive_loss(turned, labels).item() == pytest.approx(
        supervised_local_contrastive_loss(features, labels).item(), abs=1e-10
    )


def test_float32_at_full_size_is_close_to_float64():
    features, labels = batch(1, 2, 64, 40, 40, 2, dtype=torch.float32)
    double = features.detach().double().requires_grad_()
    found, expected = supervised_local_contrastive_loss(features, labels), supervised_local_contrastive_loss(double, labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert relative(torch.autograd.grad(found, features)[0], torch.autograd.grad(expected, double)[0]) < 2e-5


class Weighing(FullResolution):
    """All pixels, of which those of one class stand for none."""

    def groups(self, labels, shape):
        return tuple(replace(one, weight=(labels.flatten()[one.index] != 1).double()) for one in super().groups(labels, shape))


@pytest.mark.parametrize("form", ["supcon", "printed"])
def test_pixels_that_stand_for_none_have_no_loss(form):
    features, labels = batch(1, 1, 8, 6, 6, 3, dtype=torch.float64)
    for name in (labels, torch.ones_like(labels)):
        found = supervised_local_contrastive_loss(features, name, strategy=Weighing(), form=form)
        gradient = torch.autograd.grad(found, features)[0]
        assert found.isfinite() and gradient.isfinite().all()
    assert found == 0 and not gradient.any()


def test_extremes_of_shape_temperature_scale_weight_and_type_agree_with_dense_float64(monkeypatch):
    """A short form of `python benchmarks/torture_loss.py`, which tries ten thousand."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "benchmarks"))
    from torture_loss import figures

    found = figures(400, seed=1)
    assert found["outside"] == 0, found["first"]
    assert found["worst"].keys() == {"float32", "float64", "bfloat16", "float16"}


def test_the_mean_over_positives_keeps_its_digits_at_half_a_million_pixels():
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(1, 8) + 0.3 * torch.randn(500_000, 8), dim=1)[None].requires_grad_()
    label = torch.ones(1, 500_000, dtype=torch.int64)
    share = torch.full((1, 500_000), 1 / 500_000)
    found = mean_positive(unit, label, share, 0.1)
    double = unit.detach().double().requires_grad_()
    total = double[0].sum(0)
    wanted = (total.square().sum() - double.square().sum()) / 499_999 / 500_000 / 0.1
    assert abs(found.item() / wanted.item() - 1) < 1e-6
    gradients = [torch.autograd.grad(value, rows)[0].double() for value, rows in ((found, unit), (wanted, double))]
    assert ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item() < 1e-5
