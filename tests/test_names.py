"""Words that the command and the library share."""

import pytest

from semicon_nb.data import phantom
from semicon_nb.names import counted


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(1, "run", "1 run"), (0, "run", "0 runs"), (2, "labelled volume", "2 labelled volumes"), (1, "process", "1 process"), ("1,024", "process", "1,024 processes")],
)
def test_one_thing_is_one(count, noun, said):
    assert counted(count, noun) == said


def test_a_cohort_of_one_says_so():
    cohort = phantom(subjects=1, size=16)
    assert repr(cohort).startswith("Cohort(phantom: 1 subject, 2 volumes, ")
