"""The demo: three contenders, an honest sentence, and a page that opens without a network."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect
from scipy import stats

from semicon_nb.cli import main
from semicon_nb.data import Volume, load, split
from semicon_nb.evaluate import report_of
from semicon_nb.explore.demo import (
    CONTENDERS,
    REPEATS,
    as_text,
    change_sentence,
    claim_folder,
    make_demo,
    preset_for,
    repeats_of,
    score_rows,
    sentence,
    verdict,
)  # fmt: skip
from semicon_nb.explore.demo_page import classes_shown, known_from, largest_slices, scans_shown, volume_scores, write_demo_page
from semicon_nb.methods import load_run

pytestmark = [pytest.mark.xdist_group("demo")]  # one demo is enough


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo of two repeats of a few steps: its folder and its text."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    return out, make_demo("phantom", out, labelled=0.1, factor=0.02, count=2, progress=False)


def reports_with(base: list[float], other: list[float], full: list[float]) -> dict:
    """Reports of the three contenders with these pooled Dice values, one for each repeat."""
    made = {}
    for title, values in zip(CONTENDERS, (base, other, full), strict=True):
        made[title] = [report_of(["organ"], np.array([v]), [(Volume("v", "s"), 3, np.array([v]), np.array([1.0]))]) for v in values]
    return made


# ------------------------------------------------------------------------------------------------ words


def word(gains: list[float], rooms: list[float]) -> str:
    """The verdict where three stages and all labels gain so much over 0.5."""
    return verdict(reports_with([0.5] * len(gains), [0.5 + g for g in gains], [0.5 + r for r in rooms])).word


def test_a_difference_is_called_only_where_luck_is_unlikely() -> None:
    assert word([0.05, 0.06, 0.05, 0.04], [0.2] * 4) == "holds"
    assert word([-0.05, -0.06, -0.05, -0.04], [0.2] * 4) == "reversed"
    assert word([0.05, -0.06, 0.03, -0.04], [0.2, 0.21, 0.19, 0.2]) == "cannot tell"
    assert word([0.05, -0.06, 0.03, -0.04], [0.01, 0.02, 0.0, 0.01]) == "no room to tell"
    assert word([0.05, 0.06, 0.05, 0.04], [0.01, 0.02, 0.0, 0.01]) == "no room to tell"
    assert word([0.3], [0.4]) == "cannot tell"


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=14))
def test_verdict_is_that_of_the_t_test(scores: list[tuple]) -> None:
    base, other, full = np.array(scores).T
    found = verdict(reports_with(*(column.tolist() for column in (base, other, full))))
    if np.ptp(other - base) > 1e-6:
        p = stats.ttest_rel(other, base).pvalue
        assert (found.word in ("holds", "reversed")) == (p < 0.01 and found.word != "no room to tell") or abs(p - 0.01) < 1e-9
        ends = stats.ttest_rel(other, base).confidence_interval(0.95)
        assert np.allclose([found.gain - found.half, found.gain + found.half], ends)
    assert (found.word == "no room to tell") == (found.room - found.spread <= found.half)


@pytest.mark.parametrize("gain", [0.05, -0.05, 0.0])
def test_the_sentence_carries_the_interval_and_the_room(gain: float) -> None:
    noise = np.array([0.01, -0.01, 0.005, -0.005])
    found = verdict(reports_with([0.5] * 4, list(0.5 + gain + noise), list(0.7 + noise)))
    text = sentence(found)
    assert f"{gain:+.3f}".replace("-", "−") in text.replace("−0.000", "+0.000") and "95 % interval" in text and "+0.200" in text
    one = sentence(verdict(reports_with([0.5], [0.6], [0.7])))
    assert one.startswith("One repeat cannot tell") and "nan" not in one
    narrow = verdict(reports_with([0.5] * 4, list(0.5 + gain + noise), list(0.51 + noise)))
    assert sentence(narrow).startswith("No room to tell") and f"resolve no less than {narrow.half:.3f}" in sentence(narrow)


def test_an_interval_that_leaves_zero_out_and_names_no_winner_is_explained() -> None:
    gains = np.array([0.05, 0.01, 0.06, 0.02, 0.0, 0.05])
    close, far = (verdict(reports_with([0.5] * 6, list(0.5 + some), [0.9] * 6)) for some in (gains, gains - gains.mean()))
    assert close.word == far.word == "cannot tell" and close.gain > close.half
    assert "That leaves zero out, but the 99 % interval, which names a winner, does not. A gain" in sentence(close)
    assert "pooled Dice. A gain was possible" in sentence(far)


def test_volumes_without_a_known_class_do_not_count() -> None:
    assert np.isnan(volume_scores(reports_with([np.nan], [0.6], [0.7])["from scratch"][0])[0])


def test_the_embedding_is_said_to_change_only_where_it_does() -> None:
    assert change_sentence(np.array([[0.4, 0.6, 0.8], [0.4, 0.61, 0.8], [0.41, 0.6, 0.8]])).startswith("What the stages do change")
    assert change_sentence(np.array([[0.4, 0.3, 0.8], [0.4, 0.61, 0.8], [0.41, 0.4, 0.8]])).startswith("The embedding")


def test_the_table_is_aligned() -> None:
    text = as_text([{"": "from scratch", "Dice": "0.1"}, {"": "x", "Dice": "0.123"}])
    assert [len(line) for line in text.splitlines()] == [19, 19, 19]


@pytest.mark.parametrize("unit, words", [("mm", "mm"), ("pixel", "pixels"), ("", "mm or pixels")])
def test_distances_are_named_in_the_unit_of_the_scans(unit: str, words: str) -> None:
    reports = {title: [replace(one, unit=unit) for one in found] for title, found in reports_with([0.5], [0.6], [0.7]).items()}
    assert [row[f"HD95 ({words})"] for row in score_rows(reports)] == ["1.0"] * 6


def test_repeats_share_no_people_and_contenders_share_them() -> None:
    one, two = repeats_of("phantom", 0.1, 0, 2)
    assert one.cohort.fingerprint != two.cohort.fingerprint and one.seed != two.seed
    for count in (1, 14):
        assert not {r.seed for r in repeats_of("phantom", 0.1, 1, count)} & {r.seed for r in repeats_of("phantom", 0.1, 0, count)}
    assert (one.few.train, one.few.test) == (one.all.train, one.all.test)
    assert len(one.few.labelled) < len(one.all.labelled) == len(one.all.train)
    assert one.split_of("all labels") == one.all and one.split_of("three stages") == one.split_of("from scratch") == one.few


def test_real_scans_are_trained_longer_and_what_they_said_is_that_of_the_results() -> None:
    small = load("phantom", subjects=3, size=32)
    real = replace(small, source={"cohort": "hippocampus"})
    assert preset_for(real).stages["finetune"].steps == 2 * preset_for(small).stages["finetune"].steps
    assert subprocess.run([sys.executable, "tools/found.py", "--check"], cwd=Path(__file__).parent.parent.parent).returncode == 0


# ------------------------------------------------------------------------------------------------ the folder


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="in use"):
        claim_folder(tmp_path)
    assert main(["demo", "--out", str(tmp_path)]) == 2 and "in use" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is a file"):
        claim_folder(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    claim_folder(tmp_path / "new")
    claim_folder(tmp_path / "new")


def test_the_demo_leaves_its_runs_and_a_page(shown: tuple[Path, str]) -> None:
    out, text = shown
    runs = [load_run(path) for path in sorted((out / "runs").iterdir())]
    names = [re.sub("-[0-9]+-[0-9a-f]{8}$", "", run.folder.name) for run in runs]
    assert names == ["all-labels"] * 2 + ["from-scratch"] * 2 + ["three-stages"] * 2
    assert len({json.dumps(run.settings["stages"]["finetune"]) for run in runs}) == 1
    assert [run.stages for run in runs[2::2]] == [["initial", "finetune"], ["initial", "global", "local", "finetune"]]
    assert runs[2].split == runs[4].split
    for words in ("from scratch", "three stages", "all labels", "pooled Dice", str(out / "index.html"), "Next:", "--data hippocampus"):
        assert words in text
    assert len(list(out.iterdir())) == 3


def test_a_second_demo_uses_the_finished_runs(shown: tuple[Path, str]) -> None:
    out, text = shown
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*.pt")}
    again = make_demo("phantom", out, labelled=0.1, factor=0.02, count=2, progress=False)
    assert again.split(" seconds.")[0].rsplit("\n", 1)[0] == text.split(" seconds.")[0].rsplit("\n", 1)[0]
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
    assert str(shown[0].parent) not in text and "semicon-nb explore demo/runs/" in text, "no place of this machine"
    assert "<code>semicon-nb demo --data phantom --labels 0.1 --seed 0 --quick 0.02 --repeats 2</code>" in text, "what made it"
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
    assert set(data["segmentations"]["found"]) == set(data["repeats"]["scores"]) == set(CONTENDERS)
    assert all(len(values) == 2 for values in data["repeats"]["scores"].values())
    first = re.search(r"from scratch +([0-9.]+)", shown[1])[1]
    assert f"<dd>{first}</dd>" in text


KEPT = json.loads((Path(__file__).parent.parent.parent / "nbs" / "demo.json").read_text(encoding="utf-8"))
"""What the site's page of the demo is made of."""


