"""One adapter for each kind of network: NNX, Linen, and a bare function.

Whatever a teacher or student is written in, the rest of jaxkd sees a `Network`: a pure function
from parameters, state and inputs to *named outputs* (`"logits"` and any intermediate features) and
the new state, together with the variables it starts from.
"""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.linen as nn
import jax
import numpy as np
from flax import nnx

from jaxkd._architecture import MODE_ARGUMENTS, describe, describe_modules

PyTree = Any
Outputs = dict[str, jax.Array]


class Apply(Protocol):
    """The call of a `Network`."""

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        inputs: Any,
        *,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[Outputs, PyTree]:
        """Returns named outputs and the new state."""


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A pure network with named outputs and the variables it starts from.

    Attributes:
      apply: `apply(params, state, inputs, *, train=False, key=None) -> (outputs, state)`. `outputs`
        is a dictionary with `"logits"` (`[batch, ..., num_classes]`) and one entry for each
        feature. In evaluation the state comes back unchanged. `key` feeds dropout and is needed
        only by networks that draw random numbers in training.
      params: what is trained, a pytree of arrays.
      state: what changes without being trained, batch statistics for instance. A pytree.
      name: the class or function name, for people.
      architecture: a text that tells two networks with equal parameters apart (layer classes,
        activations, strides); part of the fingerprint.
    """

    apply: Apply
    params: PyTree
    state: PyTree
    name: str
    architecture: str

    def __call__(self, inputs: Any) -> Outputs:
        """Named outputs in evaluation mode, with the network's own variables."""
        return self.apply(self.params, self.state, inputs)[0]

    def replace(self, *, params: PyTree, state: PyTree) -> "Network":
        """The same network with other variables, after training for instance."""
        return dataclasses.replace(self, params=params, state=state)

    def fingerprint(self) -> dict[str, str]:
        """Names this very network: its class, its architecture and its parameters.

        Returns:
          `{"network": name, "architecture": "sha256:…", "parameters": "sha256:…"}`. A cache keeps
          it and refuses another teacher. Reads every array once.
        """
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path((self.params, self.state)):
            array = np.asarray(leaf)
            digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "network": self.name,
            "architecture": "sha256:" + hashlib.sha256(self.architecture.encode()).hexdigest(),
            "parameters": "sha256:" + digest.hexdigest(),
        }


