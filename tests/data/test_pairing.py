"""Which files belong together, whose they are, and tables: as strangers write them, or refused."""

import csv
import io
import json
import shutil
import unicodedata
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from semicon_nb.data import DataError, folder, split
from semicon_nb.data.pairing import read_index
from semicon_nb.data.reading import _NO, _YES

from .samples import classes_of, nifti, scans

YES_WORDS = st.sampled_from([*_YES, "1.0", "1,0", "1.00", "TRUE", "Yes", " ja ", "X"])


NO_WORDS = st.sampled_from([*_NO, "0.0", "0,0", "0.", "FALSE", "No", " nein "])


@settings(max_examples=80)
@given(
    words=st.lists(st.tuples(st.booleans(), YES_WORDS, NO_WORDS), min_size=1, max_size=6),
    mark=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    heads=st.sampled_from(["file,subject,labelled", "File,SUBJECT, Labelled ", "note,labelled,subject,file"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_every_spelling_of_a_table(tmp_path_factory, words, mark, end, encoding, heads, quoting):
    path, text = tmp_path_factory.mktemp("t") / "index.csv", io.StringIO()
    write = csv.writer(text, delimiter=mark, lineterminator=end, quoting=quoting)
    write.writerow(heads.split(","))
    for k, (yes, one, other) in enumerate(words):
        cells = {"file": f"{k} ü.png", "subject": f"Anna, {k}", "labelled": one if yes else other, "note": "a; b"}
        write.writerow([cells[head.strip().lower()] for head in heads.split(",")])
    path.write_bytes(text.getvalue().encode(encoding))
    found = read_index(path)
    assert [line.labelled for line in found.values()] == [yes for yes, _, _ in words]
    assert [line.subject for line in found.values()] == [f"Anna, {k}" for k in range(len(words))]


@pytest.mark.parametrize(
    "lines,message",
    [
        (["a.png,p,1", "b.png,p,"], "line 3, b.png: 'labelled' is '', expected yes or no"),
        (["a.png,p,1", "b.png,p,2"], "line 3, b.png: 'labelled' is '2'"),
        (["a.png,p,1", "a.png,p,1"], "lines 2 and 3 both are about a.png"),
        (["a.png,p,1", "A.PNG,q,1"], "lines 2 and 3 both are about A.PNG"),
        (["a.png,Anna,1", "b.png,anna,1"], "two spellings of what may be one subject, 'Anna' in line 2, 'anna' in line 3"),
        (["a.png,\u00e9,1", "b.png,e\u0301,1"], "two spellings of what may be one subject"),
        (["a.png,001,1", "b.png,1,1"], "two spellings of what may be one subject"),
        (["a.png,,1"], "line 2 has no file or no subject"),
        (["a.png,p,1,more"], "line 2 has 4 cells, expected 3"),
        ([], "has no line under its headings"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path, lines, message):
    (tmp_path / "index.csv").write_text("\n".join(["file,subject,labelled", *lines]))
    with pytest.raises(DataError, match=message):
        read_index(tmp_path / "index.csv")


@pytest.mark.parametrize("written", ["images/a.nii.gz", r"images\A.nii.gz", "./a.nii", "a"])
def test_an_index_that_names_files_otherwise_is_told_their_names(tmp_path, written):
    """It said that the image is not there, though it is."""
    place = scans(tmp_path / "f", names="ab")
    (place / "index.csv").write_text(f"file,subject\n{written},p\nb.nii.gz,q\n")
    with pytest.raises(DataError, match=r"index.csv: names .*a.*, which is no image here; write a.nii.gz$"):
        folder(place, size=8)


def test_columns_that_look_like_it_are_refused_and_ticks_and_numbers_are_read(tmp_path):
    path = tmp_path / "index.csv"
    for column in ("label", "is_labelled", "Labelled?"):
        path.write_text(f"file,subject,{column}\na.png,p,0\n")
        with pytest.raises(DataError, match="expected 'labelled'"):
            read_index(path)
    path.write_text("file,subject,labelled\na.png,7.0,x\nb.png,8.0,\n")
    assert [(line.subject, line.labelled) for line in read_index(path).values()] == [("7", True), ("8", False)]


def channels(place: Path, labels: str = "{}", about: dict | None = None) -> Path:
    """Four cases of two channels; label files are called `labels` after their case."""
    scans(place, names=[f"{name}_{k:04d}" for name in "abcd" for k in (0, 1)], labels=[], about=about)
    for k, name in enumerate("abcd"):
        nifti(place / "labels" / f"{labels.format(name)}.nii.gz", classes_of(k).astype(np.uint8))
    return place


@pytest.mark.parametrize("labels", ["{}", "{}_0000"])
def test_two_channels_are_one_person(tmp_path, labels):
    place = channels(tmp_path / "f", labels, {"channel_names": {"0": "T1", "1": "T2 w"}, "labels": {"background": 0, "a": 1, "b": 2}})
    with pytest.raises(DataError, match="channel"):
        folder(place, size=12)
    for channel, number in ((0, 0), ("1", 1), ("t1", 0), ("T2-w", 1)):
        cohort = folder(place, size=12, channel=channel)
        assert cohort.subjects == ("a", "b", "c", "d") and cohort.labelled.all()
        assert cohort.volumes[0].image.endswith(f"a_{number:04d}.nii.gz")
        assert folder(**{"path" if k == "cohort" else k: v for k, v in cohort.source.items()}).fingerprint == cohort.fingerprint
    for channel in (2, "T3", 1.5, True):
        with pytest.raises(DataError, match="channel"):
            folder(place, size=12, channel=channel)
    (place / "images" / "c_0001.nii.gz").unlink()
    with pytest.raises(DataError, match="the case c has no channel 0001"):
        folder(place, size=12, channel=1)


def test_numbers_that_are_no_channels(tmp_path):
    cohort = folder(scans(tmp_path / "f", names=[f"la_{k:04d}" for k in range(4)]), size=12)
    assert cohort.subjects == ("la_0000", "la_0001", "la_0002", "la_0003")
    cohort = folder(scans(tmp_path / "g", names=[f"{name}_0000" for name in "abc"], labels="abc"), size=12)
    assert cohort.subjects == ("a", "b", "c") and cohort.labelled.all()
    with pytest.raises(DataError, match="no channel 1"):
        folder(scans(tmp_path / "h"), size=12, channel=1)


DOUBLES = {
    "images/a.nii": "two images are called a",
    "labels/a.nii": "two labels are called a",
    "labels/a.png": "two labels are called a",
    "images/A.nii.gz": "two images are called",
    "images/a_0000.nii.gz": "two images are of the case a",
    "labels/a_0000.nii.gz": "two labels are for a.nii.gz",
    "labels/e.nii.gz": "the label e.nii.gz has no image of that name",
    "images/e.mha": "is of a kind that is not read",
    "images/more/e.nii.gz": "holds images in a folder of its own",
    "imagesTr/e.nii.gz": "holds both images and imagesTr",
    "images/copy of a.nii.gz": "hold the same image",
}


@pytest.mark.parametrize("name", DOUBLES)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, name):
    place = scans(tmp_path / "f")
    (place / name).parent.mkdir(exist_ok=True)
    shutil.copy(place / "images" / "a.nii.gz", place / name)
    with pytest.raises(DataError, match=DOUBLES[name]) as caught:
        folder(place, size=12)
    assert "\n" not in str(caught.value)


TRAINING = [{"image": f"./images/{name}.nii.gz", "label": f"./labels/{name}.nii.gz"} for name in "abcd"]


@pytest.mark.parametrize(
    "training,message",
    [
        ([*TRAINING, TRAINING[0]], "a.nii.gz is listed twice"),
        ([*TRAINING[:3], {**TRAINING[3], "label": "labels/a.nii.gz"}], "gives the label a.nii.gz to a and d"),
        ([*TRAINING[:3], {**TRAINING[3], "labelled": "perhaps"}], "'training' holds"),
        ([{"image": 5, "label": "x"}], "'training' holds"),
        ({"image": "x"}, "'training' is dict, expected a list"),
        ([{**TRAINING[0], "image": "/etc/passwd"}], "dataset.json: names /etc/passwd, outside of its folder"),
        ([{**TRAINING[0], "label": "../f/labels/a.nii.gz"}], "dataset.json: names ../f/labels/a.nii.gz, outside of its folder"),
    ],
)
def test_training_lists_go_the_same_way(tmp_path, training, message):
    labels = {"0": "background", "1": "a", "2": "b"}
    place = scans(tmp_path / "f", about={"labels": labels, "training": training})
    with pytest.raises(DataError, match=message):
        folder(place, size=12)


def test_training_list_with_other_spellings(tmp_path):
    labels = {"0": "background", "1": "a", "2": "b"}
    about = {"labels": labels, "training": [*TRAINING[:3], {**TRAINING[3], "labelled": False}]}
    place = scans(tmp_path / "f", about=about)
    (place / "images" / "a.nii.gz").rename(place / "images" / "a_0000.nii.gz")  # nnU-Net's first version lists it without the number
    (place / "labels" / "b.nii.gz").rename(place / "labels" / "B.nii.gz")
    cohort = folder(place, size=12)
    assert cohort.subjects == ("a", "b", "c", "d") and [int(cohort.labelled[cohort.volume == v].sum()) for v in range(4)] == [3, 3, 3, 0]


@settings(max_examples=40)
@given(
    names=st.lists(st.sampled_from(["é1", "É1", "E1", "e1", "1", "01", "1.0", "ann", "Ann", " ann", "bob", "zoe"]), min_size=6, max_size=6),
    form=st.sampled_from(["NFC", "NFD"]),
)
def test_nobody_is_in_two_parts_under_two_spellings(tmp_path_factory, names, form):
    place = scans(tmp_path_factory.mktemp("s"), names="abcdef")
    people = [unicodedata.normalize(form, name) if k % 2 else name for k, name in enumerate(names)]
    (place / "index.csv").write_text("file,subject\n" + "".join(f"{f}.nii.gz,{who}\n" for f, who in zip("abcdef", people, strict=True)))

    def plain(name: str) -> str:
        name = unicodedata.normalize("NFC", name).strip().lower()
        return str(float(name)) if name.replace(".", "").isdigit() else name

    try:
        cohort = folder(place, size=12)
        chosen = split(cohort, 1.0)
    except DataError as error:
        assert "two spellings" in str(error) or "at least 3" in str(error)
        return
    who = dict(zip([v.name for v in cohort.volumes], [v.subject for v in cohort.volumes], strict=True))
    seen = [{plain(who[name]) for name in part} for part in (chosen.train, chosen.val, chosen.test)]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


@pytest.mark.parametrize(
    ("one", "other"),
    [("sub-01", "sub-1"), ("p_1", "P-1"), ("p1", "p\u200b1"), ("p1", "p\uff11"), ("Ann Lee", "ann_lee"), ("007", "7.0"), ('="01"', "1")],
)
def test_spellings_that_may_be_one_person(tmp_path, one, other):
    place = scans(tmp_path / "s")
    quoted = [f'"{who.replace(chr(34), chr(34) * 2)}"' for who in (one, other, "c", "d")]
    (place / "index.csv").write_text("file,subject\n" + "".join(f"{k}.nii.gz,{who}\n" for k, who in zip("abcd", quoted, strict=True)))
    with pytest.raises(DataError, match="index.csv: two spellings of what may be one subject, .* in line 2, .* in line 3"):
        folder(place, size=8)


@pytest.mark.parametrize(("one", "other"), [("1-11", "11-1"), ("p1-1", "p11"), ("p1", "p1+"), ("ann", "anna"), ("p1a", "p1b"), ("1", "10")])
def test_people_who_are_two(tmp_path, one, other):
    place = scans(tmp_path / "s")
    (place / "index.csv").write_text(f"file,subject\na.nii.gz,{one}\nb.nii.gz,{other}\nc.nii.gz,c\nd.nii.gz,d\n")
    assert len(folder(place, size=8).subjects) == 4


@pytest.mark.parametrize("word", ["nan", "N/A", "#N/A", "#REF!", "unknown", "-", "?", "None"])
def test_a_cell_that_says_nothing_is_nobody(tmp_path, word):
    place = scans(tmp_path / "s")
    (place / "index.csv").write_text(f"file,subject\na.nii.gz,{word}\nb.nii.gz,{word}\nc.nii.gz,c\nd.nii.gz,d\n")
    with pytest.raises(DataError, match="line 2 has no file or no subject"):
        folder(place, size=8)


def test_numbers_that_a_spreadsheet_rounded_are_nobody(tmp_path):
    place = scans(tmp_path / "s")
    (place / "index.csv").write_text("file,subject\na.nii.gz,1.23457E+11\nb.nii.gz,b\nc.nii.gz,c\nd.nii.gz,d\n")
    with pytest.raises(DataError, match="line 2: the subject '1.23457E.11' is a number that a spreadsheet has rounded"):
        folder(place, size=8)


@pytest.mark.parametrize(
    ("column", "cells", "why"),
    [
        ("mask", ["b.nii.gz", "a.nii.gz", "c.nii.gz", "d.nii.gz"], "'mask', which is not read, and puts a.nii.gz and b.nii.gz together"),
        ("annotated", ["1", "1", "0", "0"], "'annotated', expected 'labelled'"),
        ("has_mask", ["TRUE", "TRUE", "FALSE", ""], "'has_mask', expected 'labelled'"),
        ("mask", ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"], ""),
        ("annotator", ["ann", "bob", "ann", "bob"], ""),
        ("age", ["1", "0", "1", "0"], ""),
    ],
)
def test_columns_that_are_not_read(tmp_path, column, cells, why):
    place = scans(tmp_path / "s")
    lines = (f"{k}.nii.gz,{k},{cell}\n" for k, cell in zip("abcd", cells, strict=True))
    (place / "index.csv").write_text(f"file,subject,{column}\n" + "".join(lines))
    if why:
        with pytest.raises(DataError, match=why):
            folder(place, size=8)
    else:
        assert folder(place, size=8).labelled.all()


def test_a_list_that_contradicts_the_names_or_itself(tmp_path):
    def listed(labels: str, **more: object) -> Path:
        place = tmp_path / f"{labels}{len(list(tmp_path.iterdir()))}"
        training = [{"image": f"images/{k}.nii.gz", "label": f"./labels/{n}.nii.gz"} for k, n in zip("abcd", labels, strict=True)]
        return scans(place, about={"labels": {"background": 0, "x": 1, "y": 2}, "training": training, **more})

    with pytest.raises(DataError, match="gives a.nii.gz the label of b.nii.gz"):
        folder(listed("bacd"), size=8)
    for test in (["./images/c.nii.gz"], [{"image": "images/c.nii.gz"}]):
        with pytest.raises(DataError, match="lists c.nii.gz under 'training' and under 'test'"):
            folder(listed("abcd", test=test), size=8)
    with pytest.raises(DataError, match="says 'numTraining' 5, but 4 cases are here, 4 of them with a label"):
        folder(listed("abcd", numTraining=5), size=8)
    assert len(folder(listed("abcd", numTraining=4, test=["./images/e.nii.gz"]), size=8).volumes) == 4


def test_sessions_of_one_person_are_not_two_people(tmp_path):
    names = [f"sub-{who}_ses-{k}_T1w" for who in ("A1", "B2", "C3") for k in (1, 2)]
    cohort = folder(scans(tmp_path / "bids", names=names), size=8)
    assert cohort.subjects == ("sub-A1", "sub-B2", "sub-C3") and len(cohort.volumes) == 6


@pytest.mark.parametrize("rest", ["_run-{k}_T1w", "_acq-{k}_run-1_T1w", "_T{k}w", "_{k:04d}"])
@pytest.mark.parametrize("prefix", ["sub-", "Sub-", "SUB-"])
def test_whatever_follows_a_subject_in_bids_does_not_make_another_person(tmp_path, prefix, rest):
    names = [f"{prefix}{who}{rest.format(k=k)}" for who in ("01", "A-2", "C3") for k in (1, 2)]
    cohort = folder(scans(tmp_path / "bids", names=names), size=8)
    assert cohort.subjects == tuple(f"{prefix}{who}" for who in ("01", "A-2", "C3")) and len(cohort.volumes) == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [("sub-01_ses-1", "sub-1_ses-2"), ("Sub-02_T1w", "sub-02_T2w"), ("SUB-A7", "sub-a7_run-2"), ("sub-03", "sub-3")],
)
def test_two_spellings_of_a_subject_in_bids_are_refused(tmp_path, one, other):
    place = scans(tmp_path / "bids", names=[one, other, "sub-8", "sub-9"])
    with pytest.raises(DataError, match="two spellings of what may be one subject, .*nii.gz.*say in index.csv .file, subject. whose"):
        folder(place, size=8)
    lines = [f"{name}.nii.gz,{who}\n" for name, who in zip((one, other, "sub-8", "sub-9"), "abcd", strict=True)]
    (place / "index.csv").write_text("file,subject\n" + "".join(lines))
    assert len(folder(place, size=8).subjects) == 4


@pytest.mark.parametrize(("one", "other"), [("wsub-01_run-1", "wsub-01_run-2"), ("sub-01-run-1", "sub-01-run-2"), ("sub-01_T1w", "desc_sub-01_T2w")])
def test_a_subject_of_bids_inside_of_two_names_is_nobody_or_one(tmp_path, one, other):
    place = scans(tmp_path / "bids", names=[one, other, "sub-8", "sub-9"])
    with pytest.raises(DataError, match="may be of one subject, sub-01, or of two; .*write an index.csv"):
        folder(place, size=8)


def test_names_without_sub_are_each_a_person(tmp_path):
    names = ["p1_run-1", "p1_run-2", "sub01_run-1", "sub01_run-2", "Case-1", "case-01"]
    assert len(folder(scans(tmp_path / "f", names=names), size=8).subjects) == 6


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", [
    "Labels", "LABELSTR", "label", "masks", "Mask", "Segmentations", "ground_truth", "GT", "annotations", "seg masks",
    "derivatives/labels", "derivatives/manual_masks",
])  # fmt: skip
def test_labels_in_a_folder_of_almost_that_name_are_not_overlooked(tmp_path, name, beside):
    place = scans(tmp_path / "f")
    (place / name).parent.mkdir(exist_ok=True)
    (place / "labels").rename(place / "aside").rename(place / name)
    if beside:
        (place / "labels").mkdir(exist_ok=True)
    if beside and len(list((place / "labels").iterdir())):
        return  # a file system to which both names are one
    with pytest.raises(DataError, match=f"f: holds no labels with files of .*, but a folder {name}; rename it to labels"):
        folder(place, size=8)


@pytest.mark.parametrize("name", ["Images", "image", "imgs", "scans", "ImagesTr"])
def test_images_in_a_folder_of_almost_that_name_are_not_overlooked(tmp_path, name):
    place = scans(tmp_path / "f")
    (place / "images").rename(place / "aside").rename(place / name)
    with pytest.raises(DataError, match=f"f: holds no images with files of .*, but a folder {name}; rename it to images"):
        folder(place, size=8)


def test_a_folder_without_labels_may_have_other_folders(tmp_path):
    place = scans(tmp_path / "f", labels=())
    for name in ("masks", "labels", "notes"):
        (place / name).mkdir()
    (place / "masks" / "read me.txt").write_text("none yet")
    shutil.copy(place / "images" / "a.nii.gz", place / "notes" / "a.nii.gz")
    assert not folder(place, size=8).labelled.any()


def test_files_deep_in_a_folder_are_not_overlooked(tmp_path):
    place = scans(tmp_path / "f")
    (place / "images" / "sub-05" / "anat").mkdir(parents=True)
    shutil.copy(place / "images" / "a.nii.gz", place / "images" / "sub-05" / "anat" / "e.nii.gz")
    with pytest.raises(DataError, match="sub-05: holds images in a folder of its own"):
        folder(place, size=8)


def test_a_subject_of_bids_may_be_the_name_of_a_folder(tmp_path):
    place = scans(tmp_path / "f")
    for k, name in enumerate("abcd"):
        (place / f"sub-{k // 2}" / f"ses-{k}").mkdir(parents=True)
        (place / "images" / f"{name}.nii.gz").rename(place / f"sub-{k // 2}" / f"ses-{k}" / f"{name}.nii.gz")
    training = [{"image": f"sub-{k // 2}/ses-{k}/{name}.nii.gz", "label": f"labels/{name}.nii.gz"} for k, name in enumerate("abcd")]
    (place / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "x": 1, "y": 2}, "training": training}))
    assert folder(place, size=8).subjects == ("sub-0", "sub-1")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a", "a_seg"), ("a", "a_gt"), ("a", "a-label"), ("a", "a Mask"), ("a", "a_segmentation"), ("a", "a_mask_1"), ("a_0000", "a_seg"),
        ("a1_image", "a1_label"), ("a1_t1", "a1_seg"), ("a1_flair", "a1_seg"), ("img0001", "label0001"), ("volume-1", "segmentation-1"),
    ],
)  # fmt: skip
def test_a_label_file_among_the_images_is_not_a_scan_of_a_new_person(tmp_path, image, label):
    place = scans(tmp_path / "f", names=(image, label, "x8", "y9"), labels=())
    with pytest.raises(DataError, match=f"images/{label}.nii.gz: lies among the images, but .* the label of {image}.nii.gz; move it into labels/"):
        folder(place, size=8)


def test_what_only_sounds_like_a_label_is_a_scan(tmp_path):
    names = ("a_seg", "mask_2", "b", "b_unmasked", "c1", "gtx1")
    assert len(folder(scans(tmp_path / "f", names=names, labels=()), size=8).volumes) == 6


@pytest.mark.parametrize("side", ["images", "labels"])
@pytest.mark.parametrize("name", ["e.mnc", "e.IMA", "e.dicom", "e.jp2", "e.webp", "a.nii.bz2", "e.nii.xz", "e.mgh", "e.nhdr", "e.img.gz", "e.nii.zip"])
def test_kinds_of_scans_that_are_not_read_are_told(tmp_path, side, name):
    place = scans(tmp_path / "f")
    (place / side / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"{name}: is of a kind that is not read; save it as"):
        folder(place, size=8)
