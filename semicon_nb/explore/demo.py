"""The main job from start to finish: three contenders in every repeat, a verdict, and one page that shows it."""

import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data import Cohort, Split, load, part_indices, split
from ..embed import neighbours
from ..evaluate import Report, evaluate
from ..experiment import Serial, load_once, local_pool
from ..files import content_key, write_atomic
from ..identity import code_key
from ..machine import chosen_device, described, duration
from ..methods import METHODS, load_run, train_method
from ..names import counted, unit_words
from ..plan import plan_run
from ..runs import Run, forecast
from ..stages import PRESETS, Preset
from ..tables import interval, judge
from ..trust import neighbour_agreement
from .demo_page import Repeat, data_shown, known_from, largest_slices, page_texts, sample_slice, write_demo_page
from .page import written

__all__ = ["make_demo"]


CONTENDERS = {"from scratch": "scratch", "three stages": "global+local(block)", "all labels": "scratch"}
"""What is trained, and by which method; the last one sees the labels of all training volumes."""


def preset_for(cohort: Cohort, factor: float = 1.0) -> Preset:
    """The demo's small network in fp32, trained longer on real scans than on generated ones; `factor` multiplies all steps."""
    usual = PRESETS["demo"].scaled(factor if cohort.source.get("cohort") == "phantom" else 2 * factor)
    return replace(usual, stages={name: replace(stage, precision="fp32") for name, stage in usual.stages.items()})


REPEATS = {"phantom": 12}  # and 5 of any other cohort


def repeats_of(place: str, labelled: float, seed: int, count: int | None = None) -> Iterator[Repeat]:
    """Rounds on a cohort's name or a folder, `place`, that share no seed with as many of another `seed`; generated people are new in each.

    `count` is None for the usual number; ValueError for one below 1.
    """
    usual = REPEATS.get(place, 5)
    if count is not None and count < 1:
        raise ValueError(f"repeats: found {count}, expected 1 or more")
    fixed = None if place == "phantom" else load(place)
    count = count or usual
    for number in range(seed * max(usual, count), seed * max(usual, count) + count):
        cohort = fixed or load(place, kind="simple", subjects=40, size=32, seed=number)
        yield Repeat(cohort, split(cohort, labelled, number), split(cohort, 1.0, number), number)


def claim_folder(out: Path) -> Path:
    """Make the demo's folder, and the file in it that keeps what its page shows; ValueError where it holds something else."""
    mark = out / "demo.json"
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file, expected a folder for the demo; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not mark.is_file():
        raise ValueError(f"{out}: this folder is in use by something else; choose another --out")
    return mark if mark.is_file() else write_atomic(mark, json.dumps({"made by": "semicon-nb demo"}))


def train_one(title: str, source: dict, chosen: Split, seed: int, preset: Preset, out: Path) -> tuple[Path, Report]:
    """Train a contender, a key of CONTENDERS, or find it finished, and measure it on the test subjects: RUN folder and scores.

    The cohort is what `load(**source)` gives; who is chosen may be learned from.
    """
    cohort = load_once(source)
    key = content_key(CONTENDERS[title], cohort.fingerprint, chosen, preset, seed, code_key(train_one))
    folder = out / "runs" / f"{title.replace(' ', '-')}-{seed}-{key[:8]}"
    run = train_method(CONTENDERS[title], cohort, chosen, preset, seed, folder, resume=True, progress=False)
    return folder, evaluate(run.model, cohort, part_indices(cohort, chosen, "test"))


def train_all(
    repeats: Sequence[Repeat], preset: Preset, out: Path, workers: int = 1, progress: bool = True
) -> tuple[dict[str, list[Path]], dict[str, list[Report]]]:
    """RUN folders and scores of each contender, in the order of the repeats; one of the `workers` is this process."""
    with local_pool(workers) if workers > 1 else Serial() as pool:
        waiting = {
            (title, one.seed): pool.submit(train_one, title, one.cohort.source, one.split_of(title), one.seed, preset, out)
            for one in repeats
            for title in CONTENDERS
        }
        for _ in tqdm(as_completed(waiting.values()), total=len(waiting), disable=not progress, desc="demo", unit="training"):
            pass
    done = {title: [waiting[title, one.seed].result() for one in repeats] for title in CONTENDERS}
    folders = {title: [folder for folder, _ in pairs] for title, pairs in done.items()}
    return folders, {title: [report for _, report in pairs] for title, pairs in done.items()}


