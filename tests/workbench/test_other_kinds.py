"""The pages for models that are no decoders: right words, right fields, right numbers, and no page that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel, ViTForImageClassification

from hooks.proof import Proof
from tests.kinds import CLASSES, save_kind
from tests.workbench.components import all_of, text_of
from workbench import urls
from workbench.figures.architecture import block_diagram
from workbench.figures.architecture_words import describe
from workbench.figures.numbers import number
from workbench.figures.plan import stacks_of
from workbench.pages import ablation, attention, model, prompt
from workbench.parts import (
    ablation_watch,
    answer_edited,
    answer_page,
    answers,
    frame,
    header,
    header_given,
    prompt_box,
    tray,
)
from workbench.parts import attention_data as data
from workbench.parts.ablation_picker import scoped_spec
from workbench.parts.ablation_request import metrics_of, selection, sweeps_of
from workbench.parts.ablation_scope import Scope, names_of
from workbench.parts.attention_head import head_panel, sizes_of
from workbench.parts.attention_routes import mosaic_bytes
from workbench.parts.kinds import Kind, fitted
from workbench.parts.model_proof import proof_rows
from workbench.parts.prompt_image import picture_bytes
from workbench.requests import OpenRequest
from workbench.settings import Settings
from workbench.urls import State
from workbench.workspace import Workspace

KINDS = (
    "bert",
    "bert-classifier",
    "bert-features",
    "t5",
    "vit",
    "clip",
    "mixtral",
    "jamba",
    "mamba",
    "gpt2",
    "whisper",
    "bart",
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which one model of every kind is open."""
    folder = tmp_path_factory.mktemp("kinds")
    settings = Settings(cache_dir=folder / "cache", workspace_dir=folder / "workspace", device="cpu")
    workspace = Workspace.open(settings, engine="inline")
    for kind in KINDS:
        path = save_kind(kind, folder / kind)
        job = workspace.wait(workspace.submit(OpenRequest(model=str(path))).id)  # type: ignore[arg-type]
        assert job.state == "done", job.error
    yield workspace
    workspace.close()


def folder_of(workspace: Workspace, kind: str) -> Path:
    return workspace.settings.workspace_dir.parent / kind


def summary_of(workspace: Workspace, kind: str) -> dict[str, Any]:
    summary = workspace.summary(str(folder_of(workspace, kind)))
    assert summary is not None
    return summary


