"""Norms with their scale held: what a norm gives once the number that it divides by is that of another run.

An RMS norm or LayerNorm is N(x) = s(x) · γ ⊙ (x − mean(x)) + β, without the mean in an RMS norm. With s held it is
linear, so that what is added to the stream adds to what is read, as in the definition of direct effects (Elhage et al.
2021, A Mathematical Framework for Transformer Circuits).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class LinearNorm:
    """A norm at given scales. gain, bias [d_model]; centred: whether the mean is taken out; scale [row pos 1]."""

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centred: bool
    scale: Float[Tensor, "row pos 1"]

    def __call__(self, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """What it gives of a stream whose rows are those of the scales, once or several times over, or one for all."""
        scale = self.scale if len(x) == 1 else self._over(len(x))
        return (scale * self.gain * self._inner(x.double()) + self.bias).to(x.dtype)

    def led_back(self, slope: Float[Tensor, "item row pos d_model"]) -> Float[Tensor, "item row pos d_model"]:
        """Derivatives by what it gives, as derivatives by the stream."""
        return self._inner((self._over(slope.shape[1]) * self.gain).to(slope.dtype) * slope)

    def at(self, rows: slice, positions: slice) -> LinearNorm:
        """The same at the scales of some rows and positions alone."""
        return replace(self, scale=self.scale[rows, positions])

    def _over(self, rows: int) -> Tensor:
        """The scales for so many rows, which are those of the scales several times over."""
        return self.scale.repeat(rows // len(self.scale), 1, 1)

    def _inner(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.centred else x


@dataclass(frozen=True, eq=False)
class HeldNorms:
    """The norms by which a model reads its stream, by their modules' paths, each at the scales of one run."""

    by_path: Mapping[str, LinearNorm]

    @contextmanager
    def applied(self, model: PreTrainedModel) -> Iterator[None]:
        """While open, these norms of the model divide by what they are held at. A run may take its first rows alone."""

        def held(norm: LinearNorm) -> Any:
            def hook(_: nn.Module, args: tuple[Tensor, ...], __: Tensor) -> Tensor:
                x = args[0]
                return norm.at(slice(len(x)), slice(None))(x)

            return hook

        with ExitStack() as stack:
            for path, norm in self.by_path.items():
                # Before all others, so that who watches the norm sees what it gives.
                handle = model.get_submodule(path).register_forward_hook(held(norm), prepend=True)
                stack.callback(handle.remove)
            yield