_SURE = 0.99
"""How often the interval by which a difference is called one holds the true difference."""


@dataclass(frozen=True)
class Verdict:
    """What the repeats say of three stages against scratch."""

    word: str  # "holds", "reversed", "cannot tell" or "no room to tell", of the claim that three stages are better
    gain: float  # pooled Dice of three stages less that of scratch, mean over the repeats
    half: float  # half width of the 95 % interval of the gain: the resolution
    room: float  # the headroom: pooled Dice with all labels less that of scratch, mean over the repeats
    spread: float  # half width of the 95 % interval of the room
    repeats: int


def verdict(reports: dict[str, list[Report]]) -> Verdict:
    """Compare the contenders' reports within each repeat, over all repeats."""
    base, other, full = (np.array([report.pooled_dice for report in reports[title]]) for title in CONTENDERS)
    (gain, half, count), (room, spread, _) = interval(other - base), interval(full - base)
    return Verdict(judge(other - base, full - base, _SURE), gain, half, room, spread, count)


def between(value: float, half: float) -> str:
    """A mean difference and its interval in words; half its width is nan for a single repeat."""
    ends = f" (95 % interval {value - half:+.3f} to {value + half:+.3f})" if np.isfinite(half) else ""
    return f"{value:+.3f}{ends}".replace("-", "−")


def sentence(found: Verdict) -> str:
    """The verdict on three stages against scratch in words, with its interval and the room there was."""
    gain, room = between(found.gain, found.half), between(found.room, found.spread)
    count, both = found.repeats, "three stages against scratch"
    close = f" That leaves zero out, but the {100 * _SURE:.0f} % interval, which names a winner, does not." * (abs(found.gain) > found.half)
    if count < 2:
        return f"One repeat cannot tell: {both} {gain} pooled Dice. All labels bring {room}."
    return {
        "holds": f"Three stages are ahead of scratch over {count} repeats: {gain} pooled Dice. All labels bring {room}.",
        "reversed": f"Three stages are behind scratch over {count} repeats: {gain} pooled Dice. All labels bring {room}.",
        "cannot tell": f"No difference that {count} repeats could measure: {both} {gain} pooled Dice."
        f"{close} A gain was possible: all labels bring {room}.",
        "no room to tell": f"No room to tell: all labels bring {room} pooled Dice, and {count} repeats resolve no less than "
        f"{found.half:.3f}. Found, {both}: {gain}.",
    }[found.word]


def agreement_of(network: torch.nn.Module, cohort: Cohort, row: int) -> float:
    """Share of a pixel's 15 nearest neighbours that are of its own class, each class counting the same, in the slice of this row."""
    vectors, classes, _ = sample_slice(network, cohort, row)
    return neighbour_agreement(neighbours(vectors, 15)[0], classes)


MOMENTS = {"before training": "initial", "after the local stage": "local", "after fine-tuning": "finetune"}


def agreement_over(folders: Sequence[Path], repeats: Sequence[Repeat]) -> np.ndarray:
    """Neighbours alike at each moment [repeats, moments], on the largest test slice of each repeat; the folders are RUNs of three stages."""
    found = []
    for folder, repeat in zip(folders, repeats, strict=True):
        run, row = load_run(folder), largest_slices(repeat.cohort, repeat.few.test[:1])[0]
        found.append([agreement_of(run.after(stage), repeat.cohort, row) for stage in MOMENTS.values()])
    return np.array(found)


def change_sentence(shares: np.ndarray) -> str:
    """What the contrastive stages do to the embedding, in words, from the shares [repeats, moments] of `agreement_over`."""
    gain, half, _ = interval(shares[:, 1] - shares[:, 0], sure=0.99)
    first, local, last = (f"{100 * share:.0f} %" for share in shares.mean(0))
    lead = "What the stages do change is the embedding" if gain > half else "The embedding"
    return (
        f"{lead}: over all repeats, {first} of a pixel's 15 nearest neighbours have its label before training, {local} after the "
        f"local stage, before the network has learned which structure is which, and {last} after fine-tuning."
    )


