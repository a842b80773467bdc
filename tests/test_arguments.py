"""The words of the command, what it says to wrong ones, and that neither waits for PyTorch."""

import fnmatch
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semicon_nb import __version__, arguments, cli, methods, names
from semicon_nb import data as data_module
from semicon_nb.cli import main
from semicon_nb.data import cohorts, phantom
from semicon_nb.stages import PRESETS

COMMANDS = ("demo", "methods", "data", "train", "evaluate", "predict", "explore", "experiment", "table")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"] if command else ["--help"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0 and "usage: semicon-nb" in out
    assert command or all(name in out for name in COMMANDS)


def test_the_words_that_scripts_use_are_understood() -> None:
    parse = cli.make_parser().parse_args
    words = "train global+local(block) --data phantom --labels 0.1 --seed 0 --out RUN --preset paper --resume".split()
    assert vars(parse(words)) | {"method": "global+local(block)", "labels": 0.1, "preset": "paper", "resume": True} == vars(parse(words))
    assert parse("train scratch --scale 0.5 --out RUN".split()).scale == 0.5
    assert parse("evaluate RUN --data F --part all --json".split()).json
    assert parse("predict RUN IMAGE -o MASK".split()).out == Path("MASK")
    assert parse("explore RUN -o PAGE.html".split()).out == Path("PAGE.html")
    assert parse("experiment --methods a,b --labels 0.1,0.2 --splits 0,1".split()).labels == (0.1, 0.2)


HEAVY = ("torch", "monai", "pandas", "scipy", "numpy", "nibabel", "sklearn")
AT_ONCE = {
    "": (0, "usage: semicon-nb"),
    "--help": (0, "usage: semicon-nb"),
    "--version": (0, f"semicon-nb {__version__}"),
    "methods": (0, "mean-teacher"),
    "train --help": (0, "--device"),
    "trian scratch": (2, "did you mean train?"),
    "fly": (2, "expected one of demo, methods"),
    "train": (2, "METHOD, --out"),
    "train scratch": (2, "--out"),
    "train scratch --lables 0.1 --out x": (2, "did you mean --labels?"),
    "train scratsh --out x": (2, "did you mean scratch?"),
    "train Mean_Teacher --out x": (2, "did you mean mean-teacher?"),
    "train scratch --preset labtop --out x": (
        2,
        "--preset: found 'labtop', expected one of demo, laptop, thorough, paper; did you mean laptop?",
    ),
    "train scratch --device gpu --out x": (2, "--device"),
    "train scratch --data hipocampus --out x": (2, "did you mean hippocampus?"),
    "train scratch --data ./nowhere --out x": (2, "./nowhere: there is no such folder"),
    "train scratch --labels 5 --out x": (2, "--labels: found 5, expected a labelled share above 0 and up to 1; 5 % is 0.05"),
    "train scratch --labels 100 --out x": (2, "100 % is 1, for all labels"),
    "train scratch --labels many --out x": (2, "--labels: found 'many'"),
    "train scratch --labels nan --out x": (2, "--labels: found nan"),
    "demo --labels 10": (2, "10 % is 0.1"),
    "evaluate nowhere": (2, "nowhere: is no RUN folder"),
    "evaluate nowhere --part tset": (2, "--part: found 'tset', expected one of all, train, val, test; did you mean test?"),
    "predict nowhere scan.nii -o mask.nii": (2, "nowhere: is no RUN folder"),
    "experiment --methods scratch,bset": (2, "method: found 'bset'"),
    "experiment --labels 0.1,20": (2, "20 % is 0.2"),
    "experiment --labels 0.1,few": (2, "--labels: found 'few'"),
    "experiment --splits 0,1.5": (2, "--splits: found '1.5', expected whole numbers such as 0,1,2"),
    "experiment --seeds ,": (2, "--seeds: found nothing"),
    "experiment --workers -1": (2, "--workers: found -1, expected a whole number from 1 upwards"),
    "experiment --workers 0": (2, "--workers: found 0, expected a whole number from 1 upwards"),
    "experiment --splits 0,99999999999999999999": (2, "--splits: found 99999999999999999999, expected a whole number up to 9223372036854775807"),
    "experiment --seeds 9223372036854775808": (2, "--seeds: found 9223372036854775808, expected a whole number up to"),
    "train scratch --seed 99999999999999999999 --out x": (2, "--seed: found 99999999999999999999, expected a whole number up to"),
    "train scratch --seed=-1 --out x": (2, "--seed: found -1, expected a whole number from 0 upwards"),
    "demo --seed 99999999999999999999": (2, "--seed: found 99999999999999999999"),
    "train scratch --scale 1e306 --out x": (2, "--scale: found 1e+306, expected a number above 0 and up to 1000000"),
    "experiment --scale inf": (2, "--scale: found inf"),
    "experiment --scale nan": (2, "--scale: found nan"),
    "demo --quick 0": (2, "--quick: found 0.0, expected a number above 0"),
    "data --download": (2, "--download: found no cohort that it is for, expected one; name it"),
    "data --size 3 --axis 1": (2, "--size: found no cohort"),
    "data --sheet x.png": (2, "--sheet: found no cohort"),
    "data phantom --sheet x.nii.gz": (2, "--sheet: found x.nii.gz, expected a name that ends in .png"),
    "train scratch --split s.json --labels 0.9 --out x": (2, "--labels: found 0.9 beside --split"),
    "train scratch --split s.json --spread slices --out x": (2, "--spread: found slices beside --split"),
    "table --metric dice": (2, "did you mean pooled_dice?"),
}


