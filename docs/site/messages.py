"""Every error message and warning of the library, read from its code, with cause and remedy.

The cause is the condition under which the code raises it. The remedy is what the message itself
says to write, or the value that it states as valid; where it only says what is wrong, the sentence
about it in `remedies.toml`.
"""

import ast
import dataclasses
import functools
import pathlib
import re
import tomllib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/jaxkd/jaxkd/blob/main"
# Words with which messages say what to do, anywhere and at the start of a clause, and with which
# they say what would be right.
_SAYS = re.compile(
    r"\b(write|give|pass|use|name|install|set|call|build|choose|open|make|declare|convert"
    r"|return|leave|add|put|remove|delete|did you mean|try|see)\b"
    r"|: [\w.]+[(=]\S",  # the code to write
    re.IGNORECASE,
)
_BEGINS = re.compile(
    r"(?:[:;.,] |\()(?:and |or )?(accept|arrange|begin|bring|calibrate|check|clip|compare|compute"
    r"|copy|correct|create|divide|download|draw|evaluate|keep|lay out|let|load|mask|move"
    r"|normalize|read|rename|resize|restore|run|save|say(?! no)|scale|select|sort|start|take"
    r"|train|wait|widen)\b",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"\b(must|needed|needs?|wants?|wanted|takes?|may be|can be|one of|has only|lies? in|expected"
    r"|at least|at most|allowed|has the|it has|instead of)\b"
    r"|\b(is|are|maps|has)\b.*(, not |; got |, got )"
    r"|\b(there are|they are|it is|([Tt]he|[Ii]ts) [\w ]+ are) *:? *$"
)


_REMEDIES = {
    "message": "as it says.",
    "value": "bring the value to what the message states as valid; see the top of this page.",
}


@dataclasses.dataclass(frozen=True)
class Message:
    """One place where the library raises an error or warns.

    Attributes:
      kind: name of the exception, or "warning".
      text: the message; what is filled in is in braces.
      file: path in the repository.
      line: line of the statement.
      function: qualified name of what raises it.
      condition: source of the condition, empty if there is none.
    """

    kind: str
    text: str
    file: str
    line: int
    function: str
    condition: str

    @property
    def package(self) -> str:
        """Dotted name of the package that it belongs to."""
        parts = pathlib.PurePosixPath(self.file).parts[1:-1]
        return ".".join(("jaxkd", *parts[:1]))

    @property
    def written(self) -> list[str]:
        """The keys in `[messages]` of `remedies.toml` that are about this message."""
        place = self.file.removeprefix("jaxkd/")
        return [key for key in written_remedies() if _is_about(key, place, self.text)]

    @property
    def remedy(self) -> str:
        """What to do; empty where neither the message nor `remedies.toml` says so."""
        if self.written:
            return written_remedies()[self.written[0]]
        return _REMEDIES.get(self.states, "")

    @property
    def states(self) -> str:
        """`"message"` if it says what to do, `"value"` what is valid, or empty for neither."""
        words = re.sub(r"\{[^{}]*\}", "", self.text)
        if _SAYS.search(words) or _BEGINS.search(words):
            return "message"
        return "value" if _STATES.search(words) else ""


def _is_about(key: str, place: str, text: str) -> bool:
    file, _, fragment = key.partition(": ")
    return place == file and fragment in text


