"""A run is trained as planned, goes on where it was interrupted, and says how long it takes; its folder says everything, and what is damaged is refused."""

import json
import random
import re
import shutil
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock
from small import TINY, Interrupted, breaking, same, tiny_preset

from semicon_nb import runs
from semicon_nb.data import split
from semicon_nb.identity import difference
from semicon_nb.loop import Step, read_history
from semicon_nb.methods import METHODS, load_run, recipe_of, train_method
from semicon_nb.plan import plan_run
from semicon_nb.predict import Prediction, prediction_of
from semicon_nb.runs import begun_in, forecast, learned_from
from semicon_nb.stages import Method, Stage
from semicon_nb.unet import UNet

pytestmark = pytest.mark.usefixtures("own_cache")


def foretold(*run, folder=None, **how):
    return forecast(plan_run(*run, **how), folder)


@pytest.mark.parametrize("progress", [False, True])
def test_the_network_is_moved_whether_or_not_anything_is_said(progress, cohort, part, tmp_path, monkeypatch):
    """To PyTorch's device without memory, since a GPU is not at hand: it was left on the CPU in the silent runs of a grid."""
    devices = []

    def stop(path, net):
        devices.extend({value.device.type for value in net.parameters()})
        raise Interrupted

    monkeypatch.setattr(runs, "_seconds_left", lambda net, plan, folder: {})
    monkeypatch.setattr(runs, "_first_line", lambda plan, device, seconds: "")
    monkeypatch.setattr(runs, "save_weights", stop)
    plan = replace(plan_run(METHODS["scratch"], cohort, part, TINY, device="cpu"), device=torch.device("meta"))
    with pytest.raises(Interrupted):
        runs.execute(plan, tmp_path / "RUN", progress=progress)
    assert devices == ["meta"]


@pytest.mark.parametrize("stage, after", [(0, 2), (1, 1), (2, 2)])
def test_interrupted_run_resumes_to_the_same_weights(stage, after, cohort, part, tmp_path):
    preset = tiny_preset(save_every=1)
    method = METHODS["global+local(block)"]
    whole = train_method(method, cohort, part, preset, out=tmp_path / "whole", progress=False, cache=False)
    stages = list(method.stages)
    stages[stage] = replace(stages[stage], train=breaking(stages[stage].train, after))
    broken = replace(method, stages=tuple(stages))
    out = tmp_path / "RUN"
    with pytest.raises(Interrupted):
        train_method(broken, cohort, part, preset, out=out, progress=False, cache=False)
    assert not (out / "model.pt").exists()
    with pytest.raises(ValueError, match="isn't finished.*--resume"):
        load_run(out)
    with pytest.raises(ValueError, match="holds files already"):
        train_method(method, cohort, part, preset, out=out, progress=False, cache=False)
    resumed = train_method(method, cohort, part, preset, out=out, resume=True, progress=False, cache=False)
    assert same(whole.model.state_dict(), resumed.model.state_dict())
    plain = [[(step.stage, step.step, step.loss) for step in run.history] for run in (whole, resumed)]
    assert plain[0] == plain[1]


class Dropping(torch.nn.Sequential):
    """A network that draws random numbers of PyTorch and of NumPy."""

    def __init__(self, classes):
        super().__init__(torch.nn.Conv2d(1, 4, 1), torch.nn.Dropout(0.5), torch.nn.Conv2d(4, classes, 1))

    def forward(self, images):
        return super().forward(images * (np.random.rand() + 0.5 if self.training else 1.0))


@pytest.mark.parametrize("after", [1, 2])
def test_a_network_that_draws_random_numbers_is_a_function_of_the_seed_and_resumes(after, cohort, part, tmp_path):
    preset, method, how = tiny_preset(save_every=2), METHODS["scratch"], {"model": Dropping, "progress": False}
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    whole = train_method(method, cohort, part, preset, **how)
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected
    again, other = (train_method(method, cohort, part, preset, seed, **how) for seed in (0, 1))
    assert same(whole.model.state_dict(), again.model.state_dict()) and not same(whole.model.state_dict(), other.model.state_dict())
    last = replace(method.stages[-1], train=breaking(method.stages[-1].train, after))
    with pytest.raises(Interrupted):
        train_method(replace(method, stages=(last,)), cohort, part, preset, out=tmp_path / "RUN", **how)
    resumed = train_method(method, cohort, part, preset, out=tmp_path / "RUN", resume=True, **how)
    assert same(whole.model.state_dict(), resumed.model.state_dict())


