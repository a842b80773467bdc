"""Strategy, temperature, cohort and results explorers in a real JupyterLab: real pointers and keys, state read from the kernel."""

import importlib
import os

import numpy as np
import pytest
from browser_tools import lab, static_page  # noqa: F401

pytestmark = pytest.mark.browser
PAUSE = 400


def percentile(values: list[float], share: float = 95) -> float:
    return float(np.percentile(values, share))


def test_strategies(lab):  # noqa: F811
    name = lab.notebook(
        "strategy.ipynb", "from semicon_nb.explore_strategy import StrategyExplorer, compared", "explorer = StrategyExplorer()\nexplorer"
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 4, "four pictures")
    tab.figures(1)
    tab.page.wait_for_timeout(PAUSE)
    tab.shot("strategy-live-before")
    sliders = tab.page.locator(".semicon-explorer .noUi-handle")
    assert sliders.count() == 4
    tab.press(".semicon-explorer .noUi-handle >> nth=1", "ArrowRight")
    tab.kernel_until("explorer.panels[1].slider.value", 3)
    tab.kernel_until("explorer.chart.data[-1].x[1] == explorer.families[1].stops[3].pairs", True)
    canvas = tab.page.locator("canvas.pixels").nth(2)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tab.page.mouse.click(box["x"] + 24.5 / 64 * box["width"], box["y"] + 28.5 / 64 * box["height"])
    tab.kernel_until("list(explorer.anchor)", [28, 24])
    tab.page.keyboard.press("ArrowDown")
    tab.kernel_until("list(explorer.anchor)", [29, 24])
    lit = tab.value("[sorted(set(p.canvas.marks)) for p in explorer.panels]")
    assert lit[0] == [1, 2, 3] and 0 in lit[2]
    tab.kernel("import numpy as np; table = np.array([0, 1, 2, 3])")
    tab.kernel("truth = [table[compared(p.stop.strategy, explorer.labels, explorer.anchor)] for p in explorer.panels]")
    tab.kernel("drawn = [np.frombuffer(p.canvas.marks, np.uint8).reshape(64, 64) for p in explorer.panels]")
    assert tab.value("all((a == b).all() for a, b in zip(truth, drawn))")
    assert tab.value("explorer.problem") == ""
    tab.page.wait_for_timeout(PAUSE)
    tab.shot("strategy-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def test_temperature(lab):  # noqa: F811
    name = lab.notebook(
        "temperature.ipynb",
        "from semicon_nb.explore_temperature import TEMPERATURES, TemperatureExplorer",
        "explorer = TemperatureExplorer()\nexplorer",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 2, "pictures")
    tab.figures(3)
    tab.page.wait_for_timeout(PAUSE)
    tab.shot("temperature-live-before")
    bars = "document.querySelectorAll('.js-plotly-plot')[0].data.map(t => t.y ? t.y.length : 0)"
    tab.wait(lambda: tab.page.evaluate(bars) == [40, 40, 40], "forty bars")
    tab.press(".semicon-explorer .noUi-handle", "Home")
    tab.kernel_until("explorer.slider.value", 0)
    ring = "document.querySelectorAll('.js-plotly-plot')[1].data[1].x[0]"
    tab.wait(lambda: abs(tab.page.evaluate(ring) - 0.01) < 1e-9, "the ring at 0.01")
    tab.slide(".semicon-explorer .noUi-target", 0.5)
    tab.wait(lambda: abs(tab.page.evaluate(ring) - tab.value("TEMPERATURES[explorer.slider.value]")) < 1e-9, "the ring at the slider")
    assert 0.06 < tab.value("TEMPERATURES[explorer.slider.value]") < 0.2
    box = tab.page.locator("canvas.pixels").nth(1).bounding_box()
    tab.page.mouse.click(box["x"] + 30.5 / 64 * box["width"], box["y"] + 20.5 / 64 * box["height"])
    tab.kernel_until("list(explorer.anchor)", [20, 30])
    loss = tab.value("float(explorer.lines[1].data[0].y[5])")
    shown = "document.querySelectorAll('.js-plotly-plot')[2].data[0].y[5]"
    tab.wait(lambda: abs(tab.page.evaluate(shown) - loss) < 1e-6, "the curve of the new anchor")
    assert tab.value("explorer.problem") == ""
    tab.shot("temperature-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def test_cohort(lab):  # noqa: F811
    name = lab.notebook(
        "cohort.ipynb",
        "from semicon_nb.data import phantom\nfrom semicon_nb.explore_cohort import CohortBrowser",
        "explorer = CohortBrowser(phantom(subjects=8, size=32))\nexplorer",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.wait(lambda: tab.page.locator("canvas.pixels").count() == 3, "pictures")
    tab.figures(2)
    tab.page.wait_for_timeout(PAUSE)
    tab.shot("cohort-live-before")
    tab.press(".semicon-explorer .noUi-handle", "Home")
    tab.kernel_until("explorer.k", 0)
    x, row = tab.page.evaluate("(() => { const t = document.querySelectorAll('.js-plotly-plot')[0].data[0]; return [t.x[6], t.y[6]]; })()")
    place = tab.page.evaluate(f"document.querySelectorAll('.js-plotly-plot')[0]._fullLayout.yaxis._categories.indexOf({row!r})")
    tab.click(".js-plotly-plot", (x, place))
    tab.kernel_until("explorer.volumes.value", 6)
    tab.kernel_until("len(explorer.said.value) > 0 and explorer.cohort.volumes[6].name in explorer.said.value", True)
    box = tab.page.locator("canvas.pixels").nth(0).bounding_box()
    tab.page.mouse.click(box["x"] + 12.5 / 32 * box["width"], box["y"] + 9.5 / 32 * box["height"])
    tab.kernel_until("list(explorer.pixel)", [9, 12])
    tab.kernel("import numpy as np; here = explorer.rows[explorer.k]; labels = explorer.cohort.labels[here]")
    assert tab.value("np.array_equal(np.frombuffer(explorer.canvases[0].marks, np.uint8).reshape(32, 32), labels)")
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
        "results.ipynb", "from semicon_nb.explore_results import ResultsExplorer" + RUNS, "explorer = ResultsExplorer(runs)\nexplorer"
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.figures(2)
    tab.page.wait_for_timeout(PAUSE)
    tab.shot("results-live-before")
    x, y = tab.page.evaluate("(() => { const t = document.querySelectorAll('.js-plotly-plot')[0].data[3]; return [t.x[0], t.y[0]]; })()")
    tab.click(".js-plotly-plot >> nth=0", (x, y))
    tab.kernel_until("[explorer.menus['method'].value, explorer.menus['labels'].value]", ["global", 0.05])
    tab.wait(lambda: len(tab.page.evaluate("document.querySelectorAll('.js-plotly-plot')[1].data[0].x")) == 18, "the volumes")
    score = tab.value("explorer.ordered[2][1]")
    tab.page.wait_for_timeout(PAUSE)
    tab.click(".js-plotly-plot >> nth=1", (3, score))
    tab.kernel_until("explorer.menus['volume'].value", 2)
    assert tab.value("explorer.ordered[2][0].volume in explorer.table.value and explorer.problem == ''")
    tab.shot("results-live-after")
    assert not tab.errors and not tab.outside
    tab.close()


def quiet() -> bool:
    """Whether this machine has nothing else to do, so that times mean something."""
    return os.getloadavg()[0] < 0.75 * (os.cpu_count() or 1)


def report(name: str, times: list[float]) -> None:
    """Print median and 95th percentile; hold the latter to 100 ms where the machine is quiet."""
    print(
        f"{name}: median {percentile(times, 50):.0f} ms, 95th percentile {percentile(times):.0f} ms of {len(times)}, load {os.getloadavg()[0]:.1f}"
    )
    assert not quiet() or percentile(times) < 100


PAGES = {
    "strategy": ("explore_strategy", "StrategyExplorer", "stop3", "anchor"),
    "temperature": ("explore_temperature", "TemperatureExplorer", "temperature", None),
    "cohort": ("explore_cohort", "CohortBrowser", "slice", None),
}


@pytest.mark.parametrize("name", PAGES)
def test_how_long_a_slider_of_a_page_takes(name, static_page, tmp_path):  # noqa: F811
    module, kind, control, _ = PAGES[name]
    explorer = getattr(importlib.import_module(f"semicon_nb.{module}"), kind)()
    tab = static_page(explorer.to_html(tmp_path / f"{name}.html"), size=(1440, 900))
    tab.page.wait_for_timeout(1500)
    for key in ["ArrowLeft"] * 6 + ["ArrowRight"] * 6 + ["ArrowLeft"] * 6:
        tab.press(f"#{control}", key, pause=250)
    report(f"page {name}, 4,096 pixels", tab.page.evaluate(f"semicon.timings.{control}"))


def test_how_long_a_live_slider_takes(lab):  # noqa: F811
    name = lab.notebook(
        "latency.ipynb",
        "from semicon_nb.explore_strategy import StrategyExplorer\nfrom semicon_nb.explore_temperature import TemperatureExplorer",
        "strategy = StrategyExplorer()\nstrategy",
        "temperature = TemperatureExplorer()\ntemperature",
    )
    tab = lab.open(name, size=(1440, 1100))
    tab.figures(4)
    tab.page.evaluate("document.querySelectorAll('.semicon-explorer').forEach((box, k) => { box.id = 'explorer' + k; })")
    tab.page.evaluate("document.querySelectorAll('canvas.pixels').forEach((canvas, k) => { canvas.id = 'canvas' + k; })")
    tab.page.evaluate("document.querySelectorAll('.noUi-handle').forEach((handle, k) => { handle.id = 'handle' + k; })")
    keys = ["ArrowLeft"] * 4 + ["ArrowRight"] * 4 + ["ArrowLeft"] * 4
    report("live strategy, picture", tab.latencies("#handle3", "#canvas3", keys))
    report("live temperature, picture", tab.latencies("#handle4", "#canvas4", keys))
    report("live temperature, bars", tab.latencies("#handle4", "#explorer1 .js-plotly-plot", keys))
    assert not tab.errors and not tab.outside
    tab.close()
