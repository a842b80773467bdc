"""Plan, then execute: interrupted runs, precision and device, how long it takes, cached stages."""

import linecache
import random
import re
import time
from dataclasses import fields, replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from small import TINY, Breaking, Interrupted, in_precision, same, tiny_preset

from semicon_nb import plan as plans
from semicon_nb.data import split
from semicon_nb.loop import StageSettings, Step
from semicon_nb.machine import chosen_device, processor
from semicon_nb.methods import METHODS, load_run, train_method
from semicon_nb.plan import forecast, plan_run, stage_key
from semicon_nb.stages import Method, Stage
from semicon_nb.train import finetune, train_global
from semicon_nb.unet import UNet
from semicon_nb.views import FINETUNE, GLOBAL

pytestmark = pytest.mark.usefixtures("own_cache")


def foretold(*run, **how):
    return forecast(plan_run(*run, **how))


def machine_that_likes(word, monkeypatch):
    for place in ("semicon_nb.stages", "semicon_nb.plan"):
        monkeypatch.setattr(f"{place}.chosen_precision", lambda device="cpu": word)


@pytest.mark.parametrize("progress", [False, True])
def test_the_network_is_moved_whether_or_not_anything_is_said(progress, cohort, part, tmp_path, monkeypatch):
    """To PyTorch's device without memory, since a GPU is not at hand: it was left on the CPU in the silent runs of a grid."""
    devices = []

    def stop(path, net):
        devices.extend({value.device.type for value in net.parameters()})
        raise Interrupted

    monkeypatch.setattr(plans, "_seconds_left", lambda net, plan: {})
    monkeypatch.setattr(plans, "_first_line", lambda plan, seconds: "")
    monkeypatch.setattr(plans, "save_weights", stop)
    plan = replace(plan_run(METHODS["scratch"], cohort, part, TINY, out=tmp_path / "RUN", device="cpu"), device=torch.device("meta"))
    with pytest.raises(Interrupted):
        plans.execute(plan, progress=progress)
    assert devices == ["meta"]


