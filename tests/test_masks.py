"""Masks that the command writes: on their scan, in its owner's numbers, and over nothing that is there."""

import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from small import AFFINE, refused

from semicon_nb import cli, methods
from semicon_nb import data as data_module
from semicon_nb.cli import main
from semicon_nb.data import split
from semicon_nb.masks import write_mask
from semicon_nb.methods import train_method
from semicon_nb.show import PALETTE, rgb
from semicon_nb.stages import PRESETS

TINY = replace(PRESETS["demo"], name="tiny", width=4).scaled(0.04)


def test_a_mask_of_a_nifti_2_scan_is_written_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nibabel.save(nibabel.Nifti2Image(np.zeros((4, 5, 6), np.int16), AFFINE), tmp_path / "scan.nii")
    write_mask(np.ones((4, 5, 6), np.uint8), tmp_path / "scan.nii", tmp_path / "mask.nii")
    assert not caplog.records and isinstance(nibabel.load(tmp_path / "mask.nii"), nibabel.Nifti1Image)


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


def test_a_picture_becomes_a_labelled_picture(made: Path, tmp_path: Path, small_phantom) -> None:
    Image.fromarray((small_phantom.images[3, :30].astype(np.float32) * 255).astype(np.uint8)).save(tmp_path / "slice.png")
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
    assert "expected a name that ends in .nii or .nii.gz" in refused(capsys, "predict", made, scan, "-o", tmp_path / "out" / "mask.png")
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


def test_a_picture_is_said_to_be_scaled_alone_where_the_run_saw_a_subjects_together(
    capsys: pytest.CaptureFixture, made: Path, tmp_path: Path
) -> None:
    """Also a blank one, which training takes among its neighbours, has a mask."""
    run, pictures = Path(shutil.copytree(made, tmp_path / "run")), tmp_path / "pictures"
    pictures.mkdir()
    for name, top in (("a", 255), ("b", 200), ("blank", 1)):
        Image.fromarray(np.random.default_rng(0).integers(0, top, (20, 24)).astype(np.uint8)).save(pictures / f"{name}.png")
    about = json.loads((run / "run.json").read_text())
    for number, (deepest, said) in enumerate(((4, 1), (1, 0))):
        about["seen"] |= {"kinds": ["png"], "spacing": None, "levels": None, "shape": [[20, 24, 1], [20, 24, deepest]]}
        (run / "run.json").write_text(json.dumps(about))
        assert main(["predict", str(run), str(pictures), "-o", str(tmp_path / f"masks{number}")]) == 0
        err = capsys.readouterr().err
        assert err.count("a.png (and 2 more): is scaled alone, but the run saw all pictures of a subject on one scale") == said
        assert "blank.png: has the value 0 everywhere; its mask is empty" in err
        mask = np.asarray(Image.open(tmp_path / f"masks{number}" / "blank.png"))
        assert mask.shape == (20, 24) and not mask.any()


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


def test_scans_without_outlines_have_nothing_to_compare_with(capsys: pytest.CaptureFixture, numbered, tmp_path: Path) -> None:
    run, place = numbered[0], outlined(tmp_path / "other", range(5, 8), OURS)
    shutil.rmtree(place / "labels")
    (place / "dataset.json").unlink()
    assert "other: holds no complete outline, so there is nothing" in refused(capsys, "evaluate", run, "--data", place, "--part", "all")


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


def test_scans_lie_as_the_run_learned_them_whatever_came_to_the_folder(numbered, monkeypatch: pytest.MonkeyPatch) -> None:
    run, scans = numbered
    outlined(scans, range(5, 11), OURS)
    for path in (path for v in range(5, 11) for path in scans.glob(f"*/scan{v}.nii.gz")):
        image = nibabel.load(path)
        way = nibabel.orientations.ornt_transform(*map(nibabel.orientations.axcodes2ornt, ("RAS", "ALS")))
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine).as_reoriented(way), path)
    own = methods.load_run(run)
    assert own.cohort.grid.orientation == "RAS" and [volume.orientation for volume in own.cohort.volumes].count("ALS") == 6
    monkeypatch.chdir(scans.parent)
    for word in (str(scans), scans.name):
        named = cli.load_named(word, run=own)
        assert named.fingerprint == own.cohort.fingerprint and np.array_equal(named.images, own.cohort.images)


def test_a_cohort_that_is_turned_otherwise_is_refused(capsys: pytest.CaptureFixture, numbered, monkeypatch: pytest.MonkeyPatch) -> None:
    run, scans = numbered
    other, load = outlined(scans.with_name("other"), range(5, 8), OURS), data_module.load
    for name, here, there in (("size", 40, 32), ("orientation", "LPS", "RAS")):
        monkeypatch.setattr(data_module, "load", lambda place, name=name, here=here, **how: load(place, **how | {name: here}))
        said = refused(capsys, "evaluate", run, "--data", other, "--part", "all")
        assert f"is read with {name} {here}, expected {name} {there}, with which this run was trained" in said


def test_scans_that_say_how_they_lie_are_told_where_those_of_the_run_did_not(numbered) -> None:
    run, scans = numbered
    about = json.loads((run / "run.json").read_text())
    for side in ("grid", "seen"):
        about[side]["orientation"] = ""
    (run / "run.json").write_text(json.dumps(about))
    other = outlined(scans.with_name("other"), range(5, 8), OURS)
    with pytest.warns(UserWarning, match="other: the scans of the run did not say which way .* here all are turned to RAS"):
        cli.load_named(str(other), run=methods.load_run(run))


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
    capsys: pytest.CaptureFixture, made: Path, tmp_path: Path, small_phantom, numbers: tuple, mode: str | None
) -> None:
    run, picture = tmp_path / "run", tmp_path / "slice.png"
    shutil.copytree(made, run)
    about = json.loads((run / "run.json").read_text())
    about["codes"]["classes"] = [[number, index] for index, number in enumerate(numbers)]
    (run / "run.json").write_text(json.dumps(about))
    Image.fromarray((small_phantom.images[3].astype(np.float32) * 255).astype(np.uint8)).save(picture)
    if mode is None:
        assert "do not fit a PNG" in refused(capsys, "predict", run, picture, "-o", tmp_path / "mask.png")
        assert not (tmp_path / "mask.png").exists()
        return
    assert main(["predict", str(made), str(picture), "-o", str(tmp_path / "indices.png")]) == 0
    assert main(["predict", str(run), str(picture), "-o", str(tmp_path / "mask.png")]) == 0
    mask, indices = (Image.open(tmp_path / name) for name in ("mask.png", "indices.png"))
    assert mask.mode == mode and np.array_equal(np.asarray(mask), np.array(numbers)[np.asarray(indices)])
