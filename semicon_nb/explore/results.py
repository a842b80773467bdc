"""Scores against the labelled share as the tables have them; behind a point its volumes, and of kept runs the slices."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from ..explore import page
from .canvas import PixelCanvas, swatches
from .widgets import Explorer, column, frame, in_place, labelled, row, safely
from .looks import (
    MARKS,
    STRENGTHS,
    TINTS,
    Look,
    compared_slice,
    look_at_run,
    packed_slices,
    same_run,
    slice_words,
)
from .results_figures import (
    HEIGHT,
    LINE,
    LOW,
    SIDE,
    axis_title,
    cell_words,
    percent,
    room_lines,
    score_figure,
    score_rows,
    three_numbers,
    volume_figure,
    volume_rows,
    wrapped,
)
from .results_state import (
    BASELINE,
    NOBODY,
    RULE,
    Experiment,
    Shown,
    Volume,
    cells,
    experiments_of,
    invented,
    opened,
    placed,
    volumes_of,
)
from ..runs import Run
from ..show import METHOD_LOOKS, SYMBOLS
from ..tables import NAMES, Results, read_records

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from plotly.callbacks import Points

__all__ = ["ResultsExplorer"]

LEAD = "Click a point to see the volumes behind it. Bars are 95 % intervals over splits of people; every number is that of the table."
TIDY = (
    "<style>.semicon-explorer :is(td, th) { padding: 0 .5em; white-space: nowrap } .semicon-explorer caption { text-align: left } "
    f"{page.asset('three.css')}</style>"
)
"""Tables and the numbers in sight, in notebooks."""


# ------------------------------------------------------------------------------------------------ the widget


def swatch(place: int) -> str:
    """The colour and marker of a `place` (0 to 3), as HTML."""
    colour, symbol, _ = METHOD_LOOKS[place]
    marker = {"circle": "●", "diamond": "◆", "square": "■", "triangle-up": "▲"}[symbol]
    return f'<span aria-hidden="true" style="color:{colour}">{marker}</span>'


def menu_options(experiments: Mapping[str, Experiment], shown: Shown, ordered: Sequence[Volume]) -> dict[str, list]:
    """What each menu offers among `experiments` and the `ordered` volumes: texts and values."""
    e = experiments[shown.experiment]
    return {
        "experiment": [(name or "not named", name) for name in experiments],
        "metric": [(text, metric) for metric, text in NAMES.items()],
        "name": [("mean of the classes", "mean"), *((name, name) for name in e.classes)],
        "method": [(m, m) for m in shown.methods if m],
        "labels": [(percent(f), f) for f in e.shares],
        "volume": [(f"{v.name} ({v.score:.3f})", k) for k, v in enumerate(ordered)] or [("none", 0)],
    }


def in_sight(numbers: Mapping[str, str]) -> str:
    """The three `numbers`, each above its name, as HTML; the page's script writes the same."""
    each = "".join(f"<div><dt>{page.text(name)}</dt><dd>{page.text(number)}</dd></div>" for name, number in numbers.items())
    return f'<dl class="three">{each}</dl>'


def redraw(widget: "go.FigureWidget", figure: "go.Figure") -> None:
    """Give a `widget` what is in a fresh `figure` with as many traces, in one message."""
    with widget.batch_update():
        for old, new in zip(widget.data, figure.data, strict=True):
            old.x, old.y, old.text, old.name = new.x, new.y, new.text, new.name
            old.error_y.array = new.error_y.array
            old.marker.color, old.marker.symbol = new.marker.color, new.marker.symbol
        for axis in ("xaxis", "yaxis"):
            fresh = figure.layout[axis]
            widget.layout[axis].update(title_text=fresh.title.text, tickvals=fresh.tickvals, ticktext=fresh.ticktext)
            widget.layout[axis].update(range=fresh.range, autorange=fresh.range is None)


