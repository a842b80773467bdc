"""Files as strangers bring them: every mode of PNG, every header of NIfTI, JSON, words, and what cannot be used."""

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image

from semicon_nb.data import DataError, read_scan, reorient
from semicon_nb.data.reading import _NO, _YES, read_json, stored_orientation, yes_or_no

from .samples import nifti, png

GREYS = np.array([[0, 60, 200], [7, 60, 255]], np.uint8)


CODES = ["".join(codes) for codes in [("R", "A", "S"), ("L", "P", "S"), ("A", "S", "L"), ("I", "R", "P"), ("S", "L", "A"), ("P", "I", "R")]]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(path: Path, rows: list[bytes], width: int, depth: int, colour: int, extra: bytes = b"") -> Path:
    """A PNG written by hand: `depth` bits a sample, colour type 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + extra + data + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("clear", [False, True])
def test_an_image_has_its_grey_values_in_every_mode(mode, clear, tmp_path):
    picture, extra = Image.fromarray(GREYS), {}
    if mode == "P":
        picture = picture.convert("RGB").quantize(16)
    elif mode == "I;16":
        picture = Image.fromarray(GREYS.astype(np.uint16))
    else:
        picture = picture.convert(mode)
    if mode in ("LA", "RGBA") and clear:
        picture.putalpha(Image.fromarray(255 - GREYS))
    elif clear:
        extra = {"transparency": {"P": bytes([0, 128, 255, 7]), "RGB": (7, 7, 7)}.get(mode, 7)}
    picture.save(tmp_path / "x.png", **extra)
    assert np.array_equal(read_scan(tmp_path / "x.png").voxels[..., 0], GREYS)


def test_a_palette_counts_in_an_image_and_not_in_a_mask(tmp_path):
    labels = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    labels.putpalette([0, 0, 0, 230, 159, 0, 86, 180, 233])
    for extra in ({}, {"transparency": 0}, {"transparency": bytes([0, 255, 255])}):
        labels.save(tmp_path / "x.png", **extra)
        assert read_scan(tmp_path / "x.png", mask=True).voxels[..., 0].tolist() == [[0, 1], [2, 1]]
        with pytest.raises(DataError, match="x.png: is a colour picture .* save it as greyscale"):
            read_scan(tmp_path / "x.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_mask_has_its_labels_in_every_mode(mode, tmp_path):
    labels = np.array([[0, 1, 1], [1, 0, 1]], np.uint16) * {"1": 1, "I;16": 300}.get(mode, 2)
    picture = Image.fromarray(labels if mode == "I;16" else labels.astype(bool if mode == "1" else np.uint8))
    if mode == "P":
        picture.putpalette(list(range(255, 0, -1)) * 3)
    elif mode[0] in "LR":
        picture = picture.convert(mode)
    picture.save(tmp_path / "x.png")
    found = read_scan(tmp_path / "x.png", mask=True).voxels
    assert found.dtype == np.int32 and np.array_equal(found[..., 0], labels)


def test_grey_of_two_and_four_bits(tmp_path):
    """Pillow spreads them over 0 to 255, which is right for an image and wrong for a label."""
    two = raw_png(tmp_path / "two.png", [bytes([0b00011011])], 4, 2, 0)
    four = raw_png(tmp_path / "four.png", [bytes([0x01, 0x2F])], 4, 4, 0)
    assert read_scan(two, mask=True).voxels.ravel().tolist() == [0, 1, 2, 3]
    assert read_scan(four, mask=True).voxels.ravel().tolist() == [0, 1, 2, 15]
    assert read_scan(two).voxels.ravel().tolist() == [0, 85, 170, 255]


def test_pictures_that_are_refused(tmp_path):
    small = Image.fromarray(GREYS)
    small.save(tmp_path / "jpeg.png", "JPEG")
    small.save(tmp_path / "gif.png", "GIF")
    small.save(tmp_path / "moves.png", save_all=True, append_images=[Image.fromarray(GREYS[::-1])])
    raw_png(tmp_path / "deep.png", [struct.pack(">4H", 1, 65535, 2, 65535)], 2, 16, 4)
    raw_png(tmp_path / "deeprgb.png", [struct.pack(">3H", 1, 1, 1)], 1, 16, 2)
    raw_png(tmp_path / "short.png", [bytes([0, 9])], 2, 8, 3, chunk(b"PLTE", bytes([0, 0, 0, 9, 9, 9])))
    Image.fromarray(np.stack([GREYS, GREYS, GREYS + 1], -1)).save(tmp_path / "blueish.png")
    for name, why in {
        "jpeg": "is a JPEG file, expected one picture in PNG", "gif": "is a GIF file", "moves": "holds 2 pictures",
        "deep": "is a 16-bit picture with colour or alpha", "deeprgb": "is a 16-bit picture with colour or alpha",
        "short": "cannot be read as a picture", "blueish": "is a colour picture",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=f"{name}.png: {why}"):
            read_scan(tmp_path / f"{name}.png")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_mask_that_is_transparent_in_places_is_refused(mode, tmp_path):
    """Drawing programs keep a mask in the alpha channel alone; an image may have one, which is no grey value."""
    shown = np.array([[0, 255], [255, 0]], np.uint8)
    grey = np.zeros((2, 2, 4 if mode == "RGBA" else 2), np.uint8)
    grey[..., -1] = shown
    Image.fromarray(grey, mode).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="x.png: is transparent in places"):
        read_scan(tmp_path / "x.png", mask=True)
    assert not read_scan(tmp_path / "x.png").voxels.any()
    grey[..., -1] = 255
    Image.fromarray(grey, mode).save(tmp_path / "x.png")
    assert not read_scan(tmp_path / "x.png", mask=True).voxels.any()


def test_a_picture_has_no_millimetres(tmp_path):
    Image.fromarray(GREYS).save(tmp_path / "x.png", dpi=(300, 300))
    scan = read_scan(tmp_path / "x.png")
    assert (scan.unit, scan.spacing, scan.orientation, scan.voxels.shape) == ("pixel", (1, 1, 1), "", (2, 3, 1))


def header(path: Path, shape=(5, 6, 7), spacing=(1.0, 2.0, 3.0), sform=None, qform=None, unit="mm") -> Path:
    """A NIfTI file whose header is what is asked for, sense or not."""
    image = nibabel.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), None)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    raw = bytearray(path.read_bytes())
    struct.pack_into(f"<{len(spacing)}f", raw, 80, *spacing)
    struct.pack_into("<hh", raw, 252, 1 if qform is not None else 0, 1 if sform is not None else 0)
    if qform is not None:
        struct.pack_into("<6f", raw, 256, *qform)
    if sform is not None:
        struct.pack_into("<12f", raw, 280, *np.asarray(sform, float).ravel())
    path.write_bytes(raw)
    return path


COS, SIN = np.cos(np.radians(40)), np.sin(np.radians(40))
SLANTED = np.array([[COS, -2 * SIN, 0, 0], [SIN, 2 * COS, 0, 0], [0, 0, 3, 0]])


@pytest.mark.parametrize(
    ("how", "spacing", "orientation"),
    [
        ({}, (1, 2, 3), ""),
        ({"spacing": (-1, 2, 3)}, (1, 2, 3), ""),
        ({"qform": (0, 0, 0, 5, 6, 7)}, (1, 2, 3), "RAS"),
        ({"qform": (0, 0, 1, 5, 6, 7)}, (1, 2, 3), "LPS"),
        ({"sform": np.diag([-4, 5, 6, 1])[:3], "spacing": (4, 5, 6.1)}, (4, 5, 6), "LAS"),
        ({"sform": np.diag([-4, 5, 6, 1])[:3], "spacing": (1, 1, 1)}, (4, 5, 6), "LAS"),
        ({"sform": np.diag([-4, 5, 6, 1])[:3], "spacing": (-4, 0, np.nan)}, (4, 5, 6), "LAS"),
        ({"sform": np.diag([4, 5, 6, 1])[:3], "spacing": (4, 5, 9), "shape": (5, 6, 1)}, (4, 5, 6), "RAS"),
        ({"sform": np.diag([4, 5, 6, 1])[:3], "spacing": (1, 1, 9), "shape": (5, 6, 1)}, (4, 5, 6), "RAS"),
        ({"sform": np.diag([1, 2, 3.03, 1])[:3], "qform": (0, 0, 0.1, 90, 6, 7)}, (1, 2, 3.03), "RAS"),
        ({"sform": np.diag([4, 5, 6, 1])[:3], "qform": (0, 0, 0, 5, 6, 7), "spacing": (0, 0, 0)}, (4, 5, 6), "RAS"),
        ({"sform": np.diag([4, 5, 6, 1])[:3], "qform": (2, 0, 0, 5, 6, 7)}, (4, 5, 6), "RAS"),
        ({"sform": SLANTED, "qform": (0, 0, np.sin(np.radians(26)), 5, 6, 7)}, (1, 2, 3), "RAS"),
        ({"sform": np.zeros((3, 4))}, (1, 2, 3), ""),
        ({"sform": np.zeros((3, 4)), "qform": (0, 0, 1, 0, 0, 0)}, (1, 2, 3), "LPS"),
        ({"sform": np.diag([4, 5, 6, 1])[:3], "spacing": (0, 0, 0)}, (4, 5, 6), "RAS"),
        ({"unit": "meter", "spacing": (0.001, 0.002, 0.003)}, (1, 2, 3), ""),
        ({"unit": "micron", "spacing": (900, 800, 50)}, (0.9, 0.8, 0.05), ""),
        ({"unit": "micron", "sform": np.diag([900, 800, 50, 1])[:3], "spacing": (900, 800, 50)}, (0.9, 0.8, 0.05), "RAS"),
        ({"unit": "unknown"}, (1, 2, 3), ""),
        ({"shape": (5, 6, 1), "spacing": (1, 2, 0)}, (1, 2, 1), ""),
        ({"shape": (5, 6), "spacing": (1, 2, 0)}, (1, 2, 1), ""),
        ({"shape": (5, 6), "spacing": (0.001, 0.002, 0), "unit": "meter"}, (1, 2, 1), ""),
        ({"shape": (5, 6, 1), "sform": np.diag([1, 2, 0, 1])[:3]}, (1, 2, 1), "RAS"),
    ],
)
def test_millimetres_and_orientation(how, spacing, orientation, tmp_path):
    scan = read_scan(header(tmp_path / "x.nii", **how))
    np.testing.assert_allclose(scan.spacing, spacing, rtol=1e-6)
    assert scan.orientation == orientation == stored_orientation(tmp_path / "x.nii") and scan.unit == "mm"
    assert np.isfinite(scan.affine).all() and abs(np.linalg.det(scan.affine[:3, :3])) > 0


SHEARED = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])


NAN = np.array([[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"spacing": (0, 2, 3)}, "voxels measure 0 x 2 x 3 mm, expected millimetres above 0"),
        ({"spacing": (0, 0, 0)}, "voxels measure 0 x 0 x 0 mm"),
        ({"spacing": (1, np.nan, 3)}, "voxels measure 1 x nan x 3 mm"),
        ({"spacing": (1, np.inf, 3)}, "voxels measure 1 x inf x 3 mm"),
        ({"spacing": (1, 2, 0), "qform": (0, 0, 0, 0, 0, 0)}, "voxels measure 1 x 2 x 0 mm"),
        ({"spacing": (1, 2, 3), "unit": "micron"}, "the scan measures 0.005 x 0.012 x 0.021 mm, expected 1 mm to 3 m on its longest side"),
        ({"spacing": (1, 2, 90), "shape": (5, 6, 40)}, "the scan measures 5 x 12 x 3600 mm, expected 1 mm to 3 m"),
        ({"spacing": (1, 2, 3000)}, "voxels measure 1 x 2 x 3000 mm, expected 0.001 to 100 mm"),
        ({"spacing": (1, 2, 1e-5)}, "expected 0.001 to 100 mm"),
        ({"spacing": (1, 2, 3), "unit": "meter"}, "voxels measure 1000 x 2000 x 3000 mm, .* or its unit"),
        ({"sform": np.diag([1, 0, 1, 1])[:3]}, "voxels measure 1 x 0 x 1 mm"),
        ({"sform": np.diag([2, 2, 2, 1])[:3], "spacing": (1, 1, 5)}, "its sform says voxels of 2 x 2 x 2, its pixdim 1 x 1 x 5; find out which"),
        ({"sform": np.diag([2, 2, 2, 1])[:3], "spacing": (2, 2, 5), "unit": "meter"}, "voxels measure 2000 x 2000 x 2000 mm"),
        ({"sform": np.diag([-1, 2, 3, 1])[:3], "qform": (0, 0, 0, 5, 6, 7)}, "its sform says LAS .* its qform says RAS .*; find out which"),
        (
            {"sform": np.diag([4, 5, 6, 1])[:3], "qform": (0, 0, 0, 5, 6, 7)},
            "voxels of 4 x 5 x 6, its qform says RAS and voxels of 1 x 2 x 3",
        ),
        ({"sform": np.diag([1, 2, 3, 1])[[1, 0, 2]], "qform": (0, 0, 0, 5, 6, 7)}, "its sform says ARS .*, its qform says RAS"),
        ({"sform": np.diag([1, 2, 3, 1])[:3], "qform": (0, 0, np.sin(np.radians(25)), 5, 6, 7)}, "its sform says RAS .*, its qform says ALS"),
        ({"sform": SHEARED}, "two of its axes meet at 68 degrees, expected 90"),
        ({"sform": [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]}, "meet at 0 degrees"),
        ({"sform": NAN}, "holds NaN or infinite numbers"),
        ({"sform": NAN[:, [3, 1, 2, 0]]}, "NaN"),
    ],
)
def test_geometry_that_is_refused(how, why, tmp_path):
    with pytest.raises(DataError, match=f"x.nii: .*{why}"):
        read_scan(header(tmp_path / "x.nii", **how))


def test_voxels_that_begin_inside_the_header_are_refused(tmp_path):
    """nibabel takes an offset of 0 as it is, and reads the header's own bytes as voxels."""
    path = header(tmp_path / "x.nii", sform=np.eye(4)[:3], spacing=(1, 1, 1))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 108, 0.0)
    path.write_bytes(raw)
    with pytest.raises(DataError, match="x.nii: its header says that voxels begin at byte 0, inside the header itself"):
        read_scan(path)


