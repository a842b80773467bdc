"""A short form of `make torture`: each of its sections finds nothing bad, and finds what is bad."""

import json
import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="every try is a forked process"),
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded"),
]


@pytest.fixture
def torture(root, monkeypatch):
    """The folder of benchmarks, on the path."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.setenv("SEMICON_CACHE", "")
    return root / "benchmarks"


def test_malformed_files_of_every_reader(torture, tmp_path):
    from torture.files import section

    found = section(tmp_path, short=True, seed=8)
    assert found["bad"] == 0, json.dumps(found["examples"], indent=1)
    assert len(found["readers"]) == 11


@pytest.mark.slow
def test_nothing_is_lost_by_kills(torture):
    from torture.kills import section

    with TemporaryDirectory() as work:  # pytest's own is closed to the other user that one part becomes
        found = section(Path(work), short=True)
    assert found["lost"] == 0 and found["kills"] >= 10
    assert found["training"]["identical"] == found["training"]["runs"] > 0
    assert "the disk is full" in found["trouble"]["full disk"]


@pytest.mark.slow
def test_load_grows_with_what_is_loaded_and_no_more(torture, tmp_path):
    from torture.load import good, section

    found = section(tmp_path, short=True)
    assert found["volumes"]["volumes"] == 60 and good(found), found


def test_the_same_seed_spoils_the_same_file_in_the_same_way(torture, tmp_path):
    from torture.readers import READERS

    for reader in READERS:
        if reader.name not in ("NIfTI", "PNG", "folder", "split", "results", "archive"):
            continue  # these need a training
        for name in "ab":
            place = tmp_path / name / reader.name
            place.mkdir(parents=True)
            reader.make(place)
        for target in reader.targets:
            for spoiler in target.spoilers:
                if spoiler.__name__ == "spoil_place":
                    continue
                places = [tmp_path / name / reader.name / target.path for name in "ab"]
                content = places[0].read_bytes()
                results = []
                for place in places:
                    place.write_bytes(content)
                    results.append((spoiler(place, random.Random(3)), place.stat().st_size))
                    place.write_bytes(content)
                assert results[0] == results[1], (reader.name, spoiler.__name__)


def _crash() -> str:
    return {}["nothing"]


def _refuse() -> str:
    raise ValueError("scan.nii: cannot be read")


def _wrong() -> str:
    from torture.trial import Wrong

    raise Wrong("a number that cannot be meant")


def _large() -> str:
    return str(len(bytearray(3 << 30)))


def _forever() -> str:
    while True:
        pass


@pytest.mark.parametrize("job, kind", [
    (_crash, "traceback"), (_refuse, "refused"), (_wrong, "taken"), (_forever, "hang"), (lambda: "sound", "right"), (lambda: "odd", "other"),
    (lambda: os.kill(os.getpid(), 9), "died"),
    pytest.param(_large, "memory", marks=pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")),
])  # fmt: skip
def test_each_kind_of_outcome_is_told(job, kind, torture):
    from torture.trial import attempt

    assert attempt(job, ("scan.nii",), "sound", patience=2 if kind == "hang" else 30).kind == kind


def test_a_sentence_without_the_file_and_a_value_behind_a_checksum_are_bad(torture):
    from torture.trial import attempt

    assert attempt(_refuse, ("mask.nii",)).kind == "unnamed"
    assert attempt(lambda: "odd", (), "sound", checked=True).kind == "taken"


def test_the_command_says_what_is_bad_and_writes_its_figures(torture, tmp_path, monkeypatch, capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location("torture_command", torture / "torture.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(program, "loss", lambda short, seed: {"good": not short, "cases": 3})
    out = tmp_path / "figures.json"
    assert program.main(["--only", "loss", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["loss"]["cases"] == 3
    assert program.main(["--only", "loss", "--short", "--out", str(out)]) == 1
    assert "bad: loss" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        program.main(["--only", "luck"])


def test_loss_runs_as_the_program_that_it_is(torture, tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("torture_command", torture / "torture.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = program.loss(True, 0)
    assert found["good"] and found["cases"] == 200, found
    assert Path(torture / "torture_loss.py").is_file()
