"""The cohort browser shows the cohort's own slices, the split's own parts, and views as the package makes them."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from browser_tools import static_page  # noqa: F401

from semicon_nb.data import phantom, split
from semicon_nb.explore.cohort import (
    SETTINGS,
    USES,
    CohortBrowser,
    fit,
    sample_volumes,
    volume_data,
    volume_parts,
)
from semicon_nb.explore.page import run_lengths
from semicon_nb.views import blur, change_contrast, draw_warp
from semicon_nb.warps import draw_spline, sample


@pytest.fixture
def browser_of(small_phantom) -> CohortBrowser:
    return CohortBrowser(small_phantom, labelled=0.5)


def test_every_volume_stands_in_the_part_that_the_split_gives_it(small_phantom):
    chosen = split(small_phantom, 0.5)
    parts = volume_parts(small_phantom, chosen)
    for volume, part in zip(small_phantom.volumes, parts, strict=True):
        wanted = [k for k, names in enumerate((chosen.labelled, chosen.train, chosen.val, chosen.test)) if volume.name in names][0]
        assert part == wanted


def test_runs_give_the_labels_back(small_phantom):
    for labels in (*small_phantom.labels[:4], np.zeros((300, 300), np.uint8)):
        runs = run_lengths(labels)
        assert np.array_equal(np.repeat(runs["values"], runs["lengths"]).reshape(labels.shape), labels)


def test_a_larger_share_only_adds_labels(browser_of):
    parts = browser_of.shown.parts
    for few, many in zip(parts, parts[1:], strict=False):
        assert set(np.flatnonzero(few == 0)) <= set(np.flatnonzero(many == 0))
    assert (parts[0] == 0).any() and not (parts[-1] == 1).any()


def test_the_slider_says_what_is_dealt_not_what_is_asked(small_phantom):
    assert CohortBrowser(phantom(subjects=4, size=32)).data["stops"] == ["25 %", "25 %", "25 %", "50 %", "100 %"]
    chosen = split(small_phantom, 0.3)
    stops = CohortBrowser(small_phantom, chosen).data["stops"]
    assert stops == [f"{round(100 * len(chosen.labelled) / len(chosen.train), 1):g} %"] != ["30 %"]
    assert CohortBrowser(phantom(subjects=2, size=32)).data["stops"][0] == "5 %"  # too few people for a split


def test_a_given_split_is_shown_as_it_is(small_phantom):
    chosen = split(small_phantom, 0.5, seed=3)
    browser = CohortBrowser(small_phantom, chosen)
    assert len(browser.shown.parts) == 1 and np.array_equal(browser.shown.parts[0], volume_parts(small_phantom, chosen))


def test_a_volume_is_sent_when_the_browser_asks(browser_of, small_phantom, monkeypatch):
    told = []
    monkeypatch.setattr(browser_of.live, "send", told.append)
    browser_of.live.asked = {"volume": 5, "serial": 1}
    sent = json.loads(told[0]["news"])
    assert sent["index"] == 5 and [s["number"] for s in sent["slices"]] == list(range(1, (small_phantom.volume == 5).sum() + 1))


@pytest.mark.parametrize("wrong", [np.zeros((3, 4, 4)), "hippocampus", 7])
def test_what_is_no_cohort_is_a_sentence(wrong):
    browser = CohortBrowser(wrong)
    assert "expected a Cohort" in browser.problem and "Traceback" not in browser.widget.value


def test_a_share_of_nothing_is_a_sentence(small_phantom):
    assert "labelled" in CohortBrowser(small_phantom, labelled=0).problem


def test_the_page_takes_turns_between_parts_and_keeps_the_ends(small_phantom):
    parts = np.array([0, 1, 1, 1, 1, 2, 3, 3])
    assert set(parts[sample_volumes(parts, 4)]) == {0, 1, 2, 3} and len(sample_volumes(parts, 99)) == 8
    numbers = [stored["number"] for stored in volume_data(small_phantom, 1, 3)["slices"]]
    assert len(numbers) == 3 and numbers[0] == 1 and numbers[-1] == (small_phantom.volume == 1).sum()


def test_stored_and_exported_are_small(browser_of, small_phantom, tmp_path):
    assert len(json.dumps(browser_of._repr_mimebundle_())) < 60_000
    assert browser_of.to_html(tmp_path / "c.html").stat().st_size < 1.5e6
    assert fit(small_phantom)[0] >= 1 and fit(small_phantom, 20_000)[0] < len(small_phantom.volumes)


def test_a_page_says_what_it_leaves_out(small_phantom):
    rows = np.repeat(np.flatnonzero(small_phantom.volume < 2), 5)
    parts = {name: getattr(small_phantom, name)[rows] for name in ("images", "labels", "labelled", "volume", "position")}
    long = replace(small_phantom, volumes=small_phantom.volumes[:2], **parts)
    (volume, _), note = CohortBrowser(long).stored()["stored"], CohortBrowser(long).stored()["note"]
    assert len(volume["slices"]) == 16 and note == "This page holds 2 of 2 volumes, at most 16 slices of each."
    labels = long.labels[long.volume == 0]
    assert (volume["outlined"], volume["shows"]) == (len(labels), labels.any((1, 2)).sum()) and len(labels) > 16
    assert CohortBrowser(small_phantom).stored()["note"] == ""


def first_of(tab, small_phantom) -> np.ndarray:
    """Numbers of the slices of the volume that the page shows."""
    return np.flatnonzero(small_phantom.volume == tab.page.evaluate("semicon.shown.state().volume"))


@pytest.mark.browser
def test_the_page_holds_the_cohorts_labels_and_answers(browser_of, small_phantom, static_page, tmp_path):  # noqa: F811
    tab = static_page(browser_of.to_html(tmp_path / "c.html"), size=(1440, 900))
    tab.page.evaluate("semicon.shown.ready")
    tab.shot("cohort-page-before")
    state = tab.page.evaluate("semicon.shown.state()")
    here = first_of(tab, small_phantom)[state["slice"] - 1]
    assert np.array_equal(tab.page.evaluate("semicon.shown.labels()"), small_phantom.labels[here].ravel())
    tab.press("#slice", "Home")
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().slice") == 1, "the first slice")
    tab.page.select_option("#volume", "3")
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().volume") == 3, "another volume")
    assert small_phantom.volumes[3].name in tab.page.locator(".said").text_content()
    tab.pick("canvas.pixels >> nth=0", 10, 12, (32, 32))
    here = first_of(tab, small_phantom)[tab.page.evaluate("semicon.shown.state().slice") - 1]
    name, bright = small_phantom.classes[small_phantom.labels[here][10, 12]], float(small_phantom.images[here][10, 12])
    tab.wait(
        lambda: f"Row 10, column 12: {name}, intensity {bright:.2f}" in tab.page.locator(".said").text_content(),
        "the pixel in words",
    )
    tab.press("#labelled", "End")
    parts = browser_of.shown.parts[-1]
    tab.wait(
        lambda: f"{(parts == 0).sum()} of {(parts < 2).sum()}" in tab.page.locator(".three").text_content(),
        "all labels used",
    )
    dots = tab.page.evaluate("semicon.shown.charts()[0]")
    assert [dots["y"]["names"][int(y)] for y in dots["lines"][0]["y"]] == [USES[k] for k in parts]
    shares = tab.page.evaluate("semicon.shown.charts()[1].lines.map(l => l.y)")
    rows = first_of(tab, small_phantom)
    assert np.allclose(shares[0], 100 * (small_phantom.labels[rows] == 1).mean((1, 2)))
    tab.page.locator(".chart >> nth=1").locator("[data-point='0 1']").click()
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().slice") == 2, "the slice that was clicked")
    tab.page.locator(".chart >> nth=0").locator("[data-point='0 1']").click()
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().volume") == 1, "the volume that was clicked")
    tab.shot("cohort-page-after")


TICKS = "Array.from(document.querySelectorAll('.chart')[1].querySelectorAll('svg > text[text-anchor=middle]:not(.title)'), (t) => Number(t.textContent))"


@pytest.mark.browser
@pytest.mark.parametrize("kept", [1, 2, 8])
def test_the_axis_of_slices_has_whole_numbers(kept, small_phantom, static_page, tmp_path):  # noqa: F811
    first = np.concatenate([np.flatnonzero(small_phantom.volume == v)[:kept] for v in range(len(small_phantom.volumes))])
    volumes = tuple(replace(volume, shape=(*volume.shape[:2], kept)) for volume in small_phantom.volumes)
    arrays = {name: getattr(small_phantom, name)[first] for name in ("images", "labels", "labelled", "volume", "position")}
    tab = static_page(CohortBrowser(replace(small_phantom, volumes=volumes, **arrays)).to_html(tmp_path / "c.html"), size=(1440, 900))
    tab.wait(lambda: tab.page.locator(".chart svg .title").count() >= 2, "the charts")
    found = tab.page.evaluate(TICKS)
    assert found and set(found) <= set(range(1, kept + 1)) and len(found) == len(set(found))


@pytest.mark.browser
def test_an_unlabelled_slice_is_not_called_background(small_phantom, static_page, tmp_path):  # noqa: F811
    labels, labelled = small_phantom.labels.copy(), small_phantom.labelled.copy()
    labels[2], labelled[2] = 0, False
    labels[2, 5, 5] = 1  # an outline that was begun
    browser = CohortBrowser(replace(small_phantom, labels=labels, labelled=labelled))
    browser.live.state = browser.state | {"slice": 3, "pixel": [20, 20]}
    tab = static_page(browser.to_html(tmp_path / "c.html"))
    tab.page.evaluate("semicon.shown.ready")
    said, numbers = tab.page.locator(".said"), tab.page.locator(".three")
    assert "Row 20, column 20: label unknown, intensity" in said.text_content() and "unknown" in numbers.text_content()
    rest = small_phantom.labels[(small_phantom.volume == 0) & (np.arange(len(labels)) != 2)]
    assert f"{rest.any((1, 2)).sum()} of {len(rest)}" in numbers.text_content()
    assert tab.page.evaluate("semicon.shown.charts()[1].lines.every((line) => Number.isNaN(line.y[2]) && line.y[1] >= 0)")
    assert tab.page.locator(".chart >> nth=1").locator("path, polyline, [data-point]").count() > 0
    tab.page.evaluate("semicon.shown.put({pixel: [5, 5]})")
    tab.wait(lambda: f"column 5: {small_phantom.classes[1]}," in said.text_content(), "the class that was drawn")


@pytest.mark.browser
def test_the_views_are_of_the_slice_that_is_shown(browser_of, small_phantom, static_page, tmp_path):  # noqa: F811
    tab = static_page(browser_of.to_html(tmp_path / "c.html"), size=(1440, 900))
    tab.page.evaluate("semicon.shown.ready")
    for number in (1, 2):  # local views keep every pixel in its place
        tab.page.evaluate(f"semicon.shown.put({{slice: {number}}})")
        here = first_of(tab, small_phantom)[number - 1]
        first, other = tab.page.evaluate("semicon.shown.views()")
        assert first["labels"] == other["labels"] == small_phantom.labels[here].ravel().tolist()
        assert all(np.corrcoef(view["image"], small_phantom.images[here].ravel())[0, 1] > 0.7 for view in (first, other))
        heard = tab.page.locator("canvas.pixels").nth(1).get_attribute("aria-label")
        assert heard.startswith(f"One view of slice {number}")
    assert tab.page.evaluate("semicon.shown.views()") == [first, other]
    tab.page.locator("#again").click()
    tab.wait(lambda: tab.page.evaluate("semicon.shown.views()") != [first, other], "other views")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["global (stage 1)", "fine-tuning (stage 3)"])
def test_the_page_makes_a_view_as_the_package_does(name, browser_of, small_phantom, static_page, tmp_path):  # noqa: F811
    settings, generator = SETTINGS[name], torch.Generator().manual_seed(4)
    image, labels = (torch.as_tensor(values[12].astype(float)).float()[None] for values in (small_phantom.images, small_phantom.labels))
    warp = draw_warp(settings, (1, 1), image.shape[1:], generator, image.device)
    moved = sample(image, warp.grid())[0]
    plain = dict(gamma=1.3, contrast=0.9, brightness=0.05, blur=0.6, reach=2, noise=0)
    fixed = SETTINGS[name].__class__(gamma=(1.3, 1.3), contrast=(0.9, 0.9), brightness=0)
    bias = 0.1 * torch.randn(6, 6, generator=generator)
    wanted = (change_contrast(moved, fixed, generator) + 0.05) * draw_spline(bias, tuple(image.shape[1:])).exp()
    wanted = blur(wanted, torch.tensor([0.6]), 0.8)[0].numpy()
    drawn = {**plain, "control": warp.control[0, 0].flatten(1).tolist(), "bias": bias.flatten().tolist()}
    tab = static_page(browser_of.to_html(tmp_path / "c.html"))
    side = image.shape[1]
    made = "([image, labels, drawn, side]) => { const v = makeView(image, labels, drawn, side, side); return [Array.from(v.image), Array.from(v.labels)]; }"
    found = tab.page.evaluate(made, [image.flatten().tolist(), labels.int().flatten().tolist(), drawn, side])
    assert np.allclose(np.reshape(found[0], wanted.shape), wanted, atol=2e-4)
    nearest = sample(labels, warp.grid(), "nearest")[0, 0].numpy()
    assert (np.reshape(found[1], nearest.shape) != nearest).mean() < 0.003  # a place half-way between two pixels may fall to either


@pytest.mark.browser
@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_page_draws_stays_within_the_settings(name, browser_of, static_page, tmp_path):  # noqa: F811
    settings = SETTINGS[name]
    tab = static_page(browser_of.to_html(tmp_path / "c.html"))
    draw = (
        "([settings, n]) => { const random = randomNumbers(5); return Array.from({length: n}, () => drawView(settings, 48, 32, random)); }"
    )
    drawn = tab.page.evaluate(draw, [asdict(settings), 400])
    for key, (low, high) in {
        "gamma": settings.gamma,
        "contrast": settings.contrast,
        "noise": (0, settings.noise),
        "blur": (0, settings.blur),
    }.items():
        values = np.array([view[key] for view in drawn])
        assert low <= values.min() and values.max() <= high and (high == low or np.ptp(values) > 0.9 * (high - low))
    if settings.elastic or settings.rotation:
        shape, points = (48, 32), torch.tensor([view["control"] for view in drawn]).view(400, 2, 9, 9)
        warp = draw_warp(settings, (400, 1), shape, torch.Generator().manual_seed(0), torch.device("cpu"))
        found, wanted = draw_spline(points, shape), draw_spline(warp.control[:, 0], shape)
        assert torch.allclose(found.std(0), wanted.std(0), rtol=0.25, atol=0.4) and torch.allclose(found.mean(0), wanted.mean(0), atol=0.8)
    else:
        assert all(view["control"] is None for view in drawn)
    if settings.bias:
        fields = draw_spline(torch.tensor([view["bias"] for view in drawn]).view(400, 6, 6), (48, 32))
        assert fields.square().mean().sqrt() == pytest.approx(settings.bias, rel=0.1)


@pytest.mark.browser
def test_names_from_files_are_text(small_phantom, static_page, tmp_path):  # noqa: F811
    bad = "<img src=x onerror=alert(1)>"
    volumes = tuple(replace(volume, name=f"{bad}{i}") for i, volume in enumerate(small_phantom.volumes))
    browser = CohortBrowser(replace(small_phantom, volumes=volumes, classes=("background", bad, "b")))
    assert "of &lt;img src=x" in browser.picture().layout.annotations[0].text
    tab = static_page(browser.to_html(tmp_path / "c.html"))
    tab.page.evaluate("semicon.shown.ready")
    assert tab.page.locator("#explorer img").count() == 0 and bad in tab.page.locator(".said").text_content()


LEVELS = """(number) => {
  const canvas = document.querySelectorAll('canvas.pixels')[number], pen = canvas.getContext('2d'), s = canvas.width / 32, found = [];
  for (let r = 0; r < 32; r++) for (let c = 0; c < 32; c++) {
    found.push(Array.from(pen.getImageData(Math.floor((c + .15) * s), Math.floor((r + .15) * s), 1, 1).data.slice(0, 3)));
  }
  return found;
}"""


@pytest.mark.browser
def test_window_and_labels_reach_the_picture(browser_of, small_phantom, static_page, tmp_path):  # noqa: F811
    tab = static_page(browser_of.to_html(tmp_path / "c.html"), size=(1440, 900))
    tab.page.evaluate("semicon.shown.ready")
    here = first_of(tab, small_phantom)[tab.page.evaluate("semicon.shown.state().slice") - 1]
    image, labels = small_phantom.images[here], small_phantom.labels[here]
    tinted = np.array(tab.page.evaluate(LEVELS, 0)).reshape(32, 32, 3)
    alone = np.logical_and.reduce([np.roll(labels, step, axis) == labels for step in (1, -1) for axis in (0, 1)])  # no outline
    hue = np.ptp(tinted.astype(int), axis=-1)
    assert (hue[alone & (labels > 0)] > 20).all() and (hue[alone & (labels == 0)] == 0).all()
    tab.page.locator("#labels").uncheck()
    tab.page.locator("summary", has_text="Intensity window").click()
    for name, keys in (("low", ["ArrowRight"] * 10), ("high", ["ArrowLeft"] * 20)):
        tab.page.locator(f"#{name}").focus()
        for key in keys:
            tab.page.keyboard.press(key)
    tab.wait(lambda: np.allclose(tab.page.evaluate("semicon.shown.state().window"), [0.2, 0.6]), "the window")
    grey = np.array(tab.page.evaluate(LEVELS, 0)).reshape(32, 32, 3)
    wanted = 255 * np.clip((np.rint(255 * image.clip(0, 1)) / 255 - 0.2) / 0.4, 0, 1)
    assert np.abs(grey - wanted[..., None]).max() <= 1


@pytest.mark.browser
def test_controls_follow_the_state_and_black_stays_below_white(browser_of, static_page, tmp_path):  # noqa: F811
    tab = static_page(browser_of.to_html(tmp_path / "c.html"))
    tab.page.evaluate("semicon.shown.ready")
    tab.page.evaluate("semicon.shown.put({labels: false, window: [0.2, 0.9]})")
    tab.wait(lambda: not tab.page.is_checked("#labels"), "the box that is no longer ticked")
    assert [tab.page.input_value(name) for name in ("#low", "#high")] == ["10", "45"]
    tab.page.locator("summary", has_text="Intensity window").click()
    tab.press("#low", "End")
    tab.wait(lambda: np.allclose(tab.page.evaluate("semicon.shown.state().window"), [0.88, 0.9]), "black just below white")
    assert tab.page.input_value("#low") == "44" and tab.page.locator("output[for=low]").text_content() == "0.88"
    tab.press("#high", "Home")
    tab.wait(lambda: np.allclose(tab.page.evaluate("semicon.shown.state().window"), [0.88, 0.9]), "white just above black")


@pytest.mark.browser
def test_a_pixel_can_be_read_without_a_pointer(browser_of, static_page, tmp_path):  # noqa: F811
    tab = static_page(browser_of.to_html(tmp_path / "c.html"))
    tab.page.evaluate("semicon.shown.ready")
    picture = tab.page.locator("canvas.pixels").first
    assert picture.get_attribute("aria-label").endswith("Arrow keys choose a pixel.")
    picture.focus()
    tab.page.keyboard.press("ArrowRight")
    tab.wait(lambda: tab.page.evaluate("semicon.shown.state().pixel") == [16, 17], "the pixel beside the middle")
    assert "Row 16, column 17" in tab.page.locator(".said").text_content()


@pytest.mark.browser
def test_structures_are_told_by_colour_and_by_mark(static_page, tmp_path):  # noqa: F811
    cohort = phantom(subjects=3, size=32)
    labels = np.zeros_like(cohort.labels)
    for k in range(8):
        labels[:, 4 * k : 4 * k + 3, 4:28] = k + 1
    names = ("background", *(f"structure {k}" for k in range(8)))
    tab = static_page(CohortBrowser(replace(cohort, labels=labels, classes=names)).to_html(tmp_path / "c.html"), size=(1440, 900))
    tab.page.evaluate("semicon.shown.ready")
    outlines = tab.page.locator(".meanings .outline").evaluate_all("all => all.map(i => getComputedStyle(i).borderTopColor)")
    assert len(outlines) == 8 and len(set(outlines)) == 7 and outlines[:2] == ["rgb(230, 159, 0)", "rgb(86, 180, 233)"]
    shapes = """() => { const c = document.querySelector('canvas.pixels'), pen = c.getContext('2d'), s = c.width / 32;
      return Array.from({length: 7}, (_, k) => {
        const cell = pen.getImageData(Math.round(10 * s), Math.round((4 * k + 1) * s), Math.round(s), Math.round(s)).data, found = [];
        const dark = Math.min(...cell.filter((_, i) => i % 4 === 0));
        for (let i = 0; i < cell.length; i += 4) found.push(cell[i] > dark + 12 ? 1 : 0);
        return found.join('');
      }); }"""
    assert len(set(tab.page.evaluate(shapes))) == 7