def form(value: object) -> object:
    """What JSON holds without its numbers and words: names, kinds, and of a list its first."""
    if isinstance(value, dict):
        return {name: form(part) for name, part in value.items() if name != "data" or not isinstance(part, str)}
    return [form(part) for part in value[:1]] if isinstance(value, list) else type(value).__name__


def words_of(kept: dict) -> list:
    """What the code, and no training, says on the page."""
    data = kept["data"]
    stages = [(stage["name"], stage["title"], stage["text"]) for stage in data["stages"]]
    return [data["classes"], stages, [found["title"] for found in data["embeddings"]["maps"]], [row[""] for row in kept["rows"]]]


def test_what_the_site_keeps_of_a_demo_is_what_a_demo_leaves_today(shown: tuple[Path, str], tmp_path: Path) -> None:
    made = json.loads((shown[0] / "demo.json").read_text(encoding="utf-8"))
    renew = "nbs/demo.json is of another demo: make demo, and copy demo/demo.json there"
    assert form(KEPT["texts"]) == form(made["texts"]) and form(KEPT["data"]) == form(made["data"]), renew
    assert words_of(KEPT) == words_of(made), renew
    usual = preset_for(load("phantom", subjects=3, size=32))
    said = {"filters": str(usual.width), "steps": str(usual.stages["finetune"].steps), "repeats": str(REPEATS["phantom"])}
    assert {name: KEPT["texts"][name] for name in said} == said, renew
    page = write_demo_page(tmp_path / "demo.html", KEPT).read_text(encoding="utf-8")
    assert all(known_from(cohort) in page for cohort in ("phantom", "hippocampus"))
    assert write_demo_page(tmp_path / "made.html", made).read_text(encoding="utf-8") == (shown[0] / "index.html").read_text(
        encoding="utf-8"
    )


