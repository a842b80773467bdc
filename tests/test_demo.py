"""The demo: two runs, an honest sentence, and a page that opens without a network."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from semicon_nb import demo as module
from semicon_nb.cli import main
from semicon_nb.data import load, split
from semicon_nb.demo import CONTENDERS, as_text, claim, demo, demo_preset, largest_slices, verdict, volume_scores
from semicon_nb.evaluate import report_of
from semicon_nb.methods import PRESETS, load_run


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo of a few steps: its folder and its text."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "demo_preset", lambda cohort, factor: replace(PRESETS["demo"], name="tiny", width=4).scaled(0.03))
        patch.setattr(module, "load", lambda place: load("phantom", subjects=8, size=32))
        return out, demo("phantom", out, labelled=0.2, factor=0.1, progress=False)


def reports_with(base: list[float], other: list[float]) -> dict:
    """Two reports with these Dice values for volumes of one class."""
    from semicon_nb.data import Volume

    made = {}
    for title, values in zip(CONTENDERS, (base, other), strict=True):
        scores = [(Volume(f"v{i}", f"s{i}"), 3, np.array([value]), np.array([1.0])) for i, value in enumerate(values)]
        made[title] = report_of(["organ"], np.array([np.mean(values)]), scores)
    return made


# ------------------------------------------------------------------------------------------------ words


def test_the_sentence_names_the_one_who_is_ahead() -> None:
    assert verdict(reports_with([0.5, 0.7, 0.6], [0.6, 0.8, 0.5])).startswith("Three stages are ahead by 0.033 pooled Dice. ")
    behind = verdict(reports_with([0.9, 0.9, 0.8], [0.5, 0.95, 0.7]))
    assert behind.startswith("From scratch is ahead by 0.150") and "better on 1 of 3" in behind and "−0.150" in behind
    assert verdict(reports_with([0.5], [0.5])).startswith("From scratch and three stages are level") and "nan" not in verdict(
        reports_with([0.5], [0.5])
    )
    assert all("another split may say the opposite" in verdict(reports_with(*scores)) for scores in (([0.1], [0.9]), ([0.9], [0.1])))


def test_volumes_without_a_known_class_do_not_count() -> None:
    reports = reports_with([0.5, np.nan], [0.6, np.nan])
    assert np.isnan(volume_scores(reports["three stages"])[1]) and "1 of 2" in verdict(reports)


def test_the_table_is_aligned() -> None:
    text = as_text([{"": "from scratch", "Dice": "0.1"}, {"": "x", "Dice": "0.123"}])
    assert [len(line) for line in text.splitlines()] == [19, 19, 19]


def test_real_scans_get_the_larger_network_and_both_contenders_the_same_fine_tuning() -> None:
    small, real = load("phantom", subjects=3, size=32), replace(load("phantom", subjects=3, size=32), source={"cohort": "hippocampus"})
    assert demo_preset(small).width == 8 and demo_preset(real).width == 16
    assert demo_preset(real).stages["finetune"].steps == 2000 and demo_preset(real, 0.1).stages["finetune"].steps == 200
    assert [*CONTENDERS] == ["from scratch", "three stages"]


# ------------------------------------------------------------------------------------------------ the folder


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="in use"):
        claim(tmp_path)
    assert main(["demo", "--out", str(tmp_path)]) == 2 and "in use" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is a file"):
        claim(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    claim(tmp_path / "new")
    claim(tmp_path / "new")


def test_the_demo_leaves_two_runs_and_a_page(shown: tuple[Path, str]) -> None:
    out, text = shown
    runs = sorted((out / "runs").iterdir())
    assert [re.sub("-[0-9a-f]{8}$", "", path.name) for path in runs] == ["from-scratch", "three-stages"]
    steps = [load_run(path).settings["stages"]["finetune"] for path in runs]
    assert steps[0] == steps[1]
    assert [load_run(path).stages for path in runs] == [["initial", "finetune"], ["initial", "global", "local", "finetune"]]
    assert load_run(runs[0]).split == load_run(runs[1]).split
    for words in ("from scratch", "three stages", "pooled Dice", str(out / "index.html"), "Next:", "DATA=hippocampus"):
        assert words in text
    assert len(list(out.iterdir())) == 3


def test_a_second_demo_uses_the_finished_runs(shown: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, text = shown
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*.pt")}
    monkeypatch.setattr(module, "demo_preset", lambda cohort, factor: replace(PRESETS["demo"], name="tiny", width=4).scaled(0.03))
    monkeypatch.setattr(module, "load", lambda place: load("phantom", subjects=8, size=32))
    again = demo("phantom", out, labelled=0.2, factor=0.1, progress=False)
    assert again.split("seconds. Open")[0].rsplit("\n", 1)[0] == text.split("seconds. Open")[0].rsplit("\n", 1)[0]
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*.pt")} == before


# ------------------------------------------------------------------------------------------------ the page


class Outline(HTMLParser):
    """Headings, addresses and identifiers of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.levels, self.addresses, self.names, self.lang = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.addresses += [value for name, value in attributes if name in ("src", "href") and value]
        self.names += [given["id"]] if "id" in given else []
        self.lang = given.get("lang", self.lang)


