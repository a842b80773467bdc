"""TrainingReplay: recordings that do not disturb what they watch, one layout for all moments, and one slider for everything."""

import numpy as np
import pytest
import torch
from browser_tools import lab, static_page  # noqa: F401

from semicon_nb.data import part_indices, split
from semicon_nb.explore.record import Recorder, as_recording, load_recording
from semicon_nb.explore.replay import Film, TrainingReplay, curve_data, segmentation, write_replay
from semicon_nb.train import StageSettings, finetune, train_local
from semicon_nb.unet import UNet

SETTINGS = StageSettings(steps=6, batch=2, rate=1e-3, validate_every=3)


def fresh() -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(width=4, depth=2, pixel_dim=8)


@pytest.fixture(scope="module")
def parts(small_phantom):
    return split(small_phantom, labelled=1.0, seed=0)


@pytest.fixture(scope="module")
def watched(small_phantom, parts):
    chosen = part_indices(small_phantom, parts, "test")[6:7]
    return small_phantom.images[chosen], np.maximum(small_phantom.labels[chosen], np.eye(32, dtype=int)[None])


@pytest.fixture(scope="module")
def recorded(small_phantom, parts, watched, tmp_path_factory):
    """A recording of a local stage and a fine-tuning, its network, and its folder."""
    folder, model = tmp_path_factory.mktemp("recording"), fresh()
    recorder = Recorder(model, *watched, small_phantom.classes, every=2, folder=folder, name="both stages", count=120)
    list(recorder.watch(train_local(model, small_phantom, parts, SETTINGS, seed=0)))
    list(recorder.watch(finetune(model, small_phantom, parts, SETTINGS, seed=0)))
    return recorder, model, folder


def test_a_watched_training_ends_where_an_unwatched_one_does(small_phantom, parts, recorded):
    model = fresh()
    list(train_local(model, small_phantom, parts, SETTINGS, seed=0))
    list(finetune(model, small_phantom, parts, SETTINGS, seed=0))
    for name, value in model.state_dict().items():
        assert torch.equal(value, recorded[1].state_dict()[name]), name


def test_moments_are_taken_every_few_steps_of_every_stage(recorded):
    moments = [(snap.stage, snap.step) for snap in recorded[0].recording.snapshots]
    assert moments == [("initial", 0), ("local", 2), ("local", 4), ("local", 6), ("finetune", 8), ("finetune", 10), ("finetune", 12)]
    assert [step.step for step in recorded[0].recording.history] == list(range(1, 13))
    assert all(np.allclose(np.linalg.norm(s.vectors.astype(float), axis=1), 1, atol=2e-3) for s in recorded[0].recording.snapshots)


def test_a_recording_comes_back_from_its_folder(recorded):
    kept, again = recorded[0].recording, load_recording(recorded[2])
    assert again.history == kept.history and again.names == tuple(kept.names) and again.sample.sentence == kept.sample.sentence
    for a, b in zip(kept.snapshots, again.snapshots, strict=True):
        assert (a.stage, a.step, a.dice, a.agreement) == pytest.approx((b.stage, b.step, b.dice, b.agreement), nan_ok=True)
        assert np.array_equal(a.vectors, b.vectors) and np.array_equal(a.prediction, b.prediction)


def test_all_moments_share_one_layout(recorded):
    film = Film(recorded[0].recording)
    vectors = np.concatenate([s.vectors.astype(float) for s in film.recording.snapshots])
    _, _, axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    flat = film.places["PCA"].reshape(-1, 2).astype(float)
    expected = (vectors - vectors.mean(0)) @ axes[:2].T
    for axis in range(2):
        assert abs(np.corrcoef(flat[:, axis], expected[:, axis])[0, 1]) > 0.999
    assert flat.min() >= -1e-5 and flat.max() <= 1 + 1e-5


def test_the_segmentation_tints_what_is_predicted_and_keeps_the_rest_grey(recorded):
    film = Film(recorded[0].recording)
    colours, marks, true = segmentation(film, -1)
    place, predicted = film.mosaic.picture, film.recording.snapshots[-1].prediction
    assert np.array_equal(true, place(film.recording.labels)) and np.array_equal(marks > 0, place(predicted) > 0)
    grey = place(film.grey)[..., None]
    clear = np.broadcast_to(marks[..., None] == 0, colours.shape)
    assert np.abs(colours - grey)[clear].max() <= 1 and not clear.all()
    tinted = 0.45 * grey + 0.55 * np.array([0xE6, 0x9F, 0x00])
    assert np.abs(colours - tinted)[marks == 1].max() <= 1


