"""Methods use what they say and nothing else, runs resume bit for bit, folders are whole or refused."""

import json
import linecache
import random
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from semicon_nb.data import part_indices, phantom, split
from semicon_nb.evaluate import evaluate
from semicon_nb.loop import Step
from semicon_nb.losses import global_contrastive_loss
from semicon_nb.machine import chosen_device, processor
from semicon_nb.methods import (
    METHODS,
    PRESETS,
    Method,
    Stage,
    in_words,
    load_run,
    method_table,
    named_method,
    named_preset,
    recipe_of,
    train_method,
)
from semicon_nb.runs import (
    _TIMED,
    build,
    difference,
    forecast,
    network_facts,
    outlook,
    planned,
    read_history,
    seconds_left,
    stage_key,
)
from semicon_nb.semisupervised import (
    LOOKS,
    OBJECTIVES,
    AveragedUNet,
    Batch,
    Context,
    Student,
    Teacher,
    Twins,
    chosen_pixels,
    look,
    positional_loss,
    ramp,
    semi_batches,
    turned,
)
from semicon_nb.stages import built, settings_for, settled
from semicon_nb.strategies import Downsampling, FullResolution, RandomSampling
from semicon_nb.train import finetune, train_global
from semicon_nb.unet import UNet


def tiny_preset(save_every=200):
    """A network of two filters, and three steps a stage."""
    usual, every = PRESETS["demo"], {"global": 0, "local": 0, "finetune": 3}
    stages = {
        name: replace(settings, steps=3, batch=4, warmup=0, precision="fp32", save_every=save_every, validate_every=every[name])
        for name, settings in usual.stages.items()
    }
    stages["local"] = replace(stages["local"], batch=2)
    return replace(usual, name="tiny", width=2, global_dim=8, pixel_dim=8, stages=stages)


TINY = tiny_preset()


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=6, size=32)


@pytest.fixture(scope="module")
def part(cohort):
    return split(cohort, labelled=0.3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))


def trained(method, cohort, part, out, **how):
    return train_method(method, cohort, part, preset=TINY, out=out, progress=False, cache=False, **how).model.state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def rows_of(cohort, names):
    return np.isin(cohort.volume, [i for i, volume in enumerate(cohort.volumes) if volume.name in set(names)])


def trusting(method):
    """The method with every pseudo-label believed, since a network of three steps is sure of none."""
    options = [stage.options | ({"threshold": 0.0} if "threshold" in stage.options else {}) for stage in method.stages]
    return replace(method, stages=tuple(replace(stage, options=own) for stage, own in zip(method.stages, options, strict=True)))


@pytest.mark.parametrize("name", METHODS)
def test_method_uses_what_it_says(name, cohort, part, tmp_path):
    """Labels of unlabelled and test volumes never matter; images of unlabelled ones do where the method says so, and only there."""
    unlabelled = rows_of(cohort, set(part.train) - set(part.labelled))
    hidden = unlabelled | rows_of(cohort, part.test)
    method = trusting(METHODS[name])
    usual = trained(method, cohort, part, tmp_path / "usual")
    poison = np.where(hidden[:, None, None], np.random.default_rng(0).integers(0, 3, cohort.labels.shape), cohort.labels).astype(np.uint8)
    assert same(usual, trained(method, replace(cohort, labels=poison), part, tmp_path / "poisoned"))
    other = np.where(unlabelled[:, None, None], 1 - cohort.images, cohort.images)
    sees = any(stage.images == "train" for stage in METHODS[name].stages)
    assert same(usual, trained(method, replace(cohort, images=other), part, tmp_path / "images")) != sees
    unseen = np.where(rows_of(cohort, part.test)[:, None, None], 1 - cohort.images, cohort.images)
    assert same(usual, trained(method, replace(cohort, images=unseen), part, tmp_path / "test"))


def test_every_row_of_the_issue_is_there():
    wanted = "scratch global global+local(self) local(stride) local(block) global+local(stride) global+local(block) mixup tcsm"
    wanted += " local(exact) global+local(exact) global+local(random) mean-teacher cross-pseudo-supervision fixmatch pcl joint scratch(strong) best"
    assert set(METHODS) == set(wanted.split())
    assert [row["method"] for row in method_table()] == list(METHODS)
    assert all(row["source"] for row in method_table())
    (row,) = method_table((METHODS["global+local(block)"],))
    assert row["own settings"] == "strategy: blocks of 16"


