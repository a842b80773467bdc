"""Runs that failed: read from the NAME.failed.jsonl beside a results file, and told in a sentence."""

from collections import Counter
from pathlib import Path

from .tables import read_lines


def failed_runs(
    results: Path,  # results/NAME.jsonl, which need not be there, or a folder of such files
) -> dict[Path, dict[str, str]]:  # file of failures -> key of a run -> its last error
    """Runs that were tried and are not among the finished ones."""
    inside = sorted(results.glob("*.failed.jsonl")) if results.is_dir() else [results.with_suffix(".failed.jsonl")]
    found = {}
    for file in filter(Path.is_file, inside):
        finished = file.with_name(file.name.removesuffix(".failed.jsonl") + ".jsonl")
        done = {record.get("key") for record in read_lines(finished)} if finished.is_file() else set()
        last = {run["key"].rpartition("-")[0]: " ".join(run["error"].split()) for run in read_lines(file)}
        if left := {key: error for key, error in last.items() if key not in done}:
            found[file] = left
    return found


def failures(
    results: Path,  # as for `failed_runs`
    keys: set[str] | None = None,  # of the runs that are asked about; None for all
) -> list[str]:
    """Why runs failed, a sentence for each file: the different reasons, most frequent first, with their counts."""
    sentences = []
    for file, runs in failed_runs(results).items():
        reasons = Counter(error[:300] for key, error in runs.items() if keys is None or key in keys)
        said = [f"{reason} ({count} runs)" if count > 1 else reason for reason, count in reasons.most_common(4)]
        more = f", and {len(reasons) - 4} other reasons" * (len(reasons) > 4)
        if said:
            sentences.append(f"{', '.join(said)}{more}; all of it is told in {file}")
    return sentences
