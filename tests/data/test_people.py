"""Whose a file is, by its name alone: what is sure is refused, what is likely is told, and plain names raise no doubt."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from semicon_nb.data import DataError, folder
from semicon_nb.data.people import Pair, check_people, participant, people_left_open

from .samples import png, scans


def cases(names: list[str], ending: str = ".nii.gz") -> list[Pair]:
    """What `pair` makes of images of these names."""
    return [Pair(name, participant(name, Path(name)), Path("images") / f"{name}{ending}", None) for name in sorted(names)]


def several(pattern: str, firsts=("1", "2"), seconds=("03", "12")) -> list[str]:
    return [pattern.format(a, b) for a in firsts for b in seconds]


@pytest.mark.parametrize(
    ("pattern", "who"),
    [
        ("patient00{}_frame{}", "patient001"), ("patient00{}frame{}", "patient001"), ("case0{}_slice_{}", "case01"), ("P{}_z{}", "P1"),
        ("0{}_ses-{}_T1w", "01"), ("p{}_t{}", "p1"), ("A{}_phase{}", "A1"), ("A{}-visit-{}", "A1"), ("x{}_time_{}_img", "x1"),
        ("p{}_frame{}_slice_07", "p1"), ("p{}_frame{}_left", "p1"),
    ],
)  # fmt: skip
def test_frames_slices_and_sessions_are_of_one_person(pattern, who):
    line = f"{pattern.format('1', '03')}.png,{who}"
    with pytest.raises(DataError, match=f"are of one person by their names.*write an index.csv with the line file,subject .* such as {line}$"):
        check_people(Path("f"), cases(several(pattern), ".png"))


@pytest.mark.parametrize(
    "names",
    [
        ["A0S9V9_sa_ED", "A0S9V9_sa_ES"], ["BraTS20_Training_001_flair", "BraTS20_Training_001_t1ce"],
        ["patient0001_2CH_ED", "patient0001_4CH_ES"], ["p0_t1", "p0_t2", "p0_t3"], ["p0_t1w", "p0_t2w"], ["anna_slice_1", "anna_slice_2", "ben_slice_1", "ben_slice_2"],
    ],
)  # fmt: skip
def test_phases_contrasts_and_sides_are_of_one_person(names):
    with pytest.raises(DataError, match="are of one person by their names"):
        check_people(Path("f"), cases(names))


@pytest.mark.parametrize(
    "names",
    [
        several("case0{}_{}"), several("person{}-{}"), several("BraTS-GLI-0000{}-{}"), several("p{}_scan{}"), several("p{}_run-{}"),
        several("TCGA-DU-64{}_19860521_{}"), ["slice_001", "slice_002"], ["heart_slice_1", "heart_slice_2"], ["a1", "a1_aug"],
        ["case01_left", "case01_right"], ["p0_t1", "p0_t2", "p1_t1", "p1_t2"],
        ["knee_left_01", "knee_right_01"], ["phase1_case_001", "phase2_case_001"],
    ],
)  # fmt: skip
def test_what_is_likely_is_told(names):
    check_people(Path("f"), cases(names))
    (said,) = people_left_open(cases(names))
    assert "may be of one person, but each file counts as a person of its own" in said and "write an index.csv with the line file,subject" in said


@pytest.mark.parametrize(
    "names",
    [
        ["hippocampus_044", "hippocampus_045"], ["case_01", "case_02", "case_1", "case_10"], ["BRATS_001", "BRATS_002"], ["img0012", "img0013"],
        ["la_003", "la_004"], ["volume-1", "volume-10"], ["s0001", "s0002"], ["Case00", "Case01"], ["FLARE22_Tr_0001", "FLARE22_Tr_0002"],
        ["ISIC_0012345", "ISIC_0012346"], ["MCUCXR_0001_0", "MCUCXR_0002_1"], ["TCGA-06-0119", "TCGA-06-0125", "TCGA-02-0003"],
        ["BraTS20_Training_001", "BraTS20_Training_002", "BraTS20_Validation_001"], ["benign (1)", "benign (2)", "malignant (1)"],
        ["site1_001", "site1_002", "site2_001"], ["2019_001", "2019_002", "2020_001"], ["liver_1", "liver_2", "spleen_1"],
        ["study_t1_001", "study_t1_002"], ["t1_001", "t1_002"], ["001_t1", "002_t1"], ["patient001_frame01", "patient002_frame01"],
        ["site1_case01", "site1_case02", "site2_case01"], ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"], ["left_001", "right_001"],
    ],
)  # fmt: skip
def test_plain_names_raise_no_doubt(names):
    check_people(Path("f"), cases(names))
    assert people_left_open(cases(names)) == []


def test_an_index_settles_it(tmp_path):
    names = several("patient00{}_frame{}", "123")
    place = scans(tmp_path / "f", names=names)
    with pytest.raises(DataError, match="f: patient001_frame03.nii.gz and patient001_frame12.nii.gz are of one person"):
        folder(place, size=8)
    (place / "index.csv").write_text("file,subject\n" + "".join(f"{name}.nii.gz,{name[:10]}\n" for name in names))
    assert folder(place, size=8).subjects == ("patient001", "patient002", "patient003")


def test_what_is_told_of_pictures_is_a_warning_of_the_folder(tmp_path):
    for k, name in enumerate(several("person{}-{}", "123")):
        png(tmp_path / "f" / "images" / f"{name}.png", np.random.default_rng(k).integers(0, 255, (9, 9), np.uint8))
    with pytest.warns(UserWarning, match="f: person1-03.png and person1-12.png may be of one person"):
        assert len(folder(tmp_path / "f", size=8).subjects) == 6
    lines = [f"{name}.png,{name[:7]}\n" for name in several("person{}-{}", "123")]
    (tmp_path / "f" / "index.csv").write_text("file,subject\n" + "".join(lines))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(folder(tmp_path / "f", size=8).subjects) == 3
