"""The adapter for Flax Linen modules."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxkd.networks._architecture import describe, described_call
from jaxkd.networks._calls import Call, check_call, explained_call
from jaxkd.networks._features import Feature, recorded_linen_ranks
from jaxkd.networks._kinds import check_module
from jaxkd.networks._mode import Mode, TrainMode, bind_axes, explained_axes, names_of
from jaxkd.networks._network import Network, dotted, vocabulary_of
from jaxkd.networks._outputs import Selection, check_selection, named
from jaxkd.networks._streams import LinenStreams, explained_evaluation
from jaxkd.networks._trainable import Split, Trainable


def from_linen(
    module: nn.Module,
    variables: Mapping[str, Any] | None = None,
    *,
    call: Callable[..., Any] | None = None,
    outputs: Selection = None,
    features: Mapping[str, str] | None = None,
    trainable: Trainable = None,
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
        collections of tuples), which is dropped. They are always needed: a Linen module holds none.
      call: `call(module, inputs)`, run as a method of the module, and with further parameters, as
        in `jaxkd.from_nnx`: `lambda module, inputs: module.encode(inputs["tokens"])`.
      outputs: which parts of what the module returns are its outputs, as in `jaxkd.from_nnx`.
      features: name of the feature → path of the submodule whose output it is, with dots, as in
        `{"stage3": "stages_3.conv"}`, `{"hidden": "encoder:1"}` or `{"layers": "blocks:stacked"}`.
      trainable: which parameters are trained: a path pattern, `"head.*"`, or several; or a function
        of dotted path and array. The others become part of `state`: kept, saved, and never touched
        by the optimizer. By default all are trained.
      train_mode: which argument or field sets training mode, as in `jaxkd.from_nnx`.
      rngs: names of the random streams in training; by default every one that the module asks for.
      axis_name: names of axes that it reduces over, as in `jaxkd.from_nnx`.

    Returns:
      A `Network` whose `params` and `state` are nested dictionaries as Linen has them.

    Raises:
      TypeError: no variables, or none that `module.init` returned.
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
    check_module("from_linen", module, nn.Module)
    variables = _variables_of(module, variables)
    params = variables.get("params", {})
    check_selection(outputs)
    check_call(module, call)
    wanted, called = Feature.parse(features), Call.of(module, call)
    paths = {tuple(feature.path.split(".")) for feature in wanted}
    mode, name = Mode.of_call(call or type(module).__call__, train_mode), type(module).__name__
    if unknown := [field for field in mode.attributes if not hasattr(module, field)]:
        raise ValueError(f"train_mode names {unknown}, {name} has no such field")
    streams, axis_name = LinenStreams(names_of(rngs)), names_of(axis_name)
    state = {
        name: variables[name]
        for name in sorted(set(variables) - {"params", "intermediates"})
        if not _is_sown(variables[name])
    }

    split = None if trainable is None else Split.of(params, trainable, name)
    if split is not None:
        params, state = split.trained, {**state, "params": split.frozen}

    def whole(params, state):
        return params if split is None else split.merged(params, state["params"])

    def apply(params, state, inputs, *, train=False, key=None):
        placed = module.clone(**mode.attribute_values(train)) if mode.attributes else module

        def run(params, state, inputs, keys, key):
            taken: dict[str, Any] = {"key": key} if called.takes_key else {}
            if called.takes_rngs:
                taken["rngs"] = called.keys(key, names_of(rngs), train)
            return placed.apply(
                {**state, "params": whole(params, state)},
                inputs,
                rngs=keys,
                mutable=sorted(set(state) - {"params"}) if train else ["intermediates"],
                capture_intermediates=(
                    (lambda submodule, method: method == "__call__" and submodule.path in paths)
                    if paths
                    else False
                ),
                method=call,
                **mode.keywords(train),
                **taken,
            )

        def forward(params, state, inputs, key):
            with recorded_linen_ranks(wanted) as ranks, explained_call(called, inputs):
                if train:
                    result, updates = streams.call(
                        lambda keys: run(params, state, inputs, keys, key), key
                    )
                else:
                    with explained_evaluation(name):
                        result, updates = run(params, state, inputs, None, None)
            updates = dict(updates)
            captured = updates.pop("intermediates", {})
            found = {feature.name: feature.select(captured, ranks) for feature in wanted}
            after = {**state, **updates} if train else state
            return {**named(result, outputs, name), **found}, after

        with explained_axes(name):
            return bind_axes(forward, axis_name)(params, state, inputs, key)

    evaluation = module.clone(**mode.attribute_values(False)) if mode.attributes else module
    return Network(
        apply,
        params,
        state,
        name,
        described_call(
            describe(evaluation),
            call=call,
            outputs=outputs,
            trained=None if split is None else split.paths,
        ),
        vocab_size=vocabulary_of(module),
        whole=None if split is None else whole,
        statistics=tuple(
            dotted(path)
            for path, _ in jax.tree_util.tree_leaves_with_path(state.get("batch_stats", {}))
        ),
    )


def _variables_of(module: nn.Module, variables: Any) -> Mapping[str, Any]:
    """Returns a module's variables, which need not have parameters."""
    name = type(module).__name__
    if variables is None:
        raise TypeError(
            f"from_linen needs the variables of {name}, since a Linen module holds none: write "
            "from_linen(module, module.init(jax.random.key(0), inputs))"
        )
    if not isinstance(variables, Mapping):
        raise TypeError(
            f"variables are what {name}.init returned, "
            f"module.init(jax.random.key(0), inputs), not {type(variables).__name__}"
        )
    if variables and not {"params", "batch_stats"} & set(variables):
        raise ValueError(
            f"variables need 'params'; these have {sorted(variables)}: if they are the parameters "
            "themselves, write from_linen(module, {'params': variables})"
        )
    return variables


def _is_sown(collection: Any) -> bool:
    """Returns whether a collection has the tuples that `sow` gathers, which grow at every call."""
    leaves = jax.tree.leaves(collection, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return any(isinstance(leaf, tuple) for leaf in leaves)
