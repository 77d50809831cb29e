import pathlib

import numpy as np
import pytest

from jaxkd.study import Arm, ArmResult, StudyResults
from jaxkd.study._conclusion import Measured, advise, conclude
from jaxkd.study._wording import counted, spread_over, with_minus
from jaxkd.study.measures import Measure

STEPS = np.array([25, 50, 75, 100])
BASE = np.array([0.80, 0.81, 0.79])
ACCURACY = Measure("accuracy", True, True)
ERROR = Measure("error", False, False)


def arm_result(method, values, late=0.0):
    """An arm whose curve still rises by `late` in the last quarter."""
    values = np.asarray(values, float)
    curve = values[:, None] - np.array([0.3, 0.2, late, 0.0])
    curve[:, 2] -= 0.1 * late * np.linspace(-1, 1, len(values))
    arm = method if isinstance(method, Arm) else Arm(method)
    seconds = np.ones(len(values))
    name = "error" if values.mean() > 1 else "accuracy"
    return ArmResult(arm, 100, {name: values}, {name: values}, STEPS, curve, seconds, {})


def results(measure=ACCURACY, chosen="kd", baseline=BASE, **arms):
    arms = {"labels": arm_result("labels", baseline), **arms}
    seeds = tuple(range(len(baseline)))
    path = pathlib.Path("nowhere")
    return StudyResults(arms, seeds, measure, "validation", chosen, {}, 1, path, None)


SURE = np.array([0.001, 0.0, -0.001])
WILD = np.array([0.05, -0.04, 0.02])


@pytest.mark.parametrize(
    ("change", "late", "kind", "headline"),
    [
        (0.03 + SURE, 0.0, "use", "Use the distilled student (kd)."),
        (-0.03 + SURE, 0.0, "nothing", "Distillation brings nothing here."),
        (SURE, 0.0, "nothing", "Distillation brings nothing here."),
        (WILD, 0.0, "open", "More seeds or more data would tell."),
        (SURE, 0.03, "open", "More data or a longer schedule would tell."),
        (SURE, 0.004, "nothing", "Distillation brings nothing here."),
        (-0.03 + SURE, 0.03, "open", "More data or a longer schedule would tell."),
    ],
)
def test_the_rule(change, late, kind, headline):
    found = conclude(results(kd=arm_result("kd", BASE + change, late)))
    assert (found.kind, found.arm, found.headline) == (kind, "kd", headline)


def test_an_error_is_better_where_it_is_smaller():
    base = 10 * BASE
    for sign, kind in ((-1, "use"), (1, "nothing")):
        kd = arm_result("kd", base + sign * (0.3 + SURE))
        assert conclude(results(ERROR, baseline=base, kd=kd)).kind == kind
    # A hundredth of the baseline is what matters.
    assert conclude(results(ERROR, baseline=base, kd=arm_result("kd", base + SURE))).kind == (
        "nothing"
    )


def test_without_curves_a_longer_schedule_is_no_advice():
    found = advise("kd", Measured(BASE + WILD), Measured(BASE))
    assert (found.kind, found.headline) == ("open", "More seeds or more data would tell.")
    assert advise("kd", Measured(BASE - 0.1 + SURE), Measured(BASE)).kind == "nothing"
    smooth = advise("smoothing", Measured(BASE + 0.1 + SURE), Measured(BASE), is_distilled=False)
    assert smooth.headline == "Use the student of smoothing."


def test_one_seed_and_one_arm_tell_nothing():
    one = conclude(results(baseline=BASE[:1], kd=arm_result("kd", BASE[:1] + 0.1)))
    assert one.kind == "open" and one.headline.startswith("One seed cannot tell")
    assert conclude(results(chosen=None)).kind == conclude(results(chosen=None)).headline == ""


def test_seeds_that_all_give_the_same_difference_tell_nothing():
    for change in (0.05, -0.05):
        found = conclude(results(kd=arm_result("kd", BASE + change)))
        assert found.kind == "open" and "all give the same difference" in found.headline


def test_a_chosen_baseline_is_set_against_the_best_other_arm():
    arms = {"kd": arm_result("kd", BASE - 0.02 + SURE), "dkd": arm_result("dkd", BASE - 0.1)}
    found = conclude(results(chosen="labels", **arms))
    assert (found.kind, found.arm) == ("nothing", "kd")
    # Better on the test examples, but not on those that choose.
    gains = conclude(results(chosen="labels", kd=arm_result("kd", BASE + 0.02 + SURE)))
    assert gains.kind == "open" and "disagree" in gains.headline


def test_without_a_teacher_it_is_not_called_distilled():
    smooth = arm_result("label smoothing", BASE + 0.03 + SURE)
    found = conclude(results(chosen="smooth", smooth=smooth))
    assert found.headline == "Use the student of smooth."


def test_the_report_begins_with_the_conclusion_and_ends_with_how_it_was_made():
    report = results(kd=arm_result("kd", BASE + 0.03 + SURE)).report("R")
    assert report.headline == "Use the distilled student (kd)."
    assert "kd was chosen on the validation examples. kd against labels helps" in report.summary
    assert [section.title for section in report.sections] == ["Arms", "How this was made"]
    assert "6.0 s" in [row[1] for row in report.sections[-1].tables[0].rows]
    headings = results(kd=arm_result("kd", BASE)).table().headings
    assert headings[1:3] == ["Accuracy, test (%)", "Against labels (points)"]


def test_numbers_in_text():
    assert (
        with_minus("-1.5 to -0.00, x-1, 1e-5, -0.01") == "\u22121.5 to 0.00, x-1, 1e-5, \u22120.01"
    )
    assert spread_over(1) == "One student (seed), without spread"
    assert spread_over(3) == "Mean ± standard deviation of 3 students (seeds)"
    assert [counted(n, "seed") for n in (1, 2000)] == ["1 seed", "2,000 seeds"]
