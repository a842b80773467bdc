"""From files to a cohort: orientation, what is lost, the cache, fingerprints, bad volumes, and unlike scans."""

import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from semicon_nb.data import (
    Codes,
    DataError,
    Grid,
    describe,
    deviations,
    folder,
    hippocampus,
    labelled_indices,
    load,
    native_labels,
    part_indices,
    scan_profile,
    slices,
    split,
    sunnybrook,
    unlabelled_indices,
)
from semicon_nb.data.cohort import Volume, take
from semicon_nb.data.slices import assemble
from semicon_nb.files import cache_folder

from .samples import classes_of, disc, hearts, nifti, png, scan, scans, task


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "slices").glob("*"))


def counting(monkeypatch) -> list:
    calls = []
    real = slices._read_all
    monkeypatch.setattr(slices, "_read_all", lambda *a: calls.append(1) or real(*a))
    return calls


def same(a, b) -> bool:
    arrays = all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n == "position") for n in slices._ARRAYS)
    return arrays and (a.volumes, a.fingerprint, a.classes, a.grid, a.codes) == (b.volumes, b.fingerprint, b.classes, b.grid, b.codes)


def spoil(place: Path, what: str) -> None:
    """Damage the second volume of a task in one way."""
    image, labels = scan(2)
    image_path, label_path = (place / side / "scan_002.nii.gz" for side in ("imagesTr", "labelsTr"))
    if what == "missing image":
        image_path.unlink()
    elif what == "missing label":
        label_path.unlink()
    elif what == "truncated":
        image_path.write_bytes(image_path.read_bytes()[:1500])
    elif what == "truncated label":
        label_path.write_bytes(label_path.read_bytes()[: label_path.stat().st_size // 2])
    elif what == "text":
        image_path.write_text("this is not an image")
    elif what == "nan":
        image[0, 0, 0] = np.nan
        nifti(image_path, image)
    elif what == "infinite":
        image[0, 0, 0] = np.inf
        nifti(image_path, image)
    elif what == "constant":
        nifti(image_path, np.full_like(image, 5))
    elif what == "unknown label":
        labels[0, 0, 0] = 9
        nifti(label_path, labels)
    elif what == "nan label":
        nifti(label_path, np.where(labels > 0, np.nan, 0).astype(np.float32))
    elif what == "four dimensions":
        nifti(image_path, np.stack([image, image], 3))
    elif what == "plain gzip":
        import gzip

        image_path.write_bytes(gzip.compress(b"x" * 5000))


BAD = {
    "missing image": (FileNotFoundError, "scan_002.nii.gz: there is no such file"),
    "missing label": (FileNotFoundError, "scan_002.nii.gz: there is no such file"),
    "truncated": (DataError, "scan_002.nii.gz: cannot be read as NIfTI, it may be truncated"),
    "truncated label": (DataError, "labelsTr/scan_002.nii.gz: cannot be read as NIfTI"),
    "text": (DataError, "scan_002.nii.gz: cannot be read as NIfTI"),
    "plain gzip": (DataError, "scan_002.nii.gz: cannot be read as NIfTI"),
    "nan": (DataError, "scan_002.nii.gz: 1 of 2880 voxels are NaN or infinite"),
    "infinite": (DataError, "scan_002.nii.gz: 1 of 2880 voxels are NaN or infinite"),
    "constant": (DataError, "scan_002.nii.gz: has the value 5 everywhere"),
    "unknown label": (DataError, r"scan_002.nii.gz: holds the unknown label 9, expected \[0, 1, 2\]"),
    "nan label": (DataError, "scan_002.nii.gz: labels must be whole numbers"),
    "four dimensions": (DataError, r"scan_002.nii.gz: has the shape \(20, 24, 6, 2\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_volume_is_named(tmp_path, what):
    place = task(tmp_path / "t")
    spoil(place, what)
    kind, message = BAD[what]
    with pytest.raises(kind, match=message) as caught:
        folder(place)
    assert "\n" not in str(caught.value)


def test_what_only_looks_like_a_scan_is_named(tmp_path):
    place = scans(tmp_path / "t")
    (place / "images" / "e.nii.gz").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="e.nii.gz: is a link to nothing; add the file, or take its name out"):
        folder(place)
    (place / "images" / "e.nii.gz").unlink()
    (place / "images" / "e.nii.gz").mkdir()
    with pytest.raises(FileNotFoundError, match="e.nii.gz: is no file"):
        folder(place)


def test_unlabelled_slices_are_not_background(data_folder):
    """Shared README: 253 of the 526 Sunnybrook slices have no complete label."""
    hearts = sunnybrook(data_folder)
    assert (len(hearts), int(hearts.labelled.sum()), len(hearts.volumes), hearts.size) == (526, 273, 30, 160)
    assert not hearts.labels[~hearts.labelled].any()
    assert np.isnan(hearts.position).all()
    s = split(hearts, 0.5)
    assert hearts.labelled[labelled_indices(hearts, s)].all()
    assert hearts.labelled[part_indices(hearts, s, "test")].all()
    assert len(unlabelled_indices(hearts, s)) > len(part_indices(hearts, s, "train"))
    assert (hearts.labels[labelled_indices(hearts, s)] > 0).any((1, 2)).mean() > 0.9


def test_no_slice_is_dropped(hippo):
    """Method 6.7: the last batch is dropped, at test time too. Here every slice of every file is in the cohort."""
    assert len(hippo) == sum(nibabel.load(v.image).shape[2] for v in hippo.volumes)
    for v, volume in enumerate(hippo.volumes):
        assert (hippo.volume == v).sum() == volume.shape[2]


def reoriented(path: Path, codes: str) -> None:
    image = nibabel.load(path)
    way = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes))
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine).as_reoriented(way), path)


