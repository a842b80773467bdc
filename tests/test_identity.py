"""Declared names, and the code that a stage reaches, watched as it runs."""

import ast
import importlib
import inspect
import linecache
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import semicon_nb
from semicon_nb import identity
from semicon_nb.data import phantom, split
from semicon_nb.files import content_key
from semicon_nb.identity import code_key, declared, held, module_source, name_of, reached, without_words
from semicon_nb.methods import METHODS
from semicon_nb.stages import PRESETS, Stage, settings_for, stage_code
from semicon_nb.study.ablations import variants
from semicon_nb.study.defects import method_with
from semicon_nb.train import finetune, train_local
from semicon_nb.unet import UNet

PACKAGE = Path(semicon_nb.__file__).parent
TURNED = variants(METHODS)
EVERY = {**METHODS, **TURNED, "released": method_with(METHODS["local(block)"], ["identical_views"])}


def roots(stage):
    return stage.train, *(type(value) for value in stage.options.values())


def different_stages():
    """One stage for each trainer, objective and strategy of all methods."""
    stages = {}
    for method in EVERY.values():
        for stage in method.stages:
            kinds = sorted(type(value).__name__ for value in stage.options.values())
            stages[stage.name, name_of(stage.train), str(stage.options.get("objective")), str(stage.options.get("head")), *kinds] = stage
    return {"-".join(map(str, key)): stage for key, stage in stages.items()}


STAGES = different_stages()


def statement_at(code):
    """The name at the top of its module to whose statement a code object belongs."""
    module = ".".join(Path(code.co_filename).relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for name, statement in identity._parsed(module, module_source(module)).statements.items():
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        if first <= code.co_firstlineno <= statement.end_lineno:
            return identity.Definition(module, name)
    return identity.Definition(module, "?")


def calls_of(run):
    """Every function of the package that is entered while `run` runs."""
    seen = set()

    def watch(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            seen.add(frame.f_code)

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return {statement_at(code) for code in seen if code.co_name not in ("<module>", "mark", "<dictcomp>")}


@pytest.mark.parametrize("name", STAGES)
def test_whatever_a_stage_runs_through_is_in_its_code(name):
    stage = STAGES[name]
    cohort = phantom(subjects=10, size=32)
    part = split(cohort, labelled=0.4)
    preset = PRESETS["demo"].scaled(0.01)
    settings = replace(settings_for(stage, preset, cohort, part), steps=2, batch=2, precision="fp32", average=0.5)
    model = UNet(**preset.network(len(cohort.classes)))
    entered = calls_of(lambda: list(stage.train(model, cohort, part, settings, seed=0, **stage.options)))
    assert len(entered) > 20
    assert entered - set(reached(*roots(stage))) == set()


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_a_change_in_any_of_it_changes_the_key(monkeypatch, every):
    tried = set()
    for stage in STAGES.values():
        before = code_key(*roots(stage))
        for place in sorted(set(reached(*roots(stage))) - tried, key=str)[::every]:
            tried.add(place)
            text = module_source(place.module)
            changed = changed_source(text, identity._parsed(place.module, text).statements[place.name])
            with monkeypatch.context() as patch:
                patch.setattr(identity, "module_source", lambda m, p=place, c=changed: c if m == p.module else module_source(m))
                assert code_key(*roots(stage)) != before, place
        assert code_key(*roots(stage)) == before
    assert len(tried) > 150 / every


def changed_source(text, statement):
    """The text with one more harmless line in a function or class, or one more pair of brackets' worth of value."""
    lines = text.splitlines()
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        last = statement.body[-1]
        lines[last.end_lineno - 1] += f"\n{' ' * last.col_offset}unheard_of = 1"
    else:
        lines[statement.end_lineno - 1] += "\n" + "\n".join(f"{name} = 1" for name in identity._bound(statement))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("predict", METHODS["scratch"].stages[0]),
        ("at_precision", METHODS["global"].stages[0]),
        ("HEADS", TURNED["local(stride) no head"].stages[0]),
        ("pooled_dice", METHODS["scratch"].stages[0]),
        ("OBJECTIVES", METHODS["fixmatch"].stages[0]),
    ],
)
def test_prediction_precision_and_heads_belong_to_a_stage(place, stage):
    assert place in {found.name for found in reached(*roots(stage))}


def test_a_stage_does_not_hang_on_what_it_never_runs():
    names = {place.name for place in reached(train_local)}
    assert not names & {"UMAP", "main", "evaluate", "nifti_pairs", "variants"}


