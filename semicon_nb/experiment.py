"""Methods x labelled shares x splits: resumable, in parallel, one JSON line for each finished run"""

__all__ = ["Serial", "grid", "load_once", "local_pool", "run_grid", "run_rows"]

import json
import multiprocessing
import os
import shutil
import subprocess
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn
from tqdm.auto import tqdm

import semicon_nb
from .arguments import as_share, check_factor, check_seed
from .data import Cohort, Split, cohort_folders, labelled_indices, load, part_indices, settled, split, unplaced
from .study import method_with, with_defects
from .dice import pooled_dice
from .evaluate import evaluate
from .files import cache_folder, content_key, content_of, from_json, versions, without_nan, write_atomic
from .methods import named_method, named_preset, train_method
from .stages import Method, Preset
from .machine import chosen_device, chosen_precision, described, duration, one_thread, settle_precision
from .networks import Builder, build, look_for, looked_for, network_facts, path_of
from .names import COHORT_LINES, check_whole, counted
from .plan import check_network, plan_run
from .predict import Prediction, has_neighbours, predict_slices, prediction_of
from .runs import begun_in, forecast
from .records import check_names
from .tables import failures, read_lines, read_results

if TYPE_CHECKING:
    import pandas as pd


def grid(
    methods: Sequence[str | Method],  # names in METHODS, or methods of your own
    labels: Sequence[float] = (0.05, 0.1, 0.2),  # labelled shares of the training volumes
    splits: Sequence[int] = (0, 1, 2),  # seeds of the splits by subject
    seeds: Sequence[int] = (0,),  # seeds of the weights and batches
    data: str | dict = "hippocampus",  # a cohort's name or folder, or the arguments of `load`
    preset: str | Preset = "laptop",  # network sizes and stage settings
    scale: float = 1.0,  # multiplies the steps of every stage
    defects: Sequence[str] = (),  # of the released code, to be simulated
    model: Builder | str | None = None,  # what builds a network of your own, which the workers must be able to import
    spread: str | int = "people",  # of the outlines, as `split` has it
) -> "pd.DataFrame":
    """One row for each run, in the order in which a grid that is cut short says most; ValueError for a network that a method cannot train."""
    import pandas as pd

    splits, seeds = [check_seed("splits", one) for one in splits], [check_seed("seeds", one) for one in seeds]
    check_factor("scale", scale)
    source = settled({"cohort": data} if isinstance(data, str) else dict(data))
    shared = {"data": source, "preset": named_preset(preset).name, "scale": scale, "defects": sorted(defects)}
    shared |= {"spread": spread} if spread != "people" else {}
    cohort = load_once(source)
    content: list[Any] = [keyed(named_preset(preset)), cohort.fingerprint]
    if model is not None:
        shared |= {"model": path_of(model)}
        content.append(_facts_of(model, methods, cohort))
    rows = []
    for seed, share, number, method in ((a, b, c, named_method(d)) for a in seeds for b in labels for c in splits for d in methods):
        row = {"method": method.name, "labels": as_share(share), "split": number, "seed": seed, **shared}
        rows.append({"key": content_key({**row, "data": unplaced(source)}, method.key, *content), **row})
    return pd.DataFrame(rows)


def _facts_of(model: Builder | str, methods: Sequence[str | Method], cohort: Cohort) -> dict:
    """What a network of one's own is made of; ValueError where one of the methods cannot train it on this cohort."""
    network = build({"model": path_of(model), "classes": len(cohort.classes)}, model=model)
    for method in methods:
        check_network(network, named_method(method), len(cohort.classes), cohort.images.shape[1:])
    return network_facts({}, network)


def keyed(preset: Preset) -> dict:
    """A preset as keys see it, the same on every machine."""
    plain = asdict(preset)
    for settings in plain["stages"].values():
        # rows were keyed when presets said "bf16" where they say "auto" now; only here does one stand for the other
        settings["precision"] = settings["precision"].replace("auto", "bf16")
    return plain


