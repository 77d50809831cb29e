"""A case of other libraries that cannot run, or is wrong, has a row that says so."""

import pytest

from benchmarks import outside
from benchmarks.outside_parts import data, models
from benchmarks.outside_parts.comparing import Case, Compared


def row(run, *packages):
    return outside.row_of(Case("a case", packages, run, 2))


def test_absent_packages_and_failures_are_in_the_table():
    line, failed = row(lambda: Compared(0.0), "flax", "no-such-package")
    assert ", no-such-package absent | 2 | – | – |" in line and not failed
    line, failed = row(lambda: [][1], "numpy")
    assert "failed: IndexError: list index out of range" in line and failed
    line, failed = row(lambda: Compared(0.0, 2e-7), "numpy")
    assert line.endswith("| 2 | 0 | 2e-07 |") and not failed


def test_lines_are_those_that_one_writes():
    lines = {case.name: case.lines for case in (*models.cases(), *data.cases())}
    assert len(lines) > 25 and lines["Haiku: a perceptron"] == 1
    assert max(lines.values()) <= 9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NumPy: a function", "Grain: a pipeline in `fit`"])
def test_cached_equals_online(name):
    case = next(case for case in (*models.cases(), *data.cases()) if case.name == name)
    line, failed = outside.row_of(case)
    assert "| 0 |" in line and not failed
