import importlib
import itertools

import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest

# The function of this name hides the module as an attribute of the package.
rkd_module = importlib.import_module("jaxkd.losses.relations.rkd")


def huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


def distances(points, squared=False):
    """In float64, over their mean, duplicates counted."""
    points = points.astype(np.float64)
    squares = np.sum((points[:, None] - points) ** 2, axis=-1)
    values = squares if squared else np.sqrt(squares)
    number = len(points)
    return values / (values.sum() / (number * (number - 1)))


def cosines(points):
    points = points.astype(np.float64)
    number = len(points)
    result = np.zeros((number, number, number))
    for i, j, k in itertools.product(range(number), repeat=3):
        first, second = points[j] - points[i], points[k] - points[i]
        lengths = np.linalg.norm(first) * np.linalg.norm(second)
        if lengths > 0:
            result[i, j, k] = first @ second / lengths
    return result


def embeddings(batch=7):
    generator = np.random.default_rng(0)
    return (
        generator.normal(size=(batch, 3)).astype(np.float32),
        generator.normal(size=(batch, 5)).astype(np.float32),
    )


@pytest.mark.parametrize("squared", [False, True])
def test_distance_is_the_definition(squared):
    student, teacher = embeddings()
    student[4] = student[1]
    expected = np.mean(huber(distances(student, squared) - distances(teacher, squared)))
    value = losses.rkd_distance(student, teacher, squared=squared)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("turn", [1, 2 * 7 * 7, 2**20], ids=["one", "two and a rest", "all"])
def test_angle_is_the_definition_however_many_anchors_a_turn(turn, monkeypatch):
    monkeypatch.setattr(rkd_module, "_MAX_ELEMENTS", turn)
    student, teacher = embeddings()
    student[4] = student[1]
    expected = np.mean(huber(cosines(student) - cosines(teacher)))
    np.testing.assert_allclose(losses.rkd_angle(student, teacher), expected, rtol=1e-5)


def test_rkd_is_the_weighted_sum():
    student, teacher = embeddings()
    parts = losses.rkd_distance(student, teacher), losses.rkd_angle(student, teacher)
    value = losses.rkd(student, teacher, distance_weight=2.0, angle_weight=3.0)
    np.testing.assert_allclose(value, 2 * parts[0] + 3 * parts[1], rtol=1e-6)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
def test_distances_of_close_pairs_are_exact(distance):
    """Inner products of rows of norm 10 are rounded by 1e-5."""
    student, teacher = np.random.default_rng(0).normal(size=(2, 6, 100)).astype(np.float32)
    student[1] = student[0] + np.float32(distance) * teacher[3]
    student[3], student[5] = student[2], student[4]
    got = rkd_module._relative_distances(
        jnp.asarray(student), rkd_module._embeddings(student, teacher, False, None), False
    )
    np.testing.assert_allclose(got, distances(student), rtol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_duplicates_have_no_direction_even_when_the_embedding_is_compiled_along(normalize):
    """A fused multiply-add must not distinguish equal rows."""
    student, teacher = np.random.default_rng(0).normal(size=(2, 8, 16)).astype(np.float32)
    student[3] = student[5]
    scale = np.random.default_rng(1).normal(size=16).astype(np.float32)

    @jax.jit
    def gradient(points, scale):
        def loss(points):
            return losses.rkd(points * scale, teacher, normalize=normalize)

        return jax.grad(loss)(points)

    distinct = student.copy()
    distinct[3] += 0.1
    usual = np.max(np.abs(gradient(distinct, scale)))
    assert np.max(np.abs(gradient(student, scale))) < 10 * usual


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_does_not_matter(scale):
    student, teacher = embeddings()
    np.testing.assert_allclose(
        losses.rkd(student * np.float32(scale), teacher), losses.rkd(student, teacher), rtol=1e-4
    )
