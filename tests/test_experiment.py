"""A grid loses nothing and does nothing twice, whatever is killed."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from semicon_nb import experiment
from semicon_nb.data import load, part_indices, split
from semicon_nb.dice import pooled_dice
from semicon_nb.experiment import Serial, append, grid, heal, outcomes, run_grid, run_one, todo
from semicon_nb.identity import experiment_of
from semicon_nb.machine import chosen_device, chosen_precision, duration, processor
from semicon_nb.methods import METHODS, recipe_of
from semicon_nb.stages import PRESETS, Method, Stage
from semicon_nb.tables import headroom, read_lines, read_results, table
from semicon_nb.train import finetune

pytestmark = pytest.mark.usefixtures("own_cache")

DATA = {"cohort": "phantom", "subjects": 6, "size": 32}
TINY = replace(PRESETS["demo"], name="tiny", width=2).scaled(0.02)


def small_grid(name, methods, tmp_path, **how):
    usual = {"labels": (0.3,), "splits": (0, 1), "data": DATA, "preset": TINY, "results": tmp_path, "executor": Serial(), "progress": False}
    return run_grid(name, methods, **{**usual, **how})


# ---- the table of runs


def test_grid_has_one_row_a_run_with_the_smallest_fraction_first():
    rows = grid(["scratch", "global"], (0.3, 0.6), (0, 1), (0, 1), data=DATA, preset=TINY)
    assert len(rows) == 16 and rows["key"].is_unique
    assert rows["labels"].tolist() == ([0.3] * 4 + [0.6] * 4) * 2
    assert rows["split"].tolist()[:4] == [0, 0, 1, 1] and rows["method"].tolist()[:2] == ["scratch", "global"]


def test_key_changes_with_what_can_change_the_result():
    def key(method="scratch", **changes):
        return grid([method], **{"labels": (0.3,), "splits": (0,), "data": DATA, "preset": TINY, **changes})["key"][0]

    longer = replace(METHODS["scratch"], stages=(replace(METHODS["scratch"].stages[0], changes={"rate": 0.5}),))
    keys = [
        key(), key("global"), key(longer), key(labels=(0.6,)), key(splits=(1,)), key(seeds=(1,)), key(preset=replace(TINY, width=3)),
        key(scale=2.0), key(defects=("identical_views",)), key(data={**DATA, "seed": 1}),
        key(spread="slices"), key(spread=2),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys) and key() == keys[0] == key(spread="people")


@pytest.mark.parametrize("how, words", [
    ({"splits": (2**63,)}, "splits: found 9223372036854775808"), ({"seeds": (10**20,)}, "seeds: found"), ({"splits": (0.5,)}, "splits: found 0.5"),
    ({"seeds": (-1,)}, "seeds: found -1"), ({"scale": 1e306}, "scale: found 1e.306"), ({"workers": -1}, "workers: found -1"),
    ({"workers": 0}, "workers: found 0"), ({"workers": 1.5}, "workers: found 1.5"),
])  # fmt: skip
def test_numbers_that_cannot_be_meant_are_refused_before_a_run(how, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        small_grid("g", ["scratch"], tmp_path, **how)
    assert not list(tmp_path.glob("g*"))
    largest = grid(["scratch"], (0.3,), (2**63 - 1,), (2**63 - 1,), data=DATA, preset=TINY)
    assert largest.to_dict("records")[0]["split"] == 2**63 - 1


def test_a_share_is_one_share_whatever_arithmetic_left_behind():
    rows = grid(["scratch"], (0.1 + 0.2, 0.3, 1 / 3), (0,), data=DATA, preset=TINY)
    assert rows["labels"].tolist() == [0.3, 0.3, 1 / 3] and rows["key"].nunique() == 2


FINGERPRINTS = {"hippocampus": "626a58915ff5509b", "sunnybrook": "e183b78b18b271f4", "sunnybrook-longer": "66d2e23ca582e310"}
COMMITTED = sorted((Path(__file__).resolve().parent.parent / "results").glob("*.jsonl"))


def keys_of(record, methods):
    """What a grid of this run alone calls it."""
    one = {"labels": (record["labels"],), "splits": (record["split"],), "seeds": (record["seed"],), "model": record.get("model")}
    one |= {"spread": record.get("spread", "people")}
    same = {name: record[name] for name in ("data", "preset", "scale", "defects")}
    return grid([methods[record["method"]]], **one, **same)["key"].tolist()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_rows_keep_their_keys(path, monkeypatch):
    """Whatever presets say of precision now: rows were keyed when they said bf16."""
    from semicon_nb.study import variants

    if fingerprint := FINGERPRINTS.get(path.stem, FINGERPRINTS.get(path.stem.split("-")[0])):  # generated people are made anew, and are the same everywhere
        monkeypatch.setattr(experiment, "load_once", lambda source: SimpleNamespace(fingerprint=fingerprint, classes=["", "", ""]))
    for record in read_lines(path):
        assert keys_of(record, METHODS | variants(METHODS)) == [record["key"]], f"{record['method']} at {record['labels']}, split {record['split']}"


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_committed_rows_are_of_the_cohort_that_is_read_today(name, data_folder):
    record = read_lines(next(path for path in COMMITTED if path.stem == name))[0]
    assert experiment.load_once(record["data"]).fingerprint == FINGERPRINTS[name]
    assert keys_of(record, METHODS) == [record["key"]]


def test_a_key_does_not_know_the_machine():
    words = {
        word: replace(TINY, stages={n: replace(s, precision=word) for n, s in TINY.stages.items()}) for word in ("auto", "bf16", "fp32")
    }
    keys = {word: grid(["scratch"], (0.3,), (0,), data=DATA, preset=preset)["key"][0] for word, preset in words.items()}
    assert keys["auto"] == keys["bf16"] != keys["fp32"]


# ---- the cohort, once


def scans(place, people, level=0):
    """A folder of small scans with a mask each."""
    for who in people:
        rng = np.random.default_rng(ord(who) + level)
        mask = np.zeros((16, 16, 3), np.uint8)
        mask[4 : 8 + level, 4:12] = 1
        for kind, values in (("images", mask * 50 + rng.normal(0, 5, mask.shape)), ("labels", mask)):
            (place / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values.astype(np.float32 if kind == "images" else np.uint8), np.eye(4)), place / kind / f"{who}.nii.gz")
    return place


def test_a_cohort_is_read_once_and_again_when_its_files_change(tmp_path):
    source = {"cohort": str(scans(tmp_path / "scans", "abc")), "size": 16}
    first = experiment.load_once(source)
    assert experiment.load_once(source) is first
    (tmp_path / "scans" / "results.jsonl").write_text("{}")
    assert experiment.load_once(source) is first, "no file of the cohort"
    for change in (lambda: scans(tmp_path / "scans", "b", 1), lambda: scans(tmp_path / "scans", "d"), lambda: (tmp_path / "scans/labels/d.nii.gz").unlink()):
        change()
        assert experiment.load_once(source).fingerprint == load(**source).fingerprint != first.fingerprint
        first = experiment.load_once(source)
    (tmp_path / "scans" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "cyst": 1}}))
    assert experiment.load_once(source).classes == ("background", "cyst")


def test_a_folder_is_that_of_the_place_where_one_stands(tmp_path, monkeypatch):
    """Behind a link too, and where a link leads back to the folder it is in."""
    for number, name in enumerate("AB"):
        scans(tmp_path / name / "scans", "abc", number)
    scans(tmp_path / "elsewhere", "abc", 2)
    (tmp_path / "C" / "scans").mkdir(parents=True)
    for kind in ("images", "labels"):
        (tmp_path / "C" / "scans" / kind).symlink_to(tmp_path / "elsewhere" / kind)
    (tmp_path / "C" / "scans" / "back").symlink_to(tmp_path / "C" / "scans")
    for name in "ABCAC":
        monkeypatch.chdir(tmp_path / name)
        source = {"cohort": "scans", "size": 16}
        assert experiment.load_once(source).fingerprint == load(**source).fingerprint
    before = experiment.load_once(source)
    scans(tmp_path / "elsewhere", "abc", 3)
    assert experiment.load_once(source).fingerprint != before.fingerprint
    assert experiment.load_once(DATA) is experiment.load_once(DATA), "generated people have no files"


def test_one_folder_is_one_whatever_it_is_called(tmp_path, monkeypatch):
    scans(tmp_path / "coh", "abcde", 0)
    (tmp_path / "link").symlink_to(tmp_path / "coh")
    scans(tmp_path / "copy", "abcde", 0)
    monkeypatch.chdir(tmp_path)
    spelled = ["coh", "./coh", str(tmp_path / "coh"), "link", str(tmp_path / "x" / ".." / "coh"), "copy"]
    made = [grid(["scratch"], (0.5,), (0,), data={"cohort": name, "size": 16}, preset="demo") for name in spelled]
    assert len({rows["key"][0] for rows in made}) == 1
    assert len({json.dumps(rows["data"][0]) for rows in made[:-1]}) == 1
    assert grid(["scratch"], (0.5,), (0,), data={"cohort": "coh", "size": 24}, preset="demo")["key"][0] != made[0]["key"][0]
    about = {"preset": "demo", "settings": {"fingerprint": "0123456789"}}
    assert {experiment_of({"data": {"cohort": name}, **about}) for name in spelled[:3]} == {"coh 012345, demo"}


# ---- the file of results


def test_append_is_whole_and_once(tmp_path):
    path = tmp_path / "results" / "a.jsonl"
    assert append(path, {"key": "one", "value": 1}) and not append(path, {"key": "one", "value": 2})
    assert append(path, {"key": "two"})
    assert [record["key"] for record in read_lines(path)] == ["one", "two"] and read_lines(path)[0]["value"] == 1


@pytest.mark.parametrize("cut", range(1, 12))
def test_torn_line_is_healed_wherever_it_was_cut(cut, tmp_path):
    path = tmp_path / "a.jsonl"
    append(path, {"key": "one"})
    append(path, {"key": "two"})
    path.write_bytes(path.read_bytes()[:-cut])
    assert [record["key"] for record in read_lines(path)][0] == "one"
    append(path, {"key": "three"})
    whole = ["two"] * (cut == 1)  # only its end was cut off: that run is finished, and is kept
    assert [record["key"] for record in read_lines(path)] == ["one", *whole, "three"]
    assert heal(path) == 0


@pytest.mark.parametrize("old, new", [(b"0.8125", b"0.8135"), (b'"one"', b'"onf"'), (b'"2": 1', b'"2": 3')])
def test_a_line_that_was_changed_is_refused_by_its_number(old, new, tmp_path):
    """One turned bit that leaves whole JSON; a line of before, without a checksum, is taken."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"key": "before", "pooled_dice": 0.8125}\n')
    for key in ("one", "two"):
        append(path, {"key": key, "pooled_dice": 0.8125, "per": {10: (1, 2), 2: 1}, "half": 1 / 3})
    assert [set(record) for record in read_lines(path)][1:] == [{"key", "pooled_dice", "per", "half"}] * 2
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n" + rest.replace(old, new, 1))
    with pytest.raises(ValueError, match="a.jsonl, line 2: damaged or changed"):
        read_lines(path)


