"""Shared by all tests: the bundled model, the real model, and caches that never touch the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from hooks.errors import ModelError, StoreError
from workbench.models import resolve
from workbench.settings import Settings

# Examples are the same in every run: seeds are explicit here, too.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "assets" / "models" / "toy"


@pytest.fixture(scope="session")
def toy() -> Path:
    """The folder of the bundled model."""
    if not TOY.is_dir():
        pytest.fail("assets/models/toy is missing: python -m workbench.train_toy --out assets/models/toy")
    return TOY


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of the real model, fetched and converted once. In CI its absence is a failure, elsewhere a skip."""
    try:
        return resolve("smollm2-135m", Settings.load()).folder
    except (ModelError, StoreError) as error:
        reason = f"the real model cannot be had: {error.message}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
