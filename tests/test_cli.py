"""The command: its words, its numbers, and what it says when something is wrong."""

import fnmatch
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from semicon_nb import __version__, arguments, cli, experiment, methods, names
from semicon_nb import data as data_module
from semicon_nb.cli import main
from semicon_nb.data import cohorts, phantom, split
from semicon_nb.methods import train_method
from semicon_nb.show import PALETTE, rgb
from semicon_nb.stages import PRESETS

TINY = replace(PRESETS["demo"], name="tiny", width=4).scaled(0.04)
COMMANDS = ("demo", "methods", "data", "train", "evaluate", "predict", "explore", "experiment", "table")
AFFINE = np.array([[0, 0.9, 0.1, -40], [0.8, 0, 0, 12], [0, 0.1, -1.1, 3], [0, 0, 0, 1.0]])


@pytest.fixture(scope="session")
def cohort(small_phantom):
    return small_phantom


@pytest.fixture(scope="session")
def made(small_run) -> Path:
    """A finished run of a few steps."""
    return small_run.folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset of a few steps, by the name tiny."""
    monkeypatch.setitem(methods.PRESETS, "tiny", TINY)
    monkeypatch.setitem(names.PRESET_NAMES, "tiny", "a few steps")


@pytest.fixture(scope="session")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the Decathlon's layout that no run has seen."""
    other, folder = phantom(subjects=3, size=40, seed=5), tmp_path_factory.mktemp("task") / "Task99_Other"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    pairs = []
    for v, volume in enumerate(other.volumes[:4]):
        for name, stack in (("imagesTr", other.images.astype(np.float32) * 900), ("labelsTr", other.labels)):
            voxels = np.moveaxis(stack[other.volume == v], 0, 2)
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), folder / name / f"{volume.name}.nii.gz")
        pairs.append({"image": f"./imagesTr/{volume.name}.nii.gz", "label": f"./labelsTr/{volume.name}.nii.gz"})
    labels = {"0": "background", "1": "anterior", "2": "posterior"}
    (folder / "dataset.json").write_text(json.dumps({"name": "Other", "labels": labels, "training": pairs}))
    return folder


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """Run a command that must fail: exit code 2, one line, nothing on the standard output."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"semicon-nb {arguments[0]}: ") and "Traceback" not in err
    return err


# ------------------------------------------------------------------------------------------------ words


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


@pytest.mark.parametrize("words", [["fly"], ["train", "scratch"], ["train", "scratch", "--out", "x", "--labels", "many"]])
def test_words_that_are_none_end_with_code_2(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and "semicon-nb" in capsys.readouterr().err


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


@pytest.mark.parametrize("text, value", [("0.05", 0.05), ("5%", 0.05), ("5 %", 0.05), ("100%", 1.0), ("1", 1.0), ("7%", 0.07)])
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


# ------------------------------------------------------------------------------------------------ data


def test_data_lists_and_describes(capsys: pytest.CaptureFixture, decathlon: Path, tmp_path: Path) -> None:
    assert main(["data"]) == 0 and "sunnybrook" in capsys.readouterr().out
    assert main(["data", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["cohorts"]] == list(names.COHORT_LINES)
    assert main(["data", str(decathlon), "--size", "32", "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "4 volumes" in capsys.readouterr().out and Image.open(tmp_path / "sheet.png").size[0] > 200
    assert main(["data", str(decathlon), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["volumes"]) == 4


def test_data_says_which_cohorts_are_where(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMICON_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data" / "sunnybrook").mkdir(parents=True)
    (tmp_path / "data" / "sunnybrook" / "index.csv").touch()
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "generated" in lines["phantom"] and "download, 27 MB" in lines["hippocampus"] and "not here" in lines["mmwhs"]
    assert f"sunnybrook is in {tmp_path / 'data' / 'sunnybrook'}" in out and "data hippocampus --download" in out


@pytest.mark.parametrize("people, said", [(6, "--labels 0.2 --size 32 --out RUN"), (2, "before training, .*at least 3")])
def test_data_says_how_to_train_on_it(people: int, said: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    for side in ("images", "labels"):
        (tmp_path / "scans" / side).mkdir(parents=True)
    for v in range(people):
        for side, top in (("images", 255), ("labels", 3)):
            voxels = np.random.default_rng(v).integers(0, top, (16, 16, 3)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "scans" / side / f"p{v}.nii.gz")
    assert main(["data", str(tmp_path / "scans"), "--size", "32"]) == 0
    last = capsys.readouterr().out.split("Next:")[1]
    assert re.search(said, last)


def test_a_channel_is_passed_on_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict] = []
    monkeypatch.setattr(data_module, "load", lambda place, **settings: given.append(settings))
    cli.load_named("folder")
    cli.load_named("folder", channel="1")
    assert given == [{}, {"channel": "1"}]
    parse = arguments.make_parser().parse_args
    for words in ("data F", "train scratch --out R", "evaluate R", "experiment"):
        assert parse([*words.split(), "--channel", "1"]).channel == "1" and parse(words.split()).channel is None


def test_data_that_is_not_there(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert "nowhere" in refused(capsys, "data", "nowhere")
    assert str(tmp_path) in refused(capsys, "data", tmp_path)
    assert "cannot be downloaded" in refused(capsys, "data", "sunnybrook", "--download")


# ------------------------------------------------------------------------------------------------ train


def test_train_makes_a_run_and_does_not_touch_one(tiny, capsys: pytest.CaptureFixture, tmp_path: Path, decathlon: Path) -> None:
    words = [
        "train",
        "scratch",
        "--data",
        decathlon,
        "--labels",
        "0.5",
        "--preset",
        "tiny",
        "--size",
        "32",
        "--out",
        tmp_path / "run",
        "--quiet",
    ]
    assert main([str(w) for w in words]) == 0
    out = capsys.readouterr().out
    assert "semicon-nb evaluate" in out and (tmp_path / "run" / "model.pt").is_file()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert "in use" in refused(capsys, *words)
    assert main([str(w) for w in [*words, "--resume"]]) == 0
    assert "another run" in refused(capsys, *words, "--resume", "--seed", "1")
    assert "another run" in refused(capsys, *words, "--resume", "--scale", "2")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_train_with_a_scale_takes_that_share_of_every_stage(tiny, tmp_path: Path, decathlon: Path) -> None:
    words = f"train global --data {decathlon} --labels 0.5 --preset tiny --size 32 --scale 0.5 --out {tmp_path / 'run'} --quiet"
    assert main(words.split()) == 0
    trained = json.loads((tmp_path / "run" / "run.json").read_text())["trained"]
    assert {name: about["steps"] for name, about in trained.items()} == {
        name: max(1, round(0.5 * TINY.stages[name].steps)) for name in ("global", "finetune")
    }


def test_train_takes_a_network_of_the_working_folder(
    tiny, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    Path("tiny_network.py").write_text("from torch import nn\n\ndef make(classes):\n    return nn.Conv2d(1, classes, 3, padding=1)\n")
    words = "train scratch --labels 0.5 --preset tiny --size 32 --out run --quiet --model"
    assert "no_such_module" in refused(capsys, *words.split(), "no_such_module:make")
    assert "global asks for" in refused(capsys, *words.replace("scratch", "global").split(), "tiny_network:make")
    assert not Path("run").exists()
    assert main([*words.split(), "tiny_network:make"]) == 0
    assert json.loads(Path("run", "run.json").read_text())["network"] == {"model": "tiny_network:make", "classes": 3}
    capsys.readouterr()
    assert main(["evaluate", "run", "--json", "--model", "tiny_network:make"]) == 0
    assert json.loads(capsys.readouterr().out)["volumes"]


def test_train_refuses_what_it_cannot_do(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "global+local(block)" in refused(capsys, "train", "scratsh", "--out", out)
    assert "laptop" in refused(capsys, "train", "scratch", "--preset", "desktop", "--out", out)
    assert "scale: found 0.0" in refused(capsys, "train", "scratch", "--scale", "0", "--out", out)
    assert "0.0001" in refused(capsys, "train", "scratch", "--labels", "0.0001", "--out", out)
    assert "1.5 % is 0.015" in refused(capsys, "train", "scratch", "--labels", "1.5", "--out", out)
    assert "spread: found 1, expected" in refused(capsys, "train", "scratch", "--spread", "1", "--out", out)
    assert "no such split" in refused(capsys, "train", "scratch", "--split", tmp_path / "s.json", "--out", out)
    assert not out.exists()


def interrupt(*arguments: object, **named: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_command_says_how_to_go_on(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path, scan: Path
) -> None:
    monkeypatch.setattr(methods, "train_method", interrupt)
    assert main(["train", "global+local(block)", "--out", str(tmp_path / "a run")]) == 130
    assert f"semicon-nb train 'global+local(block)' --out '{tmp_path}/a run' --resume" in capsys.readouterr().err
    monkeypatch.setattr(cli, "predict_one", interrupt)
    words = ["predict", str(made), str(scan), str(scan.with_name("other.nii")), "-o", str(tmp_path / "masks")]
    assert main(words) == 130
    assert f"semicon-nb {shlex.join(words)} --force" in capsys.readouterr().err


@pytest.mark.parametrize("words, passed", [([], {"device": "auto"}), (["--device", "cpu"], {"device": "cpu"})])
def test_the_device_is_passed_on(words: list[str], passed: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_run) -> None:
    given: list[dict] = []
    monkeypatch.setattr(methods, "train_method", lambda *arguments, **named: given.append(named) or small_run)
    assert main(["train", "scratch", "--labels", "0.5", "--size", "32", "--out", str(tmp_path / "run"), *words]) == 0
    assert {name: value for name, value in given[0].items() if name == "device"} == passed


def test_what_train_says_next_can_be_typed(
    tiny, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decathlon: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(f"train scratch --data {decathlon} --labels 0.5 --preset tiny --size 32 --quiet --out".split() + ["my run"]) == 0
    lines = capsys.readouterr().out.split("Next:")[1].strip().splitlines()
    said = {shlex.split(line)[1]: shlex.split(line)[1:] for line in lines}
    assert set(said) == {"evaluate", "explore", "predict"} and "my run.html" in said["explore"]
    assert Path(said["predict"][2]).parent.name == "imagesTr"
    assert main(said["evaluate"]) == 0 and main(said["predict"]) == 0 and Path("mask.nii.gz").is_file()
    assert arguments.make_parser().parse_args(said["explore"]).run == Path("my run")


# ------------------------------------------------------------------------------------------------ evaluate


def test_evaluate_prints_one_object(capsys: pytest.CaptureFixture, made: Path) -> None:
    found = {}
    for part in ("all", "train", "val", "test"):
        assert main(["evaluate", str(made), "--data", "phantom", "--part", part, "--json"]) == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 1
        found[part] = json.loads(out)
        assert {"pooled_dice", "volume_dice", "hd95", "per_class", "volumes"} <= set(found[part])
    names = {part: {volume["name"] for volume in report["volumes"]} for part, report in found.items()}
    assert names["train"] | names["val"] | names["test"] == names["all"] and not names["train"] & names["test"]
    assert main(["evaluate", str(made)]) == 0
    assert "pooled Dice" in capsys.readouterr().out


def test_evaluate_on_a_folder_that_the_run_has_never_seen(capsys: pytest.CaptureFixture, made: Path, decathlon: Path) -> None:
    assert main(["evaluate", str(made), "--data", str(decathlon), "--part", "all", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["volumes"]) == 4 and 0 <= report["pooled_dice"] <= 1
    assert "--part all" in refused(capsys, "evaluate", made, "--data", decathlon, "--part", "test")


def test_evaluate_agrees_with_the_library(capsys: pytest.CaptureFixture, made: Path, cohort) -> None:
    from semicon_nb.data import part_indices
    from semicon_nb.evaluate import evaluate
    from semicon_nb.methods import load_run

    run = load_run(made)
    wanted = evaluate(run.model, cohort, part_indices(cohort, run.split, "test")).to_dict()
    assert main(["evaluate", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(wanted))


# ------------------------------------------------------------------------------------------------ predict


@pytest.fixture
def scan(tmp_path: Path, cohort) -> Path:
    """A scan of an odd shape, with an oblique affine, a slope and both orientation codes."""
    voxels = np.moveaxis(cohort.images[:5, :29, :31].astype(np.float32) * 700, 0, 2).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=1, strip_shears=True)
    image.header.set_slope_inter(2.0, 10.0)
    for words in ("descrip", "db_name", "aux_file", "intent_name", "data_type"):
        image.header[words] = b"SURNAME"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"SURNAME"))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "new folder/mask.nii.gz"])
def test_a_mask_lies_on_its_scan(made: Path, scan: Path, tmp_path: Path, name: str) -> None:
    assert main(["predict", str(made), str(scan), "-o", str(tmp_path / name)]) == 0
    mask, image = nibabel.load(tmp_path / name), nibabel.load(scan)
    assert mask.shape == image.shape == (29, 31, 5) and np.array_equal(mask.affine, image.affine)
    for form in ("sform", "qform"):
        (here, code), (there, wanted) = (getattr(one, f"get_{form}")(coded=True) for one in (mask, image))
        assert code == wanted and np.allclose(here, there)
    values = np.asanyarray(mask.dataobj)
    content = (tmp_path / name).read_bytes()
    assert b"SURNAME" not in (gzip.decompress(content) if name.endswith(".gz") else content), "words of the scan's header"
    assert values.dtype == np.uint8 and set(np.unique(values)) <= {0, 1, 2} and mask.header.get_zooms() == image.header.get_zooms()


def test_a_mask_is_what_the_library_says(made: Path, scan: Path, tmp_path: Path) -> None:
    from semicon_nb.data import Grid
    from semicon_nb.methods import load_run
    from semicon_nb.predict import segment

    main(["predict", str(made), str(scan), "-o", str(tmp_path / "mask.nii.gz")])
    run = load_run(made)
    wanted = segment(run.model, scan, Grid(**run.settings["grid"]))
    assert np.array_equal(np.asanyarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj), wanted)
    first = (tmp_path / "mask.nii.gz").read_bytes()
    assert len(np.unique(wanted)) > 1
    assert main(["predict", str(made), str(scan), "-o", str(tmp_path / "mask.nii.gz"), "--force"]) == 0
    assert (tmp_path / "mask.nii.gz").read_bytes() == first


def test_a_picture_becomes_a_labelled_picture(made: Path, tmp_path: Path, cohort) -> None:
    Image.fromarray((cohort.images[3, :30].astype(np.float32) * 255).astype(np.uint8)).save(tmp_path / "slice.png")
    assert main(["predict", str(made), str(tmp_path / "slice.png"), "-o", str(tmp_path / "mask.png")]) == 0
    mask = Image.open(tmp_path / "mask.png")
    assert mask.mode == "P" and mask.size == (32, 30) and set(np.unique(np.asarray(mask))) <= {0, 1, 2}
    palette = np.array(mask.getpalette()).reshape(-1, 3)
    assert tuple(palette[0]) == (0, 0, 0) and tuple(palette[1]) == rgb(PALETTE[1])


def test_predict_refuses_what_it_cannot_do_and_leaves_nothing(
    capsys: pytest.CaptureFixture, made: Path, scan: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "out" / "mask.nii.gz"
    assert "missing.nii.gz" in refused(capsys, "predict", made, tmp_path / "missing.nii.gz", "-o", mask)
    assert "nifti" in refused(capsys, "predict", made, scan, "-o", tmp_path / "out" / "mask.png")
    assert "overwritten" in refused(capsys, "predict", made, scan, "-o", scan)
    (tmp_path / "scan.txt").write_text("no scan")
    assert ".nii" in refused(capsys, "predict", made, tmp_path / "scan.txt", "-o", mask)
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(scan.read_bytes()[:900])
    assert "torn.nii.gz" in refused(capsys, "predict", made, torn, "-o", mask)
    for name, voxels in (("nan", np.full((9, 9, 3), np.nan, np.float32)), ("constant", np.ones((9, 9, 3), np.float32))):
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / f"{name}.nii.gz")
        assert f"{name}.nii.gz" in refused(capsys, "predict", made, tmp_path / f"{name}.nii.gz", "-o", mask)
    assert "no RUN folder" in refused(capsys, "predict", tmp_path / "norun", scan, "-o", mask)
    assert not mask.parent.exists()


def test_predict_overwrites_a_mask_only_when_it_is_told(capsys: pytest.CaptureFixture, made: Path, scan: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(b"outlines of a week")
    assert "--force" in refused(capsys, "predict", made, scan, "-o", mask) and mask.read_bytes() == b"outlines of a week"
    assert main(["predict", str(made), str(scan), "-o", str(mask), "--force"]) == 0
    assert nibabel.load(mask).shape == (29, 31, 5)
    assert "is an image itself" in refused(capsys, "predict", made, scan, "-o", scan, "--force")
    assert "a folder that is there" in refused(capsys, "predict", made, scan, "-o", tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    assert main(["predict", str(made), str(scan), "-o", str(tmp_path / "masks")]) == 0
    assert (tmp_path / "masks" / scan.name).read_bytes() == mask.read_bytes()
    os.link(scan, tmp_path / "same.nii.gz")
    assert "is an image itself" in refused(capsys, "predict", made, scan, "-o", tmp_path / "same.nii.gz", "--force")


@pytest.fixture
def scans(tmp_path: Path, scan: Path) -> Path:
    """A folder of scans: two good ones, a torn one, a hidden one, labels in a folder, and notes."""
    folder = tmp_path / "scans"
    (folder / "labels").mkdir(parents=True)
    for name in ("a.nii.gz", ".hidden.nii.gz", "labels/a.nii.gz"):
        shutil.copy(scan, folder / name)
    nibabel.save(nibabel.load(scan), folder / "b.nii")
    (folder / "torn.nii.gz").write_bytes(scan.read_bytes()[:900])
    (folder / "notes.txt").write_text("two good scans")
    return folder


def test_predict_takes_a_folder_and_names_what_it_skips(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, made: Path, scan: Path, scans: Path, tmp_path: Path
) -> None:
    opened, load = [], methods.load_run
    monkeypatch.setattr(methods, "load_run", lambda *how: opened.append(how) or load(*how))
    assert main(["predict", str(made), str(scans), "-o", str(tmp_path / "masks")]) == 1
    out, err = capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.nii.gz", "b.nii"]
    assert "torn.nii.gz" in err and "1 of 3 images have no mask" in err and "Next" not in out and len(opened) == 1
    main(["predict", str(made), str(scan), "-o", str(tmp_path / "alone.nii.gz")])
    found = [np.asanyarray(nibabel.load(path).dataobj) for path in (tmp_path / "masks" / "a.nii.gz", tmp_path / "alone.nii.gz")]
    assert np.array_equal(*found)
    (scans / "torn.nii.gz").unlink()
    before = (tmp_path / "masks" / "b.nii").stat().st_mtime_ns
    assert "a.nii.gz (and 1 more)" in refused(capsys, "predict", made, scans, "-o", tmp_path / "masks")
    assert (tmp_path / "masks" / "b.nii").stat().st_mtime_ns == before
    assert main(["predict", str(made), str(scans), "-o", str(tmp_path / "masks"), "--force"]) == 0
    assert "Next: semicon-nb explore" in capsys.readouterr().out


def test_predict_takes_several_images_and_skips_what_is_none(
    capsys: pytest.CaptureFixture, made: Path, scan: Path, scans: Path, tmp_path: Path
) -> None:
    words = [scan, scans / "notes.txt", tmp_path / "missing.nii.gz"]
    assert main(["predict", str(made), *map(str, words), "-o", str(tmp_path / "masks")]) == 1
    err = capsys.readouterr().err
    assert "notes.txt" in err and "missing.nii.gz" in err and "2 of 3 images" in err
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["scan.nii.gz"]


def test_predict_refuses_several_images_that_would_be_mixed_up(
    capsys: pytest.CaptureFixture, made: Path, scan: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"
    assert "same name" in refused(capsys, "predict", made, scans / "a.nii.gz", scans / "labels" / "a.nii.gz", "-o", out)
    shutil.copy(scans / "b.nii", scans / "A.nii")
    assert "same name" in refused(capsys, "predict", made, scans, "-o", out)
    (scans / "A.nii").unlink()
    assert "folder of labels" in refused(capsys, "predict", made, scans / "labels", "-o", out)
    assert "is an image itself" in refused(capsys, "predict", made, scans, "-o", scans, "--force")
    assert "expected a folder" in refused(capsys, "predict", made, scans / "a.nii.gz", scans / "b.nii", "-o", tmp_path / "mask.nii.gz")
    assert "expected a folder" in refused(capsys, "predict", made, scans, "-o", scan)
    (tmp_path / "cohort" / "images").mkdir(parents=True)
    assert f"name {tmp_path / 'cohort' / 'images'}" in refused(capsys, "predict", made, tmp_path / "cohort", "-o", out)
    assert "holds no .nii" in refused(capsys, "predict", made, tmp_path / "cohort" / "images", "-o", out)
    assert not out.exists()


def test_predict_warns_of_a_scan_that_is_unlike_those_of_the_training(
    capsys: pytest.CaptureFixture, made: Path, scan: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(made, copy)
    facts = json.loads((copy / "run.json").read_text())
    assert main(["predict", str(copy), str(scan), "-o", str(tmp_path / "mask.nii.gz")]) == 0
    out, err = capsys.readouterr()
    assert f"{scan}: is a nifti file, but the run was trained on generated scans only" in err and "generated" not in out
    (copy / "run.json").write_text(json.dumps({name: value for name, value in facts.items() if name != "seen"}))
    assert main(["predict", str(copy), str(scan), "-o", str(tmp_path / "other.nii.gz")]) == 0
    assert "generated" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ numbers and names


def outlined(place: Path, people: range, numbers: dict[str, int]) -> Path:
    """Scans of people whose structures are written in these numbers and shine by their kind, and a dataset.json that says so."""
    said = {name.lower(): number for name, number in numbers.items()}
    table = np.array([said[name] for name in ("background", "anterior", "posterior")], np.int32)
    for k in people:
        draw, classes = np.random.default_rng(k), np.zeros((32, 30, 5), int)
        classes[4 + k : 20, 5:14], classes[10:26, 14:20] = 1, 2
        for side, array in (("images", 300 * classes + np.rint(draw.normal(0, 90, classes.shape))), ("labels", table[classes])):
            (place / side).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array.astype(np.int32), np.eye(4)), place / side / f"scan{k}.nii.gz")
    (place / "dataset.json").write_text(json.dumps({"labels": numbers}))
    return place


class ByBrightness(torch.nn.Module):
    """Takes a pixel for the structure that shines most like it: wrong where there is noise, and in need of no training."""

    def __init__(self) -> None:
        super().__init__()
        self.shades = torch.nn.Parameter(torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 3, H, W] of slices [B, 1, H, W]."""
        return -((images - self.shades) ** 2)


