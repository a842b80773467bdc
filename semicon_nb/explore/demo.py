"""The main job from start to finish, and one page that shows it."""

__all__ = [
    "CONTENDERS",
    "REPEATS",
    "MOMENTS",
    "SAYS",
    "TITLES",
    "preset_for",
    "Repeat",
    "repeats_of",
    "claim",
    "train_one",
    "train_all",
    "Verdict",
    "verdict",
    "between",
    "sentence",
    "sampled",
    "alike",
    "alike_over",
    "changed",
    "score_rows",
    "as_text",
    "bytes_of",
    "largest_slices",
    "scans_shown",
    "views_shown",
    "stage_shown",
    "stages_shown",
    "map_shown",
    "embeddings_shown",
    "volume_scores",
    "segmentations_shown",
    "repeats_shown",
    "known_from",
    "counts_of",
    "facts",
    "data_shown",
    "write_demo_page",
    "announcement",
    "demo",
    "next_steps",
]


import html
import json
import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data import Cohort, Split, load, part_indices, split, unlabelled_indices
from ..predict import predict
from ..embed import Sample, neighbours, pca, pixel_embeddings, sample_pixels
from ..evaluate import Report, evaluate, mean_known
from ..files import content_key, versions, write_atomic
from ..experiment import Serial, load_once, local_pool
from ..identity import code_key
from ..machine import chosen_device, described, duration
from ..methods import METHODS, load_run, train_method
from .page import asset, encode, script, table, without_nan
from ..plan import forecast, plan_run
from ..runs import Run
from ..show import PALETTE, SYMBOLS
from ..stages import PRESETS, Preset
from ..tables import interval, judge
from ..trust import neighbour_agreement
from ..views import GLOBAL, correspondence, views


CONTENDERS = {"from scratch": "scratch", "three stages": "global+local(block)", "all labels": "scratch"}
"What is trained, and by which method; the last one sees the labels of all training volumes."


def preset_for(
    cohort: Cohort,  # what will be learned from
    factor: float = 1.0,  # multiplies all steps
) -> Preset:
    """The demo's small network in fp32, trained longer on real scans than on generated ones."""
    usual = PRESETS["demo"].scaled(factor if cohort.source.get("cohort") == "phantom" else 2 * factor)
    return replace(usual, stages={name: replace(stage, precision="fp32") for name, stage in usual.stages.items()})


REPEATS = {"phantom": 12}  # and 5 of any other cohort


@dataclass(frozen=True)
class Repeat:
    """One round of the three contenders."""

    cohort: Cohort  # slices
    few: Split  # with the labels of a few training volumes
    all: Split  # the same people with the labels of all training volumes
    seed: int  # of people, split, weights and views

    def split_of(
        self,
        title: str,  # of a contender
    ) -> Split:
        """Who a contender may learn from."""
        return self.all if title == "all labels" else self.few


def repeats_of(
    place: str,  # a cohort's name, or a folder
    labelled: float,  # share of the training volumes whose labels may be used
    seed: int,  # of the first repeat
    count: int | None = None,  # repeats; None for the usual number
) -> Iterator[Repeat]:
    """Rounds that share no seed with those of another `seed`; generated people are new in each; ValueError for a count below 1."""
    usual = REPEATS.get(place, 5)
    if count is not None and count < 1:
        raise ValueError(f"repeats: found {count}, expected 1 or more")
    fixed = None if place == "phantom" else load(place)
    for number in range(seed * usual, seed * usual + (count or usual)):
        cohort = fixed or load(place, kind="simple", subjects=40, size=32, seed=number)
        yield Repeat(cohort, split(cohort, labelled, number), split(cohort, 1.0, number), number)


def claim(
    out: Path,  # folder of the page and the runs
) -> Path:
    """Make the demo's folder; ValueError where it holds something else."""
    mark = out / "demo.json"
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file, expected a folder for the demo; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not mark.is_file():
        raise ValueError(f"{out}: this folder is in use by something else; choose another --out")
    return write_atomic(mark, json.dumps({"made by": "semicon-nb demo"}))


