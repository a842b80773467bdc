"""The explorers as pages that need no kernel, made for the site at build time."""

from pathlib import Path

PLOTLY = "../site_libs/plotly/plotly.min.js"


def build_explorers(folder: Path) -> list[Path]:
    """Write every explorer's page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return []
