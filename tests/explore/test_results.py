"""The results explorer: its numbers are those of the tables to the last digit, its way down ends at the right slice, its page agrees."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from browser_tools import static_page  # noqa: F401
from hypothesis import given
from hypothesis import strategies as st

from semicon_nb.data import part_indices, split
from semicon_nb.evaluate import evaluate
from semicon_nb.explore.looks import Look, SliceScore, look_at, look_at_run, packed_slices, slice_scores
from semicon_nb.explore.results import HEIGHT, LINE, ResultsExplorer, spread
from semicon_nb.explore.results_state import KINDS, cells, experiments_of, opened, opening
from semicon_nb.show import LINES, METHOD_LOOKS, PALETTE, PULL, PUSH
from semicon_nb.tables import NAMES, headroom, paired, plus_minus, read_records, read_results, summary, titled

RESULTS = Path(__file__).resolve().parent.parent.parent / "results"

pytestmark = [pytest.mark.xdist_group("results")]  # reading all results takes seconds: once is enough
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


def points_of(figure) -> dict[tuple[str, float], tuple[float, float, str]]:
    """Mean, half width and words of every point of a chart, by method and labelled fraction."""
    shown = {}
    axis = figure.layout.xaxis
    for trace in figure.data[1::3]:
        for x, y, half, words in zip(trace.x or (), trace.y or (), trace.error_y.array or (), trace.text or (), strict=True):
            shown[trace.name, axis.ticktext[round(x)]] = (y, half, words)
    return shown


def told(runs, metric):
    """What the tables say, for every method and fraction: mean, half width, splits, difference, its half width, its splits."""
    means, gains = summary(runs, metric), paired(runs, "scratch", metric)
    for labels, method in means.index:
        gain = tuple(gains.loc[(labels, method)][:3]) if (labels, method) in gains.index else (np.nan, np.nan, 0)
        yield method, labels, (*means.loc[(labels, method)], *gain)


FILES = sorted(RESULTS.glob("*.jsonl"))
TAKEN = [FILES, [RESULTS / "sunnybrook.jsonl"]]


@pytest.fixture(scope="module")
def every() -> ResultsExplorer:
    """The explorer of all committed results, as it opens; nobody changes it."""
    return ResultsExplorer(RESULTS)



@pytest.mark.parametrize("files", TAKEN, ids=lambda files: "+".join(file.stem for file in files))
def test_every_number_is_the_tables_to_the_last_digit(files):
    explorer, runs, checked = ResultsExplorer(files), read_results(files), 0
    assert not explorer.problem, explorer.trace
    assert set(explorer.experiments) == set(runs["experiment"])
    data = {e["name"]: e for e in explorer.data["experiments"]}
    for name, part in runs.groupby("experiment", sort=False):
        for metric in NAMES:
            page = {(c["method"], c["labels"]): c for c in data[name]["cells"][metric]["mean"]}
            known = cells(explorer.experiments[name], metric, "mean")
            for method, labels, numbers in told(part, metric):
                cell = known[method, labels]
                mine = (cell.mean, cell.half, cell.splits, cell.difference, cell.difference_half, cell.difference_splits)
                stored = page[method, labels]
                written = tuple(stored[k] for k in ("mean", "half", "splits", "difference", "difference_half", "difference_splits"))
                np.testing.assert_array_equal(mine, numbers)
                np.testing.assert_array_equal(written, numbers)
                assert stored["text"] == plus_minus(*numbers[:2]) and stored["difference_text"] == plus_minus(*numbers[3:5], True)
                checked += 1
            assert len(page) == len(summary(part, metric))
    assert checked >= 4


def test_the_picture_shows_the_tables_for_every_method_that_can_be_chosen():
    explorer, runs = ResultsExplorer(RESULTS), read_results(RESULTS)
    for name, part in runs.groupby("experiment", sort=False):
        start = opened(explorer.experiments[name])
        wanted = {metric: {(m, f"{100 * f:g} %"): n for m, f, n in told(part, metric)} for metric in NAMES}
        for metric, method in product(("pooled_dice", "hd95"), explorer.experiments[name].methods[1::3]):
            methods = (start["methods"][0], method, "", "")
            explorer.live.state = start | {"metric": metric, "methods": methods}
            still = points_of(explorer.picture())
            for (shown, at), (mean, half, words) in still.items():
                numbers = wanted[metric][shown, at]
                assert (mean, half) == (numbers[0], np.nan_to_num(numbers[1]))
                assert f"{plus_minus(*numbers[:2])} over {numbers[2]:.0f} split" in words
                assert not numbers[5] or f"{plus_minus(*numbers[3:5], True)} to scratch over {numbers[5]:.0f}" in words
            assert {m for m, _ in still} == {m for m in methods if m}


def test_the_headroom_stands_below_the_numbers_as_the_tables_have_it(every):
    packed = {e["name"]: e["rooms"] for e in every.data["experiments"]}
    for name, part in read_results(RESULTS).groupby("experiment", sort=False):
        for metric in ("pooled_dice", "hd95"):
            found = headroom(part, metric)
            told = [[f"{100 * f:g} %", f"headroom of {m}", plus_minus(mean, half, True), n]
                    for (f, m), (mean, half, n) in zip(found.index, found.to_numpy(), strict=True)]  # fmt: skip
            assert [list(line[:4]) for line in packed[name][metric]["mean"]] == told
    assert len(headroom(read_results(RESULTS / "hippocampus.jsonl"))) == 3


def test_it_opens_on_the_experiment_that_had_room_to_tell(every):
    runs = read_results(RESULTS)
    assert every.state["experiment"] == "hippocampus, thorough" and runs["experiment"].value_counts().idxmax() == "hippocampus, laptop"
    assert next(iter(ResultsExplorer(RESULTS / "hippocampus.jsonl").experiments)) == "hippocampus, laptop"


def test_runs_with_defects_never_count_among_sound_ones():
    cell = cells(experiments_of(read_records(RESULTS))["hippocampus, laptop"], "pooled_dice", "mean")["scratch", 0.05]
    assert cell.text.startswith("0.826") and cell.splits == 3


def test_a_class_has_the_mean_that_its_own_values_have(rows):
    one = experiments_of(read_records(rows))["made up"]
    swapped = [{**r, "volume_dice": r["per_class"]["posterior"]["volume_dice"]} for r in rows]
    for method, labels, numbers in told(swapped, "volume_dice"):
        cell = cells(one, "volume_dice", "posterior")[method, labels]
        np.testing.assert_array_equal((cell.mean, cell.half, cell.splits, cell.difference), numbers[:4])


def test_scores_of_splits_are_those_behind_the_mean(rows):
    some = [r for r in rows if not (r["method"] == "scratch" and r["split"] == 2)]
    for cell in cells(experiments_of(read_records(some))["made up"], "pooled_dice", "mean").values():
        assert len(cell.scores) == cell.splits and np.mean(cell.scores) == pytest.approx(cell.mean)
        assert cell.splits == (1 if cell.labels == 0.2 else 2)


def test_it_opens_with_the_best_of_each_kind_on_validation_people():
    some = experiments_of(read_records(RESULTS))["hippocampus, laptop"]
    four, means = opening(some), summary(some.runs, "validation")["mean"].loc[0.05]
    assert four[0] == "scratch" and len(set(four)) == 4
    for method, kind in zip(four, KINDS, strict=True):
        assert means[method] == max(means[m] for m in kind if m in means)


def test_own_methods_fill_the_places_that_have_no_method(rows):
    own = [{**r, "method": "mine", "key": None} for r in rows if r["method"] == "global"] + rows
    assert set(opening(experiments_of(read_records(own))["made up"])) == {"scratch", "global", "mine", ""}


def test_methods_have_colours_that_nothing_else_has():
    colours = [look[0] for look in METHOD_LOOKS]
    assert len(set(colours)) == 4 and not set(colours) & set(PALETTE)
    assert len(set(LINES)) == 6 and not set(LINES) & {*PALETTE, PULL, PUSH}, "lines of a chart look like structures"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_labels_do_not_overlap_and_stay_in_their_order(values):
    gap = LINE / (HEIGHT - 64)
    found = spread(values, 0.0, 1.0, gap)
    ordered = sorted(found)
    assert all(b - a >= gap - 1e-9 for a, b in zip(ordered, ordered[1:], strict=False))
    assert all((a < b) <= (x < y) for a, x in zip(values, found, strict=True) for b, y in zip(values, found, strict=True))
    assert len(values) > 1 or found == values


def test_each_line_is_named_at_its_end_and_there_is_no_legend(every):
    figure = every.picture()
    names = [trace.text[-1].replace("<br>", "") for trace in figure.data[2::3]]
    assert names == [trace.name for trace in figure.data[1::3]] and not figure.layout.showlegend
    assert figure.layout.yaxis.title.text == "Pooled Dice, mean of the classes"


def test_files_folders_and_records_give_the_same_runs(rows, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"torn')
    (tmp_path / "a.failed.jsonl").write_text('{"error": "not a run"}\n')
    assert read_records(path) == read_records(tmp_path) == read_records([path]) == read_records(rows)
    assert read_records([path, tmp_path, *rows]) == read_records(rows), "a run that stands in two files counts once"


@pytest.mark.parametrize(
    ("results", "word"),
    [("/no/such/file.jsonl", "no such"), ([], "no finished run"), ([{"method": "x"}], "lacks labels, split"), ([7], "found int")],
)
def test_bad_results_are_a_sentence(results, word):
    explorer = ResultsExplorer(results)
    assert word in explorer.problem and "Traceback" not in explorer.widget.value


def test_without_results_it_opens_on_invented_runs_that_are_called_so():
    explorer = ResultsExplorer()
    assert explorer.state["experiment"].startswith("invented") and explorer.state["method"] == "global" and not explorer.problem


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "bad.jsonl").write_text("not json\n{}\n")
    assert "bad.jsonl" in ResultsExplorer(tmp_path).problem
    assert "run.json" in ResultsExplorer(runs=[tmp_path]).problem


@pytest.mark.browser
def test_runs_without_classes_and_volumes_are_shown_all_the_same(static_page, tmp_path):  # noqa: F811
    bare = [{"method": m, "labels": 0.1, "split": s, "pooled_dice": 0.8 + 0.01 * s} for m in ("scratch", "x") for s in (0, 1)]
    explorer = ResultsExplorer(bare)
    assert explorer.state["methods"] == ("scratch", "x", "", "") and not explorer.problem, explorer.trace
    tab = shown(static_page, explorer, tmp_path)
    assert "No volumes lie behind this score" in tab.page.inner_text("#explorer")
    assert tab.page.eval_on_selector_all("#metric option", "all => all.map((option) => option.textContent)") == [
        "Pooled Dice", "Pooled Dice, slice by slice",
    ]  # fmt: skip
    tab.page.evaluate("semicon.shown.put({ metric: 'validation' })")
    assert "No run has Validation Dice" in tab.page.text_content(".scores") and not tab.errors


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


def test_a_run_that_is_in_no_file_counts_as_a_run_of_its_own(look, small_phantom, small_run):
    explorer = ResultsExplorer(runs=[look])
    assert cells(explorer.experiments[explorer.state["experiment"]], "pooled_dice", "mean")["threshold", 0.5].mean == look.record["pooled_dice"]
    rows = part_indices(small_phantom, split(small_phantom, 0.5), "test")
    assert look.record["volume_dice"] == evaluate(Threshold(), small_phantom, rows).volume_dice
    kept = look_at_run(small_run)
    same = {**kept.record, "preset": "tiny"}
    assert len(ResultsExplorer([same], runs=[kept]).experiments) == 1
    assert len(ResultsExplorer([{**same, "pooled_dice": same["pooled_dice"] + 0.01}], runs=[kept]).experiments) == 2


def test_stored_and_exported_are_small(rows, look, tmp_path):
    explorer = ResultsExplorer(rows, runs=[look])
    assert len(json.dumps(explorer._repr_mimebundle_())) < 60_000
    assert explorer.to_html(tmp_path / "r.html").stat().st_size < 1e6
    many = [record(f"method {m}", f, s, volumes=40) for m in range(9) for f in (0.05, 0.1, 0.2) for s in range(12)]
    assert ResultsExplorer(many).to_html(tmp_path / "r.html").stat().st_size < 1.5e6


def shown(static_page, explorer, tmp_path, **options):  # noqa: F811
    """The page of an explorer, opened."""
    tab = static_page(explorer.to_html(tmp_path / "r.html"), **options)
    tab.wait(lambda: tab.page.evaluate("document.body.dataset.ready"), "the page")
    return tab


def chosen(tab, **values) -> None:
    """Choose in menus by the texts that stand in them."""
    for name, label in values.items():
        tab.page.select_option(f"#{name}", label=label)


POINTS = """() => semicon.shown.charts()[0].lines.flatMap((line, k) => line.x.map((x, i) =>
  [semicon.shown.state().methods[k], Math.round(x), line.y[i], line.halves[i], line.texts[i].split("\\n")[1]]))"""
THREE = "Array.from(document.querySelectorAll('.three div'), d => d.lastChild.textContent)"


def volumes_of(explorer, state) -> list[list]:
    """Name, split and score of the test volumes behind a point, worst first, from the records themselves."""
    far, one = state["metric"] == "hd95", state["name"]
    found = []
    for record in explorer.experiments[state["experiment"]].records.values():
        for v in (record.get("volumes") or ()) if (record["method"], record["labels"]) == (state["method"], state["labels"]) else ():
            each = v["hd95" if far else "dice"]
            known = [s for s in (each.values() if one == "mean" else [each.get(one)]) if s is not None and np.isfinite(s)]
            found += [[v["name"], record["split"], np.mean(known)]] if known else []
    return sorted(found, key=lambda v: v[2], reverse=far)


def agree(tab, explorer) -> dict:
    """Whether points, numbers and volumes of the page are those of the tables."""
    state = tab.page.evaluate("semicon.shown.state()")
    experiment = explorer.experiments[state["experiment"]]
    known = cells(experiment, state["metric"], state["name"])
    each = [known[m, f] for m in state["methods"] for f in experiment.shares if (m, f) in known]
    points = [[c.method, experiment.shares.index(c.labels), c.mean, np.nan_to_num(c.half)] for c in each]
    found = tab.page.evaluate(POINTS)
    assert [p[:4] for p in found] == points and all(p[4].startswith(f"{c.text} over {c.splits} split") for p, c in zip(found, each, strict=True))
    rows = " ".join(tab.page.text_content(".scores").split())
    assert all(c.text in rows and c.difference_text in rows for c in each)
    rooms = headroom(experiment.scored(state["metric"], state["name"]), state["metric"])
    lines = {place: plus_minus(mean, half, True) for place, mean, half, _ in rooms.itertuples()}
    assert not each or all(f"headroom of {m}" in rows and line in rows for (_, m), line in lines.items())
    cell, room = known.get((state["method"], state["labels"])), lines.get((state["labels"], "scratch"))
    texts = [cell.text, cell.difference_text or "–", room or "–"] if cell else ["–"] * 3
    assert tab.page.evaluate(THREE) == texts
    page, wanted = tab.page.evaluate("semicon.shown.volumes()"), volumes_of(explorer, state)
    assert [v[2] for v in page] == pytest.approx([v[2] for v in wanted], rel=1e-6, abs=1e-6) and sorted(v[:2] for v in page) == sorted(v[:2] for v in wanted)
    return state


@pytest.mark.browser
def test_the_page_shows_what_the_tables_say(static_page, tmp_path, every):  # noqa: F811
    tab = shown(static_page, every, tmp_path)
    for name, experiment in every.experiments.items():
        chosen(tab, experiment=name)
        far, (first, *_, last) = titled("hd95", experiment.runs), experiment.classes
        for metric, kind in (("Pooled Dice", "mean of the classes"), (far, first), ("Dice per volume", last)):
            chosen(tab, metric=metric, name=kind)
            assert agree(tab, every)["experiment"] == name
            assert tab.page.get_by_role("heading", name="Its slices").is_hidden() and "undefined" not in tab.page.inner_text("main")
        chosen(tab, metric="Pooled Dice")
    assert not tab.errors and not tab.outside


@pytest.mark.browser
def test_a_fifth_method_takes_a_place_and_one_that_is_there_changes_places(static_page, tmp_path, every):  # noqa: F811
    tab = shown(static_page, every, tmp_path)
    chosen(tab, experiment="hippocampus, laptop")
    before = tab.page.evaluate("semicon.shown.state()")
    chosen(tab, place1="fixmatch")
    state = tab.page.evaluate("semicon.shown.state()")
    assert before["method"] == "local(block)" and state["method"] == "fixmatch"
    assert state["methods"] == [before["methods"][0], "fixmatch", *before["methods"][2:]]
    chosen(tab, place1="scratch")
    state = tab.page.evaluate("semicon.shown.state()")
    assert state["methods"][:2] == ["fixmatch", "scratch"] and state["method"] == "fixmatch"
    for place in range(4):
        chosen(tab, **{f"place{place}": "none"})
    assert [bool(m) for m in tab.page.evaluate("semicon.shown.state().methods")] == [False] * 3 + [True], "one stays"


BOXES = """() => Array.from(document.querySelectorAll('.chart text.label'))
  .map(t => { const b = t.getBoundingClientRect(); return [b.top, b.bottom, b.right]; })"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1440, 390])
