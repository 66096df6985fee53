"""The HDF5 store: round trips, one head at a time, damage, full disks, limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hooks.errors import InputError, SiteMissing, StoreError
from hooks.sites import Site
from hooks.tokens import TokenBatch
from workbench.cache import Store, keep, layout
from workbench.cache.read import Damaged
from workbench.cache.write import write_capture

KEY = "0123456789abcdef"


def batch_of(*lengths: int, strings: tuple[tuple[str, ...], ...] | None = None) -> TokenBatch:
    width = max(lengths)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    ids = torch.arange(len(lengths) * width).reshape(len(lengths), width)
    words = strings or tuple(tuple(f"t{i}" for i in range(length)) for length in lengths)
    return TokenBatch(ids, mask, torch.zeros_like(mask), words, lengths, {"last": tuple(n - 1 for n in lengths)})


def patterns(
    layers: int, heads: int, batch: TokenBatch, dtype: torch.dtype = torch.float32
) -> dict[Site, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch.ids.shape[0], heads, batch.ids.shape[1], batch.ids.shape[1])
    scores = {Site("pattern", layer): torch.randn(shape, generator=generator) for layer in range(layers)}
    return {site: values.softmax(-1).to(dtype) for site, values in scores.items()}


def key(number: int) -> str:
    return f"{number:016x}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", limit_bytes=1 << 30)


# -- round trips


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_c28_every_number_type_comes_back_exactly_and_is_recorded(store: Store, dtype: torch.dtype) -> None:
    batch = batch_of(512)
    captured = patterns(1, 2, batch, dtype)
    stored = store.put(KEY, batch, captured.items(), {})
    site = Site("pattern", 0)
    assert stored.dtype == str(dtype).removeprefix("torch.")
    read = stored.read(site)
    assert read.dtype == np.float32
    assert np.array_equal(read, captured[site].float().numpy())
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 5e-3}[dtype]
    assert np.abs(read.sum(-1) - 1).max() < tolerance


def test_tokens_and_provenance_come_back(store: Store) -> None:
    batch = batch_of(5, 3)
    stored = store.put(KEY, batch, patterns(1, 2, batch).items(), {"model": "abc", "edits": []})
    assert np.array_equal(stored.ids, batch.ids.numpy())
    assert np.array_equal(stored.mask, batch.mask.numpy())
    assert stored.strings == batch.strings
    assert stored.lengths == (5, 3)
    assert stored.provenance == {"model": "abc", "edits": []}


@pytest.mark.parametrize(
    "text",
    ["a\0b", "half \ud800 of a pair", "x" * 100_000, "<script>alert(1)</script>"],
    ids=["nul", "lone surrogate", "long", "markup"],
)
def test_c29_texts_that_hdf5_refuses_come_back_identical(store: Store, text: str) -> None:
    batch = batch_of(2, strings=(("a", text),))
    stored = store.put(KEY, batch, patterns(1, 1, batch).items(), {"inputs": {"prompts": [text]}})
    again = store.find(KEY)
    assert again is not None
    assert again.strings == stored.strings == (("a", text),)
    assert again.provenance["inputs"]["prompts"] == [text]


def test_c29_metadata_for_20000_tokens_comes_back(store: Store) -> None:
    strings = (tuple(f"token-{i}-\0" for i in range(20_000)),)
    batch = batch_of(20_000, strings=strings)
    captured = {Site("embed"): torch.zeros(1, 20_000, 1)}
    stored = store.put(KEY, batch, captured.items(), {"ids": list(range(20_000))})
    assert stored.strings == strings
    assert stored.provenance["ids"][-1] == 19_999


def test_c29_a_refused_capture_leaves_no_entry(store: Store) -> None:
    batch = batch_of(3)
    with pytest.raises(ValueError, match="JSON compliant"):
        store.put(KEY, batch, patterns(1, 1, batch).items(), {"score": float("nan")})
    assert list(store.folder.iterdir()) == []


def test_each_array_names_its_axes(store: Store) -> None:
    batch = batch_of(4)
    captured = {Site("pattern", 0): torch.zeros(1, 2, 4, 4), Site("k", 1): torch.zeros(1, 4, 2, 3)}
    store.put(KEY, batch, captured.items(), {})
    with h5py.File(store.path(KEY), "r") as file:
        assert [d.label for d in file["activations/L0.pattern"].dims] == ["batch", "head", "q_pos", "k_pos"]
        assert [d.label for d in file["activations/L1.k"].dims] == ["batch", "pos", "kv_head", "d_head"]
        assert file.attrs["complete"]


# -- reading parts


def test_a_head_of_a_prompt_is_cut_to_its_real_tokens(store: Store) -> None:
    batch = batch_of(5, 3)
    captured = patterns(2, 4, batch)
    stored = store.put(KEY, batch, captured.items(), {})
    expected = captured[Site("pattern", 1)][1, 2, :3, :3].numpy()
    assert np.array_equal(stored.read("L1.pattern", prompt=1, head=2), expected)


def test_a_starred_site_stacks_the_layers_in_front(store: Store) -> None:
    batch = batch_of(4)
    captured = patterns(3, 2, batch)
    stored = store.put(KEY, batch, captured.items(), {})
    expected = np.stack([captured[Site("pattern", layer)][0].numpy() for layer in range(3)])
    assert np.array_equal(stored.read("L*.pattern", prompt=0), expected)
    assert stored.axes("L*.pattern") == ("layer", "batch", "head", "q_pos", "k_pos")


def test_a_key_value_head_is_chosen_on_its_own_axis(store: Store) -> None:
    batch = batch_of(4)
    values = torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(1))
    stored = store.put(KEY, batch, {Site("v", 0): values}.items(), {})
    assert np.array_equal(stored.read("L0.v", prompt=0, head=1), values[0, :, 1].numpy())


def test_what_was_not_captured_is_named(store: Store) -> None:
    batch = batch_of(4)
    stored = store.put(KEY, batch, patterns(1, 2, batch).items(), {})
    with pytest.raises(SiteMissing, match=r"L0\.z was not captured"):
        stored.read("L0.z")
    with pytest.raises(SiteMissing, match="no head 2: it has 2"):
        stored.read("L0.pattern", head=2)
    with pytest.raises(InputError, match="no prompt 1"):
        stored.read("L0.pattern", prompt=1)


def test_c37_reading_one_head_touches_its_chunk_only(store: Store) -> None:
    """All bytes of all other chunks are destroyed; the head still reads, and its neighbour does not."""
    batch = batch_of(64)
    captured = patterns(2, 6, batch)
    stored = store.put(KEY, batch, captured.items(), {})
    with h5py.File(stored.path, "r") as file:
        dataset = file["activations/L1.pattern"]
        chunks = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
        share = chunks[0].size / dataset.id.get_storage_size()
    assert share < 0.2
    raw = bytearray(stored.path.read_bytes())
    for chunk in chunks:
        if chunk.chunk_offset != (0, 4, 0, 0):
            raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x5a" * chunk.size
    stored.path.write_bytes(raw)
    assert np.array_equal(stored.read("L1.pattern", prompt=0, head=4), captured[Site("pattern", 1)][0, 4].numpy())
    with pytest.raises(Damaged, match="checksum"):
        stored.read("L1.pattern", prompt=0, head=3)


def test_c37_a_chunk_is_one_head_even_of_a_large_pattern() -> None:
    shape = (1, 12, 512, 512)
    assert layout.chunks_of(Site("pattern", 0), shape, 4) == (1, 1, 512, 512)
    assert layout.chunks_of(Site("z", 0), (2, 512, 12, 64), 4) == (1, 512, 1, 64)
    assert layout.chunks_of(Site("resid_pre", 0), (2, 512, 768), 4) == (1, 512, 768)


def test_a_chunk_never_outgrows_its_limit() -> None:
    chunk = layout.chunks_of(Site("logits"), (1, 8192, 150_000), 4)
    assert np.prod(chunk) * 4 <= layout.CHUNK_BYTES
    assert chunk[2] == 150_000


# -- damage


def damage(path: Path, how: str) -> None:
    if how == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("this is not an HDF5 file")
    elif how == "other hdf5":
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(3)
    elif how == "unfinished":
        with h5py.File(path, "a") as file:
            del file.attrs["complete"]
    elif how == "other key":
        with h5py.File(path, "a") as file:
            file.attrs["key"] = "f" * 16
    elif how == "newer version":
        with h5py.File(path, "a") as file:
            file.attrs["version"] = 99


@pytest.mark.parametrize("how", ["half", "empty", "text", "other hdf5", "unfinished", "other key", "newer version"])
def test_c26_a_damaged_file_is_set_aside_and_named_and_the_others_serve(
    store: Store, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    batch = batch_of(8)
    captured = patterns(1, 2, batch)
    for number in range(3):
        store.put(key(number), batch, captured.items(), {})
    damage(store.path(key(1)), how)
    kept = store.path(key(1)).read_bytes()

    again = Store(store.folder, store.limit_bytes)
    assert again.find(key(1)) is None
    aside = store.folder / f"{key(1)}.h5.damaged"
    assert aside.read_bytes() == kept
    assert key(1) in again.warnings[0]
    assert key(1) in caplog.text
    for number in (0, 2):
        entry = again.find(key(number))
        assert entry is not None
        assert np.array_equal(entry.read("L0.pattern"), captured[Site("pattern", 0)].numpy())

    again.put(key(1), batch, captured.items(), {})
    fresh = again.find(key(1))
    assert fresh is not None
    assert np.array_equal(fresh.read("L0.pattern"), captured[Site("pattern", 0)].numpy())
    damage(store.path(key(1)), how)
    assert again.find(key(1)) is None
    assert len(keep.damaged(store.folder)) == 2


def test_c26_a_flipped_byte_is_found_when_its_chunk_is_read(store: Store) -> None:
    batch = batch_of(8)
    stored = store.put(KEY, batch, patterns(1, 2, batch).items(), {})
    with h5py.File(stored.path, "r") as file:
        where = file["activations/L0.pattern"].id.get_chunk_info(0).byte_offset
    raw = bytearray(stored.path.read_bytes())
    raw[where + 5] ^= 0x10
    stored.path.write_bytes(raw)
    with pytest.raises(Damaged, match=KEY) as caught:
        stored.read("L0.pattern", prompt=0, head=0)
    assert "Ask again" in caught.value.hint
    assert store.find(KEY) is None


def test_verify_reads_every_byte_and_names_what_is_broken(store: Store) -> None:
    batch = batch_of(8)
    for number in range(2):
        store.put(key(number), batch, patterns(1, 2, batch).items(), {})
    assert keep.verify(store.folder) == {}
    path = store.path(key(0))
    with h5py.File(path, "r") as file:
        where = file["activations/L0.pattern"].id.get_chunk_info(1).byte_offset
    raw = bytearray(path.read_bytes())
    raw[where] ^= 1
    path.write_bytes(raw)
    problems = keep.verify(store.folder)
    assert list(problems) == [path.name]
    assert "checksum" in problems[path.name]


def test_a_capture_evicted_under_a_reader_says_so(store: Store) -> None:
    batch = batch_of(4)
    stored = store.put(KEY, batch, patterns(1, 2, batch).items(), {})
    keep.delete(store.folder, KEY)
    with pytest.raises(StoreError, match="is gone") as caught:
        stored.read("L0.pattern")
    assert "Ask again" in caught.value.hint
    assert store.find(KEY) is None


@pytest.mark.parametrize("text", ["../../etc/passwd", "..", "a/b", "", "/etc/passwd", KEY + "/.."])
def test_a_key_cannot_leave_the_folder(store: Store, text: str) -> None:
    with pytest.raises(StoreError, match="not the key"):
        store.find(text)


# -- no space


FILL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
from hooks.errors import StoreError
from hooks.sites import Site
from hooks.tokens import TokenBatch
from workbench.cache import Store
store = Store(Path({folder!r}), 1 << 40)
mask = torch.ones(1, 512, dtype=torch.bool)
batch = TokenBatch(torch.zeros(1, 512, dtype=torch.int64), mask, ~mask, (("a",) * 512,), (512,), {{}})
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    store.put("ab" * 8, batch, {{Site("pattern", l): torch.rand(1, 4, 512, 512) for l in range(2)}}.items(), {{}})
except StoreError as error:
    print(error.message)
    print(error.hint)
small = store.put("cd" * 8, batch, {{Site("embed"): torch.ones(1, 512, 2)}}.items(), {{}})
print(small.read("embed").sum())
"""


