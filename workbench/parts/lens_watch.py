"""How it stands with the lens and the direct attribution, clean and edited: asked of the workspace anew each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html

from analyses.experiment import Experiment
from analyses.result import Result
from hooks.errors import WorkbenchError
from hooks.tokens import TokenBatch
from workbench.figures.theme import ThemeName
from workbench.parts import lens_direct, lens_map
from workbench.parts.ablation_saving import save_row
from workbench.parts.ablation_scope import Scope
from workbench.parts.ablation_watch import prompt_button, summary_of
from workbench.parts.attention_progress import pending, told
from workbench.parts.empty import empty, problem
from workbench.parts.given import inputs_of
from workbench.parts.kinds import Kind
from workbench.parts.lens_layout import quantity_in
from workbench.parts.lens_request import direct_experiment, lens_experiment, prompt_of, stream_of
from workbench.parts.panel import panel
from workbench.requests import ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

EDITED = "-edited"
MAKE: Mapping[str, Callable[..., Experiment]] = {"lens": lens_experiment, "direct": direct_experiment}
TITLES = {"lens": "Layer by layer", "direct": "What wrote the answer"}
TOKENS = ("causal", "masked", "seq2seq")
"""Tasks whose answers are columns of an unembedding."""


@dataclass(frozen=True)
class Asked:
    """Who asks for what. of: "lens" or "direct". again: start anew what has failed or was cancelled."""

    workspace: Workspace
    state: State
    session: str
    of: str
    theme: ThemeName = "light"
    again: str = ""

    @property
    def summary(self) -> Mapping[str, Any]:
        """The opened model's summary. Raises ModelError."""
        return summary_of(self.workspace, self.state)

    @property
    def batch(self) -> TokenBatch:
        """The clean prompts. Raises WorkbenchError."""
        return self.workspace.tokens(self.state.model, inputs_of(self.workspace, self.state)["clean"])

    def experiment(self, *, edited: bool = False) -> Experiment:
        """What is run. Raises WorkbenchError."""
        return MAKE[self.of](self.workspace, self.state, self.summary, edited=edited)

    def edited_result(self) -> Result | None:
        """The result of the edited run, where there is one already."""
        if not self.state.edits:
            return None
        try:
            return self.workspace.result(self.experiment(edited=True).id)
        except WorkbenchError:  # told in the panel of the edited run
            return None

    def looked(self) -> str:
        """What decides how a result is shown."""
        state, theme = self.state, self.theme if self.of == "direct" else ""
        cell = (state.lens_by, state.lens_layer, state.position, state.lens_change) if self.of == "lens" else ()
        return f"{state.lens_prompt} {cell} {theme}"


def clean(asked: Asked) -> tuple[str, Any]:
    """What the panel of the clean run shows, with a key that changes whenever that does."""
    if asked.of == "direct" and (why := _no_direct(asked)) is not None:
        return "none", why
    try:
        want = asked.experiment()
        job = pending(asked.workspace, ExperimentRequest(experiment=want), asked.session, again=asked.again == asked.of)
        if job is not None:
            return f"{job.id} {job.state} {job.done} {job.message}", told(job, asked.of)
        result, other = asked.workspace.result(want.id), asked.edited_result()
        if result is None:
            return f"{want.id} is gone", None
        beside = [other] if other is not None else []
        shown = _drawn(asked, result, asked.of, beside)
        key = f"done {result.id} {other is not None} {asked.looked()} {asked.state.corrupt}"
        return key, [*shown, save_row(asked.of, result.id, _grid(asked, result))]
    except WorkbenchError as error:
        return f"refused {error}", problem(error, prompt_button(error), id=f"{asked.of}-problem")


