"""Slices per second of each training stage, and where the time of a step goes.

    python benchmarks/train.py [--quick] [--data FOLDER] [--out benchmarks/results/train.json]

A 16-filter U-Net on hippocampus slices of 64 x 64 (where none are found and no --data is given the phantom's, which it says, and which
only --out writes down), each stage with its default batch,
float32, and bf16 autocast where the device multiplies it itself, one CPU thread; on a GPU as well where there is one.
`slices/s` is measured on the stage itself (`train_global`, `train_local`, `finetune`, as they are used), the parts on the same calls one by one: drawing and augmenting
the batch, the network forward, the loss with its gradient by the network's output, the network backward, the optimiser. CPU
times are processor times, so that other work on the machine disturbs little; GPU times are wall times, synchronised.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402

from semicon_nb.data import hippocampus, labelled_indices, phantom, split, unlabelled_indices  # noqa: E402
from semicon_nb.dice import cross_entropy_dice  # noqa: E402
from semicon_nb.files import versions, write_atomic  # noqa: E402
from semicon_nb.graphs import WARM  # noqa: E402
from semicon_nb.loop import (  # noqa: E402
    STAGES,  # noqa: E402
    draw,
    generator_of,
    start,
)
from semicon_nb.losses import global_contrastive_loss, supervised_local_contrastive_loss  # noqa: E402
from semicon_nb.machine import multiplies_bf16, processor  # noqa: E402
from semicon_nb.predict import at_precision  # noqa: E402
from semicon_nb.strategies import Downsampling, FullResolution, RandomSampling  # noqa: E402
from semicon_nb.train import allowed, finetune, pair_of, train_global, train_local  # noqa: E402
from semicon_nb.unet import UNet  # noqa: E402
from semicon_nb.views import augment  # noqa: E402

PARTS = ("views", "forward", "loss", "backward", "optimiser")
STRATEGIES = {"local, every pixel": FullResolution(), "local, stride 4": Downsampling(4), "local, 1,024 random": RandomSampling(1024)}


def clock(device: str) -> float:
    """Processor time, or wall time once the GPU is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def pieces(stage: str, model: UNet, slices, settings, strategy) -> tuple[Callable, Callable, Callable]:
    """A stage's batch by step number, network and loss, as semicon_nb.train puts them together."""
    if stage == "finetune":

        def batch(step: int):
            images, labels = slices.pick(draw(len(slices.images), settings.batch, step, 0, stage))
            return augment(images, labels, settings.views, generator_of(0, stage, "views", step))

        return batch, lambda b: at_precision(model, b[0], settings.precision), lambda out, b: cross_entropy_dice(out, b[1])

    def batch(step: int):
        return pair_of(slices, settings, step, 0, stage)

    if stage == "global":

        def loss(out, pair):
            first, second = out.unflatten(0, (-1, 2)).unbind(1)
            return global_contrastive_loss(first, second, temperature=settings.temperature)

        return batch, lambda pair: at_precision(model.embed_images, pair.images.flatten(0, 1), settings.precision), loss

    def local(out, pair):
        return supervised_local_contrastive_loss(out.unflatten(0, (-1, 2)), pair.labels, settings.temperature, strategy)

    return batch, lambda pair: model.pixel_head(at_precision(model.features, pair.images.flatten(0, 1), settings.precision)), local


def time_parts(stage: str, model: UNet, slices, settings, strategy, steps: int, device: str) -> dict[str, float]:
    """Milliseconds of each part of a step, the median over steps after one to warm up."""
    batch_of, network, loss_of = pieces(stage, model, slices, settings, strategy)
    state, taken = start(model, settings), []
    for step in range(steps + 1):
        marks = [clock(device)]
        batch = batch_of(step)
        marks.append(clock(device))
        out = network(batch)
        marks.append(clock(device))
        leaf = out.detach().requires_grad_()
        (by_out,) = torch.autograd.grad(loss_of(leaf, batch), leaf)
        marks.append(clock(device))
        state.optimiser.zero_grad(set_to_none=True)
        out.backward(by_out)
        marks.append(clock(device))
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        state.optimiser.step()
        marks.append(clock(device))
        taken.append([1000 * (b - a) for a, b in zip(marks, marks[1:], strict=False)])
    return {name: round(torch.tensor(column).median().item(), 2) for name, column in zip(PARTS, zip(*taken[1:], strict=True), strict=True)}


