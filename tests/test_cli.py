"""The command: what it does, says next, and says when something is wrong."""

import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from small import AFFINE, refused

from semicon_nb import arguments, cli, experiment, methods, names
from semicon_nb import data as data_module
from semicon_nb.cli import main
from semicon_nb.data import phantom
from semicon_nb.experiment import local_pool
from semicon_nb.networks import import_builder
from semicon_nb.stages import PRESETS

TINY = replace(PRESETS["demo"], name="tiny", width=4).scaled(0.04)


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
    for v in range(4):
        for name, stack in (("imagesTr", other.images.astype(np.float32) * 900), ("labelsTr", other.labels)):
            voxels = np.moveaxis(stack[other.volume == v], 0, 2)
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), folder / name / f"scan_{v}.nii.gz")
        pairs.append({"image": f"./imagesTr/scan_{v}.nii.gz", "label": f"./labelsTr/scan_{v}.nii.gz"})
    labels = {"0": "background", "1": "anterior", "2": "posterior"}
    (folder / "dataset.json").write_text(json.dumps({"name": "Other", "labels": labels, "training": pairs}))
    return folder


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


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_name_that_a_terminal_cannot_show_is_written_with_numbers(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """It ended the command, and predict between two masks, with a sentence about codecs."""
    called = ["日本", "Müller", os.fsdecode(b"M\xfcller")]
    for k, name in enumerate(called):
        for side, top in (("images", 255), ("labels", 3)):
            (tmp_path / "scans" / side).mkdir(parents=True, exist_ok=True)
            voxels = np.random.default_rng(k).integers(0, top, (16, 16, 3)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "scan.nii.gz")
            try:
                (tmp_path / "scan.nii.gz").rename(tmp_path / "scans" / side / f"{name}.nii.gz")
            except OSError:
                pytest.skip("this file system takes names of Unicode only")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert main(["data", str(tmp_path / "scans"), "--size", "16"]) == 0
    said = sys.stdout.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert all(name.encode(encoding, "backslashreplace").decode(encoding) in said for name in called)
    assert capsys.readouterr().err == ""


def test_a_channel_is_passed_on_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict] = []
    monkeypatch.setattr(data_module, "load", lambda place, **settings: given.append(settings))
    cli.load_named("folder")
    cli.load_named("folder", channel="1")
    assert given == [{}, {"channel": "1"}]
    parse = arguments.make_parser().parse_args
    for words in ("data F", "train scratch --out R", "evaluate R", "experiment"):
        assert parse([*words.split(), "--channel", "1"]).channel == "1" and parse(words.split()).channel is None


