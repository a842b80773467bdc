"""What runs can bear: intervals, differences, headroom, and the one rule that gives a verdict."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semicon_nb.identity import experiment_of
from semicon_nb.records import check_names
from semicon_nb.tables import (
    best_other,
    compare,
    headroom,
    interval,
    judge,
    paired,
    plus_minus,
    read_records,
    read_results,
    summary,
    table,
    verdicts,
)  # fmt: skip

RESULTS = Path(__file__).resolve().parent.parent / "results"
WORDS = {"holds", "reversed", "cannot tell", "no room to tell"}
FEW = st.lists(st.floats(-0.2, 0.2), min_size=0, max_size=6)


def runs_of(scores: dict[tuple[str, float], list[float]], metric: str = "pooled_dice") -> pd.DataFrame:
    """Finished runs: (method, labels) -> a score for each split, None where it was not run."""
    rows = [
        {"method": method, "labels": labels, "split": split, "validation": score, metric: score}
        for (method, labels), line in scores.items() for split, score in enumerate(line) if score is not None
    ]  # fmt: skip
    return read_results(rows)


BASE = [0.78, 0.81, 0.83, 0.85]
GAINS = {"better": [0.010, 0.012, 0.009, 0.011], "noisy": [0.05, -0.04, 0.06, -0.03]}
FULL = [0.83, 0.85, 0.88, 0.91]
"""All labels bring 0.050 +- 0.013: more than `better` resolves, less than `noisy` does."""


def known(full: list | None = FULL, metric: str = "pooled_dice", sign: float = 1, start: float = 0) -> pd.DataFrame:
    """Three methods at 5 %, and scratch with all labels."""
    found = {("scratch", 0.05): BASE} | {(m, 0.05): [b + g for b, g in zip(BASE, gain, strict=True)] for m, gain in GAINS.items()}
    found |= {("scratch", 1.0): full} if full else {}
    turned = {place: [start + sign * v if v is not None else None for v in line] for place, line in found.items()}
    return runs_of(turned, metric)


CLAIMS = [("better", "scratch"), ("scratch", "better"), ("noisy", "scratch"), ("absent", "scratch")]
EXPECTED = ["holds", "reversed", "no room to tell"]


# ------------------------------------------------------------------------------------------------ the rule


def test_a_word_for_each_case() -> None:
    roomy, tight = [0.2, 0.21, 0.19, 0.2], [0.01, 0.02, 0.0, 0.01]
    assert [judge(g, roomy) for g in ([0.05, 0.06], [0.05, 0.06, 0.04], [-0.05, -0.06, -0.04], [0.05, -0.06, 0.03, -0.04])] == [
        "cannot tell", "holds", "reversed", "cannot tell",
    ]  # fmt: skip
    assert judge([0.05, 0.06, 0.04], tight) == judge([0.05, -0.06, 0.03], tight) == "no room to tell"
    assert judge([0.05], roomy) == judge([], roomy) == judge([0.05, 0.06, 0.04], []) == judge([0.05, 0.06, 0.04], [0.2]) == "cannot tell"
    assert judge([0.05, 0.06, 0.04], None) == "holds" and judge([0.0, 0.0], [0.0, 0.0]) == "no room to tell"


@given(FEW, FEW, st.sampled_from([0.9, 0.95, 0.99]))
def test_a_verdict_needs_room_and_an_interval_that_leaves_zero_out(gains: list, rooms: list, sure: float) -> None:
    word = judge(gains, rooms, sure)
    assert word in WORDS
    if min(len(gains), len(rooms)) < 2:
        assert word == "cannot tell"
    elif min(np.std(gains), np.std(rooms)) > 1e-4:
        low, high = stats.ttest_1samp(gains, 0).confidence_interval(sure)
        resolution = np.ptp(stats.ttest_1samp(gains, 0).confidence_interval(0.95)) / 2
        floor = stats.ttest_1samp(rooms, 0).confidence_interval(0.95).low
        expected = "no room to tell" if floor <= resolution else "holds" if low > 0 else "reversed" if high < 0 else "cannot tell"
        assert word == expected


@given(FEW, FEW, st.integers(-6, 6))
def test_the_unit_does_not_matter_and_the_side_turns_the_word(gains: list, rooms: list, power: int) -> None:
    word, turned = judge(gains, rooms), {"holds": "reversed", "reversed": "holds"}
    assert judge([2.0**power * g for g in gains], [2.0**power * r for r in rooms]) == word
    assert judge([-g for g in gains], rooms) == turned.get(word, word)


@given(FEW, FEW, st.floats(0, 1))
def test_more_room_never_takes_a_verdict_back(gains: list, rooms: list, more: float) -> None:
    if (word := judge(gains, rooms)) in ("holds", "reversed"):
        assert judge(gains, [r + more for r in rooms]) == word


# ------------------------------------------------------------------------------------------------ intervals, differences, tables


def invented(gains, splits=4, seeds=1, fraction=0.05):
    base = np.linspace(0.78, 0.86, splits)
    return [
        {"method": method, "labels": fraction, "split": s, "seed": k, "pooled_dice": base[s] + gain[s % len(gain)] + 0.001 * k,
         "volume_dice": base[s], "hd95": 2.0, "validation": base[s] + gain[s % len(gain)], "seconds": 1.0}
        for method, gain in gains.items() for s in range(splits) for k in range(seeds)
    ]  # fmt: skip


INVENTED = {"scratch": [0.0], **GAINS}


def test_a_way_that_was_not_measured_is_no_number():
    old = {"method": "scratch", "labels": 0.05, "split": 0, "pooled_dice": 0.8}
    (row,) = read_results([old]).to_dict("records")
    assert row["pooled_dice_slice_by_slice"] == 0.8 and np.isnan(row["pooled_dice_with_neighbours"])


@pytest.mark.parametrize("unit", ["pixel", ""])
def test_older_rows_of_pictures_were_not_averaged_whatever_they_say(unit):
    scores = {"pooled_dice": 0.8, "volume_dice": 0.7}
    plain = {"method": "scratch", "labels": 0.05, "split": 0, **scores, "unit": unit, "with_neighbours": scores | {"neighbours": 1.3}}
    best = {"method": "best", "labels": 0.05, "split": 0, **scores, "unit": unit, "slice_by_slice": scores | {"neighbours": 0.0}}
    best["settings"] = {"method": {"neighbours": 1.3}}
    rows = read_results([plain, best])
    assert rows["pooled_dice_slice_by_slice"].tolist() == [0.8, 0.8] and rows["volume_dice_slice_by_slice"].tolist() == [0.7, 0.7]
    assert rows[["pooled_dice_with_neighbours", "volume_dice_with_neighbours"]].isna().all(axis=None)


def test_committed_rows_of_hearts_are_not_called_averaged(root):
    assert "was not measured" in table(root / "results" / "sunnybrook-longer.jsonl", metric="pooled_dice_with_neighbours")
    assert "was not measured" not in table(root / "results" / "hippocampus-longer.jsonl", metric="pooled_dice_with_neighbours")


def test_interval_is_students():
    values = [0.81, 0.84, 0.79, 0.83]
    mean, half, count = interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((expected.low, expected.high)) and count == 4
    assert np.isnan(interval([0.8])[1]) and interval([])[2] == 0 and interval([0.8, None, 0.9])[2] == 2


def test_paired_differences_are_students():
    rows = paired(invented(INVENTED))
    for name in ("better", "noisy"):
        base = np.linspace(0.78, 0.86, 4)
        expected = stats.ttest_rel(base + np.array(INVENTED[name]), base).confidence_interval(0.95)
        found = rows.loc[(0.05, name)]
        assert (found["difference"] - found["half"], found["difference"] + found["half"]) == pytest.approx((expected.low, expected.high))
    assert (0.05, "scratch") not in rows.index


def test_seeds_of_a_split_count_once():
    one, three = summary(invented(INVENTED)), summary(invented(INVENTED, seeds=3))
    assert three["splits"].tolist() == one["splits"].tolist() == [4, 4, 4]
    assert three["half"].to_numpy() == pytest.approx(one["half"].to_numpy())


def test_only_shared_splits_are_compared():
    records = [record for record in invented(INVENTED) if not (record["method"] == "better" and record["split"] == 0)]
    assert paired(records).loc[(0.05, "better"), "splits"] == 3


def seeded(kept, gain=0.0, full=0.0):
    """Runs of three methods of which seeds differ a lot; `kept` says of each (method, labels, split, seed) whether it was run."""
    steps = {("scratch", 0.05): 0.0, ("mixup", 0.05): gain, ("scratch", 1.0): full}
    return [
        {"method": m, "labels": f, "split": split, "seed": seed, "pooled_dice": 0.7 + 0.01 * split + 0.1 * seed + more,
         "validation": 0.8, "data": {"cohort": "phantom", "seed": seed} if kept is None else "hippocampus"}
        for (m, f), more in steps.items() for split in range(3) for seed in range(3) if kept is None or kept(m, f, split, seed)
    ]  # fmt: skip


@pytest.mark.parametrize("kept", [
    lambda m, f, split, seed: m == "scratch" or seed == 0,
    lambda m, f, split, seed: m != "scratch" or seed == 2,
    lambda m, f, split, seed: seed != split or m == "mixup",
    lambda m, f, split, seed: seed in ((0, 1) if f == 1 else (1, 2)),
])  # fmt: skip
def test_a_difference_is_taken_on_the_seeds_that_both_have(kept) -> None:
    """The seeds differ by much more than the methods do; whichever are missing on either side, none of that gets into a difference."""
    for gain, full in ((0.0, 0.0), (0.02, 0.05)):
        runs = seeded(kept, gain, full)
        found = paired(runs).loc[(0.05, "mixup")]
        assert found["difference"] == pytest.approx(gain, abs=1e-12) and found["half"] < 1e-12 and found["splits"] == 3
        assert headroom(runs)["mean"].tolist() == pytest.approx([full], abs=1e-12)
        (said,) = verdicts(runs, [("mixup", "scratch")]).to_dict("records")
        assert (said["difference"], said["headroom"]) == pytest.approx((gain, full), abs=1e-12)
        assert f"{gain:+.3f} ± 0.000" in table(runs) and "differences over the seeds that both have" in table(runs)
    assert "differences over" not in table(seeded(lambda *run: True))


def test_without_a_seed_in_common_there_is_no_difference() -> None:
    runs = seeded(lambda m, f, split, seed: seed == (m == "mixup"))
    assert paired(runs)["splits"].tolist() == [0] and "− scratch" not in table(runs)
    assert verdicts(runs, [("mixup", "scratch")])["verdict"].tolist() == ["cannot tell"]


def test_generated_people_are_paired_with_themselves() -> None:
    every = [run | {"seed": 0} for run in seeded(None, gain=0.01)]
    runs = [run for run in every if run["method"] == "scratch" or run["data"]["seed"] == 2]
    assert paired(runs).loc[(0.05, "mixup"), "difference"] == pytest.approx(0.01, abs=1e-12)


def test_means_keep_to_the_people_of_scratch_and_differences_use_all():
    gains = {"scratch": [0.0], "a": [0.01, 0.02, 0.03, 0.04], "b": [0.0, 0.0, 0.01, 0.01]}
    records = [record for record in invented(gains) if record["method"] != "scratch" or record["split"] < 2]
    means = summary(records).loc[0.05]
    base = np.linspace(0.78, 0.86, 4)[:2]
    assert means["splits"].tolist() == [2, 2, 2]
    assert means["mean"].tolist() == pytest.approx([base.mean(), (base + [0.01, 0.02]).mean(), base.mean()])
    assert verdicts(records, [("a", "b"), ("a", "scratch")])["splits"].tolist() == [4, 2]
    assert "over 2 splits by subject, differences over all that both have" in table(records)
    assert "differences over" not in table([record for record in records if record["split"] < 2])
    alone = [record for record in records if record["method"] != "scratch"]
    assert summary(alone)["splits"].tolist() == [4, 4]


def test_rival_is_chosen_on_validation_not_on_test():
    records = invented({"scratch": [0.0], "a": [0.01], "b": [0.02]})
    for record in records:
        if record["method"] == "a":
            record["validation"] += 0.5
    assert best_other(records)[0.05] == {"scratch": "a", "a": "b", "b": "a"}


def test_one_easy_split_makes_no_best_other():
    """On the split that all have, "easy" is worse than "a"; its mean is the highest because it was run on no other."""
    runs = runs_of({("scratch", 0.05): [0.70, 0.70, 0.90], ("a", 0.05): [0.72, 0.72, 0.92], ("easy", 0.05): [None, None, 0.91]})
    assert best_other(runs)[0.05] == {"scratch": "a", "a": "scratch", "easy": "a"}


@pytest.mark.parametrize("form, piece", [("markdown", "| `better` |"), ("latex", r"\begin{tabular}{lrrr}"), ("html", "<table")])
def test_table_in_each_form(form, piece):
    text = table(invented(INVENTED), form)
    assert piece in text and "4 splits by subject" in text and "better" in text
    assert form != "latex" or all(line.count("&") == 3 for line in text.splitlines() if line.endswith(r"\\"))


def test_no_column_is_empty_or_says_the_same_again() -> None:
    """With one method beside scratch, the best other is scratch, or it."""
    three = ["5 %", "5 % − scratch", "5 % − best other", "100 %"]
    assert compare(known()).columns.tolist() == three
    runs = known()
    assert compare(runs[runs["method"] != "noisy"]).columns.tolist() == [three[0], three[1], three[3]]
    assert compare(runs[runs["method"] != "scratch"]).columns.tolist() == [three[0], three[2]]
    alone = table(runs[runs["method"] == "scratch"])
    assert "scratch |" not in alone.splitlines()[0] and "Best other" not in alone


def test_single_split_has_no_interval_and_bad_arguments_are_named(tmp_path):
    rows = compare(invented(INVENTED, splits=1))
    assert "±" not in "".join(rows.to_numpy().ravel())
    with pytest.raises(ValueError, match="form: found 'pdf'"):
        table(invented(INVENTED), "pdf")
    with pytest.raises(ValueError, match="metric: found 'dice'"):
        table(invented(INVENTED), metric="dice")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="no finished run"):
        table(tmp_path / "empty.jsonl")


def test_runs_of_different_experiments_are_never_averaged():
    record = {"method": "scratch", "labels": 0.05, "split": 0, "seed": 0, "pooled_dice": 0.8, "validation": 0.8, "preset": "laptop"}
    others = [{"data": {"cohort": "b"}}, {"data": {"cohort": "a"}, "scale": 0.5}, {"data": {"cohort": "a"}, "defects": ["identical_views"]}]
    mixed = [record | {"data": {"cohort": "a"}}, *(record | other | {"pooled_dice": 0.5} for other in others)]
    with pytest.raises(ValueError, match="cannot be compared.*a, laptop"):
        summary(mixed)
    found = table(mixed)
    assert found.count("0.500") == 3 and found.count("0.800") == 1
    for name in ("(a, laptop)", "(b, laptop)", "(a, laptop x 0.5)", "(a, laptop, identical_views)"):
        assert name in found


# ------------------------------------------------------------------------------------------------ headroom of runs


def test_headroom_is_the_paired_difference_on_shared_splits() -> None:
    found = headroom(known([*FULL[:3], None])).loc[(0.05, "scratch")]
    low, high = stats.ttest_rel(FULL[:3], BASE[:3]).confidence_interval(0.95)
    assert found["splits"] == 3
    assert (found["mean"] - found["half"], found["mean"] + found["half"]) == pytest.approx((low, high))


@pytest.mark.parametrize("full", [None, [None] * 4])
def test_without_all_labels_nothing_is_known_and_nothing_is_claimed(full: list | None) -> None:
    runs = known(full)
    found = verdicts(runs, CLAIMS)
    assert headroom(runs).empty and found["verdict"].tolist() == ["cannot tell"] * 3 and found["headroom"].isna().all()
    assert "headroom of" not in table(runs) and "Headroom unknown" in table(runs)
    assert "cannot tell" in verdicts(known([0.9, None, None, None]), CLAIMS)["verdict"].tolist(), "one split has no interval"


def test_claims_get_their_words_and_the_headroom_beside_them() -> None:
    found = verdicts(known(), CLAIMS)
    assert found["verdict"].tolist() == EXPECTED and set(found["splits"]) == {4}
    assert found["difference"].tolist() == pytest.approx([0.0105, -0.0105, 0.01])
    assert found["headroom"].tolist() == pytest.approx([0.05] * 3)
    assert verdicts(known(BASE), CLAIMS)["verdict"].tolist() == ["no room to tell"] * 3


def test_where_less_is_better_both_signs_turn() -> None:
    runs = known(metric="hd95", sign=-10, start=20)
    found = verdicts(runs, CLAIMS, "hd95")
    assert found["verdict"].tolist() == EXPECTED
    assert found["headroom"].tolist() == pytest.approx([-0.5] * 3) and found["difference"].iloc[0] < 0
    assert headroom(runs, "hd95").loc[(0.05, "scratch"), "mean"] == pytest.approx(-0.5)
    for seconds in ("seconds", "processor_seconds"):
        slower = known(metric=seconds, sign=100)
        assert verdicts(slower, CLAIMS, seconds)["verdict"].tolist() == ["reversed", "holds", "cannot tell"]
        assert headroom(slower, seconds).empty and "eadroom" not in table(slower, metric=seconds)


def test_a_longer_training_has_a_headroom_of_its_own() -> None:
    gains = {("best", 0.05): 0.011, ("scratch(strong)", 0.05): 0.0}
    shake = [0.001, -0.001, 0.002, -0.002]
    scores = {place: [b + g + s * (g > 0) for b, s in zip(BASE, shake, strict=True)] for place, g in gains.items()}
    scores |= {("scratch", 0.05): BASE, ("scratch", 1.0): BASE}
    claims = [("best", "scratch(strong)"), ("best", "scratch")]
    assert verdicts(runs_of(scores), claims)["verdict"].tolist() == ["cannot tell"] * 2, "that of `scratch` is not theirs"
    found = verdicts(runs_of(scores | {("scratch(strong)", 1.0): FULL}), claims)
    assert found["verdict"].tolist() == ["holds"] * 2 and found["headroom"].tolist() == pytest.approx([0.05] * 2)
    turned = verdicts(runs_of(scores | {("scratch(strong)", 1.0): FULL}), [(worse, better) for better, worse in claims])
    assert turned["verdict"].tolist() == ["reversed"] * 2 and turned["headroom"].tolist() == pytest.approx([0.05] * 2)


def test_the_headroom_is_that_of_the_splits_of_the_comparison() -> None:
    """Where fewer than two of these have one it is that of all, and its number of splits is said."""
    far = [0.05, 0.06, 0.40, 0.50]
    full = [b + gain for b, gain in zip(BASE, far, strict=True)]
    scores = {("scratch", 0.05): BASE, ("scratch", 1.0): full, ("better", 0.05): [BASE[0] + 0.010, BASE[1] + 0.011, None, None]}
    (found,) = verdicts(runs_of(scores), [("better", "scratch")]).to_dict("records")
    assert found["headroom"] == pytest.approx(0.055) and (found["splits"], found["headroom_splits"], found["verdict"]) == (2, 2, "no room to tell")
    (found,) = verdicts(runs_of(scores | {("scratch", 1.0): [full[0], None, *full[2:]]}), [("better", "scratch")]).to_dict("records")
    assert found["headroom"] == pytest.approx(np.mean([0.05, 0.40, 0.50])) and found["headroom_splits"] == 3
    assert "same splits, 4 of them." in table(runs_of(scores))


def trained(steps: dict[float, int]) -> pd.DataFrame:
    """The runs of `known` at 5 % and with all labels, fine-tuned in so many steps."""
    return read_results([run | {"settings": {"stages": {"finetune": {"steps": steps[run["labels"]]}}}} for run in known().to_dict("records")])


def test_more_steps_are_no_headroom() -> None:
    """Where an epoch is a pass over the labelled slices, all labels bring more training, too."""
    same, longer = trained({0.05: 120, 1.0: 120}), trained({0.05: 120, 1.0: 3360})
    assert verdicts(same, CLAIMS)["verdict"].tolist() == EXPECTED and "same steps" in table(same)
    found = verdicts(longer, CLAIMS)
    assert headroom(longer).empty and found["verdict"].tolist() == ["cannot tell"] * 3 and found["headroom"].isna().all()
    assert "headroom of" not in table(longer)
    assert "Headroom unknown: with all labels, training from scratch took 28 times as many steps." in table(longer)


def test_a_difference_between_machines_is_told() -> None:
    runs = [run | {"precision": "fp32", "device": "cuda"} for run in known().to_dict("records")]
    assert "precision or the device" not in table(runs) + table(known())
    other = {"precision": "bf16", "device": "cpu"}
    odd = [run | other if (run["method"], run["split"]) == ("noisy", 2) or run["labels"] == 1 else run for run in runs]
    said = "In these differences to scratch, the precision or the device differs, too: "
    assert f"{said}headroom at 5 % (fp32 on cuda against bf16 on cpu), noisy at 5 % (bf16 on cpu against fp32 on cuda)." in table(odd)
    apart = [run | other if run["split"] == 2 else run for run in runs]
    assert said not in table(apart), "both sides of each difference are of one machine"


def test_one_split_has_no_interval_and_times_have_a_title() -> None:
    one = table(invented(INVENTED, splits=1))
    assert "Pooled Dice: of 1 split by subject, which has no interval; 3 runs." in one and "±" not in one
    assert "Seconds by the clock: mean" in table(invented(INVENTED), metric="seconds")


@pytest.mark.parametrize(("form", "line"), [
    ("markdown", "| `headroom of scratch` | +0.050 ± 0.013 |"),
    ("latex", r"headroom of scratch & +0.050 $\pm$ 0.013 &"),
    ("html", "<th>headroom of scratch</th>"),
])  # fmt: skip
def test_it_stands_under_every_table(form: str, line: str) -> None:
    text = table(known(), form)
    assert line in text and "+0.050" in text and "Headroom: what all labels bring" in text
    assert compare(known()).loc["headroom of scratch"].tolist() == ["+0.050 ± 0.013", *[""] * 3]


# ------------------------------------------------------------------------------------------------ the committed rows


def test_the_committed_rows_give_these_words() -> None:
    runs = read_results(RESULTS / "hippocampus.jsonl")
    claims = [("global", "scratch"), ("local(block)", "scratch"), ("global+local(block)", "scratch"), ("local(exact)", "local(block)")]
    found = verdicts(runs, claims)
    assert set(found["verdict"]) == {"no room to tell"} and len(found) == 12
    clear = found[found["difference"].abs() > found["half"]]
    assert clear[["claim", "labels"]].to_numpy().tolist() == [["local(exact) > local(block)", 0.1]], "zero is left out, and yet no room"
    both = read_results([RESULTS / "hippocampus.jsonl", RESULTS / "hippocampus-rivals.jsonl"])
    assert verdicts(both, [("best", "scratch(strong)")])["verdict"].tolist() == ["holds"]
    said = json.loads((RESULTS.parent / "semicon_nb/explore/assets/found.json").read_text(encoding="utf-8"))
    assert "no difference was found" in said["hippocampus"] and "2,000 steps" in said["hippocampus"]


@pytest.mark.parametrize("metric", ["pooled_dice", "volume_dice", "hd95"])
def test_no_committed_row_has_a_verdict_without_room(metric: str) -> None:
    for _, runs in read_results(RESULTS).groupby("experiment"):
        names = list(dict.fromkeys(runs["method"]))
        found = verdicts(runs, [(a, b) for a in names for b in names if a < b], metric)
        sign = -1 if metric == "hd95" else 1
        roomy = sign * found["headroom"] - found["headroom_half"] > found["half"]
        assert roomy[found["verdict"].isin(["holds", "reversed"])].all() and set(found["verdict"]) <= WORDS
        assert (found["verdict"] == "no room to tell").sum() == (~roomy & found["headroom_half"].notna() & (found["splits"] > 1)).sum()


def test_a_folder_is_named_by_its_last_part_and_its_content() -> None:
    """Where scans lie on a machine stands in no table, and two folders of one name are two experiments."""
    places = (("/home/who/scans", "abcdef0123"), ("/mnt/other/scans", "0123456789"), ("hippocampus", "5" * 10))
    names = [experiment_of({"data": {"cohort": place}, "settings": {"fingerprint": mark}}) for place, mark in places]
    assert names[0].startswith("scans abcdef") and names[1].startswith("scans 012345") and names[2] == "hippocampus"
    assert "who" not in "".join(names)


def test_distances_are_named_in_the_unit_of_the_runs() -> None:
    """Pictures have pixels and no millimetres; where the runs don't say it, or differ, the title says so."""
    runs = runs_of({("scratch", 0.05): [4.0, 5.0]}, "hd95").to_dict("records")
    for units, words in ((["mm"] * 2, "mm"), (["pixel"] * 2, "pixels"), (["mm", "pixel"], "mm or pixels"), ([None] * 2, "mm or pixels")):
        told = table([{**run, "unit": unit} for run, unit in zip(runs, units, strict=True)], metric="hd95")
        assert f"HD95 ({words}): mean" in told
    assert "HD95 (pixels)" in table(RESULTS / "sunnybrook.jsonl", metric="hd95") and "HD95 (mm)" in table(RESULTS / "phantom.jsonl", metric="hd95")


