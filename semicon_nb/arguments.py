"""The words that `semicon-nb` takes, what they may be, and what it answers to those that mean nothing.

Nothing is imported here that takes time: help and refusals come at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .names import METHOD_LINES, METRICS, PART_NAMES, PRESET_NAMES, check_name, check_place, check_run, check_whole

__all__ = []


def share(text: str) -> float:
    """The `text` of a share, `0.05` or `5%`, as a number; ArgumentTypeError for another word."""
    percent = text.strip().endswith("%")
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a share such as 0.1 or 10%") from None
    return as_share(number / 100 if percent else number)


def as_share(value: float) -> float:
    """A labelled share, `value`, without what arithmetic left behind its twelfth digit, as in 0.1 + 0.2; 1 / 3 stays as it is."""
    short = round(float(value), 12)
    return short if abs(short - value) <= 1e-14 * abs(value) else float(value)


def words(text: str) -> tuple[str, ...]:
    """The `text` of an option, such as `scratch,global`, as a tuple of different words; ArgumentTypeError for none."""
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise argparse.ArgumentTypeError("found nothing, expected words with commas between them")
    return found


def shares(text: str) -> tuple[float, ...]:
    """The `text` of an option, such as `0.05,0.1`, as a tuple of different shares."""
    return tuple(dict.fromkeys(map(share, words(text))))


def whole_numbers(text: str) -> tuple[int, ...]:
    """The `text` of an option, such as `0,1,2`, as a tuple of different whole numbers; ArgumentTypeError for others."""
    found = words(text)
    if wrong := [word for word in found if not word.isdecimal()]:
        raise argparse.ArgumentTypeError(f"found {wrong[0]!r}, expected whole numbers such as 0,1,2")
    return tuple(dict.fromkeys(map(int, found)))


def add_cohort(parser: argparse.ArgumentParser, usual: str | None) -> None:
    """Which cohort, and which of its channels; `usual` is the cohort where none is named, None for the run's own."""
    said = usual or "the run's own"
    parser.add_argument("--data", default=usual, metavar="NAME_OR_FOLDER", help=f"the cohort (default: {said})")
    add_channel(parser)


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Which channel of a folder."""
    parser.add_argument("--channel", help="which channel, of a folder that has several")


def add_axis(parser: argparse.ArgumentParser) -> None:
    """How the scans of a folder are cut into slices."""
    about = "the axis of a folder's scans that the slices are stacked along, 0, 1 or 2 (default: 2, the last)"
    parser.add_argument("--axis", type=int, choices=(0, 1, 2), help=about)


def spread(text: str) -> str | int:
    """A word or a number of `--spread`."""
    return int(text) if text.lstrip("+-").isdigit() else text


def add_spread(parser: argparse.ArgumentParser, usual: str | None = "people") -> None:
    """Over whom the outlines are spread; by default people, or as `split` has it where `usual` is None."""
    about = "the outlines: people, all of few; 2, 3, ... over so many times as many; slices, some of everybody (default: people)"
    parser.add_argument("--spread", type=spread, default=usual, metavar="SPREAD", help=about)


def add_labels(parser: argparse.ArgumentParser, usual: float | None = None) -> None:
    """How many labels, by default a `usual` share, or as `split` has it, and the seed that decides whose."""
    about = f"labelled share of the training volumes (default: {usual or 0.1})"
    parser.add_argument("--labels", type=share, default=usual, metavar="SHARE", help=about)
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and views (default: %(default)s)")


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Sizes, steps, a network of one's own, and the device."""
    parser.add_argument("--preset", default="laptop", help="demo, laptop, thorough or paper (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every stage (default: %(default)s)")
    parser.add_argument("--model", metavar="PACKAGE.MODULE:NAME", help="class or function that builds a network of your own, for the U-Net")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to train (default: %(default)s)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """A run, and what builds its network."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--model", metavar="PACKAGE.MODULE:NAME", help="what builds the run's network, where it is one of your own")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Whether a program reads what is printed."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb data`."""
    parser.add_argument("place", nargs="?", metavar="NAME_OR_FOLDER", help="a cohort or a folder; none lists the cohorts")
    parser.add_argument("--download", action="store_true", help="fetch the cohort where it is not found (hippocampus, 27 MB)")
    parser.add_argument("--size", type=int, help="rows and columns of a slice (default: the cohort's own)")
    add_channel(parser)
    add_axis(parser)
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="write a contact sheet of slices with labels")
    add_json(parser)


