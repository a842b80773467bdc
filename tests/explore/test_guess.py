"""Guess before you look: its numbers are the tables', its bars lie where they say, and its sentence tells what the reader guessed."""

import ast
import html
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser_tools import lab, static_page  # noqa: F401
from PIL import Image

from semicon_nb.explore import GuessingGame
from semicon_nb.tables import plus_minus, read_results, verdicts

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "nbs" / "course" / "12_is_it_true.ipynb"
CLAIMS = {"Slices help": [("global", "scratch")], "Pixels <b>help</b>": [("local", "scratch"), ("local", "global")]}
SCORES = {
    ("scratch", 0.05): (0.700, 0.710, 0.720),
    ("scratch", 1.0): (0.800, 0.805, 0.820),
    ("global", 0.05): (0.680, 0.705, 0.720),
    ("local", 0.05): (0.730, 0.750, 0.740),
}


def runs_of(scores: dict[tuple[str, float], tuple[float, ...]]) -> pd.DataFrame:
    rows = [
        {"method": name, "labels": share, "split": split, "pooled_dice": dice, "experiment": "mice, laptop"}
        for (name, share), found in scores.items()
        for split, dice in enumerate(found)
    ]
    return pd.DataFrame(rows)


def told(markup: str) -> dict:
    """What a game's markup holds for its script."""
    return json.loads(html.unescape(re.search(r'data-guess="([^"]*)"', markup)[1]))


def first_of(markup: str) -> dict:
    """The experiment that is played first."""
    return told(markup)["experiments"][0]


def in_points(dice: str) -> list[float]:
    return [float(number) for number in dice.split(" ± ")]


def test_numbers_are_those_of_the_tables():
    runs = runs_of(SCORES)
    shown = [row for claim in GuessingGame(runs, CLAIMS).data["experiments"][0]["claims"] for row in claim["found"]]
    rows = verdicts(runs, [pair for pairs in CLAIMS.values() for pair in pairs]).to_dict("records")
    assert len(shown) == len(rows) == 3
    for found, row in zip(shown, rows, strict=True):
        assert (found["claim"], found["verdict"]) == (row["claim"], row["verdict"])
        gain, room = (in_points(plus_minus(row[name], row[half])) for name, half in (("difference", "half"), ("headroom", "headroom_half")))
        assert [found["difference"], found["half"], found["room"], found["room_half"]] == pytest.approx([100 * x for x in (*gain, *room)])
    assert {row["verdict"] for row in rows} >= {"holds"}


def test_the_page_stores_the_numbers_of_the_committed_rows():
    cells = [cell for cell in nbformat.read(PAGE, 4).cells if cell.cell_type == "code"]
    place = next(number for number, cell in enumerate(cells) if "GuessingGame(" in cell.source)
    stored = told(cells[place].outputs[0]["data"]["text/html"])
    claims = ast.literal_eval(re.search(r"CLAIMS = (\{.*?\n\})", cells[place].source, re.S)[1])
    runs = read_results(ROOT / "results")
    played = [each["about"].rpartition(", ")[0] for each in stored["experiments"]]
    runs = runs[runs["experiment"].isin(played)]
    runs = runs[runs.groupby(["experiment", "labels", "method"])["split"].transform("nunique") > 2]  # a method waits for its third split
    assert stored == GuessingGame(runs, claims).data
    assert place < 4, "the guess stands at the head of the page"


def test_where_all_labels_were_not_run_the_room_is_unknown():
    scores = {place: found for place, found in SCORES.items() if place[1] < 1}
    assert all(
        row["room"] is None for claim in first_of(GuessingGame(runs_of(scores), CLAIMS)._repr_html_())["claims"] for row in claim["found"]
    )


def two_experiments() -> pd.DataFrame:
    """One where all labels bring nothing, and one with room and a single claim."""
    cramped = {**SCORES, ("scratch", 1.0): SCORES["scratch", 0.05]}
    roomy = {place: found for place, found in SCORES.items() if place[0] != "local"}
    return pd.concat([runs_of(cramped), runs_of(roomy).assign(experiment="mice, thorough")])


