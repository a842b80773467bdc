"""A picture made of pixels that can be pointed at, live: bytes go to the browser, the pixel that the reader picked comes back."""

from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets

from semicon_nb.page import asset
from semicon_nb.show import rgb as three

NONE, PLUS, MINUS, DOT = 0, 1, 2, 3
"""Marks drawn on pixels, so that colour never stands alone."""


class PixelCanvas(anywidget.AnyWidget):
    """An image [H, W] in colours, with a mark on each pixel, outlines between labels, and the picked pixel ringed."""

    _esm = traitlets.Unicode(asset("canvas.js") + asset("canvas_live.js")).tag(sync=True)
    shape = traitlets.List([1, 1]).tag(sync=True)
    rgb = traitlets.Bytes(b"").tag(sync=True)
    marks = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.Bytes(b"").tag(sync=True)
    anchor = traitlets.List([]).tag(sync=True)
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