def test_tables_name_strategies_in_words():
    assert [in_words(one) for one in (FullResolution(), Downsampling(2), RandomSampling(9))] == [
        "every pixel",
        "stride 2",
        "9 random pixels",
    ]
    assert in_words(RandomSampling(9, balanced=False, seed=3)) == "9 random pixels, balanced=False, seed=3"
    assert in_words(replace(FullResolution(), per_image=True)) == "every pixel, per_image=True" and in_words(0.5) == "0.5"


@pytest.mark.parametrize("preset", PRESETS)
def test_all_methods_of_a_preset_finetune_alike(preset, cohort, part):
    """Equal steps, batches, rates, augmentation and selection in the last stage."""
    rows = [method for method in METHODS.values() if method.name not in ("scratch(strong)", "best")]
    usual = {settings_for(method.stages[-1], PRESETS[preset], cohort, part) for method in rows}
    assert len(usual) == 1
    own = {name: settings_for(METHODS[name].stages[-1], PRESETS[preset], cohort, part) for name in ("scratch(strong)", "best")}
    assert own["scratch(strong)"].steps == 2 * own["best"].steps == 4 * usual.pop().steps
    assert all(method.stages[-1].name == "finetune" for method in METHODS.values())


def test_methods_start_from_the_same_weights(cohort, part, tmp_path):
    runs = [train_method(name, cohort, part, TINY, 5, tmp_path / name, progress=False, cache=False) for name in ("scratch", "local(exact)")]
    first = [run.after("initial").state_dict() for run in runs]
    assert same(*first) and not same(first[0], runs[0].model.state_dict())
    assert not same(first[0], build(TINY.network(3), seed=6).state_dict())


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


class Interrupted(Exception):
    """The power went."""


class Breaking:
    """A stage that stops once after some steps."""

    def __init__(self, train, after):
        self.train, self.after, self.__module__, self.__qualname__ = train, after, train.__module__, train.__qualname__

    def __call__(self, *arguments, **named):
        for step in self.train(*arguments, **named):
            yield step
            if step.step == self.after:
                self.after = None
                raise Interrupted


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


# ---- the precision and the device of a run


def in_precision(word, preset=TINY):
    return replace(preset, stages={name: replace(settings, precision=word) for name, settings in preset.stages.items()})


def machine_that_likes(word, monkeypatch):
    for place in ("semicon_nb.stages", "semicon_nb.runs"):
        monkeypatch.setattr(f"{place}.chosen_precision", lambda device="cpu": word)


def test_presets_leave_the_precision_to_the_machine_but_for_the_papers():
    found = {name: {settings.precision for settings in preset.stages.values()} for name, preset in PRESETS.items()}
    assert found == {"demo": {"auto"}, "laptop": {"auto"}, "paper": {"fp32"}}


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


def test_a_methods_own_precision_goes_before_the_presets():
    for own, word in (("fp32", "fp32"), ("bf16", "bf16"), ("auto", "bf16")):
        stage = replace(METHODS["scratch"].stages[0], changes={"precision": own})
        assert settings_for(stage, settled(in_precision("auto"), "cpu", {"finetune": "bf16"}), None, None).precision == word


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


def test_a_device_that_is_not_there_is_refused_before_anything(cohort, part, tmp_path):
    with pytest.raises(ValueError, match="device: found 'tpu', expected auto or one that is here"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False, device="tpu")
    assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError, TypeError])
