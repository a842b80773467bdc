"""Presets: precision, proportions; keys of stages."""

import json
import linecache
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from small import TINY, in_precision

from semicon_nb.data import labelled_indices, split, unlabelled_indices
from semicon_nb.loop import StageSettings
from semicon_nb.methods import METHODS
from semicon_nb.stages import PRESETS, Method, Stage, settings_for, stage_key
from semicon_nb.strategies import Downsampling, Strategy
from semicon_nb.study import method_with, variants
from semicon_nb.train import finetune, identity_of, train_global, train_local
from semicon_nb.views import FINETUNE, GLOBAL

TURNED = variants(METHODS)


def test_presets_leave_the_precision_to_the_machine_but_for_the_papers():
    found = {name: {settings.precision for settings in preset.stages.values()} for name, preset in PRESETS.items()}
    assert found == {"demo": {"auto"}, "laptop": {"auto"}, "thorough": {"auto"}, "paper": {"fp32"}}


def test_a_methods_own_precision_goes_before_the_presets():
    for own, word in (("fp32", "fp32"), ("bf16", "bf16"), ("auto", "bf16")):
        stage = replace(METHODS["scratch"].stages[0], changes={"precision": own})
        assert settings_for(stage, in_precision("auto"), None, None, "bf16").precision == word


def test_scaled_preset_keeps_proportions():
    small = PRESETS["laptop"].scaled(0.1)
    assert {name: settings.steps for name, settings in small.stages.items()} == {
        name: round(settings.steps / 10) for name, settings in PRESETS["laptop"].stages.items()
    }
    assert PRESETS["paper"].scaled(0.1).epochs == {"global": 7, "local": 7, "finetune": 12}
    with pytest.raises(ValueError, match="scale: found 0"):
        PRESETS["laptop"].scaled(0)


@pytest.mark.parametrize("factor", [1e306, 1e7, float("inf"), float("nan"), -1.0])
def test_a_factor_that_no_training_lasts_is_refused(factor):
    for preset in PRESETS.values():
        with pytest.raises(ValueError, match="scale: found .*, expected a number above 0 and up to 1000000"):
            preset.scaled(factor)
    assert PRESETS["demo"].scaled(1e6).stages["finetune"].steps == 300_000_000


@pytest.mark.parametrize("name", ["steps", "batch", "warmup", "validate_every", "save_every"])
@pytest.mark.parametrize("value", [2.5, 2.0, True])
def test_a_count_is_a_whole_number(name, value):
    with pytest.raises(ValueError, match=f"{name}: found {value}, expected a whole number"):
        replace(PRESETS["demo"].stages["finetune"], **{name: value})
    with pytest.raises(ValueError, match=f"{name}: found {value}, expected a whole number"):
        settings_for(replace(METHODS["scratch"].stages[0], changes={name: value}), TINY, None, None)


TRIES = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "budget.jsonl"


@pytest.mark.parametrize("data, chosen", [("hippocampus", "thorough"), ("sunnybrook", "laptop")])
def test_training_is_as_long_as_validation_subjects_ask_for(data: str, chosen: str) -> None:
    """Twice as long gains training from scratch with all labels less than .005; the other recipes that were tried are no better at equal cost."""
    usual, last = PRESETS["laptop"].stages["finetune"], PRESETS[chosen].stages["finetune"]
    own = {name: value for name, value in asdict(last).items() if value != asdict(usual)[name] and name not in ("steps", "validate_every")}
    tries = [row for row in map(json.loads, TRIES.read_text().splitlines()) if row["data"] == data]
    found = {(row["slices"], row["split"]): row["validation"] for row in tries if row["changes"] == own}
    once, twice = last.steps * last.batch, 2 * last.steps * last.batch
    gains = [found[twice, split] - dice for (slices, split), dice in found.items() if slices == once and (twice, split) in found]
    assert gains and np.mean(gains) < 0.005
    others = {(row["slices"], row["split"]): row["validation"] for row in tries if row["changes"] != own}
    assert bool(others) == (data == "hippocampus") and all(dice <= found[place] + 0.005 for place, dice in others.items() if place in found)


def test_thorough_is_laptop_with_all_stages_lengthened_alike():
    usual, longer = PRESETS["laptop"], PRESETS["thorough"]
    assert len({longer.stages[name].steps / settings.steps for name, settings in usual.stages.items()}) == 1
    same = {
        name: replace(longer.stages[name], **{n: getattr(s, n) for n in ("steps", "warmup", "validate_every")})
        for name, s in usual.stages.items()
    }
    assert replace(longer, name="laptop", stages=same) == usual


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
    monkeypatch.setattr("semicon_nb.stages.code_key", lambda *roots: "the same code")  # which takes a while
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