def turning(degrees, codes, spacing, shape):
    """An oblique affine of the given orientation, from three angles; none is more than 30 degrees off."""
    a, b, c = np.radians(degrees)
    rotation = np.eye(3)
    for angle, (i, j) in zip((a, b, c), ((0, 1), (1, 2), (0, 2)), strict=True):
        one = np.eye(3)
        one[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        rotation = rotation @ one
    ornt = axcodes2ornt(codes)
    axes = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(ornt):
        axes[int(world), axis] = sign
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axes * spacing
    affine[:3, 3] = (-30, 12, 80)
    return affine


@settings(max_examples=40)
@given(
    st.tuples(*[st.floats(-15, 15)] * 3), st.sampled_from(CODES), st.sampled_from(CODES), st.tuples(*[st.floats(0.3, 6)] * 3),
)  # fmt: skip
def test_turning_is_nibabels_and_goes_back(tmp_path_factory, degrees, codes, wanted, spacing):
    path = tmp_path_factory.mktemp("x") / "x.nii"
    voxels = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, turning(degrees, codes, spacing, voxels.shape)), path)
    scan, image = read_scan(path), nibabel.load(path)
    theirs = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(wanted)))
    ours = reorient(scan, wanted)
    assert scan.orientation == codes and ours.orientation == wanted
    assert np.array_equal(ours.voxels, np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_allclose(ours.spacing, nibabel.affines.voxel_sizes(theirs.affine), rtol=1e-5)
    back = reorient(ours, codes)
    assert np.array_equal(back.voxels, scan.voxels) and back.spacing == scan.spacing
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-9)