def test_what_apples_mps_cannot_do_is_done_on_the_cpu(error, progress, cohort, part, tmp_path, monkeypatch, capsys):
    """The meta device stands in for MPS: it is there, and it cannot train."""
    devices = []

    def unable(model, plan):
        devices.append(next(model.parameters()).device.type)
        if devices[-1] != "cpu":
            raise error("The operator 'aten::x' is not implemented for the MPS device.\nMore words.")
        return seconds_left(model, plan)

    monkeypatch.setattr("semicon_nb.runs.seconds_left", unable)
    monkeypatch.setattr("semicon_nb.runs.chosen_device", lambda device="auto": torch.device("cpu" if device == "cpu" else "mps"))
    monkeypatch.setattr(UNet, "to", lambda self, device: torch.nn.Module.to(self, "meta" if torch.device(device).type == "mps" else device))
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=progress)
    said = capsys.readouterr().out.splitlines()
    assert devices == (["meta", "cpu"] if progress else ["meta"]) and run.settings["machine"]["device"] == "cpu"
    assert len(said) == 2 * progress and all("MPS cannot train scratch (The operator" in line and "More" not in line for line in said[:1])
    usual = train_method("scratch", cohort, part, TINY, out=tmp_path / "usual", progress=False, device="cpu")
    assert same(usual.model.state_dict(), run.model.state_dict())


# ---- how long it takes


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
    _TIMED.clear()
    found = forecast(method, cohort, part, preset)
    assert found["finetune"] == pytest.approx(steps * 0.02 + looks * 0.05, rel=0.5) and len(log) <= 4
    assert forecast(method, cohort, part, preset) == found and len(log) <= 4
    assert outlook({"finetune": 0.0}) == "nothing is left to train"
    assert outlook({"global": 0.0, "finetune": 125.0}) == "about 2 min: global is there, finetune 2 min"
    assert outlook({"finetune": 40.0}) == "about 40 s"


@pytest.mark.parametrize("name", ["global+local(random)", "best", "cross-pseudo-supervision", "mixup"])
def test_forecast_leaves_no_trace(name, cohort, part, tmp_path):
    """Nothing on disk, no weight, and no random number is other than without it."""
    usual = train_method(name, cohort, part, TINY, out=tmp_path / "usual", progress=False, cache=False)
    _TIMED.clear()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    seconds = forecast(METHODS[name], cohort, part, TINY, out=tmp_path / "RUN")
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected
    assert [*seconds] == [stage.name for stage in METHODS[name].stages] and all(value > 0 for value in seconds.values())
    assert not (tmp_path / "RUN").exists() and not (tmp_path / "cache" / "stages").exists()
    plan, net = planned(METHODS[name], cohort, part, TINY, 0, None, False, None, torch.device("cpu"))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    _TIMED.clear()
    seconds_left(net, plan)
    assert same(before, net.state_dict()) and all(value.grad is None and value.requires_grad for value in net.parameters())
    shown = train_method(name, cohort, part, TINY, out=tmp_path / "shown", cache=False)
    assert same(usual.model.state_dict(), shown.model.state_dict())


def test_what_is_there_takes_no_time(cohort, part, tmp_path):
    preset, method = tiny_preset(save_every=1), METHODS["global+local(block)"]
    broken = replace(method, stages=(*method.stages[:2], replace(method.stages[2], train=Breaking(method.stages[2].train, 2))))
    with pytest.raises(Interrupted):
        train_method(broken, cohort, part, preset, out=tmp_path / "RUN", progress=False)
    fresh = forecast(method, cohort, part, preset, cache=False)
    assert all(fresh.values())
    cached = forecast(method, cohort, part, preset)
    assert cached["global"] == cached["local"] == 0 and cached["finetune"] == fresh["finetune"]
    assert forecast(replace(method, stages=method.stages[:1]), cohort, part, preset)["global"] > 0  # the last stage is never taken
    resumed = forecast(method, cohort, part, preset, out=tmp_path / "RUN", cache=False)
    assert resumed["global"] == resumed["local"] == 0 and 0 < resumed["finetune"] < fresh["finetune"]
    train_method(method, cohort, part, preset, out=tmp_path / "RUN", resume=True, progress=False)
    assert not any(forecast(method, cohort, part, preset, out=tmp_path / "RUN").values())


