"""What sweeps that were stopped had measured, how long forwards take, and forecasts: kept in the workspace."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from analyses.forecast import Forecast
from analyses.measured import Measured
from analyses.pace import KEPT, Pace
from hooks.errors import StoreError
from workbench.cache.write import new_file, replacing

FOLDER = "sweeps"
KEEP_EVERY_SECONDS = 5.0
OLD_SECONDS = 14 * 24 * 3600.0
ARRAYS = ("clean", "cells", "done")


class KeptSweeps:
    """The folder of unfinished sweeps, paces and forecasts. A damaged or lost file costs time, never a number."""

    def __init__(self, workspace: Path) -> None:
        self._folder = workspace / FOLDER
        self._written: dict[str, float] = {}

    def load(self, key: str) -> Measured | None:
        """What a sweep had measured when it stopped, or None."""
        path = self._path(key)
        try:
            with h5py.File(path, "r") as file:
                if not file.attrs.get("complete", False):
                    return None
                return Measured(*(np.array(file[name]) for name in ARRAYS))
        except (OSError, KeyError):
            return None

    def save(self, key: str, measured: Measured, *, now: bool) -> None:
        """Keep an unfinished sweep, at most every few seconds unless `now`; forget a finished one."""
        if measured.done.all():
            self._path(key).unlink(missing_ok=True)
            return
        clock = time.monotonic()
        if not measured.done.any() or (not now and clock - self._written.setdefault(key, clock) < KEEP_EVERY_SECONDS):
            return
        self._written[key] = clock
        try:
            with new_file(self._path(key), durable=False) as file:
                for name in ARRAYS:
                    file.create_dataset(name, data=getattr(measured, name))
        except StoreError:
            # A full disk must not end a sweep that could go on: it only could not be resumed.
            self._path(key).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what nobody has come back to for two weeks."""
        for path in (*self._folder.glob("*.h5"), *self._folder.glob("forecast-*.json")):
            if time.time() - path.stat().st_mtime > OLD_SECONDS:
                path.unlink(missing_ok=True)

    def pace(self, name: str) -> Pace:
        """The pace of forwards on a model, a device and a number type."""
        try:
            samples = json.loads(self._pace_path(name).read_text(encoding="utf-8"))
            return Pace([(float(work), float(seconds)) for work, seconds in samples][-KEPT:])
        except (OSError, ValueError, TypeError):
            return Pace()

    def save_pace(self, name: str, pace: Pace) -> None:
        """Remember how long forwards took."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._pace_path(name).write_text(json.dumps(pace.samples), encoding="utf-8")
        except OSError:
            # As above: the next plan measures again.
            return

    def forecast(self, request_id: str) -> Forecast | None:
        """The forecast that answers a request, or None."""
        try:
            return Forecast(**json.loads(self._forecast_path(request_id).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def save_forecast(self, request_id: str, forecast: Forecast) -> None:
        """Write a forecast for other processes to read. Raises StoreError for a full disk."""
        with replacing(self._forecast_path(request_id), durable=False) as part:
            part.write_text(json.dumps(asdict(forecast)), encoding="utf-8")

    def _forecast_path(self, request_id: str) -> Path:
        return self._folder / f"forecast-{request_id}.json"

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.h5"

    def _pace_path(self, name: str) -> Path:
        return self._folder / f"pace-{name}.json"
