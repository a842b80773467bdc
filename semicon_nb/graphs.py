"""A step of training on an NVIDIA GPU as one CUDA graph: recorded after a few ordinary steps, then replayed without hundreds of launches."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .machine import device_of

__all__ = []

WARM = 3
"""Ordinary steps before the recording, in which libraries take their memory."""

_ALONE = threading.Lock()
"""Held while a step is recorded: whatever waits for the whole GPU in another thread would spoil the recording."""


class Replayed:
    """A step that is recorded on a GPU and replayed with other numbers."""

    def __init__(
        self,
        step: Callable[..., Tensor],  # tensors -> scalar; the same operations each time, none of which waits for the GPU
    ):
        self.step, self.taken = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.found = torch.empty(())

    def __call__(
        self,
        *tensors: Tensor,  # a batch: tensors [*] of the same shapes each time
    ) -> Tensor:  # scalar, what the step returns; the next call writes over it
        """Take the step once; ValueError for a batch of another shape than the one that was recorded."""
        with torch.cuda.device(tensors[0].device):  # which need not be the first GPU
            return self.take(tensors)

    def take(
        self,
        tensors: tuple[Tensor, ...],  # a batch: tensors [*] on the current GPU
    ) -> Tensor:  # scalar
        """Take the step as it is, or record it, or replay it; ValueError for a batch of another shape."""
        self.taken += 1
        if self.taken <= WARM:
            return self.aside(tensors)
        if self.graph is None:
            self.graph = self.record(tensors)
        if [own.shape for own in self.inputs] != [new.shape for new in tensors]:
            raise ValueError(f"batch: found {[list(new.shape) for new in tensors]}, expected {[list(own.shape) for own in self.inputs]}")
        for own, new in zip(self.inputs, tensors, strict=True):
            own.copy_(new)
        self.graph.replay()
        return self.found

    def aside(
        self,
        tensors: tuple[Tensor, ...],  # a batch: tensors [*]
    ) -> Tensor:  # scalar
        """Take an ordinary step on a stream beside the usual one, as PyTorch asks for before a recording."""
        usual, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(usual)
        with torch.cuda.stream(beside):
            found = self.step(*tensors)
        usual.wait_stream(beside)
        return found

    def record(
        self,
        tensors: tuple[Tensor, ...],  # a batch: tensors [*], which are not trained on yet
    ) -> torch.cuda.CUDAGraph:
        """Write down what the step does; nothing is computed."""
        self.inputs, graph = tuple(tensor.clone() for tensor in tensors), torch.cuda.CUDAGraph()
        with _ALONE, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.found = self.step(*self.inputs)
        return graph


def replayed(
    step: Callable[..., Tensor],  # as `Replayed` takes it
    model: nn.Module,  # that it trains
) -> Replayed | None:
    """The step, ready to be recorded; None where the network is not on an NVIDIA GPU."""
    return Replayed(step) if device_of(model).type == "cuda" else None


def set_rate(
    optimiser: torch.optim.Optimizer,  # changed in place
    rate: float,  # learning rate of the next step
) -> None:
    """Say how far the next step goes; a recorded step reads it from the GPU's memory."""
    group = optimiser.param_groups[0]
    if torch.is_tensor(group["lr"]):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
