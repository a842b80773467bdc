"""Overlap, the loop and the three stages: values, bit-identical resumption, refusals, and leaks that cannot happen."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from semicon_nb import train as stages
from semicon_nb.data import DataError, LeakError, part_indices, phantom, split
from semicon_nb.dice import cross_entropy_dice, dice_of, overlap_counts, pooled_dice, soft_dice_loss
from semicon_nb.loop import STAGES, StageSettings, Step, draw, fit, generator_of, rate_at, read_checkpoint, run, settings_from, start
from semicon_nb.predict import Prediction, at_precision, predict
from semicon_nb.strategies import BlockDivision, Downsampling, RandomSampling
from semicon_nb.train import allowed, at_step, finetune, pair_of, train_global, train_local
from semicon_nb.unet import UNet
from semicon_nb.views import GLOBAL, LOCAL

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


def line_batch(step):
    x = torch.rand(16, 1, generator=generator_of(0, "line", step))
    return x, 3 * x + 1


def squared_error(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def line(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(1, 1)


# overlap ------------------------------------------------------------------------------------------------------------


def test_dice_of_a_hand_computed_example():
    truth, predicted = np.array([[0, 1, 1, 2], [0, 0, 1, 2]]), np.array([[0, 1, 0, 2], [1, 0, 1, 0]])
    counts = overlap_counts(predicted, truth, 4)
    assert counts.tolist() == [[2, 2, 1, 0], [4, 3, 1, 0], [3, 3, 2, 0]]
    assert dice_of(counts)[:3].tolist() == [4 / 7, 4 / 6, 2 / 3] and math.isnan(dice_of(counts)[3])
    assert pooled_dice(predicted, truth, 4) == pytest.approx((4 / 6 + 2 / 3) / 2)


def test_pooled_dice_of_nothing_is_unknown():
    assert math.isnan(pooled_dice(np.zeros((2, 3, 3), int), np.zeros((2, 3, 3), int), 3))


@pytest.mark.parametrize(("predicted", "word"), [(np.zeros(3, int), "3 pixels"), (np.full(4, 5), "5"), (np.full(4, -1), "-1")])
def test_overlap_refuses_what_does_not_fit(predicted, word):
    with pytest.raises(ValueError, match=word):
        overlap_counts(predicted, np.zeros(4, int), 3)


def test_soft_dice_equals_its_formula():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    shares, terms = logits.softmax(1), []
    for c in (1, 2):
        p, y = shares[:, c], (labels == c).double()
        terms.append((2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))
    assert soft_dice_loss(logits, labels).item() == pytest.approx(1 - (sum(terms) / 2).item(), abs=1e-12)


def test_soft_dice_agrees_with_monai_over_the_batch():
    from monai.losses import DiceLoss

    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    theirs = DiceLoss(include_background=False, softmax=True, to_onehot_y=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert soft_dice_loss(logits, labels).item() == pytest.approx(theirs(logits, labels[:, None]).item(), abs=1e-6)


@pytest.mark.parametrize("fill", [0, 1])
def test_finetuning_loss_of_a_batch_without_a_class_is_finite(fill):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    cross_entropy_dice(logits, torch.full((2, 4, 4), fill)).backward()
    assert torch.isfinite(logits.grad).all()


def test_finetuning_loss_refuses_labels_of_another_shape():
    with pytest.raises(ValueError, match="labels"):
        cross_entropy_dice(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))


def test_predict_in_batches_and_restores_the_mode(cohort):
    model = network().train()
    images = cohort.images[:7]
    whole, parts = predict(model, images), predict(model, images[:, None].astype(np.float32), Prediction(batch=3))
    assert model.training and whole.dtype == np.float32 and whole.shape == (7, 3, 16, 16)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-5)


def test_predicting_with_flips_is_symmetric(cohort):
    model, images = network(), cohort.images[:3].astype(np.float32)
    mirrored = predict(model, images[..., ::-1].copy(), Prediction(flips=True))
    np.testing.assert_allclose(predict(model, images, Prediction(flips=True)), mirrored[..., ::-1], atol=1e-6)
    assert np.abs(predict(model, images) - predict(model, images, Prediction(flips=True))).max() > 1e-4


# drawing and rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (8, 4), (5, 5), (100, 16), (3, 8)])
def test_an_epoch_shows_every_slice_and_fills_every_batch(count, batch):
    per_epoch = -(-count // batch)
    for epoch in range(3):
        rows = [draw(count, batch, epoch * per_epoch + k, 0, "x") for k in range(per_epoch)]
        assert all(len(r) == batch for r in rows)
        assert set(torch.cat(rows).tolist()) == set(range(count))
        assert batch > count or all(len(set(r.tolist())) == batch for r in rows)


def test_draws_depend_on_seed_stage_and_step_only():
    assert torch.equal(draw(50, 8, 31, 0, "a"), draw(50, 8, 31, 0, "a"))
    others = [draw(50, 8, 30, 0, "a"), draw(50, 8, 31, 1, "a"), draw(50, 8, 31, 0, "b")]
    assert all(not torch.equal(draw(50, 8, 31, 0, "a"), other) for other in others)


def test_cosine_has_the_right_period():
    plan = StageSettings(steps=100, rate=0.4, warmup=10)
    rates = [rate_at(plan, s) for s in range(101)]
    assert rates[0] == pytest.approx(0.04) and rates[9] == pytest.approx(0.4) and rates[10] == pytest.approx(0.4)
    assert rates[55] == pytest.approx(0.2) and 0 < rates[99] < 0.001 and rates[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert {rate_at(replace(plan, schedule="constant", warmup=0), s) for s in range(100)} == {0.4}


WRONG = {"rate": math.nan, "batch": 0, "schedule": "step", "precision": "fp16", "temperature": -1.0, "average": 1.0}


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, *({name: value} for name, value in WRONG.items())])
def test_a_setting_that_cannot_be_meant_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StageSettings(**wrong)


@pytest.mark.parametrize("name", ["global", "local", "finetune"])
def test_settings_survive_json(name):
    assert settings_from(json.loads(json.dumps(asdict(STAGES[name])))) == STAGES[name]


# the loop -----------------------------------------------------------------------------------------------------------


def test_the_loop_is_adamw_with_the_schedule():
    plan = StageSettings(steps=20, rate=0.1, warmup=5, weight_decay=0.01, clip=0.5, validate_every=0)
    ours, theirs = line(), line()
    done = run(fit(ours, squared_error, line_batch, plan), progress=False)
    optimiser, losses = torch.optim.AdamW(theirs.parameters(), lr=1.0, weight_decay=0.01), []
    for step in range(20):
        optimiser.param_groups[0]["lr"] = rate_at(plan, step)
        loss = squared_error(theirs, line_batch(step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimiser.step()
        losses.append(loss.item())
    assert [s.loss for s in done] == pytest.approx(losses, rel=1e-5) and [s.step for s in done] == list(range(1, 21))
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)


def test_the_averaged_weights_are_the_ones_that_stay():
    plan = StageSettings(steps=12, rate=0.1, average=0.8, schedule="constant", validate_every=0)
    model, average = line(), line()
    for step in fit(model, squared_error, line_batch, plan):
        keep = min(0.8, step.step / (step.step + 9))
        average.weight.data = keep * average.weight.data + (1 - keep) * model.weight.data
    torch.testing.assert_close(model.weight, average.weight, rtol=1e-5, atol=1e-6)


def test_the_best_validated_weights_stay_and_ties_go_to_the_earlier():
    scores = iter([0.2, 0.7, 0.7, math.nan, 0.1])
    seen = []

    def validate(model):
        seen.append(model.weight.detach().clone())
        return next(scores)

    model = line()
    done = run(fit(model, squared_error, line_batch, StageSettings(steps=5, rate=0.1, validate_every=1), validate=validate), progress=False)
    assert [s.dice for s in done] == [0.2, 0.7, 0.7, None, 0.1] and torch.equal(model.weight, seen[1])


def test_leaving_early_keeps_the_best_weights_and_a_checkpoint(tmp_path):
    model, seen = line(), []

    def validate(network):
        seen.append(network.weight.detach().clone())
        return -float(len(seen)) / 10 + 0.9

    for step in fit(model, squared_error, line_batch, StageSettings(steps=50, rate=0.1, validate_every=2), tmp_path, validate=validate):
        if step.step == 5:
            break
    del step
    assert torch.equal(model.weight, seen[0]) and read_checkpoint(tmp_path / "fit.pt")["step"] == 5


def test_a_loss_that_is_no_number_stops_the_run():
    with pytest.raises(ValueError, match="step 3.*rate"):
        run(fit(line(), squared_error, broken, StageSettings(validate_every=0)), False)


def broken(step):
    x, y = line_batch(step)
    return (x, y) if step < 2 else (x * math.nan, y)


def test_progress_shows_loss_and_time_left(capsys):
    run(fit(line(), squared_error, line_batch, StageSettings(steps=4, validate_every=0)))
    shown = capsys.readouterr().err
    assert "100%" in shown and "fit: loss" in shown and "<" in shown and "4/4" in shown


def test_stages_share_a_bar_and_move_it_by_their_share(capsys):
    from tqdm import tqdm

    with tqdm(total=10.0) as bar:
        for name, share in (("one", 2.0), ("two", 0.5)):
            run(fit(line(), squared_error, line_batch, StageSettings(steps=4, validate_every=0), stage=name), bar=bar, share=share)
    with warnings.catch_warnings(), tqdm(total=0.3) as narrow:  # ten shares of 0.1 are more than there is
        warnings.simplefilter("error")
        run(fit(line(), squared_error, line_batch, StageSettings(steps=10, validate_every=0)), bar=narrow, share=0.1)
        narrow.refresh()
    assert narrow.n == 0.3
    assert bar.n == 10.0 and capsys.readouterr().err.count("100%") >= 1 and bar.postfix.startswith("two: loss")


def test_what_trains_never_sees_auto(tmp_path, cohort, shares):
    left_open = StageSettings(steps=4, precision="auto")
    for steps in (fit(line(), squared_error, line_batch, left_open, tmp_path / "RUN"), finetune(network(), cohort, shares, left_open)):
        with pytest.raises(ValueError, match="precision: found .auto., expected .fp32. or .bf16."):
            next(steps)
    assert not (tmp_path / "RUN").exists()
    with pytest.raises(ValueError, match="precision: found .auto."):
        at_precision(network(), torch.zeros(1, 1, 32, 32), "auto")


def test_an_optimiser_is_fused_only_where_that_is_known_to_work():
    assert start(line(), StageSettings()).optimiser.defaults["fused"]
    assert not start(torch.nn.Linear(1, 1, device="meta"), StageSettings()).optimiser.defaults["fused"]


def test_history_has_one_line_a_step(tmp_path):
    done = run(fit(line(), squared_error, line_batch, StageSettings(steps=6, validate_every=0), tmp_path), False)
    assert [Step(**json.loads(text)) for text in (tmp_path / "history.jsonl").read_text().splitlines()] == done


# interruptions ------------------------------------------------------------------------------------------------------


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


# what a stage sees --------------------------------------------------------------------------------------------------


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


def test_self_supervised_views_keep_the_pixel_grid(cohort, shares):
    plan = replace(SETTINGS["local"], views=replace(GLOBAL, shared=True))
    pair = pair_of(allowed(cohort, shares, part_indices(cohort, shares, "train"), "images"), plan, 0, 0)
    still = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"), -1)
    seen = ~pair.where.isnan()
    assert seen.float().mean() > 0.5 and ((pair.where - still).abs()[seen] < 0.01).all()


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["global", "local", "finetune"])
def test_the_stages_run_on_the_networks_device(name, cohort, shares):
    slow = [s.loss for s in run(stage(name, network(), cohort, shares), False)]
    fast = [s.loss for s in run(stage(name, network().cuda(), cohort, shares), False)]
    np.testing.assert_allclose(slow[:3], fast[:3], rtol=0.02)


def test_training_learns(cohort, shares):
    model = network(8)
    plan = replace(SETTINGS["finetune"], steps=80, batch=8, rate=5e-3, validate_every=20)
    done = run(finetune(model, cohort, shares, plan), False)
    assert np.mean([s.loss for s in done[-10:]]) < 0.7 * np.mean([s.loss for s in done[:5]])
    assert max(s.dice for s in done if s.dice is not None) > 0.3


def test_local_views_move_nothing():
    assert (LOCAL.rotation, LOCAL.elastic, LOCAL.shift, LOCAL.scale) == (0.0, 0.0, 0.0, (1.0, 1.0))
