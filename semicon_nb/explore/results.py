"""Scores against the labelled share as the tables have them; behind a point its volumes, and of kept runs the slices."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .looks import Look, look_at_run, packed_slices, same_run
from .page import text
from .results_state import BASELINE, RULE, Cell, Experiment, cells, experiments_of, invented, opened
from .widgets import DrawnExplorer, in_place
from ..runs import Run
from ..show import METHOD_LOOKS, SYMBOLS, style
from ..tables import NAMES, Results, headroom, plus_minus, read_records, titled, unit_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["ResultsExplorer"]

HEIGHT, LINE = 430, 36
"""Of the chart of scores, and of a label on two lines in it, px."""
SIDE = (-0.12, -0.04, 0.04, 0.12)
"""How far each place stands beside the middle of its labelled share."""


# ------------------------------------------------------------------------------------------------ words


def percent(labels: float) -> str:
    """A labelled share (`labels`) in words."""
    return f"{100 * labels:g} %"


def counted(splits: int) -> str:
    """So many `splits`."""
    return f"{splits} split{'s' if splits != 1 else ''}"


def wrapped(name: str, most: int = 15) -> str:
    """A `name` on two lines where it has more than `most` letters."""
    cuts = [k + 1 for k, letter in enumerate(name[:-1]) if letter in "+- )" and len(name) > most]
    cut = min(cuts, key=lambda k: abs(k - len(name) / 2), default=0)
    return "\n".join(part.strip() for part in (name[:cut], name[cut:]) if part.strip())


def safe(words: str) -> str:
    """The `words` as plotly's texts have them."""
    return text(words).replace("\n", "<br>")


def cell_words(cell: Cell) -> str:
    """What a point says when it is pointed at."""
    gain = f"\n{cell.difference_text} to {BASELINE} over {counted(cell.difference_splits)}" if cell.difference_splits else ""
    return f"{cell.method}, {percent(cell.labels)}\n{cell.text} over {counted(cell.splits)}{gain}"


@lru_cache(maxsize=256)
def room_lines(experiment: Experiment, metric: str, name: str) -> list[tuple]:
    """The last lines of the numbers: the tables' headroom of a `metric` and a class (`name`, or "mean")."""
    found = headroom(experiment.scored(metric, name), metric)
    return [
        (percent(float(labels)), f"headroom of {method}", plus_minus(mean, half, True), int(splits), "–", "–")
        for (labels, method), (mean, half, splits) in zip(found.index, found.to_numpy(), strict=True)
    ]


# ------------------------------------------------------------------------------------------------ the picture


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


def score_figure(experiment: Experiment, shown: dict) -> "go.Figure":
    """Scores against the labelled share: for each of the four places its splits, its means with intervals, and its name."""
    import plotly.graph_objects as go

    known, shares, figure = cells(experiment, shown["metric"], shown["name"]), experiment.shares, go.Figure()
    mine = [[known[m, f] for f in shares if (m, f) in known] for m in shown["methods"]]
    low, high = ends_of([c for each in mine for c in each])
    heights = iter(spread([each[-1].mean for each in mine if each], low, high, (high - low) * LINE / (HEIGHT - 64)))
    for place, (method, each) in enumerate(zip(shown["methods"], mine, strict=True)):
        x = [shares.index(c.labels) + SIDE[place] for c in each]
        label = [(x[-1], each[-1].mean, ""), (len(shares) - 0.55, next(heights), safe(wrapped(method)))] if each else []
        figure.add_traces(place_traces(place, method, each, x, label))
    title = f"{titled(shown['metric'], experiment.runs)}, {'mean of the classes' if shown['name'] == 'mean' else shown['name']}"
    ticks = {"tickvals": list(range(len(shares))), "ticktext": [percent(f) for f in shares]}
    figure.update_xaxes(title="labelled share", range=[-0.45, len(shares) - 0.55], **ticks)
    figure.update_yaxes(title={"text": safe(title), "standoff": 6}, range=[low, high])
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
    means = go.Scatter(x=list(x), y=[c.mean for c in each], name=safe(method), mode="lines+markers", error_y=bars,
                       marker={"size": 10, "color": colour, "symbol": symbol}, line={"color": colour, "width": 2, "dash": dash},
                       text=[safe(cell_words(c)) for c in each], hovertemplate="%{text}<extra></extra>")  # fmt: skip
    name = go.Scatter(x=[p[0] for p in label], y=[p[1] for p in label], text=[p[2] for p in label], mode="lines+text",
                      textposition="middle right", textfont={"color": colour, "size": 13}, cliponaxis=False, hoverinfo="skip",
                      line={"color": colour, "width": 1, "dash": "dot"})  # fmt: skip
    return [splits, means, name]