def test_a_cohort_lies_as_most_of_its_files_do(tmp_path):
    place = task(tmp_path / "t")
    first = folder(place)
    reoriented(place / "imagesTr" / "scan_001.nii.gz", "LSP")
    reoriented(place / "labelsTr" / "scan_002.nii.gz", "PIR")
    mixed = folder(place)
    assert mixed.grid.orientation == first.grid.orientation == "RAS" and mixed.fingerprint != first.fingerprint
    assert [v.orientation for v in mixed.volumes] == ["LSP", "RAS", "RAS", "RAS"] and "in RAS" in repr(mixed)
    assert np.array_equal(mixed.images, first.images) and np.array_equal(mixed.labels, first.labels)
    assert all(np.array_equal(native_labels(mixed, v), native_labels(first, v)) for v in range(4))
    assert describe(mixed)["stored"].tolist() == ["LSP", "RAS", "RAS", "RAS"]
    asked = folder(place, orientation="LPS")
    np.testing.assert_allclose(asked.images, first.images[:, ::-1, ::-1], atol=2e-3)
    assert asked.fingerprint not in (mixed.fingerprint, first.fingerprint)
    assert same(load(**asked.source), asked) and folder(place, orientation="RAS").fingerprint == mixed.fingerprint
    for bad in ("RAR", "RA", "xyz"):
        with pytest.raises(ValueError, match="orientation: .* expected one letter each of LR, PA and IS"):
            folder(place, orientation=bad)


