"""The released code's defects do what they are named after, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from semicon_nb import train as train_module
from semicon_nb.data import phantom, split
from semicon_nb.methods import METHODS, train_method
from semicon_nb.networks import build
from semicon_nb.stages import PRESETS
from semicon_nb.strategies import RandomSampling
from semicon_nb.study import defects
from semicon_nb.study.ablations import variants
from semicon_nb.study.defects import method_with, resized_as_released, train_local_identical, with_defects
from semicon_nb.train import train_local

TINY = replace(PRESETS["demo"], name="tiny", width=2).scaled(0.02)


def test_bilinear_resizing_makes_labels_that_nobody_drew():
    labels = np.zeros((10, 10, 1), np.uint8)
    labels[3:7, 3:7] = 2
    found = resized_as_released(labels, (16, 16))[0]
    assert set(np.unique(found)) == {0, 1, 2}, "a rim of class 1 around class 2"


def test_defects_change_what_they_say():
    cohort = phantom(subjects=6, size=32)
    leaky = with_defects(cohort, ["split_by_volume"])
    parts = [split(leaky, 0.5, seed=seed) for seed in range(3)]
    shared = [{name.split("-")[0] for name in part.train} & {name.split("-")[0] for name in part.test} for part in parts]
    assert any(shared) and with_defects(cohort, ["identical_views"]) is cohort
    assert with_defects(cohort, ["bilinear_labels"]).fingerprint != cohort.fingerprint
    with pytest.raises(ValueError, match="defects: found typo"):
        with_defects(cohort, ["typo"])
    changed = method_with(METHODS["global+local(block)"], ["identical_views"])
    assert changed.stages[1].train is train_local_identical and changed.key != METHODS["global+local(block)"].key


def test_identical_views_are_identical(monkeypatch):
    seen = []

    def watched(model, pair, settings, strategy, form):
        seen.append(pair)
        return model.embed_pixels(pair.images[:, 0]).square().mean()

    monkeypatch.setattr(defects, "pixel_loss", watched)
    cohort = phantom(subjects=6, size=32)
    method = method_with(METHODS["local(stride)"], ["identical_views"])
    train_method(method, cohort, split(cohort, 0.5), TINY, progress=False, cache=False)
    assert seen and all((pair.images[:, 0] == pair.images[:, 1]).all() and (pair.labels[:, 0] == pair.labels[:, 1]).all() for pair in seen)


def test_identical_views_are_the_only_difference(cohort, part, monkeypatch):
    """A random strategy draws other pixels in each step, the same as without the defect; and the form of the loss is that of the method."""
    asked: dict = {}
    for name, module, train in (("good", train_module, train_local), ("defect", defects, train_local_identical)):
        asked[name] = []

        def watched(model, pair, settings, strategy, form, told=asked[name]):
            told.append((strategy, form))
            return model.embed_pixels(pair.images[:, 0]).square().mean()

        monkeypatch.setattr(module, "pixel_loss", watched)
        how = {"strategy": RandomSampling(8), "form": "printed", "seed": 3}
        list(train(build({"classes": 3, "width": 2}), cohort, part, replace(TINY.stages["local"], steps=3, precision="fp32"), **how))
    assert asked["good"] == asked["defect"] and len({strategy.seed for strategy, _ in asked["good"]}) == 3


def test_a_local_stage_of_another_kind_has_no_defect():
    with pytest.raises(ValueError, match="defects: found identical_views for local.stride. no head, whose local stage is its own"):
        method_with(variants(METHODS)["local(stride) no head"], ["identical_views"])


def test_defects_are_names_and_any_iterable_of_them():
    """A generator was used up by the check, so that nothing was changed; a misspelt name changed no method."""
    cohort = phantom(subjects=4, size=16)
    assert with_defects(cohort, iter(["split_by_volume"])).volumes == with_defects(cohort, ["split_by_volume"]).volumes != cohort.volumes
    method = METHODS["local(block)"]
    with pytest.raises(ValueError, match="defects: found identical_view, expected some of"):
        method_with(method, ["identical_view"])
    for change, start in ((with_defects, cohort), (method_with, method)):
        with pytest.raises(TypeError, match="defects: found 'identical_views', expected a tuple of names"):
            change(start, "identical_views")
