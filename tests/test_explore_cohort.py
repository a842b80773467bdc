"""The cohort browser shows the cohort's own slices and the split's own parts, live and in the exported page."""

import json

import numpy as np
import pytest
from browser_tools import static_page  # noqa: F401

from semicon_nb.data import split
from semicon_nb.explore.canvas import PixelCanvas
from semicon_nb.explore.cohort import (
    SETTINGS,
    USES,
    CohortBrowser,
    fitting,
    labelled_picture,
    part_of_volumes,
    profile,
    runs,
    sampled_volumes,
    some,
    two_views,
    windowed,
)


@pytest.fixture
def browser_of(small_phantom) -> CohortBrowser:
    return CohortBrowser(small_phantom, labelled=0.5)


def test_a_window_stretches_and_clips():
    assert windowed(np.array([[0.0, 0.25, 0.5, 1.0]]), (0.25, 0.75)).tolist() == [[0, 0, 0.5, 1]]
    assert np.isfinite(windowed(np.zeros((2, 2)), (0.5, 0.5))).all()


def test_labels_are_told_by_colour_and_by_mark():
    labels = np.array([[0, 1, 2, 8]])
    colours, marks = labelled_picture(np.full((1, 4), 0.5), labels, 9)
    assert marks.tolist() == [[0, 1, 2, 1]] and len({tuple(c) for c in colours[0, :3]}) == 3


def test_every_volume_stands_in_the_part_that_the_split_gives_it(small_phantom):
    chosen = split(small_phantom, 0.5)
    parts = part_of_volumes(small_phantom, chosen)
    for volume, part in zip(small_phantom.volumes, parts, strict=True):
        wanted = [k for k, names in enumerate((chosen.labelled, chosen.train, chosen.val, chosen.test)) if volume.name in names][0]
        assert part == wanted


def test_the_profile_counts_pixels(small_phantom):
    rows = np.flatnonzero(small_phantom.volume == 1)
    shares = profile(small_phantom, rows)
    assert shares[0, 2] == pytest.approx(100 * (small_phantom.labels[rows[2]] == 1).mean())


def test_runs_give_the_labels_back(small_phantom):
    for labels in (*small_phantom.labels[:4], np.zeros((300, 300), np.uint8)):
        values, lengths = runs(labels)
        assert np.array_equal(np.repeat(values, lengths).reshape(labels.shape), labels)


