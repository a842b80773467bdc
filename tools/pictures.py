"""Make the moving picture of the front page and the social card, from one training on generated scans.

python tools/pictures.py        (two minutes; the pictures are committed)

Seen are slices of people that no stage has learned from. Each pixel has the colour of the class whose mean vector, over
the outlined slices, is nearest to its own; the map is the plane through these three means as they are at the end, and
its dots have the colour of the truth.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from semicon_nb.data import Cohort, Split, labelled_indices, part_indices, phantom, split
from semicon_nb.embed import pixel_embeddings, sample_pixels
from semicon_nb.methods import METHODS
from semicon_nb.show import PALETTE, rgb
from semicon_nb.stages import PRESETS
from semicon_nb.unet import UNet

IMAGES = Path(__file__).resolve().parent.parent / "nbs" / "images"
GROUND, INK, FAINT = "#0d1821", "#e8eef2", "#566a77"
COLOURS = ((120, 134, 145), rgb(PALETTE[1]), rgb(PALETTE[2]))
SIZE, TILE, GAP, TOP, MAP = (800, 496), 192, 8, 54, (344, 392)
FINE, DOT = 2, 3  # dots are drawn this much larger, then shrunk; their radius
STAGES = {"global": "1 global", "local": "2 local", "finetune": "3 fine-tuning"}
FRAMES = {"global": 4, "local": 11, "finetune": 24}


@dataclass(frozen=True)
class Moment:
    """What the network makes of the shown slices after some step."""

    stage: str  # "initial", "global", "local" or "finetune"
    nearest: np.ndarray  # [S, H, W] the class whose mean is nearest
    vectors: np.ndarray  # [N, C] of the pixels on the map
    centres: np.ndarray  # [classes, C] unit means of the classes over outlined slices


@dataclass(frozen=True)
class Film:
    """The shown slices, and a moment for each frame."""

    images: np.ndarray  # [S, H, W]
    classes: np.ndarray  # [N] true class of each pixel on the map
    moments: tuple[Moment, ...]


# ------------------------------------------------------------------------------------------------ training


def unseen(cohort: Cohort, parts: Split, count: int = 4) -> np.ndarray:
    """The slice with the largest structures of each of `count` test volumes, [S]."""
    test = part_indices(cohort, parts, "test")
    largest = test[np.argsort(-(cohort.labels[test] > 0).sum((1, 2)), kind="stable")]
    _, first = np.unique(cohort.volume[largest], return_index=True)
    return largest[np.sort(first)[:count]]


def look(model: UNet, stage: str, cohort: Cohort, learned: np.ndarray, shown: np.ndarray, dots: np.ndarray) -> Moment:
    """One moment: class means over the outlined slices `learned`, the nearest mean of each pixel of the slices `shown`."""
    vectors, labels = pixel_embeddings(model, cohort.images[learned]), cohort.labels[learned]
    centres = np.stack([vectors[labels == c].mean(0) for c in range(len(cohort.classes))])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    pixels = pixel_embeddings(model, cohort.images[shown])
    return Moment(stage, (pixels @ centres.T).argmax(-1), pixels.reshape(-1, pixels.shape[-1])[dots], centres)


def trained() -> Film:
    """Three stages on a fifth of the outlines of generated people, looked at more often where more happens."""
    cohort = phantom(subjects=24, size=64)
    parts = split(cohort, labelled=0.2, seed=0)
    learned, shown = labelled_indices(cohort, parts)[::2], unseen(cohort, parts)
    truth = cohort.labels[shown]
    dots = sample_pixels(truth.shape, 1000, truth).index
    torch.manual_seed(0)
    preset = PRESETS["demo"].scaled(2)
    model = UNet(classes=3, width=preset.width, pixel_dim=preset.pixel_dim)

    def moments() -> Iterator[Moment]:
        yield look(model, "initial", cohort, learned, shown, dots)
        for stage in METHODS["global+local(exact)"].stages:
            settings = replace(preset.stages[stage.name], precision="fp32", validate_every=0)
            wanted = set((settings.steps * np.linspace(0, 1, FRAMES[stage.name] + 1)[1:] ** 1.5).round())
            for step in stage.train(model, cohort, parts, settings, **stage.options):
                if step.step in wanted:
                    yield look(model, stage.name, cohort, learned, shown, dots)

    return Film(cohort.images[shown].astype(np.float32), truth.reshape(-1)[dots], tuple(moments()))


# ------------------------------------------------------------------------------------------------ drawing


def places(film: Film) -> np.ndarray:
    """Each pixel on the plane through the last means at each moment, [M, N, 2] in 0..1: background left, front above rear."""
    ground, front, rear = film.moments[-1].centres.astype(np.float64)
    right = (front + rear) / 2 - ground
    right /= np.linalg.norm(right)
    up = (front - rear) - ((front - rear) @ right) * right
    flat = np.stack([moment.vectors for moment in film.moments]) @ np.stack([right, up / np.linalg.norm(up)], axis=1)
    low, high = (np.percentile(flat.reshape(-1, 2), share, axis=0) for share in (0.05, 99.95))
    return ((flat - low) / (high - low)).clip(0, 1)


def enlarged(values: np.ndarray) -> np.ndarray:
    """An image [H, W] in 0..1 as a smooth one [TILE, TILE, 1]."""
    big = Image.fromarray(values.astype(np.float32)).resize((TILE, TILE), Image.Resampling.BICUBIC)
    return np.asarray(big).clip(0, 1)[..., None]


def tinted(image: np.ndarray, nearest: np.ndarray) -> Image.Image:
    """A slice [H, W], with the colour of each structure where it is believed to be."""
    pixels = np.repeat(215 * enlarged(image), 3, axis=-1)
    for c in (1, 2):
        share = 0.62 * enlarged(nearest == c)
        pixels = (1 - share) * pixels + share * np.array(COLOURS[c])
    return Image.fromarray(pixels.astype(np.uint8))


def cloud(spots: np.ndarray, classes: np.ndarray) -> Image.Image:
    """The map: a dot for each pixel [N, 2], in the colour of its true class [N]."""
    picture = Image.new("RGB", (MAP[0] * FINE, MAP[1] * FINE), GROUND)
    pen, edge, dot = ImageDraw.Draw(picture), 8 * FINE, DOT * FINE
    for k in np.random.default_rng(0).permutation(len(spots)):
        x, y = edge + np.array([spots[k, 0], 1 - spots[k, 1]]) * (np.array(picture.size) - 2 * edge)
        pen.ellipse([x - dot, y - dot, x + dot, y + dot], fill=COLOURS[classes[k]])
    return picture.resize(MAP, Image.Resampling.LANCZOS)


def write(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int = 27, fill: str = INK) -> float:
    """A line of text; gives its width."""
    font = ImageFont.load_default(size)
    pen.text(place, text, fill=fill, font=font)
    return pen.textlength(text, font=font)


def frame(film: Film, moment: Moment, spots: np.ndarray) -> Image.Image:
    """One picture of the film: four slices, the map of their pixels [N, 2], and the stage that is at work."""
    page = Image.new("RGB", SIZE, GROUND)
    pen, left, foot = ImageDraw.Draw(page), 2 * (TILE + GAP) + 40, 454
    write(pen, (16, 12), "scans it has never seen")
    write(pen, (left, 12), "their pixels, on a map")
    for i, image in enumerate(film.images):
        page.paste(tinted(image, moment.nearest[i]), (16 + i % 2 * (TILE + GAP), TOP + i // 2 * (TILE + GAP)))
    page.paste(cloud(spots, film.classes), (left, TOP))
    for c, name, x in ((1, "front part", 16), (2, "rear part", 206)):
        pen.ellipse([x, foot + 8, x + 18, foot + 26], fill=COLOURS[c])
        write(pen, (x + 28, foot), name)
    x = 404.0
    for stage, name in STAGES.items():
        x += 22 + write(pen, (x, foot), name, fill=INK if stage == moment.stage else FAINT)
    return page


def card(picture: Image.Image) -> Image.Image:
    """The social card: name, line, picture."""
    page = Image.new("RGB", (1200, 630), GROUND)
    pen = ImageDraw.Draw(page)
    write(pen, (44, 150), "semicon_nb", 58, "white")
    for row, words in enumerate(("few outlines,", "many scans:", "learn it, see it,", "test it, on a laptop")):
        write(pen, (44, 246 + 46 * row), words, 33, "#cfe3f0")
    small = picture.resize((800, 496), Image.Resampling.LANCZOS)
    page.paste(small, (390, 67))
    return page


def main() -> None:
    """Train, draw, write both pictures."""
    film = trained()
    spots = places(film)
    pages = [frame(film, moment, spots[k]) for k, moment in enumerate(film.moments)]
    times = [1200, *[150] * (len(pages) - 2), 3000]
    pages[0].save(IMAGES / "learning.webp", save_all=True, append_images=pages[1:], duration=times, loop=0, quality=35, method=6)
    card(pages[-1]).quantize(128).save(IMAGES / "card.png", optimize=True)


if __name__ == "__main__":
    main()
