"""A training as a film: the map in one layout for all moments, the slices as they are predicted, loss and Dice."""

__all__ = ["TrainingReplay"]

import threading
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..embed import UmapSettings, aligned, map_figure
from ..show import PALETTE, SYMBOLS
from .embeddings import TITLES, Mosaic, mosaic_of
from .record import Recording, as_recording, example_recording
from .page import grey_bytes, run_lengths
from .widgets import DrawnExplorer, in_place, safely

if TYPE_CHECKING:
    import plotly.graph_objects as go

_METHODS = ("PCA", "UMAP")


class Film:
    """A recording and the places of its pixels at all moments in one layout; ValueError for one without snapshots."""

    def __init__(self, recording: Recording):
        if not recording.snapshots:
            raise ValueError(f"{recording.name}: found no snapshot, expected one or more; watch a training with a Recorder")
        self.recording = recording
        self.notes: dict[str, str] = {}
        self.places = {"PCA": self.layout("PCA")}

    def layout(self, method: str, settings: UmapSettings = UmapSettings()) -> np.ndarray:
        """Places [T, N, 2] of the pixels at each moment, in one layout by `method` ("PCA" or "UMAP"), within 0 .. 1."""
        maps = aligned([snap.vectors.astype(np.float32) for snap in self.recording.snapshots], method, settings)
        places, self.notes[method] = np.stack([m.places for m in maps]), maps[0].note
        low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
        return ((places - (low + high) / 2) / max(float((high - low).max()), 1e-12) + 0.5).astype(np.float32)

    @cached_property
    def marks(self) -> np.ndarray:
        """The label [n] of each shown pixel."""
        return self.recording.labels.reshape(-1)[self.recording.sample.index]

    @property
    def mosaic(self) -> Mosaic:
        """How its slices are laid out."""
        return mosaic_of(self.recording.images.shape)


