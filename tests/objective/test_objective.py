import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import Objective, Term, losses, recipes
from jaxkd.strategies import multi_teacher
from jaxkd.targets import TopK

STUDENT = {"logits": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)}
TEACHER = {"logits": jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)}
BATCH = {"labels": jnp.array([0, 1, 2, -1])}


def test_hintons_loss_by_hand():
    total, metrics, _ = recipes.kd(alpha=0.7, temperature=3.0)(STUDENT, TEACHER, BATCH)
    log_q, p = jax.nn.log_softmax(STUDENT["logits"] / 3), jax.nn.softmax(TEACHER["logits"] / 3)
    kl = (p * (jnp.log(p) - log_q)).sum(-1).mean()
    log_q1 = jax.nn.log_softmax(STUDENT["logits"])
    ce = -(log_q1[0, 0] + log_q1[1, 1] + log_q1[2, 2]) / 3
    assert [float(metrics[name][1]) for name in ("kd", "label")] == [4, 3]
    np.testing.assert_allclose(metrics["kd"][0] / 4, 9 * kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["label"][0] / 3, ce, rtol=1e-5)
    np.testing.assert_allclose(total, 0.7 * 9 * kl + 0.3 * ce, rtol=1e-5)


def test_schedules_follow_the_step():
    objective = Objective(
        kd=Term(
            losses.kd,
            weight=optax.linear_schedule(1.0, 0.0, 10),
            temperature=optax.linear_schedule(8.0, 2.0, 10),
        )
    )
    for step, weight, temperature in [(0, 1.0, 8.0), (5, 0.5, 5.0), (10, 0.0, 2.0)]:
        total, _, _ = jax.jit(lambda s: objective(STUDENT, TEACHER, {}, step=s))(step)
        expected = losses.kd(STUDENT["logits"], TEACHER["logits"], temperature=temperature).mean()
        np.testing.assert_allclose(total, weight * expected, rtol=1e-5, atol=1e-7)


def test_padding_and_unlabeled_examples_count_for_nothing():
    objective = recipes.kd()
    base, _, _ = objective(STUDENT, TEACHER, BATCH)
    padded = [
        {"logits": jnp.concatenate([o["logits"], jnp.full((2, 3), 7.0) * jnp.arange(3)])}
        for o in (STUDENT, TEACHER)
    ]
    batch = {
        "labels": jnp.concatenate([BATCH["labels"], jnp.array([1, 2])]),
        "where": jnp.array([True] * 4 + [False] * 2),
    }
    np.testing.assert_allclose(objective(*padded, batch)[0], base, rtol=1e-6)


def test_a_batch_without_a_label_has_no_label_loss():
    total, metrics, _ = recipes.kd()(STUDENT, TEACHER, {"labels": jnp.full(4, -1)})
    assert metrics["label"] == (0, 0) and np.isfinite(total)


def test_a_coupled_loss_may_return_a_scalar():
    def relation(student, teacher):
        return jnp.square(student @ student.T - teacher @ teacher.T).mean()

    total, _, _ = Objective(r=Term(relation, weight=2.0))(STUDENT, TEACHER, {})
    np.testing.assert_allclose(total, 2 * relation(STUDENT["logits"], TEACHER["logits"]))
    with pytest.raises(ValueError, match="'r' couples the examples"):
        Objective(r=Term(relation))(STUDENT, TEACHER, {"where": jnp.array([True] * 3 + [False])})


@pytest.mark.parametrize("kind", ["each", "coupled", "counted"])
def test_every_kind_of_loss_is_computed_once(kind):
    computed = []

    def loss(student, where=None):
        jax.debug.callback(lambda: computed.append(kind))
        values = jnp.square(student[:, 0])
        if kind == "each":
            return values
        total, count = losses.masked_sum_and_count(values, where)
        return total / count if kind == "coupled" else (total, count)

    batch = {"where": jnp.array([True, True, False])}
    outputs = {"logits": jnp.array([[1.0], [3.0], [7.0]])}
    total, _, _ = Objective(term=Term(loss))(outputs, None, batch)
    jax.effects_barrier()
    assert (float(total), computed) == (5.0, [kind])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["each", "unmasked", "coupled", "counted"])
