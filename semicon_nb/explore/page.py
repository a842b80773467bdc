"""Pages that explore without a kernel and without a network: one HTML file with its data and its scripts inside."""

import base64
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from ..files import without_nan, write_atomic

__all__ = ["html_table", "write_page"]

ALWAYS = ("markers.js", "page.js")
"""Scripts of every page."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:; connect-src 'none'; form-action 'none'; base-uri 'none'"
)
"""What a page may do: run its own scripts and draw. It may not ask any machine for anything."""


# ------------------------------------------------------------------------------------------------ data


def packed(array: np.ndarray) -> dict:
    """An array [...] as {dtype, shape, data (base64)}: `unpack` in parts.js turns it back into a typed array."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.itemsize == 8:
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(little.tobytes()).decode()}


def grey_bytes(images: np.ndarray, low: float = 0, high: float = 1) -> np.ndarray:
    """Grey levels of images [...], uint8 of the same shape: 0 at `low` and below, 255 at `high` and above."""
    share = (np.nan_to_num(np.asarray(images, np.float32)) - low) / max(high - low, 1e-6)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def run_lengths(values: np.ndarray) -> dict:
    """Whole numbers [...], 0 to 255, as runs: the value of each and how long it is; `unrolled` in parts.js turns them back."""
    flat = np.ravel(values)
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    kind = np.uint16 if flat.size < 65536 else np.uint32
    return {"values": flat[starts].astype(np.uint8), "lengths": np.diff(np.r_[starts, flat.size]).astype(kind)}


def encode(value: object) -> object:
    """What `json` cannot write by itself: a `value` that is an array or a numpy number; TypeError for anything else."""
    if isinstance(value, np.ndarray):
        return packed(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"data: {type(value).__name__} cannot be written into a page, expected arrays, numbers, text, lists, dicts")


def written(data: Mapping[str, object]) -> str:
    """The `data` of a page or of a live explorer as JSON."""
    return json.dumps(without_nan(data), default=encode, separators=(",", ":"), allow_nan=False)


# ------------------------------------------------------------------------------------------------ the page


def text(value: object) -> str:
    """Any `value` as text, safe inside HTML and inside an attribute."""
    return html.escape(str(value), quote=True)


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


def page(
    title: str,  # of the window, and heading of the page
    body: str,  # HTML, its texts made safe by `text`
    data: Mapping[str, object],  # what the scripts read as `semicon.data`; arrays are welcome
    scripts: Sequence[str] = (),  # names of files in semicon_nb/explore/assets, run in order after `ALWAYS`
    lead: str = "",  # one sentence under the title: what can be done here
) -> str:
    """The HTML of a page."""
    parts = {
        "policy": POLICY,
        "title": text(title),
        "lead": f'<p class="lead">{text(lead)}</p>' if lead else "",
        "style": asset("explorers.css"),
        "body": body,
        "data": json_element(data, "semicon-data"),
        "scripts": "".join(script(asset(name)) for name in (*ALWAYS, *scripts)),
    }
    return fill("page.html", parts)


def write_page(
    path: str | os.PathLike,  # where the page goes; its folder is made
    title: str,  # as in `page`
    body: str,  # as in `page`
    data: Mapping[str, object],  # as in `page`
    scripts: Sequence[str] = (),  # as in `page`
    lead: str = "",  # as in `page`
) -> Path:
    """Write a page that needs nothing but a browser."""
    return write_atomic(Path(path), page(title, body, data, scripts, lead))