def start(workspace: Workspace, kind: str, **fields: Any) -> State:
    """The state of a first visit, as the frame makes it fit the kind."""
    asked = State(model=str(folder_of(workspace, kind)), **fields)
    return fitted(workspace, asked, Kind.of(summary_of(workspace, kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_visit_fits_every_kind_and_fits_once(opened: Workspace, kind: str) -> None:
    state = start(opened, kind)
    assert opened.tokens(state.model, state.inputs()).lengths[0] > 0
    assert fitted(opened, state, Kind.of(summary_of(opened, kind))) == state
    assert urls.read(urls.write(state)) == state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("page", [model, prompt, attention, ablation], ids=["model", "prompt", "attention", "ablation"])
def test_every_page_stands_for_every_kind(opened: Workspace, kind: str, page: Any) -> None:
    words = text_of(page.PAGE.layout(opened, start(opened, kind)))
    assert words
    if not Kind.of(summary_of(opened, kind)).next_token:
        assert "Next token" not in words and "next token after" not in words


def test_what_was_chosen_for_another_kind_goes_and_what_was_typed_stays(opened: Workspace) -> None:
    assert start(opened, "vit", answer="balanced", foil="0").foil == "0"
    assert start(opened, "vit", image="").image.endswith(".png")
    assert start(opened, "bert-features").answer == "" and start(opened, "bert-features").metric == "embedding_cosine"
    assert start(opened, "bert-classifier").answer == CLASSES[0]
    assert start(opened, "bert").prompt.endswith("[MASK].")
    assert start(opened, "bert", prompt="the store").prompt == "the store"
    assert start(opened, "mamba").over == "layer"
    other = State(model="toy", image="", target="x")
    assert fitted(opened, other, Kind.of(summary_of(opened, "gpt2"))).target == ""


def test_the_frame_sends_a_visitor_to_the_fitting_address(opened: Workspace) -> None:
    state = State(model=str(folder_of(opened, "bert-features")))
    found = frame.opened(opened, state.model, "s", {}, None, None)
    fit, adapted = frame.adapt(opened, state, found)
    assert adapted and fit.answer == ""
    assert frame.adapt(opened, fit, found) == (fit, False)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("gpt2", {"text", "tokens", "reading"}),
        ("bert-features", {"text", "reading"}),
        ("bert-classifier", {"text", "classes", "reading"}),
        ("t5", {"text", "target", "tokens", "reading"}),
        ("vit", {"image", "classes"}),
        ("clip", {"image", "text", "reading"}),
    ],
)
def test_the_prompt_box_has_the_fields_of_the_kind(opened: Workspace, kind: str, fields: set[str]) -> None:
    assert prompt_box.fields_of(Kind.of(summary_of(opened, kind))) == fields


def test_the_prompt_box_names_the_mask_token(opened: Workspace) -> None:
    state, kind = start(opened, "bert"), Kind.of(summary_of(opened, "bert"))
    assert "[MASK]" in prompt_box.hint(opened, state, kind)


def test_the_header_says_image_text_and_target(opened: Workspace) -> None:
    assert header_given.given(State(), Kind.of(summary_of(opened, "vit"))) == "image"
    assert header_given.given(State(prompt="a b"), Kind.of(summary_of(opened, "clip"))) == "image + “a b”"
    assert header_given.given(State(prompt="a", target="b c"), Kind.of(summary_of(opened, "t5"))) == "“a” → “b c”"


def answered(workspace: Workspace, state: State) -> str:
    """What the answer panel of the Prompt page says once the model has run."""
    kind = Kind.of(workspace.summary(state.model) or {})
    workspace.wait(workspace.submit(answers.request_of(state, kind)).id)
    batch = workspace.tokens(state.model, state.inputs())
    return text_of(answer_page.answer(workspace, state, kind, batch, "s")[1])


def test_classes_have_the_probabilities_of_the_unhooked_model(opened: Workspace) -> None:
    state = start(opened, "vit")
    pixels = opened.tokens(state.model, state.inputs()).inputs["pixel_values"]
    plain = ViTForImageClassification.from_pretrained(folder_of(opened, "vit"), attn_implementation="eager").eval()
    with torch.inference_mode():
        logits = plain(pixels).logits[0]
    kind = Kind.of(summary_of(opened, "vit"))
    opened.wait(opened.submit(answers.request_of(state, kind)).id)
    stored = opened.capture(answers.request_of(state, kind))
    assert stored is not None
    rows = answers.choices(opened, state, kind, stored.read("logits", prompt=0)[0], [[0], [1]])
    assert [row.name for row in rows] == [CLASSES[n] for n in logits.argsort(descending=True).tolist()]
    np.testing.assert_allclose([row.prob for row in rows], logits.softmax(-1).sort(descending=True).values, rtol=1e-5)
    assert {row.name: row.mark for row in rows} == {CLASSES[0]: "answer", CLASSES[1]: "foil", CLASSES[2]: ""}


def test_what_a_decoder_may_write_next_bears_the_names_of_its_tokenizer(opened: Workspace) -> None:
    state = start(opened, "t5")
    vocabulary = AutoTokenizer.from_pretrained(folder_of(opened, "t5"))
    rows = answers.choices(opened, state, Kind.of(summary_of(opened, "t5")), np.arange(12.0, dtype=np.float32), [])
    assert [row.id for row in rows] == list(range(11, 1, -1))
    spelled = vocabulary.convert_ids_to_tokens([row.id for row in rows])
    assert [row.name for row in rows] == [token.replace("\u2581", "·") for token in spelled]


def test_an_embedding_has_the_length_and_the_cosine_of_the_unhooked_model(opened: Workspace) -> None:
    state = start(opened, "bert-features", prompt="Mary went to the store", other="low lower lowest")
    folder = folder_of(opened, "bert-features")
    plain, tokenizer = BertModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        given = [tokenizer(text, return_tensors="pt") for text in (state.prompt, state.other)]
        means = [plain(**ids).last_hidden_state[0].mean(0) for ids in given]
    kind = Kind.of(summary_of(opened, "bert-features"))
    opened.wait(opened.submit(answers.request_of(state, kind)).id)
    stored = opened.capture(answers.request_of(state, kind))
    assert stored is not None
    found = answers.embedding_of(stored.read("logits"))
    assert found.norm == pytest.approx(float(means[0].norm()), rel=1e-5)
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(means[0], means[1], dim=0)), abs=1e-5)
    assert "no next token and no class" in answered(opened, state)


@pytest.mark.parametrize(
    ("kind", "word"), [("bert", "tokens"), ("bert-classifier", CLASSES[0]), ("t5", "tokens"), ("clip", "similarity")]
)
def test_the_answer_panel_speaks_of_what_the_model_gives(opened: Workspace, kind: str, word: str) -> None:
    assert word in answered(opened, start(opened, kind))