def test_broken_line_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"key": "one"}\n{"key": \n{"key": "two"}\n')
    with pytest.raises(ValueError, match="a.jsonl, line 2"):
        read_lines(path)


def append_many(path, start):
    for i in range(start, start + 20):
        append(Path(path), {"key": str(i), "padding": "x" * 5000})


def test_two_writers_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=append_many, args=(tmp_path / "a.jsonl", start)) for start in (0, 10)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert sorted(int(record["key"]) for record in read_lines(tmp_path / "a.jsonl")) == list(range(30))


# ---- runs


def test_grid_continues_and_records_everything(tmp_path):
    first = small_grid("g", ["scratch"], tmp_path)
    before = (tmp_path / "g.jsonl").read_bytes()
    both = small_grid("g", ["scratch", "global"], tmp_path, full=["scratch"])
    assert len(first) == 2 and len(both) == 6 and sorted(both["labels"]) == [0.3] * 4 + [1.0] * 2
    assert (tmp_path / "g.jsonl").read_bytes().startswith(before)
    record = read_lines(tmp_path / "g.jsonl")[0]
    wanted = "method data labels seed split preset pooled_dice volume_dice hd95 per_class volumes validation"
    wanted += " settings commit versions machine seconds precision device processor"
    assert set(wanted.split()) <= set(record)
    assert record["precision"] == record["settings"]["stages"]["finetune"]["precision"] == chosen_precision(chosen_device())
    assert record["device"] == str(chosen_device()) and record["processor"] == processor() == record["machine"]["processor"]
    assert len(record["volumes"]) == 2 and set(record["per_class"]) == {"anterior", "posterior"}
    assert record["settings"]["trained"]["finetune"]["steps"] == TINY.stages["finetune"].steps
    assert not list((tmp_path / "cache" / "runs" / "g").glob("*/")) and not list((tmp_path / "cache" / "runs" / "g").glob("*.json"))