def test_views_repeat_with_their_seed(small_phantom):
    image, labels = small_phantom.images[4], small_phantom.labels[4]
    settings = SETTINGS["global (stage 1)"]
    first, again, other = (two_views(image, labels, settings, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and not np.array_equal(first[0], first[1])


def shown(canvas: PixelCanvas) -> np.ndarray:
    return np.frombuffer(canvas.rgb, np.uint8).reshape(*canvas.shape, 3)


def test_slice_window_and_labels_reach_the_picture(browser_of, small_phantom):
    browser_of.slice.value = 2
    here = browser_of.rows[1]
    assert np.array_equal(shown(browser_of.canvases[0]), labelled_picture(small_phantom.images[here], small_phantom.labels[here], 3)[0])
    browser_of.overlay.value = False
    browser_of.window.value = (0.2, 0.6)
    wanted = np.rint(255 * windowed(small_phantom.images[here], (0.2, 0.6))).astype(np.uint8)
    assert np.array_equal(shown(browser_of.canvases[0])[..., 0], wanted)
    assert browser_of.profile_chart.data[-1].x[0] == 2


def test_another_volume_changes_everything(browser_of, small_phantom):
    browser_of.volumes.value = 5
    assert set(small_phantom.volume[browser_of.rows]) == {5}
    assert small_phantom.volumes[5].name in browser_of.said.value
    assert browser_of.parts_chart.data[1].y[0] == USES[browser_of.parts[5]]
    assert np.allclose(browser_of.profile_chart.data[0].y, profile(small_phantom, browser_of.rows)[0])
    assert not browser_of.problem, browser_of.trace


def test_a_larger_fraction_only_adds_labels(browser_of):
    few = set(np.flatnonzero(browser_of.parts == 0))
    browser_of.fraction.value = 1.0
    many = set(np.flatnonzero(browser_of.parts == 0))
    assert few < many and not (browser_of.parts == 1).any()


def test_a_given_split_is_shown_as_it_is(small_phantom):
    chosen = split(small_phantom, 0.5, seed=3)
    browser = CohortBrowser(small_phantom, chosen)
    assert np.array_equal(browser.parts, part_of_volumes(small_phantom, chosen)) and len(browser.fraction.options) == 1


def test_pointing_reads_the_pixel(browser_of, small_phantom):
    browser_of.canvases[0].anchor = [10, 12]
    here = browser_of.rows[browser_of.k]
    assert f"Row 10, column 12: {small_phantom.classes[small_phantom.labels[here][10, 12]]}" in browser_of.said.value


def test_other_views_come_on_request(browser_of):
    before = shown(browser_of.canvases[1]).copy()
    browser_of.again.click()
    assert not np.array_equal(before, shown(browser_of.canvases[1]))


@pytest.mark.parametrize("wrong", [np.zeros((3, 4, 4)), "hippocampus", 7])
def test_what_is_no_cohort_is_a_sentence(wrong):
    browser = CohortBrowser(wrong)
    assert "expected a Cohort" in browser.problem and "Traceback" not in browser.widget.value


def test_a_split_of_something_else_is_a_sentence(small_phantom):
    browser = CohortBrowser(small_phantom, labelled=0)
    assert "labelled" in browser.problem


def test_the_page_takes_turns_between_parts_and_keeps_the_ends():
    parts = np.array([0, 1, 1, 1, 1, 2, 3, 3])
    assert set(parts[sampled_volumes(parts, 4)]) == {0, 1, 2, 3} and len(sampled_volumes(parts, 99)) == 8
    assert some(np.arange(40), 5).tolist()[0] == 0 and some(np.arange(40), 5).tolist()[-1] == 39


def test_stored_and_exported_are_small(browser_of, small_phantom, tmp_path):
    assert len(json.dumps(browser_of._repr_mimebundle_())) < 60_000
    assert browser_of.to_html(tmp_path / "c.html").stat().st_size < 6e6
    assert browser_of.to_html(tmp_path / "shared.html", "shared").stat().st_size < 1.5e6
    assert fitting(small_phantom)[0] >= 1


@pytest.mark.browser
def test_the_page_holds_the_cohorts_labels_and_answers(browser_of, small_phantom, static_page, tmp_path):  # noqa: F811
    tab = static_page(browser_of.to_html(tmp_path / "c.html", "shared"))
    tab.page.evaluate("cohort.ready")
    tab.shot("cohort-page-before")
    names = [v.name for v in small_phantom.volumes]
    state = tab.page.evaluate("cohort.state()")
    rows = np.flatnonzero(small_phantom.volume == names.index(state["volume"]))
    assert np.array_equal(tab.page.evaluate("cohort.labels(0, 2)"), small_phantom.labels[rows[2]].ravel())
    tab.press("#slice", "Home")
    tab.wait(lambda: tab.page.evaluate("cohort.state().slice") == 1, "the first slice")
    tab.page.select_option("#volume", "3")
    tab.wait(lambda: tab.page.evaluate("cohort.state().volume") != state["volume"], "another volume")
    tab.pick("#picture0 canvas", 10, 12, (32, 32))
    tab.wait(lambda: "Row 10, column 12" in tab.page.locator("#said").text_content(), "the pixel in words")
    tab.press("#fraction", "End")
    tab.wait(lambda: tab.page.evaluate("!document.getElementById('split').data[0].y.includes('train, images only')"), "all labels used")
    tab.click("#profile", (2, float(tab.page.evaluate("document.getElementById('profile').data[0].y[1]"))))
    tab.wait(lambda: tab.page.evaluate("cohort.state().slice") == 2, "the slice that was clicked")
    tab.shot("cohort-page-after")
