"""A run is planned once, as a value: precision, device, keys, description."""

from dataclasses import replace

import numpy as np
import pytest
from small import TINY, Interrupted, breaking, in_precision, same, tiny_preset

from semicon_nb.machine import chosen_device, processor
from semicon_nb.methods import FINETUNE_STAGE, GLOBAL_STAGE, METHODS, train_method
from semicon_nb.plan import plan_run
from semicon_nb.runs import execute, read_run
from semicon_nb.stages import Method

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_plan_is_the_same_twice_and_is_not_changed_by_its_execution(cohort, part, tmp_path):
    one, other = (plan_run(METHODS["global"], cohort, part, TINY, seed=1, device="cpu") for _ in range(2))
    assert one.about == other.about and one.stages == other.stages and same(one.network.state_dict(), other.network.state_dict())
    run = read_run(execute(one, tmp_path / "RUN", progress=False))
    assert one.about == other.about and same(one.network.state_dict(), other.network.state_dict())
    assert {name: run.settings[name] for name in one.about} == one.about
    assert [stage["key"] for stage in run.settings["trained"].values()] == [planned.key for planned in one.stages]


def machine_that_likes(word, monkeypatch):
    monkeypatch.setattr("semicon_nb.plan.chosen_precision", lambda device="cpu": word)


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
    last = replace(method.stages[-1], train=breaking(method.stages[-1].train, 2))
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


def test_a_method_that_trains_nothing_is_refused(cohort, part):
    with pytest.raises(ValueError, match="method: nothing has no stage, expected at least one"):
        plan_run(Method("nothing", ()), cohort, part, TINY)


def test_a_method_that_asks_where_slices_lie_is_refused_where_nobody_knows(cohort, part):
    unplaced = replace(cohort, position=np.full_like(cohort.position, np.nan))
    with pytest.raises(ValueError, match="method: pcl asks for the place of slices .* nobody knows of phantom; take global"):
        plan_run(METHODS["pcl"], unplaced, part, TINY)
    plan_run(METHODS["global"], unplaced, part, TINY)
    unplaced.position[cohort.volume == [volume.name for volume in cohort.volumes].index(part.train[0])] = 0.5
    plan_run(METHODS["pcl"], unplaced, part, TINY)


def test_a_seed_of_numpy_is_a_seed(cohort, part):
    one, two = (plan_run(METHODS["scratch"], cohort, part, TINY, seed) for seed in (np.int64(2), 2))
    assert one.about == two.about and [stage.key for stage in one.stages] == [stage.key for stage in two.stages]


def test_arguments_in_the_wrong_place_are_named(cohort, part):
    for arguments, said in (
        ((cohort, "scratch", part), "method: found Cohort, expected str"),
        (("scratch", part, cohort), "cohort: found Split, expected Cohort"),
        (("scratch", cohort, cohort), "split: found Cohort, expected Split"),
    ):
        with pytest.raises(TypeError, match=said):
            train_method(*arguments, TINY, progress=False)


def test_a_run_says_that_it_has_learned_from_images_of_the_test(cohort, part):
    """Or evaluate would take them, in another folder, for new people."""
    asked = replace(METHODS["global"], stages=(replace(GLOBAL_STAGE, options={"test_images": True}), FINETUNE_STAGE))
    usual, transductive = (set(plan_run(method, cohort, part, TINY).about["learned"]) for method in (METHODS["global"], asked))
    assert usual == {*part.train, *part.val} and transductive == {*usual, *part.test}
