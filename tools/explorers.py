"""The explorers as pages that need no kernel, and the page of the demo, made for the site at build time.

Where a notebook stores the picture of an explorer, the site shows its page instead (tools/processors.py knows it by its title).
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from semicon_nb.data import phantom, split
from semicon_nb.explore import (
    CohortBrowser,
    PixelExplorer,
    Playground,
    ResultsExplorer,
    StrategyExplorer,
    TemperatureExplorer,
    TrainingReplay,
)
from semicon_nb.explore.demo_page import write_demo_page
from semicon_nb.files import content_key
from semicon_nb.methods import train_method
from semicon_nb.runs import Run
from semicon_nb.stages import PRESETS

PACKAGE = Path(__file__).resolve().parent.parent / "semicon_nb"
RESULTS = PACKAGE.parent / "results"
DEMO = PACKAGE.parent / "nbs" / "demo.json"
"""What `make demo` left in demo/demo.json."""


@cache
def trained() -> Run:
    """Three stages on generated subjects, as in `semicon-nb demo`, a little shorter."""
    cohort = phantom(subjects=12, size=48)
    return train_method("global+local(exact)", cohort, split(cohort, labelled=0.3), PRESETS["demo"].scaled(0.5), progress=False)


EXPLORERS: dict[type, tuple[str, Callable]] = {
    Playground: ("play", Playground),
    PixelExplorer: ("pixels", lambda: PixelExplorer()),
    StrategyExplorer: ("strategies", lambda: StrategyExplorer()),
    TemperatureExplorer: ("temperature", lambda: TemperatureExplorer()),
    TrainingReplay: ("replay", lambda: TrainingReplay()),
    CohortBrowser: ("cohort", lambda: CohortBrowser()),
    ResultsExplorer: ("results", lambda: ResultsExplorer(sorted(RESULTS.glob("*.jsonl")), [trained()])),
}
HEIGHTS = {"play": 1110, "pixels": 740, "strategies": 1860, "temperature": 1510, "replay": 980, "cohort": 1120, "results": 1460}
"""Of each page in pixels, in the width that a page of the site has for it."""


def page_of(title: str) -> str | None:
    """The address, below the site's root, of the page of the explorer with this title."""
    return next((f"explorers/{name}.html" for kind, (name, _) in EXPLORERS.items() if kind.title == title), None)


def build_explorers(folder: Path) -> None:
    """Write every explorer's page and the demo's into `folder`, unless the package has not changed since."""
    sources = [DEMO, *(path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".js", ".css", ".html", ".json"))]
    key = content_key(*(path.read_text(encoding="utf-8") for path in sources), *(str(path.read_bytes()) for path in PACKAGE.rglob("*.npz")))
    stamp = folder / "built-from.txt"
    whole = all((folder / f"{name}.html").exists() for name in ("demo", *(name for name, _ in EXPLORERS.values())))
    if whole and stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    for name, make in EXPLORERS.values():
        explorer = make()
        if explorer.problem:
            raise RuntimeError(f"the explorer {name} cannot be built: {explorer.problem}\n{explorer.trace}")
        explorer.to_html(folder / f"{name}.html")
    write_demo_page(folder / "demo.html", json.loads(DEMO.read_text(encoding="utf-8")))
    stamp.write_text(key, encoding="utf-8")