def test_stage_one_is_shared_between_runs(tmp_path):
    small_grid("g", ["global", "global+local(stride)"], tmp_path, labels=(0.3, 0.6), splits=(0,))
    reused = [record["settings"]["trained"]["global"]["reused"] for record in read_lines(tmp_path / "g.jsonl")]
    assert reused == [False, True, True, True]


def test_validation_is_measured_in_the_precision_of_the_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("semicon_nb.plan.chosen_precision", lambda device: "bf16")
    monkeypatch.setattr(experiment, "validation", lambda model, cohort, part, precision, how=None: asked.append(precision))
    small_grid("g", ["scratch"], tmp_path, splits=(0,))
    assert {*asked} == {"bf16"} == {read_lines(tmp_path / "g.jsonl")[0]["precision"]}


def test_a_grid_says_beforehand_how_long_it_takes(tmp_path, capsys, monkeypatch):
    """Runs that share a stage pay for it once, and a run that cannot start costs nothing."""
    monkeypatch.setattr("semicon_nb.runs._time_stage", lambda model, plan, planned: (10.0, 0.0))
    monkeypatch.setattr("semicon_nb.runs._TIMES", {})
    steps = {name: settings.steps for name, settings in TINY.stages.items()}
    total = 10 * (2 * steps["global"] + 2 * 2 * steps["finetune"])  # two splits; the global stage is that of two fractions
    rows = grid(["global"], (1e-9, 0.3, 0.6), (0, 1), data=DATA, preset=TINY)
    with ThreadPoolExecutor(1) as pool:
        for executor, workers, words, share in (
            (None, 4, "with 4 workers", 4),
            (None, 1, "with 1 worker", 1),
            (Serial(), 4, "in this process", 1),
            (pool, 4, "of one machine like this", 1),
        ):
            found = experiment.grid_outlook(rows.to_dict("records"), METHODS, TINY, tmp_path, executor, workers, "cpu")
            assert found.startswith("6 runs left, ") and found.endswith(f"; about {duration(total / share)} of training {words}")
    small_grid("g", ["scratch"], tmp_path, splits=(0,), progress=True)
    assert re.match(r"1 run left, (fp32|bf16) on .*; about \d+ (s|min) of training in this process\n$", capsys.readouterr().out)
    small_grid("g", ["scratch"], tmp_path, splits=(0,), progress=True)
    small_grid("g", ["global"], tmp_path, splits=(0,))
    assert capsys.readouterr().out == ""


