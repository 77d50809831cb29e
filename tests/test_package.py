import ast
import collections
import graphlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Container
from types import ModuleType

import pytest

import jaxkd

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("jaxkd", "experiments", "benchmarks", "tests")
HEAVY = [
    "orbax.checkpoint",
    "tensorstore",
    "tensorflow_datasets",
    "tensorboardX",
    "matplotlib",
    "jinja2",
    "sklearn",
    "rich.progress",
    "torch",
    "onnxruntime",
]


def python(code: str, **options) -> str:
    # This checkout wherever the code runs, not another one that is installed.
    options["env"] = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, **options
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_starts_no_backend_and_loads_nothing_heavy():
    out = python(
        "import sys, jaxkd; from jax._src import xla_bridge; "
        "jaxkd.data.images, jaxkd.data.imagenet, jaxkd.data.digits, jaxkd.data.plain; "
        f"print(xla_bridge.backends_are_initialized(), [m for m in {HEAVY} if m in sys.modules])"
    )
    assert out.split("\n")[0] == "False []"


def test_the_page_of_the_package_lists_all_of_them_and_all_are_reached_by_name():
    packages = [name for name in jaxkd.__all__ if isinstance(getattr(jaxkd, name), ModuleType)]
    assert set(packages) == _modules_of(ROOT / "jaxkd") - {
        "__init__", "__main__", "_command_line", "_files", "_guard", "_named_function", "_parser",
        "_progress",
    }  # fmt: skip
    listed = dict(re.findall(r"^  (\w+): (\S.*)$", jaxkd.__doc__, re.M))
    assert set(listed) == set(packages)
    for name in packages:
        module = getattr(jaxkd, name)
        assert module.__doc__, name
        assert set(getattr(module, "__all__", [])) <= set(dir(module)), name
    assert jaxkd.views.Views is jaxkd.Views
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxkd.__version__)
    assert {*jaxkd.__all__, "__version__"} <= set(dir(jaxkd))
    with pytest.raises(AttributeError, match="no attribute 'pupils'"):
        jaxkd.pupils  # noqa: B018


def test_text_is_utf8_whatever_the_locale():
    """Every text file and every text of a child process names its encoding."""
    sources = [path for name in FOLDERS for path in (ROOT / name).rglob("*.py")]
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _is_text(node) and not _names(node, "encoding")
    ]
    assert not silent


def _is_text(call: ast.Call) -> bool:
    """Whether a call opens a text file, or takes the output of a program as text."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute)
    if any(_names(call, word) == "True" for word in ("text", "universal_newlines")):
        return True
    if name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        first = 1 if ast.unparse(call.func) in ("open", "os.fdopen") else 0
        mode = _names(call, "mode") or "".join(map(ast.unparse, call.args[first : first + 1]))
        text = re.fullmatch(r"'[rwax+t]+'", mode)
        return bool(text) or (ast.unparse(call.func) == "open" and not mode and bool(call.args))
    return False


def _names(call: ast.Call, keyword: str) -> str:
    """The source of a keyword's value, empty if a call does not have it."""
    return "".join(ast.unparse(given.value) for given in call.keywords if given.arg == keyword)


def _modules_of(folder: pathlib.Path) -> set[str]:
    """Names of the modules and packages in a folder."""
    files = {path.stem for path in folder.glob("*.py")}
    return files | {path.parent.name for path in folder.glob("*/__init__.py")}


def _sources(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Files of a module or a package."""
    package = folder / name
    return list(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]


def _imported(file: pathlib.Path) -> set[str]:
    """Dotted names that a file imports when it runs, with what it imports from them."""
    tree, names = ast.parse(file.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()  # for the type checker alone
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_packages_import_downhill():
    """A package may import those to its right, never those to its left."""
    order = ["_command_line", "study", "export", "compression", "strategies", "generation"]
    order += ["recipes", "training", "cache", "teachers", "data"]
    order += ["weights", "metrics", "objective", "targets", "networks", "views", "losses"]
    order += ["models", "connectors", "ops", "_progress", "_named_function", "_parser"]
    order += ["_guard", "_files"]
    assert set(order) == _modules_of(ROOT / "jaxkd") - {"__init__", "__main__"}
    for level, package in enumerate(order):
        imported = set()
        for file in _sources(ROOT / "jaxkd", package):
            names = [name.split(".") for name in _imported(file)]
            imported |= {name[1] for name in names if name[0] == "jaxkd" and len(name) > 1}
        assert not imported & set(order[:level]), (package, imported)


def test_experiments_import_no_other_experiment_and_in_no_circle():
    """`common` and `datasets` stand by themselves; an experiment uses those two and itself."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "experiments").rglob("*.py")
    }
    assert {"common", "datasets"} < _modules_of(ROOT / "experiments")
    graph = {}
    for name, file in files.items():
        imported = {_module(target, files) for target in _imported(file)} - {"", name}
        graph[name] = imported
        folders = {target.split(".")[1] for target in imported if target.count(".")}
        (folder,) = name.split(".")[1:2] or [""]
        shared = set() if folder in {"common", "datasets"} else {"common", "datasets"}
        assert folders <= {folder} | shared, (name, folders)
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(files)


def _module(name: str, modules: Container[str]) -> str:
    """The module that a dotted name is in, empty if it is none of these."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_a_python_that_does_not_start_is_named_by_make():
    command = ["make", "-n", "PYTHON=no-such-python", "install"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert "PYTHON=no-such-python does not start; name a Python from 3.11 up" in run.stderr


def test_files_of_tests_have_names_of_their_own():
    """Folders of tests are no packages, so that pytest knows a file by its name alone."""
    names = collections.Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


def test_losses_import_little():
    imported = {
        name.split(".")[0]
        for file in (ROOT / "jaxkd/losses").rglob("*.py")
        for name in _imported(file)
    }
    standard = {
        "__future__",
        "collections",
        "dataclasses",
        "functools",
        "inspect",
        "math",
        "typing",
    }
    assert imported <= {"jax", "numpy", "optax", "chex", "jaxkd", *standard}


def test_the_example_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1_200
    # tests/test_readme.py runs the sections behind it.
    example = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    lines = [line.split(": ") for line in python(example, cwd=tmp_path).splitlines()]
    accuracy = {line[0]: float(line[1]) for line in lines if len(line) == 2}
    assert set(accuracy) == {"teacher", "labels", "distilled"}
    assert accuracy["labels"] + 0.15 < accuracy["distilled"] < accuracy["teacher"]
