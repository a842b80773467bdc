"""A GPU that is not there: `SEMICON_CARD=meta pytest -p pretend -m cuda tests/test_cuda.py`.

Tensors say that they are on PyTorch's device "meta", which never holds anything, and are computed on the CPU. An operation that is given
tensors of both places is an error here as on a GPU, and so is a random number on the card from a generator of the CPU. What it cannot
show: autocast, memory, streams, and the card's own rounding.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from semicon_nb import machine

CARD = torch.device("meta")
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""Operations whose indices may lie on the CPU."""
MOVES = {"aten::_to_copy", "aten::copy_", "aten::lift_fresh", "aten::detach", *INDEXED}
"""Operations that may be given tensors of both places."""
_tensor, _autocast, _devices = torch.tensor, torch.autocast, machine.devices


class There(torch.Tensor):
    """A tensor on the card: its shape, and the tensor of the CPU that holds its numbers."""

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        about = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype, "layout": held.layout}
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, device=CARD, **about)

    def __init__(self, held: torch.Tensor):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        return carry_out(function, arguments, named or {})

    def __reduce_ex__(self, protocol):
        return self.held.__reduce_ex__(protocol)

    def tolist(self):
        return self.held.tolist()

    def new_tensor(self, values, **how):
        return _tensor(values, **{"dtype": self.dtype, **how}).to(CARD)

    def numpy(self, *arguments, **named):
        raise TypeError("can't convert a tensor of the card to numpy; use Tensor.cpu() first")

    __array__ = numpy


def carry_out(function: Any, arguments: tuple, named: dict) -> Any:
    """Do an operation on the CPU; what comes out is on the card if its tensors were, or if it says so."""
    flat: list[torch.Tensor] = []
    tree_map(lambda value: flat.append(value) if isinstance(value, torch.Tensor) else None, (arguments, named))
    there = [value for value in flat if isinstance(value, There)]
    here = [value for value in flat if not isinstance(value, There) and value.ndim > 0]
    name, asked = function._schema.name, named.get("device")
    first = isinstance(arguments[0], There) if arguments else False
    if there and here and (name not in MOVES or (name in INDEXED and not first)):
        raise RuntimeError(f"{name}: expected all tensors on one device, found {[list(value.shape) for value in here]} on the CPU")
    stays = bool(there) if asked is None else torch.device(asked).type == CARD.type
    if stays and named.get("generator") is not None:
        raise RuntimeError(f"{name}: expected a generator of the card, found one of the CPU")
    stays = first if name in INDEXED | {"aten::copy_"} else stays
    found = function(*tree_map(_held, arguments), **tree_map(_held, named))
    known = {id(value.held): value for value in there}
    return tree_map(lambda value: known[id(value)] if id(value) in known else There(value) if stays and _plain(value) else value, found)


def _held(value: Any) -> Any:
    if isinstance(value, There):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, There)


class Card(TorchDispatchMode):
    """Inside, tensors can be moved to the card and made there."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        return carry_out(function, arguments, named or {})


def tensor(values: Any, *, device: Any = None, **how: Any) -> torch.Tensor:
    """`torch.tensor`, whose own way to "meta" loses the values."""
    made = _tensor(values, **how)
    return made if device is None else made.to(device)


@pytest.fixture(autouse=True)
def the_card_is_there(monkeypatch) -> Iterator[None]:
    """Every test of the session has it."""
    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(torch, "autocast", lambda kind, *rest, **how: _autocast("cpu" if kind == CARD.type else kind, *rest, **how))
    monkeypatch.setattr(machine, "devices", lambda: [*_devices(), CARD.type])
    with Card():
        yield