def test_a_grid_trains_where_it_is_told(tmp_path):
    small_grid("g", ["scratch"], tmp_path, splits=(0,), device="cpu")
    assert read_lines(tmp_path / "g.jsonl")[0]["device"] == "cpu"
    with pytest.raises(ValueError, match="device: found 'tpu'"):
        small_grid("h", ["scratch"], tmp_path, splits=(0,), device="tpu")
    with ThreadPoolExecutor(1) as elsewhere:  # another machine may have what this one has not
        small_grid("h", ["scratch"], tmp_path, splits=(0,), device="tpu", executor=elsewhere, progress=True)
    assert "device: found 'tpu'" in read_lines(tmp_path / "h.failed.jsonl")[0]["error"]


class Plain(torch.nn.Module):
    """Classes from one convolution: no head for any contrast."""

    def __init__(self, classes: int):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, classes, 3, padding=1)

    def forward(self, images):
        return self.layer(images)


class Wider(Plain):
    def __init__(self, classes: int):
        super().__init__(classes)
        self.layer = torch.nn.Conv2d(1, classes, 5, padding=2)


def test_grid_trains_a_network_of_ones_own_and_keeps_its_runs_apart(tmp_path):
    usual = small_grid("g", ["scratch"], tmp_path, splits=(0,))
    own = small_grid("g", ["scratch"], tmp_path, splits=(0,), model=Plain)
    wider = small_grid("g", ["scratch"], tmp_path, splits=(0,), model=f"{__name__}:Wider")
    assert len({usual["key"][0], own["key"][0], wider["key"][0]}) == 3 and len(read_lines(tmp_path / "g.jsonl")) == 3
    assert own["experiment"][0].endswith(f"{__name__}:Plain") and table(tmp_path).count("of 1 split by subject") == 3
    assert read_lines(tmp_path / "g.jsonl")[1]["settings"]["network"] == {"model": f"{__name__}:Plain", "classes": 3}
    with pytest.raises(ValueError, match="Plain has no embed_images, but global asks for"):
        small_grid("g", ["scratch", "global"], tmp_path, model=Plain)


def with_steps(steps, **more):
    """The small preset under its name, with so many steps of fine-tuning."""
    return replace(TINY, stages=TINY.stages | {"finetune": replace(TINY.stages["finetune"], steps=steps)}, **more)


@pytest.mark.parametrize("first, then, words", [
    ({}, {"preset": replace(TINY, width=3)}, "network: width is 2 there and 3 here"),
    ({}, {"preset": replace(PRESETS["demo"], name="tiny", width=2).scaled(0.03)}, "stages: finetune: steps is 6 there and 9 here"),
    ({"methods": ["scratch"]}, {"methods": [replace(METHODS["scratch"], stages=METHODS["local(exact)"].stages)]}, "method: stages: 0"),
    ({"methods": ["scratch"]}, {"methods": [replace(METHODS["scratch"], looks=True)]}, "method: looks is False there and True here"),
])  # fmt: skip
def test_what_was_changed_under_its_old_name_is_refused_before_it_is_trained(first, then, words, tmp_path):
    """A table could not tell the two apart, and would average them."""
    rows = small_grid("g", **{"methods": ["scratch"], "tmp_path": tmp_path, "splits": (0,), **first})
    before, again = (tmp_path / "g.jsonl").read_bytes(), {"methods": ["scratch"], "tmp_path": tmp_path, "splits": (0,), **first, **then}
    with pytest.raises(ValueError, match=f"g.jsonl and this grid: two runs are called scratch at 30 %, split 0.*{words}.*a name of its own"):
        small_grid("g", **again)
    assert (tmp_path / "g.jsonl").read_bytes() == before and len(rows) == 1
    small_grid("other", **again)
    with pytest.raises(ValueError, match="g.jsonl and .*other.jsonl: two runs are called scratch"):
        read_results(tmp_path)


@pytest.mark.parametrize("then, words", [
    ({"preset": replace(TINY, width=3)}, "network: width is 2 there and 3 here"),
    ({"methods": [replace(METHODS["scratch"], looks=True)]}, "method: looks is False there and True here"),
    ({"preset": with_steps(60)}, "finetune: steps is 6 there and 60 here"),
])  # fmt: skip
def test_what_was_changed_is_refused_on_another_split_too(then, words, tmp_path):
    first = {"methods": ["scratch"], "tmp_path": tmp_path, "splits": (0,)}
    small_grid("g", **first)
    with pytest.raises(ValueError, match=f"g.jsonl and this grid: scratch at 30 %, split 0, seed 0 and scratch at 30 %, split 1.*{words}"):
        small_grid("g", **{**first, "splits": (1,), **then})
    assert len(read_lines(tmp_path / "g.jsonl")) == 1


