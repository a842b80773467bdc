"""The temperature explorer: its formulas are the loss's, and its page computes what Python computes."""

import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from browser_tools import static_page  # noqa: F401

from semicon_nb.explore.temperature import (
    TEMPERATURES,
    TemperatureExplorer,
    compact,
    feel,
    middle_anchor,
    nearest_stop,
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
    mean = np.mean([feel(vectors, labels, tuple(map(int, place)), temperature).loss for place in np.argwhere(labels > 0)])
    wanted = supervised_local_contrastive_loss(
        torch.as_tensor(features)[None, None].double(), torch.as_tensor(labels)[None, None], temperature
    )
    assert mean == pytest.approx(wanted.item(), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_the_forces_are_the_gradient_of_the_loss(temperature):
    _, labels, features = a_slice()
    vectors, anchor = unit(features), (6, 6)
    found = feel(vectors, labels, anchor, temperature)
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
    keys = [feel(unit(features), labels, (6, 6), t).keys for t in TEMPERATURES]
    assert keys == sorted(keys) and keys[0] < 30 and keys[-1] > 0.7 * labels.size
    assert TEMPERATURES[nearest_stop(0.1)] == 0.1 and len(TEMPERATURES) == 41


@pytest.mark.parametrize("label", [0, 7])
def test_what_is_no_anchor_of_the_loss_has_no_loss_and_pushes_nothing(label):
    _, labels, features = a_slice()
    labels[0, 0] = label
    found = feel(unit(features), labels, (0, 0), 0.1)
    assert np.isnan(found.loss) and not found.force.any() and (found.positives > 0) == (label == 0)
    assert found.weight.sum() == pytest.approx(1)


def test_sixteen_bits_and_the_rank_keep_the_similarities():
    rng = np.random.default_rng(1)
    vectors = unit(np.einsum("cr,rhw->chw", rng.standard_normal((64, 17)), rng.standard_normal((17, 20, 20))))
    codes, step, error = compact(vectors)
    assert codes.shape == (400, 17) and error < 2e-4
    exact = vectors.reshape(400, -1) @ vectors.reshape(400, -1).T
    assert np.abs(step**2 * codes.astype(float) @ codes.T.astype(float) - exact).max() < 2e-4
    assert compact(vectors, budget=8_000)[0].shape == (400, 10)


@pytest.mark.parametrize("channels, budget", [(16, 800_000), (64, 800_000), (64, 32_000)])
def test_no_similarity_is_rounded_by_more_than_the_note_says(channels, budget, monkeypatch):
    image, labels = np.zeros((32, 32), np.float32), np.eye(32, dtype=int)
    monkeypatch.setattr("semicon_nb.explore.temperature.compact", partial(compact, budget=budget))
    features = np.random.default_rng(channels).standard_normal((channels, 32, 32))
    explorer = TemperatureExplorer(image, labels, features=features)
    codes, step, error = compact(explorer.shown.vectors, budget)
    flat = explorer.shown.vectors.reshape(-1, channels)
    largest = np.abs(step**2 * codes.astype(float) @ codes.T.astype(float) - flat @ flat.T).max()
    said = float(re.search(r"at most (\S+)\.$", explorer.data["note"])[1])
    assert largest <= error <= said < 5 * largest


BAD = {
    "3-D": (lambda i, y, f: {"image": i[None], "labels": y[None]}, "3-D"),
    "NaN": (lambda i, y, f: {"image": i, "labels": y, "features": f * np.nan}, "NaN"),
    "no foreground": (lambda i, y, f: {"image": i, "labels": 0 * y, "features": f}, "no foreground"),
    "a label below 0": (lambda i, y, f: {"image": i, "labels": y - 1, "features": f}, "-1 to 1, expected whole numbers from 0 to 255"),
    "a label above 255": (lambda i, y, f: {"image": i, "labels": 128 * y, "features": f}, "0 to 256, expected whole numbers from 0 to 255"),
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
    assert explorer.to_html(tmp_path / "t.html").stat().st_size < 300_000
    assert middle_anchor(explorer.shown.slice.labels)[0] in range(3, 16)


@pytest.mark.browser
@pytest.mark.parametrize("place", [(6, 6), (10, 15), (0, 0)])
def test_the_page_computes_what_python_computes(explorer, static_page, tmp_path, place):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "t.html"))
    for t in (0.01, 0.1, 1.0):
        found = tab.page.evaluate(f"semicon.shown.felt({place[0]}, {place[1]}, {t})")
        wanted = feel(explorer.shown.vectors, explorer.shown.slice.labels, place, t)
        assert found["loss"] == pytest.approx(wanted.loss, rel=2e-3, nan_ok=True) and found["keys"] == pytest.approx(wanted.keys, rel=2e-2)
        assert np.allclose(found["weight"], wanted.weight.ravel(), atol=2e-3)
        assert np.allclose(found["force"], wanted.force.ravel(), atol=2e-3 / t)
        assert found["hardest"] == pytest.approx(wanted.hardest, rel=2e-2)
        assert found["positives"] == pytest.approx(wanted.positives, abs=2e-3)


@pytest.mark.browser
def test_the_page_answers_pointer_and_keys(explorer, static_page, tmp_path):  # noqa: F811
    vectors, labels = explorer.shown.vectors, explorer.shown.slice.labels
    tab = static_page(explorer.to_html(tmp_path / "t.html"), size=(1440, 900))
    tab.shot("temperature-page-before")
    tab.press("#temperature", "Home")
    tab.wait(lambda: tab.page.evaluate("semicon.shown.rings()[0][0]") == 0.01, "the ring at 0.01")
    tab.pick("canvas.pixels >> nth=1", 10, 15, labels.shape)
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().anchor") == [10, 15], "the anchor")
    wanted = feel(vectors, labels, (10, 15), 0.01)
    tab.wait(
        lambda: f"{wanted.loss:.2f}" in tab.page.locator(".three").text_content(),
        f"the loss {wanted.loss:.2f} in the numbers",
    )
    positive, negative = tab.page.evaluate("semicon.shown.bars()")
    assert sum(positive) == pytest.approx(wanted.positives, abs=2e-3) and sum(positive) + sum(negative) == pytest.approx(1)
    losses = [feel(vectors, labels, (10, 15), t).loss for t in TEMPERATURES]
    tab.near("semicon.shown.curves()[1]", losses, "the curve of the new anchor", 0.02)
    tab.near("semicon.shown.rings()[1][1]", losses[0], "its ring", 0.02)
    assert tab.page.locator(".three > div").count() == 3 and tab.page.locator("table:visible").count() == 0
    tab.pick("canvas.pixels >> nth=0", 0, 0, labels.shape)
    tab.wait(lambda: "Background" in tab.page.locator(".said").text_content(), "the sentence on the background")
    tab.shot("temperature-page-after")


@pytest.mark.browser
@pytest.mark.parametrize("label, words", [(3, "as an anchor, this pixel takes no part in the loss"), (0, "never an anchor in the loss")])
def test_what_is_no_anchor_of_the_loss_has_neither_loss_nor_push_on_the_page(static_page, tmp_path, label, words):  # noqa: F811
    image, labels, features = a_slice()
    labels[0, 0] = label
    tab = static_page(TemperatureExplorer(image, labels, features=features, anchor=(0, 0)).to_html(tmp_path / "t.html"))
    assert words in tab.page.locator(".said").text_content() and "none" in tab.page.locator(".three").text_content()
    assert not any(tab.page.evaluate("semicon.shown.felt(0, 0, 0.1).force"))
    assert tab.page.locator("tr", has_text="Sum of all pushes").locator("td").text_content() == "none"


CELLS = """([number, rows, columns]) => {
  const canvas = document.querySelectorAll('canvas.pixels')[number], pen = canvas.getContext('2d'), s = canvas.width / columns, found = [];
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
    found.push(Array.from(pen.getImageData(Math.floor((c + .85) * s), Math.floor((r + .85) * s), 1, 1).data.slice(0, 3)));
  }
  return found;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("temperature", [0.02, 0.1])
def test_pulled_is_teal_and_pushed_is_magenta(temperature, static_page, tmp_path):  # noqa: F811
    image, labels, features = a_slice()
    image[:] = 0  # so that only the colours of the forces are seen
    explorer = TemperatureExplorer(image, labels, features=features, anchor=(6, 6), temperature=temperature)
    tab = static_page(explorer.to_html(tmp_path / "t.html"), size=(1440, 900))
    force = feel(explorer.shown.vectors, labels, (6, 6), temperature).force
    colours = np.array(tab.page.evaluate(CELLS, [1, *labels.shape])).reshape(*labels.shape, 3).astype(int)
    rows, columns = np.indices(labels.shape)
    inside = np.maximum(abs(rows - 6), abs(columns - 6)) > 2  # away from the ring, and from outlines
    for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        inside &= np.roll(labels, step, axis) == labels
    strong = inside & (np.abs(force) > 0.02 * np.abs(force).max())
    pulled, pushed = colours[strong & (force < 0)], colours[strong & (force > 0)]
    assert len(pushed) and (pushed[:, 0] > pushed[:, 1] + 10).all()
    assert len(pulled) and (pulled[:, 1] > pulled[:, 0] + 10).all()


@pytest.mark.browser
def test_the_bars_hold_all_of_the_weight_and_of_the_pixels(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "t.html"))
    for stop in (0, 20, 40):
        tab.page.evaluate(f"semicon.shown.put({{stop: {stop}}})")
        found = feel(explorer.shown.vectors, explorer.shown.slice.labels, explorer.shown.anchor, TEMPERATURES[stop])
        positive, negative = map(sum, tab.page.evaluate("semicon.shown.bars()"))
        assert positive == pytest.approx(found.positives, abs=2e-3) and positive + negative == pytest.approx(1)
        assert sum(tab.page.evaluate("semicon.shown.share()")) == pytest.approx(1)
