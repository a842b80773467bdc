"""What draws the strategy, temperature and cohort explorers, in a notebook and in a page without a kernel."""

__all__ = []

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ipywidgets
import numpy as np
import torch

from . import page
from .slices import Slice, checked_anchor, chosen_slice
from .widgets import Explorer, LiveScript, frame, in_place, script_page
from ..show import PALETTE, PULL, PUSH, SYMBOLS

DARK, BRIGHT = "#10141c", "#ffffff"
TINTS = (DARK, PULL, PUSH, BRIGHT)
"""Of a pixel that the anchor never meets, pulls, pushes, and of the anchor itself."""


def slice_data(piece: Slice) -> dict:
    """What the browser needs of one slice: image and labels as bytes, names and colours of the classes, and `TINTS`."""
    image, labels = np.rint(piece.image * 255).astype(np.uint8), piece.labels.astype(np.uint8)
    looks = class_looks(len(piece.classes))
    return {"image": image, "labels": labels, "classes": list(piece.classes), "tints": list(TINTS), **looks}


def class_looks(count: int) -> dict[str, list[str]]:
    """Colour of the outline and marker of each of `count` classes, background first."""
    which = [0, *(1 + k % (len(PALETTE) - 1) for k in range(count - 1))]
    return {"colours": [PALETTE[k] for k in which], "symbols": [SYMBOLS[k] for k in which]}


@dataclass(frozen=True)
class Asked:
    """What the reader wants to look at."""

    slice: Slice  # that is looked at
    features: torch.Tensor | np.ndarray | None  # [C, H, W]
    model: torch.nn.Module | None  # gives them instead
    anchor: tuple[int, int] | None  # row and column to begin with; None: one that tells most
    temperature: float  # of the loss


class SliceExplorer(Explorer):
    """An explorer of one slice, on which the reader chooses the anchor; a subclass says what is looked at, in `_open`."""

    lead = "Click a pixel, or use the arrow keys on a picture, to choose the anchor."
    scripts: tuple[str, ...] = ()  # of assets

    @in_place
    def __init__(
        self,
        image: np.ndarray | None = None,  # [H, W]; None: a generated slice
        labels: np.ndarray | None = None,  # [H, W], 0 background
        features: torch.Tensor | np.ndarray | None = None,  # [C, H, W] embeddings
        model: torch.nn.Module | None = None,  # gives them instead; neither: a small network of the explorer's own
        anchor: tuple[int, int] | None = None,  # row and column to start with
        temperature: float = 0.1,  # of the loss, to start with
        classes: Sequence[str] | None = None,  # names, background first
    ):
        piece = chosen_slice(image, labels, classes)
        place = None if anchor is None else checked_anchor(anchor, piece.labels.shape)
        self.data = self._open(Asked(piece, features, model, place, temperature))
        self.live = LiveScript(self.scripts, self.data, "scene")
        self.widget = frame(self.title, ipywidgets.HTML(page.text(self.lead)), self.live)

    def _open(self, asked: Asked) -> dict:
        """Measure what is shown, keep it in `self.shown`, and return what the browser needs of it."""
        raise NotImplementedError

    @property
    def state(self) -> dict:
        """What the reader has chosen: `anchor`, row and column, and the place of each slider."""
        return self.live.state

    def write(self, path: str | os.PathLike, plotly: str = "") -> Path:
        """Write the page that explores without a kernel to `path`; it needs no `plotly`."""
        return script_page(path, self.title, self.data | {"state": self.state}, self.scripts, "scene", self.lead)