def test_no_space_is_one_error_and_leaves_no_partial_file(tmp_path: Path) -> None:
    """The limit is the operating system's own, set in a process of its own."""
    root = str(Path(__file__).parents[2])
    code = FILL.format(root=root, folder=str(tmp_path / "store"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    message, hint, total = done.stdout.splitlines()
    assert message.startswith("no space left")
    assert "WORKBENCH_WORKSPACE" in hint
    assert float(total) == 1024.0
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["cd" * 8 + ".h5"]


def test_too_little_space_is_seen_before_anything_is_computed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9, 100_000_000))
    store.check_room(1_000_000)
    with pytest.raises(StoreError, match=r"needs 90 MB .* 100 MB are free"):
        store.check_room(90_000_000)


# -- limits


def test_c30_the_folder_stays_under_its_limit_and_the_newest_are_intact(tmp_path: Path) -> None:
    limit = 5_000_000
    store = Store(tmp_path, limit)
    batch = batch_of(8)
    for number in range(50):
        captured = {Site("resid_pre", 0): torch.full((1, 8, 15_625), float(number))}  # 0.5 MB
        store.put(key(number), batch, captured.items(), {}, need_bytes=500_000)
        total = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert total < 1.1 * limit
    left = [entry.key for entry in keep.entries(tmp_path)]
    assert left == [key(number) for number in range(50 - len(left), 50)]
    assert len(left) >= 8
    for name in left:
        entry = store.find(name)
        assert entry is not None
        assert (entry.read("L0.resid_pre") == int(name, 16)).all()


