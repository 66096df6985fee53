"""The one set of edits that an experiment puts on a model, where it has one."""

from __future__ import annotations

from analyses.analysis import analysis_named
from analyses.catalogue import ablation
from analyses.experiment import Experiment
from hooks.errors import SpecError
from hooks.interventions import Intervention


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
