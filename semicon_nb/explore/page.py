"""Pages that explore without a kernel and without a network: one HTML file with its data, its scripts and plotly inside."""

import base64
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import without_nan, write_atomic

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["html_table", "write_page"]

ALWAYS = ("markers.js", "page.js")
"""Scripts of every page."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' 'self' file: blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:; connect-src 'none'; form-action 'none'; base-uri 'none'"
)
"""What a page may do: run its own scripts and draw. It may not ask any machine for anything."""


# ------------------------------------------------------------------------------------------------ data


def packed(array: np.ndarray) -> dict:
    """An array [...] as {dtype, shape, data (base64)}: `semicon.array` in page.js turns it back into a typed array."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.itemsize == 8:
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(little.tobytes()).decode()}


def figure(fig: "go.Figure") -> dict:
    """A plotly figure, `fig`, as plain data, without plotly's default template (it weighs more than most figures)."""
    import plotly.graph_objects as go

    fig = go.Figure(fig)
    fig.update_layout(template="none")
    plain = json.loads(fig.to_json())
    plain["layout"].pop("template", None)
    return plain


def encode(value: object) -> object:
    """What `json` cannot write by itself: a `value` that is an array, a numpy number or a figure; TypeError for anything else."""
    if isinstance(value, np.ndarray):
        return packed(value)
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "to_plotly_json"):
        return figure(value)
    raise TypeError(f"data: {type(value).__name__} cannot be written into a page, expected arrays, figures, numbers, text, lists, dicts")


def written(data: Mapping[str, object]) -> str:
    """The `data` of a page or of a live explorer as JSON."""
    return json.dumps(without_nan(data), default=encode, separators=(",", ":"), allow_nan=False)


# ------------------------------------------------------------------------------------------------ controls


def text(value: object) -> str:
    """Any `value` as text, safe inside HTML and inside an attribute."""
    return html.escape(str(value), quote=True)


def slider(name: str, label: str, values: Sequence, index: int = 0, unit: str = "") -> str:
    """A slider under its `label` over `values` (any, with their `unit`); scripts hear the index through `semicon.on(name, ...)`."""
    shown = json.dumps([f"{v}{unit}" for v in values])
    return (
        f'<div class="control"><label for="{name}">{text(label)}</label>'
        f'<input type="range" id="{name}" min="0" max="{max(len(values) - 1, 0)}" step="1" value="{index}" data-shown="{text(shown)}" '
        f'aria-valuetext="{text(values[index])}{text(unit)}">'
        f'<output for="{name}">{text(values[index])}{text(unit)}</output></div>'
    )


def select(name: str, label: str, options: Mapping[str, str] | Sequence[str], value: str | None = None) -> str:
    """A menu, element `name`, under its `label`; `options` are value -> text, or texts."""
    options = options if isinstance(options, Mapping) else {o: o for o in options}
    inner = "".join(f'<option value="{text(k)}"{" selected" if k == value else ""}>{text(v)}</option>' for k, v in options.items())
    return f'<div class="control"><label for="{name}">{text(label)}</label><select id="{name}">{inner}</select></div>'


def checkbox(name: str, label: str, value: bool = False) -> str:
    """A box, element `name`, beside its `label`; ticked where `value` is true."""
    mark = " checked" if value else ""
    return f'<div class="control"><label><input type="checkbox" id="{name}"{mark}> {text(label)}</label></div>'


def button(name: str, label: str) -> str:
    """A button that reads `label`; scripts hear it through `semicon.on(name, ...)`."""
    return f'<div class="control"><button type="button" id="{name}">{text(label)}</button></div>'


def controls(*parts: str, label: str = "Controls") -> str:
    """Controls, the `parts`, in a row that wraps on narrow screens, named `label` to screen readers."""
    return f'<div class="controls" role="group" aria-label="{text(label)}">{"".join(parts)}</div>'


# ------------------------------------------------------------------------------------------------ layout


def panel(name: str, heading: str, alt: str, height: int = 420, note: str = "") -> str:
    """A place, `height` pixels, for the figure `name` (drawn by `semicon.plot(name, ...)`): heading, what it shows in words (`alt`), and a `note` below."""
    below = f'<p class="note" id="{name}-note">{text(note)}</p>' if note else f'<p class="note" id="{name}-note" hidden></p>'
    return (
        f'<section class="panel"><h2 id="{name}-heading">{text(heading)}</h2>'
        f'<div class="plot" id="{name}" role="img" aria-label="{text(alt)}" style="height:{height}px"></div>{below}</section>'
    )