OURS = {"background": 0, "anterior": 500, "posterior": 600}


@pytest.fixture(scope="session")
def numbered_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on a folder whose label files hold 500 and 600."""
    from semicon_nb.data import load

    place = tmp_path_factory.mktemp("numbered")
    cohort = load(outlined(place / "scans", range(5), OURS), size=32)
    stages = {name: replace(stage, precision="fp32", steps=2, warmup=0, validate_every=0) for name, stage in TINY.stages.items()}
    train_method("scratch", cohort, split(cohort, 1.0), replace(TINY, stages=stages), out=place / "run", progress=False)
    return place


@pytest.fixture
def numbered(numbered_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A copy of that run and of its scans, which it knows."""
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    run, scans = (Path(shutil.copytree(numbered_once / name, tmp_path / name)) for name in ("run", "scans"))
    about = json.loads((run / "run.json").read_text())
    about["data"]["cohort"] = str(scans)
    (run / "run.json").write_text(json.dumps(about))
    return run, scans


def report(capsys: pytest.CaptureFixture, *words: object) -> tuple[dict, str]:
    """What an evaluation prints, as an object, and what it warns of."""
    capsys.readouterr()
    assert main(["evaluate", *map(str, words), "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_masks_hold_the_owners_numbers_and_scores_compare_names(
    capsys: pytest.CaptureFixture, numbered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scans = numbered
    monkeypatch.setattr(cli, "open_run", lambda folder, model=None: replace(methods.load_run(folder), model=ByBrightness()))
    masks = {}
    for v in range(5, 8):
        outlined(tmp_path / "theirs", range(v, v + 1), {"Background": 7, "posterior": 1, "ANTERIOR": 2})
        main(["predict", str(run), str(tmp_path / "theirs" / "images" / f"scan{v}.nii.gz"), "-o", str(tmp_path / f"{v}.nii.gz")])
        masks[f"scan{v}"] = np.asanyarray(nibabel.load(tmp_path / f"{v}.nii.gz").dataobj)
        assert masks[f"scan{v}"].dtype == np.uint16 and set(np.unique(masks[f"scan{v}"])) <= {0, 500, 600}
    said = capsys.readouterr().out
    assert "(as 500)" in said and "(as 600)" in said
    found, warned = report(capsys, run, "--data", tmp_path / "theirs", "--part", "all")
    assert "learned from" not in warned and len(found["volumes"]) == 3 and 0.5 < found["pooled_dice"] < 0.95
    for volume in found["volumes"]:
        truth = np.asanyarray(nibabel.load(tmp_path / "theirs" / "labels" / f"{volume['name']}.nii.gz").dataobj)
        for name, ours, theirs in (("anterior", 500, 2), ("posterior", 600, 1)):
            a, b = masks[volume["name"]] == ours, truth == theirs
            assert volume["dice"][name] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=0.01)


def test_other_structures_are_refused_with_both_lists(capsys: pytest.CaptureFixture, numbered, tmp_path: Path) -> None:
    run, scans = numbered
    place = outlined(tmp_path / "other", range(5, 6), OURS)
    for labels in ({"background": 0, "anterior": 500, "back": 600}, {"background": 0, "anterior": 500}):
        (place / "dataset.json").write_text(json.dumps({"labels": labels}))
        if len(labels) == 2:
            outlined(place, range(5, 6), {**OURS, "posterior": 0})
            (place / "dataset.json").write_text(json.dumps({"labels": labels}))
        for command in (["evaluate", run, "--data", place, "--part", "all"], ["explore", run, "--data", place, "-o", tmp_path / "x.html"]):
            said = refused(capsys, *command)
            assert f"classes {', '.join(labels)}, but the run was trained on background, anterior, posterior" in said


def test_a_renamed_folder_is_the_same_cohort(capsys: pytest.CaptureFixture, numbered, tmp_path: Path) -> None:
    run, scans = numbered
    from semicon_nb.data import load, load_split, part_indices
    from semicon_nb.explore import PixelExplorer

    before = report(capsys, run)
    moved = scans.rename(tmp_path / "scans version 2")
    assert report(capsys, run, "--data", moved)[0] == before[0]
    for command in (["evaluate", run], ["explore", run, "-o", tmp_path / "x.html"]):
        said = refused(capsys, *command)
        assert str(scans) in said and "--data" in said
    cohort = load(moved, size=32)
    shown = PixelExplorer(run, cohort, count=50).view
    own = cohort.images[part_indices(cohort, load_split(run / "split.json"), "test")].astype(np.float32)
    assert shown.names == cohort.classes and all((image == own).all((1, 2)).any() for image in shown.images)


def test_scans_that_were_learned_from_are_known_under_any_name(capsys: pytest.CaptureFixture, numbered, tmp_path: Path) -> None:
    run, scans = numbered
    parts = json.loads((run / "split.json").read_text())
    mixed = outlined(tmp_path / "mixed", range(5, 8), OURS)
    (mixed / "images" / "new.nii").write_bytes(gzip.decompress((scans / "images" / f"{parts['train'][0]}.nii.gz").read_bytes()))
    said = refused(capsys, "evaluate", run, "--data", mixed, "--part", "test")
    assert "1 of its 4 volumes hold images that the run learned from, new" in said and "--part all" not in said
    found, warned = report(capsys, run, "--data", mixed, "--part", "all")
    assert found["learned_from"] == ["new"] and "no score on new people" in warned
    (mixed / "images" / "new.nii").write_bytes(gzip.decompress((scans / "images" / f"{parts['test'][0]}.nii.gz").read_bytes()))
    assert "measure it with --part all" in refused(capsys, "evaluate", run, "--data", mixed, "--part", "test")
    assert "learned from" not in report(capsys, run, "--data", mixed, "--part", "all")[1]


def test_a_run_of_an_older_version_says_what_it_does_not_know(capsys: pytest.CaptureFixture, numbered, tmp_path: Path) -> None:
    run, scans = numbered
    about = json.loads((run / "run.json").read_text())
    assert about["codes"] == {"classes": [[0, 0], [500, 1], [600, 2]], "other": None, "ignore": []}
    (run / "run.json").write_text(json.dumps({k: v for k, v in about.items() if k not in ("codes", "learned")}))
    assert main(["predict", str(run), str(scans / "images" / "scan0.nii.gz"), "-o", str(tmp_path / "m.nii.gz")]) == 0
    assert "does not say what numbers its label files held" in capsys.readouterr().err
    assert np.asanyarray(nibabel.load(tmp_path / "m.nii.gz").dataobj).max() <= 2
    other = outlined(tmp_path / "other", range(5, 8), OURS)
    said = refused(capsys, "evaluate", run, "--data", other, "--part", "test")
    assert "cannot tell whether it learned from these images" in said and "--part all" not in said
    assert "cannot tell" in report(capsys, run, "--data", other, "--part", "all")[1]


@pytest.mark.parametrize("numbers,mode", [((0, 1, 255), "P"), ((0, 300, 65535), "I;16"), ((0, -1, 2), None), ((0, 1, 70000), None)])
def test_a_picture_holds_the_owners_numbers_too(
    capsys: pytest.CaptureFixture, made: Path, tmp_path: Path, cohort, numbers: tuple, mode: str | None
) -> None:
    run, picture = tmp_path / "run", tmp_path / "slice.png"
    shutil.copytree(made, run)
    about = json.loads((run / "run.json").read_text())
    about["codes"]["classes"] = [[number, index] for index, number in enumerate(numbers)]
    (run / "run.json").write_text(json.dumps(about))
    Image.fromarray((cohort.images[3].astype(np.float32) * 255).astype(np.uint8)).save(picture)
    if mode is None:
        assert "do not fit a PNG" in refused(capsys, "predict", run, picture, "-o", tmp_path / "mask.png")
        assert not (tmp_path / "mask.png").exists()
        return
    assert main(["predict", str(made), str(picture), "-o", str(tmp_path / "indices.png")]) == 0
    assert main(["predict", str(run), str(picture), "-o", str(tmp_path / "mask.png")]) == 0
    mask, indices = (Image.open(tmp_path / name) for name in ("mask.png", "indices.png"))
    assert mask.mode == mode and np.array_equal(np.asarray(mask), np.array(numbers)[np.asarray(indices)])


# ------------------------------------------------------------------------------------------------ damaged runs


def test_weights_of_another_network_are_one_sentence(capsys: pytest.CaptureFixture, made: Path, scan: Path, tmp_path: Path) -> None:
    from semicon_nb.unet import UNet

    damaged = tmp_path / "run"
    shutil.copytree(made, damaged)
    torch.save(UNet(width=8).state_dict(), damaged / "model.pt")
    for words in (
        ["evaluate", damaged],
        ["predict", damaged, scan, "-o", tmp_path / "mask.nii.gz"],
        ["explore", damaged, "-o", tmp_path / "p.html"],
    ):
        assert "another network" in refused(capsys, *words)
    (damaged / "model.pt").write_bytes(b"no weights")
    assert "model.pt" in refused(capsys, "evaluate", damaged)
    (damaged / "run.json").write_text('{"method": ')
    assert "run.json" in refused(capsys, "evaluate", damaged)
    assert not (tmp_path / "mask.nii.gz").exists() and not (tmp_path / "p.html").exists()


def test_the_number_of_classes_must_agree(capsys: pytest.CaptureFixture, made: Path, tmp_path: Path) -> None:
    cardiac = phantom(kind="cardiac", subjects=3, size=32)

    def other(*arguments: object, **named: object):
        return cardiac

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "load_named", other)
        assert "was trained on background, anterior, posterior" in refused(capsys, "evaluate", made, "--data", tmp_path, "--part", "all")


