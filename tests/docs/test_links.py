"""External links have the form that their host wants, and tables have headings in every column.

Whether a page of another host is still there, only the network knows:
`python -m sphinx -b linkcheck -c docs/site build/docs/source build/docs/links` after `make docs`.
"""

import pathlib
import re
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
SOURCES = [
    *PAGES,
    *ROOT.glob("examples/*.ipynb"),
    *ROOT.glob("docs/site/*.toml"),
    *ROOT.glob("jaxkd/**/*.py"),
    *ROOT.glob("experiments/**/*.py"),
    ROOT / "CITATION.cff",
    ROOT / "pyproject.toml",
]
# A new host is added here by hand, by whoever has opened the link.
HOSTS = {
    "ai.google.dev",
    "albumentations.ai",
    "arxiv.org",
    "docs.jax.dev",
    "doi.org",
    "git-lfs.github.com",
    "github.com",
    "huggingface.co",
    "keepachangelog.com",
    "semver.org",
    "www.apache.org",
    "www.sbert.net",
    "www.tensorflow.org",
}


def links(text):
    found = re.findall(r"https?://[^\s<>()\"'`\\]+", text)
    return [link.rstrip(".,;:") for link in found if "{" not in link]


def wrong_in(link):
    """What is wrong with the form of a link, or None."""
    parts = urllib.parse.urlsplit(link)
    path = parts.path.strip("/")
    if parts.hostname in ("localhost", "127.0.0.1"):
        return None
    if parts.scheme != "https":
        return "no https"
    if parts.hostname not in HOSTS:
        return "an unknown host"
    if parts.hostname == "arxiv.org":
        number = re.fullmatch(r"(?:abs|pdf)/(\d\d)(\d\d)\.(\d{4,5})(?:v\d+)?", path)
        if not number or not 1 <= int(number[2]) <= 12 or int(number[1]) < 7:
            return "no number of arXiv"
        # Numbers have five digits from January 2015 on.
        if len(number[3]) != (5 if int(number[1]) >= 15 else 4):
            return "a number of another length"
    if parts.hostname == "doi.org" and not re.fullmatch(r"10\.\d{4,9}/\S+", path):
        return "no DOI"
    own = re.fullmatch(r"jaxkd/jaxkd/(?:blob|tree)/main/?(.*)", path)
    if parts.hostname == "github.com":
        if own and not (ROOT / own[1]).exists():
            return "no such file here"
        if not re.match(r"[\w.-]+(/[\w.-]+)?", path):
            return "no owner"
    return None


def test_every_external_link_has_the_form_of_its_host():
    seen, wrong = 0, []
    for source in SOURCES:
        for link in links(source.read_text(encoding="utf-8")):
            seen += 1
            if reason := wrong_in(link):
                wrong.append((str(source.relative_to(ROOT)), link, reason))
    assert seen > 15 and not wrong


@pytest.mark.parametrize(
    "link",
    [
        "http://github.com/google/qwix",
        "https://example.com/paper",
        "https://arxiv.org/abs/1513.02531",
        "https://arxiv.org/abs/2306.1364",
        "https://doi.org/journal.pone.0199239",
        "https://github.com/jaxkd/jaxkd/blob/main/docs/no_such_page.md",
    ],
)
def test_a_wrong_form_is_seen(link):
    assert wrong_in(link)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_column_of_a_table_has_a_heading(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    for heading, rule in zip(lines, lines[1:], strict=False):
        if re.fullmatch(r"\|(?: *:?-+:? *\|)+", rule) and heading.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", heading)[1:-1]]
            assert all(cells), heading
