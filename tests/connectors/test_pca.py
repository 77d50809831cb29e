import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import Objective, Term, connectors, losses

GENERATOR = np.random.default_rng(0)
EMBEDDINGS = GENERATOR.normal(size=(60, 3)) * [5, 2, 1] @ GENERATOR.normal(size=(3, 6)) + 100.0


@pytest.mark.parametrize("center", [True, False])
def test_components_are_the_singular_vectors(center):
    found = connectors.pca(EMBEDDINGS, 2, center=center)
    mean = EMBEDDINGS.mean(axis=0) if center else np.zeros(6)
    _, sizes, vectors = np.linalg.svd(EMBEDDINGS - mean)
    assert found.components.dtype == np.float32 and found.components.shape == (2, 6)
    np.testing.assert_allclose(np.abs(found.components), np.abs(vectors[:2]), atol=1e-5)
    np.testing.assert_allclose(found.variances, sizes[:2] ** 2 / 60, rtol=1e-5)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    assert found.share == pytest.approx(np.sum(sizes[:2] ** 2) / np.sum(sizes**2), rel=1e-6)
    assert np.all(np.max(found.components, axis=1) == np.max(np.abs(found.components), axis=1))


def test_blocks_give_what_all_at_once_gives_however_far_off_the_mean_is():
    far = EMBEDDINGS + 1e6
    blocks = (far[i : i + 7] for i in range(0, 60, 7))
    found, near = connectors.pca(blocks, 3), connectors.pca(EMBEDDINGS, 3)
    np.testing.assert_allclose(found.components, near.components, atol=1e-5)
    np.testing.assert_allclose(found.variances, near.variances, rtol=1e-5)
    assert found.share == pytest.approx(1.0)


def test_a_linear_map_starts_from_coordinates():
    found = connectors.pca(EMBEDDINGS, 3)
    linear = connectors.Linear(3, 6, initial=found, rngs=nnx.Rngs(0))
    coordinates = (EMBEDDINGS - found.mean) @ found.components.T
    # Three directions are all that there are, so that nothing is lost.
    np.testing.assert_allclose(linear(coordinates), EMBEDDINGS, rtol=1e-4)
    reduced = connectors.ReducedTeacher(found)(jnp.zeros((60, 3)), teacher=jnp.asarray(EMBEDDINGS))
    np.testing.assert_allclose(reduced["teacher"], coordinates, atol=1e-3)
    assert not nnx.state(connectors.ReducedTeacher(found), nnx.Param)


def test_a_student_of_half_the_width_learns_the_coordinates():
    """The term has nothing to train beside the student, and none of its loss at the coordinates."""
    found = connectors.pca(EMBEDDINGS, 3, center=False)
    loss = losses.matryoshka(losses.feature_cosine, (1, 3))
    connector = connectors.ReducedTeacher(found)
    term = Term(loss, 1.0, None, "embedding", "embedding", connector)
    objective = Objective(embedding=term)
    params, state = objective.connectors()
    outputs = {"embedding": jnp.asarray(EMBEDDINGS @ found.components.T)}
    teacher = {"embedding": jnp.asarray(EMBEDDINGS)}
    total, _, _ = objective(outputs, teacher, {}, params=params, state=state)
    assert total == pytest.approx(0, abs=1e-5) and not params["embedding"]
    total, _, _ = objective(
        {"embedding": -outputs["embedding"]}, teacher, {}, params=params, state=state
    )
    assert total == pytest.approx(4, rel=1e-4)


def test_what_does_not_fit_is_refused():
    found = connectors.pca(EMBEDDINGS, 3)
    with pytest.raises(
        ValueError, match=r"\(3, 6\) are for .* not .*\(2, 4\).*pca\(embeddings, 4\)"
    ):
        connectors.ReducedTeacher(found)(jnp.ones((2, 4)), teacher=jnp.ones((2, 6)))
    with pytest.raises(ValueError, match=r"starts as components \(4, 6\), not \(3, 6\): write"):
        connectors.Linear(4, 6, initial=found, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="need a bias: .*center=False"):
        connectors.Linear(3, 6, use_bias=False, initial=found, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="from 1 to the 6 features .* the 60 embeddings, not 7"):
        connectors.pca(EMBEDDINGS, 7)
    with pytest.raises(ValueError, match=r"of one width, not \(3, 5\) after \(6,\)"):
        connectors.pca([EMBEDDINGS, np.ones((3, 5))], 2)
    for number in (np.nan, 1e40):  # the mean of the latter is no float32
        with pytest.raises(ValueError, match="finite in float32: 8 of 8"):
            connectors.pca(np.full((4, 2), number), 1)
    with pytest.raises(ValueError, match="no embedding"):
        connectors.pca([], 1)
    with pytest.raises(TypeError, match=r"real numbers, not complex128: .*\[x.real, x.imag\]"):
        connectors.pca(EMBEDDINGS + 1j, 2)
    with pytest.raises(TypeError, match="width must be an integer, .* not 2.0"):
        connectors.pca(EMBEDDINGS, 2.0)
    for make in (
        lambda: connectors.ReducedTeacher(EMBEDDINGS),
        lambda: connectors.Linear(3, 6, initial=EMBEDDINGS, rngs=nnx.Rngs(0)),
    ):
        with pytest.raises(TypeError, match=r"takes what connectors.pca.* returned, not ndarray"):
            make()


def test_rows_in_a_list_and_bfloat16_are_embeddings():
    found = connectors.pca(EMBEDDINGS.tolist(), 2)
    np.testing.assert_array_equal(found.components, connectors.pca(EMBEDDINGS, 2).components)
    narrow = connectors.pca(jnp.asarray(EMBEDDINGS - 100, jnp.bfloat16), 2)
    np.testing.assert_allclose(narrow.components, found.components, atol=0.02)
