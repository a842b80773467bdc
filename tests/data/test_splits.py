"""Splits: by subject, seeded, nested, one file, and nobody gets past it."""

import json
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from semicon_nb.data import (
    Cohort,
    DataError,
    Grid,
    LeakError,
    Split,
    Volume,
    guard,
    labelled_indices,
    load_split,
    part_indices,
    phantom,
    save_split,
    split,
    unlabelled_indices,
)
from semicon_nb.data.cohort import take
from semicon_nb.data.splits import apportion, check_names


@pytest.fixture(scope="module")
def cohort():
    return phantom(subjects=12, size=16)


def people(cohort, names):
    return {v.subject for v in cohort.volumes if v.name in set(names)}


def half_labelled(cohort, bare=()):
    """The cohort with every second slice unlabelled, and the volumes of `bare` subjects entirely so."""
    known = np.arange(len(cohort)) % 2 == 0
    known &= ~np.isin(cohort.subject, list(bare))
    return replace(cohort, labelled=known, labels=cohort.labels * known[:, None, None].astype(np.uint8))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), labelled=st.floats(0.06, 1))
def test_every_subject_is_in_one_part_only(cohort, seed, labelled):
    s = split(cohort, labelled, seed)
    groups = [people(cohort, part) for part in (s.train, s.val, s.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert groups[0] | groups[1] | groups[2] == set(cohort.subjects)
    assert set(s.labelled) <= set(s.train)
    assert sorted(s.train + s.val + s.test) == sorted(v.name for v in cohort.volumes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), fractions=st.lists(st.floats(0.08, 1), min_size=2, max_size=2))
def test_labelled_sets_are_nested_and_the_parts_stay(cohort, seed, fractions):
    small, large = (split(cohort, f, seed) for f in sorted(fractions))
    assert set(small.labelled) <= set(large.labelled)
    assert (small.train, small.val, small.test) == (large.train, large.val, large.test)


def test_paper_fractions_and_parts():
    cohort = phantom(subjects=25, size=8)
    sizes = [len(split(cohort, f).labelled) for f in (0.05, 0.1, 0.2, 1.0)]
    assert sizes == [2, 3, 6, 30]
    s = split(cohort)
    assert [len(people(cohort, part)) for part in (s.train, s.val, s.test)] == [15, 5, 5]
    assert [len(people(cohort, getattr(split(cohort, ratio=(2, 1, 1)), p))) for p in ("train", "val", "test")] == [13, 6, 6]


@given(count=st.integers(3, 300), parts=st.tuples(*[st.floats(0.05, 10)] * 3))
def test_shares_add_up(count, parts):
    found = apportion(count, parts)
    assert sum(found) == count and min(found) >= 1


SPREADS = ("people", 2, 3, "slices")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), labelled=st.floats(0.04, 1), spread=st.sampled_from(SPREADS), bare=st.booleans())
def test_outlines_are_spread_over_more_people_and_stay_as_many(cohort, seed, labelled, spread, bare):
    seen = half_labelled(cohort) if bare else cohort
    few, wide = split(seen, labelled, seed), split(seen, labelled, seed, spread=spread)
    rows = labelled_indices(seen, wide)
    assert len(rows) == len(labelled_indices(seen, few)) and seen.labelled[rows].all()
    assert (wide.train, wide.val, wide.test) == (few.train, few.val, few.test) and set(wide.labelled) <= set(wide.train)
    counts = np.bincount(seen.volume[rows], minlength=len(seen.volumes))
    assert {seen.volumes[v].name for v in np.flatnonzero(counts)} == set(wide.labelled)
    many = {"people": 1, "slices": len(wide.train)}.get(spread, spread) * (len(few.labelled) if spread != "slices" else 1)
    assert len(wide.labelled) == min(many, len(wide.train), len(rows))
    if spread != "people":
        assert np.ptp(counts[counts > 0]) <= 1, "volumes of one size share alike"


def test_outlines_of_a_volume_are_evenly_spaced(cohort):
    wide = split(cohort, 0.25, spread=2)
    rows = labelled_indices(cohort, wide)
    for name in wide.labelled:
        own = np.flatnonzero(cohort.volume == [v.name for v in cohort.volumes].index(name))
        mine = np.flatnonzero(np.isin(own, rows))
        gaps = np.diff(mine)
        assert len(mine) >= 3 and np.ptp(gaps) <= 1 and mine[0] <= gaps.max() and len(own) - 1 - mine[-1] <= gaps.max()


