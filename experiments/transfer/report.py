"""Report of experiments.transfer: the gains, their spread, and where they come from."""

import pathlib

import jaxkd
from experiments.common.report import save
from experiments.transfer import sections
from experiments.transfer.regimes import TransferResults
from jaxkd.metrics import Spread
from jaxkd.study import ArmResult, Report
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._wording import counted, inside


def write(results: TransferResults, workdir: pathlib.Path) -> Report:
    """Writes a section for each of the regimes that were chosen."""
    regimes = [
        (results.few_labels, sections.few_labels),
        (results.left_out, sections.left_out),
        (results.noise, sections.noise),
        (results.capacity, sections.capacity),
    ]
    title = f"What a teacher's knowledge is worth on {results.trainer.train.name}"
    made = [make(results) for regime, make in regimes if regime]
    return save(Report(title, _summary(results), made, _headline(results)), workdir)


def _headline(results: TransferResults) -> str:
    """The conclusion with the fewest labels, or with all of them; none without either."""
    arms, start, arm = results.all_labels, "With all labels: ", "distilled"
    if results.few_labels:
        count, arms = min(results.few_labels.items())
        start, arm = f"With {counted(count, 'label')} a class: ", "pool"
    if not arms:
        return ""
    ours, theirs = (
        Measured.of(results.accuracies(arms[name]), arms[name]) for name in (arm, "labels")
    )
    return start + inside(advise(arm, ours, theirs).headline)


def _summary(results: TransferResults) -> str:
    accuracy = results.teacher_accuracy(results.teacher)
    parts = [f"The teacher reaches {accuracy:.1%} on the test set."]
    if results.all_labels:
        plain, distilled = (
            _percent(results, results.all_labels[arm]) for arm in ("labels", "distilled")
        )
        parts.append(
            f"With all labels the student reaches {plain:.1f} %, distilled {distilled:.1f} %."
        )
    if results.few_labels:
        count, arms = min(results.few_labels.items())
        each = {name: _percent(results, result) for name, result in arms.items()}
        parts.append(
            f"With {counted(count, 'label')} a class it reaches {each['labels']:.1f} % alone, "
            f"{each['pool']:.1f} % distilled on the unlabeled pool, and {each['control']:.1f} % "
            "there from a teacher of no more labels."
        )
    config = results.trainer.config
    return " ".join(parts) + (
        f"\n\njaxkd {jaxkd.__version__}, {counted(config.seeds, 'seed')}, alpha {config.alpha}, "
        f"temperature {config.temperature}."
    )


def _percent(results: TransferResults, result: ArmResult) -> Spread:
    return Spread.of(results.accuracies(result)) * 100
