"""The adapter for bare apply functions."""

import inspect
from collections.abc import Callable
from typing import Any

from jaxkd.networks._architecture import describe, described_call
from jaxkd.networks._arguments import shown
from jaxkd.networks._mode import Mode, TrainMode, bind_axes, explained_axes, names_of
from jaxkd.networks._network import Network, PyTree
from jaxkd.networks._outputs import Selection, check_selection, named
from jaxkd.networks._streams import keys_of
from jaxkd.networks._trainable import Split, Trainable


def from_function(
    function: Callable[..., Any],
    params: PyTree,
    *,
    state: PyTree | None = None,
    outputs: Selection = None,
    trainable: Trainable = None,
    architecture: str = "",
    train_mode: TrainMode = None,
    rngs: str | tuple[str, ...] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Network:
    """Adapts a bare apply function.

    Args:
      function: `function(params, inputs)`, or `function(params, state, inputs) -> (outputs, state)`
        if `state` is given. The keywords `train` and `key` are passed if the function takes them;
        in evaluation `key` is None.
      params: a pytree of arrays.
      state: a pytree of arrays that the function returns updated, batch statistics for instance.
      outputs: which parts of what the function returns are its outputs, as in `jaxkd.from_nnx`.
      trainable: which parameters are trained: a path pattern, `"head.*"`, or several; or a function
        of dotted path and array. The others become part of `state`: kept, saved, and never touched
        by the optimizer. By default all are trained.
      architecture: text that distinguishes this function from others of the same name (sizes,
        activations); part of the fingerprint that caches check.
      train_mode: which keyword sets training mode, as in `jaxkd.from_nnx`; by default `train`,
        `deterministic` and the like.
      rngs: names of random streams: `rngs={name: key, …}` is passed in training, None in
        evaluation.
      axis_name: names of axes that it reduces over, as in `jaxkd.from_nnx`.

    Returns:
      A `Network`.

    Raises:
      TypeError: something else in place of the function.
      ValueError: `train_mode` or `rngs` for a function without such a parameter.

    Example:
      >>> import jax.numpy as jnp
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> network(jnp.ones((2, 4)))["logits"].shape
      (2, 3)
    """
    if not callable(function) or inspect.isclass(function):
        raise TypeError(
            f"from_function takes a function of parameters and inputs, not {shown(function)}: "
            "write from_function(lambda params, inputs: …, params)"
        )
    check_selection(outputs)
    mode = Mode.of_call(function, train_mode)
    name = getattr(function, "__name__", type(function).__name__)
    parameters = inspect.signature(function).parameters
    streams, axis_name = names_of(rngs), names_of(axis_name)
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if streams is not None and not (anything or "rngs" in parameters):
        raise ValueError(f"rngs={streams}, but {name} takes {list(parameters)} and no 'rngs'")
    if mode.attributes:
        raise ValueError(
            f"train_mode names the attributes {sorted(mode.attributes)}; a function has none: name "
            "one of its arguments"
        )
    stateful = state is not None
    split = None if trainable is None else Split.of(params, trainable, name)
    if split is not None:
        params, state = split.trained, {"params": split.frozen, "state": state if stateful else {}}

    def whole(params, state):
        return params if split is None else split.merged(params, state["params"])

    def apply(params, state, inputs, *, train=False, key=None):
        def call(params, state, inputs, key):
            params, inner = whole(params, state), state if split is None else state["state"]
            options: dict[str, Any] = mode.keywords(train)
            if "key" in parameters:
                options["key"] = key
            if streams is not None:
                options["rngs"] = None if key is None else keys_of(streams, key)
            if not stateful:
                return named(function(params, inputs, **options), outputs, name), state
            result, after = function(params, inner, inputs, **options)
            after = after if split is None else {**state, "state": after}
            return named(result, outputs, name), after if train else state

        with explained_axes(name):
            return bind_axes(call, axis_name)(params, state, inputs, key if train else None)

    return Network(
        apply,
        params,
        {} if state is None else state,
        name,
        described_call(
            f"{describe(inspect.unwrap(function))} {architecture}",
            outputs=outputs,
            trained=None if split is None else split.paths,
        ),
        whole=None if split is None else whole,
    )
