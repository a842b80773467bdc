"""The loop: values against a plain one, what stays, settings, history, progress."""

import copy
import itertools
import json
import math
import warnings
from dataclasses import fields, replace

import pytest
import torch
from small import line, line_batch, squared_error
from torch import nn

from semicon_nb.loop import StageSettings, Step, blend, draw, fit, rate_at, read_checkpoint, run, start
from semicon_nb.unet import UNet
from semicon_nb.views import GLOBAL


def network(width=4, seed=0):
    torch.manual_seed(seed)
    return UNet(classes=3, width=width, depth=2, global_dim=8, pixel_dim=8)


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
    assert rate_at(StageSettings(steps=12, rate=1.0), 11) == pytest.approx(0.017, abs=1e-4), "the last of twelve still learns"
    assert {rate_at(replace(plan, schedule="constant", warmup=0), s) for s in range(100)} == {0.4}


WORDS = {"rate": "1e-3", "temperature": None, "average": True, "clip": (1, 2)}
WRONG = {"rate": math.nan, "batch": 0, "schedule": "step", "precision": "fp16", "temperature": -1.0, "average": 1.0}


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"batch": 2.5}, {"steps": 10.0}, {"validate_every": True}, *({n: v} for of in (WRONG, WORDS) for n, v in of.items())],
)
def test_a_setting_that_cannot_be_meant_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StageSettings(**wrong)


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


