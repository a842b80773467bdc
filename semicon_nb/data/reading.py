"""Files as other programs write them, each of their numbers and words checked: NIfTI, PNG, tables and JSON."""

import codecs
import csv
import gzip
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import content_of

__all__ = ["DataError", "Scan", "read_scan", "reorient"]


class DataError(ValueError):
    """A scan, label map or folder that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Scan:
    """What one file holds, as it is stored."""

    path: str  # of the file
    voxels: np.ndarray  # [X, Y, Z], float32; int32 where a mask was asked for
    spacing: tuple[float, float, float]  # between voxels along X, Y and Z, in `unit`
    affine: np.ndarray  # [4, 4] voxel -> mm
    orientation: str = ""  # where X, Y and Z run to, such as "RAS"; "" where the file does not say
    unit: str = "mm"  # or "pixel", where there are no millimetres


def read_scan(
    path: str | Path,  # a .nii, .nii.gz or .png file
    mask: bool = False,  # its numbers are labels: whole, and an index into a palette stays one
) -> Scan:
    """A file's voxels and geometry; FileNotFoundError or DataError for a file that cannot be used."""
    import nibabel

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; check the path")
    if path.suffix.lower() == ".png":
        pixels = _pixels(path, mask)
        values = whole_labels(pixels, str(path)) if mask else pixels
        return Scan(str(path), values, (1.0, 1.0, 1.0), np.eye(4), unit="pixel")
    _check_ending(path)
    try:
        image: Any = _whole(nibabel.load(path), path)
        affine, orientation = _affine(image, path)
        voxels = _voxels(image, path, mask)
    except DataError:
        raise
    except Exception as error:  # whatever a damaged file makes the readers trip over
        why = " ".join(str(error).split())
        todo = "it may be truncated or of another format"
        raise DataError(f"{path}: cannot be read as NIfTI, {todo} ({why}); copy it again") from error
    spacing = _check_affine(affine, path)
    _check_extent(spacing, voxels.shape, path)
    return Scan(str(path), voxels, spacing, affine, orientation)


def read_image(
    path: str | Path,  # a .nii, .nii.gz or .png file
    mask: bool = False,  # its numbers are labels
) -> tuple[np.ndarray, tuple[float, float, float], np.ndarray]:
    """Voxels [X, Y, Z] float32 (a mask's int32), their mm (a picture's: 1) and affine [4, 4]; errors as read_scan's."""
    scan = read_scan(path, mask)
    return scan.voxels, scan.spacing, scan.affine


def stored_orientation(path: str | Path) -> str:
    """Where the axes of a file run to, such as "RAS", from its header alone; "" where it does not say."""
    import nibabel

    if Path(path).suffix.lower() == ".png":
        return ""
    try:
        return _affine(nibabel.load(path), Path(path))[1]
    except DataError:
        raise
    except Exception:  # reading it says what is wrong
        return ""


def turned_shape(path: str | Path, orientation: str) -> tuple[int, ...]:
    """Voxels along each axis of a NIfTI file once it is turned to an `orientation`, from its header alone."""
    import nibabel

    image: Any = nibabel.load(path)
    voxels = np.broadcast_to(np.float32(0), _one_volume(image.shape, Path(path)))
    return reorient(Scan(str(path), voxels, (1.0, 1.0, 1.0), np.eye(4), _affine(image, Path(path))[1]), orientation).voxels.shape


