"""What the Tokenizer page shows of the tokenizer itself: look-up, facts, languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from hooks.tokenizer_facts import SpecialToken, TokenizerFacts
from workbench.figures.numbers import number, whole
from workbench.parts.glossary import term
from workbench.parts.panel import panel
from workbench.parts.tokenizer_data import Found
from workbench.tokenizer_report import LanguageCount

MOST_SPECIAL = 16
READINGS = [{"value": "text", "label": "text → ids"}, {"value": "ids", "label": "ids → text"}]


def lookup_panel(asked: str, result: Any) -> Any:
    """The ids of any string, the string of any ids."""
    kind, _, value = asked.partition(":")
    controls = html.Div(
        [
            dmc.SegmentedControl(
                id="tokenizer-reading", data=READINGS, value="ids" if kind == "ids" else "text", size="xs"
            ),
            dmc.TextInput(
                id="tokenizer-asked", value=value, placeholder="a word, or ids such as 12 7 301", spellCheck=False,
                debounce=300, classNames={"input": "wb-mono"}, **{"aria-label": "String or ids to look up"},
            ),
        ],
        className="tok-lookup",
    )  # fmt: skip
    return panel(
        "Look up",
        controls,
        html.Div(result, id="tokenizer-found", className="tok-found", **{"aria-live": "polite"}),
        about="No special tokens are added; a space in front counts.",
        id="tokenizer-lookup-panel",
    )


def found_view(found: Found | None) -> Any:
    """The answer: each id with its token, and what they say together."""
    if found is None:
        return html.P("Type a string or ids above.", className="wb-muted")
    tokens = [
        html.Span(
            [html.Bdi(string, dir="ltr", className="tok-token"), html.Span(str(token), className="tok-id")],
            className="tok-pair",
        )
        for token, string in found.rows
    ]
    count = len(found.rows)
    ids = ", ".join(str(token) for token, _ in found.rows)
    return [
        html.Div(tokens, className="tok-pairs", dir="ltr"),
        html.P(
            [f"{count} token{'' if count == 1 else 's'}: ", html.Bdi(found.text, dir="ltr", className="tok-token")],
            className="wb-muted",
        ),
        html.P(["Ids: ", html.Span(ids, className="wb-mono", id="tokenizer-found-ids")], className="wb-muted tok-ids"),
        *([html.P(found.note)] if found.note else []),
    ]


def facts_panel(facts: TokenizerFacts) -> Any:
    """What the tokenizer is and does."""
    rows: list[tuple[Any, Any]] = [
        ("kind", facts.kind if facts.fast else f"{facts.kind}; slow, so spans in the text are not known"),
        ("vocabulary", _vocabulary(facts)),
        ("where from", facts.origin),
        (term("normaliser"), facts.normaliser),
        (term("pre-tokeniser"), facts.pre_tokeniser),
        ("BOS", facts.bos_policy),
        ("EOS", facts.eos_policy),
        ("chat template", _template(facts)),
        ("padding", f"the tokenizer says {facts.padding_side}; here prompts are always padded on the right, masked"),
    ]
    items = [part for name, value in rows for part in (html.Dt(name), html.Dd(html.Bdi(value, dir="ltr")))]
    return panel(
        "The tokenizer",
        html.Dl(items, className="wb-facts-list"),
        html.H3("Special tokens"),
        _special(facts.special),
        about="What is added to a text is measured, not read from a file.",
        id="tokenizer-facts-panel",
    )


def _vocabulary(facts: TokenizerFacts) -> str:
    merges = "" if facts.merges is None else f", {whole(facts.merges)} merges"
    return f"{whole(facts.vocabulary)} tokens, {whole(facts.added)} of them added{merges}"


def _template(facts: TokenizerFacts) -> str:
    if not facts.chat_template:
        return "none"
    if facts.template_bos is None:
        return "yes"
    return f"yes, {'it writes one BOS' if facts.template_bos == 1 else f'it writes {facts.template_bos} BOS tokens'}"


def _special(tokens: Sequence[SpecialToken]) -> Any:
    if not tokens:
        return html.P("none", className="wb-muted")
    roles: dict[tuple[str, int], list[str]] = {}
    for token in tokens:
        roles.setdefault((token.token, token.id), []).append(token.role.upper())
    rows = [
        html.Tr(
            [
                html.Td(html.Bdi(text, dir="ltr", className="tok-token")),
                html.Td(str(number_of), className="prompt-number"),
                html.Td(", ".join(of), className="wb-muted"),
            ]
        )
        for (text, number_of), of in roles.items()
    ]
    head = html.Thead(html.Tr([html.Th("Token"), html.Th("Id", className="prompt-number"), html.Th("Role")]))
    shown = html.Table([head, html.Tbody(rows[:MOST_SPECIAL])], className="prompt-rows tok-special")
    if len(rows) <= MOST_SPECIAL:
        return shown
    rest = html.Table(html.Tbody(rows[MOST_SPECIAL:]), className="prompt-rows tok-special")
    more = html.Summary(f"{len(rows) - MOST_SPECIAL} more")
    return html.Div([shown, html.Details([more, html.Div(rest, className="tok-scroll", tabIndex=0)])])


def languages_panel(counts: Sequence[LanguageCount]) -> Any:
    """The same sentence in every language, as bars."""
    measures: list[tuple[str, list[float | None]]] = [
        ("Tokens per word", [count.per_word for count in counts]),
        ("Tokens per character", [count.per_character for count in counts]),
        ("Bytes per token", [count.bytes_per_token for count in counts]),
    ]
    unknown = any(count.unknown for count in counts)
    tops = [max(value for value in values if value is not None) for _, values in measures]
    body = [
        html.Tr(
            [
                html.Th(count.language, scope="row", title=count.text),
                html.Td(str(count.tokens), className="prompt-number"),
                *(_bar(values[i], top) for (_, values), top in zip(measures, tops, strict=True)),
                *(
                    [html.Td(str(count.unknown), className="prompt-number" + (" tok-unknown" if count.unknown else ""))]
                    if unknown
                    else []
                ),
            ]
        )
        for i, count in enumerate(counts)
    ]
    names = ["Tokens", *(name for name, _ in measures), *(["Unknown"] if unknown else [])]
    head = html.Thead(html.Tr([html.Th("Language", scope="col"), *(html.Th(name, scope="col") for name in names)]))
    return panel(
        "Tokens over languages",
        html.Div(html.Table([head, html.Tbody(body)], className="tok-languages"), className="tok-scroll-x", tabIndex=0),
        about="One sentence in 12 languages, special tokens left out. Where no spaces part words, none are counted."
        + (" Unknown tokens lose their text, and make the other numbers look too good." if unknown else ""),
        id="tokenizer-languages-panel",
    )


def _bar(value: float | None, top: float) -> Any:
    if value is None:
        return html.Td(html.Span("no spaces", className="wb-muted"), className="tok-bar-cell")
    bar = html.Div(
        html.Div(style={"width": f"{100 * value / top:.4g}%"}), className="prompt-bar", **{"aria-hidden": "true"}
    )
    return html.Td([html.Span(number(value), className="tok-bar-number"), bar], className="tok-bar-cell")
