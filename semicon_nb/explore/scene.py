"""What draws the strategy, temperature and cohort explorers, in a notebook and in a page without a kernel."""

__all__ = []

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets

from . import page
from .slices import Slice, checked_anchor, chosen_slice
from .widgets import Explorer, frame, in_place
from ..show import PALETTE, PULL, PUSH, SYMBOLS

DARK, BRIGHT = "#10141c", "#ffffff"
TINTS = (DARK, PULL, PUSH, BRIGHT)
"""Of a pixel that the anchor never meets, pulls, pushes, and of the anchor itself."""

_PARTS = ("canvas.js", "chart.js", "parts.js", "scene.js")


class Scene(anywidget.AnyWidget):
    """An explorer as the browser draws it from its `data`; `state` is what the reader chose, both sides set it."""

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode(page.asset("scene.css")).tag(sync=True)
    data = traitlets.Unicode().tag(sync=True)  # JSON
    state = traitlets.Dict().tag(sync=True)
    wanted = traitlets.Int(-1).tag(sync=True)  # number of the volume that the browser asks for
    volume = traitlets.Unicode("").tag(sync=True)  # that volume as JSON

    def __init__(self, scripts: Sequence[str], data: Mapping[str, object]):
        """A scene that `scripts` of assets draw from `data`, whose "kind" names it and whose "state" it begins with."""
        names = ("markers.js", *_PARTS, *scripts, "scene_live.js")
        super().__init__(_esm="".join(map(page.asset, names)), data=as_json(data), state=data["state"])


def as_json(data: object) -> str:
    """`data` with arrays packed and nan as null, as JSON."""
    return json.dumps(page.without_nan(data), default=page.encode, separators=(",", ":"), allow_nan=False)


def write_scene(path: str | os.PathLike, title: str, lead: str, scripts: Sequence[str], data: Mapping[str, object], state: Mapping) -> Path:
    """Write the page that draws `data` with `scripts`, beginning with this `state`, to `path`; it needs no plotly."""
    body = f'<style>{page.asset("scene.css")}</style><div id="explorer" class="semicon-scene"></div>'
    return page.write_page(path, title, body, {**data, "state": dict(state)}, (*_PARTS, *scripts, "scene_page.js"), lead, plotly="")


def slice_data(piece: Slice) -> dict:
    """What the browser needs of one slice: image and labels as bytes, names and colours of the classes, and `TINTS`."""
    image, labels = np.rint(piece.image * 255).astype(np.uint8), piece.labels.astype(np.uint8)
    looks = class_looks(len(piece.classes))
    return {"image": image, "labels": labels, "classes": list(piece.classes), "tints": list(TINTS), **looks}


def class_looks(count: int) -> dict[str, list[str]]:
    """Colour of the outline and marker of each of `count` classes, background first."""
    which = [0, *(1 + k % (len(PALETTE) - 1) for k in range(count - 1))]
    return {"colours": [PALETTE[k] for k in which], "symbols": [SYMBOLS[k] for k in which]}


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
        self.data = self._open(piece, features, model, place, temperature)
        self.scene = Scene(self.scripts, self.data)
        self.widget = frame(self.title, ipywidgets.HTML(page.text(self.lead)), self.scene)

    def _open(
        self,
        piece: Slice,  # that is looked at
        features: torch.Tensor | np.ndarray | None,  # [C, H, W]
        model: torch.nn.Module | None,  # gives them instead
        place: tuple[int, int] | None,  # row and column of the anchor; None: one that tells most
        temperature: float,  # of the loss
    ) -> dict:
        """Measure what is shown, keep it in `self.shown`, and return what the browser needs of it."""
        raise NotImplementedError

    @property
    def state(self) -> dict:
        """What the reader has chosen: `anchor`, row and column, and the place of each slider."""
        return self.scene.state

    def write(self, path: str | os.PathLike, plotly: str = "") -> Path:
        """Write the page that explores without a kernel to `path`; it needs no `plotly`."""
        return write_scene(path, self.title, self.lead, self.scripts, self.data, self.state)
