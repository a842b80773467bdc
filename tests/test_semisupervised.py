"""The terms of the semi-supervised losses."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import TINY, same

from semicon_nb import semisupervised
from semicon_nb.data import unlabelled_indices
from semicon_nb.dice import cross_entropy_dice, soft_dice_loss
from semicon_nb.losses import global_contrastive_loss, supervised_local_contrastive_loss
from semicon_nb.networks import build
from semicon_nb.semisupervised import (
    OBJECTIVES,
    Batch,
    Context,
    Painter,
    Rounds,
    Student,
    Teacher,
    Twins,
    box,
    chosen_pixels,
    copy_paste,
    finetune_with,
    hidden_squares,
    mean_teacher,
    positional_loss,
    quarter_turn,
    ramp,
    self_training,
    semi_batches,
    train_masked,
    train_positional,
)
from semicon_nb.unet import UNet
from semicon_nb.views import IDENTITY

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture()
def batch(cohort, part):
    return semi_batches(cohort, part, TINY.stages["finetune"], seed=0)(3)


def network(seed=0):
    torch.manual_seed(seed)
    return UNet(classes=3, width=2, global_dim=8, pixel_dim=8)


SURE = Context(steps=10, precision="fp32", weight=1.0, threshold=0.0, temperature=0.1)


class Moody(torch.nn.Sequential):
    """A network with dropout and counted means that remembers in which mode it was asked."""

    def __init__(self):
        super().__init__(torch.nn.Conv2d(1, 3, 1), torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))
        self.asked = []

    def forward(self, images):
        self.asked.append(self.training)
        return super().forward(images)


@pytest.mark.parametrize("name", ["mean-teacher", "tcsm", "copy-paste", "fixmatch", "self-training"])
def test_who_guesses_is_in_evaluation_mode_and_who_learns_is_not(batch, name):
    own = OBJECTIVES[name]
    nets = own.nets(Moody()).train()
    teacher = {Teacher: "teacher", Rounds: "labeller"}.get(own.nets, "student")
    loss = own.loss(nets, replace(batch, step=3), SURE)
    asked = getattr(nets, teacher).asked
    assert loss.requires_grad and all(one.training for one in nets.modules())
    assert (sorted(asked) == [False, True, True]) if teacher == "student" else (asked == [False] and all(nets.student.asked))
    assert not any(buffer.isnan().any() for buffer in nets.buffers())


def test_batches_are_a_function_of_the_step(cohort, part):
    batches = semi_batches(cohort, part, TINY.stages["finetune"], seed=0)
    one, again, other = batches(3), batches(3), batches(4)
    assert all(torch.equal(getattr(one, name), getattr(again, name)) for name in ("images", "labels", "weak", "strong"))
    assert not torch.equal(one.weak, other.weak) and not torch.equal(one.weak, one.strong)


def test_strong_view_lies_on_the_weak_one(batch):
    """The edges of both are in the same places: their images correlate far better than with a shifted copy."""
    weak, strong = batch.weak[:, 0], batch.strong[:, 0]
    fits = [np.corrcoef(weak.flatten(), strong.roll(shift, 2).flatten())[0, 1] for shift in (0, 3, -3)]
    assert fits[0] > max(fits[1:])


def test_teacher_follows_the_formula():
    nets = Teacher(network(), average=0.9)
    old = {name: value.clone() for name, value in nets.teacher.named_parameters()}
    with torch.no_grad():
        for value in nets.student.parameters():
            value.add_(1.0)
    nets.follow(50)
    for name, value in nets.teacher.named_parameters():
        torch.testing.assert_close(value, 0.9 * old[name] + 0.1 * (old[name] + 1))
    nets.follow(0)
    assert same(nets.teacher.state_dict(), nets.student.state_dict())
    assert nets.chosen is nets.teacher and not any(value.requires_grad for value in nets.teacher.parameters())


def test_the_teacher_that_is_kept_lacks_the_last_step(cohort, part):
    """After one step it is the network before it; after two, in which the average is short, no longer."""
    untrained, one, two = network(), network(), network()
    for model, steps in ((one, 1), (two, 2)):
        settings = replace(TINY.stages["finetune"], steps=steps, average=0.0, validate_every=0)
        list(finetune_with(model, cohort, part, settings, objective="mean-teacher"))
    weights = [dict(model.named_parameters()) for model in (untrained, one, two)]
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2])


def test_ramp_rises_to_one():
    values = [ramp(step, 100) for step in range(101)]
    assert values == sorted(values) and values[0] < 0.01 and values[40] == values[100] == 1.0


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_turning_is_exact(quarters, mirror):
    values = torch.randn(2, 3, 8, 8)
    back = quarter_turn(values, quarters, mirror)
    back = torch.rot90(back.flip(3) if mirror else back, -quarters, (2, 3))
    assert torch.equal(back, values)


def test_pseudo_labels_below_the_threshold_have_no_weight(batch):
    never = replace(SURE, threshold=1.1)
    for name, nets in (("fixmatch", Student(network())), ("recipe", Teacher(network()))):
        supervised = OBJECTIVES["supervised"].loss(nets, batch, never)
        added = (OBJECTIVES[name].loss(nets, batch, never) - supervised).detach()
        assert (abs(float(added)) < 1e-6) == (name == "fixmatch")
    assert OBJECTIVES["fixmatch"].loss(Student(network()), replace(batch, step=9), SURE).item() > supervised.item()


def test_pseudo_labels_pass_no_gradient(batch):
    """Each twin learns from the other's classes, not through them."""
    one, two = network(0), network(1)
    alone = {}
    for frozen in (False, True):
        nets = Twins(one, seed=3)
        nets.twin = two.requires_grad_(not frozen)
        one.zero_grad()
        OBJECTIVES["cross-pseudo-supervision"].loss(nets, batch, SURE).backward()
        alone[frozen] = [value.grad.clone() for value in one.parameters() if value.grad is not None]
    for first, second in zip(*alone.values(), strict=True):
        torch.testing.assert_close(first, second)


