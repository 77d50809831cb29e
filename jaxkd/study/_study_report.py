"""The report of a study: what to do, why, a table, learning curves, and how it was made."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jaxkd._files import read_json
from jaxkd.metrics.spread import Spread
from jaxkd.study._conclusion import RULE, Conclusion, conclude
from jaxkd.study._differing_section import differing_section
from jaxkd.study._provenance import provenance_of
from jaxkd.study._smaller import SIZE_RULE, smaller_arms, smallest
from jaxkd.study._wording import counted
from jaxkd.study.class_figures import class_figures, is_classes
from jaxkd.study.comparison import Finding
from jaxkd.study.figures import learning_curves
from jaxkd.study.figures._figure import Figure
from jaxkd.study.report import Report, Section
from jaxkd.study.results import TEST_EVALUATIONS
from jaxkd.study.tables import FORMATS

if TYPE_CHECKING:
    from jaxkd.study.results import StudyResults

_MOST_CURVES = 6


def make_report(results: StudyResults, title: str) -> Report:
    """Returns the report of a study, of the arms whose students all have a number."""
    finite = {n: each for n, each in results.arms.items() if np.isfinite(results.values(n)).all()}
    without = [name for name in results.arms if name not in finite]
    results = dataclasses.replace(results, arms=finite)
    text = _honesty(results)
    if without:
        text += f"\n\nStudents diverged, so that there is no number, of {'; '.join(without)}."
    conclusion = conclude(results)
    text += f"\n\n{RULE}" * bool(conclusion.kind)
    text += f"\n\n{SIZE_RULE}" * bool(smaller_arms(results))
    section = Section(
        "Arms",
        text,
        _findings(results),
        [results.table()],
        _curves(results),
    )
    seconds = float(sum(result.seconds.sum() for result in results.arms.values()))
    of_classes = class_section(results, conclusion.arm)
    last = provenance_of(results, seconds, results.configuration)
    where_they_differ = differing_section(results, conclusion.arm)
    evidence = [each for each in (section, of_classes, where_they_differ) if each is not None]
    return Report(title, _summary(results, conclusion), [*evidence, last], conclusion.headline)


def _findings(results: StudyResults) -> list[Finding]:
    """Every arm against the baseline, and pipelines against what they begin with."""
    smaller = smaller_arms(results)
    told = {each.arm for each in smaller if each.reference == results.baseline}
    others = [n for n in results.arms if n != results.baseline and n not in told]
    return [*map(results.compare, others), *(each.full_finding for each in smaller)]


def _summary(results: StudyResults, conclusion: Conclusion) -> str:
    """The numbers behind the conclusion."""
    name = conclusion.arm
    if not conclusion.kind:
        shown = FORMATS[results.measure.format]
        value = f"{shown(Spread.of(results.values(name)))} {shown.unit}".strip()
        return f"""{name}: {results.measure.title} {value} on the {results.shown_part} examples.
            There is no other arm to compare it with."""
    start = f"No arm has a better mean than {results.baseline}."
    if results.chosen:
        start = f"{results.chosen} was chosen on the validation examples."
    elif results.best(results.part) == name:
        start = f"{name} has the best mean."
    small = smallest(results)
    told = [] if small and (small.arm, small.reference) == (name, results.baseline) else [name]
    texts = [results.compare(each).text for each in told]
    texts += [small.full_finding.text] if small else []
    return " ".join([start, *texts])


def _honesty(results: StudyResults) -> str:
    """What the numbers may be used for."""
    if results.part == "test":
        return """There are no validation examples: nothing was chosen. The arms are compared on the
            test examples, and the best of them looks better there than it is."""
    if not results.test_evaluations:
        file = results.workdir / TEST_EVALUATIONS
        seen = len(read_json(file)) if file.exists() else 0
        end = "were not evaluated."
        if seen:
            end = (
                f"have no part in this report; they were evaluated {counted(seen, 'time')} before."
            )
        return f"""All numbers are of the validation examples, on which the arm was chosen, too: the
            best one looks better there than it is. The test examples {end}"""
    text = """The arm was chosen on the validation examples. The numbers are of the test examples,
        which had no part in the choice"""
    if results.test_evaluations == 1:
        return f"{text}: they were evaluated once."
    return f"""{text} by this program. But they were evaluated {results.test_evaluations} times,
        with arms or seeds that were added after numbers of the test examples were known: take the
        chosen arm's as too good."""


def class_section(results: StudyResults, arm: str) -> Section | None:
    """The section on the classes; None where the logits are not those of one class an example."""
    part, baseline = results.shown_part, results.baseline
    labels = results.labels.get(part)
    logits, others = (results[name].logits.get(part) for name in (arm, baseline))
    if labels is None or logits is None or others is None or not is_classes(logits, labels):
        return None
    figures = class_figures(
        arm,
        logits,
        labels,
        results.class_names,
        baseline=(baseline, others) if arm != baseline else None,
        first_seed=results.seeds[0],
    )
    return Section("By class", f"All of it is of the {part} examples.", figures=figures)


def _curves(results: StudyResults) -> list[Figure]:
    """The compared metric during training, of as many arms as can be told apart."""
    chosen = results.chosen or results.best(results.part)
    names = list(dict.fromkeys([results.baseline, chosen, *results.arms]))[:_MOST_CURVES]
    points = {n: (results[n].curve_steps, results[n].curve) for n in names}
    points = {n: point for n, point in points.items() if len(point[0]) > 1}
    if not points:
        return []
    measure = results.measure
    caption = f"{measure.title} on the {results.part} examples during training."
    if len(results.seeds) > 1:
        caption += " Lines are means over the seeds, bands one standard deviation."
    percent = measure.is_fraction
    return [learning_curves(points, y_label=measure.title, percent=percent, caption=caption)]
