"""Write semicon_nb/explore/assets/found.json: what the committed results say, in sentences that the demo quotes.

python tools/found.py [--check]
"""

import json
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "semicon_nb" / "explore" / "assets" / "found.json"
SAID = {
    "holds": "three stages are ahead",
    "reversed": "three stages are behind",
    "cannot tell": "no difference was found",
    "no room to tell": "there was no room to tell",
}


def sentence(runs: pd.DataFrame, lead: str, fraction: float = 0.05, method: str = "global+local(block)") -> str:
    """Three stages against scratch at a labelled fraction, with the room there was."""
    from semicon_nb.tables import plus_minus, verdicts

    found = verdicts(runs, [(method, "scratch")])
    row = found[found["labels"] == fraction].iloc[0]
    gain, room = (plus_minus(row[name], row[half], signed=True) for name, half in (("difference", "half"), ("headroom", "headroom_half")))
    return (
        f"{lead}, {SAID[row['verdict']]}: three stages against scratch {gain} pooled Dice with {100 * fraction:g} % of the labels "
        f"over {row['splits']} splits by person, while all labels bring {room}."
    ).replace("-0", "−0")


def steps_of(path: Path) -> int:
    """The fine-tuning steps of the runs from scratch in a results file."""
    from semicon_nb.tables import read_lines

    return next(record for record in read_lines(path) if record["method"] == "scratch")["settings"]["stages"]["finetune"]["steps"]


def found() -> dict[str, str]:
    """The sentences by cohort."""
    from semicon_nb.tables import read_results

    real, generated = (ROOT / "results" / f"{name}.jsonl" for name in ("hippocampus-thorough", "phantom"))
    return {
        "hippocampus": sentence(read_results(real), f"On real hippocampi, with {steps_of(real):,} steps of fine-tuning"),
        "phantom": sentence(read_results(generated), f"On generated people, with {steps_of(generated):,} steps of fine-tuning"),
    }


def main() -> int:
    """Write the file, or with --check say whether it is up to date."""
    text = json.dumps(found(), indent=1, ensure_ascii=False) + "\n"
    fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
    if "--check" in sys.argv:
        print(f"{TARGET.name} is {'up' if fresh else 'out of date: run `make export`, not up'} to date")
        return int(not fresh)
    if not fresh:
        TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
