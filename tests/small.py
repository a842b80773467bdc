"""A preset of three steps, stages that break, and commands that are refused, for tests of runs and of the command."""

from dataclasses import replace
from functools import wraps

import numpy as np
import torch

from semicon_nb.cli import main
from semicon_nb.identity import declared, name_of
from semicon_nb.loop import generator_of
from semicon_nb.methods import train_method
from semicon_nb.stages import PRESETS


def tiny_preset(save_every=200):
    """A network of two filters, and three steps a stage."""
    usual, every = PRESETS["demo"], {"global": 0, "local": 0, "finetune": 3}
    stages = {
        name: replace(settings, steps=3, batch=4, warmup=0, precision="fp32", save_every=save_every, validate_every=every[name])
        for name, settings in usual.stages.items()
    }
    stages["local"] = replace(stages["local"], batch=2)
    return replace(usual, name="tiny", width=2, global_dim=8, pixel_dim=8, stages=stages)


TINY = tiny_preset()


def trained(method, cohort, part, out, **how):
    return train_method(method, cohort, part, preset=TINY, out=out, progress=False, cache=False, **how).model.state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def rows_of(cohort, names):
    return np.isin(cohort.volume, [i for i, volume in enumerate(cohort.volumes) if volume.name in set(names)])


class Interrupted(Exception):
    """The power went."""


def breaking(train, after):
    """A stage that stops once after some steps."""
    left = [after]

    @declared(name_of(train))
    @wraps(train)
    def until(*arguments, **named):
        for step in train(*arguments, **named):
            yield step
            if step.step in left:
                left.remove(step.step)
                raise Interrupted

    return until


def in_precision(word, preset=TINY):
    return replace(preset, stages={name: replace(settings, precision=word) for name, settings in preset.stages.items()})


def line_batch(step):
    x = torch.rand(16, 1, generator=generator_of(0, "line", step))
    return x, 3 * x + 1


def squared_error(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def line(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(1, 1)


AFFINE = np.array([[0, 0.9, 0.1, -40], [0.8, 0, 0, 12], [0, 0.1, -1.1, 3], [0, 0, 0, 1.0]])
"""An oblique one, in millimetres."""


def refused(capsys, *arguments):
    """Run a command that must fail: exit code 2, one line, nothing on the standard output."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"semicon-nb {arguments[0]}: ") and "Traceback" not in err
    return err