def train_one(
    title: str,  # a key of CONTENDERS
    source: dict,  # load(**source) gives the cohort
    chosen: Split,  # who may be learned from
    seed: int,  # of weights and views
    preset: Preset,  # network and steps
    out: Path,  # folder for the runs
) -> tuple[Path, Report]:
    """Train a contender, or find it finished, and measure it on the test subjects: RUN folder and scores."""
    cohort = load_once(source)
    key = content_key(CONTENDERS[title], cohort.fingerprint, chosen, preset, seed, code_key(train_one))
    folder = out / "runs" / f"{title.replace(' ', '-')}-{seed}-{key[:8]}"
    run = train_method(CONTENDERS[title], cohort, chosen, preset, seed, folder, resume=True, progress=False)
    return folder, evaluate(run.model, cohort, part_indices(cohort, chosen, "test"))


def train_all(
    repeats: Sequence[Repeat],  # on whom
    preset: Preset,  # network and steps
    out: Path,  # folder for the runs
    workers: int = 1,  # processes; 1 trains in this one
    progress: bool = True,  # show a bar
) -> tuple[dict[str, list[Path]], dict[str, list[Report]]]:
    """RUN folders and scores of each contender, in the order of the repeats."""
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
"How often the interval by which a difference is called one holds the true difference."


@dataclass(frozen=True)
class Verdict:
    """What the repeats say of three stages against scratch."""

    word: str  # "holds", "reversed", "cannot tell" or "no room to tell", of the claim that three stages are better
    gain: float  # pooled Dice of three stages less that of scratch, mean over the repeats
    half: float  # half width of the 95 % interval of the gain: the resolution
    room: float  # the headroom: pooled Dice with all labels less that of scratch, mean over the repeats
    spread: float  # half width of the 95 % interval of the room
    repeats: int


def verdict(
    reports: dict[str, list[Report]],  # by contender, in the order of the repeats
) -> Verdict:
    """Compare within each repeat, over all repeats."""
    base, other, full = (np.array([report.pooled_dice for report in reports[title]]) for title in CONTENDERS)
    (gain, half, count), (room, spread, _) = interval(other - base), interval(full - base)
    return Verdict(judge(other - base, full - base, _SURE), gain, half, room, spread, count)


def between(
    value: float,  # mean
    half: float,  # half width of its interval; nan for a single repeat
) -> str:
    """A mean difference and its interval in words."""
    ends = f" (95 % interval {value - half:+.3f} to {value + half:+.3f})" if np.isfinite(half) else ""
    return f"{value:+.3f}{ends}".replace("-", "−")


def sentence(
    found: Verdict,  # on three stages against scratch
) -> str:
    """The verdict in words, with its interval and the room there was."""
    gain, room = between(found.gain, found.half), between(found.room, found.spread)
    count, both = found.repeats, "three stages against scratch"
    if count < 2:
        return f"One repeat cannot tell: {both} {gain} pooled Dice. All labels bring {room}."
    return {
        "holds": f"Three stages are ahead of scratch over {count} repeats: {gain} pooled Dice. All labels bring {room}.",
        "reversed": f"Three stages are behind scratch over {count} repeats: {gain} pooled Dice. All labels bring {room}.",
        "cannot tell": f"No difference that {count} repeats could measure: {both} {gain} pooled Dice. "
        f"A gain was possible: all labels bring {room}.",
        "no room to tell": f"No room to tell: all labels bring {room} pooled Dice, and {count} repeats resolve no less than "
        f"{found.half:.3f}. Found, {both}: {gain}.",
    }[found.word]


def sampled(
    network: torch.nn.Module,  # after any stage
    cohort: Cohort,  # slices
    row: int,  # which slice
    count: int = 600,  # pixels
) -> tuple[np.ndarray, np.ndarray, Sample]:
    """Unit vectors [N, C] of some pixels of a slice, their classes [N], and which pixels they are."""
    labels = cohort.labels[row]
    sample = sample_pixels((1, *labels.shape), count, labels[None])
    vectors = pixel_embeddings(network, cohort.images[row])[0].reshape(labels.size, -1)
    return vectors[sample.index], labels.ravel()[sample.index], sample


