"""The measurement of gradients: right by construction, intervals, and the figure drawn from the committed results."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.gradient import follow, interval, summarise
from semicon_nb.data import labelled_indices, phantom, split
from semicon_nb.gradient import CANDIDATES, FAMILIES, agreement, gradient_figure, measure_gradients
from semicon_nb.loop import STAGES
from semicon_nb.losses import supervised_local_contrastive_loss
from semicon_nb.strategies import Downsampling
from semicon_nb.train import allowed, pair_of
from semicon_nb.unet import UNet
from semicon_nb.views import Views


@pytest.fixture(scope="module")
def batch():
    cohort = phantom(subjects=6, size=16)
    shares = split(cohort, labelled=0.5, seed=0)
    plan = replace(STAGES["local"], steps=2, batch=3)
    torch.manual_seed(0)
    model = UNet(classes=3, width=4, depth=2, pixel_dim=8)
    return cohort, shares, plan, model, pair_of(allowed(cohort, shares, labelled_indices(cohort, shares), "labels"), plan, 0, 0)


def test_agreement_by_hand():
    cosine, ratio = agreement(torch.tensor([3.0, 4.0]), torch.tensor([8.0, 6.0]))
    assert cosine == pytest.approx(0.96) and ratio == pytest.approx(2.0)
    assert agreement(torch.tensor([1.0, 0.0]), torch.zeros(2)) == (0.0, 0.0)


@pytest.mark.parametrize("background", [True, False])
def test_gradients_are_those_of_the_whole_network(batch, background):
    _, _, plan, model, pair = batch
    found = {(row["family"], row["size"]): row for row in measure_gradients(model, pair, background=background)}
    weights = [w for part in (model.encoder, model.decoder, model.pixel_head) for w in part.parameters()]

    def whole(**settings):
        pixels = model.embed_pixels(pair.images.flatten(0, 1)).unflatten(0, (-1, 2))
        loss = supervised_local_contrastive_loss(pixels, pair.labels, background=background, **settings)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]), loss.item()

    (exact, _), (coarse, loss) = whole(), whole(strategy=Downsampling(2))
    row = found["stride", 2]
    assert (row["cosine"], row["ratio"]) == pytest.approx(agreement(exact, coarse), abs=1e-5)
    assert row["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["every pixel", None]["cosine"] == pytest.approx(1, abs=1e-6)
    assert found["block", 32]["cosine"] == pytest.approx(1, abs=1e-5)
    assert found["random, uniform", 4096]["cosine"] == pytest.approx(1, abs=1e-5)
    assert found["stride", 8]["pairs"] < found["stride", 2]["pairs"] < found["every pixel", None]["pairs"]


def test_following_measures_at_the_points_and_summarises(batch):
    cohort, shares, plan, _, _ = batch
    torch.manual_seed(1)
    runs = [follow(UNet(3, 4, depth=2), cohort, shares, plan, [0, 2], 2, seed) for seed in (0, 1)]
    rows = [{"cohort": "phantom", **row} for measured in runs for row in measured]
    assert len(rows) == 2 * 2 * 2 * 2 * len(CANDIDATES)
    summary = summarise(rows)
    assert len(summary) == 2 * 2 * len(CANDIDATES) and all(entry["n"] == 4 for entry in summary)
    assert all(entry["cosine_low"] <= entry["cosine"] <= entry["cosine_high"] for entry in summary)
    assert len(gradient_figure({"summary": summary}).data) == 2 * (2 + len(FAMILIES))


def test_intervals_cover_the_mean_and_grow_with_the_spread_between_seeds():
    within = interval(np.array([[0.1, 0.9, 0.5]] * 3))
    between = interval(np.array([[0.1] * 3, [0.9] * 3, [0.5] * 3]))
    assert within[0] == pytest.approx(0.5) and between[0] == pytest.approx(0.5)
    assert 0.1 <= between[1] < within[1] < 0.5 < within[2] < between[2] <= 0.9
    assert interval([[0.3]]) == pytest.approx((0.3, 0.3, 0.3))


def test_intervals_cover_about_95_per_cent():
    random, hits = np.random.default_rng(0), 0
    for _ in range(200):
        _, low, high = interval(random.normal(0, 1, (12, 1)) + random.normal(0, 1, (12, 4)), rounds=400)
        hits += low <= 0 <= high
    assert 0.86 <= hits / 200 <= 0.99


def test_the_committed_results_can_be_drawn(root):
    results = json.loads((root / "benchmarks" / "results" / "gradient.json").read_text())
    for background in (True, False):
        figure = gradient_figure(results, background)
        drawn = [value for trace in figure.data for value in (*trace.x, *trace.y)]
        assert drawn and all(math.isfinite(value) and value > 0 for value in drawn)
        words = " ".join(trace.name for trace in figure.data if trace.showlegend)
        assert "(n = 8, 4, 2)" in words and "(n = 256, 1,024, 4,096)" in words, "the legend tells the sizes, since numbers at points overlap"
    exact = [e for e in results["summary"] if e["family"] == "every pixel"]
    assert exact and all(e["cosine"] == 1 and e["ratio"] == 1 for e in exact)


def test_a_network_of_ones_own_is_measured_too():
    class Mine(torch.nn.Conv2d):
        def embed_pixels(self, images):
            return self(images)

    pair = Views(torch.rand(2, 2, 1, 16, 16), torch.randint(0, 3, (2, 2, 16, 16)), None)
    rows = measure_gradients(Mine(1, 4, 3, padding=1), pair)
    assert rows[0]["cosine"] == pytest.approx(1) and rows[0]["loss"] > 0
