import functools

import jax
import numpy as np
import pytest

from jaxkd import Objective, Term, losses

STUDENT, TEACHER = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)


def test_the_loss_is_a_sum_over_prefixes_of_both_sides():
    loss = losses.matryoshka(losses.feature_cosine, (2, 6), weights=(0.5, 2.0))
    expected = 0.5 * losses.feature_cosine(STUDENT[:, :2], TEACHER[:, :2])
    expected += 2.0 * losses.feature_cosine(STUDENT, TEACHER)
    np.testing.assert_allclose(loss(STUDENT, TEACHER), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(teacher=TEACHER, student=STUDENT), expected, rtol=1e-6)


def test_relations_are_compared_with_those_of_the_whole_teacher():
    loss = losses.matryoshka(losses.rkd_distance, (1, 3), whole_teacher=True)
    wide = np.concatenate([TEACHER, STUDENT], axis=1)
    where = np.arange(5) < 4
    expected = sum(losses.rkd_distance(STUDENT[:, :w], wide, where=where) for w in (1, 3))
    np.testing.assert_allclose(loss(STUDENT, wide, where=where), expected, rtol=1e-6)
    assert loss.loss_kind == "batch"


def test_a_term_takes_it_as_it_is():
    def head(student, labels):
        return losses.cross_entropy(student[:, :2], labels)

    labels = np.array([0, 1, 1, -1, 0])
    objective = Objective(
        label=Term(losses.matryoshka(head, (2, 4)), student="embedding"),
        tokens=Term(losses.matryoshka(losses.hidden_mse, (3,)), 0.5, None, "states", "states"),
    )
    outputs = {"embedding": STUDENT, "states": STUDENT[None]}
    _, metrics, _ = objective(outputs, {"states": TEACHER[None]}, {"labels": labels})
    assert [float(count) for _, count in metrics.values()] == [4, 5]
    gradient = jax.grad(lambda x: losses.matryoshka(losses.hidden_mse, (3,))(x, TEACHER).sum())(
        STUDENT
    )
    assert np.all(gradient[:, 3:] == 0) and np.all(gradient[:, :3] != 0)


def test_widths_that_do_not_fit_are_refused():
    make = functools.partial(losses.matryoshka, losses.feature_mse)
    for widths in ((), (0, 2), (4, 2), (2, 2), (1.5,)):
        with pytest.raises(ValueError, match="widths must be ascending integers"):
            make(widths)
    with pytest.raises(ValueError, match=r"one a width, of widths \(1, 2\), not \(1.0,\)"):
        make((1, 2), weights=(1.0,))
    with pytest.raises(ValueError, match="weights must be finite"):
        make((1, 2), weights=(1.0, float("nan")))
    with pytest.raises(ValueError, match=r"student's embeddings of shape \(5, 6\).*width 8"):
        make((2, 8))(STUDENT, TEACHER)
    with pytest.raises(ValueError, match=r"teacher's .*\(5, 3\).*width 4.*whole_teacher=True"):
        make((4,))(STUDENT, TEACHER[:, :3])
