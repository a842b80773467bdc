"""At least twenty exercises, each with a grade, a start, a hint, a folded solution and a check that can fail.

That solutions and checks run is proved by test_notebooks.py, which runs every page from top to bottom. Here the checks are given other
answers: right ones that are written in another way than the solution, and wrong ones that a reader may well write.
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


@pytest.mark.parametrize(("page", "exercise"), EVERY, ids=IDS)
def test_hints_name_only_settings_that_the_page_has(page, exercise):
    code = "\n".join(cell.source for cell in nbformat.read(page, 4).cells if cell.cell_type == "code")
    for hint in re.findall(r"<summary>Hint.*?</details>", exercise["prose"], re.S):
        named = {name for piece in re.findall(r"`([^`\n]+)`", hint) for name in re.findall(r"\b[A-Z][A-Z_]+\b", piece)}
        assert named <= set(re.findall(r"\w+", code))


UNITS = """
def mean_positive(f, y, temperature):
    classes, C = int(y.max()) + 1, f.shape[1]
    sums = torch.zeros(classes, C, dtype=f.dtype).index_add(0, y, f)
    count = torch.bincount(y)
    return ((f * sums[y]).sum(1) - 1) / (temperature * (count[y] - 1))
"""

WHOLE = """
def log_sums(f, temperature, size):
    return (f @ f.T / temperature).fill_diagonal_(-torch.inf).exp().sum(1).log()
"""

SIMPSON = """
def effective_number(cosines, temperature):
    return (1 / (cosines / temperature).softmax(1).square().sum(1)).mean()
"""

ENTROPY_FIRST = """
def effective_number(cosines, temperature):
    logits = cosines / temperature
    return (-(logits.softmax(1) * logits.log_softmax(1)).sum(1)).mean().exp()
"""

ANYONE = """
def seen_by(labels, anchor, stride):
    seen, kept = torch.zeros(labels.shape, dtype=torch.int8), labels[..., ::stride, ::stride]
    if anchor[2] % stride == 0 and anchor[3] % stride == 0:
        seen[..., ::stride, ::stride] = torch.where(kept == labels[anchor], 1, 2).to(torch.int8)
        seen[anchor] = 3
    return seen
"""

COUNTED = """
def twin_share(people, test_share):
    random, shares = np.random.default_rng({seed}), []
    for _ in range(300):
        owner = random.permutation(np.repeat(np.arange(people), 2))
        cut = round(2 * people * test_share)
        shares.append(np.isin(owner[:cut], owner[cut:]).mean())
    return np.mean(shares)
"""

PILLOW = """
def nearest(labels, size):
    from PIL import Image
    return np.array(Image.fromarray(labels.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))
"""

ONLY_DIFFER = """
def independent(transform, image):
    generator = torch.Generator().manual_seed(0)
    return bool((transform(image, generator) - transform(image, generator)).abs().max() > 1e-3)
"""

ALL_PAIRS = """
def aligned(vectors, labels):
    total = pairs = 0
    for group in (vectors[labels == c].astype(np.float64) for c in np.unique(labels)):
        count = len(group) * (len(group) - 1)
        total, pairs = total + 2 * count - 2 * (np.square(group.sum(0)).sum() - len(group)), pairs + count
    return float(total / pairs)
"""

PLAIN = "s.exp().sum(1).log()"
ANSWERS: dict[tuple[str, int], tuple[list, list]] = {
    ("00_contrast", 5): ([UNITS], []),
    ("00_contrast", 6): ([(PLAIN, "s.logsumexp(1)"), (PLAIN, "(s - 1 / temperature).exp().sum(1).log() + 1 / temperature")], [WHOLE]),
    ("00_contrast", 7): ([], [SIMPSON, ENTROPY_FIRST]),
    ("01_strategies", 1): ([], [("count[count > 1]", "count")]),
    ("01_strategies", 2): ([], [("count[:, 1:] * (count[:, 1:] > 1)", "count[:, 1:]")]),
    ("01_strategies", 4): ([], [ANYONE, (" and labels[anchor] > 0", ""), (" and (kept == labels[anchor]).sum() > 1", "")]),
    ("02_data", 2): ([COUNTED.format(seed=seed) for seed in range(2)], []),
    ("02_data", 3): ([PILLOW], [('"nearest-exact"', '"nearest"'), ('"nearest-exact"', '"bilinear"')]),
    ("02_data", 5): ([], [ONLY_DIFFER]),
    ("03_training", 3): ([], [("(p | t).any()", "t.any()"), ("(p | t).any()", "p.any()")]),
    ("04_embedding", 1): ([], [("np.mean([same[labels == c].mean() for c in np.unique(labels)])", "same.mean()")]),
    ("04_embedding", 2): ([], [ALL_PAIRS]),
    ("04_embedding", 4): ([], [(".argsort(1).argsort(1)", ".argsort(1).argsort(1) - 1"), (".argsort(1).argsort(1)", ".argsort(1).argsort(1) + 1")]),
}
"""Of an exercise, answers that its check must accept and answers that it must reject.

An answer is code that runs after the solution, or what to replace in the solution, and by what.
"""


@pytest.mark.parametrize(("stem", "number"), ANSWERS, ids=[f"{stem}-{number}" for stem, number in ANSWERS])
def test_check_knows_right_answers_from_wrong_ones(stem, number):
    cells = [cell.source for cell in nbformat.read(PAGES[0].with_name(f"{stem}.ipynb"), 4).cells if cell.cell_type == "code"]
    own = next(place for place, cell in enumerate(cells) if (fold := FOLD.match(cell)) and int(fold[1]) == number)
    solution, check = cells[own], next(cell for cell in cells[own:] if re.search(r"^assert ", cell, re.M))
    place: dict = {}
    for cell in cells[:own]:
        if not START.match(cell) and "%pip" not in cell:
            exec(cell, place)

    def says(answer):
        """What the check raises for an answer, None where it accepts it."""
        assert isinstance(answer, str) or solution.count(answer[0]) == 1
        exec(solution + answer if isinstance(answer, str) else solution.replace(*answer), place)
        try:
            exec(check, place)
        except Exception as error:
            return error

    right, wrong = ANSWERS[stem, number]
    assert {answer: said for answer in right if (said := says(answer))} == {}
    assert [answer for answer in wrong if not isinstance(says(answer), AssertionError)] == []