def test_the_experiment_with_room_is_played_first():
    found = GuessingGame(two_experiments(), CLAIMS).data["experiments"]
    assert [(each["about"], len(each["claims"])) for each in found] == [
        ("mice, thorough, 5\u00a0% labelled", 1),
        ("mice, laptop, 5\u00a0% labelled", 2),
    ]
    assert found[1] == GuessingGame(two_experiments().query("experiment == 'mice, laptop'"), CLAIMS).data["experiments"][0]


@pytest.mark.browser
def test_the_reader_chooses_which_runs_to_guess(static_page, tmp_path):  # noqa: F811
    path = tmp_path / "guess.html"
    path.write_text(f"<!doctype html><html lang='en'><body>{GuessingGame(two_experiments(), CLAIMS)._repr_html_()}</body></html>")
    tab = static_page(path)
    first, second = tab.page.get_by_role("group", name="Which runs").get_by_role("button").all()
    assert first.get_attribute("aria-pressed") == "true" and tab.page.locator(".claim").count() == 1
    tab.press(".claim input", "ArrowRight", times=3)
    tab.page.locator(".look").click()
    assert "points for “Slices help”" in tab.page.locator(".told").inner_text()
    second.click()
    assert tab.page.locator(".claim").count() == 2 and tab.page.locator(".told").inner_text() == ""
    assert second.get_attribute("aria-pressed") == "true" and second.evaluate("e => e === document.activeElement")


def test_a_share_at_which_nothing_was_compared_is_passed_over():
    scores = {**SCORES, ("best", 0.02): SCORES["local", 0.05]}
    assert GuessingGame(runs_of(scores), CLAIMS).data == GuessingGame(runs_of(SCORES), CLAIMS).data


@pytest.mark.parametrize("share, said", [(0.005, "0.5"), (0.025, "2.5"), (0.07, "7"), (0.125, "12.5")])
def test_a_labelled_share_is_said_as_it_is(share, said):
    scores = {("scratch", share): SCORES["scratch", 0.05], ("global", share): SCORES["global", 0.05]}
    played = GuessingGame(runs_of(scores), CLAIMS).data["experiments"][0]
    assert played["labels"] == f"{said}\u00a0%" and played["about"] == f"mice, laptop, {said}\u00a0% labelled"


def test_one_split_has_no_interval():
    game = GuessingGame(runs_of({place: dice[:1] for place, dice in SCORES.items()}), CLAIMS)
    found = first_of(game._repr_html_())["claims"][0]["found"][0]
    assert found["half"] is None and found["verdict"] == "cannot tell"


def test_methods_that_share_no_split_were_not_compared():
    apart = runs_of(SCORES)
    apart.loc[apart["method"] == "global", "split"] += 3
    (played,) = GuessingGame(apart, CLAIMS).data["experiments"]
    assert [row["claim"] for claim in played["claims"] for row in claim["found"]] == ["local > scratch"]
    with pytest.raises(ValueError, match="claims: found none"):
        GuessingGame(apart, {"Slices help": [("global", "scratch")]})


def test_what_was_not_run_is_left_out_and_nothing_at_all_is_an_error():
    claims = {**CLAIMS, "Nobody ran this": [("mixup", "scratch")]}
    assert [claim["text"] for claim in GuessingGame(runs_of(SCORES), claims).data["experiments"][0]["claims"]] == list(CLAIMS)
    with pytest.raises(ValueError, match="claims: found none that was run at 5 %, expected"):
        GuessingGame(runs_of(SCORES), {"Nobody ran this": [("mixup", "scratch")]})
    with pytest.raises(ValueError, match="claims: found none that was run at 100 %"):
        GuessingGame(runs_of(SCORES), CLAIMS, labels=1.0)


@pytest.mark.parametrize("gain, room", [(0.0, 0.1), (-0.4, 0.1), (0.4, 0.1), (0.0, 0.25)])
def test_the_scale_holds_every_interval_and_room(gain, room):
    scores = {**SCORES, ("local", 0.05): tuple(dice + gain for dice in SCORES["scratch", 0.05])}
    scores["scratch", 1.0] = tuple(dice + room for dice in SCORES["scratch", 0.05])
    data = GuessingGame(runs_of(scores), CLAIMS).data["experiments"][0]
    scale, rows = data["scale"], [row for claim in data["claims"] for row in claim["found"]]
    assert scale["high"] >= max(row["room"] + row["room_half"] for row in rows)
    assert scale["low"] <= min(-5, *(row["difference"] - row["half"] for row in rows))
    assert scale["high"] >= max(15, *(row["difference"] + row["half"] for row in rows))
    assert scale["ticks"][0] == scale["low"] and scale["ticks"][-1] == scale["high"] and 0 in scale["ticks"]


