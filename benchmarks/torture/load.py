"""Load: many volumes, a large one, large slices, many tiny epochs; time and memory of each, in a process of its own."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import warm
from .readers import save, tiny, volume
from .trial import measured


def many_volumes(work: Path, count: int) -> Callable[[], dict]:
    """Write so many volumes, and what loads, splits, trains a step on and measures them."""
    folder = work / f"volumes-{count}"
    for k in range(count):
        image, labels = volume(k)
        save(folder / "images" / f"p{k:05d}.nii", image)
        save(folder / "labels" / f"p{k:05d}.nii", labels)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "head": 1, "tail": 2}}))

    def job() -> dict:
        from semicon_nb.data import load, part_indices, split
        from semicon_nb.evaluate import evaluate
        from semicon_nb.methods import train_method

        began = time.monotonic()
        cohort = load(folder, size=16)
        parts = split(cohort, 0.1)
        loaded = time.monotonic()
        run = train_method("scratch", cohort, parts, preset=tiny(1), out=work / f"run-{count}", progress=False, cache=False)
        report = evaluate(run.model, cohort, part_indices(cohort, parts, "test"))
        return {"load": loaded - began, "all": time.monotonic() - began, "volumes": len(cohort.volumes), "measured": len(report.volumes)}

    return job


def large_slice(work: Path, size: int) -> Callable[[], dict]:
    """A large slice through every strategy with both local losses, forwards and backwards, through `segment` and PixelExplorer."""

    def job() -> dict:
        import numpy as np
        import torch

        from semicon_nb.data import Grid
        from semicon_nb.explore import PixelExplorer
        from semicon_nb.losses import local_contrastive_loss, supervised_local_contrastive_loss
        from semicon_nb.predict import segment
        from semicon_nb.strategies import BlockDivision, Downsampling, RandomSampling
        from semicon_nb.unet import UNet

        features = torch.rand(1, 2, 8, size, size, generator=torch.Generator().manual_seed(0)).requires_grad_()
        labels = (torch.arange(size) * 5 // size).expand(1, 2, size, size).contiguous()
        found: dict[str, Any] = {}
        for strategy in (Downsampling(stride=32), BlockDivision(size=16), RandomSampling(2000)):
            began = time.monotonic()
            for loss_of, given in ((local_contrastive_loss, ()), (supervised_local_contrastive_loss, (labels,))):
                loss = loss_of(features, *given, 0.1, strategy)
                (gradient,) = torch.autograd.grad(loss, features)
                if not (loss.isfinite() and gradient.isfinite().all()):
                    raise ValueError(f"{strategy}: not finite")
                del loss, gradient  # else both losses' graphs are in memory at once
            found[type(strategy).__name__] = round(time.monotonic() - began, 1)
        picture = np.random.default_rng(0).random((size, size, 1)).astype(np.float32)
        model = UNet(classes=3, width=4)
        found["segment"] = [list(segment(model, picture, Grid(grid)).shape) for grid in (128, size)]
        PixelExplorer(model, picture[..., 0], labels[0, 0].numpy()).to_html(work / "page.html")
        return found

    return job


def large_volume(work: Path, size: int, slices: int) -> Callable[[], dict]:
    """Write a large volume of 8 classes, and what predicts and measures it."""
    import nibabel
    import numpy as np

    folder = work / "large"
    luck, shape = np.random.default_rng(0), (size, size, slices)
    steps = np.arange(size) * 8 // size
    for name, kind in (("images", np.int16), ("labels", np.uint8)):
        (folder / name).mkdir(parents=True)
        voxels = np.broadcast_to(steps.astype(kind)[:, None, None] * (100 if name == "images" else 1), shape).copy()
        for number in range(slices * (name == "images")):
            voxels[..., number] += luck.integers(0, 800, (size, size), kind)  # so much that the masks are noise
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / name / "one.nii")
    classes = {"background": 0, **{f"part {k}": k for k in range(1, 8)}}
    (folder / "dataset.json").write_text(json.dumps({"labels": classes}))

    def job() -> dict:
        import resource

        import torch

        from semicon_nb.data import load
        from semicon_nb.evaluate import evaluate
        from semicon_nb.predict import segment

        class Shades(torch.nn.Module):
            """The class of each pixel by its brightness: what is measured is not the network."""

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return -100 * (images - torch.linspace(0, 1, 8)[:, None, None]).square()

        def peak() -> float:
            return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1 << 20), 2)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        model = Shades()
        cohort = load(folder, size=128)
        after_load = peak()
        mask = segment(model, folder / "images" / "one.nii", cohort.grid)
        after_segment = peak()
        report = evaluate(model, cohort, np.flatnonzero(cohort.labelled))
        return {"shape": list(mask.shape), "classes": 8, "measured": len(report.volumes), "peaks": [after_load, after_segment, peak()]}

    return job


def tiny_epochs(work: Path, steps: int) -> Callable[[], dict]:
    """Many steps of a network of one layer: the last hundred take what the first hundred took."""

    def job() -> dict:
        import resource

        import torch

        from semicon_nb.loop import StageSettings, fit, generator_of

        folder, model, times, memory = work / "epochs", torch.nn.Linear(4, 1), [], []
        batches = lambda step: torch.rand(8, 4, generator=generator_of("x", step))  # noqa: E731
        settings = StageSettings(steps=steps, save_every=1, validate_every=0)
        for step in fit(model, lambda net, batch: net(batch).square().mean(), batches, settings, folder):
            times.append(step.seconds)
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        first, last = (sorted(part)[len(part) // 2] for part in (times[100:300], times[-200:]))
        grown = (memory[-1] - memory[min(300, steps // 2)]) / 1024
        return {"slower": round(last / first, 2), "grown_megabytes": round(grown, 1), "files": len(os.listdir(folder))}

    return job


def section(work: Path, short: bool = False) -> dict:
    """The figures of this part."""
    warm()
    os.environ["SEMICON_CACHE"] = str(work / "cache")
    count, size, steps, large = (60, 256, 600, (128, 40)) if short else (2000, 2048, 3000, (512, 400))
    half = measured(many_volumes(work, count // 2))
    whole = measured(many_volumes(work, count))
    return {
        "volumes": {**whole, "times_of_half": round(whole["all"] / half["all"], 2)},
        "volume": measured(large_volume(work, *large)),
        "slice": {"size": size, **measured(large_slice(work, size))},
        "epochs": {"steps": steps, **measured(tiny_epochs(work, steps))},
    }


def good(found: dict) -> bool:
    """Whether the figures keep within 4 GB, 2 of them for a volume, in time linear in volumes, and show no growth."""
    volumes, epochs = found["volumes"], found["epochs"]
    steady = epochs["grown_megabytes"] < 20 and epochs["files"] <= 2 and epochs["slower"] < 2
    small = volumes["gigabytes"] < 4 and found["slice"]["gigabytes"] < 4 and found["volume"]["gigabytes"] < 2
    return small and volumes["times_of_half"] < 3 and volumes["measured"] > 0 and steady