def from_nnx(model: nnx.Module, *, features: Mapping[str, str] | None = None) -> Network:
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

    Returns:
      A `Network`. `params` and `state` are flat dictionaries from path to array.

    Raises:
      ValueError: a feature path is not a submodule (the message lists those there are).

    Example:
      >>> from flax import nnx
      >>> import jax.numpy as jnp
      >>> network = from_nnx(nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu),
      ...                    features={"hidden": "layers.0"})
      >>> {name: value.shape for name, value in network(jnp.ones((2, 4))).items()}
      {'logits': (2, 8), 'hidden': (2, 8)}
    """
    features = dict(features or {})
    modules = {_dotted(path): module for path, module in nnx.iter_modules(model)}
    for name, path in features.items():
        if path not in modules or not callable(modules[path]):
            known = sorted(p for p, module in modules.items() if p and callable(module))
            raise ValueError(
                f"feature {name!r}: {type(model).__name__} has no submodule {path!r} to call; it "
                f"has {known}"
            )
    model = nnx.clone(model)
    nnx.pop(model, nnx.Intermediate)  # what an earlier call left behind
    graphdef, *states = nnx.split(model, nnx.Param, nnx.RngState, ...)
    params, streams, state = states
    mode_arguments = _mode_arguments(type(model).__call__)
    paths = {_dotted(path): path for tree in (params, state) for path, _ in nnx.to_flat_state(tree)}

    def apply(params, state, inputs, *, train=False, key=None):
        module = nnx.merge(
            graphdef,
            _nest(params, paths),
            _reseed(streams, key) if train else streams,
            _nest(state, paths),
        )
        if train:
            module.train()
        else:
            module.eval()
        if features:
            result, inner = nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate)(
                inputs, **mode_arguments(train)
            )
            captured = nnx.to_pure_dict(inner)
        else:
            result, captured = module(inputs, **mode_arguments(train)), {}
        outputs = _named(result)
        for name, path in features.items():
            outputs[name] = _captured(captured, name, path.split("."))
        if train:
            learnt = (nnx.Param, nnx.RngState, nnx.Intermediate)
            state = _flatten(nnx.state(module, nnx.Not(nnx.Any(*learnt))))
        return outputs, state

    return Network(
        apply, _flatten(params), _flatten(state), type(model).__name__, describe_modules(modules)
    )


def from_linen(
    module: nn.Module, variables: Mapping[str, Any], *, features: Mapping[str, str] | None = None
) -> Network:
    """Adapts a Flax Linen module and its variables.

    Args:
      module: the module. The first argument of its `__call__` takes the inputs; `train`,
        `deterministic` or `use_running_average` is passed if it takes one of them.
      variables: what `module.init` returned: `"params"` is trained, every other collection
        (`"batch_stats"`, …) is the state.
      features: name of the feature → path of the submodule whose output it is, with dots, as in
        `{"stage3": "stages_3.conv"}`.

    Returns:
      A `Network` whose `params` and `state` are nested dictionaries as Linen has them.

    Raises:
      ValueError: `variables` has no `"params"`; or, when first called, a feature path that no
        submodule has.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> module = nn.Dense(3)
      >>> network = from_linen(module, module.init(jax.random.key(0), jnp.ones((1, 4))))
      >>> network(jnp.ones((2, 4)))["logits"].shape
      (2, 3)
    """
    if "params" not in variables:
        raise ValueError(f"variables need 'params'; these have {sorted(variables)}")
    features = dict(features or {})
    wanted = {tuple(path.split(".")) for path in features.values()}
    mode_arguments = _mode_arguments(type(module).__call__)
    collections = sorted(set(variables) - {"params"})

    def apply(params, state, inputs, *, train=False, key=None):
        options: dict[str, Any] = mode_arguments(train)
        result, updates = module.apply(
            {"params": params, **state},
            inputs,
            # Linen falls back to the stream "params" for every stream that it is not given.
            rngs={"params": key} if train and key is not None else None,
            mutable=collections if train else ["intermediates"],
            capture_intermediates=(
                (lambda submodule, method: method == "__call__" and submodule.path in wanted)
                if wanted
                else False
            ),
            **options,
        )
        outputs, updates = _named(result), dict(updates)
        captured = updates.pop("intermediates", {})
        for name, path in features.items():
            outputs[name] = _captured(captured, name, path.split("."))
        return outputs, {**state, **updates} if train else state

    state = {name: variables[name] for name in collections}
    return Network(apply, variables["params"], state, type(module).__name__, describe(module))


def from_function(
    function: Callable[..., Any],
    params: PyTree,
    *,
    state: PyTree | None = None,
    architecture: str = "",
) -> Network:
    """Adapts a bare apply function.

    Args:
      function: `function(params, inputs)`, or `function(params, state, inputs) -> (outputs, state)`
        if `state` is given. The outputs are logits, or a mapping with `"logits"` and features, or
        `(logits, mapping)`. The keywords `train` and `key` are passed if the function takes them.
      params: a pytree of arrays.
      state: a pytree of arrays that the function returns anew, batch statistics for instance.
      architecture: a text that tells this function from others of the same name (sizes,
        activations); part of the fingerprint that caches check.

    Returns:
      A `Network`.

    Example:
      >>> import jax.numpy as jnp
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> network(jnp.ones((2, 4)))["logits"].shape
      (2, 3)
    """
    accepted = inspect.signature(function).parameters
    stateful = state is not None

    def apply(params, state, inputs, *, train=False, key=None):
        options = {k: v for k, v in {"train": train, "key": key}.items() if k in accepted}
        if not stateful:
            return _named(function(params, inputs, **options)), state
        result, new_state = function(params, state, inputs, **options)
        return _named(result), new_state if train else state

    name = getattr(function, "__name__", type(function).__name__)
    return Network(
        apply, params, state if stateful else {}, name, f"{describe(function)} {architecture}"
    )


def _named(result: Any) -> Outputs:
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        return {"logits": result[0], **result[1]}
    if isinstance(result, Mapping):
        if "logits" not in result:
            raise ValueError(f"a network's outputs need 'logits'; these have {sorted(result)}")
        return dict(result)
    if hasattr(result, "shape"):
        return {"logits": result}
    raise TypeError(
        "a network returns logits, a mapping with 'logits', or (logits, mapping of features), "
        f"not {type(result).__name__}"
    )


def _mode_arguments(call: Callable[..., Any]) -> Callable[[bool], dict[str, bool]]:
    accepted = [name for name in inspect.signature(call).parameters if name in MODE_ARGUMENTS]
    return lambda train: {name: MODE_ARGUMENTS[name] == train for name in accepted}


def _captured(tree: Mapping[Any, Any], name: str, path: list[str]) -> jax.Array:
    node: Any = tree
    for part in path:
        node = {str(key): value for key, value in node.items()}.get(part, {})
    values = node.get("__call__", ())
    if len(values) != 1:
        raise ValueError(
            f"feature {name!r}: the submodule {'.'.join(path)!r} was called {len(values)} times "
            "in the forward pass; a feature needs a submodule that is called exactly once"
        )
    return values[0]


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _flatten(state: nnx.State) -> dict[str, jax.Array]:
    return {
        _dotted(path): leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
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


def _reseed(streams: nnx.State, key: jax.Array | None) -> nnx.State:
    flat = nnx.to_flat_state(streams)
    if not len(flat):
        return streams
    if key is None:
        raise ValueError("this network draws random numbers in training: pass key=")
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