def test_a_claim_cannot_write_markup():
    assert "<b>help" not in GuessingGame(runs_of(SCORES), CLAIMS)._repr_html_()


# ------------------------------------------------------------------------------------------------ in Chromium

SPANS = """(scale) => Array.from(document.querySelectorAll('.claim'), (claim) => {
  const track = claim.querySelector('.track').getBoundingClientRect(), thumb = 22;
  const at = (x) => scale.low + (x - track.left - thumb / 2) / (track.width - thumb) * (scale.high - scale.low);
  const ends = (e) => { const box = e.getBoundingClientRect(); return [at(box.left), at(box.right)]; };
  return { bars: Array.from(claim.querySelectorAll('.bar'), ends), room: ends(claim.querySelector('.room:not(.faint)')) };
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("guess") / "guess.html"
    markup = GuessingGame(runs_of(SCORES), CLAIMS)._repr_html_()
    head = '<meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width">'
    path.write_text(f'<!doctype html><html lang="en">{head}<body>{markup}{markup}</body></html>')
    return path


def drag_to(tab, row: int, points: float, scale: dict) -> None:
    """Drag the dot of a claim with the mouse to a place on the scale."""
    box = tab.page.locator(".claim input").nth(row).bounding_box()
    place = lambda x: box["x"] + 11 + (x - scale["low"]) / (scale["high"] - scale["low"]) * (box["width"] - 22)  # noqa: E731
    middle = box["y"] + box["height"] / 2
    tab.drag([(place(0), middle), (place(points), middle)])


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_guess_is_dragged_and_the_intervals_appear_beside_it(static_page, page, width):  # noqa: F811
    tab, data = static_page(page, size=(width, 900)), first_of(page.read_text())
    first = tab.page.locator(".semicon-guess").first
    assert first.locator(".lane").first.bounding_box()["height"] == 0 and "±" not in first.inner_text()
    drag_to(tab, 1, 9, data["scale"])
    assert first.locator("output").nth(1).inner_text() == "your guess: +9 points"
    tab.press(".claim input", "ArrowLeft", times=3)
    assert first.locator("output").nth(0).inner_text() == "your guess: −1.5 points"
    first.locator(".look").click()
    tab.wait(lambda: first.locator(".lane").first.bounding_box()["height"] == 18, "the bars")
    tab.page.wait_for_timeout(1100)  # they have grown
    for claim, drawn in zip(data["claims"], tab.page.evaluate(SPANS, data["scale"])[: len(data["claims"])], strict=True):
        wanted = [[found["difference"] - found["half"], found["difference"] + found["half"]] for found in claim["found"]]
        for bar, ends in zip(drawn["bars"], wanted, strict=True):
            assert bar == pytest.approx(ends, abs=0.05)
        assert drawn["room"] == pytest.approx([0, claim["found"][0]["room"]], abs=0.1)
    said, gain = first.locator(".told").inner_text(), data["claims"][1]["found"][0]
    assert "+9 points for “Pixels <b>help</b>”" in said and f"{gain['difference']:+.1f} ± {gain['half']:.1f}" in said
    assert "Inside a measured interval: 1 of your 2 guesses" in said and "holds (1 of 3)" in said
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.shot(f"guess-{width}")


@pytest.mark.browser
def test_the_sentence_is_copied_and_a_second_guess_begins_anew(static_page, page):  # noqa: F811
    tab = static_page(page)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    first, second = tab.page.locator(".semicon-guess").first, tab.page.locator(".semicon-guess").last
    first.locator(".look").click()
    assert "You looked without a guess" in first.locator(".told").inner_text() and first.locator(".share").is_hidden()
    assert first.locator("output").first.inner_text() == "no guess" and first.locator("input").first.is_disabled()
    first.locator(".look").click()
    assert first.locator(".told").inner_text() == "" and first.locator("input").first.is_enabled()
    first.locator("input").first.press("End")
    first.locator(".look").click()
    first.get_by_text("Copy the sentence").click()
    tab.wait(lambda: first.get_by_text("Copied").count(), "the button's answer")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("I guessed +15 points of Dice for “Slices help” (mice, laptop, 5\u00a0% labelled). Measured: −0.8 ± ")
    assert "where all labels bring +9.8 ± " in copied and "http" not in copied and "\n" not in copied
    assert "shown" not in second.get_attribute("class"), "two guesses in one page are two"


@pytest.mark.browser
def test_a_guess_on_the_end_of_an_interval_lies_in_it(static_page, tmp_path):  # noqa: F811
    game = GuessingGame(runs_of(SCORES), {"Slices help": [("global", "scratch")]})
    (row,) = game.data["experiments"][0]["claims"][0]["found"]
    row.update(difference=1.2, half=0.3)  # 1.5 - 1.2 is a little more than 0.3 in binary
    (tmp_path / "edge.html").write_text(f"<!doctype html><html lang='en'><body>{game._repr_html_() * 2}</body></html>")
    tab = static_page(tmp_path / "edge.html")
    tab.press(".claim input", "ArrowRight", times=3)
    tab.page.locator(".look").first.click()
    assert "Inside a measured interval: 1 of your 1 guess." in tab.page.locator(".told").first.inner_text()
    names = [box.get_attribute("id") for box in tab.page.locator(".claim input").all()]
    assert len(set(names)) == len(names) == 2


@pytest.mark.browser
def test_every_part_has_a_name_and_stillness_is_kept(browser, page):
    context = browser.new_context(reduced_motion="reduce", offline=True)
    tab = context.new_page()
    tab.goto(page.as_uri())
    moving = "Array.from(document.querySelectorAll('*'), (e) => getComputedStyle(e)).filter((c) => c.animationName !== 'none').length"
    assert tab.evaluate(moving) == 0
    assert tab.get_by_role("slider", name="Slices help").count() == 2
    assert tab.get_by_role("slider", name="Slices help").first.get_attribute("aria-valuetext") == "no guess yet"
    tab.get_by_role("slider", name="Slices help").first.press("ArrowRight")
    assert tab.get_by_role("slider", name="Slices help").first.get_attribute("aria-valuetext") == "+0.5 points of Dice"
    context.close()


def contrast(shot: bytes) -> float:
    """Of the text on a picture with its ground, as WCAG counts it: the ground is what most pixels are, the text what is furthest off."""
    shades = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).reshape(-1, 3) / 255
    light = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    ground = np.median(light)
    return max((max(each, ground) + 0.05) / (min(each, ground) + 0.05) for each in (light.min(), light.max()))


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark_at_every_width(browser, page, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.locator(".claim input").first.press("ArrowRight")
    tab.locator(".look").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for part in (".invite", ".note", ".claim output", ".told", ".key span"):
        assert contrast(tab.locator(part).locator("visible=true").first.screenshot()) > 4.5, part
    context.close()


@pytest.mark.browser
def test_a_finger_guesses(browser, page):
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844}, offline=True)
    tab = context.new_page()
    tab.goto(page.as_uri())
    box = tab.locator(".claim input").first.bounding_box()
    tab.touchscreen.tap(box["x"] + 11 + 0.75 * (box["width"] - 22), box["y"] + box["height"] / 2)
    assert tab.locator("output").first.inner_text() == "your guess: +10 points"
    context.close()


@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_it_plays_in_jupyterlab(lab, tmp_path):  # noqa: F811
    runs_of(SCORES).to_json(lab.folder / "mice.json", orient="records")
    begin = "import json\n\nimport pandas as pd\n\nfrom semicon_nb.explore import GuessingGame"
    play = f"GuessingGame(pd.DataFrame(json.load(open('mice.json'))), {CLAIMS!r})"
    tab = lab.open(lab.notebook("guess.ipynb", begin, play))
    tab.wait(lambda: tab.page.locator(".semicon-guess input").count() == 2, "two sliders")
    tab.press(".semicon-guess input", "ArrowRight", times=4)
    assert tab.page.locator(".semicon-guess output").first.inner_text() == "your guess: +2 points"
    tab.page.locator(".semicon-guess .look").click()
    tab.wait(lambda: "Your boldest guess: +2 points" in tab.page.locator(".semicon-guess .told").inner_text(), "what was measured")
    tab.shot("guess-live")
    assert not tab.errors and not tab.outside
    tab.close()