def test_one_slice_of_everybody_is_of_every_height():
    """The middle slices of all people say nothing of the ends."""
    cohort = phantom(subjects=40, size=8)
    rows = labelled_indices(cohort, split(cohort, 0.125, spread="slices"))
    counts = np.histogram(cohort.position[rows], bins=4, range=(0, 1))[0]
    assert len(rows) == 48 and counts.min() >= 10 and counts.max() <= 14


def test_outlines_that_the_split_does_not_give_are_refused(cohort, tmp_path):
    wide = split(cohort, 0.2, spread="slices")
    guard(cohort, wide, labelled_indices(cohort, wide), "labels")
    stray = np.setdiff1d(np.flatnonzero(np.isin(cohort.volume, [0])), labelled_indices(cohort, wide))
    name = next(v for v in cohort.volumes if v.name in wide.labelled).name
    other = np.setdiff1d(np.flatnonzero(cohort.volume == [v.name for v in cohort.volumes].index(name)), labelled_indices(cohort, wide))
    assert stray.size and other.size
    with pytest.raises(LeakError, match=f"{name}: the split does not give the outline of slice {other[0]}"):
        guard(cohort, wide, other[:1], "labels")
    assert load_split(save_split(wide, tmp_path / "split.json"), cohort) == wide
    values = json.loads((tmp_path / "split.json").read_text())
    for bad in ("all", [1.5], [True], {"0": 1}):
        (tmp_path / "bad.json").write_text(json.dumps(values | {"outlined": bad}))
        with pytest.raises(DataError, match="is no split file"):
            load_split(tmp_path / "bad.json", cohort)


def test_few_volumes_that_hold_too_few_outlines_are_refused():
    sizes = [1, 2, *[60] * 7]
    volumes = tuple(Volume(f"p{k}", f"p{k}", shape=(8, 8, n)) for k, n in enumerate(sizes))
    slices = np.zeros((sum(sizes), 8, 8))
    rest = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32), np.full(len(slices), np.nan, np.float32), volumes, Grid(8), "f"
    cohort = Cohort("x", ("background", "a"), slices.astype(np.float16), slices.astype(np.uint8), np.ones(len(slices), bool), *rest)
    with pytest.raises(DataError, match="spread: 2 volumes of x hold 3 outlines, expected 15; use a larger spread"):
        split(cohort, 0.08, seed=75, spread=2)  # which begins with the two small ones
    assert len(labelled_indices(cohort, split(cohort, 0.08, seed=75, spread=3))) == 15


@pytest.mark.parametrize("spread", ["person", "", 1, 0, -2, 2.0, True, None])
def test_a_spread_that_is_none_is_refused(cohort, spread):
    with pytest.raises(ValueError, match="spread: found .*, expected 'people', 'slices' or a whole number above 1"):
        split(cohort, spread=spread)


def test_seeds(cohort):
    assert split(cohort, seed=3) == split(cohort, seed=3)
    assert len({split(cohort, seed=k).test for k in range(8)}) > 4
    assert split(cohort, 0.2, 0).test == ("subject06-left", "subject06-right", "subject10-left", "subject10-right")


def test_a_split_by_volume_would_leak(cohort):
    """What the released code does: shuffle the volumes. A person then sits on both sides."""
    names = [v.name for v in cohort.volumes]
    leaks = 0
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(names))
        n = len(names) * 3 // 5
        train, test = ([names[i] for i in part] for part in (order[:n], order[n:]))
        leaks += bool(people(cohort, train) & people(cohort, test))
        s = split(cohort, seed=seed)
        assert not people(cohort, s.train) & people(cohort, s.test)
    assert leaks == 10


def test_both_hippocampi_of_a_person_stay_together(hippo):
    assert any(sum(v.subject == who for v in hippo.volumes) == 2 for who in hippo.subjects)
    s = split(hippo, 0.5)
    assert not people(hippo, s.train) & people(hippo, s.val + s.test)


def test_fraction_that_leaves_nothing(cohort):
    with pytest.raises(DataError, match="0.02 of the 14 training volumes of phantom leaves none; use at least 0.036"):
        split(cohort, 0.02)
    split(cohort, 0.037)
    for bad in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="labelled"):
            split(cohort, bad)


