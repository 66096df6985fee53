"""What may be asked of an opened model, by its proof: which sites are read, which are edited, and why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from hooks.errors import SiteMissing
from hooks.info import ModelInfo
from hooks.interventions import Intervention
from hooks.plan import CapturePlan
from hooks.proof import Proof
from hooks.reads import Reads
from hooks.sites import SITES, Site


class Permits:
    """The proof of one model, as answers. notes: what is known of its weights; reads: gives how its readers read."""

    def __init__(
        self, name: str, info: ModelInfo, proof: Proof, notes: tuple[str, ...], reads: Callable[[], Reads]
    ) -> None:
        self._name, self._info, self._proof, self._notes, self._reads = name, info, proof, notes, reads

    @cached_property
    def sites(self) -> frozenset[Site]:
        """The sites that were proved readable."""
        return self._proof.sites(self._info)

    @cached_property
    def writable(self) -> frozenset[Site]:
        """The sites that were proved writable; none where parity fails."""
        return self._proof.sites(self._info, writable=True) if self._proof.exact else frozenset()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the model's numbers should know."""
        if self._proof.exact:
            return self._notes
        return (
            *self._notes,
            f"parity fails: logits differ from the unhooked model by {self._proof.parity:.2g}; edits are refused",
        )

    def readable(self, plan: CapturePlan) -> frozenset[Site]:
        """The plan's sites. Raises SiteMissing, with the proof's reason, for one that was not proved."""
        for site in (wanted := plan.resolve(self._info).sites) - self.sites:
            raise SiteMissing(
                f"{site} cannot be read in {self._name}: {self._proof.row(site.name, site.stack).reason}.",
                f"Readable: {', '.join(sorted(self._proof.names(), key=lambda name: SITES[name].order))}.",
            )
        return wanted

    def require_writable(self, edits: Sequence[Intervention]) -> None:
        """Raises SiteMissing for an edit at a part that does not exist or was not proved writable."""
        for edit in edits:
            self._info.check_part(edit.at)
            if edit.present:
                self._require_edge(edit)
            row = self._proof.row(edit.at.site.name, edit.at.site.stack)
            if edit.at.site not in self.writable:
                reason = row.reason or self.warnings[-1]
                raise SiteMissing(
                    f"{edit.at.site} cannot be edited in {self._name}: {reason}.", "`workbench check` shows why."
                )

    def _require_edge(self, edit: Intervention) -> None:
        """Raises SiteMissing for a reader that no other stream gives, and for a writer that adds nothing to it."""
        reads = self._reads()
        reads.reader(edit.at.site)
        for site in edit.present:
            self.readable(CapturePlan(sites=frozenset({site})))
            reads.check_writer(site)
