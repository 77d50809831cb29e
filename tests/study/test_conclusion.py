import dataclasses
import pathlib

import numpy as np
import pytest

from jaxkd.study import Arm, ArmResult, StudyResults, pipeline
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


DENSE = {"parameters": 850_000.0, "nonzero": 850_000.0, "bytes": 3.4e6, "flops": 4.8e6}
PRUNED = {"parameters": 225_000.0, "nonzero": 225_000.0, "bytes": 0.9e6, "flops": 1.2e6}
MASKED = {**DENSE, "nonzero": 170_000.0}
FACTORED = {**DENSE, "flops": 2.4e6}
SMALL = pipeline("kd", "prune", name="small")


def with_costs(result, costs):
    costs = {name: np.full(len(result.seconds), value) for name, value in costs.items()}
    return dataclasses.replace(result, costs=costs)


def compressed(change, costs=PRUNED, kd=0.03 + SURE, chosen="kd", baseline=BASE, **more):
    """Results of labels, `kd` that is better, and a pipeline that begins with it."""
    better, small = (baseline + each[: len(baseline)] for each in (kd, kd + change))
    arms = {"labels": baseline, "kd": better, "small": small}
    made = {n: with_costs(arm_result(n, v), DENSE) for n, v in arms.items() if n != "small"}
    made["small"] = with_costs(arm_result(SMALL, small), costs)
    found = results(chosen=chosen, baseline=baseline)
    return dataclasses.replace(found, arms=made | more)


@pytest.mark.parametrize(
    ("change", "costs", "advice"),
    [
        (
            -0.003 + 2 * SURE,
            PRUNED,
            "Where size counts, use small: 0.9 MB instead of 3.4 MB (kd), at 0.30 ± 0.20 points "
            "less accuracy, no difference that these seeds can show.",
        ),
        (
            -0.023 + SURE,
            PRUNED,
            "small has 0.9 MB instead of 3.4 MB (kd), at 2.30 ± 0.10 points less accuracy.",
        ),
        (
            0.01 + SURE,
            MASKED,
            "Where size counts, use small: 170,000 instead of 850,000 parameters that are not zero "
            "(kd), at 1.00 ± 0.10 points more accuracy.",
        ),
        (
            WILD,
            FACTORED,
            "small has 2.4 MFLOPs instead of 4.8 MFLOPs for a forward pass (kd), at 1.00 ± 4.58 "
            "points more accuracy; more seeds would tell whether that is a loss.",
        ),
        (0.0 * SURE, DENSE, ""),
    ],
)
def test_a_pipeline_is_judged_by_what_it_saves(change, costs, advice):
    found = conclude(compressed(np.asarray(change), costs))
    assert found.headline == f"Use the distilled student (kd). {advice}".strip()
    assert (found.kind, found.arm) == ("use", "kd")


def test_a_pipeline_is_not_advised_for_being_level_with_a_training_that_lost():
    found = conclude(compressed(0.0 * SURE, kd=-0.03 + SURE, chosen="labels"))
    assert "use small" not in found.headline
    assert found.headline.endswith(
        "small has 0.9 MB instead of 3.4 MB (labels), at 3.00 ± 0.10 points less accuracy."
    )


def test_a_pipeline_that_is_no_better_than_labels_is_not_told_to_bring_nothing():
    only = compressed(-0.03 + SURE, chosen="labels")
    only = dataclasses.replace(only, arms={n: only[n] for n in ("labels", "small")})
    found = conclude(only)
    assert (found.kind, found.arm) == ("smaller", "small")
    assert found.headline.startswith("Where size counts, use small: 0.9 MB instead of 3.4 MB (lab")
    report = only.report("R")
    assert report.summary.count("small against labels") == 1
    (finding,) = report.sections[0].findings
    assert finding.text.endswith(
        "small has 0.9 MB instead of 3.4 MB and 1.2 MFLOPs instead of 4.8 MFLOPs for a forward "
        "pass."
    )
    assert "Of those that cost less" in report.sections[0].text
    # One that is better as well needs no second name, and one seed tells no difference.
    better = conclude(compressed(0.001 + SURE, chosen="small"))
    start = "Use the distilled student (small). It has 0.9 MB instead of 3.4 MB (kd), at 0.10"
    assert better.kind == "use" and better.headline.startswith(start)
    alone = conclude(compressed(-0.003 + SURE, baseline=BASE[:1]))
    assert alone.headline.endswith("; there is no interval that could tell a difference.")


def test_the_smallest_student_is_chosen_where_arms_are_chosen():
    tiny = arm_result(pipeline("kd", "prune", "qat", name="tiny"), BASE + 0.03 + SURE)
    costs = {"parameters": 225_000.0, "nonzero": 225_000.0, "bytes": 225e3, "flops": 1.2e6}
    tiny = with_costs(tiny, costs)
    assert "use tiny: 225 kB instead of 3.4 MB" in conclude(compressed(SURE, tiny=tiny)).headline
    worse = dataclasses.replace(tiny, validation={"accuracy": BASE - 0.05 + SURE})
    assert "use small: 0.9 MB" in conclude(compressed(SURE, tiny=worse)).headline
    # Both are worse: the better one.
    both = conclude(compressed(-0.06 + 2 * SURE, tiny=worse))
    assert "small has 0.9 MB instead of 3.4 MB (kd), at 6.00" in both.headline


def test_numbers_in_text():
    assert (
        with_minus("-1.5 to -0.00, x-1, 1e-5, -0.01") == "\u22121.5 to 0.00, x-1, 1e-5, \u22120.01"
    )
    assert spread_over(1) == "One student (seed), without spread"
    assert spread_over(3) == "Mean ± standard deviation of 3 students (seeds)"
    assert [counted(n, "seed") for n in (1, 2000)] == ["1 seed", "2,000 seeds"]