def saved(path: Path, array: np.ndarray, kind=None, slope=None, inter=0.0) -> Path:
    """A NIfTI file that stores `array` as it is, with a slope in its header."""
    image = nibabel.Nifti1Image(array, np.eye(4), dtype=kind or array.dtype)
    nibabel.save(image, path)
    if slope is not None:
        raw = bytearray(path.read_bytes())
        struct.pack_into("<2f", raw, 112, slope, inter)
        path.write_bytes(raw)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("codes", [(0, 1, 2), (0, 1, 4, 9)])
def test_labels_survive_a_header_that_scales(kind, codes, tmp_path):
    labels = np.array(codes)[np.random.default_rng(0).integers(0, len(codes), (6, 6, 6))].astype(float)
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.header.set_data_dtype(kind)
    nibabel.save(image, tmp_path / "x.nii")
    assert np.array_equal(read_scan(tmp_path / "x.nii", mask=True).voxels, labels)


def test_labels_that_rounding_spoilt(tmp_path):
    spoilt = np.array([0, 1.00002, 2.99995, 4], np.float32).reshape(4, 1, 1)
    assert read_scan(saved(tmp_path / "x.nii", spoilt), mask=True).voxels.ravel().tolist() == [0, 1, 3, 4]
    for bad in (0.5, 1.01, np.nan, np.inf, 3e9):
        spoilt[1] = bad
        with pytest.raises(DataError, match="x.nii: labels must be whole numbers.*resampled with interpolation"):
            read_scan(saved(tmp_path / "x.nii", spoilt), mask=True)