@pytest.mark.parametrize("stage, after", [(0, 2), (1, 1), (2, 2)])
def test_interrupted_run_resumes_to_the_same_weights(stage, after, cohort, part, tmp_path):
    preset = tiny_preset(save_every=1)
    method = METHODS["global+local(block)"]
    whole = train_method(method, cohort, part, preset, out=tmp_path / "whole", progress=False, cache=False)
    stages = list(method.stages)
    stages[stage] = replace(stages[stage], train=Breaking(stages[stage].train, after))
    broken = replace(method, stages=tuple(stages))
    out = tmp_path / "RUN"
    with pytest.raises(Interrupted):
        train_method(broken, cohort, part, preset, out=out, progress=False, cache=False)
    assert not (out / "model.pt").exists()
    with pytest.raises(ValueError, match="isn't finished.*--resume"):
        load_run(out)
    with pytest.raises(ValueError, match="in use"):
        train_method(method, cohort, part, preset, out=out, progress=False, cache=False)
    resumed = train_method(method, cohort, part, preset, out=out, resume=True, progress=False, cache=False)
    assert same(whole.model.state_dict(), resumed.model.state_dict())
    plain = [[(step.stage, step.step, step.loss) for step in run.history] for run in (whole, resumed)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("name", ["mean-teacher", "cross-pseudo-supervision", "joint", "best"])
def test_networks_beside_the_student_resume_too(name, cohort, part, tmp_path):
    preset, method = tiny_preset(save_every=1), METHODS[name]
    whole = train_method(method, cohort, part, preset, out=tmp_path / "whole", progress=False)
    last = replace(method.stages[-1], train=Breaking(method.stages[-1].train, 2))
    with pytest.raises(Interrupted):
        train_method(replace(method, stages=(*method.stages[:-1], last)), cohort, part, preset, out=tmp_path / "RUN", progress=False)
    resumed = train_method(method, cohort, part, preset, out=tmp_path / "RUN", resume=True, progress=False)
    assert same(whole.model.state_dict(), resumed.model.state_dict())


def test_finished_run_is_not_trained_again(cohort, part, tmp_path):
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    before = (run.folder / "model.pt").stat().st_mtime_ns
    train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", resume=True, progress=False)
    assert (run.folder / "model.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("word", ["fp32", "bf16"])
def test_auto_is_what_the_machine_likes_and_is_written_down(word, cohort, part, tmp_path, monkeypatch):
    machine_that_likes(word, monkeypatch)
    run = train_method("global", cohort, part, in_precision("auto"), out=tmp_path / "auto", progress=False)
    assert {settings["precision"] for settings in run.settings["stages"].values()} == {word}
    said = train_method("global", cohort, part, in_precision(word), out=tmp_path / "said", progress=False)
    assert said.settings["trained"]["global"]["reused"] and same(run.model.state_dict(), said.model.state_dict())
    other = {"fp32": "bf16", "bf16": "fp32"}[word]
    apart = train_method("global", cohort, part, in_precision(other), out=tmp_path / "other", progress=False)
    assert not apart.settings["trained"]["global"]["reused"]
    assert run.settings["machine"]["device"] == str(chosen_device()) and run.settings["machine"]["processor"] == processor()


@pytest.mark.parametrize("begun, here", [("bf16", "fp32"), ("fp32", "bf16")])
def test_an_interrupted_run_goes_on_in_the_precision_it_was_begun_in(begun, here, cohort, part, tmp_path, monkeypatch, capsys):
    preset, method, out = in_precision("auto", tiny_preset(save_every=1)), METHODS["global"], tmp_path / "RUN"
    whole = train_method(method, cohort, part, in_precision(begun, preset), out=tmp_path / "whole", progress=False, cache=False)
    last = replace(method.stages[-1], train=Breaking(method.stages[-1].train, 2))
    machine_that_likes(begun, monkeypatch)
    with pytest.raises(Interrupted):
        train_method(replace(method, stages=(*method.stages[:-1], last)), cohort, part, preset, out=out, progress=False, cache=False)
    machine_that_likes(here, monkeypatch)
    with pytest.raises(ValueError, match=f"another run .stages: .*precision is '{begun}' there and '{here}' here"):
        train_method(method, cohort, part, in_precision(here, preset), out=out, resume=True, progress=False, cache=False)
    assert capsys.readouterr().out == ""
    resumed = train_method(method, cohort, part, preset, out=out, resume=True, cache=False, device="cpu")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{begun} on CPU") and f"as the run was begun (this machine would choose {here})" in line
    assert {settings["precision"] for settings in resumed.settings["stages"].values()} == {begun}
    assert same(whole.model.state_dict(), resumed.model.state_dict())


def test_a_device_that_is_not_there_is_refused_before_anything(cohort, part, tmp_path):
    with pytest.raises(ValueError, match="device: found 'tpu', expected auto or one that is here"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False, device="tpu")
    assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError, TypeError])
def test_what_apples_mps_cannot_do_is_done_on_the_cpu(error, progress, cohort, part, tmp_path, monkeypatch, capsys):
    """The meta device stands in for MPS: it is there, and it cannot train."""
    devices, usual = [], plans._seconds_left

    def unable(model, plan):
        devices.append(next(model.parameters()).device.type)
        if devices[-1] != "cpu":
            raise error("The operator 'aten::x' is not implemented for the MPS device.\nMore words.")
        return usual(model, plan)

    monkeypatch.setattr("semicon_nb.plan._seconds_left", unable)
    monkeypatch.setattr("semicon_nb.plan.chosen_device", lambda device="auto": torch.device("cpu" if device == "cpu" else "mps"))
    monkeypatch.setattr(UNet, "to", lambda self, device: torch.nn.Module.to(self, "meta" if torch.device(device).type == "mps" else device))
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=progress)
    said = capsys.readouterr().out.splitlines()
    assert devices == (["meta", "cpu"] if progress else ["meta"]) and run.settings["machine"]["device"] == "cpu"
    assert len(said) == 2 * progress and all("MPS cannot train scratch (The operator" in line and "More" not in line for line in said[:1])
    other = train_method("scratch", cohort, part, TINY, out=tmp_path / "usual", progress=False, device="cpu")
    assert same(other.model.state_dict(), run.model.state_dict())


