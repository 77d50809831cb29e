"""The code on the pages: every name in it exists, and the blocks of a page run in order."""

import ast
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.md"))
# Pages whose blocks run as they stand; those of the other pages name what the reader has.
RUN = [
    "choosing",
    "coming_from",
    "concepts",
    "extending",
    "install",
    "is_it_for_me",
    "judging",
    "losses_by_data",
    "own_images",
    "own_model",
    "phone",
    "quickstart",
    "tasks",
    "teachers",
    "temperature",
    "troubleshooting",
]

NEEDS = {"phone": ("ai_edge_litert", "litert_converter")}


def blocks(page: pathlib.Path) -> list[str]:
    """The blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_name_of_the_library_on_a_page_exists(page):
    text = page.read_text(encoding="utf-8")
    missing = []
    for path in set(re.findall(r"(?<![\w./-])jaxkd((?:\.\w+)+)(?![\w]*[-/])", text)):
        value = importlib.import_module("jaxkd")
        for name in path.split(".")[1:]:
            if not hasattr(value, name):
                missing.append(f"jaxkd{path}")
                break
            value = getattr(value, name)
    for block in blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxkd"):
                module = importlib.import_module(node.module)
                missing += [a.name for a in node.names if not hasattr(module, a.name)]
    assert not missing


@pytest.mark.parametrize(
    "name",
    [name if name == "coming_from" else pytest.param(name, marks=pytest.mark.slow) for name in RUN],
)
def test_the_blocks_of_a_page_run_in_order_and_print_what_they_say(
    name, tmp_path, monkeypatch, capsys
):
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module, reason=f"needs {module}, which the page says how to install")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / f"{name}.md"
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)
    # Progress bars are printed, too.
    printed = capsys.readouterr().out
    numbers = [float(x) for x in re.findall(r"^-?\d+(?:\.\d+)?$", printed, re.M)]
    code = "\n".join(blocks(page))
    said = [float(x) for x in re.findall(r"^print\(.*\)  # (-?\d+(?:\.\d+)?)$", code, re.M)]
    assert numbers[: len(said)] == pytest.approx(said, abs=0.03) and len(numbers) == len(said)


def test_pages_whose_code_runs_exist():
    assert set(RUN) <= {page.stem for page in PAGES}
