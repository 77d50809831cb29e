import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)


@pytest.fixture
def cost():
    return losses.class_distances(np.random.default_rng(1).normal(size=(5, 3)))


def _plan_cost(q, p, cost, regularization, iterations):
    """The algorithm for one example, in the authors' order, on NumPy's doubles."""
    cost = np.maximum(np.asarray(cost, np.float64), 0) + 1e-8
    kernel = np.exp(-cost / regularization)
    rows = np.full(len(q), 1 / len(q))
    for _ in range(iterations):
        columns = p / (kernel.T @ rows + 1e-8)
        rows = q / (kernel @ columns + 1e-8)
    return np.sum(rows[:, None] * kernel * columns * cost)


def _softmax(x):
    x = np.exp(np.asarray(x, np.float64))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("iterations", [1, 10])
def test_distance_is_the_cost_of_the_plan(logits, cost, iterations):
    cost = cost.at[0, 1].set(0.7).at[2, 3].set(-0.5)  # Rows are the student's classes.
    expected = [
        _plan_cost(_softmax(q), _softmax(p), cost, 0.1, iterations)
        for q, p in zip(*logits, strict=True)
    ]
    got = losses.sinkhorn_distance(*logits, cost=cost, regularization=0.1, iterations=iterations)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_label_leaves_as_if_its_class_were_not_there(logits, cost):
    labels = [0, 4, 2, 2]
    expected = []
    for q, p, label in zip(*logits, labels, strict=True):
        target = -_softmax(p)[label] * np.log(_softmax(q)[label])
        keep = np.arange(5) != label
        rest = _plan_cost(
            _softmax(q[keep] / 2), _softmax(p[keep] / 2), cost[keep][:, keep], 0.05, 10
        )
        expected.append(target + 30 * rest)
    got = losses.wkd_logit(*logits, jnp.array(labels), cost=cost, gamma=30.0, temperature=2.0)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_mass_that_goes_to_a_related_class_costs_less():
    cost = losses.class_distances(jnp.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]))
    student, teacher = jnp.array([9.0, 0.0, 0.0]), jnp.array([0.0, 9.0, 0.0])
    near = losses.sinkhorn_distance(student, teacher, cost=cost)
    far = losses.sinkhorn_distance(student, teacher[jnp.array([0, 2, 1])], cost=cost)
    np.testing.assert_allclose(near, cost[0, 1], atol=2e-3)
    np.testing.assert_allclose(far, cost[0, 2], atol=2e-3)


def test_masked_classes_are_as_if_they_were_not_there(logits, cost):
    keep = jnp.array([True, True, False, True, True])
    got = losses.sinkhorn_distance(*logits, cost=cost, where=keep[None, :])
    alone = losses.sinkhorn_distance(*(x[:, keep] for x in logits), cost=cost[keep][:, keep])
    np.testing.assert_allclose(got, alone, rtol=1e-5)
    labels = jnp.array([0, 1, 3, 4])
    got = losses.wkd_logit(*logits, labels, cost=cost, where=keep[None, :])
    alone = losses.wkd_logit(
        *(x[:, keep] for x in logits), jnp.array([0, 1, 2, 3]), cost=cost[keep][:, keep]
    )
    np.testing.assert_allclose(got, alone, rtol=1e-5)


@pytest.mark.parametrize("gap", [0.0, 500.0])
def test_value_and_gradient_are_finite(cost, gap):
    student = jnp.array([[gap, 0.0, 0.0, 0.0, 0.0], [0.0, gap, 0.0, 0.0, -jnp.inf]])
    teacher = jnp.array([[0.0, gap, 0.0, 0.0, 0.0], [0.0, gap, 0.0, -jnp.inf, -jnp.inf]])

    @jax.jit
    @jax.value_and_grad
    def total(student, scale):
        labels = jnp.array([0, 2])
        near = losses.wkd_logit(student, teacher, labels, cost=scale * cost, temperature=1.0)
        return jnp.sum(near + losses.sinkhorn_distance(student, teacher, cost=scale * cost))

    for scale in (0.0, 1.0, 100.0):
        value, gradient = total(student, scale)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_unlabeled_and_left_out_examples_cost_nothing(logits, cost):
    where = jnp.array([True, False, True, True])
    spoiled = jnp.where(where[:, None], logits[0], jnp.nan)

    @functools.partial(jax.grad, has_aux=True)
    def total(student):
        values = losses.wkd_logit(
            student, logits[1], jnp.array([0, 1, -1, 2]), cost=cost, where=where
        )
        return jnp.sum(values), values

    gradient, values = jax.jit(total)(spoiled)
    assert np.asarray(values != 0).tolist() == [True, False, False, True]
    assert np.any(gradient != 0, axis=1).tolist() == [True, False, False, True]


def test_costs_are_constants_that_grow_with_the_angle():
    vectors = jnp.array([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])
    cost = losses.class_distances(vectors, kappa=2.0)
    expected = 1 - np.exp(-2.0 * np.array([0.0, 1 - np.sqrt(0.5), 1.0, 2.0, 1.0]))
    np.testing.assert_allclose(cost[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(cost, cost.T)
    np.testing.assert_array_equal(jnp.diagonal(cost), 0)

    def distance(cost):
        return losses.sinkhorn_distance(vectors[:2].T, vectors[1:3].T, cost=cost).sum()

    assert not np.any(jax.grad(distance)(jnp.eye(2)))


def test_what_does_not_fit_is_refused(logits, cost):
    with pytest.raises(ValueError, match=r"\(5, 5\).*\(4, 4\)"):
        losses.sinkhorn_distance(*logits, cost=cost[:4, :4])
    with pytest.raises(ValueError, match="regularization"):
        losses.sinkhorn_distance(*logits, cost=cost, regularization=0.0)
    with pytest.raises(ValueError, match="iterations"):
        losses.wkd_logit(*logits, jnp.zeros(4, int), cost=cost, iterations=0)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        losses.class_distances(jnp.zeros((2, 3, 4)))
