"""What a run's record must hold, and which records belong together: those of one experiment, under names that mean one thing each."""

__all__ = []

from collections import Counter
from collections.abc import Iterator
from typing import NotRequired, TypedDict

from .files import check_kind, without_nan
from .identity import difference, experiment_of, mark_of, source_of_run, title_of, what_differs

NEEDED = ("method", "labels", "split")


class _Stage(TypedDict):
    """The settings of a stage, as far as they are read."""

    steps: NotRequired[int]


class _Settings(TypedDict):
    """What decided a run, as far as it is read."""

    fingerprint: NotRequired[str]
    method: NotRequired[dict]
    network: NotRequired[dict]
    code: NotRequired[dict]
    stages: NotRequired[dict[str, _Stage]]
    trained: NotRequired[dict[str, dict]]


class _Line(TypedDict):
    """A finished run in a results file, as far as it is read."""

    method: str
    labels: float
    split: int
    seed: NotRequired[int]
    pooled_dice: NotRequired[float | None]
    volume_dice: NotRequired[float | None]
    hd95: NotRequired[float | None]
    unit: NotRequired[str]
    validation: NotRequired[float | None]
    seconds: NotRequired[float | None]
    processor_seconds: NotRequired[float | None]
    preset: NotRequired[str]
    scale: NotRequired[float | None]
    epochs: NotRequired[dict[str, int]]
    key: NotRequired[str]
    precision: NotRequired[str | None]
    device: NotRequired[str | None]
    defects: NotRequired[list[str]]
    model: NotRequired[str | None]
    settings: NotRequired[_Settings]
    slice_by_slice: NotRequired[dict[str, float | None]]
    with_neighbours: NotRequired[dict[str, float | None] | None]
    per_class: NotRequired[dict[str, dict[str, float | None]]]
    volumes: NotRequired[list[dict]]


