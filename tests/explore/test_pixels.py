"""PixelExplorer without a browser: what it is told, what it measures, and what it hands to the browser."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from browser_tools import pca_page
from torch import nn

from semicon_nb.embed import Map
from semicon_nb.explore import PixelExplorer
from semicon_nb.explore.embeddings import Colouring, compact
from semicon_nb.explore.pixels import attention_errors, stored, stored_map, thinning, turn_onto
from semicon_nb.unet import UNet

NAMES = ("background", "anterior", "posterior")


def a_slice(size: int = 24, slices: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Slices with two bright structures, and their labels."""
    rows, columns = np.mgrid[:size, :size] / size
    labels = np.zeros((slices, size, size), int)
    labels[:, (rows - 0.35) ** 2 + (columns - 0.4) ** 2 < 0.03] = 1
    labels[:, (rows - 0.7) ** 2 + (columns - 0.65) ** 2 < 0.02] = 2
    noise = np.random.default_rng(0).normal(size=labels.shape) * 0.05
    return (0.3 + 0.25 * labels + noise).astype(np.float32), labels


def network(seed: int = 0, channels: int = 12) -> nn.Module:
    """A small fixed network that is no UNet."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, channels, 3, padding=1)).eval()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path_factory.getbasetemp() / "maps"))


@pytest.fixture
def explorer() -> PixelExplorer:
    images, labels = a_slice(24, 2)
    return PixelExplorer({"one": network(0), "two": network(1)}, images, labels, NAMES, count=300)


# ------------------------------------------------------------------------------------------ the widget


def test_without_arguments_it_opens_on_four_stages_of_an_example():
    made = PixelExplorer()
    assert not made.problem, made.trace
    assert list(made.view.stages) == ["initial", "global", "local", "finetune"] and made.view.labels.any()
    agreement = [made.maps.make(stage, "PCA", made.sample)[1][0].value for stage in ("initial", "finetune")]
    assert agreement[1] > agreement[0] + 0.3, "training is seen to separate the classes"


def test_a_map_asked_for_comes_with_its_numbers_and_goes_to_the_browser(explorer, monkeypatch):
    told = []
    monkeypatch.setattr(explorer.live, "send", told.append)
    explorer.live.asked = {"stage": "one", "method": "PCA", "count": 300, "serial": 1}
    explorer.maps.asked["one", "PCA", 300].result(60)
    explorer.live.asked = {"stage": "one", "method": "UMAP", "count": 300, "serial": 2}
    explorer.maps.asked["one", "UMAP", 300].result(120)
    explorer.maps.worker.submit(int).result(60)  # by then what follows the map is done, too
    assert explorer.maps.ready["one", "UMAP", 300][0].method == "UMAP" and not explorer.problem
    names = [n.name for n in explorer.maps.ready["one", "PCA", 300][1]]
    assert "neighbour agreement" in names and "trustworthiness" in names
    assert sum('"map"' in message["news"] for message in told) == 2
    explorer.live.asked = {"stage": "one", "method": "PCA", "count": 300, "serial": 3}
    assert sum('"map"' in message["news"] for message in told) == 3, "a second view of the widget gets the kept map too"


def test_another_number_of_pixels_is_sampled_anew(explorer):
    before = explorer.live.data
    shown = {"stage": "one", "method": "PCA", "colour": "row", "temperature": 3, "anchor": 7, "chosen": None}
    explorer.live.asked = {**shown, "count": 512, "serial": 1}
    assert len(explorer.sample.index) == 512 and explorer.live.data != before
    assert "512 of 1,152 pixels" in explorer.sample.sentence
    assert explorer.live.state == json.loads(explorer.live.data)["state"] == shown


def test_python_selects_and_reads_what_the_reader_did(explorer):
    assert explorer.chosen == () and explorer.anchor is None
    explorer.select(np.array([3, 5]))
    assert explorer.chosen == (3, 5)
    explorer.live.state = {"chosen": [1], "anchor": 7}
    assert explorer.chosen == (1,) and explorer.anchor == 7
    explorer.select(None)
    assert explorer.chosen == ()


def test_a_failure_in_the_background_is_said_and_the_rest_goes_on(explorer):
    explorer.live.asked = {"stage": "no such stage", "method": "PCA", "count": 300, "serial": 1}
    with pytest.raises(KeyError):
        explorer.maps.asked["no such stage", "PCA", 300].result(60)
    explorer.maps.worker.submit(int).result(60)
    assert "semicon-notice" in explorer.status.value and "no such stage" in explorer.problem
    explorer.live.asked = {"stage": "two", "method": "PCA", "count": 300, "serial": 2}
    assert explorer.maps.asked["two", "PCA", 300].result(60)
    explorer.maps.worker.submit(int).result(60)
    assert explorer.problem == explorer.trace == explorer.status.value == "", "what works again is not called broken"
    explorer.live.asked = {"stage": "no such stage", "method": "PCA", "count": 300, "serial": 3}
    assert "no such stage" in explorer.problem and explorer.status.value, "a map that failed before fails at once"


def test_a_run_brings_its_own_slices_and_stages_or_picks_some_of_a_cohort(small_run):
    made = PixelExplorer(small_run.folder, count=200)
    assert not made.problem, made.trace
    assert list(made.view.stages) == ["initial", "global", "local", "finetune"] and made.view.labels is not None
    assert made.view.names == tuple(small_run.cohort.classes)
    assert not np.allclose(made.view.flat("initial"), made.view.flat("finetune"))
    same = PixelExplorer(small_run, small_run.cohort, count=200)
    assert not same.problem and np.array_equal(same.view.images, made.view.images)


LATER = ("plotly", "pandas", "umap", "numba", "sklearn", "monai", "nibabel", "matplotlib", "scipy.stats")
EXPLORERS = ("PixelExplorer", "StrategyExplorer", "TemperatureExplorer", "CohortBrowser", "TrainingReplay")


@pytest.mark.parametrize("names", [(), EXPLORERS], ids=["the face", "the first sight of each explorer"])
def test_what_takes_seconds_to_load_waits_until_it_is_used(names):
    shown = "".join(f"made = explore.{name}(); made._repr_mimebundle_(); assert not made.problem, made.trace\n" for name in names)
    code = f"import sys\nfrom semicon_nb import explore\n{shown}print([name for name in {LATER} if name in sys.modules])"
    plain = {name: value for name, value in os.environ.items() if name != "PLOTLY_RENDERER"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain)
    assert done.stdout == "[]\n", done.stdout + done.stderr


BAD = {
    "a model whose output does not fit": (lambda: (nn.Conv2d(1, 4, 3), a_slice()[0]), "one vector for each pixel"),
    "labels of another size": (lambda: (network(), a_slice()[0], a_slice(20)[1]), "like the images"),
    "labels between whole numbers": (lambda: (network(), a_slice()[0], a_slice()[1] + 0.5), "not whole numbers"),
    "a label below 0": (lambda: (network(), a_slice()[0], a_slice()[1] - 1), "-1 to 1, expected whole numbers from 0 to 255"),
    "a label above 255": (lambda: (network(), a_slice()[0], a_slice()[1] * 128), "0 to 256, expected whole numbers from 0 to 255"),
    "3-D input": (lambda: (network(), np.zeros((2, 3, 8, 8))), "cut a volume into slices"),
    "two pixels": (lambda: (network(), np.zeros((1, 2))), "too few"),
    "NaN embeddings": (lambda: (lambda x: x * torch.nan, a_slice()[0]), "NaN"),
    "no images": (lambda: (network(),), "images: found none"),
    "no run": (lambda: ("no such folder",), "no run.json"),
    "no pixels": (lambda: (network(), a_slice()[0], None, None, 1), "count: found 1, expected 4"),
    "another layer": (lambda: (UNet(width=2, depth=1), a_slice()[0], None, None, 50, "none"), "none"),
    "another map": (lambda: (network(), a_slice()[0], None, None, 50, "features", "t-SNE"), "method: found 't-SNE'"),
    "no temperature": (lambda: (network(), a_slice()[0], None, None, 50, "features", "PCA", 0), "temperature: found 0"),
    "a model that breaks": (lambda: (lambda x: x @ torch.zeros(3), a_slice()[0]), "RuntimeError"),
}


@pytest.mark.parametrize("given, says", BAD.values(), ids=BAD)
def test_bad_input_is_a_sentence_in_the_widgets_place(given, says, tmp_path, capsys):
    made = PixelExplorer(*given())
    assert re.search(says, made.problem), made.problem
    shown = made._repr_mimebundle_()["text/html"]
    assert "semicon-notice" in shown and "Traceback" not in shown + "".join(capsys.readouterr())
    written = made.to_html(tmp_path / "page.html").read_text()
    assert 'class="problem"' in written and "Traceback" not in written


def test_a_slice_without_foreground_is_explored_without_label_numbers():
    images, labels = a_slice()
    made = PixelExplorer(network(), images, labels * 0, NAMES)
    assert not made.problem
    _, numbers = made.maps.make("Sequential", "PCA", made.sample)
    assert np.isnan(numbers[1].value) and numbers[1].reads == "needs two classes"


def test_a_picture_calls_pixels_without_labels_pixels():
    images, labels = a_slice()
    assert [trace.name for trace in PixelExplorer(network(), images, count=100).picture().data] == ["pixels"]
    assert [trace.name for trace in PixelExplorer(network(), images, labels, NAMES, count=100).picture().data] == list(NAMES)


class Failing(nn.Module):
    """A network that failed in one way."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        many = x.repeat(1, 8, 1, 1)
        return {
            "dead": torch.relu(many * 0 - 1),
            "constant": many * 0 + 1,
            "one channel": x - 0.4,
            "not a number": many / 0 * 0,
        }[self.kind]