def add_train(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb train`."""
    parser.add_argument("method", metavar="METHOD", help='such as scratch, global, "global+local(block)"; `semicon-nb methods` lists all')
    add_cohort(parser, "phantom")
    add_axis(parser)
    add_labels(parser)
    add_spread(parser, usual=None)
    parser.add_argument("--split", type=Path, metavar="FILE.json", help="a split file, instead of --labels and the seed's")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="a new folder for the run")
    add_preset(parser)
    parser.add_argument("--size", type=int, help="rows and columns of a slice (default: the cohort's own)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb evaluate`."""
    add_run(parser)
    add_cohort(parser, None)
    parser.add_argument("--part", default="test", help="of the run's split: all, train, val or test (default: %(default)s)")
    add_json(parser)


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb predict`."""
    add_run(parser)
    about = "a scan (.nii, .nii.gz, or a .png for one slice), several, or a folder"
    parser.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help=about)
    about = "the label map to write, of the same kind and on the same grid; of several images a folder"
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="MASK", help=about)
    parser.add_argument("--force", action="store_true", help="write over masks that are there")


def add_explore(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb explore`."""
    add_run(parser)
    parser.add_argument("--data", metavar="NAME_OR_FOLDER", help="whose slices to show (default: the run's own test subjects)")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PAGE.html", help="the page to write")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb experiment`."""
    usual, listed = "scratch,global,local(exact),global+local(exact)", "A,B,..."
    parser.add_argument("--name", help="of the results file (default: the cohort's name)")
    parser.add_argument("--methods", type=words, default=words(usual), help=f"methods to compare (default: {usual})", metavar=listed)
    about = "labelled shares (default: 0.05,0.1,0.2)"
    parser.add_argument("--labels", type=shares, default=(0.05, 0.1, 0.2), help=about, metavar=listed)
    add_spread(parser)
    parser.add_argument("--splits", type=whole_numbers, default=(0, 1, 2), help="seeds of splits (default: 0,1,2)", metavar=listed)
    parser.add_argument("--seeds", type=whole_numbers, default=(0,), help="seeds of weights and views (default: 0)", metavar=listed)
    add_cohort(parser, "hippocampus")
    add_axis(parser)
    add_preset(parser)
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results files (default: %(default)s)")


def add_table(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb table`."""
    about = "a results file or a folder of them (default: %(default)s)"
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help=about)
    parser.add_argument("--metric", default="pooled_dice", help="pooled_dice, volume_dice or hd95 (default: %(default)s)")
    parser.add_argument("--format", choices=("markdown", "latex", "html"), default="markdown", help="of the table (default: %(default)s)")


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Words of `semicon-nb demo`."""
    about = "the cohort (default: %(default)s, which needs no download)"
    parser.add_argument("--data", default="phantom", metavar="NAME_OR_FOLDER", help=about)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the page and the runs (default: %(default)s)")
    add_labels(parser, usual=0.05)
    parser.add_argument("--repeats", type=int, help="other people, other weights (default: 12 of generated people, 5 of real ones)")
    about = "multiplies all steps, to try things out (default: %(default)s)"
    parser.add_argument("--quick", type=float, default=1.0, metavar="FACTOR", help=about)


COMMANDS: dict[str, tuple[str, Callable]] = {
    "demo": ("the main job from start to finish, and a page that shows it", add_demo),
    "methods": ("what can be trained, a line each", add_json),
    "data": ("what is in a cohort or folder; fetch the hippocampi", add_data),
    "train": ("train a method on a cohort into a RUN folder", add_train),
    "evaluate": ("Dice and Hausdorff distance of a RUN", add_evaluate),
    "predict": ("segment scans with a RUN", add_predict),
    "explore": ("a page to explore a RUN's pixel embeddings", add_explore),
    "experiment": ("compare methods over labelled shares and splits, resumable", add_experiment),
    "table": ("the table of an experiment's results", add_table),
}


class Words(argparse.ArgumentParser):
    """A parser of words whose errors are one line, with the word that may have been meant."""

    def error(self, message: str) -> Any:
        """Say what is wrong, in the `message` of argparse, and stop with exit code 2."""
        text = " ".join(message.split()).removeprefix("argument ")
        self.exit(2, f"{self.prog}: {text}; see {self.prog} --help\n")

    def check(self, arguments: Sequence[str]) -> None:
        """Raise a ValueError for a command or an option among the words, `arguments`, that there is not."""
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        commands = next((action.choices for action in self._actions if action.nargs == argparse.PARSER), None)
        for word in arguments:
            if word == "--":
                return
            if word.startswith("--"):
                check_name("option", word.partition("=")[0], options)
            elif commands and not word.startswith("-"):
                return check_name("command", word, commands)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What the words `args` mean, as a `namespace`, and those that are left."""
        arguments = sys.argv[1:] if args is None else list(args)
        try:
            self.check(arguments)
        except ValueError as error:
            self.error(str(error))
        return super().parse_known_args(arguments, namespace)


