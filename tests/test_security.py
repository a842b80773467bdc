"""What SECURITY.md promises: each promise has tests that hold it, and what crosses all rooms is tested here."""

import ast
import re
import socket
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from data.samples import task
from small import TINY

from semicon_nb.cli import main
from semicon_nb.data import load, split
from semicon_nb.evaluate import evaluate
from semicon_nb.experiment import Serial, run_grid
from semicon_nb.explore import CohortBrowser, PixelExplorer, ResultsExplorer, StrategyExplorer, TemperatureExplorer, TrainingReplay
from semicon_nb.methods import train_method
from semicon_nb.predict import segment

PROMISES = {
    "Weights and checkpoints are read as tensors and plain values.": (
        "test_files.py::test_code_in_a_file_of_tensors_is_not_run",
        "test_loop.py::test_a_checkpoint_that_is_not_of_this_training_is_refused_by_name",
    ),
    "A RUN folder names what built its network, and is never believed: name it yourself, with `model=` or `--model`.": (
        "test_cli.py::test_no_code_is_imported_because_a_run_names_it",
        "test_networks.py::test_own_network_is_asked_for_and_never_imported_because_a_run_names_it",
    ),
    "The working folder is searched only for that module, and for what that imports from beside it.": (
        "test_cli.py::test_no_file_of_the_working_folder_is_run_that_nobody_named",
        "test_cli.py::test_a_library_finds_no_file_of_the_working_folder_and_its_modules_find_each_other",
    ),
    "Names of classes, people and files are shown as text in every page and widget.": (
        "test_security.py::test_names_are_no_markup_in_any_page",
        "explore/test_pixels_browser.py::test_names_reach_the_page_as_text",
        "explore/test_cohort_browser.py::test_names_from_files_are_text",
        "explore/test_replay.py::test_a_collapsed_training_has_a_sentence_and_names_are_text",
        "explore/test_results.py::test_names_from_data_reach_the_page_as_text",
        "explore/test_strategy.py::test_names_from_files_are_text",
    ),
    "Masks hold no free text of a scan's header;": ("test_masks.py::test_a_mask_lies_on_its_scan",),
    "pages and tables hold no path of the machine;": (
        "test_security.py::test_no_page_and_no_table_says_where_the_files_lie",
        "test_tables.py::test_a_folder_is_named_by_its_last_part_and_its_content",
        "explore/test_demo.py::test_the_page_is_whole_and_asks_nobody",
    ),
    "the network is asked only for a download that you wish.": (
        "test_security.py::test_nobody_is_asked_for_anything",
        "data/test_cohorts.py::test_hippocampus_downloads_on_request_and_only_once",
        "explore/test_pixels.py::test_pages_are_small_and_ask_nobody_for_anything",
    ),
    "A page does hold the slices that it shows.": ("explore/test_cohort_browser.py::test_the_page_holds_the_cohorts_labels_and_answers",),
    "come by https, without a redirect to http, and with a known checksum.": (
        "data/test_cohorts.py::test_checksum_and_address_are_those_of_monai",
        "data/test_cohorts.py::test_a_server_that_sends_from_https_to_anything_else_is_not_followed",
        "data/test_cohorts.py::test_corrupted_download_leaves_nothing",
    ),
    "Archives unpack inside their folder or not at all.": (
        "data/test_cohorts.py::test_hostile_archive_is_refused_whole",
        "data/test_cohorts.py::test_link_then_file_through_it_writes_nothing_outside",
        "data/test_cohorts.py::test_truncated_wrong_and_oversized_archives",
    ),
    "A damaged file is refused in one sentence that names it;": (
        "test_torture.py::test_malformed_files_of_every_reader",
        "data/test_reading.py::test_a_turned_bit_anywhere_is_refused_or_changes_nothing",
        "test_files.py::test_a_turned_bit_of_tensors_is_found_wherever_a_number_stands",
        "test_runs.py::test_a_damaged_stage_in_the_cache_is_trained_anew",
        "test_runs.py::test_a_damaged_stage_of_an_interrupted_run_is_trained_anew",
        "data/test_slices.py::test_damaged_cache_is_made_again",
    ),
    "a run that was killed goes on to the same bits.": (
        "test_train.py::test_killed_for_real_and_resumed_to_the_last_bit",
        "test_train.py::test_stopped_anywhere_resumed_to_the_last_bit",
        "test_torture.py::test_nothing_is_lost_by_kills",
        "data/test_slices.py::test_two_processes_on_one_cache_give_what_one_gives",
    ),
}
"""Every sentence or clause below "What is promised" in SECURITY.md, and the tests that hold it."""


