import compiled_losses as losses
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from tiers import few


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def pair(seed=0, channels=(5, 4)):
    return maps(3, 3, 4, channels[0], seed=seed), maps(3, 2, 3, channels[1], seed=seed + 1)


@jax.jit
def loss_and_gradient(student, teacher, where):
    """For k = 2, compiled once for all of the tests."""

    def total(student):
        values = losses.kdsvd(student, teacher, k=2, where=where)
        return jnp.sum(values), values

    (_, values), gradient = jax.value_and_grad(total, has_aux=True)(student)
    return values, gradient


EVERY = np.array([True, True, True])


def vectors(features, count):
    """Leading singular values, normalized, and right vectors of one example."""
    _, values, right = np.linalg.svd(features.reshape(-1, features.shape[-1]), full_matrices=False)
    return values[:count] / np.linalg.norm(values[:count]), right[:count].T


def one_example(student, teacher, k):
    """The loss in plain NumPy, the signs as documented."""
    scaled = []
    for layer, target in zip(student, teacher, strict=True):
        values, goal = vectors(target, k)
        goal = goal * np.where(goal.sum(0) < 0, -1, 1)
        _, candidates = vectors(layer, k + 3)
        cosines = candidates.T @ goal
        nearest = np.abs(cosines).argmax(0)
        chosen = candidates[:, nearest] * np.sign(cosines[nearest, range(k)])
        scaled.append((chosen * values, goal * values))
    (v, v_t), (w, w_t) = scaled
    total = 0.0
    for a in range(len(w)):
        for b in range(len(v)):
            radial = np.exp(-np.square(w[a] - v[b]) / 8) - np.exp(-np.square(w_t[a] - v_t[b]) / 8)
            total += np.sum(radial**2)
    return total


@few("k", [3, 1])
def test_equals_the_definition(k):
    student, teacher = pair(), pair(seed=5)
    expected = [one_example([s[i] for s in student], [t[i] for t in teacher], k) for i in range(3)]
    np.testing.assert_allclose(losses.kdsvd(student, teacher, k=k), expected, rtol=1e-4)


def test_signs_can_be_those_of_another_implementation():
    student, teacher = pair(), pair(seed=5)
    stored = [np.stack([vectors(x, 1)[1] for x in layer]) for layer in teacher]
    flipped = [stored[0], -stored[1]]
    one, other = (losses.kdsvd(student, teacher, signs_like=s) for s in (stored, flipped))
    assert np.all(np.abs(one - other) > 1e-4)
    both = losses.kdsvd(student, teacher, signs_like=[-v for v in stored])
    np.testing.assert_allclose(both, one, rtol=1e-4)


def test_zero_at_the_teacher():
    teacher = pair()
    values, gradient = loss_and_gradient(teacher, teacher, EVERY)
    assert not values.any()
    assert not any(layer.any() for layer in gradient)


@few("channels", [(5, 4), (8, 7)], ids=["tall", "wide"])
def test_gradients(channels):
    with jax.enable_x64(True):
        student = tuple(jnp.asarray(x[:1]) for x in pair(channels=channels))
        teacher = tuple(jnp.asarray(x[:1]) for x in pair(seed=5, channels=channels))
        loss = jax.jit(lambda s: losses.kdsvd(s, teacher, k=2)[0])
        jax.test_util.check_grads(loss, (student,), order=1, eps=1e-5, rtol=1e-5)


def degenerate(name):
    first, second = (x.astype(np.float32) for x in pair())
    match name:
        case "zeros":
            return np.zeros_like(first), second
        case "constant":
            return np.full_like(first, 2.0), second
        case "rank one":
            return first[..., :1] * np.ones(5, np.float32), second
        case "equal singular values":
            return np.tile(
                np.eye(12, 5, dtype=np.float32).reshape(1, 3, 4, 5), (3, 1, 1, 1)
            ), second
        case "dead channels":
            first[..., 1:3] = 0
            return first, second


@pytest.mark.parametrize(
    "name", ["zeros", "constant", "rank one", "equal singular values", "dead channels"]
)
def test_gradient_is_finite_and_moderate(name):
    teacher = tuple(x.astype(np.float32) for x in pair(seed=5))
    for student, target in ((degenerate(name), teacher), (teacher, degenerate(name))):
        values, gradient = loss_and_gradient(student, target, EVERY)
        assert np.isfinite(values).all()
        assert all(np.max(np.abs(layer)) < 10 for layer in gradient)


def test_scale_does_not_enter():
    student, teacher = pair(), pair(seed=5)
    expected = losses.kdsvd(student, teacher)
    scaled = [1e-25 * x for x in student], [1e25 * x for x in teacher]
    np.testing.assert_allclose(losses.kdsvd(*scaled), expected, rtol=1e-4)


def test_masked_examples_never_enter():
    student, teacher = pair(), pair(seed=5)
    where = np.array([True, False, True])
    spoiled = tuple(np.where(where.reshape(3, 1, 1, 1), x, np.nan) for x in student)

    values, gradient = loss_and_gradient(spoiled, teacher, where)
    expected, expected_gradient = loss_and_gradient(student, teacher, EVERY)
    np.testing.assert_allclose(values, np.where(where, expected, 0), rtol=1e-5)
    for layer, expected_layer in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(layer[where], expected_layer[where], rtol=1e-3, atol=1e-6)
        assert not layer[1].any()


def test_errors():
    student, teacher = pair(), pair(seed=5)
    with pytest.raises(ValueError, match="features of two layers, got 1 elements"):
        losses.kdsvd(student[:1], teacher)
    with pytest.raises(ValueError, match="same number of channels.*connector"):
        losses.kdsvd(student, teacher[::-1])
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"k must be between 1 and 5.*got {k}"):
            losses.kdsvd(student, teacher, k=k)
    with pytest.raises(ValueError, match=r"\(3, 5, 1\), got \(3, 5\)"):
        losses.kdsvd(student, teacher, signs_like=[np.ones((3, 5)), np.ones((3, 4))])
