"""Random inputs at the extremes of shape, balance, temperature, scale, weight and type: loss and gradient against dense float64.

    python benchmarks/torture_loss.py [--count 10000] [--seed 0]

Each case is one call of the supervised local loss on the CPU. The dense measure is written out pair by pair in float64, from the same
numbers. An error of the value is relative to the larger of 1 and the value, one of the gradient to its length plus a hundredth of the
length that it would have if no pull cancelled a push: where all rows point one way it all but vanishes, and only rounding is left.
"""

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from semicon_nb.losses import supervised_local_contrastive_loss  # noqa: E402
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, Groups, RandomSampling, Strategy  # noqa: E402

BOUNDS = {torch.float64: (1e-12, 1e-9), torch.float32: (1e-4, 1e-3), torch.bfloat16: (1e-4, 1e-2), torch.float16: (1e-4, 5e-3)}
"""Largest errors of the value and of the gradient by the type of the features."""


def dense(unit: Tensor, labels: Tensor, group: Groups, temperature: float, form: str, background: bool) -> tuple[Tensor, int]:
    """Sum over the groups of one size of the mean loss of their anchors, and how many groups have one."""
    total, count = unit.new_zeros(()), 0
    for number, index in enumerate(group.index):
        weight = torch.ones(len(index), dtype=torch.float64) if group.weight is None else group.weight[number].double()
        label = labels[index]
        kept = (label > 0) | background
        index, label, weight = index[kept], label[kept], weight[kept]
        rows, n = unit[index], len(index)
        same = (label[:, None] == label) & (label[:, None] > 0) & ~torch.eye(n, dtype=torch.bool)
        anchor = same.any(1)
        other = ~(label[:, None] == label) & anchor[:, None]
        if form == "printed":
            anchor &= other.any(1)
        if not anchor.any():
            continue
        s = rows @ rows.T / temperature + weight.log()
        away = s.masked_fill(torch.eye(n, dtype=torch.bool), -math.inf)
        share = weight[anchor] / weight[anchor].sum()
        if form == "supcon":
            positives = (rows @ rows.T / temperature * same).sum(1) / same.sum(1).clamp(min=1)
            each = (away.logsumexp(1) - positives)[anchor]
        else:
            pulls, pushes = (s.masked_fill(~mask, -math.inf)[anchor].logsumexp(1) for mask in (same, other))
            members = (label[:, None] == label).sum(1) * weight - 1
            each = (pushes - pulls) / members[anchor].clamp(min=1)
        total, count = total + (share * each).sum(), count + 1
    return total, count


def case_of(luck: random.Random) -> dict:
    """What is tried."""
    shape = luck.choice([(1, 1, 2, 2), (1, 1, 1, 3), (1, 2, 5, 7), (2, 2, 6, 6), (1, 1, 17, 19), (2, 1, 3, 30), (1, 2, 16, 16)])
    channels = luck.choice([1, 2, 3, 8, 64])
    temperature = math.exp(luck.uniform(math.log(0.002), math.log(5)))
    strategy: Strategy = luck.choice([FullResolution(), FullResolution(True), Downsampling(2), BlockDivision(4), BlockDivision(3, True),
                                      RandomSampling(luck.choice([3, 16, 100])), RandomSampling(40, balanced=False)])  # fmt: skip
    return {
        "shape": shape, "channels": channels, "temperature": temperature, "strategy": strategy,
        "classes": luck.choice([1, 2, 3, 9]), "balance": luck.choice([0.02, 0.3, 0.5, 1.0]), "scale": 10 ** luck.uniform(-3, 3),
        "kind": luck.choice(["normal", "alike", "opposite", "clusters", "one direction"]), "form": luck.choice(["supcon", "supcon", "printed"]),
        "background": luck.random() < 0.6, "dtype": luck.choice([torch.float32] * 6 + [torch.float64, torch.bfloat16, torch.float16]),
        "seed": luck.randrange(2**31),
    }  # fmt: skip


