"""---
title: Reference
description: Every public name, the page that explains it, and its source.
---"""

import ast
import re
from pathlib import Path

from nbdev.config import get_config

from semicon_nb._modidx import d as index

config = get_config()
blob = f"{config.git_url}/blob/{config.branch}"


def definitions(source: Path) -> dict[str, ast.AST]:
    """The public functions and classes of a module, by name: those in its `__all__`, or all without an underscore where it has none."""
    body = ast.parse(source.read_text(encoding="utf-8")).body
    lists = (node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    public = next((set(ast.literal_eval(names)) for names in lists), None)
    found = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name: node for name, node in found.items() if (name in public if public is not None else not name.startswith("_"))}


def about(node: ast.AST) -> str:
    """The first line of a docstring, safe inside a table."""
    return (ast.get_docstring(node) or "").split("\n")[0].replace("|", "\\|")


def rows(module: str, pages: dict[str, str]) -> list[str]:
    """A module's names: where each is explained, what it is for, and its source."""
    path = config.lib_path / f"{module}.py"
    lines = []
    for name, node in definitions(path).items():
        shown = f"[`{name}`]({pages[name]})" if name in pages else f"`{name}`"
        source = f'[source]({blob}/{config.lib_path.name}/{path.name}#L{node.lineno}){{.quiet aria-label="Source of {name}"}}'
        lines.append(f"- {shown} {about(node)} {source}")
    return lines


def place(module: str) -> str:
    """The name of the notebook that exports a module: the story's order."""
    exports = re.compile(rf"#\|\s*default_exp\s+{module}\b")
    found = (path.name for path in sorted(config.nbs_path.glob("*.ipynb")) if exports.search(path.read_text(encoding="utf-8")))
    return next(found, "~")


print("Each name leads to the page that builds it, runs it and explains it; `source` is the line of the module that the page exports.\n")
exported = {}
for module, names in index["syms"].items():
    short = module.split(".")[-1]
    exported[short] = {name.rsplit(".", 1)[-1]: place[0] for name, place in names.items() if name.count(".") == 2}
for short, pages in sorted(exported.items(), key=lambda item: place(item[0])):
    if pages and (config.lib_path / f"{short}.py").exists():
        page = next(iter(pages.values())).split("#")[0]
        print(f"## [{short}]({page}) {{#{short}}}\n", *rows(short, pages), "", sep="\n")
print("## Plain modules {#plain}\n\nNo story to tell: written by hand, imported by the pages.\n")
for path in sorted(config.lib_path.glob("*.py")):
    if not path.stem.startswith("_") and path.stem not in exported and definitions(path):
        purpose = about(ast.parse(path.read_text(encoding="utf-8")))
        print(f"### {path.stem} {{#{path.stem}}}\n\n{purpose}\n", *rows(path.stem, {}), "", sep="\n")
