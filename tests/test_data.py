"""Reading, normalising, resampling, pairing, caching: every trap of the released code and of the files, and every bad input."""

import json
import os
import shutil
import time
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from semicon_nb.data import (
    DataError,
    Grid,
    contact_sheet,
    describe,
    folder,
    from_grid,
    hippocampus,
    labelled_indices,
    load,
    mmwhs,
    native_labels,
    normalise,
    part_indices,
    phantom,
    read_image,
    slices,
    split,
    sunnybrook,
    take,
    to_grid,
    unlabelled_indices,
)
from semicon_nb.data import cohorts as door
from semicon_nb.data.cohort import Codes
from semicon_nb.data.likeness import seen, unlike
from semicon_nb.data.scans import linear_weights, stretch


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Every test has an empty cache of its own."""
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def png(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def scan(seed: int = 0, shape=(20, 24, 6)) -> tuple[np.ndarray, np.ndarray]:
    """An image and a label map that belong together."""
    labels = np.zeros(shape, np.uint8)
    labels[4:12, 5:14, 1:-1] = 1
    labels[12:16, 5:14, 1:-1] = 2
    return (np.random.default_rng(seed).random(shape) + labels).astype(np.float32), labels


def task(place: Path, count: int = 4, name: str = "Test") -> Path:
    """A Decathlon task with volumes scan_001, ..."""
    pairs = []
    for k in range(1, count + 1):
        image, labels = scan(k)
        nifti(place / "imagesTr" / f"scan_{k:03d}.nii.gz", image)
        nifti(place / "labelsTr" / f"scan_{k:03d}.nii.gz", labels)
        pairs.append({"image": f"./imagesTr/scan_{k:03d}.nii.gz", "label": f"./labelsTr/scan_{k:03d}.nii.gz"})
    about = {"name": name, "labels": {"0": "background", "1": "Head", "2": "Tail"}, "training": pairs}
    (place / "dataset.json").write_text(json.dumps(about))
    return place


def hearts(place: Path, index: bool = True) -> Path:
    """Pictures of three subjects, four slices each, every second one labelled."""
    lines = ["file,subject,labelled"]
    for who in "abc":
        for k in range(4):
            image, labels = (array[:, :, 1] for array in scan(ord(who) + k, (40, 44, 3)))
            png(place / "images" / f"{who}{k}.png", (image * 60).astype(np.uint8))
            if k % 2:
                png(place / "labels" / f"{who}{k}.png", labels)
            lines.append(f"{who}{k}.png,person-{who},{k % 2}")
    (place / "dataset.json").write_text('{"labels": {"0": "background", "1": "muscle", "2": "cavity"}}')
    if index:
        (place / "index.csv").write_text("\n".join(lines) + "\n")
    return place


def dice(a: np.ndarray, b: np.ndarray, label: int) -> float:
    return float(2 * ((a == label) & (b == label)).sum() / max(1, (a == label).sum() + (b == label).sum()))


# --- the traps -------------------------------------------------------------------------------------------------------


def test_bilinear_labels_lose_what_ours_keep(hippo):
    """Method 6.1: resizing label maps bilinearly and cutting off the decimals."""
    released, ours = [], []
    for v in range(len(hippo.volumes)):
        native = np.moveaxis(native_labels(hippo, v), 2, 0)
        truth = to_grid(native, hippo.grid, labels=True)
        blurred = stretch(native.astype(np.float32), (64, 64)).astype(np.uint8)
        released += [dice(truth, blurred, k) for k in (1, 2)]
        ours += [dice(native, from_grid(hippo.labels[hippo.volume == v], native.shape[1:], hippo.grid), k) for k in (1, 2)]
    assert np.mean(released) < 0.9
    assert min(ours) > 0.999


def test_no_new_label_appears_between_two():
    labels = np.zeros((1, 30, 30), np.uint8)
    labels[:, 8:20, 8:20] = 7
    for size in (16, 64, 97):
        assert set(np.unique(to_grid(labels, Grid(size), labels=True))) == {0, 7}
    assert len(np.unique(stretch(labels.astype(np.float32), (64, 64)).astype(np.uint8))) > 2


def test_intensities_of_a_cohort_can_be_compared(hippo):
    """Shared README: maxima run from 112 to 1.7 million. One scale for all leaves most scans black."""
    raw = [read_image(v.image)[0] for v in hippo.volumes]
    highest = max(r.max() for r in raw)
    ours = [float(np.median(hippo.images[hippo.volume == v])) for v in range(len(raw))]
    common = [float(np.median(r / highest)) for r in raw]
    assert min(ours) > 0.2 and max(ours) < 0.8
    assert max(common) / min(common) > 3 * max(ours) / min(ours)


def test_one_bright_voxel_does_not_set_the_scale():
    image, _ = scan()
    spiked = image.copy()
    spiked[3, 3, 3] = 1e6
    ours, minmax = normalise(spiked), (spiked - spiked.min()) / np.ptp(spiked)
    assert np.abs(ours - normalise(image))[image == spiked].max() < 0.02
    assert np.median(minmax) < 1e-5 < 0.1 < np.median(ours)


def test_gain_and_offset_do_not_matter():
    image, _ = scan()
    np.testing.assert_allclose(normalise(image * 7000 + 123), normalise(image), atol=1e-4)
    assert normalise(image).min() == 0 and normalise(image).max() == 1 and normalise(image).dtype == np.float32


def test_mostly_empty_image_keeps_its_range():
    image = np.zeros((10, 10, 10), np.float32)
    image[5, 5, 5] = 3
    assert normalise(image).max() == 1


def test_float_label_files_are_read_and_fractions_refused(tmp_path):
    place = task(tmp_path / "t")
    nifti(place / "labelsTr" / "scan_001.nii.gz", scan(1)[1].astype(np.float32))
    assert np.array_equal(native_labels(folder(place), 0), scan(1)[1])
    nifti(place / "labelsTr" / "scan_001.nii.gz", scan(1)[1] * np.float32(0.5))
    with pytest.raises(DataError, match="scan_001.nii.gz: labels must be whole numbers.*resampled with interpolation"):
        folder(place)


def test_numbers_between_the_known_ones_look_like_interpolation():
    codes = Codes(((0, 0), (60, 1), (120, 2)))
    with pytest.raises(
        DataError, match=r"a: holds the unknown label 3, expected \[0, 60, 120\]; it lies between .* interpolation.*dataset.json"
    ):
        codes(np.array([0, 3, 60, 120]), "a")
    for beyond in (-3, 121):
        with pytest.raises(DataError, match=f"unknown label {beyond}") as found:
            codes(np.array([0, beyond, 60]), "a")
        assert "interpolation" not in str(found.value), "a number outside the known range is a forgotten class, no blend of two"


def test_the_two_float_labels_of_the_decathlon(data_folder):
    about = json.loads((data_folder / "Task04_Hippocampus" / "dataset.json").read_text())
    paths = [data_folder / "Task04_Hippocampus" / entry["label"] for entry in about["training"]]
    floats = [path for path in paths if nibabel.load(path).get_data_dtype().kind == "f"]
    assert len(floats) == 2
    for path in floats:
        assert set(np.unique(read_image(path)[0])) <= {0, 1, 2}


def test_two_hippocampi_of_a_person_share_a_subject(hippo):
    numbers = {v.name: int(v.name[-3:]) for v in hippo.volumes}
    for v in hippo.volumes:
        assert v.subject == f"person{(numbers[v.name] + 1) // 2:03d}"
    assert len(hippo.subjects) < len(hippo.volumes)


def test_pairs_really_are_alike(data_folder):
    """Why we believe ids 2k - 1 and 2k to be one person: their hippocampi are of one size, other people's are not."""
    place = data_folder / "Task04_Hippocampus" / "labelsTr"
    sizes = {int(p.name[12:15]): np.asarray(nibabel.load(p).dataobj).astype(bool).sum() for p in sorted(place.glob("*.nii.gz"))[:110]}
    pairs = np.array([(sizes[k], sizes[k + 1]) for k in sizes if k % 2 and k + 1 in sizes])
    assert np.corrcoef(pairs.T)[0, 1] > 0.8
    assert abs(np.corrcoef(pairs[:, 0], np.roll(pairs[:, 1], 1))[0, 1]) < 0.4


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