def columns(*parts: str) -> str:
    """Panels, the `parts`, side by side where there is room, below one another where there is not."""
    return f'<div class="columns">{"".join(parts)}</div>'


def note(value: str, name: str = "") -> str:
    """A sentence, `value`, in small type, such as the honest note that a sample is shown; `name` for scripts that change it."""
    return f'<p class="note"{f" id={name!r}" if name else ""}>{text(value)}</p>'


def html_table(rows: Sequence[Mapping[str, object]], caption: str, name: str = "table") -> str:
    """A small table, element `name`, of `rows` under a caption; the keys of the first row are the headings."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{text(k)}</th>' for k in rows[0])
    first = [f'<th scope="row">{text(next(iter(row.values())))}</th>' for row in rows]
    others = ["".join(f"<td>{text(v)}</td>" for v in list(row.values())[1:]) for row in rows]
    body = "".join(f"<tr>{a}{b}</tr>" for a, b in zip(first, others, strict=True))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table id="{name}">'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


# ------------------------------------------------------------------------------------------------ the page


@cache
def asset(name: str) -> str:
    """The file `name` of semicon_nb/explore/assets as text."""
    return resources.files("semicon_nb.explore").joinpath("assets", name).read_text(encoding="utf-8")


def script(source: str) -> str:
    """JavaScript, the `source`, inline, that cannot end its own element early."""
    return "<script>" + re.sub(r"</(?=script)", r"<\\/", source, flags=re.I) + "</script>"


def json_element(data: Mapping[str, object], name: str) -> str:
    """The `data` of a page as an element that its scripts find by its `name`."""
    plain = written(data).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{plain}</script>'


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A `template` in assets with each {{name}} replaced by that one of the `parts`, which are HTML."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], asset(template))


def write_template(path: str | os.PathLike, template: str, parts: Mapping[str, str]) -> Path:
    """Write a page to `path`: a `template` in assets, filled with `parts`."""
    return write_atomic(Path(path), fill(template, parts))


def _plotly_script() -> str:
    """Plotly for the browser, read from its package only where a page holds it."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def page(
    title: str,  # of the page
    body: str,  # its HTML
    data: Mapping[str, object],  # what scripts find in `semicon.data`
    scripts: Sequence[str] = (),  # names in assets, run in order after `ALWAYS`
    lead: str = "",  # a sentence below the title
    plotly: str = "inline",  # "inline", the path of plotly.min.js, or "" for a page without
) -> str:
    """The HTML of a page."""
    library = script(_plotly_script()) if plotly == "inline" else f'<script src="{text(plotly)}"></script>' * bool(plotly)
    parts = {
        "policy": POLICY,
        "title": text(title),
        "lead": f'<p class="lead">{text(lead)}</p>' if lead else "",
        "style": asset("explorers.css"),
        "body": body,
        "plotly": library,
        "data": json_element(data, "semicon-data"),
        "scripts": "".join(script(asset(name)) for name in (*ALWAYS, *scripts)),
    }
    return fill("page.html", parts)


def write_page(
    path: str | os.PathLike,  # where the page goes; its folder is made
    title: str,  # of the window, and heading of the page
    body: str,  # HTML made with the functions above
    data: Mapping[str, object],  # what the scripts read as `semicon.data`; arrays and figures are welcome
    scripts: Sequence[str] = (),  # names of files in semicon_nb/explore/assets
    lead: str = "",  # one sentence under the title: what can be done here
    plotly: str = "inline",  # "inline", "shared" (plotly.min.js beside the page), the relative path of a plotly.min.js, "" for none
) -> Path:
    """Write a page that needs nothing but a browser; with plotly="shared" also the plotly.min.js beside it."""
    path = Path(path)
    if plotly == "shared":
        library, source = path.parent / "plotly.min.js", _plotly_script()
        if not library.exists() or library.stat().st_size != len(source.encode()):
            write_atomic(library, source)
        plotly = "plotly.min.js"
    return write_atomic(path, page(title, body, data, scripts, lead, plotly))


def message_page(path: str | os.PathLike, title: str, sentence: str) -> Path:
    """A page at `path`, under its `title`, that says in one sentence why there is nothing to explore."""
    return write_page(path, title, f'<p class="problem" role="status">{text(sentence)}</p>', {}, plotly="")
