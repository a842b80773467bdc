"""A run's folder says everything; what is damaged or another's is refused."""

import json
import shutil

import pytest
from small import TINY, same

from semicon_nb.data import split
from semicon_nb.methods import METHODS, load_run, recipe_of, train_method
from semicon_nb.predict import Prediction, prediction_of
from semicon_nb.runs import difference, read_history

pytestmark = pytest.mark.usefixtures("own_cache")


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


@pytest.fixture(scope="module")
def finished(cohort, part, tmp_path_factory):
    return train_method("scratch", cohort, part, TINY, out=tmp_path_factory.mktemp("finished") / "RUN", progress=False, cache=False).folder


def rewritten(finished, tmp_path, change):
    folder = shutil.copytree(finished, tmp_path / "RUN")
    facts = json.loads((folder / "run.json").read_text())
    change(facts)
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("change, words", [
    (lambda facts: facts.update(classes=["background", "left", "Left "]), "two of its classes have one name"),
    (lambda facts: facts.update(classes=["background", 1, 2]), r"classes\[1\] is 1, expected text"),
    (lambda facts: facts["network"].update(width=1 << 40), "'network' makes no network|another network"),
    (lambda facts: facts["network"].update(depth=1 << 40), "'network' makes no network"),
    (lambda facts: facts["network"].update(unknown=1), "'network' makes no network"),
    (lambda facts: facts["grid"].update(size=1 << 20), "size: found 1048576, expected"),
    (lambda facts: facts["grid"].update(orientation=["R", "A", "S"]), "grid.orientation is"),
    (lambda facts: facts["codes"].update(classes=[[0, 0, 0]]), "no pairs"),
    (lambda facts: facts["seen"].update(shape=[[1, 2], [3, 4]]), "'seen' has a shape"),
    (lambda facts: facts["stages"].update({"../../x": {}}), "no name of a file"),
    (lambda facts: facts["method"].update(neighbours=-1), "neighbours"), (lambda facts: facts.update(data={}), "it lacks data.cohort"),
    (lambda facts: facts.pop("learned") and facts.update(learned=3), "learned is 3, expected an object"),
])  # fmt: skip
def test_a_record_that_cannot_be_right_is_refused_in_a_sentence(change, words, finished, tmp_path):
    with pytest.raises(ValueError, match=words) as refused:
        load_run(rewritten(finished, tmp_path, change))
    assert "RUN" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [{"cohort": "phantom", "size": "64"}, {"cohort": "phantom", "other": 1}, {"cohort": "a\0b"}])
def test_data_that_cannot_be_loaded_is_told_with_the_run(data, finished, tmp_path):
    run = load_run(rewritten(finished, tmp_path, lambda facts: facts.update(data=data)))
    with pytest.raises((ValueError, FileNotFoundError), match="RUN: the scans that") as refused:
        run.cohort  # noqa: B018
    assert "--data" in str(refused.value)


def test_a_history_that_is_no_text_or_no_file_is_named_or_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    whole = {"stage": "fit", "step": 1, "steps": 2, "loss": 1.0, "rate": 0.1, "seconds": 0.1, "dice": None}
    lines = [json.dumps(whole).encode(), b"\xff\xfe", json.dumps(whole | {"loss": "x"}).encode(), b"[" * 100_000, b""]
    path.write_bytes(b"\n".join(lines))
    assert [step.step for step in read_history(path)] == [1]
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="history.jsonl: is a folder, pipe or device"):
        read_history(path)
