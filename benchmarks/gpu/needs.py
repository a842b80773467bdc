"""What `benchmarks/gpu.py` needs beside PyTorch and NumPy, for a machine that can fetch nothing."""

from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {
    "pandas": (12.0, "core: tables of runs"),
    "scipy": (35.2, "core: intervals of results, distances"),
    "pillow": (7.1, "core: pictures"),
    "tqdm": (0.1, "core: progress"),
    "filelock": (0.2, "core: results files"),
    "pytest": (0.4, "tests"),
    "hypothesis": (1.2, "tests: their common set-up"),
    "triton": (285.8, "the kernel; PyTorch for CUDA brings it"),
    "nibabel": (3.3, "grid, paper: reading scans"),
}
"""Name -> megabytes of its wheel for Linux and Python 3.12, and what it is for."""
FURTHER = "python-dateutil and six for pandas; packaging, pluggy, iniconfig and pygments for pytest; sortedcontainers for hypothesis"
DATA = "the folder Task04_Hippocampus of the Medical Segmentation Decathlon (16 MB), in the folder that SEMICON_DATA names"


def pinned(name: str) -> str:
    """The version in constraints.txt, "any" where it says nothing."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next((line.split("==")[1] for line in lines if line.lower().startswith(f"{name}==")), "any")


def here(name: str) -> str:
    """The version that is installed, or MISSING."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "MISSING"


def as_text() -> str:
    """A table: name, tested version, what is here, size, purpose."""
    head = f"{'package':12} {'tested':>10} {'here':>12} {'MB':>7}  for"
    rows = [f"{name:12} {pinned(name):>10} {here(name):>12} {size:7.1f}  {words}" for name, (size, words) in NEEDS.items()]
    rest = f"Beside PyTorch for CUDA and NumPy. The smaller ones that these ask for: {FURTHER}.\nScans: {DATA}."
    return "\n".join([head, *rows, "", rest, "Nothing else is imported: no plotly, no ipywidgets, no umap."])