def test_twins_differ_by_seed_and_leave_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    nets = Twins(network_without_seeding := build(TINY.network(3)), seed=0)
    assert torch.equal(torch.rand(3), expected)
    assert not same(nets.twin.state_dict(), network_without_seeding.state_dict())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_loss_is_finite_and_has_gradients(name, batch):
    own = OBJECTIVES[name]
    nets = own.nets(network())
    loss = own.loss(nets, batch, Context(10, "bf16", own.weight, own.threshold, 0.1))
    loss.backward()
    assert torch.isfinite(loss) and nets.student.class_head.weight.grad.abs().sum() > 0
    assert (nets.student.pixel_head[0].weight.grad is not None) == (name in ("joint", "recipe"))


def test_chosen_pixels_are_sure_and_balanced():
    labels, sure = torch.tensor([0] * 900 + [1] * 90 + [2] * 10), torch.ones(1000, dtype=torch.bool)
    sure[:400] = False
    picked = chosen_pixels(labels, sure, 150, torch.Generator().manual_seed(0))
    assert sure[picked].all() and len(set(picked.tolist())) == len(picked)
    assert torch.bincount(labels[picked]).tolist() == [50, 50, 10]
    assert len(chosen_pixels(labels, torch.zeros_like(sure), 150, torch.Generator())) == 0


@pytest.mark.parametrize("there, picked", [((900, 900, 900), [342, 342, 342]), ((900, 5), [512, 5]), ((900, 0, 900), [512, 0, 512])])
def test_each_class_gives_its_share_rounded_up_and_nobody_makes_up_for_a_small_one(there, picked):
    labels = torch.repeat_interleave(torch.arange(len(there)), torch.tensor(there))
    found = chosen_pixels(labels, torch.ones_like(labels, dtype=torch.bool), 1024, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[found], minlength=len(there)).tolist() == picked


def test_all_unsure_pixels_leave_the_labelled_ones(batch):
    nothing = Batch(batch.step, batch.images, torch.zeros_like(batch.labels), batch.weak, batch.strong, batch.generator)
    loss = OBJECTIVES["joint"].loss(Student(network()), nothing, replace(SURE, threshold=1.1))
    loss.backward()
    assert torch.isfinite(loss)


def test_positional_loss_is_nt_xent_where_positions_are_unknown():
    vectors = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).float()
    slices, unknown = torch.arange(5).repeat_interleave(2), torch.full((10,), torch.nan)
    expected = global_contrastive_loss(vectors[0::2], vectors[1::2], temperature=0.2)
    torch.testing.assert_close(positional_loss(vectors, unknown, slices, 0.2), expected, rtol=1e-5, atol=1e-5)