def test_label_that_does_not_lie_on_its_image(tmp_path):
    place = task(tmp_path / "t")
    image, labels = scan(2)
    nifti(place / "labelsTr" / "scan_002.nii.gz", labels[:, :, :-1])
    with pytest.raises(DataError, match=r"labelsTr/scan_002.nii.gz: has the shape \(20, 24, 5\), but its image .* has \(20, 24, 6\)"):
        folder(place)
    moved = np.eye(4)
    moved[0, 3] = 2.0
    nifti(place / "labelsTr" / "scan_002.nii.gz", labels, moved)
    with pytest.raises(DataError, match="scan_002.nii.gz: lies up to 2 mm away from its image"):
        folder(place)
    moved[0, 3] = 0.01
    nifti(place / "labelsTr" / "scan_002.nii.gz", labels, moved)
    assert len(folder(place).volumes) == 4


def disc(pad: float, kind=np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CT of a disc with an organ, its corners filled with `pad`: volume, organ, tissue."""
    y, x = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    far, rng = np.hypot(y, x), np.random.default_rng(0)
    organ = np.hypot(y - 0.2, x) < 0.25
    volume = np.full((64, 64, 12), -1000.0)
    volume[far < 0.85], volume[organ] = 50, 130
    volume += rng.normal(0, 12, volume.shape)
    volume[far >= 1] = pad
    return volume.astype(kind), organ, (far < 0.85) & (np.hypot(y - 0.2, x) > 0.3)


@pytest.mark.parametrize("pad", [-2000, -3024, -32768, -1e6, 32767, 63536])
def test_padding_of_a_ct_is_no_measurement(pad):
    shown = [normalise(disc(value)[0]) for value in (-1000, pad)]
    volume, organ, tissue = disc(pad)
    contrast = [float(one[organ].mean() - one[tissue].mean()) for one in shown]
    assert contrast[1] == pytest.approx(contrast[0], rel=0.02)
    assert not shown[1][volume == pad].any(), "padding is 0, also at the high end"


@pytest.mark.parametrize("pad", [-200, -1000, -1024, -2000, -32768])
def test_a_negative_number_among_magnitudes_is_padding(pad):
    """MR holds no negative intensity, so one far below all others is none, though a CT could measure it."""
    rng = np.random.default_rng(0)
    volume = rng.uniform(40, 500, (20, 20, 20)).astype(np.float32)
    padded = volume.copy()
    padded[:6] = pad
    low, high = np.percentile(volume[6:], (0.5, 99.5))
    np.testing.assert_allclose(normalise(padded)[6:], np.clip((volume[6:] - low) / (high - low), 0, 1), atol=1e-5)
    assert not normalise(padded)[:6].any()


def test_what_was_measured_is_no_padding():
    """Zeros around a brain, air, a few odd voxels and a steady tail all stay in the percentiles."""
    volume, rng = disc(-1000)[0], np.random.default_rng(0)
    tail = np.linspace(-4000, 300, volume.size).reshape(volume.shape)
    few = volume.copy()
    few.flat[:100] = -32768
    stripped = np.where(volume > 0, volume + 400, 0)
    for values in (volume, tail, few, stripped, -1.0 * (stripped == 0) + stripped / 900, np.rint(rng.normal(0, 900, (20, 20, 20)))):
        low, high = np.percentile(values.astype(np.float32), (0.5, 99.5))
        np.testing.assert_allclose(normalise(values), np.clip((values - low) / (high - low), 0, 1), atol=1e-5)


def test_two_paddings_and_nothing_but_padding():
    volume, organ, tissue = disc(-2000)
    volume[:, :, :2] = -32768
    shades = normalise(volume)
    assert shades[organ][:, 2:].mean() - shades[tissue][:, 2:].mean() == pytest.approx(0.068, abs=0.003)
    assert set(np.unique(normalise(np.where(volume > 0, 50.0, -2000.0)))) == {0, 1}


def test_values_too_close_for_32_bits_are_refused():
    values = 1e9 + np.arange(1000.0).reshape(10, 10, 10)
    with pytest.raises(DataError, match="x: its values lie between .* too close for 32 bits to tell apart; subtract"):
        normalise(values, "x")
    assert normalise(values - 1e9, "x").max() == 1


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
    with pytest.warns(UserWarning, match="imagesTr/scan_004.nii.gz: does not say .* taken to be stored like its partner"):
        folder(place)
    nifti(place / "imagesTr" / "scan_004.nii.gz", scan(4)[0])
    reoriented(place / "imagesTr" / "scan_004.nii.gz", "LPS")
    path = place / "labelsTr" / "scan_004.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan(4)[1][::-1, ::-1], None), path)
    with pytest.warns(UserWarning, match="labelsTr/scan_004.nii.gz: does not say .* taken to be stored like its partner"):
        turned = folder(place)
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


def test_no_structure_of_the_real_cohorts_is_lost(data_folder, hippo):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slices.noted(hippo)
        sunnybrook(data_folder)


def test_a_scan_unlike_those_of_the_run_is_told(tmp_path, hippo, small_phantom):
    names = [v.name for v in hippo.volumes]
    known = json.loads(json.dumps(seen(take(hippo, names[:4]))))
    assert all(unlike(v.image, known) == [] for v in hippo.volumes)
    ct = nifti(tmp_path / "ct.nii.gz", disc(-2000)[0][:40, :50], np.diag([1, 1, 2.5, 1]))
    size, brightness = unlike(ct, known)
    assert "its voxels measure 1 x 1 x 2.5 mm (rows, columns, slices), those of the run 1 x 1 x 1" in size
    assert "its intensities reach from -1" in brightness
    whole = nifti(tmp_path / "whole.nii.gz", np.random.default_rng(0).random((200, 220, 30)).astype(np.float32))
    assert [why for why in unlike(whole, known) if "its slices have 200 x 220 pixels" in why] == unlike(whole, known)
    picture = png(tmp_path / "x.png", np.arange(200, dtype=np.uint8).reshape(10, 20))
    assert "is a png file, but the run was trained on nifti scans only" in unlike(picture, known)[0]
    assert "trained on generated scans only" in unlike(ct, json.loads(json.dumps(seen(small_phantom))))[0]


# --- the grid --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape,size", [((35, 50), 64), ((64, 64), 64), ((31, 33), 32), ((300, 20), 48)])
def test_resize_there_and_back(shape, size):
    rng = np.random.default_rng(0)
    smooth = stretch(rng.random((3, 5, 5)).astype(np.float32), shape)
    grid = Grid(size)
    there = to_grid(smooth, grid)
    assert there.shape == (3, size, size) and there.dtype == np.float32
    assert np.abs(from_grid(there, shape, grid) - smooth).mean() < 0.02
    assert from_grid(there[:, None], shape, grid).shape == (3, 1, *shape)


@pytest.mark.parametrize("shape", [(256, 256), (100, 200), (160, 160), (161, 159), (7, 400)])
def test_centre_there_and_back(shape):
    labels = np.random.default_rng(0).integers(1, 4, (2, *shape)).astype(np.uint8)
    grid = Grid(160, "centre")
    back = from_grid(to_grid(labels, grid, labels=True), shape, grid)
    h, w = (min(160, n) for n in shape)
    kept = back > 0
    assert np.array_equal(back[kept], labels[kept]) and kept[0].sum() == h * w
    assert kept[0, shape[0] // 2, shape[1] // 2]


def test_weights_are_shares_and_agree_with_torch():
    import torch

    for old, new in ((35, 64), (50, 64), (64, 35), (160, 64), (5, 5)):
        assert np.allclose(linear_weights(old, new).sum(1), 1)
        line = torch.rand(1, 1, old, 3)
        theirs = torch.nn.functional.interpolate(line, (new, 3), mode="bilinear", antialias=True)[0, 0]
        inner = slice(2, -2) if new < old else slice(None)
        np.testing.assert_allclose((linear_weights(old, new) @ line[0, 0].numpy())[inner], theirs.numpy()[inner], atol=2e-3)


def test_grid_refuses_nonsense():
    for bad in ({"size": 4}, {"size": 64.0}, {"size": 64, "fit": "crop"}, {"size": 64, "axis": 3}):
        with pytest.raises(ValueError, match="size|fit|axis"):
            Grid(**bad)


def test_native_labels_are_the_file(hippo, data_folder):
    for v in (0, len(hippo.volumes) - 1):
        file = np.asarray(nibabel.load(hippo.volumes[v].label).dataobj)
        assert np.array_equal(native_labels(hippo, v), file)
        assert native_labels(hippo, v).shape == hippo.volumes[v].shape
    hearts = sunnybrook(data_folder)
    native = native_labels(hearts, 3)
    volume = hearts.volumes[3]
    assert native.shape == volume.shape and native.any((0, 1)).sum() <= hearts.labelled[hearts.volume == 3].sum()
    assert np.array_equal(to_grid(np.moveaxis(native, 2, 0), hearts.grid, labels=True), hearts.labels[hearts.volume == 3])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_any_axis(tmp_path, axis):
    place = tmp_path / "t"
    image, labels = scan()
    nifti(place / "images" / "x.nii.gz", image, np.diag([1.0, 2.0, 3.0, 1.0]))
    nifti(place / "labels" / "x.nii.gz", labels, np.diag([1.0, 2.0, 3.0, 1.0]))
    cohort = folder(place, size=32, axis=axis)
    assert len(cohort) == image.shape[axis]
    assert np.array_equal(native_labels(cohort, 0), np.moveaxis(labels, axis, 2))
    assert cohort.volumes[0].shape == np.moveaxis(labels, axis, 2).shape
    assert cohort.volumes[0].spacing[2] == pytest.approx(axis + 1)


def test_native_labels_of_the_phantom(small_phantom):
    v = 3
    assert np.array_equal(native_labels(small_phantom, v), np.moveaxis(small_phantom.labels[small_phantom.volume == v], 0, 2))


# --- cohorts ---------------------------------------------------------------------------------------------------------


def test_arrays_of_a_cohort(hippo):
    n = len(hippo)
    assert hippo.images.shape == hippo.labels.shape == (n, 64, 64)
    assert (hippo.images.dtype, hippo.labels.dtype, hippo.volume.dtype, hippo.position.dtype) == (
        np.float16,
        np.uint8,
        np.int32,
        np.float32,
    )
    assert hippo.images.min() == 0 and hippo.images.max() == 1 and hippo.labels.max() == 2
    assert hippo.classes == ("background", "anterior", "posterior")
    assert hippo.subject.shape == (n,) and set(hippo.subject) == set(hippo.subjects)
    first = hippo.position[hippo.volume == 0]
    assert first[0] == 0 and first[-1] == 1 and (np.diff(first) > 0).all()


def test_folder_of_pictures_with_an_index(tmp_path):
    cohort = folder(hearts(tmp_path / "h"), size=32, fit="centre")
    assert cohort.subjects == ("person-a", "person-b", "person-c")
    assert [v.name for v in cohort.volumes] == ["person-a", "person-b", "person-c"]
    assert cohort.labelled.tolist() == [False, True, False, True] * 3
    assert cohort.classes == ("background", "muscle", "cavity")


def test_folder_of_pictures_without_an_index(tmp_path):
    place = hearts(tmp_path / "h", index=False)
    (place / "dataset.json").unlink()
    cohort = folder(place)
    assert len(cohort.subjects) == 12 and cohort.subjects[0] == "a0"
    assert cohort.classes == ("background", "label 1", "label 2")
    assert int(cohort.labelled.sum()) == 6


def test_masks_of_0_and_255(tmp_path):
    for k in range(3):
        png(tmp_path / "t" / "images" / f"{k}.png", (scan(k)[0][:, :, 0] * 80).astype(np.uint8))
        png(tmp_path / "t" / "labels" / f"{k}.png", (scan(k)[1][:, :, 2] > 0).astype(np.uint8) * 255)
    cohort = folder(tmp_path / "t", size=24)
    assert cohort.classes == ("background", "label 255") and cohort.labels.max() == 1


def test_index_hides_a_label(tmp_path):
    place = hearts(tmp_path / "h")
    text = (place / "index.csv").read_text().replace("a1.png,person-a,1", "a1.png,person-a,0")
    (place / "index.csv").write_text(text)
    cohort = folder(place)
    assert not cohort.labelled[1] and not cohort.labels[1].any() and not native_labels(cohort, 0)[:, :, 1].any()


def test_pictures_of_two_sizes_are_two_volumes(tmp_path):
    place = hearts(tmp_path / "h")
    png(place / "images" / "a0.png", np.arange(900, dtype=np.uint8).reshape(30, 30))
    cohort = folder(place)
    assert [v.name for v in cohort.volumes][:2] == ["person-a-30x30", "person-a-40x44"]
    assert cohort.subjects == ("person-a", "person-b", "person-c")


def test_sixteen_bit_pictures_keep_their_depth(tmp_path):
    array = (np.arange(400).reshape(20, 20) * 100).astype(np.uint16)
    assert np.array_equal(read_image(png(tmp_path / "x.png", array))[0][:, :, 0], array)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_pictures_of_every_kind(tmp_path, mode):
    levels = np.zeros((20, 20), np.uint8)
    levels[5:9, 5:9] = 1
    grey = Image.fromarray(levels * (255 if mode == "1" else 1))
    if mode == "P":
        grey.putpalette([0, 0, 0, 1, 1, 1] + [9] * 762)
    (Image.fromarray(levels.astype(np.uint16)) if mode == "I;16" else grey if mode == "P" else grey.convert(mode)).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png")[0][:, :, 0], levels)


def test_decathlon_task_of_any_name(tmp_path):
    place = task(tmp_path / "Task99_Thing")
    cohort = load(place)
    assert cohort.name == "Task99_Thing" and cohort.classes == ("background", "head", "tail") and len(cohort.subjects) == 4
    (place / "index.csv").write_text("file,subject\n" + "".join(f"scan_{k:03d}.nii.gz,p{(k + 1) // 2}\n" for k in range(1, 5)))
    assert load(place).subjects == ("p1", "p2")


def test_labels_named_the_other_way_round(tmp_path):
    place = task(tmp_path / "t")
    about = json.loads((place / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps({**about, "labels": {"background": 0, "head": 1, "tail": 2}}))
    assert folder(place).classes == ("background", "head", "tail")


def test_hippocampus_by_folder_keeps_people_together(data_folder):
    cohort = load(data_folder / "Task04_Hippocampus", limit=6)
    assert cohort.name == "hippocampus" and cohort.subjects[0] == "person001"


def test_another_task_is_not_taken_for_hippocampi(tmp_path):
    with pytest.raises(DataError, match="is another task, its classes are background, head, tail; load it as a folder"):
        hippocampus(task(tmp_path / "t"))


def test_limit_must_leave_something(tmp_path):
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit"):
            hippocampus(tmp_path, limit=limit)


def test_cardiac_phantom_has_a_name():
    assert load("phantom-cardiac", subjects=3, size=16).fingerprint == phantom("cardiac", 3, 16).fingerprint


def test_mmwhs_maps_its_values(tmp_path):
    values = np.array([0, 500, 600, 420, 421, 550, 205, 820, 850, 999, 3])
    expected = [0, 1, 2, 3, 3, 4, 5, 6, 7, 0, 0]
    for modality in ("ct", "mr"):
        for k in range(3):
            labels = np.repeat(np.repeat(values[:, None, None], 24, 1), 5, 2).astype(np.int16)
            image = np.random.default_rng(k).normal(0, 300, labels.shape).astype(np.int16)
            nifti(tmp_path / "mmwhs" / f"{modality}_train" / f"{modality}_train_{k}_image.nii.gz", image)
            nifti(tmp_path / "mmwhs" / f"{modality}_train" / f"{modality}_train_{k}_label.nii.gz", labels)
    nifti(tmp_path / "mmwhs" / "ct_test" / "ct_test_9_image.nii.gz", image)
    cohort = mmwhs(tmp_path, size=32)
    assert len(cohort.classes) == 8 and len(cohort.volumes) == 4
    assert native_labels(cohort, 1)[:, 0, 0].tolist() == expected
    assert not cohort.labelled[cohort.volume == 0].any()
    assert len(mmwhs(tmp_path / "mmwhs", modality="mr", size=32).volumes) == 3
    s = split(cohort, 1.0)
    assert cohort.volumes[0].name in s.train and cohort.volumes[0].name not in s.labelled
    with pytest.raises(ValueError, match="modality"):
        mmwhs(tmp_path, modality="pet")


def test_source_gives_the_cohort_back(tmp_path, data_folder):
    for cohort in (
        phantom("cardiac", 2, 16, 3),
        folder(task(tmp_path / "t"), 32, "centre"),
        hippocampus(data_folder, 32, limit=5),
        hippocampus(limit=4),
        sunnybrook(size=64),
    ):
        source = json.loads(json.dumps(cohort.source))
        assert load(**source).fingerprint == cohort.fingerprint
        part = take(cohort, [cohort.volumes[1].name])
        again = load(**json.loads(json.dumps(part.source)))
        assert again.fingerprint == part.fingerprint != cohort.fingerprint and np.array_equal(again.images, part.images)


def test_take_keeps_order_and_refuses_strangers(small_phantom):
    names = [v.name for v in small_phantom.volumes]
    part = take(small_phantom, [names[4], names[1]])
    assert [v.name for v in part.volumes] == [names[1], names[4]]
    assert np.array_equal(part.images, small_phantom.images[np.isin(small_phantom.volume, [1, 4])])
    assert set(part.volume) == {0, 1}
    for bad in (["nobody"], []):
        with pytest.raises(ValueError, match="names"):
            take(small_phantom, bad)


def test_table_and_picture(small_phantom, data_folder):
    table = describe(small_phantom)
    assert list(table.index) == [v.name for v in small_phantom.volumes] and (table["slices"] == 8).all()
    assert {"subject", "shape", "labelled", "anterior (%)"} <= set(table.columns)
    assert contact_sheet(small_phantom, 3, 4).size[0] > 4 * 64
    assert contact_sheet(sunnybrook(data_folder), 2, 3, 1).size[1] > 2 * 160


def test_door_has_every_public_name():
    for name in (
        "Volume",
        "Grid",
        "Cohort",
        "Split",
        "DataError",
        "LeakError",
        "hippocampus",
        "sunnybrook",
        "mmwhs",
        "folder",
        "phantom",
        "load",
        "to_grid",
        "from_grid",
        "read_image",
        "normalise",
        "split",
        "save_split",
        "load_split",
        "unlabelled_indices",
        "labelled_indices",
        "part_indices",
        "guard",
        "native_labels",
        "take",
        "describe",
        "contact_sheet",
    ):
        assert name in door.__all__ and hasattr(door, name)


# --- the cache -------------------------------------------------------------------------------------------------------


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "slices").glob("*"))


def counting(monkeypatch) -> list:
    calls = []
    real = slices.read_all
    monkeypatch.setattr(slices, "read_all", lambda *a: calls.append(1) or real(*a))
    return calls


def same(a, b) -> bool:
    arrays = all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n == "position") for n in slices.ARRAYS)
    return arrays and (a.volumes, a.fingerprint, a.classes, a.grid, a.codes) == (b.volumes, b.fingerprint, b.classes, b.grid, b.codes)


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


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damaged_cache_is_made_again(tmp_path, monkeypatch, damage):
    calls = counting(monkeypatch)
    place = task(tmp_path / "t")
    first = folder(place)
    [path] = kept(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    path.write_bytes({"truncate": whole[:-500], "flip": whole, "empty": b"", "text": b"hello"}[damage])
    assert same(folder(place), first) and len(calls) == 2
    assert same(folder(place), first) and len(calls) == 2


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
    parts = split(first, 1.0) if make is task else None
    second = folder((tmp_path / "t").rename(tmp_path / "another name"))
    assert second.fingerprint == first.fingerprint and second.name == "another name"
    if parts:
        assert np.array_equal(part_indices(second, parts, "test"), part_indices(first, parts, "test"))
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


def test_fingerprints_of_named_cohorts_stay(data_folder):
    assert hippocampus(data_folder).fingerprint == "626a58915ff5509b" and sunnybrook(data_folder).fingerprint == "e183b78b18b271f4"


def test_folder_with_a_long_name_is_kept(tmp_path):
    assert len(folder(task(tmp_path / ("n" * 250))).volumes) == 4 and len(kept(tmp_path)) == 1


def test_one_scan_of_two_people_is_refused(tmp_path):
    place = task(tmp_path / "t")
    shutil.copy(place / "imagesTr" / "scan_001.nii.gz", place / "imagesTr" / "scan_002.nii.gz")
    with pytest.raises(DataError, match="scan_001 .* and scan_002 .* hold the same image"):
        folder(place)
    (place / "index.csv").write_text("file,subject\n" + "".join(f"scan_{k:03d}.nii.gz,p{max(k, 2)}\n" for k in range(1, 5)))
    assert folder(place).subjects == ("p2", "p3", "p4")


def test_failed_loading_leaves_no_cache(tmp_path):
    place = task(tmp_path / "t")
    (place / "imagesTr" / "scan_003.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="scan_003"):
        folder(place)
    assert kept(tmp_path) == []


@pytest.mark.slow
def test_loading_times(data_folder):
    start = time.perf_counter()
    cold = hippocampus(data_folder)
    from_files, from_cache = time.perf_counter() - start, []
    for _ in range(3):
        start = time.perf_counter()
        warm = hippocampus(data_folder)
        from_cache.append(time.perf_counter() - start)
    assert len(cold.volumes) == 209 and same(cold, warm)
    print(f"209 hippocampi: {from_files:.2f} s from the files, {min(from_cache):.2f} s from the cache (best of three)")
    assert from_files < 20 and min(from_cache) < 1


# --- bad input -------------------------------------------------------------------------------------------------------


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


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="hipocampus: neither a cohort .* nor a folder"):
        load("hipocampus")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no .nii, .nii.gz or .png file"):
        folder(tmp_path / "empty")


@pytest.mark.parametrize(
    "text,message",
    [
        ("{", "dataset.json: cannot be read as JSON"),
        ("[]", "dataset.json: holds list"),
        ('{"labels": [1]}', "dataset.json: 'labels' is"),
        ('{"labels": {"a": "b"}}', "dataset.json: 'labels' is"),
        ('{"labels": {"0": "bg"}, "training": ["x.nii"]}', "'training' holds 'x.nii'"),
    ],
)
def test_bad_dataset_json(tmp_path, text, message):
    place = task(tmp_path / "t")
    (place / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message):
        folder(place)


def test_bad_index(tmp_path):
    place = hearts(tmp_path / "h")
    good = (place / "index.csv").read_text()
    for text, message in (
        ("", "has the columns"),
        ("name,who\na,b\n", "expected at least 'file' and 'subject'"),
        (good + "z9.png,person-z,0\n", "names z9.png"),
        (good.replace("b2.png,person-b,0\n", ""), "does not name b2.png"),
        (good.replace("a0.png,person-a,0", "a0.png,person-a,1"), "says that a0.png is"),
        (good.replace("a0.png,person-a,0", "a0.png,,0"), "has no file or no subject"),
    ):
        (place / "index.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            folder(place)


def test_bad_pictures(tmp_path):
    place = hearts(tmp_path / "h")
    whole = (place / "images" / "b1.png").read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "b1.png: cannot be read as a picture"),
        (b"", "b1.png: cannot be read as a picture"),
    ):
        (place / "images" / "b1.png").write_bytes(content)
        with pytest.raises(DataError, match=message):
            folder(place)
    png(place / "images" / "b1.png", np.random.default_rng(0).integers(0, 255, (40, 44, 3)).astype(np.uint8))
    with pytest.raises(DataError, match="b1.png: is a colour picture"):
        folder(place)
    (place / "images" / "b1.png").write_bytes(whole)
    png(place / "labels" / "b1.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(DataError, match=r"labels/b1.png: has the shape \(10, 10, 1\), but its image"):
        folder(place)
    png(place / "labels" / "lonely.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(DataError, match="label lonely.png has no image"):
        folder(place)


def test_image_saved_as_label(tmp_path):
    image = (np.random.default_rng(0).random((40, 40)) * 255).astype(np.uint8)
    png(tmp_path / "t" / "images" / "a.png", image)
    png(tmp_path / "t" / "labels" / "a.png", image)
    with pytest.raises(DataError, match="a.png: holds .* values .* is it a label map, and was it resampled with interpolation"):
        folder(tmp_path / "t")


def test_two_volumes_of_one_name(tmp_path):
    place = task(tmp_path / "t")
    about = json.loads((place / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps({**about, "training": about["training"] + about["training"][:1]}))
    with pytest.raises(DataError, match="two volumes are called scan_001"):
        folder(place)


def test_codes_cover_every_integer_type():
    codes = Codes(((0, 0), (205, 1), (65000, 2)), other=None)
    assert codes(np.array([[0, 65000], [205, 0]], np.uint16), "x").tolist() == [[0, 2], [1, 0]]
    with pytest.raises(DataError, match="unknown label -1"):
        codes(np.array([-1]), "x")
    with pytest.raises(DataError, match="unknown label 1000000000"):
        codes(np.array([0, 1_000_000_000]), "x")
    with pytest.raises(DataError, match="whole numbers, found (nan|inf)"):
        codes(np.array([0, np.nan, np.inf]), "x")
