"""Teachers of functions that look alike and compute something else."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

import jaxkd
from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.pairs import function, pair
from benchmarks.contract_attacks_parts.setting import CLASSES, WEIGHTS, flat
from jaxkd import networks

GLOBAL = 0.0


@pair
def other_activation(wrong):
    act = jnp.tanh if wrong else jax.nn.relu
    return function(lambda params, inputs: act(flat(inputs) @ params))


@pair
def another_constant_in_the_code(wrong):
    if wrong:
        return function(lambda params, inputs: flat(inputs) @ params * 1.05)
    return function(lambda params, inputs: flat(inputs) @ params * 1.0)


@pair
def closure_over_an_array(wrong):
    bias = jnp.arange(CLASSES) * (0.5 if wrong else 0.1)
    return function(lambda params, inputs: flat(inputs) @ params + bias)


@pair
def closure_over_a_NumPy_array(wrong):
    bias = np.arange(CLASSES, dtype=np.float32)[:: -1 if wrong else 1]
    return function(lambda params, inputs: flat(inputs) @ params + bias)


@pair
def closure_over_a_dictionary(wrong):
    options = {"scale": {"value": 3.0 if wrong else 1.0}}
    return function(lambda params, inputs: flat(inputs) @ params * options["scale"]["value"])


@pair
def closure_over_a_list(wrong):
    scales = [1.0, 2.0] if wrong else [1.0, 1.0]
    return function(lambda params, inputs: flat(inputs) @ params * sum(scales))


@pair
def closure_over_a_NumPy_scalar(wrong):
    scale = np.float32(1.5 if wrong else 1.0)
    return function(lambda params, inputs: flat(inputs) @ params * scale)


@pair
def closure_over_a_number(wrong):
    scale = 1.5 if wrong else 1.0
    return function(lambda params, inputs: flat(inputs) @ params * scale)


@pair
def closure_over_a_set(wrong):
    kept = {0, 1} if wrong else {2, 3}
    return function(lambda params, inputs: (flat(inputs) @ params).at[:, sorted(kept)].add(2.0))


@pair
def closure_over_a_function(wrong):
    def inner(x):
        return jnp.sin(x) if wrong else jnp.cos(x)

    return function(lambda params, inputs: inner(flat(inputs) @ params))


@pair
def closure_within_a_closure(wrong):
    def outer(shift):
        def inner(x):
            return x + shift

        return inner

    shifted = outer(jnp.linspace(0, 1, CLASSES) if wrong else jnp.zeros(CLASSES))
    return function(lambda params, inputs: shifted(flat(inputs) @ params))


class Scorer:
    """A teacher of one's own, with an attribute that decides what it computes."""

    shared = 0.0

    def __init__(self, scale):
        self.scale = scale

    def scores(self, params, inputs):
        """Returns scaled logits."""
        return flat(inputs) @ params * self.scale

    def __call__(self, params, inputs):
        """Returns shifted logits."""
        return flat(inputs) @ params + self.scale * jnp.arange(CLASSES)


@pair
def bound_method(wrong):
    return function(Scorer(2.0 if wrong else 1.0).scores)


@pair
def callable_object(wrong):
    return function(Scorer(2.0 if wrong else 1.0))


@pair
def partial_of_a_function(wrong):
    def scaled(scale, params, inputs):
        return flat(inputs) @ params * scale

    return function(functools.partial(scaled, jnp.asarray(2.0 if wrong else 1.0)))


@pair
def jitted_wrapper(wrong):
    if wrong:
        return function(jax.jit(lambda params, inputs: jnp.tanh(flat(inputs) @ params)))
    return function(jax.jit(lambda params, inputs: flat(inputs) @ params))


@pair
def decorated_function(wrong):
    def logged(inner):
        @functools.wraps(inner)
        def outer(params, inputs):
            return inner(params, inputs) * (2.0 if wrong else 1.0)

        return outer

    @logged
    def scores(params, inputs):
        return flat(inputs) @ params

    return function(scores)


@pair
def keyword_only_default(wrong):
    def scores(params, inputs, *, scale=2.0 if wrong else 1.0):
        return flat(inputs) @ params * scale

    return function(scores)


@pair
def default_of_an_argument(wrong):
    def scores(params, inputs, scale=2.0 if wrong else 1.0):
        return flat(inputs) @ params * scale

    return function(scores)


