"""Every subject, volume and slice with its labels; who trains, validates and tests; and what the network is shown."""

__all__ = ["CohortBrowser"]

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .canvas import beside, mixed, still, swatches
from .page import grey_bytes, run_lengths, text
from .scene import class_looks
from .widgets import DrawnExplorer, in_place
from ..data import Cohort, Split, check_split, phantom, split
from ..names import counted
from ..show import METHOD_LOOKS, PALETTE, SYMBOLS
from ..views import FINETUNE, GLOBAL, LOCAL, ViewSettings, views

if TYPE_CHECKING:
    import plotly.graph_objects as go

PARTS = ("labelled", "train", "val", "test", "unused")
USES = ("train, labels used", "train, images only", "validation", "test", "not in the split")
LOOKS = tuple(zip([METHOD_LOOKS[k][0] for k in (1, 0, 3, 2)] + [PALETTE[0]], [SYMBOLS[k] for k in (6, 0, 2, 1, 5)], strict=True))
"""Colour and marker of each part of the split."""
SETTINGS: dict[str, ViewSettings] = {
    "global (stage 1)": GLOBAL,
    "local (stage 2)": LOCAL,
    "fine-tuning (stage 3)": FINETUNE,
}
SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Labelled shares to choose from where no split is given."""


@dataclass(frozen=True)
class _Browsed:
    """All that a CohortBrowser shows."""

    cohort: Cohort  # that is browsed
    shares: tuple[float, ...]  # labelled shares to choose from
    parts: tuple[np.ndarray, ...]  # [V] index into PARTS of each volume, for each share
    start: dict  # what is chosen at first, as cohort.js names it


def volume_parts(cohort: Cohort, chosen: Split | None) -> np.ndarray:
    """Index into PARTS of every volume [V] under the `chosen` split; None: no volume is in it."""
    names = {} if chosen is None else {name: k for k in (3, 2, 1, 0) for name in getattr(chosen, PARTS[k])}
    return np.array([names.get(volume.name, 4) for volume in cohort.volumes], np.int8)


def volume_places(cohort: Cohort) -> np.ndarray:
    """Where each volume [V] stands along the subjects: whole numbers, volumes of one subject side by side."""
    number = {subject: k for k, subject in enumerate(cohort.subjects)}
    before: dict[str, int] = {}
    places = np.zeros(len(cohort.volumes), np.float32)
    for i, volume in enumerate(cohort.volumes):
        places[i] = number[volume.subject] + 0.34 * before.get(volume.subject, 0)
        before[volume.subject] = before.get(volume.subject, 0) + 1
    return places


def deal(cohort: Cohort, share: float, seed: int) -> Split | None:
    """A split with this labelled share, or the least that leaves one labelled volume; None for too few subjects."""
    try:
        train = len(split(cohort, 1.0, seed).labelled)
    except ValueError:
        return None
    return split(cohort, max(share, min(1.0, 0.51 / train)), seed)


def volume_data(cohort: Cohort, v: int, most: int | None = None) -> dict:
    """What the browser needs of volume number `v`: `most` of its slices, evenly spaced with both ends; None: all.

    How many of all its slices are outlined, and how many of these show a structure.
    """
    rows = np.flatnonzero(cohort.volume == v)
    outlined = rows[cohort.labelled[rows]]
    kept = rows if most is None or len(rows) <= most else rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
    slices = [
        {"image": grey_bytes(cohort.images[i]), "labels": run_lengths(cohort.labels[i]),
         "number": int(i - rows[0]) + 1, "labelled": bool(cohort.labelled[i])}
        for i in kept
    ]  # fmt: skip
    return {"index": int(v), "slices": slices, "outlined": len(outlined), "shows": int(cohort.labels[outlined].any((1, 2)).sum())}


def fit(cohort: Cohort, budget: int = 900_000) -> tuple[int, int]:
    """How many volumes, and how many slices of each, fit into a `budget` of bytes: three volumes at least."""
    picture, longest = cohort.images[0].size + 500, int(np.bincount(cohort.volume).max())
    most = min(longest, 16, max(1, budget // (3 * picture)))
    return max(1, min(len(cohort.volumes), budget // (picture * most))), most


def sample_volumes(parts: np.ndarray, count: int) -> list[int]:
    """Numbers of `count` volumes for a page, in turn from each part (of `parts` [V]), so that every part is seen."""
    waiting = [list(np.flatnonzero(parts == k)) for k in range(len(PARTS))]
    chosen: list[int] = []
    while len(chosen) < min(count, len(parts)):
        for queue in waiting:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop(0)))
    return sorted(chosen)


def _dealt(share: float, parts: np.ndarray) -> str:
    """The labelled share of the training volumes as the `parts` [V] have it, as text; the `share` that was asked for where none is for training."""
    used, train = int((parts == 0).sum()), int((parts < 2).sum())
    return f"{round(100 * (used / train if train else share), 1):g} %"


def _scene_data(shown: _Browsed, held: Sequence[int], stored: Sequence[dict], note: str) -> dict:
    """What the browser needs at once: all volumes by name and part, numbers of those it can show, those `stored`."""
    cohort, (height, width) = shown.cohort, shown.cohort.images.shape[1:]
    volumes = zip(cohort.volumes, np.bincount(cohort.volume, minlength=len(cohort.volumes)), strict=True)
    settings = {name: asdict(kind) for name, kind in SETTINGS.items()}
    return {
        "classes": list(cohort.classes), "height": height, "width": width,
        "subjects": len(cohort.subjects),
        "volumes": [{"name": v.name, "subject": v.subject, "count": int(n)} for v, n in volumes],
        "places": volume_places(cohort), "parts": list(shown.parts), "uses": list(USES), "looks": LOOKS,
        "stops": [_dealt(*pair) for pair in zip(shown.shares, shown.parts, strict=True)], "settings": settings, "state": shown.start,
        "held": list(held), "stored": list(stored), "note": note, **class_looks(len(cohort.classes)),
    }  # fmt: skip


def _browsed(cohort: Cohort, chosen: Split | None, labelled: float, seed: int) -> _Browsed:
    """A cohort with its parts for every labelled share, its first volume in sight; ValueError for what does not fit."""
    if not len(cohort):
        raise ValueError("cohort: found no slice, expected at least one")
    if chosen is not None:
        check_split(cohort, chosen)
    shares = SHARES if chosen is None else (chosen.labelled_fraction,)
    parts = tuple(volume_parts(cohort, chosen or deal(cohort, share, seed)) for share in shares)
    count = int((cohort.volume == 0).sum())
    nearest = min(range(len(shares)), key=lambda k: abs(shares[k] - labelled))
    start: dict = {"volume": 0, "slice": count // 2 + 1, "labelled": nearest, "kind": 1, "draws": seed}
    start |= {"window": [0, 1], "labels": True, "pixel": None}
    return _Browsed(cohort, shares, parts, start)


class CohortBrowser(DrawnExplorer):
    """Subjects, volumes and slices with their labels; the split; and the views that the network sees."""

    title = "A cohort, browsed"
    lead = "Choose a volume and a slice, by the controls or in the charts. Click a pixel to read it. The views are of the slice you see."
    scripts = ("views.js", "cohort.js")

    @in_place
    def __init__(
        self,
        cohort: Cohort | None = None,  # None: generated subjects
        split: Split | None = None,  # whose parts are shown; None: dealt by the slider
        labelled: float = 0.1,  # labelled share to start with where no split is given
        seed: int = 0,  # of the split and of the views
    ):
        if cohort is not None and not isinstance(cohort, Cohort):
            raise TypeError(f"cohort: found {type(cohort).__name__}, expected a Cohort; make one with semicon_nb.data.load")
        if not 0 < labelled <= 1:
            raise ValueError(f"labelled: found {labelled!r}, expected a share above 0 and up to 1")
        self.shown = shown = _browsed(phantom(subjects=24, size=64) if cohort is None else cohort, split, labelled, seed)
        self.lead = f"{_describe(shown.cohort)} {self.lead}"
        self.begin(_scene_data(shown, range(len(shown.cohort.volumes)), [volume_data(shown.cohort, 0)], ""))

    def answer(self, asked: dict) -> None:
        """Give the browser the volume that it has `asked` for."""
        self.live.tell(volume_data(self.shown.cohort, asked["volume"]))

    def picture(self) -> "go.Figure":
        """The slice in sight and two views of it, for pages that are read and not run."""
        cohort, state = self.shown.cohort, self.state
        row = int(np.flatnonzero(cohort.volume == state["volume"])[state["slice"] - 1])
        image = torch.as_tensor(np.asarray(cohort.images[row], np.float32))
        labels = torch.as_tensor(cohort.labels[row].astype(np.int64))
        settings, generator = list(SETTINGS.values())[state["kind"]], torch.Generator().manual_seed(state["draws"])
        pair = views(image[None, None], labels[None], settings, 2, generator)
        colours, pictures = swatches(*class_looks(len(cohort.classes))["colours"]), []
        maps = labels[None] if pair.labels is None else torch.cat([labels[None], pair.labels[0]])
        for shown, kinds in zip((image, *pair.images[0, :, 0]), maps.numpy(), strict=True):
            tinted = mixed(shown.clamp(0, 1).numpy(), colours[kinds], np.where(kinds > 0, 0.4, 0.0))
            pictures.append(still(tinted, np.zeros_like(kinds), kinds, colours))
        named = f"<b>Slice {state['slice']}</b> of {text(cohort.volumes[state['volume']].name)}"
        return beside(pictures, [named, "one view", "another view"])

    def stored(self) -> dict:
        """The data of the page, which holds a sample of the cohort."""
        shown, cohort = self.shown, self.shown.cohort
        count, most = fit(cohort)
        held = sample_volumes(shown.parts[self.state["labelled"]], count)
        state = self.state if self.state["volume"] in held else self.state | {"volume": held[0], "slice": 0, "pixel": None}
        whole = np.bincount(cohort.volume).max() <= most
        every = "every slice" if whole else f"at most {most} slices"
        said = f"This page holds {len(held)} of {len(cohort.volumes)} volumes, {every} of each."
        note = "" if whole and len(held) == len(cohort.volumes) else said
        return _scene_data(shown, held, [volume_data(cohort, v, most) for v in held], note) | {"state": state}


def _describe(cohort: Cohort) -> str:
    """One sentence on the size of a cohort."""
    height, width = cohort.images.shape[1:]
    counts = f"{counted(len(cohort.subjects), 'subject')}, {counted(len(cohort.volumes), 'volume')}, {counted(f'{len(cohort):,}', 'slice')}"
    return f"{cohort.name}: {counts} of {height} x {width}."