@pytest.mark.parametrize("stage, kept", [(0, 1), (1, 3)])
def test_the_seconds_of_a_run_are_those_of_all_its_tries(stage, kept, cohort, part, tmp_path):
    out, method = tmp_path / "RUN", METHODS["global"]
    stages = [replace(one, train=breaking(one.train, 1)) if number == stage else one for number, one in enumerate(method.stages)]
    with pytest.raises(Interrupted):
        train_method(replace(method, stages=tuple(stages)), cohort, part, TINY, out=out, progress=False)
    path = out / "checkpoints" / "0" / "history.jsonl"
    lines = [json.loads(line) | {"seconds": 1000.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = train_method(method, cohort, part, TINY, out=out, resume=True, progress=False)
    assert len(lines) == kept and 1000 * kept < run.settings["seconds"] < 1000 * kept + 500


@pytest.mark.parametrize("name", ["mean-teacher", "cross-pseudo-supervision", "joint", "best"])
def test_networks_beside_the_student_resume_too(name, cohort, part, tmp_path):
    preset, method = tiny_preset(save_every=1), METHODS[name]
    whole = train_method(method, cohort, part, preset, out=tmp_path / "whole", progress=False)
    last = replace(method.stages[-1], train=breaking(method.stages[-1].train, 2))
    with pytest.raises(Interrupted):
        train_method(replace(method, stages=(*method.stages[:-1], last)), cohort, part, preset, out=tmp_path / "RUN", progress=False)
    resumed = train_method(method, cohort, part, preset, out=tmp_path / "RUN", resume=True, progress=False)
    assert same(whole.model.state_dict(), resumed.model.state_dict())


def test_finished_run_is_not_trained_again(cohort, part, tmp_path):
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    before = (run.folder / "model.pt").stat().st_mtime_ns
    train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", resume=True, progress=False)
    assert (run.folder / "model.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError, TypeError])
def test_what_apples_mps_cannot_do_is_done_on_the_cpu(error, progress, cohort, part, tmp_path, monkeypatch, capsys):
    """The meta device stands in for MPS: it is there, and it cannot train."""
    devices, usual = [], runs._seconds_left

    def unable(model, plan, folder):
        devices.append(next(model.parameters()).device.type)
        if devices[-1] != "cpu":
            raise error("The operator 'aten::x' is not implemented for the MPS device.\nMore words.")
        return usual(model, plan, folder)

    monkeypatch.setattr("semicon_nb.runs._seconds_left", unable)
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
    runs._TIMES.clear()
    found = foretold(method, cohort, part, preset)
    assert found["finetune"] == pytest.approx(steps * 0.02 + looks * 0.05, rel=0.5) and len(log) <= 4
    assert foretold(method, cohort, part, preset) == found and len(log) <= 4
    assert runs._outlook({"finetune": 0.0}) == "nothing is left to train"
    assert runs._outlook({"global": 0.0, "finetune": 125.0}) == "about 2 min: global is there, finetune 2 min"
    assert runs._outlook({"finetune": 40.0}) == "about 40 s"


@pytest.mark.parametrize("name", ["global+local(random)", "best", "cross-pseudo-supervision", "mixup"])
def test_forecast_leaves_no_trace(name, cohort, part, tmp_path):
    """Nothing on disk, no weight, and no random number is other than without it."""
    usual = train_method(name, cohort, part, TINY, out=tmp_path / "usual", progress=False, cache=False)
    runs._TIMES.clear()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    seconds = foretold(METHODS[name], cohort, part, TINY, folder=tmp_path / "RUN")
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected
    assert [*seconds] == [stage.name for stage in METHODS[name].stages] and all(value > 0 for value in seconds.values())
    assert not (tmp_path / "RUN").exists() and not (tmp_path / "cache" / "stages").exists()
    plan = plan_run(METHODS[name], cohort, part, TINY, cache=False, device="cpu")
    net = plan.network
    before = {key: value.clone() for key, value in net.state_dict().items()}
    runs._TIMES.clear()
    runs._seconds_left(net, plan, None)
    assert same(before, net.state_dict()) and all(value.grad is None and value.requires_grad for value in net.parameters())
    shown = train_method(name, cohort, part, TINY, out=tmp_path / "shown", cache=False)
    assert same(usual.model.state_dict(), shown.model.state_dict())


def test_what_is_there_takes_no_time(cohort, part, tmp_path):
    preset, method = tiny_preset(save_every=1), METHODS["global+local(block)"]
    broken = replace(method, stages=(*method.stages[:2], replace(method.stages[2], train=breaking(method.stages[2].train, 2))))
    with pytest.raises(Interrupted):
        train_method(broken, cohort, part, preset, out=tmp_path / "RUN", progress=False)
    fresh = foretold(method, cohort, part, preset, cache=False)
    assert all(fresh.values())
    cached = foretold(method, cohort, part, preset)
    assert cached["global"] == cached["local"] == 0 and cached["finetune"] == fresh["finetune"]
    assert foretold(replace(method, stages=method.stages[:1]), cohort, part, preset)["global"] > 0  # the last stage is never taken
    resumed = foretold(method, cohort, part, preset, folder=tmp_path / "RUN", cache=False)
    assert resumed["global"] == resumed["local"] == 0 and 0 < resumed["finetune"] < fresh["finetune"]
    train_method(method, cohort, part, preset, out=tmp_path / "RUN", resume=True, progress=False)
    assert not any(foretold(method, cohort, part, preset, folder=tmp_path / "RUN").values())


def test_one_line_and_one_bar(cohort, part, tmp_path, capsys):
    train_method("global+local(block)", cohort, part, TINY, out=tmp_path / "RUN")
    out, err = capsys.readouterr()
    assert re.fullmatch(r"fp32 on \S.*; about \d+ s: global \d+ s, local \d+ s, finetune \d+ s\n", out)
    assert err.count("\n") == 1 and "100%" in err and "finetune: loss" in err and "validation Dice" in err
    train_method("scratch", cohort, part, TINY, out=tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")


def test_stage_without_labels_is_trained_once_for_all_fractions(cohort, tmp_path):
    trained = {
        (name, fraction): train_method(name, cohort, split(cohort, fraction), TINY, out=tmp_path / f"{name}{fraction}", progress=False)
        for name, fraction in (("global", 0.3), ("global", 0.6), ("global+local(exact)", 0.6), ("local(exact)", 0.6))
    }
    reused = {key: [stage["reused"] for stage in run.settings["trained"].values()] for key, run in trained.items()}
    assert reused[("global", 0.3)] == [False, False] and reused[("global", 0.6)] == [True, False]
    assert reused[("global+local(exact)", 0.6)] == [True, False, False] and reused[("local(exact)", 0.6)] == [False, False]
    alone = train_method("global", cohort, split(cohort, 0.6), TINY, out=tmp_path / "alone", progress=False, cache=False)
    assert same(alone.model.state_dict(), trained[("global", 0.6)].model.state_dict())
    assert len(alone.history) == len(trained[("global", 0.6)].history)


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


def test_a_run_that_is_resumed_says_which_stages_came_from_the_cache(cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    method, few, many = METHODS["global"], split(cohort, 0.3), split(cohort, 0.6)
    said = []
    for who in (few, many):  # the first trains the global stage, the second takes it
        out = tmp_path / f"RUN{len(said)}"
        broken = replace(method, stages=(method.stages[0], replace(method.stages[1], train=breaking(method.stages[1].train, 1))))
        with pytest.raises(Interrupted):
            train_method(broken, cohort, who, TINY, out=out, progress=False)
        run = train_method(method, cohort, who, TINY, out=out, resume=True, progress=False)
        said.append([stage["reused"] for stage in run.settings["trained"].values()])
    assert said == [[False, False], [True, False]]


def test_a_damaged_stage_of_an_interrupted_run_is_trained_anew(cohort, part, tmp_path, capsys):
    preset, method, out = tiny_preset(save_every=1), METHODS["global+local(block)"], tmp_path / "RUN"
    whole = train_method(method, cohort, part, preset, out=tmp_path / "whole", progress=False, cache=False)
    broken = replace(method, stages=(*method.stages[:2], replace(method.stages[2], train=breaking(method.stages[2].train, 2))))
    with pytest.raises(Interrupted):
        train_method(broken, cohort, part, preset, out=out, progress=False, cache=False)
    (out / "local.pt").write_bytes(b"torn")
    again = train_method(method, cohort, part, preset, out=out, resume=True, progress=False, cache=False)
    assert capsys.readouterr().out == f"{out / 'local.pt'}: is damaged; this stage is trained anew\n"
    assert same(whole.model.state_dict(), again.model.state_dict()) and len(again.history) == len(whole.history)


def test_a_stage_that_writes_no_history_is_kept_and_taken_again(cohort, part, tmp_path):
    """A training function of one's own need not write into the folder that it is given."""
    stage = Stage("global", Paced(0.0, 0.0, log := []))
    for name in ("one", "two"):
        method = Method("own", (stage, METHODS["scratch"].stages[0]))
        run = train_method(method, cohort, part, TINY, out=tmp_path / name, progress=False)
        assert run.stages == ["initial", "global", "finetune"]
    assert len(log) >= TINY.stages["global"].steps


def test_a_cache_that_cannot_be_written_costs_only_time(cohort, part, tmp_path, monkeypatch):
    usual = train_method("global", cohort, part, TINY, out=tmp_path / "usual", progress=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="file.stages.*: not kept .*; set SEMICON_CACHE to a folder that can be written"):
        run = train_method("global", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert same(usual.model.state_dict(), run.model.state_dict())


def test_two_trainings_in_one_folder_are_refused(cohort, part, tmp_path):
    (tmp_path / "RUN").mkdir()
    with FileLock(tmp_path / "RUN" / ".lock"), pytest.raises(ValueError, match="RUN: another process is training this run; wait for it"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert not (run.folder / ".lock").exists()


def test_run_folder_says_everything(cohort, part, tmp_path):
    run = train_method("global+local(block)", cohort, part, TINY, 1, tmp_path / "RUN", progress=False)
    files = {path.name for path in run.folder.iterdir()}
    assert files == {"run.json", "split.json", "history.jsonl", "initial.pt", "global.pt", "local.pt", "finetune.pt", "model.pt"}
    facts = json.loads((run.folder / "run.json").read_text())
    wanted = "method data classes grid labels seed preset network stages versions machine seconds"
    assert set(wanted.split()) <= set(facts)
    again = load_run(run.folder)
    assert again.method is METHODS["global+local(block)"] and again.split == part
    assert again.stages == ["initial", "global", "local", "finetune"]
    assert same(again.model.state_dict(), run.model.state_dict()) and same(again.after("finetune").state_dict(), run.model.state_dict())
    assert [step.stage for step in again.history] == ["global"] * 3 + ["local"] * 3 + ["finetune"] * 3
    assert again.cohort.fingerprint == cohort.fingerprint


def test_what_a_run_has_seen_is_whom_it_was_trained_on(cohort, part, tmp_path):
    """New scans are compared with these: a scan like one of the test people only is unlike them."""
    odd = [replace(volume, levels=(0.0, 1e6)) if volume.name in part.test else replace(volume, levels=(0.0, 1.0)) for volume in cohort.volumes]
    run = train_method("scratch", replace(cohort, volumes=tuple(odd)), part, TINY, out=tmp_path / "RUN", progress=False)
    assert run.settings["seen"]["levels"] == [[0.0, 1.0], [0.0, 1.0]]


def test_a_damaged_record_of_a_run_is_named(cohort, part, tmp_path):
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "run.json").write_text('{"stages": ')
    with pytest.raises(ValueError, match="run.json: is damaged"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", resume=True, progress=False)


@pytest.mark.parametrize("one, other, words", [
    ({"a": 1}, {"a": 1}, ""), ({"a": 1}, {"a": 2}, "a is 1 there and 2 here"), ({"a": 1}, {}, "a is 1 there and None here"),
    ({"s": {"x": {"p": 1, "q": 2}}}, {"s": {"x": {"p": 1, "q": 3}}}, "s: x: q is 2 there and 3 here"),
    ({"s": {"x": 1}}, {"s": 4}, "s is {'x': 1} there and 4 here"), ({"s": {"x": 1, "y": 1}}, {"s": {"x": 1}}, "s: y is 1 there and None here"),
])  # fmt: skip
def test_the_first_difference_is_said(one, other, words):
    assert difference(one, other) == words


@pytest.mark.parametrize("change", ["method", "seed", "split", "preset"])
def test_resuming_another_run_is_refused(change, cohort, part, tmp_path):
    given = {"method": "scratch", "seed": 0, "split": part, "preset": TINY}
    train_method(**given, cohort=cohort, out=tmp_path / "RUN", progress=False)
    other = {"method": "global", "seed": 1, "split": split(cohort, 0.6), "preset": TINY.scaled(2)}
    with pytest.raises(ValueError, match="holds another run"):
        train_method(**{**given, change: other[change]}, cohort=cohort, out=tmp_path / "RUN", resume=True, progress=False)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_does_not_go_on_under_other_code_of_a_stage(finished, cohort, part, tmp_path):
    out, said = tmp_path / "RUN", "RUN: was begun with other code.*stages: finetune is 'old' there"
    train_method("scratch", cohort, part, TINY, out=out, progress=False)
    facts = json.loads((out / "run.json").read_text())
    facts["finished"], facts["code"]["stages"]["finetune"] = finished, "old"
    (out / "run.json").write_text(json.dumps(facts))
    with nullcontext() if finished else pytest.raises(ValueError, match=said):
        train_method("scratch", cohort, part, TINY, out=out, resume=True, progress=False)


def test_bad_folders_are_named(cohort, part, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*no RUN folder"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "file", progress=False)
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    (run.folder / "model.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="model.pt.*damaged"):
        load_run(run.folder)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json.*damaged"):
        load_run(run.folder)


@pytest.mark.parametrize("stages, words", [
    ({"finetune": {}}, "it lacks stages.*precision"), ([], "stages is"), ({"finetune": 3}, "'finetune'. is 3, expected"),
    ({"finetune": {"precision": 7}}, "precision is 7, expected text"),
])  # fmt: skip
def test_a_run_does_not_go_on_from_a_record_of_another_kind(stages, words, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"stages": stages}))
    with pytest.raises(ValueError, match=f"run.json: is damaged .*{words}.*delete the folder"):
        begun_in(tmp_path)


def test_torn_history_is_read(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"stage": "global", "step": 1, "steps": 2, "loss": 1.0, "rate": 0.1, "seconds": 0.1, "dice": null}\n{"stage": "glo')
    assert [step.step for step in read_history(path)] == [1]


def test_a_run_is_loaded_with_the_way_its_network_is_asked(cohort, part, tmp_path):
    run = train_method("best", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    asked = Prediction(looks=True, neighbours=METHODS["best"].neighbours)
    assert asked.neighbours > 0
    again = load_run(run.folder)
    assert {prediction_of(net) for net in (run.model, again.model, again.after("local"), run.after("initial"))} == {asked}
    assert run.method.prediction == again.method.prediction == asked
    plain = train_method(recipe_of(looks=False, neighbours=0), cohort, part, TINY, out=tmp_path / "2", progress=False)
    assert prediction_of(plain.model) == Prediction()


@pytest.fixture(scope="module")
def finished(cohort, part, tmp_path_factory):
    return train_method("scratch", cohort, part, TINY, out=tmp_path_factory.mktemp("finished") / "RUN", progress=False, cache=False).folder


def rewritten(finished, tmp_path, change):
    folder = shutil.copytree(finished, tmp_path / "RUN")
    facts = json.loads((folder / "run.json").read_text())
    change(facts)
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("change, words", [
    (lambda facts: facts.update(classes=["background", "left", "Left "]), "two of its classes have one name"),
    (lambda facts: facts.update(classes=["background", 1, 2]), r"classes\[1\] is 1, expected text"),
    (lambda facts: facts["network"].update(width=1 << 40), "'network' makes no network|another network"),
    (lambda facts: facts["network"].update(depth=1 << 40), "'network' makes no network"),
    (lambda facts: facts["network"].update(unknown=1), "'network' makes no network"),
    (lambda facts: facts["grid"].update(size=1 << 20), "size: found 1048576, expected"),
    (lambda facts: facts["grid"].update(orientation=["R", "A", "S"]), "grid.orientation is"),
    (lambda facts: facts["codes"].update(classes=[[0, 0, 0]]), "no pairs"),
    (lambda facts: facts["seen"].update(shape=[[1, 2], [3, 4]]), "'seen' has a shape"),
    (lambda facts: facts["stages"].update({"../../x": {}}), "no name of a file"),
    (lambda facts: facts["method"].update(neighbours=-1), "neighbours"), (lambda facts: facts.update(data={}), "it lacks data.cohort"),
    (lambda facts: facts.pop("learned") and facts.update(learned=3), "learned is 3, expected an object"),
])  # fmt: skip
def test_a_record_that_cannot_be_right_is_refused_in_a_sentence(change, words, finished, tmp_path):
    with pytest.raises(ValueError, match=words) as refused:
        load_run(rewritten(finished, tmp_path, change))
    assert "RUN" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [{"cohort": "phantom", "size": "64"}, {"cohort": "phantom", "other": 1}, {"cohort": "a\0b"}])
def test_data_that_cannot_be_loaded_is_told_with_the_run(data, finished, tmp_path):
    run = load_run(rewritten(finished, tmp_path, lambda facts: facts.update(data=data)))
    with pytest.raises((ValueError, FileNotFoundError), match="RUN: the scans that") as refused:
        run.cohort  # noqa: B018
    assert "--data" in str(refused.value)


def test_a_history_that_is_no_text_or_no_file_is_named_or_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    whole = {"stage": "fit", "step": 1, "steps": 2, "loss": 1.0, "rate": 0.1, "seconds": 0.1, "dice": None}
    lines = [json.dumps(whole).encode(), b"\xff\xfe", json.dumps(whole | {"loss": "x"}).encode(), b"[" * 100_000, b""]
    path.write_bytes(b"\n".join(lines))
    assert [step.step for step in read_history(path)] == [1]
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="history.jsonl: is a folder, pipe or device"):
        read_history(path)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_does_not_go_on_with_other_people(finished, cohort, part, tmp_path):
    """The same outlines, but somebody who validated trains now: the stages that are there have not seen this split."""
    run = train_method("global", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    if not finished:
        facts = json.loads((run.folder / "run.json").read_text()) | {"finished": False}
        (run.folder / "run.json").write_text(json.dumps(facts))
        (run.folder / "model.pt").unlink()
    free = next(name for name in part.train if name not in part.labelled)
    swap = {free: part.val[0], part.val[0]: free}
    other = replace(part, train=tuple(swap.get(n, n) for n in part.train), val=tuple(swap.get(n, n) for n in part.val))
    with pytest.raises(ValueError, match="split.json: deals people otherwise"):
        train_method("global", cohort, other, TINY, out=tmp_path / "RUN", resume=True, progress=False)
    train_method("global", cohort, part, TINY, out=tmp_path / "RUN", resume=True, progress=False)


def test_going_on_needs_the_folder_of_a_run(cohort, part):
    with pytest.raises(ValueError, match="resume: found True without a folder, .* name it with out="):
        train_method("scratch", cohort, part, TINY, resume=True, progress=False)


def test_a_run_of_generated_scans_knows_whom_it_learned_from(cohort, part, tmp_path):
    """They have no file whose content could be known again, and the answer was: from nobody. The folder may be a word."""
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert set(learned_from(run, cohort)) == {*part.train, *part.val} and learned_from(run, replace(cohort, fingerprint="other")) == []
    assert foretold(METHODS["scratch"], cohort, part, TINY, folder=str(run.folder)) == {"finetune": 0.0}
