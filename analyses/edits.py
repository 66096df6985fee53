"""The one set of edits that an experiment puts on a model, where it has one."""

from __future__ import annotations

from analyses.analysis import analysis_named
from analyses.catalogue import ablation
from analyses.circuit import EMBED, LOGITS, Circuit, Graph
from analyses.experiment import Experiment
from hooks.errors import SpecError
from hooks.interventions import Intervention
from hooks.interventions.zero import Zero
from hooks.sites import Part


def edits_of(experiment: Experiment) -> tuple[Intervention, ...]:
    """The edits that stand together in an ablation of named parts, an evaluation, a continuation.

    Raises SpecError for an experiment that makes no edit or goes over many.
    """
    params = analysis_named(experiment.analysis).params(experiment.params)
    if isinstance(params, ablation.Params):
        edits = tuple(params.edit(part) for part in params.at or ())
    else:
        edits = tuple(getattr(params, "edits", ()))
    if not edits:
        raise SpecError(
            f"this {experiment.analysis} has no one set of edits that could be saved.",
            'Run an ablation with "at": ["L3.z[head=5]"], or an evaluation with "edits".',
        )
    return edits


def edits_of_circuit(circuit: Circuit, graph: Graph) -> tuple[Zero, ...]:
    """Zero at every head and MLP that is at no end of an edge of the circuit.

    What is left is the circuit of its nodes, with all edges among them: more than the edges of the circuit alone.
    Raises SpecError for a circuit that does not fit the graph, and for one that uses every node.
    """
    graph.kept(circuit)
    used = {end for edge in circuit.edges for end in (edge.source, edge.target)} | {EMBED, LOGITS}
    edits = tuple(Zero(at=Part.parse(node)) for node in graph.nodes if node not in used)
    if not edits:
        raise SpecError(
            "this circuit uses every head and MLP of the model.", "Nothing can be taken out of the weights."
        )
    return edits
