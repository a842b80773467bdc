"""Colours, label overlays, contact sheets and curves: the few pictures that every page uses."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import plotly.graph_objects as go

PALETTE = ("#8a8a8a", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442")
"""Okabe and Ito's colours, told apart by colour-blind readers; the first is the background's grey."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down")
"""Marker of each class, so that colour never stands alone."""

PULL, PUSH = "#0b9a8d", "#c2188f"
"""What is pulled together (teal, with a +) and what is pushed apart (magenta, with a −)."""

METHOD_LOOKS = (
    ("#6b7a90", "circle", "dash"),
    ("#8b5cf6", "diamond", "solid"),
    ("#d6454f", "square", "solid"),
    ("#928a00", "triangle-up", "solid"),
)
"""Colour, marker and line of methods, four at a time: the baseline, a row of the paper, one of this package, a rival.

Slate, violet, red and olive: none of them is the colour of a structure, or that of pull and push."""

LINES = (*(look[0] for look in METHOD_LOOKS), "#9a5b2e", "#5c7f3f")
"""Colours of lines in a chart, in their order: those of methods, brown and moss, none of them the colour of a structure."""


def rgb(colour: str) -> tuple[int, int, int]:
    """A `colour` such as `#e69f00` as three numbers from 0 to 255."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def grey(image: np.ndarray) -> np.ndarray:
    """An image [H, W] in [0, 1] as bytes [H, W, 3]."""
    levels = (np.clip(np.nan_to_num(np.asarray(image, dtype=np.float32)), 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def edges(labels: np.ndarray) -> np.ndarray:
    """True where a pixel of `labels` [H, W] touches one of another label: the outline of each structure."""
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    return edge & (labels > 0)


def overlay(
    image: np.ndarray,  # [H, W] in [0, 1]
    labels: np.ndarray | None = None,  # [H, W]; 0 is left as it is
    opacity: float = 0.35,  # of the tint, 0 to 1
    scale: int = 3,  # pixels of the picture for each pixel, along each side
    colours: Sequence[str] = PALETTE[1:],  # of the labels 1, 2 and so on, again from the first where they end
) -> Image.Image:
    """An image with its labels tinted and outlined."""
    pixels = np.kron(grey(image), np.ones((scale, scale, 1), np.uint8)).astype(np.float32)
    if labels is not None:
        big = np.kron(np.asarray(labels), np.ones((scale, scale), np.asarray(labels).dtype))
        line = edges(big)
        for label in np.unique(big[big > 0]):
            colour = np.array(rgb(colours[(int(label) - 1) % len(colours)]), np.float32)
            inside = big == label
            pixels[inside] = (1 - opacity) * pixels[inside] + opacity * colour
            pixels[inside & line] = colour
    return Image.fromarray(pixels.astype(np.uint8))


def sheet(pictures: Sequence[Image.Image | np.ndarray], columns: int = 6, titles: Sequence[str] = (), gap: int = 6) -> Image.Image:
    """Pictures or grey images [H, W] of one size in rows of `columns` on white, each under its one of `titles`, `gap` pixels apart; ValueError for none."""
    drawn = [p if isinstance(p, Image.Image) else overlay(p) for p in pictures]
    if not drawn:
        raise ValueError("pictures: none were given, expected at least one")
    width, height = (max(p.size[axis] for p in drawn) for axis in (0, 1))
    head = 20 if titles else 0
    fonts = [ImageFont.load_default(size) for size in (13, 12, 11, 10)]
    font = next((font for font in fonts if all(font.getlength(title) <= width for title in titles)), fonts[-1])
    columns = min(columns, len(drawn))
    rows = -(-len(drawn) // columns)
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + head + gap) + gap), "white")
    pen = ImageDraw.Draw(page)
    for i, picture in enumerate(drawn):
        x, y = gap + (i % columns) * (width + gap), gap + (i // columns) * (height + head + gap)
        if i < len(titles):
            pen.text((x, y), titles[i], fill="#333333", font=font)
        page.paste(picture, (x, y + head))
    return page


def style(figure: "go.Figure", title: str = "", height: int = 360) -> "go.Figure":
    """The `figure` with a `title`, `height` pixels, and fonts, margins and see-through backgrounds that read well on light and on dark pages."""
    figure.update_layout(
        title={"text": title, "y": 0.98, "yanchor": "top"},
        height=height,
        margin={"l": 60, "r": 20, "t": 80 if title else 40, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#7a7a7a"},
        colorway=[*LINES],
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return figure


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str = "", x: str = "", y: str = "", log: bool = False) -> "go.Figure":
    """One line for each name of `series` -> (x values, y values), told apart by colour and by dash, under a `title`; `log` for a logarithmic y axis."""
    import plotly.graph_objects as go

    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    figure = go.Figure()
    for i, (name, (xs, ys)) in enumerate(series.items()):
        figure.add_scatter(x=list(xs), y=list(ys), name=name, mode="lines", line={"dash": dashes[i % len(dashes)], "width": 2})
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y, type="log" if log else "linear")
    return style(figure, title)