def planes(place: Path, shapes: list[tuple[int, ...]]) -> Path:
    """Scans of these shapes, half of each outlined."""
    for k, shape in enumerate(shapes):
        labels = np.zeros(shape, np.uint8)
        labels[..., : shape[-1] // 2] = 1
        nifti(place / "images" / f"p{k}.nii.gz", (labels + np.random.default_rng(k).random(shape)).astype(np.float32))
        nifti(place / "labels" / f"p{k}.nii.gz", labels)
    return place


def test_single_slices_say_which_axis_they_lie_across(tmp_path, monkeypatch):
    """A run on them cuts a whole scan along the same axis, and the name of what they hold is that of before."""
    place = planes(tmp_path / "t", [(1, 20, 24)] * 3)
    for _ in ("from the files", "from the cache"):
        found = folder(place, 16)
        assert found.grid.axis == scan_profile(found)["axis"] == 0 and found.source["axis"] == 2
    assert found.fingerprint == slices._fingerprint("", found.classes, found.codes, found.volumes, Grid(16, orientation="RAS"))
    assert same(load(**found.source), found) and native_labels(found, 0).shape == (20, 24, 1)
    assert folder(planes(tmp_path / "u", [(20, 24, 1), (20, 24, 5)]), 16).grid.axis == 2
    assert folder(planes(tmp_path / "v", [(1, 20, 24), (5, 20, 24)]), 16, axis=0).grid.axis == 0


@pytest.mark.parametrize("shapes", [[(20, 24, 5), (1, 20, 24)], [(20, 1, 24), (1, 20, 24)]])
def test_slices_of_several_planes_are_no_cohort(tmp_path, shapes):
    place = planes(tmp_path / "t", shapes)
    for _ in ("from the files", "from the cache"):
        with pytest.raises(DataError, match="t: the slices of p0 lie across axis [12], those of p1 across axis 0; put scans of each plane"):
            folder(place, 16)


def test_thick_slices_of_another_plane_are_told(tmp_path):
    """Turned to lie as most do, their slices are cut through, ten rows of 6 mm each; as hearts along the short axis may, at other tilts."""
    place = task(tmp_path / "t", 5)
    for path in place.glob("*/*.nii.gz"):
        voxels, other = np.asarray(nibabel.load(path).dataobj), path.name[-8] in "45"
        nifti(path, voxels, np.array([[0, 0, 6, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]) if other else np.diag([1, 1, 6, 1]))
    what = r"t: 2 of 5 volumes \(scan_004, scan_005\) were taken in another plane than most, but all are cut alike; put scans of each plane"
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=what) as said:
            assert folder(place).volumes[4].spacing == (6, 1, 1)
        assert len(said) == 1
    for size in ((1, 1, 6), (1.2, 1, 1.5)):  # one plane, and no plane
        for k, path in enumerate(sorted(place.glob("*/*.nii.gz"))):
            nifti(path, np.asarray(nibabel.load(path).dataobj), np.diag([*np.roll(size, k % 5 if size[2] < 2 else 0), 1]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            folder(place)


def test_files_that_do_not_say_which_way_round(tmp_path):
    place = task(tmp_path / "t")
    first = folder(place)
    for side in ("imagesTr", "labelsTr"):
        path = place / side / "scan_003.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), None), path)
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=r"t: 1 of 4 volumes \(scan_003, ...\) do not say .* taken as stored") as said:
            silent = folder(place)
        assert len(said) == 1 and np.array_equal(silent.images, first.images)
    nifti(place / "labelsTr" / "scan_004.nii.gz", scan(4)[1])
    path = place / "imagesTr" / "scan_004.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan(4)[0], None), path)
    pairs = r"t: in 1 of 4 volumes \(scan_004\) only the image or only the label file says .* taken to be stored like it"
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=pairs) as said:
            folder(place)
        assert len(said) == 2
    nifti(place / "imagesTr" / "scan_004.nii.gz", scan(4)[0])
    reoriented(place / "imagesTr" / "scan_004.nii.gz", "LPS")
    path = place / "labelsTr" / "scan_004.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan(4)[1][::-1, ::-1], None), path)
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=pairs) as said:
            turned = folder(place)
        assert len(said) == 2
    assert np.array_equal(turned.labels, first.labels) and np.array_equal(native_labels(turned, 3), native_labels(first, 3))
    nifti(place / "imagesTr" / "scan_004.nii.gz", scan(4)[0])
    nibabel.save(nibabel.Nifti1Image(scan(4)[0], None), place / "imagesTr" / "scan_004.nii.gz")
    nifti(place / "labelsTr" / "scan_004.nii.gz", scan(4)[1], np.diag([1, 1, 3, 1]))
    with pytest.raises(DataError, match=r"labelsTr/scan_004.nii.gz: has voxels of .*pair the right files"):
        folder(place)


@pytest.mark.parametrize("fit", ["resize", "centre"])
def test_a_structure_lost_on_the_grid_is_told(tmp_path, fit):
    place = tmp_path / "lesions"
    for k in range(3):
        labels = np.zeros((128, 100, 2), np.uint8)
        labels[40:80, 40:80] = 1
        labels[8 : 9 + 4 * (k == 2), 10] = 5
        nifti(place / "images" / f"c{k}.nii.gz", (labels + np.random.default_rng(k).random(labels.shape)).astype(np.float32))
        nifti(place / "labels" / f"c{k}.nii.gz", labels)
    lost, voxels = (2, "2") if fit == "resize" else (3, "2 to 10")
    what = rf"lesions: class 2 \(label 5\) is lost at 32 x 32 in {lost} of the 3 volumes .*, {voxels} voxels each; load it with --size 128"
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=what) as said:
            folder(place, 32, fit)
        assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = folder(place, 128, fit)
    assert all((kept.labels[kept.volume == v] == 2).any() for v in range(3))


def test_pictures_are_read_in_threads_and_warnings_stay_as_they_were(tmp_path, monkeypatch):
    """A filter that one thread sets while another reads would stay for good, and the first reading would tell nothing."""
    place, filters, seen, opened = hearts(tmp_path / "h"), list(warnings.filters), [], Image.open
    monkeypatch.setattr(Image, "open", lambda *how: seen.append(list(warnings.filters)) or opened(*how))
    folder(place)
    assert len(seen) >= 12 and all(one == filters for one in [*seen, warnings.filters])


