"""The code on the pages: every name in it exists, and the blocks of a page run in order.

A block that cannot run everywhere says so in a comment above it, which readers do not see:
`<!-- needs: datasets -->` for packages, and `<!-- not run: why -->`, counted in `NOT_RUN`.
"""

import ast
import importlib
import importlib.util
import pathlib
import re
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.md"))
# Pages with blocks that no test runs, and how many; their comments say why.
NOT_RUN: dict[str, int] = {}


class Block(NamedTuple):
    """A block of Python, the packages that it needs, and why it is not run, if it is not."""

    code: str
    needs: tuple[str, ...]
    not_run: str


def blocks(page: pathlib.Path) -> list[Block]:
    """The blocks of Python on a page."""
    found = re.findall(
        r"(?:^<!-- (needs|not run): (.+?) -->\n)?^```python\n(.*?)^```",
        page.read_text(encoding="utf-8"),
        re.S | re.M,
    )
    return [
        Block(
            code,
            tuple(said.split(", ")) if kind == "needs" else (),
            said if kind == "not run" else "",
        )
        for kind, said, code in found
    ]


# tests/study/test_study_page.py runs that of studies, in fewer steps.
WITH_CODE = [page.stem for page in PAGES if blocks(page) and page.stem != "study"]


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
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxkd"):
                module = importlib.import_module(node.module)
                missing += [a.name for a in node.names if not hasattr(module, a.name)]
    assert not missing


def is_installed(module):
    spec = importlib.util.find_spec(module)
    # A folder of tests that has a package's name, such as datasets, is found as a namespace.
    return spec is not None and spec.origin is not None


@pytest.mark.parametrize(
    "name",
    [
        name if name == "coming_from" else pytest.param(name, marks=pytest.mark.slow)
        for name in WITH_CODE
    ],
)
def test_the_blocks_of_a_page_run_in_order_and_print_what_they_say(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / f"{name}.md"
    names: dict[str, object] = {"__name__": "page"}
    ran, left_out = [], []
    for block in blocks(page):
        missing = [module for module in block.needs if not is_installed(module)]
        if missing or block.not_run:
            left_out += missing
            continue
        exec(compile(block.code, str(page), "exec"), names)
        ran.append(block.code)
    # Progress bars are printed, too.
    printed = capsys.readouterr().out
    numbers = [float(x) for x in re.findall(r"^-?\d+(?:\.\d+)?$", printed, re.M)]
    code = "\n".join(ran)
    said = [float(x) for x in re.findall(r"^print\(.*\)  # (-?\d+(?:\.\d+)?)$", code, re.M)]
    assert numbers[: len(said)] == pytest.approx(said, abs=0.03) and len(numbers) == len(said)
    for line in re.findall(r"^print\(.*\)\n# (.+)$", code, re.M):
        assert f"{line}\n" in printed
    if not ran:
        pytest.skip(f"the page needs {', '.join(left_out)} and says how to install it")


def test_all_blocks_of_python_are_run_but_those_that_are_listed():
    not_run = {page.stem: sum(bool(b.not_run) for b in blocks(page)) for page in PAGES}
    assert {name: count for name, count in not_run.items() if count} == NOT_RUN
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        # A block without an end, or with another mark, would be none that is counted.
        assert len(re.findall(r"^```", text, re.M)) % 2 == 0, page.name
        marks = set(re.findall(r"^```([^\n`]+)$", text, re.M))
        assert marks <= {"python", "sh", "text", "toml"}, page.name
        comments = re.findall(r"<!-- (?:needs|not run): .+? -->\n(.*)", text)
        assert set(comments) <= {"```python"}, page.name
    assert sum(len(blocks(page)) for page in PAGES) > 80
