import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def softmax(logits):
    exp = np.exp(np.asarray(logits, np.float64))
    return exp / exp.sum(-1, keepdims=True)


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(8, 2, n)).astype(np.float32) for n in (4, 6)]


def sorted_distance(q, p):
    size = max(len(q), len(p))
    q, p = (np.pad(np.sort(x)[::-1], (0, size - len(x))) for x in (q, p))
    return np.abs(p - q).sum()


def test_compares_sorted_probabilities(logits):
    student, teacher = logits
    got = losses.uld(student, teacher, student_temperature=2.0, teacher_temperature=0.5)
    expected = [
        sorted_distance(q, p)
        for q, p in zip(
            softmax(student / 2).reshape(-1, 4), softmax(teacher / 0.5).reshape(-1, 6), strict=True
        )
    ]
    np.testing.assert_allclose(np.ravel(got), expected, rtol=1e-4)
    shuffled = losses.uld(student[..., ::-1], teacher, student_temperature=2.0)
    straight = losses.uld(student, teacher, student_temperature=2.0)
    np.testing.assert_allclose(shuffled, straight, rtol=1e-6)


def test_is_zero_for_a_renamed_vocabulary_with_tokens_never_used(logits):
    teacher = np.full((8, 2, 6), -np.inf, np.float32)
    teacher[..., [5, 0, 2, 3]] = logits[0]
    value, gradient = jax.value_and_grad(lambda s: jnp.sum(losses.uld(s, teacher)))(logits[0])
    np.testing.assert_allclose(value, 0, atol=1e-5)
    assert np.all(np.isfinite(gradient))


def test_has_no_gradient_where_the_models_agree(logits):
    for loss in (losses.uld, losses.uld_from_log_probs):
        gradient = jax.grad(lambda s, loss=loss: jnp.sum(loss(s, logits[0])))(logits[0])
        np.testing.assert_array_equal(gradient, 0)


def test_of_log_probabilities_is_the_same_before_normalization(logits):
    log_probs = [jax.nn.log_softmax(x) for x in logits]
    expected = losses.uld(*logits)
    np.testing.assert_allclose(losses.uld_from_log_probs(*log_probs), expected, rtol=1e-5)
    halves = (x - np.log(2) for x in log_probs)
    np.testing.assert_allclose(losses.uld_from_log_probs(*halves), expected / 2, rtol=1e-5)


SHARED = {"student_ids": np.array([3, 0]), "teacher_ids": np.array([1, 4])}


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_hybrid_compares_shared_tokens_by_name_and_the_others_by_rank(logits, beta):
    q, p = (softmax(x[0, 0]) for x in logits)
    a, b = p[[1, 4]], q[[3, 0]]
    m = beta * a + (1 - beta) * b
    forward, reverse = np.sum(a * np.log(a / m)), np.sum(b * np.log(b / m))
    matched = beta * forward + (1 - beta) * reverse
    if beta in (0, 1):
        matched = np.sum(a * np.log(a / b)) if beta == 0 else np.sum(b * np.log(b / a))
    unmatched = sorted_distance(q[[1, 2]], p[[0, 2, 3, 5]])
    log_probs = [jax.nn.log_softmax(x) for x in logits]
    np.testing.assert_allclose(
        losses.hybrid_uld(*log_probs, **SHARED, beta=beta)[0, 0],
        matched * 2 / 6 + unmatched * 4 / 6,
        rtol=1e-4,
    )
    fixed = losses.hybrid_uld(
        *log_probs, **SHARED, beta=beta, matched_weight=3.0, unmatched_weight=0.5
    )
    np.testing.assert_allclose(fixed[0, 0], 3 * matched + 0.5 * unmatched, rtol=1e-4)


def test_hybrid_with_one_vocabulary_is_a_jensen_shannon_divergence(logits):
    student, teacher = jnp.asarray(logits[0]), jnp.asarray(logits[0])[::-1]
    ids = np.arange(4)
    np.testing.assert_allclose(
        losses.hybrid_uld(
            jax.nn.log_softmax(student),
            jax.nn.log_softmax(teacher),
            student_ids=ids,
            teacher_ids=ids,
        ),
        losses.js_divergence(student, teacher),
        rtol=1e-4,
        atol=1e-7,
    )


