"""What to do after a study: use the distilled student, leave it, or find out more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics.paired_difference import paired_difference
from jaxkd.study._smaller import smaller_arms, smallest
from jaxkd.study.comparison import compare
from jaxkd.study.measures import Measure

if TYPE_CHECKING:
    from jaxkd.study.results import StudyResults

ACCURACY = Measure("accuracy", higher_is_better=True, is_fraction=True)
"""What most experiments compare."""

_LEAST = 0.01
_FEWEST_POINTS = 4

RULE = """The conclusion is drawn from the 95 % interval of the difference between the chosen arm
    and the baseline over paired seeds, and from the learning curve: use it where the interval has
    gains alone; it brings nothing where the interval has losses alone, or no gain of 1 point (of
    1 % of the baseline, for a metric that is no fraction); otherwise, and where the last quarter
    of the training still brought a gain that the seeds show, more would tell. Where the baseline
    was chosen and another arm gains on the test examples, the two disagree, and more data would
    tell."""
"""The rule, for the report."""


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """What the results of a study advise.

    Attributes:
      kind: `"use"` the arm; it brings `"nothing"`; `"open"`, more would tell; it is `"smaller"`;
        `""` without a second arm.
      arm: the arm that it is about.
      headline: the advice as one sentence, and another one on the smallest student of a pipeline.
    """

    kind: Literal["use", "nothing", "open", "smaller", ""]
    arm: str
    headline: str


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an arm gave, as far as a conclusion needs it.

    Attributes:
      values: the compared metric at the last step `[seeds]`.
      steps: steps of the evaluations during training `[points]`; empty where they are not known.
      curve: the metric at them `[seeds, points]`.
    """

    values: ArrayLike
    steps: ArrayLike = ()
    curve: ArrayLike = ()

    @classmethod
    def of(cls, values: ArrayLike, result: Any) -> Measured:
        """Returns values with the learning curve of the `ArmResult`, or the like, of an arm."""
        return cls(values, result.curve_steps, result.curve)


def advise(
    arm: str,
    ours: Measured,
    theirs: Measured,
    *,
    measure: Measure = ACCURACY,
    is_distilled: bool = True,
) -> Conclusion:
    """Draws the conclusion on an arm against a baseline, by `RULE`.

    Args:
      arm: name of the arm.
      ours: what it gave.
      theirs: what the baseline gave, with the same seeds.
      measure: what the values are.
      is_distilled: whether the arm has a teacher.

    Returns:
      The conclusion.
    """
    subject = "distillation" if is_distilled else arm
    student = f"the distilled student ({arm})" if is_distilled else f"the student of {arm}"
    longer = Conclusion("open", arm, "More data or a longer schedule would tell.")
    nothing = Conclusion("nothing", arm, f"{subject[:1].upper()}{subject[1:]} brings nothing here.")
    values, baseline = (np.asarray(each.values, float) for each in (ours, theirs))
    finding = compare(
        arm,
        values,
        baseline,
        format=measure.difference,
        higher_is_better=measure.higher_is_better,
    )
    if finding.interval is None:
        text = f"One seed cannot tell whether {subject} helps: three or more would."
        if values.size > 1:
            text = f"The seeds cannot tell whether {subject} helps: all give the same difference."
        return Conclusion("open", arm, text)
    if finding.kind == "gain":
        return Conclusion("use", arm, f"Use {student}.")
    sign = 1.0 if measure.higher_is_better else -1.0
    least = _LEAST
    if not measure.is_fraction:
        least *= abs(float(baseline.mean()))
    steps, curve = np.asarray(ours.steps), sign * np.asarray(ours.curve, float)
    if finding.kind == "loss":
        same = np.array_equal(steps, theirs.steps)
        behind = curve - sign * np.asarray(theirs.curve, float) if same else curve
        return longer if same and _still_improves(steps, behind, least) else nothing
    if _still_improves(steps, curve, least):
        return longer
    low, high = finding.interval
    if (high if measure.higher_is_better else -low) < least:
        return nothing
    return Conclusion("open", arm, "More seeds or more data would tell.")


def conclude(results: StudyResults) -> Conclusion:
    """Draws the conclusion of a study, by `RULE`, and by `SIZE_RULE` for pipelines.

    It is about the arm that was chosen, or the best other one where the baseline was. What is said
    of a pipeline that is smaller, and not better, is what it saves.

    Args:
      results: results of the study.

    Returns:
      The conclusion.
    """
    arm, best = subject_of(results), results.chosen or results.best(results.part)
    if arm == results.baseline:
        return Conclusion("", arm, "")
    ours, theirs = (
        Measured.of(results.values(name), results[name]) for name in (arm, results.baseline)
    )
    is_distilled = results[arm].arm.is_distilled
    conclusion = advise(arm, ours, theirs, measure=results.measure, is_distilled=is_distilled)
    if conclusion.kind == "use" and best != arm:
        text = "More data would tell: validation and test examples disagree."
        conclusion = Conclusion("open", arm, text)
    return _with_size(results, conclusion)


def _with_size(results: StudyResults, conclusion: Conclusion) -> Conclusion:
    """Adds what the smallest student saves, the purpose of a pipeline."""
    if (small := smallest(results)) is None:
        return conclusion
    saves = {each.arm for each in smaller_arms(results)}
    if conclusion.kind != "use" and conclusion.arm in saves:
        return Conclusion("smaller", conclusion.arm, small.advice)
    is_same = conclusion.kind == "use" and small.arm == conclusion.arm
    more = f"It has {small.fact}." if is_same else small.advice
    return dataclasses.replace(conclusion, headline=f"{conclusion.headline} {more}")


def subject_of(results: StudyResults) -> str:
    """Returns the arm that the conclusion of a study is about, as `conclude` says."""
    others = {name: each for name, each in results.arms.items() if name != results.baseline}
    best = results.chosen or results.best(results.part)
    if not others or best != results.baseline:
        return best
    return dataclasses.replace(results, arms=others).best(results.part)


def _still_improves(steps: np.ndarray, curve: np.ndarray, least: float) -> bool:
    """Whether the last quarter of a curve where more is better has a gain that the seeds show."""
    if steps.size < _FEWEST_POINTS or not np.isfinite(curve).all():
        return False
    before = int(np.searchsorted(steps, 0.75 * steps[-1]))
    if before >= steps.size - 1:
        return False
    gain = paired_difference(curve[:, -1], curve[:, before])
    # A gain that nobody would notice is no reason to train longer.
    return gain.is_significant and gain.difference.mean >= max(least, 1e-12)
