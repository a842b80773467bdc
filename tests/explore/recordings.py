"""A short training that was watched: `from recordings import parts, recorded, watched  # noqa: F401`."""

import numpy as np
import pytest
import torch

from semicon_nb.data import part_indices, split
from semicon_nb.explore import Recorder
from semicon_nb.train import StageSettings, finetune, train_local
from semicon_nb.unet import UNet

_SETTINGS = StageSettings(steps=6, batch=2, rate=1e-3, validate_every=3)


def _fresh() -> UNet:
    """The same untrained network every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(width=4, depth=2, pixel_dim=8)


@pytest.fixture(scope="session")
def parts(small_phantom):
    """All volumes labelled."""
    return split(small_phantom, labelled=1.0, seed=0)


@pytest.fixture(scope="session")
def watched(small_phantom, parts):
    """A test slice, and labels that hold both structures."""
    chosen = part_indices(small_phantom, parts, "test")[6:7]
    return small_phantom.images[chosen], np.maximum(small_phantom.labels[chosen], np.eye(32, dtype=int)[None])


@pytest.fixture(scope="session")
def recorded(small_phantom, parts, watched, tmp_path_factory):
    """A recording of a local stage and a fine-tuning, its network, and its folder."""
    folder, model = tmp_path_factory.mktemp("recording"), _fresh()
    recorder = Recorder(model, *watched, small_phantom.classes, every=2, folder=folder, name="both stages", count=120)
    list(recorder.watch(train_local(model, small_phantom, parts, _SETTINGS, seed=0)))
    list(recorder.watch(finetune(model, small_phantom, parts, _SETTINGS, seed=0)))
    return recorder, model, folder


@pytest.fixture(scope="session")
def train_unwatched(small_phantom, parts):
    """Trains the same network in the same way, and gives it back."""

    def train() -> UNet:
        model = _fresh()
        list(train_local(model, small_phantom, parts, _SETTINGS, seed=0))
        list(finetune(model, small_phantom, parts, _SETTINGS, seed=0))
        return model

    return train
