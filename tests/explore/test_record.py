"""Recordings that do not disturb what they watch, and come back from their folder as they were."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import parts, recorded, train_unwatched, watched  # noqa: F401

from semicon_nb.data import part_indices
from semicon_nb.dice import pooled_dice
from semicon_nb.embed import neighbours, pixel_embeddings, sample_pixels
from semicon_nb.explore import Recorder, example_models
from semicon_nb.explore.record import as_recording, example_recording, load_recording, read_example
from semicon_nb.loop import Step
from semicon_nb.predict import predict
from semicon_nb.stages import PRESETS
from semicon_nb.train import finetune
from semicon_nb.trust import neighbour_agreement
from semicon_nb.unet import UNet
from tools import shipped


def test_a_watched_training_ends_where_an_unwatched_one_does(train_unwatched, recorded):  # noqa: F811
    for name, value in train_unwatched().state_dict().items():
        assert torch.equal(value, recorded[1].state_dict()[name]), name


def test_moments_are_taken_every_few_steps_of_every_stage(recorded):  # noqa: F811
    moments = [(snap.stage, snap.step) for snap in recorded[0].recording.snapshots]
    assert moments == [
        ("initial", 0),
        ("local", 2),
        ("local", 4),
        ("local", 6),
        ("finetune", 8),
        ("finetune", 10),
        ("finetune", 12),
    ]
    assert [step.step for step in recorded[0].recording.history] == list(range(1, 13))
    assert all(np.allclose(np.linalg.norm(s.vectors.astype(float), axis=1), 1, atol=2e-3) for s in recorded[0].recording.snapshots)


@pytest.mark.parametrize("steps", [6, 7])
def test_the_last_moment_is_the_network_that_training_leaves(steps, small_phantom, parts, watched, tmp_path):  # noqa: F811
    settings = replace(PRESETS["demo"].stages["finetune"], steps=steps, batch=2, precision="fp32")
    assert settings.average > 0, "what is left is not what the last step made"
    torch.manual_seed(0)
    model = UNet(width=4, depth=2, pixel_dim=8)
    recorder = Recorder(model, *watched, small_phantom.classes, every=2, folder=tmp_path)
    list(recorder.watch(finetune(model, small_phantom, parts, settings)))
    left = pixel_embeddings(model, watched[0]).reshape(watched[0].size, -1)[recorder.recording.sample.index].astype(np.float16)
    for recording in (recorder.recording, load_recording(tmp_path)):
        assert [snap.step for snap in recording.snapshots] == [0, 2, 4, 6, 7][: steps - 2]
        assert np.array_equal(recording.snapshots[-1].vectors, left)


def test_a_stage_without_steps_adds_no_moment(watched):  # noqa: F811
    recorder = Recorder(UNet(width=4, depth=2), *watched)
    assert list(recorder.watch([])) == [] and len(recorder.recording.snapshots) == 1


def test_a_recording_comes_back_from_its_folder(recorded):  # noqa: F811
    kept, again = recorded[0].recording, load_recording(recorded[2])
    assert again.history == kept.history and again.names == tuple(kept.names) and again.sample.sentence == kept.sample.sentence
    for a, b in zip(kept.snapshots, again.snapshots, strict=True):
        assert (a.stage, a.step, a.dice, a.agreement) == pytest.approx((b.stage, b.step, b.dice, b.agreement), nan_ok=True)
        assert np.array_equal(a.vectors, b.vectors) and np.array_equal(a.prediction, b.prediction)


def test_a_recording_of_a_stage_with_a_hyphen_and_of_many_moments_comes_back(watched, tmp_path):  # noqa: F811
    recorder = Recorder(UNet(width=4, depth=2), *watched, every=1, folder=tmp_path, count=100)
    list(recorder.watch(Step("warm-up", step, 3, 1.0, 0.1, 0.0) for step in range(1, 4)))
    assert [(snap.stage, snap.step) for snap in load_recording(tmp_path).snapshots] == [("initial", 0), *(("warm-up", step) for step in (1, 2, 3))]
    (tmp_path / "0003-warm-up-000003.npz").rename(tmp_path / "10000-warm-up-010000.npz")
    (tmp_path / "0002-warm-up-000002.npz").rename(tmp_path / "9999-warm-up-009999.npz")
    assert [snap.step for snap in load_recording(tmp_path).snapshots] == [0, 1, 9999, 10000]


def test_a_second_recording_replaces_the_first_in_its_folder(watched, tmp_path):  # noqa: F811
    (tmp_path / "mine.npz").write_bytes(b"")
    first = Recorder(UNet(width=4, depth=2), *watched, every=1, folder=tmp_path, name="first", count=100)
    list(first.watch(Step("local", step, 4, 1.0, 0.1, 0.0) for step in range(1, 5)))
    second = Recorder(UNet(width=4, depth=2), watched[0] / 2, watched[1], every=1, folder=tmp_path, name="second", count=90)
    list(second.watch(Step("local", step, 2, 1.0, 0.1, 0.0) for step in range(1, 3)))
    again = load_recording(tmp_path)
    assert again.name == "second" and np.array_equal(again.images, watched[0] / 2) and [snap.step for snap in again.snapshots] == [0, 1, 2]
    assert all(np.array_equal(a.vectors, b.vectors) for a, b in zip(again.snapshots, second.recording.snapshots, strict=True))
    assert len(again.history) == 2 and (tmp_path / "mine.npz").is_file()


def test_the_example_shows_sixty_moments_of_the_networks_that_it_holds():
    recording, (models, images, labels, names) = example_recording(), example_models()
    assert len(recording.snapshots) == 60 and recording.names == names
    assert list(dict.fromkeys(snap.stage for snap in recording.snapshots)) == list(models) == ["initial", "global", "local", "finetune"]
    assert np.array_equal(recording.images, images) and np.array_equal(recording.labels, labels)
    with torch.no_grad():
        found = models["finetune"](torch.from_numpy(images)[:, None]).argmax(1).numpy()
    assert (found == recording.snapshots[-1].prediction).mean() > 0.99
    assert recording.snapshots[-1].dice > recording.snapshots[0].dice + 0.4


def test_the_example_is_what_its_script_says():
    """Its recipe, its first weights and its slices follow from tools/shipped.py, and it is under 1 MB."""
    about, arrays = read_example()
    assert about["recipe"] == shipped.recipe()
    assert np.array_equal(arrays["weights-initial"], shipped.vector(shipped.untrained()))
    cohort, who = shipped.data()
    shown = shipped.fullest(cohort, who)
    assert np.array_equal(arrays["images"], cohort.images[shown]) and np.array_equal(arrays["labels"], cohort.labels[shown])
    assert [step["stage"] for step in about["history"]] == [s for s, (steps, _) in shipped.STAGES.items() for _ in range(steps)]
    assert shipped.ASSET.stat().st_size < 1e6


def test_the_example_was_trained_well_enough_for_people_it_has_not_seen():
    """Pooled Dice of the test people above what tools/shipped.py promises; neighbours agree after the local stage, not before."""
    models, images, labels, names = example_models()
    cohort, who = shipped.data()
    test = part_indices(cohort, who, "test")
    assert pooled_dice(predict(models["finetune"], cohort.images[test]).argmax(1), cohort.labels[test], len(names)) > shipped.DICE
    sample = sample_pixels(labels.shape, 900, labels)
    classes = labels.reshape(-1)[sample.index]
    vectors = {stage: pixel_embeddings(model, images).reshape(labels.size, -1)[sample.index] for stage, model in models.items()}
    agreement = {stage: neighbour_agreement(neighbours(found, 10)[0], classes) for stage, found in vectors.items()}
    assert agreement["initial"] < 0.5 and agreement["local"] > 0.8 and agreement["finetune"] > 0.9


def test_the_first_steps_of_the_example_are_those_of_its_script():
    """The first steps of the first stage, trained again, have the losses that the example holds."""
    about, _ = read_example()
    (cohort, who), model = shipped.data(), shipped.untrained()
    steps = shipped.TRAINERS["global"](model, cohort, who, shipped.settings_of("global"), seed=0)
    again = [next(steps).loss for _ in range(3)]
    assert again == pytest.approx([step["loss"] for step in about["history"][:3]], abs=2e-3)


def test_slices_without_foreground_and_labels_that_are_no_classes_are_refused():
    model = UNet(width=4, depth=2, pixel_dim=8)
    with pytest.raises(ValueError, match="no foreground"):
        Recorder(model, np.zeros((1, 16, 16)), np.zeros((1, 16, 16), int))
    with pytest.raises(ValueError, match="labels: found -1 to -1, expected whole numbers from 0 to 255"):
        Recorder(model, np.zeros((1, 16, 16)), np.full((1, 16, 16), -1))
    with pytest.raises(ValueError, match="every: found 0"):
        Recorder(model, np.zeros((1, 16, 16)), np.ones((1, 16, 16), int), every=0)
    with pytest.raises(TypeError, match="expected a Recording"):
        as_recording(None)
