"""The benchmark of convolutions in small sizes: that it runs and writes what it says."""

import re

import pytest

from benchmarks import convolutions
from benchmarks.convolution_parts import layers
from benchmarks.convolution_parts.cases import CASES
from jaxkd.ops._choice import form_of
from jaxkd.ops._forms import FORMS

TINY = ["--repetitions=1", "--seconds=0", "--batch_size=2"]


def cells(text, row):
    """The numbers of the first row that begins with a name."""
    (line, *_) = [line for line in text.splitlines() if line.startswith(f"| {row}")]
    return [float(cell) for cell in re.findall(r"\| ([\d.,]+) (?=\|)", line)]


@pytest.mark.slow
def test_a_network_and_a_population(tmp_path, capsys):
    path = tmp_path / "table.md"
    convolutions.main(["--only", "cnn", "population", f"--output={path}", *TINY])
    text = path.read_text(encoding="utf-8")
    assert min(cells(text, "cnn |")) > 0
    over_one, bound, with_xla = cells(text, "cnn, 8 steps in a loop")
    assert min(over_one, with_xla) > 0 and bound == 8.5
    assert cells(text, "ConvNet of 8, 16, 16 channels")[1] == 8.0
    assert "Above the bound for eight against one" in text
    assert "A training step" in capsys.readouterr().out


def test_a_layer(tmp_path):
    path = tmp_path / "table.md"
    convolutions.main(["--layers", "--only", "1×1, 3 → 24", f"--output={path}", *TINY])
    text = path.read_text(encoding="utf-8")
    for what in layers.KINDS.values():
        assert min(cells(text, f"1×1, 3 → 24, 32×32 | {what}")) > 0
    assert "in 3 of 3 cases" in text or "Farthest" in text


def test_every_layer_can_be_measured():
    assert len({layer.name for layer in layers.LAYERS}) == len(layers.LAYERS)
    for layer in layers.LAYERS:
        for kind in layers.KINDS:
            assert layers.applies(form_of(layer.problem, kind), layer.problem, kind)
    problems = [layer.problem for layer in layers.LAYERS]
    for name in FORMS:
        assert any(layers.applies(name, problem, "forward") for problem in problems)


def test_a_name_that_nothing_has_is_refused():
    with pytest.raises(SystemExit):
        convolutions.main(["--only", "a network that nobody has"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_twins_have_the_same_variables_and_logits(case):
    """`twin_of` refuses all else."""
    pytest.importorskip("torch")
    from benchmarks.convolution_parts import torch_steps

    twin, student = torch_steps.twin_of(case, case.student(), case.batch(4))
    parameters = sum(parameter.numel() for parameter in twin.parameters())
    assert sum(value.size for value in student.params.values()) == parameters
