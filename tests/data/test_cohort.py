"""Codes, labels that lie on their image, native labels, classes in another order, parts of a cohort."""

import json

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings

from semicon_nb.data import (
    Codes,
    DataError,
    class_order,
    contact_sheet,
    describe,
    folder,
    match_classes,
    native_labels,
    read_scan,
    sunnybrook,
    to_grid,
)
from semicon_nb.data.cohort import _count_ignored, take

from .samples import classes_of, nifti, scan, scans, task


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
        assert set(np.unique(read_scan(path).voxels)) <= {0, 1, 2}


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


def test_codes_cover_every_integer_type():
    codes = Codes(((0, 0), (205, 1), (65000, 2)), other=None)
    assert codes(np.array([[0, 65000], [205, 0]], np.uint16), "x").tolist() == [[0, 2], [1, 0]]
    with pytest.raises(DataError, match="unknown label -1"):
        codes(np.array([-1]), "x")
    with pytest.raises(DataError, match="unknown label 1000000000"):
        codes(np.array([0, 1_000_000_000]), "x")
    with pytest.raises(DataError, match="whole numbers, found (nan|inf)"):
        codes(np.array([0, np.nan, np.inf]), "x")


def test_ignored_pixels_leave_their_slices_out(tmp_path):
    place = scans(tmp_path / "f", about={"labels": {"background": 0, "a": 1, "b": 2, " Ignore": 9}})
    sparse = classes_of(1)
    sparse[11, 9, 0] = 9  # one pixel of one slice, which a resize to 8 x 8 does not meet
    nifti(place / "labels" / "b.nii.gz", sparse.astype(np.uint8))
    cohort = folder(place, size=8)
    assert cohort.classes == ("background", "a", "b") and cohort.labels.max() == 2
    rows = cohort.volume == 1
    assert cohort.labelled[rows].tolist() == [False, True, True] and cohort.labelled[~rows].all()
    assert _count_ignored(cohort) == 1 and "1 slice left out" in repr(cohort) and not cohort.labels[rows][0].any()
    expected = np.where(np.arange(3) > 0, classes_of(1), 0)
    assert np.array_equal(native_labels(cohort, 1), expected)


@settings(max_examples=25)
@given(
    numbers=st.lists(st.integers(1, 70000), min_size=2, max_size=2, unique=True),
    spelling=st.sampled_from([str.lower, str.upper, lambda s: s.replace("_", " "), lambda s: s.replace("_", "-").title()]),
)
def test_classes_are_matched_by_name(tmp_path_factory, numbers, spelling):
    place = tmp_path_factory.mktemp("m")
    about = {"labels": {"background": 0, spelling("left_part"): numbers[0], spelling("right_part"): numbers[1]}}
    cohort = folder(scans(place, names=("a",), numbers=(0, *numbers), about=about), size=12, fit="centre")
    wanted = ("background", "right part", "left part")
    same = match_classes(cohort, wanted)
    on_file = np.asarray(nibabel.load(place / "labels" / "a.nii.gz").dataobj)
    for index, number in ((1, numbers[1]), (2, numbers[0])):
        assert np.array_equal(native_labels(same, 0) == index, on_file == number)
        assert np.array_equal(np.moveaxis(same.labels[:, :, 1:11], 0, 2) == index, on_file == number)
    assert same.classes == wanted and match_classes(same, wanted) is same


def test_made_up_names_are_matched_by_number_and_nothing_else_is(tmp_path):
    cohort = folder(scans(tmp_path / "f", numbers=(0, 600, 500)), size=12)
    run = ("background", "right", "left"), Codes(((0, 0), (600, 1), (500, 2)))
    assert class_order("f", cohort.classes, cohort.codes, *run) == [0, 2, 1]
    assert class_order("f", *run, cohort.classes, cohort.codes) == [0, 2, 1]
    atria = ("background", "atrium"), Codes(((0, 0), (420, 1), (421, 1)))
    assert class_order("f", ("background", "label 420", "label 421"), Codes(((0, 0), (420, 1), (421, 2))), *atria) == [0, 1, 1]
    for names, pairs in (
        (("background", "right", "left", "top"), ((0, 0), (600, 1), (500, 2), (7, 3))),  # one is missing in the data
        (("background", "right"), ((0, 0), (600, 1))),  # one too many
        (("background", "right", "left"), ((0, 0), (600, 1), (501, 2))),  # another number
        (("background", "right", "left"), ()),  # an old run, which kept no numbers
    ):
        with pytest.raises(DataError, match="f: has the classes background, label 500, label 600, but the run was trained on background"):
            class_order("f", cohort.classes, cohort.codes, names, Codes(pairs))
    with pytest.raises(DataError, match="has the classes background, tumor, but the run was trained on background, tumour"):
        class_order("f", ("background", "tumor"), Codes(((0, 0), (1, 1))), ("background", "tumour"), Codes(((0, 0), (1, 1))))


def test_a_made_up_name_is_not_matched_against_its_number():
    """ "label 2" for the number 1 is either; the run's made-up names mean their numbers."""
    ours = ("background", "label 1", "label 2"), Codes(((0, 0), (1, 1), (2, 2)))
    with pytest.raises(DataError, match="has the classes background, label 2, label 1"):
        class_order("x", ("background", "label 2", "label 1"), Codes(((0, 0), (1, 1), (2, 2))), *ours)
    assert class_order("x", ("background", "label 2", "label 1"), Codes(((0, 0), (7, 1), (3, 2))), *ours) == [0, 2, 1]
