"""Make the picture of the front page and the social card from a run on generated scans.

python tools/pictures.py        (a few minutes; the pictures are committed)
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from semicon_nb.data import part_indices, phantom, split
from semicon_nb.embed import pca, pixel_embeddings, sample_pixels
from semicon_nb.evaluate import predict
from semicon_nb.methods import PRESETS, train_method
from semicon_nb.runs import Run
from semicon_nb.show import PALETTE, overlay, rgb

IMAGES = Path(__file__).resolve().parent.parent / "nbs" / "images"
INK, SOFT = "#1c2730", "#55626d"
FINE = 3  # dots are drawn this much larger, then shrunk


def trained() -> tuple[Run, np.ndarray]:
    """Three stages on two labelled volumes of generated subjects, and slices of subjects that no stage has seen."""
    cohort = phantom(subjects=24, size=64)
    parts = split(cohort, labelled=0.1, seed=0)
    run = train_method("global+local(exact)", cohort, parts, preset=PRESETS["demo"].scaled(2), seed=0)
    test = part_indices(cohort, parts, "test")
    largest = np.argsort((cohort.labels[test] > 0).sum(axis=(1, 2)))[::-1]
    volumes: dict[int, int] = {}
    for s in test[largest]:
        volumes.setdefault(int(cohort.volume[s]), int(s))
    return run, np.array(list(volumes.values())[:4])


def clouds(run: Run, slices: np.ndarray, stages: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The same pixels of unseen slices on a plane after each stage, [N, 2] in 0..1, and the label of each."""
    images, labels = run.cohort.images[slices], run.cohort.labels[slices]
    sample = sample_pixels(labels.shape, 2400, labels)
    found = {}
    for stage in stages:
        vectors = pixel_embeddings(run.after(stage), images, layer="features").reshape(-1, run.after(stage).settings["width"])
        places = pca(vectors[sample.index]).places
        found[stage] = (places - places.min(0)) / np.maximum(np.ptp(places, axis=0), 1e-9)
    return found, labels.reshape(-1)[sample.index]


def cloud(places: np.ndarray, classes: np.ndarray, size: int) -> Image.Image:
    """A map of pixels as dots in the colours of their labels."""
    picture = Image.new("RGB", (size * FINE, size * FINE), "white")
    pen, edge, dot = ImageDraw.Draw(picture), size * FINE * 0.04, 2.4 * FINE
    for (x, y), c in zip(places, classes, strict=True):
        middle = edge + np.array([x, 1 - y]) * (size * FINE - 2 * edge)
        pen.ellipse([*(middle - dot), *(middle + dot)], fill=rgb(PALETTE[c]) if c else (196, 203, 209))
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def write(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, fill: str = INK) -> None:
    """A line of text."""
    pen.text(place, text, fill=fill, font=ImageFont.load_default(size))


TITLES = {"initial": "before training", "global": "after stage 1, global", "local": "after stage 2, local", "finetune": "after stage 3"}


def hero(run: Run, slices: np.ndarray) -> Image.Image:
    """Unseen slices with the truth and the prediction, and their pixels before and after each stage."""
    images, labels = run.cohort.images[slices].astype(np.float32), run.cohort.labels[slices]
    guesses = predict(run.model, images).argmax(1)
    maps, classes = clouds(run, slices, tuple(TITLES))
    page = Image.new("RGB", (1400, 396), "white")
    pen = ImageDraw.Draw(page)
    for row, (shown, name) in enumerate(((labels, "Unseen subjects, with the truth"), (guesses, "The same slices, as predicted"))):
        write(pen, (16, 10 + row * 194), name, 19)
        for column, image in enumerate(images):
            tile = overlay(image, shown[column], scale=2)
            page.paste(tile.resize((140, 140), Image.Resampling.NEAREST), (16 + column * 148, 42 + row * 194))
    write(pen, (640, 10), "Their pixels, by the PCA of their embedding, and where each stage moves them", 19)
    for column, (stage, title) in enumerate(TITLES.items()):
        page.paste(cloud(maps[stage], classes, 182), (640 + column * 190, 52))
        write(pen, (646 + column * 190, 244), title, 17, SOFT)
    for c, name in enumerate(run.cohort.classes):
        x = 646 + c * 170
        pen.ellipse([x, 312, x + 16, 328], fill=rgb(PALETTE[c]) if c else (196, 203, 209))
        write(pen, (x + 24, 308), name, 19, SOFT)
    return page


def card(picture: Image.Image) -> Image.Image:
    """The social card: name, line, picture."""
    page = Image.new("RGB", (1200, 630), "#0b2a3c")
    pen = ImageDraw.Draw(page)
    write(pen, (60, 52), "semicon_nb", 72, "white")
    write(pen, (60, 150), "Semi-supervised contrastive learning for medical images:", 34, "#cfe3f0")
    write(pen, (60, 196), "learn it, see it, test it, on a laptop", 34, "#cfe3f0")
    small = picture.resize((1080, round(picture.height * 1080 / picture.width)), Image.Resampling.LANCZOS)
    page.paste(small, (60, 278))
    return page


def main() -> None:
    """Train, draw, write both pictures."""
    run, slices = trained()
    picture = hero(run, slices)
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.quantize(128).save(IMAGES / "hero.png", optimize=True)
    card(picture).quantize(128).save(IMAGES / "card.png", optimize=True)


if __name__ == "__main__":
    main()
