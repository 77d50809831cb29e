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
    local = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def test_the_front_page_links_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    unlinked = [page.name for page in ROOT.glob("docs/*.md") if f"docs/{page.name}" not in text]
    assert not unlinked


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