def arranged(explorer: "ResultsExplorer") -> list[ipywidgets.Widget]:
    """Rows of the `explorer`: controls, figures and tables."""
    m = explorer.menus
    methods = [ipywidgets.HBox([ipywidgets.HTML(swatch(k)), place]) for k, place in enumerate(explorer.places)]
    rule = ipywidgets.HTML(f'{TIDY}<p style="font-size:.85em;line-height:1.4">{page.text(RULE)}</p>')
    scores = row(column(explorer.scores, width="520px"), column(explorer.three, rule, width="420px"))
    fold = ipywidgets.Accordion([explorer.numbers], titles=("All numbers",), selected_index=None)
    above = [row(m["experiment"], m["metric"], m["name"]), row(*methods), scores, fold]
    closer = row(column(explorer.strip, width="400px"), column(explorer.table, width="320px"), explorer.sheet)
    return [*above, row(m["method"], m["labels"], m["volume"]), closer]


def connect(explorer: "ResultsExplorer") -> None:
    """Tie controls of the `explorer` and points to what they change."""
    anew = {
        "metric": {"volume": 0, "rank": 1},
        "name": {"volume": 0, "rank": 1},
        "volume": {"rank": 1},
        "experiment": {},
    }
    anew |= {"method": anew["metric"], "labels": anew["metric"]}
    for name, menu in explorer.menus.items():
        menu.observe(lambda change, name=name: explorer.touched(**{name: change["new"], **anew[name]}), "value")
    explorer.rank.observe(lambda change: explorer.touched(rank=change["new"]), "value")
    for k, place in enumerate(explorer.places):
        place.observe(lambda change, k=k: explorer.touched(place=(k, change["new"])), "value")
        explorer.scores.data[3 * k + 1].on_click(lambda trace, points, state, k=k: clicked(explorer, k, points))
    explorer.strip.data[0].on_click(lambda trace, points, state: pointed(explorer, points))


def clicked(explorer: "ResultsExplorer", place: int, points: "Points") -> None:
    """In the `explorer`, a mean of the method in this `place` was clicked."""
    shown, method = explorer.shown, explorer.shown.methods[place]
    known = cells(explorer.experiment, shown.metric, shown.name)
    shares = [f for f in explorer.experiment.shares if (method, f) in known]
    if points.point_inds:
        explorer.touched(method=method, labels=shares[points.point_inds[0]], volume=0, rank=1)


def pointed(explorer: "ResultsExplorer", points: "Points") -> None:
    """In the `explorer`, a volume was clicked."""
    if points.point_inds:
        explorer.touched(volume=points.point_inds[0], rank=1)


HEADS = {
    "experiment": ("Experiment", "330px"),
    "metric": ("Score", "230px"),
    "name": ("Class", "260px"),
    "method": ("Volumes of", "310px"),
    "labels": ("Labelled", "160px"),
    "volume": ("Volume", "430px"),
}
"""What each menu is called, and how wide it is."""


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


def follow_slices(explorer: "ResultsExplorer", chosen: Volume | None) -> None:
    """Show the slices of the `chosen` volume, where its run was kept; no panel where it was not."""
    look = explorer.looks.get(chosen.run) if chosen else None
    explorer.slices = [s for s in look.slices if chosen and s.volume == chosen.volume] if look else []
    explorer.sheet.layout.display = "" if explorer.slices else "none"
    if explorer.slices:
        explorer.rank.max = len(explorer.slices)
        explorer.rank.value = rank = min(explorer.shown.rank, len(explorer.slices))
        found, words = explorer.slices[rank - 1], slice_words(explorer.slices, rank)
        explorer.said.value = page.text(words)
        explorer.canvas.show(*compared_slice(found), found.truth, alt=words)