def test_positional_loss_is_its_formula():
    generator = torch.Generator().manual_seed(1)
    vectors, positions = torch.randn(6, 4, generator=generator), torch.tensor([0.1, 0.1, 0.15, 0.18, 0.5, 0.9])
    slices = torch.tensor([0, 0, 1, 2, 3, 4])
    unit = torch.nn.functional.normalize(vectors, dim=1)
    terms = []
    for i in range(6):
        others = [k for k in range(6) if k != i]
        positives = [j for j in others if abs(positions[i] - positions[j]) < 0.1 or slices[i] == slices[j]]
        total = sum(torch.exp(unit[i] @ unit[k] / 0.1) for k in others)
        if positives:
            terms.append(-sum(torch.log(torch.exp(unit[i] @ unit[j] / 0.1) / total) for j in positives) / len(positives))
    torch.testing.assert_close(positional_loss(vectors, positions, slices), sum(terms) / len(terms), rtol=1e-4, atol=1e-5)


def test_positions_temperature_and_nearness_reach_the_loss(cohort, part, monkeypatch):
    seen, settings = [], replace(TINY.stages["global"], steps=1, temperature=0.3)
    monkeypatch.setattr(semisupervised, "positional_loss", lambda vectors, *rest: seen.append(rest) or 0 * vectors.sum())
    list(train_positional(network(), cohort, part, settings, near=0.2))
    ((positions, slices, *numbers),) = seen
    rows = unlabelled_indices(cohort, part)[slices.numpy()]
    assert numbers == [0.3, 0.2] and np.array_equal(positions.numpy(), cohort.position[rows])
    assert torch.equal(slices[0::2], slices[1::2]) and len(set(slices.tolist())) == settings.batch


# ---- self-training


def parts_of(nets, batch):
    """Logits of the strong view, and the labeller's classes of the weak one, by hand."""
    with torch.no_grad():
        return nets.student(batch.strong), nets.labeller(batch.weak).argmax(1)


def test_self_training_is_supervised_during_its_warm_up(batch):
    nets = Rounds(network(), warmup=0.5)
    before, after = (replace(batch, step=step) for step in (4, 5))
    assert torch.equal(self_training(nets, before, SURE), OBJECTIVES["supervised"].loss(nets, before, SURE))
    assert self_training(nets, after, SURE) > OBJECTIVES["supervised"].loss(nets, after, SURE)


def test_self_training_is_fixmatch_without_threshold_plus_dice_where_a_round_begins(batch):
    nets, first = Rounds(network(), warmup=0.5), replace(batch, step=5)
    added = self_training(nets, first, SURE) - OBJECTIVES["supervised"].loss(nets, first, SURE)
    logits, label = parts_of(nets, first)
    alone = Student(nets.student)
    cross_entropy = OBJECTIVES["fixmatch"].loss(alone, first, SURE) - OBJECTIVES["supervised"].loss(alone, first, SURE)
    torch.testing.assert_close(added, cross_entropy + soft_dice_loss(logits, label))


def test_labels_of_a_round_are_those_of_its_beginning():
    nets = Rounds(network(0), rounds=2, warmup=0.3)
    kinds = {}
    for step in range(100):
        nets.student.load_state_dict(network(step).state_dict())
        assert nets.begin(step, 100) == (step >= 30)
        kinds[step] = nets.labeller.class_head.weight.clone()
    changes = [step for step in range(1, 100) if not torch.equal(kinds[step], kinds[step - 1])]
    assert changes == [30, 65] and torch.equal(kinds[65], network(65).class_head.weight)
    assert nets.chosen is nets.student


# ---- copy and paste


def test_a_box_is_a_rectangle_anywhere():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.stack([box((30, 12), generator) for _ in range(300)])
    assert boxes.sum((1, 2)).unique().tolist() == [20 * 8]
    assert boxes.any(2).sum(1).unique().tolist() == [20] and boxes.any(1).sum(1).unique().tolist() == [8]
    assert boxes.any(0).all()