def test_other_files_under_the_same_name_are_another_experiment() -> None:
    """Who has more or fewer of a cohort's people deals other ones to each split: such runs meet in no mean and no difference."""
    def run(method: str, split: int, mark: str | None, data: object = "hippocampus") -> dict:
        about = {"method": method, "labels": 0.05, "split": split, "pooled_dice": 0.8, "data": data, "preset": "laptop"}
        return about | ({"settings": {"fingerprint": mark}} if mark else {})

    runs = [run("scratch", 0, "a" * 16), run("scratch", 1, "a" * 16), run("scratch", 2, None), run("global", 0, "b" * 16)]
    usual, other = "hippocampus, laptop", "hippocampus, laptop, other files bbbbbb"
    for order in (runs, runs[::-1]):
        found = read_results(order)
        assert found.groupby("experiment")["method"].unique().map(list).to_dict() == {usual: ["scratch"], other: ["global"]}
    people = [run("scratch", seed, str(seed) * 16, {"cohort": "phantom", "seed": seed}) for seed in range(3)]
    assert read_results(people)["experiment"].tolist() == ["phantom, laptop"] * 3


def test_slices_of_another_size_are_another_experiment() -> None:
    """Whatever makes other slices of a cohort keeps its runs apart; where its files lie, and who was generated, does not."""
    plain = experiment_of({"data": {"cohort": "hippocampus"}, "preset": "laptop"})
    assert plain == "hippocampus, laptop" == experiment_of({"data": {"cohort": "hippocampus", "data": "/home/who"}, "preset": "laptop"})
    assert experiment_of({"data": {"cohort": "hippocampus", "size": 96}, "preset": "laptop"}) == "hippocampus (size 96), laptop"
    kinds = [{"axis": 1}, {"take": ["a"]}, {"take": ["b"]}, {"orientation": "RAS"}, {"limit": 9}]
    assert len({experiment_of({"data": {"cohort": "hippocampus", **made}}) for made in [*kinds, {}]}) == 6
    people = [{"cohort": "phantom", "subjects": 40, "seed": seed} for seed in range(3)]
    assert {experiment_of({"data": made, "preset": "demo"}) for made in people} == {"phantom (subjects 40), demo"}