def test_every_loss_is_traced_once(kind, masked):
    traces = []

    def each(student, *, where=None):
        traces.append(where)
        return jnp.square(student).mean(axis=-1, where=where)

    def unmasked(student):
        return each(student)

    def counted(student, *, where=None):
        traces.append(where)
        return losses.masked_sum_and_count(jnp.square(student[:, 0]), where)

    def coupled(student, *, where=None):
        total, count = counted(student, where=where)
        return total / count

    losses.couples_examples(coupled)
    losses.returns_sum_and_count(counted)
    term = Term(functools.partial(locals()[kind]), weight=2.0)
    batch = {"where": jnp.array([True, True, False])} if masked else {}

    @jax.jit
    def gradient(logits):
        return jax.grad(lambda x: Objective(term=term)({"logits": x}, None, batch)[0])(logits)

    found = gradient(jnp.array([[1.0], [3.0], [7.0]]))
    assert len(traces) == 1
    # A mask of examples is not one of classes.
    assert (traces[0] is not None) == (masked and kind in ("coupled", "counted"))
    counts = jnp.array([2.0, 6.0, 0.0]) if masked else jnp.array([4.0, 12.0, 28.0]) / 3
    np.testing.assert_allclose(found[:, 0], counts, rtol=1e-6)


def test_a_loss_that_couples_examples_need_not_say_so():
    """It is traced with the mask once it has returned a scalar without one."""
    traces = []

    def coupled(student, *, where=None):
        traces.append(where)
        return jnp.mean(student, where=None if where is None else where[:, None])

    batch = {"where": jnp.array([True, True, False])}
    total, _, _ = Objective(r=Term(coupled))(
        {"logits": jnp.array([[1.0], [3.0], [7.0]])}, None, batch
    )
    assert float(total) == 2.0 and [where is None for where in traces] == [True, False]


def test_a_loss_that_counts_for_itself_gets_the_labels_that_count():
    @losses.returns_sum_and_count
    def loss(student, labels, *, where=None):
        return jnp.sum(labels), jnp.sum(where) if where is not None else jnp.zeros(())

    outputs, labels = {"logits": jnp.zeros((3, 5))}, jnp.array([4, 2, 1])
    batch = {"labels": labels, "labeled": jnp.array([True, False, True])}
    for declared in (loss, lambda student, labels, where=None: loss(student, labels, where=where)):
        objective = Objective(own=Term(declared))
        assert objective(outputs, None, batch)[1]["own"] == (4, 0)
        padded = {**batch, "where": jnp.array([True, True, False])}
        assert objective(outputs, None, padded)[1]["own"] == (4, 2)


def test_an_evaluation_keeps_task_and_distillation_apart():
    value = recipes.kd(alpha=0.7)(STUDENT, TEACHER, BATCH)[0]
    parts = recipes.kd(alpha=0.7).evaluate(STUDENT, TEACHER, BATCH)
    assert parts.total == value == parts.task + parts.distillation
    assert parts.task > 0 and parts.distillation > 0 and set(parts.metrics) == {"label", "kd"}


def test_a_mask_of_examples_covers_all_their_tokens():
    """Four examples of four tokens: the mask of examples must not be taken for one of tokens."""
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(4, 4, 3)), jnp.float32)
    labels = jnp.asarray(np.random.default_rng(3).integers(-1, 3, (4, 4)))
    where = jnp.array([True, False, False, False])
    total, metrics, _ = recipes.labels()(
        {"logits": logits}, None, {"labels": labels, "where": where}
    )
    alone, _, _ = recipes.labels()({"logits": logits[:1]}, None, {"labels": labels[:1]})
    np.testing.assert_allclose(total, alone, rtol=1e-6)
    assert metrics["label"][1] == (labels[0] >= 0).sum()


def test_the_outputs_that_are_compared_are_known_by_name():
    objective = Objective(
        label=Term(losses.cross_entropy),
        kd=Term(losses.kd, teacher="a.logits"),
        hint=Term(lambda student, teacher: student, student=("s1", "s2"), teacher=("t1", "t2")),
    )
    assert objective.student_outputs == {"logits", "s1", "s2"}
    assert objective.teacher_outputs == {"a.logits", "t1", "t2"}