def test_a_declared_name_outlives_a_move():
    @declared("semicon_nb.train.somewhere")
    def elsewhere():
        pass

    def mine():
        pass

    assert name_of(elsewhere) == "semicon_nb.train.somewhere"
    assert name_of(mine) == f"{__name__}.test_a_declared_name_outlives_a_move.<locals>.mine"
    assert {name_of(stage.train) for method in EVERY.values() for stage in method.stages} == {
        "semicon_nb.train.train_global",
        "semicon_nb.train.train_local",
        "semicon_nb.train.finetune",
        "semicon_nb.semisupervised.finetune_with",
        "semicon_nb.semisupervised.train_masked",
        "semicon_nb.semisupervised.train_positional",
        "semicon_nb.ablations.train_local_with",
        "semicon_nb.defects.train_local_identical",
    }


@pytest.mark.parametrize(("text", "same"), [
    ("def f(x):\n\n    return x  # as it came\n", True),
    ("def f(x: int) -> int:\n    return x\n", True),
    ("def f(x):\n    return -x\n", False),
])  # fmt: skip
def test_words_do_not_count_and_code_does(text, same):
    one, other = (ast.parse(code).body[0] for code in ('def f(x):\n    "Doc."\n    return x\n', text))
    assert (without_words(one) == without_words(other)) == same


def own(source, name="mine"):
    """A function as a notebook would define it."""
    place: dict = {"__name__": "own", "finetune": finetune}
    file = f"<own {hash(source)}>"
    exec(compile(source, file, "exec"), place)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return place[name]


def test_an_own_function_counts_by_its_source():
    one, two = (own(f"def mine(model):\n    yield {value}\n") for value in (1, 2))
    assert code_key(one) != code_key(two)
    assert code_key(one) == code_key(own("def mine(model):\n    yield 1\n"))


VALUES = [
    ("None", "0"), ("2.5e-3", "2.6e-3"), ("'a'", "'b'"), ("b'a'", "b'b'"), ("[1.0, 2]", "[1.0, 3]"), ("{'weight': 1.0}", "{'weight': 5.0}"),
    ("{(0, 1): 'a'}", "{(0, 2): 'a'}"), ("{'a', 'b', 'c'}", "{'a', 'b', 'd'}"), ("(1, [2])", "(1, [3])"), ("[print, mine]", "[len, mine]"),
    ("numpy.arange(5000)", "numpy.r_[0:2000, 7, 2001:5000]"), ("numpy.float32(1)", "numpy.float32(2)"),
    ("numpy.array([1, 'a'], object)", "numpy.array([1, 'b'], object)"), ("partial(twice, 1)", "partial(thrice, 1)"), ("partial(min, 1)", "partial(min, 2)"),
    ("torch.zeros(5000)", "torch.eye(5000, 1)[:, 0]"), ("torch.zeros(2, dtype=torch.bfloat16)", "torch.zeros(2)"), ("pandas.Series([1, 2])", "pandas.Series([1, 3])"),
    ("SimpleNamespace(w=1.0)", "SimpleNamespace(w=5.0)"), ("StageSettings(1)", "StageSettings(2)"), ("[twice]", "[thrice]"), ("{'rule': twice}", "{'rule': thrice}"),
]  # fmt: skip


@pytest.mark.parametrize("before, after", VALUES)
def test_whatever_an_own_function_takes_from_beside_it_counts(before, after):
    """The same value made twice is the same, as two processes have it."""
    beside = "import numpy, pandas, torch\nfrom functools import partial\nfrom types import SimpleNamespace\nfrom semicon_nb.loop import StageSettings\n"
    source = "def twice(x): return 2 * x\ndef thrice(x): return 3 * x\ndef mine(model):\n    rate = CONFIG\n    yield rate\n"
    keys = []
    for value in (before, before, after):
        function = own(beside + source + f"CONFIG = {value}\n")
        function.__globals__["__name__"] = function.__module__ = "__main__"
        keys.append(code_key(function))
    assert keys[0] == keys[1] != keys[2]


