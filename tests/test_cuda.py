"""What the package does on a GPU against float64 on the CPU: losses, views, stages, resumption, precision, two processes.

`SEMICON_CARD=cpu pytest -m cuda tests/test_cuda.py` tries all of it without a GPU. Nothing here needs more than PyTorch, NumPy, pytest,
and what the core of the package imports.
"""

import functools
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from small import TINY, in_precision
from torch.nn.functional import normalize

from semicon_nb import graphs
from semicon_nb.contrast import log_pair_sums
from semicon_nb.data import phantom, split
from semicon_nb.dice import cross_entropy_dice
from semicon_nb.loop import STAGES, fit, generator_of, run
from semicon_nb.losses import global_contrastive_loss, local_contrastive_loss, supervised_local_contrastive_loss
from semicon_nb.machine import chosen_device, chosen_precision, machine
from semicon_nb.methods import FINETUNE_STAGE, METHODS, train_method
from semicon_nb.networks import build
from semicon_nb.predict import predict
from semicon_nb.stages import Method
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, RandomSampling
from semicon_nb.train import finetune, train_global, train_local
from semicon_nb.views import FINETUNE, GLOBAL, LOCAL, correspondence, views

pytestmark = pytest.mark.cuda
ROOT = Path(__file__).resolve().parents[1]
STRATEGIES = [
    FullResolution(),
    FullResolution(per_image=True),
    Downsampling(2),
    BlockDivision(4),
    BlockDivision(3, per_image=True),
    RandomSampling(90, False),
    RandomSampling(90, True),
]
TYPES = {torch.float64: (1e-10, 1e-10), torch.float32: (2e-6, 5e-5), torch.bfloat16: (2e-5, 1e-2), torch.float16: (2e-5, 2e-2)}
"""Largest relative error of the loss and of its gradient, which comes back in the type of the features."""
SETTINGS = {
    "global": replace(STAGES["global"], steps=6, batch=6, warmup=2, save_every=2, average=0.9, precision="fp32"),
    "local": replace(STAGES["local"], steps=6, batch=2, warmup=2, save_every=2, precision="fp32"),
    "finetune": replace(STAGES["finetune"], steps=6, batch=4, warmup=2, validate_every=3, save_every=2, average=0.5, precision="fp32"),
}
TRAINERS = {"global": train_global, "local": train_local, "finetune": finetune}


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions of float32 multiply in float32; PyTorch's usual TF32 rounds to three digits."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=6, size=32)


@pytest.fixture(scope="module")
def shares(cohort):
    return split(cohort, labelled=0.5, seed=1)


def relative(found, expected):
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return ((found - expected).norm() / expected.norm()).item()


def both(loss, values, card, dtype):
    """Relative errors of a loss and its gradient on the card in one type, against float64 on the CPU."""
    there = values.to(card, dtype).requires_grad_()
    exact = there.detach().cpu().double().requires_grad_()
    found, expected = loss(there), loss(exact)
    assert found.device.type == card.type and expected.item() != 0
    (gradient,), (true) = torch.autograd.grad(found, there), torch.autograd.grad(expected, exact)[0]
    assert gradient.dtype == dtype and gradient.isfinite().all()
    return abs(found.item() / expected.item() - 1), relative(gradient, true)


def batch(channels=16, high=13, wide=11):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 2, channels, high, wide, generator=generator, dtype=torch.float64)
    return features, torch.randint(0, 4, (2, 2, high, wide), generator=generator)