def test_a_connector_fits_features_of_another_width():
    connector = jaxkd.from_nnx(jaxkd.connectors.Linear(6, 4, rngs=nnx.Rngs(0)))
    objective = Objective(
        hint=Term(losses.feature_mse, student="inner", teacher="deep", connector=connector)
    )
    params, state = objective.connectors()
    inner, deep = jnp.ones((2, 6)), jnp.zeros((2, 4))

    def total(params):
        return objective({"inner": inner}, {"deep": deep}, {}, params=params, state=state)[0]

    expected = jnp.square(connector(inner)["logits"]).mean()
    np.testing.assert_allclose(total(params), expected, rtol=1e-6)
    gradients = jax.grad(total)(params)
    assert jnp.abs(gradients["hint"]["linear.kernel"]).sum() > 0


def test_sparse_targets_are_refused_at_temperatures_that_were_not_declared():
    codec = TopK(2, temperatures=(1.0, 4.0))
    sparse = {"logits": codec.decode(codec.encode(TEACHER["logits"]), (3,))}
    assert np.isfinite(recipes.kd(alpha=1.0, temperature=4.0)(STUDENT, sparse, {})[0])
    with pytest.raises(ValueError, match=r"temperatures \[2.0\].*\(1.0, 4.0\)"):
        recipes.kd(alpha=1.0, temperature=2.0)(STUDENT, sparse, {})
    drifting = Objective(kd=Term(losses.kd, temperature=optax.linear_schedule(4.0, 1.0, 1000)))
    with pytest.raises(ValueError, match="are known only at"):
        jax.jit(lambda s: drifting(STUDENT, sparse, {}, step=s)[0])(0)
    several = multi_teacher(("a", "b"), temperature=lambda step: 4.0 + 0 * step, alpha=1.0)
    declared = {
        name: TopK(2, temperatures=temperatures)
        for name, temperatures in (("a.logits", (4.0,)), ("b.logits", (1.0,)))
    }
    teachers = {n: c.decode(c.encode(TEACHER["logits"]), (3,)) for n, c in declared.items()}
    with pytest.raises(ValueError, match=r"'kd' uses the temperatures \[4.0\].*at \(1.0,\)"):
        jax.jit(lambda s: several(STUDENT, teachers, {}, step=s)[0])(0)
    both = dict.fromkeys(teachers, teachers["a.logits"])
    assert np.isfinite(jax.jit(lambda s: several(STUDENT, both, {}, step=s)[0])(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Term(losses.kd, temperature=0.0), "positive number, not 0.0"),
        (lambda: Term(losses.kd, temperature=-1.0), "positive number, not -1.0"),
        (lambda: Term(losses.kd, temperature=float("nan")), "positive number, not nan"),
        (lambda: Term(losses.kd, weight=float("nan")), "kd must be finite, not nan"),
        (lambda: Term(losses.kd, weight=float("inf")), "must be finite, not inf"),
        (
            lambda: Term(losses.kd, temperature=optax.linear_schedule(4.0, -1.0, 1000)),
            "positive number, not -1.0",
        ),
        (lambda: Term(losses.cross_entropy, temperature=2.0), "takes no temperature"),
        (lambda: Term(lambda student, banana: student), r"requires \['banana'\]"),
        (lambda: Term(lambda student, labels=None: student), r"defaults \['labels'\] = None"),
        (lambda: Objective(), "at least one term"),
        (lambda: Objective(loss=Term(losses.kd)), "names of metrics"),
        (lambda: Objective(member=Term(losses.kd)), r"\['member'\] are names of metrics"),
        (lambda: Objective(skipped=Term(losses.kd)), r"\['skipped'\] are names of metrics"),
        (lambda: recipes.kd(alpha=1.5), "not 1.5"),
        (lambda: recipes.kd(temperature=0.0), "not 0.0"),
    ],
)
def test_bad_terms_are_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Term("kd"), "loss of a term must be a function, not 'kd'"),
        (lambda: Term(losses.kd, weight="1"), "weight of kd must be a number .*, not '1'"),
        (lambda: Term(losses.kd, temperature="1"), "temperature of kd must be .*, not '1'"),
        (lambda: Objective(kd=losses.kd), r"'kd' must be a Term, not the function kd: .*Term\("),
        (lambda: Objective(kd=recipes.kd()), r"not an object of the class Objective: .*\.terms"),
    ],
)
def test_terms_of_another_kind_are_refused_when_made(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def _by_example(student, teacher, where=None):
    del where
    return jnp.square(student - teacher).sum(-1)


def _coupled(student, teacher, where=None):
    return jnp.mean(_by_example(student, teacher), where=where)


@pytest.mark.parametrize("mask", [{}, {"where": jnp.array([True, True, False, False])}])
@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (losses.couples_examples(functools.partial(_by_example)), ValueError,
         r"'x' is declared by @couples_examples .* a scalar, not an array of shape \(4,\)"),
        (losses.couples_examples(functools.partial(lambda student, where=None: (
            student.sum(), jnp.ones(())))), ValueError, "not a tuple of two scalars"),
        (losses.returns_sum_and_count(functools.partial(_coupled)), ValueError,
         r"@returns_sum_and_count .* \(sum, count\), not a scalar"),
        (lambda student, where=None: 1.0, TypeError, "'x' returns 1.0"),
        (lambda student: None, TypeError, "'x' returns None"),
        (lambda student: {"a": student}, TypeError, "'x' returns an object of the class dict"),
        (lambda student: [student], TypeError, "'x' returns an object of the class list"),
    ],
)  # fmt: skip
def test_a_loss_returns_what_it_declares(loss, error, message, mask):
    with pytest.raises(error, match=message):
        Objective(x=Term(loss))(STUDENT, TEACHER, mask)