@pair
def global_of_the_module(wrong):
    global GLOBAL
    GLOBAL = 1.0 if wrong else 0.0
    return function(lambda params, inputs: flat(inputs) @ params + GLOBAL * jnp.arange(CLASSES))


@pair
def environment_variable(wrong):
    os.environ["SCALE_OF_SCORES"] = "2" if wrong else "1"

    def scores(params, inputs):
        return flat(inputs) @ params * float(os.environ["SCALE_OF_SCORES"])

    return function(scores)


@pair
def branch_that_few_examples_take(wrong):
    factor = 3.0 if wrong else 1.0

    def scores(params, inputs):
        bright = flat(inputs).mean(1, keepdims=True) > 0.55 * 1.0
        return flat(inputs) @ params * jnp.where(bright, factor, 1.0)

    return function(scores)


@pair
def branch_of_lax_cond(wrong):
    def scores(params, inputs):
        other = jnp.tanh if wrong else jax.nn.relu
        return jax.lax.cond(params.sum() > -1e9, other, lambda x: x, flat(inputs) @ params)

    return function(scores)


@pair
def rounds_of_a_loop(wrong):
    def scores(params, inputs):
        logits = flat(inputs) @ params
        return jax.lax.fori_loop(0, 3 if wrong else 2, lambda _, x: jnp.sin(x), logits)

    return function(scores)


@pair
def forward_pass_of_a_custom_gradient(wrong):
    @jax.custom_vjp
    def act(x):
        return jnp.tanh(x) if wrong else jax.nn.relu(x)

    act.defvjp(lambda x: (act(x), x), lambda x, g: (g,))
    return function(lambda params, inputs: act(flat(inputs) @ params))


@pair
def function_on_the_host(wrong):
    factor = np.float32(2.0 if wrong else 1.0)

    def scores(params, inputs):
        logits = flat(inputs) @ params
        shape = jax.ShapeDtypeStruct(logits.shape, logits.dtype)
        return jax.pure_callback(
            lambda x: np.asarray(x) * factor, shape, logits, vmap_method="expand_dims"
        )

    return function(scores)


@pair
def mirrored_inputs(wrong):
    step = -1 if wrong else 1
    return function(lambda params, inputs: flat(inputs[:, :, ::step]) @ params)


@pair
def normalization_inside_the_teacher(wrong):
    mean = 0.5 if wrong else 0.1307
    return function(lambda params, inputs: flat((inputs - mean) / 0.3) @ params)


@pair
def classes_in_another_order(wrong):
    order = np.array([1, 0, 3, 2] if wrong else [0, 1, 2, 3])
    return function(lambda params, inputs: (flat(inputs) @ params)[:, order])


@pair
def temperature_inside_the_teacher(wrong):
    return function(lambda params, inputs: flat(inputs) @ params / (2.0 if wrong else 1.0))


@pair
def clipped_logits(wrong):
    limit = 1.0 if wrong else 100.0
    return function(lambda params, inputs: jnp.clip(flat(inputs) @ params, -limit, limit))


@pair
def layers_of_one_shape_exchanged(wrong):
    square = np.random.default_rng(7).normal(size=(2, CLASSES, CLASSES)).astype(np.float32)
    first, second = ("b", "a") if wrong else ("a", "b")

    def scores(params, inputs):
        hidden = jnp.tanh(flat(inputs) @ params["in"] @ params[first])
        return hidden @ params[second]

    return function(scores, {"in": WEIGHTS, "a": square[0], "b": square[1]})


@pair
def permuted_by_add_outputs(wrong):
    network = setting.teacher()
    order = np.array([3, 2, 1, 0] if wrong else [0, 1, 2, 3])
    return networks.add_outputs(network, lambda _, out: {"logits": out["logits"][:, order]})


@pair
def other_parameters(wrong):
    changed = WEIGHTS.copy()
    changed[0, 0] += 0.3 * wrong
    return function(lambda params, inputs: flat(inputs) @ params, changed)


@pair
def other_state(wrong):
    def scores(params, state, inputs):
        return flat(inputs) @ params - state, state

    mean = jnp.full(CLASSES, 1.0 if wrong else 0.0) * jnp.arange(CLASSES)
    return jaxkd.from_function(scores, jnp.asarray(WEIGHTS), state=mean)
