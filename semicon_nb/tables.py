"""What may be said of a handful of runs: means, intervals, and differences on the same splits"""

__all__ = [
    "NAMES", "as_markdown", "by_split", "compare", "failures", "headroom", "interval", "judge", "paired", "plus_minus", "read_lines",
    "read_records", "read_results", "same_people", "summary", "table", "verdicts",
]  # fmt: skip

import os
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
from scipy.special import stdtrit

from .arguments import as_share
from .files import content_key, content_of, from_json, without_nan
from .identity import source_of_run
from .names import counted, unit_words
from .records import check_names, checked, each_once, experiments_of, steps_of, typed

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = (
    "method", "labels", "split", "seed", "pooled_dice", "volume_dice", "hd95", "validation", "seconds", "processor_seconds", "preset",
    "unit", "key", "experiment", "people", "precision", "device",
)  # fmt: skip


def read_lines(path: str | Path, kind: Any = Any) -> list[dict]:
    """Every line of a results file, `path`, of a `kind` as `files.check_kind` has it; ValueError for a broken or damaged one.

    A last one that was cut off in writing is left out.
    """
    lines = content_of(path).split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records += [from_json(line, kind)] if line.strip() else []
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: is not JSON ({error}); restore the file or remove that line") from error
            continue
        check = records[-1].pop("check", None) if line.strip() and isinstance(records[-1], dict) else None  # older runs have none
        if check is not None and check != content_key(records[-1]):
            raise ValueError(f"{path}, line {number}: damaged or changed since it was written; restore the file or remove that line")
        if check is not None:
            records[-1] = without_nan(records[-1])  # runs were written with NaN where a score is undefined
    return records


Results: TypeAlias = "str | os.PathLike | pd.DataFrame | Iterable"


class _FailedLine(TypedDict):
    """A run that failed."""

    key: str
    error: str


def read_records(results: Results) -> list[dict]:
    """Every finished run in `results`, once; FileNotFoundError or ValueError where there is none, or where a run does not say what it is of.

    ValueError where one run has two scores, or two runs are called the same.
    """
    found: list[tuple[str, dict]] = []
    for item in [results] if isinstance(results, (str, os.PathLike)) else results:
        found += _records_at(Path(item)) if isinstance(item, (str, os.PathLike)) else [("results", checked(item, "results"))]
    if not found:
        where = results if isinstance(results, (str, os.PathLike)) else "results"
        raise ValueError(f"{where}: holds no finished run; start one with `semicon-nb experiment`")
    once = each_once([(path, run | {"labels": as_share(run["labels"])}) for path, run in found])
    check_names(once)
    return [record for _, record in once]


def _records_at(place: Path) -> list[tuple[str, dict]]:
    """The runs of a results file, or of all in a folder, each with its file."""
    if not place.exists():
        raise FileNotFoundError(f"{place}: there is no such results file or folder; make one with `semicon-nb experiment`")
    paths = sorted(p for p in place.glob("*.jsonl") if not p.name.endswith(".failed.jsonl")) if place.is_dir() else [place]
    return [(str(path), typed(record, str(path))) for path in paths for record in read_lines(path)]


def read_results(results: Results) -> "pd.DataFrame":
    """One row for each finished run in `results`; ValueError where there is none."""
    import pandas as pd

    if isinstance(results, pd.DataFrame):
        return results
    records = read_records(results)
    known = [{column: record.get(column) for column in COLUMNS} | _both_ways(record) for record in records]
    people = [str(source_of_run(record).get("seed", "")) for record in records]
    steps = pd.Series([steps_of(record) for record in records], dtype=float)
    return pd.DataFrame(known).assign(experiment=experiments_of(records), people=people, steps=steps)


