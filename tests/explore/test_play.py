"""The playground in a real browser: its loss is the library's, its pixels form islands, and every hand that touches it is heard."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from browser_tools import open_page, static_page  # noqa: F401
from PIL import Image

from semicon_nb.data import phantom
from semicon_nb.explore import Playground
from semicon_nb.explore.play import SLICES
from semicon_nb.losses import supervised_local_contrastive_loss
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, Groups, Strategy

pytestmark = [pytest.mark.xdist_group("browser")]
SIZE = 64
KINDS = {
    "every": ({"kind": "every"}, FullResolution()),
    "stride": ({"kind": "stride", "size": 4}, Downsampling(4)),
    "ragged stride": ({"kind": "stride", "size": 6}, Downsampling(6)),
    "block": ({"kind": "block", "size": 16}, BlockDivision(16)),
    "random": ({"kind": "random", "size": 300}, None),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return Playground().to_html(tmp_path_factory.mktemp("play") / "play.html")


@pytest.fixture(scope="module")
def room(browser, written):
    """One page for all that only asks its functions."""
    tab = open_page(browser, written)
    tab.wait(lambda: tab.page.evaluate("typeof semicon === 'object' && !!semicon.playground"), "the playground")
    yield tab
    assert not tab.errors and not tab.outside
    tab.close()


@pytest.fixture
def tab(static_page, written):  # noqa: F811
    tab = static_page(written)
    tab.wait(lambda: tab.page.evaluate("typeof semicon === 'object' && !!semicon.playground"), "the playground")
    return tab


def state(tab):
    return tab.page.evaluate("semicon.playground.state()")


class Sampled(Strategy):
    """The groups that the browser drew."""

    def __init__(self, groups):
        self.drawn = groups

    def groups(self, labels, shape):
        (group,) = self.drawn
        return (Groups(torch.tensor(group["index"])[None], torch.tensor(group["weight"], dtype=torch.float64)[None]),)


def parity(page, kind, dims, background):
    """Relative errors of loss and gradient against the library's, and both counts of pairs, on the same random rows [4096, dims]."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(SIZE * SIZE, dims)), phantom(**SLICES[0][1]).labels[SLICES[0][2]].astype(int)
    chosen, strategy = KINDS[kind]
    found = page.evaluate(
        """([rows, dims, labels, strategy, background]) => {
          const { room } = semicon.playground, groups = room.groupsOf(strategy, labels, 64, 64, room.randomOf(5));
          const found = room.contrast(Float64Array.from(rows), dims, labels, groups, 0.1, background);
          const drawn = strategy.kind === "random" ? groups.map((g) => ({ index: [...g.index], weight: [...g.weight] })) : null;
          return { loss: found.loss, gradient: [...found.gradient], pairs: found.pulls + found.pushes, drawn };
        }""",
        [rows.ravel().tolist(), dims, labels.ravel().tolist(), chosen, background],
    )
    strategy = strategy or Sampled(found["drawn"])
    features, classes = torch.tensor(rows, requires_grad=True), torch.tensor(labels)[None, None]
    loss = supervised_local_contrastive_loss(features.T.reshape(1, 1, dims, SIZE, SIZE), classes, 0.1, strategy, background=background)
    loss.backward()
    gradient = torch.tensor(found["gradient"]).view(-1, dims)
    apart = ((gradient - features.grad).norm() / features.grad.norm()).item()
    return abs(found["loss"] / loss.item() - 1), apart, found["pairs"], strategy.cost(classes, dims, background).pairs


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_the_librarys(kind, dims, background, room):
    of_loss, of_gradient, pairs, wanted = parity(room.page, kind, dims, background)
    assert of_loss < 1e-9 and of_gradient < 1e-6 and pairs == wanted


def test_features_are_those_of_the_python_lines(room):
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(1).random((SIZE, SIZE))
    one, two, four = (gaussian_filter(image, s, mode="nearest", truncate=3) for s in (1, 2, 4))
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    planes = [
        image,
        one,
        two,
        four,
        image - one,
        one - two,
        two - four,
        np.hypot(*np.gradient(one)),
        np.hypot(*np.gradient(two)),
        columns,
        rows,
    ]
    wanted = np.stack([(p - p.mean()) / (p.std() + 1e-6) for p in planes], -1)
    found = room.page.evaluate("(image) => [...semicon.playground.room.features(Float64Array.from(image), 64, 64)]", image.ravel().tolist())
    np.testing.assert_allclose(np.reshape(found, wanted.shape), wanted, atol=1e-9)


