"""The Model page: what is open, how it is built, and the proof of every site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dash import Dash, html

from workbench.figures.architecture import block_diagram
from workbench.figures.architecture_words import describe
from workbench.figures.numbers import number, short, whole
from workbench.figures.plan import MAIN, Stack, stacks_of
from workbench.figures.theme import THEMES
from workbench.pages.base import Page
from workbench.parts.empty import empty, sentence
from workbench.parts.glossary import term
from workbench.parts.header import parity
from workbench.parts.icons import icon
from workbench.parts.model_proof import proof_panel
from workbench.parts.panel import page_head, panel
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace


VISION = "vision"


def layout(workspace: Workspace, state: State) -> Any:
    """The page for the model of the state."""
    summary = workspace.summary(state.model)
    if summary is None:
        return empty("This model is not open", "Choose a model under its name above.")
    info = summary["info"]
    choose = html.Button("Open another model", className="wb-button", type="button", **{"data-wb-action": "model"})
    return [
        page_head(
            state.model,
            f"{info['family']} · {short(info['n_params'])} parameters · {info['dtype']} on {info['device']}",
            choose,
        ),
        *_warnings(summary),
        html.Div(
            [
                html.Div([_verdict(summary), *_sizes(summary), _provenance(summary)], className="wb-stack"),
                _plan(summary),
            ],
            className="wb-model-top",
        ),
        proof_panel(summary),
    ]


def _warnings(summary: Mapping[str, Any]) -> list[Any]:
    notes = [html.Li(sentence(warning)) for warning in summary.get("warnings", ())]
    if not notes:
        return []
    return [
        html.Div([icon("warning", size=18), html.Ul(notes)], className="wb-warning", role="note", id="model-warnings")
    ]


def _verdict(summary: Mapping[str, Any]) -> Any:
    facts = summary["parity"]
    against = facts.get("reference", "the unhooked model")
    if facts["exact"]:
        words = (
            "With every site captured and nothing edited, the logits equal those of "
            f"{against} bit for bit: the largest difference is 0."
        )
    else:
        words = (
            f"The logits differ from those of {against} by up to {number(facts['error'])}. "
            "This model is open for reading only. Edits are refused: their effect could not be told from this "
            "difference; the proof below marks what failed."
        )
    return panel(
        term("parity", "Parity"),
        html.P(words, className="wb-about"),
        tools=parity(summary, "open", id="model-verdict"),
        id="model-parity",
    )


def _sizes(summary: Mapping[str, Any]) -> list[Any]:
    """A panel of sizes for each stack, those of the whole model with the last."""
    info = summary["info"]
    found = stacks_of(info, summary["sites"])
    return [
        panel(
            f"Sizes: {stack.title.lower()}" if stack.title else "Sizes",
            html.Dl([_tile(*tile) for tile in tiles(stack, info)], className="wb-stats"),
            html.P(attention_in_words(stack), className="wb-about"),
            id="model-sizes" if stack is found[-1] else f"model-sizes-{stack.name}",
        )
        for stack in found
    ]


def _tile(name: Any, value: str, note: str) -> Any:
    shown = [html.Span(value, className="wb-stat"), html.Span(note, className="wb-muted")]
    return html.Div([html.Dt(name), html.Dd(shown)], className="wb-stat-cell")


def tiles(stack: Stack, info: Mapping[str, Any]) -> list[tuple[Any, str, str]]:
    """Name, number and note of each size of a stack. info: of the whole model, which stands with the main stack."""
    sizes = stack.info
    grouped = f"over {sizes['n_kv_heads']} key/value heads" if sizes["n_heads"] != sizes["n_kv_heads"] else ""
    rows: list[tuple[Any, str, str]] = [("layers", whole(sizes["n_layers"]), "")]
    if sizes["n_heads"]:
        rows.append((term("head", "heads per layer"), whole(sizes["n_heads"]), grouped))
        rows.append(("dimensions per head", whole(sizes["d_head"]), ""))
    rows.append((term("residual stream"), whole(sizes["d_model"]), "dimensions"))
    if sizes["d_mlp"]:
        rows.append((term("MLP", "MLP neurons per layer"), whole(sizes["d_mlp"]), "gated" if sizes["gated"] else ""))
    if sizes["n_experts"]:
        rows.append((term("expert", "experts per layer"), whole(sizes["n_experts"]), ""))
        rows.append(("neurons per expert", whole(sizes["d_expert"]), "gated" if sizes["gated"] else ""))
    return [*rows, *_reads(stack, info)] if stack.name != MAIN else [*rows, *_reads(stack, info), *_gives(info)]


def _reads(stack: Stack, info: Mapping[str, Any]) -> list[tuple[Any, str, str]]:
    """What the stack takes in."""
    pictures = stack.name == VISION or (not info["stacks"] and bool(info["pixels"]))
    if pictures and info["grid"]:
        rows, columns = info["grid"]
        before = {0: "", 1: ", and a class token"}.get(info["prefix"], f", and {info['prefix']} tokens before them")
        shape = " × ".join(map(str, info["pixels"]))
        return [
            (f"patches, rows × columns{before}", f"{rows} × {columns}", ""),
            ("image, channels first", shape, "values"),
        ]
    if stack.info["n_positions"]:
        return [("positions", whole(stack.info["n_positions"]), "always")]
    length = stack.info["n_ctx"]
    return [("context", whole(length) if length else "–", "tokens" if length else "not stated")]


def _gives(info: Mapping[str, Any]) -> list[tuple[Any, str, str]]:
    """What the model answers with, and its size as a whole."""
    n = whole(info["d_vocab"])
    answer: tuple[Any, str, str] = {
        "features": ("embedding", n, "dimensions"),
        "pairs": ("answer", n, "similarity per pair"),
    }.get(info["task"], ("classes", n, "") if info["labels"] else ("vocabulary", n, "tokens"))
    rounded, exact = short(info["n_params"]), whole(info["n_params"])
    return [answer, ("parameters", rounded, "" if rounded == exact else exact)]


def attention_in_words(stack: Stack) -> str:
    """Which tokens a query sees, and in which layers there is attention at all."""
    sizes = stack.info
    layers = [layer for block in stack.blocks if "attention" in block.parts for layer in block.layers]
    if not layers:
        return "No layer has attention."
    sees = "all earlier tokens and itself" if sizes["causal"] else "all tokens, earlier and later"
    windows = [window for window in sizes["windows"] if window is not None]
    if windows:
        sees = f"{whole(min(windows))} tokens back in {len(windows)} of {sizes['n_layers']} layers"
    where = "" if len(layers) == sizes["n_layers"] else f" {len(layers)} of {sizes['n_layers']} layers have attention."
    return f"Attention looks at {sees}.{where}"


def _facts(facts: list[tuple[Any, Any]]) -> Any:
    rows = [cell for name, value in facts for cell in (html.Dt(name), html.Dd(value, className="wb-number"))]
    return html.Dl(rows, className="wb-facts-list")


def _plan(summary: Mapping[str, Any]) -> Any:
    """The block diagram of each stack, in the order in which data passes them."""
    info = summary["info"]
    drawn = [_diagram(info, stack) for stack in stacks_of(info, summary["sites"])]
    return html.Div(drawn, className="wb-stack", id="model-diagram")


def _diagram(info: Mapping[str, Any], stack: Stack) -> Any:
    words = describe(info, stack)
    drawings = [
        html.Img(
            src="data:image/svg+xml," + quote(block_diagram(info, theme, stack)),
            alt=words if theme == "light" else "",
            className=f"wb-only-{theme}",
        )
        for theme in THEMES
    ]
    title = f"Architecture: {stack.title.lower()}" if stack.title else "Architecture"
    return panel(title, html.Div(drawings, className="wb-diagram"), about=words)


def _provenance(summary: Mapping[str, Any]) -> Any:
    versions = ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())
    files = summary.get("files") or {}
    facts = [
        ("Source", summary.get("source") or "–"),
        ("Weights", html.Span(summary["hash"], className="wb-mono")),
        (
            "Tokenizer",
            [summary.get("tokenizer") or "–", " ", html.Span(summary["tokenizer_hash"], className="wb-mono wb-muted")],
        ),
        *([("Tokenizer from", summary["tokenizer_source"])] if summary.get("tokenizer_source") else []),
        *(
            [
                (
                    "Files",
                    html.Span(
                        [
                            html.Div([name, " ", html.Span(str(value), className="wb-mono wb-muted")])
                            for name, value in files.items()
                        ]
                    ),
                )
            ]
            if files
            else []
        ),
        ("Attention", summary.get("attention") or "–"),
        ("Versions", versions or "–"),
    ]
    return panel("Where it comes from", _facts(facts), id="model-provenance")


def register(app: Dash, workspace: Workspace) -> None:
    """The page has no callbacks of its own."""


PAGE = Page("/model", "Model", 0, "model", layout, register, needs_prompt=False)