# ------------------------------------------------------------------------------------------------ the explorer


def averages(record: dict) -> bool:
    """Whether the method of a run averages over neighbours by itself, so that its volumes were scored so."""
    return bool((record.get("settings") or {}).get("method", {}).get("neighbours"))


def packed_experiment(experiment: Experiment) -> dict:
    """An experiment as the browser reads it: the tables' cells of every score and class, and the volumes as arrays."""

    def packed(metric: str, name: str) -> list[dict]:
        found = cells(experiment, metric, name).values()
        return [{**asdict(c), "text": c.text, "difference_text": c.difference_text, "words": cell_words(c)} for c in found]

    e, kinds = experiment, ("mean", *experiment.classes)
    tests = [(run, v) for run, record in e.records.items() for v in record.get("volumes") or ()]
    each = {kind: [[v.get(kind, {}).get(c) for c in e.classes] for _, v in tests] for kind in ("dice", "hd95")}
    return {
        "name": e.name, "methods": e.methods, "texts": [wrapped(m) for m in e.methods], "classes": e.classes,
        "shares": e.shares, "opened": opened(e), "names": {metric: titled(metric, e.runs) for metric in NAMES}, "unit": unit_of(e.runs),
        "cells": {metric: {name: packed(metric, name) for name in kinds} for metric in NAMES},
        "rooms": {metric: {name: room_lines(e, metric, name) for name in kinds} for metric in NAMES},
        "runs": {k: [r["method"], r["labels"], r["split"], r.get("seed") or 0, averages(r)] for k, r in e.records.items()},
        "volumes": [[run, v["name"], v.get("subject", v["name"])] for run, v in tests],
        "dice": np.array(each["dice"], np.float32), "hd95": np.array(each["hd95"], np.float32),
    }  # fmt: skip


def _records_and_looks(results: "Results | None", runs: Sequence | str | os.PathLike) -> tuple[list[dict], dict[int, Look]]:
    """The records of all runs, and by its number in them the slices of each run that was kept."""
    kept = [look_at_run(run) for run in ([runs] if isinstance(runs, str | os.PathLike) else runs)]
    given = results if isinstance(results, str | os.PathLike) else list(results if results is not None else () if kept else invented())
    records, looks = [] if kept and not given else read_records(given), dict[int, Look]()
    for look in kept:
        k = next((k for k, record in enumerate(records) if same_run(look, record)), len(records))
        records += [look.record] * (k == len(records))
        looks[k] = look
    return records, looks


class ResultsExplorer(DrawnExplorer):
    """Scores against the labelled share, and the volumes and slices behind them."""

    title = "Results, down to the worst slice"
    lead = "Click a point to see the volumes behind it. Bars are 95 % intervals over splits of people. The tables have the same numbers."
    scripts = ("results.js",)

    @in_place
    def __init__(
        self,
        results: "Results | None" = None,  # a results file, a folder of them, or a sequence of files and records; invented where None
        runs: Sequence[Run | Look | str | os.PathLike] = (),  # RUN folders whose slices are shown
    ):
        records, looks = _records_and_looks(results, runs)
        self.experiments = experiments_of(records)
        self.begin({
            "experiments": [packed_experiment(e) for e in self.experiments.values()], "baseline": BASELINE,
            "rule": RULE, "looks": METHOD_LOOKS, "symbols": SYMBOLS, "side": SIDE, "tall": HEIGHT, "line": LINE / (HEIGHT - 64),
            "slices": packed_slices(looks), "state": opened(next(iter(self.experiments.values()))),
        })  # fmt: skip

    def picture(self) -> "go.Figure":
        """The scores, for pages that are read and not run."""
        return score_figure(self.experiments[self.state["experiment"]], self.state)