def inputs_of(case: dict) -> tuple[Tensor, Tensor]:
    """Features [B, V, C, H, W] and labels [B, V, H, W] of a case."""
    generator = torch.Generator().manual_seed(case["seed"])
    images, views, high, wide = case["shape"]
    features = torch.randn(images, views, case["channels"], high, wide, generator=generator, dtype=torch.float64)
    drawn = torch.rand(images, views, high, wide, generator=generator)
    labels = torch.where(drawn < case["balance"], 1 + (drawn / case["balance"] * case["classes"]).long().clamp(max=case["classes"] - 1), 0)
    main = torch.randn(case["channels"], generator=generator, dtype=torch.float64)[:, None, None]
    sign = torch.where(torch.rand(images, views, 1, high, wide, generator=generator) < 0.5, -1.0, 1.0)
    noise = 10 ** float(torch.rand((), generator=generator) * 4 - 5)
    if case["kind"] == "alike":
        features = main + noise * features
    elif case["kind"] == "opposite":
        features = sign * main + noise * features
    elif case["kind"] == "clusters":
        centres = torch.randn(case["classes"] + 1, case["channels"], generator=generator, dtype=torch.float64)
        features = centres[labels].movedim(-1, 2) + noise * features
    elif case["kind"] == "one direction":
        features = main.expand_as(features).clone()
    return (features * case["scale"]).to(case["dtype"]), labels


def errors(case: dict) -> tuple[float, float]:
    """Errors of value and gradient of a case."""
    features, labels = inputs_of(case)
    given = features.clone().requires_grad_()
    how = {"temperature": case["temperature"], "strategy": case["strategy"], "form": case["form"], "background": case["background"]}
    found = supervised_local_contrastive_loss(given, labels, **how)
    found.backward()
    double = features.double().requires_grad_()
    rows = double.movedim(2, -1).reshape(-1, features.shape[2])
    length = rows.norm(dim=1, keepdim=True)
    unit = torch.where(length > 1e-12, rows / length.clamp(min=1e-300), 0)
    sums = [dense(unit, labels.flatten(), group, case["temperature"], case["form"], case["background"])
            for group in case["strategy"].groups(labels, case["shape"])]  # fmt: skip
    count = sum(number for _, number in sums)
    true = sum(total for total, _ in sums) / count if count else double.sum() * 0
    true.backward()
    wanted, gradient = double.grad.to(case["dtype"]).double(), given.grad.double()  # what the type makes of the true gradient
    apart = torch.where(gradient == wanted, 0.0, gradient - wanted)  # where both are beyond float16, too
    wanted = wanted.nan_to_num(posinf=65504.0, neginf=-65504.0)
    inside = length.detach()[labels.flatten() > 0]
    whole = 2 / case["temperature"] / len(inside) ** 0.5 / inside.min().clamp(min=1e-12).item() if count else 1.0
    scale = wanted.norm().item() + 0.01 * whole
    return abs(found.item() - true.item()) / max(1.0, abs(true.item())), (apart.norm() / scale).item()


def figures(count: int, seed: int) -> dict:
    """How many of `count` cases keep within BOUNDS, the worst errors by type, and the first cases that do not."""
    luck, bad, worst, began = random.Random(seed), [], {}, time.time()
    for _ in range(count):
        case = case_of(luck)
        value, gradient = errors(case)
        name = str(case["dtype"]).removeprefix("torch.")
        seen = worst.setdefault(name, {"value": 0.0, "gradient": 0.0, "cases": 0})
        seen["cases"] += 1
        limits = BOUNDS[case["dtype"]]
        if not (value <= limits[0] and gradient <= limits[1]):
            bad.append({**{key: str(part) for key, part in case.items()}, "value error": value, "gradient error": gradient})
        seen["value"], seen["gradient"] = max(seen["value"], value), max(seen["gradient"], gradient)
    return {"cases": count, "outside": len(bad), "worst": worst, "first": bad[:5], "seconds": round(time.time() - began, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="cases (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (default: 0)")
    given = parser.parse_args()
    print(json.dumps(found := figures(given.count, given.seed), indent=1))
    sys.exit(bool(found["outside"]))
