"""Label maps as files: which image becomes which mask, and what is written into it."""

import gzip
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = []

ENDINGS = (".nii.gz", ".nii", ".png")


def kind_of(path: Path) -> str:
    """ "nifti" or "png", by the end of the name of an image or a mask; ValueError for any other."""
    name = path.name.lower()
    if not name.endswith(ENDINGS):
        raise ValueError(f"{path}: expected a name that ends in .nii, .nii.gz or .png")
    return "png" if name.endswith(".png") else "nifti"


def check_image(image: Path) -> None:
    """Raise FileNotFoundError or ValueError where this is no image file."""
    if not image.is_file():
        raise FileNotFoundError(f"{image}: there is no such file; name a NIfTI or PNG image")
    kind_of(image)


def stem_of(path: Path) -> str:
    """The name of an image without its ending, the same for names that a disk may hold to be the same."""
    name = unicodedata.normalize("NFC", path.name).casefold()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def scans_in(folder: Path) -> list[Path]:
    """The scans of a folder itself, sorted, hidden files left out; ValueError for none, or for a folder of labels."""
    if folder.resolve().name.lower() in ("labels", "labelstr", "labelsts"):
        raise ValueError(f"{folder}: is a folder of labels, expected images; name the folder of images")
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(ENDINGS) and not p.name.startswith("."))
    if not found:
        inner = next((folder / name for name in ("images", "imagesTs", "imagesTr") if (folder / name).is_dir()), None)
        todo = f"name {inner}" if inner else "name a folder that holds some; folders inside it are not searched"
        raise ValueError(f"{folder}: holds no .nii, .nii.gz or .png file, expected scans; {todo}")
    return found


def plan_masks(words: Sequence[Path], out: Path, force: bool = False) -> list[tuple[Path, Path]]:
    """Each image with the mask to write: `words` are images and folders of images, `out` is the mask of one image, or a folder.

    ValueError or FileNotFoundError where a file would be lost, without `force`, or two be one.
    """
    if len(words) == 1 and not words[0].is_dir() and not out.is_dir():
        check_image(words[0])
        if not out.name.lower().endswith(ENDINGS) or kind_of(words[0]) != kind_of(out):
            wanted = {"png": "a name that ends in .png", "nifti": "a name that ends in .nii or .nii.gz"}[kind_of(words[0])]
            raise ValueError(f"{out}: found this name for the mask of {words[0].name}, expected {wanted}, or a folder that is there")
        pairs = [(words[0], out)]
    else:
        if not out.is_dir() and (out.exists() or out.name.lower().endswith(ENDINGS)):
            raise ValueError(f"{out}: is the name of a file, expected a folder for the masks of several images; choose another -o")
        pairs = [(image, out / image.name) for word in words for image in (scans_in(word) if word.is_dir() else [word])]
    check_pairs(pairs, force)
    return pairs


def check_pairs(pairs: Sequence[tuple[Path, Path]], force: bool) -> None:
    """Raise a ValueError where two masks have one name, an image would be overwritten, or a mask without `force`."""
    first: dict[str, Path] = {}
    for image, _ in pairs:
        if (other := first.setdefault(stem_of(image), image)) is not image:
            raise ValueError(f"{image}: has the same name as {other}, so their masks would too; predict them into two folders")
    images = {image.resolve() for image, _ in pairs}
    for image, mask in pairs:
        if mask.exists() and (mask.resolve() in images or image.exists() and mask.samefile(image)):
            raise ValueError(f"{mask}: is an image itself and would be overwritten; give the mask another name or folder")
    if (there := [mask for _, mask in pairs if mask.exists()]) and not force:
        more = f" (and {len(there) - 1} more)" * (len(there) > 1)
        raise ValueError(f"{there[0]}{more}: is there already and would be overwritten; choose another -o, or say --force")


def check_channels(images: Sequence[Path], channel: int | str | None, number: int | None = None) -> None:
    """Raise a ValueError where a run that learned from one `channel` is given several of one case, such as case_0000 and case_0001, or another.

    None as the `number` of its channel: not known.
    """
    first: dict[str, Path] = {}
    for image in images if channel is not None else ():
        case, *found = re.split(r"_([0-9]{4})$", str(image.with_name(stem_of(image))))
        if (other := first.setdefault(case, image)) is not image:
            todo = "name the files of that channel alone"
            raise ValueError(f"{image}: is another channel of {other.name}, expected only channel {channel}, from which this run learned; {todo}")
        if number is not None and found and int(found[0]) != number:
            todo = f"name the file of that channel, or rename it where {found[0]} is the number of a case"
            raise ValueError(f"{image}: is channel {int(found[0])} of its case, expected channel {number}, from which this run learned; {todo}")


def scaled_alone(images: Sequence[Path], seen: dict[str, Any]) -> list[str]:
    """A sentence where pictures are each scaled by themselves, and a run that has `seen` pictures saw all of a subject on one scale."""
    pictures = [image for image in images if image.name.lower().endswith(".png")]
    if not pictures or "png" not in seen.get("kinds", ()) or seen["shape"][1][2] == 1:
        return []
    more = f" (and {len(pictures) - 1} more)" * (len(pictures) > 1)
    what = "is scaled alone, but the run saw all pictures of a subject on one scale"
    return [f"{pictures[0]}{more}: {what}; so its grey values lie otherwise, and scores of evaluate need not hold for its mask"]


def mask_bytes(mask: "np.ndarray", image: Path, compress: bool) -> bytes:
    """A NIfTI file with the geometry of a scan, `image`, and the whole numbers of a mask [X, Y, Z] of its shape.

    It has none of the scan's words, where names of patients stand.
    """
    import nibabel

    scan: Any = nibabel.load(image)
    header = nibabel.Nifti1Header.from_header(scan.header, check=False)
    header["sizeof_hdr"] = header.template_dtype.itemsize  # that of NIfTI-2 is another
    for words in ("descrip", "db_name", "aux_file", "intent_name", "data_type"):
        header[words] = b""
    header.extensions.clear()
    header.set_data_dtype(mask.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, int(mask.max())
    content = nibabel.Nifti1Image(mask.reshape(scan.shape), scan.affine, header).to_bytes()
    return gzip.compress(content, mtime=0) if compress else content


def mask_picture(mask: "np.ndarray") -> bytes:
    """A PNG of a mask [H, W] with the colours of `show.PALETTE`, background black; 16-bit grey where its numbers need it; ValueError beyond."""
    from PIL import Image

    from .show import PALETTE, rgb

    if mask.dtype.kind != "u":
        raise ValueError("mask: its labels do not fit a PNG, which holds 0 to 65535; give a scan as NIfTI")
    picture = Image.fromarray(mask, "P") if mask.dtype.itemsize == 1 else Image.fromarray(mask)
    colours = [(0, 0, 0), *(rgb(PALETTE[1 + c % (len(PALETTE) - 1)]) for c in range(255))]
    if picture.mode == "P":
        picture.putpalette([value for colour in colours for value in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def write_mask(mask: "np.ndarray", image: Path, path: Path) -> Path:
    """Write a mask [X, Y, Z] or [H, W] of a scan, `image`, to a `path` of the same kind, whole or not at all."""
    from .files import write_atomic

    if kind_of(image) == "png":
        return write_atomic(path, mask_picture(mask))
    return write_atomic(path, mask_bytes(mask, image, path.name.lower().endswith(".gz")))
