"""Rules of the house that a reader cannot see in one file: size, colours, printing, documentation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from analyses.analysis import catalogue
from hooks.interventions import KINDS
from hooks.sites import SITES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hooks", "analyses", "workbench")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES = 320
MAY_PRINT = ("workbench/cli/", "workbench/train_toy.py")
MAY_COLOUR = ("workbench/figures/theme.py",)
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b|\brgba?\(\s*\d")
LOADERS = ("pickle.load", "pickle.loads", "torch.load", "joblib.load", "numpy.load", "yaml.load")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def calls(path: Path) -> set[str]:
    """The functions that a module calls, as written."""
    return {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}


def test_a_module_is_short_enough_to_read() -> None:
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > MOST_LINES} == {}


def test_only_the_command_line_prints() -> None:
    assert [name(path) for path in MODULES if not name(path).startswith(MAY_PRINT) and "print" in calls(path)] == []


def test_only_the_theme_holds_a_colour() -> None:
    found = []
    for path in MODULES:
        strings = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)]
        coloured = [text for text in strings if isinstance(text, str) and COLOUR.search(text)]
        found += [(name(path), text) for text in coloured if not name(path).startswith(MAY_COLOUR)]
    assert found == []


def test_style_sheets_and_scripts_name_colours_by_role() -> None:
    found = []
    for path in sorted([*(ROOT / "assets").glob("*.css"), *(ROOT / "assets").glob("*.js")]):
        lines = path.read_text("utf-8").splitlines()
        found += [(path.name, line) for line in lines if COLOUR.search(re.sub(r"url\([^)]*\)", "", line))]
    assert found == []


def test_nothing_is_unpickled_or_evaluated() -> None:
    assert [(name(path), found) for path in MODULES if (found := calls(path) & {*LOADERS, "eval", "exec"})] == []
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                assert "allow_pickle=False" in ast.unparse(node), name(path)


def test_no_handler_catches_without_saying_what() -> None:
    handlers = [
        (name(path), node) for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler)
    ]
    assert [(module, node.lineno) for module, node in handlers if node.type is None] == []


def test_every_module_says_what_it_is() -> None:
    assert [name(path) for path in MODULES if not ast.get_docstring(tree(path))] == []


def test_no_module_is_named_after_a_bag() -> None:
    assert [name(path) for path in MODULES if path.stem in ("utils", "helpers", "common", "misc", "manager")] == []


@pytest.mark.parametrize("analysis", catalogue().values(), ids=lambda analysis: analysis.name)
def test_an_analysis_has_a_source_and_a_section_of_documentation(analysis: object) -> None:
    text = (ROOT / "docs" / "analyses.md").read_text("utf-8")
    assert analysis.source.strip() and analysis.summary.strip()
    section = re.search(rf"^## `{analysis.name}`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    for parameter in analysis.Params.model_fields:
        assert f"`{parameter}`" in section[0]


def test_every_site_is_documented_with_its_axes() -> None:
    text = (ROOT / "docs" / "sites.md").read_text("utf-8")
    for kind in SITES.values():
        assert re.search(rf"^\| `{kind.name}` \| {re.escape(' '.join(kind.axes))} \|", text, re.MULTILINE), kind.name


def test_every_intervention_is_documented() -> None:
    text = (ROOT / "docs" / "interventions.md").read_text("utf-8")
    assert not [kind for kind in KINDS if f"| `{kind}` |" not in text]


def test_every_document_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert not [path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in readme]


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_public_case_is_named_by_a_test() -> None:
    """Faults that users of comparable tools met in public, numbered C01 to C45."""
    texts = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    prefixes = [prefix for text in texts for prefix in re.findall(r"def test_((?:[cC]\d\d_)+)", text)]
    named = {int(number) for prefix in prefixes for number in re.findall(r"\d\d", prefix)}
    assert set(range(1, 46)) - named == set()