def test_the_gradient_of_the_network_is_its_slope(room):
    """One step of Adam with a tiny rate moves every weight by the rate against the sign of its slope: the loss falls as foretold."""
    falls = room.page.evaluate(
        """() => {
          const { room } = semicon.playground, s = semicon.playground.state(), picture = semicon.data.pictures[0];
          const task = { image: Float64Array.from(unpack(picture.image), (v) => v / 255), labels: unpack(picture.labels), height: 64, width: 64,
            strategy: { kind: "stride", size: 4 }, temperature: 0.2, dims: 3, background: true, seed: 1 };
          const made = room.training(task), losses = [];
          for (let k = 0; k < 60; k++) losses.push(made.step().loss);
          return losses;
        }"""
    )
    assert falls[-1] < falls[0] - 0.5 and sum(b < a for a, b in zip(falls, falls[1:], strict=False)) > 45


def seeded(page, count: int):
    """Mean Dice of the two structures with the paint, after 300 steps with a sample of 512 pixels on the sphere, for so many seeds."""
    return page.evaluate(
        """(length) => Array.from({ length }, (_, seed) => {
          const { room } = semicon.playground, picture = semicon.data.pictures[0], labels = unpack(picture.labels);
          const made = room.training({ image: Float64Array.from(unpack(picture.image), (v) => v / 255), labels, height: 64, width: 64,
            strategy: { kind: "random", size: 512 }, temperature: 0.2, dims: 3, background: true, seed });
          for (let k = 0; k < 300; k++) made.step();
          const { named } = made.look();
          return (room.dice(named, labels, 1) + room.dice(named, labels, 2)) / 2;
        })""",
        count,
    )


@pytest.mark.parametrize("seeds", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_the_painted_task_ends_well_for_every_seed(seeds, room):
    found = seeded(room.page, seeds)
    assert min(found) > 0.75 and np.mean(found) > 0.88


SEEN = ("#go", "#said", "#slice", "#ball", "#brush-2")
CONTROLS = ("#strategy-3", "#size", "#temperature", "#background", "#dims-1", "#picture", "#clear", "#mine", "#loss")


@pytest.mark.parametrize(("size", "parts"), [((1280, 720), SEEN), ((1440, 900), SEEN + CONTROLS)])
def test_slice_sphere_and_controls_are_in_sight_at_once(size, parts, tab):
    tab.page.set_viewport_size({"width": size[0], "height": size[1]})
    tab.wait(lambda: tab.page.locator("#slice").bounding_box()["width"] < size[1] - 200, "the squares to fit the window")
    for part in parts:
        box = tab.page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1], part


def test_the_curve_marks_a_change_and_a_restart_says_why(tab):
    page, curve = tab.page, lambda: tab.page.get_attribute("#loss", "aria-label")
    page.click("#go")
    tab.wait(lambda: state(tab)["steps"] > 5, "some steps")
    assert "After step" not in curve()
    page.click("#strategy-2")
    page.focus("#size")
    page.keyboard.press("ArrowRight")
    page.focus("#temperature")
    page.keyboard.press("End")
    tab.wait(lambda: re.search(r"After step \d+: blocks, 32 × 32\. After step \d+: temperature 1\.$", curve()), "one mark a control")
    page.click("#dims-0")
    tab.wait(lambda: page.inner_text("#said").startswith("A circle takes 2 numbers a pixel, so a new network starts again. After "), "why")
    assert "blocks" not in curve(), "a new curve has no marks"


def test_an_erased_pixel_is_told_from_one_that_was_never_painted(tab):
    page, said = tab.page, lambda: tab.page.get_attribute("#slice", "aria-label")
    assert "erased: 0 pixels" in said()
    before = page.evaluate("document.getElementById('ball').toDataURL()")
    page.click("#brush-3")
    box = page.locator("#slice").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.wait(lambda: 0 < int(re.search(r"erased: (\d+) pixels", said())[1]) < 60, "hollow pixels")
    page.click("#brush-0")
    page.mouse.click(box["x"] + 9, box["y"] + 9)
    assert "erased: 0 pixels" not in said() and page.evaluate("document.getElementById('ball').toDataURL()") != before
    page.click("#clear")
    assert "erased: 0 pixels" in said()


