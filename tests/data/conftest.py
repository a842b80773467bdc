"""What every test of this wing shares."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Every test has an empty cache of its own."""
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "cache"))