@pytest.mark.parametrize("words", AT_ONCE)
def test_help_and_wrong_words_do_not_wait_for_pytorch(words: str, tmp_path: Path) -> None:
    found = f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    code = f"import sys\nfrom semicon_nb.cli import main\ntry: code = main(sys.argv[1:])\nexcept SystemExit as e: code = e.code\n{found}\nsys.exit(code)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, env=environment, cwd=tmp_path)
    wanted, said = AT_ONCE[words]
    assert done.returncode == wanted and done.stdout.endswith("HEAVY []\n"), done.stderr
    assert said in (done.stderr if wanted else done.stdout)
    assert not wanted or (done.stderr.count("\n") == 1 and done.stderr.startswith("semicon-nb")), "one line says what is wrong"


def test_names_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(names.METHOD_LINES) == list(methods.METHODS) and list(names.PRESET_NAMES) == list(PRESETS)
    for name, method in methods.METHODS.items():
        sees_all = any(stage.images == "train" for stage in method.stages)
        assert names.METHOD_LINES[name][0] == (names.ALL if sees_all else names.LABELLED), name
    assert list(names.COHORT_LINES) == list(data_module.COHORTS) and set(cli.FUNCTIONS) == set(arguments.COMMANDS)
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(cohorts, "cohort_folders", lambda folder, data=None, marker="": asked.append((folder, marker)) or [])
    for name, known in names.COHORT_LINES.items():
        asked.clear()
        if known.folder:
            with pytest.raises(FileNotFoundError, match="download=True" if known.download else "not found"):
                data_module.load(name)
            assert asked[0][0] == known.folder and fnmatch.fnmatch(asked[0][1], known.marker)
    with pytest.raises(ValueError, match=f"part: found 'none', expected one of {', '.join(names.PART_NAMES)}"):
        data_module.part_indices(phantom(subjects=3, size=32), data_module.split(phantom(subjects=3, size=32), 1), "none")


@pytest.mark.parametrize("text, value", [
    ("0.05", 0.05), ("5%", 0.05), ("5 %", 0.05), ("100%", 1.0), ("1", 1.0), ("7%", 0.07),
    ("0.7%", 0.007), ("0.30000000000000004", 0.3), ("1e-20", 1e-20), ("0.3333333333333333", 1 / 3),
])  # fmt: skip
def test_a_share_may_be_written_in_percent(text: str, value: float) -> None:
    assert arguments.share(text) == value
    assert arguments.shares(f"{text},0.5,0.5") == (value, 0.5)


def test_a_folder_that_is_not_there_is_told_from_a_misspelt_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    Path("file").touch()
    for word, said in {
        "sunnybrok": "neither a cohort .* nor a folder in .*did you mean sunnybrook",
        str(tmp_path / "scan"): "no such folder; did you mean .*scans",
        "other/scans": "no such folder; check the path",
        "file": "is a file, expected a cohort",
    }.items():
        with pytest.raises(FileNotFoundError, match=said):
            names.check_place(word)
        with pytest.raises(FileNotFoundError, match=said):
            data_module.load(word)
    names.check_place("scans")
