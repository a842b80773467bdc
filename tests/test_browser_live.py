"""Strategy, temperature, cohort and results explorers in a real JupyterLab: real pointers and keys, state read from the kernel."""

import pytest
from browser_tools import lab, static_page, swift  # noqa: F401
from test_explore_results import Threshold

from semicon_nb.data import part_indices, phantom, split
from semicon_nb.explore import CohortBrowser, ResultsExplorer, StrategyExplorer, TemperatureExplorer
from semicon_nb.explore.looks import look_at

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("live")]  # one JupyterLab is enough


def test_strategies(lab):  # noqa: F811
    name = lab.notebook(
        "strategy.ipynb", "from semicon_nb.explore.strategy import StrategyExplorer, compared", "explorer = StrategyExplorer()\nexplorer"
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 4, "four pictures")
    tab.figures(1)
    tab.shot("strategy-live-before")
    assert tab.page.locator(".semicon-explorer .noUi-handle").count() == 4
    tab.press(".semicon-explorer .noUi-handle >> nth=1", "ArrowRight")
    tab.kernel_until("explorer.panels[1].slider.value", 3)
    ring = "(() => { const d = document.querySelector('.js-plotly-plot').data; return [d[d.length - 1].x[1], d[d.length - 1].y[1]]; })()"
    tab.near(ring, tab.value("[(s.pairs, s.cosine) for s in [explorer.families[1].stops[3]]][0]"), "the ring at the next stride")
    tab.pick("canvas.pixels >> nth=2", 28, 24, (64, 64))
    for _ in range(3):
        tab.page.keyboard.press("ArrowDown")
    tab.kernel_until("list(explorer.anchor)", [31, 24])
    tab.kernel("import numpy as np; table = np.array([0, 1, 2, 3])")
    tab.kernel("truth = [table[compared(p.stop.strategy, explorer.labels, (31, 24))] for p in explorer.panels]")
    tab.kernel("def drawn():\n    return [np.frombuffer(p.canvas.marks, np.uint8).reshape(64, 64) for p in explorer.panels]")
    tab.kernel_until("all((a == b).all() for a, b in zip(truth, drawn()))")
    lit = tab.value("[sorted(set(a.ravel().tolist())) for a in truth]")
    assert lit[0] == [1, 2, 3] and 0 in lit[2]
    assert tab.value("explorer.problem") == ""
    tab.shot("strategy-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def test_temperature(lab):  # noqa: F811
    name = lab.notebook(
        "temperature.ipynb",
        "from semicon_nb.explore.temperature import TEMPERATURES, TemperatureExplorer, felt",
        "explorer = TemperatureExplorer()\nexplorer",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 2, "pictures")
    tab.figures(3)
    bars = "document.querySelectorAll('.js-plotly-plot')[0].data.map(t => t.y ? t.y.length : 0)"
    tab.wait(lambda: tab.page.evaluate(bars) == [40, 40, 40], "forty bars")
    tab.shot("temperature-live-before")
    tab.press(".semicon-explorer .noUi-handle", "Home")
    tab.kernel_until("explorer.slider.value", 0)
    ring = "document.querySelectorAll('.js-plotly-plot')[1].data[1].x[0]"
    tab.near(ring, 0.01, "the ring at 0.01")
    tab.slide(".semicon-explorer .noUi-target", 0.5)
    tab.kernel_until("0.06 < TEMPERATURES[explorer.slider.value] < 0.2")
    tab.near(ring, tab.value("TEMPERATURES[explorer.slider.value]"), "the ring at the slider")
    tab.pick("canvas.pixels >> nth=1", 20, 30, (64, 64))
    tab.kernel_until("list(explorer.anchor)", [20, 30])
    loss = tab.value("[felt(explorer.vectors, explorer.labels, (20, 30), t).loss for t in TEMPERATURES]")
    tab.near("Array.from(document.querySelectorAll('.js-plotly-plot')[2].data[0].y)", loss, "the curve of the new anchor")
    tab.near("document.querySelectorAll('.js-plotly-plot')[2].data[1].y[0]", loss[tab.value("explorer.slider.value")], "its ring")
    stop, drawn = tab.value("explorer.slider.value"), "(() => { const box = document.querySelectorAll('.js-plotly-plot')[2]"
    drawn += ".querySelectorAll('.scatterlayer .trace')[1].querySelector('path.point').getBoundingClientRect()"
    drawn += "; return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    for _ in range(2):  # as plotly drew it with its new curve, then as the slider moved it
        (place,) = tab.to_screen(".js-plotly-plot >> nth=2", [(tab.value(f"TEMPERATURES[{stop}]"), loss[stop])])
        tab.near(drawn, place, "the ring on its curve", within=1.0)
        stop += 1
        tab.press(".semicon-explorer .noUi-handle", "ArrowRight")
        tab.kernel_until("explorer.slider.value", stop)
    assert tab.value("explorer.problem") == ""
    tab.shot("temperature-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def test_cohort(lab):  # noqa: F811
    name = lab.notebook(
        "cohort.ipynb",
        "from semicon_nb.data import phantom\nfrom semicon_nb.explore.cohort import CohortBrowser",
        "explorer = CohortBrowser(phantom(subjects=8, size=32))\nexplorer",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 3, "pictures")
    tab.figures(2)
    tab.shot("cohort-live-before")
    tab.press(".semicon-explorer .noUi-handle", "Home")
    tab.kernel_until("explorer.k", 0)
    x, row = tab.page.evaluate("(() => { const t = document.querySelectorAll('.js-plotly-plot')[0].data[0]; return [t.x[6], t.y[6]]; })()")
    place = tab.page.evaluate(f"document.querySelectorAll('.js-plotly-plot')[0]._fullLayout.yaxis._categories.indexOf({row!r})")
    tab.click(".js-plotly-plot", (x, place))
    tab.kernel_until("explorer.volumes.value", 6)
    tab.kernel_until("explorer.cohort.volumes[6].name in explorer.said.value")
    tab.pick("canvas.pixels >> nth=0", 9, 12, (32, 32))
    tab.kernel_until("list(explorer.pixel)", [9, 12])
    tab.kernel("import numpy as np; here = explorer.rows[explorer.k]; labels = explorer.cohort.labels[here]")
    tab.kernel_until("np.array_equal(np.frombuffer(explorer.canvases[0].marks, np.uint8).reshape(32, 32), labels)")
    tab.kernel_until("'Row 9, column 12' in explorer.said.value")
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
    tab.figures(2)
    tab.shot("results-live-before")
    x, y = tab.page.evaluate("(() => { const t = document.querySelectorAll('.js-plotly-plot')[0].data[4]; return [t.x[0], t.y[0]]; })()")
    tab.click(".js-plotly-plot >> nth=0", (x, y))
    tab.kernel_until("[explorer.menus['method'].value, explorer.menus['labels'].value]", ["global", 0.05])
    tab.kernel("from semicon_nb.explore.results_state import volumes_of")
    worst = tab.value("[[v.volume, v.score] for v in volumes_of(explorer.experiment, 'global', 0.05, 'pooled_dice', 'mean')]")
    strip = "Array.from(document.querySelectorAll('.js-plotly-plot')[1].data[0].y)"
    tab.near(strip, [score for _, score in worst], "the volumes, worst first")
    tab.click(".js-plotly-plot >> nth=1", (3, worst[2][1]))
    tab.kernel_until("explorer.menus['volume'].value", 2)
    tab.kernel_until(f"{worst[2][0]!r} in explorer.table.value and explorer.problem == ''")
    tab.shot("results-live-after")
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


@pytest.mark.alone
@pytest.mark.parametrize("name", EXPLORERS)
def test_how_long_a_slider_of_a_page_takes(name, static_page, tmp_path):  # noqa: F811
    control, made = EXPLORERS[name]
    tab = static_page(made(tmp_path / f"{name}.html"), size=(1440, 900))
    tab.figures(1)
    tab.swept(f"#{control}", 4)
    swift(f"page {name}, 4,096 pixels", tab, lambda: tab.swept(f"#{control}", 20))


@pytest.mark.alone
def test_live_sliders_are_swift_and_a_closed_kernel_is_said(lab):  # noqa: F811
    name = lab.notebook(
        "latency.ipynb",
        "from semicon_nb.explore.strategy import StrategyExplorer\nfrom semicon_nb.explore.temperature import TemperatureExplorer",
        "strategy = StrategyExplorer()\nstrategy",
        "temperature = TemperatureExplorer()\ntemperature",
        "from semicon_nb.data import phantom\nfrom semicon_nb.explore.cohort import CohortBrowser\nCohortBrowser(phantom(subjects=3, size=32))",
        "from semicon_nb.explore.results import ResultsExplorer" + RUNS + "ResultsExplorer(runs)",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.figures(8)
    for kind, selector in {"explorer": ".semicon-explorer", "canvas": "canvas.pixels", "handle": ".noUi-handle"}.items():
        tab.page.evaluate(f"document.querySelectorAll({selector!r}).forEach((found, k) => {{ found.id = {kind!r} + k; }})")
    tab.latencies("#handle3", "#canvas3", KEYS[:6], pause=150)  # as with pages, the first moves of a cold browser are not counted
    swift("live strategy, picture", tab, lambda: tab.latencies("#handle3", "#canvas3", KEYS, pause=150))
    swift("live temperature, picture", tab, lambda: tab.latencies("#handle4", "#canvas4", KEYS, pause=150))
    swift("live temperature, bars", tab, lambda: tab.latencies("#handle4", "#explorer1 .js-plotly-plot", KEYS, pause=150))
    assert not tab.errors and not tab.outside
    tab.kill_kernel()
    for k in range(4):
        box = f"#explorer{k}"

        def said(box: str = box) -> int:
            tab.press(f"{box} .noUi-handle, {box} select", "ArrowLeft")
            return tab.page.locator(f"{box} .semicon-closed:visible").count()

        tab.wait(said, f"the sentence of a closed kernel in explorer {k}")
    tab.shot("closed-kernel")
    tab.close()
