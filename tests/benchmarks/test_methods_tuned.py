"""The grids of benchmarks/methods_tuned.py, and what its table says of numbers that are known."""

import inspect
import json

import pytest

from benchmarks import methods_protocol, methods_tuned
from jaxkd import recipes
from jaxkd.study import strategy_arms


@pytest.mark.parametrize("name", methods_tuned.GRIDS)
def test_the_first_setting_of_a_grid_is_that_of_the_authors(name):
    if name in strategy_arms.NAMES:
        # Generations are a cost, not a setting to choose.
        defaults = {**strategy_arms.options(name), "generations": 1}
    else:
        defaults = recipes.get(name).options
    assert defaults
    for option, values in methods_tuned.GRIDS[name].items():
        assert values[0] == defaults[option]
        assert defaults[option] is not inspect.Parameter.empty
        assert len(set(values)) == len(values)


def entry(method, test, tried=()):
    known = {"teacher": 0.9, "epochs": 15, "versions": "jax", "training_seconds": [2.0, None]}
    return {**known, "method": method, "chosen": method, "tried": dict(tried), "test": test}


def test_the_table_says_what_the_seeds_show(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    entries = {
        "labels": entry("labels", [0.80, 0.81, 0.82]),
        "kd": entry("kd", [0.82, 0.83, 0.84001], {"default": 0.79, "better": 0.8, "none": None}),
        "ab": entry("ab", [0.70, 0.71, 0.72001]),
        "at": entry("at", [0.80, 0.82, 0.81]),
    }
    for name, each in entries.items():
        (parts / f"{name}.json").write_text(json.dumps(each), encoding="utf-8")
    methods_tuned.write_tables(parts, tmp_path)
    assert list(json.loads((tmp_path / "methods_tuned.json").read_text(encoding="utf-8"))) == [
        "labels", "kd", "ab", "at",
    ]  # fmt: skip
    rows = {row[0]: row for row in methods_tuned.make_table(entries).rows}
    assert [rows[name][3] for name in entries] == ["", "better", "worse", "no difference shown"]
    assert rows["kd"][4:6] == [0.79, 0.8]
    text = (tmp_path / "methods_tuned.md").read_text(encoding="utf-8")
    assert "| kd | 83.00 ± 1.00 | +2.00 ± 0.00 | better | 79.00 | 80.00 | 2.0 |" in text


def test_numbers_of_other_epochs_or_seeds_are_refused(tmp_path):
    file = tmp_path / "kd.json"
    file.write_text(json.dumps(entry("kd", [0.8, 0.9])), encoding="utf-8")
    methods_tuned.check_part(file, 15.0, 2)
    for epochs, seeds in ((5.0, 2), (15.0, 3)):
        with pytest.raises(ValueError, match="write --epochs=15 --seeds=2, or another --workdir"):
            methods_tuned.check_part(file, epochs, seeds)


def test_parts_of_the_data_have_no_example_in_common():
    data = methods_protocol.load(None)
    ids = {name: set(data[name].ids.tolist()) for name in ("train", "validation", "teacher")}
    assert not ids["validation"] & (ids["train"] | ids["teacher"])
    assert ids["train"] <= ids["teacher"]
    assert data["test"].split != data["train"].split