def alike(
    network: torch.nn.Module,  # after any stage
    cohort: Cohort,  # slices
    row: int,  # which slice
) -> float:
    """Share of a pixel's 15 nearest neighbours that are of its own class, each class counting the same."""
    vectors, classes, _ = sampled(network, cohort, row)
    return neighbour_agreement(neighbours(vectors, 15)[0], classes)


MOMENTS = {"before training": "initial", "after the local stage": "local", "after fine-tuning": "finetune"}


def alike_over(
    folders: Sequence[Path],  # RUNs of three stages, in the order of the repeats
    repeats: Sequence[Repeat],  # on whom
) -> np.ndarray:  # [repeats, moments]
    """Neighbours alike at each moment, on the largest test slice of each repeat."""
    found = []
    for folder, repeat in zip(folders, repeats, strict=True):
        run, row = load_run(folder), largest_slices(repeat.cohort, repeat.few.test[:1])[0]
        found.append([alike(run.after(stage), repeat.cohort, row) for stage in MOMENTS.values()])
    return np.array(found)


def changed(
    shares: np.ndarray,  # [repeats, moments] of `alike_over`
) -> str:
    """What the contrastive stages do to the embedding, in words."""
    gain, half, _ = interval(shares[:, 1] - shares[:, 0], sure=0.99)
    first, local, last = (f"{100 * share:.0f} %" for share in shares.mean(0))
    lead = "What the stages do change is the embedding" if gain > half else "The embedding"
    return (
        f"{lead}: over all repeats, {first} of a pixel's 15 nearest neighbours have its label before training, {local} after the "
        f"local stage, before the network has learned which structure is which, and {last} after fine-tuning."
    )


def score_rows(
    reports: dict[str, list[Report]],  # by contender, in the order of the repeats
) -> list[dict[str, str]]:
    """One row for each contender and class, as text: means over the repeats."""
    rows = []
    for title, found in reports.items():
        mean = [{name: getattr(report, name) for name in ("pooled_dice", "volume_dice", "hd95")} for report in found]
        parts = {title: mean} | {f"   {name}": [report.per_class[name] for report in found] for name in found[0].per_class}
        for name, scores in parts.items():
            dice, volume, hd95 = (mean_known([one[key] for one in scores]) for key in mean[0])
            rows.append({"": name, "pooled Dice": f"{dice:.3f}", "volume Dice": f"{volume:.3f}", "HD95 (mm)": f"{hd95:.1f}"})
    return rows


def as_text(
    rows: Sequence[dict[str, str]],  # the same keys in each
) -> str:
    """A table for a terminal."""
    lines = [[*rows[0]], *([*row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))) for line in lines
    )


def bytes_of(
    images: np.ndarray,  # [n, H, W] in [0, 1]
) -> np.ndarray:
    """Grey levels [n, H, W] uint8."""
    return (np.clip(np.nan_to_num(images.astype(np.float32)), 0, 1) * 255).astype(np.uint8)


def largest_slices(
    cohort: Cohort,  # slices
    names: Sequence[str],  # volumes, of which one slice each is wanted
) -> np.ndarray:
    """The slice of each volume that shows most of its structures [n]."""
    found = []
    for name in names:
        rows = np.flatnonzero((cohort.volume == [v.name for v in cohort.volumes].index(name)) & cohort.labelled)
        found.append(rows[np.argmax((cohort.labels[rows] > 0).sum((1, 2)))])
    return np.array(found)


def scans_shown(
    cohort: Cohort,  # slices
    chosen: Split,  # who is in which part
    count: int = 6,  # pictures
) -> dict:
    """Slices of different training subjects, and their labels."""
    people = {volume.name: volume.subject for volume in cohort.volumes}
    names = list({people[name]: name for name in reversed(chosen.train)}.values())[:count]
    rows = largest_slices(cohort, names)
    return {"images": bytes_of(cohort.images[rows]), "labels": cohort.labels[rows], "names": names}