@lru_cache(maxsize=2)
def _load(source: str, stamp: str) -> Cohort:
    return load(**json.loads(source))


def load_once(source: dict) -> Cohort:
    """`load(**source)`, read once per process while its files stay as they are; the `source` is {"cohort": name or folder, ...arguments}."""
    return _load(json.dumps(source, sort_keys=True), _stamp(source))


def _stamp(source: dict) -> str:
    """Where the files of a cohort lie, and what tells that one has changed: size, times and number; of generated people nothing."""
    name = str(source.get("cohort", "phantom"))
    known = COHORT_LINES.get(name)
    folders = [Path(name).expanduser()] if known is None else cohort_folders(known.folder, source.get("data"), known.marker) if known.folder else []
    place, found, seen = folders[0].resolve() if folders else None, [], set()
    for folder, inside, names in os.walk(place, followlinks=True) if place else ():
        new = (whole := os.path.realpath(folder)) not in seen  # a link may lead back
        seen.add(whole)
        inside[:] = [one for one in inside if new and not one.startswith(".")]
        for path in [os.path.join(folder, one) for one in names if new and one.lower().endswith(_READ)]:
            with suppress(OSError):
                state = os.stat(path)
                found.append((path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    return content_key(str(place), sorted(found))


_READ = (".nii", ".gz", ".png", ".json", ".csv")
"""Files that decide what is in a cohort."""


def heal(path: Path) -> int:
    """Remove the last line of a results file if it was cut off; one that only lacks its end gets it. The number of bytes removed."""
    content = content_of(path) if path.exists() else b""
    torn = len(content) - (content.rfind(b"\n") + 1)
    if torn and _is_record(content[-torn:]):
        with path.open("ab") as file:
            file.write(b"\n")
        return 0
    if torn:
        os.truncate(path, len(content) - torn)
    return torn


def _is_record(line: bytes) -> bool:
    """Whether a line holds a whole run."""
    try:
        return isinstance(from_json(line), dict)
    except ValueError:
        return False


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """A results file that nobody else writes to, its last line whole; OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        heal(path)
        if path.exists():
            path.open("ab").close()
        yield


def append(path: Path, record: dict) -> bool:
    """Add the `record` of a run to a results file, whole and on disk, unless its "key" is there already; null for what is no number."""
    with _held(path):
        if path.exists() and record["key"] in {known["key"] for known in read_lines(path)}:
            return False
        plain: dict = json.loads(json.dumps(without_nan(record)))  # as it will be read
        with path.open("ab") as file:
            file.write((json.dumps(plain | {"check": content_key(plain)}, sort_keys=True) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
    return True


def git(*words: str) -> str:
    """What git answers about the folder of this package; nothing where there is no git or repository."""
    try:
        place = Path(semicon_nb.__file__).parent
        return subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def commit() -> str:
    """The repository's commit, with "+" where the package differs from it; empty outside a repository."""
    return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no", "--", "."))


def validation(model: nn.Module, cohort: Cohort, who: Split, precision: str, how: Prediction | None = None) -> float:
    """Pooled Dice on all slices of the validation subjects, in the training's precision; None asks the network as its method says."""
    rows = part_indices(cohort, who, "val")
    found = predict_slices(model, cohort, rows, replace(how or prediction_of(model), precision=precision)).argmax(1)
    return pooled_dice(found, cohort.labels[rows], len(cohort.classes))


_BESIDE = 1.3
"""Millimetres over which predictions are averaged beside a method that does not, as `best` does."""


def measure(model: nn.Module, cohort: Cohort, seen: Cohort, who: Split, precision: str) -> dict:
    """Test scores and validation Dice as the method predicts; beside them, `slice_by_slice` where it averages over neighbours, else `with_neighbours`.

    Where the order of slices is not known, nothing is `with_neighbours`: it is left out, or None of a method that would average.
    The `cohort` has correct labels, `seen` is as the run saw it; where the released code's defects are simulated, its Dice too.
    A score that is undefined is None.
    """
    honest, rows, how = replace(seen, labels=cohort.labels), part_indices(seen, who, "test"), prediction_of(model)
    report = evaluate(model, honest, rows).to_dict()
    report["validation"] = validation(model, honest, who, precision)
    name, beside = ("slice_by_slice", 0.0) if how.neighbours else ("with_neighbours", _BESIDE)
    known = has_neighbours(seen, np.concatenate([rows, part_indices(seen, who, "val")]))
    if known or how.neighbours:
        other = replace(how, neighbours=beside)
        found = evaluate(model, honest, rows, other)
        report[name] = {score: getattr(found, score) for score in ("pooled_dice", "volume_dice", "hd95")}
        report[name] |= {"validation": validation(model, honest, who, precision, other), "neighbours": beside}
        report |= {} if known else {"with_neighbours": None}
    if seen is not cohort:
        report["as_released"] = evaluate(model, seen, rows).pooled_dice
    return {name: without_nan(value) for name, value in report.items()}


def run_one(row: dict, method: Method, preset: Preset, folder: str | Path, keep: bool = False, device: str = "auto") -> dict:
    """Train and measure a `row` of `grid` with its method and scaled preset, or pick up what an earlier try left; returns its record.

    The run is in the `folder` while it trains, and later too where it is to be kept. `seconds` by the clock and `processor_seconds`
    of this process hold neither stages that were trained for another run nor an earlier try.
    """
    place = Path(folder) / row["key"]
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        done = place.with_suffix(".json")
        if done.exists():
            return from_json(done.read_text())
        started, worked = time.time(), time.process_time()
        record = _train_and_measure(row, method, preset, place, device)
        spent = {"seconds": time.time() - started, "processor_seconds": time.process_time() - worked}
        record |= {name: round(value, 1) for name, value in spent.items()}
        write_atomic(done, json.dumps(record))
        if not keep:
            shutil.rmtree(place)
    return record


def split_of(cohort: Cohort, row: dict) -> Split:
    """The split of a row of `grid`."""
    return split(cohort, row["labels"], seed=row["split"], spread=row.get("spread", "people"))


def _train_and_measure(row: dict, method: Method, preset: Preset, place: Path, device: str) -> dict:
    """A row with its scores, and with what they were made by."""
    cohort = load_once(row["data"])
    known = with_defects(cohort, row["defects"])
    who = split_of(known, row)
    how: dict[str, Any] = {"resume": True, "progress": False, "model": row.get("model"), "device": device}
    run = train_method(method_with(method, row["defects"]), known, who, preset, row["seed"], place, **how)
    names = ("method", "network", "stages", "trained", "fingerprint", "labelled", "code")
    settings = {name: run.settings[name] for name in names if name in run.settings}
    used = [stage["precision"] for stage in run.settings["stages"].values()]
    machine = run.settings["machine"]
    there = chosen_device(device)
    model = run.model.to(there) if there.type == "cuda" else run.model  # Apple's MPS lacks some of what predicting takes
    record = {**row, **measure(model, cohort, known, who, used[-1]), "precision": " and ".join(sorted(set(used)))}
    record |= {"device": machine.get("device"), "processor": machine.get("processor"), "settings": settings}
    record |= {"epochs": preset.epochs, "outlines": len(labelled_indices(known, who))}
    return record | {"commit": commit(), "versions": versions(), "machine": machine}


class Serial(Executor):
    """Runs each task at once, in this process."""

    def submit(self, task: Callable, /, *arguments: object, **named: object) -> Future:
        """Run a `task` with its `arguments` and `named` ones; its result or error is in the future that comes back."""
        future: Future = Future()
        try:
            future.set_result(task(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def start_worker(parent_lives: Connection, device: str, precision: str, named: str) -> None:
    """One thread for each process, the pool's usual `precision` on its `device`, and no worker outlives its parent or its pool.

    A module that was `named` may lie in the working folder. Parent and pool hold the other end of `parent_lives`.
    """
    torch.set_num_threads(1)
    settle_precision(device, precision)
    if named:
        look_for(named)

    def watch(parent: BaseProcess) -> None:
        wait_for([parent.sentinel, parent_lives])
        os._exit(1)

    if parent := multiprocessing.parent_process():
        threading.Thread(target=watch, args=(parent,), daemon=True).start()


class LocalPool(ProcessPoolExecutor):
    """Local processes; an error or an interruption where the pool is used ends them at once, since their checkpoints are good."""

    def __init__(self, workers: int, device: str, precision: str):
        context = multiprocessing.get_context("spawn")
        theirs, self._ours = context.Pipe(duplex=False)
        super().__init__(workers, mp_context=context, initializer=start_worker, initargs=(theirs, device, precision, looked_for()))

    def __exit__(self, *error: Any) -> bool | None:
        if error[0] is not None:
            self._ours.close()
        return super().__exit__(*error)


def local_pool(workers: int, device: str | torch.device = "auto") -> ProcessPoolExecutor:
    """So many `workers`: local processes, started afresh (spawn), one thread each, which do not each measure what precision a `device` likes."""
    there = chosen_device(device)
    return LocalPool(workers, str(there), chosen_precision(there))


def outcomes(
    rows: Iterable[dict], start: Callable[[Executor, dict], Future], pool: Callable[[], Executor], ahead: int, tries: int = 2
) -> Iterator[tuple[dict, dict | BaseException]]:
    """Each run with its record or its error, as they finish.

    `start` submits a run to the executor that `pool` makes or returns, `ahead` runs at a time, `tries` times where a worker died;
    of several that were under way then each is tried once more at the end, alone, so that none fails for another.
    """
    waiting, suspects, executor = deque(rows), deque[dict](), pool()
    running: dict[Future, dict] = {}
    starts: Counter[str] = Counter()
    while waiting or suspects or running:
        while waiting and len(running) < ahead or suspects and not (waiting or running):
            row = (waiting or suspects).popleft()
            starts[row["key"]] += 1
            running[start(executor, row)] = row
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        broken = any(isinstance(future.exception(), BrokenExecutor) for future in done)
        done = wait(running).done if broken else done
        lost = [running[future] for future in done if isinstance(future.exception(), BrokenExecutor)]
        for future in done:
            row, error = running.pop(future), future.exception()
            if row in lost and (starts[row["key"]] < tries or len(lost) > 1):
                (waiting if starts[row["key"]] < tries else suspects).appendleft(row)
            else:
                yield row, error or future.result()
        executor = pool() if broken else executor


def grid_seconds(
    left: list[dict], methods: dict[str, Method], preset: Preset, folder: Path, device: torch.device
) -> tuple[float, set[str]]:
    """About how many seconds of training the runs that are `left` need one after the other, and in which precisions."""
    seconds, kept, words = 0.0, set(), set()
    for row in left:
        cohort, place = load_once(row["data"]), folder / row["key"]
        try:
            who = split_of(cohort, row)
            method, begun = methods[row["method"]], begun_in(place)
            plan = plan_run(method, cohort, who, preset, row["seed"], begun, True, row.get("model"), device)
            times = forecast(plan, place)
        except ValueError:
            continue  # its error is written down when its turn comes
        for planned in plan.stages:
            seconds += 0.0 if planned.key in kept else times[planned.stage.name]
            kept |= {planned.key} if planned.shared else set()
            words.add(planned.settings.precision)
    return seconds, words


def grid_outlook(
    left: list[dict], methods: dict[str, Method], preset: Preset, folder: Path, executor: Executor | None, workers: int, device: str
) -> str:
    """How many runs are `left`, and about how long they will take, in words; without an executor, with so many local `workers`."""
    alone = isinstance(executor, Serial)
    there = chosen_device(device if executor is None or alone else "auto")  # other machines may have other devices
    with nullcontext() if alone else one_thread():
        seconds, words = grid_seconds(left, methods, preset, folder, there)
        where = f"{' and '.join(sorted(words))} on {described(there)}"
    many = min(workers, len(left)) if executor is None else 1
    by = "in this process" if alone else f"with {many} worker{'s' * (many > 1)}"
    by = by if executor is None or alone else "of one machine like this"
    return f"{counted(len(left), 'run')} left, {where}; about {duration(seconds / many)} of training {by}"


def note(path: Path, row: dict, outcome: dict | BaseException) -> str:
    """Append a run's record to the results, or its error to the failed ones; returns a few words about it."""
    title = f"{row['method']} {100 * row['labels']:g} % split {row['split']}"
    if not isinstance(outcome, BaseException):
        append(path, outcome)
        dice = without_nan(outcome["pooled_dice"])
        return f"{title}: " + ("Dice is undefined, nothing is outlined or found in the test slices" if dice is None else f"{dice:.3f}")
    text = "".join(traceback.format_exception(outcome))
    failure = {**row, "key": f"{row['key']}-{time.time_ns()}", "error": f"{type(outcome).__name__}: {outcome}", "traceback": text}
    append(path.with_name(f"{path.stem}.failed.jsonl"), failure)
    return f"{title}: failed, {type(outcome).__name__}: {outcome}"


def todo(rows: "pd.DataFrame", path: Path) -> list[dict]:
    """The rows of `grid` that have no line in the results file yet."""
    finished = {record["key"] for record in read_lines(path)} if path.exists() else set()
    return [row for row in rows.to_dict("records") if row["key"] not in finished]


def _check_left(left: list[dict], path: Path, methods: dict[str, Method], preset: Preset, device: str) -> None:
    """Before anything is trained: ValueError where tables would take a run for one of the finished ones' settings, OSError for a file that cannot be written."""
    names = ("method", "labels", "split", "seed")
    with _held(path) if left else nullcontext():
        finished = [(str(path), record) for record in read_lines(path)] if path.exists() else []
    taken = {tuple(map(record.get, names)) for _, record in finished}
    planned: list[tuple[str, dict]] = []
    for row in left if finished else []:
        if tuple(map(row.get, names)) not in taken and any(row["method"] == other["method"] for _, other in planned):
            continue  # one of each method tells what all of its runs share
        with suppress(ValueError):  # its error is written down when its turn comes
            cohort = with_defects(load_once(row["data"]), row["defects"])
            how: dict[str, Any] = {"model": row.get("model"), "device": device}
            plan = plan_run(method_with(methods[row["method"]], row["defects"]), cohort, split_of(cohort, row), preset, row["seed"], **how)
            about = {**plan.about, "trained": {one.stage.name: {"key": one.key} for one in plan.stages}}
            planned.append(("this grid", {**row, "epochs": preset.epochs, "settings": about}))
    check_names([*finished, *planned])


def _submit(methods: dict, preset: Preset, folder: str, keep: bool, device: str, pool: Executor, row: dict) -> Future:
    """Hand a run to an executor."""
    return pool.submit(run_one, row, methods[row["method"]], preset, folder, keep, device)


def run_rows(
    rows: "pd.DataFrame",  # of `grid`
    path: str | Path,  # results file, results/NAME.jsonl
    methods: dict[str, Method],  # by name
    preset: Preset,  # scaled
    executor: Executor | None = None,  # local processes by default
    workers: int | None = None,  # of the default executor; as many as cores
    folder: str | Path | None = None,  # where runs are kept while they train
    keep: bool = False,  # keep RUN folders
    progress: bool = True,  # say beforehand how long it takes, show a bar with the time left
    device: str | torch.device = "auto",  # where to train
) -> "pd.DataFrame":
    """Do what is left of a table of runs; returns its finished runs."""
    if executor is None or isinstance(executor, Serial):
        chosen_device(device)  # or it is refused here, and not in every run
    path, workers = Path(path), check_whole("workers", os.cpu_count() or 1 if workers is None else workers, 1)
    alone, left, folder = isinstance(executor, Serial), todo(rows, path), Path(folder or cache_folder() / "runs" / path.stem)
    ahead = workers if executor is None else 1 if alone else len(rows)
    _check_left(left, path, methods, preset, str(device) if executor is None or alone else "cpu")
    if progress and left:
        print(grid_outlook(left, methods, preset, folder, executor, workers, str(device)))
    how: dict[str, Any] = {"disable": not progress, "desc": path.stem, "unit": "run"}
    with tqdm(total=len(rows), initial=len(rows) - len(left), **how) as bar, ExitStack() as pools:
        start = partial(_submit, methods, preset, str(folder), keep, str(device))
        for row, outcome in outcomes(left, start, lambda: executor or pools.enter_context(local_pool(workers, device)), ahead):
            bar.set_postfix_str(note(path, row, outcome))
            bar.update()
            (folder / f"{row['key']}.json").unlink(missing_ok=True)
    known = read_results(path) if path.exists() and path.stat().st_size else rows[:0]
    return known[known["key"].isin(rows["key"])].reset_index(drop=True)


def _told(rows: "pd.DataFrame", finished: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """The finished runs, after a warning where others of the rows failed."""
    if lost := set(rows["key"]) - set(finished["key"]):
        warnings.warn(f"{path}: {len(lost)} of {counted(len(rows), 'run')} failed and left no row: {'; '.join(failures(path, lost))}", stacklevel=3)
    return finished


def run_grid(
    name: str,  # of the results file
    methods: Sequence[str | Method] = ("scratch", "global", "local(exact)", "global+local(exact)"),  # what to compare
    labels: Sequence[float] = (0.05, 0.1, 0.2),  # labelled shares
    splits: Sequence[int] = (0, 1, 2),  # split seeds
    seeds: Sequence[int] = (0,),  # weight seeds
    data: str | dict = "hippocampus",  # a cohort's name or folder, or the arguments of `load`
    preset: str | Preset = "laptop",  # sizes and settings
    scale: float = 1.0,  # multiplies the steps of every stage
    defects: Sequence[str] = (),  # of the released code
    model: Builder | str | None = None,  # what builds a network of your own
    full: Sequence[str | Method] = (),  # methods to be run with all labels too
    spread: str | int = "people",  # of the outlines, as `split` has it
    results: str | Path = "results",  # folder of results files
    **how: Any,  # executor, workers, folder, keep, progress, device of `run_rows`
) -> "pd.DataFrame":
    """Run the grid methods x labels x splits x seeds, continuing where an earlier start ended; ValueError for two methods of one name."""
    import pandas as pd

    table_of = {method.name: method for method in map(named_method, [*methods, *full])}
    if twice := [method.name for method in map(named_method, [*methods, *full]) if method.key != table_of[method.name].key]:
        raise ValueError(f"methods: found two called {twice[0]!r}, expected one; give each a name of its own")
    shared: dict[str, Any] = {"splits": splits, "seeds": seeds, "data": data, "preset": preset, "scale": scale, "defects": defects}
    shared["model"] = model
    rows = grid(methods, labels, **shared, spread=spread)
    if full:
        rows = pd.concat([rows, grid(full, (1.0,), **shared, spread=spread)], ignore_index=True).drop_duplicates("key", ignore_index=True)
    path = Path(results) / f"{name}.jsonl"
    return _told(rows, run_rows(rows, path, table_of, named_preset(preset).scaled(scale), **how), path)
