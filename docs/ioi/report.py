"""Run the experiments of this folder and write docs/ioi-smollm2.md with its figures. `make ioi` calls it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analyses.grid import Grid
from analyses.result import Result
from workbench.api import export, load_result, parse_experiment, run, save_result

HERE = Path(__file__).parent
PAGE = HERE.parent / "ioi-smollm2.md"
FIGURES = {
    "zero-ablation": "effect",
    "mean-ablation": "effect",
    "denoising": "recovered",
    "residual-stream": "recovered",
    "direct-attribution": "effect",
    "attribution-patching": "estimate",
}
TOP = 10


def results(folder: Path) -> dict[str, Result]:
    """The result of every experiment file here; those already in `folder` for the same request are read."""
    found = {}
    for name in FIGURES:
        experiment = parse_experiment((HERE / f"{name}.json").read_bytes())
        kept = folder / name
        if not kept.is_dir():
            save_result(run(experiment), kept)
        found[name] = load_result(kept)
    return found


def scalar(result: Result, name: str) -> str:
    """A grid of one number with its interval."""
    value, low, high = (float(result.grid(f"{name}{end}").values) for end in ("", "_low", "_high"))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def strongest(result: Result, name: str, unit: str) -> list[str]:
    """A table of the heads with the largest absolute value."""
    grid, low, high = (result.grid(f"{name}{end}") for end in ("", "_low", "_high"))
    rows = [f"| head | {unit} | 95 % interval |", "|---|---|---|"]
    for row in grid.top(TOP):
        at = (grid.coords["layer"].index(row["layer"]), grid.coords["head"].index(row["head"]))
        interval = f"[{low.values[at]:+.3f}, {high.values[at]:+.3f}]"
        rows.append(f"| {row['layer']}.{row['head']} | {row['value']:+.3f} | {interval} |")
    return rows


def control(result: Result) -> str:
    """The range that the other heads take."""
    low, high = (float(result.grid(f"control_{end}").values) for end in ("low", "high"))
    return f"The middle 95 % of the 270 heads lie in [{low:+.3f}, {high:+.3f}]: a range over heads, not an interval."


def agreement(grid: Grid) -> str:
    """The correlations of the estimate with exact patching."""
    pairs = zip(grid.coords["measure"], np.ravel(grid.values), strict=True)
    return ", ".join(f"{measure} {value:.3f}" for measure, value in pairs)


def page(found: Mapping[str, Result]) -> str:
    """The document."""
    zero, mean, denoising = (found[name] for name in ("zero-ablation", "mean-ablation", "denoising"))
    direct, estimate = (found[name] for name in ("direct-attribution", "attribution-patching"))
    made = zero.provenance
    sections = [
        "# Indirect object identification in SmolLM2-135M",
        "Made by `make ioi` from the experiment files in docs/ioi/: sixteen prompt pairs of the task `ioi`"
        " (docs/tasks.md), seed 0, the second subject flipped in the corrupt prompts. All numbers are logit"
        " differences, logit(indirect object) − logit(subject), means over 16 prompts with 95 % bootstrap intervals"
        " over prompts.",
        f"Model weights {made.model_hash[:16]}, {made.dtype} on {made.device}, torch {made.versions['torch']},"
        f" transformers {made.versions['transformers']}, attention {made.attention}.",
        "## Clean and corrupt",
        f"Clean {scalar(denoising, 'metric_clean')}, corrupt {scalar(denoising, 'metric_corrupt')}.",
        "![The residual stream patched](ioi/residual-stream.svg)",
        "Patching the clean residual stream into the corrupt run, at each layer and position: recovered as the ratio"
        " of means (0 as the corrupt run, 1 as the clean one).",
        "## Zero ablation",
        "Metric after minus before; negative means that the head helped. " + control(zero),
        "\n".join(strongest(zero, "effect", "effect, logits")),
        "![Zero ablation](ioi/zero-ablation.svg)",
        "## Mean ablation",
        "Each head at its mean over sixteen ABC prompts (three other names) and their positions. " + control(mean),
        "\n".join(strongest(mean, "effect", "effect, logits")),
        "![Mean ablation](ioi/mean-ablation.svg)",
        "## Denoising",
        "Each head's z copied from the clean run into the corrupt one, at all positions.",
        "\n".join(strongest(denoising, "recovered", "recovered, fraction")),
        "![Denoising](ioi/denoising.svg)",
        "## Direct attribution",
        "What each head writes along the difference of the unembedding directions, the final norm's scale held.",
        "\n".join(strongest(direct, "effect", "direct effect, logits")),
        "![Direct attribution](ioi/direct-attribution.svg)",
        "## Attribution patching against exact patching",
        "The first-order estimate of denoising for all 270 heads, against the exact values: "
        + agreement(estimate.grid("agreement")) + ".",
        "![Attribution patching](ioi/attribution-patching.svg)",
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def main() -> None:
    """Run what has not run, draw the figures, write the page."""
    found = results(HERE.parents[1] / "build" / "ioi")
    for name, grid in FIGURES.items():
        (HERE / f"{name}.svg").write_bytes(export(found[name], "svg", grid=grid).data)
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
