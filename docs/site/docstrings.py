"""Docstrings of this library as MyST Markdown.

The text of a docstring is Markdown already, apart from its sections ("Args:", "Returns:") and from
indented tables of names. What Markdown would read as something else, such as `<` in a sentence, is
escaped.
"""

import re
import textwrap

SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Returns": "Returns",
    "Yields": "Yields",
    "Raises": "Raises",
    "Formats": "Formats",
    "Example": "Example",
    "Examples": "Example",
    "Reference": "Reference",
    "References": "Reference",
}
_ENTRY = re.compile(r"^(?P<names>[*\w][\w.,* `()]*?): +(?P<text>\S.*)$")


def to_markdown(doc: str, heading: str = "##") -> str:
    """Renders a docstring; `heading` begins the title of each section, "" makes it bold text."""
    parts = []
    for title, body in sections(doc):
        if title:
            shown = SECTIONS[title]
            parts.append(f"{heading} {shown}" if heading else f"**{shown}**")
        parts.append(_body(title, body))
    return "\n\n".join(part for part in parts if part) + "\n"


def sections(doc: str) -> list[tuple[str, str]]:
    """The parts of a docstring in order: the title, empty for text, and its dedented body."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in doc.splitlines():
        if line.endswith(":") and line[:-1] in SECTIONS:
            found.append((line[:-1], []))
        elif line and not line[0].isspace() and found[-1][0]:
            found.append(("", [line]))  # text after a section
        else:
            found[-1][1].append(line)
    return [(title, textwrap.dedent("\n".join(lines)).strip("\n")) for title, lines in found]


def first_sentence(doc: str) -> str:
    """The first paragraph of a docstring in one line, up to its first full stop."""
    paragraph = " ".join(doc.strip().split("\n\n")[0].split())
    return escape(re.split(r"(?<=[.!?]) (?=[A-Z`])", paragraph)[0])


def escape(text: str) -> str:
    """Escapes what Markdown would take as HTML or emphasis, outside of `code`."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if index % 2 else re.sub(r"([<>*|\\]|(?<!\w)_|_(?!\w))", r"\\\1", piece)
        for index, piece in enumerate(pieces)
    )


def _body(title: str, body: str) -> str:
    if title in ("Example", "Examples"):
        return _example(body)
    if title in ("Args", "Attributes", "Raises", "Formats"):
        return "\n".join(_entries(body))
    return "\n\n".join(_paragraph(part) for part in re.split(r"\n\s*\n", body) if part.strip())


def _example(body: str) -> str:
    """Text and code of an example; what begins with `>>>` or is indented is code."""
    parts = []
    for part in re.split(r"\n\s*\n", body):
        if part.lstrip().startswith(">>>"):
            language, text = "pycon", textwrap.dedent(part)
        elif part.startswith((" ", "```")):
            language, text = "python", textwrap.dedent(part).replace("```python", "").strip("`\n")
        else:
            parts.append(_paragraph(part))
            continue
        parts.append(f"```{language}\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def _entries(body: str) -> list[str]:
    """A list item for each `name: text`, whose continuation lines are indented."""
    items: list[str] = []
    for line in body.splitlines():
        match = _ENTRY.match(line)
        if match:
            items.append(f"- **`{match['names']}`**: {escape(match['text'])}")
        elif line.strip().startswith("- "):
            items.append("  " + escape(line.strip()))
        elif items and line.strip():
            items[-1] += " " + escape(line.strip())
        elif line.strip():
            items.append(escape(line.strip()))
    return items


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    listed = [re.match(r"^\s*(?:- |\d+\. )", line) for line in lines]
    if any(listed):
        return "\n".join(
            escape(line)
            if mark
            else "  " + escape(line.strip())
            if any(listed[:i])
            else escape(line.strip())
            for i, (line, mark) in enumerate(zip(lines, listed, strict=True))
        )
    if all(line.startswith("  ") for line in lines):
        entries = [_ENTRY.match(line.strip()) for line in lines]
        if entries[0]:
            return "\n".join(_entries(textwrap.dedent(text)))
        return f"```text\n{textwrap.dedent(text)}\n```"
    if any(line.startswith("  ") for line in lines):
        cut = next(i for i, line in enumerate(lines) if line.startswith("  "))
        rest = "\n".join(lines[cut:])
        if cut and all(line.startswith("  ") for line in lines[cut:]):
            return _paragraph("\n".join(lines[:cut])) + "\n\n" + _paragraph(rest)
    return escape(" ".join(line.strip() for line in lines))
