"""Mode by trial: what a network's calls do on real input, before anything is computed with it."""

from concurrent import futures

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd.networks import _rows
from jaxkd.networks._trial import Trial

INPUTS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
WEIGHTS = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32)


def trial(network, role="teacher", inputs=INPUTS):
    return Trial(network, role, lambda inputs: inputs, (inputs,))


def of(function, **options):
    return jaxkd.from_function(function, WEIGHTS, **options)


class Base(nnx.Module):
    def __init__(self, rate=0.5):
        self.layer = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(rate, rngs=nnx.Rngs(1))
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        self.training = True

    def run(self, x, deterministic, average=True):
        x = self.layer(self.dropout(x, deterministic=deterministic))
        return x if average is None else self.norm(x, use_running_average=average)


def network(call, rate=0.5, **options):
    """A network of the layers of `Base`, called by a function of the module and the inputs."""
    name = "__call__"
    return jaxkd.from_nnx(type("Net", (Base,), {name: call})(rate), **options)


def linen(function, **options):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return function(self, nn.Dense(3)(x))

    variables = Net().init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, INPUTS)
    return jaxkd.from_linen(Net(), variables, **options)


def random_on_the_host(params, inputs):
    shape = jax.ShapeDtypeStruct((len(inputs), 3), jnp.float32)
    sample = np.random.default_rng().normal
    noise = jax.pure_callback(lambda: sample(size=shape.shape).astype(np.float32), shape)
    return inputs @ params + noise


def random_while_tracing(params, inputs):
    return inputs @ params + np.random.default_rng().random()


def masked_by_a_fixed_key(params, inputs):
    return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, inputs.shape), inputs, 0) @ params


