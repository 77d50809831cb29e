import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses
from jaxkd.losses._sparse_logits import student_buckets

DIVERGENCES = [
    losses.kl_divergence,
    losses.reverse_kl_divergence,
    losses.symmetric_kl_divergence,
    losses.js_divergence,
    losses.skew_kl_divergence,
    losses.skew_reverse_kl_divergence,
    losses.total_variation,
    losses.kd,
]
divergences = pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda d: d.__name__)
TEMPERATURES = (1.0, 2.3, 4.0)
EVERYWHERE = np.ones(4, bool)


def top_k(logits, k, temperatures=TEMPERATURES):
    """The k largest logits with the tail at each temperature, shifted by the largest logit."""
    logits = np.asarray(logits)
    order = np.argsort(-logits, axis=-1)
    shifted = np.take_along_axis(logits, order, -1) - np.max(logits, -1, keepdims=True)
    with np.errstate(divide="ignore"):
        tail = [np.log(np.sum(np.exp(shifted[..., k:] / t), axis=-1)) for t in temperatures]
    return losses.SparseLogits(
        indices=jnp.asarray(order[..., :k], jnp.int32),
        logits=jnp.asarray(shifted[..., :k]),
        tail=jnp.asarray(np.stack(tail, axis=-1)),
        temperatures=temperatures,
        num_classes=logits.shape[-1],
    )


def with_empty_entries(logits, counts):
    """All places of each row beyond its count are empty, with arbitrary logits."""
    full = top_k(logits, logits.shape[-1])
    listed = np.arange(logits.shape[-1]) < np.asarray(counts)[:, None]
    tails = [top_k(row, count).tail for row, count in zip(logits, counts, strict=True)]
    return losses.SparseLogits(
        indices=jnp.where(listed, full.indices, logits.shape[-1]),
        logits=jnp.where(listed, full.logits, jnp.array([jnp.nan, jnp.inf, 9.0, 0, 0, 0, 0])),
        tail=jnp.stack(tails),
        temperatures=TEMPERATURES,
        num_classes=logits.shape[-1],
    )


def buckets(probabilities, indices):
    """Probabilities of the listed classes, and of all the others together."""
    listed = np.take_along_axis(probabilities, indices, -1)
    others = probabilities.copy()
    np.put_along_axis(others, indices, 0.0, -1)
    return np.concatenate([listed, others.sum(-1, keepdims=True)], -1)


def kl(a, b):
    return np.sum(a * np.log(a / b), axis=-1)


@pytest.fixture
def logits():
    return 2 * np.random.default_rng(0).normal(size=(2, 4, 7)).astype(np.float32)


def softmax(logits):
    exp = np.exp(np.asarray(logits, np.float64))
    return exp / exp.sum(-1, keepdims=True)


@jax.jit
def every_divergence(student, teacher, temperature, where):
    """The values of each divergence and the gradient of their sum, at a traced temperature."""

    def evaluate(divergence):
        def total(x):
            values = divergence(x, teacher, temperature=temperature, where=where)
            return jnp.sum(values), values

        gradient, values = jax.grad(total, has_aux=True)(student)
        return values, gradient

    return {divergence.__name__: evaluate(divergence) for divergence in DIVERGENCES}