# ---- losses


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("form", ["supcon", "printed"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_supervised_loss(strategy, form, dtype, card):
    features, labels = batch()

    def loss(values):
        return supervised_local_contrastive_loss(values, labels.to(values.device), strategy=strategy, form=form)

    off, gradient = both(loss, features, card, dtype)
    assert off <= TYPES[dtype][0] and gradient <= TYPES[dtype][1]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_loss_without_labels(strategy, dtype, card):
    off, gradient = both(lambda values: local_contrastive_loss(values, strategy=strategy), batch()[0], card, dtype)
    assert off <= TYPES[dtype][0] and gradient <= TYPES[dtype][1]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_global_loss(dtype, card):
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    off, gradient = both(lambda values: global_contrastive_loss(values[:15], values[15:]), rows, card, dtype)
    assert off <= TYPES[dtype][0] and gradient <= TYPES[dtype][1]


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_more_rows_than_a_tile(temperature, card):
    """Two tiles and a rest on a GPU; at 0.01 float32 would overflow, and float64 takes over."""
    generator = torch.Generator().manual_seed(0)
    unit = normalize(torch.randn(1, 4500, 12, generator=generator, dtype=torch.float64), dim=2)
    weight = torch.rand(1, 4500, generator=generator, dtype=torch.float64) + 0.1
    how = {"temperature": temperature, "extents": ((4500, 4300),)}
    there = unit.to(card, torch.float32).requires_grad_()
    exact = there.detach().cpu().double().requires_grad_()
    found, expected = log_pair_sums(there, weight=weight.to(card), **how), log_pair_sums(exact, weight=weight, **how)
    gradients = torch.autograd.grad(found.mean(), there)[0], torch.autograd.grad(expected.mean(), exact)[0]
    assert relative(found, expected) < 1e-6 and relative(*gradients) < 5e-5


def test_a_loss_of_no_anchors_is_zero_with_a_graph(card):
    features = batch()[0].to(card, torch.float32).requires_grad_()
    loss = supervised_local_contrastive_loss(features, torch.zeros(2, 2, 13, 11, dtype=torch.int64, device=card))
    loss.backward()
    assert loss.item() == 0 and (features.grad == 0).all()


def test_memory_grows_with_the_pixels_and_not_with_the_pairs(card):
    if card.type != "cuda":
        pytest.skip("the CPU keeps no account of its peak")
    peaks = []
    for side in (128, 256):  # 32,768 and 131,072 pixels: one matrix of all pairs has 4 and 69 GB
        features = torch.randn(1, 2, 16, side, side, device=card, requires_grad=True)
        labels = torch.randint(0, 4, (1, 2, side, side), device=card)
        torch.cuda.reset_peak_memory_stats(card)
        before = torch.cuda.memory_allocated(card)
        supervised_local_contrastive_loss(features, labels).backward()
        peaks.append(torch.cuda.max_memory_allocated(card) - before)
    assert max(peaks) < 1.5e9 and peaks[1] < 5 * peaks[0]


# ---- views and network


@pytest.mark.parametrize("settings", [GLOBAL, LOCAL, FINETUNE], ids=["global", "local", "finetune"])
def test_the_same_seed_gives_the_same_views(settings, cohort, card):
    images, labels = torch.from_numpy(cohort.images[8:14, None]).float(), torch.from_numpy(cohort.labels[8:14])
    here, there = (views(images.to(at), labels.to(at), settings, generator=generator_of("views")) for at in ("cpu", card))
    assert there.images.device.type == card.type and torch.allclose(here.images, there.images.cpu(), atol=2e-3)
    assert (here.labels != there.labels.cpu()).float().mean() < 0.01
    moved, expected = correspondence(there, 0, 1).cpu(), correspondence(here, 0, 1)
    known = moved.isfinite() & expected.isfinite()
    assert (moved.isfinite() ^ expected.isfinite()).float().mean() < 0.01 and known.float().mean() > 0.2
    assert (moved - expected)[known].abs().max() < 0.05


def test_the_network_and_its_gradient(cohort, card):
    """Each parameter whose gradient is not rounding alone: a bias before a norm has none."""
    images, labels = torch.from_numpy(cohort.images[8:12, None]).double(), torch.from_numpy(cohort.labels[8:12])
    exact = build(TINY.network(len(cohort.classes)), seed=0).double()
    there = build(TINY.network(len(cohort.classes)), seed=0).to(card)
    losses = [cross_entropy_dice(exact(images), labels), cross_entropy_dice(there(images.to(card).float()), labels.to(card))]
    for loss in losses:
        loss.backward()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-4)
    norms = {name: value.grad.norm().item() for name, value in exact.named_parameters() if value.grad is not None}
    other = dict(there.named_parameters())
    large = [name for name, norm in norms.items() if norm > 1e-3 * max(norms.values())]
    assert len(large) > 20 and all(relative(other[name].grad, dict(exact.named_parameters())[name].grad) < 1e-3 for name in large)


def test_prediction_on_the_card(cohort, card):
    model = build(TINY.network(len(cohort.classes)), seed=0)
    expected = predict(model, cohort.images[:70])
    np.testing.assert_allclose(predict(model.to(card), cohort.images[:70]), expected, atol=1e-4)


def test_device_and_precision_are_known(card):
    assert chosen_device("auto").type == card.type or card.type != "cuda"
    assert chosen_precision(card) in ("fp32", "bf16") and chosen_precision(card) == chosen_precision(card)
    assert card.type != "cuda" or machine(card)["gpu"]


# ---- stages


def stage(name, device, cohort, shares, settings=None, **how):
    network = build({"classes": 3, "width": 4, "global_dim": 16, "pixel_dim": 8}, seed=0).to(device)
    return network, TRAINERS[name](network, cohort, shares, settings or SETTINGS[name], **how)


def losses(steps):
    return [step.loss for step in run(steps, False)]


@pytest.mark.parametrize("name", TRAINERS)
def test_a_stage_follows_the_networks_device(name, cohort, shares, card):
    here, there = (losses(stage(name, device, cohort, shares)[1]) for device in ("cpu", card))
    np.testing.assert_allclose(there, here, rtol=0.03)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_stage_in_bf16_stays_near_fp32(name, cohort, shares, card):
    full, low = (losses(stage(name, card, cohort, shares, replace(SETTINGS[name], precision=word))[1]) for word in ("fp32", "bf16"))
    assert full != low
    np.testing.assert_allclose(low, full, rtol=0.1)


def test_a_replayed_step_is_the_ordinary_one(cohort, shares, card, monkeypatch):
    """Twelve steps, nine of them replayed on a GPU: with rates that change, validation between them, and an average of the weights."""
    settings, recorded = replace(SETTINGS["finetune"], steps=12), []
    record = graphs.Replayed.record
    monkeypatch.setattr(graphs.Replayed, "record", lambda *arguments: recorded.append(1) or record(*arguments))
    found = {}
    for warm in (3, 100):
        monkeypatch.setattr(graphs, "WARM", warm)
        model, steps = stage("finetune", card, cohort, shares, settings)
        found[warm] = losses(steps), torch.cat([value.detach().flatten() for value in model.state_dict().values()])
    assert len(recorded) == (card.type == "cuda")
    np.testing.assert_allclose(found[3][0], found[100][0], rtol=5e-3)
    assert relative(found[3][1], found[100][1]) < 0.01


def test_a_replayed_loss_that_is_not_finite_is_refused(card):
    """Also when it comes after the recording."""
    model = torch.nn.Conv2d(1, 1, 1).to(card)
    settings = replace(SETTINGS["finetune"], steps=8, validate_every=0)
    batches = [(torch.full((2, 1, 4, 4), float("inf") if number == 6 else 1.0, device=card),) for number in range(8)]
    steps = fit(model, lambda model, batch: model(batch[0]).square().mean(), batches.__getitem__, settings, steady=True)
    with pytest.raises(ValueError, match="at step 7, expected a finite number"):
        list(steps)


@pytest.mark.parametrize("first, then", [("card", "card"), ("card", "cpu"), ("cpu", "card")])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_stage_goes_on_where_it_stopped(name, first, then, cohort, shares, card, tmp_path):
    """Not to the last bit, as on one CPU: sums are added in another order; but with the moments and the average of before."""
    where = {"card": card, "cpu": torch.device("cpu")}
    whole, steps = stage(name, where[then], cohort, shares)
    expected = losses(steps)
    _, steps = stage(name, where[first], cohort, shares, folder=tmp_path)
    begun = [step.loss for step in itertools.islice(steps, 3)]
    steps.close()
    model, steps = stage(name, where[then], cohort, shares, folder=tmp_path, resume=True)
    np.testing.assert_allclose([*begun, *losses(steps)], expected, rtol=0.03)
    image = torch.from_numpy(cohort.images[8:12, None]).float().to(where[then])
    with torch.no_grad():
        one, other = (network.embed_images(image) if name == "global" else network.features(image) for network in (whole, model))
    assert relative(other, one) < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method, cohort, shares, card, tmp_path):
    found = train_method(method, cohort, shares, TINY, out=tmp_path / "RUN", progress=False, cache=False, device="auto" if card.type == "cuda" else card)
    assert found.settings["machine"]["device"].startswith(card.type) and found.settings["finished"]
    assert all(np.isfinite(step.loss) for step in found.history)
    assert {value.device.type for value in found.model.parameters()} == {"cpu"}