def test_play_trains_moves_and_recolours(tab):
    page = tab.page
    assert page.inner_text("#go") == "▶ Play"
    tab.wait(lambda: "Before the first step" in page.inner_text("#said"), "the first look")
    before = page.evaluate("document.getElementById('slice').toDataURL()")
    page.click("#go")
    tab.wait(lambda: state(tab)["steps"] > 60 and state(tab)["frames"] > 10, "sixty steps")
    assert page.inner_text("#go") == "❚❚ Pause" and "Dice of tint and paint (1 where" in page.inner_text("#said")
    assert "1,024 of 4,096 pixels" in page.inner_text("#compared") and "pulls" in page.inner_text("#compared")
    assert "An anchor is a painted pixel" in page.inner_text(".compared")
    page.click("#go")
    tab.wait(lambda: not state(tab)["playing"], "the pause")
    assert page.evaluate("document.getElementById('slice').toDataURL()") != before
    page.wait_for_timeout(500)
    rest = state(tab)["steps"]
    page.click("#step")
    tab.wait(lambda: state(tab)["steps"] > rest, "one step")
    assert state(tab)["steps"] == rest + 1
    assert not tab.errors and not tab.outside


def test_what_is_painted_and_chosen_stands_in_the_address(tab, static_page, written):  # noqa: F811
    page = tab.page
    page.click("#clear")
    assert set(state(tab)["labels"]) == {0}
    page.click("#go")
    assert "Paint something first" in page.inner_text("#said") and not state(tab)["playing"]
    page.click("#brush-1")
    box = page.locator("#slice").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4, steps=4)
    page.mouse.up()
    labels = np.reshape(state(tab)["labels"], (SIZE, SIZE))
    assert labels[15:17, 16:32].min() == 2 and set(np.unique(labels)) == {0, 2} and not labels[30:].any()
    page.click("#strategy-2")
    page.focus("#size")
    page.keyboard.press("ArrowRight")
    page.click("#dims-0")
    page.uncheck("#background")
    told = state(tab)
    assert (told["strategy"], told["size"], told["dims"], told["background"]) == ("block", 32, 2, False)
    tab.wait(lambda: "paint=" in page.url and "strategy=block" in page.url and "background=0" in page.url, "the address")
    other = static_page(written)
    other.wait(lambda: other.page.evaluate("typeof semicon === 'object' && !!semicon.playground"), "another playground")
    other.page.evaluate("(hash) => { location.hash = hash; }", page.url[page.url.index("#") :])
    other.wait(lambda: state(other)["strategy"] == "block", "what the address says")
    again = state(other)
    assert {name: again[name] for name in ("strategy", "size", "dims", "background", "labels", "seed")} == {
        name: told[name] for name in ("strategy", "size", "dims", "background", "labels", "seed")
    }


def test_the_keyboard_paints_and_turns(tab):
    page = tab.page
    page.click("#clear")
    page.focus("#slice")
    for key in ("3", "Shift+ArrowUp", "ArrowLeft", " "):
        page.keyboard.press(key)
    labels = np.reshape(state(tab)["labels"], (SIZE, SIZE))
    rows, columns = np.nonzero(labels)
    assert set(labels[rows, columns]) == {3} and (rows.mean(), columns.mean()) == (24, 31)
    before = page.evaluate("document.getElementById('ball').toDataURL()")
    page.focus("#ball")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.getElementById('ball').toDataURL()") != before


def test_what_is_said_goes_with_its_cause(tab):
    page, said = tab.page, lambda: tab.page.inner_text("#said")
    page.click("#clear")
    page.click("#go")
    assert "Paint something first" in said()
    page.click("#paint")
    assert "Paint something first" not in said() and any(state(tab)["labels"])
    page.click("#step")
    tab.wait(lambda: "After 1 step, Dice" in said(), "a step")
    before = said()
    page.click("#brush-2")
    page.locator("#slice").click(position={"x": 9, "y": 9})
    assert said() != before, "the Dice is that of the paint that is there"


