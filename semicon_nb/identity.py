"""What decides a cached stage or a stored result: declared names, and the code that a stage reaches.

Neither may hang on where a file stands: a trainer keeps its declared name, and code is compared by what it says.
"""

import ast
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path, PurePath
from symtable import SymbolTable, symtable
from types import CodeType, SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from .files import content_key
from .names import COHORT_LINES

__all__ = ["code_key", "declared"]

PACKAGE = __name__.partition(".")[0]
Function = TypeVar("Function", bound=Callable[..., Any])


def declared(name: str) -> Callable[[Function], Function]:
    """Give a function the name that keys of results and stages know it by, wherever it stands."""

    def mark(function: Function) -> Function:
        function.declared_name = name  # type: ignore[attr-defined]
        return function

    return mark


def name_of(function: Callable) -> str:
    """A function's declared name, else its module and its own; of a partial that of its function, of an object that can be called its class's."""
    if isinstance(function, partial):
        return name_of(function.func)
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return getattr(named, "declared_name", f"{named.__module__}.{named.__qualname__}")


class Definition(NamedTuple):
    """A name at the top of a module of this package."""

    module: str
    name: str


class Module(NamedTuple):
    """What stands at the top of a module."""

    statements: dict[str, ast.stmt]  # name -> the statement that binds it
    imports: dict[str, tuple[str, str]]  # name -> module and name there; "" for the module itself


@cache
def module_source(module: str) -> str:
    """The text of a module as it was when first asked for; empty where it has none."""
    spec = find_spec(module)
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin and spec.origin.endswith(".py") else ""


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    else:
        yield from (n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _imported(tree: ast.AST, module: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """What the import statements anywhere below bind, as far as it comes from this package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            said = "." * node.level + (node.module or "")
            source = resolve_name(said, _folder(module)) if node.level else said
            if source.partition(".")[0] == PACKAGE:
                for alias in node.names:
                    whole = f"{source}.{alias.name}"
                    yield alias.asname or alias.name, (whole, "") if _is_module(whole) else (source, alias.name)


@cache
def _folder(module: str) -> str:
    """The package that a module's relative imports start from."""
    spec = find_spec(module)
    return module if spec and spec.submodule_search_locations else module.rpartition(".")[0]


@cache
def _is_module(name: str) -> bool:
    above = name.rpartition(".")[0]
    return _folder(above) == above and find_spec(name) is not None


@cache
def _parsed(module: str, source: str) -> Module:
    tree = ast.parse(source)
    statements = {name: statement for statement in tree.body for name in _bound(statement)}
    tops = ast.Module([s for s in tree.body if not isinstance(s, ast.FunctionDef | ast.ClassDef)], [])
    return Module(statements, dict(_imported(tops, module)))


def _find(module: str, name: str) -> Definition | None:
    """Where a name that a module uses is defined in this package."""
    content = _parsed(module, module_source(module))
    if name in content.statements:
        return Definition(module, name)
    if name in content.imports and content.imports[name][1]:
        return _find(*content.imports[name])
    return None


@cache
def _named(statement: ast.stmt, module: str) -> tuple[dict[str, tuple[str, str]], list[str], list[tuple[str, str]]]:
    """What a statement imports, the names in it, and the names with a member of theirs: read once, for every run asks."""
    nodes = list(ast.walk(statement))
    names = dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name))
    members = dict.fromkeys((node.value.id, node.attr) for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name))
    return dict(_imported(statement, module)), list(names), list(members)


def _mentions(statement: ast.stmt, module: str) -> Iterator[Definition]:
    """The package's own definitions that a statement names, types included."""
    inside, names, members = _named(statement, module)
    local = _parsed(module, module_source(module)).imports | inside
    found = [_find(*local[name]) if local.get(name, ("", ""))[1] else _find(module, name) for name in names]
    found += [_find(local[name][0], member) for name, member in members if local.get(name, ("", "?"))[1] == ""]
    yield from filter(None, found)


def _foreign(function: Callable, known: dict[str, str]) -> Iterator[Definition]:
    """The package's definitions that a reader's own function or class leads to; its source, and the plain values that it names, are added to `known`."""
    name = f"{function.__module__}.{function.__qualname__}"
    text = source_of(function) or _compiled(function)
    if name in known or not text:
        return
    known[name] = text
    for word, value in _named_in(function):
        for one in _code_in(value):
            yield from _start(one, known, function.__module__)
        if not _is_code(value):
            known[f"{function.__module__}.{word}"] = repr(value) if isinstance(value, int | float | str | bytes) else content_key(held(value))