class ResultsExplorer(Explorer):
    """Scores against the labelled share, and the volumes and slices behind them."""

    title = "Results, down to the worst slice"
    slices: list = []  # of the volume that is looked at, the worst first

    @in_place
    def __init__(
        self,
        results: "Results | None" = None,  # a results file, a folder of them, or a sequence of files and records; invented where None
        runs: Sequence[Run | Look | str | os.PathLike] = (),  # RUN folders whose slices are shown
    ):
        records, self.looks = _records_and_looks(results, runs)
        self.experiments = experiments_of(records)
        self.shown = opened(next(iter(self.experiments.values())))
        self.build()

    @property
    def experiment(self) -> Experiment:
        """The one that is shown."""
        return self.experiments[self.shown.experiment]

    def build(self) -> None:
        """Make controls and figures, and put them together."""
        from .live_figure import chart

        self.status, self.ordered, self.busy = ipywidgets.HTML(page.text(LEAD)), self.volumes(), False
        self.menus = {k: labelled(ipywidgets.Dropdown(description=text), wide) for k, (text, wide) in HEADS.items()}
        self.places = [labelled(ipywidgets.Dropdown(description=f"Method {k + 1}"), "260px") for k in range(len(METHOD_LOOKS))]
        self.rank = labelled(ipywidgets.IntSlider(value=1, min=1, max=1, description="Slice, worst first"), "320px")
        self.scores = chart(score_figure(self.experiment, self.shown), HEIGHT)
        self.strip = chart(volume_figure(self.ordered, self.shown), LOW)
        self.three, self.numbers, self.table, self.said = (ipywidgets.HTML() for _ in range(4))
        self.canvas = PixelCanvas(picks=False, widest=420)
        self.sheet = column(self.rank, self.canvas, self.said, width="320px")
        connect(self)
        self.follow()
        self.widget = frame(self.title, self.status, *arranged(self))

    def touched(self, **changes: object) -> None:
        """The reader moved a control: show the `changes`; controls that only follow are not heard."""
        if not self.busy:
            self.show(**changes)

    @safely
    def show(self, **changes: object) -> None:
        """Show the state with `changes` to fields of `Shown`; `place=(number, method)` puts a method in a place."""
        place = changes.pop("place", None)
        if changes.get("experiment", self.shown.experiment) != self.shown.experiment:
            self.shown = opened(self.experiments[str(changes["experiment"])], self.shown.metric)
        else:
            now = placed(self.shown, *place) if isinstance(place, tuple) else self.shown
            self.shown = replace(now, **changes)  # type: ignore[arg-type]
        self.ordered = self.volumes()
        self.follow()

    def volumes(self) -> list[Volume]:
        """Those behind the point that is looked at."""
        s = self.shown
        return volumes_of(self.experiment, s.method, s.labels, s.metric, s.name)

    def follow(self) -> None:
        """Bring controls, figures and words to what is shown."""
        s, e = self.shown, self.experiment
        self.busy, options = True, menu_options(self.experiments, s, self.ordered)
        for name, menu in self.menus.items():
            menu.options, menu.value = options[name], getattr(s, name)
        for place, method in zip(self.places, s.methods, strict=True):
            place.options, place.value = [("none", NOBODY), *((m, m) for m in e.methods)], method
        redraw(self.scores, score_figure(e, s))
        redraw(self.strip, volume_figure(self.ordered, s))
        rows = score_rows(e, s)
        self.three.value = in_sight(three_numbers(e, s))
        none = f"No run has {page.text(NAMES[s.metric])}."
        self.numbers.value = page.html_table(rows, axis_title(s.metric, s.name), "score-table") or none
        chosen = self.ordered[s.volume] if self.ordered else None
        self.table.value = page.html_table(volume_rows(chosen), chosen.name, "volume-table") if chosen else "No such run has volumes."
        follow_slices(self, chosen)
        self.busy = False

    def picture(self) -> "go.Figure":
        """The scores, for pages that are read and not run."""
        return score_figure(self.experiment, self.shown)

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """The page, with `plotly` as in `to_html`."""
        body = results_body(self.experiments, self.shown)
        return page.write_page(path, self.title, body, results_data(self), ("canvas.js", "results.js"), LEAD, plotly)


# ------------------------------------------------------------------------------------------------ the page


