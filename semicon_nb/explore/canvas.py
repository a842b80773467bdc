"""Pictures made of pixels, for pages that are read and not run."""

__all__ = []

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..show import edges, style
from ..show import rgb as three

if TYPE_CHECKING:
    import plotly.graph_objects as go

NONE, PLUS, MINUS, DOT = 0, 1, 2, 3
"""Marks drawn on pixels, so that colour never stands alone."""


def mixed(grey: np.ndarray, colours: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Grey levels [H, W] in [0, 1] mixed with colours [H, W, 3] (bytes): share 0 keeps the grey, 1 is all colour."""
    share = np.broadcast_to(np.asarray(share, np.float32), grey.shape)[..., None]
    return np.rint((1 - share) * 255 * np.clip(grey, 0, 1)[..., None] + share * colours).astype(np.uint8)


def swatches(*colours: str) -> np.ndarray:
    """Colours as [n, 3] bytes, to be indexed by a map of small numbers."""
    return np.array([three(colour) for colour in colours], np.float32)


def still(
    colours: np.ndarray,  # [H, W, 3] uint8
    marks: np.ndarray,  # [H, W] of NONE, PLUS, MINUS, DOT
    labels: np.ndarray,  # [H, W] whose outlines are drawn
    looks: np.ndarray,  # [classes, 3] uint8, colour of the outline of each class
    scale: int = 4,  # screen pixels a pixel
) -> str:
    """A picture with marks and outlines as a PNG in a data address."""
    big = np.kron(colours, np.ones((scale, scale, 1), np.uint8)).astype(np.int16)
    flat, tall = np.zeros((scale, scale), bool), np.zeros((scale, scale), bool)
    flat[scale // 2, 1:] = tall[1:, scale // 2] = True
    big[np.kron((marks == PLUS) | (marks == MINUS), flat) | np.kron(marks == PLUS, tall)] += 60
    wide = np.kron(labels, np.ones((scale, scale), np.uint8))
    line = edges(wide)
    line |= edges(np.where(line, 0, wide))  # two screen pixels wide
    big[line] = looks[wide[line]]
    buffer = io.BytesIO()
    Image.fromarray(big.clip(0, 255).astype(np.uint8)).quantize(96, Image.Quantize.MAXCOVERAGE).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def beside(
    pictures: Sequence[str],  # data addresses
    texts: Sequence[str],  # one above each picture; <b> and <br> are markup, so names from files go through `text` first
    anchor: Sequence[int] = (),  # row and column that are ringed
    scale: int = 4,  # screen pixels a pixel in the stills
    height: int = 300,  # screen pixels
) -> "go.Figure":
    """Pictures side by side in one figure, for pages that are read and not run."""
    import plotly.graph_objects as go

    figure, count = go.Figure(), len(pictures)
    ring = {"symbol": "circle-open-dot", "size": 14, "color": "white", "line": {"width": 3}}
    heading = {"xref": "paper", "xanchor": "center", "yref": "paper", "yanchor": "bottom", "showarrow": False}
    x, y = ([anchor[1]], [anchor[0]]) if len(anchor) else ([], [])
    for k, (source, text) in enumerate(zip(pictures, texts, strict=True)):
        number = "" if k == 0 else str(k + 1)
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}", "hoverinfo": "skip"}
        figure.add_image(source=source, dx=1 / scale, dy=1 / scale, **axes)
        figure.add_scatter(x=x, y=y, mode="markers", showlegend=False, marker=ring, **axes)
        across = {"domain": [k / count + 0.008, (k + 1) / count - 0.008], "anchor": f"y{number}", "visible": False}
        down = {"anchor": f"x{number}", "scaleanchor": f"x{number}", "autorange": "reversed", "visible": False}
        figure.update_layout({f"xaxis{number}": across, f"yaxis{number}": down})
        figure.add_annotation(text=text, x=(k + 0.5) / count, y=1.0, **heading)
    return style(figure, height=height).update_layout(margin={"l": 5, "r": 5, "t": 55, "b": 5})
