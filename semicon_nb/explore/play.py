"""The playground as one page: pixel contrast that trains in the browser, without a kernel and without a network."""

__all__ = ["Playground"]

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data import phantom
from ..show import PALETTE, PULL, PUSH, overlay
from .page import asset, grey_bytes, page, text, write_page
from .widgets import Explorer

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCRIPTS = ("parts.js", "canvas.js", "pixelloss.js", "play.js")
SLICES = (
    ("hippocampus, two parts", {"subjects": 6, "size": 64}, 3),
    ("another hippocampus", {"subjects": 6, "size": 64}, 20),
    ("heart, three chambers", {"kind": "cardiac", "subjects": 4, "size": 64}, None),
)
"""Name, arguments of `phantom`, and which slice; None for the one whose smallest of three labels is largest."""


def _picture(name: str, made: dict, row: int | None) -> dict:
    """A slice of a generated subject as the page needs it, with at most three labels, and how Python makes it."""
    cohort = phantom(**made)
    if row is None:
        counts = np.stack([np.bincount(labels.ravel(), minlength=4)[1:4] for labels in cohort.labels])
        row = int(counts.min(1).argmax())
    labels = np.where(cohort.labels[row] <= 3, cohort.labels[row], 0).astype(np.uint8)
    words = ", ".join(f"{key}={value!r}" for key, value in made.items())
    return {"name": name, "image": grey_bytes(cohort.images[row]), "labels": labels, "phantom": words, "row": row, "classes": len(cohort.classes)}


LEAD = (
    "Press Play. Every dot is a pixel: painted ones pull their own colour closer and push all others away, "
    "and the slice takes the colours of the islands."
)


class Playground(Explorer):
    """Paint a slice, choose which pixels meet, and watch them learn, in the browser alone: no kernel, no network."""

    title = "Pixel contrast, trained in your browser"

    def _parts(self) -> tuple[str, str, dict, tuple[str, ...], str]:
        """Title, body, data, scripts and lead of the page."""
        data = {"size": 64, "pictures": [_picture(*one) for one in SLICES], "palette": PALETTE[:4], "pull": PULL, "push": PUSH}
        return self.title, f'<style>{asset("play.css")}</style><div id="play"></div>', data, SCRIPTS, LEAD

    def picture(self) -> "go.Figure":
        """The slice with its paint, for pages that are read and not run."""
        import plotly.graph_objects as go

        first = _picture(*SLICES[0])
        painted = np.asarray(overlay(first["image"] / 255, first["labels"], scale=4))
        axes = {"visible": False, "scaleanchor": "x"}
        return go.Figure(go.Image(z=painted)).update_layout(xaxis={"visible": False}, yaxis=axes, height=420, margin={"t": 0, "b": 0})

    def write(self, path: str | os.PathLike) -> Path:
        """Write the page to `path`."""
        return write_page(path, *self._parts())

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The page itself in a frame; or the picture, where plotly is told to store its figures as data (saved pages)."""
        if "mimetype" in os.environ.get("PLOTLY_RENDERER", ""):
            return super()._repr_mimebundle_(include, exclude)
        look = "width:100%;height:1150px;border:0"
        frame = f'<iframe title="{text(self.title)}" style="{look}" srcdoc="{text(page(*self._parts()))}"></iframe>'
        return {"text/html": frame, "text/plain": self.title}