def test_masked_tokens_and_the_teacher_have_no_gradient(logits):
    student, teacher = (jnp.asarray(x).at[0, 0].set(jnp.nan) for x in logits)
    where = ~np.isnan(student[..., 0])

    def both(student, teacher):
        each = losses.uld(student, teacher, where=where)
        named = losses.hybrid_uld(student, teacher, **SHARED, where=where)
        return jnp.sum(each + named), (each, named)

    (_, values), gradients = jax.jit(jax.value_and_grad(both, argnums=(0, 1), has_aux=True))(
        student, teacher
    )
    for value in values:
        assert value[0, 0] == 0 and np.all(value[where] > 0)
    assert np.any(gradients[0]) and np.all(np.isfinite(gradients[0]))
    np.testing.assert_array_equal(gradients[0][0, 0], 0)
    np.testing.assert_array_equal(gradients[1], 0)


def test_extreme_log_probabilities_have_finite_gradients():
    student = jnp.array([[0.0, -500.0, -jnp.inf, -500.0]])
    teacher = jnp.array([[-jnp.inf, 0.0, -500.0, -500.0, -600.0, -jnp.inf]])

    @jax.jit
    @jax.value_and_grad
    def everything(student):
        return jnp.sum(
            losses.uld(student, teacher)
            + losses.uld_from_log_probs(student, teacher)
            + losses.hybrid_uld(student, teacher, **SHARED)
        )

    value, gradient = everything(student)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_a_sharded_batch_gives_the_same_gradient(logits):
    devices = jax.devices()[: 8 if len(jax.devices()) >= 8 else 1]
    mesh = jax.make_mesh(
        (len(devices),), ("data",), (jax.sharding.AxisType.Explicit,), devices=devices
    )

    @jax.jit
    def gradient(student, teacher):
        def loss(student):
            hybrid = losses.hybrid_uld(student, teacher, **SHARED)
            return jnp.sum(losses.uld(student, teacher) + hybrid)

        return jax.grad(loss)(student)

    alone = gradient(*logits)
    with jax.set_mesh(mesh):
        sharding = jax.sharding.PartitionSpec("data")
        sharded = gradient(*(jax.device_put(x, sharding) for x in logits))
    np.testing.assert_allclose(sharded, alone, atol=1e-6)


def test_refuses_what_does_not_fit(logits):
    student, teacher = logits
    with pytest.raises(ValueError, match="all axes but the last"):
        losses.uld(student, teacher[:, :1])
    with pytest.raises(ValueError, match="temperature"):
        losses.uld(student, teacher, student_temperature=0.0)
    with pytest.raises(ValueError, match="given together"):
        losses.hybrid_uld(student, teacher, **SHARED, matched_weight=1.0)
    with pytest.raises(ValueError, match=r"in \[0, 4\)"):
        losses.hybrid_uld(student, teacher, student_ids=[4], teacher_ids=[0])
    with pytest.raises(ValueError, match="distinct"):
        losses.hybrid_uld(student, teacher, student_ids=[1, 1], teacher_ids=[0, 1])
    with pytest.raises(ValueError, match="the same length"):
        losses.hybrid_uld(student, teacher, student_ids=[1], teacher_ids=[0, 1])
    with pytest.raises(ValueError, match="at least one"):
        losses.hybrid_uld(student, teacher, student_ids=np.zeros(0, int), teacher_ids=[0])
    with pytest.raises(TypeError, match="SparseLogits"):
        losses.uld(student, losses.SparseLogits(None, None, None, (1.0,), 4))
    with pytest.raises(ValueError, match="close over"):
        jax.jit(lambda ids: losses.hybrid_uld(student, teacher, student_ids=ids, teacher_ids=ids))(
            np.array([0])
        )