def _both_ways(record: dict) -> dict[str, float]:
    """Dice of each slice by itself and averaged with its neighbours, whichever of the two is the method's own; nan where not measured.

    Older runs recorded the second for pictures, too, whose order is not known, so that nothing was averaged; their HD95 is not in mm.
    """
    unordered = record.get("unit", "mm") != "mm" or record.get("with_neighbours", {}) is None
    if unordered:
        ways = {"slice_by_slice": record.get("slice_by_slice") or record, "with_neighbours": {}}
    else:
        averages = (record.get("settings") or {}).get("method", {}).get("neighbours")
        own = "with_neighbours" if averages else "slice_by_slice"
        ways = {"slice_by_slice": record.get("slice_by_slice") or {}, "with_neighbours": record.get("with_neighbours") or {}, own: record}
    found = {f"{score}_{way}": scores.get(score) for score in ("pooled_dice", "volume_dice") for way, scores in ways.items()}
    return {name: np.nan if value is None else value for name, value in found.items()}


def interval(values: Iterable[float], sure: float = 0.95) -> tuple[float, float, int]:
    """Mean of `values`, half width of the t-interval (nan for a single one) that is `sure` to hold the true mean, and their number."""
    values = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    count = len(values)
    half = stdtrit(count - 1, (1 + sure) / 2) * values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return float(values.mean()) if count else np.nan, float(half), count


def by_split(results: Results, metric: str = "pooled_dice") -> "pd.DataFrame":
    """Rows (labels, method) of a `metric`, a column for each split, seeds averaged; ValueError for an unknown one, or `results` that cannot be compared."""
    return _spread(_comparable(results, metric), ["split"], metric)


def _comparable(results: Results, metric: str) -> "pd.DataFrame":
    """The runs of one experiment, with a `metric` as numbers."""
    import pandas as pd

    runs = read_results(results)
    if metric not in runs:
        raise ValueError(f"metric: found {metric!r}, expected one of {', '.join(runs.select_dtypes('number').columns)}")
    if "experiment" in runs and runs["experiment"].nunique() > 1:
        kinds = "; ".join(sorted(runs["experiment"].unique()))
        raise ValueError(f"results: hold runs that cannot be compared ({kinds}); keep those of one experiment")
    return runs.assign(**{metric: pd.to_numeric(runs[metric])})


def _by_run(results: Results, metric: str) -> "pd.DataFrame":
    """Rows (labels, method) of a `metric`, a column for each split, seed of the weights and seed of generated people."""
    return _spread(_seeded(_comparable(results, metric)), _PLACE, metric)


def _spread(runs: "pd.DataFrame", columns: list[str], metric: str) -> "pd.DataFrame":
    """Rows (labels, method) of a `metric`, mean of the runs at each place of the `columns`: `pivot_table`, in a third of its time."""
    return runs.groupby(["labels", "method", *columns], sort=False)[metric].mean().dropna().unstack(columns)


_PLACE = ["split", "seed", "people"]
"""What two runs share whose difference is taken."""


def _seeded(runs: "pd.DataFrame") -> "pd.DataFrame":
    """The runs, each with a seed of the weights and one of generated people."""
    return runs.assign(**{name: runs[name].fillna(0) if name in runs else 0 for name in ("seed", "people")})


def _less(scores: "pd.DataFrame", one: tuple[float, str], other: tuple[float, str | None]) -> "pd.Series":
    """One row of `_by_run` less another, for each split: the mean over the seeds that both have."""
    return (scores.loc[one] - scores.loc[other]).groupby(level="split", sort=False).mean()


def same_people(scores: "pd.DataFrame") -> "pd.DataFrame":
    """The `scores` of `by_split` with a gap wherever scratch has none, so that no mean is over other people; as they are where it was not run."""
    kept = scores.copy()
    for share, method in scores.index:
        if method == "scratch" and (missing := scores.loc[(share, method)].isna()).any():
            kept.loc[kept.index.get_level_values("labels") == share, missing] = np.nan
    return kept


def summary(results: Results, metric: str = "pooled_dice") -> "pd.DataFrame":
    """Mean and half width of its 95 % interval over the splits that scratch was run on, of a `metric`, for each labelled share and method of `results`."""
    scores = same_people(by_split(results, metric))
    rows = {place: interval(row) for place, row in zip(scores.index, scores.to_numpy(), strict=True)}
    return _frame(rows, scores, ["mean", "half", "splits"])