def reorient(
    scan: Scan,  # any
    orientation: str,  # where its axes shall run to, such as "RAS"
) -> Scan:
    """The scan with its axes swapped and turned, nothing resampled; as it is where either orientation is not known."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    if not scan.orientation or not orientation or scan.orientation == orientation:
        return scan
    way = ornt_transform(axcodes2ornt(scan.orientation), axcodes2ornt(orientation))
    affine = scan.affine @ inv_ornt_aff(way, scan.voxels.shape)
    x, y, z = (scan.spacing[axis] for axis in np.argsort(way[:, 0]))
    return replace(
        scan, voxels=apply_orientation(scan.voxels, way), spacing=(x, y, z), affine=affine, orientation=orientation,
    )  # fmt: skip


def _check_ending(path: Path) -> None:
    """DataError for a name that ends in .Nii or .nII, in whose stead nibabel looks for the file of that name in .nii."""
    found = re.search(r"[.](nii)([.]gz)?$", path.name, re.IGNORECASE)
    if found and found[1] not in ("nii", "NII"):
        raise DataError(f"{path}: ends in {found[0]}, expected {found[0].lower()}; rename it")


_SQUEEZED = 1040
"""Bytes that a byte of a gzip file can hold at most, and a little more."""


def _whole(image: Any, path: Path) -> Any:
    """The image with all of its file read and checked; DataError where the file cannot hold the voxels that its header claims."""
    claimed = int(np.prod(image.shape, dtype=float)) * image.get_data_dtype().itemsize
    packed, size = path.name.lower().endswith(".gz"), path.stat().st_size
    if claimed > size * (_SQUEEZED if packed else 1):
        found = f"its header claims {claimed} bytes of voxels, and the whole file has {size}"
        raise DataError(f"{path}: {found}; it is truncated or damaged, copy it again")
    if not packed or not hasattr(type(image), "from_bytes"):
        return image
    with gzip.open(path) as file:
        content = file.read(getattr(image.dataobj, "offset", 0) + claimed)
        while file.read(1 << 20):  # to the end, where its checksum stands
            pass
    return type(image).from_bytes(content)


# voxels ---------------------------------------------------------------------------------------------------------------
def slabs(values: np.ndarray, most: int = 2**24) -> list[tuple]:
    """Indices that part an array [..., n] along its last axis into pieces of about `most` numbers."""
    step = max(1, most // max(1, values[..., :1].size))
    return [(..., slice(start, start + step)) for start in range(0, values.shape[-1], step)]


def whole_labels(values: np.ndarray, name: str, step: float = 0.0) -> np.ndarray:
    """Numbers [..., n] of the label file `name` as int32, rid of rounding; DataError where they are not whole.

    `step` lies between two numbers that the file can hold, where its header scales them.
    """
    whole = np.empty_like(values, np.int32, subok=False)
    for part in slabs(values):
        whole[part] = _whole_part(values[part], name, step)
    return whole


def _whole_part(values: np.ndarray, name: str, step: float) -> np.ndarray:
    """A part of what `whole_labels` takes, as whole numbers of any type."""
    with np.errstate(invalid="ignore"):
        near = values if values.dtype.kind in "biu" else np.rint(values)
        odd = (near >= 2**31) | (near < -(2**31))
        if near is not values:
            odd |= ~(np.abs(values - near) <= max(1e-3, step if step <= 0.1 else 0.0))
    if odd.any():
        todo = "were they resampled with interpolation? Make the file again by nearest neighbour"
        if step:
            todo = f"the header scales them by a slope of {step:.3g}: save them as integers with slope 1, or {todo}"
        raise DataError(f"{name}: labels must be whole numbers, found {float(values[odd].flat[0]):g}; {todo}")
    return near


def _voxels(image: Any, path: Path, mask: bool) -> np.ndarray:
    """Voxels [X, Y, Z] of a NIfTI image: float32, or int32 of a mask."""
    shape = _one_volume(image.shape, path)
    kind = _check_kind(image, path)
    if mask:
        slope, offset = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
        step = abs(float(slope)) if kind.kind in "iu" and (slope, offset) != (1.0, 0.0) else 0.0
        return whole_labels(np.asanyarray(image.dataobj).reshape(shape), str(path), step)
    if kind.kind in "iu" and kind.itemsize == 8 and np.abs(image.dataobj.get_unscaled().astype(float)).max() > 2**53:
        todo = "divide them and save as float32"
        raise DataError(f"{path}: holds 64-bit numbers beyond 2^53, expected what a float can hold; {todo}")
    with np.errstate(over="ignore"):
        return image.get_fdata(dtype=np.float32).reshape(shape)


def _one_volume(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """The three lengths of a box of voxels; DataError for several volumes, or none."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or 0 in shape:
        several = f" ({int(np.prod(shape[3:]))} volumes)" if len(shape) > 3 else ""
        todo = "extract a single volume from it"
        raise DataError(f"{path}: has the shape {shape}{several}, expected one volume [X, Y, Z]; {todo}")
    return shape


def _check_kind(image: Any, path: Path) -> np.dtype:
    """The type of an image's numbers; DataError for one that cannot be used, or voxels inside the header."""
    import nibabel

    kind = image.get_data_dtype()
    if kind.kind not in "iuf" or kind.itemsize > 8:
        found = {"V": "colours", "c": "complex numbers"}.get(kind.kind, f"numbers of type {kind}")
        todo = "convert it, say to float32"
        raise DataError(f"{path}: its voxels are {found}, expected one real number of at most 64 bits each; {todo}")
    starts = getattr(image.dataobj, "offset", 0)
    if isinstance(image, nibabel.nifti1.Nifti1Image) and starts < image.header.single_vox_offset:
        todo = "save it again with the program that made it"
        raise DataError(f"{path}: its header says that voxels begin at byte {starts}, inside the header itself; {todo}")
    return kind