def test_labels_of_lines_do_not_overlap_and_fit(width, static_page, tmp_path, every):  # noqa: F811
    tab = shown(static_page, every, tmp_path, size=(width, 900))
    for name in ("hippocampus, laptop", "sunnybrook, laptop x 0.25"):
        chosen(tab, experiment=name)
        boxes = sorted(tab.page.evaluate(BOXES))
        assert len(boxes) == 4 and all(right <= width for _, _, right in boxes)
        assert all(above[1] <= below[0] + 1 for above, below in zip(boxes, boxes[1:], strict=False))
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.shot(f"results-page-{width}")


def words_of(slices: list[SliceScore], rank: int) -> tuple[str, np.ndarray]:
    """What the page says of a slice, 1 for the worst, and the marks that it draws."""
    s = slices[rank - 1]
    missed, invented = (s.truth > 0) & (s.predicted == 0), (s.truth == 0) & (s.predicted > 0)
    wrong = (s.truth > 0) & (s.predicted > 0) & (s.truth != s.predicted)
    where = f"Slice {s.number} of {s.volume}, rank {rank} of {len(slices)} from the worst, Dice {s.dice:.2f}"
    one = "pixel" if missed.sum() == 1 else "pixels"
    counts = f"{missed.sum():,} {one} missed (red −), {invented.sum():,} invented (yellow +), {wrong.sum():,} of the wrong class (white \\)"
    return f"{where}: {counts}. Light line: the true outline.", 2 * missed + invented + 6 * wrong