WRONG = {
    "is_train": (lambda: network(lambda s, x, is_train=True: s.run(x, not is_train)), "random"),
    "mode": (lambda: network(lambda s, x, mode="train": s.run(x, mode != "train")), "random"),
    "kwargs": (lambda: network(lambda s, x, **k: s.run(x, not k.get("train", True))), "random"),
    "inverted": (lambda: network(lambda s, x, frozen=False: s.run(x, frozen)), "random"),
    "attribute": (lambda: network(lambda s, x: s.run(x, not s.training)), "random"),
    "always on": (lambda: network(lambda s, x: s.run(x, False)), "random"),
    "statistics": (lambda: network(lambda s, x: s.run(x, True, False)), "the rest of the batch"),
    "one mask": (
        lambda: network(lambda s, x: s.layer(x) * jax.random.normal(s.dropout.rngs())),
        "random",
    ),
    "mean": (lambda: of(lambda p, x: x @ p - x.mean()), "the rest of the batch"),
    "softmax": (lambda: of(lambda p, x: jax.nn.softmax(x @ p, 0)), "the rest of the batch"),
    "neighbor": (lambda: of(lambda p, x: x @ p + jnp.roll(x @ p, 4, 0)), "the rest of the batch"),
    "fixed key": (lambda: of(masked_by_a_fixed_key), "the order of the batch"),
    "position": (lambda: of(lambda p, x: x @ p + jnp.arange(len(x))[:, None]), "the order of the"),
    "host": (lambda: of(random_on_the_host), "between two calls"),
    "numpy": (
        lambda: of(random_while_tracing),
        "other numbers each time",
    ),
    "linen key": (
        lambda: linen(lambda s, x: x * jax.random.normal(jax.random.key(0), x.shape)),
        "the order of the batch",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_networks_that_are_not_in_evaluation_mode_are_refused(case):
    make, message = WRONG[case]
    with pytest.raises(ValueError, match=rf"(?s)the teacher .*{message}.*train_mode=.*allow=") as e:
        trial(make()).check_evaluation()
    assert "{'teacher.mode'}" in str(e.value)


def test_a_student_that_begins_with_zeros_is_tried_with_other_weights():
    student = jaxkd.from_function(lambda p, x: x @ p - (x @ p).mean(0), jnp.zeros((6, 3)))
    with pytest.raises(ValueError, match=r"the student .*rest of the batch.*'student\.mode'"):
        trial(student, "student").check_evaluation()


def test_a_state_that_moves_in_evaluation_is_refused():
    def apply(params, state, inputs, *, train=False, key=None):
        return {"logits": inputs @ params}, state + 1

    moving = jaxkd.Network(apply, WEIGHTS, jnp.zeros(()), "moving", "")
    with pytest.raises(ValueError, match="moves its state in evaluation"):
        trial(moving).check_evaluation()


class Fixed(nnx.Module):
    def __init__(self):
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.dropout(x, deterministic=True)


UNMOVED = {
    "dropout": (lambda: network(lambda s, x: s.run(x, True, None)), "has dropout .dropout."),
    "unknown word": (
        lambda: network(lambda s, x, is_train=False: s.run(x, not is_train, None)),
        "has dropout",
    ),
    "statistics": (lambda: network(lambda s, x: s.run(x, None), rate=0.0), "has statistics"),
    "linen dropout": (
        lambda: linen(lambda s, x: nn.Dropout(0.5, deterministic=True)(x)),
        "has dropout .Dropout_0.",
    ),
    "linen attention": (
        lambda: linen(
            lambda s, x: nn.MultiHeadDotProductAttention(1, dropout_rate=0.1, deterministic=True)(x)
        ),
        "has dropout .MultiHeadDotProductAttention_0.",
    ),
    "of an extension": (
        lambda: jaxkd.networks.extend(of(lambda p, x: x @ p), Fixed(), "logits"),
        "has dropout .extension.dropout.",
    ),
    "linen statistics": (
        lambda: linen(lambda s, x: nn.BatchNorm(use_running_average=True)(x)),
        "has statistics .BatchNorm_0.mean",
    ),
}


@pytest.mark.parametrize("case", UNMOVED)
def test_students_whose_training_changes_nothing_are_refused(case):
    make, message = UNMOVED[case]
    with pytest.raises(ValueError, match=rf"the student .*{message}.*'student\.mode'"):
        trial(make(), "student").check_training()


class Unused(nnx.Module):
    """Owns dropout that its call leaves out, as a network does that is made for several tasks."""

    def __init__(self):
        self.layer = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))
        self.attention = nnx.MultiHeadAttention(1, 6, decode=False, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(self.attention(x[:, None])[:, 0])


def test_dropout_that_is_owned_and_never_called_is_no_fault():
    trial(jaxkd.from_nnx(Unused()), "student").check_training()


def test_trials_in_several_threads_leave_the_layers_as_they_are():
    calls = nnx.Dropout.__call__, nnx.MultiHeadAttention.__call__
    student = jaxkd.from_nnx(Unused())
    with futures.ThreadPoolExecutor(4) as threads:
        for _ in range(24):
            threads.submit(trial(student, "student").check_training)
    assert (nnx.Dropout.__call__, nnx.MultiHeadAttention.__call__) == calls


def rnn(params, inputs):
    """A loop over the axis that is not that of the batch."""

    def body(carry, x):
        carry = jnp.tanh(carry + x[:, None] * params[0])
        return carry, carry

    last, every = jax.lax.scan(body, jnp.zeros((len(inputs), 3)), inputs.T)
    return {"logits": last, "every": every.transpose(1, 0, 2), "head": params}


def random_features(params, inputs):
    return jnp.cos(inputs @ jax.random.normal(jax.random.key(0), (6, 5))) @ params[:5]


def branches(params, inputs):
    return jax.lax.cond(
        params.sum() > 0, lambda x: x @ params, lambda x: jnp.tanh(x) @ params, inputs
    )


def layers(params, inputs):
    """What the rules know of: sorting, slicing, padding, embedding and looking up."""
    x = jnp.concatenate([jnp.sort(inputs, 1), jnp.ones((len(inputs), 1))], axis=1)[:, 1:]
    x = jnp.pad(x, ((0, 0), (1, 1)))[:, 1:-1] + jax.lax.dynamic_slice_in_dim(x, 0, 6, 1)
    x = (
        x
        + jnp.take(params, jnp.argmax(inputs, 1) % 3, axis=0)[:, :1]
        + x[:, jnp.array([1, 0])][:, :1]
    )
    x = jnp.cumsum(x, 1)[:, ::-1] + jax.vmap(lambda row: row * row.sum())(x)
    return jnp.einsum("bi,bi,ij->bj", x, jax.nn.softmax(x), params)


def counting(params, inputs):
    """A loop of a number of steps that the inputs decide: no rule knows what it does."""
    return jax.lax.while_loop(lambda v: (v < 9).all(), lambda v: v + 0 * v + 1, inputs) * 0 + inputs


RIGHT = {
    "scan": rnn,
    "random features": random_features,
    "branches": branches,
    "layers": layers,
    # The parameters happen to have as many rows as the batch.
    "parameters that look like rows": lambda p, x: {
        "logits": x @ p,
        "head": jnp.concatenate([p, p[:2] + 0 * (x @ p).mean()]),
    },
    "outputs of the batch": lambda p, x: {"logits": x @ p, "mean": (x @ p).mean()},
    "an unused key": lambda p, x, key=None: x @ p,
    "a loop": counting,
    "a compiled function": jax.jit(lambda p, x: x @ p),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_accepted(case):
    tried = trial(of(RIGHT[case]))
    tried.check_evaluation()
    tried.check_training()


@pytest.mark.parametrize("case", ["scan", "branches", "layers"])
def test_nothing_is_compiled_where_the_trace_decides(case, monkeypatch):
    monkeypatch.setattr(Trial, "_try_evaluation", lambda self: pytest.fail("compiled"))
    trial(of(RIGHT[case])).check_evaluation()


def test_modules_with_streams_and_without_dropout_are_accepted():
    class Net(nnx.Module):
        def __init__(self):
            self.rngs = nnx.Rngs(0)
            self.cell = nnx.RNN(nnx.LSTMCell(6, 3, rngs=self.rngs))

        def __call__(self, x):
            return self.cell(x.reshape(len(x), 1, 6), rngs=self.rngs)[:, -1]

    for made in (jaxkd.from_nnx(Net()), network(lambda s, x: s.run(x, None, None), rate=0.0)):
        trial(made, "student").check_evaluation()
        if not made.statistics:
            trial(made, "student").check_training()


def test_rules_follow_rows_through_embeddings_and_attention():
    model = jaxkd.models.Decoder(20, 8, 1, 2, rngs=nnx.Rngs(0))
    tokens = np.random.default_rng(0).integers(1, 20, (4, 5))
    made = jaxkd.from_nnx(model)
    trial(made, "student", tokens).check_evaluation()
    trial(made, "student", tokens).check_training()


def test_an_operation_with_other_parameters_mixes():
    (value,) = _rows._results(
        [_rows.Value(0)],
        type("Equation", (), {"outvars": [None], "primitive": jax.lax.transpose_p, "params": {}})(),
    )
    assert value.mixed
