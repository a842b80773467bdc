"""A network of one's own goes through all stages, or is refused before the first step."""

import importlib
import inspect
import json
import linecache
import re
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from monai.networks.nets import BasicUNet
from small import TINY, Interrupted, breaking, same
from torch import nn

from semicon_nb.data import part_indices
from semicon_nb.evaluate import evaluate
from semicon_nb.files import content_key
from semicon_nb.identity import source_of
from semicon_nb.methods import FINETUNE_STAGE, METHODS, load_run, train_method
from semicon_nb.networks import build, load_network, load_weights, network_code, network_facts, save_weights
from semicon_nb.plan import NEEDS
from semicon_nb.predict import prediction_of
from semicon_nb.train import finetune
from semicon_nb.unet import UNet

pytestmark = pytest.mark.usefixtures("own_cache")


def own(model, seed=0):
    return build({"model": "own", "classes": 3}, seed, model)


class Monai(nn.Module):
    """MONAI's U-Net with the names that all three stages use."""

    def __init__(self, classes: int = 3, width: int = 4):
        super().__init__()
        self.body = BasicUNet(spatial_dims=2, in_channels=1, out_channels=width, features=(4, 4, 4, 4, 4, width))
        self.pixel_head, self.class_head, self.image_head = nn.Conv2d(width, 8, 1), nn.Conv2d(width, classes, 1), nn.Linear(width, 8)

    def features(self, images):
        return self.body(images)

    def embed_images(self, images):
        return self.image_head(self.features(images).mean((2, 3)))

    def forward(self, images):
        return self.class_head(self.features(images))


def own_run(method, cohort, part, out, model=Monai, **how):
    return train_method(method, cohort, part, TINY, 4, out, progress=False, model=model, **how)


def test_own_network_goes_through_all_stages_and_comes_back(cohort, part, tmp_path):
    run = own_run("global+local(block)", cohort, part, tmp_path / "RUN")
    assert [step.stage for step in run.history] == ["global"] * 3 + ["local"] * 3 + ["finetune"] * 3
    with pytest.raises(ValueError, match="no code is imported because a file names it"):
        load_run(run.folder)
    again = load_run(run.folder, Monai)
    assert isinstance(again.model, Monai) and same(again.model.state_dict(), run.model.state_dict())
    assert run.settings["network"] == {"model": f"{__name__}:Monai", "classes": 3}
    first = again.after("initial")
    assert not same(first.state_dict(), run.model.state_dict()) and same(again.after("finetune").state_dict(), run.model.state_dict())
    assert same(first.state_dict(), own(f"{__name__}:Monai", seed=4).state_dict())
    assert not same(first.state_dict(), own(Monai, seed=5).state_dict())
    assert evaluate(again.model, cohort, part_indices(cohort, part, "test")).slices
    with pytest.raises(ValueError, match="holds files already"):
        own_run("global+local(block)", cohort, part, run.folder)
    before = (run.folder / "model.pt").stat().st_mtime_ns
    assert same(own_run("global+local(block)", cohort, part, run.folder, resume=True).model.state_dict(), run.model.state_dict())
    assert (run.folder / "model.pt").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another run.*network"):
        train_method("global+local(block)", cohort, part, TINY, 4, run.folder, resume=True, progress=False)


def test_own_network_is_asked_for_and_never_imported_because_a_run_names_it(cohort, part, tmp_path):
    def local(classes):
        return Monai(classes)

    run = own_run("scratch", cohort, part, tmp_path / "RUN", model=local)
    with pytest.raises(ValueError, match=r"local, and no code is imported.*load_run\(folder, model=...\)"):
        load_run(run.folder)
    assert same(load_run(run.folder, model=local).model.state_dict(), run.model.state_dict())
    assert same(load_run(run.folder, model=f"{__name__}:Monai").model.state_dict(), run.model.state_dict())
    with pytest.raises(ValueError, match="model.pt: holds the weights of another network"):
        load_run(run.folder, model=lambda classes: Monai(classes, width=2))


