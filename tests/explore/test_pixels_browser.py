"""PixelExplorer in a real browser: a page from disk and a live JupyterLab, real pointers and keys."""

import re

import numpy as np
import pytest
import torch
from browser_tools import lab, pca_page, static_page, swift  # noqa: F401
from test_pixels import NAMES, Failing, a_slice, network

from semicon_nb.explore import PixelExplorer, pixels
from semicon_nb.explore.pixels import stored_map


def likeness(vectors: np.ndarray, anchor: int, temperature: float) -> np.ndarray:
    """exp((cosine - 1) / temperature) of one unit vector and all, [P]."""
    return np.exp((vectors @ vectors[anchor] - 1) / temperature).clip(0, 1)


DETAIL = "document.querySelector('.semicon-dots').semicon"
DRAWN = f"""([columns, rows]) => {{
  const canvas = document.querySelector('canvas.slices'), {{ side, left, top }} = {DETAIL}.detail().slices, scale = canvas.width / canvas.clientWidth;
  const at = (start, k) => Math.floor((start + (k + 0.5) * side) * scale);
  return columns.map((c, i) => Array.from(canvas.getContext('2d').getImageData(at(left, c), at(top, rows[i]), 1, 1).data).slice(0, 3));
}}"""
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
    low, high = (
        np.quantile(places, 0.3, axis=0) + 2.5,
        np.quantile(places, 0.62, axis=0) + 2.5,
    )  # between two pixels of the slices
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
    return made, pca_page(made, tmp_path_factory.mktemp("page") / "pixels.html")


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
    tab.near(
        f"Array.from({DETAIL}.detail().x).slice(0, 9)",
        first_places(made, "one")[:9, 0],
        "the points at the other stage",
        1e-3,
    )
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
    assert (np.abs(steps) > 1e-6).sum() > 1 and (steps >= -1e-6).all() | (steps <= 1e-6).all(), "several steps, all in one direction"


@pytest.mark.browser
@pytest.mark.parametrize(
    "place, name, share", [((1, 1), "anterior", 2), ((3, 4), "posterior", 0), ((0, 0), "background", 95)], ids=["two", "one", "background"]
)
def test_attention_of_a_network_that_tells_nothing_apart_is_spread_evenly(static_page, tmp_path, place, name, share):  # noqa: F811
    """Of the 63 other pixels one is of the anchor's class, or none; of the background, which is no anchor in the loss, 60."""
    labels = np.zeros((8, 8), int)
    labels[1, 1], labels[6, 5], labels[3, 4] = 1, 1, 2
    made = PixelExplorer(Failing("constant"), np.random.default_rng(0).random((8, 8)), labels, NAMES, count=64)
    tab = opened(static_page, pca_page(made, tmp_path / "page.html"), size=(1440, 1000))
    tab.page.mouse.move(*centres(tab, "slices", *laid_out(made))[8 * place[0] + place[1]])
    of = "all likeness" if name == "background" else "the loss's attention"
    said = f"{share} % of {of} falls on {name}; spread evenly it would be {share} %."
    tab.wait(lambda: tab.page.inner_text("#said-anchor").endswith(said), said)
    assert ("background, which is never an anchor in the loss." in tab.page.inner_text("#said-anchor")) == (name == "background")


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
    said = int(re.search(r"(\d+) % of all likeness", tab.page.inner_text("#said-anchor"))[1])
    assert abs(said - 100 * share) < 3, "the share is that of the loss's softmax"
    assert tab.page.evaluate(f"{DETAIL}.detail().glowing")
    tab.page.mouse.click(*where[10 * 64 + 30])
    tab.page.mouse.move(*where[50 * 64 + 50])
    tab.page.wait_for_timeout(100)
    assert tab.page.evaluate(f"{DETAIL}.state().anchor") == 10 * 64 + 30, "a click keeps the anchor"
    tab.page.click("#overlay")
    assert not tab.page.evaluate(f"{DETAIL}.detail().glowing")


@pytest.mark.browser
def test_a_share_of_attention_that_may_be_off_is_told_as_such(static_page, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pixels, "attention_errors", lambda *given: [0.2] * 7 + [0.03] * 7 + [0.004] * 7)
    made = PixelExplorer(network(), *a_slice(), NAMES, count=200)
    tab = opened(static_page, pca_page(made, tmp_path / "page.html"))
    for temperature, says in ((2, "too coarse to tell"), (8, "about "), (20, "At temperature 1, ")):
        state = {"stage": "Sequential", "anchor": 12 * 24 + 12, "temperature": temperature}
        tab.page.evaluate("state => semicon.shown.put(state)", state)
        said = tab.page.inner_text("#said-anchor")
        assert says in said and ("%" in said) == (temperature > 2) and ("about" in said) == (temperature == 8)