class Paced:
    """A stage whose steps and measurements take a known time; it writes down what it did."""

    def __init__(self, pace, look, log):
        self.pace, self.look, self.log, self.__module__, self.__qualname__ = pace, look, log, "paced", f"paced{pace}{look}"

    def __call__(self, model, cohort, split, settings, seed=0, folder=None, resume=False):
        for step in range(settings.steps):
            self.log.append((settings.steps, folder))
            due = settings.validate_every and ((step + 1) % settings.validate_every == 0 or step + 1 == settings.steps)
            time.sleep(self.pace + (self.look if due else 0) + (0.3 if step == 0 else 0))
            seconds = self.pace + (0.3 if step == 0 else 0)  # the first step is slow, as first steps are
            yield Step("finetune", step + 1, settings.steps, torch.rand(()).item(), 0.1, seconds, 0.5 if due else None)


@pytest.mark.parametrize("steps, every, looks", [(100, 0, 0), (100, 30, 4), (90, 30, 3), (0, 3, 0)])
def test_forecast_is_steps_and_measurements(steps, every, looks, cohort, part):
    settings = replace(TINY.stages["finetune"], steps=steps, validate_every=every)
    preset, log = replace(TINY, stages={"finetune": settings}), []
    method = Method("paced", (Stage("finetune", Paced(0.02, 0.05, log)),))
    plans._TIMES.clear()
    found = foretold(method, cohort, part, preset)
    assert found["finetune"] == pytest.approx(steps * 0.02 + looks * 0.05, rel=0.5) and len(log) <= 4
    assert foretold(method, cohort, part, preset) == found and len(log) <= 4
    assert plans._outlook({"finetune": 0.0}) == "nothing is left to train"
    assert plans._outlook({"global": 0.0, "finetune": 125.0}) == "about 2 min: global is there, finetune 2 min"
    assert plans._outlook({"finetune": 40.0}) == "about 40 s"


@pytest.mark.parametrize("name", ["global+local(random)", "best", "cross-pseudo-supervision", "mixup"])
def test_forecast_leaves_no_trace(name, cohort, part, tmp_path):
    """Nothing on disk, no weight, and no random number is other than without it."""
    usual = train_method(name, cohort, part, TINY, out=tmp_path / "usual", progress=False, cache=False)
    plans._TIMES.clear()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    seconds = foretold(METHODS[name], cohort, part, TINY, out=tmp_path / "RUN")
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected
    assert [*seconds] == [stage.name for stage in METHODS[name].stages] and all(value > 0 for value in seconds.values())
    assert not (tmp_path / "RUN").exists() and not (tmp_path / "cache" / "stages").exists()
    plan = plan_run(METHODS[name], cohort, part, TINY, cache=False, device="cpu")
    net = plan.first_weights()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    plans._TIMES.clear()
    plans._seconds_left(net, plan)
    assert same(before, net.state_dict()) and all(value.grad is None and value.requires_grad for value in net.parameters())
    shown = train_method(name, cohort, part, TINY, out=tmp_path / "shown", cache=False)
    assert same(usual.model.state_dict(), shown.model.state_dict())


