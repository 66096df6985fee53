"""workbench capture: the numbers are the model's, a stopped capture continues, nothing else is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hooks.errors import Cancelled, InputError, SpecError, StoreError
from hooks.model import Instrumented
from workbench import api, corpus
from workbench.corpus import CorpusRequest, capture_corpus, prompt_set, read_prompts

# The longest prompt is in the last shard, so that shards differ in width.
TEXTS = [f"When Mary and John went to the store {'again ' * number}" for number in range(20)]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Instrumented:
    return api.open_model(str(tiny_folder), device="cpu")


def request(texts: list[str] = TEXTS, dtype: corpus.Dtype = "float32") -> CorpusRequest:
    return CorpusRequest(prompt_set(texts), ("L*.resid_post", "L1.pattern", "logits"), dtype)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_the_file_holds_what_plain_hooks_see(model: Instrumented, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    capture_corpus(model, request(), out)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    seen: list[torch.Tensor] = []
    plain.model.layers[0].register_forward_hook(lambda module, args, output: seen.append(output))
    with h5py.File(out, "r") as file:
        for number, text in enumerate(TEXTS):
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                output = plain(ids, output_attentions=True)
            length = ids.shape[1]
            assert file["tokens/ids"][number, :length].tolist() == ids[0].tolist()
            assert file["tokens/mask"][number].sum() == length
            np.testing.assert_allclose(file["activations/L0.resid_post"][number, :length], seen[-1][0], atol=1e-5)
            stored = file["activations/L1.pattern"][number, :, :length, :length]
            np.testing.assert_allclose(stored, output.attentions[1][0], atol=1e-5)
            np.testing.assert_allclose(file["activations/logits"][number, :length], output.logits[0], atol=1e-4)
        assert file.attrs["complete"]
        assert set(file["activations"]) == {"L0.resid_post", "L1.resid_post", "L1.pattern", "logits"}


def test_a_stopped_capture_continues_and_ends_the_same(
    model: Instrumented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "a.h5"
    capture_corpus(model, request(), whole)

    def stop(done: int, total: int) -> None:
        if done >= 2 * corpus.ROWS:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        capture_corpus(model, request(), out, stop)
    assert not out.exists()
    rows: list[int] = []
    original = Instrumented.run

    def counted(self: Instrumented, batch: object, *args: object, **kw: object) -> object:
        rows.append(len(batch))
        return original(self, batch, *args, **kw)

    monkeypatch.setattr(Instrumented, "run", counted)
    capture_corpus(model, request(), out)
    assert sum(rows) == len(TEXTS) - 2 * corpus.ROWS
    expected, found = arrays(whole), arrays(out)
    assert expected.keys() == found.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []


def test_a_complete_file_is_left_as_it_is(model: Instrumented, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    assert capture_corpus(model, request(), out)
    before = out.stat().st_mtime_ns
    assert not capture_corpus(model, request(), out)
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["another capture", "a text"])
def test_a_file_with_other_content_is_never_overwritten(content: str, model: Instrumented, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    if content == "a text":
        out.write_text("mine")
    else:
        capture_corpus(model, request(TEXTS[:2]), out)
    before = out.read_bytes()
    with pytest.raises(StoreError, match="exists and"):
        capture_corpus(model, request(), out)
    assert out.read_bytes() == before


def test_float16_is_stored_as_such(model: Instrumented, tmp_path: Path) -> None:
    capture_corpus(model, request(dtype="float16"), tmp_path / "half.h5")
    capture_corpus(model, request(), tmp_path / "full.h5")
    half, full = arrays(tmp_path / "half.h5"), arrays(tmp_path / "full.h5")
    name = "activations/L1.resid_post"
    assert half[name].dtype == np.float16
    assert np.array_equal(half[name], full[name].astype(np.float16))


def test_float16_that_would_overflow_is_refused_with_the_number() -> None:
    from hooks.sites import Site

    with pytest.raises(SpecError, match=r"L0\.mlp_post overflows float16: it reaches 1e\+05"):
        corpus._cast(Site("mlp_post", 0), torch.tensor([1.0, -1e5]), "float16")


def test_prompts_come_from_lines_of_text_or_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "a.jsonl").write_text('"one"\n{"text": "two"}\n{"ids": [1, 2]}\n')
    assert read_prompts(tmp_path / "a.txt") == ["one", "two"]
    assert read_prompts(tmp_path / "a.jsonl") == ["one", "two", {"ids": [1, 2]}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.csv", "x", "neither"), ("a.txt", "\n", "no prompts"), ("a.jsonl", '"a"\n{', "line 2 is not JSON")],
)
def test_a_file_without_usable_prompts_is_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / name)


def test_a_line_that_is_no_prompt_is_named() -> None:
    with pytest.raises(InputError, match=r"prompts\.1"):
        prompt_set(["a", json.loads('{"colour": 1}')])