def plain(classes):
    """A network that can be fine-tuned, and nothing else."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, classes, 1))


@pytest.mark.parametrize(
    "method, model, error, words",
    [
        (
            "global",
            plain,
            ValueError,
            r"Sequential has no embed_images, but global asks for embed_images\(images\) -> \[B, D\] for the global",
        ),
        ("local(exact)", plain, ValueError, "has no features, pixel_head"),
        ("joint", plain, ValueError, "has no features, pixel_head, class_head"),
        ("cross-pseudo-supervision", Monai, ValueError, r"Monai has no twin.*twin\(seed\) -> a network of the same kind"),
        ("scratch", lambda: nn.Conv2d(1, 5, 1), ValueError, r"makes \[2, 5, 32, 32\].*expected logits \[2, 3, 32, 32\]"),
        ("scratch", lambda: "network", ValueError, r"model \(--model\): .*made str, expected a function or class that builds a torch.nn.Module"),
        ("scratch", lambda: {}["width"], ValueError, r"\(--model\): .*lambda> fails \(KeyError: 'width'\), expected"),
        ("scratch", lambda classes, width: plain(classes), ValueError, r"\(--model\): .* fails \(TypeError: .*width.*\), expected"),
        ("scratch", lambda: nn.Linear(5, 3), ValueError, r"Linear cannot take two slices \(RuntimeError: mat1.*expected logits \[2, 3, 32, 32\] of"),
        ("scratch", lambda: nn.GRU(32, 3), ValueError, "cannot take two slices|makes tuple of two slices"),
        ("scratch", nn.Conv2d(1, 3, 1), TypeError, "such as the class Conv2d"),
        ("scratch", "no.such.module:Network", ValueError, "no.such.module.*cannot be imported"),
        ("scratch", "semicon_nb.unet:Nothing", ValueError, "cannot be imported.*expected package.module:function"),
        ("scratch", "semicon_nb.unet", ValueError, "expected package.module:function, with a colon before the name"),
        ("scratch", "semicon_nb.loop:torch", ValueError, "is module, expected a function or class"),
    ],
)
def test_network_that_will_not_do_is_refused_before_the_first_step(method, model, error, words, cohort, part, tmp_path):
    with pytest.raises(error, match=words):
        own_run(method, cohort, part, tmp_path / "RUN", model=model)
    assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize("text, words", [
    ("def f(:", "SyntaxError"), ("raise RuntimeError('no GPU\\nhere')", r"RuntimeError: no GPU\)"), ("1 / 0", "ZeroDivision"),
])  # fmt: skip
def test_a_module_that_breaks_is_told_in_a_sentence(text, words, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(text)
    importlib.invalidate_caches()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=rf"model \(--model\): 'broken:f' cannot be imported \({words}"):
        build({"model": "broken:f", "classes": 3})


def test_stage_of_an_own_network_is_shared_only_with_the_same_network(cohort, part, tmp_path):
    reused = {}
    for name, method, model in (
        ("a", "global", Monai),
        ("b", "global+local(block)", Monai),
        ("c", "global", lambda classes: Monai(classes, 2)),
    ):
        reused[name] = own_run(method, cohort, part, tmp_path / name, model=model).settings["trained"]["global"]
    assert [reused[name]["reused"] for name in "abc"] == [False, True, False]
    assert reused["a"]["key"] == reused["b"]["key"] != reused["c"]["key"]

    class Changed(Monai):
        def embed_images(self, images):
            return 2 * super().embed_images(images)

    about = {"model": "same", "classes": 3}
    assert network_facts(about, own(Monai)) == network_facts(about, own(Monai))
    assert network_facts(about, own(Monai)) != network_facts(about, own(Changed))


@pytest.mark.parametrize("seed", [10**20, 2**63, -1, 0.5])
def test_a_seed_of_weights_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed: found .*, expected a whole number"):
        build({"classes": 3, "width": 2}, seed)
    assert build({"classes": 3, "width": 2}, 2**63 - 1)


NET = """
import torch
from torch import nn
import layers
from layers import squash
FACTOR = 1.0
def bend(x): return layers.twist(x) * FACTOR
class Head(nn.Module):
    gain = 1.0
    def __init__(self): super().__init__(); self.share = 0.5; self.shifts = [0.0, {"up": 1}]
    @property
    def half(self): return self.share / 2
    @staticmethod
    def turn(x): return x + 0
    def forward(self, x): return self.turn(x) * self.half
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__(); self.layer = nn.Conv2d(1, classes, 1); self.head = Head()
    def forward(self, x):
        return self.head(squash(bend(self.layer(x))))
