"""The GPU benchmark in sizes for a CPU: that it runs and writes what it says, not how fast."""

import json
import math
import subprocess
import sys

import pytest

from benchmarks import gpu
from benchmarks.gpu_parts import results


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("part", list(gpu.PARTS))
def test_a_part_writes_finite_numbers(part, tmp_path):
    assert gpu.main(["--out", str(tmp_path), "--tiny", "--here=60", "--only", part]) == 0
    found = load(tmp_path / f"{part}.json")
    assert found["done"] and found["error"] is None and found["rows"]
    assert found["about"]["sizes"] == "tiny" and found["about"]["jax"]
    for row in found["rows"]:
        assert not row["failed"]
        assert row["numbers"] or row["note"]
        assert all(math.isfinite(value) for value in row["numbers"].values()), row
        counts = ("Implicit transfers", "Compilations after the first step")
        measured = {k: v for k, v in row["numbers"].items() if k not in counts}
        if part != "pytorch":  # differences of losses may be zero
            assert all(value > 0 for value in measured.values()), row
    if part == "guard":
        assert all(goal["met"] for row in found["rows"] for goal in row["goals"])
    if part not in ("generation", "pytorch"):
        assert any(row["goals"] for row in found["rows"])
    table = (tmp_path / f"{part}.md").read_text(encoding="utf-8")
    assert all(row["case"] in table for row in found["rows"])
    summary = load(tmp_path / "summary.json")
    assert len(summary["goals"]) == sum(len(row["goals"]) for row in found["rows"])


@pytest.mark.slow
def test_each_part_has_a_process_and_all_fit_into_nine_minutes(tmp_path):
    assert sum(seconds for *_, seconds in gpu.PARTS.values()) < 60 * gpu.MINUTES
    command = [sys.executable, gpu.__file__, "--out", tmp_path, "--tiny", "--only", "cache"]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert load(tmp_path / "cache.json")["done"]
    assert "cache: at most 540 s" in run.stdout and "# One GPU" in run.stdout


def test_a_part_that_fails_stops_no_other(tmp_path):
    """The second of three rows cannot be measured, and afterwards the part itself breaks."""

    def rows():
        yield results.Row("first", {"ms": 1.0}, (results.Goal("ratio", 2.0, 1.0),))
        yield results.attempted("second", lambda: 1 / 0)
        yield results.Row("third", {"ms": 3.0})
        raise RuntimeError("broken\nfor good")

    results.record(tmp_path, "one", "One", rows, {"device": "none"})
    results.record(tmp_path, "two", "Two", lambda: iter([results.Row("fine")]), {})
    assert not results.summarize(tmp_path, ["one", "two", "three"])
    found = load(tmp_path / "one.json")
    assert [row["failed"] for row in found["rows"]] == [False, True, False]
    assert found["error"] == "RuntimeError: broken"
    summary = load(tmp_path / "summary.json")
    assert [goal["met"] for goal in summary["goals"]] == [False]
    assert "ZeroDivisionError" in summary["notes"][0]["what"]
    assert "Two" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_numbers_that_are_not_finite_are_an_error(tmp_path):
    bad = [results.Row("bad", {"ms": math.nan})]
    results.record(tmp_path, "one", "One", lambda: iter(bad), {})
    assert load(tmp_path / "one.json")["error"] == "ValueError: bad: ['ms'] are not finite"


def test_a_process_that_takes_too_long_is_ended_and_its_rows_stay(tmp_path):
    results.record(tmp_path, "one", "One", lambda: iter([results.Row("kept")]), {})
    part = load(tmp_path / "one.json")
    results.write(tmp_path, {**part, "done": False})
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    why = gpu.run_for(command, {}, 0.2)
    results.interrupted(tmp_path, "one", "One", why)
    results.interrupted(tmp_path, "two", "Two", why)
    one, two = (load(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert why in one["error"] and [row["case"] for row in one["rows"]] == ["kept"]
    assert why in two["error"] and two["rows"] == []


def test_a_missing_package_is_no_failure(tmp_path):
    row = results.not_installed("Other", "a-package-that-nobody-has")
    assert row.note == "a-package-that-nobody-has: not installed" and not row.failed
    assert results.not_installed("JAX", "jax") is None
    results.record(tmp_path, "one", "One", lambda: iter([row]), {})
    assert results.summarize(tmp_path, ["one"])


@pytest.mark.parametrize(
    ("value", "at_least", "met"), [(1.0, False, True), (1.1, False, False), (1.1, True, True)]
)
def test_goals(value, at_least, met):
    goal = results.Goal("ratio", value, 1.0, at_least)
    assert goal.met is met and goal.wanted == ("≥ 1" if at_least else "≤ 1")
