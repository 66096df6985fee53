"""Head roles: heads labelled by measured scores, each against a threshold that is shown beside the label.

On repeated random tokens a head is a previous-token, induction or duplicate-token head by its attention, as in
`head_scores`. On pairs of prompts it is a name mover where it attends from the answer position to the answer in the
prompt and its OV circuit copies; it does copy suppression where its OV circuit lowers what it attends to; and it does
S-inhibition where the answer depends on what it tells the name movers' queries. `analyses.roles` has the formulas.

A label is a score at or above its threshold, and no more: thresholds are conventions, so they stand in every grid's
`about`, and a head may have several labels or none. 0.4 is the customary one for attention scores; the others are ours.

Sources: Olsson et al. 2022, arXiv 2209.11895; Wang et al. 2022, arXiv 2211.00593; McDougall et al. 2023, arXiv
2310.04625.
"""

from __future__ import annotations

from analyses.analysis import Analysis, Findings
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.pairs import CLEAN, CORRUPT
from analyses.phrases import metric_in_words, prompts_in_words
from analyses.role_scores import RoleParams, role_grids


def compute(params: RoleParams, bench: Bench) -> Findings:
    return Findings(role_grids(params, bench))


def sentence(params: RoleParams, experiment: Experiment) -> str:
    prompts = prompts_in_words(experiment, CLEAN)
    return (
        f"Label every head by its scores on {params.sequences} sequences of repeated random tokens and on {prompts}, "
        f"with S-inhibition measured by {metric_in_words(params.metric, experiment)}."
    )


ANALYSIS = Analysis(
    name="head_roles",
    title="Head roles",
    Params=RoleParams,
    inputs=(CLEAN, CORRUPT),
    summary="heads labelled by measured scores: previous token, induction, duplicate token, name mover, S-inhibition …",
    source="Wang et al. 2022, arXiv 2211.00593; Olsson et al. 2022, arXiv 2209.11895; McDougall et al. 2023, "
    "arXiv 2310.04625",
    compute=compute,
    sentence=sentence,
    example={},
)