def test_a_run_that_says_nothing_trains_on_the_card_too(cohort, shares, card, tmp_path):
    """As all runs of a grid do."""
    seen = []

    @functools.wraps(finetune)
    def train(model, *arguments, **named):
        seen.append(next(model.parameters()).device.type)
        return finetune(model, *arguments, **named)

    method = Method("scratch", (replace(FINETUNE_STAGE, train=train),))
    train_method(method, cohort, shares, TINY, out=tmp_path / "RUN", progress=False, cache=False, device=card)
    assert seen == [card.type]


def test_a_run_in_bf16(cohort, shares, card, tmp_path):
    how = {"out": tmp_path / "RUN", "progress": False, "cache": False, "device": card}
    found = train_method("global+local(block)", cohort, shares, in_precision("bf16"), **how)
    assert all(np.isfinite(step.loss) for step in found.history) and next(found.model.parameters()).dtype == torch.float32


# ---- the kernel

KERNEL = {"fp16": (5e-4, 5e-3), "bf16": (3e-3, 4e-2), "bf16x3": (1e-5, 1e-4), "tf32": (1e-3, 1e-2), "tf32x3": (1e-5, 1e-4)}
"""Largest relative error of the loss and of its gradient in each mode."""


@pytest.mark.parametrize("mode", KERNEL)
@pytest.mark.parametrize("rows, channels, lowest", [(1025, 64, 0), (700, 128, 1)])
def test_the_kernel(mode, rows, channels, lowest, card, monkeypatch):
    """Sizes that no block divides; with background as keys, and without."""
    if card.type != "cuda":
        pytest.skip("tests/test_gpu.py tries the kernel in Triton's interpreter")
    pytest.importorskip("triton")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu.kernel import fused_loss

    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    labels = torch.randint(lowest, 4, (rows,), generator=generator)

    def loss(values):
        if values.is_cuda:
            return fused_loss(values, labels.to(card), 0.1, mode)
        return supervised_local_contrastive_loss(values.T[None, None, :, :, None], labels[None, None, :, None])

    off, gradient = both(loss, values, card, torch.float32)
    assert off <= KERNEL[mode][0] and gradient <= KERNEL[mode][1]


