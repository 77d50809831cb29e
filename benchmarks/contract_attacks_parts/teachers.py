"""Teachers that look like the one that a cache was built with and compute something else."""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.setting import CLASSES, WEIGHTS, WIDTH, flat
from jaxkd import cache as caches
from jaxkd import networks
from jaxkd.networks import Network

KIND = "Teacher: another computation, the same parameters"
GLOBAL = 0.0
PAIRS: list[tuple[str, Callable[[bool], Network]]] = []


def pair(make: Callable[[bool], Network]) -> Callable[[bool], Network]:
    """Registers a maker of the right teacher (False) and of the wrong one (True)."""
    PAIRS.append((make.__name__.replace("_", " "), make))
    return make


def function(apply: Any, params: Any = WEIGHTS) -> Network:
    return jaxkd.from_function(apply, jax.tree.map(jnp.asarray, params))


def attacks() -> Iterator[Attack]:
    for index, (name, make) in enumerate(PAIRS):
        yield Attack(KIND, name, functools.partial(_attempts, name, make, index), ("teacher.",))
    for name, codec, make in (
        ("another layer as a feature", {"hidden": None}, _feature),
        ("features in another order", {"hidden": None, "other": None}, _swapped),
    ):
        attempts = functools.partial(_of_features, name, codec, make)
        yield Attack("Teacher: other features, the same logits", name, attempts, ("teacher.",))


def _attempts(
    name: str, make: Callable[[bool], Network], index: int, folder: Folder
) -> Iterator[Attempt]:
    path = folder.built(name, lambda path: setting.build(path, make(False)))
    wrong = make(True)
    yield from setting.everywhere(folder, path, wrong)
    if index % 4 == 0:
        yield "merge", _merged(folder, path, wrong)


def _merged(folder: Folder, path: Any, wrong: Network) -> Callable[[], Any]:
    """Half of the right cache with the other half of the wrong teacher's."""
    data = setting.dataset()
    half = folder.empty()
    caches.subset(path, half, ids=data.ids[:48])
    other = folder.empty()
    setting.build(other, wrong, data.select(data.ids[48:]))
    return lambda: caches.merge(folder.empty(), [half, other])


def _of_features(
    name: str, codec: Any, make: Callable[[bool], Network], folder: Folder
) -> Iterator[Attempt]:
    codec = {"logits": jaxkd.targets.Dense(), **dict.fromkeys(codec, jaxkd.targets.Dense())}
    path = folder.built(name, lambda path: setting.build(path, make(False), codec=codec))
    attempts = dict(setting.everywhere(folder, path, make(True), codec=codec))
    yield from attempts.items()


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


def _edited(call, base=nnx.Module, **attributes):
    """A class as a notebook's cell makes it anew: the same name, another `__call__`."""

    class Cell(base):
        def __init__(self):
            self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
            for name, value in attributes.items():
                setattr(self, name, value)

    if call is not None:
        Cell.__call__ = call
    return jaxkd.from_nnx(Cell())


@pair
def edited_class(wrong):
    if wrong:
        return _edited(lambda self, x: jax.nn.gelu(self.layer(flat(x))))
    return _edited(lambda self, x: jax.nn.relu(self.layer(flat(x))))


@pair
def edited_method_of_the_class(wrong):
    class Cell(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.head(self.layer(flat(x)))

    Cell.head = (lambda self, x: x * 2) if wrong else (lambda self, x: x)
    return jaxkd.from_nnx(Cell())


@pair
def edited_base_class(wrong):
    class Base(nnx.Module):
        def __call__(self, x):
            return jnp.tanh(self.layer(flat(x))) if wrong else self.layer(flat(x))

    return _edited(None, Base)


@pair
def attribute_of_the_class(wrong):
    class Base(nnx.Module):
        slope = 2.0 if wrong else 1.0

    return _edited(lambda self, x: self.layer(flat(x)) * self.slope, Base)


@pair
def lambda_in_an_attribute(wrong):
    act = (lambda x: x * 2) if wrong else (lambda x: x)
    return _edited(lambda self, x: self.act(self.layer(flat(x))), act=act)


@pair
def lambda_in_a_Sequential(wrong):
    act = (lambda x: jnp.tanh(x)) if wrong else (lambda x: jax.nn.relu(x))
    layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
    return jaxkd.from_nnx(nnx.Sequential(flat, layer, act))


class Options:
    """A configuration that is no dataclass."""

    def __init__(self, slope):
        self.slope = slope


@pair
def configuration_object(wrong):
    options = Options(2.0 if wrong else 1.0)
    return _edited(lambda self, x: self.layer(flat(x)) * self.options.slope, options=options)


@pair
def number_in_an_attribute(wrong):
    return _edited(lambda self, x: self.layer(flat(x)) * self.slope, slope=2.0 if wrong else 1.0)


@pair
def edited_Linen_class(wrong):
    class Cell(nn.Module):
        @nn.compact
        def __call__(self, x):
            logits = nn.Dense(CLASSES)(flat(x))
            return jnp.tanh(logits) if wrong else logits

    cell = Cell()
    return jaxkd.from_linen(cell, cell.init(jax.random.key(0), jnp.ones((1, WIDTH))))


@pair
def lambda_in_a_Linen_attribute(wrong):
    class Cell(nn.Module):
        act: Any

        @nn.compact
        def __call__(self, x):
            return self.act(nn.Dense(CLASSES)(flat(x)))

    cell = Cell((lambda x: x * 2) if wrong else (lambda x: x))
    return jaxkd.from_linen(cell, cell.init(jax.random.key(0), jnp.ones((1, WIDTH))))


def _feature(wrong):
    def scores(params, inputs):
        logits = flat(inputs) @ params
        return {"logits": logits, "hidden": jnp.tanh(logits) if wrong else jax.nn.relu(logits)}

    return function(scores)


def _swapped(wrong):
    def scores(params, inputs):
        logits = flat(inputs) @ params
        pair = jnp.sin(logits), jnp.cos(logits)
        hidden, other = reversed(pair) if wrong else pair
        return {"logits": logits, "hidden": hidden, "other": other}

    return function(scores)