def _start(value: Callable, known: dict[str, str], beside: str = "") -> Iterator[Definition]:
    module, name = value.__module__, value.__qualname__.partition(".")[0]
    if module.partition(".")[0] == PACKAGE:
        yield Definition(module, name)
    elif not beside or module == beside or is_own(value):
        yield from _foreign(value, known)


def _named_in(function: Callable) -> Iterator[tuple[str, Any]]:
    """The functions, classes and values of one's own that a function or class names, where it stands or in a module that it names."""
    inner: Any = inspect.unwrap(function) if inspect.isfunction(function) else function
    for name, value in _uses(inner, textwrap.dedent(source_of(function))):
        if _is_code(value) or (is_own(inner) and not name.startswith("__") and is_data(value)):
            yield name, value


def _uses(inner: Any, text: str) -> Iterator[tuple[str, Any]]:
    """What a function or class with this source uses, by name: its closure, its defaults, names that are global, and members of modules of one's own."""
    around = vars(sys.modules.get(inner.__module__) or object) | getattr(inner, "__globals__", {})
    if inspect.isfunction(inner):
        with suppress(ValueError):  # of a cell that is not filled yet
            yield from inspect.getclosurevars(inner).nonlocals.items()
        if (inner.__defaults__ or inner.__kwdefaults__) and not _says_its_defaults(text):
            yield "its defaults", [inner.__defaults__, inner.__kwdefaults__]
    if not text:
        yield from ((name, around[name]) for code in _codes(inner) for name in code.co_names if name in around)
    try:
        tree, free = ast.parse(text), set(_free_names(symtable(text, "own", "exec")))
    except (SyntaxError, ValueError):  # of a line that holds more than a lambda
        return
    known = {name: value for name, value in around.items() if name in free} | dict(_imported_inside(tree, inner.__module__))

    def value_of(node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return known.get(node.id, NotImplemented)
        inside = value_of(node.value) if isinstance(node, ast.Attribute) else None
        return getattr(inside, node.attr, NotImplemented) if inspect.ismodule(inside) else NotImplemented  # type: ignore[attr-defined]

    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in known:
            yield node.id, known[node.id]
        elif isinstance(node, ast.Attribute) and is_own_module(value_of(node.value)):
            yield node.attr, value_of(node)


def _says_its_defaults(text: str) -> bool:
    """Whether a function's source holds the values of its arguments that need not be given: numbers and words, and no names."""
    try:
        (function,) = ast.parse(text).body
        for value in [*function.args.defaults, *filter(None, function.args.kw_defaults)]:  # type: ignore[attr-defined]
            ast.literal_eval(value)
    except (SyntaxError, ValueError, AttributeError):
        return False
    return True


def _imported_inside(tree: ast.AST, module: str) -> Iterator[tuple[str, Any]]:
    """What the import statements anywhere in a piece of source of one's own bind, as far as it is of this package or of one's own."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)):
        for alias in node.names:
            with suppress(Exception):  # what cannot be imported cannot be used either
                yield _bound_by(node, alias, module)


def _bound_by(node: ast.Import | ast.ImportFrom, alias: ast.alias, module: str) -> tuple[str, Any]:
    """The name that one part of an import statement binds, and what to; ImportError as of `_own_module`."""
    if isinstance(node, ast.Import):
        whole, top = _own_module(alias.name), alias.name.partition(".")[0]
        return (alias.asname, whole) if alias.asname else (top, sys.modules[top])
    said = "." * node.level + (node.module or "")
    source = _own_module(resolve_name(said, _folder(module)) if node.level else said)
    if not hasattr(source, alias.name):
        import_module(f"{source.__name__}.{alias.name}")
    return alias.asname or alias.name, getattr(source, alias.name)


def _own_module(name: str) -> Any:
    """The module of this name, imported; ImportError where it is neither of this package nor of one's own."""
    top = name.partition(".")[0]
    spec = find_spec(top)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    if top != PACKAGE and not any(place and Path(place).exists() and not _is_installed(place) for place in places):
        raise ImportError(f"{name} is not one's own")
    return import_module(name)


def _codes(function: Any) -> list[CodeType]:
    """What Python runs of a function, or of the methods of a class."""
    members = vars(function).values() if inspect.isclass(function) else [function]
    return [one.__code__ for one in members if inspect.isfunction(one)]


def _compiled(function: Any) -> str:
    """What Python runs of a function or class whose source is nowhere, such as one that was typed in."""

    def said(code: CodeType) -> list:
        return [code.co_code.hex(), code.co_names, [said(one) if isinstance(one, CodeType) else content_key(held(one)) for one in code.co_consts]]

    codes = _codes(function)
    return repr([said(code) for code in codes]) if codes else ""


def _free_names(scope: SymbolTable) -> Iterator[str]:
    """Names in a source that are none of its functions' arguments or variables."""
    for symbol in scope.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or scope.get_type() == "module"):
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from _free_names(inner)


