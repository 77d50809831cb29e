"""The Markdown pages: links lead somewhere, pictures exist, lists are whole."""

import pathlib
import re

import pytest

from jaxkd import recipes

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    # Pages of the reference and of messages are generated; docs/site has tests of its own.
    local = [
        link.split("#")[0]
        for link in links
        if not re.match(r"[a-z]+:|#|reference/|messages/", link)
    ]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def test_the_first_page_of_the_site_lists_every_page():
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}
    assert pages == set(re.findall(r"^- \[.+?\]\((\w+\.md)\)", text, re.M))


def test_every_recipe_is_on_its_page():
    words = set(re.findall(r"\w+", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")))
    assert set(recipes.names(language=False)) - words == set()