def test_the_average_takes_over_what_a_network_counts():
    """BatchNorm predicts with the means it has counted; an average of weights without them would predict nonsense."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    smooth = copy.deepcopy(model)
    for _ in range(20):
        model(3 + torch.randn(4, 1, 8, 8))
        blend(smooth, model, 0.9)
    assert all(torch.equal(kept, newest) for kept, newest in zip(smooth.buffers(), model.buffers(), strict=True))
    assert smooth[1].num_batches_tracked == 20 and not torch.equal(smooth[1].running_mean, torch.zeros(2))


def test_the_best_validated_weights_stay_and_ties_go_to_the_earlier():
    scores = iter([0.2, 0.7, 0.7, math.nan, 0.1])
    seen = []

    def validate(model):
        seen.append(model.weight.detach().clone())
        return next(scores)

    model = line()
    done = run(fit(model, squared_error, line_batch, StageSettings(steps=5, rate=0.1, validate_every=1), validate=validate), progress=False)
    assert [s.dice for s in done] == [0.2, 0.7, 0.7, None, 0.1] and torch.equal(model.weight, seen[1])


def test_moments_of_another_shape_are_refused(tmp_path):
    """The fused optimiser writes as many numbers as the weights have, wherever they end."""
    settings = StageSettings(steps=4, rate=0.1, validate_every=0, save_every=2)
    for step in fit(line(), squared_error, line_batch, settings, tmp_path):
        if step.step == 2:
            break
    del step
    parts = torch.load(tmp_path / "fit.pt", weights_only=True)
    moments = next(iter(parts["optimiser"]["state"].values()))
    moments["exp_avg"] = torch.zeros(moments["exp_avg"].numel() - 1)
    torch.save(parts, tmp_path / "fit.pt")
    with pytest.raises(ValueError, match="fit.pt: checkpoint of another network: exp_avg is .* for weights of"):
        next(fit(line(), squared_error, line_batch, settings, tmp_path, resume=True))


DAMAGES = {
    "step is 10": lambda parts: parts | {"step": 10},
    "step is True": lambda parts: parts | {"step": True},
    "best_dice is nan": lambda parts: parts | {"best_dice": math.nan},
    "best has other tensors": lambda parts: parts | {"best": {"weight": torch.zeros(3)}},
    "best is 3": lambda parts: parts | {"best": 3},
    "smooth is dict": lambda parts: parts | {"smooth": {"weight": 1}},
    "identity is 3.0": lambda parts: parts | {"identity": 3.0},
    "identity: all of it is": lambda parts: parts | {"identity": "[1]"},
    "it lacks step": lambda parts: {name: part for name, part in parts.items() if name != "step"},
    "weight of model holds numbers that are not finite": lambda parts: parts | {"model": parts["model"] | {"weight": torch.full((1, 1), math.inf)}},
    "model has other tensors": lambda parts: parts | {"model": {k: v.double() for k, v in parts["model"].items()}},
    "exp_avg_sq holds numbers that are not finite": lambda parts: moments_with(parts, exp_avg_sq=torch.full((1, 1), math.nan)),
    "the moments of a weight are": lambda parts: moments_with(parts, more=torch.zeros(1)),
    "checkpoint of another network": lambda parts: parts | {"optimiser": {}},
}


def moments_with(parts, **changes):
    parts["optimiser"]["state"][0] |= changes
    return parts


@pytest.mark.parametrize("words", DAMAGES)
def test_a_checkpoint_that_is_not_of_this_training_is_refused_by_name(words, tmp_path):
    settings = StageSettings(steps=4, rate=0.1, validate_every=0, save_every=2)
    for step in fit(line(), squared_error, line_batch, settings, tmp_path):
        if step.step == 2:
            break
    del step
    torch.save(DAMAGES[words](torch.load(tmp_path / "fit.pt", weights_only=True)), tmp_path / "fit.pt")
    with pytest.raises(ValueError, match=f"fit.pt: (checkpoint of another network: |no checkpoint of this package).*{words}|fit.pt: {words}"):
        next(fit(line(), squared_error, line_batch, settings, tmp_path, resume=True))


def test_a_damaged_line_of_the_history_is_told_and_costs_no_step(tmp_path):
    settings = StageSettings(steps=4, rate=0.1, validate_every=0, save_every=2)
    for step in fit(line(), squared_error, line_batch, settings, tmp_path):
        if step.step == 2:
            break
    del step
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    (tmp_path / "history.jsonl").write_text(lines[0][:20] + "\n" + lines[1] + "\n")
    with pytest.warns(UserWarning, match="history.jsonl: 1 of 2 steps are damaged or missing"):
        done = run(fit(line(), squared_error, line_batch, settings, tmp_path, resume=True), progress=False)
    assert [step.step for step in done] == [3, 4] and len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


def test_rate_and_decay_are_those_of_the_settings_whatever_the_file_says(tmp_path):
    settings = StageSettings(steps=4, rate=0.1, validate_every=0, save_every=2)
    whole, broken_off = line(), line()
    run(fit(whole, squared_error, line_batch, settings), progress=False)
    for step in fit(line(), squared_error, line_batch, settings, tmp_path):
        if step.step == 2:
            break
    del step
    parts = torch.load(tmp_path / "fit.pt", weights_only=True)
    parts["optimiser"]["param_groups"][0] |= {"weight_decay": 100.0, "maximize": True, "betas": (0.0, 0.0)}
    torch.save(parts, tmp_path / "fit.pt")
    run(fit(broken_off, squared_error, line_batch, settings, tmp_path, resume=True), progress=False)
    assert torch.equal(whole.weight, broken_off.weight)


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


def test_an_optimiser_is_fused_only_where_that_is_known_to_work():
    assert start(line(), StageSettings()).optimiser.defaults["fused"]
    assert not start(torch.nn.Linear(1, 1, device="meta"), StageSettings()).optimiser.defaults["fused"]


def test_history_has_one_line_a_step(tmp_path):
    done = run(fit(line(), squared_error, line_batch, StageSettings(steps=6, validate_every=0), tmp_path), False)
    assert [Step(**json.loads(text)) for text in (tmp_path / "history.jsonl").read_text().splitlines()] == done


def test_the_last_step_is_measured_whenever_it_comes():
    plan = StageSettings(steps=5, rate=0.1, validate_every=2)
    done = run(fit(line(), squared_error, line_batch, plan, validate=lambda model: 0.5), progress=False)
    assert [step.dice for step in done] == [None, 0.5, None, 0.5, 0.5]


def test_weights_that_were_best_before_an_interruption_stay_the_best(tmp_path):
    seen, scores = [], iter([0.2, 0.7, 0.3, 0.6])

    def validate(model):
        seen.append(model.weight.detach().clone())
        return next(scores)

    plan = StageSettings(steps=4, rate=0.1, validate_every=1)
    steps = fit(line(), squared_error, line_batch, plan, tmp_path, validate=validate)
    assert [next(steps).dice, next(steps).dice] == [0.2, 0.7]
    steps.close()
    model = line(seed=1)
    run(fit(model, squared_error, line_batch, plan, tmp_path, resume=True, validate=validate), progress=False)
    assert len(seen) == 4 and torch.equal(model.weight, seen[1])


OTHER = {
    "steps": 5, "batch": 3, "rate": 0.2, "weight_decay": 0.0, "schedule": "constant", "warmup": 1, "clip": 1.0, "precision": "bf16",
    "temperature": 0.5, "views": GLOBAL, "validate_every": 1, "average": 0.5, "save_every": 7,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(StageSettings)])
def test_a_checkpoint_of_another_setting_is_refused_by_its_name(name, tmp_path):
    plan = StageSettings(steps=4, rate=0.1, validate_every=0)
    next(steps := fit(line(), squared_error, line_batch, plan, tmp_path))
    steps.close()
    again = fit(line(), squared_error, line_batch, replace(plan, **{name: OTHER[name]}), tmp_path, resume=True)
    if name == "save_every":  # which decides nothing about the outcome
        assert next(again).step == 2
    else:
        with pytest.raises(ValueError, match=f"checkpoint of another run: {name} is"):
            next(again)


def test_going_on_needs_a_folder():
    """Without one, training began anew, and said nothing."""
    with pytest.raises(ValueError, match="resume: found True without a folder"):
        next(fit(line(), squared_error, line_batch, StageSettings(steps=2), resume=True))


@pytest.mark.parametrize(("given", "found"), [(1.0, "float"), (None, "NoneType"), (torch.zeros(2, 3), r"shape \[2, 3\]")])
def test_a_loss_is_one_number(given, found):
    with pytest.raises(TypeError, match=f"loss_of: gave {found}, expected"):
        next(fit(line(), lambda model, batch: given, line_batch, StageSettings(steps=2)))


def test_settings_of_a_stage_hold_views():
    for wrong in (None, "local"):
        with pytest.raises(TypeError, match="views: found .*, expected ViewSettings"):
            StageSettings(views=wrong)
