"""What the results explorer knows: the tables' numbers of each experiment, and what is shown of it first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..methods import GROUPS
from ..tables import by_split, headroom, interval, paired, plus_minus, read_results, same_people

if TYPE_CHECKING:
    import pandas as pd

__all__ = []

NOBODY = ""
"""In the place of a method: none is shown."""
BASELINE = "scratch"
KINDS = (
    {BASELINE},
    {method.name for method in GROUPS["paper"]} - {BASELINE},
    {method.name for method in (*GROUPS["ours"], *GROUPS["recipes"])},
    {method.name for method in GROUPS["rivals"]},
)
"""Methods of the four places: the baseline, the paper's other rows, this package's own, today's rivals."""
RULE = (
    "Four methods are shown at a time. At first these are the baseline (scratch) and the best of the paper's other rows, of this "
    "package's own methods and of today's rivals, by Dice on validation people where labels are fewest. Where a kind is missing, the "
    "next best method stands in its place. A method that you choose takes the place and the colour of the one before."
)


@dataclass(frozen=True)
class Cell:
    """One method at one labelled share, as `tables.summary` and `tables.paired` have it."""

    method: str  # its name
    labels: float  # labelled share
    mean: float  # over the splits
    half: float  # half width of the 95 % interval, nan where one split was run
    splits: int  # behind the mean
    difference: float  # to the baseline on the same splits; nan where there is none
    difference_half: float  # half width of its interval
    difference_splits: int  # that both have
    scores: tuple[float, ...]  # of each split behind the mean

    @property
    def text(self) -> str:
        """The mean, such as 0.812 ± 0.010."""
        return plus_minus(self.mean, self.half)

    @property
    def difference_text(self) -> str:
        """The difference, such as +0.012 ± 0.010."""
        return plus_minus(self.difference, self.difference_half, True)


@dataclass(frozen=True, eq=False)
class Experiment:
    """Runs that can be compared, as `tables.experiment_of` says."""

    name: str  # cohort, preset, defects
    runs: "pd.DataFrame"  # of `read_results`, indexed by the number among all runs
    records: dict[int, dict]  # the same, whole

    @cached_property
    def methods(self) -> list[str]:
        """Their names, in the order of the file."""
        return list(dict.fromkeys(self.runs["method"]))

    @cached_property
    def shares(self) -> list[float]:
        """Labelled shares, the smallest first."""
        return sorted(float(f) for f in self.runs["labels"].unique())

    @cached_property
    def classes(self) -> list[str]:
        """The classes that were scored."""
        return list(dict.fromkeys(name for record in self.records.values() for name in record.get("per_class") or ()))

    def scored(self, metric: str, name: str) -> "pd.DataFrame":
        """The runs with the `metric` of the class `name` in the place of that of all; "mean" leaves it."""
        if name == "mean":
            return self.runs
        found = [(r.get("per_class") or {}).get(name, {}).get(metric) for r in self.records.values()]
        return self.runs.assign(**{metric: found})


def invented() -> list[dict]:
    """Four tiny runs that nobody trained, called so, for readers who have no results yet."""

    def run(method: str, split: int, dice: float) -> dict:
        scores = {"pooled_dice": dice, "volume_dice": dice - 0.02, "hd95": 4.0, "validation": dice}
        volumes = [{"name": f"scan {k}", "dice": {"heart": dice - 0.02 * k}} for k in range(3)]
        about = {"method": method, "labels": 0.1, "split": split, "data": "invented"}
        return {**about, **scores, "per_class": {"heart": scores}, "volumes": volumes}

    return [run("scratch", 0, 0.81), run("scratch", 1, 0.84), run("global", 0, 0.82), run("global", 1, 0.86)]


def had_room(runs: "pd.DataFrame") -> bool:
    """Whether all labels brought these runs of one experiment more than nothing, where the baseline had fewest."""
    found = headroom(runs).query("method == @BASELINE")
    return len(found) > 0 and bool(found["mean"].iloc[0] > found["half"].iloc[0])


def experiments_of(records: Sequence[dict]) -> dict[str, Experiment]:
    """The experiments among all runs, the `records`, by name: first those that had room to tell, of these the one with most runs."""
    parts = {str(name): part for name, part in read_results(records).groupby("experiment", sort=False)}
    ordered = sorted(parts, key=lambda name: (not had_room(parts[name]), -len(parts[name])))
    return {name: Experiment(name, parts[name], {int(k): records[int(k)] for k in parts[name].index}) for name in ordered}


@lru_cache(maxsize=256)
def cells(experiment: Experiment, metric: str, name: str) -> dict[tuple[str, float], Cell]:
    """What the tables say of every method and labelled share: of a `metric`, and a class (`name`, or "mean")."""
    runs = experiment.scored(metric, name)
    if runs[metric].isna().all():
        return {}
    gains, scores = paired(runs, BASELINE, metric), same_people(by_split(runs, metric))
    apart = {place: tuple(line)[:3] for place, line in zip(gains.index, gains.to_numpy(), strict=True)}
    found = {}
    for (labels, method), each in zip(scores.index, scores.to_numpy(), strict=True):
        mean, half, splits = interval(each)
        gain, gain_half, both = apart.get((labels, method), (np.nan, np.nan, 0))
        own = str(method), float(labels), float(mean), float(half), int(splits)
        if splits:
            found[own[:2]] = Cell(*own, float(gain), float(gain_half), int(both), tuple(each[np.isfinite(each)].tolist()))
    return found


def opening(experiment: Experiment) -> tuple[str, ...]:
    """The four methods that are shown first, see RULE; NOBODY where there are fewer."""
    checked = cells(experiment, "validation", "mean")
    rank = {method: (-np.inf, 0.0) for method in experiment.methods}
    for (method, labels), cell in checked.items():
        rank[method] = max(rank[method], (-labels, cell.mean))
    chosen = [max((m for m in experiment.methods if m in kind), key=rank.__getitem__, default=NOBODY) for kind in KINDS]
    left = sorted((m for m in experiment.methods if m not in chosen), key=rank.__getitem__, reverse=True)
    return tuple(method or (left.pop(0) if left else NOBODY) for method in chosen)


def opened(experiment: Experiment) -> dict:
    """What is shown first of an experiment, as results.js names it."""
    methods = opening(experiment)
    method = next((m for m in methods if m and m != BASELINE), methods[0])
    labels = min(float(f) for f in experiment.runs.loc[experiment.runs["method"] == method, "labels"])
    chosen = {"methods": methods, "method": method, "labels": labels, "volume": 0, "rank": 0}
    return {"experiment": experiment.name, "metric": "pooled_dice", "name": "mean"} | chosen
