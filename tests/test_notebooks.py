"""Every page runs from top to bottom in a fresh kernel, in under a minute of one core, without data and without network.

What it says of `results/` and of the package's own code is what it says when it is run.
"""

import ast
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGES = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = sorted(p for p in PAGES.rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(PAGES).parts))
IDS = [p.relative_to(PAGES).with_suffix("").as_posix() for p in NOTEBOOKS]
SECONDS = 60
NOWHERE = "http://127.0.0.1:9"


def runnable(path: Path) -> nbformat.NotebookNode:
    """The notebook without the cells that nbdev would skip."""
    book = nbformat.read(path, 4)
    skipped = re.compile(r"^#\|\s*(eval:\s*false|notest)\b", re.M)
    book.cells = [cell for cell in book.cells if cell.cell_type == "code" and not skipped.search(cell.source)]
    return book


FIXED = re.compile(r"""\bgetsource\(|\bresults/|/results\b|"results"\)""")
"""Where the code of the package, or the committed runs, come into a page: nothing else may change what is computed from them."""


def fixed_cells(book: nbformat.NotebookNode) -> set[str]:
    """The cells that show code of the package or numbers of the committed runs, and those that use a name that such a cell binds."""
    names, found = set(), set()
    for cell in (cell for cell in book.cells if not re.search(r"^\s*[%!]", cell.source, re.M)):
        nodes = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
        if FIXED.search(cell.source) or names & {node.id for node in nodes if isinstance(node.ctx, ast.Load)}:
            found.add(cell.id)
            names |= {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
            names |= {node.name for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)}
    return found


def said(cell: nbformat.NotebookNode) -> str:
    """What a cell shows in words, without the places of objects in memory."""
    parts = [out.get("text") or out.get("data", {}).get("text/markdown") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    parts += [out["data"].get("text/html", "") for out in cell.outputs if "display.HTML object" in out.get("data", {}).get("text/plain", "")]
    return re.sub(r" at 0x[0-9a-f]+", "", "".join(parts))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_page_runs(path, tmp_path, record_property):
    environment = {name: value for name, value in os.environ.items() if name not in ("SEMICON_DATA", "PYTEST_CURRENT_TEST")}
    environment |= {name: NOWHERE for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    environment |= {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost", "PLOTLY_RENDERER": "plotly_mimetype"}
    environment |= {"SEMICON_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    before = set(path.parent.iterdir())
    book = runnable(path)
    stored = {cell.id: said(cell) for cell in book.cells}
    book.cells.append(nbformat.v4.new_code_cell("import time\ntime.process_time()"))  # a busy machine must not make a page look slow
    how = {"kernel_name": "python3", "resources": {"metadata": {"path": str(path.parent)}}, "shutdown_kernel": "immediate"}
    client = NotebookClient(book, timeout=10 * SECONDS, **how)
    client.execute(env=environment)
    seconds = float(book.cells[-1].outputs[-1]["data"]["text/plain"])
    record_property("seconds", round(seconds, 1))
    left = {p.name for p in set(path.parent.iterdir()) - before if not p.name.startswith(".")}
    assert not left, f"the page leaves files beside it: {left}"
    assert seconds < SECONDS, f"the page took {seconds:.0f} s of one core, expected less than {SECONDS}"
    old = [cell.source for cell in book.cells if cell.id in fixed_cells(book) and said(cell) != stored[cell.id]]
    assert not old, f"the page shows other numbers or code when it is run; run it and store what it shows: {old[0]}"
