"""Read a stored capture lazily: the file is opened for the moment of each read, one head touches one chunk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hooks.errors import InputError, SiteMissing, StoreError
from hooks.schedule import stack_of
from hooks.sites import Site
from workbench.cache import layout

log = logging.getLogger(__name__)
DAMAGED = ".damaged"
EVERYWHERE = "L*."


class Damaged(StoreError):
    """A store file cannot be trusted; it has been set aside."""


class Gone(StoreError):
    """A store file is not there (any more)."""


def set_aside(path: Path, reason: str) -> Damaged:
    """Rename `path`, never delete it, and give the error that says so."""
    aside = next(
        name
        for number in range(1, 1_000_000)
        if not (name := path.with_name(path.name + DAMAGED + ("" if number == 1 else str(number)))).exists()
    )
    try:
        path.rename(aside)
    except FileNotFoundError:  # another process was faster
        aside = path
    log.warning("%s is damaged (%s); it was renamed to %s and will be computed again", path.name, reason, aside.name)
    return Damaged(
        f"the stored file {path.name} is damaged: {reason}.",
        f"It was renamed to {aside.name}. Ask again to recompute it.",
    )


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file, open for reading. Raises Damaged after setting a broken file aside, StoreError otherwise."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise Gone(f"the stored file {path.name} is gone.", "It was evicted to make room. Ask again.") from error
    except (OSError, KeyError, ValueError) as error:
        # HDF5 reports what is wrong inside a file without an errno; one with an errno is the system's trouble.
        if getattr(error, "errno", None) is not None:
            raise StoreError(f"{path.name} cannot be read: {error}", "Check the folder and its permissions.") from error
        raise set_aside(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error)
    known = {
        "truncated": "it is cut short",
        "signature": "it is not an HDF5 file",
        "filter": "a checksum does not match",
    }
    return next((words for sign, words in known.items() if sign in text), "its content is not what was stored")


@dataclass(frozen=True)
class StoredActivations:
    """A capture on disk. Nothing but names is read until `read` is called.

    sites: what was captured, upstream first. ids, mask, special [batch pos]; strings: the display form of each real
    token; provenance: model, inputs, edits, versions. dtype: the number type that was stored; reads give float32.
    sides: how many positions each prompt has in the model's other stacks, by the stack's name.
    """

    path: Path
    key: str
    sites: tuple[Site, ...]
    dtype: str
    ids: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    special: np.ndarray = field(repr=False)
    strings: tuple[tuple[str, ...], ...] = field(repr=False)
    sides: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from."""
        with reading(self.path) as file:
            return dict(layout.read_json(file, layout.PROVENANCE))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Real tokens per prompt."""
        return tuple(int(n) for n in self.mask.sum(axis=1))

    def __contains__(self, site: Site | str) -> bool:
        return (Site.parse(site) if isinstance(site, str) else site) in self.sites

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, site: Site | str) -> np.ndarray:
        return self.read(site)

    @staticmethod
    def axes(site: Site | str) -> tuple[str, ...]:
        """Axis names of a site's array, in order; `L*.z` has `layer` in front."""
        if isinstance(site, str) and site.startswith(EVERYWHERE):
            return ("layer", *Site(site.removeprefix(EVERYWHERE), 0).axes)
        return (Site.parse(site) if isinstance(site, str) else site).axes

    def read(self, site: Site | str, *, prompt: int | None = None, head: int | None = None) -> np.ndarray:
        """The array of a site as float32, with the site's axes; `L*.z` stacks all captured layers in front.

        prompt: this prompt alone, without the `batch` axis and cut to its real tokens. head: this head (for k and v:
        this key/value head) alone, without its axis. Raises SiteMissing, InputError; Damaged when bytes do not check.
        """
        if isinstance(site, str) and site.startswith(EVERYWHERE):
            stacked = self._layers(site.removeprefix(EVERYWHERE))
            with reading(self.path) as file:
                return np.stack([self._read(file, one, prompt, head) for one in stacked])
        wanted = self._known(Site.parse(site) if isinstance(site, str) else site)
        with reading(self.path) as file:
            return self._read(file, wanted, prompt, head)

    def _layers(self, name: str) -> list[Site]:
        found = [site for site in self.sites if site.name == name and site.layer is not None]
        if not found:
            raise self._missing(f"{EVERYWHERE}{name}")
        return found

    def _known(self, site: Site) -> Site:
        if site not in self.sites:
            raise self._missing(str(site))
        return site

    def _missing(self, text: str) -> SiteMissing:
        return SiteMissing(f"{text} was not captured.", f"This file holds {', '.join(map(str, self.sites[:6]))} ….")

    def _read(self, file: h5py.File, site: Site, prompt: int | None, head: int | None) -> np.ndarray:
        dataset = file[layout.path_of(site)]
        index = self._index(site, dataset.shape, prompt, head)
        return layout.widened(dataset[index], dataset.attrs["dtype"])

    def _index(
        self, site: Site, shape: tuple[int, ...], prompt: int | None, head: int | None
    ) -> tuple[int | slice, ...]:
        if prompt is not None and not 0 <= prompt < shape[0]:
            raise InputError(f"there is no prompt {prompt}: the capture has {shape[0]}.", "Prompts count from 0.")
        if head is not None and site.kind.head_axis is None:
            raise SiteMissing(f"{site} has no head axis.", f"Its axes are {', '.join(site.axes)}.")
        index: list[int | slice] = []
        for axis, size in zip(site.axes, shape, strict=True):
            if axis == "batch" and prompt is not None:
                index.append(prompt)
            elif axis == site.kind.head_axis and head is not None:
                if not 0 <= head < size:
                    raise SiteMissing(f"{site} has no head {head}: it has {size} (0–{size - 1}).", "Choose another.")
                index.append(head)
            elif prompt is not None and axis in ("pos", "q_pos", "k_pos"):
                index.append(slice(0, self.sides.get(stack_of(site, axis), self.lengths)[prompt]))
            else:
                index.append(slice(None))
        return tuple(index)