def edited(workspace: Workspace, state: State) -> Any:
    """The panel of the Prompt page that holds the edited run, once both runs are there."""
    kind = Kind.of(workspace.summary(state.model) or {})
    for request in (answers.request_of(state, kind), answer_edited.request_of(workspace, state, kind)):
        assert workspace.wait(workspace.submit(request).id).state == "done"
    return answer_edited.watch(workspace, state, kind, "s")[1]


def without_head(projection: torch.nn.Module, head: int, d_head: int) -> Any:
    """A plain hook under which an output projection reads zeros where a head wrote."""

    def cut(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        kept = given[0].clone()
        kept[..., head * d_head : (head + 1) * d_head] = 0
        return (kept, *given[1:])

    return projection.register_forward_pre_hook(cut)


def test_classes_stand_clean_and_edited_side_by_side(opened: Workspace) -> None:
    state = start(opened, "vit", edits="zero:L0.z[head=1]")
    shown = edited(opened, state)
    pixels = opened.tokens(state.model, state.inputs()).inputs["pixel_values"]
    plain = ViTForImageClassification.from_pretrained(folder_of(opened, "vit"), attn_implementation="eager").eval()
    probs = [plain(pixels).logits[0].softmax(-1).detach()]
    without_head(plain.vit.layers[0].attention.o_proj, 1, plain.config.hidden_size // plain.config.num_attention_heads)
    probs.append(plain(pixels).logits[0].softmax(-1).detach())
    assert not torch.allclose(*probs, rtol=1e-2)
    for run, name in zip(probs, ("abl-clean-table", "abl-ablated-table"), strict=True):
        (table,) = all_of(shown, lambda part, name=name: getattr(part, "id", None) == name)
        rows = [text_of(row) for row in all_of(table, lambda part: type(part).__name__ == "Tr")[1:]]
        order = probs[0].argsort(descending=True).tolist()
        assert all(CLASSES[n] in row and number(float(run[n])) in row for n, row in zip(order, rows, strict=True))


def test_an_embedding_is_compared_with_itself_under_the_edits(opened: Workspace) -> None:
    state = start(opened, "bert-features", prompt="Mary went to the store", edits="zero:L0.z[head=1]")
    folder = folder_of(opened, "bert-features")
    plain, tokenizer = BertModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    given = tokenizer(state.prompt, return_tensors="pt")
    clean = plain(**given).last_hidden_state[0].mean(0).detach()
    without_head(
        plain.encoder.layer[0].attention.output.dense, 1, plain.config.hidden_size // plain.config.num_attention_heads
    )
    after = plain(**given).last_hidden_state[0].mean(0).detach()
    kept = all_of(edited(opened, state), lambda part: getattr(part, "id", None) == "ans-edited-kept")
    assert text_of(kept[0]) == number(float(torch.cosine_similarity(clean, after, dim=0)))


@pytest.mark.parametrize(
    ("kind", "edits"),
    [
        ("bert", "zero:L0.z[head=0]"),
        ("bert-classifier", "zero:L1.mlp_out"),
        ("t5", "zero:encoder.L0.z[head=0];zero:L1.cross_z[head=2]"),
        ("clip", "zero:vision.L0.z[head=1]"),
        ("whisper", "zero:encoder.L0.z[head=1]"),
        ("bart", "zero:L1.cross_z[head=1]"),
    ],
)
def test_every_kind_answers_under_edits_and_nothing_stands_there_without(
    opened: Workspace, kind: str, edits: str
) -> None:
    state = start(opened, kind, edits=edits)
    words = text_of(edited(opened, state)).lower()
    assert "clean" in words and "edited" in words and "change" in words
    clean = state.model_copy(update={"edits": ""})
    assert answer_edited.watch(opened, clean, Kind.of(summary_of(opened, kind)), "s") == ("none", None)


def test_two_images_are_two_captures(opened: Workspace) -> None:
    first = start(opened, "vit")
    second = first.model_copy(update={"image": opened.images.random((3, 8, 8), seed=1)})
    kind = Kind.of(summary_of(opened, "vit"))
    for state in (first, second):
        opened.wait(opened.submit(answers.request_of(state, kind)).id)
    one, two = (opened.capture(answers.request_of(state, kind)) for state in (first, second))
    assert one is not None and two is not None and one.key != two.key
    assert not np.array_equal(one.read("logits"), two.read("logits"))


def test_the_picture_is_what_the_model_gets_and_needs_an_image(opened: Workspace) -> None:
    assert picture_bytes(opened, start(opened, "vit")).startswith(b"\x89PNG")


def patterns(workspace: Workspace, state: State) -> Any:
    sizes = sizes_of(workspace, state)
    workspace.wait(workspace.submit(data.patterns_of(state, sizes)).id)
    return workspace.capture(data.patterns_of(state, sizes)), sizes


@pytest.mark.parametrize(
    ("stack", "address"), [("", "L0.pattern"), ("encoder", "encoder.L0.pattern"), ("cross", "L0.cross_pattern")]
)
def test_each_stack_has_its_own_attention(opened: Workspace, stack: str, address: str) -> None:
    state = start(opened, "t5", stack=stack, target="the store", layer=0, head=1)
    stored, sizes = patterns(opened, state)
    batch = opened.tokens(state.model, state.inputs())
    target, source = batch.lengths[0], batch.sides["encoder"].lengths[0]
    shape = {"": (target, target), "encoder": (source, source), "cross": (target, source)}[stack]
    pattern = stored.read(address, prompt=0, head=1)
    assert pattern.shape == shape
    panel = head_panel(opened, state, "light", "s")
    assert panel.figure is not None
    assert np.asarray(panel.figure.data[0].z) == pytest.approx(pattern)
    titles = [panel.figure.layout[axis].title.text for axis in ("yaxis", "xaxis")]
    expected = (
        ["query: target token", "key: source token"]
        if stack == "cross"
        else ["query: attends from", "key: attended to"]
    )
    assert titles == expected
    assert mosaic_bytes(opened, state, data.patterns_of(state, sizes).id, False)


def test_layers_without_attention_are_named_and_not_asked_for(opened: Workspace) -> None:
    state = start(opened, "jamba", layer=0, head=0)
    stored, sizes = patterns(opened, state)
    assert sizes.attends == (1,) and list(map(str, stored)) == ["L1.pattern"]
    drawn = mosaic_bytes(opened, state, data.patterns_of(state, sizes).id, False)
    assert b'"missing": [0]' in drawn and b"mixer is mamba" in drawn
    assert "has no such attention" in text_of(head_panel(opened, state, "light", "s").wait)


def test_a_model_without_attention_says_so(opened: Workspace) -> None:
    words = text_of(attention.PAGE.layout(opened, start(opened, "mamba")))
    assert "No layer has this attention" in words and "mixer is" in words


def test_only_parts_that_exist_can_be_picked(opened: Workspace) -> None:
    summary, state = summary_of(opened, "jamba"), start(opened, "jamba")
    spec = scoped_spec(Scope.of(summary, ""), selection(state))
    columns = spec["cols"]
    assert columns == ["0", "1", "2", "3", "attn", "mixer", "MLP", "layer", "e0", "e1", "e2", "e3"]
    first, second = spec["targets"]
    assert first[:4] == [""] * 4 and second[0] == "L1.z[head=0]"
    assert first[columns.index("layer")] == "L0.mixer_out;L0.mlp_out"
    assert first[columns.index("e2")] == "L0.router[expert=2]" and second[columns.index("e2")] == ""


def test_an_expert_in_the_tray_reads_as_one(opened: Workspace) -> None:
    state = start(opened, "mixtral", edits="zero:L0.router[expert=2]", answer="a", foil="b")
    assert "expert 2 of layer 0" in ablation_watch.heading(state, summary_of(opened, "mixtral")["info"])
    assert "L0 expert 2" in text_of(tray.rows(state)[0])
    assert "encoder L1 h3" in text_of(tray.rows(State(edits="zero:encoder.L1.z[head=3]"))[0])


def test_the_picker_of_a_stack_writes_its_addresses(opened: Workspace) -> None:
    summary, chosen = summary_of(opened, "t5"), selection(start(opened, "t5"))
    assert names_of(summary) == ("", "encoder", "cross")
    assert scoped_spec(Scope.of(summary, "encoder"), chosen)["targets"][1][0] == "encoder.L1.z[head=0]"
    assert scoped_spec(Scope.of(summary, "cross"), chosen)["targets"][0][1] == "L0.cross_z[head=1]"


@pytest.mark.parametrize(
    ("kind", "edits"),
    [
        ("bert", "zero:L0.z[head=1]"),
        ("bert-classifier", "zero:L0.mlp_out"),
        ("bert-features", "zero:L1.z[head=0]"),
        ("t5", "zero:encoder.L0.z[head=0];zero:L1.cross_z[head=2]"),
        ("vit", "zero:L0.z[head=1]"),
        ("clip", "zero:vision.L0.z[head=1]"),
        ("mixtral", "zero:L0.router[expert=2]"),
        ("jamba", "zero:L0.mixer_out"),
        ("mamba", "zero:L0.mixer_out"),
        ("whisper", "zero:encoder.L0.z[head=1]"),
        ("bart", "zero:L1.cross_z[head=1]"),
    ],
)
def test_an_ablation_is_measured_for_every_kind(opened: Workspace, kind: str, edits: str) -> None:
    state = start(opened, kind, edits=edits)
    if not state.answer and Kind.of(summary_of(opened, kind)).answered:
        state = state.model_copy(update={"metric": "kl"})
    elif kind in ("mixtral", "jamba", "mamba"):
        state = state.model_copy(update={"answer": "a", "foil": "b"})
    seen = ablation_watch.watch_effect(opened, state, "s")
    if seen.job:
        job = opened.wait(seen.job)
        assert job.state == "done", job.error
        seen = ablation_watch.watch_effect(opened, state, "s")
    assert "What changed" in text_of(seen.content)
    number = all_of(seen.content, lambda part: getattr(part, "id", None) == "abl-effect")
    assert text_of(number) not in ("", "–")


def test_metrics_and_sweeps_are_those_of_the_kind(opened: Workspace) -> None:
    assert set(metrics_of(Kind.of(summary_of(opened, "bert-features")))) == {"embedding_cosine"}
    assert set(metrics_of(Kind.of(summary_of(opened, "clip")))) == {"value"}
    assert "loss" not in metrics_of(Kind.of(summary_of(opened, "vit")))
    assert "head" not in sweeps_of(summary_of(opened, "mamba")["info"])
    assert "neuron" not in sweeps_of(summary_of(opened, "mixtral")["info"])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bert-features", ["after each addition", "both directions", "no head"]),
        ("t5", ["Cross-attention reads the encoder’s output"]),
        ("mixtral", ["A router chooses among 4 experts"]),
        ("jamba", ["Layer 0 has a state-space", "Layer 1 has attention"]),
        ("vit", ["one logit per class and image"]),
        ("clip", ["similarity of a text and an image"]),
    ],
)
def test_the_plan_in_words_says_what_the_model_is(opened: Workspace, kind: str, words: list[str]) -> None:
    summary = summary_of(opened, kind)
    text = " ".join(describe(summary["info"], stack) for stack in stacks_of(summary["info"], summary["sites"]))
    for one in words:
        assert one in text
    for stack in stacks_of(summary["info"], summary["sites"]):
        assert block_diagram(summary["info"], "dark", stack).startswith("<svg")