@functools.cache
def messages() -> tuple[Message, ...]:
    """All messages of the library, in the order of files and lines."""
    trees = {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "jaxkd").rglob("*.py"))
    }
    own = {
        file: {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for file, tree in trees.items()
    }
    everywhere = {name: node for some in own.values() for name, node in some.items()}
    found = []
    for file, tree in trees.items():
        walker = _Walker(file, tree, everywhere | own[file])
        walker.visit(tree)
        found += walker.found
    return tuple(found)


def remedies() -> dict[str, str]:
    """What to do by package."""
    return _tables()["remedies"]


def written_remedies() -> dict[str, str]:
    """What to do about messages that do not say it, by `file: part of the text`."""
    return _tables()["messages"]


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    path = pathlib.Path(__file__).with_name("remedies.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def pages() -> Iterator[tuple[str, str]]:
    """Yields the path and the Markdown of a page for each package, and of their index."""
    by_package: dict[str, list[Message]] = {}
    for message in messages():
        by_package.setdefault(message.package, []).append(message)
    rows = [f"| [{name}]({name}.md) | {len(some)} |" for name, some in by_package.items()]
    total = sum(map(len, by_package.values()))
    contents = "\n".join(by_package)
    yield (
        "messages/index.md",
        f"# Error messages\n\nAll {total} errors and warnings, from the code. The search finds one "
        "by its words; what stands in braces is filled in. Common symptoms are on the page of "
        "[troubleshooting](../troubleshooting.md).\n\n| package | messages |\n| :-- | --: |\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{contents}\n```\n",
    )
    for package, some in by_package.items():
        yield f"messages/{package}.md", _page(package, some)


def _page(package: str, some: list[Message]) -> str:
    parts = [f"# Messages of {package}", remedies()[package]]
    file = ""
    for message in some:
        if message.file != file:
            file = message.file
            parts.append(f"## `{file.removeprefix('jaxkd/')}`")
        where = f"[`{message.function}`]({SOURCE}/{file}#L{message.line})"
        cause = f", where `{_code(message.condition)}`" if message.condition else ""
        parts.append(
            f"**{message.kind}**: {_text(message.text)}\n\n"
            f"> Cause: raised by {where}{cause}. Remedy: {message.remedy}"
        )
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    short = " ".join(text.split()).replace("`", "'")
    return short if len(short) <= 160 else short[:159] + "…"


def _text(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|$#~])", r"\\\1", " ".join(text.split()))


def _default(scope: ast.AST, name: str) -> list[ast.expr]:
    """The default of a function's parameter of this name, if it has one."""
    if not isinstance(scope, ast.FunctionDef):
        return []
    args = scope.args
    positional = [*args.posonlyargs, *args.args]
    pairs = [*zip(positional[::-1], args.defaults[::-1], strict=False)]
    pairs += zip(args.kwonlyargs, args.kw_defaults, strict=True)
    return [value for arg, value in pairs if arg.arg == name and value is not None]


class _Walker(ast.NodeVisitor):
    """Collects the messages of one file."""

    def __init__(self, file: str, tree: ast.Module, functions: dict[str, ast.FunctionDef]):
        self.file, self.functions = file, functions
        self.found: list[Message] = []
        self.names: list[str] = []
        self.conditions: list[str] = []
        self.scopes: list[ast.AST] = [tree]

    def _scope(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        outside, self.conditions = self.conditions, []
        self.names.append(node.name)
        self.scopes.append(node)
        self.generic_visit(node)
        self.scopes.pop()
        self.names.pop()
        self.conditions = outside

    visit_ClassDef = visit_FunctionDef = _scope  # noqa: N815

    def visit_If(self, node: ast.If) -> None:  # noqa: N802
        self._under(ast.unparse(node.test), node.body)
        self._under(f"not ({ast.unparse(node.test)})", node.orelse)

    def visit_Try(self, node: ast.Try) -> None:  # noqa: N802
        for statement in (*node.body, *node.orelse, *node.finalbody):
            self.visit(statement)
        for handler in node.handlers:
            self._under(f"{ast.unparse(handler.type)} occurs" if handler.type else "", handler.body)

    def _under(self, condition: str, body: list[ast.stmt]) -> None:
        self.conditions.append(condition)
        for statement in body:
            self.visit(statement)
        self.conditions.pop()

    def visit_Raise(self, node: ast.Raise) -> None:  # noqa: N802
        if isinstance(node.exc, ast.Call):
            self._add(ast.unparse(node.exc.func), node.exc)

    def visit_Call(self, node: ast.Call) -> None:  # noqa: N802
        if ast.unparse(node.func) == "warnings.warn":
            self._add("warning", node)
        self.generic_visit(node)

    def _add(self, kind: str, call: ast.Call) -> None:
        condition = self.conditions[-1] if self.conditions else ""
        function = ".".join(self.names) or "the module"
        for name, text in self._texts(kind, call):
            message = Message(name, text, self.file, call.lineno, function, condition)
            self.found.append(message)

    def _texts(self, kind: str, call: ast.Call) -> Iterator[tuple[str, str]]:
        """The exception and its text; several where a function makes them."""
        if kind.lstrip("_")[0].islower() and kind != "warning":
            maker = self.functions.get(kind.rpartition(".")[2])
            for node in ast.walk(maker) if maker else ():
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
                    yield ast.unparse(node.value.func), self._text_of(node.value)
            return  # an error of another place, raised again with a note
        text = self._text_of(call)
        if not text.startswith("{str("):
            yield kind.rpartition(".")[2], text

    def _text_of(self, call: ast.Call) -> str:
        """The text of an error, which of errors of the system is the second argument."""
        of_system = len(call.args) > 1 and (
            ast.unparse(call.func) == "OSError" or "errno" in ast.unparse(call.args[0])
        )
        args = call.args[1:] if of_system else call.args
        return self._template(args[0]) if args else ""

    def _template(self, node: ast.expr, depth: int = 0) -> str:
        """The text of an expression, with what is filled in in braces."""
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else self._filled_in(part.value)
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
        if isinstance(node, ast.BinOp):
            return self._template(node.left, depth) + self._template(node.right, depth)
        if isinstance(node, ast.IfExp):
            body, other = self._template(node.body, depth), self._template(node.orelse, depth)
            return f"{body} / {other}" if other else body
        if isinstance(node, ast.Name) and depth < 2:
            return self._assigned(node.id, depth) or "{" + node.id + "}"
        if isinstance(node, ast.Call) and depth < 2:
            return self._returned(node, depth) or "{" + ast.unparse(node) + "}"
        return "{" + ast.unparse(node) + "}"

    def _filled_in(self, node: ast.expr) -> str:
        """What stands for a value in a text: words where it is always one of some."""
        if isinstance(node, ast.Name):
            for scope in (self.scopes[-1], self.scopes[0]):
                values = [
                    child.value
                    for child in ast.walk(scope)
                    if isinstance(child, ast.Assign)
                    and [ast.unparse(target) for target in child.targets] == [node.id]
                ]
                values += _default(scope, node.id)
                if values and all(isinstance(v, ast.Constant | ast.BinOp) for v in values):
                    words = " / ".join(map(self._template, values))
                    return words if " " in words else "{" + node.id + "}"
        return "{" + ast.unparse(node) + "}"

    def _assigned(self, name: str, depth: int) -> str:
        """The texts that a variable of the function, or a constant of the module, may have."""
        for scope in (self.scopes[-1], self.scopes[0]):
            texts = [
                self._template(node.value, depth + 1)
                for node in ast.walk(scope)
                if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]
            ]
            if texts:
                return " / ".join(dict.fromkeys(texts))
        return ""

    def _returned(self, call: ast.Call, depth: int) -> str:
        """The texts that a function of the library returns."""
        function = self.functions.get(ast.unparse(call.func).rpartition(".")[2])
        if function is None:
            return ""
        self.scopes.append(function)
        texts = [
            self._template(node.value, depth + 1)
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value is not None
        ]
        self.scopes.pop()
        return " / ".join(dict.fromkeys(texts))
