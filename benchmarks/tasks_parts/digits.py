"""Two label sets and two heads: which digit it is, and whether it is odd."""

from typing import Any

from flax import nnx

import jaxkd
from benchmarks.tasks_parts.task import Measure, Task, parts
from jaxkd import Objective, Term, losses
from jaxkd.data import Dataset, digits, split_labels
from jaxkd.metrics import Accuracy
from jaxkd.models import CNN, MLP
from jaxkd.targets import Dense

CLASSES = {"digit": 10, "parity": 2}
"""The label sets, and the heads of the same names."""

_VALIDATION = 300


def two_heads(*, scale: float = 1.0) -> Task:
    """Makes the task.

    Args:
      scale: share of the steps, for trying it out.

    Returns:
      The task: three labels a digit of scikit-learn's handwritten ones.
    """
    source, test = (_with_parity(digits.load(part)) for part in ("train", "test"))
    rows = parts(len(source), {"validation": _VALIDATION, "train": len(source) - _VALIDATION}, 0)
    train = source.select(source.ids[rows["train"]])
    few = split_labels(train, per_class=3, seed=0, labels="digit")

    def make_teacher(seed: int) -> jaxkd.Network:
        cnn = CNN((8, 8, 1), (16, 32), 64, sum(CLASSES.values()), rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(cnn, outputs=_heads)

    def make_student(seed: int) -> jaxkd.Network:
        mlp = MLP(64, (32,), sum(CLASSES.values()), rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(mlp, outputs=_heads)

    return Task(
        name="Two heads: digits",
        description="Which digit, and whether it is odd, of handwritten ones; dictionary of labels",
        train=train,
        validation=source.select(source.ids[rows["validation"]]),
        test=test,
        few=few,
        make_teacher=make_teacher,
        make_student=make_student,
        labels=Objective(**{f"{name}_label": _labels(name) for name in CLASSES}),
        distilled=_distilled,
        measures={
            f"accuracy of {name}": Measure(Accuracy(output=name, labels=f"labels.{name}"))
            for name in CLASSES
        },
        steps=max(2, round(800 * scale)),
        teacher_steps=max(2, round(400 * scale)),
        codec={name: Dense("float32") for name in CLASSES},
    )


def _heads(result: Any) -> dict[str, Any]:
    logits, _ = result
    return {"digit": logits[:, : CLASSES["digit"]], "parity": logits[:, CLASSES["digit"] :]}


def _with_parity(data: Dataset) -> Dataset:
    return Dataset.from_arrays(
        data.inputs,
        {"digit": data.labels, "parity": data.labels % 2},
        name="digits_and_parity",
        split=data.split,
        num_classes=CLASSES,
        ids=data.ids,
    )


def _labels(name: str, weight: Any = 1.0) -> Term:
    fields = {"labels": f"labels.{name}"}
    return Term(losses.cross_entropy, weight, student=name, fields=fields)


def _distilled(alpha: Any) -> Objective:
    terms = {f"{name}_label": _labels(name, 1 - alpha) for name in CLASSES}
    for name in CLASSES:
        terms[name] = Term(losses.kd, alpha, temperature=2.0, student=name, teacher=name)
    return Objective(**terms)
