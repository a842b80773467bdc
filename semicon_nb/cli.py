"""`semicon-nb`: everything these pages do, from a terminal."""

__all__ = ["main"]

import argparse
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import check_words, make_parser
from .names import COHORT_LINES, METHOD_LINES, counted, unit_words
from .terminal import how_to_go_on, sentence_of, show_warning, unheard

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .data import Cohort
    from .runs import Run


def methods(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb methods`."""
    if options.json:
        rows = [{"method": name, "images": images, "about": about} for name, (images, about) in METHOD_LINES.items()]
        print(json.dumps({"methods": rows}))
    else:
        print("\n".join(f"{name:26}{images:21}{about}" for name, (images, about) in METHOD_LINES.items()))
    return ['semicon-nb train "global+local(block)" --data phantom --labels 0.1 --out RUN']


def list_cohorts() -> list[dict]:
    """The cohorts that can be named: what they are, where they are, and how one gets them."""
    from .data import cohort_folders

    rows = []
    for name, known in COHORT_LINES.items():
        place = next(iter(cohort_folders(known.folder, marker=known.marker)), None) if known.folder else None
        missing = f"download, {known.download}" if known.download else "not here"
        how = "generated" if not known.folder else "on this disk" if place else missing
        rows.append({"name": name, "how": how, "place": str(place or ""), "about": known.about})
    return rows


def show_cohorts(options: argparse.Namespace) -> list[str]:
    """Print the list of cohorts; what to do next comes back."""
    from .data import cohort_folders

    rows, looked = list_cohorts(), ", then ".join(str(place.parent) for place in cohort_folders("x"))
    folders = ", ".join(known.folder for known in COHORT_LINES.values() if known.folder)
    found = [f"{row['name']} is in {row['place']}" for row in rows if row["place"]]
    if options.json:
        print(json.dumps({"cohorts": rows}))
        return ["semicon-nb data NAME"]
    print("\n".join(f"{row['name']:17}{row['how']:17}{row['about']}" for row in rows), end="\n\n")
    print("\n".join(found) or "None of them is on this disk.")
    print(f"Looked for in {looked}; bring a cohort that is not here as {folders}.")
    print("Any folder with images/ and labels/, or a Decathlon task, can be named too.")
    fetch = [f"semicon-nb data {row['name']} --download" for row in rows if row["how"].startswith("download")]
    return ["semicon-nb data phantom", *fetch]


def load_named(place: str, size: int | None = None, download: bool = False, run: "Run | None" = None, **own: Any) -> "Cohort":
    """The cohort that a word on the command line, `place`, means.

    Its slices are `size` pixels large, else as the cohort has them; or brought to the grid of a `run`. `own` are a channel
    or an axis of a folder, None where they are not named.
    """
    import inspect

    from .data import load, reader_of

    settings: dict[str, Any] = {} if size is None else {"size": size}
    takes = inspect.signature(reader_of(place)).parameters
    if strange := [name for name, value in own.items() if value is not None and name not in takes]:
        raise ValueError(f"--{strange[0]}: {place} takes none, only a folder of your own does; leave it out")
    known = run.settings["grid"] | {name: run.settings["data"].get(name) for name in ("channel", "axis")} if run is not None else {}
    settings |= {name: value for name, value in known.items() if name in takes and value is not None}
    settings |= {name: value for name, value in own.items() if value is not None}
    if download and place == "hippocampus":
        settings["download"] = True
    elif download:
        raise ValueError(f"--download: {place} cannot be downloaded, only hippocampus can; name the folder that holds it")
    cohort = load(place, **settings)
    if run is not None:
        if "axis" in takes and cohort.grid.axis != (axis := run.settings["grid"].get("axis", cohort.grid.axis)):
            cohort = load(place, **settings | {"axis": axis})  # single slices say their axis themselves
        check_cut(cohort, place, run)
    return cohort


def check_cut(cohort: "Cohort", place: str, run: "Run") -> None:
    """Raise a ValueError where the slices of a cohort, which the word `place` means, are cut, fitted or turned otherwise than those that a run learned from."""
    for name in ("axis", "fit", "size", "orientation"):
        here, there = getattr(cohort.grid, name), run.settings["grid"].get(name)
        if cohort.fingerprint != run.settings["fingerprint"] and here != there and {here, there}.isdisjoint((None, "")):
            todo = "take scans of that plane" if "axis" in cohort.source else "give the folder another name, and it is read as your own"
            raise ValueError(f"{place}: is read with {name} {here}, expected {name} {there}, with which this run was trained; {todo}")
    silent = "nifti" in (run.settings.get("seen") or {}).get("kinds", ()) and not run.settings["grid"].get("orientation")
    if silent and cohort.grid.orientation:
        todo = f"here all are turned to {cohort.grid.orientation}, as most files lie"
        warnings.warn(f"{place}: the scans of the run did not say which way round they lie, and these do; {todo}", stacklevel=2)


def data(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb data`."""
    if options.place is None:
        return show_cohorts(options)
    from .data import contact_sheet, describe
    from .files import write_atomic

    cohort = load_named(options.place, options.size, options.download, channel=options.channel, axis=options.axis)
    table = describe(cohort)
    if options.json:
        facts = {"name": cohort.name, "classes": cohort.classes, "slices": len(cohort), "subjects": cohort.subjects}
        facts |= {"fingerprint": cohort.fingerprint, "orientation": cohort.grid.orientation}
        print(json.dumps({**facts, "volumes": table.reset_index().to_dict("records")}))
    else:
        print(f"{cohort}\n\n{table.to_string(max_rows=20)}")
    thick = [v for v in cohort.volumes if v.shape and v.spacing[2] * 1.5 < max(v.spacing[:2])]
    if 2 * len(thick) > len(cohort.volumes):
        high, wide, apart = thick[0].spacing
        said = f"slices lie {apart:g} mm apart and have pixels of {high:g} x {wide:g} mm, so these scans were taken along another axis"
        print(f"semicon-nb data: {cohort.name}: {said}; --axis cuts them along it", file=sys.stderr)
    if options.sheet:
        buffer = io.BytesIO()
        contact_sheet(cohort).save(buffer, "PNG")
        print(f"Wrote {write_atomic(options.sheet, buffer.getvalue())}", file=sys.stderr)
    return train_next(cohort, options)


def train_next(cohort: "Cohort", options: argparse.Namespace) -> list[str]:
    """A line that trains on what `data` has shown, or what is missing for it."""
    from .data import DataError, split

    again = [f"--size {options.size}"] * bool(options.size)
    again += [f"--channel {shlex.quote(str(options.channel))}"] * bool(options.channel)
    again += [f"--axis {options.axis}"] * (options.axis is not None)
    for share in (0.1, 0.2, 0.5, 1):
        try:
            split(cohort, share)
        except DataError as error:
            why = str(error)
            continue
        words = ["semicon-nb train scratch --data", shlex.quote(options.place), f"--labels {share:g}", *again, "--out RUN"]
        return [" ".join(words), "semicon-nb methods"]
    return [f"before training, {why}"]


def train(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb train`."""
    from .data import load_split, split
    from .methods import named_preset, train_method

    named(options.model)
    preset = named_preset(options.preset).scaled(options.scale)
    if options.out.is_dir() and any(options.out.iterdir()) and not options.resume:
        raise ValueError(f"{options.out}: holds files already; go on with a run by --resume, or choose another --out")
    cohort = load_named(options.data, options.size, channel=options.channel, axis=options.axis)
    dealt = {name: value for name, value in (("labelled", options.labels), ("spread", options.spread)) if value is not None}
    chosen = load_split(options.split, cohort) if options.split else split(cohort, seed=options.seed, **dealt)
    how: dict[str, Any] = {"model": options.model, "device": options.device}
    how |= {"out": options.out, "resume": options.resume, "progress": not options.quiet}
    made = train_method(options.method, cohort, chosen, preset, options.seed, **how)
    measured = [step.dice for step in made.history if step.dice is not None]
    best = f", validation Dice {max(measured):.3f}" if measured else ""
    print(f"{made.folder}: {options.method}, {counted(len(chosen.labelled), 'labelled volume')}{best}")
    measure = [f"semicon-nb evaluate {words_for(made.folder, options)} --data {shlex.quote(options.data)} --part test"]
    return measure + look_next(made.folder, options, some_scan(cohort, chosen.test))


def words_for(run: Path, options: argparse.Namespace) -> str:
    """The run, and the network that was named, as a terminal takes them."""
    return shlex.quote(str(run)) + (f" --model {shlex.quote(options.model)}" if options.model else "")


def some_scan(cohort: "Cohort", names: Sequence[str]) -> str:
    """The file of the first volume of these `names` that has one, else a word in its place."""
    for volume in cohort.volumes:
        path = Path(volume.image, *volume.files[:1])
        if volume.name in names and volume.image and path.is_file():
            return str(path)
    return "SCAN.nii.gz"


def look_next(run: Path, options: argparse.Namespace, scan: str = "SCAN.nii.gz", explore: bool = True) -> list[str]:
    """Lines that explore a run and segment a scan with it."""
    words, mask = words_for(run, options), "mask.png" if scan.lower().endswith(".png") else "mask.nii.gz"
    page = shlex.quote(f"{run}.html")
    lines = [f"semicon-nb explore {words} -o {page}"] * explore
    return [*lines, f"semicon-nb predict {words} {shlex.quote(scan)} -o {mask}"]


def named(model: str | None) -> None:
    """Import a network of one's own, "package.module:name", from the working folder too; ValueError where there is none."""
    if model is not None:
        from .networks import import_from_here

        import_from_here(model)


def open_run(folder: Path, model: str | None = None) -> "Run":
    """The run in a folder; ValueError for a `model` where the network is the package's own."""
    from .methods import load_run

    named(model)
    run = load_run(folder, model)
    if model and "model" not in run.settings["network"]:
        raise ValueError(f"--model: found {model}, but the network of {folder} is the package's own; leave --model out")
    return run


def slices_of_part(run: "Run", cohort: "Cohort", part: str) -> "np.ndarray":
    """Labelled slices of a part of the run's own split; of any other cohort all, and only all; indices [n] int64."""
    import numpy as np

    from .data import part_indices
    from .runs import learned_from

    if cohort.fingerprint == run.settings["fingerprint"]:
        return part_indices(cohort, run.split, part)
    if part != "all":
        what = f"--part {part}: {cohort.name} is not what this run's split was made of"
        seen = learned_from(run, cohort)
        if seen is None:
            raise ValueError(f"{what}, and its run.json, being older, cannot tell whether it learned from these images; train it again")
        if seen:
            many = f"{len(seen)} of its {counted(len(cohort.volumes), 'volume')} hold images that the run learned from, {', '.join(seen[:3])}"
            raise ValueError(f"{what}, but {many}; leave them out, or name by --data what it was trained on")
        raise ValueError(f"{what}; measure it with --part all")
    return np.flatnonzero(cohort.labelled)


def say_learned(run: "Run", cohort: "Cohort", seen: list[str] | None) -> None:
    """Print which volumes of a cohort a run has `seen`, or that it cannot tell (None)."""
    if seen is None:
        print(f"semicon-nb evaluate: {run.folder}: cannot tell whether it learned from these images, being older", file=sys.stderr)
    elif seen:
        many = f"{len(seen)} of its {counted(len(cohort.volumes), 'volume')} hold images that this run learned from ({', '.join(seen[:3])})"
        print(f"semicon-nb evaluate: {cohort.name}: {many}; so this is no score on new people", file=sys.stderr)


def evaluate(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb evaluate`."""
    from .data import match_classes
    from .evaluate import evaluate as measure
    from .runs import learned_from

    run = open_run(options.run, options.model)
    if options.channel is not None and not (options.data or run.settings["data"].get("cohort")):
        raise ValueError(f"--channel: found {options.channel}, but {options.run} does not say where its images are; name them by --data")
    where = options.data or (options.channel is not None and run.settings["data"]["cohort"])
    cohort = load_named(where, run=run, channel=options.channel) if where else run.cohort
    if not cohort.labelled.any():
        raise ValueError(f"{cohort.name}: holds no complete outline, so there is nothing to compare with; add label files")
    cohort = match_classes(cohort, run.settings["classes"], run.codes)
    report = measure(run.model, cohort, slices_of_part(run, cohort, options.part))
    following = look_next(options.run, options, some_scan(cohort, [volume["name"] for volume in report.volumes]))
    seen = [] if cohort.fingerprint == run.settings["fingerprint"] else learned_from(run, cohort)
    say_learned(run, cohort, seen)
    if options.json:
        print(json.dumps(report.to_dict() | ({"learned_from": seen} if seen else {})))
        return following
    columns = {"pooled_dice": "pooled Dice", "volume_dice": "volume Dice", "hd95": f"HD95 ({unit_words(report.unit)})"}
    print(f"{cohort.name}, {options.part}: {counted(len(report.volumes), 'volume')}, {counted(report.slices, 'labelled slice')}\n")
    print(report.table()[[*columns]].rename(columns=columns).to_string())
    what = f"Dice is 0 there, and where one side is empty, HD95 is the {'picture' if report.unit == 'pixel' else 'volume'}'s diagonal."
    lost = {name: f"{row['missed']} of {counted(row['volumes'], 'volume')}" for name, row in report.per_class.items() if row["missed"]}
    print("".join(f"\n{name}: no overlap in {where}. {what}" for name, where in lost.items()) + "\n" * bool(lost), end="")
    return following


def predict_one(run: "Run", image: Path, path: Path) -> tuple[list[str], str]:
    """Segment a scan, `image`, into the file `path`; what is strange about the scan, and what was written."""
    import numpy as np

    from .data import Grid, deviations
    from .masks import check_image, write_mask
    from .predict import segment

    check_image(image)
    unlike_it = deviations(image, run.settings["seen"]) if run.settings.get("seen") else []  # older runs kept no record
    classes = segment(run.model, image, Grid(**run.settings["grid"])).astype(np.uint8)
    write_mask(run.codes.numbers(classes), image, path)
    written = run.codes.numbers(np.arange(len(run.settings["classes"]), dtype=np.uint8)).tolist()
    parts = enumerate(run.settings["classes"])
    shares = ", ".join(f"{name} {int((classes == c).sum()):,} (as {written[c]})" for c, name in parts if c)
    if not run.codes.classes:
        unlike_it = [*unlike_it, f"{run.folder}: does not say what numbers its label files held; the mask counts its classes from 0"]
    return unlike_it, f"Wrote {path}: {' x '.join(map(str, classes.shape))} pixels, of which {shares}"


class Failed(Exception):
    """Part of what was asked for could not be done: exit code 1."""


def predict(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb predict`."""
    from .masks import check_channels, plan_masks, scaled_alone

    pairs = plan_masks(options.image, options.out, options.force)
    from tqdm import tqdm

    run, bad = open_run(options.run, options.model), 0
    images, seen = [image for image, _ in pairs], run.settings.get("seen") or {}
    check_channels(images, run.settings["data"].get("channel"), seen.get("channel"))
    for sentence in scaled_alone(images, seen):
        print(f"semicon-nb predict: {sentence}", file=sys.stderr)
    for image, path in tqdm(pairs, disable=len(pairs) == 1, unit="scan"):
        try:
            unlike_it, wrote = predict_one(run, image, path)
        except (ValueError, OSError) as error:
            if options.image == [image]:
                raise
            bad += 1
            tqdm.write(f"semicon-nb predict: skipped, {sentence_of(error)}", file=sys.stderr)
            continue
        for sentence in unlike_it:
            tqdm.write(f"semicon-nb predict: {sentence}", file=sys.stderr)
        tqdm.write(wrote)
    if bad:
        raise Failed(f"{bad} of {counted(len(pairs), 'image')} have no mask, see above; mend them and predict those again")
    return look_next(options.run, options)[:1]


def explore(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb explore`."""
    if options.out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{options.out}: expected a name that ends in .html")
    from .explore import PixelExplorer

    run = open_run(options.run, options.model)
    cohort = load_named(options.data, run=run) if options.data else None
    explorer = PixelExplorer(run, cohort)
    if explorer.problem:
        raise ValueError(explorer.problem)
    explorer.to_html(options.out)
    print(f"Wrote {options.out}; open it in a browser")
    return look_next(options.run, options, explore=False)


def set_aside(rows: "pd.DataFrame", path: Path) -> set[str]:
    """Note the runs among `rows` whose share of labels leaves no volume as failed in the results file `path`, and say so; their keys."""
    from .data import DataError
    from .experiment import load_once, note, split_of

    keys: set[str] = set()
    reasons: dict[str, int] = {}
    for row in rows.to_dict("records"):
        try:
            split_of(load_once(row["data"]), row)
        except DataError as error:
            note(path, row, error)
            keys.add(row["key"])
            reasons[str(error)] = reasons.get(str(error), 0) + 1
    for reason, count in reasons.items():
        print(f"{count} of {counted(len(rows), 'run')} cannot be done: {reason}", flush=True)
    return keys


def results_path(options: argparse.Namespace) -> Path:
    """The results file of an experiment; ValueError for a name, or a folder, that none can have."""
    name = options.name or (options.data if options.data in COHORT_LINES else Path(options.data).resolve().name)
    if Path(name).name != name or name.startswith(".") or name.endswith(".failed"):
        what = "a plain name of a results file, without folders, a dot before it or .failed behind it"
        raise ValueError(f"--name: found {name!r}, expected {what}; the folder is that of --results")
    if options.results.exists() and not options.results.is_dir():
        raise ValueError(f"--results: {options.results} is a file, expected a folder for results; choose another")
    return options.results / f"{name}.jsonl"


def experiment(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb experiment`."""
    from .experiment import grid, run_rows
    from .tables import failures
    from .methods import named_method, named_preset

    named(options.model)
    how = {"channel": options.channel, "axis": options.axis}
    source = {"cohort": options.data} | {name: value for name, value in how.items() if value is not None}
    path = results_path(options)
    if len(source) > 1:
        load_named(options.data, **how)  # which refuses what this cohort does not take
    how = {"data": source, "preset": options.preset, "scale": options.scale, "model": options.model, "spread": options.spread}
    rows = grid(options.methods, options.labels, options.splits, options.seeds, **how)
    print(f"{counted(len(rows), 'run')} on {options.data}, results in {path}", flush=True)
    able = rows[~rows["key"].isin(set_aside(rows, path))]
    preset = named_preset(options.preset).scaled(options.scale)
    chosen = {name: named_method(name) for name in options.methods}
    finished = run_rows(able, path, chosen, preset, workers=options.workers, device=options.device)
    following = f"semicon-nb table {shlex.quote(str(path))}"
    if len(finished) < len(rows):
        told = "; ".join(failures(path, set(rows["key"])))
        tried = "The same command tries them again, once that is mended" if len(able) > len(finished) else "Other --labels may have enough"
        again = tried + f"\nNext: {following}" * path.exists()
        raise Failed(f"{len(rows) - len(finished)} of {counted(len(rows), 'run')} failed: {told}. {again}")
    print(f"{path}: {counted(len(finished), 'run')} of this grid {'are' if len(finished) > 1 else 'is'} finished")
    return [following]


def table(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb table`."""
    if options.results.name.endswith(".failed.jsonl"):
        raise ValueError(f"{options.results}: holds failed runs, expected finished ones; name the file without .failed")
    from .tables import failures, read_results
    from .tables import table as make_table

    lost = failures(options.results)
    if not options.results.exists():
        why = f"no run was finished: {'; '.join(lost)}" if lost else "make results with `semicon-nb experiment`"
        raise FileNotFoundError(f"{options.results}: there is no such file or folder; {why}")
    rows = read_results(options.results)
    if rows[options.metric].isna().all():
        raise ValueError(f"{options.results}: no run has {options.metric}; choose another --metric")
    print(make_table(rows, options.format, options.metric))
    for sentence in lost:
        print(f"semicon-nb table: left out, because they failed: {sentence}", file=sys.stderr)
    return ["what ± and the differences mean: https://semicon-nb.github.io/semicon_nb/guides/reading_results.html"]


def demo(options: argparse.Namespace) -> list[str]:
    """Run `semicon-nb demo`."""
    from .explore import make_demo

    print(make_demo(options.data, options.out, options.labels, options.seed, options.quick, options.repeats))
    return []


FUNCTIONS = {one.__name__: one for one in (demo, methods, data, train, evaluate, predict, explore, experiment, table)}


def say_next(lines: list[str], options: argparse.Namespace) -> None:
    """Print `lines` that say what to do next."""
    apart = getattr(options, "json", False) or options.command == "table"
    if lines:
        text = f"Next: {lines[0]}" if len(lines) == 1 else "\n  ".join(["Next:", *lines])
        print(text, file=sys.stderr if apart else sys.stdout)


def main(arguments: list[str] | None = None) -> int:
    """Run a command from `arguments`, the words after `semicon-nb`; None: those of the process.

    0: it went well, 1: not all of it did, 2: an error explained in one line, 130: interrupted. It does its work whether or not
    somebody reads what it prints.
    """
    with unheard():
        return run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: list[str]) -> int:
    """Run the command in the words `arguments`, and say what went wrong; its exit code comes back."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            if options.command is None:
                parser.print_help()
            else:
                check_words(options)
                say_next(FUNCTIONS[options.command](options), options)
    except KeyboardInterrupt:
        print(how_to_go_on(arguments), file=sys.stderr)
        return 130
    except Failed as failed:
        print(f"semicon-nb {options.command}: {failed}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        if os.environ.get("SEMICON_TRACEBACK"):
            raise
        print(f"semicon-nb {options.command}: {sentence_of(error)}", file=sys.stderr)
        return 2
    return 0