@pytest.mark.browser
def test_the_page_leads_down_by_pointer(look, static_page, tmp_path):  # noqa: F811
    tab = shown(static_page, ResultsExplorer(runs=[look]), tmp_path)
    named = tab.page.evaluate("semicon.shown.volumes()")[1][0]
    tab.page.click("[aria-label^='Scores of the test volumes'] [data-point='0 1']", force=True)
    assert tab.page.evaluate("semicon.shown.state().volume") == 1
    wanted = [s for s in look.slices if s.volume == named]
    assert tab.page.evaluate("semicon.shown.slices()") == [s.number for s in wanted]
    tab.press("#rank", "ArrowRight")
    said, marks = words_of(wanted, 2)
    assert tab.page.text_content(".said") == said and tab.page.evaluate("semicon.shown.marks()") == marks.ravel().tolist()
    tab.wait(lambda: len(tab.page.evaluate("semicon.timings.rank || []")) == 1, "one measured redraw")
    tab.shot("results-page-after")


@pytest.mark.browser
def test_slices_that_were_not_kept_are_counted_and_told(static_page, tmp_path, look, monkeypatch):  # noqa: F811
    size = 1000 + look.slices[0].image.size
    monkeypatch.setattr("semicon_nb.explore.results.packed_slices", lambda looks: packed_slices(looks, budget=2 * size))
    tab = shown(static_page, ResultsExplorer(runs=[look]), tmp_path)
    kept = {s.volume: sum(t.volume == s.volume for t in look.slices) for s in look.slices[:2]}
    for place, (volume, *_) in enumerate(tab.page.evaluate("semicon.shown.volumes()")):
        tab.page.select_option("#volume", index=place)
        said = tab.page.text_content(".said")
        wanted = f"rank 1 of {kept[volume]} from" if volume in kept else "None of its slices is among the 2 worst of this run"
        assert wanted in said and tab.page.get_by_role("heading", name="Its slices").is_visible()
        assert tab.page.locator("#explorer canvas").first.is_visible() == (volume in kept)


