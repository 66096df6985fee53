"""Pace: how much goes into one forward, and how long forwards take, learned from those that ran.

A forward is as large as memory allows and as long as a person waits for a cancel. Its time is taken as
`fixed + rate × work`, with work in tokens that pass through all layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hooks.errors import BudgetError

TARGET_SECONDS = 0.7
FIRST_WORK = 256.0
KEPT = 64


@dataclass
class Pace:
    """Times of past forwards on one model and device: pairs (work, seconds), newest last."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def learn(self, work: float, seconds: float) -> None:
        """Remember a forward."""
        self.samples = [*self.samples[1 - KEPT :], (work, seconds)]

    @property
    def known(self) -> bool:
        return bool(self.samples)

    def seconds(self, work: float, forwards: int = 1) -> float:
        """Expected time of forwards with `work` in all. Raises BudgetError before anything ran."""
        fixed, rate = self._fit()
        return forwards * fixed + rate * work

    def most_work(self) -> float:
        """Work that fits the target time of one forward, at least a first try's."""
        if not self.known:
            return FIRST_WORK
        fixed, rate = self._fit()
        return max(FIRST_WORK, (TARGET_SECONDS - fixed) / rate) if rate > 0 else FIRST_WORK * 4

    def _fit(self) -> tuple[float, float]:
        """Seconds per forward and per unit of work: least squares, neither below 0."""
        if not self.samples:
            raise BudgetError("no forward has been timed yet.", "Run one first.")
        work, seconds = np.array(self.samples, dtype=np.float64).T
        rate = float(np.median(seconds / work))
        if np.ptp(work) > 0.2 * work.max():
            slope, fixed = np.polyfit(work, seconds, 1)
            if slope > 0 and fixed > 0:
                return float(fixed), float(slope)
        return 0.0, rate


def share(costs: Sequence[float], limit: float, most: int) -> int:
    """How many of the next cells run together: within `limit` of work and `most` cells, at least one."""
    total, count = 0.0, 0
    for cost in costs[:most]:
        total += cost
        if count and total > limit:
            break
        count += 1
    return max(1, count)