@pytest.mark.parametrize("kind, says", [("dead", "have collapsed"), ("constant", "have collapsed"), ("one channel", "One channel")])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_failed_network_is_explored_with_a_sentence(kind, says, labelled, tmp_path):
    images, labels = a_slice()
    made = PixelExplorer(Failing(kind), images, labels if labelled else None, NAMES, count=200)
    assert not made.problem, made.trace
    assert says in made.live.data
    text = made.to_html(tmp_path / "page.html").read_text()
    assert says in text and "NaN" not in text.split('id="semicon-data"')[1].split("</script>")[0]
    assert np.isfinite(compact(made.view.flat("Failing")).kept)


def test_features_that_are_no_numbers_are_one_sentence(tmp_path):
    made = PixelExplorer(Failing("not a number"), *a_slice(), NAMES)
    assert "NaN or infinite" in made.problem and 'class="problem"' in made.to_html(tmp_path / "p.html").read_text()


def test_a_class_head_that_says_nothing_is_refused():
    images, labels = a_slice(32)
    model = UNet(width=4, depth=2)
    with torch.no_grad():
        next(p for n, p in reversed(list(model.named_parameters())) if p.shape[:1] == (3,)).fill_(torch.nan)
    assert "NaN or infinite" in PixelExplorer({"finetune": model}, images, labels, NAMES).problem


