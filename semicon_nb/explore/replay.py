"""Scrub through a training: the embedding in one layout for all moments, the loss, the Dice, and a slice's segmentation"""

__all__ = [
    "ALTS",
    "Film",
    "smooth",
    "curve_data",
    "curve_figure",
    "segmentation",
    "moment_words",
    "vote_words",
    "Screen",
    "ReplayState",
    "ReplayCallbacks",
    "TrainingReplay",
    "film_data",
    "film_panels",
    "write_replay",
]


import html
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from ..explore import page
from .canvas import PixelCanvas, PointsCanvas, in_16_bits, mixed, swatches
from ..embed import UmapSettings, aligned, map_figure
from .pixels import legend
from .widgets import Explorer, column, figure_widget, frame, in_place, labelled, reported, row, safely
from .embeddings import Colouring, mosaic_of
from .record import Recording, as_recording
from ..show import PALETTE, SYMBOLS


class Film:
    """A recording as it is shown: places in one layout, pictures, and curves; ValueError for one without snapshots."""

    def __init__(
        self,
        recording: Recording,  # with at least one snapshot
    ):
        if not recording.snapshots:
            raise ValueError(f"{recording.name}: the recording holds no snapshot, expected at least one")
        self.recording, self.mosaic = recording, mosaic_of(recording.images.shape)
        self.notes: dict[str, str] = {}
        self.places = {"PCA": self.layout("PCA")}

    def layout(self, method: str, settings: UmapSettings = UmapSettings()) -> np.ndarray:
        """Places [T, N, 2] of the shown pixels at each moment, in one layout by `method` ("PCA" or "UMAP"), scaled to 0 .. 1."""
        vectors = [snap.vectors.astype(np.float32) for snap in self.recording.snapshots]
        maps = aligned(vectors, method, settings)
        places, self.notes[method] = np.stack([m.places for m in maps]), maps[0].note
        low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
        return ((places - (low + high) / 2) / max(float((high - low).max()), 1e-12) + 0.5).astype(np.float32)

    @cached_property
    def marks(self) -> np.ndarray:
        """The label [n] of each shown pixel."""
        return self.recording.labels.reshape(-1)[self.recording.sample.index]

    @cached_property
    def grey(self) -> np.ndarray:
        """The slices [S, H, W] as bytes, their darkest and brightest half percent clipped."""
        low, high = np.quantile(self.recording.images, [0.005, 0.995])
        return (((self.recording.images - low) / max(high - low, 1e-6)).clip(0, 1) * 255).astype(np.uint8)

    def at(self, share: float) -> int:
        """The snapshot nearest to a share of the training, 0 first .. 1 last."""
        steps = np.array([snap.step for snap in self.recording.snapshots], float)
        return int(np.abs(steps - share * max(steps[-1], 1)).argmin())