# geometry -------------------------------------------------------------------------------------------------------------
_UNITS = {1: 1000.0, 3: 0.001}
"""Millimetres in a unit of length by its number in the header: metre, micrometre; 2 is mm, any other is taken as mm."""


def _affine(image: Any, path: Path) -> tuple[np.ndarray, str]:
    """Affine [4, 4] in mm and orientation of a NIfTI image; a header without either form has its spacing only."""
    import nibabel

    if not isinstance(image, nibabel.nifti1.Nifti1Pair):
        return image.affine, "".join(nibabel.aff2axcodes(image.affine))
    files = image.file_map
    with files.get("header", files["image"]).get_prepare_fileobj("rb") as file:
        raw: Any = type(image.header).from_fileobj(file, check=False)  # nibabel's check puts 1 where a spacing is 0
    single = [axis >= len(image.shape) or image.shape[axis] == 1 for axis in range(3)]
    if known := int(raw["sform_code"]) > 0 and bool(raw.get_sform()[:3, :3].any()):
        affine = np.array(raw.get_sform(), float)
        if int(raw["qform_code"]) > 0:
            _check_forms(affine, raw, single, path)
    else:
        apart = [float(abs(size)) for size in raw["pixdim"][1:4]]
        if not all(0 < size < np.inf or alone for size, alone in zip(apart, single, strict=True)):
            todo = "write the right spacing into the header"
            raise DataError(f"{path}: {_spacing_words(apart)}, expected millimetres above 0; {todo}")
        known = int(raw["qform_code"]) > 0
        affine = np.array(image.header.get_qform() if known else image.header.get_base_affine(), float)
    affine[:3] *= (unit := _UNITS.get(int(raw["xyzt_units"]) & 7, 1.0))
    for axis in np.flatnonzero(single):
        if not 0.999e-3 <= np.linalg.norm(affine[:3, axis]) <= 100:  # a single slice has no distance to the next one
            affine[:3, axis] = np.cross(affine[:3, axis - 2], affine[:3, axis - 1])
            affine[:3, axis] /= np.linalg.norm(affine[:3, axis]) or 1
    spacing = _check_affine(affine, path)
    if int(raw["qform_code"]) <= 0:
        _check_distances(np.array(spacing) / unit, np.abs(raw["pixdim"][1:4]), single, path)
    return affine, "".join(nibabel.aff2axcodes(affine)) if known else ""


def _check_distances(spacing: np.ndarray, told: np.ndarray, single: list[bool], path: Path) -> None:
    """DataError where a header without a qform has `told` other distances [3] in its pixdim than the `spacing` [3] of its sform.

    A 0 says nothing, nor does a 1 on every axis, which programs leave there that do not fill it in.
    """
    known = np.isfinite(told) & (told > 0) & ~np.array(single)
    if (told[known] != 1).any() and not np.isclose(spacing, told, rtol=0.02)[known].all():
        both = f"its sform says voxels of {times(spacing)}, its pixdim {times(told)}"
        raise DataError(f"{path}: {both}; find out which is right and write it into both")


_NEAR = 0.94
"""Cosine of 20 degrees: two forms that lie closer may have other letters, on both sides of 45 degrees."""


def _check_forms(sform: np.ndarray, raw: Any, single: list[bool], path: Path) -> None:
    """DataError where a `raw` header's qform lays the axes another way round than its `sform`, or says other distances.

    `single` says which of the three axes have one voxel, and so no direction.
    """
    import nibabel

    try:
        qform = np.array(raw.get_qform(), float)
    except (nibabel.spatialimages.HeaderDataError, ValueError, ArithmeticError):
        return  # a damaged qform says nothing
    sizes = [np.sqrt((form[:3, :3] ** 2).sum(0)) for form in (sform, qform)]
    if not (np.isfinite(sizes).all() and np.min(sizes) > 0):
        return
    along = (sform[:3, :3] * qform[:3, :3]).sum(0) / (sizes[0] * sizes[1])
    letters = [np.array(nibabel.aff2axcodes(form)) for form in (sform, qform)]
    near = along > np.where(letters[0] == letters[1], 0.5, _NEAR)
    if not (np.isclose(sizes[0], sizes[1], rtol=0.02) & near | single).all():
        told = [
            f"its {name} says {''.join(nibabel.aff2axcodes(form))} and voxels of {times(size)}"
            for name, form, size in zip(("sform", "qform"), (sform, qform), sizes, strict=True)
        ]
        raise DataError(f"{path}: {', '.join(told)}; find out which is right and write it into both")


