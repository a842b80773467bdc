"""Strategy, temperature, cohort and results explorers in a real JupyterLab: real pointers and keys, state read from the kernel."""

import pytest
from browser_tools import lab, static_page, swift, used_by_others  # noqa: F401
from test_results import Threshold

from semicon_nb.data import part_indices, phantom, split
from semicon_nb.explore import CohortBrowser, ResultsExplorer, StrategyExplorer, TemperatureExplorer
from semicon_nb.explore.looks import look_at

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("live")]  # one JupyterLab is enough


def test_strategies(lab):  # noqa: F811
    name = lab.notebook("strategy.ipynb", "from semicon_nb.explore import StrategyExplorer\n\nexplorer = StrategyExplorer()\nexplorer")
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 4, "four pictures")
    tab.shot("strategy-live-before")
    tab.press("[id$=-stop1]", "ArrowRight")
    tab.kernel_until("explorer.state['stops'][1]", 3)
    assert "6" in tab.page.locator(".strategy output").nth(0).text_content()
    tab.pick("canvas.pixels >> nth=2", 28, 24, (64, 64))
    for _ in range(3):
        tab.page.keyboard.press("ArrowDown")
    tab.kernel_until("explorer.state['anchor']", [31, 24])
    tab.kernel("from semicon_nb.explore.strategy import compare")
    tab.kernel(
        "met = [compare(f.stops[k].strategy, explorer.shown.slice.labels, (31, 24)) for f, k in zip(explorer.shown.families, explorer.state['stops'])]"
    )
    counts = tab.value("[[int((m == 1).sum()), int((m == 2).sum())] for m in met]")
    said = tab.page.locator(".strategy .said").all_text_contents()
    assert len({tuple(pair) for pair in counts}) > 2
    for sentence, (pulled, pushed) in zip(said, counts, strict=True):
        assert (f"Pulls {pulled:,} of" in sentence and f"pushes {pushed:,} of" in sentence) or (not pulled and "Not kept" in sentence)
    tab.kernel("explorer.live.state = {'anchor': [24, 29], 'stops': [0, 0, 0, 0]}")  # the browser follows Python, too
    tab.wait(
        lambda: tab.page.locator("canvas.pixels").first.get_attribute("aria-label").find("row 24, column 29") > 0, "the anchor of Python"
    )
    assert tab.page.locator("[id$=-stop3]").input_value() == "0"
    assert tab.value("explorer.problem") == ""
    tab.shot("strategy-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def test_temperature(lab):  # noqa: F811
    name = lab.notebook(
        "temperature.ipynb", "from semicon_nb.explore import TemperatureExplorer\n\nexplorer = TemperatureExplorer()\nexplorer"
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 2, "pictures")
    tab.kernel("from semicon_nb.explore.temperature import TEMPERATURES, feel")
    tab.shot("temperature-live-before")
    tab.press("[id$=-temperature]", "Home")
    tab.kernel_until("explorer.state['stop']", 0)
    tab.slide("[id$=-temperature]", 0.5)
    tab.kernel_until("0.06 < TEMPERATURES[explorer.state['stop']] < 0.2")
    tab.pick("canvas.pixels >> nth=1", 20, 30, (64, 64))
    tab.kernel_until("explorer.state['anchor']", [20, 30])
    tab.kernel("found = feel(explorer.shown.vectors, explorer.shown.slice.labels, (20, 30), TEMPERATURES[explorer.state['stop']])")
    loss, positives = tab.value("[found.loss, found.positives]")
    number = "(name => parseFloat([...document.querySelectorAll('.three dt')].find(t => t.textContent == name).nextSibling.textContent))"
    tab.near(f"{number}('loss of this anchor')", loss, "the loss", within=0.001)  # of three digits after the point
    tab.near(f"{number}('attention on positives')", 100 * positives, "the attention", within=0.1)
    assert tab.value("explorer.problem") == ""
    tab.shot("temperature-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def test_cohort(lab):  # noqa: F811
    name = lab.notebook(
        "cohort.ipynb",
        "from semicon_nb.data import phantom\nfrom semicon_nb.explore import CohortBrowser",
        "explorer = CohortBrowser(phantom(subjects=8, size=32))\nexplorer",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 3, "pictures")
    tab.shot("cohort-live-before")
    tab.press("[id$=-slice]", "Home")
    tab.kernel_until("explorer.state['slice']", 1)
    tab.page.locator(".chart >> nth=0").locator("[data-point='0 6']").click()  # a volume that Python has to send
    tab.kernel_until("explorer.state['volume']", 6)
    named = tab.value("explorer.shown.cohort.volumes[6].name")
    tab.wait(lambda: named in tab.page.locator(".said").text_content(), "the name of the volume")
    tab.pick("canvas.pixels >> nth=0", 9, 12, (32, 32))
    tab.kernel_until("explorer.state['pixel']", [9, 12])
    tab.kernel("cohort, state = explorer.shown.cohort, explorer.state; import numpy as np")
    tab.kernel("row = np.flatnonzero(cohort.volume == 6)[state['slice'] - 1]")
    words = tab.value("f'Row 9, column 12: {cohort.classes[cohort.labels[row][9, 12]]}, intensity {float(cohort.images[row][9, 12]):.2f}'")
    tab.wait(lambda: words in tab.page.locator(".said").text_content(), words)
    assert tab.value("explorer.problem") == ""
    tab.shot("cohort-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


RUNS = """
import numpy as np
def run(method, labels, split):
    rng = np.random.default_rng([len(method), int(100 * labels), split])
    names = [{"name": f"v{i}", "subject": f"s{i}", "slices": 8} for i in range(6)]
    volumes = [{**n, "dice": {"a": float(rng.random())}, "hd95": {"a": 9 * float(rng.random())}} for n in names]
    mean = float(np.mean([v["dice"]["a"] for v in volumes]))
    scores = {"pooled_dice": mean, "volume_dice": mean, "hd95": 4.0}
    return {"method": method, "labels": labels, "split": split, "seed": 0, **scores, "per_class": {"a": scores}, "volumes": volumes}
runs = [run(m, f, s) for m in ("scratch", "global") for f in (0.05, 0.1) for s in range(3)]
"""


def test_results(lab):  # noqa: F811
    name = lab.notebook(
        "results.ipynb", "from semicon_nb.explore.results import ResultsExplorer" + RUNS, "explorer = ResultsExplorer(runs)\nexplorer"
    )
    tab = lab.open(name, size=(1440, 1100))
    means, strip = ("[aria-label^='Means with']", "[aria-label^='Scores of the test volumes']")
    tab.wait(lambda: tab.page.locator(means).count(), "the chart")
    tab.shot("results-live-before")
    tab.page.click(f"{means} [data-point='1 0']", force=True)
    tab.kernel_until("[explorer.state['method'], explorer.state['labels']]", ["global", 0.05])
    tab.kernel("each = [(v['dice']['a'], v['name']) for r in runs if (r['method'], r['labels']) == ('global', 0.05) for v in r['volumes']]")
    third = tab.value("sorted(each)[2][1]")
    tab.page.click(f"{strip} [data-point='0 2']", force=True)
    tab.kernel_until("explorer.state['volume']", 2)
    assert third in tab.page.text_content("[aria-label='Scores of the volume']")
    tab.kernel("explorer.live.state = explorer.state | {'metric': 'hd95'}")  # the browser follows Python, too
    tab.wait(lambda: "HD95 of the volume" in tab.page.text_content(strip), "the metric of Python")
    assert tab.value("explorer.problem") == ""
    tab.shot("results-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


FIRST = {
    "StrategyExplorer": "canvas.pixels",
    "TemperatureExplorer": "canvas.pixels",
    "CohortBrowser": "canvas.pixels",
    "PixelExplorer": ".semicon-dots canvas",
    "TrainingReplay": ".semicon-dots canvas",
    "ResultsExplorer": ".chart svg",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
def test_the_first_widget_is_alive_within_15_seconds(name, lab):  # noqa: F811
    """From the press on Run, in a fresh kernel, with the import, where others leave a core of two; always by the kernel's processor time."""
    others = used_by_others()
    tab = lab.open(lab.notebook(f"first-{name}.ipynb", f"from semicon_nb.explore import {name}\n\n{name}()"))
    tab.wait(lambda: tab.page.locator(FIRST[name]).count(), "the first picture")
    taken = tab.page.evaluate("performance.now() - window.semiconBegun") / 1000
    used, busy = tab.value("__import__('time').process_time()"), others()
    print(f"{name}: first picture after {taken:.1f} s, {used:.1f} s of the kernel's processor time; others kept {busy:.2f} cores busy")
    assert used < 6 and (taken < 15 or busy > 1)
    assert not tab.errors and not tab.outside
    tab.close()


def results_page(path):
    """Slices of 64 x 64, segmented by brightness alone."""
    cohort = phantom(subjects=4, size=64)
    rows = part_indices(cohort, split(cohort, 1.0), "test")
    return ResultsExplorer(runs=[look_at(Threshold(), cohort, rows, "threshold", 1.0)]).to_html(path)


EXPLORERS = {
    "strategy": ("stop3", lambda path: StrategyExplorer().to_html(path)),
    "temperature": ("temperature", lambda path: TemperatureExplorer().to_html(path)),
    "cohort": ("slice", lambda path: CohortBrowser().to_html(path)),
    "results": ("rank", results_page),
}
KEYS = (["ArrowLeft"] * 3 + ["ArrowRight"] * 3) * 4  # ends where it began: a slider at its end would not answer


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLORERS)
def test_how_long_a_slider_of_a_page_takes(name, static_page, tmp_path):  # noqa: F811
    control, made = EXPLORERS[name]
    tab = static_page(made(tmp_path / f"{name}.html"), size=(1440, 900))
    tab.wait(lambda: tab.page.locator(".chart svg").count(), "a chart")
    tab.swept(f"#{control}", 4)
    swift(f"page {name}, 4,096 pixels", tab, lambda: tab.swept(f"#{control}", 20))


@pytest.mark.slow
def test_live_sliders_are_swift(lab):  # noqa: F811
    name = lab.notebook(
        "latency.ipynb",
        "from semicon_nb.explore import StrategyExplorer, TemperatureExplorer",
        "strategy = StrategyExplorer()\nstrategy",
        "temperature = TemperatureExplorer()\ntemperature",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator(".semicon-scene").count() == 2, "two explorers")
    tab.page.evaluate("document.querySelectorAll('.semicon-explorer').forEach((found, k) => { found.id = 'explorer' + k; })")
    for kind, control, picture in (("strategy", "-stop3", "strategy:nth-child(4)"), ("temperature", "-temperature", "part")):
        moved, shown = f"[id$={control}]", f"#explorer{int(kind == 'temperature')} .{picture} canvas"
        tab.latencies(moved, shown, KEYS[:6], pause=150)  # as with pages, the first moves of a cold browser are not counted
        swift(f"live {kind}, picture", tab, lambda a=moved, b=shown: tab.latencies(a, b, KEYS, pause=150))
    assert not tab.errors and not tab.outside
    tab.close()


def test_a_closed_kernel_is_said(lab):  # noqa: F811
    name = lab.notebook(
        "closed.ipynb",
        "from semicon_nb.explore import CohortBrowser, StrategyExplorer, TemperatureExplorer",
        "strategy = StrategyExplorer()\nstrategy",
        "temperature = TemperatureExplorer()\ntemperature",
        "from semicon_nb.data import phantom\nCohortBrowser(phantom(subjects=3, size=32))",
        "from semicon_nb.explore.results import ResultsExplorer" + RUNS + "ResultsExplorer(runs)",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator(".semicon-scene").count() == 4, "four explorers")
    tab.page.evaluate("document.querySelectorAll('.semicon-explorer').forEach((found, k) => { found.id = 'explorer' + k; })")
    assert not tab.errors and not tab.outside
    tab.kill_kernel()
    for k in range(4):
        box = f"#explorer{k}"

        def said(box: str = box) -> int:
            tab.press(f"{box} input:enabled, {box} select", "ArrowLeft")
            return tab.page.locator(f"{box} .semicon-closed:visible").count()

        tab.wait(said, f"the sentence of a closed kernel in explorer {k}")
    tab.shot("closed-kernel")
    tab.close()