@pytest.mark.browser
def test_volumes_are_shown_only_behind_the_score_that_they_make(static_page, tmp_path):  # noqa: F811
    tab = shown(static_page, ResultsExplorer(RESULTS / "hippocampus-longer.jsonl"), tmp_path)
    volumes, nothing = (lambda: tab.page.evaluate("semicon.shown.volumes()")), "None lie behind this score"
    for metric, there in {
        "Pooled Dice": True, "Dice per volume": True, "Dice per volume, slice by slice": True,
        "Dice per volume, averaged with neighbours": False, "Validation Dice": False,
    }.items():  # fmt: skip
        chosen(tab, metric=metric)
        assert bool(volumes()) == there and (nothing not in tab.page.inner_text("#explorer")) == there, metric
    assert not tab.errors


@pytest.mark.browser
def test_only_scores_that_a_run_of_the_experiment_has_can_be_chosen(static_page, tmp_path, every):  # noqa: F811
    tab = shown(static_page, every, tmp_path)
    chosen(tab, metric="Dice per volume, averaged with neighbours")
    last = list(every.experiments)[-1]
    chosen(tab, experiment=last)
    offered = tab.page.evaluate("[...document.querySelectorAll('#metric option')].map((option) => option.value)")
    assert offered == [metric for metric in NAMES if cells(every.experiments[last], metric, "mean")] != [*NAMES]
    assert tab.page.evaluate("semicon.shown.charts()[0].lines.some((line) => line.x.length)"), "an empty chart"
    assert not tab.errors


