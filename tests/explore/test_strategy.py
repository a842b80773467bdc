"""The strategy explorer agrees with the strategies and with the loss, in Python and in the page."""

import base64
import json
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from browser_tools import static_page  # noqa: F401

from semicon_nb.explore.slices import chosen_slice, slice_features, small_network
from semicon_nb.explore.strategy import (
    StrategyExplorer,
    _Measure,
    compare,
    group_map,
    lost_structures,
    measure_families,
    short,
    stop_numbers,
)
from semicon_nb.gradient import agreement
from semicon_nb.losses import supervised_local_contrastive_loss
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, Groups, RandomSampling, Strategy

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
        met = np.zeros(labels.shape, np.int8)
        if labels[place] and groups[place] >= 0:
            met[groups == groups[place]] = 2
            met[(groups == groups[place]) & (labels == labels[place])] = 1
            met[place] = 3
        assert np.array_equal(met, compare(strategy, labels, place)), place


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_what_is_never_compared_has_no_part_in_the_gradient(strategy):
    _, labels = a_slice()
    features = torch.randn(1, 1, 5, *labels.shape, dtype=torch.float64, requires_grad=True)
    supervised_local_contrastive_loss(features, torch.as_tensor(labels)[None, None], 0.1, strategy).backward()
    moved = features.grad[0, 0].abs().sum(0).numpy() > 0
    part = np.zeros(labels.shape, bool)
    for place in zip(*np.nonzero(labels), strict=True):
        met = compare(strategy, labels, tuple(map(int, place)))
        if (met == 1).any():
            part |= met > 0
    assert np.array_equal(moved, part)


def test_the_measures_are_those_of_the_loss():
    image, labels = a_slice()
    features = torch.randn(6, *labels.shape)
    families = measure_families(_Measure(features, labels, 0.1), strides=(2,), blocks=(8,), samples=(64,))
    exact = torch.autograd.grad(*_loss(features, labels, FullResolution()))[0].flatten()
    for family in families:
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
    network = small_network(4)
    parameters = list(network.parameters())

    def gradient(strategy):
        network.zero_grad()
        features = network.embed_pixels(torch.as_tensor(image)[None, None])[None]
        supervised_local_contrastive_loss(features, torch.as_tensor(labels)[None, None], 0.1, strategy).backward()
        return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])

    explorer = StrategyExplorer(image, labels, model=network)
    assert not explorer.problem, explorer.trace
    stop = explorer.shown.families[1].stops[0]
    wanted = torch.cosine_similarity(gradient(stop.strategy), gradient(FullResolution()), dim=0)
    assert stop.cosine == pytest.approx(float(wanted), abs=1e-4)


def test_a_network_is_measured_as_it_predicts_and_left_as_it_was():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.BatchNorm2d(6), torch.nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one, two = (StrategyExplorer(*a_slice(16, 16), model=network) for _ in range(2))
    assert not one.problem, one.trace
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()) and network.training
    assert [stop.loss for family in one.shown.families for stop in family.stops] == [s.loss for f in two.shown.families for s in f.stops]
    assert not any(p.grad is not None for p in network.parameters())
    network.eval()
    assert torch.equal(slice_features(a_slice(16, 16)[0], None, network), network(torch.as_tensor(a_slice(16, 16)[0])[None, None])[0])


@pytest.mark.cuda
def test_a_network_on_a_card_gives_the_features_it_gives_on_the_cpu(card):
    image, _ = a_slice(16, 16)
    network = small_network(4)
    wanted = slice_features(image, None, network)
    assert torch.allclose(slice_features(image, None, network.to(card)), wanted, atol=1e-4)


def test_structures_thinner_than_the_stride_are_counted_as_lost():
    labels = np.zeros((16, 16), np.int64)
    labels[4, 2:12], labels[9, 3:9], labels[8:14, 10:14] = 1, 1, 2
    assert lost_structures(labels, group_map(FullResolution(), labels)) == 0
    assert lost_structures(labels, group_map(Downsampling(4), labels)) == 1
    assert lost_structures(labels, group_map(Downsampling(5), labels)) == 2


