#!/usr/bin/env python
"""Two augmented views per second on one core: this package against batchgenerators and MONAI's dictionary transforms.

The same kinds of change for each: rotation, scale, shift and elastic displacement with bilinear images and nearest labels, then
gamma, contrast about the mean, brightness, Gaussian blur and Gaussian noise, each applied every time. A bias field is left out,
because batchgenerators has none. Time is CPU time of one thread, so that waiting on a busy machine does not count; the libraries
take turns in every round, and each one's best round is reported, since a neighbour on the machine can only make a round slower.

    python benchmarks/views.py [--quick] [--out views.json]
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402

from semicon_nb.files import versions, write_atomic  # noqa: E402
from semicon_nb.views import FINETUNE, views  # noqa: E402

REQUIRED = 5.0
SETTINGS = replace(FINETUNE, shear=0.0, bias=0.0)


def slices(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth discs on a noisy background: [count, 1, size, size] and labels [count, size, size]."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, size)
    centre = torch.rand(count, 2, 1, 1, generator=generator) - 0.5
    distance = ((axis[:, None] - centre[:, 0]) ** 2 + (axis - centre[:, 1]) ** 2).sqrt()
    labels = (distance < 0.4).long() + (distance < 0.2).long()
    images = (0.3 + 0.2 * labels + 0.05 * torch.randn(labels.shape, generator=generator)).clamp(0, 1)
    return images[:, None], labels


def ours(images: torch.Tensor, labels: torch.Tensor, where: bool = False) -> Callable[[], object]:
    """Two views of the whole batch, with or without following the pixels."""

    def run() -> object:
        pair = views(images, labels, SETTINGS)
        return (pair, pair.where) if where else pair

    return run


def batchgenerators_views(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    """The same changes by batchgenerators, which loops over the slices of a batch."""
    from batchgenerators.transforms.abstract_transforms import Compose
    from batchgenerators.transforms.color_transforms import BrightnessTransform, ContrastAugmentationTransform, GammaTransform
    from batchgenerators.transforms.noise_transforms import GaussianBlurTransform, GaussianNoiseTransform
    from batchgenerators.transforms.spatial_transforms import SpatialTransform

    size, s = images.shape[-1], SETTINGS
    smooth = size / s.knots / 2
    compose = Compose(
        [
            SpatialTransform(
                (size, size),
                patch_center_dist_from_border=size / 2 - s.shift * size,
                do_elastic_deform=True,
                alpha=(0.0, 8 * s.elastic * size * smooth),
                sigma=(smooth, smooth),
                do_rotation=True,
                angle_x=(-s.rotation, s.rotation),
                do_scale=True,
                scale=s.scale,
                border_mode_data="constant",
                border_cval_seg=0,
                order_data=1,
                order_seg=0,
                random_crop=True,
            ),
            GammaTransform(s.gamma, retain_stats=False, p_per_sample=1),
            ContrastAugmentationTransform(s.contrast, preserve_range=False, p_per_sample=1),
            BrightnessTransform(0, s.brightness / 2, p_per_sample=1),
            GaussianBlurTransform((0.05, s.blur), p_per_sample=1),
            GaussianNoiseTransform((0, s.noise**2), p_per_sample=1),
        ]
    )
    data, seg = np.tile(images.numpy(), (2, 1, 1, 1)), np.tile(labels.numpy()[:, None].astype(np.float32), (2, 1, 1, 1))
    return lambda: compose(data=data.copy(), seg=seg.copy())


def monai_views(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    """The same changes by MONAI's dictionary transforms, called twice for each slice."""
    from monai.transforms import (
        Compose,
        Rand2DElasticd,
        RandAdjustContrastd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityFixedMeand,
        RandShiftIntensityd,
    )

    size, s = images.shape[-1], SETTINGS
    spacing = size / s.knots
    compose = Compose(
        [
            Rand2DElasticd(
                ("image", "label"),
                spacing=(spacing, spacing),
                magnitude_range=(0, 2 * s.elastic * size),
                prob=1,
                rotate_range=s.rotation,
                translate_range=s.shift * size,
                scale_range=(s.scale[0] - 1, s.scale[1] - 1),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandAdjustContrastd("image", prob=1, gamma=s.gamma),
            RandScaleIntensityFixedMeand("image", prob=1, factors=(s.contrast[0] - 1, s.contrast[1] - 1)),
            RandShiftIntensityd("image", offsets=s.brightness, prob=1),
            RandGaussianSmoothd("image", sigma_x=(0.05, s.blur), sigma_y=(0.05, s.blur), prob=1),
            RandGaussianNoised("image", prob=1, std=s.noise),
        ]
    )
    samples = [{"image": image, "label": label[None].float()} for image, label in zip(images, labels, strict=True)]
    return lambda: [compose(dict(sample)) for sample in samples for _ in range(2)]


def rounds(runners: dict[str, Callable[[], object]], turns: int, least: float) -> dict[str, float]:
    """CPU seconds of one call of each in its best round; in each round each runs for at least `least` seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for run in runners.values():
        run()
    for _ in range(turns):
        for name, run in runners.items():
            start, calls = time.process_time(), 0
            while time.process_time() - start < least:
                run()
                calls += 1
            seconds[name].append((time.process_time() - start) / calls)
    return {name: min(times) for name, times in seconds.items()}


def measure(size: int, batch: int, turns: int, least: float) -> list[dict]:
    """One row for each library at this size; `ratio` says how many times faster this package is."""
    images, labels = slices(size, batch)
    runners = {
        "semicon_nb": ours(images, labels),
        "semicon_nb, pixels followed": ours(images, labels, where=True),
        "batchgenerators": batchgenerators_views(images, labels),
        "MONAI dictionary": monai_views(images, labels),
    }
    found = rounds(runners, turns, least)
    return [
        {"size": size, "batch": batch, "library": name, "pairs_per_second": batch / seconds, "ratio": seconds / found["semicon_nb"]}
        for name, seconds in found.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, write JSON, and exit with 1 where a required ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, about 20 seconds")
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    turns, least = (15, 0.05) if options.quick else (50, 0.1)
    rows = [row for size, batch in ((64, 32), (160, 16)) for row in measure(size, batch, turns, least)]
    print(f"{'size':>5} {'library':28} {'two views of a slice, per second':>33} {'times as long':>14}")
    for row in rows:
        print(f"{row['size']:>5} {row['library']:28} {row['pairs_per_second']:>33,.0f} {row['ratio']:>14.1f}")
    if options.out:
        report = {"benchmark": "views", "rows": rows, "versions": versions(), "machine": platform.machine(), "threads": 1, "clock": "cpu"}
        write_atomic(options.out, json.dumps(report, indent=1))
    peers = [row for row in rows if not row["library"].startswith("semicon_nb")]
    return int(any(row["ratio"] < REQUIRED for row in peers))


if __name__ == "__main__":
    sys.exit(main())