@pytest.mark.parametrize("stage, whole", [
    (Stage("global", train_global), True), (Stage("local", train_local, {"strategy": Downsampling(4), "supervised": False}), True),
    (METHODS["local(stride)"].stages[0], False), (method_with(METHODS["local(stride)"], ["identical_views"]).stages[0], False),
    (TURNED["local(stride) bent head"].stages[0], False),
])  # fmt: skip
def test_a_stage_that_may_have_seen_more_than_it_declares_is_not_that_of_another_split(stage, whole, cohort, part):
    """Some who trained in one split are tested in the other, with the same outlines; a last stage is for nobody else."""
    free = next(name for name in part.train if name not in part.labelled)
    other = replace(part, train=tuple(name for name in part.train if name != free), test=(*part.test, free))

    def keys(settings, last=False):
        return {stage_key(stage, settings, cohort, one, {}, 0, "", last) for one in (part, other)}

    settings = TINY.stages["local"]
    assert len(keys(settings)) == 1 + whole and len(keys(settings, last=True)) == 1


@pytest.mark.parametrize("stage", [Stage("warm", finetune), METHODS["global"].stages[0]])
def test_a_stage_whose_weights_were_chosen_by_people_is_theirs(stage, cohort, part):
    other = replace(part, val=part.test, test=part.val)

    def keys(every, last=False):
        settings = replace(TINY.stages["finetune"], validate_every=every)
        return {stage_key(stage, settings, cohort, one, {}, 0, "", last) for one in (part, other)}

    assert len(keys(1)) == 2 and len(keys(0)) == len(keys(1, last=True)) == 1


def own(words: str):
    """A training function of a reader, as it stands before and after an edit."""
    source = f"def mine(model, cohort, split, settings, seed=0, folder=None, resume=False):\n    {words}\n"
    place: dict = {"__name__": "own"}
    exec(compile(source, name := f"<own {words}>", "exec"), place)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    place["mine"].__module__ = "__main__"
    return place["mine"]


def test_stage_of_an_own_training_function_is_not_that_of_the_function_before_it_was_edited(cohort, part):
    keys = [stage_key(Stage("local", own(f"yield {n}")), TINY.stages["local"], cohort, part, TINY.network(3), 0, "") for n in (1, 2)]
    assert keys[0] != keys[1]


def test_a_method_is_another_once_its_own_function_was_edited_and_the_same_in_another_process():
    def keys(stage_of):
        return [Method("mine", (stage_of(own(f"yield {n}")),)).key for n in (1, 1, 2)]

    for found in (keys(lambda train: Stage("local", train)), keys(lambda rule: Stage("local", finetune, {"rule": rule}))):
        assert found[0] == found[1] != found[2]  # the first two are two objects, as two processes have them
    assert not any("code" in stage.describe() for method in METHODS.values() for stage in method.stages)


def test_strategies_of_two_arrays_are_two(part):
    @dataclass(frozen=True)
    class Chosen(Strategy):
        mask: np.ndarray

    masks = [np.zeros(4096, bool) for _ in range(3)]
    masks[2][2000] = True
    stages = [Stage("local", train_local, {"strategy": Chosen(mask)}) for mask in masks]
    first, again, other = (Method("local(chosen)", (stage,)).key for stage in stages)
    assert first == again != other
    pairs = [identity_of(None, SimpleNamespace(fingerprint=""), part, np.array([0]), 0, **stage.options) for stage in stages]
    assert pairs[0] == pairs[1] != pairs[2], "a checkpoint of one must not go on with the other"


def test_stage_key_hangs_on_each_option_on_the_code_and_on_which_outlines(cohort, part, monkeypatch):
    def key(strategy=Downsampling(4), outlined=None, labels=True, **changes):  # noqa: B008
        stage = replace(METHODS["local(stride)"].stages[0], options={"strategy": strategy}, labels=labels, **changes)
        return stage_key(stage, TINY.stages["local"], cohort, replace(part, outlined=outlined), {}, 0, "")

    keys = {key(), key(Downsampling(2)), key(outlined=(1, 2)), key(outlined=(1, 3)), key(changes={"rate": 0.5}), key(longer=2.0)}
    assert len(keys) == 6 and key(labels=False, outlined=(1, 2)) == key(labels=False, outlined=(1, 3))
    monkeypatch.setattr("semicon_nb.stages.code_key", lambda *roots: "edited")
    assert key() not in keys


