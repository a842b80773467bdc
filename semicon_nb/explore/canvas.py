"""A picture made of pixels that can be pointed at, live: bytes go to the browser, the pixel that the reader picked comes back."""

import base64
import io
from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import plotly.graph_objects as go
import traitlets
from PIL import Image

from .widgets import CONFIG, LiveFigure
from .page import asset
from ..show import rgb as three
from ..show import style

NONE, PLUS, MINUS, DOT = 0, 1, 2, 3
"""Marks drawn on pixels, so that colour never stands alone."""


class PixelCanvas(anywidget.AnyWidget):
    """An image [H, W] in colours, with a mark on each pixel, outlines between labels, and the picked pixel ringed."""

    _esm = traitlets.Unicode(asset("canvas.js") + asset("canvas_live.js")).tag(sync=True)
    shape = traitlets.List([1, 1]).tag(sync=True)
    rgb = traitlets.Bytes(b"").tag(sync=True)
    marks = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.Bytes(b"").tag(sync=True)
    anchor: traitlets.List = traitlets.List([]).tag(sync=True)  # row and column that are ringed, [] for none
    grid = traitlets.Int(0).tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    picks = traitlets.Bool(True).tag(sync=True)
    widest = traitlets.Int(520).tag(sync=True)
    serial = traitlets.Int(0).tag(sync=True)

    def show(
        self,
        colours: np.ndarray,  # [H, W, 3] uint8
        marks: np.ndarray | None = None,  # [H, W] of NONE, PLUS, MINUS, DOT
        labels: np.ndarray | None = None,  # [H, W] whose outlines are drawn
        anchor: Sequence[int] = (),  # row and column that are ringed
        grid: int = 0,  # lines every so many pixels, 0 for none
        alt: str = "",  # the picture in words
    ) -> None:
        """Send one picture to the browser, in one message."""
        with self.hold_sync():
            self.shape = list(colours.shape[:2])
            self.rgb = np.ascontiguousarray(colours, dtype=np.uint8).tobytes()
            self.marks = b"" if marks is None else np.ascontiguousarray(marks, dtype=np.uint8).tobytes()
            self.labels = b"" if labels is None else np.ascontiguousarray(labels, dtype=np.uint8).tobytes()
            self.anchor, self.grid, self.alt = [int(v) for v in anchor], grid, alt
            self.serial += 1


def mixed(grey: np.ndarray, colours: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Grey levels [H, W] in [0, 1] mixed with colours [H, W, 3] (bytes): share 0 keeps the grey, 1 is all colour."""
    share = np.broadcast_to(np.asarray(share, np.float32), grey.shape)[..., None]
    return np.rint((1 - share) * 255 * np.clip(grey, 0, 1)[..., None] + share * colours).astype(np.uint8)


def swatches(*colours: str) -> np.ndarray:
    """Colours as [n, 3] bytes, to be indexed by a map of small numbers."""
    return np.array([three(colour) for colour in colours], np.float32)


def still(colours: np.ndarray, marks: np.ndarray, labels: np.ndarray, scale: int = 4) -> str:
    """Colours [H, W, 3], marks [H, W] and the outlines of `labels` [H, W], `scale` screen pixels a pixel, as a PNG in a data address."""
    big = np.kron(colours, np.ones((scale, scale, 1), np.uint8)).astype(np.int16)
    flat, tall = np.zeros((scale, scale), bool), np.zeros((scale, scale), bool)
    flat[scale // 2, 1:] = tall[1:, scale // 2] = True
    big[np.kron((marks == PLUS) | (marks == MINUS), flat) | np.kron(marks == PLUS, tall)] += 60
    wide = np.kron(labels, np.ones((scale, scale), np.uint8))
    line = np.zeros(wide.shape, bool)
    line[1:] |= wide[1:] != wide[:-1]
    line[:, 1:] |= wide[:, 1:] != wide[:, :-1]
    big[line] = 255
    buffer = io.BytesIO()
    Image.fromarray(big.clip(0, 255).astype(np.uint8)).quantize(64).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def beside(
    pictures: Sequence[str],
    texts: Sequence[str],
    anchor: Sequence[int] = (),
    scale: int = 4,  # screen pixels a pixel in the stills
    height: int = 300,  # screen pixels
) -> go.Figure:
    """`pictures` (data addresses) side by side in one figure, each under its one of `texts`, the anchor (row and column, if there is one) ringed."""
    figure, count = go.Figure(), len(pictures)
    for k, (source, text) in enumerate(zip(pictures, texts, strict=True)):
        number = "" if k == 0 else str(k + 1)
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}", "hoverinfo": "skip"}
        figure.add_trace(go.Image(source=source, dx=1 / scale, dy=1 / scale, **axes))
        ring = {"symbol": "circle-open-dot", "size": 14, "color": "white", "line": {"width": 3}}
        x, y = ([anchor[1]], [anchor[0]]) if len(anchor) else ([], [])
        figure.add_scatter(x=x, y=y, mode="markers", showlegend=False, marker=ring, **axes)
        across = {"domain": [k / count + 0.008, (k + 1) / count - 0.008], "anchor": f"y{number}", "visible": False}
        down = {"anchor": f"x{number}", "scaleanchor": f"x{number}", "autorange": "reversed", "visible": False}
        figure.update_layout({f"xaxis{number}": across, f"yaxis{number}": down})
        figure.add_annotation(x=(k + 0.5) / count, y=1.0, xref="paper", yref="paper", yanchor="bottom", showarrow=False, text=text)
    return style(figure, height=height).update_layout(margin={"l": 5, "r": 5, "t": 55, "b": 5})


def chart(figure: go.Figure, height: int) -> go.FigureWidget:
    """A figure as a live widget, `height` screen pixels, that keeps its own legend and margins, fills its column and needs no template."""
    figure.update_layout(template="none", autosize=True, height=height, font={"size": 13, "color": "#7a7a7a"})
    widget = LiveFigure(figure)
    widget._config = CONFIG
    return widget


def redrawn(widget: go.FigureWidget, figure: go.Figure, traces: Sequence[int] | None = None) -> None:
    """Give traces of a widget the points of a freshly made figure, in one message."""
    chosen = range(len(figure.data)) if traces is None else traces
    moved(widget, {i: (figure.data[i].x, figure.data[i].y) for i in chosen})


def moved(widget: go.FigureWidget, places: Mapping[int, tuple]) -> None:
    """Give traces of a widget other `places` (number of the trace -> x and y), in one message; a slider has no time for a whole figure."""
    with widget.batch_update():
        for i, (x, y) in places.items():
            widget.data[i].x, widget.data[i].y = plain(x), plain(y)


def plain(values: object) -> list:
    """Numbers or words, `values` [n] of any kind or None, as a list."""
    return [] if values is None else np.asarray(values).tolist()
