"""The project as a package: its pins, its wheel, and the app out of an installed wheel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.!]+$")
# As pip compares names.
NORMAL = re.compile(r"[-_.]+")


def normal(name: str) -> str:
    return NORMAL.sub("-", name).lower()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return {normal(name): pinned for name, _, pinned in (line.partition("==") for line in lines)}


def test_every_constraint_is_an_exact_public_version() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not PIN.match(line)] == []
    assert len(pins()) == len(lines)
    assert pins()["torch"] == "2.13.0"


def test_everything_that_the_project_needs_is_pinned_within_its_ranges() -> None:
    from packaging.requirements import Requirement

    wanted = [*project()["dependencies"], *(r for extra in project()["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins()[normal(requirement.name)]), requirement


def test_the_tests_run_on_the_pinned_versions() -> None:
    different = {}
    for name, pinned in pins().items():
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:  # an extra that is not installed here
            continue
        if installed != pinned:
            different[name] = (installed, pinned)
    assert different == {}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the built wheel was installed, without its dependencies."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place / "site"), str(wheel)], check=True)
    return place / "site"


def test_the_wheel_holds_the_packages_and_the_assets_and_nothing_else(installed: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"hooks", "analyses", "workbench"}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "assets").rglob("*") if path.is_file()}
    assert {f"workbench/{name}" for name in shipped} <= set(names)
    assert "workbench/export/templates/result.html" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


SERVED = """
from pathlib import Path
import workbench
from workbench.settings import Settings
site = Path(workbench.__file__).resolve().parents[1]
settings = Settings.load()
assert settings.assets_dir == site / "workbench" / "assets", settings.assets_dir
assert (settings.assets_dir / "models" / "toy" / "model.safetensors").is_file()
from workbench.app import create_app
from workbench.server import protect
from workbench.workspace import Workspace
space = Workspace.open(settings, engine="inline")
app = create_app(space)
protect(app, token=None, host="127.0.0.1")
client = app.server.test_client()
assert client.get("/attention").status_code == 200
assert client.get("/assets/wb.css").status_code == 200
for name in ("model.safetensors", "config.json", "../models/toy/model.safetensors", "%2e%2e/models/toy/config.json"):
    for folder in ("models/toy", "./models/toy", "x/../models/toy", "/models/toy", "Models/toy"):
        answer = client.get(f"/assets/{folder}/{name}")
        assert answer.status_code in (301, 302, 308, 403, 404), (folder, name, answer.status_code)
space.close()
print("served", end="")
"""


def clean(place: Path, site: Path) -> dict[str, str]:
    """An environment in which the packages come from `site`, and everything is kept in `place`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WORKBENCH_", "PYTHON"))}
    folders = {"WORKBENCH_CACHE": str(place / "cache"), "WORKBENCH_WORKSPACE": str(place / "workspace")}
    return {**kept, **folders, "PYTHONPATH": str(site)}


def test_the_app_works_from_the_wheel_and_serves_no_weights(installed: Path, tmp_path: Path, toy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVED], cwd=tmp_path, env=clean(tmp_path, installed), capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout == "served", done.stderr


def test_the_commands_work_from_the_wheel(installed: Path, tmp_path: Path, toy: Path) -> None:
    (tmp_path / "e.json").write_text('{"model": "toy", "analysis": "head_scores", "params": {"n": 4}}')
    command = [sys.executable, "-m", "workbench", "run", "e.json", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=clean(tmp_path, installed), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "induction" in {grid["name"] for grid in json.loads(done.stdout)["grids"]}
