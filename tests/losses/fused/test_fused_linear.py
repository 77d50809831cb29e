"""Fused losses against the same losses on all logits, in float64."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import few

from jaxkd import losses
from jaxkd.losses.fused._chunks import grid

TOKENS, WIDTH, TEACHER_WIDTH, CLASSES, VALID = (3, 7), 5, 4, 16, 13


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def examples(seed=0, tokens=TOKENS, dtype=np.float64, scale=1.0):
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(scale * generator.normal(size=shape), dtype)

    student = normal(*tokens, WIDTH), normal(WIDTH, CLASSES)
    teacher = normal(*tokens, TEACHER_WIDTH), normal(TEACHER_WIDTH, CLASSES)
    labels = jnp.asarray(generator.integers(-1, VALID, tokens), jnp.int32)
    where = jnp.asarray(generator.random(tokens) < 0.8)
    return student, teacher, labels, where


def sampled(logits, temperature):
    indices = jax.random.categorical(
        jax.random.key(0), logits[..., None, :] / temperature, shape=(*logits.shape[:-1], 6)
    )
    return losses.SampledClasses(
        indices=indices.astype(jnp.int32),
        entropy=jnp.ones(logits.shape[:-1], logits.dtype),
        temperature=temperature,
        num_classes=logits.shape[-1],
    )


def sparse(logits, temperature, k=4):
    top, indices = jax.lax.top_k(logits, k)
    listed = jnp.sum(jax.nn.one_hot(indices, logits.shape[-1], dtype=bool), axis=-2) > 0
    tail = jax.nn.logsumexp(jnp.where(listed, -jnp.inf, logits / temperature), axis=-1)
    return losses.SparseLogits(
        indices=indices.astype(jnp.int32),
        logits=top,
        tail=tail[..., None],
        temperatures=(temperature,),
        num_classes=logits.shape[-1],
    )


KINDS = {
    "dense": lambda logits, temperature: logits,
    "top-k": sparse,
    "sampled": sampled,
    "hidden": None,
}


def mixed(student, teacher, labels, *, temperature=1.0):
    taught = losses.reverse_kl_divergence(student, teacher, temperature=temperature)
    return 0.3 * taught + 0.7 * losses.cross_entropy(student, labels, label_smoothing=0.1)


LOSSES = {
    "kl": losses.kl_divergence,
    "kd": losses.kd,
    "reverse": losses.reverse_kl_divergence,
    "symmetric": losses.symmetric_kl_divergence,
    "js": functools.partial(losses.js_divergence, beta=0.3),
    "skew": functools.partial(losses.skew_kl_divergence, skew=0.2),
    "skew reverse": losses.skew_reverse_kl_divergence,
    "total variation": losses.total_variation,
    "mixed": mixed,
    "logit mse": losses.logit_mse,
}
CASES = [
    *((name, "dense") for name in LOSSES),
    *((name, "top-k") for name in ("kd", "reverse", "total variation", "mixed")),
    *((name, "hidden") for name in ("kl", "js", "mixed", "logit mse")),
    ("kd", "sampled"),
]
# What takes time here is compiling.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
jit = functools.partial(jax.jit, compiler_options=QUICK)


def capped(logits, cap):
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def fused_and_reference(
    name, kind, *, temperature=2.0, cap=None, teacher_cap=None, valid=CLASSES, **options
):
    """The fused loss and the naive one, as functions of hidden states and head."""
    student, teacher, labels, where = examples()
    loss = LOSSES[name]
    takes = inspect.signature(loss).parameters
    keywords = {"temperature": temperature} if "temperature" in takes else {}
    if "labels" in takes:
        keywords["labels"] = labels
    logits = capped(teacher[0] @ teacher[1], teacher_cap)[..., :valid]
    outputs = logits if kind == "hidden" else KINDS[kind](logits, temperature)
    fused = losses.fused_linear(
        loss,
        soft_cap=cap,
        teacher_soft_cap=teacher_cap,
        valid_classes=None if valid == CLASSES else valid,
        **options,
    )

    def ours(hidden, head):
        target = teacher if kind == "hidden" else outputs
        return fused((hidden, head), target, where=where, **keywords)

    def naive(hidden, head):
        values = loss(capped(hidden @ head, cap)[..., :valid], outputs, **keywords)
        counted = where
        if "labels" in takes and not options.get("unlabeled"):
            counted &= labels >= 0
        return losses.masked_sum_and_count(values, counted)

    return ours, naive, student


def assert_same(ours, naive, student, atol=1e-10):
    def mean(function, *student):
        total, count = function(*student)
        # The mean, so that what the backward pass scales by is not 1.
        return total / count, count

    (found, count), gradients = jit(
        jax.value_and_grad(functools.partial(mean, ours), (0, 1), has_aux=True)
    )(*student)
    (wanted, expected), naive_gradients = jit(
        jax.value_and_grad(functools.partial(mean, naive), (0, 1), has_aux=True)
    )(*student)
    chex.assert_type(jax.tree.leaves((found, count, gradients)), jnp.float64)
    assert count == expected > 0
    chex.assert_trees_all_close((found, gradients), (wanted, naive_gradients), rtol=0, atol=atol)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(naive_gradients))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_value_and_gradients_are_those_of_all_logits(name, kind):
    assert_same(*fused_and_reference(name, kind, chunk_size=6))


@pytest.mark.parametrize("kind", KINDS)
def test_soft_caps_and_a_padded_vocabulary(kind):
    name = "kd" if kind == "sampled" else "mixed"
    assert_same(
        *fused_and_reference(name, kind, chunk_size=6, cap=1.5, teacher_cap=2.5, valid=VALID)
    )


@few("chunk_size", [4, None, 1, 2, 12, 20])
def test_chunks_of_any_size(chunk_size):
    ours, naive, student = fused_and_reference(
        "mixed", "top-k", chunk_size=chunk_size, unlabeled=True
    )
    assert_same(ours, naive, student)
    # Without gradients.
    np.testing.assert_allclose(jit(ours)(*student)[0], naive(*student)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("axis", range(len(TOKENS) + 1))
def test_masks_of_the_first_axes_and_garbage_where_they_are_false(axis):
    """Whatever stands in tokens that do not count, in whatever array."""
    student, teacher, labels, where = examples()
    where = where if axis else jnp.asarray(False)
    where = where[:, 0] if axis == 1 else where
    full = jnp.broadcast_to(where.reshape(where.shape + (1,) * (2 - where.ndim)), TOKENS)
    garbage = functools.partial(jnp.where, full[..., None])
    loss = losses.fused_linear(mixed, chunk_size=6, unlabeled=True)

    def value(hidden, head, outputs):
        return loss((hidden, head), outputs, labels, where=where)

    outputs = teacher[0] @ teacher[1]
    run = jit(jax.value_and_grad(value, (0, 1), has_aux=True))
    clean = run(*student, outputs)
    dirty = run(garbage(student[0], jnp.nan), student[1], garbage(outputs, jnp.inf))
    chex.assert_trees_all_equal(clean, dirty)
    assert clean[0][1] == full.sum()
    assert np.all(np.asarray(clean[1][0])[~np.asarray(full)] == 0)


def test_tokens_without_a_label_are_left_out_unless_unlabeled_is_set():
    student, teacher, labels, _ = examples()
    logits = student[0] @ student[1]
    total, count = losses.fused_linear(losses.cross_entropy)(student, labels)
    expected = losses.masked_sum_and_count(losses.cross_entropy(logits, labels), labels >= 0)
    chex.assert_trees_all_close((total, count), expected, rtol=1e-12)
    assert 0 < count < labels.size
    total, count = losses.fused_linear(mixed, unlabeled=True)(student, teacher, labels)
    each = mixed(logits, teacher[0] @ teacher[1], labels)
    chex.assert_trees_all_close((total, count), (each.sum(), labels.size), rtol=1e-12)


def test_labels_may_be_distributions_over_the_classes_that_are_valid():
    student, _, _, where = examples()
    labels = jax.nn.softmax(examples(3)[0][0] @ examples(3)[0][1])[..., :VALID]
    loss = losses.fused_linear(losses.cross_entropy, valid_classes=VALID, chunk_size=6)
    total, count = loss(student, labels, where=where)
    each = losses.cross_entropy((student[0] @ student[1])[..., :VALID], labels)
    expected = losses.masked_sum_and_count(each, where)
    chex.assert_trees_all_close((total, count), expected, rtol=1e-12)


def test_parts_add_up_and_padding_changes_nothing():
    student, teacher, labels, where = examples(tokens=(4, 6))
    loss = losses.fused_linear(mixed, chunk_size=5)

    def run(hidden, teacher_hidden, labels, where):
        def total(head):
            return loss((hidden, head), (teacher_hidden, teacher[1]), labels, where=where)

        return jit(jax.value_and_grad(total, has_aux=True))(student[1])

    each = student[0], teacher[0], labels, where
    whole = run(*each)
    parts = [run(*(leaf[i : i + 2] for leaf in each)) for i in (0, 2)]
    chex.assert_trees_all_close(whole, jax.tree.map(jnp.add, *parts), rtol=1e-12)
    padded = [jnp.pad(leaf, ((0, 2), (0, 1)) + ((0, 0),) * (leaf.ndim - 2)) for leaf in each]
    chex.assert_trees_all_close(whole, run(*padded), rtol=1e-12)


@pytest.mark.parametrize("name", ["kd", "reverse", "js", "total variation"])
def test_nothing_to_learn_where_the_student_is_the_teacher(name):
    student, *_ = examples()
    loss = losses.fused_linear(LOSSES[name], chunk_size=6, soft_cap=2.0, teacher_soft_cap=2.0)
    value, gradients = jit(
        jax.value_and_grad(lambda *pair: loss(pair, student)[0], argnums=(0, 1))
    )(*student)
    zeros = jax.tree.map(jnp.zeros_like, (value, student))
    chex.assert_trees_all_close((value, gradients), zeros, atol=1e-13)


def test_no_gradient_to_the_teacher_and_the_temperature():
    student, teacher, *_ = examples()
    loss = losses.fused_linear(losses.kd)
    gradients = jax.grad(
        lambda teacher, t: loss(student, teacher, temperature=t)[0], argnums=(0, 1)
    )(teacher, 2.0)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_a_traced_temperature():
    student, teacher, *_ = examples()
    traced = jit(lambda t: fused_and_reference("kd", "dense", temperature=t)[0](*student))(3.0)
    chex.assert_trees_all_close(
        traced, fused_and_reference("kd", "dense", temperature=3.0)[1](*student)
    )
    # What a sparse teacher does not declare is refused where it is known, no number where not.
    outputs = sparse(teacher[0] @ teacher[1], 2.0)
    loss = losses.fused_linear(losses.kd)
    with pytest.raises(ValueError, match="temperature 3.0 is not among"):
        loss(student, outputs, temperature=3.0)
    assert np.isnan(jit(lambda t: loss(student, outputs, temperature=t)[0])(3.0))


def test_the_gradient_scales_and_a_population_is_mapped_over():
    ours, naive, (hidden, head) = fused_and_reference("mixed", "hidden", chunk_size=6)
    heads = jnp.stack([head, 2 * head])

    def gradients(function):
        one = jax.grad(lambda head, scale: jnp.sin(scale * function(hidden, head)[0]))
        return jit(jax.vmap(one))(heads, jnp.asarray([0.1, 0.2]))

    chex.assert_trees_all_close(gradients(ours), gradients(naive), rtol=1e-9)


def test_bfloat16_is_added_up_in_float32():
    """The error does not grow with the number of tokens, as it would in bfloat16."""
    generator = np.random.default_rng(0)
    hidden = jnp.asarray(1 + generator.random((4096, 2)), jnp.bfloat16)
    head = jnp.asarray(generator.normal(size=(2, 4)), jnp.bfloat16)
    labels = jnp.zeros(4096, jnp.int32)
    loss = losses.fused_linear(losses.cross_entropy, chunk_size=16)

    def gradients(hidden, head):
        return jit(jax.value_and_grad(lambda *s: loss(s, labels)[0], (0, 1)))(hidden, head)

    total, (to_hidden, to_head) = gradients(hidden, head)
    expected, (_, wanted) = gradients(hidden.astype(jnp.float64), head.astype(jnp.float64))
    chex.assert_type((total, to_hidden, to_head), (jnp.float32, jnp.bfloat16, jnp.bfloat16))
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    error = np.abs(to_head.astype(np.float64) - wanted) / np.abs(wanted).max()
    assert error.max() < 2**-8


@few("kind", ["top-k", "sampled", "hidden"])
def test_no_array_of_tokens_times_classes(kind):
    """Not in what is traced, nor in what is compiled; and a third of the products without it."""
    student, teacher, labels, _ = examples(tokens=(4, 32), dtype=np.float32)
    outputs = teacher if kind == "hidden" else KINDS[kind](teacher[0] @ teacher[1], 2.0)
    loss = losses.fused_linear(functools.partial(losses.kd, temperature=2.0), chunk_size=16)

    def value(hidden, head):
        return loss((hidden, head), outputs)[0]

    for function in (value, jax.grad(value, (0, 1))):
        compiled = jax.jit(function).lower(*student).compile()
        for text in (str(jax.make_jaxpr(function)(*student)), compiled.as_text()):
            for shape in (f"[4,32,{CLASSES}]", f"[128,{CLASSES}]", f"[{CLASSES},128]"):
                assert shape not in text
        assert f"[16,{CLASSES}]" in compiled.as_text()


def test_a_single_token_has_no_axes():
    student, teacher, *_ = examples()
    hidden, outputs = student[0][0, 0], (teacher[0] @ teacher[1])[0, 0]
    total, count = losses.fused_linear(losses.kd)((hidden, student[1]), outputs)
    np.testing.assert_allclose(total, losses.kd(hidden @ student[1], outputs))
    assert count == 1


@pytest.mark.parametrize(
    ("shape", "chunk", "expected"),
    [
        ((4, 2048), 384, (4, 2048, 96)),
        ((8192,), 1024, (128, 64, 8)),
        ((72,), 40, (4, 18, 10)),
        ((7, 5), 1000, (7, 5, 5)),
        ((7,), 2, (1, 7, 2)),
    ],
)
def test_rows_stay_where_they_are(shape, chunk, expected):
    assert grid(shape, chunk) == expected


def test_its_signature_is_what_a_term_reads():
    parameters = inspect.signature(losses.fused_linear(mixed)).parameters
    assert list(parameters) == ["student", "teacher", "labels", "temperature", "where"]
    required = [name for name, p in parameters.items() if p.default is p.empty]
    assert required == ["student", "teacher", "labels"]
    assert list(inspect.signature(losses.fused_linear(LOSSES["js"])).parameters) == [
        *("student", "teacher", "beta", "temperature", "where")
    ]


def without_student(logits, teacher):
    return logits


def coupled(student, teacher):
    return jnp.sum(student * teacher)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.fused_linear(without_student), "takes ..logits., .teacher"),
        (lambda: losses.fused_linear(losses.kd, chunk_size=0), "chunk_size must be at least 1"),
        (lambda: losses.fused_linear(losses.kd, valid_classes=0), "valid_classes must be"),
        (lambda: losses.fused_linear(losses.kd, soft_cap=-1.0), "soft_cap must be positive"),
        (lambda: losses.fused_kd(alpha=1.5), "alpha must lie"),
    ],
)
def test_what_cannot_be_fused_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


HIDDEN, HEAD = np.zeros((3, 7, 5)), np.zeros((5, 16))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, ((HIDDEN, HEAD.T), HIDDEN), "the student has .3, 7, 5. and .16, 5."),
        ({}, ((HIDDEN, HEAD), (HIDDEN, HEAD.T)), "the teacher has .3, 7, 5. and .16, 5."),
        ({}, ((HIDDEN, HEAD), np.zeros((3, 6, 16))), "tokens .3, 7., but teacher .*3, 6, 16"),
        ({}, ((HIDDEN, HEAD), np.zeros((3, 7, 15))), "teacher has 15 classes and .* head 16"),
        ({"valid_classes": 14}, ((HIDDEN, HEAD), np.zeros((3, 7, 15)), None), None),
        ({"valid_classes": 14}, ((HIDDEN, HEAD), np.zeros((3, 7, 13))), "of which 14 are valid"),
        ({"valid_classes": 17}, ((HIDDEN, HEAD), np.zeros((3, 7, 17))), "has 16 classes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(options, arguments, message):
    loss = losses.fused_linear(losses.kd, **options)
    if message is None:
        assert loss(*arguments[:2])[1] == 21
        return
    with pytest.raises(ValueError, match=message):
        loss(*arguments)


def test_other_misfits_are_refused():
    with pytest.raises(TypeError, match="pair .hidden, head., not"):
        losses.fused_linear(losses.kd)(HIDDEN, HIDDEN)
    with pytest.raises(ValueError, match="coupled returned shape .. for 21 tokens"):
        losses.fused_linear(coupled)((HIDDEN, HEAD), np.zeros((3, 7, 16)))
    with pytest.raises(ValueError, match="does not broadcast to the tokens"):
        losses.fused_linear(losses.kd)((HIDDEN, HEAD), (HIDDEN, HEAD), where=np.ones(4, bool))
    with pytest.raises(ValueError, match="tokens .3, 7., but labels"):
        losses.fused_linear(losses.cross_entropy)((HIDDEN, HEAD), np.zeros((3, 6), np.int32))