@dataclass(frozen=True)
class Moved(Strategy):
    """Blocks of 16 whose borders lie a few pixels further down and to the right."""

    down: int
    right: int

    def groups(self, labels, shape):
        rows, columns = (torch.arange(moved, moved + side) // 16 for moved, side in zip((self.down, self.right), shape[2:], strict=True))
        block = (10 * rows[:, None] + columns).flatten()
        return tuple(Groups(torch.nonzero(block == number).T) for number in block.unique())


def test_where_the_borders_of_blocks_fall_counts_for_more_than_their_size():
    """What the explorer says below its chart, of the slice that it opens with."""
    piece, network = chosen_slice(None, None, None), small_network(3)
    features = slice_features(piece.image, None, network)
    measure = _Measure(features, piece.labels, 0.1, list(network.parameters()))
    (exact, *_), places = measure.gradient(FullResolution()), [(down, right) for down in (0, 4, 8, 12) for right in (0, 4, 8, 12)]
    moved = [agreement(exact, measure.gradient(Moved(*place))[0])[0] for place in places]
    sizes = [agreement(exact, measure.gradient(BlockDivision(size))[0])[0] for size in (4, 8, 16)]
    assert moved[0] == pytest.approx(sizes[-1], abs=1e-4) and sizes == sorted(sizes, reverse=True), "the line falls"
    assert np.ptp(moved) > 1.5 * np.ptp(sizes) and max(moved) > 0.8


def test_numbers_are_readable_and_the_three_in_sight_come_first(explorer):
    assert [short(v, "B") for v in (41_000_000, 12, 0.096, 0)] == ["41 MB", "12 B", "96 mB", "0 B"]
    assert [short(v) for v in (999_499, 999_900, -999_900, 999.6)] == ["999 k", "1 M", "-1 M", "1 k"] and short(0.9999, "s") == "1 s"
    found = stop_numbers(explorer.shown.families[0].stops[0], explorer.shown.slice.classes)
    assert list(found)[:3] == ["pairs", "cosine to exact", "lost structures"] and found["Pixels kept"] == "520 of 520"


BAD = {
    "3-D": (lambda i, y: {"image": i[None], "labels": y[None]}, "3-D"),
    "sizes": (lambda i, y: {"image": i, "labels": y[:-1]}, "labels"),
    "no foreground": (lambda i, y: {"image": i, "labels": y * 0}, "no foreground"),
    "a label below 0": (lambda i, y: {"image": i, "labels": y - 1}, "-1 to 2, expected whole numbers from 0 to 255"),
    "a label above 255": (lambda i, y: {"image": i, "labels": 86 * y}, "0 to 258, expected whole numbers from 0 to 255"),
    "labels between whole numbers": (lambda i, y: {"image": i, "labels": y / 2}, "not whole numbers"),
    "two pixels": (lambda i, y: {"image": i[:1, :2], "labels": y[:1, :2]}, "2 pixels"),
    "NaN embeddings": (lambda i, y: {"image": i, "labels": y, "features": np.full((4, *i.shape), np.nan)}, "NaN"),
    "features of another size": (lambda i, y: {"image": i, "labels": y, "features": np.zeros((4, 8, 8))}, "features"),
    "model of another size": (lambda i, y: {"image": i, "labels": y, "model": torch.nn.MaxPool2d(2)}, "model"),
    "anchor outside": (lambda i, y: {"image": i, "labels": y, "anchor": (99, 0)}, "anchor"),
    "labels alone": (lambda i, y: {"labels": y}, "together"),
    "NaN image": (lambda i, y: {"image": i * np.nan, "labels": y}, "no numbers"),
    "too few names": (lambda i, y: {"image": i, "labels": y, "classes": ("background", "a")}, "classes"),
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


def test_every_label_up_to_255_is_in_the_page_as_it_was_given():
    image, labels = a_slice()
    explorer = StrategyExplorer(image, 85 * labels, features=np.random.default_rng(0).standard_normal((4, *image.shape)))
    stored = np.frombuffer(base64.b64decode(json.loads(explorer.live.data)["labels"]["data"]), np.uint8)
    assert stored.tolist() == (85 * labels).ravel().tolist() and stored.max() == 255


def test_the_stored_picture_is_small(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/plain"}
    assert len(json.dumps(bundle)) < 120_000 and isinstance(explorer.picture(), go.Figure)


def test_the_page_is_small_and_stands_alone(explorer, tmp_path):
    assert len(explorer.to_html(tmp_path / "s.html").read_text()) < 300_000 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.browser
def test_the_page_compares_as_python_does(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "s.html"))
    rng, shape = np.random.default_rng(3), explorer.shown.slice.labels.shape
    for k, family in enumerate(explorer.shown.families):
        for i, stop in enumerate(family.stops):
            for _ in range(4):
                place = tuple(int(rng.integers(n)) for n in shape)
                found = np.array(tab.page.evaluate(f"semicon.shown.compared({k}, {i}, {place[0]}, {place[1]})"))
                assert np.array_equal(found.reshape(shape), compare(stop.strategy, explorer.shown.slice.labels, place))


@pytest.mark.browser
def test_a_pixel_without_a_positive_is_an_anchor_neither_in_the_page_nor_in_python(static_page, tmp_path):  # noqa: F811
    labels = np.zeros((10, 10), np.int64)
    labels[1, 1], labels[5:9, 5:9], labels[0, 6], labels[2, 8:] = 1, 1, 2, 3
    image, features = np.random.default_rng(0).random((10, 10)), np.random.default_rng(1).random((4, 10, 10))
    explorer = StrategyExplorer(image, labels, features=features, anchor=(0, 6))
    tab, places = static_page(explorer.to_html(tmp_path / "s.html")), list(np.ndindex(10, 10))
    for k, family in enumerate(explorer.shown.families):
        for i, stop in enumerate(family.stops):
            found = tab.page.evaluate(f"p => p.map((at) => semicon.shown.compared({k}, {i}, ...at))", places)
            wanted = [compare(stop.strategy, labels, place).ravel() for place in places]
            assert np.array_equal(found, wanted), stop.strategy
    assert (
        tab.page.locator(".strategy .said").first.text_content() == "No positive here: as an anchor, this pixel takes no part in the loss."
    )


def told(met: np.ndarray, labels: np.ndarray, anchor: tuple[int, int]) -> str:
    """The sentence below a picture, reckoned from what the anchor meets."""
    same = int((labels == labels[anchor]).sum())
    missed = [name for k, name in enumerate(("background", "class 1", "class 2", "class 3")) if not (met[labels == k] > 0).any()]
    said = f"Pulls {(met == 1).sum()} of {same - 1} positives, pushes {(met == 2).sum()} of {met.size - same} negatives."
    return said + (f" Never meets: {', '.join(missed)}." if missed else "")


@pytest.mark.browser
def test_the_page_answers_pointer_and_keys(explorer, static_page, tmp_path):  # noqa: F811
    labels = explorer.shown.slice.labels
    tab = static_page(explorer.to_html(tmp_path / "s.html"), size=(1440, 900))
    tab.shot("strategy-page-before")
    assert (
        tab.page.locator(".strategy h3").nth(3).text_content() == "Random, balanced"
        and explorer.shown.families[3].stops[0].strategy.balanced
    )
    assert "its parts never meet" in tab.page.locator("#dip").inner_text()
    first = tab.page.locator("[data-point='0 0']")
    assert "Full resolution: " in f"{first.get_attribute('aria-label')} {first.text_content()}"
    tab.pick(".strategy canvas >> nth=3", 10, 16, labels.shape)
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().anchor") == [10, 16], "the anchor")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowRight")
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().anchor") == [11, 17], "the anchor moved by keys")
    tab.press("#stop1", "End")
    stop = explorer.shown.families[1].stops[-1]
    said = tab.page.locator(".strategy .said")
    words = "Not kept: this pixel takes no part in the loss."
    tab.wait(lambda: said.nth(1).text_content() == words, words)
    assert f"{stop.cosine:.3f}" in tab.page.locator(".strategy .three").nth(1).text_content()
    for k, index in ((0, 0), (2, explorer.shown.families[2].start)):
        met = compare(explorer.shown.families[k].stops[index].strategy, labels, (11, 17))
        assert said.nth(k).text_content() == told(met, labels, (11, 17))
    tab.pick(".strategy canvas >> nth=0", 0, 0, labels.shape)
    tab.wait(lambda: said.nth(0).text_content().startswith("Background: never an anchor"), "the sentence on the background")
    tab.page.locator("[data-point='2 0']").click()
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().stops")[2] == 0, "the setting whose mark was clicked")
    tab.page.locator("summary").first.click()
    tab.wait(lambda: tab.page.locator("details[open]").count() == 4, "all numbers of all panels")
    tab.shot("strategy-page-after")


@pytest.mark.browser
def test_pull_and_push_have_their_colours_and_structures_theirs(explorer, static_page, tmp_path):  # noqa: F811
    tab = static_page(explorer.to_html(tmp_path / "s.html"), size=(1440, 900))
    found = tab.page.locator(".meanings li").evaluate_all(
        "items => items.map(i => [i.textContent, getComputedStyle(i.firstChild).backgroundColor])"
    )
    assert found[0] == ["+pulled: the anchor's own class", "rgb(11, 154, 141)"] and found[1] == [
        "−pushed: another class",
        "rgb(194, 24, 143)",
    ]
    lines = tab.page.locator(".meanings .outline").evaluate_all("items => items.map(i => getComputedStyle(i).borderTopColor)")
    assert lines[:2] == ["rgb(230, 159, 0)", "rgb(86, 180, 233)"]
    # the middle of a cell, between its mark and its border, is the pixel's own colour: far from every grey
    colour = """(place) => { const c = document.querySelector('.strategy canvas'), s = c.width / 26;
      return Array.from(c.getContext('2d').getImageData(Math.round((place[1] + .2) * s), Math.round((place[0] + .2) * s), 1, 1).data.slice(0, 3)); }"""
    pulled, pushed = tab.page.evaluate(colour, [8, 8]), tab.page.evaluate(colour, [18, 4])
    assert min(pulled[1:]) > pulled[0] + 30 and pushed[0] > pushed[1] + 60 and pushed[2] > pushed[1] + 30


@pytest.mark.browser
def test_names_from_files_are_text(static_page, tmp_path):  # noqa: F811
    image, labels = a_slice()
    names = ("background", "<img src=x onerror=alert(1)>", "</script><b>b</b>", "c")
    explorer = StrategyExplorer(image, labels, features=np.ones((2, *labels.shape)), classes=names)
    tab = static_page(explorer.to_html(tmp_path / "s.html"))
    assert tab.page.locator("#explorer img, #explorer b").count() == 0
    assert tab.page.locator(".meanings li").nth(3).text_content() == names[1]
