"""The page of the demo: what was trained, what the network sees, and how well it outlines, in one file."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data import Cohort, Split, unlabelled_indices
from ..embed import Sample, neighbours, pca, pixel_embeddings, sample_pixels
from ..evaluate import Report
from ..files import versions, write_atomic
from ..names import counted
from ..predict import predict
from ..runs import Run
from ..trust import neighbour_agreement
from ..views import GLOBAL, correspondence, views
from .page import asset, fill, grey_bytes, html_table, json_element, script, text
from .scene import class_looks

__all__ = []


@dataclass(frozen=True)
class Repeat:
    """One round of the three contenders."""

    cohort: Cohort  # slices
    few: Split  # with the labels of a few training volumes
    all: Split  # the same people with the labels of all training volumes
    seed: int  # of people, split, weights and views

    def split_of(self, title: str) -> Split:
        """Who the contender of this title may learn from."""
        return self.all if title == "all labels" else self.few


def largest_slices(cohort: Cohort, names: Sequence[str]) -> np.ndarray:
    """The slice of each of these volumes, by their `names`, that shows most of its structures [n]."""
    found = []
    for name in names:
        rows = np.flatnonzero((cohort.volume == [v.name for v in cohort.volumes].index(name)) & cohort.labelled)
        found.append(rows[np.argmax((cohort.labels[rows] > 0).sum((1, 2)))])
    return np.array(found)


def scans_shown(cohort: Cohort, who: Split, count: int = 6) -> dict:
    """Slices of so many different training subjects with outlines, and their labels."""
    outlined = set(cohort.volume[cohort.labelled].tolist())  # others train the stages without labels
    people = {volume.name: volume.subject for v, volume in enumerate(cohort.volumes) if v in outlined}
    names = list({people[name]: name for name in reversed(who.train) if name in people}.values())[:count]
    rows = largest_slices(cohort, names)
    return {"images": grey_bytes(cohort.images[rows]), "labels": cohort.labels[rows], "names": names}


def views_shown(cohort: Cohort, row: int, seed: int) -> dict:
    """Two views of the slice in this row, their labels, and where each pixel of the first lies in the second."""
    image, labels = torch.tensor(cohort.images[[row]], dtype=torch.float32)[:, None], torch.tensor(cohort.labels[[row]])
    pair = views(image, labels, GLOBAL, generator=torch.Generator().manual_seed(seed))
    where = correspondence(pair, 0, 1)[0].numpy().round(1)
    return {
        "images": grey_bytes(pair.images[0, :, 0].numpy()),
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


def stage_shown(run: Run, name: str, seen: str) -> dict:
    """Loss and validation Dice of a stage ("global", "local" or "finetune"), what to say about it, and what it has seen, in words."""
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


def stages_shown(run: Run, cohort: Cohort, who: Split) -> list[dict]:
    """What each stage of a run did."""
    images = f"{len(unlabelled_indices(cohort, who)):,} slices, and no label"
    labels = counted(len(who.labelled), "labelled volume")
    return [stage_shown(run, stage, images if stage == "global" else labels) for stage in ("global", "local", "finetune")]


TITLES = {"initial": "Before training", "global": "After global", "local": "After local", "finetune": "After fine-tuning"}


def sample_slice(network: torch.nn.Module, cohort: Cohort, row: int, count: int = 600) -> tuple[np.ndarray, np.ndarray, Sample]:
    """Unit vectors [N, C] of some pixels of the slice in this row, after any stage, their classes [N], and which pixels they are."""
    labels = cohort.labels[row]
    sample = sample_pixels((1, *labels.shape), count, labels[None])
    vectors = pixel_embeddings(network, cohort.images[row])[0].reshape(labels.size, -1)
    return vectors[sample.index], labels.ravel()[sample.index], sample


def map_shown(vectors: np.ndarray, classes: np.ndarray) -> dict:
    """Places of unit vectors [N, C] in the unit square, the share of variance they keep, and the share of neighbours of one of the classes [N]."""
    flat = pca(vectors)
    low, high = flat.places.min(0), flat.places.max(0)
    pure = neighbour_agreement(neighbours(vectors, 15)[0], classes)
    return {"places": (flat.places - low) / np.maximum(high - low, 1e-9), "kept": round(flat.kept, 3), "pure": round(pure, 3)}


def embeddings_shown(run: Run, cohort: Cohort, row: int) -> dict:
    """The embeddings of some pixels of the slice in this row before training and after each stage of a run."""
    maps = []
    for stage in run.stages:
        vectors, classes, sample = sample_slice(run.after(stage), cohort, row)
        maps.append({"title": TITLES[stage], **map_shown(vectors, classes)})
    picture = {"image": grey_bytes(cohort.images[[row]]), "labels": cohort.labels[row], "note": sample.sentence}
    return {"maps": maps, "classes": classes, "index": sample.index.astype(np.int32), **picture}


def volume_scores(report: Report) -> np.ndarray:
    """Mean Dice over the foreground classes of each volume of a report [n]; nan where no class is known."""
    rows = [[value for value in volume["dice"].values() if value is not None and np.isfinite(value)] for volume in report.volumes]
    return np.array([np.mean(row) if row else np.nan for row in rows])


def segmentations_shown(cohort: Cohort, runs: dict[str, Run], reports: dict[str, Report], count: int = 4) -> dict:
    """Slices of so many test volumes with the truth and with what each contender makes of them, from the worst volume to the best.

    Runs and reports are by contender, the reports on the same volumes.
    """
    mean = np.mean([np.nan_to_num(volume_scores(report)) for report in reports.values()], axis=0)
    order = np.argsort(mean)[np.unique(np.linspace(0, len(mean) - 1, min(count, len(mean))).round().astype(int))]
    names = [next(iter(reports.values())).volumes[i]["name"] for i in order]
    rows = largest_slices(cohort, names)
    found = {title: predict(run.model, cohort.images[rows]).argmax(1).astype(np.uint8) for title, run in runs.items()}
    scores = {title: volume_scores(report)[order].round(3).tolist() for title, report in reports.items()}
    return {"images": grey_bytes(cohort.images[rows]), "truth": cohort.labels[rows], "found": found, "scores": scores, "names": names}


def repeats_shown(reports: dict[str, list[Report]]) -> dict:
    """Pooled Dice of every training, by contender in the order of the repeats, and the mean of each contender."""
    scores = {title: [round(report.pooled_dice, 4) for report in found] for title, found in reports.items()}
    return {
        "scores": scores,
        "means": {title: float(np.mean([report.pooled_dice for report in found])) for title, found in reports.items()},
    }


def known_from(cohort: str) -> str:
    """What the package's own experiments found on a cohort, in words: "hippocampus", or "phantom" for longer training on generated people."""
    return json.loads(asset("found.json"))[cohort]