def test_what_is_no_share_or_seed_or_in_the_wrong_place_is_named(cohort):
    for arguments, said in (
        ((cohort, "0.5"), "labelled: found '0.5'"),
        ((cohort, True), "labelled: found True"),
        ((cohort, 0.5, -1), "seed: found -1, expected a whole number from 0 upwards"),
        ((cohort, 0.5, 1.0), "seed: found 1.0"),
        ((0.5, cohort), "labelled: found .*, expected a share"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            split(*arguments)
    with pytest.raises(TypeError, match="cohort: found Split, expected Cohort; it comes first"):
        part_indices(split(cohort), cohort, "test")
    with pytest.raises(TypeError, match="part: found int, expected str; give one of all, train, val, test"):
        part_indices(cohort, split(cohort), 0)


def test_numbers_of_numpy_are_numbers(cohort, tmp_path):
    made = split(cohort, np.float64(0.5), np.int64(1))
    assert made == split(cohort, 0.5, 1) and load_split(save_split(made, tmp_path / "split.json"), cohort) == made


def test_bad_parts_and_too_few_subjects(cohort):
    for ratio in ((1, 1), (1, 0, 1), (3, 1, -1), (np.nan, 1, 1), (1, np.nan, 1), (1, 1, np.nan), (np.inf, 1, 1), (1e308, 1e308, 1)):
        with pytest.raises(ValueError, match="ratio"):
            split(cohort, ratio=ratio)
    with pytest.raises(DataError, match="2 subjects have labels, expected at least 3"):
        split(phantom(subjects=2, size=8))


def test_file_is_json_and_comes_back(cohort, tmp_path):
    s = split(cohort, 0.2, seed=5)
    path = save_split(s, tmp_path / "new" / "split.json")
    assert json.loads(path.read_text())["labelled"] == list(s.labelled)
    assert load_split(path, cohort) == s
    assert load_split(path) == s


def test_split_file_problems(cohort, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json: there is no such split file"):
        load_split(tmp_path / "none.json")
    for text in (
        "{",
        "[]",
        '{"seed": 1}',
        '"x"',
        '{"cohort": 1, "fingerprint": "", "seed": 0, "labelled_fraction": 1, "train": 3, "val": [], "test": [], "labelled": []}',
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match="bad.json: is no split file"):
            load_split(tmp_path / "bad.json")


def test_split_file_that_leaks_is_refused(cohort, tmp_path):
    s = split(cohort, 0.2)
    for wrong in (replace(s, test=s.test + s.train[:1]), replace(s, labelled=s.test[:1])):
        with pytest.raises(DataError, match="more than one part|not in train"):
            load_split(save_split(wrong, tmp_path / "leak.json"))
    mate = next(n for n in s.train if n.endswith("left"))
    torn = replace(s, train=tuple(n for n in s.train if n != mate), labelled=(), test=s.test + (mate,))
    with pytest.raises(DataError, match="the subject .* is in (train|test) and in (train|test)"):
        load_split(save_split(torn, tmp_path / "torn.json"), cohort)


def test_split_of_another_cohort_is_refused(cohort, tmp_path):
    path = save_split(split(cohort), tmp_path / "s.json")
    with pytest.raises(DataError, match="use the scans that were split, or split anew"):
        load_split(path, phantom(subjects=12, size=16, seed=1))
    with pytest.raises(DataError, match="names subject09"):
        load_split(path, phantom(subjects=8, size=16))
    with pytest.raises(DataError, match="which the cohort phantom does not have"):
        part_indices(take(cohort, split(cohort).train), split(cohort), "train")


def test_indices_give_each_use_what_is_its_own(cohort):
    s = split(cohort, 0.2)
    named = {
        use: {cohort.volumes[v].name for v in cohort.volume[rows]}
        for use, rows in {
            "images": unlabelled_indices(cohort, s),
            "all": unlabelled_indices(cohort, s, test_images=True),
            "labels": labelled_indices(cohort, s),
            "val": part_indices(cohort, s, "val"),
            "test": part_indices(cohort, s, "test"),
            "train": part_indices(cohort, s, "train"),
            "every": part_indices(cohort, s, "all"),
        }.items()
    }
    assert named["images"] == named["train"] == set(s.train)
    assert named["labels"] == set(s.labelled) and named["val"] == set(s.val) and named["test"] == set(s.test)
    assert named["all"] == named["every"] == {v.name for v in cohort.volumes}
    assert labelled_indices(cohort, s).dtype == np.int64
    with pytest.raises(ValueError, match="part"):
        part_indices(cohort, s, "validation")


LEAKS = [
    ("images", "test"),
    ("images", "val"),
    ("labels", "test"),
    ("labels", "val"),
    ("labels", "unlabelled"),
    ("select", "test"),
    ("select", "train"),
    ("test", "val"),
    ("test", "train"),
    ("images+test", None),
]


@pytest.mark.parametrize("use,place", LEAKS)
def test_guard_names_the_volume(cohort, use, place):
    s = split(cohort, 0.2)
    own = {
        "images": unlabelled_indices(cohort, s),
        "images+test": unlabelled_indices(cohort, s, True),
        "labels": labelled_indices(cohort, s),
        "select": part_indices(cohort, s, "val"),
        "test": part_indices(cohort, s, "test"),
    }[use]
    guard(cohort, s, own, use)
    if place is None:
        return
    names = sorted(set(s.train) - set(s.labelled)) if place == "unlabelled" else getattr(s, place)
    bad = np.flatnonzero(cohort.volume == [v.name for v in cohort.volumes].index(names[0]))[:1]
    with pytest.raises(LeakError, match=rf"{names[0]}: is in .* may not be used for '{use}'"):
        guard(cohort, s, np.concatenate([own, bad]), use)


def test_guard_refuses_unknown_uses_and_rows(cohort):
    s = split(cohort)
    with pytest.raises(ValueError, match="use"):
        guard(cohort, s, labelled_indices(cohort, s), "train")
    with pytest.raises(ValueError, match="indices"):
        guard(cohort, s, np.array([len(cohort)]), "images")
    with pytest.raises(ValueError, match="indices"):
        guard(cohort, s, np.array([-1]), "images")
    with pytest.raises(ValueError, match="indices"):
        guard(cohort, s, np.array([0.5]), "images")
    guard(cohort, s, np.array([], np.int64), "labels")


def test_unlabelled_slices_are_never_labels(cohort):
    partly = half_labelled(cohort)
    s = split(partly, 0.5)
    rows = labelled_indices(partly, s)
    assert partly.labelled[rows].all()
    assert len(unlabelled_indices(partly, s)) == 2 * len(part_indices(partly, s, "train"))
    blank = unlabelled_indices(partly, s)[~partly.labelled[unlabelled_indices(partly, s)]]
    mine = blank[np.isin(partly.volume[blank], np.unique(partly.volume[rows]))][:1]
    with pytest.raises(LeakError, match="has no complete label"):
        guard(partly, s, mine, "labels")


def test_volumes_without_labels_only_feed_stage_one(cohort):
    partly = half_labelled(cohort, bare=("subject03", "subject07"))
    for seed in range(6):
        s = split(partly, 0.3, seed)
        bare = {"subject03-left", "subject03-right", "subject07-left", "subject07-right"}
        assert bare <= set(s.train) and not bare & set(s.labelled)
        assert len(s.labelled) == round(0.3 * (len(s.train) - 4))


@pytest.mark.parametrize("change, words", [
    ({"seed": 1e400}, "seed is inf"), ({"seed": "0"}, "seed is '0'"), ({"labelled_fraction": float("nan")}, "labelled_fraction is nan"),
    ({"labelled_fraction": 2}, "labels 2 of the volumes"), ({"train": [1]}, "train"), ({"outlined": [0.5]}, "outlined"), ({"cohort": None}, "cohort"),
])  # fmt: skip
def test_a_split_file_of_other_kinds_of_values_is_refused(cohort, tmp_path, change, words):
    path = save_split(split(cohort), tmp_path / "split.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=rf"split.json.*{words}"):
        load_split(path)


def test_a_deeply_nested_split_file_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "split.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match="split.json: is no split file.*nested too deeply"):
        load_split(tmp_path / "split.json")


def test_a_split_of_many_volumes_is_checked_in_linear_time():
    """Ten times the names take ten times the comparisons, and not a hundred."""

    class Name(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Name.compared += 1
            return str.__eq__(self, other)

    def comparisons(count):
        Name.compared = 0
        names = [Name(k) for k in range(count)]
        check_names(Split("c", "f", 0, 0.5, tuple(names[: count // 2]), tuple(names[count // 2 :]), (), tuple(names[:5])), "here")
        return Name.compared

    assert comparisons(3000) < 30 * max(comparisons(300), 300)