def test_a_preset_that_was_changed_between_two_methods_is_refused(tmp_path):
    """One would be subtracted from the other, as if only the method differed; a method's own steps are its own."""
    small_grid("g", ["scratch", recipe_of("twice", (), "supervised", longer=2)], tmp_path, splits=(0,))
    with pytest.raises(ValueError, match="scratch at 30 %, split 0, seed 0 and mixup at 30 %, split 0.*finetune: steps is 6 there and 60 here"):
        small_grid("g", ["mixup"], tmp_path, splits=(0,), preset=with_steps(60))
    assert len(small_grid("g", ["mixup"], tmp_path, splits=(0,))) == 1 and len(read_results(tmp_path)) == 3


def test_steps_that_hang_on_the_slices_are_no_other_preset(tmp_path):
    passes = replace(TINY, name="passes", epochs={"finetune": 2})
    few, all_of_them = (small_grid("g", ["scratch"], tmp_path, splits=(0,), labels=(share,), preset=passes)["steps"][0] for share in (0.3, 1.0))
    assert few < all_of_them and len(read_results(tmp_path)) == 2
    with pytest.raises(ValueError, match="both runs of .*passes, but epochs: finetune is 2 there and 3 here"):
        small_grid("g", ["scratch"], tmp_path, splits=(1,), preset=replace(passes, epochs={"finetune": 3}))


def test_what_the_released_code_does_is_compared_with_itself(tmp_path):
    for number in (0, 1):
        small_grid("g", ["local(stride)"], tmp_path, splits=(number,), defects=("identical_views",))
    assert len(read_results(tmp_path)) == 2


def test_a_network_that_was_edited_is_refused_in_the_file_of_the_old_one(tmp_path, monkeypatch):
    small_grid("g", ["scratch"], tmp_path, splits=(0,), model=f"{__name__}:Plain")
    monkeypatch.setattr(sys.modules[__name__], "Plain", type("Plain", (Plain,), {"more": lambda self: 1}))
    with pytest.raises(ValueError, match="two runs are called scratch .*the code of a stage or of the network is another"):
        small_grid("g", ["scratch"], tmp_path, splits=(0,), model=f"{__name__}:Plain")
    small_grid("h", ["scratch"], tmp_path, splits=(0,), model=f"{__name__}:Plain")


def test_a_preset_that_was_changed_where_a_method_does_not_look_gives_the_same_run(tmp_path):
    small_grid("g", ["scratch"], tmp_path, splits=(0,))
    changed = replace(TINY, stages=TINY.stages | {"global": replace(TINY.stages["global"], batch=5)})
    assert small_grid("g", ["scratch"], tmp_path, splits=(0,), preset=changed)["pooled_dice"].tolist() == read_results(tmp_path)["pooled_dice"].tolist()[1:]
    assert read_results(tmp_path)["pooled_dice"].nunique() == 1 and len(read_results(tmp_path)) == 2


@pytest.mark.parametrize("how", [{}, {"full": [replace(METHODS["scratch"], looks=True)]}])
def test_two_methods_of_one_name_are_refused(how, tmp_path):
    """The second would be trained, and stand for both."""
    methods = ["scratch", *([] if how else [replace(METHODS["scratch"], looks=True)])]
    with pytest.raises(ValueError, match="methods: found two called 'scratch'"):
        small_grid("g", methods, tmp_path, **how)


class Silent(Plain):
    """Finds nothing, whatever it learns."""

    def forward(self, images):
        return super().forward(images) * 1e-6 + torch.eye(3)[0][:, None, None]


@pytest.mark.parametrize("parts", [("test",), ("val",), ("test", "val"), ()])
def test_an_undefined_score_is_null_told_in_words_and_left_out(parts, tmp_path, monkeypatch):
    """Nothing is outlined in these people and nothing found: the run is finished, and its file can be read and gone on with."""
    cohort, empty = load(**DATA), []
    labels, who = cohort.labels.copy(), split(cohort, 0.3, 0)
    for part in parts:
        empty += ["validation"] if part == "val" else ["pooled_dice", "volume_dice", "hd95"]
        labels[part_indices(cohort, who, part)] = 0
    monkeypatch.setattr(experiment, "load_once", lambda source: replace(cohort, labels=labels))
    rows = small_grid("g", ["scratch"], tmp_path, model=Silent)
    first, other = sorted(read_lines(tmp_path / "g.jsonl"), key=lambda record: record["split"])
    assert {name for name in ("validation", "pooled_dice", "volume_dice", "hd95") if first[name] is None} == set(empty)
    assert all(first["with_neighbours"][name] is None for name in empty) and "NaN" not in (tmp_path / "g.jsonl").read_text()
    assert not (tmp_path / "g.failed.jsonl").exists() and other["pooled_dice"] is not None and len(rows) == 2
    before = (tmp_path / "g.jsonl").read_bytes()
    assert len(small_grid("g", ["scratch"], tmp_path, model=Silent)) == 2 and before == (tmp_path / "g.jsonl").read_bytes()
    if "test" in parts:
        assert f"| {other['pooled_dice']:.3f} |" in table(tmp_path / "g.jsonl") and "of 1 split by subject" in table(tmp_path / "g.jsonl")


