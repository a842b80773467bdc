"""The device and the precision are those that the machine is good at, and nothing but the machine decides them."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semicon_nb import machine as module
from semicon_nb.machine import (
    bf16_pays,
    chosen_device,
    chosen_precision,
    described,
    device_of,
    duration,
    machine,
    multiplies_bf16,
    one_thread,
    processor,
    settle_precision,
)

CPU = torch.device("cpu")


# ---- the device


def test_a_network_is_where_its_numbers_are():
    """Of parameters, else of buffers; a network that has neither works where the images are, on the CPU."""
    counts = torch.nn.BatchNorm1d(2, affine=False)
    assert device_of(torch.nn.Linear(1, 1, device="meta")) == device_of(counts.to("meta")) == torch.device("meta")
    assert device_of(torch.nn.Identity()) == CPU


def test_nobody_looks_for_a_device_in_a_way_of_their_own(root):
    own = re.compile(r"next\([^\n]*(parameters|buffers)\(\)")
    found = [path.name for path in (root / "semicon_nb").rglob("*.py") if own.search(path.read_text(encoding="utf-8"))]
    assert found == ["unet.py"]  # a UNet always has parameters


@pytest.mark.parametrize("cuda, mps, best", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_fastest_device_there_is(cuda, mps, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert chosen_device() == chosen_device("auto") == torch.device(best)
    assert chosen_device("cpu") == CPU
    for name, there in {"cuda": cuda, "cuda:1": cuda, "cuda:2": False, "cuda:x": False, "mps": mps, "tpu": False, "": False}.items():
        if there:
            assert chosen_device(name) == chosen_device(torch.device(name)) == torch.device(name)
        else:
            with pytest.raises(ValueError, match=f"device: found '{name}', expected auto or one that is here .*cpu"):
                chosen_device(name)


# ---- the precision


def asked_afresh(words: str, **environment: str) -> str:
    """What a new process prints, whose libraries see other variables."""
    told = {name: value for name, value in os.environ.items() if name not in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")}
    code = f"from semicon_nb.machine import *; print({words})"
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run([sys.executable, "-c", code], env={**told, **environment}, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_older_processor_gets_fp32():
    assert asked_afresh("chosen_precision()", ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2") == "fp32"


def test_a_processor_that_claims_it_but_emulates_it_gets_fp32():
    """oneDNN, told to keep to AVX-512 without bf16, converts back and forth: then the measurement decides."""
    assert asked_afresh("chosen_precision()", ONEDNN_MAX_CPU_ISA="AVX512_CORE") == "fp32"


@pytest.mark.skipif(not multiplies_bf16(CPU), reason="needs a processor that multiplies bfloat16")
def test_the_measurement_says_the_same_each_time():
    found = set()
    for _ in range(8):
        bf16_pays.cache_clear()
        found.add(bf16_pays(CPU))
    assert len(found) == 1


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("faster", [0.5, 0.79, 0.81, 1.0, 10.0])
def test_bf16_needs_the_processor_and_a_clear_gain(able, faster, monkeypatch):
    """The times of a step in fp32 and in bf16 are made up; the fourth is far too long, as on a machine that is busy."""
    now, calls = [0.0], []

    def clock(device):
        calls.append(device)
        step, low = (len(calls) - 1) // 2, (len(calls) - 1) // 2 % 2
        if len(calls) % 2 == 0:
            now[0] += (faster if low else 1.0) * (50 if step == 4 else 1)
        return now[0]

    monkeypatch.setattr(module, "clock", clock)
    monkeypatch.setattr(module, "multiplies_bf16", lambda device: able)
    bf16_pays.cache_clear()
    try:
        assert chosen_precision("cpu") == ("bf16" if able and faster < 0.8 else "fp32")
    finally:
        bf16_pays.cache_clear()


def test_what_is_settled_is_not_measured(monkeypatch):
    """As a parent settles it for its workers, whatever they would find."""
    monkeypatch.setattr(module, "_SETTLED", {})
    monkeypatch.setattr(module, "multiplies_bf16", lambda device: False)
    assert chosen_precision() == "fp32"
    settle_precision(CPU, "bf16")
    assert chosen_precision() == chosen_precision(CPU) == "bf16" and chosen_precision("mps") == "fp32"


@pytest.mark.parametrize("capability, native", [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_a_gpu_needs_compute_capability_8(capability, native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_bf16(torch.device("cuda")) is native
    assert not multiplies_bf16(torch.device("mps")) and chosen_precision("mps") == "fp32"


def test_older_pytorch_is_asked_in_its_own_way(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert multiplies_bf16(CPU) == (native and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not multiplies_bf16(CPU)


def test_measuring_leaves_numbers_and_threads_alone():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    bf16_pays.__wrapped__(CPU, 1)
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == threads


# ---- in words


def test_the_machine_is_described(monkeypatch):
    found = machine("cpu")
    assert set(found) == {"system", "processor", "architecture", "cores", "threads", "device", "gpu"} and found["device"] == "cpu"
    assert found["processor"] == processor() and processor() and processor() == processor().strip()
    if platform.system() == "Linux" and "model name" in (known := Path("/proc/cpuinfo").read_text()):
        assert processor() in " ".join(known.split())
    assert described(CPU).startswith(f"CPU ({processor()}, ")


@pytest.mark.parametrize("system", ["Darwin", "Windows", "Linux"])
def test_a_processor_without_a_name_is_its_architecture(system, monkeypatch):
    def nowhere(*arguments, **named):
        raise OSError

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(Path, "read_text", nowhere)
    monkeypatch.setattr(subprocess, "run", nowhere)
    assert processor.__wrapped__() == platform.machine()


def test_the_name_of_an_apple_processor(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", lambda words, **named: subprocess.CompletedProcess(words, 0, "Apple M2\n", ""))
    assert processor.__wrapped__() == "Apple M2"


@pytest.mark.parametrize("seconds, words", [(0.2, "0 s"), (40, "40 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")])
def test_times_in_words(seconds, words):
    assert duration(seconds) == words
