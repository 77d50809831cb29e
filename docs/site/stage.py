"""Lays out the sources of the site: pages of docs/, those that they link to, generated ones.

  python docs/site/stage.py build/docs/source

Pages of docs/ stand at the top, those of benchmarks/ in a folder of that name; links between them
are rewritten, links to other files of the repository lead to GitHub. Files that are the same stay
untouched, so that Sphinx reads again only what has changed.
"""

import pathlib
import re
import shutil
import sys
from collections.abc import Iterator

import messages
import papers
import reference

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "benchmarks", "examples")
TOP = ("CHANGELOG.md", "CONTRIBUTING.md")
PICTURES = (".svg", ".png")
# Whole HTML files, which Sphinx would offer for download.
_REPORT = re.compile(r"\[([^\]]+)\]\(site/static/(reports/[\w.-]+\.html)\)")
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?(?: \"[^\"]*\")?\))")


def main(folder: pathlib.Path) -> None:
    """Writes all sources to a folder and removes what no longer belongs there."""
    written = set()
    for path, text in sources():
        target = folder / path
        written.add(target)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    for file in (file for name in FOLDERS for file in ROOT.glob(f"{name}/*")):
        if file.suffix in PICTURES:
            target = folder / placed(file.relative_to(ROOT))
            written.add(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
    for old in folder.rglob("*"):
        if old.is_file() and old not in written:
            old.unlink()
    print(f"{len(written)} files in {folder}")


def sources() -> Iterator[tuple[str, str]]:
    """Yields the path in the site and the text of every page."""
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *(ROOT / n for n in TOP)]
    texts = {page.name: page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.md")}
    for page in sorted(pages):
        path = page.relative_to(ROOT)
        text = relinked(page.read_text(encoding="utf-8"), path)
        if path.name == "index.md":
            text = with_contents(with_news(text))
        elif path.name == "notebooks.md":
            text += "\n```{toctree}\n:hidden:\n:glob:\n\nexamples/*\n```\n"
        elif path.name == "papers.md":
            text = papers.page(text)
        elif path.parts[0] != "docs":
            text = "---\norphan: true\n---\n\n" + with_one_title(text, path.stem)
        yield str(placed(path)), text
    for notebook in sorted(ROOT.glob("examples/*.ipynb")):
        path = notebook.relative_to(ROOT)
        yield str(path), relinked(notebook.read_text(encoding="utf-8"), path)
    yield from reference.pages(texts)
    yield from messages.pages()


def placed(path: pathlib.Path) -> pathlib.Path:
    """Where a file of the repository lies in the site."""
    return path.relative_to("docs") if path.parts[0] == "docs" else path


def relinked(text: str, path: pathlib.Path) -> str:
    """Replaces the relative links of a page of the repository by those of the site."""
    up = "../" * (len(placed(path).parts) - 1)

    def replace(match: re.Match[str]) -> str:
        start, link, end = match.groups()
        if re.match(r"[a-z]+:", link) or link.startswith(("reference/", "messages/")):
            return match[0]
        target = (ROOT / path.parent / link).resolve().relative_to(ROOT)
        # Folders below, such as docs/decisions, are for readers of the repository.
        in_site = (target.parts[0] in FOLDERS and len(target.parts) == 2) or target.name in TOP
        if in_site and target.suffix in (".md", ".ipynb", *PICTURES):
            return f"{start}{up}{placed(target)}{end}"
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{start}https://github.com/jaxkd/jaxkd/{kind}/main/{target}{end}"

    text = _REPORT.sub(rf'<a class="reference external" href="{up}_static/\2">\1</a>', text)
    pieces = re.split(r"(```.*?```)", text, flags=re.S)
    return "".join(p if i % 2 else _LINK.sub(replace, p) for i, p in enumerate(pieces))


def with_one_title(text: str, name: str) -> str:
    """Gives a table that a script wrote the title of its file, and further titles a lower level."""
    pieces = re.split(r"(```.*?```)", text, flags=re.S)
    heading = re.compile(r"^# ", re.M)
    if not any(heading.search(piece) for piece in pieces[::2]):
        return f"# {name.replace('_', ' ').capitalize()}\n\n{text}"
    first = True
    for index in range(0, len(pieces), 2):
        parts = heading.split(pieces[index])
        for part in range(1, len(parts)):
            parts[part] = ("# " if first else "## ") + parts[part]
            first = False
        pieces[index] = "".join(parts)
    return "".join(pieces)


def with_news(text: str) -> str:
    """Puts the version and the newest entries of the changelog in place of `<!-- new -->`."""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    changelog = relinked(changes, pathlib.Path("docs/index.md"))
    section = re.search(r"^## (\[.+?\].*?)\n(.*?)(?=^## )", changelog, re.M | re.S)
    if section is None:
        raise ValueError("CHANGELOG.md has no section of a version: begin one with '## [0.2.0]'")
    title = section[1].replace("[", "").replace("]", "")
    entries = re.findall(r"^- (.*?)(?=^- |^#|\Z)", section[2], re.M | re.S)[:6]
    lines = [f"- {_first_sentence(' '.join(entry.split()))}" for entry in entries]
    news = "\n".join([f"## What is new in {title}", "", *lines, "", "[All changes](CHANGELOG.md)."])
    return text.replace("<!-- new -->", news)


def _first_sentence(text: str) -> str:
    """The start of an entry, up to its first full stop or semicolon, or to a late colon."""
    return re.split(r"(?<=[.;]) (?=[A-Z`])|(?<=.{40}): ", text)[0].rstrip(".;:") + "."


def with_contents(text: str) -> str:
    """Adds the contents of the site, which are the lists of links on its first page."""
    contents = []
    for title, body in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
        pages = re.findall(r"^- \[.+?\]\(([\w/]+)\.md\)", body, re.M)
        if pages:
            listed = "\n".join(pages)
            contents.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{listed}\n```")
    return text + "\n" + "\n\n".join(contents) + "\n"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