def test_one_line_and_one_bar(cohort, part, tmp_path, capsys):
    train_method("global+local(block)", cohort, part, TINY, out=tmp_path / "RUN")
    out, err = capsys.readouterr()
    assert re.fullmatch(r"fp32 on \S.*; about \d+ s: global \d+ s, local \d+ s, finetune \d+ s\n", out)
    assert err.count("\n") == 1 and "100%" in err and "finetune: loss" in err and "validation Dice" in err
    train_method("scratch", cohort, part, TINY, out=tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("change", ["method", "seed", "split", "preset"])
def test_resuming_another_run_is_refused(change, cohort, part, tmp_path):
    given = {"method": "scratch", "seed": 0, "split": part, "preset": TINY}
    train_method(**given, cohort=cohort, out=tmp_path / "RUN", progress=False)
    other = {"method": "global", "seed": 1, "split": split(cohort, 0.6), "preset": TINY.scaled(2)}
    with pytest.raises(ValueError, match="holds another run"):
        train_method(**{**given, change: other[change]}, cohort=cohort, out=tmp_path / "RUN", resume=True, progress=False)


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


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="found 'scrtch', expected one of scratch, global"):
        named_method("scrtch")
    with pytest.raises(ValueError, match="found 'big', expected one of demo, laptop, paper"):
        named_preset("big")
    with pytest.raises(ValueError, match="pretraining: found locl"):
        recipe_of(pretraining=("locl",))


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


def test_stage_of_an_own_training_function_is_not_that_of_the_function_before_it_was_edited(cohort, part):
    keys = []
    for words in ("yield 1", "yield 2"):
        source = f"def mine(model, cohort, split, settings, seed=0, folder=None, resume=False):\n    {words}\n"
        place: dict = {"__name__": "own"}
        exec(compile(source, name := f"<own {words}>", "exec"), place)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        keys.append(stage_key(Stage("local", place["mine"]), TINY.stages["local"], cohort, part, TINY.network(3), 0, ""))
    assert keys[0] != keys[1]