def test_no_structure_of_the_real_cohorts_is_lost(data_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hippocampus(data_folder)
        sunnybrook(data_folder)


def test_a_scan_unlike_those_of_the_run_is_told(tmp_path, hippo, small_phantom):
    names = [v.name for v in hippo.volumes]
    known = json.loads(json.dumps(scan_profile(take(hippo, names[:4]))))
    assert all(deviations(v.image, known) == [] for v in hippo.volumes)
    ct = nifti(tmp_path / "ct.nii.gz", disc(-2000)[0][:40, :50], np.diag([1, 1, 2.5, 1]))
    size, brightness = deviations(ct, known)
    assert "its voxels measure 1 x 1 x 2.5 mm (rows, columns, slices), those of the run 1 x 1 x 1" in size
    assert "its intensities reach from -1" in brightness
    whole = nifti(tmp_path / "whole.nii.gz", np.random.default_rng(0).random((200, 220, 30)).astype(np.float32))
    assert [why for why in deviations(whole, known) if "its slices have 200 x 220 pixels" in why] == deviations(whole, known)
    picture = png(tmp_path / "x.png", np.arange(200, dtype=np.uint8).reshape(10, 20))
    assert "is a png file, but the run was trained on nifti scans only" in deviations(picture, known)[0]
    assert "trained on generated scans only" in deviations(ct, json.loads(json.dumps(scan_profile(small_phantom))))[0]


def test_a_scan_that_says_how_it_lies_is_told_where_those_of_the_run_did_not(tmp_path):
    place = task(tmp_path / "t")
    for path in place.glob("*/*.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), None), path)
    silent = folder(place)
    assert silent.grid.orientation == "" and deviations(silent.volumes[0].image, scan_profile(silent)) == []
    said = deviations(nifti(tmp_path / "lps.nii.gz", scan(1)[0], np.diag([-1.0, -1, 1, 1])), scan_profile(silent))
    assert len(said) == 1 and "lps.nii.gz: says that it runs to LPS, but the scans of the run did not say" in said[0]


def test_pictures_of_a_list_are_pictures(tmp_path):
    place = hearts(tmp_path / "h", index=False)
    names = [path.name for path in sorted((place / "labels").iterdir())]
    about = json.loads((place / "dataset.json").read_text())
    pairs = [{"image": f"images/{name}", "label": f"labels/{name}"} for name in names]
    (place / "dataset.json").write_text(json.dumps(about | {"training": pairs}))
    known = scan_profile(folder(place))
    assert known["kinds"] == ["png"] and known["spacing"] is None and deviations(place / "images" / names[0], known) == []
    assert "is a nifti file, but the run was trained on png scans only" in deviations(nifti(tmp_path / "x.nii", scan()[0]), known)[0]


def test_cache_gives_the_same_cohort_without_reading(tmp_path, monkeypatch):
    calls = counting(monkeypatch)
    for place in (task(tmp_path / "t"), hearts(tmp_path / "h")):
        calls.clear()
        first = folder(place)
        assert same(folder(place), first) and len(calls) == 1
    assert len(kept(tmp_path)) == 2


def test_cache_notices_changed_files_and_settings(tmp_path, monkeypatch):
    calls = counting(monkeypatch)
    place = task(tmp_path / "t")
    first = folder(place)
    assert folder(place, size=32).size == 32 and len(calls) == 2
    nifti(place / "imagesTr" / "scan_001.nii.gz", scan(77)[0])
    assert folder(place).fingerprint != first.fingerprint and len(calls) == 3


SETTINGS = {"size": (16, 17, 24), "fit": ("resize", "centre"), "orientation": ("", "LPS")}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_voxel_or_a_setting_more_is_another_key_and_the_same_is_the_same(tmp_path_factory, data):
    """Whatever changes, of files or of what is asked, neither meets the cache of before nor has its fingerprint."""
    place = task(tmp_path_factory.mktemp("keys") / "t", 2)
    asked = {name: data.draw(st.sampled_from(values), name) for name, values in SETTINGS.items()}
    first, before = folder(place, **asked), set(cache_folder().rglob("*.npz"))
    assert same(folder(place, **asked), first) and set(cache_folder().rglob("*.npz")) == before
    what = data.draw(st.sampled_from(["image", "label", *SETTINGS]), "what")
    if what in SETTINGS:
        asked[what] = data.draw(st.sampled_from([value for value in SETTINGS[what] if value != asked[what]]), "value")
    else:
        number = data.draw(st.integers(1, 2), "scan")
        arrays = dict(zip(("image", "label"), scan(number), strict=True))
        at = data.draw(st.integers(0, arrays[what].size - 1), "voxel")
        arrays[what].flat[at] = 2 - arrays[what].flat[at] if arrays[what].flat[at] != 1 else 0
        nifti(place / f"{what}sTr" / f"scan_{number:03d}.nii.gz", arrays[what])
    second = folder(place, **asked)
    assert second.fingerprint != first.fingerprint and len(set(cache_folder().rglob("*.npz")) - before) == 1
    assert same(folder(place, **asked), second)


@pytest.mark.parametrize("make", [task, hearts])
def test_the_number_of_threads_that_read_decides_nothing(tmp_path, monkeypatch, make):
    place, found = make(tmp_path / "t"), []
    for cores in (1, 2, 7):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / f"cache{cores}"))
        found.append(folder(place))
    assert all(same(one, found[0]) for one in found)


