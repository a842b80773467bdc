"""The three stages: bit-identical resumption, refusals, and leaks that cannot happen."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import line, line_batch, squared_error

from semicon_nb import train as stages
from semicon_nb.data import DataError, LeakError, labelled_indices, part_indices, phantom, split
from semicon_nb.dice import pooled_dice
from semicon_nb.loop import STAGES, StageSettings, fit, read_checkpoint, run
from semicon_nb.losses import global_contrastive_loss, local_contrastive_loss, supervised_local_contrastive_loss
from semicon_nb.predict import Prediction, at_precision, predict
from semicon_nb.strategies import BlockDivision, Downsampling, FullResolution, RandomSampling, Strategy
from semicon_nb.train import at_step, finetune, train_global, train_local
from semicon_nb.unet import UNet
from semicon_nb.views import GLOBAL, IDENTITY, LOCAL

SETTINGS = {
    "global": replace(STAGES["global"], steps=7, batch=6, warmup=2, save_every=3, average=0.9),
    "local": replace(STAGES["local"], steps=6, batch=2, warmup=2, save_every=2),
    "finetune": replace(STAGES["finetune"], steps=8, batch=4, warmup=2, validate_every=3, save_every=3, average=0.5),
}


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=6, size=16)


@pytest.fixture(scope="module")
def shares(cohort):
    return split(cohort, labelled=0.5, seed=1)


def network(width=4, seed=0):
    torch.manual_seed(seed)
    return UNet(classes=3, width=width, depth=2, global_dim=8, pixel_dim=8)


def stage(name, model, cohort, shares, **more):
    if name == "global":
        return train_global(model, cohort, shares, SETTINGS[name], **more)
    if name == "local":
        return train_local(model, cohort, shares, SETTINGS[name], RandomSampling(pixels=128), **more)
    return finetune(model, cohort, shares, SETTINGS[name], **more)


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_what_trains_never_sees_auto(tmp_path, cohort, shares):
    left_open = StageSettings(steps=4, precision="auto")
    for steps in (fit(line(), squared_error, line_batch, left_open, tmp_path / "RUN"), finetune(network(), cohort, shares, left_open)):
        with pytest.raises(ValueError, match="precision: found .auto., expected .fp32. or .bf16."):
            next(steps)
    assert not (tmp_path / "RUN").exists()
    with pytest.raises(ValueError, match="precision: found .auto."):
        at_precision(network(), torch.zeros(1, 1, 32, 32), "auto")


@pytest.mark.parametrize("name", ["global", "local", "finetune"])
def test_stopped_anywhere_resumed_to_the_last_bit(name, cohort, shares, tmp_path):
    straight = network()
    losses = [s.loss for s in run(stage(name, straight, cohort, shares), False)]
    for stop in range(1, SETTINGS[name].steps):
        folder = tmp_path / str(stop)
        first = list(itertools.islice(stage(name, network(), cohort, shares, folder=folder), stop))
        model = network(seed=99)
        rest = run(stage(name, model, cohort, shares, folder=folder, resume=True), False)
        assert [s.loss for s in first + rest] == losses and same(model, straight)


@pytest.mark.parametrize("name", ["global", "local", "finetune"])
def test_a_crash_inside_a_step_falls_back_to_the_checkpoint(name, cohort, shares, tmp_path, monkeypatch):
    straight = network()
    run(stage(name, straight, cohort, shares), False)
    whole = torch.optim.AdamW.step

    def torn(self, *args, **kwargs):
        whole(self, *args, **kwargs)
        if self.state[self.param_groups[0]["params"][0]]["step"] >= 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", torn)
        run(stage(name, network(), cohort, shares, folder=tmp_path), False)
    model = network(seed=5)
    rest = run(stage(name, model, cohort, shares, folder=tmp_path, resume=True), False)
    lines = [json.loads(text)["step"] for text in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rest[0].step == (3 if name != "local" else 4) // SETTINGS[name].save_every * SETTINGS[name].save_every + 1
    assert same(model, straight) and lines == list(range(1, SETTINGS[name].steps + 1))


ALONE = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
import test_train as t
cohort, model = t.phantom(subjects=6, size=16), t.network(seed={seed})
steps = t.run(t.long_run(model, cohort, t.split(cohort, labelled=0.5, seed=1), {folder!r}, resume={resume}), False)
torch.save((steps[0].step, model.state_dict()), {out!r})
"""