def _is_code(value: Any) -> bool:
    return inspect.isfunction(value) or inspect.isclass(value)


def _code_in(value: Any, above: tuple[int, ...] = ()) -> Iterator[Callable]:
    """The functions and classes in a value: itself, or those that a container, a partial, a method or an object of one's own holds.

    `above` are the objects that it is a part of.
    """
    if _is_code(value):
        yield value
    elif id(value) not in above:
        parts: Any = ()
        if isinstance(value, partial):
            parts = [value.func, value.args, value.keywords]
        elif inspect.ismethod(value):
            parts = [value.__func__, value.__self__]
        elif isinstance(value, list | tuple | set | frozenset | dict):
            parts = value.values() if isinstance(value, dict) else value
        elif is_own(type(value)):
            parts = [type(value), *getattr(value, "__dict__", {}).values()]
        for one in parts:
            yield from _code_in(one, (*above, id(value)))


def makers(value: Any) -> list[Callable]:
    """The functions and classes that decide how a training function or an option of it acts: itself or its class, and those of one's own in it."""
    first = value if _is_code(value) or inspect.isbuiltin(value) else value.__func__ if inspect.ismethod(value) else type(value)
    inside = [value.func] if isinstance(value, partial) and _is_code(value.func) else []
    return [first, *inside, *(one for one in _code_in(value) if is_own(one))]


_DATA = (type(None), int, float, complex, str, bytes, list, tuple, dict, set, frozenset, np.ndarray, np.generic, torch.Tensor, SimpleNamespace, partial)


def is_data(value: Any) -> bool:
    """Whether a value is made of numbers and words, such as a table, or is an object of a reader's own class: `held` says what is in it."""
    made_of = isinstance(value, _DATA) or hasattr(type(value), "__array__") or is_dataclass(type(value))
    return made_of or is_own(type(value))


def held(value: Any, above: tuple[int, ...] = ()) -> Any:
    """All that a value holds, for `content_key`: numbers, words, and the members of containers, arrays and own objects; the kind of any other.

    `above` are the objects that it is a part of.
    """
    if value is None or isinstance(value, int | float | str | np.ndarray | np.generic | torch.Tensor):
        return value
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, dict):
        return [[held(name, above), held(one, above)] for name, one in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(content_key(held(one, above)) for one in value)
    if isinstance(value, list | tuple):
        return [held(one, above) for one in value]
    if _is_code(value):
        return name_of(value)
    if isinstance(value, partial) or inspect.ismethod(value):
        parts = (value.func, value.args, value.keywords) if isinstance(value, partial) else (value.__func__, value.__self__)
        return [held(one, above) for one in parts]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, bytes | complex):
        return [kind, repr(value)]
    if hasattr(type(value), "__array__"):
        return [kind, held(getattr(value, "columns", None) is not None and list(value.columns), above), np.asarray(value)]
    if is_data(value):
        inside = vars(value) if hasattr(value, "__dict__") else {part.name: getattr(value, part.name) for part in fields(value)}
        return [kind, held(inside, above)]
    return [kind, getattr(value, "__qualname__", getattr(value, "__name__", ""))]


def spelled(value: Any) -> str:
    """A setting in words that change with anything it holds: of this package's as it prints, of others with digits of their content."""
    if _is_code(value):
        return name_of(value)
    plain = value is None or isinstance(value, int | float | str) or type(value).__module__.partition(".")[0] == PACKAGE
    return str(value) if plain else f"{type(value).__qualname__} {content_key(held(value))}"


def is_own(value: Any) -> bool:
    """Whether a module, function or class is a reader's own: neither this package's, by its declared name if it has one, nor installed, nor Python's."""
    place = value.__name__ if inspect.ismodule(value) else value.__module__
    file, called = getattr(sys.modules.get(place), "__file__", None), getattr(value, "declared_name", place)
    return called.partition(".")[0] != PACKAGE and (place == "__main__" or bool(file and not _is_installed(file)))


def _is_installed(place: str) -> bool:
    return any(Path(place).is_relative_to(one) for one in sysconfig.get_paths().values())


def is_own_module(value: Any) -> bool:
    """Whether this is a module, and a reader's own."""
    return inspect.ismodule(value) and is_own(value)


