"""What the scripts in benchmarks/ promise beside their numbers: nothing is done twice, measured unfairly, or taken for something else."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def place(root, monkeypatch):
    """The folder of benchmarks, on the path."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return root / "benchmarks"


def test_a_search_goes_on_from_the_stored_tries(place):
    import search

    stored = {json.loads(line)["key"] for line in (place / "results" / "search.jsonl").read_text(encoding="utf-8").splitlines()}
    planned = {search.key_of(candidate, "hippocampus", 0.05, 0): candidate for candidate in search.CANDIDATES}
    assert len(stored) == 33 and stored <= set(planned)
    assert {planned[key]["method"] for key in set(planned) - stored} == {"best"}, "what the page says was not tried"
    assert search.key_of(search.CANDIDATES[0], "hippocampus", 0.05, 1) not in planned


def test_all_losses_are_timed_equally_often(monkeypatch):
    import loss

    asked: dict[str, list] = {}

    def child(name, sizes, repeats, settings=None):
        asked.setdefault(name, []).append(repeats)
        return [{"seconds": 1.0, "bytes": 1, "rate": 1.0} for _ in sizes]

    monkeypatch.setitem(sys.modules, "peers", SimpleNamespace(PEERS={loss.OURS: None, "another": None}, MATRICES={}))
    monkeypatch.setattr(loss, "child", child)
    loss.sweep([1024, 8192], 2, quick=False)
    assert asked[loss.OURS] == asked["another"] == [loss.REPEATS] * 2


def test_times_are_of_the_data_that_was_named(place, monkeypatch, capsys, tmp_path):
    import train

    monkeypatch.setattr(train, "rows_of", lambda *arguments: [])
    written: list = []
    monkeypatch.setattr(train, "write_atomic", lambda path, text: written.append(path))
    with pytest.raises(SystemExit) as stopped:
        train.main(["--data", str(tmp_path / "none")])
    assert stopped.value.code == 2 and "--data: found" in (said := capsys.readouterr().err) and "none" in said and said.count("\n") == 1

    def missing(*arguments, **named):
        raise FileNotFoundError("there is none")

    monkeypatch.setattr(train, "hippocampus", missing)
    assert train.main([])["cohort"] == "phantom" and "the phantom's" in capsys.readouterr().err
    assert not written, "results/train.json holds times of hippocampi"
    train.main(["--out", str(tmp_path / "train.json")])
    assert written == [tmp_path / "train.json"]
    people = replace(train.phantom(subjects=20, size=64), name="hippocampus")
    monkeypatch.setattr(train, "hippocampus", lambda *arguments, **named: people)
    train.main(["--data", str(tmp_path)])
    assert len(written) == 1, "of another folder"
    train.main([])
    assert written[1:] == [place / "results" / "train.json"]


@pytest.mark.parametrize(("words", "said"), [
    (["--methods", "local(strde)"], "--methods: found 'local(strde)', expected one of"), (["--preset", "laptpo"], "did you mean laptop?"),
    (["--workers", "0"], "--workers: found 0, expected a whole number from 1"), (["--splits", "-1"], "--splits: found -1, expected"),
    (["--splits", "0"], "--splits: found 0, expected"), (["--scale", "0"], "--scale: found 0"), (["--grids", "hippocampi"], "did you mean hippocampus"),
    (["--labels", "5"], "--labels: found 5, expected a labelled share"), (["--labels", "few"], "expected a share such as"),
    (["--device", "cudda"], "cudda"),
])  # fmt: skip
def test_reproduce_refuses_in_a_sentence(words, said, monkeypatch, capsys, tmp_path):
    import reproduce

    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--grids", "phantom", "--out", str(tmp_path / "out"), *words])
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        code = reproduce.main()
    except SystemExit as stopped:
        code = stopped.code
    told = capsys.readouterr()
    assert code == 2 and said in told.err and told.err.count("\n") == 1 and not told.out
    assert not list((tmp_path).glob("out/*.jsonl"))


def test_reproduce_tells_which_runs_are_left_out(monkeypatch, capsys, tmp_path):
    """A table of what is left is no reproduction: 1, for a script."""
    import reproduce

    from semicon_nb import experiment

    def failing(name, results, **plan):
        experiment.note(results / f"{name}.jsonl", {"method": "scratch", "labels": 0.1, "split": 0, "key": "k"}, ValueError("the power went"))
        return ()

    monkeypatch.setattr(experiment, "run_grid", failing)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--grids", "hippocampus-paper", "--out", str(tmp_path)])
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert reproduce.main() == 1
    assert "reproduce.py: left out, because they failed: ValueError: the power went; all of it is told in" in capsys.readouterr().err


def test_the_search_for_a_width_is_not_made_where_slices_have_no_order(monkeypatch, capsys, tmp_path):
    import neighbours

    from semicon_nb.data import phantom

    cohort = phantom(subjects=3, size=32)
    cohort.position[:] = float("nan")
    monkeypatch.setattr(neighbours, "load", lambda name: cohort)
    monkeypatch.setattr(sys, "argv", ["neighbours.py", "--data", "hearts", "--out", str(tmp_path / "n.json")])
    assert neighbours.main() == 2 and "--data: found hearts, where the order of slices is not known" in capsys.readouterr().err