ONE = Stage("local", finetune, {"near": 0.1})
STAGES = [
    Stage("global", finetune, {"near": 0.1}), Stage("local", train_global, {"near": 0.1}), Stage("local", finetune, {"near": 0.2}),
    replace(ONE, images="train"), replace(ONE, labels=False), replace(ONE, changes={"rate": 0.5}), replace(ONE, longer=2.0),
]  # fmt: skip


def test_whatever_changes_a_method_is_another_key():
    """But for where it comes from, and what it asks of a network."""
    usual = Method("mine", (ONE,))
    others = [Method("mine", (stage,)) for stage in STAGES]
    others += [replace(usual, name="other"), replace(usual, stages=(replace(ONE, name="global"), ONE)), replace(usual, looks=True), replace(usual, neighbours=1.3)]
    assert len({usual.key, *(method.key for method in others)}) == 12
    assert usual.key == replace(usual, source="elsewhere", stages=(replace(ONE, needs=("twin",)),)).key


@pytest.mark.parametrize("names", [("local", "local", "finetune"), ("initial", "finetune"), ("model",)])
def test_stages_whose_weights_would_lie_in_one_file_are_refused(names):
    with pytest.raises(ValueError, match=f"stages: found {', '.join(names)} in mine, expected a name of its own for each"):
        Method("mine", tuple(replace(ONE, name=name) for name in names))


def test_a_longer_stage_warms_up_longer():
    usual = PRESETS["laptop"].stages["finetune"]
    longer = settings_for(replace(METHODS["scratch"].stages[0], longer=3.0), PRESETS["laptop"], None, None)
    assert (longer.steps, longer.warmup, longer.validate_every) == (3 * usual.steps, 3 * usual.warmup, 3 * usual.validate_every)
    assert PRESETS["laptop"].scaled(0.1).stages["finetune"].warmup == round(usual.warmup / 10) > 0


def test_epochs_are_passes_over_the_slices_that_a_stage_sees(cohort, part):
    pools = {"global": unlabelled_indices(cohort, part), "finetune": labelled_indices(cohort, part)}
    for stage, of in ((METHODS["global"].stages[0], "global"), (METHODS["mean-teacher"].stages[0], "finetune"), (METHODS["scratch"].stages[0], "finetune")):
        found, usual = settings_for(stage, PRESETS["paper"], cohort, part), PRESETS["paper"].stages[stage.name]
        passes = -(-len(pools[of]) // usual.batch)
        assert found.steps == PRESETS["paper"].epochs[stage.name] * passes
        assert found.validate_every == (10 * passes if stage.name == "finetune" else 0)


def test_a_methods_own_steps_go_before_the_presets_epochs(cohort, part):
    stage = replace(METHODS["scratch"].stages[0], changes={"steps": 7, "validate_every": 3})
    for preset in PRESETS.values():
        found = settings_for(stage, preset, cohort, part)
        assert (found.steps, found.validate_every) == (7, 3)


def test_a_stage_that_sees_the_images_of_test_people_hangs_on_who_they_are(cohort, part):
    stage, other = replace(METHODS["global"].stages[0], options={"test_images": True}), replace(part, test=part.test[1:])
    usual = PRESETS["demo"].stages["global"]
    keys = [stage_key(stage, usual, cohort, shares, {"classes": 3}, 0, "") for shares in (part, other)]
    assert keys[0] != keys[1]
    plain = [stage_key(METHODS["global"].stages[0], usual, cohort, shares, {"classes": 3}, 0, "") for shares in (part, other)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize(("wrong", "error"), [({"images": "all"}, ValueError), ({"needs": "features"}, TypeError), ({"train": "finetune"}, TypeError)])
def test_a_stage_that_cannot_be_meant_is_refused_by_name(wrong, error):
    """images="all" was taken for "labelled", also by the cache; of needs="features" each letter was asked for."""
    with pytest.raises(error, match=f"^{next(iter(wrong))}: found"):
        Stage(**{"name": "mine", "train": finetune} | wrong)


def test_a_method_is_made_of_stages_and_asked_as_can_be_meant():
    stage = Stage("finetune", finetune)
    for wrong in (stage, (one for one in (stage,)), ("finetune",)):
        with pytest.raises(TypeError, match="stages: found .* in mine, expected a tuple of Stage"):
            Method("mine", wrong)
    for name, value in {"looks": "no", "neighbours": -1.0}.items():
        with pytest.raises(ValueError, match=f"{name}: found"):
            Method("mine", (stage,), **{name: value})


def test_epochs_are_those_of_a_presets_stages():
    with pytest.raises(ValueError, match="epochs: found finetun, expected some of the preset's stages, global"):
        replace(PRESETS["demo"], epochs={"finetun": 3})
