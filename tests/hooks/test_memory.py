"""Memory: nothing of a run is kept, only what was asked for is captured, and no mask is of the longest prompt."""

from __future__ import annotations

import gc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hooks.interventions.zero import Zero
from hooks.model import Instrumented, instrument
from hooks.plan import CapturePlan
from hooks.prompts import IdsPrompt, PromptSet
from hooks.sites import Part, Site
from hooks.tiny import build, build_with, settings_of, variants

LONGEST = 32_768


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any operation makes while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return made


def living() -> tuple[int, int]:
    """How many tensors there are in the process, and the bytes of their storages."""
    gc.collect()
    tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    storages = {item.untyped_storage().data_ptr(): item.untyped_storage().nbytes() for item in tensors}
    return len(tensors), sum(storages.values())


def prompt(model: Instrumented, length: int):
    return model.tokens(PromptSet(prompts=(IdsPrompt(ids=tuple(4 + n % 50 for n in range(length))),)))


def test_c36_later_captures_leave_no_more_than_the_first():
    model = instrument(build("llama"))
    batch, edits = prompt(model, 16), [Zero(at=Part(Site("z", 0), head=0))]

    def some(count: int) -> tuple[int, int]:
        for number in range(count):
            model.run(batch, CapturePlan(sites=model.sites), edits if number % 2 else ())
        return living()

    assert some(4) == some(12)


def test_c36_only_what_was_asked_for_is_kept_and_it_carries_no_graph():
    model = instrument(build("llama"))
    with torch.enable_grad():
        run = model.run(prompt(model, 16), CapturePlan.of("L1.z", "L0.pattern"), [Zero(at=Part(Site("z", 0), head=0))])
    assert sorted(map(str, run.activations)) == ["L0.pattern", "L1.z"]
    assert all(value.grad_fn is None and not value.requires_grad for value in (run.logits, *run.activations.values()))


@pytest.mark.parametrize("variant", ["llama", "gpt-neox-parallel", "gemma2"])
def test_c36_a_model_for_long_prompts_makes_nothing_of_their_size_for_a_short_one(variant):
    """A mask of all positions would take a gigabyte, and one vector per position four megabytes."""
    tiny = {**settings_of(variants()[variant].tiny[variant]), "max_position_embeddings": LONGEST}
    plain = build_with(variant, tiny)
    with Largest() as largest:
        model = instrument(plain)
        model.run(prompt(model, 10), CapturePlan(sites=model.sites))
    assert largest.bytes < 4 * LONGEST * 32
