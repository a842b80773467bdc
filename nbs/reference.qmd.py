"""---
title: Reference
description: Every public name by room, with its signature, the page that explains it, and its source.
---"""

import ast
from pathlib import Path

from nbdev.config import get_config

from semicon_nb._modidx import d as index

config = get_config()
blob = f"{config.git_url}/blob/{config.branch}/{config.lib_path.name}"
ROOMS = {
    "Scans and people": ("data/",),
    "Views and network": ("views", "unet"),
    "Contrast": ("contrast", "strategies", "losses", "gradient"),
    "Training": ("loop", "train", "semisupervised", "stages", "methods", "networks"),
    "Scores and masks": ("dice", "predict", "evaluate", "masks"),
    "Runs and results": ("plan", "runs", "experiment", "tables", "distributed"),
    "Looking": ("embed", "trust", "show", "explore/"),
    "Our own experiments": ("study/",),
}
"""Which modules, or folders of modules, a reader finds together; whatever is in none of them comes last."""


def public(source: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """The functions and classes that a module's `__all__` names, in the order of the module."""
    body = ast.parse(source.read_text(encoding="utf-8")).body
    lists = (node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    named = set(ast.literal_eval(next(lists, ast.List([]))))
    return [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in named]


sources = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(config.lib_path.rglob("*.py"))]
classes = {node.name: node for tree in sources for node in tree.body if isinstance(node, ast.ClassDef)}


def constructor(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """A class's `__init__`, its own or that of a class of this package that it is made from; none where there is none."""
    own = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    above = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    return own or [made for base in above for made in constructor(base)]


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """A name and what it takes, without the types."""
    made = constructor(node) if isinstance(node, ast.ClassDef) else [node]
    if not made:
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        return f"{node.name}({', '.join(ast.unparse(f.target) + (f'={ast.unparse(f.value)}' if f.value else '') for f in fields)})"
    taken = ast.parse(ast.unparse(made[0])).body[0].args
    for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs, *filter(None, (taken.vararg, taken.kwarg))):
        one.annotation = None
    taken.args = [one for one in taken.args if one.arg != "self"]
    return f"{node.name}({ast.unparse(taken)})"


def rows(path: Path) -> list[str]:
    """A module's names: signature, what each is for, and its source."""
    module = path.relative_to(config.lib_path).with_suffix("").as_posix().replace("/", ".")
    pages = index["syms"].get(f"{config.lib_path.name}.{module}", {})
    lines = []
    for node in public(path):
        about = (ast.get_docstring(node) or "").split("\n")[0].replace("|", "\\|")
        page = pages.get(f"{config.lib_path.name}.{module}.{node.name}", ("",))[0]
        shown = f"[`{signature(node)}`]({page})" if page else f"`{signature(node)}`"
        address = f"{blob}/{path.relative_to(config.lib_path).as_posix()}#L{node.lineno}"
        lines.append(f'- {shown} {about} [source]({address}){{.quiet aria-label="Source of {node.name}"}}')
    return lines


def modules(start: str) -> list[Path]:
    """A module, or those of a folder."""
    return sorted((config.lib_path / start).glob("*.py")) if start.endswith("/") else [config.lib_path / f"{start}.py"]


print("Each name with what it takes; a linked name leads to the page that explains it, `source` to the line that defines it.\n")
placed = [path for starts in ROOMS.values() for start in starts for path in modules(start)]
others = [path for path in sorted(config.lib_path.glob("*.py")) if path not in placed and not path.stem.startswith("_")]
for room, paths in [*((room, [p for start in starts for p in modules(start)]) for room, starts in ROOMS.items()), ("Beside them", others)]:
    print(f"## {room}\n")
    for path in paths:
        if path.exists() and (lines := rows(path)):
            name = ".".join(path.relative_to(config.lib_path).with_suffix("").parts)
            about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"### {name} {{#module-{name.replace('.', '-')}}}\n\n{about.splitlines()[0] if about else ''}\n", *lines, "", sep="\n")
