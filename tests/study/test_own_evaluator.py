"""A study whose students are measured by something else than metrics of batches."""

import re

import numpy as np
import pytest
from studies import make_data, make_student, make_study, run_killed

from jaxkd.metrics import Accuracy
from jaxkd.study import Evaluator, Study


class Ranks(Evaluator):
    """How the largest logits of all examples together rank beside the largest inputs."""

    def names(self, network):
        return ["correlation"]

    def scores(self, network):
        largest = self.logits(network).max(axis=1), self.examples.inputs.max(axis=1)
        return {"correlation": float(np.corrcoef(*largest)[0, 1])}

    def results(self, network):
        return {"logits": self.logits(network), "order": self.logits(network).max(1).argsort()}


class Others(Ranks):
    def scores(self, network):
        return {"correlation": abs(super().scores(network)["correlation"]) ** 2}


OWN = {"make_evaluator": Ranks, "metric": ("correlation", "max")}


def test_students_are_compared_by_the_scores_of_an_evaluator_of_ones_own(tmp_path):
    study = make_study(tmp_path, **OWN)
    results = study.run(progress=False)
    for name, result in results.arms.items():
        for part, scores in (("validation", result.validation), ("test", result.test)):
            logits = result.logits[part].max(axis=2)
            inputs = study.data[part].inputs.max(axis=1)
            expected = [np.corrcoef(each, inputs)[0, 1] for each in logits]
            np.testing.assert_allclose(scores["correlation"], expected, atol=1e-6)
            np.testing.assert_array_equal(result.arrays[part]["order"], logits.argsort(1))
        np.testing.assert_allclose(result.curve[:, -1], result.validation["correlation"])
        assert set(result.validation) == {"correlation"}, name
    assert results.measure.name == "correlation" and not results.percents
    assert results.chosen == max(results.arms, key=lambda n: results.values(n, "validation").mean())
    assert "Correlation, test" in results.table().to_markdown()
    with pytest.raises(ValueError, match=re.escape("holds results of something else")):
        study.replace(make_evaluator=Others).run(progress=False)


@pytest.mark.slow
def test_killed_while_it_measures_such_a_study_ends_in_the_same_numbers(tmp_path, monkeypatch):
    whole = make_study(tmp_path / "whole", **OWN).run(progress=False)
    killed = run_killed(monkeypatch, make_study(tmp_path / "killed", **OWN), of=Ranks)
    for name in whole.arms:
        for part, arrays in whole[name].arrays.items():
            np.testing.assert_array_equal(arrays["order"], killed[name].arrays[part]["order"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"make_evaluator": 3}, TypeError, "make_evaluator cannot be 3: write make_evaluator="),
        (
            {"metrics": {"accuracy": Accuracy()}},
            ValueError,
            "an evaluator of your own has its own scores",
        ),
        ({"metric": None}, ValueError, "write metric=('correlation', \"max\")"),
        ({"metric": ("corelation", "max")}, ValueError, "did you mean 'correlation'"),
        ({"make_evaluator": lambda *given: given}, TypeError, "must return an Evaluator, not"),
    ],
)
def test_what_cannot_measure_is_refused_with_the_line_to_write(tmp_path, change, error, message):
    options = {**OWN, "steps": 4, "arms": ["labels"], "workdir": tmp_path / "w", **change}
    with pytest.raises(error, match=re.escape(message)):
        Study(make_data(), make_student, **options).run(progress=False)
    assert not list(tmp_path.glob("w/labels"))