def packed_cells(experiment: Experiment, metric: str, name: str) -> list[dict]:
    """The cells of a score (`metric`) and class (`name`, or "mean"), in full precision and as text."""
    found = cells(experiment, metric, name).values()
    return [{**asdict(c), "text": c.text, "difference_text": c.difference_text, "words": cell_words(c)} for c in found]


def packed_experiment(experiment: Experiment) -> dict:
    """An experiment as the page reads it: the tables' cells of every score and class, and the volumes as arrays."""
    e = experiment
    tests = [(run, v) for run, record in e.records.items() for v in record.get("volumes") or ()]
    each = {kind: [[v.get(kind, {}).get(c) for c in e.classes] for _, v in tests] for kind in ("dice", "hd95")}
    return {
        "name": e.name, "methods": e.methods, "texts": [wrapped(m) for m in e.methods], "classes": e.classes,
        "shares": e.shares, "opened": asdict(opened(e)),
        "cells": {metric: {name: packed_cells(e, metric, name) for name in ("mean", *e.classes)} for metric in NAMES},
        "rooms": {metric: {name: room_lines(e, metric, name) for name in ("mean", *e.classes)} for metric in NAMES},
        "runs": {k: [r["method"], r["labels"], r["split"], r.get("seed") or 0] for k, r in e.records.items()},
        "volumes": [[run, v["name"], v.get("subject", v["name"])] for run, v in tests],
        "dice": np.array(each["dice"], np.float32), "hd95": np.array(each["hd95"], np.float32),
    }  # fmt: skip


def results_data(explorer: ResultsExplorer) -> dict:
    """All that the page needs."""
    return {
        "experiments": [packed_experiment(e) for e in explorer.experiments.values()], "names": NAMES, "baseline": BASELINE,
        "shown": asdict(explorer.shown), "looks": METHOD_LOOKS, "side": SIDE, "line": LINE / (HEIGHT - 64), "symbols": SYMBOLS,
        "figure": score_figure(explorer.experiment, explorer.shown), "strip": volume_figure(explorer.ordered, explorer.shown),
        "slices": packed_slices(explorer.looks), "tints": swatches(*TINTS), "marks": MARKS, "strengths": STRENGTHS,
    }  # fmt: skip


def results_body(experiments: Mapping[str, Experiment], shown: Shown) -> str:
    """Controls and places of the page for these `experiments`; the menus are filled by results.js."""
    made = {name: page.select(name, head, {}) for name, (head, _) in HEADS.items()}
    places = [f'<div class="control"><label for="place{k}">{swatch(k)} Method {k + 1}</label><select id="place{k}"></select></div>'
              for k in range(len(METHOD_LOOKS))]  # fmt: skip
    what = page.controls(made["experiment"], made["metric"], made["name"], label="What is shown") + page.controls(*places, label="Methods")
    closer = page.controls(made["method"], made["labels"], made["volume"], label="Look closer")
    scores = page.panel("scores", "Score against labelled share", "Means with 95 % intervals, a line for each method", HEIGHT)
    strip = page.panel(
        "strip",
        "The volumes behind one point",
        "Scores of the test volumes, worst first",
        LOW,
        "A marker for each split.",
    )
    held = '<section class="panel"{}><h2>{}</h2>{}</section>'
    place = '<div id="{}" class="scroll" tabindex="0" role="region" aria-label="{}"></div>'
    numbers = held.format("", "In three numbers", f'<div id="three">{in_sight({})}</div>{page.note(RULE)}')
    fold = f'<details class="panel"><summary>All numbers</summary>{place.format("score-table", "The scores as numbers")}</details>'
    table = held.format("", "The volume", place.format("volume-table", "Scores of the volume"))
    rank = f'<div id="rank-control">{page.slider("rank", "Slice, worst first", ["1"])}</div><div id="picture0"></div><p class="said" id="said"></p>'
    sheet = held.format(' id="sheet" hidden', "Its slices", rank)
    return f"<style>{page.asset('three.css')}</style>{what}{page.columns(scores, numbers)}{fold}{closer}{page.columns(strip, table, sheet)}"
