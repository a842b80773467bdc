"""The strategy explorer agrees with the strategies and with the loss, live and in the exported page."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from browser_tools import static_page  # noqa: F401

from semicon_nb.explore.strategy import (
    StrategyExplorer,
    compared,
    families,
    group_map,
    lost_structures,
    numbers,
    short,
    told,
    untrained,
)
from semicon_nb.losses import supervised_local_contrastive_loss
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, RandomSampling

STRATEGIES = (FullResolution(), Downsampling(3), BlockDivision(7), RandomSampling(100))


def a_slice(rows: int = 20, columns: int = 26) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.zeros((rows, columns), np.int64)
    labels[3:12, 4:11], labels[8:17, 14:23], labels[2, 13:25] = 1, 2, 3
    return rng.random((rows, columns), dtype=np.float32), labels


@pytest.fixture(scope="module")
def explorer() -> StrategyExplorer:
    image, labels = a_slice()
    features = np.random.default_rng(1).standard_normal((6, *labels.shape)).astype(np.float32)
    return StrategyExplorer(image, labels, features=features, anchor=(6, 6))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_group_map_says_what_the_strategy_says(strategy):
    _, labels = a_slice()
    groups = group_map(strategy, labels)
    for place in [(0, 0), (3, 4), (6, 6), (8, 14), (2, 24), (16, 22), (19, 25)]:
        seen = np.zeros(labels.shape, np.int8)
        if labels[place] and groups[place] >= 0:
            seen[groups == groups[place]] = 2
            seen[(groups == groups[place]) & (labels == labels[place])] = 1
            seen[place] = 3
        assert np.array_equal(seen, compared(strategy, labels, place)), place


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_what_is_never_compared_has_no_part_in_the_gradient(strategy):
    _, labels = a_slice()
    features = torch.randn(1, 1, 5, *labels.shape, dtype=torch.float64, requires_grad=True)
    supervised_local_contrastive_loss(features, torch.as_tensor(labels)[None, None], 0.1, strategy).backward()
    moved = features.grad[0, 0].abs().sum(0).numpy() > 0
    part = np.zeros(labels.shape, bool)
    for place in zip(*np.nonzero(labels), strict=True):
        seen = compared(strategy, labels, tuple(map(int, place)))
        if (seen == 1).any():
            part |= seen > 0
    assert np.array_equal(moved, part)


def test_the_measures_are_those_of_the_loss():
    image, labels = a_slice()
    features = torch.randn(6, *labels.shape)
    panels = families(features, labels, strides=(2,), blocks=(8,), samples=(64,))
    exact = torch.autograd.grad(*_loss(features, labels, FullResolution()))[0].flatten()
    for family in panels:
        (stop,) = family.stops
        loss, leaf = _loss(features, labels, stop.strategy)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert stop.loss == pytest.approx(loss.item(), abs=1e-6)
        assert stop.cosine == pytest.approx(float(torch.cosine_similarity(gradient.flatten(), exact, dim=0)), abs=1e-5)
        assert stop.pairs == stop.strategy.cost(torch.as_tensor(labels)[None, None], 6).pairs and stop.seconds > 0


def _loss(features, labels, strategy):
    leaf = features[None, None].clone().requires_grad_()
    return supervised_local_contrastive_loss(leaf, torch.as_tensor(labels)[None, None], 0.1, strategy), leaf


def test_with_a_network_the_cosine_is_that_of_its_parameters():
    image, labels = a_slice(16, 16)
    network = untrained(4)
    parameters = list(network.parameters())

    def gradient(strategy):
        network.zero_grad()
        features = network.embed_pixels(torch.as_tensor(image)[None, None])[None]
        supervised_local_contrastive_loss(features, torch.as_tensor(labels)[None, None], 0.1, strategy).backward()
        return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])

    explorer = StrategyExplorer(image, labels, model=network)
    assert not explorer.problem, explorer.trace
    stop = explorer.families[1].stops[0]
    wanted = torch.cosine_similarity(gradient(stop.strategy), gradient(FullResolution()), dim=0)
    assert stop.cosine == pytest.approx(float(wanted), abs=1e-4)


def test_structures_thinner_than_the_stride_are_counted_as_lost():
    labels = np.zeros((16, 16), np.int64)
    labels[4, 2:12], labels[9, 3:9], labels[8:14, 10:14] = 1, 1, 2
    assert lost_structures(labels, group_map(FullResolution(), labels)) == 0
    assert lost_structures(labels, group_map(Downsampling(4), labels)) == 1
    assert lost_structures(labels, group_map(Downsampling(5), labels)) == 2


def test_a_slider_redraws_its_own_panel_and_moves_the_ring(explorer):
    panel = explorer.panels[2]
    others = [p.canvas.serial for p in explorer.panels if p is not panel]
    before = panel.canvas.serial
    panel.slider.value = 0
    assert panel.canvas.serial == before + 1 and others == [p.canvas.serial for p in explorer.panels if p is not panel]
    assert explorer.chart.data[-1].x[2] == panel.family.stops[0].pairs
    assert panel.canvas.grid == panel.stop.strategy.size


def test_picking_a_pixel_moves_the_anchor_of_all_panels(explorer):
    explorer.panels[1].canvas.anchor = [10, 16]
    assert explorer.anchor == (10, 16)
    for panel in explorer.panels:
        marks = np.frombuffer(panel.canvas.marks, np.uint8).reshape(explorer.labels.shape)
        seen = compared(panel.stop.strategy, explorer.labels, (10, 16))
        assert np.array_equal(marks == 1, seen == 1) and np.array_equal(marks == 2, seen == 2)
        assert list(panel.canvas.anchor) == [10, 16]


def test_the_words_say_what_the_mask_shows():
    _, labels = a_slice()
    names = ("background", "a", "b", "c")
    assert "Background" in told(compared(FullResolution(), labels, (0, 0)), labels, (0, 0), names)
    assert "Not kept" in told(compared(Downsampling(4), labels, (5, 5)), labels, (5, 5), names)
    seen = compared(BlockDivision(8), labels, (4, 4))
    said = told(seen, labels, (4, 4), names)
    assert f"Sees {(seen == 1).sum()} of {(labels == 1).sum() - 1} positives" in said and said.endswith("Never meets: b, c.")


def test_numbers_are_readable():
    assert [short(v, "B") for v in (41_000_000, 12, 0.096, 0)] == ["41 MB", "12 B", "96 mB", "0 B"]
    image, labels = a_slice()
    stop = families(torch.randn(3, *labels.shape), labels)[0].stops[0]
    assert numbers(stop, ("background", "a", "b", "c"))["Pixels kept"] == "520 of 520"


BAD = {
    "3-D": (lambda i, y: {"image": i[None], "labels": y[None]}, "3-D"),
    "sizes": (lambda i, y: {"image": i, "labels": y[:-1]}, "labels"),
    "no foreground": (lambda i, y: {"image": i, "labels": y * 0}, "no foreground"),
    "two pixels": (lambda i, y: {"image": i[:1, :2], "labels": y[:1, :2]}, "2 pixels"),
    "NaN embeddings": (lambda i, y: {"image": i, "labels": y, "features": np.full((4, *i.shape), np.nan)}, "NaN"),
    "features of another size": (lambda i, y: {"image": i, "labels": y, "features": np.zeros((4, 8, 8))}, "features"),
    "model of another size": (lambda i, y: {"image": i, "labels": y, "model": torch.nn.MaxPool2d(2)}, "model"),
    "anchor outside": (lambda i, y: {"image": i, "labels": y, "anchor": (99, 0)}, "anchor"),
    "labels alone": (lambda i, y: {"labels": y}, "together"),
    "NaN image": (lambda i, y: {"image": i * np.nan, "labels": y}, "no numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_in_the_widgets_place(name, tmp_path):
    change, word = BAD[name]
    explorer = StrategyExplorer(**change(*a_slice()))
    assert word in explorer.problem and word.split()[0] in explorer.widget.value
    assert "Traceback" not in explorer.widget.value
    assert word.split()[0] in explorer.to_html(tmp_path / "bad.html").read_text()


def test_a_single_pixel_of_a_class_is_no_anchor_but_works():
    image, labels = a_slice()
    labels[:] = 0
    labels[5, 5], labels[9, 9] = 1, 2
    explorer = StrategyExplorer(image, labels, features=np.random.default_rng(0).standard_normal((4, *image.shape)))
    assert not explorer.problem, explorer.trace


def test_the_stored_picture_is_small(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/plain"}
    assert len(json.dumps(bundle)) < 120_000 and isinstance(explorer.picture(), go.Figure)


def test_the_page_is_small(explorer, tmp_path):
    assert explorer.to_html(tmp_path / "s.html").stat().st_size < 6e6
    assert explorer.to_html(tmp_path / "shared.html", "shared").stat().st_size < 1.5e6


@pytest.mark.browser
def test_the_page_compares_as_python_does(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "s.html", "shared"))
    rng = np.random.default_rng(3)
    for k, family in enumerate(explorer.families):
        for i, stop in enumerate(family.stops):
            for _ in range(4):
                place = tuple(int(rng.integers(n)) for n in explorer.labels.shape)
                found = np.array(tab.page.evaluate(f"strategies.compared({k}, {i}, {place[0]}, {place[1]})"))
                assert np.array_equal(found.reshape(explorer.labels.shape), compared(stop.strategy, explorer.labels, place))


@pytest.mark.browser
def test_the_page_answers_pointer_and_keys(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "s.html", "shared"))
    tab.shot("strategy-page-before")
    tab.figures(1)
    tab.pick("#picture3 canvas", 10, 16, explorer.labels.shape)
    tab.wait(lambda: tab.page.evaluate("strategies.state().anchor") == [10, 16], "the anchor")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowRight")
    tab.wait(lambda: tab.page.evaluate("strategies.state().anchor") == [11, 17], "the anchor moved by keys")
    tab.press("#stop1", "End")
    stop = explorer.families[1].stops[-1]
    seen = compared(stop.strategy, explorer.labels, (11, 17))
    words = told(seen, explorer.labels, (11, 17), explorer.classes)
    tab.wait(lambda: tab.page.locator("#said1").text_content() == words, words)
    assert f"{stop.cosine:.3f}" in tab.page.locator("#numbers1").text_content()
    tab.shot("strategy-page-after")