def each_once(found: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """The runs with their files, each key once; ValueError where two of one key have other scores."""
    once: dict = {}
    for number, (path, run) in enumerate(found):
        place, known = once.setdefault(run.get("key") or number, (path, run))
        first, second = ({name: without_nan(one[name]) for name in _SCORES if name in known and name in run} for one in (known, run))
        if odd := difference(first, second):
            raise ValueError(f"{_places(place, path)}: the run {run['key']} ({title_of(run)}) has two scores: {odd}; keep the one that is right")
    return list(once.values())


def _places(*paths: str) -> str:
    """Files, each once."""
    return " and ".join(dict.fromkeys(paths))


_SCORES = ("pooled_dice", "volume_dice", "hd95", "validation", "slice_by_slice", "with_neighbours")


_MEND = "give what was changed a name of its own, or keep its runs in a file that is read alone"


def check_names(runs: list[tuple[str, dict]]) -> None:
    """ValueError where two of the runs, with their files, are something else under the same names, and so would be averaged or subtracted."""
    known: dict[tuple, tuple[str, dict]] = {}
    experiments = experiments_of([run for _, run in runs])
    for (path, run), experiment in zip(runs, experiments, strict=True):
        called = experiment, source_of_run(run).get("seed"), run["method"], run["labels"], run["split"], run.get("seed") or 0
        place, other = known.setdefault(called, (path, run)) if run.get("key") else (path, run)
        odd = run is not other and run["key"] != other["key"] and what_differs(other.get("settings") or {}, run.get("settings") or {})
        if odd:
            raise ValueError(f"{_places(place, path)}: two runs are called {title_of(run)} of {experiment}, but {odd}; {_MEND}")
    _check_shared(runs, experiments)


def _check_shared(runs: list[tuple[str, dict]], experiments: list[str]) -> None:
    """ValueError where runs of one experiment have other networks, or those of one method other settings, whatever their share, split and seed."""
    known: dict[tuple, tuple[str, dict, dict]] = {}
    told_first = sorted(zip(runs, experiments, strict=True), key=lambda one: _epochs_of(one[0][1]) is None)
    for (path, run), experiment in told_first:
        for name, about in _shared(run):
            here = path, run, about
            unsure = name[0] == _ALL and _epochs_of(run) is None  # it may count passes, if none of the others says that it does not
            place, other, before = known.get((experiment, *name), here) if unsure else known.setdefault((experiment, *name), here)
            if odd := difference(before, about, f"{name[-1]}: "):
                two = f"{_places(place, path)}: {title_of(other)} and {title_of(run)} are both runs of {experiment}"
                raise ValueError(f"{two}, but {odd}; {_MEND}")


_PER_RUN = ("validate_every", "precision", "save_every")
"""Settings of a stage that hang on the slices or the machine, or that decide nothing."""

_COUNT_STEPS = ("demo", "laptop", "thorough")
"""Presets that count steps; of any other, older runs do not say whether it counts passes over the slices."""

_ALL = "in all runs"
"""Begins the name of what runs share whatever their split and share of labels: their steps, where no passes are counted."""


def _epochs_of(run: dict) -> dict | None:
    """Passes over the slices by stage; None where a run, being older, does not say whether they are counted."""
    return run.get("epochs", {} if run.get("preset") in _COUNT_STEPS else None)


def _shared(run: dict) -> Iterator[tuple[tuple, dict]]:
    """What a run says of itself that others of its experiment share, and what those of its method do, each with a name."""
    settings = run.get("settings") or {}
    if settings.get("network"):
        yield ("network",), settings["network"]
    if code := (settings.get("code") or {}).get("network"):
        yield ("code",), {"the network's": code}
    if settings.get("method"):
        yield (run["method"], "method"), settings["method"]
    if (epochs := _epochs_of(run)) is not None:
        yield ("epochs",), epochs
    for stage, about in (settings.get("stages") or {}).items():
        steps, passes = {name: about[name] for name in ("steps",) if name in about}, stage in (epochs or ())
        known = {name: value for name, value in about.items() if name not in ("steps", *_PER_RUN)}
        yield (run["method"], stage), known
        if steps and not passes:
            yield (_ALL, run["method"], stage), steps
        if steps:  # a pass has as many steps as the slices of the split need, or those with labels
            pool = (_described(settings, stage) or {}).get("images") == "train" and stage != "finetune"
            yield (run["method"], run["split"], "any share" if pool else run["labels"], stage), steps
        for name, value in _of_preset(settings, stage, known | steps if epochs is not None and not passes else known).items():
            yield ("the preset", name, stage), {name: value}


def _described(settings: dict, stage: str) -> dict | None:
    """A stage as a run describes its method; None where it, being older, does not."""
    return next((one for one in (settings.get("method") or {}).get("stages") or () if one.get("stage") == stage), None)


def _of_preset(settings: dict, stage: str, about: dict) -> dict:
    """What the preset, and not the method, decides `about` a stage: nothing where a run, being older, does not describe its method."""
    if (own := _described(settings, stage)) is None:
        return {}
    longer, changed = own.get("longer", 1), own.get("changes") or {}
    if longer != 1:
        about = {name: value for name, value in about.items() if name != "warmup"}
        steps = about.pop("steps", 0.5) / longer
        about |= {"steps": int(steps)} if longer > 1 and steps == int(steps) else {}  # else it was rounded
    return {name: value for name, value in about.items() if name not in changed}


def typed(record: dict, path: str) -> dict:
    """A record from a file, if each of its values is of its kind."""
    checked(record, path)
    try:
        check_kind(record, _Line)
        shares = {name: record.get(name) or 0.0 for name in ("labels", "pooled_dice", "volume_dice", "validation")}
        if odd := [name for name, value in shares.items() if not 0 <= value <= 1]:
            raise ValueError(f"{odd[0]} is {shares[odd[0]]:g}, expected 0 to 1")
    except ValueError as error:
        raise ValueError(f"{path}: a run is damaged ({error}); restore the file, or remove that line") from error
    return record


def checked(record: dict, source: str) -> dict:
    """The record, if it says what it is of."""
    if not isinstance(record, dict):
        raise ValueError(f"{source}: found {type(record).__name__}, expected a run as `semicon-nb experiment` writes it")
    if lacks := [name for name in NEEDED if record.get(name) is None]:
        raise ValueError(f"{source}: a run lacks {', '.join(lacks)}; expected a run as `semicon-nb experiment` writes it")
    return record


def experiments_of(records: list[dict]) -> list[str]:
    """The experiment of each of the records; of a cohort of which some had other files, such as fewer people, these are one apart."""
    marks = [mark_of(record) for record in records]
    named = [experiment_of(record) for record in records]
    counted = Counter((name, mark) for name, mark in zip(named, marks, strict=True) if mark)
    usual = {name: mark for (name, mark), _ in reversed(counted.most_common())}  # of one name the mark of most runs comes last and stays
    pairs = zip(named, marks, strict=True)
    return [name if mark in ("", usual.get(name)) else f"{name}, other files {mark[:6]}" for name, mark in pairs]


def steps_of(record: dict) -> float:
    """How many steps of fine-tuning a run took; nan where it does not say."""
    return ((record.get("settings") or {}).get("stages") or {}).get("finetune", {}).get("steps", float("nan"))
