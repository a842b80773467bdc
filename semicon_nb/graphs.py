"""A step of training on an NVIDIA GPU as one CUDA graph: recorded after a few ordinary steps, then replayed without hundreds of launches."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = []

WARM = 3
"""Ordinary steps before the recording, in which libraries take their memory."""

_ALONE = threading.Lock()
"""Held while a step is recorded: whatever waits for the whole GPU in another thread would spoil the recording."""


class Replayed:
    """A `step`, tensors -> scalar, that is recorded on a GPU and replayed with other numbers.

    It does the same operations each time, and none of them waits for the GPU.
    """

    def __init__(self, step: Callable[..., Tensor]):
        self.step, self.taken = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.found = torch.empty(())

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Take the step once, for a batch of tensors [*]; a scalar, which the next call writes over.

        ValueError for a batch of another shape than the one that was recorded.
        """
        with torch.cuda.device(tensors[0].device):  # which need not be the first GPU
            return self.take(tensors)

    def take(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Take the step as it is, or record it, or replay it, for a batch on the current GPU."""
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

    def aside(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Take an ordinary step on a stream beside the usual one, as PyTorch asks for before a recording."""
        usual, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(usual)
        with torch.cuda.stream(beside):
            found = self.step(*tensors)
        usual.wait_stream(beside)
        return found

    def record(self, tensors: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        """Write down what the step does with such a batch; nothing is computed."""
        self.inputs, graph = tuple(tensor.clone() for tensor in tensors), torch.cuda.CUDAGraph()
        with _ALONE, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.found = self.step(*self.inputs)
        return graph


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step; a recorded step reads it from the GPU's memory."""
    group = optimiser.param_groups[0]
    if torch.is_tensor(group["lr"]):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