@pytest.mark.parametrize("dice, words", [(None, "split 0: Dice is undefined"), (float("nan"), "split 0: Dice is undefined"), (0.25, "split 0: 0.250")])
def test_a_run_is_noted_in_a_few_words(dice, words, tmp_path):
    row = {"key": "k", "method": "scratch", "labels": 0.05, "split": 0}
    assert words in experiment.note(tmp_path / "g.jsonl", row, {**row, "pooled_dice": dice})
    assert read_results(tmp_path / "g.jsonl")["pooled_dice"].notna().tolist() == [dice == 0.25]


def test_failed_run_is_recorded_and_told_and_the_rest_goes_on(tmp_path):
    with pytest.warns(UserWarning, match="g.jsonl: 2 of 4 runs failed and left no row: DataError: .*leaves none"):
        finished = small_grid("g", ["scratch"], tmp_path, labels=(1e-9, 0.3))
    failed = read_lines(tmp_path / "g.failed.jsonl")
    assert len(finished) == 2 and len(failed) == 2
    assert "leaves none" in failed[0]["error"] and "Traceback" in failed[0]["traceback"]
    assert len(read_results(tmp_path)) == 2
    with pytest.warns(UserWarning, match="2 of 2 runs failed"):
        small_grid("g", ["scratch"], tmp_path, labels=(1e-9,))
    assert len(read_lines(tmp_path / "g.failed.jsonl")) == 4


def test_results_that_cannot_be_written_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_one", lambda *given: pytest.fail("trained"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        small_grid("g", ["scratch"], tmp_path / "file" / "results")
    (tmp_path / "g.jsonl").touch(mode=0o444)
    with pytest.raises(OSError, match="denied") if os.geteuid() else nullcontext():
        experiment.append(tmp_path / "g.jsonl", {"key": "a"})


def test_run_that_was_measured_but_not_noted_is_not_trained_again(tmp_path):
    row = grid(["scratch"], (0.3,), (0,), data=DATA, preset=TINY).iloc[0].to_dict()
    record = run_one(row, METHODS["scratch"], TINY, tmp_path)
    assert run_one(row, None, None, tmp_path) == record


def test_kept_run_can_be_loaded(tmp_path):
    from semicon_nb.evaluate import evaluate
    from semicon_nb.methods import load_run

    row = small_grid("g", ["local(exact)"], tmp_path, splits=(0,), keep=True, folder=tmp_path / "runs").iloc[0]
    run = load_run(tmp_path / "runs" / row["key"])
    cohort = run.cohort
    again = evaluate(run.model, cohort, part_indices(cohort, run.split, "test"))
    assert again.pooled_dice == pytest.approx(row["pooled_dice"], abs=1e-6)
    assert again.volume_dice == pytest.approx(row["volume_dice"], abs=1e-6)


def test_any_executor_and_own_methods(tmp_path):
    own = Method("own", (Stage("finetune", finetune, changes={"rate": 1e-4}),))
    with ThreadPoolExecutor(2) as pool:
        rows = small_grid("g", ["scratch", own], tmp_path, executor=pool)
    assert sorted(rows["method"]) == ["own", "own", "scratch", "scratch"]


def test_a_pool_settles_the_precision_of_its_workers(monkeypatch):
    """A worker would measure by itself, on a machine that is busy with the others."""
    for word in ("bf16", "fp32"):
        monkeypatch.setattr(experiment, "chosen_precision", lambda device, word=word: word)
        with experiment.local_pool(1, "cpu") as pool:
            assert pool.submit(chosen_precision, "cpu").result() == word


def test_the_number_of_workers_decides_nothing(tmp_path):
    """Two processes, or none of its own: the same runs with the same scores."""
    found = []
    for how in ({}, {"executor": None, "workers": 2}):
        rows = small_grid("g", ["scratch"], tmp_path / str(len(how)), **how)
        found.append(rows.sort_values("key")[["key", "pooled_dice", "volume_dice", "hd95", "validation"]].to_numpy().tolist())
    assert found[0] == found[1] and len(found[0]) == 2


@pytest.mark.parametrize("ahead", [1, 3])
def test_lost_worker_is_replaced_and_its_runs_start_again(ahead):
    """A worker that dies once costs nothing; a run whose workers die twice is an error, and the others go on."""
    starts, pools = Counter(), []

    def task(row):
        starts[row["key"]] += 1
        if row["key"] == "greedy" or (row["key"] == "unlucky" and starts["unlucky"] == 1):
            raise BrokenProcessPool("a worker died")
        return row

    def pool():
        pools.append(Serial())
        return pools[-1]

    rows = [{"key": key} for key in ("a", "unlucky", "greedy", "b", "c")]
    found = {row["key"]: result for row, result in outcomes(rows, lambda pool, row: pool.submit(task, row), pool, ahead)}
    assert set(found) == {"a", "unlucky", "greedy", "b", "c"}
    assert isinstance(found["greedy"], BrokenProcessPool)
    assert all(found[key] == {"key": key} for key in ("a", "unlucky", "b", "c"))
    assert starts["greedy"] == 2 and starts["unlucky"] == 2 and len(pools) >= 3


