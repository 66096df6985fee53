"""Rereading: a reader's value in a run, with what some writers have added to the stream replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from hooks.reads import Reads
from hooks.schedule import Placed, Schedule
from hooks.sites import Part, Site
from hooks.sources import Sources


@dataclass(frozen=True, eq=False)
class Rereading:
    """What one run has shown so far, by site, and how its readers read. start: the first position that runs."""

    reads: Reads
    schedule: Schedule
    sources: Sources
    seen: Mapping[Site, Tensor]
    start: int = 0

    def part(self, placed: Placed, writers: Sequence[Part], source: str) -> Tensor:
        """The placed part from the stream with the writes of `writers` replaced by those of the run on `source`."""
        site = placed.edit.at.site
        stream = self._rows(self.reads.reader(site).stream, placed)
        for writer, heads in _by_site(writers).items():
            there = self.sources.paired(source, writer)[placed.prompts, self.start :].to(stream.device)
            stream = stream + self.reads.written(writer, there - self._rows(writer, placed), heads)
        index = placed.slices if placed.within is None else placed.within
        return self.reads.value(site, stream)[(slice(None), *index)]

    def _rows(self, site: Site, placed: Placed) -> Tensor:
        """A site in the edit's rows; before their world joined, these are the prompts' own."""
        values, rows, batch = self.seen[site], placed.rows, self.schedule.batch
        first = rows.start if rows.stop <= values.shape[0] else rows.start % batch
        return values[first : first + rows.stop - rows.start]


def inner_sites(schedule: Schedule, reads: Reads | None) -> frozenset[Site]:
    """The sites that edits ask for in the run itself: writers, and the streams that their parts read."""
    edits = [placed.edit for items in schedule.edits.values() for placed in items if placed.edit.present]
    if reads is None or not edits:
        return frozenset()
    return frozenset(site for edit in edits for site in (*edit.present, reads.reader(edit.at.site).stream))


def _by_site(writers: Sequence[Part]) -> dict[Site, tuple[int, ...] | None]:
    """The heads by site of what several writers write; None: all of it."""
    found: dict[Site, set[int | None]] = defaultdict(set)
    for writer in writers:
        found[writer.site].add(writer.head)
    return {
        site: None if None in heads else tuple(sorted(head for head in heads if head is not None))
        for site, heads in found.items()
    }