def test_scans_are_cut_along_an_axis_that_is_named(capsys: pytest.CaptureFixture, tmp_path: Path, tiny: None) -> None:
    place, run = tmp_path / "scans", tmp_path / "RUN"
    for v in range(4):
        for side, top in (("images", 255), ("labels", 3)):
            (place / side).mkdir(parents=True, exist_ok=True)
            voxels = np.random.default_rng(v).integers(0, top, (4, 16, 16)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([3.0, 0.8, 0.8, 1])), place / side / f"p{v}.nii.gz")
    assert main(["data", str(place), "--size", "16"]) == 0
    assert "slices lie 0.8 mm apart and have pixels of 3 x 0.8 mm" in capsys.readouterr().err
    assert main(["data", str(place), "--size", "16", "--axis", "0"]) == 0
    out, err = capsys.readouterr()
    assert not err and "16 x 16 x 4" in out and "--axis 0 --out RUN" in out
    words = f"train scratch --data {place} --axis 0 --size 16 --labels 1 --preset tiny --out {run} --quiet"
    assert main(words.split()) == 0 and main(["evaluate", str(run), "--data", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["slices"] == 4
    assert "--axis: phantom takes none, only a folder" in refused(capsys, "data", "phantom", "--axis", "1")


def two_channels(place: Path, people: int = 4) -> Path:
    """A cohort as nnU-Net lays it out: T1 shows what is outlined, T2 shows nothing."""
    for side in ("imagesTr", "labelsTr"):
        (place / side).mkdir(parents=True)
    for v in range(people):
        mask = np.zeros((16, 16, 3), np.uint8)
        mask[4 : 8 + v, 4:12] = 1
        for number, voxels in enumerate((100 * mask.astype(np.float32), np.random.default_rng(v).random(mask.shape, np.float32))):
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), place / "imagesTr" / f"case{v}_{number:04d}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), place / "labelsTr" / f"case{v}.nii.gz")
    about = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz", "numTraining": people}
    (place / "dataset.json").write_text(json.dumps(about))
    return place


def test_the_channel_that_is_named_is_the_one_that_is_measured(capsys: pytest.CaptureFixture, tmp_path: Path, tiny: None) -> None:
    place, run = two_channels(tmp_path / "scans"), str(tmp_path / "RUN")
    assert main(f"train scratch --data {place} --channel T1 --size 16 --labels 1 --preset tiny --scale 20 --out {run} --quiet".split()) == 0
    capsys.readouterr()

    def measured(*words: str) -> float:
        assert main(["evaluate", run, *words, "--part", "all", "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])["pooled_dice"]

    own, other = measured(), measured("--channel", "T2")
    assert own == measured("--channel", "T1") == measured("--data", str(place))
    assert other == measured("--data", str(place), "--channel", "T2") != own
    images = sorted((place / "imagesTr").glob("*.nii.gz"))
    said = refused(capsys, "predict", run, str(place / "imagesTr"), "-o", str(tmp_path / "masks"))
    assert "case0_0001.nii.gz: is another channel of case0_0000.nii.gz, expected only channel T1" in said
    assert main(["predict", run, *map(str, images[::2]), "-o", str(tmp_path / "masks")]) == 0
    assert len(list((tmp_path / "masks").iterdir())) == 4
    about = json.loads((tmp_path / "RUN" / "run.json").read_text())
    assert about["data"]["channel"] == "T1" and about["seen"].pop("channel") == 0
    for words in (images[1:2], images[1::2]):
        said = refused(capsys, "predict", run, *words, "-o", tmp_path / "masks")
        assert "case0_0001.nii.gz: is channel 1 of its case, expected channel 0, from which this run learned; name the file of that channel" in said
    (tmp_path / "RUN" / "run.json").write_text(json.dumps(about))
    assert main(["predict", run, str(images[1]), "-o", str(tmp_path / "m.nii.gz")]) == 0, "an older run says no number"


def test_a_named_cohort_is_cut_as_the_run_learned_it(capsys: pytest.CaptureFixture, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named cohort takes no axis, so a run along another one must not measure slices that it never learned from."""
    place, run = two_channels(tmp_path / "scans"), str(tmp_path / "RUN")
    assert main(f"train scratch --data {place} --channel T1 --axis 0 --size 16 --labels 1 --preset tiny --out {run} --quiet".split()) == 0
    assert "phantom: is read with axis 2, expected axis 0, with which this run was trained" in refused(
        capsys, "evaluate", run, "--data", "phantom", "--part", "all"
    )


def test_single_slices_and_whole_scans_of_one_plane_are_measured_alike(capsys: pytest.CaptureFixture, tmp_path: Path, tiny: None) -> None:
    """A run on slices across the first axis cuts scans along it, knows its own slices under any path, and takes none of another plane."""
    shapes, run = {"slices": (1, 16, 20), "scans": (5, 16, 20), "others": (16, 20, 1)}, str(tmp_path / "RUN")
    for name, shape in shapes.items():
        for v in range(4):
            for side, top in (("images", 255), ("labels", 2)):
                (tmp_path / name / side).mkdir(parents=True, exist_ok=True)
                voxels = np.random.default_rng(v).integers(0, top, shape).astype(np.uint8)
                nibabel.save(nibabel.Nifti1Image(voxels, np.diag([3.0, 0.8, 0.8, 1])), tmp_path / name / side / f"p{v}.nii.gz")
    assert main(f"train scratch --data {tmp_path / 'slices'} --size 16 --labels 1 --preset tiny --out {run} --quiet".split()) == 0
    (tmp_path / "slices").rename(tmp_path / "moved")
    assert main(["evaluate", run, "--data", str(tmp_path / "moved"), "--part", "test"]) == 0
    assert cli.load_named(str(tmp_path / "scans"), run=methods.load_run(run)).volumes[0].shape == (16, 20, 5)
    assert main(["predict", run, str(tmp_path / "scans/images/p0.nii.gz"), "-o", str(tmp_path / "m.nii.gz")]) == 0
    assert "one slice" not in capsys.readouterr().err
    said = refused(capsys, "evaluate", run, "--data", tmp_path / "others", "--part", "all")
    assert "is read with axis 2, expected axis 0" in said and "take scans of that plane" in said
    assert main(["predict", run, str(tmp_path / "others/images/p0.nii.gz"), "-o", str(tmp_path / "m.nii.gz"), "--force"]) == 0
    assert "p0.nii.gz: is one slice across axis 2; taken as one across axis 0" in capsys.readouterr().err


def test_what_was_not_found_is_said_below_the_table(capsys: pytest.CaptureFixture, tmp_path: Path, tiny: None) -> None:
    place, run = tmp_path / "scans", tmp_path / "RUN"
    for v in range(4):
        for side in ("images", "labels"):
            (place / side).mkdir(parents=True, exist_ok=True)
            voxels = np.random.default_rng(v).integers(0, 255, (16, 16, 3)) if side == "images" else np.zeros((16, 16, 3))
            voxels[0, 0, 0] = 1
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.uint8), AFFINE), place / side / f"p{v}.nii.gz")
    assert main(f"train scratch --data {place} --size 16 --labels 1 --preset tiny --out {run} --quiet".split()) == 0
    assert main(["evaluate", str(run)]) == 0
    assert "label 1: no overlap in 1 of 1 volume. Dice is 0 there" in capsys.readouterr().out


def test_the_hippocampus_task_is_known_by_any_path(capsys: pytest.CaptureFixture, tmp_path: Path, decathlon: Path, monkeypatch) -> None:
    """`.` and a link lead to a folder of that name, which takes no axis."""
    place = Path(shutil.copytree(decathlon, tmp_path / "Task04_Hippocampus"))
    (tmp_path / "mine").symlink_to(place.name)
    monkeypatch.chdir(place)
    for word in (".", "../mine", str(place)):
        assert f"--axis: {word} takes none, only a folder of your own does" in refused(capsys, "data", word, "--axis", "1")
        assert main(["data", word, "--size", "16"]) == 0


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
    assert "holds files already" in refused(capsys, *words)
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
    with local_pool(1, "cpu") as pool:
        assert pool.submit(import_builder, "tiny_network:make").result().__name__ == "make", "a worker finds it there, too"


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
        assert main(["evaluate", str(made), "--part", part, "--json"]) == 0
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


@pytest.mark.parametrize("kind, own, other", [("cardiac", "phantom-cardiac", "phantom"), ("hippocampus", "phantom", "phantom-cardiac")])
def test_a_word_means_its_people_whoever_trained(kind: str, own: str, other: str) -> None:
    """A run on six hearts is measured on the 24 where these are named, and on no hearts where another kind is."""
    run = SimpleNamespace(settings={"data": {"cohort": "phantom", "kind": kind, "subjects": 6}, "grid": {"size": 16}, "fingerprint": ""})
    assert len(cli.load_named(own, run=run).subjects) == 24
    assert len(cli.load_named(other, run=run).classes) == (3 if kind == "cardiac" else 8)


def test_evaluate_agrees_with_the_library(capsys: pytest.CaptureFixture, made: Path, small_phantom) -> None:
    from semicon_nb.data import part_indices
    from semicon_nb.evaluate import evaluate
    from semicon_nb.methods import load_run

    run = load_run(made)
    wanted = evaluate(run.model, small_phantom, part_indices(small_phantom, run.split, "test")).to_dict()
    assert main(["evaluate", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(wanted))


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
    (tmp_path / "mine.py").write_text("from monai.networks.nets import UNet\nfrom monai.data import ITKReader\nfrom beside import make\n")
    (tmp_path / "beside.py").write_text("import torch\ndef make(classes):\n    return torch.nn.Conv2d(1, classes, 1)\n")
    command = [sys.executable, "-m", "semicon_nb", "evaluate", str(made), "--json", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=plain_environment(), timeout=300)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert done.returncode == (2 if words else 0), done.stderr
    assert "package's own" in done.stderr if words else json.loads(done.stdout)["volumes"]


def test_a_library_finds_no_file_of_the_working_folder_and_its_modules_find_each_other(tmp_path: Path) -> None:
    """Also later, when the network calls the library, and in packages without an __init__.py."""
    (tmp_path / "kept" / "own").mkdir(parents=True)
    (tmp_path / "optional_thing.py").write_text("raise SystemExit('was run')\n")
    (tmp_path / "beside.py").write_text("width = 3\n")
    (tmp_path / "kept" / "own" / "nets.py").write_text(
        "import library\ndef make():\n    from beside import width\n    import importlib\n"
        "    return width, importlib.import_module('kept.own.more').depth, library.look()\n"
    )
    (tmp_path / "kept" / "own" / "more.py").write_text("depth = 4\n")
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "library.py").write_text(
        "import importlib.util\ndef look():\n    try:\n        import optional_thing\n    except ImportError:\n"
        "        return importlib.util.find_spec('optional_thing')\n"
    )
    code = "from semicon_nb.networks import import_from_here; print(import_from_here('kept.own.nets:make')())"
    environment = plain_environment()
    environment["PYTHONPATH"] += os.pathsep + str(installed)
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.strip() == "(3, 4, None)", done.stderr


def test_an_edit_beside_a_network_counts_before_it_was_imported(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("def make():\n    from beside import width\n    return width\n")
    code = "from semicon_nb.identity import code_key; from semicon_nb.networks import import_from_here; print(code_key(import_from_here('nets:make')))"
    keys = []
    for width in (3, 3, 40):
        (tmp_path / "beside.py").write_text(f"width = {width}\n")
        how = {"cwd": tmp_path, "capture_output": True, "text": True, "env": plain_environment(), "timeout": 300}
        keys.append(subprocess.run([sys.executable, "-P", "-B", "-c", code], **how).stdout)
    assert keys[0] and keys[0] == keys[1] != keys[2]


def plain_environment() -> dict[str, str]:
    """This one, with the package found wherever it is run."""
    return {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}


# ------------------------------------------------------------------------------------------------ the rest


def test_explore_writes_a_page_of_a_run(capsys: pytest.CaptureFixture, made: Path, tmp_path: Path) -> None:
    assert ".html" in refused(capsys, "explore", made, "-o", tmp_path / "page.txt")
    assert main(["explore", str(made), "-o", str(tmp_path / "page.html")]) == 0
    assert f"Wrote {tmp_path / 'page.html'}" in capsys.readouterr().out and "semicon-data" in (tmp_path / "page.html").read_text()
    assert "no RUN folder" in refused(capsys, "explore", tmp_path, "-o", tmp_path / "other.html")


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
    monkeypatch.setattr(experiment, "local_pool", lambda workers, device: experiment.Serial())
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
        assert "the scan is torn (2 runs)" in err and "x.failed.jsonl" in err and "reading_results.html" in err
    assert "without .failed" in refused(capsys, "table", tmp_path / "x.failed.jsonl")
    assert "no run has hd95" in refused(capsys, "table", tmp_path / "x.jsonl", "--metric", "hd95")
    monkeypatch.setattr(experiment, "run_one", lambda row, *how: tried({**row, "split": 0}) | {"split": row["split"]})
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


@pytest.mark.parametrize("words, said", [
    ("--name a.failed", "--name: found 'a.failed', expected a plain name"), ("--name sub/../../esc", "--name: found 'sub/../../esc'"),
    ("--results file", "--results: file is a file, expected a folder"), ("--axis 1", "--axis: phantom takes none"),
    ("--channel 1", "--channel: phantom takes none"),
])  # fmt: skip
def test_an_experiment_refuses_what_it_cannot_do(
    words: str, said: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert said in refused(capsys, *"experiment --data phantom --methods scratch --splits 0 --preset demo".split(), *words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("text, said", [
    ("def make(:", r"cannot be imported \(SyntaxError: "), ("raise RuntimeError('no such card')", r"cannot be imported \(RuntimeError: no such card\)"),
    ("raise SystemExit", r"cannot be imported \(SystemExit"), ("", "'spoilt:make' cannot be imported"), ("make = 3", "is int, expected a function"),
])  # fmt: skip
def test_a_network_that_cannot_be_imported_is_one_sentence(
    text: str, said: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("spoilt", None)
    Path("spoilt.py").write_text(text + "\n")
    told = refused(capsys, "train", "scratch", "--out", "run", "--model", "spoilt:make")
    assert told.startswith("semicon-nb train: model (--model): ") and re.search(said, told)
    assert "found 'spoilt', expected package.module:function" in refused(capsys, "train", "scratch", "--out", "run", "--model", "spoilt")


def test_a_share_that_cannot_be_dealt_is_not_asked_for_again(grid_of, capsys: pytest.CaptureFixture) -> None:
    assert main([*grid_of("0"), "--labels", "0.001"]) == 1
    err = capsys.readouterr().err
    assert "The same command" not in err and "Other --labels may have enough" in err


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
    assert failed.returncode == 2 and failed.stdout == "" and failed.stderr.count("\n") == 1 and "holds files already" in failed.stderr
    done = run("predict", made, scan, "-o", "mask.nii.gz")
    assert done.returncode == 0, done.stderr
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == (29, 31, 5) and gzip.open(tmp_path / "mask.nii.gz").read(4)


@pytest.mark.parametrize("unbuffered, command", [("", "predict"), ("1", "predict"), ("", "experiment")])
def test_work_goes_on_when_nobody_reads_what_is_printed(unbuffered: str, command: str, made: Path, scan: Path, decathlon: Path, tmp_path: Path) -> None:
    environment = plain_environment() | {"OMP_NUM_THREADS": "1", "SEMICON_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": unbuffered}
    scans = [shutil.copyfile(scan, tmp_path / f"scan{n}.nii.gz") for n in range(2)]
    words = {
        "predict": [made, *scans, "-o", tmp_path / "done"],
        "experiment": f"--data {decathlon} --methods scratch --labels 1 --splits 0 --preset demo --scale 0.01 --workers 1 --results {tmp_path / 'done'}".split(),
    }[command]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-m", "semicon_nb", command, *map(str, words)], stdout=writer, stderr=writer, env=environment, cwd=tmp_path)
    os.close(writer)
    written = sorted(path.name for path in (tmp_path / "done").glob("[!.]*"))
    assert ended.returncode == 0 and written == (["scan0.nii.gz", "scan1.nii.gz"] if command == "predict" else ["Task99_Other.jsonl"])
