"""Every public name says what it is: types, shapes and units of its parameters and result, and when it raises."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "semicon_nb"
SOURCES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "-"): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "_modidx"
}
TREES = {module: ast.parse(text).body for module, text in SOURCES.items()}
CLASSES = {node.name: node for body in TREES.values() for node in body if isinstance(node, ast.ClassDef)}

SPEAKING = re.compile(rf"\b({'|'.join(CLASSES)}|Shape|Namespace|ArgumentParser|\w*Error|\w*Exception)\b")
"""Types that say what a parameter is: the package's own, which are documented themselves, and a few of others."""
HANDED = {"self", "cls", "change", "button", "trace", "points", "found", "state", "selector"}
"""What Python, traitlets and plotly hand to a method; a type is enough."""


def methods_of(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """A class's public methods, its constructor and its call."""
    found = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    return [part for part in found if part.name in ("__init__", "__call__") or not part.name.startswith("_")]


def above(node: ast.ClassDef, name: str) -> Iterator[ast.FunctionDef]:
    """The methods that one of this name takes the place of."""
    for base in (CLASSES[one.id] for one in node.bases if isinstance(one, ast.Name) and one.id in CLASSES):
        yield from (part for part in methods_of(base) if part.name == name)
        yield from above(base, name)


def named(body: list[ast.stmt]) -> set[str]:
    """What a module's `__all__` holds; where it has none, what it defines without an underscore."""
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")}


def public() -> Iterator[tuple[str, ast.FunctionDef, str, set[str]]]:
    """Name, definition, docstring and inherited parameters of every public function and method."""
    for module, body in TREES.items():
        for node in body:
            if getattr(node, "name", None) not in named(body):
                continue
            if isinstance(node, ast.FunctionDef):
                yield f"{module}.{node.name}", node, ast.get_docstring(node) or "", set()
            for part in methods_of(node) if isinstance(node, ast.ClassDef) else ():
                older = [*above(node, part.name)]
                known = {one.arg for old in older for one in old.args.args}
                said = " ".join(ast.get_docstring(one) or "" for one in ([node] if part.name == "__init__" else [part, *older]))
                yield f"{module}.{node.name}.{part.name}", part, said, known


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    """All parameters, but for private ones."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, spec.vararg, *spec.kwonlyargs, spec.kwarg]
    return [one for one in every if one is not None and not one.arg.startswith("_")]


def beside(name: str, node: ast.expr | ast.arg | ast.AnnAssign) -> str:
    """The comment at the end of a line of a module."""
    return SOURCES[name.split(".")[0]].splitlines()[node.end_lineno - 1].partition("#")[2]


def holds_numbers(kind: str) -> bool:
    """Whether a type is an array, and not a function of arrays."""
    return bool(re.search(r"\b(Tensor|ndarray)\b", kind)) and "Callable" not in kind


def shape_of(words: str) -> bool:
    """Whether words give a shape such as [B, C, H, W]."""
    return "[" in words or "scalar" in words


def unexplained(name: str, function: ast.FunctionDef, said: str, inherited: set[str]) -> Iterator[str]:
    """What is not said of a function's parameters."""
    for one in arguments(function):
        kind = ast.unparse(one.annotation) if one.annotation else ""
        words = beside(name, one) if one.lineno > function.lineno else ""
        if not kind and one.arg not in ("self", "cls"):
            yield f"the type of {one.arg}"
        if one.arg in HANDED | inherited:
            continue
        if not (words or SPEAKING.search(kind) or re.search(rf"\b{one.arg}\b", said, re.I)):
            yield f"what {one.arg} is, beside it or in the docstring"
        if holds_numbers(kind) and not shape_of(words + said):
            yield f"the shape of {one.arg}"


def unsaid(name: str, function: ast.FunctionDef, said: str) -> Iterator[str]:
    """What is not said of a function, of its result and of its errors."""
    if not said.strip():
        yield "what it is for"
    if function.name != "__init__":
        kind = ast.unparse(function.returns) if function.returns else ""
        if not kind:
            yield "the type of its result"
        elif holds_numbers(kind) and not shape_of(beside(name, function.returns) + said):
            yield "the shape of its result"
    raised = [ast.unparse(node.exc) for node in ast.walk(function) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    raised = [error for error in raised if not error.startswith("NotImplementedError")]
    shown = name.startswith("cli.") or "in_place" in map(ast.unparse, function.decorator_list)  # there errors become sentences
    if raised and not shown and not re.search(r"Error\b|\b[Rr]aise|\berror\b|\brefuse", said):
        yield f"when it raises {raised[0][:80]}"


@pytest.mark.parametrize("module", SOURCES)
def test_functions_say_what_they_take_give_and_raise(module):
    ours = [found for found in public() if found[0].startswith(f"{module}.")]
    lacking = {one[0]: [*unexplained(*one), *unsaid(*one[:3])] for one in ours}
    assert not (lacking := {name: lacks for name, lacks in lacking.items() if lacks}), f"not said: {lacking}"


@pytest.mark.parametrize("module", SOURCES)
def test_classes_say_what_they_hold(module):
    for node in [node for node in TREES[module] if isinstance(node, ast.ClassDef) and node.name in named(TREES[module])]:
        said = ast.get_docstring(node) or ""
        assert said, f"{node.name}: no docstring"
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                words = beside(f"{module}.", field) or SPEAKING.search(ast.unparse(field.annotation))
                assert words or re.search(rf"\b{field.target.id}\b", said, re.I), f"{node.name}.{field.target.id}: say what it is"