def long_run(model, cohort, shares, folder, resume=False):
    plan = replace(SETTINGS["finetune"], steps=60, save_every=5, validate_every=20)
    return finetune(model, cohort, shares, plan, folder=folder, resume=resume)


def alone(folder, out, seed=0, resume=False):
    """The long run in a process of its own, as a user would start it."""
    script = ALONE.format(tests=str(os.path.dirname(__file__)), seed=seed, folder=str(folder), resume=resume, out=str(out))
    return subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_for_real_and_resumed_to_the_last_bit(tmp_path):
    straight = alone(tmp_path / "straight", tmp_path / "straight.out")
    process = alone(tmp_path / "killed", tmp_path / "never.out")
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "finetune.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached = read_checkpoint(tmp_path / "killed" / "finetune.pt")["step"]
    assert 0 < reached < 60 and not (tmp_path / "never.out").exists()
    assert alone(tmp_path / "killed", tmp_path / "resumed.out", seed=7, resume=True).wait() == 0 and straight.wait() == 0
    (first, resumed), (_, whole) = (torch.load(tmp_path / f"{name}.out") for name in ("resumed", "straight"))
    assert first == reached + 1
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_finished_stage_resumes_to_its_result(cohort, shares, tmp_path):
    model, again = network(), network(seed=3)
    run(stage("finetune", model, cohort, shares, folder=tmp_path), False)
    assert run(stage("finetune", again, cohort, shares, folder=tmp_path, resume=True), False) == [] and same(model, again)


def test_resuming_where_nothing_is_starts(cohort, shares, tmp_path):
    assert len(run(stage("global", network(), cohort, shares, folder=tmp_path / "new", resume=True), False)) == 7


