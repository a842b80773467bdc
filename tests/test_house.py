"""The house holds together: metadata said once, the package as its notebooks export it, notebooks small and clean."""

import ast
import importlib
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(ROOT).parts))
IDS = [p.relative_to(ROOT / "nbs").with_suffix("").as_posix() for p in NOTEBOOKS]
LIMIT = 400_000


def settings() -> dict[str, str]:
    """settings.ini, as setup.py reads it."""
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def project() -> dict:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(field: str) -> list[Requirement]:
    """A field of settings.ini that lists requirements, one a line."""
    return [Requirement(line) for line in settings()[field].split("\n") if line.strip()]


def pins() -> dict[str, str]:
    """constraints.txt as name -> version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}


# ------------------------------------------------------------------------------------------------ metadata


def test_settings_and_pyproject_agree():
    ini, static = settings(), project()["project"]
    assert static["name"] == ini["lib_name"]
    assert static["description"] == ini["description"]
    assert static["requires-python"] == f">={ini['min_python']}"
    assert static["urls"]["Repository"] == ini["git_url"]
    assert static["urls"]["Documentation"] == ini["doc_host"] + ini["doc_baseurl"]
    assert project()["tool"]["nbdev"]["branch"] == ini["branch"]
    assert project()["tool"]["nbdev"]["title"] == ini["title"]
    assert set(static["dynamic"]) >= {"version", "dependencies", "optional-dependencies", "scripts", "license"}


def test_installed_metadata_is_that_of_settings():
    ini, found = settings(), metadata.metadata("semicon_nb")
    assert found["Version"] == ini["version"]
    assert found["Summary"] == ini["description"]
    assert found["License-Expression"] == ini["license"]
    assert found["Requires-Python"] == f">={ini['min_python']}"
    scripts = {entry.name: entry.value for entry in metadata.distribution("semicon_nb").entry_points if entry.group == "console_scripts"}
    assert [f"{name}={value}" for name, value in scripts.items()] == ini["console_scripts"].split()


def test_version_stands_once_and_is_the_same_everywhere():
    import semicon_nb

    version = settings()["version"]
    assert semicon_nb.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)


def test_citation_names_paper_and_software():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["references"][0]
    assert citation["license"] == settings()["license"] and citation["repository-code"] == settings()["git_url"]
    assert [author["family-names"] for author in paper["authors"]] == ["Hu", "Zeng", "Xu", "Shi"]
    assert (paper["year"], paper["start"], paper["end"]) == (2021, 481, 490)


def test_site_configuration_comes_from_the_metadata():
    generated = yaml.safe_load((ROOT / "nbs" / "nbdev.yml").read_text(encoding="utf-8"))["website"]
    assert generated["repo-url"] == settings()["git_url"]
    assert generated["site-url"].rstrip("/") == (settings()["doc_host"] + settings()["doc_baseurl"]).rstrip("/")
    assert generated["description"] == settings()["description"]


def test_quarto_configuration_is_the_one_at_the_root():
    link = ROOT / "nbs" / "_quarto.yml"
    if link.is_symlink():
        assert link.resolve() == ROOT / "_quarto.yml"
    else:  # a checkout without symbolic links stores the address as text
        assert link.read_text(encoding="utf-8").strip() == "../_quarto.yml"


def test_licence_is_whole():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


# ------------------------------------------------------------------------------------------------ requirements


@pytest.mark.parametrize("field", ["requirements", "dev_requirements", "cluster_requirements"])
def test_every_requirement_is_pinned_within_its_range(field):
    pinned = pins()
    for requirement in requirements(field):
        name = requirement.name.lower().replace("_", "-")
        assert name in pinned, f"{name} of settings.ini has no line in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), f"{requirement} excludes the pinned {pinned[name]}"


def test_a_first_figure_waits_for_no_grammar():
    """Plotly loads nbformat, which loads jsonschema; from 4.25 that builds a grammar for addresses, 2.6 s of a core, in every kernel."""
    assert tuple(map(int, pins()["jsonschema"].split(".")[:2])) < (4, 25) and "rfc3987-syntax" not in pins()
    program = "import sys, nbformat.validator; print('lark' in sys.modules, 'jsonschema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[-1] == "True" and (done.stdout.split()[0] == "False" or metadata.version("jsonschema") != pins()["jsonschema"])


def test_every_import_of_the_package_is_required():
    provided = metadata.packages_distributions()
    required = {r.name.lower().replace("_", "-") for f in ("requirements", "cluster_requirements") for r in requirements(f)}
    missing = {}
    for path in sorted((ROOT / "semicon_nb").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {"semicon_nb", ""}:
                if not {d.lower().replace("_", "-") for d in provided.get(name, [name])} & required:
                    missing.setdefault(name, []).append(path.name)
    assert not missing, f"imported but not in settings.ini: {missing}"


# ------------------------------------------------------------------------------------------------ notebooks and what they export


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A copy of the project in which nbdev-export and nbdev-clean have run."""
    copy = tmp_path_factory.mktemp("exported")
    for name in ("nbs", "semicon_nb"):
        left_out = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "explorers")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=left_out)
    for name in ("pyproject.toml", "settings.ini", "_quarto.yml"):
        shutil.copy(ROOT / name, copy / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in ("nbdev_export", "nbdev_clean"):
        code = f"from nbdev.{'doclinks' if command == 'nbdev_export' else 'clean'} import {command}; {command}.__wrapped__()"
        done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return copy


def test_package_is_what_the_notebooks_export(exported):
    made, kept = (
        {p.relative_to(place).as_posix(): p.read_text(encoding="utf-8") for p in (place / "semicon_nb").rglob("*.py")}
        for place in (exported, ROOT)
    )
    stale = sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
    assert not stale, f"run `make export`: not in step with the notebooks: {stale}"


def test_every_exported_module_has_its_notebook():
    package = ROOT / "semicon_nb"
    texts = {".".join(p.relative_to(package).with_suffix("").parts): p.read_text(encoding="utf-8") for p in package.rglob("*.py")}
    made = {name for name, text in texts.items() if "AUTOGENERATED" in text[:400]}
    named = {m[1] for p in NOTEBOOKS if (m := re.search(r"#\|\s*default_exp\s+([\w.]+)", p.read_text(encoding="utf-8")))}
    assert made - {"_modidx"} == named


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_notebook_is_clean(path, exported):
    kept = json.loads(path.read_text(encoding="utf-8"))
    cleaned = json.loads((exported / path.relative_to(ROOT)).read_text(encoding="utf-8"))
    assert kept == cleaned, "run `nbdev-clean`"
    assert "widgets" not in kept["metadata"], "widget state is stored: it is megabytes, and stale at once"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_notebook_is_small_and_shows_no_failure(path):
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    assert path.stat().st_size < LIMIT, f"{path.stat().st_size // 1000} kB: show less, or smaller pictures"
    for cell in book.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", f"a cell ends in {output.get('ename')}: show errors as values"
            assert output.get("name") != "stderr", f"a cell prints to stderr: {output.get('text', '')[:200]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_notebook_opens_with_a_title_and_a_line(path):
    first = nbformat.read(path, 4).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S[^\n]*\n+> \S", first.source), "the first cell is `# Title` and `> what the page is for`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_page_says_in_one_way_where_it_can_be_run(path):
    book = nbformat.read(path, 4)
    place = path.relative_to(ROOT).as_posix()
    link = f"[Open in Colab](https://colab.research.google.com/github/semicon-nb/semicon_nb/blob/main/{place})"
    lines = [line for cell in book.cells if cell.cell_type == "markdown" for line in cell.source.splitlines() if "colab.research" in line]
    assert lines == [link] and book.cells[1].source.startswith(link + "\n\n"), "below the title: the link on a line of its own, then prose"


INSTALL = f'''#| hide
from importlib.util import find_spec

if find_spec("semicon_nb") is None:  # in Colab, say
    %pip install -q "semicon_nb[cluster] @ git+{settings()["git_url"]}"'''
RESULTS = f"\n    !git clone -q --depth 1 {settings()['git_url']}"
"""What a page that reads the committed results does besides."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_page_brings_the_package_where_it_is_missing(path):
    sources = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    cells = [source for source in sources if "pip install" in source]
    reads = any('(place := Path(up)).joinpath(' in source for source in sources)  # what a clone holds beside the package
    assert cells == [INSTALL + RESULTS * reads], "the same hidden cell on every page"


@pytest.mark.parametrize("missing", [True, False])
def test_that_cell_does_nothing_where_the_package_is_there(missing, monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager

    class Shell:
        called: list = []

        def run_line_magic(self, name, line):
            self.called.append(f"{name} {line}")

    shell, real = Shell(), importlib.util.find_spec
    shell.called = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if missing and name == "semicon_nb" else real(name))
    exec(TransformerManager().transform_cell(INSTALL), {"get_ipython": lambda: shell})
    assert shell.called == [f'pip install -q "semicon_nb[cluster] @ git+{settings()["git_url"]}"'] * missing


def test_pages_keep_apart_when_nbdev_drops_their_numbers():
    from nbdev.config import nbpath2html

    names = [nbpath2html(path.relative_to(ROOT / "nbs")).as_posix() for path in NOTEBOOKS]
    assert not (twice := {name for name in names if names.count(name) > 1}), f"two pages become one: {twice}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_exported_cells_are_short_and_plain(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code":
            continue
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.startswith("#|")]
        if re.search(r"^#\|\s*export\b", cell.source, re.M):
            assert len(lines) <= 40, f"an exported cell of {len(lines)} lines: {lines[0]}"
        assert "@patch" not in cell.source and "simplefilter" not in cell.source and "filterwarnings" not in cell.source
        assert not re.search(r"^from \S+ import \*", cell.source, re.M), "star import"


def test_pages_are_named_by_number_and_word():
    wrong = [i for i in IDS if i != "index" and not re.fullmatch(r"([a-z]+/)?\d\d[a-z]?_[a-z][a-z0-9_]*", i)]
    assert not wrong, f"pages are NN_name or NNa_name: {wrong}"


def test_navigation_holds_every_page_once():
    done = subprocess.run([sys.executable, ROOT / "tools" / "navigation.py", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = re.findall(r"^ {10}- (\S+\.ipynb)$", (ROOT / "nbs" / "sidebar.yml").read_text(encoding="utf-8"), re.M)
    assert sorted([*listed, "index.ipynb"]) == sorted(f"{i}.ipynb" for i in IDS)


# ------------------------------------------------------------------------------------------------ README and prose


def test_figure_of_the_front_page_is_of_these_results():
    done = subprocess.run([sys.executable, ROOT / "tools" / "finding.py", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_is_the_index_page(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "tools" / "readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language in a Markdown file."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_says_first_things_first():
    opening, *sections = re.split(r"^## ", README, flags=re.M)
    assert [text.splitlines()[0] for text in sections] == [
        "What was found", "Try it", "Ten lines of Python", "Where to go next", "Cite",
    ]  # fmt: skip
    promise, picture = opening.index("\n> "), opening.index("![")
    assert promise < picture and opening.count("![") == 1
    assert len(README.splitlines()) <= 110


def test_readme_starts_from_nothing():
    url = settings()["git_url"]
    (first,) = blocks(ROOT / "README.md", "bash")
    assert [line.split("  ")[0] for line in first.splitlines()] == [
        f"git clone {url}",
        f"cd {settings()['repo']}",
        "make demo",
        "make test",
    ]
    page = "\n".join(cell.source for cell in nbformat.read(ROOT / "nbs" / "guides" / "00_install.ipynb", 4).cells)
    assert f"\npip install git+{url}\nsemicon-nb demo\n" in page and "\npy -m venv .venv\n" in page
    assert (ROOT / "setup.py").is_file() and settings()["console_scripts"].startswith("semicon-nb=")


def test_what_readme_promises_of_make_is_what_make_says():
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        word
        for path in ("README.md", "CONTRIBUTING.md")
        for word in re.findall(r"\bmake ([a-z]+)\b", (ROOT / path).read_text(encoding="utf-8"))
    }
    listed = re.search(r"^\.PHONY: (.*)", make, re.M)[1].split()
    assert {"demo", "test", "lab", "reproduce"} <= named & set(listed)
    said = re.search(r"^test:.*## .*(about \d+ minutes on two cores)", make, re.M)[1]
    assert f"`make test` takes {said}" in README


def test_what_is_built_once_is_built_in_one_process(tmp_path):
    """Tests of one `xdist_group` share a site or a JupyterLab; pytest 9.2.0 hides the groups from pytest-xdist 3.8."""
    pytest.importorskip("xdist")
    lines = ["import os, pytest", '@pytest.mark.xdist_group("one")', '@pytest.mark.parametrize("number", range(6))']
    lines += ["def test_it(number):", '    print("ran in", os.environ["PYTEST_XDIST_WORKER"])']
    (tmp_path / "test_one.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rP", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "test_one.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    ran = re.findall(r"ran in (gw\d)", done.stdout)
    assert len(ran) == 6 and len(set(ran)) == 1, done.stdout[-2000:]


def test_make_lists_every_target_and_variable():
    if not shutil.which("make"):
        pytest.skip("no make here")
    plain, asked = (
        subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout for words in ([], ["help"])
    )
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)", text, re.M)[1].split()
    assert plain == asked
    assert re.findall(r"^  ([a-z]+) +\S", plain, re.M) == re.findall(r"^([a-z]+):", text, re.M) and set(targets) == set(
        re.findall(r"^([a-z]+):", text, re.M)
    )
    assert {"PYTHON", "DATA", "OUT", "MINUTES", "TORTURE", "REPRODUCE"} == set(re.findall(r"^  ([A-Z]+)=", plain, re.M))


def test_moving_picture_moves_and_is_small_and_dark():
    from PIL import Image

    words, place = re.search(r"!\[([^\]]+)\]\(([^)]+)\)", README).groups()
    path = ROOT / place
    assert path.stat().st_size < 700_000 and len(words) > 80
    with Image.open(path) as film:
        assert film.n_frames > 20 and film.info["loop"] == 0
        seen = {}
        for k in (0, film.n_frames - 1):
            film.seek(k)
            seen[k] = film.convert("RGB")
    first, last = seen.values()
    assert first.tobytes() != last.tobytes()
    corners = [last.getpixel((x, y)) for x in (0, last.width - 1) for y in (0, last.height - 1)]
    assert max(max(colour) for colour in corners) < 64, "a light slab on a dark page"


def rows_of(scores: dict, preset: str = "laptop") -> str:
    """Lines of a results file: (method, labels) -> a Dice for each of three splits."""
    lines = [
        {"method": method, "labels": labels, "split": split, "seed": 0, "pooled_dice": dice, "preset": preset,
         "data": "hippocampus", "key": f"{preset}{method}{labels}{split}"}
        for (method, labels), dices in scores.items()
        for split, dice in enumerate(dices)
    ]  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("full", "gain", "said"),
    [
        (
            0.81,
            0.0,
            (
                "hardly better with all outlines than with 5 % of them (+0.010",
                "a gain could hardly be seen",
                "no room to add anything",
            ),
        ),
        (0.90, 0.0, ("brought nothing that could be measured (+0.000", "outlining everything brings +0.1", "adds nothing")),
        (0.90, 0.05, ("training from scratch is beaten by `global`, `local(block)`, `global+local(block)`", "all outlines", "adds +0.05")),
        (None, 0.05, ("cannot be judged", "everything outlined was not run", "adds nothing")),
        (0.90, -0.05, ("training from scratch beats `global`, `local(block)`, `global+local(block)`", "all outlines", "loses -0.05")),
    ],
)
def test_finding_says_what_the_rows_say(full, gain, said, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from readme import ROWS, finding

    base, shake = [0.79, 0.80, 0.81], [0.004, -0.005, 0.002]
    scores = {(method, 0.05): [b + gain + s for b, s in zip(base, shake, strict=True)] for method in ROWS}
    scores |= {("scratch", 0.05): base, ("scratch(strong)", 0.05): base}
    scores |= {(method, 1.0): [full, full - 0.01, full + 0.01] for method in ("scratch", "scratch(strong)") if full}
    (tmp_path / "made.jsonl").write_text(rows_of(scores), encoding="utf-8")
    text = finding(tmp_path)
    assert all(words in text for words in said), text
    assert len(re.findall(r"^\| `", text, re.M)) == len(ROWS)
    assert ("`mean-teacher`, which learns from the scans without outlines during fine-tuning, brought +0.05" in text) == (full == 0.90 and gain > 0)


def test_finding_begins_with_the_runs_that_had_room(tmp_path, monkeypatch):
    """A few rows are enough, and the many that had none stay below, as what they are."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from readme import ROWS, finding

    base, better = [0.79, 0.80, 0.81], [0.812, 0.82, 0.831]
    few = {(method, 0.05): base for method in (*ROWS, "scratch(strong)")}
    (tmp_path / "few.jsonl").write_text(rows_of(few | {("scratch", 1.0): base}), encoding="utf-8")
    assert "500 steps" not in finding(tmp_path)
    asked = {("scratch", 0.05): base, ("global+local(block)", 0.05): better, ("scratch", 1.0): [0.88, 0.89, 0.90]}
    (tmp_path / "asked.jsonl").write_text(rows_of(asked, "thorough"), encoding="utf-8")
    first, label, last = re.split(r"\n\n(The same with 500 steps.*no room to tell:)\n\n", finding(tmp_path))
    assert "training from scratch is beaten by `global+local(block)`: all outlines instead of 5 % of them bring it +0.09" in first
    assert "thorough preset" in first and "laptop preset" in last
    assert [len(re.findall(r"^\| `", text, re.M)) for text in (first, last)] == [2, len(ROWS)]


def test_finding_compares_times_of_training_and_says_which_rows_take_more_steps(tmp_path, monkeypatch):
    """Scoring takes as long on both sides, and one stalled split must not decide."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from readme import ROWS, finding

    scores = {(method, 0.05): [0.79, 0.80, 0.81] for method in (*ROWS, "scratch(strong)")} | {("scratch", 1.0): [0.88, 0.89, 0.90]}
    taken = {"best": (1000, [150.0, 150.0, 1100.0]), "scratch(strong)": (2000, [100.0, 100.0, 1000.0])}
    lines = [json.loads(line) for line in rows_of(scores).splitlines()]
    for line in lines:
        steps, seconds = taken.get(line["method"], (500, [50.0] * 3))
        stages = {"local": {"seconds": 30.0}, "finetune": {"seconds": seconds[line["split"]] - 30}}
        line |= {"seconds": seconds[line["split"]] + 100, "settings": {"stages": {"finetune": {"steps": steps}}, "trained": stages}}
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert "whose training takes 1.50 times as long in the median" in finding(tmp_path)
    asked = {("scratch", 0.05): [0.79, 0.80, 0.81], ("global+local(block)", 0.05): [0.812, 0.82, 0.831], ("scratch", 1.0): [0.88, 0.89, 0.90]}
    (tmp_path / "asked.jsonl").write_text(rows_of(asked, "thorough"), encoding="utf-8")
    assert "no room to tell; the last row has more steps (`best` 1,000, `scratch(strong)` 2,000) and its own headroom:" in finding(tmp_path)


def test_the_figure_counts_the_scans_that_the_runs_name(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from finding import times_the_scans

    rows = [json.loads(line) for line in (ROOT / "results" / "hippocampus-thorough.jsonl").read_text(encoding="utf-8").splitlines()]
    many, few = ([len(row["settings"]["labelled"]) for row in rows if (row["method"], row["labels"]) == ("scratch", share)] for share in (1.0, 0.05))
    assert times_the_scans() == np.mean(many) / np.mean(few)
    assert f"{times_the_scans():.0f} times the scans" in (ROOT / "nbs" / "images" / "finding.svg").read_text(encoding="utf-8")


def test_readme_python_is_what_the_index_page_runs():
    """The page is run by tests/test_notebooks.py."""
    (code,) = blocks(ROOT / "README.md", "python")
    assert 5 <= len([line for line in code.splitlines() if line.strip()]) <= 12
    cells = [c.source for c in nbformat.read(ROOT / "nbs" / "index.ipynb", 4).cells if c.cell_type == "code" and "find_spec" not in c.source]
    assert [line for line in code.splitlines() if line.strip()] == [line for cell in cells for line in cell.splitlines() if line.strip()]


@pytest.mark.slow
def test_readme_python_runs(tmp_path):
    """As a program of its own, in an empty folder."""
    (code,) = blocks(ROOT / "README.md", "python")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


PROSE = [
    pytest.param(block, id=f"{name}-{k}")
    for path, name in zip(NOTEBOOKS, IDS, strict=True)
    for k, block in enumerate(
        found
        for cell in nbformat.read(path, 4).cells
        if cell.cell_type == "markdown"
        for found in re.findall(r"^```python\n(.*?)^```", cell.source, re.M | re.S)
    )
]


@pytest.mark.parametrize("code", PROSE)
def test_code_in_prose_names_what_there_is(code):
    known = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semicon_nb"):
            module = importlib.import_module(node.module)
            known |= {alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
            parameters = inspect.signature(known[node.func.id]).parameters
            open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
            stray = [word.arg for word in node.keywords if word.arg and word.arg not in parameters]
            assert open_ended or not stray, f"{node.func.id} has no argument {stray}"


EXAMPLE = re.compile(
    r"^\*\*(An? [a-z]+)\*\* [^\n]*\n+<details><summary>[^\n]*</summary>\n\n```python\n(.*?)^```\n\n</details>", re.M | re.S
)
CONTRIBUTED = EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_contributing_fits_a_screen():
    text = re.sub(r"<details>.*?</details>", "", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.S)
    assert sum(1 + len(line) // 120 for line in text.splitlines()) <= 45, "what stands unfolded is more than a screen"


def test_contributing_shows_the_five_things_people_add():
    assert [title.split()[-1] for title, _ in CONTRIBUTED] == ["strategy", "loss", "method", "cohort", "explorer"]


@pytest.mark.parametrize("code", [code for _, code in CONTRIBUTED], ids=[title.split()[-1] for title, _ in CONTRIBUTED])
def test_contributing_example_runs(code, tmp_path):
    assert len(code.splitlines()) < 30
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEMICON_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.stem)
def test_workflows_are_pinned_and_modest(path):
    text = path.read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    assert flow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), f"{action} is not pinned by hash"
        assert re.search(r"# v\d", comment), f"{action} does not say which version its hash is"
    assert all("timeout-minutes" in job for job in flow["jobs"].values())


@pytest.mark.parametrize(
    "name", ["Makefile", ".ci/run", *(f".github/workflows/{p.name}" for p in (ROOT / ".github" / "workflows").glob("*.yml"))]
)
def test_scripts_that_are_called_exist(name):
    called = re.findall(r"\b(?:tools|benchmarks|tests)/[\w./-]+\.\w+", (ROOT / name).read_text(encoding="utf-8"))
    assert not (missing := [script for script in called if not (ROOT / script).is_file()]), f"{name} calls {missing}"


@pytest.fixture
def installer(monkeypatch):
    """tools/install_torch.py on a machine without torch, which may ask uv and pip but gets no further."""
    spec = importlib.util.spec_from_file_location("install_torch", ROOT / "tools" / "install_torch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.asked, module.works = [], lambda words: True

    def run(command, **settings):
        module.asked.append(command[2:])
        return subprocess.CompletedProcess(command, 0 if module.works(command) else 2)

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module, "there", lambda line: False)
    monkeypatch.setattr(module, "NVIDIA", ())
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module.sys, "platform", "linux")
    return module


TORCH = f"torch=={pins()['torch']}"


def test_linux_without_a_gpu_takes_torch_for_the_cpu(installer, capsys):
    assert installer.main() == 0
    assert [words[0] for words in installer.asked] == ["pip", "uv"]
    assert installer.asked[1][-3:] == ["--torch-backend", "cpu", TORCH]
    assert not capsys.readouterr().out


@pytest.mark.parametrize("broken", ["uv", "pip"])
def test_where_uv_gets_nowhere_pip_takes_what_it_finds_and_a_line_says_so(broken, installer, capsys):
    fails = {"uv": lambda words: words[2] == "uv", "pip": lambda words: words[-1] == "uv"}[broken]
    installer.works = lambda words: not fails(words)
    assert installer.main() == 0
    assert installer.asked[-1][0] == "pip" and installer.asked[-1][-1] == TORCH
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_macs_and_nvidia_machines_take_what_pip_takes(installer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(installer.sys, "platform", "darwin")
    assert not installer.wants_cpu_build()
    monkeypatch.setattr(installer.sys, "platform", "linux")
    monkeypatch.setattr(installer, "NVIDIA", (tmp_path,))
    assert installer.main() == 0
    assert [words[0] for words in installer.asked] == ["pip"] and installer.asked[0][-1] == TORCH
    assert not capsys.readouterr().out


def test_torch_that_is_there_stays(installer, monkeypatch):
    monkeypatch.setattr(installer, "there", lambda line: line == TORCH)
    assert installer.main() == 0 and not installer.asked


def test_distributions_hold_what_they_need(tmp_path):
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("settings.ini", "setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "semicon_nb", copy / "semicon_nb", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", "dist"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    held = set(zipfile.ZipFile(next((copy / "dist").glob("*.whl"))).namelist())
    kept = {p.relative_to(ROOT).as_posix() for p in (ROOT / "semicon_nb").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert kept <= held, f"the wheel leaves out {sorted(kept - held)}"


def tracked() -> list[Path]:
    """The files that git keeps, where there is a repository."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git repository")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_nothing_names_the_machine_it_was_made_on():
    home, here = str(Path.home()), str(ROOT)
    unwanted = [place for place in (here, f"{home}/") if len(place) > 4]
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "ignore")
        assert not [place for place in unwanted if place in text], f"{path} names a folder of this machine"


def test_every_committed_row_is_run_again_by_make_reproduce(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from reproduce import FRACTIONS, GRIDS, SPLITS

    for name, parts in GRIDS.items():
        planned = set()
        for part in ({"labels": FRACTIONS, "splits": SPLITS, "scale": 1.0, "defects": (), "full": (), **given} for given in parts):
            runs = [(m, f) for m in part["methods"] for f in part["labels"]] + [(m, 1.0) for m in part["full"]]
            planned |= {(m, f, s, part["scale"], tuple(sorted(part["defects"]))) for m, f in runs for s in part["splits"]}
        file = ROOT / "results" / f"{name}.jsonl"
        if not file.exists():  # its first run is not finished yet
            continue
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found = {(r["method"], r["labels"], r["split"], r["scale"], tuple(r["defects"])) for r in rows}
        assert rows and found <= planned, f"{name}: {sorted(found - planned)}"
    assert {path.stem for path in (ROOT / "results").glob("*.jsonl") if not path.stem.endswith(".failed")} <= set(GRIDS)
