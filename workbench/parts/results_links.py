"""From a result back to the page that shows it: the address in which its experiment is set up again."""

from __future__ import annotations

from typing import Any

from analyses.catalogue.logit_lens import Params
from analyses.experiment import Experiment
from hooks.prompts import PromptSet
from workbench import edit_text, urls
from workbench.parts.patch_methods import METHODS
from workbench.urls import State

PAGES = {
    "ablation": ("/ablation", "Open on Ablate"),
    "attention_patterns": ("/attention", "Open on Attention"),
    "head_scores": ("/attention", "Open on Attention"),
    "logit_lens": ("/lens", "Open on Lens"),
    "neuron_view": ("/neurons", "Open on Neurons"),
    "next_token": ("/prompt", "Open on Prompt"),
    **dict.fromkeys(METHODS, ("/patching", "Open on Patch")),
}


def page_link(experiment: Experiment) -> tuple[str, str] | None:
    """Address and words of a link to the experiment's page; None where no page can show it whole.

    Pages show one prompt given as text, with one answer and one foil given as text.
    """
    inputs = experiment.inputs.get("clean")
    if experiment.analysis not in PAGES or (inputs is not None and _prompt_fields(inputs) is None):
        return None
    if _metric_text(experiment.params) is None:
        return None
    path, words = PAGES[experiment.analysis]
    fields = _prompt_fields(inputs) if inputs is not None else {}
    if experiment.analysis in METHODS and not _on_patch(experiment):
        return None
    known = {"model": str(experiment.model), **(fields or {}), **_param_fields(experiment)}
    if "metric" in known:
        known["metric"] = _metric_text(experiment.params)
    return path + urls.write(State.model_validate(known)), words


def _metric_text(params: dict[str, Any]) -> str | None:
    """A metric as an address holds it: its name or its expression; None for one whose unit was given beside it."""
    metric = params.get("metric", "")
    if isinstance(metric, str):
        return metric
    return None if metric.get("unit") is not None else str(metric["expression"])


def _prompt_fields(inputs: PromptSet) -> dict[str, Any] | None:
    answers, foils = inputs.answers or ("",), inputs.foils or ("",)
    texts = (inputs.prompts[0], answers[0], foils[0])
    if len(inputs.prompts) > 1 or not all(isinstance(text, str) for text in texts):
        return None
    prompt, answer, foil = texts
    return {"prompt": prompt, "answer": answer, "foil": foil, "special": inputs.special, "plain": inputs.plain_text}


def _param_fields(experiment: Experiment) -> dict[str, Any]:
    params = experiment.params
    if experiment.analysis in METHODS:
        return _patch_fields(experiment)
    if experiment.analysis == "ablation":
        kind = params["kind"] if params["kind"] in ("zero", "mean") else "zero"
        fields = {"kind": kind, "metric": params["metric"]}
        if params.get("at"):
            return {**fields, "edits": ";".join(_edit(item, kind) for item in params["at"])}
        layers = params.get("layers") or (None,)
        return {**fields, "over": params["over"], "within": layers[0] if params["over"] == "neuron" else None}
    if experiment.analysis == "logit_lens":
        edits = edit_text.write(Params(**params).edits, experiment.vectors)
        corrupt = experiment.inputs.get("corrupt")
        return {"lens_at": params["at"], "edits": edits} | ({"corrupt": str(corrupt.prompts[0])} if corrupt else {})
    if experiment.analysis == "next_token":
        position = params.get("position")
        chosen = position if isinstance(position, int) else None
        return {"temperature": params["temperature"], "top_k": params["top_k"], "position": chosen}
    if experiment.analysis == "neuron_view":
        return _neuron_fields(params)
    layers, heads = params.get("layers"), params.get("heads")
    return {"layer": layers[0], "head": heads[0]} if layers and heads else {}


def _neuron_fields(params: dict[str, Any]) -> dict[str, Any]:
    at, layers = params["at"], params["layers"] or (None,)
    fields = {"neuron": str(params["neuron"] or ""), "hide_first": params["skip_first"], "within": layers[0]}
    fields |= {"stack": params["stack"] if params["stack"] in urls.STACKS else ""}
    if at is not None:
        return fields | {"rank_by": "at", "position": at if isinstance(at, int) else None}
    return fields | {"rank_by": "direct" if params["score"] == "direct" else "peak"}


def _on_patch(experiment: Experiment) -> bool:
    """Whether the Patch page can show a result whole: nothing that it has no control for is asked."""
    corrupt, params = experiment.inputs.get("corrupt"), experiment.params
    alike = corrupt is None or (len(corrupt.prompts) == 1 and isinstance(corrupt.prompts[0], str))
    unusual = ("edits", "heads", "units", "positions", "stack", "reference")
    return alike and not any(params.get(name) not in (None, "decoder", "clean") for name in unusual)


def _patch_fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of the Patch page for each parameter that it has a control for."""
    params, corrupt = experiment.params, experiment.inputs.get("corrupt")
    same = ("metric", "direction", "draws", "window", "by")
    fields: dict[str, Any] = {name: params[name] for name in same if params.get(name) is not None}
    fields |= {"method": experiment.analysis, "corrupt": str(corrupt.prompts[0]) if corrupt else ""}
    fields |= {"at": params["site"]} if "site" in params else {}
    if experiment.analysis in ("activation_patching", "attribution_patching"):
        fields["axes"] = ",".join(axis for axis in params["over"] if axis != "layer") or "layer"
        fields["star"] = params.get("method") == "atp_star"
        fields["within"] = params["layers"][0] if params.get("layers") else None
    joined = {"noised": (params.get("at"), ","), "queries": (params.get("queries"), ","),
              "keys": (params.get("keys"), ","), "senders": (params.get("senders"), ";"),
              "receivers": (params.get("receivers"), ";")}  # fmt: skip
    for name, (value, mark) in joined.items():
        if value is not None:
            fields[name] = value if isinstance(value, str) else mark.join(map(str, value))
    return fields | {"freeze": params.get("freeze_mlps", False), "repair": params.get("self_repair", False)}


def _edit(item: Any, kind: str) -> str:
    return f"{item['kind']}:{item['at']}" if isinstance(item, dict) else f"{kind}:{item}"
