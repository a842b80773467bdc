"""Whoever has a GPU for ten minutes finds no typing error: `benchmarks/gpu.py --tiny` does everything on a CPU.

The kernel is compared with the package in Triton's interpreter, and compiled for a GPU of capability 9, where Triton is installed.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
OPTIONAL = "monai umap plotly ipywidgets anywidget traitlets IPython nibabel sklearn skimage numba nbdev jupyterlab distributed".split()
BLOCKED = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {OPTIONAL} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
"""Program text after which these packages are not there."""
needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed: PyTorch for CUDA brings it, that for a CPU does not")


def told(command, **more):
    """What a command of Python prints; its errors are this test's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SEMICON"))}
    env = {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run([sys.executable, *map(str, command)], env=env, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run(folder, sections, **more):
    """Some sections in small: what they print, and their results."""
    said = told([SCRIPT, "--tiny", "--minutes", 4, "--out", folder, "--only", sections], **more)
    return said, [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "out"
    return *run(folder, "loss,kernel,compiled,stages,ways,many,grid,paper"), folder


# ---- the script


@pytest.mark.slow
def test_everything_is_tried_without_an_error(tiny):
    said, rows, folder = tiny
    allowed = () if find_spec("triton") else ("kernel",)
    assert not (failed := [row for row in rows if "error" in row and row["section"] not in allowed]), failed
    assert {row["section"] for row in rows} >= {"loss", "compiled", "stages", "ways", "many", "grid", "paper"}
    assert not any(row.get("left_out") == "no time" for row in rows)
    assert {path.name for path in folder.iterdir()} >= {"results.jsonl", "log.txt", "summary.txt", "hippocampus-thorough.jsonl"}
    assert (folder / "summary.txt").read_text() in said and said in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_every_contender_finds_the_loss_and_its_gradient(tiny):
    judged = {row["what"]: row for row in tiny[1] if "loss_error" in row}
    assert {"tiles fp32", "attention cpu fp32", "dense fp32", "compiled tiles fp32"} <= set(judged)
    for name, row in judged.items():
        assert row["loss_error"] < (1e-4 if "bf16" in name or "fp16" in name else 1e-6), name
        assert row["gradient_error"] < (2e-2 if name in ("kernel bf16", "kernel fp16") else 1e-4), name
        assert row["milliseconds"] > 0 and row["share_of_bf16"] > 0


@pytest.mark.slow
def test_every_stage_is_timed(tiny):
    timed = [row for row in tiny[1] if "slices_a_second" in row]
    assert {row["what"] for row in timed if row["section"] == "stages"} >= {"global", "local, every pixel", "fine-tuning"}
    assert {row["what"] for row in timed if row["section"] == "many"} == {"processes", "streams"}
    assert all(row["slices_a_second"] > 0 for row in timed)


@pytest.mark.slow
def test_rows_of_the_grids_are_those_that_the_grids_know(tiny):
    from semicon_nb.tables import read_results

    rows = read_results(tiny[2] / "hippocampus-thorough.jsonl")
    assert len(rows) == 2 and rows["method"].eq("scratch").all() and rows["pooled_dice"].between(0, 1).all()
    assert rows["key"].nunique() == 2


def test_the_real_grids_name_rows_that_reproduce_runs(monkeypatch):
    """The same keys as `run_grid` gives, in the order of the grid, without scans."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import reproduce
    from gpu import rows as module

    asked = []

    def grid(methods, labels, **how):
        import pandas as pd

        methods = [method.name for method in methods]
        asked.append((tuple(methods), tuple(labels), tuple(how["splits"]), how["preset"], how["data"]))
        return pd.DataFrame([{"key": f"{method} {share} {number}", "method": method} for method in methods for share in labels for number in how["splits"]])

    monkeypatch.setattr("semicon_nb.experiment.grid", grid)
    for name in ("hippocampus-thorough", "hippocampus-paper"):
        assert name in reproduce.LONG
        table, preset = module.table_of(name, False)
        assert table["key"].is_unique and table["key"][0].startswith("scratch 0.05 0") and preset.name == name.split("-")[1]
        assert {ask[4] for ask in asked} == {"hippocampus"}
        assert {one.name for one in module.meant(table["method"].unique())} == {*table["method"]}, "every one of them can be trained"
    assert table["method"].tolist() == ["scratch", "global+local(block)"]


def test_a_failure_is_printed_and_the_rest_goes_on(tmp_path):
    """A section that breaks at once, here because its module cannot be imported, is one line, and the next one runs."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['gpu.speed'] = None\n")
    out = tmp_path / "out"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [SCRIPT, "--tiny", "--minutes", 3, "--out", out, "--only", "stages,loss"]
    done = subprocess.run([sys.executable, *map(str, command)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 1 and "stages: " in done.stdout and "ENDED with 1" in done.stdout
    assert any(json.loads(line)["what"] == "tiles fp32" for line in (out / "results.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_it_stops_by_itself_and_says_what_was_left_out(tmp_path):
    import time

    began = time.monotonic()
    done = subprocess.run([sys.executable, SCRIPT, "--tiny", "--minutes", "0.3", "--out", tmp_path], capture_output=True, text=True)
    assert time.monotonic() - began < 120 and "left out, no time" in done.stdout


@pytest.mark.slow
def test_the_tests_marked_cuda_run_on_a_cpu(tmp_path):
    said = told([SCRIPT, "--tiny", "--minutes", 4, "--out", tmp_path, "--only", "tests"])
    assert " passed" in said and " failed" not in said and "KeyboardInterrupt" not in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_does_nothing(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, "--only", "loss"], capture_output=True, text=True)
    assert done.returncode == 2 and "found no CUDA GPU, expected one; --tiny" in done.stdout and "## loss" not in done.stdout


def test_unknown_sections_are_named(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--only", "loss,speed"], capture_output=True, text=True)
    assert done.returncode == 2 and "--only: found speed, expected some of tests, loss" in done.stderr


def test_needs_lists_what_must_travel():
    said = told([SCRIPT, "--needs"])
    for name in ("pandas", "nibabel", "hypothesis"):
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert line.split()[1][0].isdigit() and float(line.split()[3]) > 0, line
    assert "Task04_Hippocampus" in said


# ---- a card that is not there

WITHOUT_CARD = "not processes and not torchrun and not kernel and not bf16"
"""What it cannot show: other processes have no such card, and it has no autocast."""


def mixed(chosen, folder):
    """What pytest says of tests marked cuda with tensors that pretend to be on a card (see tests/pretend.py)."""
    words = "-m pytest -p pretend -m cuda -q --tb=short -p no:cacheprovider -W ignore tests/test_cuda.py -k"
    more = {"SEMICON_CARD": "meta", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "SEMICON_CACHE": str(folder)}
    return told([*words.split(), chosen], **more)


def test_a_loss_a_view_and_a_run_mix_no_devices(tmp_path):
    chosen = "float32 or views or network or prediction or says_nothing or follows"
    assert " passed" in mixed(f"({chosen}) and {WITHOUT_CARD}", tmp_path)


@pytest.mark.slow
def test_nothing_mixes_devices(tmp_path):
    assert " passed" in mixed(WITHOUT_CARD, tmp_path)


def test_a_mixture_is_noticed(tmp_path):
    program = """
import torch
from pretend import CARD, Card
with Card():
    there = torch.ones(2, 3, requires_grad=True, device="cpu").to(CARD)
    assert there.device == CARD and (2 * there).sum().item() == 12 and there[torch.tensor([0])].cpu().shape == (1, 3)
    for wrong in (lambda: there + torch.ones(3), lambda: torch.ones(3)[there.long()], lambda: there.detach().numpy(),
                  lambda: torch.rand(3, device=CARD, generator=torch.Generator())):
        try:
            wrong()
        except (RuntimeError, TypeError):
            continue
        raise SystemExit("not noticed")
"""
    told(["-c", program], PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}")


# ---- what is not there


def test_the_package_trains_where_optional_packages_are_missing(tmp_path):
    program = f"""{BLOCKED}
import semicon_nb.distributed, semicon_nb.experiment, semicon_nb.tables
from semicon_nb.data import phantom, split
from semicon_nb.methods import train_method
from semicon_nb.stages import PRESETS
cohort = phantom(subjects=4, size=16)
run = train_method("global+local(block)", cohort, split(cohort, 0.5), PRESETS["demo"].scaled(0.01), progress=False, cache=False)
print(run.settings["finished"], sorted(set(sys.modules) & set({OPTIONAL})))
"""
    assert told(["-c", program], SEMICON_CACHE=str(tmp_path)).split() == ["True", "[]"]


def test_the_script_needs_none_of_them_either(tmp_path):
    """Only rows of a grid want nibabel, and say so."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    said, rows = run(tmp_path / "out", "loss,grid", PYTHONPATH=path)
    assert not [row for row in rows if "error" in row]
    assert [row["left_out"] for row in rows if row["section"] == "grid"] == ["nibabel not installed, see --needs"], said


# ---- the kernel

INTERPRETED = """
import sys, torch
sys.path.insert(0, "benchmarks")
torch.set_num_threads(1)
from gpu.kernel import MODES, Shape, fused_loss
from semicon_nb.losses import supervised_local_contrastive_loss
for rows, channels, lowest, mode, shape in [
    *[(150, 12, 0, mode, Shape(32, 16, 4, 2)) for mode in MODES],
    (150, 12, 0, "fp16", Shape(64, 32, 4, 2)), (300, 64, 1, "fp16", Shape(64, 64, 4, 2)),
    *[(*size, "bf16x3", shape) for size in ((9, 4, 0), (33, 20, 1), (97, 64, 0), (128, 16, 1)) for shape in (Shape(32, 16, 4, 2), Shape(16, 64, 4, 2))],
]:
    generator = torch.Generator().manual_seed(rows)
    values = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    labels = torch.randint(lowest, 4, (rows,), generator=generator)
    exact, own = values.clone().requires_grad_(), values.float().requires_grad_()
    expected = supervised_local_contrastive_loss(exact.T[None, None, :, :, None], labels[None, None, :, None], 0.1)
    expected.backward()
    found = fused_loss(own, labels, 0.1, mode, shape)
    (2 * found).backward()
    gradient = ((own.grad / 2 - exact.grad).norm() / exact.grad.norm()).item()
    print(mode, abs(found.item() / expected.item() - 1), gradient)
alone = torch.randn(5, 4, requires_grad=True)
fused_loss(alone, torch.tensor([0, 0, 1, 2, 3]), 0.1).backward()
assert (alone.grad == 0).all()
"""


@needs_triton
def test_the_kernel_finds_the_packages_loss_and_gradient():
    """In every mode, for sizes that no block divides, with background as keys; background alone gives 0."""
    lines = [line.split() for line in told(["-c", INTERPRETED], TRITON_INTERPRET="1").splitlines()]
    assert len(lines) == 15
    allowed = {"bf16": (2e-3, 2e-2), "fp16": (2e-4, 2e-3)}
    for mode, loss, gradient in lines:
        most = allowed.get(mode, (1e-5, 1e-4))
        assert float(loss) < most[0] and float(gradient) < most[1], mode


COMPILED = """
import sys
sys.path.insert(0, "benchmarks")
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gpu import kernel
for function, given in ((kernel._forward, {"sums": "*fp32"}), (kernel._backward, {"share": "*fp32", "gradient": "*fp32"})):
    for mode in kernel.MODES.values():
        read = {"float16": "*fp16", "bfloat16": "*bf16", "float32": "*fp32"}[str(mode.dtype).split(".")[1]]
        sizes = {"CHANNELS": 64, "ROWS": 64, "KEYS": 64, "SPLIT": mode.split, "PRECISION": mode.precision, "WIDEN": False}
        kinds = {"high": read, "low": read, **given, "count": "i32", "anchors": "i32", **dict.fromkeys(sizes, "constexpr")}
        names = function.arg_names
        source = ASTSource(function, {name: kinds[name] for name in names}, {(names.index(name),): value for name, value in sizes.items()})
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": 2})
        print(made.metadata.shared, made.asm["ptx"].count("wgmma.mma_async"))
"""


@needs_triton
def test_the_kernel_compiles_for_hopper_and_multiplies_on_its_tensor_cores(tmp_path):
    lines = [line.split() for line in told(["-c", COMPILED], TRITON_CACHE_DIR=str(tmp_path)).splitlines()]
    assert len(lines) == 10
    assert all(int(shared) < 227 * 1024 and int(products) > 0 for shared, products in lines)


@pytest.fixture
def parts(monkeypatch):
    """The script's modules."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
@pytest.mark.parametrize("rows", [128, 1001])
def test_a_gpus_attention_is_asked_as_it_wants(kernel, rows, parts):
    """PyTorch knows the shapes of what its kernels for CUDA give without one."""
    from gpu.contenders import attend

    values = torch.empty(rows, 64, dtype=torch.float32 if kernel == "efficient" else torch.bfloat16, device="meta")
    found, logs = attend(kernel, values, values, 10.0)
    assert found.shape == values.shape and found.dtype == values.dtype and logs.shape == (rows,) and logs.dtype == torch.float32


class Cuda:
    """Stands in for torch.cuda: a clock that each call moves by its number, an account, streams and graphs that only take notes."""

    def __init__(self):
        self.now, self.calls, self.told = 0.0, 0, []

    def call(self):
        self.calls += 1
        self.now += self.calls

    def Event(self, enable_timing):  # noqa: N802
        cuda, event = self, type("Event", (), {"at": None})()
        event.record = lambda: setattr(event, "at", cuda.now)
        event.elapsed_time = lambda other: other.at - event.at
        return event

    def synchronize(self, device=None):
        self.told.append("wait")

    def memory_allocated(self, device):
        return 100

    def reset_peak_memory_stats(self, device):
        self.told.append("reset")

    def max_memory_allocated(self, device):
        return 175


def test_times_are_those_between_events_and_the_first_call_does_not_count(parts, monkeypatch):
    from gpu import desk

    cuda = Cuda()
    monkeypatch.setattr(torch, "cuda", cuda)
    assert desk.milliseconds(cuda.call, torch.device("cuda"), 5) == 4 and cuda.calls == 6 and cuda.told == ["wait", "wait"]
    assert desk.peak_bytes(cuda.call, torch.device("cuda")) == 75 and cuda.told[2:] == ["wait", "reset", "wait"]


def test_a_step_is_warmed_up_on_a_side_stream_and_captured_once(parts, monkeypatch):
    import contextlib

    from gpu import speed

    told = []

    class Stream:
        def __init__(self, name="aside"):
            self.name = name

        def wait_stream(self, other):
            told.append(f"{self.name} waits for {other.name}")

    @contextlib.contextmanager
    def noted(word):
        told.append(word)
        yield

    graph = type("Graph", (), {"replay": lambda self: told.append("replayed")})
    stand_in = {"Stream": Stream, "current_stream": lambda: Stream("main"), "CUDAGraph": graph}
    stand_in |= {"stream": lambda stream: noted(f"on {stream.name}"), "graph": lambda graph: noted("capture")}
    for name, value in stand_in.items():
        monkeypatch.setattr(torch.cuda, name, value)
    speed.graphed(lambda: told.append("step"))()
    warm = ["aside waits for main", "on aside", "step", "step", "step", "main waits for aside"]
    assert told == [*warm, "capture", "step", "replayed"]


def test_attention_gives_the_log_sums(parts):
    """Half a precision at most is lost where attention reads bfloat16; in float32 nothing is."""
    from gpu.contenders import attention, row_chunks

    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(200) % 3 + 1
    expected = row_chunks(rows, labels, 0.2, 64)
    for dtype, allowed in ((torch.float32, 1e-6), (torch.bfloat16, 2e-3)):
        assert attention(rows.float(), labels, 0.2, "cpu", dtype).item() == pytest.approx(expected.item(), rel=allowed)


# ---- the guide


def test_the_script_for_a_queue_is_grammatical_and_names_what_there_is(monkeypatch):
    import re

    import nbformat

    page = nbformat.read(ROOT / "nbs" / "guides" / "03_gpu_and_cluster.ipynb", 4)
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", "\n".join(cell.source for cell in page.cells), re.S)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    lines = script.splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(directives)] == directives, "sbatch reads no directive after the first command"
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=[\w:%.-]+", line) for line in directives)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import reproduce

    words = re.search(r"reproduce\.py (.*)", script.replace("\\\n", ""))[1].split()
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *words[:-3], "2", *words[-2:]])
    assert reproduce.arguments().grids in reproduce.GRIDS