def test_pasted_slices_are_put_together_of_both_kinds(batch):
    """Every pixel and its label come from the same slice; a box of one kind, the rest of the other."""
    shown, nets = [], Teacher(network())
    nets.student.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    count, inside = len(batch.weak), box(tuple(batch.labels.shape[1:]), batch.generator.clone_state())
    copy_paste(nets, batch, SURE)
    pasted = shown[-1][len(batch.images) :]
    assert torch.equal(pasted[:count], torch.where(inside, batch.images[:count], batch.strong))
    assert torch.equal(pasted[count:], torch.where(inside, batch.strong, batch.images[:count]))


def test_copy_paste_is_its_formula(batch):
    nets, late = Teacher(network()), replace(batch, step=9)
    inside = box(tuple(batch.labels.shape[1:]), late.generator.clone_state())
    found = copy_paste(nets, late, SURE)
    count, label = len(batch.weak), nets.teacher(batch.weak).argmax(1)
    mixed = torch.cat([torch.where(inside, batch.images[:count], batch.strong), torch.where(inside, batch.strong, batch.images[:count])])
    named = torch.cat([torch.where(inside, batch.labels[:count], label), torch.where(inside, label, batch.labels[:count])])
    expected = cross_entropy_dice(nets.student(batch.images), batch.labels) + cross_entropy_dice(nets.student(mixed), named)
    torch.testing.assert_close(found, expected)


# ---- paint what is hidden


def test_hidden_squares_are_squares_and_as_many_as_said():
    hidden = hidden_squares((200, 20, 27), 0.6, 8, torch.Generator().manual_seed(0))
    assert hidden.shape == (200, 1, 20, 27) and abs(hidden.float().mean() - 0.6) < 0.03
    assert torch.equal(hidden[:, :, :8, 8:16].all(-1).all(-1), hidden[:, :, :8, 8:16].any(-1).any(-1))
    assert hidden_squares((2, 9, 9), 0.0, 4, torch.Generator()).sum() == 0


def test_masked_pretraining_paints_better_than_the_mean_and_never_sees_what_is_hidden(cohort, part):
    shown, model = [], network()
    model.register_forward_hook(lambda *_: pytest.fail("the class head has no part in it"))
    model.encoder.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    first = {name: value.clone() for name, value in model.state_dict().items()}
    settings = replace(TINY.stages["global"], steps=60, batch=8, rate=1e-2, precision="fp32")
    losses = [step.loss for step in train_masked(model, cohort, part, settings)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    assert all(0.4 < (images == 0).float().mean() for images in shown[1:])
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, first[name])}
    assert moved == {"encoder", "decoder"}


def test_only_what_is_hidden_counts(cohort, part, monkeypatch):
    """White slices, and a painter that paints what it sees: wrong by one wherever a square is hidden, right everywhere else."""
    monkeypatch.setattr(Painter, "forward", lambda self, images: images + 0 * self.head(self.model.features(images)))
    white = replace(cohort, images=np.ones_like(cohort.images))
    steps = list(train_masked(network(), white, part, replace(TINY.stages["global"], views=IDENTITY)))
    assert len(steps) == 3 and [step.loss for step in steps] == pytest.approx([1.0] * 3)


# ---- every objective is its formula, written once more


HALF = Context(steps=10, precision="fp32", weight=0.7, threshold=0.37, temperature=0.3)
"""Some pixels of these small networks are as sure as that, and some are not."""
RISEN = 0.7 * math.exp(-5 * (1 - 3 / 4) ** 2)
"""Weight of the added term after three of ten steps, over four of which it rises."""


def apart(kind):
    """The networks of an objective, none of which says what the student says."""
    nets = kind(network(0))
    for name, other in nets.named_children():
        if name != "student":
            other.load_state_dict(network(1).state_dict())
    return nets


def outlined(net, batch):
    return cross_entropy_dice(net(batch.images), batch.labels)


def guessed_by(net, batch):
    """Classes of the weak views, and which of them are sure."""
    chance, label = net(batch.weak).softmax(1).max(1)
    sure = chance >= HALF.threshold
    assert 0.02 < sure.float().mean() < 0.98
    return label, sure


def agreed(nets, net, batch):
    label, sure = guessed_by(net, batch)
    return (F.cross_entropy(nets.student(batch.strong), label, reduction="none") * sure).mean()