def test_every_class_has_a_look_however_many_there_are() -> None:
    names = ["background", *(f"organ {k}" for k in range(1, 12))]
    shown = classes_shown(names)
    assert [entry["name"] for entry in shown] == names and all(entry["colour"] != shown[0]["colour"] for entry in shown[1:])


def test_the_numbers_on_the_page_are_those_of_the_demo(tmp_path: Path) -> None:
    page = write_demo_page(tmp_path / "demo.html", KEPT).read_text(encoding="utf-8")
    assert "the labels of 2 volumes teach" in page and "6 training subjects" in page and "You see 4 test volumes, from the worst" in page
    small = json.loads(json.dumps(KEPT))
    small["texts"] |= dict.fromkeys(("repeats", "labelled", "val", "test", "train"), "1")
    small["data"]["scans"]["names"], small["data"]["segmentations"]["names"] = ["a", "b", "c"], ["a"]
    page = write_demo_page(tmp_path / "small.html", small).read_text(encoding="utf-8").split("<script")[0]
    for words in ("labels of 1 volume teach", "1 more volume decide", "on 1 volume of", "in 1 repeat.", "· 1 repeat<", "3 training"):
        assert words in page
    assert "You see 1 test volume. " in page and not re.search(r"\b1 (\w+ )?(volumes|repeats|subjects)\b", page)


def test_the_slices_shown_are_those_that_show_most() -> None:
    cohort = load("phantom", subjects=4, size=32)
    chosen = split(cohort, 0.5)
    rows = largest_slices(cohort, chosen.train)
    for row, name in zip(rows, chosen.train, strict=True):
        others = (cohort.labels[cohort.volume == cohort.volume[row]] > 0).sum((1, 2))
        assert cohort.volumes[cohort.volume[row]].name == name and (cohort.labels[row] > 0).sum() == others.max()


def test_people_without_outlines_train_and_are_not_shown() -> None:
    """As in most folders of one's own; the page is made when everything has been trained."""
    whole = load("phantom", subjects=9, size=32)
    cohort = replace(whole, labelled=np.isin(whole.subject, whole.subjects[:6]))
    who = split(cohort, 0.5)
    outlined = {volume.name for volume in cohort.volumes if volume.subject in whole.subjects[:6]}
    shown = scans_shown(cohort, who)
    assert set(who.train) - outlined and len(shown["names"]) == 4 and set(shown["names"]) <= outlined & set(who.train)


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
        page.wait_for_selector("#repeats svg")
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
    counts = {
        "#scan-strip canvas": 3,
        "#pair canvas": 2,
        "#stage-cards svg": 3,
        "#maps svg.map": 4,
        "#grid canvas": 10,
        "#repeats circle": 6,
    }
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
