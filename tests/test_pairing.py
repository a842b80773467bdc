"""What a label number means, which files belong together, and words in tables: as strangers write them, or refused."""

import csv
import io
import json
import shutil
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semicon_nb.data import DataError, folder, native_labels, split
from semicon_nb.data.cohort import Codes, class_order, ignored, matched
from semicon_nb.data.folders import named_classes
from semicon_nb.data.pairing import read_index
from semicon_nb.data.words import NO, YES, flag, read_json

SHAPE = (12, 10, 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Every test has an empty cache of its own."""
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return path


def classes_of(seed: int) -> np.ndarray:
    """Class of every voxel: 0, 1 and 2 in every slice."""
    found = np.random.default_rng(seed).integers(0, 3, SHAPE)
    found[:3, 0] = np.arange(3)[:, None]
    return found


def scans(place: Path, names=("a", "b", "c", "d"), numbers=(0, 1, 2), labels=None, about: dict | None = None) -> Path:
    """A folder of scans, with the label files of `labels` (all by default), whose classes are written as `numbers`."""
    for k, name in enumerate(names):
        save(place / "images" / f"{name}.nii.gz", (classes_of(k) + np.random.default_rng(k).random(SHAPE)).astype(np.float32))
    for k, name in enumerate(names if labels is None else labels):
        save(place / "labels" / f"{name}.nii.gz", np.array(numbers)[classes_of(k)].astype(np.int32))
    if about:
        (place / "dataset.json").write_text(json.dumps(about))
    return place


# --- what a number means ---------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    numbers=st.lists(st.integers(-3000, 70000), min_size=3, max_size=3, unique=True),
    way=st.sampled_from(["numbers by name", "names by number", "floats", "texts"]),
    names=st.permutations(["Background", "Left  Atrium", "right_Atrium"]),
)
def test_any_numbers_either_way_round(numbers, way, names):
    given_ = dict(zip(names, numbers, strict=True))
    labels = {
        "numbers by name": given_, "names by number": {str(n): name for name, n in given_.items()},
        "floats": {name: float(n) for name, n in given_.items()}, "texts": {f" {n}.0": f"{name} " for name, n in given_.items()},
    }[way]  # fmt: skip
    classes, codes = named_classes({"labels": labels}, Path("x"))
    assert sorted(classes) == ["background", "left atrium", "right_atrium"]
    found = {classes[codes(np.array([n]), "x")[0]]: n for n in numbers}
    assert found == {" ".join(name.lower().split()): n for name, n in given_.items()}
    indices = np.arange(3, dtype=np.uint8)
    back = codes.numbers(indices)
    assert np.array_equal(codes(back, "x"), indices) and sorted(back.tolist()) == sorted(numbers)
    smallest = next(k for k in (np.uint8, np.uint16, np.int32) if all(np.iinfo(k).min <= n <= np.iinfo(k).max for n in numbers))
    assert back.dtype == smallest


@pytest.mark.parametrize(
    "labels,message",
    [
        ({"background": 0, "whole": [1, 2]}, "'whole' is a list, but regions that overlap are not supported"),
        ({"background": 0, "a": 1, "b": 1}, "the number 1 has two names"),
        ({"0": "background", "1": "a", "1.0": "b"}, "the number 1 has two names"),
        ({"background": 0, "a": True}, "expected a whole number"),
        ({"0": "background", "1": None}, "expected a whole number"),
        ({"background": 0, "a": 1.5}, "expected a whole number"),
        ({"0": {"name": "background"}}, "expected a whole number"),
        ({"0": 0, "1": 2, "2": 1}, "expected a whole number"),
        ({"0": "liver", "1": "spleen"}, "calls 0 'liver' and nothing background"),
        ({"background": 0, "a": 2**24 + 1}, "too large"),
        ({"background": 0}, "names 0 structures"),
        ({"ignore": 0, "a": 1}, "calls 0 'ignore' and nothing background"),
        ("background", "expected names by number"),
        (None, "expected names by number"),
    ],
)
def test_labels_that_say_nothing_sure_are_refused(labels, message):
    with pytest.raises(DataError, match=message) as caught:
        named_classes({"labels": labels}, Path("dataset.json"))
    assert str(caught.value).startswith("dataset.json: ") and "\n" not in str(caught.value)


def test_two_numbers_of_one_name_are_one_class():
    classes, codes = named_classes({"labels": {"0": "background", "420": "Left Atrium", "421": "left-atrium ", "500": "LV"}}, Path("x"))
    assert classes == ("background", "left atrium", "lv")
    assert codes(np.array([0, 420, 421, 500]), "x").tolist() == [0, 1, 1, 2]
    assert codes.numbers(np.array([0, 1, 2])).tolist() == [0, 420, 500]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_json_in_every_encoding(tmp_path, encoding):
    (tmp_path / "x.json").write_bytes('{"labels": {"0": "Hintergrund", "1": "Höhle"}}'.encode(encoding))
    assert read_json(tmp_path / "x.json") == {"labels": {"0": "Hintergrund", "1": "Höhle"}}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 100_000, '{"a": "\xe4"}', "", "\x00"])
def test_json_that_cannot_be_read_is_one_sentence(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="x.json: cannot be read as JSON") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_ignored_pixels_leave_their_slices_out(tmp_path):
    place = scans(tmp_path / "f", about={"labels": {"background": 0, "a": 1, "b": 2, " Ignore": 9}})
    sparse = classes_of(1)
    sparse[11, 9, 0] = 9  # one pixel of one slice, which a resize to 8 x 8 does not meet
    save(place / "labels" / "b.nii.gz", sparse.astype(np.uint8))
    cohort = folder(place, size=8)
    assert cohort.classes == ("background", "a", "b") and cohort.labels.max() == 2
    rows = cohort.volume == 1
    assert cohort.labelled[rows].tolist() == [False, True, True] and cohort.labelled[~rows].all()
    assert ignored(cohort) == 1 and "1 slices left out" in repr(cohort) and not cohort.labels[rows][0].any()
    expected = np.where(np.arange(3) > 0, classes_of(1), 0)
    assert np.array_equal(native_labels(cohort, 1), expected)


def test_ignore_in_every_slice_is_refused_and_255_beside_1_must_be_named(tmp_path):
    about = {"labels": {"0": "background", "1": "a", "2": "b", "255": "ignore"}}
    place = scans(tmp_path / "f", numbers=(0, 1, 255), about=about)
    with pytest.raises(DataError, match="sparse outlines inside slices are not supported"):
        folder(place, size=8)
    (place / "dataset.json").unlink()
    with pytest.raises(DataError, match="its label files hold 255 beside 1; it may be a structure of its own.*name the numbers"):
        folder(place, size=8)
    (place / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "a", "255": "rim"}}))
    assert folder(place, size=8).classes == ("background", "a", "rim")


@pytest.mark.parametrize(("numbers", "classes"), [((0, 255, 255), 1), ((0, 127, 255), 2), ((0, 2, 255), 2), ((0, 5, 9), 2)])
def test_other_numbers_name_themselves(tmp_path, numbers, classes):
    cohort = folder(scans(tmp_path / "f", numbers=numbers), size=8)
    assert cohort.classes[1:] == tuple(f"label {number}" for number in sorted({*numbers} - {0})) and len(cohort.classes) == classes + 1


def test_label_files_without_a_zero_do_not_say_which_is_the_background(tmp_path):
    place = scans(tmp_path / "f", numbers=(1, 2, 3))
    with pytest.raises(DataError, match="no label file holds 0, only 1, 2, 3, so which is the background"):
        folder(place, size=8)
    (place / "dataset.json").write_text(json.dumps({"labels": {"1": "background", "2": "a", "3": "b"}}))
    assert folder(place, size=8).classes == ("background", "a", "b")


@pytest.mark.parametrize("name", ["Ignore", "void", "ignore label", "Don't care", "ignored"])
def test_every_word_for_ignore(name):
    classes, codes = named_classes({"labels": {"background": 0, "a": 1, name: 2}}, Path("dataset.json"))
    assert classes == ("background", "a") and codes.ignore == (2,)


@pytest.mark.parametrize("name", ["unknown", "Undefined", "unlabeled"])
def test_words_that_may_be_ignore_are_refused_and_may_be_background(name):
    with pytest.raises(DataError, match="a number is called .*; call it 'ignore'"):
        named_classes({"labels": {"background": 0, "a": 1, name: 2}}, Path("dataset.json"))
    if name == "unlabeled":
        assert named_classes({"labels": {name: 0, "a": 1}}, Path("dataset.json"))[0] == ("background", "a")


def test_a_class_that_no_file_holds_is_told(tmp_path):
    place = scans(tmp_path / "f", about={"labels": {"background": 0, "a": 1, "b": 2, "never": 3}})
    for _ in ("from the files", "from the cache"):
        with pytest.warns(UserWarning, match="f: no complete slice shows never, so nothing"):
            folder(place, size=8)


# --- pictures that say two things ------------------------------------------------------------------------------------


def masks(place: Path, pictures: list, about: dict | None = None) -> Path:
    """A folder of pictures with these masks."""
    for k, picture in enumerate(pictures):
        for side in ("images", "labels"):
            (place / side).mkdir(parents=True, exist_ok=True)
        picture.save(place / "labels" / f"s{k}.png")
        noise = np.random.default_rng(k).integers(0, 255, picture.size[::-1], dtype=np.uint8)
        Image.fromarray(noise).save(place / "images" / f"s{k}.png")
    if about:
        (place / "dataset.json").write_text(json.dumps(about))
    return place


def square(*numbers: int) -> np.ndarray:
    """A mask [32, 32] of squares side by side, one of each number."""
    mask = np.zeros((32, 32), np.uint8)
    for k, number in enumerate(numbers):
        mask[4:28, 2 + 10 * k : 10 + 10 * k] = number
    return mask


def coloured(mask: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    """The mask as a picture with a palette."""
    picture = Image.fromarray(mask, "P")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


def test_soft_edges_are_no_classes_unless_they_are_named(tmp_path):
    soft = [Image.fromarray(square(255)).resize((45, 45), Image.Resampling.BILINEAR)] * 3
    with pytest.raises(DataError, match="s0.png: holds .* only between other numbers, as soft edges do"):
        folder(masks(tmp_path / "soft", soft), size=8)
    hard = masks(tmp_path / "hard", [Image.fromarray(square(100, 200, 255))] * 3)
    assert len(folder(hard, size=16).classes) == 4
    rim = square(255)
    rim[4:28, 2:3] = 128
    names = {"labels": {"background": 0, "rim": 128, "cell": 255}}
    assert folder(masks(tmp_path / "rim", [Image.fromarray(rim)] * 3, names), size=32).classes == ("background", "rim", "cell")


BLACK, RED, GREEN, WHITE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ((BLACK, RED, GREEN), (BLACK, GREEN, RED), "s1.png: has another palette than s0.png"),
        ((BLACK, RED, GREEN), (BLACK, RED, WHITE), "s1.png: has another palette than s0.png"),
        ((WHITE, BLACK, RED), (WHITE, BLACK, RED), "s0.png: its palette calls 0 the colour .255, 255, 255., not black"),
        ((WHITE, (127,) * 3, (9,) * 3), (WHITE, (127,) * 3, (9,) * 3), "s0.png: its palette calls 0"),
        ((BLACK, RED, GREEN), (BLACK, RED, GREEN), ""),
        ((WHITE, RED, GREEN), (WHITE, RED, GREEN), ""),
        ((BLACK, (127,) * 3, WHITE), (BLACK, (127,) * 3, WHITE), ""),
    ],
)
def test_palettes_that_contradict_each_other(tmp_path, named, one, other, why):
    about = {"labels": {"background": 0, "a": 1, "b": 2}} if named else None
    place = masks(tmp_path / "p", [coloured(square(1, 2), *colours) for colours in (one, other, one)], about)
    if why:
        with pytest.raises(DataError, match=why):
            folder(place, size=16)
    else:
        assert len(folder(place, size=16).classes) == 3


def test_pictures_of_one_stack_have_one_depth(tmp_path):
    place = masks(tmp_path / "d", [Image.fromarray(square(1))] * 4)
    (place / "index.csv").write_text("file,subject\n" + "".join(f"s{k}.png,p{k // 2}\n" for k in range(4)))
    assert len(folder(place, size=16).volumes) == 2
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (32, 32), dtype=np.uint16)).save(place / "images" / "s1.png")
    with pytest.raises(DataError, match="the pictures of p0 cannot be compared, since s1.png has 16 bits and s0.png has not"):
        folder(place, size=16)


def test_a_class_that_no_complete_slice_shows_is_told(tmp_path):
    place = scans(tmp_path / "f", numbers=(0, 0, 1), about={"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}})
    with pytest.warns(UserWarning, match="no complete slice shows b"):
        assert "no complete slice shows b" in repr(folder(place, size=8))


# --- the same classes elsewhere --------------------------------------------------------------------------------------


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
    same = matched(cohort, wanted)
    on_file = np.asarray(nibabel.load(place / "labels" / "a.nii.gz").dataobj)
    for index, number in ((1, numbers[1]), (2, numbers[0])):
        assert np.array_equal(native_labels(same, 0) == index, on_file == number)
        assert np.array_equal(np.moveaxis(same.labels[:, :, 1:11], 0, 2) == index, on_file == number)
    assert same.classes == wanted and matched(same, wanted) is same


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


# --- tables ----------------------------------------------------------------------------------------------------------

YES_WORDS = st.sampled_from([*YES, "1.0", "1,0", "1.00", "TRUE", "Yes", " ja ", "X"])
NO_WORDS = st.sampled_from([*NO, "0.0", "0,0", "0.", "FALSE", "No", " nein "])


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


@settings(max_examples=40)
@given(st.text(max_size=6))
def test_other_words_are_neither_yes_nor_no(word):
    if flag(word) is not None:
        assert word.strip().casefold().rstrip("0.,") in {*YES, *NO, ""} or word.strip()[0] in "01"
    for nothing in ("", "2", "-1", "nan", "None", "perhaps", "1.5", "10", "0.1"):
        assert flag(nothing) is None


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


def test_columns_that_look_like_it_are_refused_and_ticks_and_numbers_are_read(tmp_path):
    path = tmp_path / "index.csv"
    for column in ("label", "is_labelled", "Labelled?"):
        path.write_text(f"file,subject,{column}\na.png,p,0\n")
        with pytest.raises(DataError, match="expected 'labelled'"):
            read_index(path)
    path.write_text("file,subject,labelled\na.png,7.0,x\nb.png,8.0,\n")
    assert [(line.subject, line.labelled) for line in read_index(path).values()] == [("7", True), ("8", False)]


# --- pairs -----------------------------------------------------------------------------------------------------------


def channels(place: Path, labels: str = "{}", about: dict | None = None) -> Path:
    """Four cases of two channels; label files are called `labels` after their case."""
    scans(place, names=[f"{name}_{k:04d}" for name in "abcd" for k in (0, 1)], labels=[], about=about)
    for k, name in enumerate("abcd"):
        save(place / "labels" / f"{labels.format(name)}.nii.gz", classes_of(k).astype(np.uint8))
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
        parts = split(cohort, 1.0)
    except DataError as error:
        assert "two spellings" in str(error) or "at least 3" in str(error)
        return
    who = dict(zip([v.name for v in cohort.volumes], [v.subject for v in cohort.volumes], strict=True))
    seen = [{plain(who[name]) for name in part} for part in (parts.train, parts.val, parts.test)]
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


def test_a_made_up_name_is_not_matched_against_its_number():
    """ "label 2" for the number 1 is either; the run's made-up names mean their numbers."""
    ours = ("background", "label 1", "label 2"), Codes(((0, 0), (1, 1), (2, 2)))
    with pytest.raises(DataError, match="has the classes background, label 2, label 1"):
        class_order("x", ("background", "label 2", "label 1"), Codes(((0, 0), (1, 1), (2, 2))), *ours)
    assert class_order("x", ("background", "label 2", "label 1"), Codes(((0, 0), (7, 1), (3, 2))), *ours) == [0, 2, 1]