def test_what_is_there_takes_no_time(cohort, part, tmp_path):
    preset, method = tiny_preset(save_every=1), METHODS["global+local(block)"]
    broken = replace(method, stages=(*method.stages[:2], replace(method.stages[2], train=Breaking(method.stages[2].train, 2))))
    with pytest.raises(Interrupted):
        train_method(broken, cohort, part, preset, out=tmp_path / "RUN", progress=False)
    fresh = foretold(method, cohort, part, preset, cache=False)
    assert all(fresh.values())
    cached = foretold(method, cohort, part, preset)
    assert cached["global"] == cached["local"] == 0 and cached["finetune"] == fresh["finetune"]
    assert foretold(replace(method, stages=method.stages[:1]), cohort, part, preset)["global"] > 0  # the last stage is never taken
    resumed = foretold(method, cohort, part, preset, out=tmp_path / "RUN", cache=False)
    assert resumed["global"] == resumed["local"] == 0 and 0 < resumed["finetune"] < fresh["finetune"]
    train_method(method, cohort, part, preset, out=tmp_path / "RUN", resume=True, progress=False)
    assert not any(foretold(method, cohort, part, preset, out=tmp_path / "RUN").values())


def test_one_line_and_one_bar(cohort, part, tmp_path, capsys):
    train_method("global+local(block)", cohort, part, TINY, out=tmp_path / "RUN")
    out, err = capsys.readouterr()
    assert re.fullmatch(r"fp32 on \S.*; about \d+ s: global \d+ s, local \d+ s, finetune \d+ s\n", out)
    assert err.count("\n") == 1 and "100%" in err and "finetune: loss" in err and "validation Dice" in err
    train_method("scratch", cohort, part, TINY, out=tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")


def test_stage_without_labels_is_trained_once_for_all_fractions(cohort, tmp_path):
    runs = {
        (name, fraction): train_method(name, cohort, split(cohort, fraction), TINY, out=tmp_path / f"{name}{fraction}", progress=False)
        for name, fraction in (("global", 0.3), ("global", 0.6), ("global+local(exact)", 0.6), ("local(exact)", 0.6))
    }
    reused = {key: [stage["reused"] for stage in run.settings["trained"].values()] for key, run in runs.items()}
    assert reused[("global", 0.3)] == [False, False] and reused[("global", 0.6)] == [True, False]
    assert reused[("global+local(exact)", 0.6)] == [True, False, False] and reused[("local(exact)", 0.6)] == [False, False]
    alone = train_method("global", cohort, split(cohort, 0.6), TINY, out=tmp_path / "alone", progress=False, cache=False)
    assert same(alone.model.state_dict(), runs[("global", 0.6)].model.state_dict())
    assert len(alone.history) == len(runs[("global", 0.6)].history)


@pytest.mark.parametrize("damage", ["empty", "cut", "turned", "nan", "part", "history"])
def test_a_damaged_stage_in_the_cache_is_trained_anew(damage, cohort, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    how = {"preset": TINY, "progress": False}
    first = train_method("global", cohort, split(cohort, 0.6), out=tmp_path / "one", **how)
    (kept,) = (tmp_path / "cache" / "stages").glob("*.pt")
    content = kept.read_bytes()
    if damage == "history":
        kept.with_suffix(".jsonl").write_text("")
    elif damage == "part":  # the first weights would fit, so that half of the network would not start where it must
        weights = torch.load(kept, weights_only=True)
        weights.popitem()
        torch.save({name: value + 1 for name, value in weights.items()}, kept)
    elif damage == "nan":
        weights = torch.load(kept, weights_only=True)
        next(iter(weights.values())).view(-1)[0] = torch.nan
        torch.save(weights, kept)
    else:
        half = len(content) // 2
        turned = content[:half] + bytes([content[half] ^ 8]) + content[half + 1 :]
        kept.write_bytes({"empty": b"", "cut": content[:half], "turned": turned}[damage])
    again = train_method("global", cohort, split(cohort, 0.6), out=tmp_path / "two", **how)
    assert capsys.readouterr().out == f"{kept}: is damaged; this stage is trained anew\n"
    assert same(first.model.state_dict(), again.model.state_dict())
    third = train_method("global", cohort, split(cohort, 0.3), out=tmp_path / "three", **how)
    assert third.settings["trained"]["global"]["reused"] and not capsys.readouterr().out


def test_two_trainings_in_one_folder_are_refused(cohort, part, tmp_path):
    (tmp_path / "RUN").mkdir()
    with FileLock(tmp_path / "RUN" / ".lock"), pytest.raises(ValueError, match="RUN: another process is training this run; wait for it"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert not (run.folder / ".lock").exists()


def test_stage_key_changes_with_what_matters(cohort, part):
    stage, settings = Stage("global", train_global, images="train", labels=False), TINY.stages["global"]
    network = TINY.network(3)
    key = stage_key(stage, settings, cohort, part, network, 0, "")
    assert key == stage_key(stage, replace(settings, save_every=7), cohort, split(cohort, 0.6), network, 0, "")
    others = [
        stage_key(stage, replace(settings, rate=0.5), cohort, part, network, 0, ""),
        stage_key(stage, settings, replace(cohort, fingerprint="other"), part, network, 0, ""),
        stage_key(stage, settings, cohort, split(cohort, 0.3, seed=1), network, 0, ""),
        stage_key(stage, settings, cohort, part, {**network, "width": 3}, 0, ""),
        stage_key(stage, settings, cohort, part, network, 1, ""),
        stage_key(stage, settings, cohort, part, network, 0, "before"),
        stage_key(replace(stage, train=finetune), settings, cohort, part, network, 0, ""),
        stage_key(replace(stage, labels=True), settings, cohort, part, network, 0, ""),
    ]
    assert len({key, *others}) == 9


VALUES = {
    "steps": (3, 4), "batch": (2, 4), "rate": (1e-3, 2e-3), "weight_decay": (0.0, 1e-4), "schedule": ("constant", "cosine"), "warmup": (0, 1),
    "clip": (0.0, 1.0), "precision": ("fp32", "bf16"), "temperature": (0.1, 0.5), "views": (FINETUNE, GLOBAL, replace(GLOBAL, noise=0.06)),
    "validate_every": (0, 1), "average": (0.0, 0.9), "save_every": (1, 2),
}  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_other_setting_of_a_stage_is_another_key_and_the_same_is_the_same(cohort, part, monkeypatch, data):
    monkeypatch.setattr(plans, "code_key", lambda *roots: "the same code")  # which takes a while
    assert set(VALUES) == {field.name for field in fields(StageSettings)}, "what does a new setting do to the key?"
    one = StageSettings(**{name: data.draw(st.sampled_from(values), name) for name, values in VALUES.items()})
    name = data.draw(st.sampled_from(list(VALUES)), "changed")
    other = replace(one, **{name: data.draw(st.sampled_from(VALUES[name]), "value")})
    keys = [stage_key(METHODS["global"].stages[0], own, cohort, part, TINY.network(3), 0, "") for own in (one, other)]
    assert (keys[0] == keys[1]) == (one == other or name == "save_every"), "save_every decides nothing about the outcome"


def test_stage_with_labels_hangs_on_which_slices_have_outlines(cohort):
    def key(stage, **how):
        return stage_key(stage, TINY.stages[stage.name], cohort, split(cohort, 0.5, **how), {}, 0, "")

    whole, tuned = METHODS["global"].stages
    assert key(tuned) != key(tuned, spread="slices") and key(whole) == key(whole, spread="slices")


def test_stage_of_an_own_training_function_is_not_that_of_the_function_before_it_was_edited(cohort, part):
    keys = []
    for words in ("yield 1", "yield 2"):
        source = f"def mine(model, cohort, split, settings, seed=0, folder=None, resume=False):\n    {words}\n"
        place: dict = {"__name__": "own"}
        exec(compile(source, name := f"<own {words}>", "exec"), place)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        keys.append(stage_key(Stage("local", place["mine"]), TINY.stages["local"], cohort, part, TINY.network(3), 0, ""))
    assert keys[0] != keys[1]
