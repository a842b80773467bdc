"""The command: its words, its numbers, and what it says when something is wrong."""

import gzip
import json
import os
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

from semicon_nb import cli, methods
from semicon_nb.cli import main
from semicon_nb.data import phantom, split
from semicon_nb.methods import PRESETS, train_method
from semicon_nb.show import PALETTE, rgb

TINY = replace(PRESETS["demo"], name="tiny", width=4).scaled(0.04)
COMMANDS = ("demo", "data", "train", "evaluate", "predict", "explore", "experiment", "table")
AFFINE = np.array([[0, 0.9, 0.1, -40], [0.8, 0, 0, 12], [0, 0.1, -1.1, 3], [0, 0, 0, 1.0]])


@pytest.fixture(scope="session")
def cohort():
    return phantom(subjects=6, size=32)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, cohort) -> Path:
    """A finished run of a few steps."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    train_method("scratch", cohort, split(cohort, 0.3), TINY, out=folder, progress=False)
    return folder


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


def test_help_does_not_wait_for_pytorch() -> None:
    found = "print([m for m in ('torch', 'monai', 'numpy') if m in sys.modules])"
    code = f"import sys; from semicon_nb.cli import make_parser; make_parser().format_help(); {found}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [[], ["fly"], ["train", "scratch"], ["train", "scratch", "--out", "x", "--labels", "many"]])
def test_words_that_are_none_end_with_code_2(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and "semicon-nb" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ data


def test_data_lists_and_describes(capsys: pytest.CaptureFixture, decathlon: Path, tmp_path: Path) -> None:
    assert main(["data"]) == 0 and "sunnybrook" in capsys.readouterr().out
    assert main(["data", str(decathlon), "--size", "32", "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "4 volumes" in capsys.readouterr().out and Image.open(tmp_path / "sheet.png").size[0] > 200
    assert main(["data", str(decathlon), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["volumes"]) == 4


def test_data_that_is_not_there(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert "nowhere" in refused(capsys, "data", "nowhere")
    assert str(tmp_path) in refused(capsys, "data", tmp_path)
    assert "cannot be downloaded" in refused(capsys, "data", "sunnybrook", "--download")


# ------------------------------------------------------------------------------------------------ train


def test_train_makes_a_run_and_does_not_touch_one(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decathlon: Path
) -> None:
    monkeypatch.setitem(methods.PRESETS, "tiny", TINY)
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


def test_train_with_a_scale_takes_that_share_of_every_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decathlon: Path) -> None:
    monkeypatch.setitem(methods.PRESETS, "tiny", TINY)
    words = f"train global --data {decathlon} --labels 0.5 --preset tiny --size 32 --scale 0.5 --out {tmp_path / 'run'} --quiet"
    assert main(words.split()) == 0
    trained = json.loads((tmp_path / "run" / "run.json").read_text())["trained"]
    assert {name: about["steps"] for name, about in trained.items()} == {
        name: max(1, round(0.5 * TINY.stages[name].steps)) for name in ("global", "finetune")
    }


def test_train_takes_a_network_of_the_working_folder(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(methods.PRESETS, "tiny", TINY)
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
    assert main(["evaluate", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["volumes"]


def test_train_refuses_what_it_cannot_do(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "global+local(block)" in refused(capsys, "train", "scratsh", "--out", out)
    assert "laptop" in refused(capsys, "train", "scratch", "--preset", "desktop", "--out", out)
    assert "scale: found 0.0" in refused(capsys, "train", "scratch", "--scale", "0", "--out", out)
    assert "0.0001" in refused(capsys, "train", "scratch", "--labels", "0.0001", "--out", out)
    assert "labelled" in refused(capsys, "train", "scratch", "--labels", "1.5", "--out", out)
    assert "no such split" in refused(capsys, "train", "scratch", "--split", tmp_path / "s.json", "--out", out)
    assert not out.exists()


def test_an_interrupted_command_says_how_to_go_on(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "train_method", interrupt)
    assert main(["train", "global+local(block)", "--out", str(tmp_path / "a run")]) == 130
    assert f"semicon-nb train 'global+local(block)' --out '{tmp_path}/a run' --resume" in capsys.readouterr().err


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
    assert values.dtype == np.uint8 and set(np.unique(values)) <= {0, 1, 2} and mask.header.get_zooms() == image.header.get_zooms()


def test_a_mask_is_what_the_library_says(made: Path, scan: Path, tmp_path: Path) -> None:
    from semicon_nb.data import Grid
    from semicon_nb.evaluate import segment
    from semicon_nb.methods import load_run

    main(["predict", str(made), str(scan), "-o", str(tmp_path / "mask.nii.gz")])
    run = load_run(made)
    wanted = segment(run.model, scan, Grid(**run.settings["grid"]))
    assert np.array_equal(np.asanyarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj), wanted)
    first = (tmp_path / "mask.nii.gz").read_bytes()
    main(["predict", str(made), str(scan), "-o", str(tmp_path / "mask.nii.gz")])
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
    monkeypatch.setattr(cli, "open_run", lambda folder: replace(methods.load_run(folder), model=ByBrightness()))
    masks = {}
    for v in range(5, 8):
        outlined(tmp_path / "theirs", range(v, v + 1), {"Background": 7, "posterior": 1, "ANTERIOR": 2})
        main(["predict", str(run), str(tmp_path / "theirs" / "images" / f"scan{v}.nii.gz"), "-o", str(tmp_path / f"{v}.nii.gz")])
        masks[f"scan{v}"] = np.asanyarray(nibabel.load(tmp_path / f"{v}.nii.gz").dataobj)
        assert masks[f"scan{v}"].dtype == np.uint16 and set(np.unique(masks[f"scan{v}"])) <= {0, 500, 600}
    said = capsys.readouterr().out
    assert "(as 500)" in said and "(as 600)" in said
    found, warned = report(capsys, run, "--data", tmp_path / "theirs", "--part", "all")
    assert warned == "" and len(found["volumes"]) == 3 and 0.5 < found["pooled_dice"] < 0.95
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
    from semicon_nb.pixel_page import slices_of_run

    before = report(capsys, run)
    moved = scans.rename(tmp_path / "scans version 2")
    assert report(capsys, run, "--data", moved) == before
    for command in (["evaluate", run], ["explore", run, "-o", tmp_path / "x.html"]):
        said = refused(capsys, *command)
        assert str(scans) in said and "--data" in said
    shown, cohort = slices_of_run(run, cohort=load(moved, size=32)), load(moved, size=32)
    own = cohort.images[part_indices(cohort, load_split(run / "split.json"), "test")].astype(np.float32)
    assert shown[2] == cohort.classes and all((image == own).all((1, 2)).any() for image in shown[0])


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
    assert report(capsys, run, "--data", mixed, "--part", "all")[1] == ""


def test_a_run_of_an_older_version_says_what_it_does_not_know(capsys: pytest.CaptureFixture, numbered, tmp_path: Path) -> None:
    run, scans = numbered
    about = json.loads((run / "run.json").read_text())
    assert about["codes"] == {"classes": [[0, 0], [500, 1], [600, 2]], "other": None, "ignore": []}
    (run / "run.json").write_text(json.dumps({k: v for k, v in about.items() if k not in ("codes", "learned")}))
    assert main(["predict", str(run), str(scans / "images" / "scan0.nii.gz"), "-o", str(tmp_path / "m.nii.gz")]) == 0
    assert "does not say what numbers its label files held" in capsys.readouterr().out
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


def test_the_number_of_classes_must_agree(capsys: pytest.CaptureFixture, made: Path) -> None:
    cardiac = phantom(kind="cardiac", subjects=3, size=32)

    def other(*arguments: object, **named: object):
        return cardiac

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "load_named", other)
        assert "was trained on background, anterior, posterior" in refused(capsys, "evaluate", made, "--data", "hearts", "--part", "all")


# ------------------------------------------------------------------------------------------------ the rest


def test_explore_writes_a_page_of_a_run(capsys: pytest.CaptureFixture, made: Path, tmp_path: Path) -> None:
    assert ".html" in refused(capsys, "explore", made, "-o", tmp_path / "page.txt")
    assert "no RUN folder" in refused(capsys, "explore", tmp_path, "-o", tmp_path / "page.html")


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