def _frame(rows: dict[tuple[float, str], tuple], scores: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    """The `rows` by labelled share and method as a table, indexed as the `scores` are."""
    import pandas as pd

    index = pd.MultiIndex.from_tuples(rows, names=["labels", "method"]) if rows else scores.index[:0]
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def paired(results: Results, against: str | dict[float, dict[str, str]] = "scratch", metric: str = "pooled_dice") -> "pd.DataFrame":
    """Mean difference of a `metric` to another method on the same splits and seeds of `results`, and half width of its 95 % interval.

    `against` is the method to subtract; or, for each share, each method's rival.
    """
    scores = _by_run(results, metric)
    rows = {}
    for share, method in scores.index:
        rival = against if isinstance(against, str) else against[share].get(method)
        if rival == method or (share, rival) not in scores.index:
            continue
        rows[share, method] = (*interval(_less(scores, (share, method), (share, rival))), rival)
    return _frame(rows, scores, ["difference", "half", "splits", "against"])


def best_other(results: Results) -> dict[float, dict[str, str]]:
    """For each labelled share and method, the other method that is best on validation people of the splits that both have; who shares fewer is passed over."""
    scores = same_people(by_split(results, "validation"))
    rivals: dict[float, dict[str, str]] = {share: {} for share in read_results(results)["labels"].unique()}
    for share, method in scores.index:
        leads = (scores.loc[share] - scores.loc[share, method]).drop(method).dropna(how="all")
        if ranks := {other: (lead.count(), lead.mean()) for other, lead in leads.iterrows()}:
            rivals[share][method] = max(ranks, key=ranks.__getitem__)
    return rivals


_BASELINES = {"best": "scratch(strong)", "scratch(strong)": "scratch(strong)"}
"""The training from scratch of a method that takes more steps; `scratch` for every other."""


def _places_with_room(runs: "pd.DataFrame") -> list[tuple[float, str]]:
    """Labelled shares and trainings from scratch of which some runs had few labels and some all."""
    known = set(zip(runs["labels"], runs["method"], strict=True))
    shares, bases = sorted(share for share in set(runs["labels"]) if share < 1), dict.fromkeys(["scratch", *_BASELINES.values()])
    return [(share, base) for base in bases for share in shares if {(share, base), (1.0, base)} <= known]


def _times_as_long(runs: "pd.DataFrame", share: float, base: str) -> float:
    """How many times as many steps a training from scratch took with all labels as with few; 1 where the runs do not say."""
    if "steps" not in runs:
        return 1.0
    few, full = (runs.loc[(runs["labels"] == labels) & (runs["method"] == base), "steps"].mean() for labels in (share, 1.0))
    return float(full / few) if few > 0 and full > 0 else 1.0


def _rooms(runs: "pd.DataFrame", scores: "pd.DataFrame", metric: str) -> "dict[tuple[float, str], pd.Series]":
    """What all labels bring on each split, by labelled share and training from scratch that took as many steps; nothing of seconds, which are no score.

    `scores` are the runs as `_by_run` has them.
    """
    there = [place for place in _places_with_room(runs) if {place, (1.0, place[1])} <= set(scores.index) and _times_as_long(runs, *place) == 1]
    return {} if metric.endswith("seconds") else {place: _less(scores, (1.0, place[1]), place) for place in there}


def headroom(results: Results, metric: str = "pooled_dice") -> "pd.DataFrame":
    """What all labels bring to training from scratch, in a `metric` of `results`: mean, half width of its 95 % interval, splits.

    No row where all labels were not run, or where training took more steps with them.
    """
    runs = read_results(results)
    scores = _by_run(runs, metric)
    rows = {place: interval(gains) for place, gains in _rooms(runs, scores, metric).items()}
    return _frame({place: row for place, row in rows.items() if row[2]}, scores, ["mean", "half", "splits"])


def judge(differences: Iterable[float], headroom: Iterable[float] | None = (), sure: float = 0.95) -> str:
    """Whether a claim "holds", is "reversed", or the runs "cannot tell", or had "no room to tell".

    `differences` are better less worse, one for each split; the interval that is `sure` to hold the true one must leave zero out.
    `headroom` is what all labels bring, one for each split; none where not known, None where it is not asked for.
    """
    gain, resolution, splits = interval(differences)
    least = interval(differences, sure)[1]
    room, spread, _ = (np.inf, 0.0, 0) if headroom is None else interval(headroom)
    if splits < 2 or not np.isfinite(spread):
        return "cannot tell"
    if room - spread <= resolution:
        return "no room to tell"
    return "holds" if gain > least else "reversed" if gain < -least else "cannot tell"


LESS_IS_BETTER = ("hd95", "seconds", "processor_seconds")


def verdicts(results: Results, claims: Iterable[tuple[str, str]], metric: str = "pooled_dice") -> "pd.DataFrame":
    """Which claims (better, worse) about a `metric` of `results` hold, which are reversed, and where the runs cannot tell or had no room to.

    The headroom is that of the splits of the comparison, or of all that have one where fewer than two of these do.
    """
    import pandas as pd

    runs = read_results(results)
    scores, rows = _by_run(runs, metric), []
    rooms = _rooms(runs, scores, metric)
    for better, worse in claims:
        base = _BASELINES.get(better) or _BASELINES.get(worse) or "scratch"
        for share in sorted(set(scores.index.get_level_values("labels"))):
            if (share, better) not in scores.index or (share, worse) not in scores.index:
                continue
            gains = _less(scores, (share, better), (share, worse))
            room = _room_beside(rooms.get((share, base), pd.Series(dtype=float)), gains)
            sign = -1 if metric in LESS_IS_BETTER else 1
            word = judge(sign * gains, None if metric.endswith("seconds") else sign * room)
            rows.append((f"{better} > {worse}", share, *interval(gains), *interval(room), word))
    names = ["claim", "labels", "difference", "half", "splits", "headroom", "headroom_half", "headroom_splits", "verdict"]
    return pd.DataFrame(rows, columns=names)


def _room_beside(room: "pd.Series", gains: "pd.Series") -> "pd.Series":
    """The headroom of each split that a comparison has; of all where fewer than two of these have one."""
    same = room[room.index.isin(gains.dropna().index)].dropna()
    return same if len(same) > 1 else room


def plus_minus(value: float, half: float, signed: bool = False) -> str:
    """`0.812 ± 0.010` of a mean `value` and `half` an interval, nan where one split was run, `signed` with a plus; nothing where there is no value."""
    if not np.isfinite(value):
        return ""
    return f"{round(value, 3) + 0.0:{'+' * signed}.3f}" + (f" ± {half:.3f}" if np.isfinite(half) else "")  # never minus zero


def _texts(rows: "pd.DataFrame", value: str, share: float, signed: bool) -> dict[str, str]:
    """What a table says of each method at a labelled share."""
    found = zip(rows.index, rows[value], rows["half"], strict=True)
    return {method: plus_minus(mean, half, signed) for (labels, method), mean, half in found if labels == share}


def _percents(shares: Iterable[float]) -> dict[float, str]:
    """What a table calls each of the labelled shares, with as many digits as tell them apart."""
    short = {share: f"{100 * share:g} %" for share in shares}
    alike = Counter(short.values())
    return {share: name if alike[name] == 1 else f"{100 * share:.15g} %" for share, name in short.items()}


def compare(results: Results, metric: str = "pooled_dice") -> "pd.DataFrame":
    """Scores of `results` in a `metric` with intervals, differences to scratch and to the best other method, and below them the headroom, as text.

    Columns that would be empty are left out, and those that say of every method but scratch what another column says.
    """
    import pandas as pd

    runs = read_results(results)
    room = headroom(runs, metric).rename(index="headroom of {}".format, level="method")
    parts = {"": (summary(runs, metric), "mean"), " − scratch": (paired(runs, "scratch", metric), "difference")}
    parts[" − best other"] = (paired(runs, best_other(runs), metric), "difference")
    names, columns = [*dict.fromkeys(runs["method"]), *room.index.unique("method")], {}
    for share, percent in _percents(sorted(runs["labels"].unique())).items():
        told: list[dict] = []
        for title, (rows, value) in parts.items():
            cells = _texts(rows, value, share, bool(title)) | ({} if title else _texts(room, "mean", share, True))
            known = {name: cell for name, cell in cells.items() if cell and not (title and name == "scratch")}
            if known and known not in told:
                columns[percent + title] = [cells.get(name, "") for name in names]
            told.append(known)
    return pd.DataFrame(columns, index=pd.Index(names, name="method"))


NAMES = {
    "pooled_dice": "Pooled Dice",
    "volume_dice": "Dice per volume",
    "hd95": "HD95",
    "validation": "Validation Dice",
    "pooled_dice_slice_by_slice": "Pooled Dice, slice by slice",
    "pooled_dice_with_neighbours": "Pooled Dice, averaged with neighbours",
    "volume_dice_slice_by_slice": "Dice per volume, slice by slice",
    "volume_dice_with_neighbours": "Dice per volume, averaged with neighbours",
}


_CLOCKS = {"seconds": "Seconds by the clock", "processor_seconds": "Seconds of the processor"}


def unit_of(runs: "pd.DataFrame") -> str:
    """What the HD95 of all `runs` is measured in, in words; older runs do not say it."""
    units = set(runs["unit"]) if "unit" in runs else set()
    return unit_words(units.pop() if len(units) == 1 else None)


def titled(metric: str, runs: "pd.DataFrame") -> str:
    """A `metric` in words, with the unit that it has in these `runs`."""
    return {**NAMES, **_CLOCKS}.get(metric, metric) + f" ({unit_of(runs)})" * (metric == "hd95")


def as_markdown(rows: "pd.DataFrame") -> str:
    """A table of texts, `rows`, in markdown."""
    body = [[f"`{name}`", *row] for name, row in zip(rows.index, rows.to_numpy(), strict=True)]
    lines = [["", *rows.columns], ["---"] * (len(rows.columns) + 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_latex(rows: "pd.DataFrame") -> str:
    """A table of texts in LaTeX (booktabs)."""
    clean = {"%": r"\%", "_": r"\_", "&": r"\&", "±": r"$\pm$", "−": "--"}
    lines = [["", *rows.columns], *([name, *row] for name, row in zip(rows.index, rows.to_numpy(), strict=True))]
    body = [" & ".join("".join(clean.get(letter, letter) for letter in cell) for cell in line) + r" \\" for line in lines]
    head = [rf"\begin{{tabular}}{{l{'r' * len(rows.columns)}}}", r"\toprule", body[0], r"\midrule"]
    return "\n".join([*head, *body[1:], r"\bottomrule", r"\end{tabular}"])


def _about_headroom(runs: "pd.DataFrame", metric: str) -> str:
    """What the last rows of a table are, and of how many splits, or why there are none."""
    if metric.endswith("seconds"):
        return ""
    if len(rooms := headroom(runs, metric)):
        return f" Headroom: what all labels bring to training from scratch, same steps, same splits, {_range_of(rooms['splits'])} of them."
    times = [times for place in _places_with_room(runs) if (times := _times_as_long(runs, *place)) != 1]
    if times:
        return f" Headroom unknown: with all labels, training from scratch took {_range_of([float(f'{one:.2g}') for one in times])} times as many steps."
    return " Headroom unknown: training from scratch was not run with few labels and with all."


def _range_of(numbers: Iterable[float]) -> str:
    """Numbers as text, the least and the largest where they differ."""
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def table_of_one(runs: "pd.DataFrame", form: str, metric: str) -> str:
    """The table of one experiment, "markdown", "latex" or "html", with a line that says what stands behind it."""
    rows = compare(runs, metric)
    splits = summary(runs, metric)["splits"]
    splits = splits[splits > 0]
    if splits.empty:
        lost = f"{titled(metric, runs)}: was not measured, or is undefined, in all of them; {counted(len(runs), 'run')} ({runs['experiment'].iloc[0]})."
        return {"html": f"<p>{escape(lost)}</p>", "latex": f"% {lost}"}.get(form, lost)
    note = _note(runs, metric, splits)
    note += " Best other: highest Dice on validation subjects, of those that share most splits." * any(name.endswith("best other") for name in rows)
    note += _about_headroom(runs, metric) + _about_machines(runs)
    if form == "html":
        return f"{rows.to_html(border=0)}\n<p>{escape(note)}</p>"
    return f"{as_latex(rows)}\n% {note}" if form == "latex" else f"{as_markdown(rows)}\n\n{note}"


def _note(runs: "pd.DataFrame", metric: str, splits: "pd.Series") -> str:
    """What the numbers of a table are, and over how many splits."""
    several = f"mean ± half width of the 95 % t-interval over {_range_of(splits)} splits by subject"
    note = f"{titled(metric, runs)}: {several if splits.max() > 1 else 'of 1 split by subject, which has no interval'}"
    seeds = _seeded(runs).groupby(["split", "labels", "method"])["seed"].agg(frozenset)
    note += ", differences over all that both have" * bool(runs["split"].nunique() > splits.max())
    note += ", differences over the seeds that both have" * bool(seeds.groupby("split").nunique().max() > 1)
    note += f"; {counted(len(runs), 'run')}"
    return note + f" ({runs['experiment'].iloc[0]})" * bool(runs["experiment"].iloc[0]) + "."


def _about_machines(runs: "pd.DataFrame") -> str:
    """Which differences are between runs of other precisions or devices, in a sentence; nothing where none is known to be."""
    if not {"precision", "device"} <= set(runs):
        return ""
    known = _seeded(runs).dropna(subset=["precision", "device"])
    known = known.assign(made=known["precision"] + " on " + known["device"])
    percents, found = _percents(known["labels"].unique()), {}
    base = known[known["method"] == "scratch"]
    for (share, method), part in known.groupby(["labels", "method"], sort=False):
        few = part.merge(base[base["labels"] == share], on=_PLACE)
        full = part.merge(base[base["labels"] == 1], on=_PLACE) if method == "scratch" else few[:0]
        for name, pairs in ((method, few), ("headroom", full)):
            if len(odd := pairs[pairs["made_x"] != pairs["made_y"]]):
                found[f"{name} at {percents[share]}"] = " against ".join(odd.iloc[0][["made_x", "made_y"]])
    said = ", ".join(f"{name} ({made})" for name, made in found.items())
    return f" In these differences to scratch, the precision or the device differs, too: {said}." * bool(found)


def table(results: Results, form: str = "markdown", metric: str = "pooled_dice") -> str:
    """The table of all methods and shares in `results`, by a `metric`: one for each cohort, preset and set of defects.

    These cannot be compared. The form is "markdown", "latex" or "html"; ValueError for an unknown one.
    """
    if form not in ("markdown", "latex", "html"):
        raise ValueError(f"form: found {form!r}, expected markdown, latex or html")
    parts = read_results(results).groupby("experiment", sort=False)
    return "\n\n".join(table_of_one(runs, form, metric) for _, runs in parts)


def _failed_runs(results: Path) -> dict[Path, dict[str, str]]:
    """Runs of a results file, which need not be there, or of a folder, that were tried and not finished: file of failures -> key -> last error."""
    inside = sorted(results.glob("*.failed.jsonl")) if results.is_dir() else [results.with_suffix(".failed.jsonl")]
    found = {}
    for file in filter(Path.is_file, inside):
        finished = file.with_name(file.name.removesuffix(".failed.jsonl") + ".jsonl")
        done = {record.get("key") for record in read_lines(finished)} if finished.is_file() else set()
        last = {run["key"].rpartition("-")[0]: " ".join(run["error"].split()) for run in read_lines(file, _FailedLine)}
        if left := {key: error for key, error in last.items() if key not in done}:
            found[file] = left
    return found


def failures(results: Path, keys: set[str] | None = None) -> list[str]:
    """Why runs of a results file or folder failed, of all or these `keys`, a sentence for each file: the reasons, most frequent first, with their counts."""
    sentences = []
    for file, runs in _failed_runs(results).items():
        reasons = Counter(error[:300] for key, error in runs.items() if keys is None or key in keys)
        said = [f"{reason} ({count} runs)" if count > 1 else reason for reason, count in reasons.most_common(4)]
        more = f", and {len(reasons) - 4} other reasons" * (len(reasons) > 4)
        if said:
            sentences.append(f"{', '.join(said)}{more}; all of it is told in {file}")
    return sentences
