"""What readers compute from a stream when norms divide by what they divided by in a run at hand.

So a cut changes what is read by what the writer added alone, as in the definition of direct effects; with norms as they
are it also scales everything else that is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch

from analyses.held_norm import held_norm
from hooks.activations import Activations
from hooks.errors import SiteMissing
from hooks.held_norms import HeldNorms, LinearNorm
from hooks.model import Instrumented
from hooks.reads import Reads
from hooks.sites import Site

Norms = Literal["live", "frozen"]
"""live: norms divide by what they are given now; frozen: by what they divided by in the clean run."""


def holding(model: Instrumented, readers: Iterable[Site], run: Activations) -> Reads:
    """The model's reads with the norms before `readers` held at the scales of a run, whose streams are given.

    Raises SiteMissing where a norm is neither an RMS norm nor a LayerNorm.
    """
    found: dict[str, LinearNorm] = {}
    for site in readers:
        reader = model.reads.reader(site)
        if not reader.norm or reader.norm in found:
            continue
        module, stream = model.weights.module(reader.norm), run[reader.stream].clone()
        with torch.no_grad():
            normed = model.reads.normed(site, stream)
            held = (getattr(module, name, None) for name in ("weight", "bias"))
            weight, bias = (x.detach() if isinstance(x, torch.Tensor) else None for x in held)
            try:
                norm = held_norm(weight, bias, stream.double(), normed.double(), f"{reader.norm} of {model.name}")
            except SiteMissing as error:
                raise SiteMissing(error.message, 'Use "norms": "live".') from error
        found[reader.norm] = LinearNorm(norm.gain, norm.bias, norm.centred, norm.scale)
    return model.reads.holding(HeldNorms(found))
