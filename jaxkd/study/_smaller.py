"""What a pipeline is for: a smaller student, beside what it costs in the compared metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jaxkd.metrics.spread import Spread
from jaxkd.study._wording import with_minus
from jaxkd.study.comparison import Finding
from jaxkd.study.pipelines import Pipeline
from jaxkd.study.tables import FORMATS, Format

if TYPE_CHECKING:
    from jaxkd.study.results import StudyResults

SIZE_RULE = """A student of several stages is set against that of its first training where this is
    an arm that is no worse than the baseline on the examples that choose, and against the baseline
    otherwise. Of those that cost less the conclusion names the smallest one that is not worse on
    the examples that choose, by as much as the seeds show or by more than 1 point (1 %, for a
    metric that is no fraction); where all are, the best one."""
"""The rule, for the report."""

_LEAST = 0.01
_SAVED = 1.01
_UNITS = {
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "flops": ((1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs")),
}


@dataclasses.dataclass(frozen=True)
class Smaller:
    """A pipeline whose student costs less than the one that it is compared with.

    Attributes:
      arm: the pipeline.
      reference: the arm that it is compared with.
      saved: what its student has instead of what, the size first.
      finding: the difference in the compared metric.
      amount: this difference in words, `"0.30 ± 0.40 points less accuracy"`.
      is_close: whether there is an interval without a loss that matters.
      resource: `"size"`, or `"computation"` where FLOPs alone are fewer.
    """

    arm: str
    reference: str
    saved: tuple[str, ...]
    finding: Finding
    amount: str
    is_close: bool
    resource: str

    @property
    def fact(self) -> str:
        """Returns what it saves, at what price, and what the seeds show of that."""
        text, kind = f"{self.saved[0]} ({self.reference}), at {self.amount}", self.finding.kind
        if self.finding.interval is None:
            return f"{text}; there is no interval that could tell a difference"
        if kind == "none" and not self.is_close:
            return f"{text}; more seeds would tell whether that is a loss"
        return text + ", no difference that these seeds can show" * (kind == "none")

    @property
    def advice(self) -> str:
        """Returns the sentence for the conclusion."""
        is_advised = self.finding.kind != "loss" and self.is_close
        if not is_advised:
            return f"{self.arm} has {self.fact}."
        return f"Where {self.resource} counts, use {self.arm}: {self.fact}."

    @property
    def full_finding(self) -> Finding:
        """Returns the difference in the compared metric with all that is saved."""
        text = f"{self.finding.text} {self.arm} has {' and '.join(self.saved)}."
        return dataclasses.replace(self.finding, text=text)


def smaller_arms(results: StudyResults) -> list[Smaller]:
    """Returns the pipelines whose students cost less than those that they are compared with."""
    found = (_smaller(results, name) for name in results.arms)
    return [each for each in found if each is not None]


def smallest(results: StudyResults) -> Smaller | None:
    """Returns the one that the conclusion names, by `SIZE_RULE`; None where there is none."""
    found = {each.arm: each for each in smaller_arms(results)}
    if not found:
        return None

    # Chosen like everything else on the examples that choose; the numbers are those of the test.
    def loss_of(each: Smaller) -> tuple[bool, float]:
        finding = results.compare(each.arm, each.reference, results.part)
        assert finding.difference is not None
        loss = -_signed(results, finding.difference.mean)
        return finding.kind != "loss" and loss <= _least(results, each.reference), loss

    losses = {name: loss_of(each) for name, each in found.items()}
    if fitting := [name for name, (fits, _) in losses.items() if fits]:
        return found[min(fitting, key=lambda name: _size(results, name))]
    return found[min(losses, key=lambda name: losses[name][1])]


def _smaller(results: StudyResults, name: str) -> Smaller | None:
    arm = results[name].arm
    if not isinstance(arm, Pipeline):
        return None
    first = results.arms.get(arm.first.name)
    plain = first is not None and not isinstance(first.arm, Pipeline)
    reference = arm.first.name if plain else results.baseline
    if plain and results.baseline not in (name, reference):
        difference = results.compare(reference, results.baseline, results.part).difference
        assert difference is not None
        if _signed(results, difference.mean) < 0:
            reference = results.baseline
    if reference == name:
        return None
    ours, theirs = (_costs(results, each) for each in (name, reference))
    less = [cost for cost in ours if theirs.get(cost, 0.0) > _SAVED * ours[cost]]
    if not less:
        return None
    finding = results.compare(name, reference)
    low, high = finding.interval or (math.nan, math.nan)
    worst = _signed(results, low if results.measure.higher_is_better else high)
    return Smaller(
        name,
        reference,
        tuple(_saved(ours, theirs)),
        finding,
        _amount(results, finding),
        is_close=worst > -_least(results, reference),
        resource="computation" if less == ["flops"] else "size",
    )


def _costs(results: StudyResults, name: str) -> dict[str, float]:
    costs = {cost: float(values.mean()) for cost, values in results[name].costs.items()}
    return {cost: value for cost, value in costs.items() if not math.isnan(value)}


def _saved(ours: dict[str, float], theirs: dict[str, float]) -> Iterable[str]:
    """What one has instead of the other, where they differ by more than a hundredth."""

    def differ(cost: str) -> bool:
        values = sorted(each.get(cost, math.nan) for each in (ours, theirs))
        return values[1] > _SAVED * values[0]

    if differ("bytes"):
        yield _pair("bytes", ours, theirs)
    # Fewer numbers are what fewer bytes say, but where some of them are zero.
    if ours.get("nonzero", 0.0) < 0.99 * ours.get("parameters", 0.0) and differ("nonzero"):
        numbers = f"{ours['nonzero']:,.0f} instead of {theirs['nonzero']:,.0f}"
        yield f"{numbers} parameters that are not zero"
    if differ("flops"):
        yield f"{_pair('flops', ours, theirs)} for a forward pass"


def _pair(cost: str, ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Two numbers in the unit of the larger one, or each in its own where one has few digits."""
    small, large = sorted((ours[cost], theirs[cost]))
    common = _unit_of(cost, large)
    shared = small >= 0.5 * common[0]
    texts = []
    for value in (ours[cost], theirs[cost]):
        factor, name = common if shared else _unit_of(cost, value)
        texts.append(f"{value / factor:,.{1 if value < 10 * factor else 0}f} {name}")
    return " instead of ".join(texts)


def _unit_of(cost: str, value: float) -> tuple[float, str]:
    return next((each for each in _UNITS[cost] if value >= each[0]), _UNITS[cost][-1])


def _size(results: StudyResults, name: str) -> tuple[float, ...]:
    costs = _costs(results, name)
    return tuple(costs.get(cost, math.inf) for cost in ("bytes", "nonzero", "flops"))


def _amount(results: StudyResults, finding: Finding) -> str:
    difference, measure = finding.difference, results.measure
    assert difference is not None
    show = Format(".2f", 100.0, "points") if measure.is_fraction else FORMATS[measure.format]
    size = Spread(abs(difference.mean), difference.std, difference.n)
    unit = f" {show.unit}" if show.unit else ""
    more = "less" if difference.mean < 0 else "more"
    return with_minus(f"{show(size)}{unit} {more} {measure.title[:1].lower()}{measure.title[1:]}")


def _signed(results: StudyResults, difference: float) -> float:
    """A difference whose positive values are gains."""
    return difference if results.measure.higher_is_better else -difference


def _least(results: StudyResults, reference: str) -> float:
    """The loss that matters."""
    if results.measure.is_fraction:
        return _LEAST
    return _LEAST * abs(float(results.values(reference).mean()))
