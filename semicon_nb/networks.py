"""Networks by what builds them: the package's U-Net, or one of your own, with weights that a seed decides."""

import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from operator import attrgetter
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, cast

import torch
from torch import nn

from .arguments import check_seed
from . import identity
from .files import content_key, read_tensors, write_atomic
from .identity import code_key, gist_of, is_data, is_own, makers, name_of, reached, source_of, spelled
from .unet import UNet

__all__ = ["build", "network_facts", "path_of"]

Builder = Callable[..., nn.Module]
"""A function or class that makes a network; it is given those of `classes` and `seed` that it has arguments for."""


def import_builder(path: str) -> Builder:
    """The function or class of a `path` "package.module:function"; ValueError where it cannot be imported from here."""
    module, _, name = path.partition(":")
    if not (module and name):
        raise ValueError(f"model (--model): found {path!r}, expected package.module:function, with a colon before the name")
    try:
        found = attrgetter(name)(importlib.import_module(module))
    except (Exception, SystemExit) as error:  # whatever the module runs into
        raise ValueError(f"model (--model): {path!r} cannot be imported ({words_of(error)}); expected package.module:function") from error
    if not callable(found):
        raise ValueError(f"model (--model): {path!r} is {type(found).__name__}, expected a function or class that builds a network")
    return found


def words_of(error: BaseException) -> str:
    """What kind of error another's code has raised, and its first line."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


class FromHere(MetaPathFinder):
    """Finds, after everything that is installed, a module of a folder that was named, and what the modules of that folder import by name."""

    def __init__(self, folder: str):
        self.folder, self.named, self.found = folder, "", set[str]()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module of a `name`, for who may have it; installed libraries look for modules that they can do without, and may not."""
        asking = _asking()
        if path is not None or (name != self.named and asking != identity.__name__ and asking.partition(".")[0] not in self.found):
            return None
        spec = PathFinder.find_spec(name, [self.folder])
        self.found |= {name} if spec else set()
        return spec


def _asking() -> str:
    """The module whose import a finder is asked about."""
    frame: FrameType | None = sys._getframe(2)
    while frame and (name := str(frame.f_globals.get("__name__"))).partition(".")[0] in MACHINERY:
        frame = frame.f_back
    return name


MACHINERY = ("importlib", "_frozen_importlib", "_frozen_importlib_external")
"""Python's own modules that import for others."""


def import_from_here(path: str) -> Builder:
    """The function or class of a `path` "package.module:function", which may lie in the working folder.

    The folder is not put on `sys.path`, where a library that is imported later would find a file of the name of one that it can do without.
    """
    look_for(path.partition(":")[0].partition(".")[0])
    return import_builder(path)


def look_for(named: str) -> None:
    """Let a module of this name, and what it imports by name, be found in the working folder."""
    here = os.getcwd()
    finder = next((one for one in sys.meta_path if isinstance(one, FromHere) and one.folder == here), FromHere(here))
    sys.meta_path[:] = [*(one for one in sys.meta_path if not isinstance(one, FromHere)), finder]
    finder.named = named


def looked_for() -> str:
    """The name of the module that may be found in the working folder; empty where there is none."""
    return next((one.named for one in sys.meta_path if isinstance(one, FromHere)), "")


def path_of(model: Builder | str) -> str:
    """The import path "package.module:function" of `model`, what builds a network; a notebook's cannot be imported elsewhere."""
    return model if isinstance(model, str) else f"{model.__module__}:{getattr(model, '__qualname__', repr(model))}"


def build(
    network: dict,  # arguments of UNet; of a network of your own its import path "model" and its number of "classes"
    seed: int = 0,  # of the first weights
    model: Builder | str | None = None,  # what builds a network of your own, where its import path does not lead there
) -> UNet:
    """A network on the CPU, its first weights a function of the seed; ValueError where `model` builds none, TypeError where it is one."""
    check_seed("seed", seed)
    builder: Builder = UNet
    given = network
    if "model" in network:
        own = model or network["model"]
        if isinstance(own, nn.Module):
            raise TypeError(f"model: found a network, expected what builds one, such as the class {type(own).__name__}")
        builder = import_builder(own) if isinstance(own, str) else own
        given = {"classes": network["classes"], "seed": seed}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = _made(builder, given, path_of(model or network["model"])) if "model" in network else builder(**given)
    return cast(UNet, found)


def _made(builder: Builder, given: dict, path: str) -> nn.Module:
    """What a builder of your own makes of those of the `given` arguments that it takes; ValueError where it fails or makes no network."""
    expected = "expected a function or class that builds a torch.nn.Module of classes and seed, or of neither"
    try:
        taken = inspect.signature(builder).parameters
        found = builder(**{name: value for name, value in given.items() if name in taken})
    except Exception as error:
        raise ValueError(f"model (--model): {path} fails ({words_of(error)}), {expected}") from error
    if not isinstance(found, nn.Module):
        raise ValueError(f"model (--model): {path} made {type(found).__name__}, {expected}")
    return found


def network_facts(network: dict, model: nn.Module) -> dict:
    """What makes a network of your own the same network: `network` as in run.json, and a digest of layers, code and first weights.

    The code is that of its methods, and what they lead to in modules of your own.
    """
    functions, more = _code_of(model)
    more |= _held_privately(model)
    weights = [value.detach().double().numpy() for value in model.state_dict().values()]
    return {**network, "content": content_key(_layers_of(model), *map(source_of, functions), *weights, *([more] if more else []))}


