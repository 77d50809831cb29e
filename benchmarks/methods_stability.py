"""Why some methods lose points here at their authors' defaults: weights, and schedules.

  python benchmarks/methods_stability.py --data_dir=data --workdir=runs/tuned [--epochs 5,15]

Gradients: how large the gradient of a method is beside that of the labels, in an untrained student
on the data of `methods_protocol.py`, at its authors' weights. Class level of MLKD: its value
between a sure teacher and an untrained student, by formula and computed.
Schedules: strategies that learn nothing in few steps, at several lengths beside labels alone,
measured on validation images; `data_free`, whose steps are many, on digits of 8 × 8 pixels.
Writes `methods_stability.json` and `methods_stability.md`.
"""

import argparse
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from benchmarks import methods_protocol as protocol
from jaxkd import Network, losses, models, recipes
from jaxkd._files import write_atomically
from jaxkd.data import digits
from jaxkd.metrics import Spread
from jaxkd.recipes import Pair
from jaxkd.study import Arm, Column, Study, Table
from jaxkd.training._gradients import DistillationLoss, StepKeys
from jaxkd.training.state import create_state

HERE = pathlib.Path(__file__).parent
METHODS = ("kd", "mlkd", "cat_kd", "ab", "semckd")
CLASSES, BATCH_SIZES = (10, 100, 1000), (64, 256)
SURE = 90.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default=None, help="without it, on noise, to try it out")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/tuned"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("--teacher_epochs", type=float, default=protocol.TEACHER_EPOCHS)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--schedules", default="born_again,function_matching")
    parser.add_argument("--epochs", default="15,60")
    parser.add_argument("--digits_epochs", default="100,400")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--few", type=int, default=0, help="images of each part, 0 for all")
    given = parser.parse_args()
    data = protocol.load(given.data_dir, given.few)
    teacher, _ = protocol.train_teacher(data, given.workdir, given.teacher_epochs)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "methods_stability.json"
    document = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    document["class_level"] = class_level()
    images = jnp.asarray(data["train"].inputs[:64], jnp.float32) / 255
    labels = jnp.asarray(data["train"].labels[:64])
    document.setdefault("gradients", {})
    for method in filter(None, given.methods.split(",")):
        document["gradients"][method] = ratio(method, {}, teacher, images, labels, seed=0)
        write(document, given.out)
    lengths = [float(length) for length in given.epochs.split(",")]
    document.setdefault("schedules", {})
    for name in filter(None, given.schedules.split(",")):
        for epochs in lengths:
            entry = document["schedules"].setdefault(f"{epochs:g} epochs", {})
            for arm in (Arm("labels"), Arm(name)):
                entry[arm.name] = validated(data, teacher, arm, epochs, given)
                write(document, given.out)
    document.setdefault("digits", {})
    for epochs in map(float, filter(None, given.digits_epochs.split(","))):
        document["digits"][f"{epochs:g} epochs"] = without_data(epochs, given)
        write(document, given.out)
    print((given.out / "methods_stability.md").read_text(encoding="utf-8"))


def class_level() -> list[dict[str, float]]:
    """The class level of MLKD between a sure teacher and a uniform student, in random batches."""
    rows = []
    for num_classes in CLASSES:
        for batch_size in BATCH_SIZES:
            known = {"classes": num_classes, "batch": batch_size}
            rows.append(
                {
                    **known,
                    "formula": formula(batch_size, num_classes),
                    "computed": computed(batch_size, num_classes),
                }
            )
    return rows


def formula(batch_size: int, num_classes: int) -> float:
    """Computes the mean over batches whose classes are drawn at random, all alike.

    It is `(sum of the squared numbers of examples of a class - batch² / classes²) / classes`, where
    that sum has the mean `batch + batch (batch - 1) / classes`.
    """
    squares = batch_size + batch_size * (batch_size - 1) / num_classes
    return (squares - (batch_size / num_classes) ** 2) / num_classes


def computed(batch_size: int, num_classes: int, times: int = 200) -> float:
    """Computes the same from the loss itself, as a mean over some random batches."""
    classes = np.random.default_rng(0).integers(0, num_classes, (times, batch_size))
    student = jnp.zeros((batch_size, num_classes))

    def one(classes):
        teacher = SURE * jax.nn.one_hot(classes, num_classes)
        return losses.mlkd_class(student, teacher, temperature=1.0)

    return float(jnp.mean(jax.jit(lambda classes: jax.lax.map(one, classes))(classes)))


