"""A run's folder says everything; what is damaged or another's is refused."""

import json

import pytest
from small import TINY, same

from semicon_nb.data import phantom, split
from semicon_nb.methods import METHODS, load_run, recipe_of, train_method
from semicon_nb.predict import Prediction, prediction_of
from semicon_nb.runs import difference, read_history


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=6, size=32)


@pytest.fixture(scope="module")
def part(cohort):
    return split(cohort, labelled=0.3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))


def test_run_folder_says_everything(cohort, part, tmp_path):
    run = train_method("global+local(block)", cohort, part, TINY, 1, tmp_path / "RUN", progress=False)
    files = {path.name for path in run.folder.iterdir()}
    assert files == {"run.json", "split.json", "history.jsonl", "initial.pt", "global.pt", "local.pt", "finetune.pt", "model.pt"}
    facts = json.loads((run.folder / "run.json").read_text())
    wanted = "method data classes grid labels seed preset network stages versions machine seconds"
    assert set(wanted.split()) <= set(facts)
    again = load_run(run.folder)
    assert again.method is METHODS["global+local(block)"] and again.split == part
    assert again.stages == ["initial", "global", "local", "finetune"]
    assert same(again.model.state_dict(), run.model.state_dict()) and same(again.after("finetune").state_dict(), run.model.state_dict())
    assert [step.stage for step in again.history] == ["global"] * 3 + ["local"] * 3 + ["finetune"] * 3
    assert again.cohort.fingerprint == cohort.fingerprint


def test_a_damaged_record_of_a_run_is_named(cohort, part, tmp_path):
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "run.json").write_text('{"stages": ')
    with pytest.raises(ValueError, match="run.json: is damaged"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", resume=True, progress=False)


@pytest.mark.parametrize("one, other, words", [
    ({"a": 1}, {"a": 1}, ""), ({"a": 1}, {"a": 2}, "a is 1 there and 2 here"), ({"a": 1}, {}, "a is 1 there and None here"),
    ({"s": {"x": {"p": 1, "q": 2}}}, {"s": {"x": {"p": 1, "q": 3}}}, "s: x: q is 2 there and 3 here"),
    ({"s": {"x": 1}}, {"s": 4}, "s is {'x': 1} there and 4 here"), ({"s": {"x": 1, "y": 1}}, {"s": {"x": 1}}, "s: y is 1 there and None here"),
])  # fmt: skip
def test_the_first_difference_is_said(one, other, words):
    assert difference(one, other) == words


@pytest.mark.parametrize("change", ["method", "seed", "split", "preset"])
def test_resuming_another_run_is_refused(change, cohort, part, tmp_path):
    given = {"method": "scratch", "seed": 0, "split": part, "preset": TINY}
    train_method(**given, cohort=cohort, out=tmp_path / "RUN", progress=False)
    other = {"method": "global", "seed": 1, "split": split(cohort, 0.6), "preset": TINY.scaled(2)}
    with pytest.raises(ValueError, match="holds another run"):
        train_method(**{**given, change: other[change]}, cohort=cohort, out=tmp_path / "RUN", resume=True, progress=False)


def test_bad_folders_are_named(cohort, part, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*no RUN folder"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        train_method("scratch", cohort, part, TINY, out=tmp_path / "file", progress=False)
    run = train_method("scratch", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    (run.folder / "model.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="model.pt.*damaged"):
        load_run(run.folder)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json.*damaged"):
        load_run(run.folder)


def test_torn_history_is_read(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"stage": "global", "step": 1, "steps": 2, "loss": 1.0, "rate": 0.1, "seconds": 0.1, "dice": null}\n{"stage": "glo')
    assert [step.step for step in read_history(path)] == [1]


def test_a_run_is_loaded_with_the_way_its_network_is_asked(cohort, part, tmp_path):
    run = train_method("best", cohort, part, TINY, out=tmp_path / "RUN", progress=False)
    asked = Prediction(looks=True, neighbours=METHODS["best"].neighbours)
    assert asked.neighbours > 0
    again = load_run(run.folder)
    assert {prediction_of(net) for net in (run.model, again.model, again.after("local"), run.after("initial"))} == {asked}
    assert run.prediction == again.prediction == asked
    plain = train_method(recipe_of(looks=False, neighbours=0), cohort, part, TINY, out=tmp_path / "2", progress=False)
    assert prediction_of(plain.model) == Prediction()
