"""The results explorer: its means are those of the tables, its way down ends at the right slice, and its page agrees."""

import json

import numpy as np
import pytest
import torch
from browser_tools import static_page  # noqa: F401

from semicon_nb.data import part_indices, split
from semicon_nb.evaluate import evaluate
from semicon_nb.explore_results import (
    Look,
    ResultsExplorer,
    compared_slice,
    look_at,
    packed_runs,
    points,
    records_of,
    slice_scores,
    slice_words,
    volume_scores,
    worst_first,
)
from semicon_nb.tables import summary

CLASSES = ("anterior", "posterior")


def record(method: str, labels: float, part: int, seed: int = 0, data: str = "made up", volumes: int = 5) -> dict:
    rng = np.random.default_rng([len(method), int(100 * labels), part, seed])
    rows = [
        {
            "name": f"v{i}",
            "subject": f"s{i // 2}",
            "slices": 8,
            "dice": dict(zip(CLASSES, rng.random(2).tolist(), strict=True)),
            "hd95": dict(zip(CLASSES, (9 * rng.random(2)).tolist(), strict=True)),
        }
        for i in range(volumes)
    ]
    rows[0]["dice"]["posterior"] = None
    per_class = {
        c: {"pooled_dice": float(rng.random()), "volume_dice": float(rng.random()), "hd95": float(9 * rng.random())} for c in CLASSES
    }
    means = {m: float(np.mean([per_class[c][m] for c in CLASSES])) for m in ("pooled_dice", "volume_dice", "hd95")}
    names = {
        "method": method,
        "labels": labels,
        "split": part,
        "seed": seed,
        "data": {"cohort": data},
        "key": f"{method}{labels}{part}{seed}{data}",
    }
    return {**names, **means, "per_class": per_class, "volumes": rows, "slices": 40, "validation": float(rng.random()), "seconds": 1.0}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    found = [record(m, f, s, seed) for m in ("scratch", "global") for f in (0.05, 0.1) for s in range(3) for seed in range(2)]
    return [*found, record("scratch", 0.2, 0)]


