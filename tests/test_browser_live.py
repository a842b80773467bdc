"""Strategy, temperature, cohort and results explorers in a real JupyterLab: real pointers and keys, state read from the kernel."""

import numpy as np
import pytest
from browser_tools import lab  # noqa: F401

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