def contrasted(nets, batch, generator):
    """Of a sample of the labelled pixels and of those of which the student is sure."""
    label, sure = guessed_by(nets.student, batch)
    labels, kept = torch.cat([batch.labels, label]).flatten(), torch.cat([torch.ones_like(batch.labels) > 0, sure]).flatten()
    picked = chosen_pixels(labels, kept, 1024, generator)
    rows = nets.student.embed_pixels(torch.cat([batch.images, batch.weak])).movedim(1, 3).flatten(0, 2)[picked]
    return supervised_local_contrastive_loss(rows.T[None, None, :, None], labels[picked][None, None, None], 0.3)


def crossed(nets, batch):
    pairs = permutations([nets.student, nets.twin])
    return sum(F.cross_entropy(one(batch.weak), other(batch.weak).argmax(1)) for one, other in pairs)


def pasted(nets, batch, generator):
    inside, label, count = box(tuple(batch.labels.shape[1:]), generator), nets.teacher(batch.weak).argmax(1), len(batch.weak)
    both = ((batch.images[:count], batch.strong), (batch.labels[:count], label))
    images, labels = (torch.cat([torch.where(inside, a, b), torch.where(inside, b, a)]) for a, b in both)
    return cross_entropy_dice(nets.student(images), labels)


ADDED = {
    "supervised": lambda nets, batch, _: 0,
    "mean-teacher": lambda nets, batch, _: RISEN * (nets.student(batch.strong).softmax(1) - nets.teacher(batch.weak).softmax(1)).square().mean(),
    "cross-pseudo-supervision": lambda nets, batch, _: outlined(nets.twin, batch) + RISEN * crossed(nets, batch),
    "fixmatch": lambda nets, batch, _: RISEN * agreed(nets, nets.student, batch),
    "self-training": lambda nets, batch, _: 0.7 * cross_entropy_dice(nets.student(batch.strong), nets.labeller(batch.weak).argmax(1)),
    "copy-paste": lambda nets, batch, generator: RISEN * pasted(nets, batch, generator),
    "joint": lambda nets, batch, generator: RISEN * contrasted(nets, batch, generator),
    "recipe": lambda nets, batch, generator: RISEN * (agreed(nets, nets.teacher, batch) + 0.1 * contrasted(nets, batch, generator)),
}
"""What is added to the loss on the outlined slices; where there is a teacher, after it has followed the student."""


@pytest.mark.parametrize("name", ADDED)
def test_an_objective_is_its_formula(name, batch):
    batch = replace(batch, step=4) if name == "self-training" else batch  # a step at which no round begins
    nets, generator = apart(OBJECTIVES[name].nets), batch.generator.clone_state()
    found = OBJECTIVES[name].loss(nets, batch, HALF)
    torch.testing.assert_close(found, outlined(nets.student, batch) + ADDED[name](nets, batch, generator))


def test_mixup_blends_slices_and_what_they_are_called(batch):
    net, told_apart = network(), False
    for seed in range(4):
        drawn = torch.Generator().manual_seed(seed)
        found = OBJECTIVES["mixup"].loss(Student(net), replace(batch, generator=drawn.clone_state()), SURE)
        share = np.random.default_rng(int(torch.randint(2**31, (1,), generator=drawn))).beta(0.4, 0.4)
        other = torch.randperm(len(batch.images), generator=drawn)
        logits = net(share * batch.images + (1 - share) * batch.images[other])
        losses = [cross_entropy_dice(logits, labels) for labels in (batch.labels, batch.labels[other])]
        torch.testing.assert_close(found, share * losses[0] + (1 - share) * losses[1])
        told_apart |= min(share, 1 - share) > 0.1 and not torch.equal(*losses)
    assert told_apart


def test_tcsm_turns_what_the_student_sees_and_what_the_teacher_said(batch):
    turns = set()
    for seed in range(6):
        drawn = torch.Generator().manual_seed(seed)
        nets = apart(Teacher)
        found = OBJECTIVES["tcsm"].loss(nets, replace(batch, generator=drawn.clone_state()), HALF)
        turn = int(torch.randint(4, (1,), generator=drawn)), bool(torch.randint(2, (1,), generator=drawn))
        guess, target = nets.student(quarter_turn(batch.strong, *turn)).softmax(1), quarter_turn(nets.teacher(batch.weak).softmax(1), *turn)
        torch.testing.assert_close(found, outlined(nets.student, batch) + RISEN * (guess - target).square().mean())
        turns.add(turn)
    assert len(turns) > 2 and mean_teacher(apart(Teacher), batch, HALF) != found