def test_a_folder_in_use_is_not_overwritten(cohort, shares, tmp_path):
    run(stage("global", network(), cohort, shares, folder=tmp_path), False)
    before = (tmp_path / "global.pt").read_bytes()
    with pytest.raises(ValueError, match="resume=True"):
        run(stage("global", network(), cohort, shares, folder=tmp_path), False)
    assert (tmp_path / "global.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 1}, "seed"),
        ({"settings": replace(SETTINGS["global"], rate=1e-5)}, "rate"),
        ({"model": 6}, "network"),
        ({"subjects": 7}, "cohort"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, word, cohort, shares, tmp_path):
    list(itertools.islice(stage("global", network(), cohort, shares, folder=tmp_path), 2))
    data = phantom(subjects=change["subjects"], size=16) if "subjects" in change else cohort
    parts = split(data, labelled=0.5, seed=1) if "subjects" in change else shares
    plan = change.get("settings", SETTINGS["global"])
    with pytest.raises(ValueError, match=f"another run: {word}"):
        next(train_global(network(change.get("model", 4)), data, parts, plan, seed=change.get("seed", 0), folder=tmp_path, resume=True))


def test_a_checkpoint_of_another_strategy_is_refused(cohort, shares, tmp_path):
    plan = SETTINGS["local"]
    list(itertools.islice(train_local(network(), cohort, shares, plan, Downsampling(4), folder=tmp_path), 2))
    with pytest.raises(ValueError, match="strategy"):
        next(train_local(network(), cohort, shares, plan, BlockDivision(8), folder=tmp_path, resume=True))


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_checkpoint_is_named(damage, cohort, shares, tmp_path):
    list(itertools.islice(stage("global", network(), cohort, shares, folder=tmp_path), 2))
    path = tmp_path / "global.pt"
    if damage == "other":
        torch.save({"weights": 1}, path)
    else:
        path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
    with pytest.raises(ValueError, match=r"global\.pt"):
        next(stage("global", network(), cohort, shares, folder=tmp_path, resume=True))


def poison(cohort, rows):
    labels = cohort.labels.copy()
    labels[rows] = 2 - labels[rows]
    return replace(cohort, labels=labels)


def other_rows(cohort, shares, *kept):
    names = {name for part in kept for name in getattr(shares, part)}
    return np.array([cohort.volumes[v].name not in names for v in cohort.volume])


@pytest.mark.parametrize(("name", "kept"), [("global", ()), ("local", ("labelled",)), ("finetune", ("labelled", "val"))])
def test_labels_that_are_hidden_change_nothing(name, kept, cohort, shares):
    clean, dirty = network(), network()
    run(stage(name, clean, cohort, shares), False)
    poisoned = poison(cohort, other_rows(cohort, shares, *kept))
    assert (poisoned.labels != cohort.labels).any()
    run(stage(name, dirty, poisoned, shares), False)
    assert same(clean, dirty)


def test_validation_labels_choose_but_do_not_teach(cohort, shares):
    plan = replace(SETTINGS["finetune"], validate_every=0)
    clean, dirty = network(), network()
    run(finetune(clean, cohort, shares, plan), False)
    run(finetune(dirty, poison(cohort, other_rows(cohort, shares, "labelled")), shares, plan), False)
    assert same(clean, dirty)


def test_images_of_test_subjects_change_nothing_unless_asked_for(cohort, shares):
    images = cohort.images.copy()
    images[other_rows(cohort, shares, "train")] = 0.5
    changed = replace(cohort, images=images)
    models = [network() for _ in range(4)]
    for model, data, asked in zip(models, (cohort, changed, cohort, changed), (False, False, True, True), strict=True):
        run(train_global(model, data, shares, SETTINGS["global"], test_images=asked), False)
    assert same(models[0], models[1]) and not same(models[2], models[3])


@pytest.mark.parametrize("name", ["local", "finetune"])
@pytest.mark.parametrize("part", ["val", "test", "train"])
def test_indices_that_the_split_does_not_give_are_a_leak(name, part, cohort, shares, monkeypatch):
    monkeypatch.setattr(stages, "labelled_indices", lambda c, s: part_indices(c, s, part))
    with pytest.raises(LeakError):
        stage(name, network(), cohort, shares)


def test_global_stage_refuses_images_of_test_subjects(cohort, shares, monkeypatch):
    monkeypatch.setattr(stages, "unlabelled_indices", lambda c, s, test_images: part_indices(c, s, "all"))
    with pytest.raises(LeakError):
        train_global(network(), cohort, shares, SETTINGS["global"])


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_tampered_split_is_a_leak(part, cohort, shares):
    extra = getattr(shares, part)[:1]
    for changes in ({"labelled": shares.labelled + extra}, {"labelled": shares.labelled + extra, "train": shares.train + extra}):
        for name in ("global", "local", "finetune"):
            with pytest.raises((LeakError, DataError), match=extra[0].split("-")[0]):
                stage(name, network(), cohort, replace(shares, **changes))


def test_a_subject_on_both_sides_is_a_leak(cohort, shares):
    volume = next(v for v in cohort.volumes if v.name in shares.train)
    twin = next(v.name for v in cohort.volumes if v.subject == volume.subject and v.name != volume.name)
    train, labelled = (tuple(n for n in names if n != twin) for names in (shares.train, shares.labelled))
    tampered = replace(shares, train=train, labelled=labelled, val=(*shares.val, twin))
    with pytest.raises((LeakError, DataError), match=volume.subject):
        stage("finetune", network(), cohort, tampered)


def test_self_supervised_local_stage_sees_no_labels(cohort, shares):
    models, wrong = [network(), network()], poison(cohort, np.ones(len(cohort.images), bool))
    for model, data in zip(models, (cohort, wrong), strict=True):
        run(train_local(model, data, shares, SETTINGS["local"], Downsampling(4), supervised=False), False)
    assert same(*models) and not same(models[0], network())


@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("global", ("decoder", "pixel_head", "class_head")),
        ("local", ("global_head", "class_head")),
        ("finetune", ("global_head", "pixel_head")),
    ],
)
def test_a_stage_trains_its_parts_and_no_others(name, still, cohort, shares):
    before, model = network(), network()
    run(stage(name, model, cohort, shares), False)
    for key, value in model.state_dict().items():
        if key.startswith(still):
            assert torch.equal(value, before.state_dict()[key]), key
    moved = {key.split(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before.state_dict()[key])}
    assert moved == {"encoder", "decoder", "global_head", "pixel_head", "class_head"} - set(still)


