"""A trial of a network's modes on real input, before anything is computed with it.

What sets a network to training or evaluation mode is known by name at best. What counts is what
its calls do, and most of that shows in the traced computation: nothing is compiled unless that
leaves a doubt.
"""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core as jex_core
from jax.interpreters import partial_eval

from jaxkd.networks._network import Network, is_addressable
from jaxkd.networks._pure_module import is_random
from jaxkd.networks._row_rules import Value, shape_of, uniform
from jaxkd.networks._rows import rows_of

_REMEDY = (
    "Name what sets its mode in the adapter: an argument, as in train_mode='is_train'; one with "
    "values, train_mode={'mode': ('train', 'eval')}; or an attribute, train_mode='self.training'. "
    "A value that is fixed inside the module, such as FIXED, "
    "has to become an argument. If it is meant, allow={'ROLE.mode'} accepts it"
)
# Flax NNX has no interceptor of calls, so that classes are changed while a network is traced. Two
# threads that overlap would leave each other's change behind.
_RECORDING = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Trial:
    """A network, and the inputs that it is tried on.

    Attributes:
      network: the network.
      role: `"teacher"` or `"student"`, for messages.
      render: function that returns inputs, a pytree of `[batch, ...]`; it is traced, and runs only
        where the traced computation leaves a doubt.
      arguments: arguments of `render`.
    """

    network: Network
    role: str
    render: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    @functools.cached_property
    def shapes(self) -> Any:
        """Shapes of the inputs."""
        return jax.eval_shape(self.render, *self.arguments)

    @property
    def batch_size(self) -> int:
        """Number of examples."""
        size: int = jax.tree.leaves(self.shapes)[0].shape[0]
        return size

    def check_evaluation(self) -> None:
        """Refuses a network whose evaluation call is not a function of each example by itself.

        Raises:
          ValueError: it draws random numbers, moves its state, depends on the other examples of
            the batch, or differs between two calls; names the argument to give.
        """
        program = _Program(self, train=False)
        if self.role == "teacher":
            self._check_constants(program)
        if program.uses_key or program.moves_state or not program.keeps_rows_apart():
            self._try_evaluation()

    def check_training(self) -> None:
        """Refuses a network with dropout or statistics whose training call has no effect on them.

        Raises:
          ValueError: layers that are random in training, and outputs that depend on no key; or
            statistics that stay as they are.
        """
        network = self.network
        with _linen_dropout() as found:
            program = _Program(self, train=True)
        layers = [*network.random_layers, *found]
        if layers and not program.uses_key and (found or self._calls_random_layers()):
            self._refuse(
                f"has dropout ({', '.join(layers[:3])}), and its outputs in training mode do not "
                "depend on the random key: dropout is off",
                "deterministic=True",
            )
        if network.statistics and not program.moves_state:
            self._refuse(
                f"has statistics ({', '.join(network.statistics[:3])}) that its call in training "
                "mode leaves as they are",
                "use_running_average=True",
            )

    def _calls_random_layers(self) -> bool:
        """Returns whether any layer is called that is random; a module may own what it never uses.

        It is traced once more for it, for another batch: compiled functions are not traced again
        for the same one.
        """
        called = []

        def recorded(call: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(call)
            def record(module: Any, *args: Any, **kwargs: Any) -> Any:
                called.append(is_random(module))
                return call(module, *args, **kwargs)

            return record

        def forward(inputs: Any) -> Any:
            network, key = self.network, jax.random.key(0)
            return network.apply(network.params, network.state, inputs, train=True, key=key)

        with _RECORDING, contextlib.ExitStack() as stack:
            for kind in (nnx.Dropout, nnx.MultiHeadAttention):
                stack.enter_context(mock.patch.object(kind, "__call__", recorded(kind.__call__)))
            try:
                jax.eval_shape(forward, self._longer())
            except Exception:  # a network of one batch size
                return True
        return any(called)

    def _longer(self, more: int = 1) -> Any:
        """Returns the shapes of a batch of some examples more."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((x.shape[0] + more, *x.shape[1:]), x.dtype), self.shapes
        )

    def _check_constants(self, program: "_Program") -> None:
        """Refuses numbers that are drawn while tracing, by NumPy for one: each trace has others."""
        again = _Program(self, train=False)
        one, two = (list(_constants(p.closed)) for p in (program, again))
        if len(one) != len(two) or not all(map(_same, one, two)):
            self._refuse("computes with other numbers each time it is called", "np.random")

    def _try_evaluation(self) -> None:
        """Runs the evaluation call with other keys, in another order and beside other examples."""
        network = self.network
        if not all(map(is_addressable, jax.tree.leaves((network.params, network.state)))):
            return  # Spread over several processes, which need not all be here.
        # A student may begin with zeros, behind which nothing shows.
        params = _shaken(network.params) if self.role == "student" else network.params
        inputs = jax.jit(self.render)(*self.arguments)
        forward = jax.jit(lambda *a: network.apply(*a[:3], train=False, key=a[3]))

        def run(inputs: Any, seed: int = 0) -> tuple[Any, Any]:
            outputs, state = forward(params, network.state, inputs, jax.random.key(seed))
            return {n: np.asarray(v) for n, v in outputs.items()}, jax.device_get(state)

        outputs, state = run(inputs)
        again, other = run(inputs)[0], run(inputs, seed=1)[0]
        self._compare(outputs, again, "differs between two calls on the same inputs:")
        self._compare(outputs, other, "draws random numbers: with another key")
        leaves = zip(jax.tree.leaves(state), jax.tree.leaves(network.state), strict=True)
        if not all(_same(after, before) for after, before in leaves):
            self._refuse("moves its state in evaluation mode", "use_running_average=False")
        names, half = self._outputs_of_rows(), self.batch_size // 2
        rolled = run(jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), inputs))[0]
        rolled = {name: np.roll(rolled[name], -1, axis=0) for name in names}
        self._compare(outputs, rolled, "depends on the order of the batch: in another one")
        one = {name: outputs[name][:half] for name in names}
        for row in range(min(half, 3)):  # Of one row alone the mean may be that of all, by chance.
            beside = run(jax.tree.map(lambda x, row=row: x.at[half:].set(x[row]), inputs))[0]
            two = {name: beside[name][:half] for name in names}
            self._compare(one, two, "depends on the rest of the batch: beside other examples")

    def _outputs_of_rows(self) -> list[str]:
        """Returns the names of the outputs that have a row for each example."""
        network = self.network

        def forward(inputs: Any) -> Any:
            return network.apply(network.params, network.state, inputs, key=jax.random.key(0))[0]

        one = jax.eval_shape(forward, self.shapes)
        try:
            two = jax.eval_shape(forward, self._longer())
        except Exception:  # a network that divides its batch, as among the devices of a mesh
            two = jax.eval_shape(forward, self._longer(self.batch_size))
        return [name for name in one if one[name].shape[:1] != two[name].shape[:1]]

    def _compare(self, one: Any, two: Any, what: str) -> None:
        for name in two:
            value = one[name]
            if not jnp.issubdtype(value.dtype, jnp.floating) or not value.size:
                continue
            a, b = (np.asarray(x[name], np.float64) for x in (one, two))
            finite = np.isfinite(a) & np.isfinite(b)
            difference = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0)).max()
            largest = np.abs(np.where(finite, a, 0)).max()
            # The shapes are the same, so that little but the order of sums can differ.
            tolerance = (1e-3 if value.dtype.itemsize > 2 else 3e-2) * largest
            if difference > tolerance:
                self._refuse(
                    f"{what} its {name} differ by {difference:.3g} (of at most {largest:.3g})",
                    "deterministic=False or use_running_average=False",
                )

    def _refuse(self, what: str, fixed: str) -> None:
        remedy = _REMEDY.replace("FIXED", fixed).replace("ROLE", self.role)
        raise ValueError(f"the {self.role} {self.network.name} {what}. {remedy}")


class _Program:
    """The traced call of a network in one mode.

    Attributes:
      closed: its program, from parameters, state, inputs and key to outputs and state.
      uses_key: whether an output depends on the key.
      moves_state: whether the state comes back as other values.
    """

    def __init__(self, trial: Trial, train: bool):
        network = trial.network

        def call(params: Any, state: Any, inputs: Any, key: Any) -> Any:
            outputs, state = network.apply(params, state, inputs, train=train, key=key)
            return list(outputs.values()), state

        arguments = jax.tree.map(_shape_of, (network.params, network.state, trial.shapes))
        key = jax.eval_shape(lambda: jax.random.key(0))
        self.closed, (outputs, state) = jax.make_jaxpr(call, return_shape=True)(*arguments, key)
        self._sizes = [len(jax.tree.leaves(tree)) for tree in arguments]
        self._outputs, self._batch_size = jax.tree.leaves(outputs), trial.batch_size
        count = len(self._outputs)
        jaxpr = self.closed.jaxpr
        used = [True] * count + [False] * len(jax.tree.leaves(state))
        self.uses_key = partial_eval.dce_jaxpr(jaxpr, used)[1][-1]
        before = jaxpr.invars[self._sizes[0] : self._sizes[0] + self._sizes[1]]
        self.moves_state = any(
            after is not variable
            for after, variable in zip(jaxpr.outvars[count:], before, strict=False)
        )

    def keeps_rows_apart(self) -> bool:
        """Returns whether each row of the outputs is known to come from that row of the inputs."""
        jaxpr = self.closed.jaxpr
        params, state, inputs = self._sizes
        rows = range(params + state, params + state + inputs)
        arguments = [
            Value(0) if index in rows else uniform(shape_of(variable))
            for index, variable in enumerate(jaxpr.invars)
        ]
        consts = [uniform(shape_of(variable)) for variable in jaxpr.constvars]
        found = rows_of(jaxpr, consts, arguments)
        return all(
            value.axis == 0 or (value.axis is None and not value.mixed)
            for value, output in zip(found, self._outputs, strict=False)
            if output.shape[:1] == (self._batch_size,)
        )


@contextlib.contextmanager
def _linen_dropout() -> Iterator[list[str]]:
    """Gathers the paths of Linen's dropout layers that are called inside."""
    found: list[str] = []

    def record(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        rate: Any = 0
        if isinstance(module, nn.Dropout):
            rate = module.rate
        elif isinstance(module, nn.MultiHeadDotProductAttention):
            rate = module.dropout_rate
        if isinstance(rate, int | float) and rate > 0:
            found.append("/".join(module.path))
        return function(*args, **kwargs)

    with nn.intercept_methods(record):
        yield found


def _constants(closed: jex_core.ClosedJaxpr) -> Iterator[Any]:
    """Yields the numbers that a program computes with: its constants and literals."""
    yield from closed.consts
    for equation in closed.jaxpr.eqns:
        yield from (atom.val for atom in equation.invars if isinstance(atom, jex_core.Literal))
        for value in equation.params.values():
            if isinstance(value, jex_core.ClosedJaxpr):
                yield from _constants(value)


def _same(one: Any, two: Any) -> bool:
    if one is two:
        return True
    if jnp.issubdtype(getattr(one, "dtype", type(one)), jax.dtypes.prng_key):
        one, two = jax.random.key_data(one), jax.random.key_data(two)
    one, two = np.asarray(one), np.asarray(two)
    return one.shape == two.shape and bool(
        np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    )


def _shaken(params: Any) -> Any:
    """Returns parameters with noise on every weight."""
    generator = np.random.default_rng(0)

    def shake(leaf: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        return leaf + 0.1 * generator.normal(size=jnp.shape(leaf)).astype(np.float32)

    return jax.tree.map(lambda leaf: jnp.asarray(shake(leaf), jnp.result_type(leaf)), params)


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