def network_code(model: nn.Module) -> str:
    """Digits that change with what a network of your own computes, whatever its weights: its layers and your own code, without its words.

    After a hyphen those of the functions and private values that it holds, which older runs do not have.
    """
    functions, more = _code_of(model)
    own = [source_of(one) for one in functions if is_own(one)]
    first = content_key(_layers_of(model), sorted(map(gist_of, (*own, *more.values()))))
    return f"{first}-{content_key(_held_privately(model))}"


def _layers_of(model: nn.Module) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(model))


def _code_of(model: nn.Module) -> tuple[list[Any], dict[str, str]]:
    """The functions in the classes of a network's parts, and whatever else they lead to in modules of your own, by its place."""
    kinds: set[Any] = {kind for part in model.modules() for kind in type(part).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))}
    parts = [one for kind in sorted(kinds, key=str) for one in vars(kind).values()]
    functions = [one for one in parts if inspect.isfunction(one)]
    hidden: list[Any] = [one.fget if isinstance(one, property) else one.__func__ for one in parts if isinstance(one, property | staticmethod | classmethod)]
    hidden = [one for one in hidden if inspect.isfunction(one)]
    told = {name_of(one) for one in (*kinds, *functions)}
    own = [one for one in (*functions, *hidden) if is_own(one)]
    more = {place: said for place, said in reached(*own).items() if isinstance(place, str) and place not in told}
    more |= {f"{name}.{key}": value for name, part in model.named_modules() for key, value in _plain_attributes(part)}
    return functions, more


def _plain_attributes(part: nn.Module) -> list[tuple[str, str]]:
    """What a module of your own, or its class, keeps beside its weights, such as a factor, in words."""
    places = [vars(kind) for kind in reversed(type(part).__mro__) if is_own(kind)] + [vars(part)] * is_own(type(part))
    kept = {name: value for place in places for name, value in place.items() if not name.startswith("_") and name != "training"}
    return [(name, repr(value) if isinstance(value, int | float | str) else spelled(value)) for name, value in kept.items() if is_data(value)]


_MODULES = frozenset(vars(nn.Module()))
"""What PyTorch itself keeps in every module."""


def _held_privately(model: nn.Module) -> dict[str, str]:
    """What the parts of a network of your own hold beside what `_code_of` counts: functions, and values whose names begin with _; in words."""
    found: dict[str, str] = {}
    for name, part in model.named_modules():
        if is_own(type(part)):
            kept = [(key, value) for key, value in vars(part).items() if key not in _MODULES]
            held = [(key, value) for key, value in kept if callable(value) or (key.startswith("_") and is_data(value))]
            found |= {f"{name}.{key}": f"{spelled(value)} {code_key(*filter(is_own, makers(value)))}" for key, value in held}
    return found


def save_weights(path: str | Path, model: nn.Module) -> Path:
    """Write a network's weights to `path`, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in model.state_dict().items()}, buffer)
    return write_atomic(path, buffer.getvalue())


def load_network(network: dict, path: Path, model: Builder | str | None = None, seed: int = 0, code: str = "") -> UNet:
    """The `network` that run.json describes, as `build` has it, with the weights in the file `path`; ValueError where they do not fit.

    `code` is the `network_code` of your own when it was trained, with the first weights of a `seed`; ValueError for another.
    """
    weights = read_weights(path)
    if "model" not in network:
        _check_sizes(network, weights, path)
    net = build(network, seed, model)
    _fill(net, weights, path)
    if code and code not in ((now := network_code(net)), now.partition("-")[0]):
        todo = "use the code that it was trained with, or train again"
        raise ValueError(f"{path.parent}: the code of its network, {network['model']}, is not what it was trained with; {todo}")
    return net


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights in the file `path` into a network; ValueError, and no weight changed, where they are not all of this network."""
    _fill(model, read_weights(path), path)


def _fill(model: nn.Module, weights: dict, path: str | Path) -> None:
    own = model.state_dict()
    for name in [*own, *weights]:
        one, other = own.get(name), weights.get(name)
        if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
            raise ValueError(f"{path}: holds the weights of another network ({name} differs); train the run again")
    model.load_state_dict(weights)


def _check_sizes(network: dict, weights: dict, path: Path) -> None:
    """ValueError where run.json describes a network that is larger than the weights; found before one of that size is made."""
    try:
        if network.get("depth", 4) > len(weights):
            raise ValueError(f"depth is {network['depth']}")
        with torch.device("meta"):
            claimed = sum(value.numel() for value in UNet(**network).state_dict().values())
    except (RuntimeError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{path.with_name('run.json')}: its 'network' makes no network ({first}); train the run again") from error
    if claimed > (there := sum(value.numel() for value in weights.values())):
        found = f"{path.name} is from another network than run.json describes ({there} numbers, expected {claimed})"
        raise ValueError(f"{path.parent}: {found}; train the run again")


def read_weights(path: str | Path) -> dict:
    """The weights in the file `path`, by name; an error that names it where it holds none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file of weights; was the stage trained?")
    try:
        weights = read_tensors(path)
        odd = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is no file of weights, or a damaged one ({error}); train the run again") from error
    if odd:
        raise ValueError(f"{path}: {odd[0]} holds numbers that are not finite, expected weights of a trained network; train the run again")
    return weights
