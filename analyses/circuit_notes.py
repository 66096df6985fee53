"""What somebody wrote beside the nodes of a circuit: labels, groups, pins. No number depends on any of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from hooks.spec import Spec

LONGEST_TEXT = 60
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]


class Annotations(Spec):
    """labels: words beside a node. groups: the name of each node's group. pinned: nodes that stay marked.

    What is empty is not written, so that circuits without annotations keep their files and ids.
    """

    labels: dict[str, Text] = Field(default_factory=dict, exclude_if=lambda labels: not labels)
    groups: dict[str, Text] = Field(default_factory=dict, exclude_if=lambda groups: not groups)
    pinned: tuple[str, ...] = Field(default=(), exclude_if=lambda pinned: not pinned)

    @property
    def annotated(self) -> tuple[str, ...]:
        """The nodes of which something is said, each once."""
        return tuple(dict.fromkeys((*self.labels, *self.groups, *self.pinned)))

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The nodes of each group."""
        names = dict.fromkeys(self.groups.values())
        return {name: tuple(one for one, held in self.groups.items() if held == name) for name in names}

    def on(self, nodes: Collection[str]) -> Annotations:
        """Those of the given nodes alone."""
        there = set(nodes)
        return Annotations(
            labels={node: text for node, text in self.labels.items() if node in there},
            groups={node: text for node, text in self.groups.items() if node in there},
            pinned=tuple(node for node in self.pinned if node in there),
        )

    def saying(self, notes: Annotations) -> Self:
        """The same with these annotations, which are of its own nodes, in place of its own."""
        return self.model_copy(update={"labels": notes.labels, "groups": notes.groups, "pinned": notes.pinned})

    @property
    def bare(self) -> Self:
        """Without annotations: all that a number can depend on."""
        return self.saying(Annotations())


BARE = AfterValidator(lambda circuit: circuit.bare)
"""Of a circuit that is a parameter: what is written beside its nodes changes no id."""