def test_no_code_is_imported_because_a_run_names_it(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, made: Path, scan: Path, tmp_path: Path
) -> None:
    from semicon_nb.methods import load_run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("unasked.py").write_text("from pathlib import Path\nPath('imported').touch()\ndef make(classes):\n    raise RuntimeError\n")
    shutil.copytree(made, "run")
    facts = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(facts | {"network": {"model": "unasked:make", "classes": 3}}))
    for words in (["evaluate", "run"], ["predict", "run", scan, "-o", "mask.nii.gz"], ["explore", "run", "-o", "page.html"]):
        assert "--model unasked:make" in refused(capsys, *words)
    with pytest.raises(ValueError, match="no code is imported because a file names it"):
        load_run("run")
    assert not Path("imported").exists() and os.getcwd() not in sys.path
    assert "package's own; leave --model out" in refused(capsys, "evaluate", made, "--model", "collections:OrderedDict")


OPTIONAL = ("itk", "pydicom", "nrrd", "cupy", "h5py", "ignite", "openslide", "tifffile", "cucim", "lmdb", "skimage", "indexed_gzip")
"""What MONAI and nibabel look for, and do without."""


@pytest.mark.parametrize("words", [[], ["--model", "mine:make"]], ids=["package", "own"])
def test_no_file_of_the_working_folder_is_run_that_nobody_named(words: list[str], made: Path, tmp_path: Path) -> None:
    for name in OPTIONAL:
        (tmp_path / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).write_text({name!r})\n")
    (tmp_path / "mine.py").write_text("import torch\ndef make(classes):\n    return torch.nn.Conv2d(1, classes, 1)\n")
    command = [sys.executable, "-m", "semicon_nb", "evaluate", str(made), "--json", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=plain_environment(), timeout=300)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert done.returncode == (2 if words else 0), done.stderr
    assert "package's own" in done.stderr if words else json.loads(done.stdout)["volumes"]