def test_every_promise_has_its_tests(root):
    text = (root / "SECURITY.md").read_text(encoding="utf-8").split("## What is promised\n")[1].split("\n\n")[0]
    said = [re.sub(r"^\*\*[^*]+\*\*\s*", "", " ".join(bullet.split())) for bullet in text.split("\n- ")]
    clauses = [clause for bullet in said for clause in re.split(r"(?<=[.;]) ", bullet.removeprefix("- ")) if clause]
    clauses = [re.sub(r"^\*\*[^*]+\*\*\s*", "", clause) for clause in clauses]
    assert clauses == list(PROMISES), "say in PROMISES which tests hold a promise that is new or said anew"


@pytest.mark.parametrize("name", sorted({name for names in PROMISES.values() for name in names}))
def test_a_test_that_holds_a_promise_is_there_and_looks_at_something(name, root):
    """A function that pytest collects, that asserts or expects an error, and that no mark takes out of `make test` and `make slow`."""
    place, _, function = name.partition("::")
    tree = ast.parse((root / "tests" / place).read_text(encoding="utf-8"))
    found = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function), None)
    assert function.startswith("test_") and found is not None, f"{name}: there is no such test"
    assert not re.search(r"mark\.(skip\b|xfail)", " ".join(map(ast.unparse, found.decorator_list))), f"{name}: is left out"
    looks = [node for node in ast.walk(found) if isinstance(node, ast.Assert) or "pytest.raises" in ast.unparse(node)[:60]]
    assert looks or "refused(" in ast.unparse(found), f"{name}: looks at nothing"


# what no page, table or command may do, whichever room it is of -------------------------------------------------------
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """All pages and tables of a run on somebody's folder, whose names of classes and people are markup, and whom they called."""
    called, place = [], tmp_path_factory.mktemp("surname")
    scans, out, cache = task(place / "scans", 6), place / "pages", pytest.MonkeyPatch()
    about = (scans / "dataset.json").read_text().replace("Head", MARKUP)
    (scans / "dataset.json").write_text(about)
    (scans / "index.csv").write_text("file,subject\n" + "".join(f"scan_{k:03d}.nii.gz,{MARKUP} {k}\n" for k in range(1, 7)))
    cache.setenv("SEMICON_CACHE", str(place / "cache"))
    for name in ("connect", "connect_ex", "sendto"):
        cache.setattr(socket.socket, name, lambda self, *about: called.append(about))
    cache.setattr(socket, "getaddrinfo", lambda *about, **how: called.append(about))
    try:
        cohort = load(scans, size=32)
        run = train_method("global", cohort, split(cohort, 0.5), TINY, out=place / "RUN", progress=False)
        evaluate(run.model, cohort, np.arange(6))
        segment(run.model, scans / "imagesTr" / "scan_001.nii.gz", cohort.grid)
        run_grid("g", ["scratch"], labels=(0.5,), splits=(0, 1), data={"cohort": str(scans), "size": 32},
                 preset=replace(TINY, name="tiny"), results=place, executor=Serial(), progress=False)  # fmt: skip
        for explorer in (
            PixelExplorer(run), CohortBrowser(cohort), TrainingReplay(run), ResultsExplorer(place / "g.jsonl", [run]),
            StrategyExplorer(cohort), TemperatureExplorer(cohort),
        ):  # fmt: skip
            explorer.to_html(out / f"{type(explorer).__name__}.html")
        main(["explore", str(place / "RUN"), "-o", str(out / "command.html")])
        for form in ("html", "markdown"):
            with (out / f"table.{form}").open("w", encoding="utf-8") as file, redirect_stdout(file):
                main(["table", str(place / "g.jsonl"), "--format", form])
    finally:
        cache.undo()
    return place, {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}, called


def test_no_page_and_no_table_says_where_the_files_lie(told):
    place, pages, _ = told
    assert len(pages) == 9
    assert not (odd := [name for name, page in pages.items() if place.name in page or str(place.parent) in page]), odd


def test_names_are_no_markup_in_any_page(told):
    _, pages, _ = told
    assert not (odd := [name for name, page in pages.items() if MARKUP in page]), odd
    assert sum("onerror=alert(1)" in page for page in pages.values()) >= 5, "the names are shown"


def test_nobody_is_asked_for_anything(told):
    assert not told[2]