def test_a_slope_that_cannot_be_undone_is_blamed(tmp_path):
    stored = np.array([0, 1, 2, 3], np.int16).reshape(4, 1, 1)
    with pytest.raises(DataError, match="x.nii: labels must be whole numbers, found 0.6; the header scales them by a slope of 0.6"):
        read_scan(saved(tmp_path / "x.nii", stored, slope=0.6), mask=True)
    assert read_scan(saved(tmp_path / "x.nii", stored, slope=2.0, inter=1.0), mask=True).voxels.ravel().tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize("ending", [".Nii", ".nII.gz", ".NII", ".NII.gz", ".nii.GZ"])
def test_a_file_beside_it_is_not_read_in_its_stead(tmp_path, ending):
    """Of x.Nii, nibabel read x.nii; where that is not there, the sentence blamed a truncated file."""
    array = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    made = nifti(tmp_path / f"made{ending.lower()}", array)
    nifti(tmp_path / f"x{ending.lower()}", 1 - array)
    path = made.rename(tmp_path / f"x{ending}")
    if ending[1:4] in ("nii", "NII"):
        assert np.array_equal(read_scan(path).voxels, array)
        return
    with pytest.raises(DataError, match=f"x{ending}: ends in {ending}, expected {ending.lower()}; rename it"):
        read_scan(path)