def views_shown(
    cohort: Cohort,  # slices
    row: int,  # which slice
    seed: int,  # of the views
) -> dict:
    """Two views of a slice, their labels, and where each pixel of the first lies in the second."""
    image, labels = torch.tensor(cohort.images[[row]], dtype=torch.float32)[:, None], torch.tensor(cohort.labels[[row]])
    pair = views(image, labels, GLOBAL, generator=torch.Generator().manual_seed(seed))
    where = correspondence(pair, 0, 1)[0].numpy().round(1)
    return {
        "images": bytes_of(pair.images[0, :, 0].numpy()),
        "labels": torch.as_tensor(pair.labels)[0].numpy().astype(np.uint8),
        "where": np.nan_to_num(where, nan=-9),
    }


SAYS = {
    "global": (
        "Tell slices apart",
        "Two views of one slice should have alike vectors, views of different slices unlike ones. No label is used.",
    ),
    "local": (
        "Tell pixels apart",
        "Pixels of one structure are pulled together, pixels of different structures pushed apart, within blocks of 16 x 16.",
    ),
    "finetune": (
        "Name the pixels",
        "Cross entropy and soft Dice on the few labelled volumes; the best weights on validation subjects are kept.",
    ),
}


def stage_shown(
    run: Run,  # with its history
    name: str,  # "global", "local" or "finetune"
    seen: str,  # what the stage saw, in words
) -> dict:
    """Loss and validation Dice of a stage, and what to say about it."""
    steps = [step for step in run.history if step.stage == name]
    measured = [(step.step, round(step.dice, 4)) for step in steps if step.dice is not None]
    about = {
        "name": name,
        "title": SAYS[name][0],
        "text": SAYS[name][1],
        "seen": seen,
        "seconds": round(sum(step.seconds for step in steps), 1),
    }
    return about | {
        "loss": np.array([step.loss for step in steps], np.float32),
        "dice": measured,
        "reused": run.settings["trained"][name]["reused"],
    }


def stages_shown(
    run: Run,  # of three stages
    cohort: Cohort,  # slices
    chosen: Split,  # who may be learned from
) -> list[dict]:
    """What each stage of a run did."""
    images = f"{len(unlabelled_indices(cohort, chosen)):,} slices, and no label"
    labels = f"{len(chosen.labelled)} labelled volumes"
    return [stage_shown(run, stage, images if stage == "global" else labels) for stage in ("global", "local", "finetune")]


TITLES = {"initial": "Before training", "global": "After global", "local": "After local", "finetune": "After fine-tuning"}


def map_shown(
    vectors: np.ndarray,  # [N, C] unit vectors
    classes: np.ndarray,  # class of each [N]
) -> dict:
    """Places in the unit square, the share of variance they keep, and the share of neighbours alike."""
    flat = pca(vectors)
    low, high = flat.places.min(0), flat.places.max(0)
    pure = neighbour_agreement(neighbours(vectors, 15)[0], classes)
    return {"places": (flat.places - low) / np.maximum(high - low, 1e-9), "kept": round(flat.kept, 3), "pure": round(pure, 3)}


def embeddings_shown(
    run: Run,  # of three stages
    cohort: Cohort,  # slices
    row: int,  # which slice
) -> dict:
    """The embeddings of some pixels of a slice before training and after each stage."""
    maps = []
    for stage in run.stages:
        vectors, classes, sample = sampled(run.after(stage), cohort, row)
        maps.append({"title": TITLES[stage], **map_shown(vectors, classes)})
    picture = {"image": bytes_of(cohort.images[[row]]), "labels": cohort.labels[row], "note": sample.sentence}
    return {"maps": maps, "classes": classes, "index": sample.index.astype(np.int32), **picture}


def volume_scores(
    report: Report,  # of a run
) -> np.ndarray:
    """Mean Dice over the foreground classes of each volume [n]; nan where no class is known."""
    rows = [[value for value in volume["dice"].values() if value is not None and np.isfinite(value)] for volume in report.volumes]
    return np.array([np.mean(row) if row else np.nan for row in rows])