def fill(store: Store, count: int) -> None:
    batch = batch_of(8)
    for number in range(count):
        store.put(key(number), batch, patterns(1, 2, batch).items(), {})
        os.utime(store.path(key(number)), (1000 + number, 1000 + number))


def test_the_longest_unused_goes_first_and_looking_counts_as_use(store: Store) -> None:
    fill(store, 4)
    store.find(key(0))
    size = keep.entries(store.folder)[0].bytes
    assert keep.evict(store.folder, 2 * size) == [key(1), key(2)]
    assert {entry.key for entry in keep.entries(store.folder)} == {key(0), key(3)}


def test_pinned_captures_and_the_newest_stay_whatever_the_limit(store: Store) -> None:
    fill(store, 4)
    keep.pin(store.folder, key(1))
    keep.evict(store.folder, 1)
    assert {entry.key for entry in keep.entries(store.folder)} == {key(1), key(3)}
    keep.pin(store.folder, key(1), pinned=False)
    keep.evict(store.folder, 1)
    assert {entry.key for entry in keep.entries(store.folder)} == {key(3)}


def test_pinning_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no stored capture"):
        keep.pin(store.folder, KEY)


def test_a_killed_writers_leftovers_go_but_a_running_writers_stay(tmp_path: Path) -> None:
    old, new = tmp_path / "a.h5.1-x.part", tmp_path / "b.h5.2-y.part"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    Store(tmp_path, 1)
    assert not old.exists()
    assert new.exists()


