"""The temperature explorer: its formulas are the loss's, and its page computes what Python computes."""

import json

import numpy as np
import pytest
import torch
from browser_tools import static_page  # noqa: F401

from semicon_nb.explore.temperature import (
    TEMPERATURES,
    TemperatureExplorer,
    attention,
    compact,
    facts,
    felt,
    forces,
    middle_anchor,
    nearest_stop,
    spread,
    told,
    unit,
)
from semicon_nb.losses import supervised_local_contrastive_loss


def a_slice() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.zeros((18, 22), np.int64)
    labels[3:12, 4:11], labels[8:16, 13:20] = 1, 2
    centres = rng.standard_normal((3, 12))
    features = np.moveaxis(centres[labels] + 0.8 * rng.standard_normal((*labels.shape, 12)), -1, 0).astype(np.float32)
    return rng.random(labels.shape, dtype=np.float32), labels, features


@pytest.fixture(scope="module")
def explorer() -> TemperatureExplorer:
    image, labels, features = a_slice()
    return TemperatureExplorer(image, labels, features=features)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_the_anchors_losses_average_to_the_librarys_loss(temperature):
    _, labels, features = a_slice()
    vectors = unit(features)
    mean = np.mean([felt(vectors, labels, tuple(map(int, place)), temperature).loss for place in np.argwhere(labels > 0)])
    wanted = supervised_local_contrastive_loss(
        torch.as_tensor(features)[None, None].double(), torch.as_tensor(labels)[None, None], temperature
    )
    assert mean == pytest.approx(wanted.item(), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_the_forces_are_the_gradient_of_the_loss(temperature):
    _, labels, features = a_slice()
    vectors, anchor = unit(features), (6, 6)
    found = felt(vectors, labels, anchor, temperature)
    similarity = torch.tensor(found.similarity, requires_grad=True)
    here = torch.zeros(labels.shape, dtype=torch.bool)
    here[anchor] = True
    positive = torch.as_tensor(labels == labels[anchor]) & ~here
    score = (similarity / temperature).masked_fill(here, -torch.inf)
    loss = score.flatten().logsumexp(0) - score[positive].mean()
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert np.allclose(found.force, similarity.grad.numpy(), atol=1e-12)
    assert found.weight.sum() == pytest.approx(1) and found.weight[anchor] == 0
    assert found.force.sum() == pytest.approx(0, abs=1e-9)


def test_a_low_temperature_listens_to_few_and_a_high_one_to_all():
    _, labels, features = a_slice()
    keys = [felt(unit(features), labels, (6, 6), t).keys for t in TEMPERATURES]
    assert keys == sorted(keys) and keys[0] < 30 and keys[-1] > 0.7 * labels.size
    assert TEMPERATURES[nearest_stop(0.1)] == 0.1 and len(TEMPERATURES) == 41


def test_an_anchor_without_positives_has_no_loss_and_breaks_nothing():
    _, labels, features = a_slice()
    labels[0, 0] = 7
    found = felt(unit(features), labels, (0, 0), 0.1)
    assert np.isnan(found.loss) and found.positives == 0 and "no positive" in facts(found, 0.1)["Loss of this anchor"]


def test_the_bars_hold_all_of_the_weight(explorer):
    for temperature in (0.01, 0.1, 1.0):
        found = felt(explorer.vectors, explorer.labels, explorer.anchor, temperature)
        _, positive, negative, pixels = spread(found, explorer.labels, explorer.anchor)
        assert positive.sum() == pytest.approx(found.positives) and positive.sum() + negative.sum() == pytest.approx(1)
        assert pixels.sum() == pytest.approx(1)


def test_marks_tell_positives_from_negatives_and_pulled_from_pushed(explorer):
    found = explorer.sweep[20]
    same = explorer.labels == explorer.labels[explorer.anchor]
    _, marks = attention(explorer.image, found, explorer.labels, explorer.anchor)
    assert not (marks[same] == 2).any() and not (marks[~same] == 1).any() and marks[explorer.anchor] == 3
    _, marks = forces(explorer.image, found, explorer.anchor)
    assert (found.force[marks == 1] < 0).all() and (found.force[marks == 2] > 0).all()


def test_the_slider_moves_pictures_bars_and_rings(explorer):
    before = explorer.weights.serial
    explorer.slider.value = 10
    assert explorer.weights.serial == before + 1
    assert explorer.lines[0].data[1].x[0] == TEMPERATURES[10]
    assert explorer.lines[1].data[1].y[0] == pytest.approx(felt(explorer.vectors, explorer.labels, explorer.anchor, TEMPERATURES[10]).loss)
    explorer.pushes.anchor = [10, 15]
    assert explorer.anchor == (10, 15) and list(explorer.weights.anchor) == [10, 15]
    assert explorer.lines[1].data[0].y[10] == pytest.approx(felt(explorer.vectors, explorer.labels, (10, 15), TEMPERATURES[10]).loss)
    assert "Background" in told(explorer.sweep[10], explorer.labels, (0, 0), explorer.classes, 0.1)


def test_sixteen_bits_and_the_rank_keep_the_similarities():
    rng = np.random.default_rng(1)
    vectors = unit(np.einsum("cr,rhw->chw", rng.standard_normal((64, 17)), rng.standard_normal((17, 20, 20))))
    codes, step, error = compact(vectors)
    assert codes.shape == (400, 17) and error < 2e-4
    exact = vectors.reshape(400, -1) @ vectors.reshape(400, -1).T
    assert np.abs(step**2 * codes.astype(float) @ codes.T.astype(float) - exact).max() < 2e-4
    assert compact(vectors, budget=8_000)[0].shape == (400, 10)


BAD = {
    "3-D": (lambda i, y, f: {"image": i[None], "labels": y[None]}, "3-D"),
    "NaN": (lambda i, y, f: {"image": i, "labels": y, "features": f * np.nan}, "NaN"),
    "no foreground": (lambda i, y, f: {"image": i, "labels": 0 * y, "features": f}, "no foreground"),
    "temperature": (lambda i, y, f: {"image": i, "labels": y, "features": f, "temperature": 0}, "temperature"),
    "model": (lambda i, y, f: {"image": i, "labels": y, "model": torch.nn.AvgPool2d(3)}, "model"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_in_the_widgets_place(name):
    change, word = BAD[name]
    explorer = TemperatureExplorer(**change(*a_slice()))
    assert word in explorer.problem and "Traceback" not in explorer.widget.value


def test_stored_and_exported_are_small(explorer, tmp_path):
    assert len(json.dumps(explorer._repr_mimebundle_())) < 120_000
    assert explorer.to_html(tmp_path / "t.html").stat().st_size < 6e6
    assert explorer.to_html(tmp_path / "shared.html", "shared").stat().st_size < 1.5e6
    assert middle_anchor(explorer.labels)[0] in range(3, 16)


@pytest.mark.browser
def test_the_page_computes_what_python_computes(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "t.html", "shared"))
    tab.page.evaluate("temperature.ready")
    for place in ((6, 6), (10, 15), (0, 0)):
        for t in (0.01, 0.1, 1.0):
            found, wanted = (
                tab.page.evaluate(f"temperature.felt({place[0]}, {place[1]}, {t})"),
                felt(explorer.vectors, explorer.labels, place, t),
            )
            assert found["loss"] == pytest.approx(wanted.loss, rel=2e-3) and found["keys"] == pytest.approx(wanted.keys, rel=2e-2)
            assert np.allclose(found["weight"], wanted.weight.ravel(), atol=2e-3)
            assert found["hardest"] == pytest.approx(wanted.hardest, rel=2e-2) and found["positives"] == pytest.approx(
                wanted.positives, abs=2e-3
            )


@pytest.mark.browser
def test_the_page_answers_pointer_and_keys(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "t.html", "shared"))
    tab.page.evaluate("temperature.ready")
    tab.shot("temperature-page-before")
    tab.press("#temperature", "Home")
    tab.wait(lambda: tab.page.evaluate("document.getElementById('curve0').data[1].x[0]") == 0.01, "the ring at 0.01")
    tab.pick("#picture1 canvas", 10, 15, explorer.labels.shape)
    tab.wait(lambda: tab.page.evaluate("temperature.state().anchor") == [10, 15], "the anchor")
    wanted = felt(explorer.vectors, explorer.labels, (10, 15), 0.01)
    tab.wait(lambda: f"{wanted.loss:.2f}" in tab.page.locator("#facts").text_content(), f"the loss {wanted.loss:.2f} in the numbers")
    weights = "document.getElementById('bars').data[1].y.reduce((sum, y) => sum + y, 0)"
    tab.near(weights, wanted.positives, "the bars of the anchor", 2e-3)
    tab.shot("temperature-page-after")