def make_parser() -> Words:
    """All commands and their words."""
    about = "Semi-supervised contrastive learning for medical image segmentation: learn it, see it, test it."
    end = "Start with `semicon-nb demo`. SEMICON_DATA names the folder of your cohorts."
    parser = Words(prog="semicon-nb", description=about, epilog=end, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"semicon-nb {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (text, add) in COMMANDS.items():
        add(commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False))
    return parser


def check_share(value: float) -> None:
    """Raise a ValueError for a `value` that is no share, above 0 and up to 1."""
    if not 0 < value <= 1:
        percent = f"{value:g} % is {value / 100:g}" + ", for all labels" * (value == 100)
        todo = percent if 1 < value <= 100 else "5 % is 0.05, all labels are 1"
        raise ValueError(f"--labels: found {value:g}, expected a labelled share above 0 and up to 1; {todo}")


def check_factor(name: str, value: float) -> None:
    """Raise a ValueError for a `value` that nothing can be as long as; it multiplies steps."""
    if not 0 < value <= 1e6:
        raise ValueError(f"{name}: found {value}, expected a number above 0 and up to 1000000")


_LARGEST_SEED = 2**63 - 1


def check_seed(name: str, value: Any) -> int:
    """The `value` of an argument `name`, a seed, as Python's int; ValueError where it is no whole number of 64 bits from 0 upwards."""
    if check_whole(name, value, 0) > _LARGEST_SEED:
        raise ValueError(f"{name}: found {value}, expected a whole number up to {_LARGEST_SEED}")
    return int(value)


def check_heard(given: dict) -> None:
    """Raise a ValueError for an option that nothing would listen to beside the other words that are `given`."""
    if given.get("command") == "data" and "place" not in given:
        if lost := [name for name in ("download", "sheet", "size", "channel", "axis") if given.get(name) not in (None, False)]:
            raise ValueError(f"--{lost[0]}: found no cohort that it is for, expected one; name it, as in semicon-nb data hippocampus")
    if str(given.get("sheet", ".png")).lower()[-4:] != ".png":
        raise ValueError(f"--sheet: found {given['sheet']}, expected a name that ends in .png, which a contact sheet is")
    if "split" in given and (lost := [name for name in ("labels", "spread") if name in given]):
        raise ValueError(f"--{lost[0]}: found {given[lost[0]]} beside --split, whose file says who is labelled; leave one of the two out")


def check_words(options: argparse.Namespace) -> None:
    """Refuse words that mean nothing, in one sentence and at once."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    check_heard(given)
    for method in [given["method"]] if "method" in given else given.get("methods", ()):
        check_name("method", method, METHOD_LINES)
    for name, known in {"preset": PRESET_NAMES, "part": PART_NAMES, "metric": METRICS}.items():
        if name in given:
            check_name(f"--{name}", given[name], known)
    for place in [given[name] for name in ("data", "place") if name in given]:
        check_place(place)
    if "workers" in given:
        check_whole("--workers", given["workers"], 1)
    for name in ("seed", "splits", "seeds"):
        for value in given[name] if isinstance(given.get(name), tuple) else [given[name]] if name in given else []:
            check_seed(f"--{name}", value)
    for name in ("scale", "quick"):
        check_factor(f"--{name}", given.get(name, 1.0))
    labels = given.get("labels", ())
    for value in labels if isinstance(labels, tuple) else [labels]:
        check_share(value)
    if "run" in given:
        check_run(given["run"])
