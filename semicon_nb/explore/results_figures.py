"""The pictures and words of the results explorer."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..explore import page
from .results_state import BASELINE, Cell, Experiment, Shown, Volume, cells
from ..show import METHOD_LOOKS, SYMBOLS, style
from ..tables import NAMES, headroom, plus_minus

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = []

HEIGHT, LOW = 430, 330
"""Of the two charts, px."""
LINE = 36
"""Of a label on two lines, px."""
SIDE = (-0.12, -0.04, 0.04, 0.12)
"""How far each place stands beside the middle of its labelled share."""


# ------------------------------------------------------------------------------------------------ words


def axis_title(metric: str, name: str) -> str:
    """The kind of score (`metric`) and the class (`name`, or "mean"), in words."""
    return f"{NAMES[metric]}, {'mean of the classes' if name == 'mean' else name}"


def percent(labels: float) -> str:
    """A labelled share (`labels`) in words."""
    return f"{100 * labels:g} %"


def counted(splits: int) -> str:
    """So many `splits`."""
    return f"{splits} split{'s' if splits != 1 else ''}"


def wrapped(name: str, most: int = 15) -> str:
    """A `name` on two lines, safe inside plotly's texts, where it has more than `most` letters."""
    cuts = [k + 1 for k, letter in enumerate(name[:-1]) if letter in "+- )" and len(name) > most]
    cut = min(cuts, key=lambda k: abs(k - len(name) / 2), default=0)
    return "<br>".join(page.text(part.strip()) for part in (name[:cut], name[cut:]) if part.strip())


def cell_words(cell: Cell) -> str:
    """What a point says when it is pointed at."""
    gain = f"<br>{cell.difference_text} to {BASELINE} over {counted(cell.difference_splits)}" if cell.difference_splits else ""
    return f"{page.text(cell.method)}, {percent(cell.labels)}<br>{cell.text} over {counted(cell.splits)}{gain}"


@lru_cache(maxsize=256)
def room_lines(experiment: Experiment, metric: str, name: str) -> list[tuple]:
    """The last lines of the numbers: the tables' headroom of a `metric` and a class (`name`, or "mean")."""
    found = headroom(experiment.scored(metric, name), metric)
    return [
        (percent(float(labels)), f"headroom of {method}", plus_minus(mean, half, True), int(splits), "–", "–")
        for (labels, method), (mean, half, splits) in zip(found.index, found.to_numpy(), strict=True)
    ]


def score_rows(experiment: Experiment, shown: Shown) -> list[dict]:
    """The numbers of the chart as the tables write them, a row for each labelled share and method; below them the headroom."""
    known = cells(experiment, shown.metric, shown.name)
    each = [known[m, f] for f in experiment.shares for m in shown.methods if (m, f) in known]
    head = ("labelled", "method", "mean", "splits", f"− {BASELINE}", "on splits")
    rows = [(percent(c.labels), c.method, c.text, c.splits, c.difference_text or "–", c.difference_splits or "–") for c in each]
    below = room_lines(experiment, shown.metric, shown.name) if rows else []
    return [dict(zip(head, line, strict=True)) for line in (*rows, *below)]


def three_numbers(experiment: Experiment, shown: Shown) -> dict[str, str]:
    """What is in sight of the method that is looked at: its score, its gain over the baseline, and the room there was."""
    at, found = percent(shown.labels), cells(experiment, shown.metric, shown.name).get((shown.method, shown.labels))
    rooms = {line[:2]: line[2] for line in room_lines(experiment, shown.metric, shown.name)} if found else {}
    return {
        f"{shown.method} at {at}": found.text if found else "–",
        f"gain over {BASELINE}": (found.difference_text if found else "") or "–",
        f"headroom of {BASELINE}": str(rooms.get((at, f"headroom of {BASELINE}"), "–")),
    }


def volume_rows(found: Volume) -> list[dict]:
    """Dice and HD95 of each class of a volume."""

    def digits(number: float | None, places: int) -> str:
        return "not there" if number is None or not np.isfinite(number) else f"{number:.{places}f}"

    return [{"class": name, "Dice": digits(d, 3), "HD95 (mm)": digits(found.hd95.get(name), 1)} for name, d in found.dice.items()]


# ------------------------------------------------------------------------------------------------ pictures


