"""How fast the playground trains in Chromium, that its loss is the library's, and how large and how quick the explorers' pages are.

    python benchmarks/explorers.py [--seconds 6]

Prints steps a second of the page's worker at 4,096 pixels, with the time of a step as a share of the time in which the same
browser moves 4,096 plain circles; errors of loss and gradient for each strategy; the mean Dice of ten seeds; the bytes of each
explorer's page; and the seconds from a fresh Python to the first sight of each explorer. Latencies of pointers and sliders are
printed by the tests: `pytest -s tests/explore -k "swift or how_long"`. Needs a Chromium: one that CHROMIUM names, `chromium` on
the PATH, or Playwright's own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests"), str(HERE.parent / "tests" / "explore")]

from browser_tools import open_page, pace  # noqa: E402
from test_play import KINDS, parity, state, ten_seeds  # noqa: E402

from semicon_nb import explore  # noqa: E402

NAMES = ("Playground", "PixelExplorer", "StrategyExplorer", "TemperatureExplorer", "CohortBrowser", "TrainingReplay", "ResultsExplorer")
ARGUMENTS = {"ResultsExplorer": '"results"'}
"""Of explorers that have no example of their own."""
SETTINGS = ("strategy=random&size=512", "strategy=random&size=1024", "strategy=stride&size=4", "strategy=block&size=16", "strategy=every")
"""Of the playground, as its address has them."""


def speed(browser, path: Path, setting: str, seconds: float) -> str:
    """Steps and frames a second while the playground plays, and its step beside 4,096 moved circles."""
    tab = open_page(browser, path, size=(1280, 900))
    tab.wait(lambda: tab.page.evaluate("typeof semicon === 'object' && !!semicon.playground"), "the playground")
    tab.page.evaluate("(hash) => { location.hash = hash; }", setting)
    circles = pace(tab)
    tab.page.click("#go")
    tab.wait(lambda: state(tab)["steps"] > 3, "the first steps", 120)
    before, start = state(tab), time.perf_counter()
    tab.page.wait_for_timeout(1000 * seconds)
    after, spent = state(tab), time.perf_counter() - start
    steps, frames = ((after[what] - before[what]) / spent for what in ("steps", "frames"))
    tab.close()
    share = 1000 / steps / circles if steps else float("inf")
    return f"{setting:28} {steps:6.1f} steps/s  {frames:5.1f} frames/s  circles {circles:5.1f} ms  a step is {share:.1f} times that"


def first_sight(name: str) -> float:
    """Seconds from the start of a fresh Python to what the explorer shows a notebook."""
    code = f"from semicon_nb.explore import {name}; {name}({ARGUMENTS.get(name, '')})._repr_mimebundle_()"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    return time.perf_counter() - start


def told(browser, folder: Path, seconds: float) -> None:
    """Print all figures of the playground, then size and first sight of each explorer."""
    path = explore.Playground().to_html(folder / "Playground.html")
    for setting in SETTINGS:
        print(speed(browser, path, setting, seconds), flush=True)
    tab = open_page(browser, path)
    tab.wait(lambda: tab.page.evaluate("typeof semicon === 'object' && !!semicon.playground"), "the playground")
    for kind in KINDS:
        errors = [parity(tab.page, kind, dims, background)[:2] for dims in (2, 3) for background in (True, False)]
        print(f"{kind:14} relative error of the loss {max(e[0] for e in errors):.1e}, of the gradient {max(e[1] for e in errors):.1e}")
    scores = ten_seeds(tab.page)
    print("mean Dice for seeds 0 to 9:", " ".join(f"{score:.3f}" for score in scores), f"mean {sum(scores) / 10:.3f}", flush=True)
    tab.close()
    for name in NAMES:
        made = getattr(explore, name)(*(["results"] if name in ARGUMENTS else [])).to_html(folder / f"{name}.html")
        print(f"{name:20} {made.stat().st_size / 1000:7.0f} kB  first sight {first_sight(name):5.1f} s", flush=True)


def main() -> None:
    """Read the options, start a Chromium and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each setting plays")
    seconds = parser.parse_args().seconds
    os.chdir(HERE.parent)
    with sync_playwright() as play, TemporaryDirectory() as folder:
        browser = play.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        told(browser, Path(folder), seconds)
        browser.close()


if __name__ == "__main__":
    main()
