"""Open a model by any of its names: resolve it, load the folder, prove it."""

from __future__ import annotations

from dataclasses import replace

import torch

from hooks.loading import load
from hooks.model import Instrumented
from hooks.reference import ModelRef
from workbench.models.fetch import Step
from workbench.models.resolve import ResolvedModel, resolve
from workbench.settings import Settings


def open_named(ref: ModelRef | str, settings: Settings, step: Step | None = None) -> Instrumented:
    """The proved model, on the settings' device. Raises ModelError, StoreError for a full disk."""
    return open_resolved(resolve(ref, settings, step), settings)


def open_resolved(found: ResolvedModel, settings: Settings) -> Instrumented:
    """The proved model of a folder that was found; it carries the source of its weights and the warnings about them.

    Raises ModelError for a folder that cannot be opened.
    """
    loaded = load(
        found.folder,
        name=found.name,
        adapter=found.adapter,
        tokenizer=found.tokenizer,
        device=settings.device,
        dtype=found.dtype if found.dtype == "auto" else getattr(torch, found.dtype),
        allow_pickle=settings.allow_pickle,
        origin=found.source,
    )
    return Instrumented(replace(loaded, warnings=(*found.warnings, *loaded.warnings)))
