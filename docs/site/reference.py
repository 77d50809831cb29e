"""The pages of the API reference: one for each public name, one for each package."""

import ast
import functools
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from docstrings import escape, first_sentence, to_markdown
from names import PublicName, modules, public_names

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/jaxkd/jaxkd/blob/main"


def pages(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the path and the Markdown of each page.

    Args:
      texts: Markdown of the written pages by file name, in which uses of a name are looked up.

    Yields:
      Paths below `reference/`, and texts.
    """
    names = public_names()
    uses = {public.name: _uses(public) for public in names}
    by_package: dict[str, list[PublicName]] = {}
    for public in names:
        by_package.setdefault(public.package, []).append(public)
    yield "reference/index.md", _index(len(names), by_package)
    for package, members in by_package.items():
        yield f"reference/{package}.md", _package_page(package, members)
    for public in names:
        yield f"reference/{public.name}.md", name_page(public, uses, texts)


def name_page(public: PublicName, uses: dict[str, str], texts: dict[str, str]) -> str:
    """The page of one public name: signature, docstring, methods, example, uses, source."""
    short = public.name.rpartition(".")[2]
    parts = ["---\norphan: true\n---", f"# {public.name}"]
    parts.append(f"[{public.package}]({public.package}.md) · {source_link(public)}")
    if public.aliases:
        parts.append("Also " + ", ".join(f"`{alias}`" for alias in public.aliases) + ".")
    parts.append(f"```python\n{signature(public)}\n```")
    doc = public.doc
    parts.append(to_markdown(doc) if doc else escape(f"A {type(public.value).__name__}."))
    if inspect.isclass(public.definition):
        parts += [_method(name, member) for name, member in _methods(public.value)]
    if not has_example(doc):
        parts.append("## Example\n\n" + _example_elsewhere(public, uses, texts))
    used = [page for page, text in texts.items() if _mentions(text, short, public)]
    if used:
        links = ", ".join(f"[{_title(texts[page])}](../{page})" for page in used)
        parts.append(f"## On other pages\n\n{links}")
    return "\n\n".join(part for part in parts if part) + "\n"


def has_example(doc: str) -> bool:
    """Whether a docstring has an example."""
    return bool(re.search(r"^Examples?:$", doc, re.M)) or ">>>" in doc or "```" in doc


def signature(public: PublicName) -> str:
    """The signature as it is written in the code, one parameter a line if it is long."""
    short = public.name.rpartition(".")[2]
    node = definition(public.definition)
    if node is None:
        return f"{short} = {_cut(repr(public.value))}"
    if isinstance(node, ast.ClassDef):
        return _laid_out(f"class {short}", _class_parameters(public.value, node), "")
    return _laid_out(f"def {short}", *_parameters(node))


@functools.cache
def _tree(file: str) -> ast.Module:
    return ast.parse(pathlib.Path(file).read_text(encoding="utf-8"))


@functools.cache
def definition(value: Any) -> ast.ClassDef | ast.FunctionDef | None:
    """The definition of a class or function in its file; None for one of another library."""
    if value is None or not value.__module__.startswith("jaxkd."):
        return None
    node: Any = _tree(inspect.getfile(value))
    for part in value.__qualname__.split("."):
        body = [
            child
            for child in ast.walk(node)
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and child.name == part
        ]
        if not body:
            return None
        node = body[-1]  # the implementation follows its overloads
    return node


def source_link(public: PublicName) -> str:
    """A Markdown link to the lines of the code."""
    node = definition(public.definition)
    if node is None:
        module = modules()[public.package]
        path = pathlib.Path(inspect.getfile(module)).relative_to(ROOT)
        return f"[source]({SOURCE}/{path})"
    path = pathlib.Path(inspect.getfile(public.definition)).relative_to(ROOT)
    return f"[source]({SOURCE}/{path}#L{node.lineno}-L{node.end_lineno})"


def _class_parameters(cls: type, node: ast.ClassDef) -> list[str]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return _parameters(child)[0]
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    if fields and (hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields")):
        return [ast.unparse(field) for field in fields if not _is_private(field)]
    for base in cls.__mro__[1:]:
        other = definition(base)
        if isinstance(other, ast.ClassDef):
            return _class_parameters(base, other)
    return []


def _is_private(field: ast.AnnAssign) -> bool:
    return ast.unparse(field.target).startswith("_")


def _parameters(node: ast.FunctionDef) -> tuple[list[str], str]:
    """Parameters of a function without `self`, and its result."""
    args, found = node.args, []
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    for arg, default in zip(positional, defaults, strict=True):
        if arg.arg not in ("self", "cls"):
            found.append(_parameter(arg, default))
        if args.posonlyargs and arg is args.posonlyargs[-1]:
            found.append("/")
    if args.vararg:
        found.append("*" + ast.unparse(args.vararg))
    elif args.kwonlyargs:
        found.append("*")
    found += [_parameter(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        found.append("**" + ast.unparse(args.kwarg))
    return found, f" -> {ast.unparse(node.returns)}" if node.returns else ""


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(arg)
    equals = " = " if arg.annotation else "="
    return f"{ast.unparse(arg)}{equals}{ast.unparse(default)}"


def _laid_out(start: str, parameters: Sequence[str], result: str) -> str:
    line = f"{start}({', '.join(parameters)}){result}"
    if len(line) <= 80:
        return line
    inner = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{start}(\n{inner}){result}"


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that the class itself or a private base of it defines."""
    seen = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("jaxkd"):
            continue
        for name, member in vars(base).items():
            if name in seen or (name.startswith("_") and name != "__call__"):
                continue
            seen.add(name)
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            if inspect.isfunction(inner) and inspect.getdoc(inner):
                yield name, member


def _method(name: str, member: Any) -> str:
    inner = getattr(member, "__func__", getattr(member, "fget", member))
    doc = to_markdown(inspect.getdoc(inner) or "", heading="")
    if isinstance(member, property):
        return f"## {name}\n\n{doc}"
    node = ast.parse(textwrap.dedent(inspect.getsource(inner))).body[0]
    shown = _laid_out(f"def {name}", *_parameters(node)) if hasattr(node, "args") else name
    return f"## {name}\n\n```python\n{shown}\n```\n\n{doc}"


def _example_elsewhere(public: PublicName, uses: dict[str, str], texts: dict[str, str]) -> str:
    """For a name without an example of its own: the line of a recipe, or where it is used."""
    short = public.name.rpartition(".")[2]
    node = definition(public.definition)
    if public.package.startswith("jaxkd.recipes") and isinstance(node, ast.FunctionDef):
        arguments = [arg.arg for arg in node.args.args]
        if arguments == ["pair"]:
            return (
                "```python\npair = jaxkd.recipes.Pair(student, teacher, batch)\n"
                f"objective = {public.name}(pair)\n```"
            )
        if not arguments:
            return f"```python\nobjective = {public.name}()\n```"
    pattern = re.compile(rf"\b{short}\b")
    using = [
        name
        for name, text in uses.items()
        if name != public.name and short in text and pattern.search(text)
    ]
    links = [f"[{name}]({name}.md)" for name in using[:6]]
    links += [f"[{_title(t)}](../{p})" for p, t in texts.items() if _mentions(t, short, public)][:3]
    if links:
        return "It is in the examples or signatures of " + ", ".join(links) + "."
    return f"The functions of [{public.package}]({public.package}.md) make it or use it."


def _uses(public: PublicName) -> str:
    """Where a use of another name counts: the example and the signature."""
    code = "\n".join(line for line in public.doc.splitlines() if ">>>" in line or "... " in line)
    return code + "\n" + (signature(public) if public.definition else "")


def _mentions(text: str, short: str, public: PublicName) -> bool:
    """Whether a page names it in code: with its package, or alone if the name is a long one."""
    if short not in text:
        return False
    package = public.package.rpartition(".")[2]
    alone = rf"|`{short}[`(]" if len(short) > 5 else ""
    return bool(re.search(rf"\b{package}\.{short}\b{alone}", text))


def _title(text: str) -> str:
    match = re.search(r"^# (.+)$", text, re.M)
    return match[1] if match else "page"


def _cut(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _package_page(package: str, members: Sequence[PublicName]) -> str:
    doc = inspect.getdoc(modules()[package]) or ""
    rows = [
        f"| [{public.name.rpartition('.')[2]}]({public.name}.md) "
        f"| {_cell(first_sentence(public.doc)) or type(public.value).__name__} |"
        for public in members
    ]
    table = "\n".join(["| name | what it is |", "| :-- | :-- |", *rows])
    return f"# {package}\n\n{to_markdown(doc)}\n## Names\n\n{table}\n"


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _index(count: int, by_package: dict[str, list[PublicName]]) -> str:
    rows = [
        f"| [{package}]({package}.md) | {len(members)} "
        f"| {_cell(first_sentence(inspect.getdoc(modules()[package]) or ''))} |"
        for package, members in by_package.items()
    ]
    contents = "\n".join(by_package)
    return (
        f"# API reference\n\nAll {count} public names. Each has a page with its signature, its "
        "docstring, an example and a link to its code.\n\n"
        "| package | names | what it is |\n| :-- | --: | :-- |\n" + "\n".join(rows) + "\n\n"
        f"```{{toctree}}\n:hidden:\n\n{contents}\n```\n"
    )
