"""What draws the strategy, temperature and cohort explorers, in a notebook and in a page without a kernel."""

__all__ = []

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .page import grey_bytes
from .slices import Slice, checked_anchor, chosen_slice
from .widgets import DrawnExplorer, in_place
from ..embed import class_look
from ..show import PULL, PUSH

DARK, BRIGHT = "#10141c", "#ffffff"
TINTS = (DARK, PULL, PUSH, BRIGHT)
"""Of a pixel that the anchor never meets, pulls, pushes, and of the anchor itself."""


def slice_data(piece: Slice) -> dict:
    """What the browser needs of one slice: image and labels as bytes, names and colours of the classes, and `TINTS`."""
    named = {"classes": list(piece.classes), "tints": list(TINTS), **class_looks(len(piece.classes))}
    return {"image": grey_bytes(piece.image), "labels": piece.labels.astype(np.uint8), **named}


def class_looks(count: int) -> dict[str, list[str]]:
    """Colour of the outline and marker of each of `count` classes, background first."""
    looks = [class_look(code) for code in range(count)]
    return {"colours": [colour for colour, _ in looks], "symbols": [symbol for _, symbol in looks]}


@dataclass(frozen=True)
class Asked:
    """What the reader wants to look at."""

    slice: Slice  # that is looked at
    features: torch.Tensor | np.ndarray | None  # [C, H, W]
    model: torch.nn.Module | None  # gives them instead
    anchor: tuple[int, int] | None  # row and column to begin with; None: one that tells most
    temperature: float  # of the loss


class SliceExplorer(DrawnExplorer):
    """An explorer of one slice, on which the reader chooses the anchor; a subclass says what is looked at, in `_open`."""

    lead = "Click a pixel, or use the arrow keys on a picture, to choose the anchor."

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
        self.begin(self._open(Asked(piece, features, model, place, temperature)))

    def _open(self, asked: Asked) -> dict:
        """Measure what is shown, keep it in `self.shown`, and return what the browser needs of it."""
        raise NotImplementedError
