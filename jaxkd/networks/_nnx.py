"""The adapter for Flax NNX modules."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.networks._architecture import describe_modules
from jaxkd.networks._network import (
    Network,
    PyTree,
    captured_output,
    dotted,
    mode_arguments,
    named,
    vocabulary_of,
)


def from_nnx(
    model: nnx.Module, *, features: Mapping[str, str] | None = None, dtype: Any = None
) -> Network:
    """Adapts a Flax NNX module.

    The module is called with the inputs alone; train and evaluation mode are set as by
    `module.train()` and `module.eval()`, and passed by argument where its `__call__` takes `train`,
    `deterministic` and the like. Every random stream inside is seeded anew from `key` at each
    call, so that dropout depends on the training step and on nothing else.

    Args:
      model: the module. Its arrays are read, never changed. It returns logits, or a mapping with
        `"logits"`, or `(logits, mapping of features)`.
      features: name of the feature → path of the submodule whose output it is, as in
        `{"stage3": "blocks.3"}`.
      dtype: type that all layers with a `dtype` compute in, `jnp.bfloat16` for one; None for that
        of each layer. Parameters keep their own type: float32 master parameters, which the
        optimizer updates, and statistics in float32. Losses compute in float32 whatever the outputs
        are. bfloat16 has the range of float32, so no loss scaling is needed. (Micikevicius et al.,
        Mixed Precision Training, ICLR 2018.)

    Returns:
      A `Network`. `params` and `state` are flat dictionaries from path to array.

    Raises:
      ValueError: a feature path is not a submodule (the message lists those there are); a dtype
        that is not floating.

    Example:
      >>> from flax import nnx
      >>> import jax.numpy as jnp
      >>> network = from_nnx(nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu),
      ...                    features={"hidden": "layers.0"})
      >>> {name: value.shape for name, value in network(jnp.ones((2, 4))).items()}
      {'logits': (2, 8), 'hidden': (2, 8)}
    """
    features = dict(features or {})
    if dtype is not None:
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"a network computes in floating point, not in {jnp.dtype(dtype)}")
        model = nnx.clone(model)
        model.set_attributes(dtype=jnp.dtype(dtype), raise_if_not_found=False)
    modules = {dotted(path): module for path, module in nnx.iter_modules(model)}
    for name, path in features.items():
        if path not in modules or not callable(modules[path]):
            known = sorted(p for p, module in modules.items() if p and callable(module))
            raise ValueError(
                f"feature {name!r}: {type(model).__name__} has no submodule {path!r} to call; it "
                f"has {known}"
            )
    pure = PureModule(model)

    def apply(params, state, inputs, *, train=False, key=None):
        result, captured, state = pure(
            params, state, (inputs,), {}, train=train, key=key, capture=bool(features)
        )
        outputs = named(result)
        for name, path in features.items():
            outputs[name] = captured_output(captured, name, path.split("."))
        return outputs, state

    return Network(
        apply,
        pure.params,
        pure.state,
        type(model).__name__,
        describe_modules(modules),
        vocab_size=vocabulary_of(model),
    )


def to_nnx(network: Network, model: nnx.Module) -> nnx.Module:
    """Copies a network's variables into a module, to be pruned, quantized or saved as modules are.

    Args:
      network: network of `from_nnx`, with trained variables for instance; or of any other origin
        whose variables have the same paths.
      model: module of the same shapes, which is not changed.

    Returns:
      A copy of the module with the network's variables, in evaluation mode.

    Raises:
      ValueError: paths or shapes that differ; the message names them.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> import jax.numpy as jnp
      >>> model = nnx.Linear(4, 2, rngs=nnx.Rngs(0))
      >>> network = from_nnx(model)
      >>> trained = network.replace(params=jax.tree.map(jnp.zeros_like, network.params), state={})
      >>> to_nnx(trained, model)(jnp.ones((1, 4))).tolist()
      [[0.0, 0.0]]
    """
    pure = PureModule(model)
    ours = {**network.params, **network.state}
    theirs = {**pure.params, **pure.state}
    differing = [
        f"{path}: {_shape_of(ours.get(path))} in the network, "
        f"{_shape_of(theirs.get(path))} in the module"
        for path in sorted({*ours, *theirs})
        if _shape_of(ours.get(path)) != _shape_of(theirs.get(path))
    ]
    if differing:
        raise ValueError(
            f"the variables of {network.name} do not fit this {type(model).__name__} "
            f"({'; '.join(differing[:5])}): pass a module made like the network's own"
        )
    return pure.module(network.params, network.state)


class PureModule:
    """An NNX module as a pure function of its variables, which are flat dictionaries by path.

    Attributes:
      params: the initial parameters.
      state: the initial values of all other variables but the random streams.
    """

    def __init__(self, model: nnx.Module):
        """Splits a copy of the module."""
        model = nnx.clone(model)
        nnx.pop(model, nnx.Intermediate)  # of an earlier call
        self._graphdef, *states = nnx.split(model, nnx.Param, nnx.RngState, ...)
        params, self._streams, state = states
        self._mode = mode_arguments(type(model).__call__)
        self._paths = {
            dotted(path): path for tree in (params, state) for path, _ in nnx.to_flat_state(tree)
        }
        self.params, self.state = _flatten(params), _flatten(state)

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        inputs: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        train: bool,
        key: jax.Array | None,
        capture: bool = False,
    ) -> tuple[Any, dict[Any, Any], PyTree]:
        """Returns the module's result, that of its submodules if `capture`, and the new state."""
        module = self._module(
            params, state, _reseed(self._streams, key) if train else _copied(self._streams)
        )
        if train:
            module.train()
        else:
            module.eval()
        keywords = {**self._mode(train), **keywords}
        if capture:
            recorded = nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate)
            result, inner = recorded(*inputs, **keywords)
            captured = nnx.to_pure_dict(inner)
        else:
            result, captured = module(*inputs, **keywords), {}
        if train:
            learned = (nnx.Param, nnx.RngState, nnx.Intermediate)
            state = _flatten(nnx.state(module, nnx.Not(nnx.Any(*learned))))
        return result, captured, state

    def call_method(self, name: str, params: PyTree, state: PyTree, *inputs: Any) -> Any:
        """Returns the result of another method of the module, in evaluation mode."""
        return getattr(self.module(params, state), name)(*inputs)

    def module(self, params: PyTree, state: PyTree) -> Any:
        """Returns the module with these variables, in evaluation mode."""
        module = self._module(params, state, _copied(self._streams))
        module.eval()
        return module

    def _module(self, params: PyTree, state: PyTree, streams: nnx.State) -> Any:
        return nnx.merge(
            self._graphdef, _nest(params, self._paths), streams, _nest(state, self._paths)
        )