# ------------------------------------------------------------------------------------------------ what the browser gets


def test_the_live_explorer_says_nothing_more_of_a_page_that_is_made(explorer, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(explorer.live, "send", told.append)
    pca_page(explorer, tmp_path / "page.html")
    progress = [json.loads(message["news"]).get("progress") for message in told]
    assert len(progress) == 3 and progress[-1] == "" and all(progress[:-1])


def test_pages_are_small_and_ask_nobody_for_anything(tmp_path):
    images, labels = a_slice(64, 2)
    models = {name: network(i, 64) for i, name in enumerate(("initial", "global", "local", "finetune"))}
    made = PixelExplorer(models, images, labels, NAMES, count=4096)
    page = pca_page(made, tmp_path / "a.html")
    written = page.read_text()
    assert page.stat().st_size < 1.5e6 and [p.name for p in tmp_path.iterdir()] == ["a.html"]
    assert "default-src 'none'" in written and "connect-src 'none'" in written
    assert not re.search(r"(src|href)=\"(https?:)?//", written)


@pytest.mark.parametrize("shape, stages, channels", [((1, 64, 64), 1, 64), ((4, 160, 160), 4, 128), ((9, 512, 512), 4, 64)])
def test_embeddings_in_a_page_stay_within_their_budget(shape, stages, channels):
    dims, step = thinning(shape, stages, channels)
    assert dims >= 8 and shape[0] * -(-shape[1] // step) * -(-shape[2] // step) * stages * dims <= 560_000


@pytest.mark.parametrize("dims, step", [(12, 1), (3, 1), (12, 2)])
def test_a_page_knows_how_far_its_shares_of_attention_are_off(explorer, dims, step):
    """Of vectors in all dimensions hardly at all; of few dimensions, or of shared vectors, by much at low temperatures."""
    short = compact(explorer.view.stages["two"].vectors[:, ::step, ::step].reshape(-1, 12), dims)
    found = attention_errors(explorer.view, "two", short, step)
    vectors, labels = torch.from_numpy(explorer.view.flat("two")[: 24 * 24]), explorer.view.flat_labels[: 24 * 24]
    rows, columns = np.indices((24, 24)) // step
    told, wrong = torch.from_numpy(short.unit[(rows * 24 // step + columns).reshape(-1)]), []
    for p in np.arange(24 * 24):
        others = np.arange(24 * 24) != p
        exact, page = ((torch.softmax(v[others] @ v[p] / 0.01, 0)[labels[others] == labels[p]]).sum() for v in (vectors, told))
        wrong.append(abs(float(exact - page)))
    by_class = np.mean([np.quantile(np.array(wrong)[labels == c], 0.9) for c in range(3)])
    assert len(found) == 21 and (found[0] < 0.05 if (dims, step) == (12, 1) else found[0] > 0.1)
    assert found[0] == pytest.approx(by_class, abs=max(0.15, by_class / 2)) and found[-1] < found[0]


def test_each_of_many_slices_has_a_code_of_its_own():
    slices = np.arange(300)[:, None, None]
    found = stored(Colouring("slice", slices, tuple(f"slice {s + 1}" for s in range(300))))["values"]
    assert np.array_equal(found, np.arange(300))
    assert stored(Colouring("slice", slices[:256], ("one",) * 256))["values"].dtype == np.uint8


def test_a_map_is_turned_onto_another_and_never_stretched():
    random = np.random.default_rng(0)
    goal = random.normal(size=(200, 2)).astype(np.float32) * (3, 1)
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    found = turn_onto((goal @ turn).astype(np.float32), goal)
    np.testing.assert_allclose(found - found.mean(0), goal - goal.mean(0), atol=1e-4)
    other = random.normal(size=(200, 2)).astype(np.float32)
    turned = turn_onto(other, goal)
    np.testing.assert_allclose(np.linalg.norm(turned[1:] - turned[0], axis=1), np.linalg.norm(other[1:] - other[0], axis=1), rtol=1e-4)


def test_maps_in_a_page_keep_their_shape():
    places = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32) * (5, 1)
    kept = stored_map(Map(places, 1.0, "PCA"), None, places)["places"].astype(float)
    ratio = np.ptp(kept, axis=0) / np.ptp(places, axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-3) and kept.max() <= 65535
