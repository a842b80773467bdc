"""At least twenty exercises, each with a grade, a start, a hint, a folded solution and a check that can fail.

That solutions and checks run is proved by test_notebooks.py, which runs every page from top to bottom.
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest

PAGES = sorted((Path(__file__).resolve().parent.parent / "nbs" / "exercises").glob("*.ipynb"))
TITLE = re.compile(r"^## (\d+)\. (.+?) (★{1,3})$", re.M)
START = re.compile(r"# Exercise (\d+): yours to fill in\n")
FOLD = re.compile(r'#\| code-fold: true\n#\| code-summary: "Solution (\d+)"\n#@title Solution \1\n')


def exercises(path: Path) -> list[dict]:
    """Number, title, grade, prose, solution and checks of every exercise of a page."""
    found: list[dict] = []
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=## )", cell.source, flags=re.M):
                if title := TITLE.match(part):
                    found.append(
                        {"number": int(title[1]), "title": title[2], "grade": len(title[3]), "prose": "", "starts": [], "solutions": [], "checks": []}
                    )
                elif part.startswith("## "):
                    return found
                if found:
                    found[-1]["prose"] += part + "\n"
        elif found and START.match(cell.source):
            found[-1]["starts"].append(cell.source)
        elif found and FOLD.match(cell.source):
            found[-1]["solutions"].append(cell.source)
        elif found and re.search(r"^assert ", cell.source, re.M):
            found[-1]["checks"].append(cell.source)
    return found


EVERY = [(page, exercise) for page in PAGES for exercise in exercises(page)]
IDS = [f"{page.stem}-{exercise['number']}" for page, exercise in EVERY]


def names_of(source: str) -> set[str]:
    """Functions and classes that a piece of code defines."""
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_there_are_enough_and_of_all_grades():
    assert len(PAGES) >= 5 and len(EVERY) >= 20
    assert {exercise["grade"] for _, exercise in EVERY} == {1, 2, 3}
    assert sum("Open-ended" in exercise["title"] for _, exercise in EVERY) >= 3


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_no_heading_or_solution_is_out_of_order(page):
    book = nbformat.read(page, 4)
    prose = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    numbered = re.findall(r"^## \d+\..*$", prose, re.M)
    assert [e["number"] for e in exercises(page)] == list(range(1, len(numbered) + 1)), "each has its number and a grade"
    folded = [int(found[1]) for cell in book.cells if (found := FOLD.match(cell.source))]
    assert folded == list(range(1, len(numbered) + 1))
    assert prose.count("<details>") == prose.count("</details>")


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_solutions_are_folded_and_starts_are_not(page):
    cells = nbformat.read(page, 4).cells
    for cell in cells:
        folded = cell.metadata.get("cellView") == "form" and cell.metadata.get("jupyter", {}).get("source_hidden") is True
        assert folded == bool(cell.cell_type == "code" and FOLD.match(cell.source)), f"JupyterLab and Colab fold solutions only: {cell.source}"
    kinds = [kind.group(1) for cell in cells if cell.cell_type == "code" if (kind := START.match(cell.source) or FOLD.match(cell.source))]
    assert kinds[::2] == kinds[1::2], "each solution follows its start"


@pytest.mark.parametrize(("page", "exercise"), EVERY, ids=IDS)
def test_exercise_is_complete(page, exercise):
    assert re.search(r"<details><summary>Hint", exercise["prose"]), "no hint"
    assert len(exercise["solutions"]) == 1, "one folded solution"
    asserts = [node for check in exercise["checks"] for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 2, "the result is checked"


@pytest.mark.parametrize(("page", "exercise"), EVERY, ids=IDS)
def test_start_is_what_the_solution_defines_and_the_check_uses(page, exercise):
    starts = exercise["starts"]
    assert len(starts) == 1 and int(START.match(starts[0])[1]) == exercise["number"], "there is one cell to start from"
    asked = set().union(*(names_of(start) for start in starts))
    assert asked and asked <= names_of(exercise["solutions"][0])
    used = {node.id for check in exercise["checks"] for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Name)}
    assert asked & used, f"no check calls {', '.join(sorted(asked))}"


@pytest.mark.parametrize(("page", "exercise"), EVERY, ids=IDS)
def test_start_does_not_give_the_answer(page, exercise):
    for start in exercise["starts"]:
        for node in ast.walk(ast.parse(start)):
            if isinstance(node, ast.FunctionDef):
                last = node.body[-1]
                assert isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...
