"""Presets: precision, proportions."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
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


TRIES = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "budget.jsonl"


def test_thorough_is_as_long_as_validation_subjects_ask_for():
    """Twice as long gains training from scratch with all labels less than .005; the other recipes that were tried are no better at equal cost."""
    usual, last = (PRESETS[name].stages["finetune"] for name in ("laptop", "thorough"))
    own = {name: value for name, value in asdict(last).items() if value != asdict(usual)[name] and name not in ("steps", "validate_every")}
    tries = [json.loads(line) for line in TRIES.read_text().splitlines()]
    found = {(row["slices"], row["split"]): row["validation"] for row in tries if row["changes"] == own}
    once, twice = last.steps * last.batch, 2 * last.steps * last.batch
    gains = [found[twice, split] - dice for (slices, split), dice in found.items() if slices == once and (twice, split) in found]
    assert gains and np.mean(gains) < 0.005
    others = {(row["slices"], row["split"]): row["validation"] for row in tries if row["changes"] != own}
    assert others and all(dice <= found[place] + 0.005 for place, dice in others.items() if place in found)


def test_thorough_is_laptop_with_all_stages_lengthened_alike():
    usual, longer = PRESETS["laptop"], PRESETS["thorough"]
    assert len({longer.stages[name].steps / settings.steps for name, settings in usual.stages.items()}) == 1
    same = {
        name: replace(longer.stages[name], **{n: getattr(s, n) for n in ("steps", "warmup", "validate_every")})
        for name, s in usual.stages.items()
    }
    assert replace(longer, name="laptop", stages=same) == usual