def test_large_labels_are_exact(tmp_path):
    stored = np.array([0, 16777217, -5], np.int32).reshape(3, 1, 1)
    assert np.array_equal(read_scan(saved(tmp_path / "x.nii", stored), mask=True).voxels, stored)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "its voxels are colours, expected one real number"),
        (np.ones((4, 4, 4), np.complex64), "its voxels are complex numbers"),
        (np.full((4, 4, 4), 2**60, np.int64), r"holds 64-bit numbers beyond 2\^53"),
        (np.ones((4, 4, 4, 3), np.float32), r"has the shape \(4, 4, 4, 3\) \(3 volumes\), expected one volume"),
        (np.ones((4, 4, 1, 1, 3), np.float32), r"has the shape \(4, 4, 1, 1, 3\) \(3 volumes\)"),
    ],
)
@pytest.mark.parametrize("mask", [False, True])
def test_voxels_that_cannot_be_used(array, why, mask, tmp_path):
    path = saved(tmp_path / "x.nii", array, kind=array.dtype)
    why = "labels must be whole numbers" if mask and "2\\^53" in why else why
    with pytest.raises(DataError, match=f"x.nii: {why}"):
        read_scan(path, mask=mask)


def test_one_volume_in_more_dimensions(tmp_path):
    array = np.random.default_rng(0).random((4, 5, 6, 1, 1)).astype(np.float32)
    assert np.array_equal(read_scan(saved(tmp_path / "x.nii", array)).voxels, array[..., 0, 0])


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "gzip of text", "wrong type"])
def test_damaged_files_are_named_in_one_sentence(kind, tmp_path):
    path = saved(tmp_path / "x.nii", np.ones((4, 4, 4), np.int16))
    raw = bytearray(path.read_bytes())
    if kind == "wrong type":
        struct.pack_into("<h", raw, 70, 999)
    content = {"text": b"no", "empty": b"", "cut": raw[:400], "gzip of text": gzip.compress(b"no" * 500), "wrong type": raw}[kind]
    path.write_bytes(content)
    with pytest.raises(DataError, match="x.nii: cannot be read as NIfTI") as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.png"])
