"""What students have learned: agreement, mistakes, calibration, classes, layers.

A caller hands over logits and, for the methods whose layers are to be shown, features of a student:

  views = study, study.data["test"]
  pair = [agreement_report.features_of(network, *views) for network in (student, teacher)]
  seen = agreement_report.similarity(*pair)
  section = agreement_report.section(logits, teacher_logits, labels, class_names, {"kd": seen})
"""

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.report import Row
from jaxkd import Network, metrics
from jaxkd.data import Examples, eval_batches
from jaxkd.metrics import Spread
from jaxkd.ops import adaptive_average_pool
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Section,
    Study,
    Table,
    class_figures,
    compare,
    heat_map,
    reliability_curves,
)
from jaxkd.study._wording import spread_over
from jaxkd.training import EvalStep

Measures = dict[str, np.ndarray]
Logits = Mapping[str, np.ndarray]
"""Logits of the students by method, `[seeds, examples, num_classes]`; labels alone come first."""
Similarity = tuple[np.ndarray, Sequence[str], Sequence[str]]

_LAYER = re.compile(r"(stage|hidden)\d+")
_BATCH = 128


def features_of(
    network: Network, study: Study, dataset: Examples, count: int = 512, *, size: int = 4
) -> dict[str, np.ndarray]:
    """Computes the outputs of a network's layers for some examples.

    The examples are spread evenly over the data set and the same for every network. All processes
    of a job call it together.

    Args:
      network: any network, trained.
      study: how examples are seen, its `eval_views`, and where networks lie.
      dataset: held-out examples.
      count: how many of them, at most.
      size: maps are averaged over this many regions along each side, 1 for a global average;
        smaller maps stay as they are. Tokens are averaged over their sequence.

    Returns:
      float32 `[examples, ...]` by name: `stage1`, …, or `hidden1`, … of a perceptron, and
      `embedding`, as far as the network has them; `logits` if it has none of these. A hidden layer
      that is the embedding is left out.

    Raises:
      ValueError: a count or size below one, or no example.
    """
    if min(count, size) < 1 or not len(dataset):
        raise ValueError(
            f"count and size must be at least 1, got {count} and {size}, of {len(dataset)} examples"
        )
    number = min(count, len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, number).round().astype(int)
    partitioning = study.runtime.for_batch(_BATCH)

    def features(variables, frozen, batch):
        del frozen  # the variables of a teacher, which there is none of
        params, state = variables
        inputs = study.eval_views.render(batch)["inputs"]
        outputs = network.apply(params, state, inputs, train=False)[0]
        names = [n for n in outputs if _LAYER.fullmatch(n) or n == "embedding"] or ["logits"]
        return {name: _pooled(outputs[name], size) for name in names}

    step = EvalStep(partitioning.jit(features) if partitioning else jax.jit(features), partitioning)
    params, state = step.place(network.params, network.state)
    batches = []
    for batch in eval_batches(dataset.select(dataset.ids[chosen]), _BATCH):
        outputs = step(params, state, batch)
        batches.append({name: np.asarray(a)[batch["where"]] for name, a in outputs.items()})
    found = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    embedding = found.pop("embedding", None)
    # JAX returns mappings sorted as text, stage10 before stage2.
    layers = dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))
    if embedding is None:
        return layers
    last = {k: v for k, v in layers.items() if not np.array_equal(v, embedding)}
    return last | {"embedding": embedding}


def _pooled(values: jax.Array, size: int) -> jax.Array:
    values = values.astype(jnp.float32)
    if values.ndim == 3:  # Tokens `[batch, tokens, channels]`.
        return values.mean(1)
    if values.ndim == 4:
        height, width = values.shape[1:3]
        return adaptive_average_pool(values, (min(height, size), min(width, size)))
    return values


def similarity(student: Mapping[str, np.ndarray], teacher: Mapping[str, np.ndarray]) -> Similarity:
    """Computes how alike the layers of two networks are, by unbiased linear CKA.

    Args:
      student: `features_of` the student.
      teacher: `features_of` the teacher, of the same examples.

    Returns:
      The matrix `[layers of the student, layers of the teacher]`, and their names.
    """
    return metrics.cka_matrix(student, teacher), list(student), list(teacher)


def best_of(logits: Logits, labels: np.ndarray) -> str | None:
    """Returns the method of the highest mean accuracy beside the first, which is labels alone."""
    means = {
        name: np.mean([metrics.accuracy(x, labels) for x in seeds])
        for name, seeds in list(logits.items())[1:]
    }
    return max(means, key=means.__getitem__, default=None)