VIEWS = """
const said = { data: document.getElementById("data").textContent, state: {}, asked: {} }, hear = [];
window.model = {
  get: (key) => said[key], on: (what, heard) => hear.push([what, heard]), off: () => {}, save_changes: () => {}, saved: 0,
  set(key, value) {
    if (JSON.stringify(said[key]) === JSON.stringify(value)) return;
    said[key] = value;
    this.saved += key === "state";
    hear.forEach(([what, heard]) => { if (what === `change:${key}`) heard(); });
  },
};
for (const id of ["one", "two"]) render({ model, el: document.getElementById(id) });
document.body.dataset.ready = "true";
"""


@pytest.mark.browser
def test_two_views_of_one_explorer_agree(static_page, tmp_path):  # noqa: F811
    """The model is the one that JupyterLab's views share, in a few lines."""
    live = PixelExplorer(network(), *a_slice(), NAMES, count=200).live
    script = re.sub(r"export default .*", "", live._esm) + VIEWS
    data = '<script type="application/json" id="data">' + live.data.replace("<", "\\u003c") + "</script>"
    page = tmp_path / "views.html"
    page.write_text(f'<body><div id="one"></div><div id="two"></div>{data}<script type="module">{script}</script></body>')
    tab = opened(static_page, page)
    tab.press("#one input[type=range]", "ArrowLeft")
    tab.wait(lambda: tab.page.evaluate("model.saved"), "the change to be told")
    tab.page.wait_for_timeout(1200)
    assert tab.page.evaluate("model.saved") == 1, "it is told once"
    assert tab.page.evaluate("[...document.querySelectorAll('input[type=range]')].map((e) => e.value)") == ["9", "9"]


@pytest.mark.browser
def test_a_page_begins_where_its_reader_was(static_page, tmp_path):  # noqa: F811
    made = PixelExplorer({"one": network(0), "two": network(1)}, *a_slice(), NAMES, count=200)
    made.live.state = {"stage": "one", "method": "UMAP", "colour": "row", "temperature": 3, "anchor": 100, "chosen": [1, 2, 3]}
    tab = opened(static_page, pca_page(made, tmp_path / "page.html"))
    assert tab.page.evaluate(f"{DETAIL}.state()") == {**made.state, "method": "PCA"}
    assert tab.page.get_attribute("#stage-0", "aria-pressed") == "true" and tab.page.input_value("#heat") == "3"
    assert "position from top" in tab.page.inner_text("#legend") and "row 4, column 4" in tab.page.inner_text("#said-anchor")
    tab.near(f"Array.from({DETAIL}.detail().x)", first_places(made, "one")[:, 0], "the points at the stage", 1e-3)


@pytest.mark.browser
def test_a_legend_of_small_numbers_has_digits(static_page, tmp_path):  # noqa: F811
    made = PixelExplorer(network(), 1e-3 * a_slice()[0], count=200)
    low, high = made.view.colours("Sequential")["intensity"].low, made.view.colours("Sequential")["intensity"].high
    tab = opened(static_page, pca_page(made, tmp_path / "page.html"))
    assert [float(end) for end in tab.page.inner_text("#legend li:nth-child(2)").split()] == pytest.approx([low, high], rel=0.01)


@pytest.mark.browser
def test_background_of_any_name_is_not_tinted(static_page, tmp_path):  # noqa: F811
    images, labels = a_slice()
    made = PixelExplorer(network(), images, labels, ("Hintergrund", "vorn", "hinten"), count=576)
    tab = opened(static_page, pca_page(made, tmp_path / "page.html"))
    columns, rows = laid_out(made)
    for colour, plain in (("label", labels[0] == 0), ("row", np.zeros((24, 24), bool))):
        tab.page.select_option("#colour", colour)
        found = np.array(tab.page.evaluate(DRAWN, [columns.tolist(), rows.tolist()])).reshape(24, 24, 3)
        assert np.array_equal((found == made.data["grey"][0][..., None]).all(axis=2), plain)