def edited(asked: Asked) -> tuple[str, Any]:
    """What the panel of the edited run shows: nothing while the tray is empty or the clean run is on its way."""
    name = f"{asked.of}{EDITED}"
    try:
        if not asked.state.edits or (asked.of == "direct" and _no_direct(asked) is not None):
            return "none", None
        before = asked.workspace.result(asked.experiment().id)
        if before is None:
            return "waits", None
        want = asked.experiment(edited=True)
        job = pending(asked.workspace, ExperimentRequest(experiment=want), asked.session, again=asked.again == name)
        if job is not None:
            return f"{job.id} {job.state} {job.done} {job.message}", _panel(asked, told(job, name))
        after = asked.workspace.result(want.id)
        if after is None:
            return f"{want.id} is gone", None
        shown = _drawn(asked, after, name, [before], before)
        content = [*shown, save_row(name, after.id, _grid(asked, after))]
        return f"done {after.id} {asked.looked()}", _panel(asked, *content)
    except WorkbenchError as error:
        return f"refused {error}", _panel(asked, problem(error, id=f"{name}-problem"))


def _panel(asked: Asked, *content: Any) -> Any:
    return panel(TITLES[asked.of], *content, edited=True, id=f"{asked.of}{EDITED}-panel")


def _drawn(asked: Asked, result: Result, name: str, beside: list[Result], before: Result | None = None) -> list[Any]:
    """A result as pictures. before: the clean result, for an edited one."""
    summary, batch = asked.summary, asked.batch
    layers, prompt = int(summary["info"]["n_layers"]), prompt_of(asked.state, batch)
    if asked.of == "direct":
        return lens_direct.drawn(name, result, prompt, layers, asked.theme, beside=beside)
    offered = lens_map.titles(result, prompt)
    by, at = quantity_in(asked.state, offered), stream_of(asked.state, summary)
    editable = at in Scope.of(summary, "").there
    view = lens_map.View(
        asked.state, batch, at, by, layers, offered[by], editable, can_patch=editable and _has_pair(asked, batch)
    )
    if before is None:
        return [lens_map.drawn("lens-map", view, result, beside=beside)]
    switch = dmc.Switch(
        id={"type": "lens-set", "name": "lens_change"}, label="Show edited − clean", checked=asked.state.lens_change
    )
    change = before if asked.state.lens_change else None
    return [switch, lens_map.drawn("lens-edited-map", view, result, beside=beside, change_from=change)]


def _has_pair(asked: Asked, batch: TokenBatch) -> bool:
    """Whether the corrupt prompts pair up with the clean ones, position by position."""
    corrupt = inputs_of(asked.workspace, asked.state).get("corrupt")
    try:
        return corrupt is not None and asked.workspace.tokens(asked.state.model, corrupt).lengths == batch.lengths
    except WorkbenchError:
        return False


def _grid(asked: Asked, result: Result) -> str:
    """Which grid an exported figure shows."""
    if asked.of == "direct":
        return "effect"
    by = quantity_in(asked.state, lens_map.titles(result, prompt_of(asked.state, asked.batch)))
    return "top_prob" if by == "top" else by


def _no_direct(asked: Asked) -> Any:
    """Why there is no direct attribution for this model or this prompt; None where there is one."""
    try:
        kind, inputs = Kind.of(asked.summary), inputs_of(asked.workspace, asked.state)["clean"]
    except WorkbenchError as error:
        return problem(error, prompt_button(error), id="direct-problem")
    if kind.task not in TOKENS:
        text = "It splits a token’s logit into what was added to the last residual stream; this model chooses classes."
        return empty("No direct attribution for classes", text, symbol="lens", id="direct-none")
    if not inputs.answers:
        give = html.Button("Give an answer", className="wb-button", type="button", **{"data-wb-action": "prompt"})
        text = "Give the token that would be right, and one that would be wrong, to see which parts wrote it."
        return empty("No answer to attribute", text, give, symbol="lens", id="direct-none")
    return None


def theme_of(name: str | None) -> ThemeName:
    """The theme of a name; light for an unknown one."""
    return "dark" if name == "dark" else "light"