def score_rows(reports: dict[str, list[Report]]) -> list[dict[str, str]]:
    """One row for each contender and class, as text: means over the repeats."""
    import pandas as pd

    rows, unit = [], unit_words(next(iter(reports.values()))[0].unit)
    for title, found in reports.items():
        mean = [{name: getattr(report, name) for name in ("pooled_dice", "volume_dice", "hd95")} for report in found]
        parts = {title: mean} | {f"   {name}": [report.per_class[name] for report in found] for name in found[0].per_class}
        for name, scores in parts.items():
            dice, volume, hd95 = (float(pd.Series([one[key] for one in scores], dtype=float).mean()) for key in mean[0])
            rows.append({"": name, "pooled Dice": f"{dice:.3f}", "volume Dice": f"{volume:.3f}", f"HD95 ({unit})": f"{hd95:.1f}"})
    return rows


def as_text(rows: Sequence[dict[str, str]]) -> str:
    """Rows with the same keys as a table for a terminal."""
    lines = [[*rows[0]], *([*row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))) for line in lines
    )


def announcement(repeats: Sequence[Repeat], preset: Preset, workers: int) -> str:
    """What is about to be trained, on what, and about how long it will take."""
    first, precision = repeats[0], preset.stages["finetune"].precision
    plans = [plan_run(METHODS[method], first.cohort, first.few, preset, cache=False) for method in CONTENDERS.values()]
    seconds = len(repeats) * sum(sum(forecast(plan).values()) for plan in plans) / workers
    return (
        f"{precision} on {described(chosen_device())}; about {duration(seconds)} with {counted(workers, 'process')}\n{first.cohort}\n"
        f"{counted(len(first.few.labelled), 'labelled volume')}; {counted(len(repeats), 'repeat')} of {len(CONTENDERS)} trainings"
    )


def make_demo(
    place: str = "phantom",  # a cohort's name, or a folder
    out: str | Path = "demo",  # folder of the page and the runs
    labelled: float = 0.05,  # share of the training volumes whose labels may be used
    seed: int = 0,  # of people, splits, weights and views
    factor: float = 1.0,  # multiplies all steps
    count: int | None = None,  # repeats; None for the usual number
    progress: bool = True,  # show a bar
) -> str:
    """Train the three contenders in each repeat, compare, write the page; the table and what to run next come back as text."""
    started, mark = time.time(), claim_folder(Path(out))
    repeats = list(repeats_of(place, labelled, seed, count))
    preset = preset_for(repeats[0].cohort, factor)
    workers = (os.cpu_count() or 1) if factor >= 0.5 else 1
    if progress:
        print(announcement(repeats, preset, workers), flush=True)
    folders, reports = train_all(repeats, preset, mark.parent, workers, progress)
    runs = {title: load_run(found[0]) for title, found in folders.items()}
    said = {"verdict": sentence(verdict(reports)), "changed": change_sentence(agreement_over(folders["three stages"], repeats))}
    shown = Path(place).name if Path(place).is_absolute() else str(place)  # where scans lie on this machine is nobody's business
    command = f"semicon-nb demo --data {shlex.quote(shown)} --labels {labelled:g} --seed {seed}"
    command += f" --quick {factor:g}" * (factor != 1) + f" --repeats {count}" * (count is not None)
    rows, data = score_rows(reports), data_shown(repeats[0], runs, reports)
    kept = {"texts": page_texts(repeats, runs["three stages"], reports, said, command, shown), "data": data, "rows": rows}
    write_atomic(mark, written(kept))
    page = write_demo_page(mark.with_name("index.html"), kept)
    told = [*said.values(), known_from("phantom"), known_from("hippocampus")]
    lines = ["", as_text(rows), "", *told, "", f"{time.time() - started:.0f} seconds.", *next_steps(page, runs)]
    return "\n".join(lines)


def next_steps(page: Path, runs: dict[str, Run]) -> list[str]:
    """Where the page, index.html, is, and what to type next with the runs of the first repeat."""
    folder = shlex.quote(str(runs["three stages"].folder))
    return [
        f"Next: open {page} in a browser; it needs no network.",
        f"  semicon-nb explore {folder} -o {shlex.quote(str(page.with_name('explore.html')))}",
        "  semicon-nb data hippocampus --download",
        "  semicon-nb demo --data hippocampus --out real-demo",
        "  the pages that explain it: https://semicon-nb.github.io/semicon_nb/course/start.html",
    ]  # fmt: skip
