"""What every live explorer shares: a widget or a sentence in its place, controls with labels, and a check that the kernel still answers."""

import functools
import json
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import ipywidgets
import traitlets

from .page import asset, text, write_page, written

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Explorer", "frame", "in_place", "safely"]


def sentence(problem: BaseException) -> str:
    """An exception as one sentence for a reader: its message, and its kind where the message alone would not help."""
    said = " ".join(str(problem).split())
    return said if isinstance(problem, ValueError | TypeError | FileNotFoundError) and said else f"{type(problem).__name__}: {said}"


def notice(said: str) -> ipywidgets.HTML:
    """A sentence, `said`, where a picture would have been."""
    look = "border-left:4px solid #d55e00;padding:.5rem .8rem;line-height:1.4"
    return ipywidgets.HTML(f'<div role="status" class="semicon-notice" style="{look}">{text(said)}</div>')


def in_place(build: Callable) -> Callable:
    """Let `build`, an `__init__`, put a sentence in the widget's place instead of raising; `problem` holds it, `trace` the full story."""

    @functools.wraps(build)
    def guarded(self, *args, **kwargs):
        self.problem, self.trace = "", ""
        try:
            build(self, *args, **kwargs)
        except Exception as error:
            self.problem, self.trace = sentence(error), traceback.format_exc()
            self.widget = notice(f"{type(self).__name__}: {self.problem}")

    return guarded


def safely(callback: Callable) -> Callable:
    """Let a method, `callback`, show its failure in `self.status` until it succeeds, leave the rest of the page alone, and run one at a time.

    Controls call in one thread, cells and work in the background in others.
    """

    @functools.wraps(callback)
    def guarded(self, *args, **kwargs):
        with self.__dict__.setdefault("_turn", threading.RLock()):
            try:
                done = callback(self, *args, **kwargs)
            except Exception as error:
                self.problem, self.trace, self._failed = sentence(error), traceback.format_exc(), callback.__name__
                self.status.value = notice(self.problem).value
                return None
            if self._failed == callback.__name__:
                self.problem = self.trace = self._failed = self.status.value = ""
            return done

    return guarded


class Pulse(anywidget.AnyWidget):
    """Asks the kernel for a sign of life when the reader touches the explorer, and says so when none comes."""

    _esm = traitlets.Unicode(asset("pulse.js")).tag(sync=True)
    asked = traitlets.Int(0).tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)

    @traitlets.observe("asked")
    def answer(self, change: dict) -> None:
        """Send the number that was asked for (`change["new"]`) back: the sign of life."""
        self.answered = change["new"]


class Explorer:
    """A widget in notebooks, a page without a kernel through `to_html`, a picture where outputs are stored."""

    title = "Explorer"
    problem = ""
    trace = ""
    _failed = ""  # the method whose failure `status` shows
    widget: ipywidgets.Widget

    def picture(self) -> "go.Figure":
        """A small figure that says what the explorer shows, for pages that are read and not run."""
        raise NotImplementedError

    def write(self, path: str | os.PathLike) -> Path:
        """Write the page to `path`; `to_html` calls this when there is something to explore."""
        raise NotImplementedError

    def to_html(self, path: str | os.PathLike) -> Path:
        """Write a page that explores without a kernel to `path`, or one that says why there is nothing to explore."""
        if self.problem and not hasattr(self, "status"):
            return write_page(path, self.title, f'<p class="problem" role="status">{text(self.problem)}</p>', {})
        return self.write(path)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The widget; or the picture, where plotly is told to store its figures as data (saved pages)."""
        if "mimetype" in os.environ.get("PLOTLY_RENDERER", "") and not self.problem:
            return {"application/vnd.plotly.v1+json": _plain(self.picture()), "text/plain": self.title}
        if self.problem and not hasattr(self, "status"):
            return {"text/html": self.widget.value, "text/plain": self.problem}
        return self.widget._repr_mimebundle_()


CONFIG = {
    "responsive": True, "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendChartToCloud", "sendDataToCloud"],
}  # fmt: skip
"""Plotly's settings of stored figures: its button that uploads a chart to its makers is gone."""


