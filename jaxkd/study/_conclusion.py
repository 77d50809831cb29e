"""What to do after a study: use the distilled student, leave it, or find out more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxkd.metrics.paired_difference import paired_difference

if TYPE_CHECKING:
    from jaxkd.study.comparison import Finding
    from jaxkd.study.results import StudyResults

_LEAST = 0.01
_FEWEST_POINTS = 4

RULE = """The conclusion is drawn from the 95 % interval of the difference between the chosen arm
    and the baseline over paired seeds, and from the learning curve: use it where the interval has
    gains alone; it brings nothing where the interval has losses alone, or no gain of 1 point (of
    1 % of the baseline, for a metric that is no fraction); otherwise, and where the last quarter
    of the training still brought a gain that the seeds show, more would tell."""
"""The rule, for the report."""


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """What the results of a study advise.

    Attributes:
      kind: `"use"` the arm; it brings `"nothing"`; `"open"`, more would tell; `""` without a second
        arm.
      arm: the arm that it is about.
      headline: the advice as one sentence.
    """

    kind: Literal["use", "nothing", "open", ""]
    arm: str
    headline: str


def conclude(results: StudyResults) -> Conclusion:
    """Draws the conclusion of a study, by `RULE`.

    It is about the arm that was chosen, or the best other one where the baseline was.

    Args:
      results: results of the study.

    Returns:
      The conclusion.
    """
    arm, best = subject_of(results), results.chosen or results.best(results.part)
    if arm == results.baseline:
        return Conclusion("", arm, "")
    finding = results.compare(arm)
    is_distilled = results[arm].arm.is_distilled
    subject = "distillation" if is_distilled else arm
    student = f"the distilled student ({arm})" if is_distilled else f"the student of {arm}"
    longer = Conclusion("open", arm, "More data or a longer schedule would tell.")
    nothing = Conclusion("nothing", arm, f"{subject[:1].upper()}{subject[1:]} brings nothing here.")
    if finding.interval is None:
        text = f"One seed cannot tell whether {subject} helps: three or more would."
        if len(results.seeds) > 1:
            text = f"The seeds cannot tell whether {subject} helps: all give the same difference."
        return Conclusion("open", arm, text)
    if finding.kind == "gain" and best == arm:
        return Conclusion("use", arm, f"Use {student}.")
    if finding.kind == "gain":
        text = "More data would tell: validation and test examples disagree."
        return Conclusion("open", arm, text)
    if finding.kind == "loss":
        return longer if _catches_up(results, arm) else nothing
    if _still_improves(results, results[arm].curve, arm):
        return longer
    if _largest_gain(results, finding) < _least(results):
        return nothing
    return Conclusion("open", arm, "More seeds or more data would tell.")


def subject_of(results: StudyResults) -> str:
    """Returns the arm that the conclusion of a study is about, as `conclude` says."""
    others = {name: each for name, each in results.arms.items() if name != results.baseline}
    best = results.chosen or results.best(results.part)
    if not others or best != results.baseline:
        return best
    return dataclasses.replace(results, arms=others).best(results.part)


def _least(results: StudyResults) -> float:
    """The smallest gain that would matter."""
    if results.measure.is_fraction:
        return _LEAST
    return _LEAST * abs(float(results.values(results.baseline).mean()))


def _largest_gain(results: StudyResults, finding: Finding) -> float:
    """The end of the interval that is better."""
    assert finding.interval is not None
    low, high = finding.interval
    return high if results.measure.higher_is_better else -low


def _catches_up(results: StudyResults, arm: str) -> bool:
    """Whether an arm came closer to the baseline in the last quarter of the training."""
    ours, theirs = results[arm], results[results.baseline]
    same = np.array_equal(ours.curve_steps, theirs.curve_steps)
    return same and _still_improves(results, ours.curve - theirs.curve, arm)


def _still_improves(results: StudyResults, curve: np.ndarray, arm: str) -> bool:
    """Whether the last quarter of the training brought a gain that the seeds show."""
    steps = np.asarray(results[arm].curve_steps)
    if steps.size < _FEWEST_POINTS or not np.isfinite(curve).all():
        return False
    before = int(np.searchsorted(steps, 0.75 * steps[-1]))
    if before >= steps.size - 1:
        return False
    sign = 1.0 if results.measure.higher_is_better else -1.0
    gain = paired_difference(sign * curve[:, -1], sign * curve[:, before])
    # A gain that nobody would notice is no reason to train longer.
    enough = gain.difference.mean >= _least(results)
    return gain.is_significant and gain.difference.mean > 0 and enough