def plain_environment() -> dict[str, str]:
    """This one, with the package found wherever it is run."""
    return {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}


# ------------------------------------------------------------------------------------------------ the rest


def test_explore_writes_a_page_of_a_run(capsys: pytest.CaptureFixture, made: Path, tmp_path: Path) -> None:
    assert ".html" in refused(capsys, "explore", made, "-o", tmp_path / "page.txt")
    assert "no RUN folder" in refused(capsys, "explore", tmp_path, "-o", tmp_path / "page.html")


def test_evaluate_and_explore_say_what_comes_next(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, made: Path, tmp_path: Path
) -> None:
    from semicon_nb import explore

    assert main(["evaluate", str(made), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) and f"semicon-nb explore {made}" in err and "semicon-nb predict" in err
    assert main(["evaluate", str(made)]) == 0
    assert f"Next:\n  semicon-nb explore {made} -o {made}.html\n  semicon-nb predict {made} SCAN.nii.gz" in capsys.readouterr().out
    shown: list = []
    page = type("Page", (), {"to_html": print, "problem": ""})
    monkeypatch.setattr(explore, "PixelExplorer", lambda run, *slices: shown.append(run) or page)
    assert main(["explore", str(made), "-o", str(tmp_path / "page.html")]) == 0
    assert "Next: semicon-nb predict" in capsys.readouterr().out and shown[0].folder == made


def spoil(run: Path, factor: float) -> None:
    for path in run.glob("*.pt"):
        weights = torch.load(path)
        torch.save({name: value * factor if value.is_floating_point() else value for name, value in weights.items()}, path)


def test_a_network_that_gives_nan_is_no_score_no_mask_and_no_page(
    capsys: pytest.CaptureFixture, made: Path, scan: Path, tmp_path: Path
) -> None:
    """An explorer shows its failure in place; the command must not call that a page."""
    run = tmp_path / "run"
    shutil.copytree(made, run)
    spoil(run, float("nan"))
    assert "model.pt" in (said := refused(capsys, "evaluate", run)) and "not finite" in said
    shutil.copytree(made, run, dirs_exist_ok=True)
    spoil(run, 1e30)
    words = (
        ["evaluate", str(run)],
        ["predict", str(run), str(scan), "-o", str(tmp_path / "m.nii.gz")],
        ["explore", str(run), "-o", f"{run}.html"],
    )
    for command in words:
        assert main(command) == 2 and "NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "m.nii.gz").exists() and not Path(f"{run}.html").exists()


@pytest.mark.parametrize(
    "change",
    [{"grid": None}, {"grid": {"size": 3}}, {"classes": ["background", "x"]}, {"codes": {"classes": [[0, 0]]}}, {"fingerprint": None}],
)
def test_a_record_that_does_not_fit_its_network_is_refused(capsys: pytest.CaptureFixture, made: Path, tmp_path: Path, change: dict) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    kept = json.loads((run / "run.json").read_text()) | change
    (run / "run.json").write_text(json.dumps({name: value for name, value in kept.items() if value is not None}))
    assert main(["evaluate", str(run)]) == 2 and "run.json: is damaged" in capsys.readouterr().err


def tried(row: dict, *how: object) -> dict:
    """In the place of a training: it fails on the odd splits, in two ways."""
    if row["split"] % 2:
        raise ValueError("the scan is torn" if row["split"] == 1 else "the scan\nis lost")
    return {**row, "pooled_dice": 0.5, "volume_dice": 0.5, "hd95": None, "validation": 0.5, "seconds": 1.0}


@pytest.fixture
def grid_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The command for an experiment on generated scans, in this process, with `tried` for a training."""
    monkeypatch.setattr(experiment, "local_pool", lambda workers: experiment.Serial())
    monkeypatch.setattr(experiment, "run_one", tried)
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
    words = f"experiment --name x --data phantom --methods scratch,global --labels 0.1 --preset demo --results {tmp_path} --splits"
    return lambda splits: [*words.split(), splits]


def test_an_experiment_whose_runs_fail_says_so(grid_of, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(grid_of("1,3,5")) == 1
    out, err = capsys.readouterr()
    assert "6 of 6 runs failed" in err and "ValueError: the scan is torn (2 runs)" in err and "ValueError: the scan is lost (4 runs)" in err
    assert str(tmp_path / "x.failed.jsonl") in err and "table" not in err + out
    assert "no run was finished" in (said := refused(capsys, "table", tmp_path / "x.jsonl")) and "x.failed.jsonl" in said
    assert main(grid_of("0,1")) == 1
    out, err = capsys.readouterr()
    assert "2 of 4 runs failed" in err and "lost" not in err and f"Next: semicon-nb table {tmp_path / 'x.jsonl'}" in err
    assert main(grid_of("0,2")) == 0
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'x.jsonl'}: 4 runs of this grid are finished\nNext: semicon-nb table {tmp_path / 'x.jsonl'}\n" in out


def test_a_table_says_that_runs_are_missing_because_they_failed(
    grid_of, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    main(grid_of("0,1,2"))
    capsys.readouterr()
    for place in (tmp_path, tmp_path / "x.jsonl"):
        assert main(["table", str(place)]) == 0
        out, err = capsys.readouterr()
        assert "4 runs" in out and "failed" not in out
        assert "the scan is torn (2 runs)" in err and "x.failed.jsonl" in err and "tables.html" in err
    assert "without .failed" in refused(capsys, "table", tmp_path / "x.failed.jsonl")
    assert "no run has hd95" in refused(capsys, "table", tmp_path / "x.jsonl", "--metric", "hd95")
    monkeypatch.setattr(experiment, "run_one", lambda row, *how: tried({**row, "split": 0}))
    assert main(grid_of("0,1,2")) == 0 and main(["table", str(tmp_path)]) == 0
    assert "failed" not in capsys.readouterr().err, "what was finished since is no failure any more"


def test_a_share_that_leaves_no_labels_is_told_before_anything_is_trained(
    grid_of, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "run_rows", interrupt)
        assert main([*grid_of("0"), "--labels", "0.001"]) == 130
    assert "2 of 2 runs cannot be done: labelled: 0.001 of the" in capsys.readouterr().out
    monkeypatch.setattr(experiment, "run_one", interrupt)
    assert main([*grid_of("0,1"), "--labels", "0.001"]) == 1, "and nothing is trained for it"
    out, err = capsys.readouterr()
    assert "4 of 4 runs failed" in err and "use at least" in err and "x.failed.jsonl" in err and out.startswith("4 runs on phantom")
    assert not (tmp_path / "x.jsonl").exists()


def test_table_of_nothing_is_refused(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert "semicon-nb experiment" in refused(capsys, "table", tmp_path / "none")
    (tmp_path / "results").mkdir()
    assert "no finished run" in refused(capsys, "table", tmp_path / "results")


def test_errors_of_the_system_are_one_line_too(capsys: pytest.CaptureFixture, tmp_path: Path, made: Path, scan: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(capsys, "predict", made, scan, "-o", tmp_path / "file" / "mask.nii.gz")


def test_the_real_command_in_a_process_of_its_own(made: Path, scan: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}

    def run(*words: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "semicon_nb", *map(str, words)], capture_output=True, text=True, env=environment, cwd=tmp_path
        )

    failed = run("train", "scratch", "--out", made)
    assert failed.returncode == 2 and failed.stdout == "" and failed.stderr.count("\n") == 1 and "in use" in failed.stderr
    done = run("predict", made, scan, "-o", "mask.nii.gz")
    assert done.returncode == 0, done.stderr
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == (29, 31, 5) and gzip.open(tmp_path / "mask.nii.gz").read(4)