@pytest.mark.parametrize("change, words", [
    ({"pooled_dice": "0.8"}, "pooled_dice is '0.8', expected a number"), ({"labels": [0.1]}, r"labels is \[0.1\]"),
    ({"hd95": float("nan")}, "hd95 is nan"), ({"settings": {"method": []}}, "settings.method is"), ({"per_class": {"a": 1}}, "per_class"),
    ({"method": 1.5}, "method is 1.5, expected text"), ({"settings": {"trained": [1]}}, "settings.trained is"),
])  # fmt: skip
def test_a_line_of_another_kind_is_named(change: dict, words: str, tmp_path: Path) -> None:
    record = {"method": "scratch", "labels": 0.1, "split": 0, "pooled_dice": 0.8, "key": "k"}
    (tmp_path / "runs.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(record | change) + "\n")
    with pytest.raises(ValueError, match=f"runs.jsonl: a run is damaged .*{words}"):
        read_results(tmp_path / "runs.jsonl")


def test_a_file_that_was_written_with_nan_can_be_read(tmp_path: Path) -> None:
    """Its checksum tells that this is what was written: a score that is undefined, and no damage."""
    from semicon_nb.files import content_key

    record = {"method": "scratch", "labels": 0.1, "split": 0, "pooled_dice": 0.8, "key": "k", "with_neighbours": {"hd95": float("nan")}}
    (tmp_path / "runs.jsonl").write_text(json.dumps(record | {"check": content_key(record)}) + "\n")
    assert read_records(tmp_path / "runs.jsonl")[0]["with_neighbours"] == {"hd95": None}
    (tmp_path / "runs.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="hd95'. is nan"):
        read_records(tmp_path / "runs.jsonl")


# ------------------------------------------------------------------------------------------------ one run, one name


SAME = {"method": "scratch", "labels": 0.1, "split": 0, "seed": 0, "data": {"cohort": "hippocampus"}, "preset": "mine", "key": "k"}
SCORED = SAME | {"pooled_dice": 0.8, "hd95": None, "with_neighbours": {"pooled_dice": 0.81, "hd95": 2.0}}


def written(places: list[tuple[str, dict]], folder: Path) -> Path:
    """A folder of results files, in which each run is in the file that is named."""
    for name, run in places:
        with (folder / name).open("a") as file:
            file.write(json.dumps(run) + "\n")
    return folder


@pytest.mark.parametrize("names", [("a.jsonl", "b.jsonl"), ("a.jsonl", "a.jsonl")])
@pytest.mark.parametrize("change, words", [
    ({"pooled_dice": 0.7}, "pooled_dice is 0.8 there and 0.7 here"), ({"pooled_dice": None}, "pooled_dice is 0.8 there and None here"),
    ({"hd95": 2.0}, "hd95 is None there and 2.0 here"),
    ({"with_neighbours": {"pooled_dice": 0.81, "hd95": 3.0}}, "with_neighbours: hd95 is 2.0 there and 3.0 here"),
])  # fmt: skip
def test_one_run_with_two_scores_is_refused(names: tuple[str, str], change: dict, words: str, tmp_path: Path) -> None:
    folder = written(list(zip(names, (SCORED, SCORED | change), strict=True)), tmp_path)
    places = " and ".join(dict.fromkeys(str(folder / name) for name in names))
    with pytest.raises(ValueError, match=f"{places}: the run k .scratch at 10 %, split 0, seed 0. has two scores: {words}"):
        read_records(folder)
    with pytest.raises(ValueError, match=words):
        read_results([SCORED, SCORED | change])


def test_one_run_that_is_told_twice_is_one_run(tmp_path: Path) -> None:
    """Wherever it stands, whenever it ran; and where only one of the two was asked for a score."""
    older = {name: value for name, value in SCORED.items() if name != "with_neighbours"} | {"seconds": 3.0}
    folder = written([("a.jsonl", SCORED), ("a.jsonl", SCORED), ("b.jsonl", older)], tmp_path)
    assert read_records(folder) == [SCORED] and len(read_records([folder, folder / "a.jsonl"])) == 1
    assert len(read_records([SCORED | {"hd95": np.nan}, SCORED | {"hd95": None}])) == 1


MADE = {
    "fingerprint": "f" * 16, "network": {"width": 16}, "stages": {"finetune": {"steps": 500, "save_every": 200}},
    "method": {"looks": False, "stages": [{"stage": "finetune", "options": {"head": "none"}}]}, "trained": {"finetune": {"key": "1" * 16}},
}  # fmt: skip
OTHER_WEIGHTS = {"trained": {"finetune": {"key": "2" * 16}}}


@pytest.mark.parametrize("change, words", [
    ({"stages": {"finetune": {"steps": 60, "save_every": 200}}, **OTHER_WEIGHTS}, "stages: finetune: steps is 500 there and 60 here"),
    ({"network": {"width": 8}, **OTHER_WEIGHTS}, "network: width is 16 there and 8 here"),
    ({"method": {"looks": False, "stages": [{"stage": "finetune", "options": {}}]}, **OTHER_WEIGHTS}, "options: head is 'none' there and None here"),
    ({"method": MADE["method"] | {"looks": True}}, "method: looks is False there and True here"),
    (OTHER_WEIGHTS, "the code of a stage or of the network is another"), (None, "they do not say in what"),
])  # fmt: skip
def test_two_runs_of_other_settings_under_the_same_names_are_refused(change: dict | None, words: str, tmp_path: Path) -> None:
    """They would be averaged as if they were one run with two seeds."""
    other = SCORED | {"key": "other", "pooled_dice": 0.6} | ({"settings": MADE | change} if change else {})
    folder = written([("a.jsonl", SCORED | {"settings": MADE}), ("b.jsonl", other)], tmp_path)
    said = f"{folder / 'a.jsonl'} and {folder / 'b.jsonl'}: two runs are called scratch at 10 %, split 0, seed 0 of hippocampus, mine, but .*{words}"
    with pytest.raises(ValueError, match=said):
        table(folder)
    with pytest.raises(ValueError, match="seed 0 of hippocampus, mine, but they do not say in what"):
        read_results([SCORED, SCORED | {"key": "other"}])


OWN_CODE = {"method": MADE["method"] | {"stages": [{"stage": "finetune", "code": "v2", "options": {"head": "none"}}]}}


@pytest.mark.parametrize("change, words", [
    ({"network": {"width": 8}}, "network: width is 16 there and 8 here"),
    ({"code": {"network": "v1"}}, "code: the network's is 'v0' there and 'v1' here"),
    (OWN_CODE, "method: stages: 0: code is None there and 'v2' here"),
    ({"stages": {"finetune": {"steps": 500, "rate": 0.1}}}, "finetune: rate is None there and 0.1 here"),
])  # fmt: skip
@pytest.mark.parametrize("place", [{"split": 1}, {"seed": 3}, {"labels": 1.0}])
def test_runs_of_one_method_that_are_something_else_on_another_split_are_refused(place: dict, change: dict, words: str, tmp_path: Path) -> None:
    """One line of a table would average them, or subtract one from the other."""
    other = SCORED | {"key": "other"} | place | {"settings": MADE | change | OTHER_WEIGHTS}
    folder = written([("a.jsonl", SCORED | {"settings": MADE | {"code": {"network": "v0"}}}), ("b.jsonl", other)], tmp_path)
    two = r"a.jsonl and .*b.jsonl: scratch at 10 %, split 0, seed 0 and scratch at \d+ %, split \d, seed \d are both runs of hippocampus, mine"
    with pytest.raises(ValueError, match=f"{two}, but {words}; give what was changed a name of its own"):
        table(folder)


def test_a_network_is_that_of_an_experiment_and_a_method_its_own() -> None:
    """Other methods have other stages, and steps and precisions may hang on slices and machines."""
    first = SCORED | {"settings": MADE}
    other = first | {"method": "other", "key": "b", "settings": MADE | OWN_CODE | {"stages": {"finetune": {"rate": 0.1}}} | OTHER_WEIGHTS}
    longer = first | {"split": 1, "key": "c", "settings": MADE | {"stages": {"finetune": {"steps": 60, "precision": "bf16"}}} | OTHER_WEIGHTS}
    assert len(read_results([first, other, longer])) == 3
    with pytest.raises(ValueError, match="scratch at .* and other at .* are both runs of .*network: width is 16"):
        read_results([first, other | {"settings": MADE | {"network": {"width": 4}}}])


TURNED = [{"stage": "finetune", "options": {"head": "none"}, "longer": 4, "changes": {"rate": 0.1}}]


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ({}, {"split": 1}, False),  # older rows may count passes
        ({}, {"labels": 0.2}, True),  # but those of the global stage do not hang on the labels
        ({}, {"split": 1, "epochs": {}}, True),
        ({"epochs": {"finetune": 5}}, {"split": 1, "epochs": {"finetune": 5}}, True),
        ({"epochs": {"global": 5}}, {"split": 1, "epochs": {"global": 5}}, False),
        ({}, {"split": 1, "epochs": {}, "steps": 100}, False),
    ],
)
def test_a_preset_of_which_only_the_global_steps_were_changed_is_noticed(one, other, refused):
    def row(key, split=0, labels=0.1, steps=50, **more):
        stages = {"global": {"steps": steps, "batch": 4}, "finetune": {"steps": 10, "batch": 4}}
        method = {"name": "global", "stages": [{"stage": "global", "images": "train"}, {"stage": "finetune", "images": "labelled"}]}
        about = {"fingerprint": "f", "method": method, "stages": stages, "trained": {name: {"key": key} for name in stages}}
        return SAME | {"method": "global", "labels": labels, "split": split, "key": key, "settings": about, **more}

    rows = [("a.jsonl", row("a", steps=100, **one)), ("a.jsonl", row("b", **other))]
    with pytest.raises(ValueError, match="both runs of hippocampus, mine, but global: steps is (100|50)") if refused else nullcontext():
        check_names(rows)


