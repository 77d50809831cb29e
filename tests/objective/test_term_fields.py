"""Which fields of a batch the parameters of a loss take."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import Objective, Term, losses

STUDENT = {"logits": jnp.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])}
COLOR = jnp.array([0, -1, 1])
BATCH = {
    "labels": {"color": COLOR, "part": {"size": jnp.array([1, 1, 0])}},
    "sample_weight": jnp.array([1.0, 5.0, 3.0]),
}


def weighted(student, labels, weight):
    return weight * losses.cross_entropy(student, labels)


def value(term, batch=BATCH):
    return Objective(x=term)(STUDENT, None, batch)[1]["x"]


def test_a_loss_takes_the_fields_that_it_names():
    total, count = value(
        Term(weighted, fields={"labels": "labels.color", "weight": "sample_weight"})
    )
    each = losses.cross_entropy(STUDENT["logits"], COLOR)
    assert count == 2  # the second has no color
    np.testing.assert_allclose(total, each[0] + 3 * each[2], rtol=1e-6)
    total, count = value(Term(losses.cross_entropy, fields={"labels": "labels.part.size"}))
    assert count == 3


def test_a_field_may_be_called_as_the_parameter_is():
    batch = {"labels": COLOR, "weight": BATCH["sample_weight"]}
    assert value(Term(weighted, fields={"weight": "weight"}), batch)[1] == 2


def test_each_set_of_labels_has_its_own_mask():
    labels = {"age": jnp.array([[1.0], [0.0], [2.0]]), "color": COLOR}
    batch = {"labels": labels, "labeled": {"age": jnp.array([True, False, True])}}
    square = Term(lambda student, labels: jnp.square(student - labels).mean(-1))
    of_age = Term(square.loss, fields={"labels": "labels.age"})
    assert value(of_age, batch)[1] == 2
    of_color = Term(losses.cross_entropy, fields={"labels": "labels.color"})
    assert value(of_color, batch)[1] == 2
    assert value(of_color, {**batch, "labeled": jnp.array([True, False, False])})[1] == 1


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"banana": "x"}, ValueError, r"does not take \['banana'\]"),
        ({"student": "x"}, ValueError, "no fields of a batch: name outputs .*student="),
        ({"labels": 1}, TypeError, 'write fields={"labels": "labels.color"}'),
        ("labels.color", TypeError, 'write fields={"labels": "labels.color"}'),
    ],
)
def test_wrong_fields_are_refused_when_made(fields, error, message):
    with pytest.raises(error, match=message):
        Term(losses.cross_entropy, fields=fields)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            Term(losses.cross_entropy, fields={"labels": "labels.taste"}),
            r"'x' needs the field 'labels.taste'; the batch has \['labels.color', "
            r"'labels.part.size', 'sample_weight'\]",
        ),
        (Term(losses.cross_entropy), r"write Term\(…, fields={'labels': 'labels.color'}\)"),
    ],
)
def test_fields_that_a_batch_lacks_are_named(term, message):
    with pytest.raises(ValueError, match=message):
        value(term)


def test_multi_hot_labels_for_a_loss_of_class_ids_are_refused():
    batch = {"labels": jnp.array([[0, 1, 1], [1, 0, -1]])}
    objective = Objective(label=Term(losses.cross_entropy))
    message = r"term 'label' returns \(2,\), .* each entry of \(2, 3\), as by multi-hot labels"
    with pytest.raises(ValueError, match=message):
        objective({"logits": jnp.zeros((2, 3))}, None, batch)
