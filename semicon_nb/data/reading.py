"""Files of voxels, NIfTI and PNG: their numbers, their millimetres and their orientation, each of them checked."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image


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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; check the path")
    if path.suffix.lower() == ".png":
        pixels = _pixels(path, mask)
        return Scan(str(path), _whole(pixels, str(path)) if mask else pixels, (1.0, 1.0, 1.0), np.eye(4), unit="pixel")
    try:
        image: Any = nibabel.load(path)
        affine, orientation = _affine(image, path)
        voxels = _voxels(image, path, mask)
    except DataError:
        raise
    except Exception as error:  # whatever a damaged file makes the readers trip over
        why = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as NIfTI, it may be truncated or of another format ({why}); copy it again") from error
    return Scan(str(path), voxels, _checked(affine, path), affine, orientation)


def read_image(
    path: str | Path,  # a .nii, .nii.gz or .png file
    mask: bool = False,  # its numbers are labels
) -> tuple[np.ndarray, tuple[float, float, float], np.ndarray]:
    """Voxels [X, Y, Z] float32 (a mask's int32), their mm (a picture's: 1), affine [4, 4]; FileNotFoundError or DataError if none."""
    scan = read_scan(path, mask)
    return scan.voxels, scan.spacing, scan.affine


def stored_orientation(
    path: str | Path,  # of a scan
) -> str:
    """Where the axes of a file run to, such as "RAS", from its header alone; "" where it does not say."""
    if Path(path).suffix.lower() == ".png":
        return ""
    try:
        return _affine(nibabel.load(path), Path(path))[1]
    except DataError:
        raise
    except Exception:  # reading it says what is wrong
        return ""


def turned(
    scan: Scan,  # any
    orientation: str,  # where its axes shall run to, such as "RAS"
) -> Scan:
    """The scan with its axes swapped and turned round, nothing resampled; as it is where either orientation is not known."""
    if not scan.orientation or not orientation or scan.orientation == orientation:
        return scan
    way = ornt_transform(axcodes2ornt(scan.orientation), axcodes2ornt(orientation))
    affine = scan.affine @ inv_ornt_aff(way, scan.voxels.shape)
    x, y, z = (scan.spacing[axis] for axis in np.argsort(way[:, 0]))
    return replace(scan, voxels=apply_orientation(scan.voxels, way), spacing=(x, y, z), affine=affine, orientation=orientation)


def _whole(
    values: np.ndarray,  # [...] numbers of a label file
    name: str,  # of the file, for the error
    step: float = 0.0,  # between two numbers that the file can hold, where its header scales them
) -> np.ndarray:
    """The labels [...] int32, rid of what scaling and rounding added to them; DataError where they are no whole numbers."""
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
    return near.astype(np.int32)


def _voxels(image: Any, path: Path, mask: bool) -> np.ndarray:
    """Voxels [X, Y, Z] of a NIfTI image: float32, or int32 of a mask."""
    kind, shape = image.get_data_dtype(), image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or 0 in shape:
        several = f" ({int(np.prod(shape[3:]))} volumes)" if len(shape) > 3 else ""
        raise DataError(f"{path}: has the shape {shape}{several}, expected one volume [X, Y, Z]; extract a single volume from it")
    if kind.kind not in "iuf" or kind.itemsize > 8:
        found = {"V": "colours", "c": "complex numbers"}.get(kind.kind, f"numbers of type {kind}")
        raise DataError(f"{path}: its voxels are {found}, expected one real number of at most 64 bits each; convert it, say to float32")
    starts = getattr(image.dataobj, "offset", 0)
    if isinstance(image, nibabel.nifti1.Nifti1Image) and starts < image.header.single_vox_offset:
        todo = "save it again with the program that made it"
        raise DataError(f"{path}: its header says that voxels begin at byte {starts}, inside the header itself; {todo}")
    slope, offset = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    if mask:
        scaled = kind.kind in "iu" and (slope, offset) != (1.0, 0.0)
        return _whole(np.asanyarray(image.dataobj).reshape(shape), str(path), abs(float(slope)) if scaled else 0.0)
    if kind.kind in "iu" and kind.itemsize == 8 and np.abs(image.dataobj.get_unscaled().astype(float)).max() > 2**53:
        raise DataError(f"{path}: holds 64-bit numbers beyond 2^53, expected what a float can hold; divide them and save as float32")
    with np.errstate(over="ignore"):
        return image.get_fdata(dtype=np.float32).reshape(shape)


_UNITS = {1: 1000.0, 3: 0.001}
"""Millimetres in a unit of length by its number in the header: metre, micrometre; 2 is mm, and any other is taken as mm."""


def _affine(image: Any, path: Path) -> tuple[np.ndarray, str]:
    """Affine [4, 4] in mm and orientation of a NIfTI image; a header without either form has its spacing only."""
    if not isinstance(image, nibabel.nifti1.Nifti1Pair):
        return image.affine, "".join(nibabel.aff2axcodes(image.affine))
    files = image.file_map
    with files.get("header", files["image"]).get_prepare_fileobj("rb") as file:
        raw: Any = type(image.header).from_fileobj(file, check=False)  # nibabel's check puts 1 where a spacing is 0
    single = [axis >= len(image.shape) or image.shape[axis] == 1 for axis in range(3)]
    if known := int(raw["sform_code"]) > 0 and bool(raw.get_sform()[:3, :3].any()):
        affine = np.array(raw.get_sform(), float)
        if int(raw["qform_code"]) > 0:
            _agree(affine, raw, single, path)
    else:
        apart = [float(abs(size)) for size in raw["pixdim"][1:4]]
        if not all(0 < size < np.inf or alone for size, alone in zip(apart, single, strict=True)):
            raise DataError(f"{path}: {_found(apart)}, expected millimetres above 0; write the right spacing into the header")
        known = int(raw["qform_code"]) > 0
        affine = np.array(image.header.get_qform() if known else image.header.get_base_affine(), float)
    affine[:3] *= _UNITS.get(int(raw["xyzt_units"]) & 7, 1.0)
    for axis in np.flatnonzero(single):
        if not 0.999e-3 <= np.linalg.norm(affine[:3, axis]) <= 100:  # a single slice has no distance to the next one
            affine[:3, axis] = np.cross(affine[:3, axis - 2], affine[:3, axis - 1])
            affine[:3, axis] /= np.linalg.norm(affine[:3, axis]) or 1
    _checked(affine, path)
    return affine, "".join(nibabel.aff2axcodes(affine)) if known else ""


def _agree(
    sform: np.ndarray,  # [4, 4] voxel -> its unit
    raw: Any,  # header as it is stored, whose qform counts too
    single: list[bool],  # [3], axes of one voxel, which have no direction
    path: Path,  # of its file, for the error
) -> None:
    """DataError where the two forms of a header lay the axes another way round, or say other distances."""
    try:
        qform = np.array(raw.get_qform(), float)
    except (nibabel.spatialimages.HeaderDataError, ValueError, ArithmeticError):
        return  # a damaged qform says nothing
    sizes = [np.sqrt((form[:3, :3] ** 2).sum(0)) for form in (sform, qform)]
    if not (np.isfinite(sizes).all() and np.min(sizes) > 0):
        return
    along = (sform[:3, :3] * qform[:3, :3]).sum(0) / (sizes[0] * sizes[1])
    if not (np.isclose(sizes[0], sizes[1], rtol=0.02) & (along > 0.5) | single).all():
        forms = zip(("sform", "qform"), (sform, qform), sizes, strict=True)
        told = [f"its {name} says {''.join(nibabel.aff2axcodes(form))} and voxels of {_times(size)}" for name, form, size in forms]
        raise DataError(f"{path}: {', '.join(told)}; find out which is right and write it into both")


def _checked(
    affine: np.ndarray,  # [4, 4] voxel -> mm
    path: str | Path,  # of its file, for the error
) -> tuple[float, float, float]:
    """Spacing [3] in mm of an affine [4, 4]; DataError where it is no box of voxels of some millimetres at right angles."""
    x, y, z = (float(s) for s in np.sqrt((affine[:3, :3] ** 2).sum(0)))
    if not np.isfinite(affine).all():
        raise DataError(f"{path}: the affine in its header holds NaN or infinite numbers, expected millimetres; write the right one")
    if not all(0.999e-3 <= size <= 100 for size in (x, y, z)):
        raise DataError(f"{path}: {_found((x, y, z))}, expected 0.001 to 100 mm; write the right spacing, or its unit, into the header")
    unit = affine[:3, :3] / (x, y, z)
    if (leaning := np.abs(unit.T @ unit - np.eye(3)).max()) > 0.02:
        angle = 90 - np.degrees(np.arcsin(min(1.0, leaning)))
        todo = "resample it onto a straight grid"
        raise DataError(f"{path}: two of its axes meet at {angle:.0f} degrees, expected 90 (a sheared affine); {todo}")
    return x, y, z


def _found(spacing: Any) -> str:
    """The words for a spacing."""
    return f"its header says that voxels measure {_times(spacing)} mm"


def _times(sizes: Any) -> str:
    """Numbers as 1 x 2 x 3."""
    return " x ".join(f"{size:.4g}" for size in sizes)


def bit_depth(
    path: Path,  # of a PNG
) -> tuple[int, int]:
    """Bits of a number in a PNG, and the kind of its colours (0 is grey), from its first bytes; 0, 0 where it is none."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if len(head) == 26 else (0, 0)


def _pixels(path: Path, mask: bool) -> np.ndarray:
    """Grey values, or labels, of a PNG: [rows, columns, 1] float32."""
    depth, colour = bit_depth(path)
    try:
        with Image.open(path) as picture, warnings.catch_warnings():
            warnings.simplefilter("ignore")
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
        raise DataError(f"{path}: is a 16-bit picture with colour or alpha, of which 8 bits would be lost; save it as 16-bit greyscale")
    if veiled:
        raise DataError(f"{path}: is transparent in places, so its numbers are only part of what it shows; save label numbers without alpha")
    if pixels.ndim == 3:
        if (pixels[..., 1:3] != pixels[..., :1]).any():
            todo = "save the label numbers" if mask else "save it as greyscale"
            raise DataError(f"{path}: is a colour picture {pixels.shape}, expected one grey channel; {todo}")
        pixels = pixels[..., 0]
    if mask and colour == 0 and depth in (2, 4):  # the reader spreads them over 0 to 255
        pixels = pixels // (255 // (2**depth - 1))
    return pixels[..., None].astype(np.float32)