TOGETHER = """
import json, sys, time
from pathlib import Path
import semicon_nb.methods
from small import TINY, train_method
from semicon_nb.data import load, split
from semicon_nb.files import content_key
place, out = Path(sys.argv[1]), Path(sys.argv[2])
(out / "ready").write_text("")
while not (place / "go").exists():
    time.sleep(0.001)
cohort = load(place / "t", size=16)
run = train_method("global", cohort, split(cohort, 1.0), TINY, out=out / "RUN", progress=False)
weights = [value.numpy() for value in run.model.state_dict().values()]
print(json.dumps([cohort.fingerprint, content_key(cohort.images, cohort.labels, cohort.position), content_key(*weights)]))
"""


def test_two_processes_on_one_cache_give_what_one_gives(tmp_path, root):
    """Both read the same scans and train the same first stage at once, into one cache that is empty; nothing is left behind."""
    place, environment = tmp_path, {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    task(place / "t", 6)

    def start(name: str, cache: str) -> subprocess.Popen:
        (place / name).mkdir()
        words = [sys.executable, "-c", TOGETHER, str(place), str(place / name)]
        return subprocess.Popen(words, env={**environment, "SEMICON_CACHE": str(place / cache)}, stdout=subprocess.PIPE, text=True)

    jobs = [start("one", "shared"), start("two", "shared"), start("alone", "its own")]
    deadline = time.monotonic() + 120
    while not all((place / name / "ready").exists() for name in ("one", "two", "alone")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (place / "go").write_text("")
    said = [job.communicate(timeout=240)[0].splitlines()[-1] for job in jobs]
    assert said[0] == said[1] == said[2] and [job.returncode for job in jobs] == [0, 0, 0]
    left = [path.suffix for path in (place / "shared").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert sorted(left) == [".jsonl", ".npz", ".pt"], "one of each, and nothing half-written"


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damaged_cache_is_made_again(tmp_path, monkeypatch, damage):
    calls = counting(monkeypatch)
    place = task(tmp_path / "t")
    first = folder(place)
    [path] = kept(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    path.write_bytes({"truncate": whole[:-500], "flip": whole, "empty": b"", "text": b"hello"}[damage])
    with pytest.warns(UserWarning, match="npz: is damaged and is made anew"):
        assert same(folder(place), first) and len(calls) == 2
    assert same(folder(place), first) and len(calls) == 2


FACTS = {
    "outline is a number": {"outline": 3},
    "shape is text": {"shape": "a"},
    "shape of two": {"shape": [1, 2]},
    "spacing holds text": {"spacing": [1.0, 1.0, "a"]},
    "name is a number": {"name": 3},
    "nobody's": {"subject": None},
    "files are a number": {"files": 3},
}


@pytest.mark.parametrize("facts", FACTS)
def test_a_cache_whose_facts_are_of_another_kind_is_made_again(tmp_path, facts):
    first = folder(task(tmp_path / "t"))
    [path] = kept(tmp_path)
    with np.load(path) as stored:
        arrays = dict(stored)
    known = json.loads(arrays["facts"].tobytes())
    known["volumes"][0] |= FACTS[facts]
    np.savez(path, **arrays | {"facts": np.frombuffer(json.dumps(known).encode(), np.uint8)})
    with pytest.warns(UserWarning, match="npz: is damaged and is made anew"):
        assert same(folder(tmp_path / "t"), first)


def test_cache_that_cannot_be_written_only_warns(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not kept .* set SEMICON_CACHE"):
        assert len(folder(task(tmp_path / "t")).volumes) == 4


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    first = folder(task(tmp_path / "t"))
    shutil.copytree(tmp_path / "t", tmp_path / "elsewhere" / "t", copy_function=shutil.copy)
    os.utime(tmp_path / "elsewhere" / "t" / "imagesTr" / "scan_001.nii.gz", (1, 1))
    assert folder(tmp_path / "elsewhere" / "t").fingerprint == first.fingerprint


@pytest.mark.parametrize("make", [task, hearts])
def test_folder_keeps_its_fingerprint_under_another_name(tmp_path, make):
    first = folder(make(tmp_path / "t"))
    chosen = split(first, 1.0) if make is task else None
    second = folder((tmp_path / "t").rename(tmp_path / "another name"))
    assert second.fingerprint == first.fingerprint and second.name == "another name"
    if chosen:
        assert np.array_equal(part_indices(second, chosen, "test"), part_indices(first, chosen, "test"))
    assert folder(tmp_path / "another name", size=32).fingerprint != first.fingerprint


@pytest.mark.parametrize("what", ["image", "label", "subject", "name", "classes", "codes", "labelled"])
def test_folder_with_other_content_has_another_fingerprint(tmp_path, what):
    place = task(tmp_path / "t")
    first, about = folder(place), json.loads((place / "dataset.json").read_text())
    image, labels = scan(77)
    if what == "image":
        nifti(place / "imagesTr" / "scan_001.nii.gz", image)
    elif what == "label":
        labels[0, 0, 0] = 1
        nifti(place / "labelsTr" / "scan_001.nii.gz", labels)
    elif what == "classes":
        about["labels"]["1"] = "neck"
    elif what == "codes":
        about["labels"]["3"] = "head"
    elif what == "labelled":
        about["training"][0]["label"] = ""
    elif what == "subject":
        (place / "index.csv").write_text("file,subject\n" + "".join(f"scan_{k:03d}.nii.gz,p{k}\n" for k in range(1, 5)))
    elif what == "name":
        for kind in ("image", "label"):
            path = place / f"{kind}sTr" / "scan_001.nii.gz"
            path.rename(path.with_name("scan_000.nii.gz"))
            about["training"][0][kind] = f"./{kind}sTr/scan_000.nii.gz"
    (place / "dataset.json").write_text(json.dumps(about))
    assert folder(place).fingerprint != first.fingerprint


def test_which_picture_is_outlined_is_in_the_fingerprint(tmp_path):
    found = set()
    for name, there in (("one", "0"), ("other", "1")):
        for k in range(2):
            png(tmp_path / name / "images" / f"{k}.png", (scan(k)[0][:, :, 2] * 60).astype(np.uint8))
        png(tmp_path / name / "labels" / f"{there}.png", scan(0)[1][:, :, 2])
        (tmp_path / name / "index.csv").write_text("file,subject\n0.png,a\n1.png,a\n")
        found.add(folder(tmp_path / name).fingerprint)
    assert len(found) == 2


def test_file_changed_in_place_is_noticed_whatever_its_times_say(tmp_path):
    for k in range(3):
        for side, array in zip(("images", "labels"), scan(k), strict=True):
            nifti(tmp_path / "f" / side / f"{k}.nii", array)
    first, path = folder(tmp_path / "f"), tmp_path / "f" / "labels" / "1.nii"
    before = path.stat()
    time.sleep(0.02)  # a file system keeps its times in steps of a few milliseconds
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    second = folder(tmp_path / "f")
    assert second.fingerprint != first.fingerprint and native_labels(second, 1)[-1, -1, -1] == 2


def test_folder_with_a_long_name_is_kept(tmp_path):
    assert len(folder(task(tmp_path / ("n" * 250))).volumes) == 4 and len(kept(tmp_path)) == 1


def test_one_scan_of_two_people_is_refused(tmp_path):
    place = task(tmp_path / "t")
    shutil.copy(place / "imagesTr" / "scan_001.nii.gz", place / "imagesTr" / "scan_002.nii.gz")
    with pytest.raises(DataError, match="scan_001 .* and scan_002 .* hold the same image"):
        folder(place)
    (place / "index.csv").write_text("file,subject\n" + "".join(f"scan_{k:03d}.nii.gz,p{max(k, 2)}\n" for k in range(1, 5)))
    assert folder(place).subjects == ("p2", "p3", "p4")


def pictures_of(place: Path, people: dict[str, list[np.ndarray]]) -> Path:
    """A folder of outlined pictures, and an index.csv unless each person has one."""
    for who, pictures in people.items():
        for k, picture in enumerate(pictures):
            png(place / "images" / f"{who}{k}.png", picture)
            png(place / "labels" / f"{who}{k}.png", (picture > 120).astype(np.uint8))
    if any(len(pictures) > 1 for pictures in people.values()):
        lines = [f"{who}{k}.png,{who}\n" for who, pictures in people.items() for k in range(len(pictures))]
        (place / "index.csv").write_text("file,subject\n" + "".join(lines))
    return place


@pytest.mark.parametrize("stack", [1, 3])
def test_one_picture_of_two_people_is_refused_and_a_blank_one_is_not(tmp_path, stack):
    people = {who: [(scan(10 * ord(who) + k)[0][..., 2] * 60).astype(np.uint8) for k in range(stack)] for who in "abcd"}
    blank, mark = np.zeros((20, 24), np.uint8), np.zeros((20, 24), np.uint8)
    mark[2:3, 2:4] = 255
    shared = {who: [*pictures, blank, mark] if stack > 1 else pictures for who, pictures in people.items()}
    assert len(folder(pictures_of(tmp_path / "shared", shared | {"e": [mark], "f": [mark]})).subjects) == 6
    people["d"][-1] = people["a"][0]
    with pytest.raises(DataError, match=rf"a0.png .subject a.*. and d{stack - 1}.png .subject d.*. hold the same image; remove one, or give"):
        folder(pictures_of(tmp_path / "copied", people))


def sequences(place: Path, ending: str, mask: np.ndarray) -> Path:
    """Two sequences of each of three people, named for both, with the outline of that person under both names."""
    for k in range(3):
        labels = np.roll(mask, k, 1)
        for name in ("t1", "t2"):
            image = np.random.default_rng(3 * k + len(list(place.rglob("*_t1*")))).random(mask.shape)
            for side, values in (("images", np.rint(200 * image)), ("labels", labels)):
                path = place / side / f"p{k}_{name}{ending}"
                png(path, values[..., 0].astype(np.uint8)) if ending == ".png" else nifti(path, values.astype(np.uint8))
    return place


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_one_outline_of_two_people_is_refused_unless_it_says_little(tmp_path, ending):
    """Each sequence was taken for a person, so the T1 of somebody trained and the T2 was in the test."""
    y, x = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    disc, few = (np.repeat((np.hypot(y - 20, x - 15) < radius)[..., None], 3, 2) for radius in (12, 4))
    box = (y > 10) & (x > 8) & (x < 25)
    for name, mask in (("few", few * (1 if ending == ".png" else np.arange(3) == 1)), ("box", np.repeat(box[..., None], 3, 2))):
        assert len(folder(sequences(tmp_path / name, ending, mask), size=40).subjects) == 6
    place = sequences(tmp_path / "f", ending, disc)
    with pytest.raises(DataError, match=r"f: p0_t1.* .subject p0_t1. and p0_t2.* .subject p0_t2. have the same outline to the last pixel"):
        folder(place, size=40)
    (place / "index.csv").write_text("file,subject\n" + "".join(f"{path.name},{path.name[:2]}\n" for path in (place / "images").iterdir()))
    assert folder(place, size=40).subjects == ("p0", "p1", "p2")


def test_failed_loading_leaves_no_cache(tmp_path):
    place = task(tmp_path / "t")
    (place / "imagesTr" / "scan_003.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="scan_003"):
        folder(place)
    assert kept(tmp_path) == []


def peak_of(job) -> tuple[object, int]:
    """What a job gives, and the most bytes of memory that it had at once."""
    tracemalloc.start()
    try:
        return job(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_loading_takes_little_more_memory_than_what_it_holds(tmp_path, monkeypatch):
    """One array that grows, and one volume at a time in each thread: never all volumes and the array beside them."""
    luck = np.random.default_rng(0)
    for k in range(80):
        for side, most in (("images", 250), ("labels", 3)):
            nifti(tmp_path / "f" / side / f"{k}.nii", luck.integers(0, most, (64, 64, 16), np.uint8))
    folder(tmp_path / "f", size=16)  # imports what it needs
    with monkeypatch.context() as patch:
        patch.setattr(slices, "_keep", lambda *_: None)  # which writes in pieces of 16 MB
        from_files, most = peak_of(lambda: folder(tmp_path / "f", size=64))
    held = sum(getattr(from_files, name).nbytes for name in slices._ARRAYS)
    assert held > 15e6 and most < 1.35 * held, f"{most / held:.2f} times what it holds"
    folder(tmp_path / "f", size=64)
    from_cache, most = peak_of(lambda: folder(tmp_path / "f", size=64))
    assert same(from_cache, from_files) and most < 1.1 * held, f"{most / held:.2f} times what it holds"


@pytest.mark.slow
def test_the_cache_is_quicker_than_the_files(data_folder):
    start = time.perf_counter()
    cold = hippocampus(data_folder)
    from_files, from_cache = time.perf_counter() - start, []
    for _ in range(3):
        start = time.perf_counter()
        warm = hippocampus(data_folder)
        from_cache.append(time.perf_counter() - start)
    assert len(cold.volumes) == 209 and same(cold, warm)
    print(f"209 hippocampi: {from_files:.2f} s from the files, {min(from_cache):.2f} s from the cache (best of three)")
    assert min(from_cache) < from_files / 3


def test_a_class_that_no_file_holds_is_told(tmp_path):
    place = scans(tmp_path / "f", about={"labels": {"background": 0, "a": 1, "b": 2, "never": 3}})
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match="f: no complete slice shows never, so nothing"):
            folder(place, size=8)


def test_a_class_that_no_complete_slice_shows_is_told(tmp_path):
    place = scans(tmp_path / "f", numbers=(0, 0, 1), about={"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}})
    with pytest.warns(UserWarning, match="no complete slice shows b"):
        assert "no complete slice shows b" in repr(folder(place, size=8))


def test_what_nobody_judged_is_in_the_fingerprint(tmp_path):
    """The same files with the same classes, of which some slices are left out or not."""
    scans(tmp_path / "f", ("a",))
    volumes = [Volume("a", "a", str(tmp_path / "f" / "images" / "a.nii.gz"), str(tmp_path / "f" / "labels" / "a.nii.gz"))]
    sparse = classes_of(0)
    sparse[:3, 0, 1:] = 9
    nifti(tmp_path / "f" / "labels" / "a.nii.gz", sparse.astype(np.uint8))
    codes = [Codes(((0, 0), (1, 1), (2, 2)), other=0, ignore=ignore) for ignore in ((), (9,))]
    found = [assemble("own", ("background", "a", "b"), one, volumes, Grid(16), {}) for one in codes]
    assert [one.labelled.sum() for one in found] == [3, 1] and found[0].fingerprint != found[1].fingerprint


def outlined_on(place: Path, shown: list[tuple[int, ...]], axis: int = 2) -> Path:
    """Scans of 12 x 12 x 12 voxels, on these slices of which a square is outlined."""
    for k, there in enumerate(shown):
        labels = np.zeros((12, 12, 12), np.uint8)
        np.moveaxis(labels, axis, 0)[list(there), 3:9, 3 : 8 + k % 2] = 1
        nifti(place / "images" / f"p{k}.nii.gz", (labels + np.random.default_rng(k).random(labels.shape)).astype(np.float32))
        nifti(place / "labels" / f"p{k}.nii.gz", labels)
    return place


WHOLE = tuple(range(2, 10))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shown", [(3, 8), (1, 4, 7, 10), (6,)])
def test_slices_between_outlines_that_lie_apart_are_not_taken_as_empty(tmp_path, shown, axis):
    """In a label file 0 says that nothing is there, and a specialist who outlines two slices leaves 0 on the others."""
    place = outlined_on(tmp_path / "f", [shown, shown, WHOLE, WHOLE], axis)
    what = r"volumes \(p0.*\) no two neighbouring slices show a structure, and those between count as empty; fill .* called 'ignore'"
    with pytest.raises(DataError, match="f: in 2 of 4 outlined " + what):
        folder(place, size=16)
    about = {"labels": {"background": 0, "a": 1, "ignore": 9}}
    (place / "dataset.json").write_text(json.dumps(about))
    assert folder(place, size=16).labelled.all()
    for k in range(2):
        labels = np.full((12, 12, 12), 9, np.uint8)
        np.moveaxis(labels, axis, 0)[list(shown)] = 0
        nifti(place / "labels" / f"p{k}.nii.gz", labels + np.asarray(nibabel.load(place / "labels" / f"p{k}.nii.gz").dataobj))
    assert folder(place, size=16).labelled.sum() == 24 + 2 * len(shown) * (axis == 2)


def test_things_of_a_few_pixels_may_lie_on_one_slice(tmp_path):
    """Not every scan of small things is one that nobody finished."""
    place = outlined_on(tmp_path / "f", [(3,), (5,), (7,)])
    for k in range(3):
        labels = np.zeros((12, 12, 12), np.uint8)
        labels[2:4, 2:6, 3 + 2 * k] = 1
        nifti(place / "labels" / f"p{k}.nii.gz", labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder(place, size=16).labelled.all()


def test_few_scans_with_outlines_that_lie_apart_are_told(tmp_path):
    """Small things may well show on one slice."""
    place = outlined_on(tmp_path / "f", [(3, 8), WHOLE, WHOLE, (5, 6), (2, 3, 8)])
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=r"f: in 1 of 5 outlined volumes \(p0\) no two neighbouring slices show") as said:
            folder(place, size=16)
        assert len(said) == 1


def test_label_files_that_outline_nothing_are_told(tmp_path):
    """Healthy people have such files, and so have people of whom a program made one for later."""
    place = outlined_on(tmp_path / "f", [WHOLE, WHOLE, WHOLE, (), ()])
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match=r"f: 2 of 5 label files \(p3, p4\) outline nothing, .*; where nobody looked, take them away") as said:
            assert folder(place, size=16).labelled.all()
        assert len(said) == 1
    for k in (3, 4):
        (place / "labels" / f"p{k}.nii.gz").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder(place, size=16).labelled.sum() == 36


def test_cubes_that_are_cut_along_another_axis_are_another_cohort(tmp_path):
    """Though as many slices of one shape lie along every axis; and a scan is compared along the axis of the run."""
    for name, array in zip(("images", "labels"), scan(0, (12, 12, 12)), strict=True):
        nifti(tmp_path / "f" / name / "a.nii.gz", array, np.diag([3, 0.8, 0.5, 1]))
    found = [folder(tmp_path / "f", size=16, axis=axis) for axis in range(3)]
    assert len({one.fingerprint for one in found}) == 3
    assert [deviations(one.volumes[0].image, json.loads(json.dumps(scan_profile(one)))) for one in found] == [[]] * 3