@pytest.mark.parametrize("objective", [recipes.labels, recipes.kd])
@pytest.mark.parametrize("name", ["where", "labeled"])
def test_weights_in_place_of_a_mask_are_refused(objective, name):
    weights = {name: jnp.array([0.1, 1.0, 0.0, 0.0])}
    with pytest.raises(ValueError, match=f"{name} selects and must be boolean, got float32"):
        objective()(STUDENT, TEACHER, {**BATCH, **weights})


@pytest.mark.parametrize(
    ("objective", "teacher", "batch", "message"),
    [
        (recipes.kd, None, BATCH, "'kd' compares with the teacher"),
        (recipes.labels, None, {}, "'label' needs labels"),
        (
            lambda: Objective(h=Term(losses.feature_mse, student="stage9")),
            TEACHER,
            {},
            r"student's output 'stage9'; the student has \['logits'\]",
        ),
        (
            lambda: Objective(h=Term(losses.feature_mse, teacher="deep")),
            TEACHER,
            {},
            r"teacher's output 'deep'; the teacher has \['logits'\]",
        ),
        (recipes.kd, {"logits": jnp.zeros((4, 7))}, BATCH, "7"),
        (recipes.kd, {"logits": jnp.zeros((4,))}, BATCH, r"\(4,\)"),
    ],
)
def test_what_does_not_fit_is_refused_while_tracing(objective, teacher, batch, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(objective(), step=0), STUDENT, teacher, batch)


@pytest.mark.parametrize("value", ["a", None, [1.0]])
def test_schedules_that_return_no_number_are_refused_at_once(value):
    with pytest.raises(TypeError, match="a schedule must return a number, not "):
        Term(losses.kd, temperature=lambda step: value)
    with pytest.raises(TypeError, match="a schedule must return a number, not "):
        Term(losses.kd, weight=lambda step: value)


@pytest.mark.parametrize("name", ["labels", "where", "labeled"])
def test_fields_of_a_batch_that_are_lists_are_refused(name):
    batch = {"labels": jnp.arange(3), name: [0, 1, 2]}
    objective = Objective(label=Term(losses.cross_entropy))
    with pytest.raises(TypeError, match=f"{name} of the batch must be an array, not a list"):
        objective({"logits": jnp.ones((3, 3))}, None, batch)
