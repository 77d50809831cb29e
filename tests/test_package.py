import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

import jaxkd

ROOT = pathlib.Path(__file__).parents[1]
HEAVY = [
    "orbax.checkpoint",
    "tensorstore",
    "tensorflow_datasets",
    "tensorboardX",
    "matplotlib",
    "jinja2",
    "sklearn",
    "rich.progress",
]


def python(code: str, **options) -> str:
    # This checkout wherever the code runs, not another one that is installed.
    options["env"] = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_starts_no_backend_and_loads_nothing_heavy():
    out = python(
        "import sys, jaxkd; from jax._src import xla_bridge; "
        f"print(xla_bridge.backends_are_initialized(), [m for m in {HEAVY} if m in sys.modules])"
    )
    assert out.split("\n")[0] == "False []"


def test_all_rooms_are_reached_by_name():
    names = "cache compression connectors data losses models recipes metrics targets training"
    names += " strategies generation export study"
    for name in names.split():
        assert getattr(jaxkd, name).__doc__, name
    assert jaxkd.views.Views is jaxkd.Views
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxkd.__version__)
    with pytest.raises(AttributeError, match="no attribute 'teachers'"):
        jaxkd.teachers  # noqa: B018


def test_rooms_import_downhill():
    """A room may import those to its right, never those to its left."""
    order = ["study", "export", "compression", "strategies", "generation"]
    order += ["recipes", "training", "cache", "data"]
    order += ["weights", "objective", "targets", "networks", "views", "losses"]
    order += ["models", "connectors", "ops", "metrics"]
    names = {path.stem for path in (ROOT / "jaxkd").iterdir()}
    assert set(order) == names - {"__init__", "__main__", "__pycache__", "py"}
    for level, room in enumerate(order):
        place = ROOT / "jaxkd" / room
        imported = set()
        for file in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == "jaxkd":
                    imported |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("jaxkd."):
                    imported.add(str(node.module).split(".")[1])
        assert not imported & set(order[:level]), (room, imported)
    others = set()
    for file in (ROOT / "jaxkd/losses").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                others |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                others.add(str(node.module).split(".")[0])
    standard = {
        "__future__",
        "collections",
        "dataclasses",
        "functools",
        "inspect",
        "math",
        "typing",
    }
    assert others <= {"jax", "numpy", "optax", "chex", "jaxkd", *standard}


def test_the_example_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    lines = [line.split(": ") for line in python(example, cwd=tmp_path).splitlines()]
    accuracy = {line[0]: float(line[1]) for line in lines if len(line) == 2}
    assert set(accuracy) == {"teacher", "labels", "distilled"}
    assert accuracy["labels"] + 0.15 < accuracy["distilled"] < accuracy["teacher"]