def counts_of(repeat: Repeat) -> dict[str, str]:
    """How many people, volumes and slices there are, as text."""
    cohort, few = repeat.cohort, repeat.few
    lists = {"subjects": cohort.subjects, "volumes": cohort.volumes, "slices": cohort.images, "train": few.train}
    lists |= {"labelled": few.labelled, "val": few.val, "test": few.test}
    structures = f"{counted(len(cohort.classes) - 1, 'structure')} ({', '.join(cohort.classes[1:])})"
    shared = {"size": str(cohort.size), "share": f"{100 * few.labelled_fraction:g} %", "structures": structures}
    return shared | {name: f"{len(found):,}" for name, found in lists.items()}


def page_texts(
    repeats: Sequence[Repeat], run: Run, reports: dict[str, list[Report]], said: dict[str, str], command: str, place: str
) -> dict[str, str]:
    """The texts of the page, by the names that demo.html uses.

    The run is that of three stages in the first repeat; reports are by contender, in the order of the repeats; `said` has the sentences
    "verdict" and "changed"; `command` made the demo, `place` is that of the scans, as a page names it.
    """
    first, means, where = repeats[0], repeats_shown(reports)["means"], run.folder.resolve()
    return counts_of(first) | said | {
        "scratch": f"{means['from scratch']:.3f}", "stages": f"{means['three stages']:.3f}", "all": f"{means['all labels']:.3f}",
        "kind": "Generated scans" if first.cohort.source["cohort"] == "phantom" else "Real scans",
        "repeats": f"{len(repeats)}", "command": command, "place": shlex.quote(place),
        "run": shlex.quote(where.relative_to(where.parents[2]).as_posix()), "seed": f"{first.seed}", "filters": f"{run.settings['network']['width']}",
        "steps": f"{run.settings['stages']['finetune']['steps']:,}",
        "machine": f"{run.settings['stages']['finetune']['precision']} on {run.settings['machine']['processor']}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }  # fmt: skip


def classes_shown(names: Sequence[str]) -> list[dict[str, str]]:
    """Name, colour and marker of each class, by their `names`, background first."""
    looks = class_looks(len(names))
    each = zip(names, looks["colours"], looks["symbols"], strict=True)
    return [{"name": name, "colour": colour, "symbol": symbol} for name, colour, symbol in each]


def data_shown(repeat: Repeat, runs: dict[str, Run], reports: dict[str, list[Report]]) -> dict:
    """Everything that the page's script paints: the first repeat, its runs, and all reports in the order of the repeats, by contender."""
    cohort, who = repeat.cohort, repeat.few
    test_row, train_row = (largest_slices(cohort, names[:1])[0] for names in (who.test, who.labelled))
    return {
        "size": cohort.size, "classes": classes_shown(cohort.classes),
        "scans": scans_shown(cohort, who), "views": views_shown(cohort, train_row, repeat.seed + 1),
        "stages": stages_shown(runs["three stages"], cohort, who),
        "embeddings": embeddings_shown(runs["three stages"], cohort, test_row),
        "segmentations": segmentations_shown(cohort, runs, {title: found[0] for title, found in reports.items()}),
        "repeats": repeats_shown(reports),
    }  # fmt: skip


def counts_said(kept: dict) -> dict[str, str]:
    """The numbers that may be one, with what they count, by the names that demo.html uses; `kept` is what `write_demo_page` takes."""
    texts, scans, found = kept["texts"], kept["data"]["scans"]["names"], kept["data"]["segmentations"]["names"]
    between = ", from the worst to the best by the mean Dice of the three networks" if len(found) > 1 else ""
    return {
        "rounds": counted(texts["repeats"], "repeat"), "few": counted(texts["labelled"], "volume"), "more": counted(texts["val"], "more volume"),
        "tested": counted(texts["test"], "volume"), "trained": counted(texts["train"], "volume"),
        "scans": counted(len(scans), "training subject"), "found": counted(len(found), "test volume") + between,
    }  # fmt: skip


def write_demo_page(path: Path, kept: dict) -> Path:
    """Write the page: template, style, data and script in one file, with what the package's own experiments say today.

    `kept` is what demo.json holds: "texts" of `page_texts`, "data" of `data_shown`, "rows" of scores, as text.
    """
    texts = kept["texts"] | counts_said(kept) | {"real": known_from("hippocampus"), "longer": known_from("phantom")}
    parts = {name: text(value) for name, value in texts.items()} | {
        "style": asset("demo.css"), "table": html_table(kept["rows"], "Means over the repeats, on test subjects", "scores"),
        "data": json_element(kept["data"], "demo-data"), "script": script(asset("demo.js")),
    }  # fmt: skip
    return write_atomic(path, fill("demo.html", parts))
