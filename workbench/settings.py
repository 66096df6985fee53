"""Settings: where things are kept, how the app is served, how much it may use. Flags first, then environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, ValidationError, field_validator

from hooks.errors import SpecError
from hooks.spec import Spec

APP = "workbench"
MIB, GIB = 1 << 20, 1 << 30
VARIABLES = {
    "cache_dir": "WORKBENCH_CACHE",
    "workspace_dir": "WORKBENCH_WORKSPACE",
    "assets_dir": "WORKBENCH_ASSETS",
    "device": "WORKBENCH_DEVICE",
    "allow_pickle": "WORKBENCH_ALLOW_PICKLE",
    "host": "WORKBENCH_HOST",
    "port": "WORKBENCH_PORT",
    "token": "WORKBENCH_TOKEN",
    "store_limit_bytes": "WORKBENCH_STORE_LIMIT",
    "budget_bytes": "WORKBENCH_BUDGET",
}
_SIZE = re.compile(r"^\s*([\d.]+)\s*([KMGT]?)i?B?\s*$", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _assets() -> Path:
    """The assets folder: inside the package where a wheel was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed, checkout = package / "assets", package.parent / "assets"
    return checkout if checkout.is_dir() and not installed.is_dir() else installed


class Settings(Spec):
    """Everything that a door can set, decided once at the start.

    cache_dir holds fetched models, workspace_dir the store, results and jobs, assets_dir the shipped files.
    store_limit_bytes: what captured activations may take on disk. budget_bytes: memory that one forward pass may use
    for the rows of a sweep. Sizes may be written as "20 GB". allow_pickle: pickled weights are read, by PyTorch's
    weights-only reader. token: demanded of every request when the host is not local.
    """

    cache_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir(APP)))
    workspace_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir(APP)) / "workspace")
    assets_dir: Path = Field(default_factory=_assets)
    device: str = "auto"
    allow_pickle: bool = False
    host: str = "127.0.0.1"
    port: int = Field(default=8050, ge=0, le=65535)
    token: str | None = Field(default=None, repr=False)
    store_limit_bytes: int = Field(default=20 * GIB, gt=0)
    budget_bytes: int = Field(default=256 * MIB, gt=0)

    @field_validator("store_limit_bytes", "budget_bytes", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _SIZE.match(value)
        if not match:
            raise ValueError(f"'{value}' is not a size, such as 20 GB")
        return int(float(match[1]) * _FACTORS[match[2].upper()])

    @field_validator("cache_dir", "workspace_dir", "assets_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """The settings: `overrides` that are not None, then WORKBENCH_* variables, then defaults. Raises SpecError."""
        unknown = set(overrides) - set(cls.model_fields)
        if unknown:
            raise SpecError(f"unknown setting '{min(unknown)}'.", f"Known: {', '.join(cls.model_fields)}.")
        given = {field: os.environ[name] for field, name in VARIABLES.items() if os.environ.get(name)}
        given |= {field: value for field, value in overrides.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0])
            flag = field.removesuffix("_dir").removesuffix("_bytes").replace("_", "-")
            raise SpecError(
                f"setting {field}: {first['msg'].removeprefix('Value error, ')}.",
                f"Set it with --{flag} or {VARIABLES[field]}.",
            ) from error