def unused(x): return x
"""
EDITS = [
    ("net", "return layers.twist(x) * FACTOR", "return layers.twist(x) * FACTOR * 2"), ("net", "FACTOR = 1.0", "FACTOR = 2.0"),
    ("layers", "def squash(x): return", "def squash(x): return 0 *"), ("layers", "def deep(x): return x", "def deep(x): return -x"),
    ("layers", "def twist(x): return x", "def twist(x): return -x"), ("net", "x + 0", "x + 1"), ("net", "self.share / 2", "self.share / 3"),
    ("net", "self.share = 0.5", "self.share = 0.6"), ("net", "{\"up\": 1}", "{\"up\": 2}"), ("net", "squash(bend(", "bend(squash("),
    ("net", "gain = 1.0", "gain = 1.5"),
]  # fmt: skip
LAYERS = """
def deep(x): return x
def squash(x): return [deep(one) for one in [x]][0]
def twist(x): return x
"""


def digest_of(net, layers, folder, monkeypatch):
    """What a network is known by that stands in files of one's own."""
    for name, text in (("net", net), ("layers", layers)):
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    linecache.clearcache()
    importlib.invalidate_caches()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    net = build({"model": "net:Net", "classes": 3})
    return network_facts({}, net)["content"], network_code(net)


@pytest.mark.parametrize("file, old, new", EDITS)
def test_a_network_is_another_when_anything_that_it_leads_to_is_edited(file, old, new, tmp_path, monkeypatch):
    texts = {"net": NET, "layers": LAYERS}
    first = digest_of(**texts, folder=tmp_path, monkeypatch=monkeypatch)
    assert first == digest_of(**texts, folder=tmp_path, monkeypatch=monkeypatch)
    assert old in texts[file]
    other = digest_of(**texts | {file: texts[file].replace(old, new)}, folder=tmp_path, monkeypatch=monkeypatch)
    assert first[0] != other[0] and first[1] != other[1]
    assert first == digest_of(NET.replace("def unused(x): return x", "def unused(x): return 0"), LAYERS, tmp_path, monkeypatch)


def test_a_run_hangs_on_what_its_network_computes_and_not_on_words_or_weights(tmp_path, monkeypatch):
    first = digest_of(NET, LAYERS, tmp_path, monkeypatch)
    said = NET.replace("    def turn(x): return x + 0", '    def turn(x):\n        "Turn."\n        return x + 0  # or not')
    assert said != NET and digest_of(said, LAYERS, tmp_path, monkeypatch)[1] == first[1]
    assert network_code(own(Monai, 1)) == network_code(own(Monai, 2)) != network_code(own(lambda classes: Monai(classes, 2)))


class Acting(nn.Conv2d):
    """Holds a function that it was given, and a factor of its own."""

    def __init__(self, classes, act, factor):
        super().__init__(1, classes, 1)
        self.act, self._factor = act, factor

    def forward(self, x):
        return self._factor * self.act(super().forward(x))


@pytest.mark.parametrize("other", [(torch.abs, 1.0), (nn.functional.gelu, 1.0), (lambda x: 2 * x, 1.0), (torch.relu, 2.0)])
def test_what_a_builder_gives_a_network_counts(other, tmp_path, cohort, part):
    def made(act, factor):
        return own(lambda classes: Acting(classes, act, factor))

    first, now = made(torch.relu, 1.0), made(*other)
    assert network_code(first) == network_code(made(torch.relu, 1.0)) != network_code(now)
    assert network_facts({}, first)["content"] != network_facts({}, now)["content"]
    weights, network = save_weights(tmp_path / "model.pt", first), {"model": "net:Net", "classes": 3}
    with pytest.raises(ValueError, match="is not what it was trained with"):
        load_network(network, weights, lambda classes: Acting(classes, *other), code=network_code(first))
    older = network_code(first).partition("-")[0]
    assert load_network(network, weights, lambda classes: Acting(classes, torch.relu, 1.0), code=older)


