"""The attacks on the contract: a few of them, and that each kind of outcome is told apart."""

import json
import pathlib

import pytest

from benchmarks import contract_attacks
from benchmarks.contract_attacks_parts import (
    attempts,
    builders,
    inputs,
    opening,
    pairs,
    placements,
    races,
    reports,
    same,
    setting,
    wrong,
)
from benchmarks.contract_attacks_parts.attempts import Attack, Folder
from benchmarks.contract_attacks_parts.builders import Builder, Result


def raised(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (lambda: None, attempts.ACCEPTED),
        (raised(ValueError("the teacher.outputs differ")), attempts.REFUSED),
        (raised(ValueError("something is wrong")), attempts.UNNAMED),
        (raised(AttributeError("teacher.outputs")), attempts.UNNAMED),
    ],
)
def test_outcomes(call, outcome, tmp_path):
    attack = Attack("kind", "name", lambda folder: [("open", call)], ("teacher.",))
    assert [o.outcome for o in attempts.tried(attack, Folder(tmp_path))] == [outcome]


def test_an_attack_that_cannot_be_prepared_counts_as_wrong(tmp_path):
    attack = Attack("kind", "name", lambda folder: 1 / 0)
    report = reports.of_attacks([attack], tmp_path, wanted="refused", seed=0, first=None)
    assert report["rows"]["kind"] == {"cases": 1, "attempts": 1, "right": 0, "whole": 0}
    assert "not tried" in report["wrong"][0] and "ZeroDivisionError" in report["wrong"][0]


def test_enough_is_tried():
    attacks = [attack for module in wrong.MODULES for attack in module.attacks()]
    cases = list(same.attacks())
    assert len(attacks) >= 90 and len(cases) >= 45
    assert len({(a.kind, a.name) for a in attacks}) == len(attacks)
    assert len({(a.kind, a.name) for a in cases}) == len(cases)
    assert len(races.KINDS) * 2 * races.TIMES >= 100


def test_a_changed_example_is_refused_everywhere(tmp_path):
    attack = next(a for a in inputs.attacks() if a.name == "one pixel of one image")
    outcomes = list(attempts.tried(attack, Folder(tmp_path)))
    assert {o.entrance for o in outcomes} >= {"open", "build", "extend", "fill", "check", "Loader"}
    assert {o.outcome for o in outcomes} == {attempts.REFUSED}, outcomes


def test_a_moved_cache_is_accepted_everywhere(tmp_path):
    attack = next(a for a in same.attacks() if a.name == "renamed")
    outcomes = list(attempts.tried(attack, Folder(tmp_path)))
    assert {o.outcome for o in outcomes} == {attempts.ACCEPTED}, outcomes


def test_a_race_in_threads_and_what_would_be_wrong(tmp_path):
    expected = [builders.outputs(0)] * 3
    racing = [Builder("write"), Builder("write")]
    results = builders.in_threads(str(tmp_path / "race"), racing, "")
    assert not races.judged(tmp_path / "race", racing, results, expected, "")
    two = [Builder("write"), Builder("write", teacher=1)]
    both = [Result("complete"), Result("complete")]
    problems = races.judged(tmp_path / "race", two, both, expected, "")
    assert "two teachers report success" in problems[0]


def test_a_placement_is_made_and_undone(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"1"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c = map(pathlib.Path, "abc")
    assert placements._exchange(a, b)(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"2"
    assert not placements._exchange(b, c)(tmp_path)


def test_pairs_of_teachers_differ():
    """A pair that computes the same would be no attack."""
    import numpy as np

    data = setting.dataset().read(np.arange(8)).astype(np.float32) / 255
    for name, make in pairs.PAIRS[:12]:
        right = np.asarray(make(False)(data)["logits"])
        assert not np.allclose(right, np.asarray(make(True)(data)["logits"]), atol=1e-3), name


def test_tables_have_a_column_of_before(tmp_path):
    rows = {"kind": {"cases": 2, "attempts": 6, "right": 6, "whole": 2}}
    report = {"rows": rows, "wrong": [], "wanted": "refused", "seconds": 1.0}
    earlier = {"rows": {"kind": {**rows["kind"], "whole": 1}}}
    reports.write({"A": report}, {"A": earlier}, {"A": "Wrong"}, tmp_path)
    text = (tmp_path / "contract_attacks.md").read_text(encoding="utf-8")
    assert "| kind | 2 | 2 | 6 | 6 | 1 |" in text


def test_the_counts_of_before_are_of_the_same_kinds():
    before = json.loads(contract_attacks.BEFORE.read_text(encoding="utf-8"))
    kinds = {attack.kind for module in wrong.MODULES for attack in module.attacks()}
    assert set(before["A"]["rows"]) == kinds
    assert set(before["B"]["rows"]) == {attack.kind for attack in same.attacks()}
    for row in (*before["A"]["rows"].values(), *before["B"]["rows"].values()):
        assert row["whole"] <= row["cases"] and row["right"] <= row["attempts"]


def test_the_limits_of_opening():
    assert opening.LIMITS["opening without spot checks, ms"](1.1)
    assert not opening.LIMITS["random records from files, 1,000/s"](0.8)


@pytest.mark.slow
@pytest.mark.parametrize("part", list(contract_attacks.PARTS))
def test_a_part_runs(part, tmp_path):
    assert contract_attacks.main(["--only", part, "--first", "1", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "contract_attacks.md").read_text(encoding="utf-8").startswith("# Attacks")
