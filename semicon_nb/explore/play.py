"""The playground as one page: pixel contrast that trains in the browser, without a kernel and without a network."""

__all__ = []

import os
from pathlib import Path

import numpy as np

from ..data import phantom
from ..show import PALETTE, PULL, PUSH
from .page import asset, write_page

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
    image = np.rint(cohort.images[row].astype(np.float32) * 255).astype(np.uint8)
    words = ", ".join(f"{key}={value!r}" for key, value in made.items())
    return {"name": name, "image": image, "labels": labels, "phantom": words, "row": row, "classes": len(cohort.classes)}


def write_play(path: str | os.PathLike) -> Path:
    """Write the playground to `path`."""
    data = {"size": 64, "pictures": [_picture(*one) for one in SLICES], "palette": PALETTE[:4], "pull": PULL, "push": PUSH}
    lead = "Press Play. Every dot is a pixel: painted ones pull their own colour closer and push all others away, and the slice takes the colours of the islands."
    body = f'<style>{asset("play.css")}</style><div id="play"></div>'
    return write_page(path, "Pixel contrast, trained in your browser", body, data, SCRIPTS, lead, plotly="")