def test_selection_keeps_what_history_says(cohort, shares):
    model = network()
    done = run(finetune(model, cohort, shares, replace(SETTINGS["finetune"], steps=30, validate_every=5)), False)
    rows = part_indices(cohort, shares, "val")
    kept = pooled_dice(predict(model, cohort.images[rows]).argmax(1), cohort.labels[rows], 3)
    assert kept == pytest.approx(max(s.dice for s in done if s.dice is not None), abs=1e-6)


def test_a_random_strategy_draws_anew_at_each_step():
    drawn = [at_step(RandomSampling(64), 0, "local", step) for step in range(3)]
    assert len({s.seed for s in drawn}) == 3 and at_step(RandomSampling(64), 0, "local", 1) == drawn[1]
    assert at_step(Downsampling(4), 0, "local", 1) == Downsampling(4)


@pytest.mark.parametrize("name", ["global", "local", "finetune"])
def test_mixed_precision_trains(name, cohort, shares, monkeypatch):
    monkeypatch.setitem(SETTINGS, name, replace(SETTINGS[name], precision="bf16"))
    exact = [s.loss for s in run(stage(name, network(), cohort, shares), False)]
    monkeypatch.setitem(SETTINGS, name, replace(SETTINGS[name], precision="fp32"))
    mixed = [s.loss for s in run(stage(name, network(), cohort, shares), False)]
    assert exact != mixed and np.abs(np.array(exact) - mixed).max() < 0.1 * max(mixed)


def test_training_learns(cohort, shares):
    model = network(8)
    plan = replace(SETTINGS["finetune"], steps=80, batch=8, rate=5e-3, validate_every=20)
    done = run(finetune(model, cohort, shares, plan), False)
    assert np.mean([s.loss for s in done[-10:]]) < 0.7 * np.mean([s.loss for s in done[:5]])
    assert max(s.dice for s in done if s.dice is not None) > 0.3


def test_local_views_move_nothing():
    assert (LOCAL.rotation, LOCAL.elastic, LOCAL.shift, LOCAL.scale) == (0.0, 0.0, 0.0, (1.0, 1.0))


def handed_over(monkeypatch, start):
    """The loss and the batches that a stage gives to the loop, and what tells its run from others."""
    kept = {}
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", lambda model, loss_of, batches, *rest, **named: kept.update(loss=loss_of, batches=batches, **named))
        start()
    return kept


@pytest.mark.parametrize("name", ["local", "finetune"])
def test_every_step_sees_its_slices_in_views_of_its_own(name, cohort, shares, monkeypatch):
    row = labelled_indices(cohort, shares)[5]
    one = replace(shares, outlined=(int(row),))

    def shown(views, step):
        monkeypatch.setitem(SETTINGS, name, replace(SETTINGS[name], views=views))
        batch = handed_over(monkeypatch, lambda: stage(name, network(), cohort, one))["batches"](step)
        return batch[0].images[:, 0] if name == "local" else batch[0]

    usual, slice_ = SETTINGS[name].views, torch.from_numpy(cohort.images[row]).float()
    assert (shown(IDENTITY, 0) == slice_).all() and not (shown(usual, 0) == slice_).all()
    assert torch.equal(shown(usual, 0), shown(usual, 0)) and not torch.equal(shown(usual, 0), shown(usual, 1))


def test_the_global_stage_trains_the_loss_of_its_settings(cohort, shares, monkeypatch):
    model = network()
    kept = handed_over(monkeypatch, lambda: train_global(model, cohort, shares, replace(SETTINGS["global"], temperature=0.3)))
    pair = kept["batches"](0)
    first, second = (model.embed_images(pair.images[:, view]) for view in (0, 1))
    assert kept["loss"](model, pair).item() == pytest.approx(global_contrastive_loss(first, second, 0.3).item(), rel=1e-5)


