"""How it stands with what the Neurons page shows: asked of the workspace anew each time, so never stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dash import html

from analyses.experiment import Experiment
from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.figures.theme import ThemeName
from workbench.parts import neuron_views
from workbench.parts.ablation_watch import prompt_button, summary_of
from workbench.parts.attention_progress import pending, told
from workbench.parts.empty import empty, problem
from workbench.parts.image_view import frame_style, image_url
from workbench.parts.kinds import Kind
from workbench.parts.neuron_request import clean_inputs, neuron_of, open_part, ranking_of, zeroed_of
from workbench.parts.panel import panel
from workbench.requests import ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

Seen = tuple[str, Any]
"""A key that changes whenever the content does, and the content."""


def ranking(workspace: Workspace, state: State, session: str, theme: ThemeName, again: str = "") -> Seen:
    """The ranking, computed where it is not there."""
    return _seen(workspace, session, "neurons", again, lambda: ranking_of(workspace, state), neuron_views.ranking)


def neuron(workspace: Workspace, state: State, session: str, theme: ThemeName, again: str = "") -> Seen:
    """The open neuron in the clean run."""
    try:
        part = open_part(workspace, state)
    except WorkbenchError as error:
        return f"refused {error}", panel("Neuron", problem(error, id="nrn-problem"))
    if not part:
        waits = empty("No neuron is open", "The strongest opens by itself when the ranking is there.", id="nrn-none")
        return "none", html.Div(waits, className="wb-panel")

    def drawn(result: Result) -> list[Any]:
        batch = workspace.tokens(state.model, clean_inputs(workspace, state))
        return neuron_views.neuron(result, batch, part, theme, _picture(workspace, state, result))

    key, content = _seen(workspace, session, "neuron", again, lambda: neuron_of(workspace, state, part), drawn)
    shown = html.Section(
        [neuron_views.head(part), html.Div(content)], className="wb-panel", id="nrn-panel", **{"data-nrn-part": part}
    )
    return f"{part} {theme} {key}", shown


def edited(workspace: Workspace, state: State, session: str, theme: ThemeName, again: str = "") -> Seen:
    """The open neuron under the edits of the tray; nothing where the tray is empty."""
    part = _part(workspace, state)
    if not state.edits or not part:
        return "none", None

    def drawn(result: Result) -> list[Any]:
        batch = workspace.tokens(state.model, clean_inputs(workspace, state))
        return neuron_views.edited(result, batch, part, theme)

    def asked() -> Experiment:
        return neuron_of(workspace, state, part, edited=True)

    key, content = _seen(workspace, session, "neuron-edited", again, asked, drawn)
    return f"{part} {theme} {key}", panel("Under the edits", *content, edited=True, id="nrn-edited-panel")


def zeroed(workspace: Workspace, state: State, session: str, theme: ThemeName, again: str = "") -> Seen:
    """What zeroing the open neuron changes, once somebody has asked for it."""
    part = _part(workspace, state)
    if not part:
        return "none", None
    try:
        experiment = zeroed_of(workspace, state, part)
    except WorkbenchError as error:
        said = problem(error, prompt_button(error), id="nrn-zeroed-problem") if again == "neuron-zeroed" else None
        return f"refused {part} {error}", said
    if workspace.job(experiment.id) is None and workspace.result(experiment.id) is None and again != "neuron-zeroed":
        return f"unasked {part}", None
    key, content = _seen(
        workspace, session, "neuron-zeroed", again, lambda: experiment, lambda result: neuron_views.zeroed(result, part)
    )
    return f"{part} {key}", panel("Without this neuron", *content, edited=True, id="nrn-zeroed-panel")


def _part(workspace: Workspace, state: State) -> str:
    """The open neuron; "" while there is none, or one that cannot be read, which the neuron's panel says."""
    try:
        return open_part(workspace, state)
    except WorkbenchError:
        return ""


def _seen(
    workspace: Workspace,
    session: str,
    of: str,
    again: str,
    asked: Callable[[], Experiment],
    drawn: Callable[[Result], list[Any]],
) -> tuple[str, list[Any]]:
    """The result of an experiment as drawn, else how it stands with the job that makes it. again: what is retried."""
    try:
        experiment = asked()
        job = pending(workspace, ExperimentRequest(experiment=experiment), session, again=again == of)
        result = workspace.result(experiment.id) if job is None else None
        if result is not None:
            return f"done {experiment.id}", drawn(result)
    except WorkbenchError as error:
        return f"refused {error}", [problem(error, prompt_button(error), id=f"nrn-problem-{of}")]
    if job is None:  # deleted in this very moment
        return f"gone {experiment.id}", []
    return f"{job.id} {job.state} {job.done} {job.message}", [told(job, of)]


def _picture(workspace: Workspace, state: State, result: Result) -> Any:
    """The image with the neuron's activation on each patch, where the model reads one; else nothing."""
    kind, activation = Kind.of(summary_of(workspace, state)), result.grid("activation")
    patches = 0 if kind.grid is None else kind.grid[0] * kind.grid[1]
    if not state.image or not patches or activation.values.ndim != 1 or len(activation.values) < patches:
        return None
    deepest = neuron_views.reach(activation)
    values = activation.values[len(activation.values) - patches :].tolist()
    cells = [neuron_views.patch(place, value, deepest) for place, value in enumerate(values)]
    image = html.Img(
        src=image_url(state), alt="The image as the model gets it", className="img-picture", draggable="false"
    )
    over = html.Div(
        cells, className="img-cells nrn-patches", role="group", **{"aria-label": "Activation on each patch"}
    )
    return html.Div([image, over], className="img-frame", style=frame_style(kind))