def test_equals_dense_when_every_class_is_listed(logits):
    student, teacher = logits
    sparse = every_divergence(student, top_k(teacher, 7), 2.3, EVERYWHERE)
    dense = every_divergence(student, teacher, 2.3, EVERYWHERE)
    chex.assert_trees_all_close(sparse, dense, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_is_the_divergence_of_the_buckets(temperature, logits):
    """With the tail exact at each declared temperature: compared with merging dense softmaxes."""
    student, teacher = logits
    sparse = top_k(teacher, 3)
    indices = np.asarray(sparse.indices)
    q, p = (buckets(softmax(x / temperature), indices) for x in (student, teacher))
    expected = {
        "kl_divergence": kl(p, q),
        "reverse_kl_divergence": kl(q, p),
        "symmetric_kl_divergence": (kl(p, q) + kl(q, p)) / 2,
        "js_divergence": (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2,
        "skew_kl_divergence": kl(p, 0.1 * p + 0.9 * q),
        "skew_reverse_kl_divergence": kl(q, 0.9 * p + 0.1 * q),
        "total_variation": np.abs(p - q).sum(-1) / 2,
        "kd": temperature**2 * kl(p, q),
    }
    dense = every_divergence(student, teacher, temperature, EVERYWHERE)
    for name, (value, _) in every_divergence(student, sparse, temperature, EVERYWHERE).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
        assert jnp.all(value <= dense[name][0] + 1e-6), name
        assert jnp.any(value < dense[name][0] - 1e-4), name


def test_zero_at_equality(logits):
    student = logits[0]
    for name, (value, gradient) in every_divergence(
        student, top_k(student, 3), 4.0, EVERYWHERE
    ).items():
        # `kd` multiplies the rounding of the value by 16.
        np.testing.assert_allclose(value, 0, atol=1e-5 if name == "kd" else 1e-6)
        if name != "total_variation":  # A kink: rounding decides its side.
            np.testing.assert_allclose(gradient, 0, atol=1e-5 if name == "kd" else 1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradient_is_q_minus_the_shared_tail(temperature, logits):
    student, teacher = logits
    sparse = top_k(teacher, 3)
    _, gradient = every_divergence(student, sparse, temperature, EVERYWHERE)["kl_divergence"]
    q, p = softmax(student / temperature), softmax(teacher / temperature)
    indices = np.asarray(sparse.indices)
    target = q * buckets(p, indices)[..., -1:] / buckets(q, indices)[..., -1:]
    np.put_along_axis(target, indices, np.take_along_axis(p, indices, -1), -1)
    np.testing.assert_allclose(gradient, (q - target) / temperature, atol=1e-6)


def test_the_tail_is_exact_where_one_minus_the_sum_is_not():
    """Tail masses of 1e-13 and 1e-9, both far below the resolution of float32 at 1."""
    student, teacher = np.array([[0.0, 20.0, -10.0]]), np.array([[0.0, 20.0, -1.0]])
    sparse = top_k(teacher.astype(np.float32), 2)
    q, p = softmax(student), softmax(teacher)
    expected = np.sum(p * np.log(p / q), axis=-1)
    value = losses.kl_divergence(student.astype(np.float32), sparse)
    np.testing.assert_allclose(value - expected, 0, atol=1e-9)
    gradient = jax.grad(lambda x: jnp.sum(losses.reverse_kl_divergence(x, sparse)))(
        student.astype(np.float32)
    )
    slope = q * (np.log(q / p) - np.sum(q * np.log(q / p)))
    np.testing.assert_allclose(gradient[0, 2], slope[0, 2], rtol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_an_empty_place_is_no_place(temperature, logits):
    """Rows of three classes, of all, of none: as if each had been alone."""
    student, teacher = logits
    mixed = every_divergence(
        student, with_empty_entries(teacher, (3, 7, 0, 3)), temperature, EVERYWHERE
    )
    three, seven = (
        every_divergence(student, top_k(teacher, k), temperature, EVERYWHERE) for k in (3, 7)
    )
    for name, results in mixed.items():
        for place, result in enumerate(results):
            expected = np.stack([three[name][place][i] for i in range(4)])
            expected[1], expected[2] = seven[name][place][1], 0
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=2e-6, err_msg=name)
    adaptive = losses.adaptive_kl(
        student, with_empty_entries(teacher, (3, 3, 3, 3)), temperature=temperature
    )
    expected = losses.adaptive_kl(student, top_k(teacher, 3), temperature=temperature)
    np.testing.assert_allclose(adaptive, expected, rtol=1e-5, atol=1e-6)


def test_an_empty_place_takes_no_gradient():
    student = jnp.array([1.0, 2.0, -jnp.inf, 0.0])
    indices = jnp.array([1, 4, 4], jnp.uint8)
    value, pullback = jax.vjp(lambda x: student_buckets(x, indices), student)
    chex.assert_trees_all_equal(value[:3], jnp.array([2.0, -jnp.inf, -jnp.inf]))
    np.testing.assert_allclose(value[3], jnp.logaddexp(1.0, 0.0), rtol=1e-6)
    (gradient,) = pullback(jnp.array([5.0, 7.0, 7.0, 0.0]))
    chex.assert_trees_all_equal(gradient, jnp.array([0.0, 5.0, 0.0, 0.0]))


def test_hard_rows_are_finite():
    """Gaps, ties, and masks on both sides or only in the teacher."""
    inf = np.inf
    student = np.array(
        [
            [500.0, 0.0, 0.0, -500.0, 0.0, 0.0, 1.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [1.0, -inf, 0.0, 2.0, -inf, -inf, -inf],
            [1.0, 0.0, 3.0, 3.0, 0.0, 0.0, 0.0],
        ],
        np.float32,
    )
    teacher = np.array(
        [
            [0.0, 500.0, 0.0, 0.0, 0.0, -500.0, 1.0],
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            [0.0, -inf, 3.0, 1.0, -inf, -inf, -inf],
            [0.0, 1.0, -inf, -inf, -inf, -inf, -inf],
        ],
        np.float32,
    )
    for k in (3, 7):
        results = every_divergence(student, top_k(teacher, k), 4.0, EVERYWHERE)
        chex.assert_tree_all_finite(results)


def test_an_empty_tail_has_no_gradient():
    student = jnp.array([1.0, 2.0, -jnp.inf, -jnp.inf])
    value, pullback = jax.vjp(lambda x: student_buckets(x, jnp.array([1, 0])), student)
    chex.assert_trees_all_equal(value, jnp.array([2.0, 1.0, -jnp.inf]))
    chex.assert_trees_all_equal(pullback(jnp.ones(3))[0], jnp.array([1.0, 1.0, 0.0, 0.0]))


def test_masked_examples(logits):
    student, teacher = logits
    sparse = top_k(teacher, 3)
    everywhere = every_divergence(student, sparse, 4.0, EVERYWHERE)
    where = jnp.array([True, False, True, True])
    rows = where[:, None]
    bad = jax.tree.map(
        lambda x: jnp.where(rows, x, jnp.nan) if x.dtype == jnp.float32 else x, sparse
    )
    masked = every_divergence(jnp.where(rows, student, jnp.nan), bad, 4.0, where)
    for name, (value, gradient) in everywhere.items():
        expected = jnp.where(where, value, 0), jnp.where(rows, gradient, 0)
        chex.assert_trees_all_equal(masked[name], expected)


def test_class_axis_is_the_students(logits):
    student, sparse = logits[0], top_k(logits[1], 3)
    chex.assert_trees_all_close(
        losses.kl_divergence(student.T, sparse, axis=0),
        losses.kl_divergence(student, sparse),
        rtol=1e-5,
    )


def test_vmap_over_rows(logits):
    student, teacher = logits
    sparse = top_k(teacher, 3)
    chex.assert_trees_all_close(
        jax.vmap(losses.kl_divergence)(student, sparse),
        losses.kl_divergence(student, sparse),
        rtol=1e-5,
    )


def test_no_gradient_reaches_a_sparse_teacher(logits):
    student, teacher = logits
    sparse = top_k(teacher, 3)

    def loss(listed):
        given = losses.SparseLogits(sparse.indices, listed, sparse.tail, TEMPERATURES, 7)
        return jnp.sum(losses.kl_divergence(student, given))

    chex.assert_trees_all_equal(jax.grad(loss)(sparse.logits), jnp.zeros((4, 3)))


@divergences
def test_undeclared_temperature_is_refused(divergence, logits):
    with pytest.raises(ValueError, match=r"3\.0 is not among .*\(1\.0, 2\.3, 4\.0\).*rebuild"):
        divergence(logits[0], top_k(logits[1], 3), temperature=3.0)


@pytest.mark.parametrize("k", [3, 7])
def test_undeclared_traced_temperature_is_loud(k, logits):
    student, sparse = logits[0], top_k(logits[1], k)
    values = every_divergence(student, sparse, 3.0, EVERYWHERE)
    for value, gradient in values.values():
        assert jnp.all(jnp.isnan(value))
        assert jnp.any(jnp.isnan(gradient))


def test_concrete_and_traced_temperatures_agree(logits):
    student, sparse = logits[0], top_k(logits[1], 3)
    for temperature in TEMPERATURES:
        value = losses.kl_divergence(student, sparse, temperature=temperature)
        traced, _ = every_divergence(student, sparse, temperature, EVERYWHERE)["kl_divergence"]
        np.testing.assert_allclose(traced, value, rtol=1e-5)


def test_low_precision_is_upcast(logits):
    student, sparse = jnp.asarray(logits[0], jnp.bfloat16), top_k(logits[1], 3)
    value = losses.kl_divergence(student, sparse)
    chex.assert_type(value, jnp.float32)
    chex.assert_trees_all_equal(value, losses.kl_divergence(student.astype(jnp.float32), sparse))


def test_explicitly_sharded_over_the_batch(logits):
    devices = jax.devices()[: 4 if len(jax.devices()) >= 4 else 1]
    mesh = jax.make_mesh(
        (len(devices),), ("data",), (jax.sharding.AxisType.Explicit,), devices=devices
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    student, sparse = logits[0], top_k(logits[1], 3)
    gradient = jax.jit(jax.grad(lambda s, t: jnp.sum(losses.kl_divergence(s, t))))
    expected = gradient(student, sparse)
    with jax.set_mesh(mesh):
        sharded = gradient(*jax.device_put((student, sparse), sharding))
    chex.assert_trees_all_close(jax.device_get(sharded), expected, rtol=1e-5, atol=1e-6)


def test_is_a_pytree_of_arrays(logits):
    sparse = top_k(logits[1], 3)
    assert len(jax.tree.leaves(sparse)) == 3
    shapes = jax.eval_shape(lambda s: jax.tree.map(lambda x: x[:2], s), sparse)
    assert shapes.logits.shape == (2, 3)
    assert shapes.temperatures == TEMPERATURES
    assert hash(jax.tree.structure(sparse)) == hash(jax.tree.structure(top_k(logits[0], 3)))


def test_temperatures_are_checked_and_frozen():
    sparse = losses.SparseLogits(None, None, None, [1, 4], 3)
    assert sparse.temperatures == (1.0, 4.0)
    for temperatures in ((), (0.0,), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="positive and finite"):
            losses.SparseLogits(None, None, None, temperatures, 3)


def test_what_does_not_fit_is_refused(logits):
    student, sparse = logits[0], top_k(logits[1], 3)

    def refused(match, student=student, where=None, **fields):
        arrays = {name: getattr(sparse, name) for name in ("indices", "logits", "tail")}
        static = {"temperatures": TEMPERATURES, "num_classes": 7}
        given = losses.SparseLogits(**(arrays | static | fields))
        with pytest.raises(ValueError, match=match):
            losses.kl_divergence(student, given, where=where)

    refused(r"have 6 classes.*num_classes=7", student=student[:, :6])
    refused(r"\(3, 'k'\), got \(4, 3\)", student=student[:3])
    refused("need SparseLogits indices and logits", logits=sparse.logits[:, :2])
    refused(r"tail must have shape \(4, 3\).*got \(4, 2\)", tail=sparse.tail[:, :2])
    refused("integers", indices=sparse.logits)
    refused(
        "1 to num_classes=7",
        indices=jnp.zeros((4, 8), jnp.int32),
        logits=jnp.zeros((4, 8)),
    )
    refused("masks classes.*tail", where=jnp.ones((4, 7), bool))


def test_a_student_is_never_sparse(logits):
    sparse = top_k(logits[1], 3)
    for loss in (losses.kl_divergence, losses.kd, losses.logit_mse):
        with pytest.raises(TypeError, match="student must be an array"):
            loss(sparse, logits[1])