def test_a_turned_bit_anywhere_is_refused_or_changes_nothing(name, tmp_path):
    """The checksums that these files hold are looked at, though their readers do not."""
    values = np.random.default_rng(0).integers(0, 200, (9, 10, 3 if name.endswith("gz") else 1)).astype(np.uint8)
    path = tmp_path / name
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path) if name.endswith("gz") else Image.fromarray(values[..., 0]).save(path)
    right, content, refused = read_scan(path).voxels, path.read_bytes(), 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            assert np.array_equal(read_scan(path).voxels, right), place
        except DataError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error)
    assert refused > 0.9 * len(content)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("mask", [False, True])
def test_a_small_file_that_claims_a_huge_scan_allocates_nothing(name, mask, tmp_path):
    path = saved(tmp_path / "x.nii", np.ones((4, 4, 4), np.int16))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<4h", raw, 40, 3, 30000, 30000, 30000)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"{name}: its header claims 54000000000000 bytes of voxels, and the whole file has"):
            read_scan(tmp_path / name, mask=mask)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_header_with_wrong_bytes_is_read_or_refused(tmp_path_factory, damage):
    path = saved(tmp_path_factory.mktemp("x") / "x.nii", np.ones((4, 4, 4), np.int16))
    raw = bytearray(path.read_bytes())
    for place, byte in damage:
        raw[place] = byte
    path.write_bytes(raw)
    try:
        scan = read_scan(path)
    except DataError:
        return
    assert all(0.0009 < size <= 100 for size in scan.spacing) and scan.voxels.ndim == 3


def test_sixteen_bit_pictures_keep_their_depth(tmp_path):
    array = (np.arange(400).reshape(20, 20) * 100).astype(np.uint16)
    assert np.array_equal(read_scan(png(tmp_path / "x.png", array)).voxels[:, :, 0], array)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_pictures_of_every_kind(tmp_path, mode):
    levels = np.zeros((20, 20), np.uint8)
    levels[5:9, 5:9] = 1
    grey = Image.fromarray(levels * (255 if mode == "1" else 1))
    if mode == "P":
        grey.putpalette([0, 0, 0, 1, 1, 1] + [9] * 762)
    (Image.fromarray(levels.astype(np.uint16)) if mode == "I;16" else grey if mode == "P" else grey.convert(mode)).save(tmp_path / "x.png")
    assert np.array_equal(read_scan(tmp_path / "x.png").voxels[:, :, 0], levels)


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


@settings(max_examples=40)
@given(st.text(max_size=6))
def test_other_words_are_neither_yes_nor_no(word):
    if yes_or_no(word) is not None:
        assert word.strip().casefold().rstrip("0.,") in {*_YES, *_NO, ""} or word.strip()[0] in "01"
    for nothing in ("", "2", "-1", "nan", "None", "perhaps", "1.5", "10", "0.1"):
        assert yes_or_no(nothing) is None