@pytest.mark.parametrize("known, stages, words", [
    ({"epochs": {}}, {"steps": 60}, "finetune: steps is 500 there and 60 here"), ({"preset": "laptop"}, {"steps": 60}, "steps is 500 there and 60"),
    ({"epochs": {}}, {"steps": 2000, "rate": 0.1}, ""), ({"epochs": {}}, {"steps": 240}, "finetune: steps is 500 there and 60 here"),
    ({"epochs": {"finetune": 9}}, {"steps": 60}, ""), ({"preset": "paper"}, {"steps": 60}, ""), ({"epochs": {}}, {"batch": 4}, "batch is 8 there and 4"),
])  # fmt: skip
@pytest.mark.parametrize("split", [0, 1])
def test_methods_of_an_experiment_share_what_the_preset_says(known: dict, stages: dict, words: str, split: int) -> None:
    """But for what a method itself changes, and for steps that count passes over the slices."""
    usual = {"finetune": {"steps": 500, "rate": 0.01, "batch": 8}}
    longer = MADE["method"] | {"stages": TURNED} if stages.get("steps", 0) in (240, 2000) else MADE["method"]
    first = SCORED | known | {"settings": MADE | {"stages": usual}}
    other = {"settings": MADE | {"method": longer, "stages": {"finetune": usual["finetune"] | stages}} | OTHER_WEIGHTS}
    runs = [first, first | {"method": "other", "split": split, "key": "b"} | other]
    if not words:
        assert len(read_results(runs)) == 2
        return
    with pytest.raises(ValueError, match=f"scratch at 10 %, split 0, seed 0 and other at .* are both runs of .*{words}"):
        read_results(runs)


