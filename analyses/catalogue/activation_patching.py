"""Activation patching: copy activations from one prompt of a pair into the run on the other.

Denoising runs the corrupt prompt and copies a clean activation in: does the part suffice to restore the answer?
Noising runs the clean prompt and copies a corrupt activation in: is the part needed for it? Either way the metric of
the patched run is placed between the corrupt run and the clean run,

    recovered = (M_patched − M_corrupt) / (M_clean − M_corrupt),

with each M the mean over prompts: 0 is as corrupt as before, 1 as clean. Values below 0 or above 1 are real and kept.
All three are measured with the clean prompts' answers. The pairs of a data set are patched pair by pair, at the same
positions.

Sources: Vig et al. 2020, arXiv 2004.12265; Zhang, Nanda 2024, arXiv 2309.16042; Heimersheim, Nanda 2024,
arXiv 2404.15255.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from analyses.analysis import Analysis, Findings
from analyses.bench import Bench
from analyses.controls import CONTROLS, beyond_map
from analyses.experiment import Experiment
from analyses.measured import Measured
from analyses.pairs import CLEAN, CORRUPT, check_pairs, measure_of, run_and_source
from analyses.parts import sharing_in_words
from analyses.patch_map import PatchMap, cells_of
from analyses.phrases import metric_in_words, prompts_in_words, site_in_words
from analyses.recovery import Elsewhere, Recovery
from analyses.sweep import sweep
from hooks.interventions.patch import Patch
from hooks.schedule import World

MOST_UNITS = 20_000


class Params(PatchMap):
    """See `analyses.patch_map.PatchMap`.

    controls: how many random parts outside a map of chosen layers, heads or units are patched for comparison. A map of
    all of them is compared with itself: there is no part that nobody picked.
    """

    controls: int = Field(default=CONTROLS, ge=0, le=1000, exclude_if=lambda count: count == CONTROLS)

    @model_validator(mode="after")
    def _short(self) -> Params:
        if "unit" in self.over and self.layers is None:
            raise ValueError("a map over single units needs layers, such as [0]")
        return self


def compute(params: Params, bench: Bench) -> Findings:
    check_pairs(bench)
    measure = measure_of(params.metric, bench)
    run, source = run_and_source(params.direction)
    cells, copied = cells_of(params, bench, most_units=MOST_UNITS), measure.values(source)
    worlds: list[World] = [tuple(Patch(at=part, source=source) for part in parts) for parts in cells.parts]
    chosen = any(picked is not None for picked in (params.layers, params.heads, params.units))
    others = beyond_map(worlds, bench.model, params.controls if chosen else 0, bench.experiment.seed)
    sizes = bench.model.info.stack(params.stack)
    more = cells.left_out + (sharing_in_words(range(sizes.n_kv_heads), sizes) if "kv_head" in params.over else "")
    say = f"patching {len(worlds)} parts one at a time"

    def found(measured: Measured) -> Recovery:
        ends = {run: measured.clean[0], source: copied}
        what, baseline = f"{run} prompts with the {source} part", 0.0 if run == CORRUPT else 1.0
        return Recovery(cells, measure.metric, measured, ends[CLEAN], ends[CORRUPT], baseline, what, more)

    def shown(measured: Measured) -> None:
        on_map = measured.split(len(worlds))[0]
        bench.step(int(measured.done.sum()), len(measured.done), say, found(on_map).map(interval=False)[0])

    bench.step(0, len(worlds) + len(others), say)
    measured = sweep(bench, run, [*worlds, *others], [measure.metric], target=measure.target, on_chunk=shown)
    on_map, elsewhere = measured.split(len(worlds))
    control = Elsewhere(elsewhere.cells[0].T, tuple(str(edit.at) for world in others for edit in world))
    return Findings(found(on_map).grids(per_prompt=params.per_prompt, elsewhere=control if others else None))


def sentence(params: Params, experiment: Experiment) -> str:
    run, source = run_and_source(params.direction)
    return (
        f"Patch the {source} {site_in_words(params.site)} into {prompts_in_words(experiment, run)} of the {run} set, "
        f"at {params.where_in_words()}, one at a time; measure how much of "
        f"{metric_in_words(params.metric, experiment)} of the clean run is recovered ({params.direction})."
    )


ANALYSIS = Analysis(
    name="activation_patching",
    title="Activation patching",
    Params=Params,
    inputs=(CLEAN, CORRUPT),
    summary="which activations carry the difference between a clean and a corrupt prompt",
    source="Zhang, Nanda 2024, arXiv 2309.16042; Heimersheim, Nanda 2024, arXiv 2404.15255",
    compute=compute,
    sentence=sentence,
    example={"direction": "denoising", "site": "resid_pre", "over": ["layer", "pos"], "metric": "logit_diff"},
)