def section(
    logits: Logits,
    teacher_logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    similarity: Mapping[str, Similarity] | None = None,
) -> Section:
    """Makes the section of a report that says what students have learned.

    Args:
      logits: logits of the students on the test examples, with paired seeds.
      teacher_logits: those of the teacher, `[examples, num_classes]`.
      labels: labels of the test examples.
      class_names: one a class, or empty.
      similarity: what `similarity` returns, for the methods whose layers were compared.

    Returns:
      A table of all methods; findings and figures of the best one against labels alone.

    Raises:
      ValueError: no result, or logits of other shapes.
    """
    if not logits:
        raise ValueError("there is nothing to report: no result.")
    shapes = {name: seeds.shape[1:] for name, seeds in logits.items()}
    if others := {k: list(v) for k, v in shapes.items() if v != teacher_logits.shape}:
        raise ValueError(f"the teacher's logits are {list(teacher_logits.shape)}, others {others}.")
    plain, best = next(iter(logits)), best_of(logits, labels)
    wrong = teacher_logits.argmax(-1) != labels
    text = f"""The teacher is wrong on {wrong.sum():,} of {len(labels):,} test examples. A student
        that agrees with it there has taken over the very same mistake; students of labels alone do
        so too where an example is misleading, so compare with them. KL is the mean divergence of
        the student's probabilities from the teacher's, at temperature 1, in nats. ECE is the
        expected calibration error over 15 bins of confidence."""
    if best is not None:
        text += f"""

        Findings and figures are about {best}, which has the highest mean accuracy of what is
        compared with {plain}. It was chosen on the examples that it is measured on, which flatters
        it: the more so, the more methods there are and the closer they lie."""
    measures = {name: _measures(seeds, teacher_logits, labels) for name, seeds in logits.items()}
    teacher = teacher_logits[None]
    shown = {"teacher": teacher, **{name: logits[name] for name in (plain, best) if name}}
    figures = [_reliability(shown, labels)]
    for name, (matrix, rows, columns) in (similarity or {}).items():
        if not np.isnan(matrix).all():
            figures.append(_layers(name, matrix, rows, columns))
    arm, baseline = (plain, None) if best is None else (best, (plain, logits[plain]))
    figures += class_figures(arm, logits[arm], labels, class_names, baseline=baseline)
    return Section(
        "What the students learned",
        text,
        _findings(best, plain, measures) if best is not None else [],
        [_table(measures, _measures(teacher, teacher_logits, labels))],
        figures,
    )


def _measures(logits: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> Measures:
    """Returns every number of every seed, `[seeds]`."""
    wrong = teacher.argmax(-1) != labels
    # A teacher that is never wrong has no mistakes to take over.
    copied = [metrics.agreement(x[wrong], teacher[wrong]) for x in logits if wrong.any()]
    return {
        "accuracy": np.array([metrics.accuracy(x, labels) for x in logits]),
        "agreement": np.array([metrics.agreement(x, teacher) for x in logits]),
        "kl": np.array([metrics.mean_kl_divergence(x, teacher) for x in logits]),
        "nll": np.array([metrics.negative_log_likelihood(x, labels) for x in logits]),
        "ece": np.array([metrics.expected_calibration_error(x, labels) for x in logits]),
        "copied": np.array(copied or [np.nan] * len(logits)),
    }


def _table(measures: Mapping[str, Measures], teacher: Measures) -> Table:
    own = {name: float(teacher[name][0]) for name in ("accuracy", "nll", "ece")}
    rows: list[Row] = [["teacher", *(own.get(name, "") for name in teacher)]]
    rows += [[name, *map(Spread.of, each.values())] for name, each in measures.items()]
    columns: list[Column | str] = [
        "Method",
        Column("Accuracy", "percent"),
        Column("Agrees with teacher", "percent"),
        Column("KL(teacher ‖ student)", "decimal"),
        Column("NLL", "nats"),
        Column("ECE", "percent"),
        Column("Agrees where teacher is wrong", "percent"),
    ]
    seeds = len(next(iter(measures.values()))["accuracy"])
    caption = f"{spread_over(seeds)}, one teacher, last step."
    return Table("What the students learned", columns, rows, caption)


def _findings(best: str, plain: str, measures: Mapping[str, Measures]) -> list[Finding]:
    ours, theirs = dict(measures[best]), dict(measures[plain])
    # As the share that is not taken over: more of it is better, as of the other shares.
    ours["copied"], theirs["copied"] = 1 - ours["copied"], 1 - theirs["copied"]
    kinds = [
        ("accuracy", "For accuracy", "points"),
        ("agreement", "For agreement with the teacher", "points"),
        ("kl", "For the divergence from the teacher (KL)", "difference"),
        ("nll", "For the likelihood of the labels (NLL)", "difference"),
        ("ece", "For calibration (ECE)", "difference"),
        ("copied", "For keeping clear of the teacher's mistakes", "points"),
    ]
    return [
        compare(
            f"{start}, {best} against {plain}",
            ours[name],
            theirs[name],
            format=format,
            higher_is_better=format == "points",
        )
        for name, start, format in kinds
        if np.isfinite([*ours[name], *theirs[name]]).all()
    ]


def _reliability(logits: Logits, labels: np.ndarray) -> Figure:
    networks = {
        name: [metrics.reliability(x, labels) for x in seeds] for name, seeds in logits.items()
    }
    caption = "How often networks are right when they are this sure; seeds of a method together."
    return reliability_curves(networks, caption=caption)


def _layers(name: str, matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    return heat_map(
        np.round(matrix, 2) + 0.0,  # Not "-0.00", the unbiased estimate falls a little below 0.
        rows,
        columns,
        row_label="student",
        column_label="teacher",
        value_label=f"CKA, {name}",
        percent=False,
        higher_is_better=None,
        start=0.0,
        stop=1.0,
        caption=(
            f"How alike the layers of one student ({name}) and of the teacher see held-out "
            "examples: linear CKA, unbiased, 1 for layers that differ by rotation and scale alone."
        ),
    )
