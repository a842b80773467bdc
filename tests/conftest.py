"""Fixtures that every test shares: one thread, a small phantom, and the real scans where there are any."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PLOTLY_RENDERER", "plotly_mimetype")

import shutil
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("semicon", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("semicon")

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def card() -> torch.device:
    """The GPU; or the device that SEMICON_CARD names, so that what is marked cuda can be tried where there is none."""
    named = os.environ.get("SEMICON_CARD", "cuda")
    if named == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device; SEMICON_CARD=cpu tries these tests without one")
    return torch.device(named)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder that SEMICON_DATA names, with the real cohorts in it."""
    named = os.environ.get("SEMICON_DATA", "")
    folder = Path(named).expanduser()
    if not named or not folder.is_dir():
        pytest.skip("SEMICON_DATA names no folder with the real cohorts")
    return folder.resolve()


@pytest.fixture(scope="session")
def hippo(data_folder: Path):
    """Twelve real hippocampi at 64 x 64."""
    from semicon_nb.data import hippocampus

    if not (data_folder / "Task04_Hippocampus").is_dir():
        pytest.skip("SEMICON_DATA holds no Task04_Hippocampus")
    return hippocampus(data_folder, size=64, limit=12)


@pytest.fixture(scope="session")
def small_phantom():
    """Six generated subjects at 32 x 32."""
    from semicon_nb.data import phantom

    return phantom(subjects=6, size=32)


@pytest.fixture(scope="session")
def cohort(small_phantom):
    """The same, for tests that need no other."""
    return small_phantom


@pytest.fixture(scope="session")
def part(cohort):
    """Who is in which part of them, a third of the labels known."""
    from semicon_nb.data import split

    return split(cohort, labelled=0.3)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that no other test has written into."""
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def small_run(small_phantom, tmp_path_factory):
    """A finished run of three stages of two steps each."""
    from dataclasses import replace

    from semicon_nb.data import split
    from semicon_nb.methods import train_method
    from semicon_nb.stages import PRESETS

    preset = replace(PRESETS["demo"], name="tiny", width=2, global_dim=8, pixel_dim=8)
    stages = {name: replace(settings, steps=2, batch=2, warmup=0, precision="fp32") for name, settings in preset.stages.items()}
    preset, out = replace(preset, stages=stages), tmp_path_factory.mktemp("runs") / "RUN"
    return train_method("global+local(exact)", small_phantom, split(small_phantom, 0.5), preset, out=out, progress=False, cache=False)


@pytest.fixture(scope="session")
def made(small_run) -> Path:
    """The folder of that run."""
    return small_run.folder


@pytest.fixture
def scan(tmp_path: Path, small_phantom) -> Path:
    """A scan of an odd shape, with an oblique affine, a slope and both orientation codes."""
    import nibabel
    import numpy as np
    from small import AFFINE

    voxels = np.moveaxis(small_phantom.images[:5, :29, :31].astype(np.float32) * 700, 0, 2).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=1, strip_shears=True)
    image.header.set_slope_inter(2.0, 10.0)
    for words in ("descrip", "db_name", "aux_file", "intent_name", "data_type"):
        image.header[words] = b"SURNAME"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"SURNAME"))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


SHELLS = ("chromium-headless-shell", "chrome-headless-shell")
WINDOWS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def started(kind):
    """The browser that CHROMIUM names; else the first here, a headless shell before a whole Chromium, which opens a window for each tab."""
    from playwright.sync_api import Error

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update",
             "--disable-sync"]  # fmt: skip
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, SHELLS)), None)
    if not path:
        try:
            return kind.launch(args=quiet)  # the shell that `playwright install` puts in place
        except Error as problem:
            if "Executable doesn't exist" not in str(problem):
                raise
        path = next(filter(None, map(shutil.which, WINDOWS)), None)
    if not path:
        pytest.skip("no Chromium here: put one on the PATH, name one in CHROMIUM, or run `playwright install --only-shell chromium`")
    return kind.launch(executable_path=path, args=quiet)


@pytest.fixture(scope="session")
def browser():
    """One headless Chromium for the session; it makes no request of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = started(play.chromium)
        yield chromium
        chromium.close()