@pytest.mark.browser
def test_a_click_on_a_mean_shows_its_volumes(rows, static_page, tmp_path):  # noqa: F811
    tab = shown(static_page, ResultsExplorer(rows), tmp_path)
    tab.page.click("[aria-label^='Means with'] [data-point='1 1']", force=True)
    assert tab.page.evaluate("[semicon.shown.state().method, semicon.shown.state().labels]") == ["global", 0.1]


HOSTILE = '<img src=x onerror="window.ran=1"> & <b>'


@pytest.mark.browser
def test_names_from_data_reach_the_page_as_text(rows, static_page, tmp_path):  # noqa: F811
    text = json.dumps(rows).replace('"anterior"', json.dumps(HOSTILE)).replace('"global"', json.dumps(f"m {HOSTILE}"))
    explorer = ResultsExplorer([{**r, "data": HOSTILE} for r in json.loads(text.replace('"v0"', json.dumps(f"v {HOSTILE}")))])
    assert not explorer.problem, explorer.trace
    tab = shown(static_page, explorer, tmp_path)
    chosen(tab, name=HOSTILE)
    tab.page.select_option("#volume", index=1)
    assert tab.page.evaluate("semicon.shown.state().name") == HOSTILE
    assert tab.page.locator("img").count() == 0 and not tab.page.evaluate("window.ran")
    assert tab.page.text_content("#explorer").count("onerror") > 9 and not tab.errors


@pytest.mark.browser
def test_a_point_says_at_once_what_it_is(static_page, tmp_path, every):  # noqa: F811
    tab = shown(static_page, every, tmp_path, size=(1440, 1200))
    chart = tab.page.locator(".chart").first
    points, tip = chart.locator("[data-point]"), chart.locator(".tip")
    words = [point.text_content() for point in points.all()]
    points.nth(1).hover(force=True)
    assert tip.is_visible() and tip.text_content() == words[1] and "over 5 splits" in words[1]
    chart.locator("svg").focus()
    tab.page.keyboard.press("ArrowRight")
    assert tip.text_content() == words[2]
    tab.page.keyboard.press("ArrowLeft")
    tab.page.keyboard.press("ArrowLeft")
    assert tip.text_content() == words[0]
    tab.page.keyboard.press("Escape")
    assert tip.is_hidden() and not tab.errors
