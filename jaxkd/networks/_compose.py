"""Networks made of networks: further outputs, and modules that run after a network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from jaxkd.networks._architecture import describe_modules
from jaxkd.networks._connector import as_connector
from jaxkd.networks._kinds import check_network
from jaxkd.networks._network import Network, PyTree, dotted


def add_outputs(
    network: Network, function: Callable[[PyTree, Mapping[str, Any]], Mapping[str, Any]]
) -> Network:
    """Adds outputs to a network, computed from its parameters and outputs.

    For methods that compare what a network does not return, without a change of its code: class
    activation maps from a feature map and the classifier's weights, logits of image regions, a
    pooled feature.

    Args:
      network: any network.
      function: function of `(params, outputs)`, of all parameters, that returns the further outputs
        by name.

    Returns:
      A network with the same variables and, since it computes the same logits, the same
      fingerprint.

    Raises:
      TypeError: a module in place of a network; says how to make one of it.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> doubled = add_outputs(network, lambda params, outputs: {"twice": 2 * outputs["logits"]})
      >>> sorted(doubled(jnp.ones((2, 3))))
      ['logits', 'twice']
    """
    check_network("network", network)

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, state = network.apply(params, state, inputs, train=train, key=key)
        whole = network.all_params(params, state)
        return {**outputs, **function(whole, outputs)}, state

    return dataclasses.replace(network, apply=apply)


def without_logits(network: Network) -> Network:
    """Removes the logits from a network's outputs; under `jit` they are then never computed.

    For a student whose loss is fused with its head (`jaxkd.losses.fused_linear`): the train step
    would compute all logits only for its metric `accuracy`, which is missing without them. Evaluate
    with the network itself, whose variables are the same.

    Args:
      network: any network.

    Returns:
      A network with the same variables, and all outputs but `"logits"`.

    Raises:
      TypeError: a module in place of a network; says how to make one of it.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> def decoder(params, tokens):
      ...     hidden = params["embedding"][tokens]
      ...     return hidden @ params["head"], {"hidden": hidden, "head": params["head"]}
      >>> params = {"embedding": jnp.ones((9, 4)), "head": jnp.ones((4, 9))}
      >>> network = from_function(decoder, params)
      >>> sorted(without_logits(network)(jnp.zeros((2, 3), jnp.int32)))
      ['head', 'hidden']
    """
    check_network("network", network)

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, state = network.apply(params, state, inputs, train=train, key=key)
        return {name: value for name, value in outputs.items() if name != "logits"}, state

    return dataclasses.replace(network, apply=apply)


def valid_classes(network: Network, num_classes: int) -> Network:
    """Removes the classes that pad a network's vocabulary from its logits.

    Vocabularies are padded to sizes that suit the hardware, each network's to another: 151,936 of
    152,064 logits, or of 151,936, are tokens. Wrap a student that has more logits than its
    teacher's cache (`jaxkd.cache.build(..., valid_classes=...)`): its padding then takes no part in
    any loss, and is never predicted.

    Args:
      network: network whose last axis of `"logits"` is the vocabulary.
      num_classes: number of logits that are kept, the first ones.

    Returns:
      A network with the same variables and `"logits"` `[..., num_classes]`; an output `"head"`
      `[width, vocabulary]` is cut to `[width, num_classes]` alike.

    Raises:
      TypeError: a module in place of a network; says how to make one of it.
      ValueError: num_classes below 1; when first called, fewer logits than that.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.ones((3, 8)))
      >>> valid_classes(network, 5)(jnp.ones((2, 3)))["logits"].shape
      (2, 5)
    """
    check_network("network", network)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, state = network.apply(params, state, inputs, train=train, key=key)
        return {
            name: first_classes(value, num_classes, f"{name} of {network.name}")
            if name in ("logits", "head")
            else value
            for name, value in outputs.items()
        }, state

    return dataclasses.replace(
        network, apply=apply, architecture=f"{network.architecture}\nclasses: {num_classes}"
    )


def first_classes(values: jax.Array, num_classes: int, what: str) -> jax.Array:
    """Returns the first classes of the last axis; refuses fewer, under the name `what`."""
    if values.shape[-1] < num_classes:
        raise ValueError(
            f"the vocabulary has {num_classes} valid classes, the {what} of shape {values.shape} "
            f"are {values.shape[-1]}: widen its output layer, or check which vocabulary it was "
            "made for"
        )
    return values[..., :num_classes]


def extend(network: Network, module: nnx.Module, output: str | tuple[str, ...]) -> Network:
    """Puts a module after one of a network's outputs, to be trained and deployed together.

    Args:
      network: any network.
      module: an NNX module; its result is added to the outputs, replacing those of the same names:
        a mapping by name, anything else as `"logits"`.
      output: name of the output that the module is called with; several names make a tuple.

    Returns:
      A network whose params and state are `{"network": …, "extension": …}`.

    Raises:
      TypeError: a module in place of a network; says how to make one of it.
      ValueError: when first called, an output that the network does not have.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> longer = extend(network, nnx.Linear(3, 5, rngs=nnx.Rngs(0)), "logits")
      >>> longer(jnp.ones((2, 3)))["logits"].shape
      (2, 5)
    """
    check_network("network", network)
    connector = as_connector(module)

    def apply(params, state, inputs, *, train=False, key=None):
        keys = (None, None) if key is None else jax.random.split(key)
        outputs, inner = network.apply(
            params["network"], state["network"], inputs, train=train, key=keys[0]
        )
        names = {output} if isinstance(output, str) else set(output)
        if missing := sorted(names - set(outputs)):
            raise ValueError(f"no output {missing} to extend; there are {sorted(outputs)}")
        chosen = outputs[output] if isinstance(output, str) else tuple(outputs[o] for o in output)
        result, outer = connector.apply(
            params["extension"], state["extension"], chosen, train=train, key=keys[1]
        )
        if "student" in result:
            result["logits"] = result.pop("student")
        return {**outputs, **result}, {"network": inner, "extension": outer}

    def whole(params, state):
        inner = network.all_params(params["network"], state["network"])
        return {"network": inner, "extension": params["extension"]}

    return Network(
        apply,
        {"network": network.params, "extension": connector.params},
        {"network": network.state, "extension": connector.state},
        f"{network.name}+{connector.name}",
        f"{network.architecture}\n+ {output}: {_describe(module)}",
        vocab_size=network.vocab_size,
        random_layers=_of_both(network.random_layers, connector.random_layers),
        statistics=_of_both(network.statistics, connector.statistics),
        whole=None if network.whole is None else whole,
    )


def _of_both(inner: tuple[str, ...], outer: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the paths of a network and those of what is put after it."""
    return (*inner, *(f"extension.{path}" for path in outer))


def _describe(module: nnx.Module) -> str:
    return describe_modules({dotted(p): m for p, m in nnx.iter_modules(module)})
