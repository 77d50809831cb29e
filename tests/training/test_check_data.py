"""Labels of every kind beside the logits of a student, before the first step."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxkd
from jaxkd import recipes
from jaxkd.data import Dataset, Loader
from jaxkd.training._evaluated import check_classes
from jaxkd.training._run_fields import _of_batches
from jaxkd.training._validation import check_data
from jaxkd.views import Views

INPUTS = np.ones((4, 3), np.float32)
NAMED = {"name": "a", "split": "train"}


def _check(labels, width=3, **named):
    student = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((3, width)))
    step = jaxkd.make_train_step(student, recipes.labels(), optax.sgd(0.1))
    loader = Loader(Dataset.from_arrays(INPUTS, labels, **named, **NAMED), Views(), 2)
    check_data(step, step.init(), loader, loader[0])


def test_logits_are_as_many_as_the_classes_where_there_are_any():
    _check([0, 1, 2, 0], num_classes=3)
    _check(np.zeros((4, 5)), width=1)
    _check({"a": [7] * 4, "b": np.zeros(4)}, num_classes={"a": 8})
    _check(np.zeros((4, 1), int), width=1, num_classes=1)
    with pytest.raises(ValueError, match="has 4 classes: widen the student's head$"):
        _check([0, 1, 2, 0], num_classes=4)
    with pytest.raises(ValueError, match=r"head, or, for one decision.*labels\[:, None\] with num"):
        _check([0, 1, 1, 0], width=1, num_classes=2)


def test_labels_of_the_shape_of_logits_are_decisions():
    tags = np.array([[0, 1, -1], [1, 1, 0], [0, 0, 2], [1, 0, 0]])
    _check(np.minimum(tags, 1), num_classes=3)
    with pytest.raises(
        ValueError, match=r"0 or 1 for each class.*example id 2 of a has 2 at \[2\]"
    ):
        _check(tags, num_classes=3)


def test_label_sets_are_compared_with_those_of_an_evaluation_and_of_a_resumed_run():
    def data(**labels):
        classes = {n: int(max(v)) + 1 for n, v in labels.items()}
        return Dataset.from_arrays(INPUTS, labels, num_classes=classes, **NAMED)

    one, other = data(a=[0, 1, 2, 0], b=[0, 1, 0, 1]), data(a=[0, 1, 2, 2], c=[0, 1, 0, 3])
    check_classes(one, other, ())
    with pytest.raises(ValueError, match="of a with num_classes {'b': 2}, the evaluation"):
        check_classes(one, data(b=[0, 1, 2, 2]), ())
    step = jaxkd.make_train_step(
        jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((3, 3))),
        recipes.labels(),
        optax.sgd(0.1),
    )
    fields = [
        _of_batches(Loader(d, Views(), 2), None, step)["dataset.labels"] for d in (one, other)
    ]
    assert fields[0].keys() == {"a", "b"} and fields[0]["a"] != fields[1]["a"]