@pytest.mark.browser
def test_each_network_has_the_likeness_of_its_own_vectors(static_page, tmp_path):  # noqa: F811
    """The budget thins the rows and columns of the network with more channels, not those of the other."""
    models = {"few": network(0, 2), "many": network(1, 16)}
    made = PixelExplorer(models, a_slice(192)[0], count=200)
    assert [stage["step"] for stage in made.data["stages"].values()] == [1, 2]
    tab, anchor = opened(static_page, pca_page(made, tmp_path / "page.html")), 190 * 192 + 190
    for k, name in enumerate(models):
        tab.page.click(f"#stage-{k}")
        tab.page.evaluate(f"semicon.shown.put({{...semicon.shown.state(), anchor: {anchor}}})")
        shown = np.array(tab.page.evaluate(f"Array.from({DETAIL}.detail().weights)"), float)
        known = np.flatnonzero((np.indices((192, 192)) % (k + 1) == 0).all(0))
        assert shown[anchor] > 0.999 and np.quantile(np.abs(shown - likeness(made.view.flat(name), anchor, 0.1))[known], 0.95) < 0.15


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


@pytest.mark.slow
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
    unnamed = """[...document.querySelectorAll('input, select, button')].filter(
        e => !(e.labels && e.labels.length) && !e.textContent.trim() && !e.ariaLabel).length"""
    assert tab.page.evaluate(unnamed) == 0
    assert tab.page.evaluate("[...document.querySelectorAll('canvas.slices, canvas.map')].every(e => e.getAttribute('aria-label'))")
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark
    tab.shot(f"pixels-page-{width}-{'dark' if dark else 'light'}")
    tab.page.click("#theme")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


@pytest.mark.browser
def test_slices_map_sentence_and_numbers_are_in_sight_at_once(static_page, tmp_path):  # noqa: F811
    tab = opened(static_page, pca_page(PixelExplorer(), tmp_path / "page.html"), size=(1280, 720))
    assert [tab.page.inner_text(f"#stage-{k}") for k in range(4)] == ["Untrained", "Global", "Local", "Fine-tuned"]
    for part in ("canvas.slices", "canvas.map", "#said-selection", "#said-anchor", ".numbers"):
        box = tab.page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 720, part


HOSTILE = '<img src=x onerror="window.ran=1">'


@pytest.mark.browser
def test_names_reach_the_page_as_text(static_page, tmp_path):  # noqa: F811
    images, labels = a_slice()
    made = PixelExplorer({HOSTILE: network(), "two": network(1)}, images, labels, ("background", HOSTILE, "posterior"), count=200)
    tab = opened(static_page, pca_page(made, tmp_path / "page.html"))
    tab.page.click("#legend button >> nth=1")
    tab.page.click("#stage-0")
    tab.wait(lambda: "onerror" in tab.page.inner_text("#said-selection"), "the words")
    assert HOSTILE in tab.page.inner_text("#legend") and tab.page.inner_text("#stage-0") == HOSTILE
    assert tab.page.locator("img").count() == 0 and not tab.page.evaluate("window.ran") and not tab.errors


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


@pytest.mark.slow
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
def test_live_fewer_pixels_and_a_umap_come_from_python_when_asked_for(notebook):
    tab = notebook
    tab.page.select_option(".semicon-dots select[id$=-colour]", "row")
    before = tab.page.evaluate(f"{DETAIL}.state()")
    tab.page.select_option(".semicon-dots select[id$=-count]", "512")
    tab.kernel_until("len(explorer.sample.index)", 512)
    tab.wait(lambda: tab.page.evaluate(f"{DETAIL}.detail().x.length") == 512, "the smaller map")
    kept = tab.page.evaluate(f"{DETAIL}.state()")
    assert all(kept[key] == before[key] for key in ("stage", "method", "colour", "temperature")) and kept["chosen"] is None
    before = tab.page.evaluate(f"Array.from({DETAIL}.detail().x)")
    tab.page.click(".semicon-dots button[id$=-method-1]")
    tab.wait(lambda: "UMAP: only who is near whom" in tab.page.text_content(".semicon-dots details"), "the UMAP", 180)
    tab.wait(lambda: not np.allclose(before, tab.page.evaluate(f"Array.from({DETAIL}.detail().x)"), atol=0.01), "it")
    tab.wait(lambda: "trustworthiness" in tab.page.inner_text(".semicon-dots .numbers"), "its numbers")
    assert tab.value("explorer.problem") == ""


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