def segmentations_shown(
    cohort: Cohort,  # slices
    runs: dict[str, Run],  # all contenders
    reports: dict[str, Report],  # on the same test volumes
    count: int = 4,  # volumes
) -> dict:
    """Test slices with the truth and with what each contender makes of them, from the worst volume to the best."""
    mean = np.mean([np.nan_to_num(volume_scores(report)) for report in reports.values()], axis=0)
    order = np.argsort(mean)[np.unique(np.linspace(0, len(mean) - 1, min(count, len(mean))).round().astype(int))]
    names = [next(iter(reports.values())).volumes[i]["name"] for i in order]
    rows = largest_slices(cohort, names)
    found = {title: predict(run.model, cohort.images[rows]).argmax(1).astype(np.uint8) for title, run in runs.items()}
    scores = {title: volume_scores(report)[order].round(3).tolist() for title, report in reports.items()}
    return {"images": bytes_of(cohort.images[rows]), "truth": cohort.labels[rows], "found": found, "scores": scores, "names": names}


def repeats_shown(
    reports: dict[str, list[Report]],  # by contender, in the order of the repeats
) -> dict:
    """Pooled Dice of every training, and the mean of each contender."""
    scores = {title: [round(report.pooled_dice, 4) for report in found] for title, found in reports.items()}
    return {
        "scores": scores,
        "means": {title: float(np.mean([report.pooled_dice for report in found])) for title, found in reports.items()},
    }


def known_from(
    cohort: str,  # "hippocampus", or "phantom" for longer training on generated people
) -> str:
    """What the package's own experiments found, in words."""
    return json.loads(asset("found.json"))[cohort]


def counts_of(
    repeat: Repeat,  # whose numbers
) -> dict[str, str]:
    """How many people, volumes and slices there are, as text."""
    cohort, few = repeat.cohort, repeat.few
    lists = {"subjects": cohort.subjects, "volumes": cohort.volumes, "slices": cohort.images, "train": few.train}
    lists |= {"labelled": few.labelled, "val": few.val, "test": few.test}
    structures = f"{len(cohort.classes) - 1} structures ({', '.join(cohort.classes[1:])})"
    shared = {"size": str(cohort.size), "share": f"{100 * few.labelled_fraction:g} %", "structures": structures}
    return shared | {name: f"{len(found):,}" for name, found in lists.items()}


def facts(
    repeats: Sequence[Repeat],  # on whom
    run: Run,  # of three stages, in the first repeat
    reports: dict[str, list[Report]],  # by contender, in the order of the repeats
    said: dict[str, str],  # sentences: "verdict", "changed"
    command: str,  # that made the demo
) -> dict[str, str]:
    """The texts of the page, safe inside HTML, by the names that demo.html uses."""
    first, means = repeats[0], repeats_shown(reports)["means"]
    texts = counts_of(first) | said | {
        "scratch": f"{means['from scratch']:.3f}", "stages": f"{means['three stages']:.3f}", "all": f"{means['all labels']:.3f}",
        "kind": "Generated scans" if first.cohort.source["cohort"] == "phantom" else "Real scans", "real": known_from("hippocampus"), "longer": known_from("phantom"),
        "repeats": f"{len(repeats)}", "command": command, "place": shlex.quote(str(first.cohort.source["cohort"])),
        "run": shlex.quote(str(run.folder)), "seed": f"{first.seed}", "filters": f"{run.settings['network']['width']}",
        "steps": f"{run.settings['stages']['finetune']['steps']:,}",
        "machine": f"{run.settings['stages']['finetune']['precision']} on {run.settings['machine']['processor']}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }  # fmt: skip
    return {name: html.escape(str(value)) for name, value in texts.items()}


def data_shown(
    repeat: Repeat,  # the first
    runs: dict[str, Run],  # its contenders
    reports: dict[str, list[Report]],  # by contender, in the order of the repeats
) -> dict:
    """Everything that the page's script paints."""
    cohort, chosen = repeat.cohort, repeat.few
    test_row, train_row = (largest_slices(cohort, names[:1])[0] for names in (chosen.test, chosen.labelled))
    looks = zip(cohort.classes, PALETTE, SYMBOLS, strict=False)
    return {
        "size": cohort.size, "classes": [{"name": name, "colour": colour, "symbol": symbol} for name, colour, symbol in looks],
        "scans": scans_shown(cohort, chosen), "views": views_shown(cohort, train_row, repeat.seed + 1),
        "stages": stages_shown(runs["three stages"], cohort, chosen),
        "embeddings": embeddings_shown(runs["three stages"], cohort, test_row),
        "segmentations": segmentations_shown(cohort, runs, {title: found[0] for title, found in reports.items()}),
        "repeats": repeats_shown(reports),
    }  # fmt: skip


def write_demo_page(
    path: Path,  # index.html
    texts: dict[str, str],  # from `facts`
    data: dict,  # from `data_shown`
    rows: list[dict[str, str]],  # from `score_rows`
) -> Path:
    """Write the page: template, style, data and script in one file."""
    plain = json.dumps(without_nan(data), default=encode, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = texts | {
        "style": asset("demo.css"), "table": table(rows, "Means over the repeats, on test subjects", "scores"),
        "data": f'<script type="application/json" id="demo-data">{plain}</script>', "script": script(asset("demo.js")),
    }  # fmt: skip
    return write_atomic(path, re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], asset("demo.html")))