class Threshold(torch.nn.Module):
    """Segments by brightness alone; good enough to have slices to look at."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, images):
        dark = (self.level - images[:, 0]) * 20
        return torch.stack([-dark, dark, dark - 0.1], 1)


@pytest.fixture(scope="module")
def look(small_phantom) -> Look:
    rows = part_indices(small_phantom, split(small_phantom, 0.5), "test")
    return look_at(Threshold(), small_phantom, rows, "threshold", 0.5)


def test_means_and_intervals_are_those_of_the_tables(rows):
    wanted = summary(rows, "volume_dice")
    found = points(records_of(rows), "volume_dice", "mean")
    assert len(found) == len(wanted) == 5
    for point in found:
        line = wanted.loc[(point.labels, point.method)]
        assert (
            point.mean == pytest.approx(line["mean"])
            and point.half == pytest.approx(line["half"], nan_ok=True)
            and len(point.splits) == line["splits"]
        )


def test_files_folders_and_records_give_the_same_runs(rows, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"torn')
    (tmp_path / "a.failed.jsonl").write_text('{"error": "not a run"}\n')
    assert records_of(path) == records_of(tmp_path) == records_of([path]) == records_of(rows)


@pytest.mark.parametrize(
    ("results", "word"),
    [("/no/such/file.jsonl", "no such"), ([], "no finished run"), ([{"method": "x"}], "lacks"), ([7], "lacks")],
)
def test_bad_results_are_a_sentence(results, word):
    explorer = ResultsExplorer(results)
    assert word in explorer.problem and "Traceback" not in explorer.widget.value


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "bad.jsonl").write_text("not json\n{}\n")
    assert "bad.jsonl" in ResultsExplorer(tmp_path).problem
    assert "run.json" in ResultsExplorer(runs=[tmp_path]).problem


def test_the_worst_come_first_for_dice_and_for_distance(rows):
    found = volume_scores(records_of(rows), "global", 0.1)
    assert len(found) == 30
    dice = [score for _, score in worst_first(found, "volume_dice", "mean")]
    far = [score for _, score in worst_first(found, "hd95", "anterior")]
    assert dice == sorted(dice) and far == sorted(far, reverse=True)
    assert len(worst_first(found, "volume_dice", "posterior")) == 24


def test_slices_are_sorted_and_counted_right(small_phantom):
    rows = part_indices(small_phantom, split(small_phantom, 0.5), "test")
    slices = slice_scores(Threshold(), small_phantom, rows)
    assert [s.dice for s in slices] == sorted(s.dice for s in slices)
    worst = slices[0]
    v = [v.name for v in small_phantom.volumes].index(worst.volume)
    here = np.flatnonzero(small_phantom.volume == v)[worst.number - 1]
    assert np.array_equal(worst.truth, small_phantom.labels[here]) and np.array_equal(worst.image, small_phantom.images[here])
    dice = [
        2 * ((worst.truth == c) & (worst.predicted == c)).sum() / max(1, (worst.truth == c).sum() + (worst.predicted == c).sum())
        for c in (1, 2)
    ]
    there = [((worst.truth == c) | (worst.predicted == c)).any() for c in (1, 2)]
    assert worst.dice == pytest.approx(np.mean([d for d, t in zip(dice, there, strict=True) if t]))
    _, marks = compared_slice(worst)
    missed = (worst.truth > 0) & (worst.predicted == 0)
    assert np.array_equal(marks == 2, missed) and f"{missed.sum()} pixels missed" in slice_words(slices, 1)


def test_the_way_down_ends_at_the_chosen_slice(rows, look):
    explorer = ResultsExplorer(rows, runs=[look])
    assert not explorer.problem, explorer.trace
    explorer.menus["data"].value = "phantom"
    assert not explorer.problem, explorer.trace
    assert explorer.methods == ["threshold"] and explorer.slices
    explorer.menus["volume"].value = 1
    names = {s.volume for s in explorer.slices}
    assert names == {explorer.ordered[1][0].volume}
    explorer.rank.value = 2
    assert f"rank 2 of {len(explorer.slices)}" in explorer.said.value and str(explorer.slices[1].number) in explorer.said.value
    assert np.array_equal(np.frombuffer(explorer.canvas.marks, np.uint8).reshape(32, 32), compared_slice(explorer.slices[1])[1])


def test_controls_change_the_charts(rows):
    explorer = ResultsExplorer(rows)
    explorer.menus["measure"].value = "hd95"
    explorer.menus["name"].value = "posterior"
    wanted = {(p.method, p.labels): p.mean for p in points(explorer.records, "hd95", "posterior")}
    assert list(explorer.scores.data[1].y) == pytest.approx([wanted["scratch", f] for f in (0.05, 0.1, 0.2)])
    assert "HD95" in explorer.scores.layout.yaxis.title.text
    explorer.shown.value = ("global",)
    assert [t.visible for t in explorer.scores.data] == [False, False, True, True]
    explorer.menus["method"].value, explorer.menus["labels"].value = "global", 0.2
    assert "No run of this method" in explorer.table.value and not explorer.problem


def test_a_run_that_is_in_no_file_counts_as_a_run(look, small_phantom):
    explorer = ResultsExplorer(runs=[look])
    assert explorer.records[0]["pooled_dice"] == look.record["pooled_dice"]
    rows = part_indices(small_phantom, split(small_phantom, 0.5), "test")
    assert look.record["volume_dice"] == evaluate(Threshold(), small_phantom, rows).volume_dice


def test_stored_and_exported_are_small(rows, look, tmp_path):
    explorer = ResultsExplorer(rows, runs=[look])
    assert len(json.dumps(explorer._repr_mimebundle_())) < 60_000
    assert explorer.to_html(tmp_path / "r.html").stat().st_size < 6e6
    assert explorer.to_html(tmp_path / "shared.html", "shared").stat().st_size < 1.5e6


def test_a_full_grid_still_fits(tmp_path):
    many = [record(f"method {m}", f, s, volumes=40) for m in range(9) for f in (0.05, 0.1, 0.2) for s in range(12)]
    assert ResultsExplorer(many).to_html(tmp_path / "r.html", "shared").stat().st_size < 1.5e6
    assert packed_runs(records_of(many), CLASSES)["dice"].shape == (9 * 3 * 12 * 40, 2)


@pytest.mark.browser
def test_the_page_computes_what_python_computes(rows, static_page, tmp_path):  # noqa: F811
    tab = static_page(ResultsExplorer(rows).to_html(tmp_path / "r.html", "shared"))
    tab.page.evaluate("results.ready")
    for m, measure in enumerate(("pooled_dice", "volume_dice", "hd95", "validation")):
        for n, name in enumerate(("mean", *CLASSES) if measure != "validation" else ("mean",)):
            for point in points(records_of(rows), measure, name):
                found = tab.page.evaluate(f"results.point({point.method!r}, {point.labels}, {m}, {n})")
                assert found["mean"] == pytest.approx(point.mean, rel=1e-5)
                assert (found["half"] if found["half"] is not None else np.nan) == pytest.approx(point.half, rel=1e-4, nan_ok=True)
    tab.page.select_option("#closer", label="global")
    tab.page.select_option("#labels", "1")
    ordered = worst_first(volume_scores(records_of(rows), "global", 0.1), "pooled_dice", "mean")
    tab.wait(lambda: len(tab.page.evaluate("results.state().volumes")) == len(ordered), "the volumes")
    tab.near("results.state().volumes.map(v => v[2])", [s for _, s in ordered], "their scores, worst first", 1e-5)


@pytest.mark.browser
def test_the_page_leads_down_by_pointer(rows, look, static_page, tmp_path):  # noqa: F811
    explorer = ResultsExplorer(runs=[look])
    tab = static_page(explorer.to_html(tmp_path / "r.html", "shared"))
    tab.page.evaluate("results.ready")
    tab.shot("results-page-before")
    state = tab.page.evaluate("results.state()")
    tab.click("#strip", (2, state["volumes"][1][2]))
    tab.wait(lambda: tab.page.evaluate("results.state().chosen") == 1, "the second volume")
    wanted = [s for s in look.slices if s.volume == state["volumes"][1][0]]
    tab.wait(lambda: tab.page.evaluate("results.state().slices") == [s.number for s in wanted], "its slices")
    tab.press("#rank", "ArrowRight")
    tab.wait(lambda: tab.page.locator("#said").text_content() == slice_words(wanted, 2), "the second slice")
    tab.wait(lambda: len(tab.page.evaluate("semicon.timings.rank || []")) == 1, "one measured redraw")
    tab.shot("results-page-after")


@pytest.mark.browser
def test_a_click_on_a_mean_shows_its_volumes(rows, static_page, tmp_path):  # noqa: F811
    tab = static_page(ResultsExplorer(rows).to_html(tmp_path / "r.html", "shared"))
    tab.page.evaluate("results.ready")
    x, y = tab.page.evaluate("(() => { const t = document.getElementById('scores').data[3]; return [t.x[0], t.y[0]]; })()")
    tab.click("#scores", (x, y))
    tab.wait(lambda: tab.page.evaluate("document.getElementById('closer').value") == "1", "the method")
    tab.wait(lambda: tab.page.evaluate("document.getElementById('labels').value") == "0", "the labelled fraction")
