"""PixelExplorer: what it is told and what it shows, without a browser, as a page from disk, and in a live JupyterLab."""

import re

import numpy as np
import pytest
import torch
from browser_tools import lab, static_page, swift  # noqa: F401
from torch import nn

from semicon_nb.embed import Map
from semicon_nb.explore import PixelExplorer
from semicon_nb.explore.embeddings import compact
from semicon_nb.explore.pixels import stored_map, thinning, turn_onto
from semicon_nb.unet import UNet

NAMES = ("background", "anterior", "posterior")


def a_slice(size: int = 24, slices: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Slices with two bright structures, and their labels."""
    rows, columns = np.mgrid[:size, :size] / size
    labels = np.zeros((slices, size, size), int)
    labels[:, (rows - 0.35) ** 2 + (columns - 0.4) ** 2 < 0.03] = 1
    labels[:, (rows - 0.7) ** 2 + (columns - 0.65) ** 2 < 0.02] = 2
    noise = np.random.default_rng(0).normal(size=labels.shape) * 0.05
    return (0.3 + 0.25 * labels + noise).astype(np.float32), labels


def network(seed: int = 0, channels: int = 12) -> nn.Module:
    """A small fixed network that is no UNet."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, channels, 3, padding=1)).eval()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path_factory.getbasetemp() / "maps"))


@pytest.fixture
def explorer() -> PixelExplorer:
    images, labels = a_slice(24, 2)
    return PixelExplorer({"one": network(0), "two": network(1)}, images, labels, NAMES, count=300)


def likeness(vectors: np.ndarray, anchor: int, temperature: float) -> np.ndarray:
    """exp((cosine - 1) / temperature) of one unit vector and all, [P]."""
    return np.exp((vectors @ vectors[anchor] - 1) / temperature).clip(0, 1)


# ------------------------------------------------------------------------------------------------ the widget without a browser


def test_without_arguments_it_opens_on_four_stages_of_an_example():
    made = PixelExplorer()
    assert not made.problem, made.trace
    assert list(made.view.stages) == ["initial", "global", "local", "finetune"] and made.view.labels.any()
    agreement = [made.maps.make(stage, "PCA", made.sample)[1][0].value for stage in ("initial", "finetune")]
    assert agreement[1] > agreement[0] + 0.3, "training is seen to separate the classes"


def test_a_map_asked_for_comes_with_its_numbers_and_goes_to_the_browser(explorer, monkeypatch):
    told = []
    monkeypatch.setattr(explorer.live, "send", told.append)
    explorer.live.asked = {"stage": "one", "method": "PCA", "count": 300, "serial": 1}
    explorer.maps.asked["one", "PCA", 300].result(60)
    explorer.live.asked = {"stage": "one", "method": "UMAP", "count": 300, "serial": 2}
    explorer.maps.asked["one", "UMAP", 300].result(120)
    explorer.maps.worker.submit(int).result(60)  # by then what follows the map is done, too
    assert explorer.maps.ready["one", "UMAP", 300][0].method == "UMAP" and not explorer.problem
    names = [n.name for n in explorer.maps.ready["one", "PCA", 300][1]]
    assert "neighbour agreement" in names and "trustworthiness" in names
    assert sum('"map"' in message["news"] for message in told) == 2
    explorer.live.asked = {"stage": "one", "method": "PCA", "count": 300, "serial": 3}
    assert sum('"map"' in message["news"] for message in told) == 3, "a second view of the widget gets the kept map too"


def test_another_number_of_pixels_is_sampled_anew(explorer):
    before = explorer.live.data
    explorer.live.asked = {"stage": "one", "method": "PCA", "count": 512, "serial": 1}
    assert len(explorer.sample.index) == 512 and explorer.live.data != before
    assert "512 of 1,152 pixels" in explorer.sample.sentence and explorer.live.state == {}


def test_python_selects_and_reads_what_the_reader_did(explorer):
    assert explorer.chosen == () and explorer.anchor is None
    explorer.select(np.array([3, 5]))
    assert explorer.chosen == (3, 5)
    explorer.live.state = {"chosen": [1], "anchor": 7}
    assert explorer.chosen == (1,) and explorer.anchor == 7
    explorer.select(None)
    assert explorer.chosen == ()


def test_a_failure_in_the_background_is_said_and_the_rest_goes_on(explorer):
    explorer.live.asked = {"stage": "no such stage", "method": "PCA", "count": 300, "serial": 1}
    with pytest.raises(KeyError):
        explorer.maps.asked["no such stage", "PCA", 300].result(60)
    explorer.maps.worker.submit(int).result(60)
    assert "semicon-notice" in explorer.status.value and "no such stage" in explorer.problem
    explorer.live.asked = {"stage": "two", "method": "PCA", "count": 300, "serial": 2}
    assert explorer.maps.asked["two", "PCA", 300].result(60)


def test_a_run_brings_its_own_slices_and_stages_or_picks_some_of_a_cohort(small_run):
    made = PixelExplorer(small_run.folder, count=200)
    assert not made.problem, made.trace
    assert list(made.view.stages) == ["initial", "global", "local", "finetune"] and made.view.labels is not None
    assert made.view.names == tuple(small_run.cohort.classes)
    assert not np.allclose(made.view.flat("initial"), made.view.flat("finetune"))
    same = PixelExplorer(small_run, small_run.cohort, count=200)
    assert not same.problem and np.array_equal(same.view.images, made.view.images)


def test_no_umap_is_made_or_even_loaded_before_it_is_asked_for():
    import subprocess
    import sys

    code = "import sys; from semicon_nb.explore import PixelExplorer; made = PixelExplorer(); made._repr_mimebundle_()"
    done = subprocess.run([sys.executable, "-c", f"{code}; print(made.problem, 'umap' in sys.modules)"], capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


BAD = {
    "a model whose output does not fit": (lambda: (nn.Conv2d(1, 4, 3), a_slice()[0]), "one vector for each pixel"),
    "labels of another size": (lambda: (network(), a_slice()[0], a_slice(20)[1]), "like the images"),
    "labels between whole numbers": (lambda: (network(), a_slice()[0], a_slice()[1] + 0.5), "not whole numbers"),
    "3-D input": (lambda: (network(), np.zeros((2, 3, 8, 8))), "cut a volume into slices"),
    "two pixels": (lambda: (network(), np.zeros((1, 2))), "too few"),
    "NaN embeddings": (lambda: (lambda x: x * torch.nan, a_slice()[0]), "NaN"),
    "no images": (lambda: (network(),), "images: found none"),
    "no run": (lambda: ("no such folder",), "no run.json"),
    "no pixels": (lambda: (network(), a_slice()[0], None, None, 1), "count: found 1, expected 4"),
    "another layer": (lambda: (UNet(width=2, depth=1), a_slice()[0], None, None, 50, "none"), "none"),
    "another map": (lambda: (network(), a_slice()[0], None, None, 50, "features", "t-SNE"), "method: found 't-SNE'"),
    "no temperature": (lambda: (network(), a_slice()[0], None, None, 50, "features", "PCA", 0), "temperature: found 0"),
    "a model that breaks": (lambda: (lambda x: x @ torch.zeros(3), a_slice()[0]), "RuntimeError"),
}


@pytest.mark.parametrize("given, says", BAD.values(), ids=BAD)
def test_bad_input_is_a_sentence_in_the_widgets_place(given, says, tmp_path, capsys):
    made = PixelExplorer(*given())
    assert re.search(says, made.problem), made.problem
    shown = made._repr_mimebundle_()["text/html"]
    assert "semicon-notice" in shown and "Traceback" not in shown + "".join(capsys.readouterr())
    written = made.to_html(tmp_path / "page.html").read_text()
    assert 'class="problem"' in written and "Traceback" not in written


def test_a_slice_without_foreground_is_explored_without_label_numbers():
    images, labels = a_slice()
    made = PixelExplorer(network(), images, labels * 0, NAMES)
    assert not made.problem
    _, numbers = made.maps.make("Sequential", "PCA", made.sample)
    assert np.isnan(numbers[1].value) and numbers[1].reads == "needs two classes"


class Failing(nn.Module):
    """A network that failed in one way."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        many = x.repeat(1, 8, 1, 1)
        return {"dead": torch.relu(many * 0 - 1), "constant": many * 0 + 1, "one channel": x - 0.4, "not a number": many / 0 * 0}[self.kind]


@pytest.mark.parametrize("kind, says", [("dead", "have collapsed"), ("constant", "have collapsed"), ("one channel", "One channel")])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_failed_network_is_explored_with_a_sentence(kind, says, labelled, tmp_path):
    images, labels = a_slice()
    made = PixelExplorer(Failing(kind), images, labels if labelled else None, NAMES, count=200)
    assert not made.problem, made.trace
    assert says in made.live.data
    text = made.to_html(tmp_path / "page.html").read_text()
    assert says in text and "NaN" not in text.split('id="semicon-data"')[1].split("</script>")[0]
    assert np.isfinite(compact(made.view.flat("Failing")).kept)


def test_features_that_are_no_numbers_are_one_sentence(tmp_path):
    made = PixelExplorer(Failing("not a number"), *a_slice(), NAMES)
    assert "NaN or infinite" in made.problem and 'class="problem"' in made.to_html(tmp_path / "p.html").read_text()


def test_a_class_head_that_says_nothing_is_refused():
    images, labels = a_slice(32)
    model = UNet(width=4, depth=2)
    with torch.no_grad():
        next(p for n, p in reversed(list(model.named_parameters())) if p.shape[:1] == (3,)).fill_(torch.nan)
    assert "NaN or infinite" in PixelExplorer({"finetune": model}, images, labels, NAMES).problem


# ------------------------------------------------------------------------------------------------ what the browser gets


def test_pages_are_small_and_ask_nobody_for_anything(tmp_path):
    images, labels = a_slice(64, 2)
    models = {name: network(i, 64) for i, name in enumerate(("initial", "global", "local", "finetune"))}
    made = PixelExplorer(models, images, labels, NAMES, count=4096)
    page = made.write(tmp_path / "a.html", "shared", methods=("PCA",))
    written = page.read_text()
    assert page.stat().st_size < 1.5e6 and [p.name for p in tmp_path.iterdir()] == ["a.html"]
    assert "default-src 'none'" in written and "connect-src 'none'" in written
    assert not re.search(r"(src|href)=\"(https?:)?//", written)


@pytest.mark.parametrize("shape, stages, channels", [((1, 64, 64), 1, 64), ((4, 160, 160), 4, 128), ((9, 512, 512), 4, 64)])
def test_embeddings_in_a_page_stay_within_their_budget(shape, stages, channels):
    dims, step = thinning(shape, stages, channels)
    assert dims >= 8 and shape[0] * -(-shape[1] // step) * -(-shape[2] // step) * stages * dims <= 560_000


def test_a_map_is_turned_onto_another_and_never_stretched():
    random = np.random.default_rng(0)
    goal = random.normal(size=(200, 2)).astype(np.float32) * (3, 1)
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    found = turn_onto((goal @ turn).astype(np.float32), goal)
    np.testing.assert_allclose(found - found.mean(0), goal - goal.mean(0), atol=1e-4)
    other = random.normal(size=(200, 2)).astype(np.float32)
    turned = turn_onto(other, goal)
    np.testing.assert_allclose(np.linalg.norm(turned[1:] - turned[0], axis=1), np.linalg.norm(other[1:] - other[0], axis=1), rtol=1e-4)


def test_maps_in_a_page_keep_their_shape():
    places = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32) * (5, 1)
    kept = stored_map(Map(places, 1.0, "PCA"), None, places)["places"].astype(float)
    ratio = np.ptp(kept, axis=0) / np.ptp(places, axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-3) and kept.max() <= 65535


# ------------------------------------------------------------------------------------------------ the browser, page and notebook alike

DETAIL = "document.querySelector('.semicon-dots').semicon"
CHOSEN = f"(() => {{ const c = {DETAIL}.state().chosen; return c && Array.from(c); }})()"


def centres(tab, which: str, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the shown pixels lie on the `slices` or on the `map`, [N, 2] pixels of the window."""
    box, found = tab.steady(f".semicon-dots canvas.{which}"), tab.page.evaluate(f"{DETAIL}.detail()")
    if which == "slices":
        frame = found["slices"]
        x, y = frame["left"] + (columns + 0.5) * frame["side"], frame["top"] + (rows + 0.5) * frame["side"]
    else:
        places = np.array(tab.page.evaluate(f"(() => {{ const d = {DETAIL}.detail(); return [Array.from(d.x), Array.from(d.y)]; }})()"))
        (wide, high), side = found["size"], found["map"]["side"]
        x, y = wide / 2 + (places[0] - 0.5) * side, high / 2 - (places[1] - 0.5) * side
    return np.stack([box["x"] + x, box["y"] + y], axis=1)


def rectangle(low, high) -> list[tuple[float, float]]:
    """A rectangle as a line to draw."""
    return [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]


def lasso(tab, which: str, columns: np.ndarray, rows: np.ndarray) -> set[int]:
    """Draw round the middle of the points of the slices or of the map; the points that lie inside."""
    places = centres(tab, which, columns, rows)
    low, high = np.quantile(places, 0.3, axis=0) + 2.5, np.quantile(places, 0.62, axis=0) + 2.5  # between two pixels of the slices
    tab.drag(rectangle(low, high))
    return {int(i) for i in np.flatnonzero(((places > low) & (places < high)).all(1))}


def opened(static_page, path, **options):  # noqa: F811
    tab = static_page(path, **options)
    tab.wait(lambda: tab.page.evaluate("document.body.dataset.ready === 'true'"), "the page to be ready")
    return tab


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of 4,096 pixels and its explorer."""
    images, labels = a_slice(64)
    made = PixelExplorer({"one": network(0), "two": network(1)}, images, labels, NAMES, count=4096)
    return made, made.write(tmp_path_factory.mktemp("page") / "pixels.html", "", methods=("PCA",))


def laid_out(made: PixelExplorer) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of every shown pixel in the picture."""
    rows, columns = made.view.mosaic.place(made.sample.index)
    return columns, rows


@pytest.mark.browser
@pytest.mark.parametrize("touched", ["map", "slices"])
def test_a_line_drawn_in_a_page_lights_up_the_pixels_inside(static_page, written, touched):  # noqa: F811
    made, path = written
    tab = opened(static_page, path, size=(1440, 1000))
    tab.shot(f"pixels-page-before-{touched}")
    assert tab.page.locator(".circle-this:visible").count() == 1
    expected = lasso(tab, touched, *laid_out(made))
    lit = tab.wait(lambda: tab.page.evaluate(CHOSEN), "lit pixels")
    assert len(expected) > 50 and len(expected ^ set(lit)) <= 0.02 * len(expected) + 2, "the edge may fall either way"
    counts = np.bincount(made.view.flat_labels[made.sample.index[lit]], minlength=3)
    said = tab.page.inner_text("#said-selection").replace(",", "")
    assert said.startswith(f"{len(lit)} of 4096") and all(f"{n} {name}" in said for n, name in zip(counts, NAMES, strict=True) if n)
    assert tab.page.locator(".circle-this:visible").count() == 0, "the invitation goes once it was followed"
    tab.shot(f"pixels-page-after-{touched}")
    tab.page.click("#stage-0")
    tab.near(f"Array.from({DETAIL}.detail().x).slice(0, 9)", first_places(made, "one")[:9, 0], "the points at the other stage", 1e-3)
    assert tab.page.evaluate(CHOSEN) == lit, "a change of stage keeps what is lit"
    tab.page.click("#clear")
    tab.wait(lambda: tab.page.evaluate(CHOSEN) is None, "a cleared selection")


def first_places(made: PixelExplorer, stage: str) -> np.ndarray:
    """Places [N, 2] in 0 .. 1 of a stage's PCA as the browser gets them."""
    last = made.maps.make(list(made.view.stages)[-1], "PCA", made.sample)[0].places
    return stored_map(*made.maps.make(stage, "PCA", made.sample), last)["places"] / 65535


@pytest.mark.browser
def test_a_change_of_stage_is_a_morph(static_page, written):  # noqa: F811
    made, path = written
    tab = opened(static_page, path, size=(1440, 1000))
    tab.page.evaluate(
        f"""() => {{ window.seen = []; document.querySelector('canvas.map').addEventListener('semicon-redraw', () => {{
        window.seen.push({DETAIL}.detail().x[0]); }}); }}"""
    )
    tab.page.click("#stage-0")
    tab.near(f"{DETAIL}.detail().x[0]", first_places(made, "one")[0, 0], "the first point at the other stage", 1e-3)
    steps = np.diff(tab.page.evaluate("window.seen"))
    assert (np.abs(steps) > 1e-6).sum() > 3 and (steps >= -1e-6).all() | (steps <= 1e-6).all(), "many small steps, all in one direction"


@pytest.mark.browser
def test_pointing_in_a_page_shows_the_likeness_that_the_loss_weighs(static_page, written):  # noqa: F811
    made, path = written
    tab = opened(static_page, path, size=(1440, 1000))
    where = centres(tab, "slices", *laid_out(made))
    tab.page.mouse.move(*where[40 * 64 + 20])
    tab.wait(lambda: tab.page.evaluate(f"{DETAIL}.state().anchor") == 40 * 64 + 20, "the anchor under the pointer")
    assert "row 40, column 20" in tab.page.inner_text("#said-anchor")
    shown = np.array(tab.page.evaluate(f"Array.from({DETAIL}.detail().weights)"))
    vectors, labels = made.view.flat("two"), made.view.flat_labels
    expected = likeness(vectors, 40 * 64 + 20, 0.1)
    assert np.quantile(np.abs(shown - expected), 0.95) < 0.1 and np.corrcoef(shown, expected)[0, 1] > 0.97
    exact = torch.softmax(torch.from_numpy(np.delete(vectors @ vectors[2580], 2580)) / 0.1, 0).numpy()
    share = exact[np.delete(labels, 2580) == labels[2580]].sum()
    said = int(re.search(r"(\d+) % of the loss's attention", tab.page.inner_text("#said-anchor"))[1])
    assert abs(said - 100 * share) < 3, "the share of attention is that of the loss's softmax"
    assert tab.page.evaluate(f"{DETAIL}.detail().glowing")
    tab.page.mouse.click(*where[10 * 64 + 30])
    tab.page.mouse.move(*where[50 * 64 + 50])
    tab.page.wait_for_timeout(100)
    assert tab.page.evaluate(f"{DETAIL}.state().anchor") == 10 * 64 + 30, "a click keeps the anchor"
    tab.page.click("#overlay")
    assert not tab.page.evaluate(f"{DETAIL}.detail().glowing")


@pytest.mark.browser
def test_the_keyboard_works_a_page_from_disk(static_page, written):  # noqa: F811
    made, path = written
    tab = opened(static_page, path)
    tab.press("#legend button >> nth=1", "Enter")
    marks = made.view.flat_labels[made.sample.index]
    tab.wait(lambda: tab.page.evaluate(CHOSEN) == np.flatnonzero(marks == 1).tolist(), "the pixels of the second class lit")
    assert tab.page.get_attribute("#legend button >> nth=1", "aria-pressed") == "true"
    tab.press("canvas.slices", "ArrowRight", 2)
    first = tab.page.evaluate(f"{DETAIL}.state().anchor")
    tab.press("canvas.slices", "ArrowDown", 3)
    assert tab.page.evaluate(f"{DETAIL}.state().anchor") == first + 3 * 64
    tab.press("canvas.map", "ArrowLeft")
    assert tab.page.evaluate(f"{DETAIL}.state().anchor") == first + 3 * 64 - 1
    tab.press("#heat", "ArrowLeft")
    assert "At temperature 0.079" in tab.page.inner_text("#said-anchor")
    tab.press("canvas.slices", "Escape")
    assert tab.page.evaluate(CHOSEN) is None
    tab.page.select_option("#colour", "intensity")
    tab.wait(lambda: "brightness" in tab.page.inner_text("#legend"), "the legend of a quantity")


def hovered(tab, which: str, places: np.ndarray) -> list[float]:
    """Milliseconds from each move of the pointer to the frame that shows it."""
    canvas = f".semicon-dots canvas.{which}"
    tab.page.evaluate(
        """(selector) => { const canvas = document.querySelector(selector); window.semiconTimes = [];
        if (canvas.watched) return; canvas.watched = true;
        canvas.addEventListener('pointermove', () => { window.semiconStart = performance.now(); }, true);
        canvas.addEventListener('semicon-redraw', () => { const from = window.semiconStart; window.semiconStart = null;
          if (from) requestAnimationFrame(() => window.semiconTimes.push(performance.now() - from)); }); }""",
        canvas,
    )
    for done, place in enumerate(places, start=1):
        tab.page.mouse.move(*place)
        tab.wait(lambda n=done: tab.page.evaluate("window.semiconTimes.length") >= n, "a redraw after a move")
        tab.page.wait_for_timeout(30)
    return tab.page.evaluate("window.semiconTimes")


@pytest.mark.alone
@pytest.mark.browser
@pytest.mark.parametrize("which", ["slices", "map"])
def test_pointing_in_a_page_of_4096_pixels_is_swift(static_page, written, which):  # noqa: F811
    made, path = written
    tab = opened(static_page, path, size=(1440, 1000))
    places = centres(tab, which, *laid_out(made))[np.random.default_rng(0).permutation(4096)[:44]]
    hovered(tab, which, places[:4])
    swift(f"page pixels, {which} hover, 4,096 pixels", tab, lambda: hovered(tab, which, places[4:]), limit=60)


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_fits_every_width_in_light_and_dark(static_page, written, width, dark):  # noqa: F811
    tab = opened(static_page, written[1], size=(width, 900), dark=dark)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = "[...document.querySelectorAll('input, select, button')].filter(e => !(e.labels && e.labels.length) && !e.textContent.trim() && !e.ariaLabel).length"
    assert tab.page.evaluate(unnamed) == 0
    assert tab.page.evaluate("[...document.querySelectorAll('canvas.slices, canvas.map')].every(e => e.getAttribute('aria-label'))")
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark
    tab.shot(f"pixels-page-{width}-{'dark' if dark else 'light'}")
    tab.page.click("#theme")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


@pytest.mark.browser
def test_slices_map_sentence_and_numbers_are_in_sight_at_once(static_page, tmp_path):  # noqa: F811
    tab = opened(static_page, PixelExplorer().write(tmp_path / "page.html", "", methods=("PCA",)), size=(1280, 720))
    assert [tab.page.inner_text(f"#stage-{k}") for k in range(4)] == ["Untrained", "Global", "Local", "Fine-tuned"]
    for part in ("canvas.slices", "canvas.map", "#said-selection", "#said-anchor", ".numbers"):
        box = tab.page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 720, part


HOSTILE = '<img src=x onerror="window.ran=1">'


@pytest.mark.browser
def test_names_reach_the_page_as_text(static_page, tmp_path):  # noqa: F811
    images, labels = a_slice()
    made = PixelExplorer({HOSTILE: network(), "two": network(1)}, images, labels, ("background", HOSTILE, "posterior"), count=200)
    tab = opened(static_page, made.write(tmp_path / "page.html", "", methods=("PCA",)))
    tab.page.click("#legend button >> nth=1")
    tab.page.click("#stage-0")
    tab.wait(lambda: "onerror" in tab.page.inner_text("#said-selection"), "the words")
    assert HOSTILE in tab.page.inner_text("#legend") and tab.page.inner_text("#stage-0") == HOSTILE
    assert tab.page.locator("img").count() == 0 and not tab.page.evaluate("window.ran") and not tab.errors


# ------------------------------------------------------------------------------------------------ a live JupyterLab

LIVE = """
import numpy as np, torch
from torch import nn
from semicon_nb.explore import PixelExplorer
rows, columns = np.mgrid[:64, :64] / 64
labels = np.zeros((64, 64), int)
labels[(rows - .35) ** 2 + (columns - .4) ** 2 < .03] = 1
labels[(rows - .7) ** 2 + (columns - .65) ** 2 < .02] = 2
image = .3 + .25 * labels + np.random.default_rng(0).normal(size=labels.shape) * .05
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 12, 3, padding=1))
names = ("background", '<img src=x onerror="window.ran=1">', "posterior")
explorer = PixelExplorer({"one": model, "two": model}, image, labels, names, count=4096)
explorer
"""


@pytest.fixture(scope="module")
def notebook(lab):  # noqa: F811
    tab = lab.open(lab.notebook("pixels.ipynb", LIVE, "PixelExplorer(model, image, labels[:9])"), size=(1600, 1200))
    tab.wait(lambda: tab.page.locator(".semicon-dots canvas").count() == 2, "two pictures")
    yield tab
    tab.close()


EVERY = np.arange(4096) % 64, np.arange(4096) // 64


@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_live_a_line_reaches_python_and_its_numbers_come_back(notebook):
    tab = notebook
    tab.wait(lambda: "neighbour agreement" in tab.page.inner_text(".semicon-dots .numbers"), "the numbers of the first map")
    tab.shot("pixels-live-before")
    expected = lasso(tab, "slices", *EVERY)
    tab.kernel_until("len(explorer.chosen) > 0", True)
    chosen = set(tab.value("[int(explorer.sample.index[i]) for i in explorer.chosen]"))
    assert len(expected ^ chosen) <= 0.02 * len(expected) + 2
    assert f"{len(chosen):,} of 4,096 shown pixels are lit" in tab.page.inner_text(".semicon-dots")
    tab.shot("pixels-live-after")
    tab.kernel("explorer.select([5, 6, 7])")
    tab.wait(lambda: tab.page.evaluate(CHOSEN) == [5, 6, 7], "what Python selects")
    assert tab.page.locator(".semicon-dots img").count() == 0 and not tab.page.evaluate("window.ran")


@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_live_pointer_and_keys_reach_python(notebook):
    tab = notebook
    where = centres(tab, "slices", *EVERY)
    tab.page.mouse.move(*where[40 * 64 + 20])
    tab.kernel_until("explorer.anchor", 40 * 64 + 20)
    tab.press(".semicon-dots canvas.slices", "ArrowDown")
    tab.kernel_until("explorer.anchor", 41 * 64 + 20)
    tab.press(".semicon-dots canvas.slices", "Escape")
    tab.kernel_until("explorer.chosen", [])
    before = tab.value("explorer.live.state['temperature']")
    tab.press(".semicon-dots input[type=range]", "ArrowLeft")
    tab.kernel_until("explorer.live.state['temperature']", before - 1)


@pytest.mark.alone
@pytest.mark.browser
@pytest.mark.xdist_group("live")
@pytest.mark.parametrize("which", ["slices", "map"])
def test_live_pointing_at_4096_pixels_is_swift(notebook, which):
    tab = notebook
    places = centres(tab, which, *EVERY)[np.random.default_rng(0).permutation(4096)[:44]]
    hovered(tab, which, places[:4])
    swift(f"live pixels, {which} hover, 4,096 pixels", tab, lambda: hovered(tab, which, places[4:]), limit=60)


@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_live_problems_are_sentences_and_nothing_leaves_the_machine(notebook):
    tab = notebook
    assert "PixelExplorer: labels: found shape (1, 9, 64)" in tab.page.locator(".semicon-notice").first.inner_text()
    assert tab.value("explorer.problem") == "" and not tab.outside and not tab.errors
    tab.kill_kernel()

    def said() -> int:
        tab.press(".semicon-dots input[type=range]", "ArrowLeft")
        return tab.page.locator(".semicon-closed:visible").count()

    tab.wait(said, "the sentence of a closed kernel")
    tab.shot("pixels-live-closed")