def source_of(function: Callable) -> str:
    """The source of a function or class, empty where there is none to be read."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


@cache
def without_words(statement: ast.stmt) -> str:
    """The syntax tree of a statement, without comments, docstrings and the types of arguments and results."""
    return ast.dump(_bare(statement))


def gist_of(text: str) -> str:
    """The source of a function or class as Python writes it, without words, the same for all versions of Python; other text as it is."""
    try:
        (statement,) = ast.parse(textwrap.dedent(text)).body
    except (SyntaxError, ValueError):  # of a line that holds more than a lambda, or more than one
        return text
    return ast.unparse(_bare(statement))


def _bare(statement: ast.stmt) -> ast.Module:
    tree = ast.parse(ast.unparse(statement))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node.body = [line for line in node.body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return tree


def reached(*roots: Callable) -> dict[Definition | str, str]:
    """The code that `roots`, functions or classes, lead to by the names they use, without its words: definition -> what it says."""
    own: dict[str, str] = {}
    waiting = [definition for root in roots for definition in _start(root, own)]
    found: dict[Definition | str, str] = {}
    while waiting:
        definition = waiting.pop()
        statement = _parsed(definition.module, module_source(definition.module)).statements.get(definition.name)
        if definition in found or statement is None:
            continue
        found[definition] = without_words(statement)
        waiting += _mentions(statement, definition.module)
    return found | own


def code_key(*roots: Callable) -> str:
    """Sixteen digits that change when the code that `roots`, functions or classes, lead to does, and not when it only moves."""
    code = reached(*roots).items()
    return content_key(*sorted([place.name if isinstance(place, Definition) else "own", said] for place, said in code))


# what a reader of tables tells runs by ----------------------------------------------------------------------------------
def experiment_of(record: dict) -> str:
    """What runs must share to be compared: cohort, preset, scale, simulated defects, how outlines are spread, and a network of one's own.

    How its slices were made counts; where the files lie and the seed of generated people do not. `tables` tells files apart.
    """
    source, scale = source_of_run(record), record.get("scale") or 1
    cohort = str(source.get("cohort") or "")
    if cohort and cohort not in COHORT_LINES:  # a folder: where it lies is nobody's business, what is in it tells it from others
        cohort = f"{PurePath(cohort).name} {str((record.get('settings') or {}).get('fingerprint', ''))[:6]}".strip()
    else:
        made = ", ".join(f"{name} {_short(source[name])}" for name in sorted(source) if name not in ("cohort", "data", "seed"))
        cohort += f" ({made})" * bool(made)
    words = [cohort, str(record.get("preset") or "") + f" x {scale:g}" * (scale != 1), *sorted(record.get("defects") or ())]
    words.append(f"outlines spread: {spread}" if (spread := record.get("spread")) else "")
    words.append(str(record.get("model") or ""))
    return ", ".join(word for word in words if word)


def source_of_run(record: dict) -> dict:
    """The arguments of `load` that a run's cohort was made with; older runs have its name alone."""
    data = record.get("data")
    return data if isinstance(data, dict) else {"cohort": data}


def _short(value: Any) -> Any:
    """A value as it prints; of a list six digits that change with it."""
    return content_key(value)[:6] if isinstance(value, (list, tuple, dict)) else value


def mark_of(record: dict) -> str:
    """The fingerprint of a run's cohort, nothing where people are generated, who are others by design."""
    return str((record.get("settings") or {}).get("fingerprint", "")) * ("seed" not in source_of_run(record))


def title_of(run: dict) -> str:
    """A run as a reader of tables knows it."""
    return f"{run['method']} at {100 * run['labels']:g} %, split {run['split']}, seed {run.get('seed') or 0}"


def difference(found: dict, here: dict, within: str = "") -> str:
    """The first setting in which one run, `found`, differs from another, `here`, in words; empty where none does."""
    for name in [*here, *(name for name in found if name not in here)]:
        one, other = (dict(enumerate(side)) if isinstance(side, list) else side for side in (found.get(name), here.get(name)))
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            return difference(one, other, f"{within}{name}: ")
        if one != other:
            return f"{within}{name} is {found.get(name)!r:.60} there and {here.get(name)!r:.60} here"
    return ""


def what_differs(one: dict, other: dict) -> str:
    """In what two runs differ by their settings, in words; nothing where their weights are the same, and asked in the same way."""
    keys = [{stage: about.get("key") for stage, about in (run.get("trained") or {}).items()} for run in (one, other)]
    asked = [[(run.get("method") or {}).get(name) or 0 for name in ("looks", "neighbours")] for run in (one, other)]
    if keys[0] and keys[0] == keys[1] and asked[0] == asked[1]:
        return ""
    if not (one and other):
        return "they do not say in what"
    first, second = ({name: run.get(name) for name in ("fingerprint", "method", "network", "stages")} for run in (one, other))
    return difference(first, second) or "the code of a stage or of the network is another"