def test_a_move_sends_which_moment_and_not_all_places_again(recorded):
    replay = TrainingReplay(recorded[0])
    sent = []
    replay.screens[0].map.observe(lambda change: sent.append(change["name"]), names=["places", "moment"])
    for moment in (1, 2, 3):
        replay.slider.value = moment
    assert sent == ["moment"] * 3


def test_the_slider_moves_map_segmentation_curves_and_words(recorded):
    replay = TrainingReplay(recorded[0], recorded[2])
    assert not replay.problem, replay.trace
    replay.slider.value = 3
    for screen in replay.screens:
        snap = screen.film.recording.snapshots[3]
        sent = np.frombuffer(screen.map.places, "<u2").reshape(screen.film.places["PCA"].shape)[screen.map.moment] / 65535
        np.testing.assert_allclose(sent, screen.film.places["PCA"][3], atol=1e-5)
        marks = np.frombuffer(screen.slices.marks, np.uint8).reshape(screen.slices.shape)
        assert np.array_equal(marks, screen.film.mosaic.picture(snap.prediction)), "one foreground label: marks are labels"
        assert tuple(screen.curves.data[-1].x) == (6, 6) and "local, step 6 of 12" in screen.words.value
    replay.play.value = 5
    assert replay.slider.value == 5 and not replay.problem


def test_a_run_is_a_recording_of_its_stages(small_run):
    replay = TrainingReplay(small_run.folder)
    assert not replay.problem, replay.trace
    film = replay.screens[0].film
    assert [snap.stage for snap in film.recording.snapshots] == ["initial", "global", "local", "finetune"]
    assert len(film.recording.history) == len(small_run.history) and film.places["PCA"].shape[0] == 4
    replay.slider.value = 3
    assert small_run.method.name in replay.screens[0].words.value and "finetune" in replay.screens[0].words.value and not replay.problem


def test_curves_hold_what_was_measured(recorded):
    found = curve_data(Film(recorded[0].recording))
    assert {"loss, local", "loss, finetune", "validation Dice", "Dice of the slices", "neighbour agreement"} == set(found)
    assert found["neighbour agreement"][1] == [round(s.agreement, 4) for s in recorded[0].recording.snapshots]


@pytest.mark.parametrize("given, says", [(("nowhere",), "slices.npz"), ((), "one or two"), ((3,), "found int")])
def test_bad_recordings_are_sentences(given, says):
    assert says in TrainingReplay(*given).problem


def test_slices_without_foreground_are_refused():
    with pytest.raises(ValueError, match="no foreground"):
        Recorder(fresh(), np.zeros((1, 16, 16)), np.zeros((1, 16, 16), int))
    with pytest.raises(TypeError, match="expected a Recording"):
        as_recording(None)


LIVE = "Array.from(document.querySelectorAll('.semicon-explorer canvas.dots, .semicon-explorer canvas.pixels'), c => c.toDataURL())"
DRAWN = "Array.from(document.querySelectorAll('.panel canvas'), c => c.toDataURL())"