def _check_affine(affine: np.ndarray, path: Path) -> tuple[float, float, float]:
    """Spacing [3] in mm of an affine [4, 4]; DataError where it is no box of voxels of some mm at right angles."""
    x, y, z = (float(s) for s in np.sqrt((affine[:3, :3] ** 2).sum(0)))
    if not np.isfinite(affine).all():
        todo = "write the right one"
        raise DataError(f"{path}: the affine in its header holds NaN or infinite numbers, expected millimetres; {todo}")
    if not all(0.999e-3 <= size <= 100 for size in (x, y, z)):
        todo = "write the right spacing, or its unit, into the header"
        raise DataError(f"{path}: {_spacing_words((x, y, z))}, expected 0.001 to 100 mm; {todo}")
    unit = affine[:3, :3] / (x, y, z)
    if (leaning := np.abs(unit.T @ unit - np.eye(3)).max()) > 0.02:
        angle = 90 - np.degrees(np.arcsin(min(1.0, leaning)))
        todo = "resample it onto a straight grid"
        raise DataError(f"{path}: two of its axes meet at {angle:.0f} degrees, expected 90 (a sheared affine); {todo}")
    return x, y, z


def _check_extent(spacing: Sequence[float], shape: Sequence[int], path: Path) -> None:
    """DataError for a scan that is smaller than 1 mm on every side, or larger than 3 m on one: its unit or spacing is wrong."""
    sides = [size * count for size, count in zip(spacing, shape, strict=True) if count > 1]
    if sides and not (1 <= max(sides) <= 3000):
        todo = "write the right spacing, or its unit (millimetres, not micrometres or metres), into the header"
        raise DataError(f"{path}: its header says that the scan measures {times(sides)} mm, expected 1 mm to 3 m on its longest side; {todo}")


def _spacing_words(spacing: Any) -> str:
    """The words for a spacing."""
    return f"its header says that voxels measure {times(spacing)} mm"


def times(sizes: Any, digits: int = 4) -> str:
    """Numbers as 1 x 2 x 3."""
    return " x ".join(f"{size:.{digits}g}" for size in sizes)


# pictures -------------------------------------------------------------------------------------------------------------
def png_header(path: Path) -> tuple[int, int, int, int]:
    """Columns, rows, bits of a number, and kind of colours (0 is grey) that a PNG says in its first bytes."""
    with path.open("rb") as file:
        head = file.read(26).ljust(26, b"\0")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"), head[24], head[25]


def _pixels(path: Path, mask: bool) -> np.ndarray:
    """Grey values, or labels, of a PNG: [rows, columns, 1] float32."""
    *_, depth, colour = png_header(path)
    try:
        with Image.open(path) as whole, Image.open(path) as picture:
            whole.verify()  # every checksum
            frames, kind, mode = getattr(picture, "n_frames", 1), picture.format, picture.mode
            veiled = mask and mode in ("LA", "PA", "RGBA") and np.ptp(np.asarray(picture.getchannel("A"))) > 0
            pixels = np.asarray(picture.getchannel(0) if mode in ("LA", "PA") else picture)
            if mode in ("P", "PA") and not mask:
                pixels = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)[pixels]
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise DataError(f"{path}: cannot be read as a picture, it may be truncated ({error}); copy it again") from error
    if kind != "PNG" or frames != 1:
        found = f"is a {kind} file" if kind != "PNG" else f"holds {frames} pictures"
        raise DataError(f"{path}: {found}, expected one picture in PNG; convert it")
    if depth == 16 and colour != 0:
        found = "is a 16-bit picture with colour or alpha, of which 8 bits would be lost"
        raise DataError(f"{path}: {found}; save it as 16-bit greyscale")
    if veiled:
        found = "is transparent in places, so its numbers are only part of what it shows"
        raise DataError(f"{path}: {found}; save label numbers without alpha")
    if pixels.ndim == 3:
        if (pixels[..., 1:3] != pixels[..., :1]).any():
            todo = "save one number for each label: 0, 1, 2 and so on" if mask else "save it as greyscale"
            raise DataError(f"{path}: is a colour picture {pixels.shape}, expected one grey channel; {todo}")
        pixels = pixels[..., 0]
    if mask and colour == 0 and depth in (2, 4):  # the reader spreads them over 0 to 255
        pixels = pixels // (255 // (2**depth - 1))
    return pixels[..., None].astype(np.float32)