def kill_or_wait(key):
    """A run that ends its process, beside one that takes longer."""
    if key == "greedy":
        os._exit(1)
    time.sleep(0.5)
    return {"key": key}


def test_a_run_does_not_fail_for_another_that_ends_their_workers():
    rows = [{"key": "innocent"}, {"key": "greedy"}]
    found = {row["key"]: out for row, out in outcomes(rows, lambda pool, row: pool.submit(kill_or_wait, row["key"]), lambda: experiment.local_pool(2), 2)}
    assert found["innocent"] == {"key": "innocent"} and isinstance(found["greedy"], BrokenProcessPool)


def test_an_interrupted_pool_does_not_wait_for_its_runs():
    began = time.time()
    with pytest.raises(KeyboardInterrupt), experiment.local_pool(1) as pool:
        assert pool.submit(int, "1").result() == 1
        began, _ = time.time(), pool.submit(time.sleep, 300)
        raise KeyboardInterrupt
    assert time.time() - began < 60


GRID = """
from dataclasses import replace
from pathlib import Path
from semicon_nb.experiment import run_grid
from semicon_nb.stages import PRESETS
if __name__ == "__main__":
    preset = replace(PRESETS["demo"], name="tiny", width=2).scaled(0.25)
    data = {"cohort": "phantom", "subjects": 6, "size": 32}
    run_grid("g", ["scratch", "global"], labels=(0.3,), splits=(0, 1), data=data, preset=preset, results=".", workers=2, progress=False)
"""


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found]


@pytest.mark.slow
def test_killed_grid_continues_where_it_stood(tmp_path):
    (tmp_path / "start.py").write_text(GRID)
    where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(Path(experiment.__file__).parents[1])}}
    job = subprocess.Popen([sys.executable, "start.py"], **where)
    results, deadline = tmp_path / "g.jsonl", time.time() + 300
    while not (results.exists() and read_lines(results)) and time.time() < deadline:
        time.sleep(0.05)
    workers = children(job.pid)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    before = read_lines(results)
    assert 0 < len(before) < 4 and workers
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers), "workers outlived the grid"
    with results.open("ab") as file:
        file.write(b'{"key": "torn')
    assert subprocess.run([sys.executable, "start.py"], **where).returncode == 0
    after = read_lines(results)
    assert after[: len(before)] == before and len(after) == 4 and len({record["key"] for record in after}) == 4