# ---- two processes

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import test_cuda
test_cuda.share(int(sys.argv[1]), {backend!r}, {device!r}, {meeting!r}, {answer!r})
"""


def one_step(name, device):
    """Loss and gradients of four slices in two views, shared by the processes that there are."""
    import torch.distributed as dist

    from semicon_nb.distributed import StageLoss, world
    from semicon_nb.train import Slices, pair_of

    rank, ranks = world() if dist.is_initialized() else (0, 1)
    cohort, settings = phantom(subjects=3, size=32), replace(SETTINGS["global"], batch=4, temperature=0.2)
    rows = [10, 27, 12, 3]
    slices = Slices(torch.from_numpy(cohort.images[rows]), torch.from_numpy(cohort.labels[rows]) if name == "local" else None)
    pair = pair_of(slices, settings, 0, "sample")
    net = StageLoss(build({"classes": 3, "width": 4, "global_dim": 8, "pixel_dim": 8}, seed=3), name, settings).to(device)
    whole = torch.nn.parallel.DistributedDataParallel(net) if ranks > 1 else net
    loss = whole(pair.images[rank::ranks].to(device), None if pair.labels is None else pair.labels[rank::ranks].to(device))
    loss.backward()
    return loss.item(), {part: value.grad.cpu() for part, value in net.named_parameters() if value.grad is not None}


def share(rank, backend, device, meeting, answer):
    """What each of two processes on one device does."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    if device == "cuda":
        torch.cuda.set_device(0)
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    found = {name: one_step(name, torch.device(device)) for name in ("global", "local")}
    if rank == 0:
        torch.save(found, answer)
    dist.destroy_process_group()