def _shape_of(leaf: Any) -> str:
    return "nothing" if leaf is None else f"shape {tuple(leaf.shape)}"


def _flatten(state: nnx.State) -> dict[str, jax.Array]:
    return {
        dotted(path): leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
        for path, leaf in nnx.to_flat_state(state)
    }


def _nest(flat: Mapping[str, jax.Array], paths: Mapping[str, tuple[Any, ...]]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for name, value in flat.items():
        *parents, last = paths[name]
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _copied(streams: nnx.State) -> nnx.State:
    """Returns the streams as variables of the current trace, for random numbers in evaluation."""
    flat = nnx.to_flat_state(streams)
    if not len(flat):
        return streams
    return nnx.from_flat_state([(path, v.replace(v.get_value())) for path, v in flat])


def _reseed(streams: nnx.State, key: jax.Array | None) -> nnx.State:
    flat = nnx.to_flat_state(streams)
    if not len(flat):
        return streams
    if key is None:
        raise ValueError("this network needs random numbers in training: pass key=")
    reseeded = []
    for index, (path, variable) in enumerate(flat):
        if isinstance(variable, nnx.RngKey):
            fresh = jax.random.fold_in(key, index)
            shape = variable.get_value().shape
            value = jax.random.split(fresh, shape) if shape else fresh
        else:
            value = jax.numpy.zeros_like(variable.get_value())
        reseeded.append((path, variable.replace(value)))
    return nnx.from_flat_state(reseeded)