# words ----------------------------------------------------------------------------------------------------------------
_YES = ("1", "true", "t", "yes", "y", "x", "on", "ja", "j", "wahr", "oui", "vrai", "si", "sí", "verdadero", "vero")
_NO = ("0", "false", "f", "no", "n", "off", "nein", "falsch", "non", "faux", "falso")
ABSENT = ("", "-", "--", ".", "?", "na", "n/a", "#n/a", "nan", "<na>", "nat", "none", "null", "nil", "unknown",
          "missing", "unbekannt")  # fmt: skip
"""What stands in a cell that says nothing."""


def fold(name: str) -> str:
    """A name without what the eye, or a file system, may miss: case, width, Unicode form, unseen signs, blanks."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(sign for sign in folded if unicodedata.category(sign) != "Cf").strip()


def meaning(name: str) -> str:
    """A name without what does not change what it names: case, Unicode form, blanks, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", fold(name))


def whole_number(value: object) -> int | None:
    """The whole number that a JSON value is or spells, such as 2, 2.0, "2" or " 2.0 "; None for any other."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", str(value).strip())
    return int(found[1]) if found and len(found[1]) < 20 else None


def yes_or_no(value: object) -> bool | None:
    """Yes or no as a spreadsheet or a program writes it (_YES, _NO, 1.0, 1,0, true); None for any other word."""
    word = re.sub(r"^([01])[.,]0*$", r"\1", fold(str(value)))
    return True if word in _YES else False if word in _NO else None


# tables and JSON ------------------------------------------------------------------------------------------------------
def _text_of(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte order mark; ValueError for any other."""
    content = content_of(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    zeros = [content[k:200:2].count(0) for k in (0, 1)]
    if max(zeros) > len(content[:200]) / 4:
        return content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le")
    return content.decode("utf-8-sig")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict:
    """A JSON object of these `pairs` of key and value; ValueError where it says two things under one key."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"{key!r} is there twice, as {found[key]!r} and as {value!r}")
        found[key] = value
    return found


def read_json(path: Path) -> dict:
    """The object in a JSON file; DataError where it cannot be read or holds something else."""
    try:
        found = json.loads(_text_of(path), object_pairs_hook=_unique_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); copy it again or correct it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds {type(found).__name__}, expected an object with 'labels'; correct it")
    return found


_LONGEST = 300
"""Characters of a cell that names a file or a person."""


def read_rows(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Number and cells by heading of every line of a table; commas, semicolons or tabs part them.

    DataError where it is no table, or a heading that is `needed` is not there.
    """
    try:
        text, start = _text_of(path), 0
        body = text.lstrip("\r\n")
        if re.fullmatch(r'"?sep=.?"?', (body.splitlines() or [""])[0].strip(), re.IGNORECASE):
            text, start = body.split("\n", 1)[-1], 1
        tables = [list(_numbered_lines(text, mark, start)) for mark in ",;\t"]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); save it as UTF-8") from error
    headings = [[fold(cell) for cell in table[0][1]] if table else [] for table in tables]
    best = next((k for k, names in enumerate(headings) if set(needed) <= set(names)), 0)
    names = headings[best]
    if not set(needed) <= set(names):
        todo = "add them"
        raise DataError(f"{path}: has the columns {str(names)[:200]}, expected at least {' and '.join(map(repr, needed))}; {todo}")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{path}: has the column {twice[0]!r} twice; remove one")
    rows = []
    for number, cells in tables[best][1:]:
        if any(cells[len(names) :]):
            todo = "put text with commas in quotes"
            raise DataError(f"{path}: line {number} has {len(cells)} cells, expected {len(names)}; {todo}")
        rows.append((number, dict(zip(names, [*cells, *[""] * len(names)], strict=False))))
    _check_lengths(path, rows, needed)
    return rows


def _check_lengths(path: Path, rows: list[tuple[int, dict[str, str]]], needed: tuple[str, ...]) -> None:
    """DataError for a cell under a `needed` heading that is too long to name a file or a person."""
    for number, row in rows:
        if long := [name for name in needed if len(row[name]) > _LONGEST]:
            found = f"line {number} has {len(row[long[0]])} characters under {long[0]!r}"
            raise DataError(f"{path}: {found}, expected at most {_LONGEST}; correct it")


def _numbered_lines(text: str, mark: str, start: int) -> Iterator[tuple[int, list[str]]]:
    """Numbers, counted from `start`, and stripped cells of the lines that are not blank, cells parted by `mark`."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True, strict=False)
    for cells in lines:
        if any(cell.strip() for cell in cells):
            yield lines.line_num + start, [re.sub(r'^="(.*)"$', r"\1", cell.strip()) for cell in cells]