def ratio(
    method: str,
    options: dict[str, Any],
    teacher: Network,
    images: jax.Array,
    labels: jax.Array,
    seed: int,
) -> float:
    """The norm of a method's gradient, as weighted, over that of labels of weight 1, at first.

    Without the method's warm-up or stages, whose weights these are once they are over. It is in
    proportion to the weight of a method.
    """
    pair = Pair(protocol.make_student(seed), teacher, images)
    applied = recipes.create(method, pair, seed=seed, **options)
    student, objective = applied.student, applied.objective
    loss = DistillationLoss(student, objective, applied.teacher, False, 1)
    state = create_state(student, objective, optax.identity(), seed=seed)
    assert applied.teacher is not None

    @jax.jit
    def norms(frozen, state, images, labels):
        batch = {"inputs": images, "labels": labels}
        keys = StepKeys.from_state(state)
        _, _, vjp = loss.value_and_vjp(frozen, state, batch, None, keys)
        one, zero = jnp.ones(()), jnp.zeros(())
        parts = (vjp((one, zero)), vjp((zero, one)))
        return [optax.tree.norm(part["student"]) for part in parts]

    variables = (applied.teacher.params, applied.teacher.state)
    task, distillation = norms(variables, state, images, labels)
    weight = objective.terms["label"].weight
    assert isinstance(weight, int | float)
    return float(distillation / task) * weight


def validated(
    data: Any, teacher: Network, arm: Arm, epochs: float, given: argparse.Namespace
) -> list[float]:
    """Trains students for some epochs; returns their accuracies on validation images."""
    study = Study(
        protocol.students_of(data),
        protocol.make_student,
        teacher,
        arms=[arm],
        seeds=given.seeds,
        epochs=epochs,
        workdir=given.workdir / "schedules" / f"{arm.name.replace(' ', '_')}_{epochs:g}",
        caches=given.workdir / "caches",
        **protocol.options(),
    )
    results = study.run(test=False)
    return results.values(arm.name, "validation").tolist()


def without_data(epochs: float, given: argparse.Namespace) -> dict[str, list[float]]:
    """Trains students on digits by labels and from a generator's images alone, for validation."""
    whole = digits.load("train")
    parts = {"train": whole.select(whole.ids[:-300]), "validation": whole.select(whole.ids[-300:])}

    def make(width: int, seed: int) -> Network:
        shape, widths = whole.inputs.shape[1:], (width, 2 * width)
        return jaxkd.from_nnx(models.CNN(shape, widths, 4 * width, 10, rngs=nnx.Rngs(seed)))

    def study(width: int, seeds: int, epochs: float, **changes: Any) -> Study:
        make_student, folder = functools.partial(make, width), given.workdir / "digits"
        common = {"seeds": seeds, "epochs": epochs, "batch_size": 64, "population": False}
        workdir = folder / f"width_{width}_epochs_{epochs:g}"
        return Study(parts, make_student, workdir=workdir, **common, **changes)

    teacher = study(16, 1, 30, arms=["labels"]).run(test=False)
    arms = ["labels", "data_free"]
    results = study(8, given.seeds, epochs, teacher=teacher.network(), arms=arms).run(test=False)
    values = {"teacher": teacher.values("labels", "validation").tolist()}
    return values | {arm: results.values(arm, "validation").tolist() for arm in results.arms}


def write(document: dict[str, Any], out: pathlib.Path) -> None:
    """Writes what is known so far."""
    write_atomically(out / "methods_stability.json", json.dumps(document, indent=2) + "\n")
    parts = [
        f"## {table.title}\n\n{table.to_markdown()}\n\n{table.caption}"
        for table in tables(document)
    ]
    text = "# Why some methods lose points here\n\n" + "\n\n".join(parts) + "\n"
    write_atomically(out / "methods_stability.md", text)


def tables(document: dict[str, Any]) -> list[Table]:
    """Makes the tables of what is known so far."""
    levels = [[f"{r['classes']:,}", r["batch"], r["formula"]] for r in document["class_level"]]
    made = [
        Table(
            "The class level of MLKD",
            ["Classes", "Batch", Column("Value", "decimal")],
            levels,
            "Between a teacher that is sure and a student whose probabilities are all equal, at "
            "temperature 1: mean over batches whose classes are drawn at random.",
        )
    ]
    rows = [[method, value] for method, value in document.get("gradients", {}).items()]
    made.append(
        Table(
            "Gradients beside that of the labels",
            ["Method", Column("Times that of the labels", lambda x: f"{x:.3g}")],
            rows,
            "Norms of the gradients of an untrained student's parameters at the authors' weights, "
            "over that of the labels at weight 1; batch 64, ten classes.",
        )
    )
    if schedules := document.get("schedules"):
        shown = [
            [name, length, Spread.of(values)]
            for length, entry in schedules.items()
            for name, values in entry.items()
        ]
        made.append(
            Table(
                "Strategies by length of the training",
                ["Strategy", "Length", Column("Validation accuracy", "percent")],
                shown,
                "Mean ± standard deviation over seeds, last epoch.",
            )
        )
    if on_digits := document.get("digits"):
        students = [
            [name, length, Spread.of(entry[name])]
            for length, entry in on_digits.items()
            for name in ("labels", "data free")
        ]
        teacher = Spread.of(next(iter(on_digits.values()))["teacher"])
        shown = [["teacher", "30 epochs", teacher], *students]
        made.append(
            Table(
                "Without data, on digits",
                ["Network", "Length", Column("Validation accuracy", "percent")],
                shown,
                "Mean ± standard deviation over seeds, last epoch; 1,137 digits of 8 × 8 pixels, "
                "batch 64, a convolutional teacher of twice the width.",
            )
        )
    return made


if __name__ == "__main__":
    main()
