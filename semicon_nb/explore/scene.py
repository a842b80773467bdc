"""What draws the strategy, temperature and cohort explorers, in a notebook and in a page without a kernel."""

__all__ = []

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from . import page
from .slices import Slice
from ..show import PALETTE, PULL, PUSH, SYMBOLS

DARK, BRIGHT = "#10141c", "#ffffff"
TINTS = (DARK, PULL, PUSH, BRIGHT)
"""Of a pixel that the anchor never meets, pulls, pushes, and of the anchor itself."""

_PARTS = ("canvas.js", "chart.js", "scene.js")


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