def open_capture(path: Path, key: str) -> StoredActivations:
    """The capture in the store file `path`.

    Raises Gone where there is no such file; Damaged, after setting it aside, for a file that is cut short, foreign,
    unfinished or of another key.
    """
    with reading(path) as file:
        _check(file, key)
        sites = tuple(sorted(Site.parse(str(name)) for name in file[layout.ACTIVATIONS]))
        return StoredActivations(
            path=path,
            key=key,
            sites=sites,
            dtype=str(file[layout.path_of(sites[0])].attrs["dtype"]) if sites else "",
            ids=file[layout.IDS][()],
            mask=file[layout.MASK][()],
            special=file[layout.SPECIAL][()],
            strings=tuple(map(tuple, layout.read_json(file, layout.STRINGS))),
            sides={name: tuple(map(int, file[layout.side_mask(name)][()].sum(axis=1))) for name in _sides(file)},
        )


def _sides(file: h5py.File) -> list[str]:
    return list(file[layout.SIDES]) if layout.SIDES in file else []


def _check(file: h5py.File, key: str) -> None:
    """Raises ValueError when the file is not a finished capture of this key in this version of the format."""
    expected = {"format": layout.FORMAT, "version": layout.VERSION, "key": key, "complete": True}
    for name, value in expected.items():
        if name not in file.attrs or file.attrs[name] != value:
            raise ValueError(f"attribute {name} is not {value!r}")


def check_all(path: Path) -> int:
    """The bytes of a store file after reading every chunk against its checksum. Raises Damaged, file set aside."""
    with reading(path) as file:
        _check(file, path.name.removesuffix(layout.SUFFIX))
        for name in file[layout.ACTIVATIONS]:
            dataset = file[layout.ACTIVATIONS][name]
            for chunk in dataset.iter_chunks():
                dataset[chunk]
    return path.stat().st_size