def edited_net(folder, old, new, monkeypatch):
    text = "from torch import nn\nclass Net(nn.Conv2d):\n    def __init__(self, classes): super().__init__(1, classes, 1)\n"
    text += "    def forward(self, x): return super().forward(x)\n"
    digest_of(text.replace(old, new), "", folder, monkeypatch)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_is_not_measured_nor_gone_on_with_under_other_code(finished, cohort, part, tmp_path, monkeypatch):
    how = {"out": tmp_path / "RUN", "model": "net:Net"}
    edited_net(tmp_path, "", "", monkeypatch)
    method = METHODS["scratch"] if finished else replace(METHODS["scratch"], stages=(replace(FINETUNE_STAGE, train=breaking(finetune, 1)),))
    with nullcontext() if finished else pytest.raises(Interrupted):
        own_run(method, cohort, part, **how)
    edited_net(tmp_path, "forward(x)\n", "forward(-x)\n", monkeypatch)
    said = "net:Net, is not what it was trained with" if finished else "RUN: was begun with other code.*network is .*go on with the code"
    with pytest.raises(ValueError, match=said):
        own_run("scratch", cohort, part, resume=True, **how)
    edited_net(tmp_path, "forward(x)\n", "forward(x)  # as before\n", monkeypatch)
    run = own_run("scratch", cohort, part, resume=True, **how)
    facts = json.loads((run.folder / "run.json").read_text())
    facts.pop("code")  # as it was before runs said so
    (run.folder / "run.json").write_text(json.dumps(facts))
    edited_net(tmp_path, "forward(x)\n", "forward(-x)\n", monkeypatch)
    assert load_run(run.folder, "net:Net").history == run.history


def test_a_network_that_leads_nowhere_keeps_its_name():
    """Networks of libraries, and those that are whole in themselves, are known by what they were known by before helpers counted."""
    for builder in (Monai, plain, lambda classes: BasicUNet(2, 1, classes, (4, 4, 4, 4, 4, 4))):
        model = own(builder)
        found = {kind for part in model.modules() for kind in type(part).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))}
        functions = [one for kind in sorted(found, key=str) for one in vars(kind).values() if inspect.isfunction(one)]
        weights = [value.detach().double().numpy() for value in model.state_dict().values()]
        layers = re.sub(r" at 0x[0-9a-f]+", "", repr(model))
        assert network_facts({}, model)["content"] == content_key(layers, *map(source_of, functions), *weights)


@pytest.mark.parametrize("name", ["best", "mean-teacher"])
def test_own_network_may_be_averaged_over_looks(name, cohort, part, tmp_path):
    run = own_run(name, cohort, part, tmp_path / "RUN")
    assert prediction_of(run.model) == METHODS[name].prediction
    assert evaluate(run.model, cohort, part_indices(cohort, part, "test")).slices


def test_own_network_with_a_twin_may_learn_from_it(cohort, part, tmp_path):
    class Double(Monai):
        def twin(self, seed):
            return own(Double, seed)

    assert len(own_run("cross-pseudo-supervision", cohort, part, tmp_path / "RUN", model=Double).history) == 3


def test_every_need_is_explained_and_stated():
    stated = {need for method in METHODS.values() for stage in method.stages for need in stage.needs}
    assert stated == set(NEEDS)
    assert all(hasattr(UNet(width=2), need) for need in NEEDS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_needs_what_it_says(name, cohort, part, tmp_path):
    """Without any one of the parts that it names, a stage cannot be trained; without all others it can."""
    method = METHODS[name]
    needs = {need for stage in method.stages for need in stage.needs}

    class Bare(nn.Module):
        """A U-Net that shows only what is asked for."""

        def __init__(self, classes=3, shown=frozenset(needs)):
            super().__init__()
            self.inner, self.shown = UNet(classes, width=2, global_dim=8, pixel_dim=8), shown

        def forward(self, images):
            return self.inner(images)

        def __getattr__(self, name):
            if name in NEEDS and name not in self.__dict__["shown"]:
                raise AttributeError(name)
            return getattr(self.__dict__["_modules"]["inner"], name) if name in NEEDS else super().__getattr__(name)

        def twin(self, seed):
            return Bare(3, self.shown)

    if "twin" not in needs:
        del Bare.twin
    assert own_run(method, cohort, part, tmp_path / "RUN", model=Bare).history


@pytest.mark.parametrize("change", [
    lambda weights: weights.pop("pixel_head.bias"), lambda weights: weights.update(more=torch.zeros(1)),
    lambda weights: weights.update({"pixel_head.bias": torch.zeros(3)}), lambda weights: weights.update({"pixel_head.bias": torch.zeros(8).double()}),
])  # fmt: skip
def test_weights_of_another_network_change_no_weight(change, tmp_path):
    model, other = own(Monai), own(Monai, seed=1)
    weights = other.state_dict()
    change(weights)
    torch.save(weights, tmp_path / "weights.pt")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="weights.pt: holds the weights of another network"):
        load_weights(model, tmp_path / "weights.pt")
    assert same(model.state_dict(), before)