def smooth(
    values: np.ndarray,  # [n] loss of each step
    width: int = 9,  # steps averaged
) -> np.ndarray:
    """A running mean [n], so that the noise of single batches does not hide the course."""
    width = max(1, min(width, len(values) // 2))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def curve_data(film: Film) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """The curves of a training, name -> steps and values from 0 to 1: each stage's loss as a share of its largest."""
    found: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for stage in dict.fromkeys(step.stage for step in film.recording.history):
        steps = [s for s in film.recording.history if s.stage == stage and np.isfinite(s.loss)]
        if steps:
            loss = smooth(np.array([s.loss for s in steps]))
            found[f"loss, {stage}"] = [s.step for s in steps], (loss / max(abs(loss).max(), 1e-12)).round(4).tolist()
    if measured := {s.step: s.dice for s in film.recording.history if s.dice is not None}:
        found["validation Dice"] = list(measured), list(measured.values())
    snaps = film.recording.snapshots
    found["Dice of the slices"] = [s.step for s in snaps], [round(s.dice, 4) for s in snaps]
    found["neighbour agreement"] = [s.step for s in snaps], [round(s.agreement, 4) for s in snaps]
    return found


def moment_words(
    film: Film,  # to show
    moment: int,  # which snapshot
) -> str:
    """Where in the training this is, and how well the pixels are told apart."""
    snap = film.recording.snapshots[moment]
    recent = [s.loss for s in film.recording.history if snap.step - 9 <= s.step <= snap.step and s.stage == snap.stage]
    loss = f", loss {np.mean(recent):.3f}" if recent else ""
    last = film.recording.snapshots[-1].step
    near = "the embeddings have collapsed" if np.isnan(snap.agreement) else f"neighbour agreement {snap.agreement:.2f}"
    where = f"{film.recording.name}: {TITLES.get(snap.stage, snap.stage)}, step {snap.step} of {last}"
    return f"{where}{loss}; Dice of these slices {snap.dice:.2f}, {near}."


def vote_words(film: Film) -> str:
    """How a film's predictions are made, and how many pixels are shown."""
    said = " ".join(dict.fromkeys(note for note in film.notes.values() if note))
    return (
        f"{said}{' ' * bool(said)}{film.recording.sample.sentence} Before fine-tuning a pixel is called what most "
        "of the 10 nearest shown pixels are called, which flatters: it tells how labels separate here, "
        "not how well the network generalises. "
        "Between two moments each point goes straight from one place to the next."
    )


def curve_words(film: Film) -> str:
    """How its losses are drawn, and why a film's Dice falls where fine-tuning begins, if it does."""
    said = "The stages have losses of different kinds, so each is drawn anew, as a share of its largest."
    for before, after in pairwise(film.recording.snapshots):
        if before.stage != "finetune" == after.stage and after.dice < before.dice:
            said += " Dice falls where fine-tuning begins: from there it is that of a new class head, which starts from chance."
            if after.agreement < before.agreement:
                said += " The first steps of that head pull the embedding about, too, so neighbour agreement falls with it."
    return said


def film_data(film: Film) -> dict:
    """A film as the browser reads it."""
    recording, snaps, mosaic = film.recording, film.recording.snapshots, film.mosaic
    low, high = np.quantile(recording.images, [0.005, 0.995])
    return {
        "name": recording.name,
        "grey": grey_bytes(recording.images, low, high),
        "truth": recording.labels.astype(np.uint8),
        "marks": film.marks.astype(np.uint8),
        "curves": curve_data(film),
        "places": {method: packed_places(places) for method, places in film.places.items()},
        "predicted": run_lengths(np.stack([s.prediction for s in snaps])),
        "steps": [s.step for s in snaps],
        "stages": [TITLES.get(s.stage, s.stage) for s in snaps],
        "shape": list(mosaic.shape), "across": mosaic.across, "gap": mosaic.gap,
        "words": [moment_words(film, t) for t in range(len(snaps))],
        "names": list(recording.names), "note": vote_words(film), "why": curve_words(film),
    }  # fmt: skip


def packed_places(places: np.ndarray) -> np.ndarray:
    """Places [...] in 0 .. 1 as whole numbers of 16 bits: finer than the eye."""
    return np.round(np.clip(places, 0, 1) * 65535).astype(np.uint16)


def replay_data(films: Sequence[Film], method: str, methods: Sequence[str] = _METHODS) -> dict:
    """All that the browser needs to replay one film or two, first on the map of a `method`, of these `methods`."""
    look = {"palette": list(PALETTE), "symbols": list(SYMBOLS), "method": method, "methods": list(methods), "seconds": 10}
    return {"films": [film_data(film) for film in films], **look}


class TrainingReplay(DrawnExplorer):
    """One training or two as a film of ten seconds: embedding, segmentation, loss and Dice at every moment."""

    title = "Replay of a training"
    scripts, look = ("replay.js",), "dots"
    methods = _METHODS  # whose maps a page holds

    @in_place
    def __init__(
        self,
        *recordings: object,  # one or two: a Recording, Recorder, run, or the folder of one; none for an example
        method: str = "PCA",  # or "UMAP", made in the background
        umap: UmapSettings = UmapSettings(neighbours=15, epochs=60),  # of all moments together
    ):
        if len(recordings) > 2:
            raise ValueError(f"recordings: found {len(recordings)}, expected one or two")
        if method not in _METHODS:
            raise ValueError(f"method: found {method!r}, expected 'PCA' or 'UMAP'")
        self.films = [Film(as_recording(given)) for given in recordings or (example_recording(),)]
        self.settings, self.method = umap, method
        self.making: threading.Thread | None = None
        self.begin(replay_data(self.films, "PCA"))
        if method == "UMAP":
            self.live.state = {"method": "UMAP"}
            self.answer(self.state)

    @property
    def moment(self) -> int:
        """Which snapshot of the first recording the reader stopped at."""
        return int(self.live.state.get("moment", 0))

    def answer(self, asked: dict) -> None:
        """The browser has `asked` for the UMAP of all moments: send what is there; make the rest in the background, once."""
        for number, film in enumerate(self.films):
            if "UMAP" in film.places:
                self._send(number)
        if self.making is None:
            self.making = threading.Thread(target=self._make, daemon=True)
            self.making.start()

    @safely
    def _make(self) -> None:
        """Make the UMAP of every film that has none, and show it."""
        for number, film in enumerate(self.films):
            if "UMAP" not in film.places:
                film.places["UMAP"] = film.layout("UMAP", self.settings)
                self._send(number)

    def _send(self, number: int) -> None:
        """Send the UMAP of the film of this `number` to the browser."""
        film = self.films[number]
        self.live.tell({"film": number, "method": "UMAP", "places": packed_places(film.places["UMAP"]), "note": vote_words(film)})

    def picture(self) -> "go.Figure":
        """The first film at its first, middle and last moment."""
        film, snaps = self.films[0], self.films[0].recording.snapshots
        moments = sorted({0, len(snaps) // 2, len(snaps) - 1})
        shown = {f"{TITLES.get(snaps[t].stage, snaps[t].stage)}, step {snaps[t].step}": film.places["PCA"][t] for t in moments}
        return map_figure(shown, film.marks, film.recording.names)

    def stored(self) -> dict:
        """The data of the page, with a map by each of the `methods`."""
        for film in self.films:
            film.places |= {m: film.layout(m, self.settings) for m in self.methods if m not in film.places}
        start = self.state.get("method", self.method)
        return replay_data(self.films, start if start in self.methods else self.methods[0], self.methods)
