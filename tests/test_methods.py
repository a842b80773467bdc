"""Methods are compositions that use what they say and nothing else; tables and names."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small import TINY, rows_of, same, trained

from semicon_nb.methods import (
    FINETUNE_STAGE,
    GLOBAL_STAGE,
    METHODS,
    in_words,
    load_run,
    local_stage,
    method_table,
    named_method,
    named_preset,
    recipe_of,
    train_method,
)
from semicon_nb.networks import build
from semicon_nb.stages import PRESETS, Method, Stage, settings_for
from semicon_nb.strategies import Downsampling, FullResolution, RandomSampling
from semicon_nb.train import finetune

pytestmark = pytest.mark.usefixtures("own_cache")


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
    wanted += " local(exact) global+local(exact) global+local(random) mean-teacher cross-pseudo-supervision fixmatch pcl masked"
    wanted += " self-training copy-paste joint scratch(strong) best"
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


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="found 'scrtch', expected one of scratch, global"):
        named_method("scrtch")
    with pytest.raises(ValueError, match="found 'big', expected one of demo, laptop, thorough, paper"):
        named_preset("big")
    with pytest.raises(ValueError, match="pretraining: found locl"):
        recipe_of(pretraining=("locl",))


def test_own_method_is_a_short_function(cohort, part, tmp_path):
    def halves(model, cohort, split, settings, seed=0, folder=None, resume=False):
        yield from finetune(model, cohort, split, replace(settings, steps=1, validate_every=0), seed)
        yield from finetune(model, cohort, split, settings, seed + 1, folder, resume)

    run = train_method(Method("halves", (Stage("finetune", halves),)), cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    assert load_run(run.folder).method.name == "halves"
    assert not same(run.model.state_dict(), trained("scratch", cohort, part, tmp_path / "scratch"))


def test_an_own_method_of_a_known_name_does_not_come_back_as_the_known_one(cohort, part, tmp_path):
    method = Method("scratch", (GLOBAL_STAGE, FINETUNE_STAGE))
    run = train_method(method, cohort, part, TINY, out=tmp_path / "RUN", progress=False, cache=False)
    assert run.method is method and load_run(run.folder).method == Method("scratch", ())  # its stages are in settings
    assert load_run(run.folder).settings["method"] == json.loads(json.dumps(method.describe()))


def test_what_is_not_averaged_is_described_as_before():
    assert all(("neighbours" in method.describe()) == bool(method.neighbours) for method in METHODS.values())
    assert recipe_of(neighbours=2).key != recipe_of(neighbours=1).key != recipe_of(neighbours=0).key


def test_a_local_stage_has_a_strategy_before_anything_is_trained():
    """Else the global stage would be trained first, perhaps for hours."""
    for wrong in ("block", Downsampling):
        with pytest.raises(TypeError, match="strategy: found .*, expected Strategy"):
            local_stage(wrong)


def test_a_table_of_no_methods_has_no_rows():
    assert method_table(()) == []
