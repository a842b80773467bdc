"""What a cohort looked like to the network that learned from it, and in what a new scan differs from that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cohort import Cohort, Volume
from .reading import read_scan, turned
from .scans import Grid
from .slices import levels


def _kind(volume: Volume) -> str:
    """What a volume is made of: "nifti", "png", or "generated"."""
    return "png" if volume.files else "nifti" if volume.image else "generated"


def _span(rows: Sequence) -> list | None:
    """Lowest and highest of each column of rows [n, k]: two lists [k] of plain numbers; None for no rows."""
    table = np.array(rows)
    return [table.min(0).tolist(), table.max(0).tolist()] if len(table) else None


def seen(cohort: Cohort) -> dict:
    """What a run keeps of its scans, as plain values: kinds of file, orientation, and the span of spacing, shape and intensities."""
    volumes = cohort.volumes
    return {
        "kinds": sorted({_kind(volume) for volume in volumes}), "orientation": cohort.grid.orientation, "axis": cohort.grid.axis,
        "shape": _span([volume.shape for volume in volumes]),
        "spacing": _span([volume.spacing for volume in volumes if volume.unit == "mm"]),
        "levels": _span([volume.levels for volume in volumes if volume.levels]),
    }  # fmt: skip


def unlike(
    path: str | Path,  # of a new scan
    known: dict[str, Any],  # what `seen` says of the run's cohort
) -> list[str]:
    """One sentence for everything in which a scan is clearly unlike all that a run was trained on."""
    scan = turned(read_scan(path), known["orientation"])
    own = "png" if scan.unit == "pixel" else "nifti"
    if own not in known["kinds"]:
        return [f"{path}: is a {own} file, but the run was trained on {' and '.join(known['kinds'])} scans only; expect little"]
    axis = Grid(8, axis=known["axis"]).along(scan.voxels.shape)
    down, along = (a for a in range(3) if a != axis)
    shape = [scan.voxels.shape[a] for a in (down, along)]
    apart = [scan.spacing[a] for a in (down, along, axis)]
    found, of = [], "those of the run"
    if own == "nifti" and known["spacing"] and _beyond(apart, known["spacing"], 2):
        found.append(f"{path}: its voxels measure {_words(apart)} mm (rows, columns, slices), {of} {_between(known['spacing'])}")
    rows = [ends[:2] for ends in known["shape"]]
    if _beyond(shape, rows, 2):
        found.append(f"{path}: its slices have {_words(shape)} pixels, {of} {_between(rows)}")
    if known["levels"] and _strange(own_levels := levels(scan.voxels), known["levels"]):
        reach, theirs = ("{:.4g} to {:.4g}".format(*ends) for ends in (own_levels, (known["levels"][0][0], known["levels"][1][1])))
        found.append(f"{path}: its intensities reach from {reach}, {of} from {theirs}; is it another kind of scan?")
    return found


def _beyond(values: Sequence[float], ends: Sequence[Sequence[float]], times: float) -> bool:
    """Whether any value [k] lies `times` below the lowest [k] or above the highest [k] of those known."""
    return any(not low / times <= value <= high * times for value, low, high in zip(values, *ends, strict=True))


def _strange(own: Sequence[float], ends: Sequence[Sequence[float]]) -> bool:
    """Whether intensities reach below zero where none did, or not where all did (CT against MR), or far beyond the fixed unit of CT."""
    (low, high), ((lowest, least), (top, most)) = own, ends
    below, none, every = low < -0.1 * abs(high), lowest >= -0.1 * abs(most), top < -0.1 * abs(least)
    return (below and none) or (every and not below) or (every and not least / 4 <= high <= most * 4)


def _words(values: Sequence[float]) -> str:
    """Numbers as 1 x 2 x 3."""
    return " x ".join(f"{value:.3g}" for value in values)


def _between(ends: Sequence[Sequence[float]]) -> str:
    """The words for a span."""
    return _words(ends[0]) if ends[0] == ends[1] else f"{_words(ends[0])} to {_words(ends[1])}"