def test_own_method_is_a_short_function(cohort, part, tmp_path):
    def halves(model, cohort, split, settings, seed=0, folder=None, resume=False):
        yield from finetune(model, cohort, split, replace(settings, steps=1, validate_every=0), seed)
        yield from finetune(model, cohort, split, settings, seed + 1, folder, resume)

    run = train_method(Method("halves", (Stage("finetune", halves),)), cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert load_run(run.folder).method.name == "halves"
    assert not same(run.model.state_dict(), trained("scratch", cohort, part, tmp_path / "scratch"))


def test_scaled_preset_keeps_proportions():
    small = PRESETS["laptop"].scaled(0.1)
    assert {name: settings.steps for name, settings in small.stages.items()} == {
        name: round(settings.steps / 10) for name, settings in PRESETS["laptop"].stages.items()
    }
    assert PRESETS["paper"].scaled(0.1).epochs == {"global": 7, "local": 7, "finetune": 12}
    with pytest.raises(ValueError, match="scale: found 0"):
        PRESETS["laptop"].scaled(0)


# ---- the terms of the semi-supervised losses


@pytest.fixture()
def batch(cohort, part):
    return semi_batches(cohort, part, TINY.stages["finetune"], seed=0)(3)


def network(seed=0):
    torch.manual_seed(seed)
    return UNet(classes=3, width=2, global_dim=8, pixel_dim=8)


SURE = Context(steps=10, precision="fp32", weight=1.0, threshold=0.0, temperature=0.1)


def test_batches_are_a_function_of_the_step(cohort, part):
    batches = semi_batches(cohort, part, TINY.stages["finetune"], seed=0)
    one, again, other = batches(3), batches(3), batches(4)
    assert all(torch.equal(getattr(one, name), getattr(again, name)) for name in ("images", "labels", "weak", "strong"))
    assert not torch.equal(one.weak, other.weak) and not torch.equal(one.weak, one.strong)


def test_strong_view_lies_on_the_weak_one(batch):
    """The edges of both are in the same places: their images correlate far better than with a shifted copy."""
    weak, strong = batch.weak[:, 0], batch.strong[:, 0]
    fits = [np.corrcoef(weak.flatten(), strong.roll(shift, 2).flatten())[0, 1] for shift in (0, 3, -3)]
    assert fits[0] > max(fits[1:])


def test_teacher_follows_the_formula():
    nets = Teacher(network(), average=0.9)
    old = {name: value.clone() for name, value in nets.teacher.named_parameters()}
    with torch.no_grad():
        for value in nets.student.parameters():
            value.add_(1.0)
    nets.follow(50)
    for name, value in nets.teacher.named_parameters():
        torch.testing.assert_close(value, 0.9 * old[name] + 0.1 * (old[name] + 1))
    nets.follow(0)
    assert same(nets.teacher.state_dict(), nets.student.state_dict())
    assert nets.chosen is nets.teacher and not any(value.requires_grad for value in nets.teacher.parameters())


def test_ramp_rises_to_one():
    values = [ramp(step, 100) for step in range(101)]
    assert values == sorted(values) and values[0] < 0.01 and values[40] == values[100] == 1.0


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_turning_is_exact(quarters, mirror):
    values = torch.randn(2, 3, 8, 8)
    back = turned(values, quarters, mirror)
    back = torch.rot90(back.flip(3) if mirror else back, -quarters, (2, 3))
    assert torch.equal(back, values)


def test_pseudo_labels_below_the_threshold_have_no_weight(batch):
    never = replace(SURE, threshold=1.1)
    for name, nets in (("fixmatch", Student(network())), ("recipe", Teacher(network()))):
        supervised = OBJECTIVES["supervised"].loss(nets, batch, never)
        added = (OBJECTIVES[name].loss(nets, batch, never) - supervised).detach()
        assert (abs(float(added)) < 1e-6) == (name == "fixmatch")
    assert OBJECTIVES["fixmatch"].loss(Student(network()), replace(batch, step=9), SURE).item() > supervised.item()


def test_pseudo_labels_pass_no_gradient(batch):
    """Each twin learns from the other's classes, not through them."""
    one, two = network(0), network(1)
    alone = {}
    for frozen in (False, True):
        nets = Twins(one, seed=3)
        nets.twin = two.requires_grad_(not frozen)
        one.zero_grad()
        OBJECTIVES["cross-pseudo-supervision"].loss(nets, batch, SURE).backward()
        alone[frozen] = [value.grad.clone() for value in one.parameters() if value.grad is not None]
    for first, second in zip(*alone.values(), strict=True):
        torch.testing.assert_close(first, second)


def test_twins_differ_by_seed_and_leave_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    nets = Twins(network_without_seeding := build(TINY.network(3)), seed=0)
    assert torch.equal(torch.rand(3), expected)
    assert not same(nets.twin.state_dict(), network_without_seeding.state_dict())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_loss_is_finite_and_has_gradients(name, batch):
    own = OBJECTIVES[name]
    nets = own.nets(network())
    loss = own.loss(nets, batch, Context(10, "bf16", own.weight, own.threshold, 0.1))
    loss.backward()
    assert torch.isfinite(loss) and nets.student.class_head.weight.grad.abs().sum() > 0
    assert (nets.student.pixel_head[0].weight.grad is not None) == (name in ("joint", "recipe"))


def test_chosen_pixels_are_sure_and_balanced():
    labels, sure = torch.tensor([0] * 900 + [1] * 90 + [2] * 10), torch.ones(1000, dtype=torch.bool)
    sure[:400] = False
    picked = chosen_pixels(labels, sure, 150, torch.Generator().manual_seed(0))
    assert sure[picked].all() and len(set(picked.tolist())) == len(picked)
    assert torch.bincount(labels[picked]).tolist() == [50, 50, 10]
    assert len(chosen_pixels(labels, torch.zeros_like(sure), 150, torch.Generator())) == 0


def test_all_unsure_pixels_leave_the_labelled_ones(batch):
    nothing = Batch(batch.step, batch.images, torch.zeros_like(batch.labels), batch.weak, batch.strong, batch.generator)
    loss = OBJECTIVES["joint"].loss(Student(network()), nothing, replace(SURE, threshold=1.1))
    loss.backward()
    assert torch.isfinite(loss)


def test_positional_loss_is_nt_xent_where_positions_are_unknown():
    vectors = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).float()
    slices, unknown = torch.arange(5).repeat_interleave(2), torch.full((10,), torch.nan)
    expected = global_contrastive_loss(vectors[0::2], vectors[1::2], temperature=0.2)
    torch.testing.assert_close(positional_loss(vectors, unknown, slices, 0.2), expected, rtol=1e-5, atol=1e-5)


