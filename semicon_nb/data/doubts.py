"""Label files whose numbers can be read in two ways; what nobody has named is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .reading import DataError

NAME = "name the numbers in 'labels' of dataset.json"


def check_numbers(
    place: Path,  # of the label files, for the error
    numbers: Sequence[int],  # that occur in them, sorted, without 0
    ground: bool,  # whether 0 occurs
) -> None:
    """DataError where it is open which number is the background, or whether 255 is a structure."""
    if numbers and not ground:
        raise DataError(f"{place}: no label file holds 0, only {', '.join(map(str, numbers))}, so which is the background? {NAME}")
    if numbers[-1:] == [255] and len(numbers) > 1 and list(numbers[:-1]) == list(range(1, len(numbers))):
        others = " and ".join(dict.fromkeys(("1", str(len(numbers) - 1))))
        what = "it may be a structure of its own, the same as 1, or pixels that nobody judged ('ignore')"
        raise DataError(f"{place}: its label files hold 255 beside {others}; {what}: {NAME}")


def check_edges(
    path: Path,  # of a mask that is a picture, for the error
    mask: np.ndarray,  # [rows, columns] whole numbers
) -> None:
    """DataError where numbers occur only between a smaller and a larger one, as the soft edges of a smoothed mask do."""
    from scipy.ndimage import maximum_filter, minimum_filter

    values = np.unique(mask).tolist()
    gaps = [b for a, b, c in zip(values, values[1:], values[2:], strict=False) if max(b - a, c - b) > 1]
    low, high = minimum_filter(mask, 3), maximum_filter(mask, 3)
    if soft := [value for value in gaps if ((low < value) & (value < high))[mask == value].all()]:
        todo = f"if these are classes, {NAME}; else save the mask without smoothing"
        raise DataError(f"{path}: holds {', '.join(map(str, soft[:4]))} only between other numbers, as soft edges do; {todo}")


def check_palettes(
    paths: Sequence[Path],  # of masks; those that are no picture with a palette are left alone
) -> None:
    """DataError where one colour has two numbers, or where black, or the order of greys, says that 0 is not the background."""
    known: dict[object, tuple[object, Path]] = {}  # number -> its colour, and colour -> its number, with the file that says so
    seen: set[bytes] = set()
    for path in (path for path in paths if path.suffix.lower() == ".png"):
        try:
            with Image.open(path) as picture:
                palette = bytes(picture.getpalette("RGB") or ()) if picture.mode == "P" else b""
                used = np.unique(np.asarray(picture)).tolist() if palette and palette not in seen else []
        except (OSError, SyntaxError, ValueError):
            continue  # reading it says what is wrong
        seen.add(palette)
        colours = {number: tuple(palette[3 * number : 3 * number + 3]) for number in used}
        check_order(path, colours)
        for one, other in [*colours.items(), *((colour, number) for number, colour in colours.items())]:
            if (before := known.setdefault(one, (other, path)))[0] != other and before[1] != path:
                todo = "save all masks with one palette, or as greyscale with the label numbers"
                raise DataError(f"{path}: has another palette than {before[1].name} ({one}: {other} and {before[0]}); {todo}")


def check_order(
    path: Path,  # of a mask with a palette, for the error
    colours: dict[int, tuple[int, ...]],  # red, green, blue by number, of the numbers that occur, ascending
) -> None:
    """DataError where a number above 0 is black though 0 is not, or where greys do not ascend with their numbers."""
    black, shades = (0, 0, 0), [max(colour) for colour in colours.values()]
    greys = all(len(set(colour)) == 1 for colour in colours.values())
    if (colours.get(0) != black and black in colours.values()) or (greys and shades != sorted(shades)):
        todo = "save it as greyscale with the label numbers"
        raise DataError(f"{path}: its palette calls {next(iter(colours))} the colour {next(iter(colours.values()))}, not black; {todo}")