def two_processes(backend, card, folder, patience=90):
    """What the first of two processes found, None where they failed; and what they said."""
    how = {"backend": backend, "device": card.type, "meeting": str(folder / "meeting"), "answer": str(folder / "answer.pt")}
    program = PROGRAM.format(tests=str(ROOT / "tests"), **how)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", program]
    logs = [folder / f"rank{rank}.log" for rank in range(2)]
    jobs = [subprocess.Popen([*command, str(rank)], env=env, stdout=log.open("w"), stderr=subprocess.STDOUT) for rank, log in enumerate(logs)]
    try:
        codes = [job.wait(patience) for job in jobs]
    except subprocess.TimeoutExpired:
        codes = ["too long"]
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    said = "\n".join(log.read_text(errors="replace") for log in logs)
    return (torch.load(folder / "answer.pt", weights_only=True) if codes == [0, 0] else None), said


def same_as_one(found):
    for name, (loss, gradients) in found.items():
        expected, exact = one_step(name, torch.device("cpu"))
        assert loss == pytest.approx(expected, rel=1e-4) and set(gradients) == set(exact) and len(exact) > 10
        largest = max(gradient.norm().item() for gradient in exact.values())
        assert all((gradients[part] - gradient).norm() <= 1e-3 * largest for part, gradient in exact.items())


def test_two_processes_share_the_card_through_gloo(card, tmp_path):
    found, said = two_processes("gloo", card, tmp_path)
    assert found, said[-2000:]
    same_as_one(found)


def test_torchrun_shares_a_stage(card, tmp_path):
    """The command itself, through gloo where there are more processes than GPUs; `train_method` finds the stage it left."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SEMICON_CACHE": str(tmp_path), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    words = "-m torch.distributed.run --standalone --nproc-per-node 2 -m semicon_nb.distributed global"
    what = "--data phantom --labels 0.2 --preset demo --scale 0.02"
    done = subprocess.run([sys.executable, *f"{words} {what}".split()], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [path.suffix for path in sorted((tmp_path / "stages").iterdir())] == [".jsonl", ".pt"]


def test_two_processes_share_the_card_through_nccl(card, tmp_path):
    if card.type != "cuda":
        pytest.skip("NCCL is for GPUs")
    found, said = two_processes("cpu:gloo,cuda:nccl", card, tmp_path, 60)
    if found is None and torch.cuda.device_count() == 1:
        why = [line.strip() for line in said.splitlines() if "Duplicate GPU" in line]
        pytest.skip(f"NCCL refuses two processes on one GPU: {why[-1] if why else said[-300:]}")
    assert found, said[-2000:]
    same_as_one(found)
