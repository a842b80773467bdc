"""TrainingReplay: one layout for all moments, and one ribbon for everything."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from browser_tools import lab, pca_page, static_page, swift  # noqa: F401
from recordings import parts, recorded, watched  # noqa: F401

from semicon_nb.data import phantom, split
from semicon_nb.explore import Recorder, TrainingReplay
from semicon_nb.explore.record import example_recording, save_recording
from semicon_nb.explore.replay import Film, curve_data, curve_words, film_data, vote_words
from semicon_nb.train import StageSettings, train_local
from semicon_nb.unet import UNet


def test_all_moments_share_one_layout(recorded):  # noqa: F811
    film = Film(recorded[0].recording)
    vectors = np.concatenate([s.vectors.astype(float) for s in film.recording.snapshots])
    _, _, axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    flat = film.places["PCA"].reshape(-1, 2).astype(float)
    expected = (vectors - vectors.mean(0)) @ axes[:2].T
    for axis in range(2):
        assert abs(np.corrcoef(flat[:, axis], expected[:, axis])[0, 1]) > 0.999
    assert flat.min() >= -1e-5 and flat.max() <= 1 + 1e-5


def test_predictions_are_sent_as_runs_that_lose_nothing(recorded):  # noqa: F811
    film = Film(recorded[0].recording)
    runs = film_data(film)["predicted"]
    again = np.repeat(runs["values"], runs["lengths"])
    assert np.array_equal(again, np.concatenate([s.prediction.reshape(-1) for s in film.recording.snapshots]))
    assert len(runs["values"]) < len(again) / 2


def test_a_run_is_a_recording_of_its_stages(small_run):
    replay = TrainingReplay(small_run.folder)
    assert not replay.problem, replay.trace
    film = replay.films[0]
    assert [snap.stage for snap in film.recording.snapshots] == ["initial", "global", "local", "finetune"]
    assert len(film.recording.history) == len(small_run.history) and film.places["PCA"].shape[0] == 4
    last = film_data(film)["words"][3]
    assert small_run.method.name in last and "Fine-tuned" in last


def test_curves_hold_what_was_measured(recorded):  # noqa: F811
    found = curve_data(Film(recorded[0].recording))
    assert {"loss, local", "loss, finetune", "validation Dice", "Dice of the slices", "neighbour agreement"} == set(found)
    assert found["neighbour agreement"][1] == [round(s.agreement, 4) for s in recorded[0].recording.snapshots]


def test_a_umap_is_made_once_and_when_it_is_asked_for(recorded, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path))
    replay, told = TrainingReplay(recorded[0]), []
    assert replay.making is None and list(replay.films[0].places) == ["PCA"]
    monkeypatch.setattr(replay.live, "send", told.append)
    replay.live.asked = {"method": "UMAP", "serial": 1}
    replay.making.join(120)
    replay.live.asked = {"method": "UMAP", "serial": 2}  # by a view that was opened later
    assert (
        not replay.problem
        and len(told) == 2
        and told[0] == told[1]
        and replay.films[0].places["UMAP"].shape == replay.films[0].places["PCA"].shape
    )


VIEW = """async ([script, data, state]) => {
  const { default: { render } } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" }))), heard = {};
  window.shared = { data, state, asked: {} };
  render({ el: document.body.appendChild(document.createElement("div")), model: {
    get: (k) => window.shared[k], set: (k, v) => { window.shared[k] = v; }, save_changes() {}, on: (k, f) => { heard[k] = f; }, off() {},
  } });
  window.tell = (news) => heard["msg:custom"]({ news });
}"""
"""A view of a widget without a kernel: what it asks for is in `shared`, and `tell` is what the kernel says."""
WAITING = "The UMAP of all moments is being made; until then the PCA is shown."


@pytest.mark.browser
def test_a_umap_that_is_not_there_yet_is_said_to_be_made(browser, monkeypatch):
    layout = Film.layout
    monkeypatch.setattr(Film, "layout", lambda film, method, settings=None: layout(film, "PCA"))  # a UMAP takes a minute
    replay, told, page = TrainingReplay(method="UMAP"), [], browser.new_page()
    replay.making.join(60)
    monkeypatch.setattr(replay.live, "send", told.append)
    page.evaluate(VIEW, [replay.live._esm, replay.live.data, replay.state])
    assert page.inner_text("button[aria-pressed=true] >> text=UMAP") and page.locator("p.note").last.inner_text() == WAITING
    replay.live.asked = page.evaluate("shared.asked")
    page.evaluate("news => tell(news)", told[0]["news"])
    assert WAITING not in page.inner_text("body") and "shown pixels" in page.locator("p.note").last.inner_text()
    page.close()


@pytest.mark.browser
def test_two_trainings_have_the_words_of_both(recorded, static_page, tmp_path):  # noqa: F811
    first, other = example_recording(), recorded[0].recording
    tab = opened(static_page, pca_page(TrainingReplay(first, other), tmp_path / "two.html"))
    notes = tab.page.locator("p.note").all_inner_texts()[-2:]
    assert notes == [f"{film.name}: {vote_words(Film(film))}" for film in (first, other)] and notes[0] != notes[1]
    assert (tab.page.locator("#legend-1").count() == 1) == (first.names != other.names)
    alike = opened(static_page, pca_page(TrainingReplay(other, other), tmp_path / "alike.html"))
    assert alike.page.locator("p.note").last.inner_text() == vote_words(Film(other)) and alike.page.locator(".legend").count() == 2


BAD = {
    "no folder": (("nowhere",), "slices.npz"),
    "three": (("a", "b", "c"), "found 3"),
    "a number": ((3,), "found int"),
}


@pytest.mark.parametrize("given, says", BAD.values(), ids=BAD)
def test_bad_recordings_are_sentences(given, says):
    assert says in TrainingReplay(*given).problem


def test_another_map_than_there_is_is_a_sentence(recorded):  # noqa: F811
    assert "method: found 't-SNE'" in TrainingReplay(recorded[0], method="t-SNE").problem


STATE = "document.querySelector('.semicon-dots').semicon.state()"
DRAWN = "Array.from(document.querySelectorAll('.semicon-dots canvas[role]'), c => c.toDataURL())"


def opened(static_page, path, **options):  # noqa: F811
    tab = static_page(path, **options)
    tab.wait(lambda: tab.page.evaluate("document.body.dataset.ready === 'true'"), "the page to be ready")
    return tab


@pytest.mark.browser
@pytest.mark.parametrize("width, dark", [(1440, False), (390, True)])
def test_a_page_from_disk_replays(static_page, recorded, tmp_path, width, dark):  # noqa: F811
    replay = TrainingReplay(recorded[0], recorded[2])
    path = pca_page(replay, tmp_path / "replay.html")
    assert path.stat().st_size < 1.5e6
    tab = opened(static_page, path, size=(width, 1000), dark=dark)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.press("#moment", "Home")
    first = tab.page.evaluate(DRAWN)
    assert len(first) == 6 and tab.page.inner_text("#play") == "Play", "a reader who takes the ribbon stops the film"
    tab.shot(f"replay-page-{width}-before")
    tab.press("#moment", "ArrowRight", 3, pause=50)
    for number, film in enumerate(replay.films):
        snap = film.recording.snapshots[3]
        tab.near(f"{STATE}.films[{number}].x", film.places["PCA"][3][:, 0], "the points of the moment", 1e-4)
        tab.near(f"{STATE}.films[{number}].predicted", snap.prediction.reshape(-1), "the prediction of the moment")
        assert "Local, step 6 of 12" in tab.page.inner_text(f"#words-{number}")
    assert tab.page.get_attribute("#moment", "aria-valuetext") == "Local, step 6"
    assert all(before != after for before, after in zip(first, tab.page.evaluate(DRAWN), strict=True)), "every picture has changed"
    tab.shot(f"replay-page-{width}-after")
    box = tab.steady(".ribbon")
    tab.page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    tab.wait(lambda: tab.page.evaluate(f"{STATE}.moment") == 6, "the last moment, by a click on the ribbon")


def test_the_fall_of_dice_is_explained_where_there_is_one():
    film = TrainingReplay().films[0]
    assert "a new class head, which starts from chance" in curve_words(film) and "pull the embedding about" in curve_words(film)
    snaps = [replace(snap, dice=0.5, agreement=0.5) for snap in film.recording.snapshots]
    film.recording = replace(film.recording, snapshots=tuple(snaps))
    assert curve_words(film).endswith("as a share of its largest.")


@pytest.mark.browser
def test_the_words_of_the_ribbon_fit_on_a_telephone(static_page, tmp_path):  # noqa: F811
    tab = opened(static_page, pca_page(TrainingReplay(), tmp_path / "replay.html"), size=(390, 844))
    fits = "bands => bands.filter((b) => b.textContent && b.scrollWidth <= b.clientWidth).map((b) => b.textContent)"
    assert tab.page.locator(".ribbon .band").evaluate_all(fits) == ["Global", "Local", "Fine-tuned"]
    assert "drawn anew" in tab.page.inner_text("#why")


@pytest.mark.browser
def test_sixty_moments_play_by_themselves_smoothly_and_loop(static_page, tmp_path):  # noqa: F811
    replay = TrainingReplay()
    assert not replay.problem and len(replay.films[0].recording.snapshots) == 60
    tab = opened(static_page, pca_page(replay, tmp_path / "replay.html"), size=(1280, 720))
    tab.wait(lambda: tab.page.evaluate(f"{STATE}.playing"), "the film to begin by itself")
    for part in (".ribbon", "canvas.map", "canvas.slices", "canvas.curves", "#words-0"):
        box = tab.page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 720, f"{part} is in sight"
    tab.page.evaluate(
        f"""() => {{ window.seen = []; document.querySelector('canvas.map').addEventListener('semicon-redraw', () => {{
        window.seen.push([{STATE}.films[0].x[0], {STATE}.moment, performance.now()]); }}); }}"""
    )
    tab.wait(lambda: tab.page.evaluate(f"{STATE}.moment") == 59, "the end of the film")
    tab.wait(lambda: tab.page.evaluate(f"{STATE}.moment") < 30, "the film to begin again")
    seen = np.array(tab.page.evaluate("window.seen"))
    forward = seen[: int(seen[:, 1].argmax()) + 1]
    moments = replay.films[0].places["PCA"][:, 0, 0]
    apart = [np.abs(moments - x).min() for x in forward[:, 0]]
    assert np.mean(np.array(apart) > 1e-4) > 0.5, "points mostly stand between two moments"
    pace = np.ptp(forward[:, 1]) / np.ptp(forward[:, 2]) * 1000
    assert pace <= 59 / 10 * 1.1, "not faster than ten seconds for all"
    tab.page.click("#play")
    assert not tab.page.evaluate(f"{STATE}.playing")


KEYS = (["ArrowRight"] * 3 + ["ArrowLeft"] * 3) * 4
RIBBON = ".semicon-dots input[type=range]"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("shown", ["map", "slices", "curves"])
def test_the_ribbon_of_a_page_is_swift_with_4096_pixels(static_page, many, tmp_path, shown):  # noqa: F811
    tab = opened(static_page, pca_page(TrainingReplay(many, many), tmp_path / "replay.html"), size=(1440, 900))
    tab.press(RIBBON, "Home")
    tab.latencies(RIBBON, f".semicon-dots canvas.{shown}", KEYS[:6], pause=30)
    swift(
        f"page replay, {shown}, 4,096 pixels",
        tab,
        lambda: tab.latencies(RIBBON, f".semicon-dots canvas.{shown}", KEYS, pause=30),
        60,
    )


@pytest.fixture(scope="module")
def many():
    """A recording of 64 x 64 pixels, all of them shown."""
    cohort = phantom(subjects=4, size=64)
    most = int((cohort.labels > 0).sum((1, 2)).argmax())
    recorder = Recorder(UNet(width=4, depth=2), cohort.images[[most]], cohort.labels[[most]], cohort.classes, every=2, count=4096)
    list(recorder.watch(train_local(recorder.model, cohort, split(cohort, 1.0), StageSettings(steps=8, batch=2, rate=1e-3))))
    return recorder


@pytest.mark.browser
def test_who_wants_no_motion_gets_none(browser, tmp_path):
    context = browser.new_context(reduced_motion="reduce", offline=True)
    page = context.new_page()
    page.goto(pca_page(TrainingReplay(), tmp_path / "replay.html").as_uri())
    page.wait_for_timeout(500)
    assert not page.evaluate(f"{STATE}.playing") and page.inner_text("#play") == "Play"
    context.close()


@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_live_the_ribbon_replays(lab, recorded):  # noqa: F811
    code = f"from semicon_nb.explore import TrainingReplay\nreplay = TrainingReplay({str(recorded[2])!r})\nreplay"
    tab = lab.open(lab.notebook("replay.ipynb", code))
    tab.wait(lambda: tab.page.locator(".semicon-dots canvas[role]").count() == 3, "three pictures")
    tab.press(".semicon-dots input[type=range]", "Home")
    first = tab.page.evaluate(DRAWN)
    tab.shot("replay-live-before")
    tab.press(".semicon-dots input[type=range]", "ArrowRight", 3, pause=100)
    tab.kernel_until("replay.moment", 3)
    x = tab.value("[float(v) for v in replay.films[0].places['PCA'][3][:, 0]]")
    tab.near(f"{STATE}.films[0].x", x, "the moved points", 1e-4)
    assert all(a != b for a, b in zip(first, tab.page.evaluate(DRAWN), strict=True)), "map, slices and curves are drawn again"
    tab.shot("replay-live-after")
    assert tab.value("replay.problem") == "" and not tab.errors and not tab.outside
    tab.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.xdist_group("live")
def test_live_the_ribbon_is_swift(lab, many, tmp_path):  # noqa: F811
    folder = save_recording(many.recording, tmp_path / "many")
    code = f"from semicon_nb.explore import TrainingReplay\nreplay = TrainingReplay({str(folder)!r})\nreplay"
    tab = lab.open(lab.notebook("swift.ipynb", code), size=(1440, 1000))
    tab.wait(lambda: tab.page.locator(".semicon-dots canvas[role]").count() == 3, "three pictures")
    tab.press(RIBBON, "Home")
    for shown in ("map", "slices", "curves"):
        tab.latencies(RIBBON, f".semicon-dots canvas.{shown}", KEYS[:6], pause=30)
        swift(
            f"live replay, {shown}",
            tab,
            lambda found=shown: tab.latencies(RIBBON, f".semicon-dots canvas.{found}", KEYS, pause=30),
            60,
        )
    tab.close()


class Dead(torch.nn.Module):
    """Gives every pixel the same vector."""

    def forward(self, x):
        return x.repeat(1, 8, 1, 1) * 0


@pytest.mark.browser
def test_a_collapsed_training_has_a_sentence_and_names_are_text(watched, static_page, tmp_path):  # noqa: F811
    hostile = '<img src=x onerror="window.ran=1">'
    recorder = Recorder(Dead(), *watched, ("background", hostile, "posterior"), count=100, name=f"run {hostile}", folder=tmp_path / "r")
    recorder.snap("local")
    replay = TrainingReplay(tmp_path / "r", method="UMAP")
    replay.making.join(60)
    assert not replay.problem, replay.trace
    assert all(np.isfinite(places).all() for places in replay.films[0].places.values())
    tab = opened(static_page, replay.to_html(tmp_path / "replay.html"))
    tab.page.wait_for_timeout(300)
    assert hostile in tab.page.inner_text("#legend") and "have collapsed" in tab.page.inner_text("main")
    assert hostile in tab.page.inner_text("#words-0")
    assert tab.page.locator("img").count() == 0 and not tab.page.evaluate("window.ran") and not tab.errors
