"""Plotly's figures, live: the one module of the explorers that needs plotly as soon as it is imported."""

__all__ = []

import gzip
import sys
from copy import deepcopy
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import plotly
import plotly.graph_objects as go
import traitlets

from .page import asset


def _without_nbformat() -> None:
    """Import what shows plotly's figures: of nbformat it asks the version only, and that takes over a second of a processor to import."""
    if "nbformat" in sys.modules or not find_spec("nbformat"):
        return
    sys.modules["nbformat"] = ModuleType("nbformat")
    vars(sys.modules["nbformat"])["__version__"] = metadata.version("nbformat")
    try:
        import_module("plotly.io._renderers")
    finally:
        del sys.modules["nbformat"]


_without_nbformat()

CONFIG = {
    "responsive": True, "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendChartToCloud", "sendDataToCloud"],
}  # fmt: skip
"""Plotly's settings everywhere: its button that uploads a chart to its makers is gone."""


BUNDLE = gzip.compress(Path(plotly.__file__).with_name("package_data").joinpath("widgetbundle.js").read_bytes(), 1)
"""Plotly's widget for the browser: packed, for each figure brings it, and a busy server takes seconds for five megabytes."""


class LiveFigure(go.FigureWidget):
    """A figure that goes to the browser complete, at the moment when something else first refers to it.

    Plotly's own sends an empty figure first and its traces in a second message, which a busy browser may draw too early.
    """

    _esm = asset("figure.js")
    _bundle = traitlets.Bytes(BUNDLE).tag(sync=True)
    _asked = traitlets.Int(0).tag(sync=True)
    _answered = traitlets.Int(0).tag(sync=True)
    _complete = False

    @traitlets.observe("_asked")
    def _answer(self, change: dict) -> None:
        """Send the figure as it is now, then say so."""
        self._widget_data, self._widget_layout = deepcopy(self._data), deepcopy(self._layout_obj._props)
        self._answered = change["new"]

    def open(self) -> None:
        """Wait until the figure is complete."""
        if self._complete:
            super().open()

    @property
    def model_id(self) -> str:
        """The name under which the browser knows the figure; asking for it sends the figure."""
        if self.comm is None and not self._complete:
            self._widget_data, self._widget_layout = deepcopy(self._data), deepcopy(self._layout_obj._props)
            self._complete = True
            self.open()
        return super().model_id
