import dataclasses

import jax.numpy as jnp
import optax
import pytest
from studies import linear, make_data, make_study

from jaxkd import Objective, Term, from_function, losses
from jaxkd.data import Dataset
from jaxkd.metrics.in_step import Accuracy, CrossEntropy
from jaxkd.study import Arm, Runtime
from jaxkd.study._made_of import check_measurement
from jaxkd.training import Partitioning, make_mesh
from jaxkd.views import Augment, Views


def descending(student, labels):
    return losses.cross_entropy(student, labels)


def ascending(student, labels):
    return -losses.cross_entropy(student, labels)


descending.__qualname__ = ascending.__qualname__ = "loss"


def make_arm(loss):
    def mine(study, seed):
        return study.training(seed, Objective(mine=Term(loss)))

    return Arm(mine, name="mine")


def zeros(seed):
    return from_function(linear, jnp.zeros((4, 4)))


def flat(seed):
    return from_function(lambda w, x: x.reshape(len(x), 4) @ w, jnp.ones((4, 4)))


def images_of(part):
    images = part.inputs.reshape(-1, 2, 2, 1)
    known = {"name": "largest", "split": "all", "num_classes": 4}
    return Dataset.from_arrays(images, part.labels, ids=part.ids, **known)


@dataclasses.dataclass(frozen=True)
class Scaled(Accuracy):
    def compute(self, sums):
        return 2.0 * super().compute(sums)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made_of")
    options = {"arms": [make_arm(descending)], "seeds": 1, "steps": 1, "evaluations": 1}
    study = make_study(folder, teacher=None, **options)
    study.run(progress=False)
    return study


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"right": Accuracy()}}, r"(?s)metric: accuracy there, right now.*metrics"),
        ({"metrics": {"accuracy": Accuracy()}}, r"metrics.cross_entropy: .* there, nothing now"),
        (
            {"metrics": {"accuracy": Scaled(), "cross_entropy": CrossEntropy()}},
            r"metrics.accuracy: Accuracy.* there, Scaled.* now",
        ),
        ({"metric": "cross_entropy"}, "metric: accuracy there, cross_entropy now"),
        ({"make_student": zeros}, "student.start"),
        ({"make_optimizer": lambda steps, rate: optax.sgd(rate)}, "optimizer.constants"),
        ({"arms": [make_arm(ascending)]}, "objective.computation"),
        ({"evaluations": 2}, "evaluations: 1 there, 2 now"),
    ],
)
def test_results_of_something_else_are_refused(study, changes, message):
    with pytest.raises(ValueError, match=message):
        study.replace(**changes).run(progress=False)


def test_held_out_examples_and_what_is_measured_by_the_test_are_those_of_before(study):
    data = make_data()
    other = {**data, "test": data["test"].select(data["test"].ids[:16])}
    with pytest.raises(ValueError, match=r"(?s)results of something else:\n  examples: .* there"):
        study.replace(data=other).run(progress=False)
    del data["test"]
    assert study.replace(data=data).run(progress=False).shown_part == "validation"


def test_held_out_examples_without_labels_are_refused_before_the_first_step(tmp_path):
    data = make_data()
    data["validation"] = data["validation"].with_labels([])
    with pytest.raises(ValueError, match="has no labels to measure by.*Agreement"):
        make_study(tmp_path, data).run(progress=False)
    assert not list(tmp_path.rglob("*.npz"))


def test_other_views_of_the_same_names_are_refused(tmp_path):
    def views_of(factor):
        def times(image):
            return image * factor

        return Views((Augment(times, takes="any", random=False),))

    one, other = views_of(1.0), views_of(2.0)
    assert one.specification() == other.specification()
    data = {n: images_of(part) for n, part in make_data().items()}
    options = {"student": flat, "teacher": None, "arms": ["labels"], "steps": 1}
    known = make_study(tmp_path, data, eval_views=one, **options)
    check_measurement(known, "validation")
    check_measurement(known.replace(), "validation")
    with pytest.raises(ValueError, match=r"else:\n  program: .* there"):
        check_measurement(known.replace(eval_views=other), "validation")


def test_what_measures_is_the_same_on_a_mesh_and_on_one_device(tmp_path):
    known = make_study(tmp_path)
    check_measurement(known, "validation")
    on_mesh = Runtime(partitioning=Partitioning(make_mesh()))
    check_measurement(known.replace(runtime=on_mesh), "validation")
