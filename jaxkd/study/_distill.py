"""Distilling in one call."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.study._report_packages import check_report_packages
from jaxkd.study.arms import LABELS, Arm
from jaxkd.study.pipelines import Pipeline
from jaxkd.study.report import Report
from jaxkd.study.results import StudyResults
from jaxkd.study.study import Study

_EPOCHS = 30


@dataclasses.dataclass(frozen=True, repr=False)
class Distilled:
    """What `jaxkd.distill` returns.

    Attributes:
      network: the distilled student, of the first seed.
      history: one row for each evaluation during its training: `step` and the compared metric.
      report: the report; `report.write_html("report.html")`, `report.print()`.
      results: all numbers, by arm and seed.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> done = jaxkd.distill(
      ...     jaxkd.from_function(linear, jnp.zeros((4, 4))),
      ...     jaxkd.from_function(linear, 5.0 * jnp.eye(4)), data, steps=20, progress=False)
      >>> sorted(done.history[-1]), done.network(x[:2])["logits"].shape
      (['accuracy', 'step'], (2, 4))
    """

    network: Network
    history: list[dict[str, float]]
    report: Report
    results: StudyResults
    # The work directory lives as long as this does, where none was given.
    _directory: Any = None

    def __repr__(self) -> str:
        return f"Distilled({self.network!r}\n{self.results!r})"


def distill(
    student: Network | Callable[[int], Network],
    teacher: Any,
    data: Examples | Mapping[str, Examples],
    *,
    method: str | Arm | Callable[..., Any] = "kd",
    options: Mapping[str, Any] | None = None,
    compare: bool = False,
    seeds: int | tuple[int, ...] = 1,
    epochs: float | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    workdir: str | pathlib.Path | None = None,
    title: str = "Distillation",
    progress: bool = True,
    **study_options: Any,
) -> Distilled:
    """Distills a teacher into a student: the study of one arm.

    Unless chosen otherwise: Hinton's distillation, `recipes.kd` at alpha 0.9 and temperature 4; 30
    epochs in batches of 128; AdamW with a peak learning rate of 1e-3 under a cosine that warms up
    over a twentieth of the steps, weight decay 1e-4; images of 8 bits divided by 255, no
    augmentation; the teacher's logits cached in float32; a single data set split at random into 80
    % for training, 10 % for validation and 10 % for testing; the student of the last step.

    Args:
      student: untrained network, from whose weights every seed starts, or a function from a seed to
        one.
      teacher: trained network, a teacher of `jaxkd.teachers` (PyTorch, ONNX), or None where the
        method needs none.
      data: examples, or by name `"train"`, `"validation"`, `"test"` and `"transfer"`, as of a
        `jaxkd.study.Study`.
      method: name of a recipe or strategy, an `Arm`, an objective, or a function, as of an `Arm`.
      options: options of the method.
      compare: whether a student of each seed is trained on labels alone, too, so that the report
        says whether distillation helps. Twice the time; three seeds or more can show a difference.
      seeds: the seeds, or their number.
      epochs: passes over the training examples, by default 30.
      steps: number of updates in place of epochs.
      seconds: time of a student's training in place of epochs.
      workdir: folder of checkpoints, caches and results, with which a killed call is resumed; None
        for a temporary one, which lives as long as what is returned.
      title: title of the report.
      progress: whether to show progress bars.
      **study_options: further arguments of `jaxkd.study.Study`: `batch_size`, `learning_rate`,
        `make_optimizer`, `views`, `eval_views`, `num_views`, `metrics`, `metric`, `codec`, …

    Returns:
      The distilled student, its history and the report, with all numbers.

    Raises:
      ImportError: a package that draws the report is missing; says so before anything trains. A
        `jaxkd.study.Study` needs it for its report alone.
      TypeError: an argument of another kind; says what to write.
      ValueError: what `jaxkd.study.Study` and its `run` refuse.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> student = jaxkd.from_function(linear, jnp.zeros((4, 4)))
      >>> teacher = jaxkd.from_function(linear, 5.0 * jnp.eye(4))
      >>> distilled = jaxkd.distill(
      ...     student, teacher, data, steps=20, learning_rate=0.1, progress=False)
      >>> float(distilled.results["kd"].test["accuracy"][0]) > 0.8
      True
    """
    check_report_packages()
    if isinstance(method, Pipeline) and options is not None:
        raise ValueError(
            f"the options of {method.name!r} are those of its arms and stages: write "
            'pipeline(Arm("kd", {…}), Stage("prune", fraction=0.5)) in place of options='
        )
    if isinstance(method, Arm):
        arm = method if options is None else dataclasses.replace(method, options=options)
    else:
        arm = Arm(method, options or {})
    budget: dict[str, Any] = {"epochs": epochs, "steps": steps, "seconds": seconds}
    if all(value is None for value in budget.values()):
        budget["epochs"] = _EPOCHS
    directory = None
    if workdir is None:
        directory = tempfile.TemporaryDirectory()  # noqa: SIM115 - closed with what is returned
        workdir = directory.name
    study = Study(
        data,
        (lambda _: student) if isinstance(student, Network) else student,
        teacher,
        arms=[*([Arm(LABELS)] if compare and arm.name != LABELS else []), arm],
        seeds=seeds,
        workdir=workdir,
        **budget,
        **study_options,
    )
    results = study.run(progress=progress)
    result, metric = results[arm.name], results.measure.name
    history = [
        {"step": int(step), metric: float(value)}
        for step, value in zip(result.curve_steps, result.curve[0], strict=True)
    ]
    report = results.report(title)
    if directory is None:
        report.write_html(study.workdir / "report.html")
    return Distilled(results.network(arm.name), history, report, results, directory)
