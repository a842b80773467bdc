"""Variants change one thing: another head for the local stage, another setting, another length."""

from dataclasses import replace

import pytest
import torch

from semicon_nb.data import phantom, split
from semicon_nb.loop import STAGES
from semicon_nb.methods import METHODS, train_method
from semicon_nb.stages import PRESETS, settings_for
from semicon_nb.study.ablations import HEADS, train_local_with, variant, variants
from semicon_nb.train import train_local
from semicon_nb.unet import UNet

TURNED = variants(METHODS)


@pytest.fixture(scope="module")
def world():
    cohort = phantom(subjects=5, size=24)
    return cohort, split(cohort, labelled=0.5)


def fresh(cohort):
    torch.manual_seed(0)
    return UNet(classes=len(cohort.classes), width=4, pixel_dim=8)


def short(steps=3):
    return replace(STAGES["local"], steps=steps, batch=2)


@pytest.mark.parametrize("head", HEADS)
def test_the_network_has_its_own_head_again(world, head):
    cohort, part = world
    model = fresh(cohort)
    own, names = model.pixel_head, list(model.state_dict())
    list(train_local_with(model, cohort, part, short(), head=head))
    assert model.pixel_head is own and list(model.state_dict()) == names
    steps = train_local_with(model, cohort, part, short(), head=head)
    next(steps)
    assert model.pixel_head is not own
    steps.close()
    assert model.pixel_head is own


def test_without_a_head_it_gets_no_gradient_and_with_the_bent_one_it_does(world):
    cohort, part = world
    settings = replace(short(), weight_decay=0.0)
    for head, still in (("none", True), ("bent", False)):
        model, before = fresh(cohort), fresh(cohort)
        list(train_local_with(model, cohort, part, settings, head=head))
        same = [torch.equal(a, b) for a, b in zip(model.pixel_head.parameters(), before.pixel_head.parameters(), strict=True)]
        assert all(same) == still and not torch.equal(next(model.parameters()), next(before.parameters()))


def test_a_head_that_is_the_networks_own_changes_nothing(world, monkeypatch):
    cohort, part = world
    monkeypatch.setitem(HEADS, "own", lambda head: head)
    one, two = fresh(cohort), fresh(cohort)
    list(train_local_with(one, cohort, part, short(), head="own"))
    list(train_local(two, cohort, part, short()))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_bad_words_are_said(world):
    with pytest.raises(ValueError, match="head: found 'big', expected one of none, bent"):
        next(train_local_with(fresh(world[0]), *world, short(), head="big"))
    with pytest.raises(ValueError, match="stage: found 'local', expected one of global's global, finetune"):
        variant(METHODS["global"], "tau 1", "local", temperature=1.0)


def test_each_variant_differs_from_its_method_in_one_stage_and_its_key(world):
    cohort, part = world
    assert len({method.key for method in TURNED.values()} | {method.key for method in METHODS.values()}) == len(TURNED) + len(METHODS)
    for name, method in TURNED.items():
        base = METHODS[name.split(" ")[0]]
        changed = [new for old, new in zip(base.stages, method.stages, strict=True) if new != old]
        assert len(changed) == 1 and method.looks == base.looks
        assert (changed[0].name == "finetune") == (base.name == "scratch")  # pre-training is compared with equal fine-tuning
        for preset in PRESETS.values():  # a knob that is turned to where it stands would give two equal rows
            kinds = [[(settings_for(s, preset, cohort, part), s.train, s.options) for s in of.stages] for of in (base, method)]
            assert kinds[0] != kinds[1] or preset.epochs, f"{name} is {base.name} with the preset {preset.name}"
    longer = settings_for(TURNED["global 3x global"].stages[0], PRESETS["laptop"], cohort, part)
    assert longer.steps == 3 * PRESETS["laptop"].stages["global"].steps
    assert settings_for(TURNED["local(stride) tau 0.5"].stages[0], PRESETS["laptop"], cohort, part).temperature == 0.5


def test_a_variant_trains_into_a_run_folder(world, tmp_path):
    cohort, part = world
    preset = PRESETS["demo"].scaled(0.02)
    run = train_method(TURNED["local(stride) bent head"], cohort, part, preset, out=tmp_path / "run", progress=False, cache=False)
    assert [stage["train"].rsplit(".", 1)[-1] for stage in run.settings["method"]["stages"]] == ["train_local_with", "finetune"]
    assert "pixel_head.1.weight" in run.model.state_dict()
