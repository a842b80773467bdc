"""What a folder says of itself: layouts, what numbers mean, masks that say two things, and bad folders."""

import json
import os
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from semicon_nb.data import DataError, folder, load, native_labels
from semicon_nb.data.folders import _read_classes, layout

from .samples import hearts, nifti, png, scan, scans, task


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


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="hipocampus: neither a cohort .* nor a folder"):
        load("hipocampus")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no .nii, .nii.gz or .png file"):
        folder(tmp_path / "empty")
    for side in ("images", "labels"):
        (tmp_path / "bare" / side).mkdir(parents=True)
        Image.fromarray(np.eye(16, dtype=np.uint8) * (side == "images")).save(tmp_path / "bare" / side / "p1.png")
    with pytest.raises(DataError, match="bare: its label files outline nothing, all of them hold only 0"):
        folder(tmp_path / "bare")


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
        ("x" * 5000 + ",who\na,b\n", "expected at least 'file' and 'subject'"),
        (good + "z" * 5000 + ".png,person-z,0\n", "has 5004 characters under .file., expected at most 300"),
        (good + "z9.png,person-z,0\n", "names z9.png"),
        (good.replace("b2.png,person-b,0\n", ""), "does not name b2.png"),
        (good.replace("a0.png,person-a,0", "a0.png,person-a,1"), "says that a0.png is"),
        (good.replace("a0.png,person-a,0", "a0.png,,0"), "has no file or no subject"),
    ):
        (place / "index.csv").write_text(text)
        with pytest.raises(DataError, match=message) as caught:
            folder(place)
        assert len(str(caught.value)) < 1000


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are Unix's")
@pytest.mark.parametrize("name", ["dataset.json", "index.csv"])
def test_a_pipe_is_refused_and_does_not_hang(tmp_path, name):
    place = hearts(tmp_path)
    (place / name).unlink()
    os.mkfifo(place / name)
    with pytest.raises(DataError, match=f"{name}: .*pipe"):
        folder(place)


@pytest.mark.parametrize("path", ["/etc/passwd", "../scan_001.nii.gz", "imagesTr/../../scan.nii", "..\\scan.nii"])
@pytest.mark.parametrize("side", ["image", "label"])
def test_a_list_names_only_files_of_its_folder(tmp_path, side, path):
    about = json.loads((task(tmp_path) / "dataset.json").read_text())
    about["training"][0][side] = path
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="dataset.json: names .* outside of its folder"):
        folder(tmp_path)


def test_what_is_very_long_is_refused_in_a_short_sentence(tmp_path):
    place = hearts(tmp_path)
    for text in ("file,subject\n" + "x" * 5000 + ",a\n", "file,subject\na0.png," + "x" * 5000 + "\n", "x" * 5000 + "\n"):
        (place / "index.csv").write_text(text)
        with pytest.raises(DataError, match="index.csv: ") as caught:
            folder(place)
        assert len(str(caught.value)) < len(str(place)) + 400


def test_image_saved_as_label(tmp_path):
    image = (np.random.default_rng(0).random((40, 40)) * 255).astype(np.uint8)
    png(tmp_path / "t" / "images" / "a.png", image)
    png(tmp_path / "t" / "labels" / "a.png", image)
    with pytest.raises(DataError, match="a.png: holds .* values .* is it a label map, and was it resampled with interpolation. If these are classes, name"):
        folder(tmp_path / "t")


