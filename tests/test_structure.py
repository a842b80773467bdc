"""The shape of the house, measured: one way through, faces, public names with readers, sizes, rows of exported cells."""

import ast
import json
import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "semicon_nb"
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py")) if path.stem != "_modidx"
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}
NOTEBOOKS = [path for path in sorted((ROOT / "nbs").rglob("*.ipynb")) if not any(part.startswith((".", "_")) for part in path.parts)]
WINGS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def target_of(node: ast.ImportFrom, module: str) -> str:
    """The module of this package that an import names, "" for any other."""
    if not node.level:
        return (node.module or "").removeprefix("semicon_nb").lstrip(".") if (node.module or "").startswith("semicon_nb") else ""
    place = module.split(".")
    place = place[: len(place) - node.level] if place[-1] != "__init__" else place[: len(place) - node.level]
    return ".".join([*place, *((node.module or "").split(".") if node.module else [])])


def imports(tree: ast.AST, module: str) -> list[tuple[str, str]]:
    """(module, name) of everything that is imported from this package."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("semicon_nb.")):
            source = target_of(node, module)
            for alias in node.names:
                whole = f"{source}.{alias.name}".lstrip(".")
                found.append((whole, "") if whole in FILES else (source, alias.name))
    return found


def public(module: str) -> list[str]:
    """What a module's `__all__` holds; where it has none, what it defines without an underscore."""
    for node in TREES[module].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return [node.name for node in TREES[module].body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")]


def pages() -> dict[str, ast.AST]:
    """The code of pages that is not exported, and that of README and CONTRIBUTING."""
    found = {}
    for path in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        code = [re.sub(r"^(\s*)[%!].*$", r"\1pass", cell, flags=re.M) for cell in cells if not re.search(r"^#\|\s*export", cell, re.M)]
        found[path.stem] = ast.parse("\n".join(code))
    for name in ("README.md", "CONTRIBUTING.md"):
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
        found[name] = ast.parse("\n".join(blocks))
    return found


PAGES = pages()


def test_imports_run_one_way():
    """No circle, imports inside functions included; the command and the program are the top floor."""
    reach = {module: {source for source, _ in imports(tree, module) if source in FILES} for module, tree in TREES.items()}
    for module in FILES:
        reach[module] |= {f"{source}.__init__" for source, _ in imports(TREES[module], module) if f"{source}.__init__" in FILES}
        reach[module] -= {module}
    floors: dict[str, int] = {}
    while len(floors) < len(reach):
        ready = [module for module in reach if module not in floors and reach[module] <= set(floors)]
        assert ready, f"a circle among {sorted(set(reach) - set(floors))}"
        floors |= {module: 1 + max((floors[below] for below in reach[module]), default=0) for module in ready}


@pytest.mark.parametrize("wing", WINGS)
def test_nobody_reaches_past_a_face(wing):
    inside = {module for module in FILES if module.startswith(f"{wing}.") and not module.endswith("__init__")}
    reached = [
        (module, source) for module, tree in TREES.items() if not module.startswith(f"{wing}.") for source, _ in imports(tree, module)
    ]
    read = [(page, source) for page, tree in PAGES.items() for source, _ in imports(tree, page)]
    own = {
        re.search(r"default_exp ([\w.]+)", path.read_text(encoding="utf-8")) and path.stem
        for path in NOTEBOOKS
        if f"default_exp {wing}." in path.read_text(encoding="utf-8")
    }
    past = [pair for pair in [*reached, *read] if pair[1] in inside and pair[0] not in own]
    assert not past, f"import these from semicon_nb.{wing}: {past}"


@pytest.mark.parametrize("wing", WINGS)
def test_a_face_only_hands_on(wing):
    body = TREES[f"{wing}.__init__"].body
    assert all(isinstance(node, ast.ImportFrom | ast.Import | ast.Expr) for node in body)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_every_public_name_has_a_reader_and_there_are_few():
    """A page, README, a guide or another module names it; tests alone are no reader."""
    shown = {
        name for tree in PAGES.values() for node in ast.walk(tree) for name in [getattr(node, "id", None) or getattr(node, "attr", None)]
    }
    shown |= {alias.name for tree in PAGES.values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    prose = " ".join(cell.source for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    shown |= words(" ".join(re.findall(r"`([^`\n]+)`", prose)))
    texts = {
        module: words(re.sub(r"__all__ = \[.*?\]", "", path.read_text(encoding="utf-8"), flags=re.S)) for module, path in FILES.items()
    }
    unread = {
        module: lost
        for module in FILES
        if (lost := [name for name in public(module) if name not in shown and not any(name in w for m, w in texts.items() if m != module)])
    }
    assert not unread, f"read by nobody, or by tests only: {unread}"
    assert sum(len(public(module)) for module in FILES) <= 200


def test_a_name_means_one_thing():
    places = defaultdict(set)
    for module in FILES:
        for name in public(module):
            places[name].add(module)
    assert not (twice := {name: sorted(found) for name, found in places.items() if len(found) > 1}), f"public twice: {twice}"


def functions() -> list[tuple[str, ast.FunctionDef]]:
    return [(module, node) for module, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def test_sizes():
    lengths = {f"{module}.{node.name}": length(node) for module, node in functions()}
    assert statistics.median(lengths.values()) <= 9
    assert not (long := {name: lines for name, lines in lengths.items() if lines > 30}), f"over 30 lines: {long}"
    classes = {
        f"{module}.{node.name}": length(node) for module, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    assert not (large := {name: lines for name, lines in classes.items() if lines > 90}), f"over 90 lines: {large}"
    modules = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in FILES.items()}
    assert not (large := {name: lines for name, lines in modules.items() if lines >= 500}), f"500 lines or more: {large}"


@pytest.mark.parametrize("module", FILES)
def test_one_quote_for_docstrings(module):
    lines = FILES[module].read_text(encoding="utf-8").splitlines()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            assert lines[node.body[0].lineno - 1].lstrip().startswith('"""'), f"line {node.body[0].lineno}"


@pytest.mark.parametrize("module", FILES)
def test_one_dialect_of_errors(module):
    text = FILES[module].read_text(encoding="utf-8")
    assert not (old := re.findall(r"[^\n]* came, expected[^\n]*", text)), f"NAME: found X, expected Y; do Z: {old[:3]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_rows_of_exported_cells_are_short(path):
    """At most four exported cells without anything live or said between."""
    row = 0
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        row = row + 1 if re.search(r"^#\|\s*exporti?\b", "".join(cell["source"]), re.M) else 0
        assert row <= 4, f"a row of exported cells that ends at: {''.join(cell['source'])[:80]}"


def test_no_definition_is_written_twice():
    """Two functions of six lines or more with the same code, whatever they are called."""
    bodies = Counter()
    for _, node in functions():
        if length(node) >= 6:
            bodies[ast.dump(ast.Module(node.body[1:] if ast.get_docstring(node) else node.body, []))] += 1
    assert not [code[:200] for code, count in bodies.items() if count > 1]
