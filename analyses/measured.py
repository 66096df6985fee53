"""What a sweep has found so far, and what it says of itself before it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Measured:
    """Values of a sweep: clean [metric prompt] and cells [metric cell prompt], float64; done marks measured cells."""

    clean: np.ndarray
    cells: np.ndarray
    done: np.ndarray

    @classmethod
    def empty(cls, metrics: int, cells: int, prompts: int) -> Measured:
        """Nothing measured yet."""
        return cls(np.zeros((metrics, prompts)), np.zeros((metrics, cells, prompts)), np.zeros(cells, dtype=bool))

    def all_done(self) -> Measured:
        """The same values, called measured."""
        return Measured(self.clean, self.cells, np.ones_like(self.done))

    def split(self, count: int) -> tuple[Measured, Measured]:
        """The first `count` cells, and the others."""
        first, rest = (
            Measured(self.clean, self.cells[:, of], self.done[of]) for of in (slice(count), slice(count, None))
        )
        return first, rest


@dataclass(frozen=True)
class SweepForecast:
    """What one sweep would take. rows: of all forwards; tried: seconds that the forecast itself took to time forwards.

    packing: how it saves work on this model, or why it does not, in words.
    """

    forwards: int
    rows: int
    seconds: float
    bytes: int
    tried: float
    packing: str