def announcement(
    repeats: Sequence[Repeat],  # on whom
    preset: Preset,  # network and steps
    workers: int,  # processes
) -> str:
    """What is about to be trained, on what, and about how long it will take."""
    first, precision = repeats[0], preset.stages["finetune"].precision
    plans = [plan_run(METHODS[method], first.cohort, first.few, preset, cache=False) for method in CONTENDERS.values()]
    seconds = len(repeats) * sum(sum(forecast(plan).values()) for plan in plans) / workers
    return (
        f"{precision} on {described(chosen_device())}; about {duration(seconds)} with {workers} processes\n{first.cohort}\n"
        f"{len(first.few.labelled)} volumes labelled; {len(repeats)} repeats of {len(CONTENDERS)} trainings"
    )


def demo(
    place: str = "phantom",  # a cohort's name, or a folder
    out: str | Path = "demo",  # folder of the page and the runs
    labelled: float = 0.05,  # share of the training volumes whose labels may be used
    seed: int = 0,  # of people, splits, weights and views
    factor: float = 1.0,  # multiplies all steps
    count: int | None = None,  # repeats; None for the usual number
    progress: bool = True,  # show a bar
) -> str:
    """Train the three contenders in each repeat, compare, write the page; the table and what to run next come back as text."""
    started, out = time.time(), claim(Path(out)).parent
    repeats = list(repeats_of(place, labelled, seed, count))
    preset = preset_for(repeats[0].cohort, factor)
    workers = (os.cpu_count() or 1) if factor >= 0.5 else 1
    if progress:
        print(announcement(repeats, preset, workers), flush=True)
    folders, reports = train_all(repeats, preset, out, workers, progress)
    runs = {title: load_run(found[0]) for title, found in folders.items()}
    said = {"verdict": sentence(verdict(reports)), "changed": changed(alike_over(folders["three stages"], repeats))}
    command = f"semicon-nb demo --data {shlex.quote(str(place))} --labels {labelled:g} --seed {seed}"
    rows, data = score_rows(reports), data_shown(repeats[0], runs, reports)
    page = write_demo_page(out / "index.html", facts(repeats, runs["three stages"], reports, said, command), data, rows)
    told = [*said.values(), known_from("phantom"), known_from("hippocampus")]
    lines = ["", as_text(rows), "", *told, "", f"{time.time() - started:.0f} seconds.", *next_steps(page, runs)]
    return "\n".join(lines)


def next_steps(
    page: Path,  # index.html
    runs: dict[str, Run],  # of the first repeat
) -> list[str]:
    """Where the page is, and what to type next."""
    folder = shlex.quote(str(runs["three stages"].folder))
    return [
        f"Next: open {page} in a browser; it needs no network.",
        f"  semicon-nb explore {folder} -o {shlex.quote(str(page.with_name('explore.html')))}",
        "  make demo DATA=hippocampus      the same on real scans",
        "  make lab                        the notebooks that this is made of",
    ]  # fmt: skip
