import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def views(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def selected(ranks, ratio):
    """The reference's selection of rows, with a stable sort."""
    ranks = np.asarray(ranks)
    wrong = np.count_nonzero(ranks)
    order = np.argsort(ranks.ravel(), kind="stable")
    keep = np.zeros(ranks.size, bool)
    keep[order[: ranks.size - wrong + int(wrong * ratio)]] = True
    return keep.reshape(ranks.shape)


def ranks_of(scores, right):
    order = np.argsort(-scores, axis=-1, kind="stable")
    return np.argmax(order == right[..., None], axis=-1)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0])
def test_transformed_keeps_correct_predictions_and_the_best_of_the_wrong(ratio):
    student, teacher = views(6, 4, 5), views(6, 4, 5, seed=1)
    labels = np.arange(6) % 5
    keep = selected(ranks_of(teacher[:, 1:], np.repeat(labels[:, None], 3, 1)), ratio)
    rows = losses.kd(student[:, 1:], teacher[:, 1:], temperature=4.0)
    value = losses.sskd_transformed(student, teacher, labels, ratio=ratio)
    np.testing.assert_allclose(value, np.mean(np.asarray(rows)[keep]), rtol=1e-5)
    given = losses.sskd_transformed(student, teacher, labels, ratio=ratio, keep=keep)
    np.testing.assert_allclose(given, value, rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.75])
def test_similarity_is_kd_of_cosines(ratio):
    student, teacher = views(6, 3, 5), views(6, 3, 8, seed=1)

    def cosines(x):
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return np.einsum("bvd,cd->bvc", x[:, 1:], x[:, 0])

    scores = cosines(teacher)
    keep = selected(ranks_of(scores, np.repeat(np.arange(6)[:, None], 2, 1)), ratio)
    rows = losses.kd(cosines(student), scores, temperature=0.5)
    expected = np.mean(np.asarray(rows)[keep]) if keep.any() else 0.0
    similarity = jax.jit(losses.sskd_similarity, static_argnames="ratio")
    value = similarity(student, teacher, ratio=ratio)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_shares_round_down_as_in_double_precision():
    # 0.29 * 100 is 28.999999999999996 in double precision, and 29 in single.
    labels, teacher = np.zeros(100, int), np.tile([[0.0, 1.0]], (100, 2, 1))
    student = np.zeros((100, 2, 2))
    student[28, 1] = [9.0, 0.0]
    one = losses.sskd_transformed(student, teacher, labels, ratio=0.29)
    other = losses.sskd_transformed(np.zeros_like(student), teacher, labels, ratio=0.29)
    assert one == other


def test_of_equal_logits_the_first_class_is_predicted():
    student, teacher = views(2, 2, 3), np.zeros((2, 2, 3), np.float32)
    rows = losses.kd(student[:, 1], teacher[:, 1], temperature=4.0)
    value = losses.sskd_transformed(student, teacher, np.array([0, 1]), ratio=0.0)
    np.testing.assert_allclose(value, rows[0], rtol=1e-6)


def test_unlabeled_examples_take_no_part():
    student, teacher, labels = views(4, 3, 5), views(4, 3, 5, seed=1), np.array([1, -1, 0, 2])
    loss = jax.jit(jax.value_and_grad(losses.sskd_transformed), static_argnames="ratio")
    value, gradient = loss(student, teacher, labels, ratio=0.5)
    known = labels >= 0
    expected, _ = loss(student[known], teacher[known], labels[known], ratio=0.5)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert not gradient[1].any()


@pytest.mark.parametrize("name", ["transformed", "similarity"])
def test_padding_changes_nothing(name):
    labels, where = np.arange(5), np.array([True, False, True, True, False])

    def loss(student, teacher, labels, where=None):
        if name == "transformed":
            return losses.sskd_transformed(student, teacher, labels, ratio=0.5, where=where)
        return losses.sskd_similarity(student, teacher, ratio=0.5, where=where)

    student, teacher = views(5, 4, 6), views(5, 4, 6, seed=1)
    spoiled = [np.where(where.reshape(5, 1, 1), x, np.nan) for x in (student, teacher)]
    compiled = jax.jit(jax.value_and_grad(loss))
    value, gradient = compiled(*spoiled, labels, where)
    expected, expected_gradient = compiled(student[where], teacher[where], labels[where])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[where], expected_gradient, rtol=1e-4, atol=1e-7)
    assert not gradient[~where].any()
    assert compiled(student, teacher, labels, np.zeros(5, bool))[0] == 0


def test_zero_embeddings_and_single_images_are_finite():
    teacher = views(3, 2, 4)
    value, gradient = jax.jit(jax.value_and_grad(losses.sskd_similarity))(
        jnp.zeros((3, 2, 4)), teacher
    )
    assert np.isfinite(value)
    assert not gradient.any()
    assert losses.sskd_similarity(views(1, 2, 4, seed=1), teacher[:1]) == 0


def test_errors():
    student, labels = views(2, 3, 5), np.array([0, 1])
    for shape in ((2, 5), (2, 1, 5)):
        with pytest.raises(ValueError, match=r"\[batch, views, num_classes\]"):
            losses.sskd_transformed(views(*shape), views(*shape), labels)
        with pytest.raises(ValueError, match=r"\[batch, views, width\]"):
            losses.sskd_similarity(views(*shape), views(*shape))
    with pytest.raises(ValueError, match=r"\(2, 3, 5\) and teacher \(2, 3, 4\)"):
        losses.sskd_transformed(student, student[..., :4], labels)
    with pytest.raises(ValueError, match=r"\(2, 3, 5\) and teacher \(2, 2, 5\)"):
        losses.sskd_similarity(student, student[:, :2])
    with pytest.raises(ValueError, match=r"integers of shape \(2,\).*float32 of shape \(2, 5\)"):
        losses.sskd_transformed(student, student, student[:, 0])
    with pytest.raises(ValueError, match=r"ratio must lie in \[0, 1\], got 2"):
        losses.sskd_similarity(student, student, ratio=2)
    with pytest.raises(ValueError, match=r"\[batch, views - 1\] = \(2, 2\).*got \(2, 3\)"):
        losses.sskd_similarity(student, student, keep=np.ones((2, 3), bool))