def test_the_unlabelled_slices_are_all_that_train_and_nobody_elses(cohort, part):
    """Whole in the weak view, where nothing is changed."""
    batches = semi_batches(cohort, part, replace(TINY.stages["finetune"], views=IDENTITY), seed=0)
    weak = {image.numpy().tobytes() for step in range(40) for image in batches(step).weak[:, 0]}
    assert weak == {cohort.images[i].astype(np.float32).tobytes() for i in unlabelled_indices(cohort, part)}


def test_the_network_that_is_validated_and_kept_is_the_teacher(cohort, part, monkeypatch):
    kept, settings = [], replace(TINY.stages["finetune"], validate_every=0)

    class Watched(Teacher):
        def __init__(self, student):
            super().__init__(student)
            kept.append(self)

    monkeypatch.setitem(OBJECTIVES, "mean-teacher", replace(OBJECTIVES["mean-teacher"], nets=Watched))
    model, images = network(), torch.rand(2, 1, 16, 16)
    steps = list(finetune_with(model, cohort, part, settings, objective="mean-teacher"))
    assert len(steps) == settings.steps and same(model.state_dict(), kept[0].teacher.state_dict())
    early = finetune_with(model := network(), cohort, part, settings, objective="mean-teacher")
    next(early), next(early), early.close()
    assert same(model.state_dict(), kept[1].teacher.state_dict()) and not same(kept[1].teacher.state_dict(), kept[0].teacher.state_dict())
    nets = apart(Teacher)
    assert torch.equal(nets(images), nets.teacher(images)) and not torch.equal(nets(images), nets.student(images))


# ---- resume


@pytest.mark.parametrize("name", ["self-training", "copy-paste", "masked"])
def test_an_interrupted_stage_ends_with_the_same_weights(name, cohort, part, tmp_path):
    """Interrupted within a round, where the labeller is neither the student nor what it was at first."""
    settings = replace(TINY.stages["global" if name == "masked" else "finetune"], steps=10, batch=4, precision="fp32", validate_every=0)
    how = {} if name == "masked" else {"objective": name}

    def train(folder, model, steps=None):
        own = (train_masked if name == "masked" else finetune_with)(model, cohort, part, settings, folder=folder, resume=True, **how)
        for count, _ in enumerate(own, 1):
            if count == steps:
                own.close()
        return model.state_dict()

    whole = train(tmp_path / "whole", network())
    train(tmp_path / "cut", network(), steps=5)
    assert same(whole, train(tmp_path / "cut", network()))


@pytest.mark.parametrize(
    ("train", "wrong"),
    [(finetune_with, {"threshold": 95}), (finetune_with, {"threshold": -1}), (finetune_with, {"weight": -1}), (finetune_with, {"weight": math.nan}),
     (train_positional, {"near": 0}), (train_positional, {"near": 10}), (train_positional, {"near": math.nan}),
     (train_masked, {"share": 0}), (train_masked, {"share": 60}), (train_masked, {"side": 0}), (train_masked, {"side": 2.5})],
)  # fmt: skip
def test_settings_under_which_nothing_is_learned_are_refused(train, wrong, cohort, part):
    """A threshold of 95 made fixmatch plain fine-tuning; a share of 60, or 0, hid all of a slice, or nothing."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: found"):
        next(iter(train(None, cohort, part, TINY.stages["global"], **wrong)))


def test_changes_of_a_loss_are_known_by_name(cohort, part):
    with pytest.raises(ValueError, match="changes: found wieght, expected weight or threshold"):
        next(finetune_with(None, cohort, part, TINY.stages["finetune"], wieght=2))


def test_positions_too_need_a_slice_to_be_told_from(cohort, part):
    """In a batch of one both views are positives and nothing is a negative: the loss was 0, and the weights stayed."""
    with pytest.raises(ValueError, match="batch: found 1 slice"):
        train_positional(None, cohort, part, replace(TINY.stages["global"], batch=1))
