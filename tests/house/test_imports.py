"""Who may import whom: the contracts of pyproject.toml, checked as `lint-imports` checks them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_import_contracts_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_importing_the_packages_is_quick_and_has_no_side_effects(tmp_path: Path) -> None:
    """No file, no registration with transformers and no environment variable comes from an import.

    Nor is the library of models imported, which takes as long as all the rest: commands that open none start at once.
    """
    code = """
import os, sys
from_torch = {"KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK", "TORCHINDUCTOR_CACHE_DIR"}
before = set(os.environ)
import workbench.api, workbench.app, workbench.cli
assert "transformers" not in sys.modules, "the library of models was imported before a model was asked for"
from transformers import AttentionInterface
assert set(os.environ) - before <= from_torch, set(os.environ) - before
assert not [name for name in AttentionInterface() if "workbench" in name], "an attention function was registered"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