@pytest.mark.browser
@pytest.mark.parametrize("width, dark", [(1440, False), (390, True)])
def test_a_page_from_disk_replays(static_page, recorded, tmp_path, width, dark):  # noqa: F811
    films = [Film(recorded[0].recording), Film(load_recording(recorded[2]))]
    path = write_replay(tmp_path / "replay.html", films, "Replay", methods=("PCA",))
    assert path.stat().st_size < 6e6
    assert write_replay(tmp_path / "shared.html", films, "Replay", "shared", methods=("PCA",)).stat().st_size < 1.5e6
    tab = static_page(path, size=(width, 1000), dark=dark)
    tab.wait(lambda: tab.page.evaluate("document.body.dataset.ready === 'true'"), "the page to be ready")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.shot(f"replay-page-{width}-before")
    first = tab.page.evaluate(DRAWN)
    assert len(first) == 4
    tab.press("#moment", "ArrowRight", 3, pause=200)
    tab.wait(lambda: "local, step 6 of 12" in tab.page.inner_text("#words-1"), "the words of the moment")
    tab.near("semicon.state().films[1].x", films[1].places["PCA"][3][:, 0], "the points of the moment", 1e-4)
    tab.near("semicon.state().films[0].predicted", films[0].recording.snapshots[3].prediction.reshape(-1), "the prediction of the moment")
    tab.near("semicon.state().films.map(f => f.step)", [6, 6], "the lines at the moment")
    assert all(before != after for before, after in zip(first, tab.page.evaluate(DRAWN), strict=True)), "every picture has changed"
    tab.shot(f"replay-page-{width}-after")
    dots, seen = "canvas.dots >> nth=0", "document.querySelector('canvas.dots').semicon.seen"
    tab.press(dots, "+", 2)
    tab.near(f"{seen}.zoom", 2.25, "the map come closer")
    tab.press(dots, "ArrowRight")
    tab.near(f"{seen}.x", 0.5 + 0.1 / 2.25, "the map moved to the right")
    box = tab.steady(dots)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    side = min(box["width"], box["height"]) / 1.08 * 2.25
    tab.drag([middle, (middle[0] + 40, middle[1])])
    tab.near(f"{seen}.x", 0.5 + 0.1 / 2.25 - 40 / side, "the map dragged back", 2e-3)
    tab.press(dots, "0")
    tab.near(f"[{seen}.zoom, {seen}.x, {seen}.y]", [1, 0.5, 0.5], "the whole map")
    tab.page.click("#play")
    tab.wait(lambda: tab.page.evaluate("semicon.state().moment") == 6, "the end of the film")


@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_live_the_slider_replays(lab, recorded):  # noqa: F811
    tab = lab.open(
        lab.notebook(
            "replay.ipynb", f"from semicon_nb.explore import TrainingReplay\nreplay = TrainingReplay({str(recorded[2])!r})\nreplay"
        )
    )
    tab.figures(1)
    first = tab.page.evaluate(LIVE)
    assert len(first) == 2
    tab.shot("replay-live-before")
    tab.press(".semicon-explorer .noUi-handle", "ArrowRight", 3, pause=300)
    tab.kernel_until("replay.slider.value", 3)
    x = tab.value("[float(v) for v in replay.screens[0].film.places['PCA'][3][:, 0]]")
    tab.near("Array.from(document.querySelector('canvas.dots').semicon.points().x)", x, "the moved points", 1e-4)
    tab.near("Array.from(document.querySelector('.semicon-explorer .js-plotly-plot').data.at(-1).x)", [6, 6], "the line at the moment")
    tab.wait(lambda: all(a != b for a, b in zip(first, tab.page.evaluate(LIVE), strict=True)), "map and slices to be drawn again")
    tab.shot("replay-live-after")
    assert tab.value("replay.problem") == "" and not tab.errors and not tab.outside
    tab.close()


class Dead(torch.nn.Module):
    """Gives every pixel the same vector."""

    def forward(self, x):
        return x.repeat(1, 8, 1, 1) * 0


@pytest.mark.browser
def test_a_collapsed_training_is_replayed_with_a_sentence_and_names_as_text(watched, static_page, tmp_path):  # noqa: F811
    hostile = '<img src=x onerror="window.ran=1">'
    recorder = Recorder(Dead(), *watched, ("background", hostile, "posterior"), count=100, name=f"run {hostile}", folder=tmp_path / "r")
    recorder.snap("local")
    replay = TrainingReplay(tmp_path / "r", method="UMAP")
    if replay.making:
        replay.making.join()
    assert not replay.problem, replay.trace
    assert "have collapsed" in replay.note.value and "have collapsed" in replay.screens[0].words.value
    assert all(np.isfinite(places).all() for places in replay.screens[0].film.places.values())
    assert "<img" not in replay.note.value + replay.screens[0].words.value
    tab = static_page(replay.to_html(tmp_path / "replay.html", "shared"))
    tab.wait(lambda: tab.page.evaluate("document.body.dataset.ready") == "true", "the page")
    assert hostile in tab.page.inner_text("#legend") and "have collapsed" in tab.page.inner_text("main")
    assert tab.page.locator("img").count() == 0 and not tab.page.evaluate("window.ran") and not tab.errors
