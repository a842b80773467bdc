"""Two processes train what one would have trained, and a Dask cluster finishes a grid although a worker is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semicon_nb.data import phantom, split
from semicon_nb.distributed import StageLoss, check_processes, gathered, main, only_for, pretrain, process_group, train_shared
from semicon_nb.experiment import run_grid
from semicon_nb.methods import FINETUNE_STAGE, GLOBAL_STAGE
from semicon_nb.networks import build
from semicon_nb.stages import PRESETS, Method
from semicon_nb.strategies import BlockDivision, FullResolution, RandomSampling
from semicon_nb.tables import read_lines
from semicon_nb.train import pair_of, train_global, train_local

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = replace(PRESETS["demo"].stages["global"], steps=2, batch=4, warmup=0, precision="fp32")
CASES = {
    "global": ("global", FullResolution(), False, "supcon"),
    "exact": ("local", FullResolution(), True, "supcon"),
    "block": ("local", BlockDivision(16), True, "supcon"),
    "self": ("local", BlockDivision(16), False, "supcon"),
    "random": ("local", RandomSampling(256), True, "supcon"),
    "random, without labels": ("local", RandomSampling(256), False, "supcon"),
    "printed": ("local", BlockDivision(16), True, "printed"),
}
WAYS = {
    "global": ("global", {}),
    "with test images": ("global", {"test_images": True}),
    "block": ("local", {"strategy": BlockDivision(16)}),
    "random": ("local", {"strategy": RandomSampling(256)}),
    "printed": ("local", {"form": "printed"}),
    "self": ("local", {"strategy": BlockDivision(16), "supervised": False}),
}

PROGRAM = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, {tests!r})
import test_distributed as t
torch.set_num_threads(1)
rank, ranks = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method="file://{meeting}", rank=rank, world_size=ranks)
found = {{name: t.one_step(name) for name in t.CASES}}
found["trained"] = t.two_steps()
if rank == 0:
    torch.save(found, {answer!r})
dist.destroy_process_group()
"""


def network():
    return build({"classes": 3, "width": 4, "global_dim": 8, "pixel_dim": 8}, seed=3)


def one_step(name):
    """Loss and gradient of a batch of four slices, shared by the processes that there are."""
    import torch.distributed as dist

    stage, strategy, supervised, form = CASES[name]
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    pair = sample(stage == "local" and supervised)
    net = StageLoss(network(), stage, replace(SETTINGS, temperature=0.2), form)
    with only_for(net.model, stage):
        whole = torch.nn.parallel.DistributedDataParallel(net) if ranks > 1 else net
        loss = whole(pair.images[rank::ranks], None if pair.labels is None else pair.labels[rank::ranks], strategy)
        loss.backward()
    return loss.item(), {name: value.grad for name, value in net.named_parameters() if value.grad is not None}


def sample(labels):
    from semicon_nb.train import Slices

    cohort = phantom(subjects=3, size=32)
    rows = [10, 27, 12, 3]
    slices = Slices(torch.from_numpy(cohort.images[rows]), torch.from_numpy(cohort.labels[rows]) if labels else None)
    return pair_of(slices, replace(SETTINGS, batch=4), 0, "sample")