def test_runs_that_only_look_alike_are_not_refused() -> None:
    """Other people, other files, another seed; and the same run, of a folder that was named in another way or that kept more checkpoints."""
    first = SCORED | {"settings": MADE}
    people = [first | {"data": {"cohort": "phantom", "seed": seed}, "key": str(seed)} for seed in range(3)]
    assert len(read_results(people)) == 3 and table(people).count("3 runs") == 1
    assert len(read_results([first, first | {"key": "b", "settings": MADE | {"fingerprint": "e" * 16} | OTHER_WEIGHTS}])) == 2
    assert len(read_results([first, first | {"key": "b", "seed": 1, "settings": MADE | OTHER_WEIGHTS}])) == 2
    kept = MADE | {"stages": {"finetune": {"steps": 500, "save_every": 1}}}
    places = [first | {"key": place, "data": {"cohort": place}, "settings": kept} for place in ("./scans", "/mnt/scans")]
    assert len(read_results([*places, first | {"key": "c", "settings": kept}])) == 3


# ------------------------------------------------------------------------------------------------ shares and columns


@pytest.mark.parametrize("shares", [(0.1 + 0.2, 0.3), (0.7 / 100, 0.007), (float(np.arange(0.05, 0.4, 0.05)[2]), 0.15), (1 - 0.9, 0.1)])
def test_one_share_is_one_column_whatever_arithmetic_left_behind(shares: tuple) -> None:
    runs = [SAME | {"method": m, "labels": f, "key": m, "pooled_dice": 0.8, "validation": 0.8} for m, f in zip(("scratch", "b"), shares, strict=True)]
    found = compare(runs)
    assert shares[0] != shares[1] and found.columns[0] == f"{100 * shares[1]:g} %" and found.iloc[:, 0].tolist() == ["0.800", "0.800"]


