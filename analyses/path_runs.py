"""The three runs of path patching, for many senders: what each tells the receivers, and the answer that follows.

1. The unedited run. 2. Per sender: its value from the other run, every other head before the receivers frozen; what the
receivers read is recorded. 3. The receivers alone are handed what was recorded, and the metric is taken.

Source: Wang et al. 2022, arXiv 2211.00593, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analyses.bench import Bench
from analyses.maps import Parts
from analyses.measured import Measured
from analyses.pairs import Direction, Measure, run_and_source
from analyses.paths import downstream, in_turns, is_output, last_of, recorded, sending
from analyses.sweep import sweep
from hooks.activations import Activations
from hooks.interventions.patch import Patch
from hooks.schedule import World
from hooks.sites import Part


@dataclass(frozen=True, eq=False)
class Paths:
    """Senders, one at a time, and what is measured. at: the receivers, together; none where these are the logits."""

    bench: Bench
    senders: Parts
    at: Parts
    measure: Measure
    direction: Direction
    freeze_mlps: bool = False

    @classmethod
    def of(
        cls, bench: Bench, senders: Parts, receivers: Parts, measure: Measure, direction: Direction,
        *, freeze_mlps: bool = False,
    ) -> Paths:  # fmt: skip
        """Raises SiteMissing for receivers that the model does not have."""
        bench.model.require_writable([Patch(at=part) for part in receivers])
        output = len(receivers) == 1 and is_output(receivers[0], bench.model.info.n_layers)
        return cls(bench, senders, () if output else receivers, measure, direction, freeze_mlps)

    @property
    def beside(self) -> int:
        """How many senders do not come before a receiver."""
        return sum(bool(self.at) and not downstream(sender, self.at) for sender in self.senders)

    def follow(self, shown: Callable[[Measured], None]) -> Measured:
        """The metric of every sender's last run; `shown` is told what there is after every forward."""
        run, _ = run_and_source(self.direction)
        worlds = [self._sending(sender) for sender in self.senders]
        if not self.at:
            return sweep(self.bench, run, worlds, [self.measure.metric], target=self.measure.target, on_chunk=shown)
        batch, sites = self.bench.batch(run), {part.site for part in self.at}
        found = Measured.empty(1, len(worlds), len(batch))
        for share in in_turns(self.bench, batch, len(worlds), sites):
            numbers = range(len(worlds))[share]
            heard = [number for number in numbers if worlds[number]]
            values = recorded(self.bench, batch, [worlds[number] for number in heard], sites) if heard else []
            sources = {f"sender {number}": value for number, value in zip(heard, values, strict=True)}
            self._receive(run, numbers, sources, found, shown)
        return found

    def _sending(self, sender: Part) -> World:
        """Run 2's edits; none for a sender that no receiver follows."""
        reached = downstream(sender, self.at)
        if self.at and not reached:
            return ()
        run, source = run_and_source(self.direction)
        writable, freeze = self.bench.model.writable, self.freeze_mlps
        return sending(sender, last_of(reached), writable, run=run, source=source, freeze_mlps=freeze)

    def _receive(
        self, run: str, numbers: range, sources: dict[str, Activations], found: Measured,
        shown: Callable[[Measured], None],
    ) -> None:  # fmt: skip
        """Run 3 of some senders, whose receivers take what is recorded under the sender's name."""
        worlds: list[World] = [
            tuple(Patch(at=part, source=f"sender {number}") for part in downstream(self.senders[number], self.at))
            for number in numbers
        ]

        def shared(part: Measured) -> None:
            found.clean[:] = part.clean
            found.cells[:, numbers], found.done[numbers] = part.cells, part.done
            shown(found)

        shared(
            sweep(self.bench, run, worlds, [self.measure.metric], target=self.measure.target, sources=sources,
                  on_chunk=shared)
        )  # fmt: skip
