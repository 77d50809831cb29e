"""Teachers that are made again, in another way, and compute the same."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attempt, Folder
from benchmarks.contract_attacks_parts.setting import WEIGHTS, WIDTH, flat
from jaxkd.networks import Network


def model() -> nnx.Module:
    """A perceptron with normalization."""

    class Cell(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(5)
            self.hidden = nnx.Linear(WIDTH, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.head = nnx.Linear(8, setting.CLASSES, rngs=rngs)

        def __call__(self, x):
            return self.head(self.drop(nnx.relu(self.norm(self.hidden(flat(x))))))

    return Cell()


def attempts(make: Callable[[pathlib.Path], Network], folder: Folder) -> Iterator[Attempt]:
    first = getattr(make, "first", None)
    if first is None:
        first, name = (lambda: jaxkd.from_nnx(model())), "perceptron"
    else:
        name = make.__name__
    path = folder.built(name, lambda path: setting.build(path, first()))
    scratch = folder.empty()
    scratch.mkdir()
    yield from setting.everywhere(folder, path, make(scratch))


def _reloaded(scratch: pathlib.Path) -> Network:
    network = jaxkd.from_nnx(model())
    np.savez(scratch / "weights.npz", **network.params)
    with np.load(scratch / "weights.npz") as stored:
        return network.replace(params=dict(stored), state=network.state)


def _orbax(scratch: pathlib.Path) -> Network:
    import orbax.checkpoint as ocp

    network = jaxkd.from_nnx(model())
    tree = {"params": dict(network.params), "state": dict(network.state)}
    with ocp.StandardCheckpointer() as saver:
        saver.save(scratch.absolute() / "orbax", tree)
        saver.wait_until_finished()
        return network.replace(**saver.restore(scratch.absolute() / "orbax", tree))


def _in_training(scratch: pathlib.Path) -> Network:
    module = model()
    module.train()
    return jaxkd.from_nnx(module)


def _evaluated(scratch: pathlib.Path) -> Network:
    module = model()
    module.eval()
    module(np.ones((3, WIDTH), np.float32))
    return jaxkd.from_nnx(module)


def _of_function(first: Callable[[], Network]) -> Any:
    """Marks a maker whose cache was built with another form of the same function."""

    def mark(make: Callable[[pathlib.Path], Network]) -> Any:
        make.first = first
        return make

    return mark


def _linear(params: Any, inputs: Any) -> Any:
    return flat(inputs) @ params


@_of_function(lambda: jaxkd.from_function(lambda p, x: flat(x) @ p, jnp.asarray(WEIGHTS)))
def _lambda_again(scratch):
    return jaxkd.from_function(lambda p, x: flat(x) @ p, jnp.asarray(WEIGHTS))


@_of_function(setting.teacher)
def _NumPy_parameters(scratch):
    network = setting.teacher()
    return network.replace(params=np.asarray(network.params), state=network.state)


@_of_function(lambda: jaxkd.from_function(_linear, jnp.asarray(WEIGHTS)))
def _jitted(scratch):
    return jaxkd.from_function(jax.jit(_linear), jnp.asarray(WEIGHTS))


@_of_function(lambda: jaxkd.from_function(jax.jit(_linear), jnp.asarray(WEIGHTS)))
def _not_jitted(scratch):
    return jaxkd.from_function(_linear, jnp.asarray(WEIGHTS))


def _with_closure() -> Network:
    bias = {"first": jnp.arange(4.0), "second": np.float32(2)}
    return jaxkd.from_function(
        lambda p, x: flat(x) @ p + bias["first"] * bias["second"], jnp.asarray(WEIGHTS)
    )


@_of_function(_with_closure)
def _closure_again(scratch):
    return _with_closure()


def _named_parameters(order: tuple[str, ...]) -> Network:
    table = {"weight": WEIGHTS, "bias": np.arange(4, dtype=np.float32)}
    params = {name: jnp.asarray(table[name]) for name in order}
    return jaxkd.from_function(lambda p, x: flat(x) @ p["weight"] + p["bias"], params)


@_of_function(lambda: _named_parameters(("weight", "bias")))
def _other_order(scratch):
    return _named_parameters(("bias", "weight"))


@_of_function(lambda: jaxkd.from_function(foreign_method().scores, jnp.asarray(WEIGHTS)))
def _method_again(scratch):
    return jaxkd.from_function(foreign_method().scores, jnp.asarray(WEIGHTS))


def foreign_method() -> Any:
    class Scorer:
        def __init__(self):
            self.options = {"scale": np.float32(2)}

        def scores(self, params, inputs):
            return flat(inputs) @ params * self.options["scale"]

    return Scorer()


@_of_function(setting.teacher)
def _on_another_device_layout(scratch):
    network = setting.teacher()
    mesh = jax.make_mesh((1,), ("data",))
    spread = jax.NamedSharding(mesh, jax.P())
    return network.replace(params=jax.device_put(network.params, spread), state=network.state)


def _to_nnx(scratch: pathlib.Path) -> Network:
    return jaxkd.from_nnx(jaxkd.networks.to_nnx(jaxkd.from_nnx(model()), model()))


TEACHERS: dict[str, Callable[[pathlib.Path], Network]] = {
    "the class and its module made again": lambda scratch: jaxkd.from_nnx(model()),
    "through to_nnx": _to_nnx,
    "weights from an .npz": _reloaded,
    "weights from orbax": _orbax,
    "a module in training mode": _in_training,
    "a module that was called before": _evaluated,
    "a lambda written again": _lambda_again,
    "parameters in NumPy": _NumPy_parameters,
    "a jitted wrapper": _jitted,
    "without its jitted wrapper": _not_jitted,
    "a closure made again": _closure_again,
    "a dictionary of parameters in another order": _other_order,
    "a bound method of an object made again": _method_again,
    "parameters on a mesh": _on_another_device_layout,
}
