"""Generated subjects whose scans are hard to segment for the reasons real ones are, and the same bytes on every machine."""

from dataclasses import dataclass, replace

import numpy as np

from .cohort import Codes, Cohort, Volume
from ..files import content_key
from ..names import check_name, check_whole
from .scans import Grid

__all__ = ["phantom"]


class _Draws:
    """Uniform numbers from a seed, made with operations that every machine rounds alike.

    The last bit of a sine, or of a sum over an array, depends on library and processor. So this module uses only the
    raw integers of PCG64 and +, -, *, / on 64-bit numbers: noise is four numbers added, a rotation a fraction.
    """

    def __init__(self, *seed: int):
        self.bits = np.random.PCG64(np.random.SeedSequence(seed))

    def __call__(self, low: float, high: float, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Numbers [shape] between low and high."""
        raw = np.array(self.bits.random_raw(int(np.prod(shape)))).reshape(shape)
        return low + (high - low) * ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def bell(self, spread: float, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Bell-shaped numbers [shape] about 0 with the standard deviation `spread`: four uniform ones added."""
        four = self(-1, 1, shape) + self(-1, 1, shape) + self(-1, 1, shape) + self(-1, 1, shape)
        return four * (spread * 0.8660254037844386)


@dataclass(frozen=True)
class _Ellipsoid:
    """A part of the body, all of one tissue."""

    label: int  # class, 0 where it belongs to the background
    tissue: str  # what it is made of, and so how bright it is
    centre: tuple[float, float, float]  # along, across, through the slices, in [-1, 1]
    radii: tuple[float, float, float]  # the same three directions
    vary: float = 0.06  # how much centre and radii differ between subjects


_HIPPOCAMPUS = (
    _Ellipsoid(0, "around", (0.0, 0.06, 0.0), (0.86, 0.34, 1.3)),
    _Ellipsoid(0, "grey", (-0.74, -0.02, -0.3), (0.20, 0.20, 0.9)),
    _Ellipsoid(0, "fluid", (-0.30, 0.24, -0.25), (0.32, 0.12, 0.9)),
    _Ellipsoid(0, "fluid", (0.40, 0.24, 0.5), (0.28, 0.11, 0.9)),
    _Ellipsoid(2, "grey", (0.22, 0.0, 0.30), (0.46, 0.135, 1.0)),
    _Ellipsoid(1, "grey", (-0.28, 0.03, -0.30), (0.32, 0.20, 1.0)),
)
"""A head (1) and a body (2) of grey matter; in front of the head more grey matter, beside both fluid, the landmark."""

_CARDIAC = (
    _Ellipsoid(0, "lung", (-0.1, -0.80, 0.0), (0.9, 0.42, 2.0)),
    _Ellipsoid(0, "lung", (-0.1, 0.80, 0.0), (0.9, 0.42, 2.0)),
    _Ellipsoid(0, "bone", (0.82, 0.0, 0.0), (0.17, 0.20, 3.0)),
    _Ellipsoid(0, "blood", (0.55, 0.28, 0.0), (0.11, 0.11, 3.0)),
    _Ellipsoid(5, "muscle", (0.02, 0.30, -0.45), (0.40, 0.34, 0.80)),
    _Ellipsoid(2, "blood", (-0.22, -0.14, -0.40), (0.27, 0.36, 0.75)),
    _Ellipsoid(4, "blood", (0.18, -0.34, 0.05), (0.24, 0.24, 0.70)),
    _Ellipsoid(3, "blood", (0.32, 0.02, 0.20), (0.19, 0.30, 0.60)),
    _Ellipsoid(1, "blood", (0.03, 0.28, -0.35), (0.24, 0.20, 0.62)),
    _Ellipsoid(7, "blood", (-0.28, 0.12, 0.75), (0.17, 0.20, 0.60)),
    _Ellipsoid(6, "blood", (-0.10, -0.14, 0.70), (0.16, 0.16, 0.70)),
)
"""Four chambers, two vessels and the muscle (5); all blood is equally bright, in vessels that do not count as well."""


@dataclass(frozen=True)
class _Recipe:
    """Everything that makes one kind of phantom."""

    parts: tuple[_Ellipsoid, ...]  # drawn in this order, each over those before it
    classes: tuple[str, ...]  # the first is "background"
    tissues: dict[str, tuple[float, float]]  # brightness: lowest and highest over the scans; "around" is the rest
    distractors: tuple[str, ...]  # tissues of the blobs around, one each
    sides: tuple[str, ...]  # names of a subject's volumes
    slices: int  # of a volume
    folds: str  # tissue of the ribbons all around, "" for none
    spacing: tuple[float, float, float]  # millimetres


_NOISY = _Recipe(
    _HIPPOCAMPUS, ("background", "anterior", "posterior"),
    {"around": (0.62, 0.80), "grey": (0.42, 0.58), "fluid": (0.10, 0.30)},
    ("grey",) * 9 + ("fluid",) * 3, ("left", "right"), 8, "grey", (1.0, 1.0, 4.0),
)
_RECIPES = {
    "hippocampus": _NOISY,
    "simple": replace(_NOISY, distractors=("grey",) * 3 + ("fluid",), folds=""),
    "cardiac": _Recipe(
        _CARDIAC,
        ("background", "left ventricle", "right ventricle", "left atrium", "right atrium", "myocardium",
         "ascending aorta", "pulmonary artery"),
        {"around": (0.30, 0.42), "blood": (0.70, 0.85), "muscle": (0.48, 0.60), "lung": (0.02, 0.10),
         "bone": (0.65, 0.95)},
        ("blood",) * 4 + ("muscle",) * 4, ("",), 12, "", (2.0, 2.0, 8.0)),
}


def _wave(x: np.ndarray) -> np.ndarray:
    """A smooth wave [...] of period 1 between -1 and 1 at the places [...]; a polynomial, since sines differ."""
    ramp = 1 - 4 * np.abs(x - np.floor(x) - 0.5)
    return ramp * (1.5 - 0.5 * ramp * ramp)


def _pose(draw: _Draws, own: _Draws, size: int, slices: int) -> tuple[np.ndarray, ...]:
    """Three coordinates, each [n, H, W], about -1 to 1, of every voxel in the subject's body: moved, bent, rippled.

    `draw` makes the subject's numbers, `own` the small differences between two scans.
    """
    axis = (2 * np.arange(size) + 1 - size) / size
    z = ((2 * np.arange(slices) + 1 - slices) / slices)[:, None, None] + draw(-0.15, 0.15)
    t, bend, lean = draw(-0.22, 0.22), draw(-0.05, 0.55), draw(-0.12, 0.12)
    scale = draw(0.85, 1.2) * own(0.96, 1.04)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    row = axis[None, :, None] - draw(-0.2, 0.2) - own(-0.05, 0.05) - lean * z
    column = axis[None, None, :] - draw(-0.2, 0.2) - own(-0.05, 0.05)
    u, v = (cosine * row + sine * column) / scale, (cosine * column - sine * row) / scale
    f, phase, height = draw(0.5, 1.1, (4,)), draw(0, 1, (4,)), draw(0.02, 0.06, (4,))
    du = height[0] * _wave(f[0] * v + 0.3 * z + phase[0]) + height[1] * _wave(f[1] * u + phase[1])
    dv = height[2] * _wave(f[2] * u - 0.3 * z + phase[2]) + height[3] * _wave(f[3] * v + phase[3])
    return u + du, v + dv + bend * (u * u - 0.12), z + 0 * u


def _elevation(place: tuple[np.ndarray, ...], centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Height [n, H, W] of an ellipsoid over every voxel: 1 at its centre [3], 0 on its surface, negative outside."""
    far = [(p - c) / r for p, c, r in zip(place, centre, radii, strict=True)]
    return 1 - (far[0] * far[0] + far[1] * far[1] + far[2] * far[2])


def _folds(place: tuple[np.ndarray, ...], draw: _Draws) -> np.ndarray:
    """Winding ribbons [n, H, W], 0 to 1, like the cortex around a hippocampus."""
    u, v, z = place
    f, phase = draw(0.7, 1.5, (4,)), draw(0, 1, (4,))
    bent = v + 0.25 * _wave(f[0] * u + 0.25 * z + phase[0])
    across = _wave(1.1 * f[2] * (u + 0.3 * _wave(f[3] * v + phase[2])) + phase[3])
    return np.clip(0.5 + 2.5 * (_wave(1.4 * f[1] * bent + phase[1]) + 0.7 * across - 0.1), 0, 1)


def _scatter(draw: _Draws, recipe: _Recipe) -> list[_Ellipsoid]:
    """Blobs of the structures' own tissues at random places around them."""
    blobs = []
    for tissue in recipe.distractors:
        centre, radii = draw(-1.1, 1.1, (3,)), draw(0.10, 0.36, (3,)) + np.array([0, 0, 0.3])
        blobs.append(_Ellipsoid(0, tissue, tuple(centre), tuple(radii), 0.0))
    return blobs


def _paint(
    place: tuple[np.ndarray, ...],  # three coordinates, each [n, H, W]
    recipe: _Recipe,  # what to paint
    draw: _Draws,  # of the subject: places and sizes
    scan: _Draws,  # of the volume: brightness
    soft: float,  # width of an edge, in coordinates
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness float64 and labels uint8 [n, H, W]: every part drawn over those before it, with soft edges."""
    bright = {name: scan(low, high) for name, (low, high) in recipe.tissues.items()}
    image, labels = np.full(place[0].shape, 0.0) + bright["around"], np.zeros(place[0].shape, np.uint8)
    if recipe.folds:
        image = image + _folds(place, draw) * (bright[recipe.folds] - image)
    for part in _scatter(draw, recipe) + list(recipe.parts):
        centre = np.array(part.centre) + draw(-part.vary, part.vary, (3,))
        radii = np.array(part.radii) * (1 + draw(-2 * part.vary, 2 * part.vary, (3,)))
        height = _elevation(place, centre, radii)
        cover = np.clip(0.5 + height * (radii[:2].min() / soft), 0, 1)
        image = image + cover * (bright[part.tissue] - image)
        labels[height > 0] = part.label
    return image, labels


def _scanner(image: np.ndarray, scan: _Draws) -> np.ndarray:
    """What the scanner makes of a brightness [n, H, W], 0 to 1: shading, gain and grain; whole numbers int64."""
    n, h, w = image.shape
    row, column = ((2 * np.arange(k) + 1 - k) / k for k in (h, w))
    row, column, b = row[None, :, None], column[None, None, :], scan(-0.22, 0.22, (5,))
    shading = 1 + b[0] * row + b[1] * column + b[2] * row * column
    shading = shading + b[3] * (row * row - 0.3) + b[4] * (column * column - 0.3)
    grain = scan.bell(1.0, (n, h + 1, w + 1))
    grain = 0.6 * grain[:, 1:, 1:] + 0.4 * grain[:, 1:, :-1] + 0.4 * grain[:, :-1, 1:]
    return np.rint((image * shading + scan(0.03, 0.09) * grain) * 1000 * scan(0.5, 20)).astype(np.int64)


def _eight_bits(raw: np.ndarray) -> np.ndarray:
    """Whole numbers [n, H, W] as 0 to 255 between their 0.5th and 99.5th percentile, in exact arithmetic."""
    ranked = np.sort(raw, axis=None)
    low, high = ranked[raw.size // 200], ranked[raw.size - 1 - raw.size // 200]
    return ((np.clip(raw, low, high) - low) * 510 + (high - low)).astype(np.int64) // (2 * (high - low))


def _scan_of(recipe: _Recipe, size: int, seed: int, person: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and labels, both uint8 [n, H, W], of one volume of one subject; side 1 is mirrored."""
    scan = _Draws(seed, person, 2 + side)
    place = _pose(_Draws(seed, person), scan, size, recipe.slices)
    image, labels = _paint(place, recipe, _Draws(seed, person, 1), scan, soft=2.5 / size)
    if side:
        image, labels = image[:, :, ::-1], labels[:, :, ::-1]
    return _eight_bits(_scanner(image, scan)).astype(np.uint8), labels


def phantom(
    kind: str = "hippocampus",  # "hippocampus": two touching structures; "simple": little around; "cardiac": seven
    subjects: int = 24,  # how many people
    size: int = 64,  # rows and columns of a slice, pixels
    seed: int = 0,  # another seed, other people
) -> Cohort:
    """A cohort of generated subjects; the same arguments give the same bytes on every machine.

    ValueError for an unknown kind or no subject.
    """
    check_name("kind", kind, _RECIPES)
    subjects, seed = check_whole("subjects", subjects, 1), check_whole("seed", seed, 0)
    grid, recipe, size = Grid(size), _RECIPES[kind], int(size)
    people, sides = range(subjects), range(len(recipe.sides))
    names = [(f"subject{person + 1:02d}", side) for person in people for side in recipe.sides]
    shape, apart = (size, size, recipe.slices), recipe.spacing
    volumes = [Volume(f"{who}-{side}".rstrip("-"), who, shape=shape, spacing=apart) for who, side in names]
    scans = [_scan_of(recipe, size, seed, person, side) for person in people for side in sides]
    images, labels = (np.concatenate(arrays) for arrays in zip(*scans, strict=True))
    del scans  # as large as images and labels
    n, shades = len(volumes), (np.arange(256) / 255).astype(np.float16)
    return Cohort(
        "phantom", recipe.classes, shades[images], labels, np.ones(len(images), bool),
        np.repeat(np.arange(n, dtype=np.int32), recipe.slices),
        np.tile(np.linspace(0, 1, recipe.slices, dtype=np.float32), n),
        tuple(volumes), grid, content_key(kind, seed, images, labels),
        {"cohort": "phantom", "kind": kind, "subjects": subjects, "size": size, "seed": seed},
        Codes(tuple((c, c) for c in range(len(recipe.classes)))),
    )