def spread(values: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """The `values`, moved between `low` and `high` until they are `gap` from one another: where labels are written."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    at = [values[k] for k in order]
    for k in range(len(at)):
        at[k] = max(at[k], at[k - 1] + gap if k else low)
    for k in reversed(range(len(at))):
        at[k] = min(at[k], at[k + 1] - gap if k + 1 < len(at) else high)
    return [at[order.index(k)] for k in range(len(at))]


def ends_of(each: Sequence[Cell]) -> tuple[float, float]:
    """Both ends of an axis that shows all splits and intervals of these cells, with room about them."""
    edges = [edge for c in each for edge in (*c.scores, c.mean - np.nan_to_num(c.half), c.mean + np.nan_to_num(c.half))]
    low, high = (min(edges), max(edges)) if edges else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.05
    return float(low - room), float(high + room)


def score_figure(experiment: Experiment, shown: Shown) -> "go.Figure":
    """Scores against the labelled share: for each of the four places its splits, its means with intervals, and its name."""
    import plotly.graph_objects as go

    known, shares, figure = cells(experiment, shown.metric, shown.name), experiment.shares, go.Figure()
    mine = [[known[m, f] for f in shares if (m, f) in known] for m in shown.methods]
    low, high = ends_of([c for each in mine for c in each])
    heights = iter(spread([each[-1].mean for each in mine if each], low, high, (high - low) * LINE / (HEIGHT - 64)))
    for place, (method, each) in enumerate(zip(shown.methods, mine, strict=True)):
        x = [shares.index(c.labels) + SIDE[place] for c in each]
        label = [(x[-1], each[-1].mean, ""), (len(shares) - 0.55, next(heights), wrapped(method))] if each else []
        figure.add_traces(place_traces(place, method, each, x, label))
    ticks = {"tickvals": list(range(len(shares))), "ticktext": [percent(f) for f in shares]}
    figure.update_xaxes(title="labelled share", range=[-0.45, len(shares) - 0.55], **ticks)
    figure.update_yaxes(title={"text": page.text(axis_title(shown.metric, shown.name)), "standoff": 6}, range=[low, high])
    margin = {"l": 64, "r": 118, "t": 14, "b": 50}
    return style(figure, height=HEIGHT).update_layout(showlegend=False, dragmode=False, margin=margin)


def place_traces(
    place: int,  # 0 to 3
    method: str,  # in this place
    each: Sequence[Cell],  # one for each labelled share
    x: Sequence[float],  # where they stand
    label: Sequence[tuple[float, float, str]],  # where the name's leader begins, and where the name stands
) -> "list[go.Scatter]":
    """The splits, the means and the name of one method."""
    import plotly.graph_objects as go

    colour, symbol, dash = METHOD_LOOKS[place]
    bars = {"array": [float(np.nan_to_num(c.half)) for c in each], "thickness": 1.8, "width": 5}
    dots = [(at, score) for at, c in zip(x, each, strict=True) for score in c.scores]
    splits = go.Scatter(x=[d[0] for d in dots], y=[d[1] for d in dots], mode="markers", hoverinfo="skip",
                        marker={"size": 5, "color": colour, "opacity": 0.55})  # fmt: skip
    means = go.Scatter(x=list(x), y=[c.mean for c in each], name=page.text(method), mode="lines+markers", error_y=bars,
                       marker={"size": 10, "color": colour, "symbol": symbol}, line={"color": colour, "width": 2, "dash": dash},
                       text=[cell_words(c) for c in each], hovertemplate="%{text}<extra></extra>")  # fmt: skip
    name = go.Scatter(x=[p[0] for p in label], y=[p[1] for p in label], text=[p[2] for p in label], mode="lines+text",
                      textposition="middle right", textfont={"color": colour, "size": 13}, cliponaxis=False, hoverinfo="skip",
                      line={"color": colour, "width": 1, "dash": "dot"})  # fmt: skip
    return [splits, means, name]


def volume_figure(ordered: Sequence[Volume], shown: Shown) -> "go.Figure":
    """Scores of the volumes, worst first (`ordered`), the chosen one ringed; a marker for each split."""
    import plotly.graph_objects as go

    figure, splits, far = go.Figure(), sorted({v.split for v in ordered}), shown.metric == "hd95"
    place = shown.methods.index(shown.method) if shown.method in shown.methods else 0
    text = [f"{page.text(v.name)}: {v.score:.3f}" for v in ordered]
    marks = [SYMBOLS[splits.index(v.split) % len(SYMBOLS)] for v in ordered]
    figure.add_scatter(x=list(range(1, len(ordered) + 1)), y=[v.score for v in ordered], mode="markers", text=text,
                       marker={"size": 7, "color": METHOD_LOOKS[place][0], "symbol": marks}, hovertemplate="%{text}<extra></extra>")  # fmt: skip
    ring = ordered[shown.volume : shown.volume + 1]
    figure.add_scatter(x=[shown.volume + 1] * len(ring), y=[v.score for v in ring], mode="markers", hoverinfo="skip",
                       marker={"size": 18, "symbol": "circle-open", "color": "#7a7a7a", "line": {"width": 3}})  # fmt: skip
    figure.update_xaxes(title="test volumes, worst first", range=[0.2, len(ordered) + 0.8])
    figure.update_yaxes(title={"text": "HD95 of the volume (mm)" if far else "Dice of the volume", "standoff": 6})
    figure.update_yaxes(range=None if far else [-0.04, 1.04])
    return style(figure, height=LOW).update_layout(showlegend=False, dragmode=False, margin={"l": 64, "r": 14, "t": 14, "b": 50})