def test_positional_loss_is_its_formula():
    generator = torch.Generator().manual_seed(1)
    vectors, positions = torch.randn(6, 4, generator=generator), torch.tensor([0.1, 0.1, 0.15, 0.18, 0.5, 0.9])
    slices = torch.tensor([0, 0, 1, 2, 3, 4])
    unit = torch.nn.functional.normalize(vectors, dim=1)
    terms = []
    for i in range(6):
        others = [k for k in range(6) if k != i]
        positives = [j for j in others if abs(positions[i] - positions[j]) < 0.1 or slices[i] == slices[j]]
        total = sum(torch.exp(unit[i] @ unit[k] / 0.1) for k in others)
        if positives:
            terms.append(-sum(torch.log(torch.exp(unit[i] @ unit[j] / 0.1) / total) for j in positives) / len(positives))
    torch.testing.assert_close(positional_loss(vectors, positions, slices), sum(terms) / len(terms), rtol=1e-4, atol=1e-5)


def test_looks_are_undone():
    row, column = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    blob = torch.exp(-8 * ((row - 0.2) ** 2 + (column + 0.1) ** 2))[None, None]
    for turn, size in LOOKS:
        assert (look(look(blob, turn, size), -turn, 1 / size) - blob).abs().max() < 0.05


def test_averaged_network_predicts_probabilities_and_trains_as_usual():
    plain = network()
    averaged = AveragedUNet(**plain.settings)
    averaged.load_state_dict(plain.state_dict())
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(averaged.train()(images), plain.train()(images))
    torch.testing.assert_close(averaged.eval()(images).exp().sum(1), torch.ones(2, 32, 32), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(averaged(images).softmax(1), plain.eval()(images).softmax(1))


def test_recipe_is_loaded_with_its_looks(cohort, part, tmp_path):
    run = train_method("best", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert isinstance(run.model, AveragedUNet) and isinstance(load_run(run.folder).model, AveragedUNet)
    assert run.model.neighbours == load_run(run.folder).model.neighbours == METHODS["best"].neighbours > 0
    plain = train_method(recipe_of(looks=False, neighbours=0), cohort, part, TINY, out=tmp_path / "2", progress=False).model
    assert not isinstance(plain, AveragedUNet) and plain.neighbours == 0


def test_what_is_not_averaged_is_described_as_before():
    assert all(("neighbours" in method.describe()) == bool(method.neighbours) for method in METHODS.values())
    assert recipe_of(neighbours=2).key != recipe_of(neighbours=1).key != recipe_of(neighbours=0).key


def test_torn_history_is_read(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"stage": "global", "step": 1, "steps": 2, "loss": 1.0, "rate": 0.1, "seconds": 0.1, "dice": null}\n{"stage": "glo')
    assert [step.step for step in read_history(path)] == [1]


# ------------------------------------------------------------------------------------------------ a network of one's own


class Monai(nn.Module):
    """MONAI's U-Net with the names that all three stages use."""

    def __init__(self, classes: int = 3, width: int = 4):
        super().__init__()
        self.body = BasicUNet(spatial_dims=2, in_channels=1, out_channels=width, features=(4, 4, 4, 4, 4, width))
        self.pixel_head, self.class_head, self.image_head = nn.Conv2d(width, 8, 1), nn.Conv2d(width, classes, 1), nn.Linear(width, 8)

    def features(self, images):
        return self.body(images)

    def embed_images(self, images):
        return self.image_head(self.features(images).mean((2, 3)))

    def forward(self, images):
        return self.class_head(self.features(images))


def own_run(method, cohort, part, out, model=Monai, **how):
    return train_method(method, cohort, part, TINY, 4, out, progress=False, model=model, **how)


def test_own_network_goes_through_all_stages_and_comes_back(cohort, part, tmp_path):
    run = own_run("global+local(block)", cohort, part, tmp_path / "RUN")
    assert [step.stage for step in run.history] == ["global"] * 3 + ["local"] * 3 + ["finetune"] * 3
    with pytest.raises(ValueError, match="no code is imported because a file names it"):
        load_run(run.folder)
    again = load_run(run.folder, Monai)
    assert isinstance(again.model, Monai) and same(again.model.state_dict(), run.model.state_dict())
    assert run.settings["network"] == {"model": f"{__name__}:Monai", "classes": 3}
    first = again.after("initial")
    assert not same(first.state_dict(), run.model.state_dict()) and same(again.after("finetune").state_dict(), run.model.state_dict())
    assert same(first.state_dict(), built(f"{__name__}:Monai", 3, seed=4).state_dict())
    assert not same(first.state_dict(), built(Monai, 3, seed=5).state_dict())
    assert evaluate(again.model, cohort, part_indices(cohort, part, "test")).slices
    with pytest.raises(ValueError, match="in use"):
        own_run("global+local(block)", cohort, part, run.folder)
    before = (run.folder / "model.pt").stat().st_mtime_ns
    assert same(own_run("global+local(block)", cohort, part, run.folder, resume=True).model.state_dict(), run.model.state_dict())
    assert (run.folder / "model.pt").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another run.*network"):
        train_method("global+local(block)", cohort, part, TINY, 4, run.folder, resume=True, progress=False)


def test_own_network_is_asked_for_and_never_imported_because_a_run_names_it(cohort, part, tmp_path):
    def local(classes):
        return Monai(classes)

    run = own_run("scratch", cohort, part, tmp_path / "RUN", model=local)
    with pytest.raises(ValueError, match=r"local, and no code is imported.*load_run\(folder, model=...\)"):
        load_run(run.folder)
    assert same(load_run(run.folder, model=local).model.state_dict(), run.model.state_dict())
    assert same(load_run(run.folder, model=f"{__name__}:Monai").model.state_dict(), run.model.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_run(run.folder, model=lambda classes: Monai(classes, width=2))


def plain(classes):
    """A network that can be fine-tuned, and nothing else."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, classes, 1))


@pytest.mark.parametrize(
    "method, model, error, words",
    [
        (
            "global",
            plain,
            ValueError,
            r"Sequential has no embed_images, but global asks for embed_images\(images\) -> \[B, D\] for the global",
        ),
        ("local(exact)", plain, ValueError, "has no features, pixel_head"),
        ("joint", plain, ValueError, "has no features, pixel_head, class_head"),
        ("best", Monai, ValueError, "averages its prediction over looks"),
        ("cross-pseudo-supervision", Monai, ValueError, "second network"),
        ("scratch", lambda: nn.Conv2d(1, 5, 1), ValueError, r"makes \[2, 5, 32, 32\].*expected logits \[2, 3, 32, 32\]"),
        ("scratch", lambda: "network", TypeError, "made str, expected a torch.nn.Module"),
        ("scratch", nn.Conv2d(1, 3, 1), TypeError, "such as the class Conv2d"),
        ("scratch", "no.such.module:Network", ValueError, "no.such.module.*cannot be imported"),
        ("scratch", "semicon_nb.unet:Nothing", ValueError, "cannot be imported.*expected package.module:function"),
        ("scratch", "semicon_nb.unet", ValueError, "expected package.module:function"),
        ("scratch", "semicon_nb.loop:torch", ValueError, "is module, expected a function or class"),
    ],
)
def test_network_that_will_not_do_is_refused_before_the_first_step(method, model, error, words, cohort, part, tmp_path):
    with pytest.raises(error, match=words):
        own_run(method, cohort, part, tmp_path / "RUN", model=model)
    assert not (tmp_path / "RUN").exists()


def test_stage_of_an_own_network_is_shared_only_with_the_same_network(cohort, part, tmp_path):
    reused = {}
    for name, method, model in (
        ("a", "global", Monai),
        ("b", "global+local(block)", Monai),
        ("c", "global", lambda classes: Monai(classes, 2)),
    ):
        reused[name] = own_run(method, cohort, part, tmp_path / name, model=model).settings["trained"]["global"]
    assert [reused[name]["reused"] for name in "abc"] == [False, True, False]
    assert reused["a"]["key"] == reused["b"]["key"] != reused["c"]["key"]

    class Changed(Monai):
        def embed_images(self, images):
            return 2 * super().embed_images(images)

    about = {"model": "same", "classes": 3}
    assert network_facts(about, built(Monai, 3)) == network_facts(about, built(Monai, 3))
    assert network_facts(about, built(Monai, 3)) != network_facts(about, built(Changed, 3))
