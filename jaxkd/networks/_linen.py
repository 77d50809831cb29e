"""The adapter for Flax Linen modules."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxkd.networks._architecture import describe
from jaxkd.networks._mode import Mode, TrainMode, bind_axes, explained_axes, names_of
from jaxkd.networks._network import Network, captured_output, dotted, named, vocabulary_of
from jaxkd.networks._streams import LinenStreams, explained_evaluation


def from_linen(
    module: nn.Module,
    variables: Mapping[str, Any],
    *,
    features: Mapping[str, str] | None = None,
    train_mode: TrainMode = None,
    rngs: str | tuple[str, ...] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Network:
    """Adapts a Flax Linen module and its variables.

    Args:
      module: the module. The first argument of its `__call__` takes the inputs; `train`,
        `deterministic` or `use_running_average` is passed if it takes one of them.
      variables: what `module.init` returned: `"params"` is trained, every other collection
        (`"batch_stats"`, …) is the state, but for what the module sows (`"intermediates"`, and
        collections of tuples), which is dropped.
      features: name of the feature → path of the submodule whose output it is, with dots, as in
        `{"stage3": "stages_3.conv"}`.
      train_mode: which argument or field sets training mode, as in `jaxkd.from_nnx`.
      rngs: names of the random streams in training; by default every one that the module asks for.
      axis_name: names of axes that it reduces over, as in `jaxkd.from_nnx`.

    Returns:
      A `Network` whose `params` and `state` are nested dictionaries as Linen has them.

    Raises:
      ValueError: `variables` has no `"params"`, or a `train_mode` that the module does not have;
        or, when first called, a feature path that no submodule has, or random numbers or moving
        statistics in evaluation.

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
    mode = Mode.of_call(type(module).__call__, train_mode)
    if unknown := [field for field in mode.attributes if not hasattr(module, field)]:
        raise ValueError(f"train_mode names {unknown}, {type(module).__name__} has no such field")
    streams, axis_name = LinenStreams(names_of(rngs)), names_of(axis_name)
    state = {
        name: variables[name]
        for name in sorted(set(variables) - {"params", "intermediates"})
        if not _is_sown(variables[name])
    }

    def apply(params, state, inputs, *, train=False, key=None):
        placed = module.clone(**mode.attribute_values(train)) if mode.attributes else module

        def forward(params, state, inputs, keys):
            return placed.apply(
                {"params": params, **state},
                inputs,
                rngs=keys,
                mutable=sorted(state) if train else ["intermediates"],
                capture_intermediates=(
                    (lambda submodule, method: method == "__call__" and submodule.path in wanted)
                    if wanted
                    else False
                ),
                **mode.keywords(train),
            )

        def call(params, state, inputs, key):
            if not train:
                with explained_evaluation(type(module).__name__):
                    return forward(params, state, inputs, None)
            return streams.call(lambda keys: forward(params, state, inputs, keys), key)

        with explained_axes(type(module).__name__):
            result, updates = bind_axes(call, axis_name)(params, state, inputs, key)
        outputs, updates = named(result), dict(updates)
        captured = updates.pop("intermediates", {})
        for name, path in features.items():
            outputs[name] = captured_output(captured, name, path.split("."))
        return outputs, {**state, **updates} if train else state

    evaluation = module.clone(**mode.attribute_values(False)) if mode.attributes else module
    return Network(
        apply,
        variables["params"],
        state,
        type(module).__name__,
        describe(evaluation),
        vocab_size=vocabulary_of(module),
        statistics=tuple(
            dotted(path)
            for path, _ in jax.tree_util.tree_leaves_with_path(state.get("batch_stats", {}))
        ),
    )


def _is_sown(collection: Any) -> bool:
    """Returns whether a collection has the tuples that `sow` gathers, which grow at every call."""
    leaves = jax.tree.leaves(collection, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return any(isinstance(leaf, tuple) for leaf in leaves)
