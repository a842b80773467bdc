"""What every live explorer shares: a widget or a sentence in its place, controls with labels, and a check that the kernel still answers."""

import functools
import html
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import ipywidgets
import traitlets

from .page import asset, message_page, write_page, written
from ..show import style

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Explorer", "figure_widget", "frame", "in_place", "safely"]


def sentence(problem: BaseException) -> str:
    """An exception as one sentence for a reader: its message, and its kind where the message alone would not help."""
    said = " ".join(str(problem).split())
    return said if isinstance(problem, ValueError | TypeError | FileNotFoundError) and said else f"{type(problem).__name__}: {said}"


def notice(text: str) -> ipywidgets.HTML:
    """A sentence, `text`, where a picture would have been."""
    look = "border-left:4px solid #d55e00;padding:.5rem .8rem;line-height:1.4"
    return ipywidgets.HTML(f'<div role="status" class="semicon-notice" style="{look}">{html.escape(text)}</div>')


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


def reported(callback: Callable) -> Callable:
    """Let a method, `callback`, show its failure in `self.status` and leave the rest of the page alone."""

    @functools.wraps(callback)
    def guarded(self, *args, **kwargs):
        try:
            return callback(self, *args, **kwargs)
        except Exception as error:
            self.problem, self.trace = sentence(error), traceback.format_exc()
            self.status.value = notice(self.problem).value

    return guarded


def safely(callback: Callable) -> Callable:
    """Like `reported` for a `callback`, and one at a time: controls call in one thread, cells and work in the background in others.

    Two threads that change a plotly figure at once lose a message: the figure holds only the newest one until it is sent.
    """
    shown = reported(callback)

    @functools.wraps(callback)
    def guarded(self, *args, **kwargs):
        with self.__dict__.setdefault("_turn", threading.RLock()):
            return shown(self, *args, **kwargs)

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
    widget: ipywidgets.Widget

    def picture(self) -> "go.Figure":
        """A small figure that says what the explorer shows, for pages that are read and not run."""
        raise NotImplementedError

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """Write the page to `path`, with `plotly` as in `to_html`, which calls this when there is something to explore."""
        raise NotImplementedError

    def to_html(self, path: str | os.PathLike, plotly: str = "inline") -> Path:
        """Write a page that explores without a kernel; plotly "inline" (6 MB), "shared" (plotly.min.js beside it) or a path to one."""
        if self.problem and not hasattr(self, "status"):
            return message_page(path, self.title, self.problem)
        return self.write(path, plotly)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The widget; or the picture, where plotly is told to store its figures as data (saved pages)."""
        if "mimetype" in os.environ.get("PLOTLY_RENDERER", "") and not self.problem:
            return {"application/vnd.plotly.v1+json": _plain(self.picture()), "text/plain": self.title}
        if self.problem and not hasattr(self, "status"):
            return {"text/html": self.widget.value, "text/plain": self.problem}
        return self.widget._repr_mimebundle_()


def _plain(figure: "go.Figure") -> dict:
    """A figure as JSON that a notebook can store."""
    from .live_figure import CONFIG
    from .page import figure as plain

    return plain(figure) | {"config": CONFIG}


def figure_widget(figure: "go.Figure", height: int = 420) -> "go.FigureWidget":
    """A figure, `height` screen pixels, that fills its column, follows light and dark pages, and needs no template."""
    from .live_figure import CONFIG, LiveFigure

    margin = figure.layout.margin.to_plotly_json()
    widget = LiveFigure(style(figure, height=height).update_layout(margin=margin))
    widget.update_layout(template="none", autosize=True)
    widget._config = CONFIG
    return widget


def column(*children: ipywidgets.Widget, width: str = "420px") -> ipywidgets.VBox:
    """Widgets, the `children`, below one another, at least `width` wide where the screen allows, growing to fill the row."""
    return ipywidgets.VBox(children, layout=ipywidgets.Layout(flex=f"1 1 {width}", min_width=f"min(100%, {width})", max_width="100%"))


def row(*children: ipywidgets.Widget) -> ipywidgets.HBox:
    """Widgets, the `children`, side by side; they wrap on narrow screens."""
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start", width="100%"))


def frame(title: str, *children: ipywidgets.Widget) -> ipywidgets.VBox:
    """The whole explorer: its heading, the `title`, its parts, the `children`, and the check that the kernel still answers."""
    box = ipywidgets.VBox([heading(title), *children, Pulse()], layout=ipywidgets.Layout(width="100%"))
    box.add_class("semicon-explorer")
    return box


def heading(text: str) -> ipywidgets.HTML:
    """The `text` as heading of a figure."""
    return ipywidgets.HTML(f"<b>{html.escape(text)}</b>")


def labelled(widget: ipywidgets.Widget, width: str = "260px") -> ipywidgets.Widget:
    """Show the description of a control, the `widget`, in full, whatever its length; `width` as CSS has it."""
    widget.style.description_width = "initial"
    widget.layout.width = width
    widget.layout.max_width = "100%"
    return widget


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
        """Start again from other `data`."""
        self.state, self.data = {}, written(data)

    def tell(self, news: dict) -> None:
        """Send `news` to the explorer, once."""
        self.send({"news": written(news)})


def script_page(path: str | os.PathLike, title: str, data: dict, scripts: tuple[str, ...], look: str = "dots", lead: str = "") -> Path:
    """Write the page at `path` that runs the same `scripts` on the same `data` under its `title` and `lead`, without a kernel and plotly."""
    body = f'<style>{asset(f"{look}.css")}</style><div id="explorer"></div>'
    return write_page(path, title, body, data, (*DRAWN[look], *scripts, "script_page.js"), lead, plotly="")