def test_two_volumes_of_one_name(tmp_path):
    place = task(tmp_path / "t")
    about = json.loads((place / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps({**about, "training": about["training"] + about["training"][:1]}))
    with pytest.raises(DataError, match="two volumes are called scan_001"):
        folder(place)


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
    classes, codes = _read_classes({"labels": labels}, Path("x"))
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
        ({"background": 0, "a": 2**31}, "too large"),
        ({"background": 0}, "names 0 structures"),
        ({"ignore": 0, "a": 1}, "calls 0 'ignore' and nothing background"),
        ("background", "expected names by number"),
        (None, "expected names by number"),
    ],
)
def test_labels_that_say_nothing_sure_are_refused(labels, message):
    with pytest.raises(DataError, match=message) as caught:
        _read_classes({"labels": labels}, Path("dataset.json"))
    assert str(caught.value).startswith("dataset.json: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [2**24 + 1, 2**31 - 1, 1 - 2**31])
def test_a_number_of_32_bits_is_kept_to_its_last_digit(tmp_path, number):
    place = scans(tmp_path / "f", numbers=(0, number, number), about={"labels": {"0": "background", str(number): "a"}})
    cohort = folder(place, size=8)
    assert cohort.codes.numbers(np.array([0, 1])).tolist() == [0, number] and cohort.labels.any()


def test_two_numbers_of_one_name_are_one_class():
    classes, codes = _read_classes({"labels": {"0": "background", "420": "Left Atrium", "421": "left-atrium ", "500": "LV"}}, Path("x"))
    assert classes == ("background", "left atrium", "lv")
    assert codes(np.array([0, 420, 421, 500]), "x").tolist() == [0, 1, 1, 2]
    assert codes.numbers(np.array([0, 1, 2])).tolist() == [0, 420, 500]


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


@pytest.mark.parametrize(("numbers", "told"), [((0, 2, 255), True), ((0, 127, 255), False), ((0, 255, 255), False)])
def test_255_beside_small_numbers_is_told(tmp_path, numbers, told):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        folder(scans(tmp_path / "f", numbers=numbers), size=8)
    assert any("hold 255 beside 2, and it counts as a structure; where it marks" in str(one.message) for one in said) == told


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


@pytest.mark.parametrize("numbers", [(0, 1, -1), (0, -1, -1), (0, -32768, 255), (-3, 0, 1)])
def test_numbers_below_zero_must_be_named(tmp_path, numbers):
    place = scans(tmp_path / "f", numbers=numbers)
    with pytest.raises(DataError, match=f"hold the negative number {min(numbers)}; it may be a structure of its own, or pixels .*name the numbers"):
        folder(place, size=8)
    (place / "dataset.json").write_text(json.dumps({"labels": {"background": 0} | {f"s{k}": n for k, n in enumerate({*numbers} - {0})}}))
    assert len(folder(place, size=8).classes) == len({*numbers})


@pytest.mark.parametrize(("numbers", "said"), [((0, 1, 255), "255 beside 1;"), ((0, 1, 65535), "65535 beside 1;")])
@pytest.mark.parametrize("gap", [(), (3,), (2, 7)])
def test_the_largest_number_that_fits_must_be_named_beside_1(tmp_path, numbers, said, gap):
    place = scans(tmp_path / "f", numbers=numbers)
    for number, name in zip(gap, "ab", strict=False):
        scans(place, names=[f"more {name}"], numbers=(0, 1, number))
    with pytest.raises(DataError, match=f"hold {said.replace(';', '')}{f' and {gap[-1]}' if gap else ''}; it may be a structure of its own"):
        folder(place, size=8)


@pytest.mark.parametrize("name", ["Index.csv", "INDEX.CSV", "index.tsv", "index.csv.txt", "index.xlsx", "Dataset.json", "dataset.json.txt"])
def test_a_file_of_almost_the_name_is_not_overlooked(tmp_path, name):
    place = scans(tmp_path / "f")
    (place / name).write_text("file,subject\n" if name.lower().startswith("index") else "{}")
    right = "index.csv" if name.lower().startswith("index") else "dataset.json"
    if (place / right).exists():
        return  # a file system to which both names are one
    with pytest.raises(DataError, match=f"{name}: is not read, expected {right}; (rename it to|save it as) {right}, or take it out"):
        folder(place, size=8)
    lines = [f"{k}.nii.gz,{k}\n" for k in "abcd"]
    (place / right).write_text("file,subject\n" + "".join(lines) if right == "index.csv" else '{"labels": {"background": 0, "x": 1, "y": 2}}')
    assert len(folder(place, size=8).subjects) == 4


@pytest.mark.parametrize(("count", "start"), [(254, 1), (255, 1), (254, 2), (300, 1000)])
def test_at_most_254_numbers_are_structures(tmp_path, count, start):
    place = scans(tmp_path / "f", names=[f"c{k:02d}" for k in range(-(-count // 30))])
    for k, first in enumerate(range(0, count, 30)):
        numbers = np.arange(start + first, start + min(first + 30, count))
        mask = np.pad(numbers, (0, 360 - len(numbers))).reshape(12, 10, 3).astype(np.int32)
        nifti(place / "labels" / f"c{k:02d}.nii.gz", mask)
    if count <= 254:
        assert len(layout(place)[0]) == 1 + count
    else:
        with pytest.raises(DataError, match=f"hold {count} numbers beside 0, such as {start + count - 1}, expected at most 254 structures"):
            folder(place, size=8)


@pytest.mark.parametrize("name", ["Ignore", "void", "ignore label", "Don't care", "ignored"])
def test_every_word_for_ignore(name):
    classes, codes = _read_classes({"labels": {"background": 0, "a": 1, name: 2}}, Path("dataset.json"))
    assert classes == ("background", "a") and codes.ignore == (2,)


@pytest.mark.parametrize("name", ["unknown", "Undefined", "unlabeled"])
def test_words_that_may_be_ignore_are_refused_and_may_be_background(name):
    with pytest.raises(DataError, match="a number is called .*; call it 'ignore'"):
        _read_classes({"labels": {"background": 0, "a": 1, name: 2}}, Path("dataset.json"))
    if name == "unlabeled":
        assert _read_classes({"labels": {name: 0, "a": 1}}, Path("dataset.json"))[0] == ("background", "a")


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


def test_a_folder_that_nobody_outlined_has_no_classes_but_the_background(tmp_path):
    assert folder(scans(tmp_path / "f", labels=()), size=8).classes == ("background",)