@pytest.mark.parametrize("shares", [(1 / 3, 0.333333), (0.1, float(np.float32(0.1))), (0.1234567, 0.1234568)])
def test_shares_that_print_alike_have_columns_of_their_own(shares: tuple) -> None:
    runs = [SAME | {"labels": f, "key": str(f), "pooled_dice": f} for f in shares]
    found = compare(runs).loc["scratch"]
    assert found.tolist() == [f"{f:.3f}" for f in sorted(shares)] and found.index.is_unique


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_a_score_that_an_experiment_lacks_is_told_in_words(form: str) -> None:
    runs = invented(INVENTED)
    older = [{name: value for name, value in run.items() if name != "validation"} | {"preset": "older"} for run in runs]
    text = table(runs + older, form, "validation")
    assert f"Validation Dice: was not measured, or is undefined, in all of them; {len(older)} runs (older)." in text
    assert "nan" not in text and "4 splits by subject" in text
    apart = [run if run["method"] != "scratch" else run | {"validation": None} for run in runs]
    assert "nan" not in table(apart, form, "validation") and "over 4 splits" in table(apart, form, "validation")


def test_nothing_is_minus_zero():
    assert plus_minus(-0.0004, 0.002, signed=True) == "+0.000 ± 0.002" and plus_minus(-0.0006, 0.002, signed=True) == "-0.001 ± 0.002"