def test_absent_sites_share_a_line_for_each_reason(opened: Workspace) -> None:
    rows = proof_rows(summary_of(opened, "bert"))
    cross = [row for row in rows if "cross_q" in row["site"]]
    assert len(cross) == 1 and "cross_pattern" in cross[0]["site"] and cross[0]["read"] == "absent"
    absent = [row["check"] for row in rows if row["read"] == "absent"]
    assert len(absent) == len(set(absent))
    assert {row["site"] for row in proof_rows(summary_of(opened, "t5"))} >= {"encoder.pattern", "cross_pattern"}


def test_a_model_whose_parity_fails_opens_read_only_with_what_failed_marked(
    opened: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hooks import proof

    exact = Proof.exact.fget
    monkeypatch.setattr(Proof, "exact", property(lambda self: False))
    monkeypatch.setattr(Proof, "parity", 0.25, raising=False)
    verdict = proof._verdict
    monkeypatch.setattr(
        proof,
        "_verdict",
        lambda site, *rest: (1.0, f"{site}: off by 1, allowed 0") if site.name == "z" else verdict(site, *rest),
    )
    folder = save_kind("gpt2", tmp_path / "wrong", seed=5)
    job = opened.wait(opened.submit(OpenRequest(model=str(folder))).id)  # type: ignore[arg-type]
    assert job.state == "done", job.error
    summary = opened.summary(str(folder))
    assert summary is not None and exact is not None
    rows = {row["site"]: row for row in proof_rows(summary)}
    assert rows["z"]["read"] == "failed" and "off by 1" in rows["z"]["check"]
    assert all(row["edit"] != "editable" for row in rows.values())
    words = text_of(model.PAGE.layout(opened, State(model=str(folder), answer="", foil="")))
    assert "open for reading only" in words and "edits are refused" in words.lower()
    assert "read-only" in text_of(header.parity(summary, "open", id="p"))
