"""Executes a notebook's code in plain Python, and then checks what its text says.

    python executing.py NOTEBOOK CLAIM...

Each cell is executed as Jupyter would: the value of its last line is shown. A claim is an
expression of the notebook's variables, which has to be true at the end.
"""

import ast
import json
import pathlib
import sys


def code_cells(path: pathlib.Path) -> list[str]:
    """Returns the source of a notebook's code cells, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _execute(source: str, file: str, names: dict) -> None:
    """Executes a cell and shows its last expression, as text and as HTML where it has that."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), file, "eval"), names)
        if value is not None:
            print(repr(value))
        if hasattr(value, "_repr_html_"):
            assert value._repr_html_()


if __name__ == "__main__":
    names = {"__name__": "__main__"}
    for number, source in enumerate(code_cells(pathlib.Path(sys.argv[1]))):
        _execute(source, f"cell {number}", names)
    for claim in sys.argv[2:]:
        assert eval(claim, names), claim