def test_a_picture_of_ones_own_stays_here(tab, tmp_path):
    shades = np.zeros((200, 300), np.uint8)
    shades[:, 150:] = 255
    Image.fromarray(shades).save(tmp_path / "mine.png")
    tab.page.set_input_files("#file", tmp_path / "mine.png")
    tab.wait(lambda: "stays on this machine" in tab.page.inner_text("#said"), "the picture")
    assert not any(state(tab)["labels"]) and not tab.outside
    assert tab.page.input_value("#picture") == "own" and tab.page.is_disabled("#paint") and "#" not in tab.page.url
    (tmp_path / "no.png").write_text("no picture")
    tab.page.set_input_files("#file", tmp_path / "no.png")
    tab.wait(lambda: "no.png: is no picture" in tab.page.inner_text("#said"), "the refusal")
    tab.page.select_option("#picture", "0")
    tab.wait(lambda: "Before the first step" in tab.page.inner_text("#said"), "a slice in place of the refusal")
    tab.page.select_option("#picture", "own")
    tab.page.evaluate("document.getElementById('file').dispatchEvent(new Event('cancel'))")
    assert tab.page.input_value("#picture") == "0" and tab.page.is_enabled("#paint")


def test_pictures_that_are_not_square_or_partly_clear_are_the_same_in_python(tab, tmp_path):
    shades = np.zeros((48, 96, 4), np.uint8)
    shades[..., :3] = np.linspace(0, 255, 96).astype(np.uint8)[None, :, None]
    shades[:24, :, 3] = 255  # nothing below: black
    Image.fromarray(shades).save(tmp_path / "wide.png")
    tab.page.set_input_files("#file", tmp_path / "wide.png")
    tab.wait(lambda: "stays on this machine" in tab.page.inner_text("#said"), "the picture")
    code = tab.page.evaluate("semicon.playground.python()").split("runs = re")[0].replace("your picture.png", str(tmp_path / "wide.png"))
    found = dict[str, np.ndarray]()
    exec(code, found)
    shown = np.reshape(tab.page.evaluate("semicon.playground.state().image"), (SIZE, SIZE))
    assert np.abs(shown - found["image"])[4:28].max() < 0.03 and not shown[36:].any() and not found["image"][36:].any()


@pytest.mark.parametrize("painted", [False, True])
def test_the_python_lines_run_and_segment(painted, tab, tmp_path):
    if painted:
        tab.page.click("#strategy-1")
        tab.page.focus("#slice")
        for key in ("2", "Shift+ArrowUp", " "):
            tab.page.keyboard.press(key)
    code = tab.page.evaluate("semicon.playground.python()")
    assert ("re.findall" in code) == painted and ("Downsampling(4)" in code) == painted
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    scores = [float(word) for word in re.findall(r"label [12]: Dice with the paint ([0-9.]+)", done.stdout)]
    assert len(scores) == 2 and min(scores) > (0.4 if painted else 0.75)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light"), (1600, "dark")])
def test_it_fits_every_screen_and_says_what_it_shows(width, scheme, tab):
    page = tab.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.click("#go")
    tab.wait(lambda: state(tab)["steps"] > 20, "some steps")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.querySelectorAll('canvas')].every((c) => (c.getAttribute('aria-label') || '').length > 20)")
    assert page.evaluate("[...document.querySelectorAll('input, select')].every((c) => c.id === 'file' || c.labels.length)")
    tab.shot(f"play-{width}-{scheme}")
    assert not tab.errors and not tab.outside


def test_it_draws_while_it_has_no_width_and_the_keyboard_skips_the_hidden_file(tab):
    tab.page.add_style_tag(content="#play { display: none }")
    tab.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert tab.page.evaluate("document.getElementById('file').tabIndex") == -1
    assert not tab.errors


def test_a_notebook_shows_it_in_a_frame_and_a_stored_page_a_picture(monkeypatch):
    monkeypatch.delenv("PLOTLY_RENDERER", raising=False)
    shown = Playground()._repr_mimebundle_()
    assert shown["text/html"].startswith("<iframe") and "pixelLoss" in shown["text/html"] and "http:" not in shown["text/html"]
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    stored = Playground()._repr_mimebundle_()
    assert stored["application/vnd.plotly.v1+json"]["data"][0]["type"] == "image" and stored["text/plain"] == Playground.title