def test_the_page_is_whole_and_asks_nobody(shown: tuple[Path, str]) -> None:
    text = (shown[0] / "index.html").read_text()
    outline = Outline(text)
    assert "{{" not in text.split("<script")[0] and len(text) < 1_500_000 and outline.lang == "en"
    assert all(address.startswith(("#", "data:")) for address in outline.addresses)
    assert all(address[1:] in outline.names for address in outline.addresses if address.startswith("#"))
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    assert len(outline.names) == len(set(outline.names))


def test_the_page_shows_the_numbers_of_the_runs(shown: tuple[Path, str]) -> None:
    text = (shown[0] / "index.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="demo-data">(.*?)</script>', text, re.S)[1])
    assert [stage["name"] for stage in data["stages"]] == ["global", "local", "finetune"]
    assert [found["title"] for found in data["embeddings"]["maps"]] == [
        "Before training",
        "After global",
        "After local",
        "After fine-tuning",
    ]
    assert set(data["segmentations"]["found"]) == set(CONTENDERS) and len(data["paired"]["names"]) == len(
        data["paired"]["scores"]["from scratch"]
    )
    first = re.search(r"from scratch +([0-9.]+)", shown[1])[1]
    assert f"<dd>{first}</dd>" in text


def test_the_slices_shown_are_those_that_show_most() -> None:
    cohort = load("phantom", subjects=4, size=32)
    chosen = split(cohort, 0.5)
    rows = largest_slices(cohort, chosen.train)
    for row, name in zip(rows, chosen.train, strict=True):
        others = (cohort.labels[cohort.volume == cohort.volume[row]] > 0).sum((1, 2))
        assert cohort.volumes[cohort.volume[row]].name == name and (cohort.labels[row] > 0).sum() == others.max()


# ------------------------------------------------------------------------------------------------ in a browser


@pytest.fixture
def opened(browser, shown: tuple[Path, str]):
    """Open the page from disk with the network refused; gives a function (width, scheme) -> page, and what went wrong."""
    problems: list[str] = []
    contexts = []

    def go(width: int = 1280, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url))
        page.goto((shown[0] / "index.html").as_uri())
        page.wait_for_selector("#paired svg")
        return page

    yield go, problems
    for context in contexts:
        context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (768, "light"), (1600, "light")])
def test_the_page_draws_everything_at_every_width(opened, width: int, scheme: str) -> None:
    go, problems = opened
    page = go(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    counts = {"#scan-strip canvas": 3, "#pair canvas": 2, "#stage-cards svg": 3, "#maps svg.map": 4, "#grid canvas": 8, "#paired circle": 2}
    assert {name: page.locator(name).count() >= least for name, least in counts.items()} == dict.fromkeys(counts, True)
    assert page.locator("canvas:not([aria-label]), svg:not([aria-label]):not([aria-hidden])").count() == 0
    colours = "new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert (
        page.evaluate(f"[...document.querySelectorAll('canvas')].every(c => {colours} > 5)")
        and page.locator("#failure").is_hidden()
        and problems == []
    )


@pytest.mark.browser
def test_a_pixel_can_be_followed_with_pointer_and_keys(opened, shown: tuple[Path, str]) -> None:
    go, problems = opened
    page = go()
    first = page.locator("#pair canvas").first
    first.scroll_into_view_if_needed()
    box = first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    said = page.locator("#pair-said")
    expect(said).to_have_text(re.compile("^Row 16, column 16 of view 0 "))
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(said).to_have_text(re.compile("^Row 21, column 17 of view 0 "))
    assert problems == []


@pytest.mark.browser
def test_maps_are_linked_labels_can_be_hidden_and_colours_turned(opened) -> None:
    go, problems = opened
    page = go()
    page.locator("#maps svg.map").nth(2).hover()
    expect(page.locator("#maps .mark[visibility=visible]")).to_have_count(4)
    expect(page.locator("#maps .where figcaption")).to_contain_text("Row")
    look = "document.querySelector('#scan-strip canvas').toDataURL()"
    before = page.evaluate(look)
    page.locator("#outlines").uncheck()
    assert page.evaluate(look) != before
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("#theme").click()
    assert page.evaluate(colour) != light and page.locator("#theme").get_attribute("aria-pressed") == "true" and problems == []
