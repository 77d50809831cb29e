"""Imports among the experiments run downhill: config, run, report, __main__."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in (ROOT / "experiments").rglob("*.py")
}
EXPERIMENTS = sorted({name.split(".")[1] for name in MODULES if name.endswith(".__main__")})
ORDER = ["config", "run", "report", "__main__"]


def imported(file):
    """The modules of experiments that a file imports, wherever in it and for whatever reason."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("experiments"):
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            names |= inside or {node.module}
    return names


def test_no_import_goes_in_a_circle():
    graph = {name: imported(file) for name, file in MODULES.items()}

    def follow(name, path):
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name in graph:
            for other in graph[name]:
                follow(other, [*path, name])
            graph[name] = set()  # known to lead nowhere

    for name in MODULES:
        follow(name, [])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_imports_downhill(experiment):
    """What comes later in the order imports what comes earlier, and no other experiment."""
    for name, file in MODULES.items():
        _, folder, *rest = [*name.split("."), ""]
        if folder != experiment:
            continue
        for other in imported(file):
            _, other_folder, *other_rest = [*other.split("."), ""]
            assert other_folder in (experiment, "common", "datasets", ""), (name, other)
            if other_folder == experiment and rest[0] in ORDER and other_rest[0] in ORDER:
                assert ORDER.index(other_rest[0]) < ORDER.index(rest[0]), (name, other)


def test_what_is_shared_imports_no_experiment():
    for name, file in MODULES.items():
        if name.startswith(("experiments.common", "experiments.datasets")):
            folders = {other.split(".")[1] for other in imported(file) if "." in other}
            assert folders <= {"common", "datasets"}, (name, folders)