LOSSES = "def loss(x): return {0} * x\nWEIGHT = {0}\nclass Loss:\n    def __call__(self, x): return {0} * x\n"
USES = {
    "imported inside": "def mine(x):\n    from {0}.losses import loss\n    return loss(x)\n",
    "imported inside, from beside": "def mine(x):\n    from .losses import loss as other\n    return other(x)\n",
    "a module imported inside": "def mine(x):\n    import {0}.losses as losses\n    return losses.loss(x)\n",
    "beside a library": "def mine(x):\n    import json, {0}.losses\n    return {0}.losses.loss(x)\n",
    "a module in its package": "import {0}.losses\ndef mine(x): return {0}.losses.loss(x)\n",
    "a number of a module in its package": "import {0}.losses\ndef mine(x): return {0}.losses.WEIGHT * x\n",
    "an object": "from .losses import Loss\nLOSS = Loss()\ndef mine(x): return LOSS(x)\n",
    "a list": "from .losses import loss\nALL = [loss]\ndef mine(x): return ALL[0](x)\n",
    "a method": "from .losses import loss\nclass Mine:\n    def train(self, x): return loss(x)\nmine = Mine().train\n",
    "an object that can be called": "from .losses import loss\nclass Mine:\n    def __call__(self, x): return loss(x)\nmine = Mine()\n",
    "a partial": "from functools import partial\nfrom .losses import loss\ndef one(x, f): return f(x)\nmine = partial(one, f=loss)\n",
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("option", [False, True])
def test_an_edit_in_another_file_of_ones_own_counts_however_it_is_named(use, option, tmp_path, monkeypatch):
    keys = []
    for number, value in enumerate((1, 1, 22)):  # read as another process would read the edited file
        place = tmp_path / str(number) / "edited"
        place.mkdir(parents=True)
        (place / "__init__.py").touch()
        (place / "losses.py").write_text(LOSSES.format(value))
        (place / "train.py").write_text(USES[use].format("edited"))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(place.parent)
            found = importlib.import_module("edited.train").mine
            stage = Stage("local", train_local, {"loss": {"kinds": [found]}}) if option else Stage("local", found)
            keys.append(content_key(stage.describe(), stage_code(stage)))
            assert "code" in stage.describe()
        for name in [name for name in sys.modules if name.partition(".")[0] == "edited"]:
            del sys.modules[name]
    assert keys[0] == keys[1] != keys[2]


class Kept:
    """Trains with what it was made with."""

    def __init__(self, weight):
        self.weight = weight

    def train(self, model, cohort, split, settings, seed=0, folder=None, resume=False):
        return self.weight

    __call__ = train


def closed(weight):
    return lambda *_, **__: weight


def usual(value):
    def train(model, cohort, split, settings, seed=0, folder=None, resume=False, weight=value):
        return weight

    return train


def around(inner):
    def train(model, cohort, split, settings, seed=0, folder=None, resume=False):
        return inner(model)

    return train


HOLDERS = [lambda w: Kept(w).train, Kept, closed, usual, lambda w: around(closed(w)), lambda w: partial(train_local, form=w), lambda w: partial(usual(w))]


@pytest.mark.parametrize("make", HOLDERS)
def test_what_a_trainer_was_made_with_counts(make):
    def key(weight):
        stage = Stage("local", make(weight))
        return content_key(stage.describe(), stage_code(stage))

    assert key("supcon") == key("supcon") != key("printed")


def test_a_function_without_a_source_counts_by_what_python_runs_of_it():
    program = "import sys\nfrom semicon_nb.identity import code_key\ndef other(x): return x in {'a', 'b', W}\ndef mine(x): return other(x) + V\nprint(code_key(mine))"

    def key(number, word):
        done = subprocess.run([sys.executable, "-"], input=f"V, W = {number}, {word!r}\n{program}", capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
        return done.stdout

    assert key(1, "c") == key(1, "c") != key(2, "c")


def test_a_value_that_has_the_name_of_a_variable_does_not_count():
    def key(value):
        function = own(f"def mine(model, cohort):\n    for step in range(3):\n        yield [step, cohort]\nstep = cohort = {value}\n")
        function.__module__ = "__main__"
        return code_key(function)

    assert key("[1]") == key("[2]")


def test_a_value_that_holds_itself_has_an_end():
    loop: list = [1]
    loop.append(loop)
    assert held(loop) == [1, "itself"] and held({"a": loop}) == [["a", [1, "itself"]]]


def test_an_own_function_leads_on_to_the_package():
    def mine(model, cohort, split, settings, seed=0, folder=None, resume=False):
        yield from finetune(model, cohort, split, settings, seed)

    assert set(reached(finetune)) < set(reached(mine))
    assert inspect.getsource(mine) in reached(mine).values()