def smooth(
    values: np.ndarray,  # [n] loss of each step
    width: int = 9,  # steps averaged
) -> np.ndarray:
    """A running mean [n], so that the noise of single batches does not hide the course."""
    width = max(1, min(width, len(values) // 2))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def curve_data(
    film: Film,  # with a history
) -> dict[str, tuple[Sequence[float], Sequence[float]]]:  # name -> steps and values
    """The curves of a training on one scale from 0 to 1, losses of each stage as a share of its largest."""
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


def curve_figure(
    film: Film,  # to show
) -> go.Figure:
    """Loss, Dice and neighbour agreement, and a line at the moment that is shown."""
    dashes, figure = ("solid", "dash", "dot", "dashdot", "longdash"), go.Figure()
    for i, (name, (x, y)) in enumerate(curve_data(film).items()):
        look = {"dash": dashes[i % 5], "width": 2, "color": PALETTE[1 + i % 7]}
        figure.add_scatter(x=x, y=y, name=name, mode="lines+markers" if len(x) < 30 else "lines", line=look, marker={"size": 5})
    now = {"line": {"color": "#999999", "width": 3}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=[0, 0], y=[0, 1], mode="lines", name="now", **now)
    figure.update_xaxes(title="step").update_yaxes(range=[-0.02, 1.05])
    return figure.update_layout(legend={"orientation": "h", "y": -0.3}, margin={"l": 40, "r": 8, "t": 8, "b": 40})


def segmentation(
    film: Film,  # to show
    moment: int,  # which snapshot
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # colours [R, C, 3] in bytes, marks [R, C], true labels [R, C]
    """The slices in grey, what is predicted as a tint with a mark for each class, and the labels whose outline is drawn."""
    place = film.mosaic.picture
    found = np.nan_to_num(place(film.recording.snapshots[moment].prediction)).astype(np.uint8)
    marks = np.where(found > 0, 1 + (found - 1) % 7, 0).astype(np.uint8)
    grey = np.nan_to_num(place(film.grey) / 255, nan=0.1)
    true = np.nan_to_num(place(film.recording.labels)).astype(np.uint8)
    return mixed(grey, swatches(*PALETTE)[marks], np.where(marks, 0.55, 0)), marks, true


ALTS = {
    "map": "The shown pixels in one layout for all moments, coloured by label",
    "segmentation": "The slices, what is predicted as a tint, the true outline as a white line",
    "course": "Loss as a share of its largest value, Dice and neighbour agreement over the steps",
}
"""What each picture shows."""


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
    numbers = f"Dice of these slices {snap.dice:.2f}, {near}"
    return f"{film.recording.name}: {snap.stage}, step {snap.step} of {last}{loss}; {numbers}."


def vote_words(
    film: Film,  # to show
) -> str:
    """How its predictions are made, and how many pixels are shown."""
    said = " ".join(dict.fromkeys(note for note in film.notes.values() if note))
    return (
        f"{said}{' ' * bool(said)}{film.recording.sample.sentence} Before fine-tuning a pixel is called what most of the 10 nearest shown pixels are called, "
        "which flatters: it tells how labels separate here, not how well the network generalises."
    )


class Screen:
    """The pictures of one film, and how they go to a moment."""

    def __init__(
        self,
        film: Film,  # to show
    ):
        self.film, self.words = film, ipywidgets.HTML()
        looks = [{"colour": PALETTE[c % len(PALETTE)], "symbol": SYMBOLS[c % len(SYMBOLS)]} for c in range(len(film.recording.names))]
        self.map = PointsCanvas(kinds=film.marks.astype(np.uint8).tobytes(), looks=looks, alt=ALTS["map"], height=340)
        self.slices = PixelCanvas(picks=False, widest=round(380 * max(1, film.mosaic.size[1] / film.mosaic.size[0])))
        self.curves, self.method = figure_widget(curve_figure(film), 340), ""

    def lay_out(self) -> ipywidgets.Widget:
        """Words above three columns."""
        recording = self.film.recording
        key = legend(Colouring("label", recording.labels, recording.names, says="what the expert drew"))
        boxes = ((self.map, ipywidgets.HTML(key)), (self.slices,), (self.curves,))
        return ipywidgets.VBox([self.words, row(*(column(*box, width="300px") for box in boxes))])

    def show(self, moment: int, method: str) -> None:
        """Go to a moment on the map of a `method`; the places of all moments are sent only when the map changes."""
        film, snap, method = self.film, self.film.recording.snapshots[moment], method if method in self.film.places else "PCA"
        words = moment_words(film, moment)
        if method != self.method:
            self.map.give(film.places[method])
            self.method = method
        self.map.moment = moment
        self.slices.show(*segmentation(film, moment), alt=f"{ALTS['segmentation']}. {words}")
        with self.curves.batch_update():
            self.curves.data[-1].x = [snap.step, snap.step]
        self.words.value = html.escape(words)


class ReplayState(Explorer):
    """What a TrainingReplay holds while it is open."""

    screens: list[Screen]  # one for each training
    slider: ipywidgets.SelectionSlider  # the moment
    method: ipywidgets.Dropdown  # the map: "PCA" or "UMAP"
    note: ipywidgets.HTML  # what the map is, in words
    settings: UmapSettings  # of the UMAP of all moments
    making: threading.Thread | None  # makes the UMAP


class ReplayCallbacks(ReplayState):
    """What a TrainingReplay does when it is touched."""

    title = "Replay of a training"

    @safely
    def moved(self, change: object = None) -> None:
        """Show the moment that the slider names."""
        first = self.screens[0].film
        share = first.recording.snapshots[self.slider.value].step / max(first.recording.snapshots[-1].step, 1)
        for number, screen in enumerate(self.screens):
            screen.show(self.slider.value if number == 0 else screen.film.at(share), self.method.value)

    @safely
    def another(self, change: dict) -> None:
        """Show the other kind of map; a UMAP that is not there yet is made in the background."""
        self.moved()
        if change["new"] == "UMAP" and not self.making and any("UMAP" not in s.film.places for s in self.screens):
            self.note.value = "The UMAP of all moments is being made; until then the PCA is shown."
            self.making = threading.Thread(target=self.make, daemon=True)
            self.making.start()

    @reported
    def make(self) -> None:
        """Make the UMAP of every film, then show it."""
        for screen in self.screens:
            screen.film.places["UMAP"] = screen.film.layout("UMAP", self.settings)
        self.note.value = html.escape(vote_words(self.screens[0].film))
        self.moved()

    def picture(self) -> go.Figure:
        """The first run at its first, middle and last moment."""
        film = self.screens[0].film
        count = len(film.recording.snapshots)
        moments = sorted({0, count // 2, count - 1})
        shown = {f"{film.recording.snapshots[t].stage}, step {film.recording.snapshots[t].step}": film.places["PCA"][t] for t in moments}
        return map_figure(shown, film.marks, film.recording.names)

    def write(self, path: str | os.PathLike, plotly: str) -> Path:
        """Write the page with both maps; the one that is chosen here is shown first."""
        return write_replay(path, [screen.film for screen in self.screens], self.title, plotly, self.settings, start=self.method.value)


class TrainingReplay(ReplayCallbacks):
    """Scrub through one training or two: embedding, segmentation, loss and Dice."""

    @in_place
    def __init__(
        self,
        *recordings: object,  # one or two: a Recording, a Recorder, a run, or the folder of one
        method: str = "PCA",  # or "UMAP", made in the background
        umap: UmapSettings = UmapSettings(neighbours=15, epochs=60),  # of all moments together
    ):
        if not 1 <= len(recordings) <= 2:
            raise ValueError(f"recordings: {len(recordings)} were given, expected one or two")
        self.settings, self.making, self.status = umap, None, ipywidgets.HTML()
        self.screens = [Screen(Film(as_recording(given))) for given in recordings]
        snapshots = self.screens[0].film.recording.snapshots
        options = [(f"{s.stage} {s.step}", i) for i, s in enumerate(snapshots)]
        self.slider = labelled(ipywidgets.SelectionSlider(options=options, value=0, description="Moment"), "420px")
        self.play = ipywidgets.Play(min=0, max=len(snapshots) - 1, interval=500, description="Play")
        self.method = labelled(ipywidgets.Dropdown(options=["PCA", "UMAP"], description="Map"), "160px")
        self.note = ipywidgets.HTML(html.escape(vote_words(self.screens[0].film)))
        self.slider.observe(self.moved, "value")
        self.play.observe(lambda change: setattr(self.slider, "value", change["new"]), "value")
        self.method.observe(self.another, "value")
        self.moved()
        above, screens = row(self.play, self.slider, self.method), [screen.lay_out() for screen in self.screens]
        self.widget = frame(self.title, above, *screens, self.note, self.status)
        self.method.value = method


def film_data(
    film: Film,  # to write
) -> dict:
    """A film as the page reads it."""
    snaps = film.recording.snapshots
    return {
        "grey": film.grey,
        "truth": film.recording.labels.astype(np.uint8),
        "marks": film.marks.astype(np.uint8),
        "curves": curve_figure(film),
        "alt": ALTS["map"],
        "places": {method: in_16_bits(places) for method, places in film.places.items()},
        "prediction": np.stack([s.prediction for s in snaps]).astype(np.uint8),
        "steps": [s.step for s in snaps],
        "shape": list(film.mosaic.shape),
        "across": film.mosaic.across,
        "gap": film.mosaic.gap,
        "words": [moment_words(film, t) for t in range(len(snaps))],
        "names": list(film.recording.names),
    }


def film_panels(
    number: int,  # of the film, from 0
    film: Film,  # to show
    alone: bool = False,  # no other film beside it
) -> str:
    """The three panels of one film and its words."""
    wide, name = film.mosaic.size[1] > 1.3 * film.mosaic.size[0], film.recording.name
    tall = {"segmentation": 250 if wide else 360}
    parts = [
        page.panel(f"{what}-{number}", what.capitalize() if alone else f"{name}: {what}", alt, tall.get(what, 360))
        for what, alt in ALTS.items()
    ]
    return f'<p id="words-{number}" aria-live="polite"></p>{page.columns(*parts)}'


def write_replay(
    path: str | os.PathLike,  # of the page
    films: list[Film],  # one or two
    title: str,  # of the page
    plotly: str = "inline",  # "inline", "shared", or the path of a plotly.min.js
    settings: UmapSettings = UmapSettings(),  # of the UMAP
    methods: tuple[str, ...] = ("PCA", "UMAP"),  # maps to write
    start: str = "PCA",  # the one shown first
) -> Path:
    """Write the page, making the maps that are missing."""
    for film in films:
        for method in methods:
            if method not in film.places:
                film.places[method] = film.layout(method, settings)
    snaps = films[0].recording.snapshots
    controls = page.controls(
        page.button("play", "Play"),
        page.slider("moment", "Moment", [f"{s.stage} {s.step}" for s in snaps]),
        page.select("method", "Map", list(methods), start),
    )
    body = (
        controls + '<ul class="legend" id="legend"></ul>' + "".join(film_panels(i, film, len(films) == 1) for i, film in enumerate(films))
    )
    data = {"films": [film_data(film) for film in films], "palette": list(PALETTE), "symbols": list(SYMBOLS)}
    lead = "Move the slider: one layout holds all moments, so what moves on the map moved in the embedding."
    return page.write_page(path, title, body + page.note(vote_words(films[0])), data, ("canvas.js", "points.js", "replay.js"), lead, plotly)
