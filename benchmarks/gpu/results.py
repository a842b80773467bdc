"""The results of `benchmarks/gpu.py`: one line each, and all of them in few lines."""

import json
from pathlib import Path


def in_words(
    row: dict,  # of results.jsonl
) -> str:
    """A result in one line."""
    values = {name: value for name, value in row.items() if name not in ("section", "what")}
    return f"{row['what']}: " + ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def known(
    out: Path,  # folder of the results
) -> list[dict]:
    """All results that were written down so far."""
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []



def loss_table(rows: list[dict]) -> list[str]:
    """One line a contender: milliseconds at each size, memory and shares at the size with most to tell, and its errors."""
    sizes = sorted({(row["channels"], row["rows"]) for row in rows})
    lines = [f"{'ms, forward and backward':34}" + "".join(f"{count:>9,}x{wide}" for wide, count in sizes)]
    for name in dict.fromkeys(row["what"] for row in rows):
        own = {(row["channels"], row["rows"]): row for row in rows if row["what"] == name and "milliseconds" in row}
        cells = [f"{own[size]['milliseconds']:.2f}" if size in own else "-" for size in sizes]
        lines.append(f"{name:34}" + "".join(f"{cell:>{len(f'{size[1]:>9,}x{size[0]}')}}" for cell, size in zip(cells, sizes, strict=True)))
    told = ("peak_mb", "share_of_bf16", "share_of_tf32", "loss_error", "gradient_error")
    lines += ["", f"{'the same':34} {'rows':>8} " + " ".join(f"{name:>14}" for name in told)]
    for row in rows:
        if "loss_error" in row:
            values = " ".join(f"{row[name]:14.3g}" if name in row else f"{'-':>14}" for name in told)
            lines.append(f"{row['what']:34} {row['rows']:8,} {values}")
    return lines


def as_text(
    out: Path,  # folder of the results
) -> str:
    """All results, the exact loss as a table; tries of the kernel are left to results.jsonl."""
    rows = known(out)
    losses = [row for row in rows if row["section"] in ("loss", "kernel", "compiled") and "rows" in row and "warps" not in row["what"]]
    lines = ["# Summary", *(loss_table(losses) if losses else [])]
    for row in rows:
        if row["section"] == "kernel" and "left_out" in row and "rows" not in row:
            lines.append(f"kernel  left out: {row['left_out']}")
        elif "error" in row:
            lines.append(f"FAILED {row['section']}: {row['what']}: {row['error']}")
        elif "slices_a_second" in row:
            about = " ".join(f"{name} {row[name]}" for name in ("filters", "precision", "count") if name in row)
            lines.append(f"{row['section']:7} {row['what']:22} {about:24} {row['slices_a_second']:10.0f} slices/s")
        elif "pixels" in row:
            side = f" {row['side']}" if "side" in row else ""
            lines.append(f"{row['what'] + side:40} {row['pixels']:8,} pixels {row['milliseconds']:10.2f} ms")
        elif "tera_per_second" in row:
            lines.append(f"{row['what']:30} {row['tera_per_second']:.1f} x 10^12 a second")
        elif row["section"] in ("grid", "paper", "many", "stages") and "left_out" not in row:
            lines.append(f"{row['section']:7} {row['what']}: " + ", ".join(f"{k} {v}" for k, v in row.items() if k not in ("section", "what")))
        elif row["section"] in ("grid", "paper"):
            lines.append(f"{row['section']:7} {row['what']}: left out, {row['left_out']}")
    return "\n".join(lines)