@pytest.mark.parametrize("how", [{}, {"form": "printed"}, {"supervised": False}])
def test_the_local_stage_trains_the_loss_of_its_settings(how, cohort, shares, monkeypatch):
    """Temperature, strategy and form; without labels, on views that keep the pixel grid, however far the settings move it."""
    model, plan = network(), replace(SETTINGS["local"], temperature=0.3, views=GLOBAL)
    kept = handed_over(monkeypatch, lambda: train_local(model, cohort, shares, plan, RandomSampling(128), **how))
    pair, strategy = kept["batches"](1)
    assert strategy == at_step(RandomSampling(128), 0, "local", 1) != kept["batches"](2)[1]
    pixels = model.embed_pixels(pair.images.flatten(0, 1)).unflatten(0, (-1, 2))
    if "supervised" in how:
        expected = local_contrastive_loss(pixels, 0.3, strategy)
    else:
        expected = supervised_local_contrastive_loss(pixels, pair.labels, 0.3, strategy, how.get("form", "supcon"))
    assert kept["loss"](model, (pair, strategy)).item() == pytest.approx(expected.item(), rel=1e-5)
    still = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"), -1)
    seen = ~pair.where.isnan()
    assert seen.float().mean() > 0.3 and ((pair.where - still).abs()[seen] < 0.01).all() == ("supervised" in how)


def test_validation_looks_evenly_and_in_the_precision_of_the_stage(cohort, shares, monkeypatch):
    rows, seen = part_indices(cohort, shares, "val"), []
    watched = lambda model, images, how: seen.append((images, how)) or predict(model, images)  # noqa: E731
    monkeypatch.setattr(stages, "predict", watched)
    validate = stages.validator(cohort, shares, replace(SETTINGS["finetune"], precision="bf16"), limit=3)
    model = network()
    few = rows[[0, round((len(rows) - 1) / 2), -1]]
    assert validate(model) == pooled_dice(predict(model, cohort.images[few]).argmax(1), cohort.labels[few], 3)
    assert torch.equal(seen[0][0], torch.from_numpy(cohort.images[few])) and seen[0][1] == Prediction(precision="bf16")
    assert stages.validator(cohort, shares, replace(SETTINGS["finetune"], validate_every=0)) is None


def test_what_tells_a_stage_from_others_is_all_that_decides_it(cohort, shares, monkeypatch):
    """People who choose the weights, slices that are seen, the loss: each makes another stage."""
    swapped = replace(shares, val=shares.test, test=shares.val)
    starts = [
        lambda: finetune(network(), cohort, shares), lambda: finetune(network(), cohort, swapped),
        lambda: train_global(network(), cohort, shares), lambda: train_global(network(), cohort, shares, test_images=True),
        lambda: train_local(network(), cohort, shares), lambda: train_local(network(), cohort, shares, form="printed"),
        lambda: train_local(network(), cohort, shares, supervised=False), lambda: train_local(network(), cohort, shares, strategy=Downsampling(2)),
    ]  # fmt: skip
    told = [json.dumps(handed_over(monkeypatch, start)["identity"]) for start in starts]
    assert len({(k // 2 if k < 4 else 2, words) for k, words in enumerate(told)}) == len(starts)


@pytest.mark.parametrize("change", [{"batch": 1}, {"batch": 6, "alone": True}])
def test_a_slice_that_is_alone_is_not_told_apart(cohort, shares, change, monkeypatch):
    """Its loss is 0 but for rounding, which Adam would make as large as any gradient."""
    if change.pop("alone", False):
        monkeypatch.setattr(stages, "unlabelled_indices", lambda *_, **__: np.array([3]))
    with pytest.raises(ValueError, match="batch: found 1 slice of .* in the global stage, expected two or more"):
        train_global(network(), cohort, shares, replace(SETTINGS["global"], **change))


def test_only_the_packages_own_network_is_replayed(cohort, shares, monkeypatch):
    """One's own may do another thing in each step, which a recording on a GPU would not."""
    asked = []
    monkeypatch.setattr(stages, "fit", lambda *_, steady=False, **__: asked.append(steady))
    for model in (network(), type("Mine", (UNet,), {})(classes=3, width=4, depth=2)):
        finetune(model, cohort, shares, SETTINGS["finetune"])
    assert asked == [True, False]


def test_a_strategy_of_ones_own_need_not_be_a_dataclass():
    class Mine(Strategy):
        def groups(self, labels, shape):
            return FullResolution().groups(labels, shape)

    mine = Mine()
    assert at_step(mine, 0, "local", 3) is mine
