"""Path patching: what a sender tells chosen receivers directly, and how much the answer depends on it.

1. The clean and the corrupt prompts run unedited.
2. The clean prompts run with the sender's output set to its corrupt value, and every other head between sender and
   receivers frozen to its clean value; what the receivers read is recorded. MLPs recompute, which is the usual
   convention; with `freeze_mlps` they are frozen too.
3. The clean prompts run with only the receivers' inputs set to what was recorded.

The effect is the metric of run 3 minus that of the unedited run. Where the receiver is the logits, run 2 is the answer.
With the direction "denoising" the corrupt prompts run, and senders take their clean value. The effect of a sender on a
receiver that does not come after it is 0.

Sources: Wang et al. 2022, arXiv 2211.00593, section 3; Goldowsky-Dill et al. 2023, arXiv 2304.05969.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final, Literal

from pydantic import Field, field_serializer, field_validator

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.maps import CellMap, Parts, changes, layers_of, map_of, mapped
from analyses.measured import Measured
from analyses.metric_choice import MetricChoice
from analyses.pairs import CLEAN, CORRUPT, Direction, Measure, check_pairs, measure_of, run_and_source
from analyses.path_runs import Paths
from analyses.paths import check_ends
from analyses.phrases import layers_in_words, listed, metric_in_words, part_in_words, prompts_in_words
from hooks.errors import SpecError
from hooks.interventions.patch import Patch
from hooks.sites import Part, Site
from hooks.spec import Spec

Sweep = Literal["heads", "mlps"]
LOGITS: Final = "logits"


class Params(Spec):
    """senders: every head or every MLP, one at a time, or parts such as "L3.z[head=5]". layers: restrict a sweep.

    receivers: the inputs that are patched, such as "L9.q[head=9,pos=last]", together; or "logits". direction: noising
    sends corrupt values in a run on clean prompts, denoising clean values in a run on corrupt ones. freeze_mlps: MLPs
    between them keep the unedited run's values too, instead of recomputing.
    """

    senders: Sweep | tuple[Part, ...] = "heads"
    receivers: Literal["logits"] | tuple[Part, ...] = LOGITS
    direction: Direction = "noising"
    freeze_mlps: bool = False
    layers: tuple[int, ...] | None = None
    metric: MetricChoice = "logit_diff"
    per_prompt: bool = Field(default=False)

    @field_validator("senders", "receivers", mode="before")
    @classmethod
    def _parts(cls, value: Any) -> Any:
        if isinstance(value, str):
            return value if value in ("heads", "mlps", LOGITS) else (value,)
        items = tuple(value)
        if not items:
            raise ValueError('name at least one part, such as "L3.z[head=5]"')
        return LOGITS if items == (LOGITS,) else items

    @field_serializer("senders", "receivers")
    def _print(self, parts: str | tuple[Part, ...]) -> str | list[str]:
        return parts if isinstance(parts, str) else [str(part) for part in parts]

    def named(self, end: Literal["senders", "receivers"]) -> tuple[Part, ...]:
        """The parts that an end names one by one; none for a sweep and for the logits."""
        parts: str | tuple[Part, ...] = getattr(self, end)
        return () if isinstance(parts, str) else parts


def compute(params: Params, bench: Bench) -> Findings:
    check_pairs(bench)
    check_ends(params.named("senders"), params.named("receivers"))
    measure, cells = measure_of(params.metric, bench), _cells(params, bench)
    senders = tuple(part for (part,) in cells.parts)
    receivers = params.named("receivers")
    paths = Paths.of(bench, senders, receivers, measure, params.direction, freeze_mlps=params.freeze_mlps)

    def shown(measured: Measured) -> None:
        grid = _effect(params, cells, measured, measure, paths.beside)[0]
        bench.step(int(measured.done.sum()), len(cells.parts), f"patching paths from {len(cells.parts)} senders", grid)

    measured = paths.follow(shown)
    run = run_and_source(params.direction)[0]
    base = averaged(f"metric_{run}", measured.clean[0], (), {}, measure.metric.unit, per_prompt=params.per_prompt,
                    about=f"{measure.metric.title} of the unedited run on {run} prompts")  # fmt: skip
    return Findings((*_effect(params, cells, measured, measure, paths.beside, whole=True), *base))


def _cells(params: Params, bench: Bench) -> CellMap:
    """The senders, one per cell of the map. Raises SiteMissing, SpecError."""
    info, cells = bench.model.info, dict[tuple[Coord, ...], Parts]()
    if params.senders == "heads":
        pairs = product(layers_of(info.n_layers, params.layers), range(info.n_heads))
        cells |= {(layer, head): (Part(Site("z", layer), head=head),) for layer, head in pairs}
        return map_of(bench.model, cells, ("layer", "head"))
    if params.senders == "mlps":
        cells |= {(layer,): (Part(Site("mlp_out", layer)),) for layer in layers_of(info.n_layers, params.layers)}
        return map_of(bench.model, cells, ("layer",))
    if params.layers is not None:
        raise SpecError("layers restrict a sweep; these senders are named one by one.", "Leave layers out.")
    bench.model.require_writable([Patch(at=part) for part in params.senders])
    return map_of(bench.model, {(str(part),): (part,) for part in params.senders}, ("sender",))


def _effect(
    params: Params, cells: CellMap, measured: Measured, measure: Measure, beside: int, *, whole: bool = False
) -> tuple[Grid, ...]:
    """The map of effects. beside: how many senders do not come before a receiver; whole: once it no longer fills."""
    receivers = ", ".join(map(str, params.named("receivers"))) or LOGITS
    others = "other heads and MLPs frozen" if params.freeze_mlps else "other heads frozen, MLPs recompute"
    none = f"; {beside} senders come after all receivers and have no effect on them" if beside else ""
    return mapped(
        "effect", cells, changes(measured), measured.done, measure.metric.unit,
        about=f"{params.direction}: {measure.metric.title} with the direct path from the sender to {receivers} patched "
        f"({others}), minus the unedited run{none}",
        per_prompt=params.per_prompt, whole=whole,
    )  # fmt: skip


def sentence(params: Params, experiment: Experiment) -> str:
    run, source = run_and_source(params.direction)
    sweeps = {"heads": "every head", "mlps": "every MLP"}
    if isinstance(params.senders, str):
        senders = sweeps[params.senders] + ("" if params.layers is None else f" of {layers_in_words(params.layers)}")
    else:
        senders = listed([part_in_words(part) for part in params.senders])
    receivers = (
        "the logits" if isinstance(params.receivers, str) else listed(list(map(part_in_words, params.receivers)))
    )
    frozen = "all other heads and all MLPs" if params.freeze_mlps else "all other heads"
    prompts = prompts_in_words(experiment, run)
    return (
        f"Send the {source} output of {senders}, one at a time, to {receivers} alone in {prompts} "
        f"of the {run} set, with {frozen} frozen; measure the change of {metric_in_words(params.metric, experiment)}."
    )


ANALYSIS = Analysis(
    name="path_patching",
    title="Path patching",
    Params=Params,
    inputs=(CLEAN, CORRUPT),
    summary="what one part tells another directly: only the path between them carries the other prompt's value",
    source="Wang et al. 2022, arXiv 2211.00593, section 3; Goldowsky-Dill et al. 2023, arXiv 2304.05969",
    compute=compute,
    sentence=sentence,
    example={"senders": "heads", "receivers": "logits", "direction": "noising", "metric": "logit_diff"},
)