# -- two processes


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
from hooks.sites import Site
from hooks.tokens import TokenBatch
from workbench.cache import Store
mine, other = int(sys.argv[1]), 1 - int(sys.argv[1])
store = Store(Path({folder!r}), 1 << 40)
mask = torch.ones(1, 16, dtype=torch.bool)
batch = TokenBatch(torch.zeros(1, 16, dtype=torch.int64), mask, ~mask, (("a",) * 16,), (16,), {{}})
seen = 0
for number in range(20):
    name = f"{{mine}}{{number:015x}}"
    value = float(100 * mine + number)
    store.put(name, batch, {{Site("pattern", 0): torch.full((1, 2, 16, 16), value)}}.items(), {{}})
    for theirs in range(20):
        found = store.find(f"{{other}}{{theirs:015x}}")
        if found is not None:
            assert (found.read("L0.pattern") == 100 * other + theirs).all()
            seen += 1
    shared = store.put("f" * 16, batch, {{Site("pattern", 0): torch.full((1, 2, 16, 16), 7.0)}}.items(), {{}})
    assert (shared.read("L0.pattern") == 7).all()
assert not store.warnings, store.warnings
print(seen)
"""


def test_c27_two_processes_write_and_read_one_store(tmp_path: Path) -> None:
    code = WRITER.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path))
    both = [subprocess.Popen([sys.executable, "-c", code, str(n)], stderr=subprocess.PIPE, text=True) for n in (0, 1)]
    for process in both:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    store = Store(tmp_path, 1 << 40)
    for mine in (0, 1):
        for number in range(20):
            entry = store.find(f"{mine}{number:015x}")
            assert entry is not None
            assert (entry.read("L0.pattern") == 100 * mine + number).all()
    assert not list(tmp_path.glob("*.part"))


# -- the documented example


def test_the_documented_example_reads_a_head_with_h5py_alone(tmp_path: Path) -> None:
    batch = batch_of(3)
    captured = patterns(2, 4, batch)
    path = tmp_path / f"{KEY}.h5"
    write_capture(path, KEY, batch, captured.items(), {})
    page = (Path(__file__).parents[2] / "docs" / "activation-files.md").read_text("utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert "workbench" not in [line.split()[1] for line in code.splitlines() if line.startswith("import")]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["t0", "t1", "t2"]
    shown = np.array([[float(weight) for weight in row[1:]] for row in rows])
    assert np.abs(shown - captured[Site("pattern", 1)][0, 3].numpy()).max() <= 0.0051


def test_every_path_of_the_format_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "activation-files.md").read_text("utf-8")
    for name in (layout.IDS, layout.MASK, layout.SPECIAL, layout.STRINGS, layout.PROVENANCE, layout.FORMAT):
        assert name in page
    assert f"version {layout.VERSION}" in page


def test_json_in_the_file_is_plain_ascii(store: Store) -> None:
    batch = batch_of(2, strings=(("é", "😊"),))
    store.put(KEY, batch, patterns(1, 1, batch).items(), {})
    with h5py.File(store.path(KEY), "r") as file:
        raw = file["tokens/strings"][()].tobytes()
    assert raw.isascii()
    assert json.loads(raw) == [["é", "😊"]]