def _plain(figure: "go.Figure") -> dict:
    """A figure as JSON that a notebook can store, without plotly's default template (it weighs more than most figures)."""
    import plotly.graph_objects as go

    plain = json.loads(go.Figure(figure).update_layout(template="none").to_json())
    plain["layout"].pop("template", None)
    return plain | {"config": CONFIG}


def frame(title: str, *children: ipywidgets.Widget) -> ipywidgets.VBox:
    """The whole explorer: its heading, the `title`, its parts, the `children`, and the check that the kernel still answers."""
    box = ipywidgets.VBox([ipywidgets.HTML(f"<b>{text(title)}</b>"), *children, Pulse()], layout=ipywidgets.Layout(width="100%"))
    box.add_class("semicon-explorer")
    return box


DRAWN = {"dots": ("parts.js", "dots.js"), "scene": ("canvas.js", "chart.js", "parts.js", "scene.js")}
"""Scripts of every explorer that the browser runs by itself, by its look; the styles have the name of the look."""


class LiveScript(anywidget.AnyWidget):
    """An explorer that the browser runs: it gets everything once, says what the reader did, and asks for what only the kernel can make."""

    _esm = traitlets.Unicode("").tag(sync=True)
    _css = traitlets.Unicode("").tag(sync=True)
    data = traitlets.Unicode("{}").tag(sync=True)  # what is shown, as in an exported page
    state = traitlets.Dict({}).tag(sync=True)  # what the reader did
    asked = traitlets.Dict({}).tag(sync=True)  # what the reader wants and the browser has not

    def __init__(self, scripts: tuple[str, ...], data: dict, look: str = "dots"):
        """`scripts` are assets, the last of which defines `explorer`; `data` is what that starts from, with its "state" if it has one."""
        source = "".join(asset(name) for name in ("markers.js", *DRAWN[look], *scripts, "script_live.js"))
        super().__init__(_esm=source, _css=asset(f"{look}.css"), data=written(data), state=data.get("state", {}))

    def show(self, data: dict) -> None:
        """Start again from other `data`, with their "state" if they have one."""
        self.state, self.data = data.get("state", {}), written(data)

    def tell(self, news: dict) -> None:
        """Send `news` to the explorer, once."""
        self.send({"news": written(news)})


class DrawnExplorer(Explorer):
    """An explorer that the browser draws, with the same scripts and data in a notebook and in a page."""

    lead = ""  # how to use it
    scripts: tuple[str, ...] = ()  # of assets, the last of which defines `explorer`
    look = "scene"  # a key of DRAWN

    def begin(self, data: dict) -> None:
        """Show what the scripts make of the `data`, which hold at "state" what the reader has chosen at first."""
        self.data, self.live, self.status = data, LiveScript(self.scripts, data, self.look), ipywidgets.HTML()
        self.live.observe(lambda change: self.answer(change["new"]), "asked")
        lead = [ipywidgets.HTML(text(self.lead))] if self.lead else []
        self.widget = frame(self.title, *lead, self.live, self.status)

    def answer(self, asked: dict) -> None:
        """Make what the browser has `asked` for and only the kernel can make."""

    @property
    def state(self) -> dict:
        """What the reader has chosen, by the names that the explorer's script uses."""
        return self.live.state

    def stored(self) -> dict:
        """What a page, which nobody can ask for more, has in the place of some of the data."""
        return {}

    def write(self, path: str | os.PathLike) -> Path:
        """Write the page that explores without a kernel to `path`."""
        body = f'<style>{asset(f"{self.look}.css")}</style><div id="explorer"></div>'
        scripts = (*DRAWN[self.look], *self.scripts, "script_page.js")
        return write_page(path, self.title, body, self.data | {"state": self.state} | self.stored(), scripts, self.lead)
