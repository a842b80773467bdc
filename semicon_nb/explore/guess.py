"""Guess before you look: the reader drags what each claim will bring, then the measured intervals appear beside the guess."""

__all__ = ["GuessingGame"]

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from . import page
from ..tables import Results, read_results, verdicts

if TYPE_CHECKING:
    import pandas as pd

_INSTEAD = "Here you guess what the runs below will say. Run this cell, or open the page on the site, to play."


class GuessingGame:
    """A slider for each claim, in points of Dice; on request the interval of each comparison, its verdict and the headroom.

    The reader plays one experiment at a time, first one that had room to tell. ValueError where no comparison was run at the
    labelled share, or where the runs of an experiment cannot be compared.
    """

    def __init__(
        self,
        results: Results,  # finished runs of one or more experiments
        claims: Mapping[str, Iterable[tuple[str, str]]],  # a claim in words -> the (better, worse) methods that are compared for it
        labels: float | None = None,  # the labelled share; None: the smallest at which any claim was compared
    ):
        """The game, ready to be shown."""
        runs, pairs = read_results(results), {text: list(compared) for text, compared in claims.items()}
        played = [_played(part, pairs, labels) for _, part in runs.groupby("experiment", sort=False)]
        found = sorted((each for each in played if each["claims"]), key=_had_room, reverse=True)
        if not found:
            said = f"none that was run at {played[0]['labels']}, expected methods of `results`; look at its methods and shares"
            raise ValueError(f"claims: found {said}")
        self.data = {"experiments": found}

    def _repr_html_(self) -> str:
        """The place of the game with its data, its looks and its script, for notebooks and the site."""
        label = "Guess before you look: a slider for each claim, in points of Dice, then what was measured"
        data = page.text(page.written(self.data))
        place = f'<div class="semicon-guess" role="group" aria-label="{label}" data-guess="{data}"><p>{_INSTEAD}</p></div>'
        code = f"(() => {{\n{page.asset('parts.js')}{page.asset('guess.js')}}})();"
        return f"{place}<style>{page.asset('guess.css')}</style>{page.script(code)}"


def _played(runs: "pd.DataFrame", claims: Mapping[str, list[tuple[str, str]]], labels: float | None) -> dict:
    """One experiment as the reader plays it: the claims that were compared in it, their scale, and what it is called."""
    compared = {text: verdicts(runs, pairs).dropna(subset="difference") for text, pairs in claims.items()}  # without those that share no split
    shares = [share for rows in compared.values() for share in rows["labels"]]
    share = min(shares or runs["labels"]) if labels is None else labels
    rows = {text: _points(every[every["labels"] == share]) for text, every in compared.items()}
    kept = [{"text": text, "found": found} for text, found in rows.items() if found]
    said = f"{100 * share:g}\u00a0%"
    return {"claims": kept, "labels": said, "about": f"{runs['experiment'].iloc[0]}, {said} labelled", "scale": _scale(kept)}


def _had_room(played: dict) -> bool:
    """Whether any comparison of an experiment could have been decided."""
    rows = [row for claim in played["claims"] for row in claim["found"]]
    return any(not math.isnan(row["room"]) and row["verdict"] != "no room to tell" for row in rows)


def _points(rows: "pd.DataFrame") -> list[dict]:
    """What `verdicts` says in its `rows`, in points of Dice, rounded as the tables are."""
    numbers = ("difference", "half", "headroom", "headroom_half")
    points = [{name: round(100 * round(row[name], 3), 1) for name in numbers} for row in rows.to_dict("records")]
    names = {"headroom": "room", "headroom_half": "room_half"}
    named = [{names.get(name, name): value for name, value in row.items()} for row in points]
    return [row | {"claim": claim, "verdict": word} for row, claim, word in zip(named, rows["claim"], rows["verdict"], strict=True)]


def _scale(claims: list[dict]) -> dict:
    """The ends of the scale in points, with ticks at every five: -5 to 15, or as far as the intervals and the rooms go."""
    rows = [row for claim in claims for row in claim["found"]]
    shown = [(row[mean], 0 if math.isnan(row[half]) else row[half]) for row in rows for mean, half in (("difference", "half"), ("room", "room_half"))]
    ends = [mean + sign * half for mean, half in shown if not math.isnan(mean) for sign in (-1, 1)]
    low, high = 5 * math.floor(min([-5, *ends]) / 5), 5 * math.ceil(max([15, *ends]) / 5)
    return {"low": low, "high": high, "ticks": list(range(low, high + 1, 5))}
