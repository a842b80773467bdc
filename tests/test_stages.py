"""Presets: precision, proportions."""

from dataclasses import replace

import pytest
from small import in_precision

from semicon_nb.methods import METHODS
from semicon_nb.stages import PRESETS, settings_for, with_precision


def test_presets_leave_the_precision_to_the_machine_but_for_the_papers():
    found = {name: {settings.precision for settings in preset.stages.values()} for name, preset in PRESETS.items()}
    assert found == {"demo": {"auto"}, "laptop": {"auto"}, "thorough": {"auto"}, "paper": {"fp32"}}


def test_a_methods_own_precision_goes_before_the_presets():
    for own, word in (("fp32", "fp32"), ("bf16", "bf16"), ("auto", "bf16")):
        stage = replace(METHODS["scratch"].stages[0], changes={"precision": own})
        assert settings_for(stage, with_precision(in_precision("auto"), "cpu", {"finetune": "bf16"}), None, None).precision == word


def test_scaled_preset_keeps_proportions():
    small = PRESETS["laptop"].scaled(0.1)
    assert {name: settings.steps for name, settings in small.stages.items()} == {
        name: round(settings.steps / 10) for name, settings in PRESETS["laptop"].stages.items()
    }
    assert PRESETS["paper"].scaled(0.1).epochs == {"global": 7, "local": 7, "finetune": 12}
    with pytest.raises(ValueError, match="scale: found 0"):
        PRESETS["laptop"].scaled(0)


def test_thorough_is_laptop_with_all_stages_lengthened_alike():
    usual, longer = PRESETS["laptop"], PRESETS["thorough"]
    assert len({longer.stages[name].steps / settings.steps for name, settings in usual.stages.items()}) == 1
    same = {
        name: replace(longer.stages[name], **{n: getattr(s, n) for n in ("steps", "warmup", "validate_every")})
        for name, s in usual.stages.items()
    }
    assert replace(longer, name="laptop", stages=same) == usual
