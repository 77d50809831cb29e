"""The notebooks: how they are stored, what they import, and that they run and say what is true."""

import ast
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
from types import ModuleType

import pytest
from executing import code_cells

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

# What the text of each notebook says about its results, as expressions of its variables.
CLAIMS = {
    "compress": [
        "rows['cut'] + 0.2 < rows['cut, trained on'] > rows['trained'] - 0.04",
        "rows['8 bits, trained'] > rows['trained'] - 0.04",
        "sizes['trained'] > 15 * sizes['8 bits, trained'] and operations[0] > 4 * operations[1]",
        "{'stablehlo', 'safetensors'} <= set(result.files) and result.files['stablehlo'].exists()",
    ],
    "features_and_strategies": [
        "findings['kd'].kind == 'gain' and findings['by hand'].kind == 'gain'",
        "findings['fitnet on the pool'].interval[1] < -0.2 < findings['fitnet'].difference.mean",
        "all(matrix.shape == (3, 3) and matrix.max() <= 1.001 for matrix in alike.values())",
    ],
    "own_images": [
        "finding.kind == 'gain' and finding.interval[0] > 0.05",
        "results.teacher['test']['accuracy'] > results.values('labels').mean() + 0.2",
        "'views.transforms' in refusal",
    ],
    "population": [
        "len(jax.devices()) == 8 and kernel.addressable_shards[0].data.shape == (6, 32, 10)",
        "by_alpha[0] + 0.03 < by_alpha[2] and by_alpha[0] + 0.03 < by_alpha[3]",
        "largest < 1e-4",
    ],
    "quickstart": [
        "accuracies['labels alone'] + 0.05 < accuracies['distilled'] < accuracies['teacher']",
        "finding.kind == 'gain' and finding.interval[0] > 0.05",
    ],
    "text_offline": [
        "mass[16] > 0.6 and 25 < sizes[512] / sizes[16] < 35",
        "finding.kind == 'gain' and nats['teacher'] < nats['distilled'] < nats['labels'] - 0.05",
    ],
    "temperature_and_alpha": [
        "by_alpha[0.1] + 0.02 < min(by_alpha[0.5], by_alpha[0.9], by_alpha[1.0])",
        "max(by_alpha[alpha] for alpha in (0.5, 0.9, 1.0)) < by_alpha[0.5] + 0.02",
        "sorted_means[1.0][0] > 0.9 > sorted_means[8.0][0]",
        "finding.kind == 'gain' and len(tuning.tried.arms) == 16",
    ],
    "text_on_policy": [
        "max(measures[name][:, 0].mean() for name in ways) < measures['before'][:, 0].mean()",
        "max(measures[name][:, 1].mean() for name in ways) < measures['before'][:, 1].mean()",
        "abs(differences[:, 0].mean()) < 0.05 and differences[:, 2].mean() > 0",
    ],
}

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _texts(path: pathlib.Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def test_each_notebook_has_its_claims_and_is_on_its_page():
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    names = [path.stem for path in NOTEBOOKS]
    assert names == sorted(CLAIMS) and all(CLAIMS.values())
    assert sorted(re.findall(r"\(\.\./examples/(\w+)\.ipynb\)", page)) == names


@notebooks
def test_a_notebook_is_stored_in_format_4_5_and_without_outputs(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        parts = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            parts |= {"execution_count", "outputs"}
            assert cell["outputs"] == [] and cell["execution_count"] is None
        else:
            assert cell["cell_type"] == "markdown"
        assert set(cell) == parts and not cell["metadata"]
        assert "".join(cell["source"]).strip()
        assert all(line.endswith("\n") for line in cell["source"][:-1])


@notebooks
def test_a_notebook_says_what_it_is_for_installs_and_ends_with_what_to_read_next(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["cell_type"] for cell in cells[:2]] == ["markdown", "code"]
    texts = _texts(path)
    assert re.match(r"# \S.*\n\n\S", texts[0])
    assert re.fullmatch(r'# %pip install "jaxkd-distill\[[a-z,]+\]"', code_cells(path)[0])
    assert cells[-1]["cell_type"] == "markdown" and "## What to read next" in texts[-1]
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", "\n".join(texts))
    assert any(link.startswith("../docs/") for link in links)
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


@notebooks
def test_a_notebook_uses_public_names_alone(path):
    tree = ast.parse("\n".join(code_cells(path)))
    private = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr)
    ]
    assert not private
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for node in imported:
        if node.module.split(".")[0] == "jaxkd":
            module = importlib.import_module(node.module)
            for alias in node.names:
                known = alias.name in getattr(module, "__all__", [])
                assert known or isinstance(getattr(module, alias.name), ModuleType), alias.name
    called = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    for name in {name for name in called if re.match(r"jaxkd\.[\w.]+$", name)}:
        _resolve(name)


def _resolve(name: str) -> None:
    """Follows a dotted name from `jaxkd` on, as far as it leads through modules."""
    found = importlib.import_module("jaxkd")
    for part in name.split(".")[1:]:
        if not isinstance(found, ModuleType):
            return
        assert not part.startswith("_") and hasattr(found, part), name
        found = getattr(found, part)


@pytest.mark.slow
@notebooks
def test_a_notebook_runs_and_its_text_is_true(path, tmp_path):
    command = [sys.executable, ROOT / "tests" / "examples" / "executing.py", path]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    # As a user's process, with one device.
    environment.pop("XLA_FLAGS", None)
    run = subprocess.run(
        [*command, *CLAIMS[path.stem]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert "Warning" not in run.stderr