def two_steps():
    """Losses of two steps of the global stage, and what the network makes of eight slices then."""
    model, cohort = network(), phantom(subjects=4, size=32)
    losses = [step.loss for step in train_shared(model, cohort, split(cohort, 0.5), SETTINGS)]
    with torch.no_grad():
        return torch.tensor(losses), model.embed_images(torch.from_numpy(cohort.images[:8, None]).float())


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What two gloo processes found."""
    folder = tmp_path_factory.mktemp("gloo")
    answer = folder / "answer.pt"
    program = PROGRAM.format(tests=str(ROOT / "tests"), meeting=folder / "meeting", answer=str(answer))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(rank), "2"], env=env) for rank in range(2)]
    assert [job.wait(300) for job in jobs] == [0, 0]
    return torch.load(answer, weights_only=True)


@pytest.mark.xdist_group("gloo")
@pytest.mark.parametrize("name", CASES)
def test_two_processes_find_the_loss_and_gradient_of_one(name, two_processes):
    loss, gradients = one_step(name)
    shared_loss, shared = two_processes[name]
    assert shared_loss == pytest.approx(loss, abs=1e-5)
    assert set(shared) == set(gradients) and len(gradients) > 10
    for part, gradient in gradients.items():
        assert (shared[part] - gradient).norm() <= 1e-5 * max(1.0, gradient.norm().item()), part
    assert sum(gradient.norm().item() for gradient in gradients.values()) > 1e-2, "gradients that vanish prove nothing"


@pytest.mark.xdist_group("gloo")
def test_two_processes_train_what_one_trains(two_processes):
    """Losses and function; not each weight, since Adam moves those without a gradient (biases before a norm) by rounding errors."""
    losses, vectors = two_steps()
    torch.testing.assert_close(two_processes["trained"][0], losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(two_processes["trained"][1], vectors, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_alone_the_shared_stage_is_the_ordinary_one(way):
    """With the views of the global stage, which warp: a pixel lies on itself only where both are warped alike."""
    cohort = phantom(subjects=4, size=32)
    part, (stage, how) = split(cohort, 0.5), WAYS[way]
    one, two = network(), network()
    ordinary = train_global if stage == "global" else train_local
    first = [step.loss for step in ordinary(one, cohort, part, SETTINGS, **how)]
    second = [step.loss for step in train_shared(two, cohort, part, SETTINGS, stage, **how)]
    assert first == second
    assert all(torch.equal(one.state_dict()[name], value) for name, value in two.state_dict().items())
    assert all(value.requires_grad for value in two.parameters())


@pytest.mark.parametrize("way", ["global", "block"])
def test_alone_it_is_the_ordinary_one_in_half_precision_too(way):
    cohort, (stage, how) = phantom(subjects=4, size=32), WAYS[way]
    part, one, two = split(cohort, 0.5), network(), network()
    half = replace(SETTINGS, precision="bf16")
    ordinary = train_global if stage == "global" else train_local
    first = [step.loss for step in ordinary(one, cohort, part, half, **how)]
    assert first == [step.loss for step in train_shared(two, cohort, part, half, stage, **how)]
    assert all(torch.equal(one.state_dict()[name], value) for name, value in two.state_dict().items())


def test_a_shared_stage_that_is_left_early_leaves_nothing_frozen():
    cohort, model = phantom(subjects=4, size=32), network()
    model.decoder.requires_grad_(False)
    before = {name for name, value in model.named_parameters() if value.requires_grad}
    steps = train_shared(model, cohort, split(cohort, 0.5), SETTINGS)
    next(steps)
    assert not any(value.requires_grad for value in model.pixel_head.parameters())
    steps.close()
    assert {name for name, value in model.named_parameters() if value.requires_grad} == before


def test_a_stage_with_an_option_that_is_not_shared_is_refused():
    cohort = phantom(subjects=4, size=32)
    odd = Method("odd", (replace(GLOBAL_STAGE, options={"depth": 2}), FINETUNE_STAGE))
    with pytest.raises(ValueError, match="the option 'depth', which can't be shared"):
        pretrain(odd, cohort, split(cohort, 0.5), "demo", progress=False)


@pytest.mark.parametrize("name, words", [("scratch", "scratch has no stage before the last"), ("gloabl", "found 'gloabl', expected one of scratch")])
def test_a_name_with_nothing_to_share_is_refused_in_a_sentence(name, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["semicon_nb.distributed", name, "--preset", "demo", "--scale", "0.01"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and f"error: method: {words}" in capsys.readouterr().err


def test_alone_nothing_is_gathered_and_shares_must_be_equal(monkeypatch):
    rows = torch.randn(3, 2)
    assert gathered(rows) is rows
    monkeypatch.setattr("semicon_nb.distributed.world", lambda: (0, 3))
    with pytest.raises(ValueError, match="batch: 4 slices can't be shared equally by 3 processes"):
        check_processes(0, 4)


@pytest.mark.parametrize(
    "gpus, here, rank, device, backend",
    [(0, 2, 1, "cpu", "gloo"), (1, 2, 1, "cuda:0", "gloo"), (2, 2, 1, "cuda:1", "cpu:gloo,cuda:nccl"), (1, 1, 0, "cuda:0", "cpu:gloo,cuda:nccl")],
)
def test_what_carries_between_processes(gpus, here, rank, device, backend, monkeypatch):
    """NCCL beside gloo, which takes what is on the CPU; gloo alone where processes share a GPU, which NCCL refuses."""
    import torch.distributed as dist

    asked, placed = [], []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda where: placed.append(str(where)))
    monkeypatch.setattr(dist, "init_process_group", asked.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("ended"))
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": here}.items():
        monkeypatch.setenv(name, str(value))
    with process_group() as where:
        assert str(where) == device and asked == [backend]
    assert asked == [backend, "ended"] and placed == ([device] if gpus else [])


def test_pretrained_stages_are_found_by_the_ordinary_command(tmp_path, monkeypatch):
    from semicon_nb.methods import train_method

    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path))
    tiny = replace(PRESETS["demo"], name="tiny", width=2).scaled(0.02)
    monkeypatch.setitem(PRESETS, "tiny", tiny)
    cohort = phantom(subjects=4, size=32)
    part = split(cohort, 0.5)
    pretrain("global+local(block)", cohort, part, "tiny", progress=False)
    run = train_method("global+local(block)", cohort, part, "tiny", progress=False)
    assert [stage["reused"] for stage in run.settings["trained"].values()] == [True, True, False]
    with pytest.raises(ValueError, match="can't be shared"):
        pretrain("pcl", cohort, part, "tiny", progress=False)


@pytest.mark.slow
def test_torchrun_trains_a_stage(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SEMICON_CACHE": str(tmp_path), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    words = "-m torch.distributed.run --standalone --nproc-per-node 2"
    words += " -m semicon_nb.distributed global --data phantom --labels 0.2 --preset demo --scale 0.02"
    done = subprocess.run([sys.executable, *words.split()], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "stages").glob("*.pt"))) == 1 and len(list((tmp_path / "stages").glob("*.jsonl"))) == 1


@pytest.mark.slow
def test_dask_finishes_the_grid_although_a_worker_is_killed(tmp_path):
    """A real scheduler and two real workers on the loopback; the one that trains is killed in the middle of its run."""
    distributed = pytest.importorskip("distributed")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SEMICON_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    meeting, runs = tmp_path / "scheduler.json", tmp_path / "runs"
    command = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(meeting)]
    worker = ["worker", "--scheduler-file", str(meeting), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker += ["--local-directory", str(tmp_path)]
    jobs = [subprocess.Popen([*command, *words], env=env, stderr=subprocess.DEVNULL) for words in (scheduler, worker, worker)]
    try:
        until(meeting.exists)
        with distributed.Client(scheduler_file=str(meeting), timeout=60) as client:
            client.wait_for_workers(2, timeout=120)
            killed = kill_when_training(runs, client, jobs[1:])
            preset = replace(PRESETS["demo"], name="tiny", width=2).scaled(0.25)
            data = {"cohort": "phantom", "subjects": 6, "size": 32}
            how = {"executor": client.get_executor(retries=2), "folder": runs, "results": tmp_path, "progress": False}
            found = run_grid("g", ["scratch", "global"], labels=(0.3,), splits=(0, 1), data=data, preset=preset, **how)
            assert killed(), "the grid finished before a worker could be killed"
    finally:
        for job in jobs:
            job.kill()
    keys = [record["key"] for record in read_lines(tmp_path / "g.jsonl")]
    assert len(found) == len(keys) == len(set(keys)) == 4


def until(true, seconds=120):
    """Wait until something holds."""
    deadline = time.time() + seconds
    while not true():
        assert time.time() < deadline, "waited too long"
        time.sleep(0.02)


def kill_when_training(runs, client, workers):
    """Kill, from a thread, the first worker that has begun a run; returns a function that says whether it happened."""
    import threading

    done = []

    def kill():
        until(lambda: [path for path in runs.glob("*/run.json") if not json.loads(path.read_text())["finished"]])
        os.kill(workers[0].pid, signal.SIGKILL)
        done.append(workers[0].pid)

    threading.Thread(target=kill, daemon=True).start()
    return lambda: bool(done)