def time_stage(stage: str, model: UNet, cohort, parts, settings, strategy, steps: int, device: str) -> float:
    """Slices per second of the stage itself, validation left out, after one step to warm up; on a GPU after those that it records too."""
    warm = 1 if device == "cpu" else WARM + 1
    settings = replace(settings, steps=steps + warm, validate_every=0)
    if stage == "local":
        run = train_local(model, cohort, parts, settings, strategy)
    else:
        run = {"global": train_global, "finetune": finetune}[stage](model, cohort, parts, settings)
    for _ in range(warm):
        next(run)
    began = clock(device)
    for _ in run:
        pass
    return steps * settings.batch / (clock(device) - began)


def rows_of(cohort, parts, steps: int, device: str) -> list[dict]:
    """One row a stage (and strategy) and precision."""
    rows = []
    for name in ("global", *STRATEGIES, "fine-tune"):
        stage, strategy = {"fine-tune": "finetune"}.get(name, name.split(",")[0]), STRATEGIES.get(name)
        for precision in ("fp32", "bf16") if multiplies_bf16(torch.device(device)) else ("fp32",):
            settings = replace(STAGES[stage], precision=precision)
            torch.manual_seed(0)
            model = UNet(classes=len(cohort.classes), width=16).to(device)
            indices = unlabelled_indices(cohort, parts) if stage == "global" else labelled_indices(cohort, parts)
            slices = allowed(cohort, parts, indices, "images" if stage == "global" else "labels", device)
            speed = time_stage(stage, model, cohort, parts, settings, strategy, steps, device)
            row = {"stage": name, "precision": precision, "device": device, "batch": settings.batch, "slices_per_second": round(speed, 1)}
            rows.append(row | {"milliseconds": time_parts(stage, model, slices, settings, strategy, steps, device)})
            print(line(rows[-1]), flush=True)
    return rows


def line(row: dict) -> str:
    """A row for the terminal, parts in milliseconds and as shares."""
    parts = row["milliseconds"]
    shares = " ".join(f"{parts[p]:8.1f} ({100 * parts[p] / sum(parts.values()):2.0f} %)" for p in PARTS)
    return f"{row['stage']:20} {row['precision']} {row['device']:4} {row['batch']:5} {row['slices_per_second']:8.1f} {shares}"


def main(arguments: list[str] | None = None) -> dict:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three steps of each stage only")
    parser.add_argument("--data", help="folder with Task04_Hippocampus (default: SEMICON_DATA)")
    parser.add_argument("--out", type=Path, help="JSON file to write (default: results/train.json beside this file; none with --quick, --data, or without data)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        cohort = hippocampus(chosen.data, size=64, limit=20)
    except (ValueError, OSError) as error:
        if chosen.data or not isinstance(error, FileNotFoundError):
            parser.exit(2, f"--data: found {chosen.data or 'none'}, expected hippocampi ({error})\n")
        print("no hippocampi were found, so the slices are the phantom's; name their folder by --data, or set SEMICON_DATA", file=sys.stderr)
        cohort = phantom(subjects=20, size=64)
    usual = not (chosen.quick or chosen.data) and cohort.name == "hippocampus"
    out = chosen.out or (HERE / "results" / "train.json" if usual else None)
    parts = split(cohort, labelled=0.2, seed=0)
    print(f"{'stage':20} {'':4} {'':4} {'batch':>5} {'slices/s':>8} " + " ".join(f"{p:>8} ms    " for p in PARTS))
    rows = [row for device in ("cpu", "cuda") if device == "cpu" or torch.cuda.is_available()
            for row in rows_of(cohort, parts, 3 if chosen.quick else 4 if device == "cpu" else 20, device)]  # fmt: skip
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    results = {"cohort": cohort.name, "size": cohort.size, "width": 16, "threads": 1, "machine": processor(), "gpu": gpu,
               "versions": versions(), "rows": rows}  # fmt: skip
    if out:
        write_atomic(out, json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
