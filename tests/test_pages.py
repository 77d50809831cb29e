"""The Markdown pages: links lead somewhere, pictures exist, lists are whole."""

import pathlib
import re

import pytest

from jaxkd import recipes

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    # Pages of the reference are generated; docs/site has tests of its own.
    local = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#|reference/", link)]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def test_the_first_page_of_the_site_lists_every_page():
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}
    assert pages == set(re.findall(r"^- \[.+?\]\((\w+\.md)\)", text, re.M))


def test_every_recipe_is_on_its_page():
    words = set(re.findall(r"\w+", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")))
    assert set(recipes.names(language=False)) - words == set()


@pytest.mark.slow
def test_the_examples_of_the_page_of_tasks_print_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    examples, names = re.findall(r"```python\n(.*?)```", text, re.S), {}
    for example in examples:
        exec(example, names)
    # Progress bars are printed, too.
    printed = [float(x) for x in re.findall(r"^-?\d+\.\d+$", capsys.readouterr().out, re.M)]
    said = [float(x) for x in re.findall(r"^print\(.*\)  # (\S+)$", "\n".join(examples), re.M)]
    assert said and printed == pytest.approx(said, abs=0.03)