@pytest.mark.slow
def test_killed_worker_costs_no_run(tmp_path):
    (tmp_path / "start.py").write_text(GRID)
    where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(Path(experiment.__file__).parents[1])}}
    job = subprocess.Popen([sys.executable, "start.py"], **where)
    runs, deadline = tmp_path / "cache" / "runs" / "g", time.time() + 300
    while not list(runs.glob("*/run.json")) and time.time() < deadline:
        time.sleep(0.05)
    spawned = [pid for pid in children(job.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(spawned[0], signal.SIGKILL)
    assert job.wait(300) == 0
    assert len({record["key"] for record in read_lines(tmp_path / "g.jsonl")}) == 4


def test_defective_run_is_measured_with_correct_labels(tmp_path):
    rows = small_grid("g", ["local(stride)"], tmp_path, splits=(0,), defects=("bilinear_labels", "identical_views", "split_by_volume"))
    record = read_lines(tmp_path / "g.jsonl")[0]
    assert len(rows) == 1 and record["defects"] == ["bilinear_labels", "identical_views", "split_by_volume"]
    assert 0 <= record["as_released"] <= 1 and record["pooled_dice"] is not None
    assert [stage["train"] for stage in record["settings"]["method"]["stages"]] == ["semicon_nb.defects.train_local_identical", "semicon_nb.train.finetune"]


def test_every_run_says_what_its_slices_score_alone_and_averaged(tmp_path):
    """The row's own numbers are the method's; the other way of asking the same network stands beside them."""
    averaging = recipe_of("averaging", (), "supervised", looks=False, longer=1)
    small_grid("g", ["scratch", averaging], tmp_path, splits=(0,))
    plain, averaged = (next(r for r in read_lines(tmp_path / "g.jsonl") if r["method"] == name) for name in ("scratch", "averaging"))
    assert "slice_by_slice" not in plain and "with_neighbours" not in averaged
    assert plain["with_neighbours"]["neighbours"] == 1.3 and averaged["slice_by_slice"]["neighbours"] == 0
    scores = ("pooled_dice", "volume_dice", "hd95", "validation")
    assert [plain[name] for name in scores] == [averaged["slice_by_slice"][name] for name in scores], "the same weights"
    assert [averaged[name] for name in scores] == [plain["with_neighbours"][name] for name in scores]
    found = read_results(tmp_path / "g.jsonl").set_index("method")
    for score in ("pooled_dice", "volume_dice"):
        ways = found[[f"{score}_slice_by_slice", f"{score}_with_neighbours"]]
        assert ways.loc["scratch"].tolist() == ways.loc["averaging"].tolist() == [plain[score], averaged[score]]
    assert "Pooled Dice, averaged with neighbours" in table(found.reset_index(), metric="pooled_dice_with_neighbours")


@pytest.mark.parametrize("unknown", [slice(None), slice(0, 1)], ids=["pictures", "one volume of pictures"])
def test_nothing_is_called_averaged_where_the_order_of_slices_is_not_known(unknown, tmp_path, monkeypatch):
    averaging, cohort = recipe_of("averaging", (), "supervised", looks=False, longer=1), load(**DATA)
    people, position = split(cohort, 0.3, 0).test[unknown], cohort.position.copy()
    position[np.isin(cohort.volume, [i for i, volume in enumerate(cohort.volumes) if volume.name in people or volume.subject in people])] = np.nan
    assert np.isnan(position).any()
    monkeypatch.setattr(experiment, "load_once", lambda source: replace(cohort, position=position))
    small_grid("g", ["scratch", averaging], tmp_path, splits=(0,))
    plain, other = (next(r for r in read_lines(tmp_path / "g.jsonl") if r["method"] == name) for name in ("scratch", "averaging"))
    assert "with_neighbours" not in plain and other["with_neighbours"] is None
    found = read_results(tmp_path / "g.jsonl").set_index("method")
    assert found["pooled_dice_with_neighbours"].isna().all() and found["volume_dice_with_neighbours"].isna().all()
    assert found["pooled_dice_slice_by_slice"].tolist() == [plain["pooled_dice"]] * 2, "the same weights"
    assert "was not measured" in table(found.reset_index(), metric="pooled_dice_with_neighbours")


def test_outlines_over_slices_are_another_experiment_with_as_many_of_them(tmp_path):
    few = small_grid("few", ["scratch"], tmp_path, labels=(0.4,), splits=(0,))
    wide = small_grid("wide", ["scratch"], tmp_path, labels=(0.4,), splits=(0,), spread="slices")
    assert few["pooled_dice"].tolist() != wide["pooled_dice"].tolist()
    words = "phantom (size 32, subjects 6), tiny"
    assert few["experiment"].tolist() == [words] and wide["experiment"].tolist() == [f"{words}, outlines spread: slices"]
    cohort = experiment.load_once(DATA)
    record, usual = (read_lines(tmp_path / f"{name}.jsonl")[0] for name in ("wide", "few"))
    assert record["outlines"] == usual["outlines"] and "spread" not in usual
    assert record["spread"] == "slices" and record["settings"]["labelled"] == list(split(cohort, 0.4, spread="slices").labelled)


def test_every_run_says_what_it_cost_and_where(tmp_path):
    """The clock goes on while a process is stopped; the seconds of its processor do not."""
    began, worked = time.time(), time.process_time()
    small_grid("g", ["scratch"], tmp_path, splits=(0,))
    (record,) = read_lines(tmp_path / "g.jsonl")
    passed, took = time.time() - began + 0.05, time.process_time() - worked + 0.05  # rows are rounded to a tenth
    assert 0 < record["seconds"] <= passed and 0 < record["processor_seconds"] <= took
    assert record["processor"] == processor() and record["precision"] == chosen_precision("cpu")


def test_todo_is_what_has_no_line(tmp_path):
    rows = pd.DataFrame([{"key": "a"}, {"key": "b"}])
    (tmp_path / "g.jsonl").write_text(json.dumps({"key": "a"}) + "\n")
    assert todo(rows, tmp_path / "g.jsonl") == [{"key": "b"}] and len(todo(rows, tmp_path / "none.jsonl")) == 2


def test_scores_are_of_correct_labels_and_beside_them_what_the_released_code_would_say(tmp_path):
    """A network that says of every slice what the run was told, which is not what is there."""
    cohort = load(**DATA)
    told = np.roll(cohort.labels, 2, axis=1)
    seen, who = replace(cohort, labels=told), split(cohort, 0.3, 0)

    class Told(torch.nn.Module):
        known = {image.astype(np.float32).tobytes(): labels for image, labels in zip(cohort.images, told, strict=True)}

        def forward(self, images):
            labels = np.stack([self.known[image[0].numpy().tobytes()] for image in images])
            return 20 * torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 3).permute(0, 3, 1, 2).float()

    found = experiment.measure(Told(), cohort, seen, who, "fp32")
    for name, part in (("pooled_dice", "test"), ("validation", "val")):
        rows = part_indices(cohort, who, part)
        assert found[name] == pytest.approx(pooled_dice(told[rows], cohort.labels[rows], 3)) and found[name] < 0.9
    assert found["as_released"] == 1 and "as_released" not in experiment.measure(Told(), cohort, cohort, who, "fp32")


def test_spread_outlines_have_the_headroom_of_all_of_them(tmp_path):
    rows = small_grid("g", ["scratch"], tmp_path, spread="slices", full=["scratch"])
    assert len(rows) == 4 and rows["experiment"].nunique() == 1
    assert headroom(rows)["splits"].tolist() == [2]
