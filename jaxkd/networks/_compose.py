"""Networks made of networks: derived outputs, and modules that run behind a network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from jaxkd.networks._architecture import describe_modules
from jaxkd.networks._connector import as_connector
from jaxkd.networks._network import Network, PyTree, dotted


def add_outputs(
    network: Network, function: Callable[[PyTree, Mapping[str, Any]], Mapping[str, Any]]
) -> Network:
    """The same network with further outputs, computed from its parameters and outputs.

    For what a method wants to see of a network whose code one leaves alone: class activation maps
    from a feature map and the classifier's weights, logits of image regions, a pooled feature.

    Args:
      network: any network.
      function: `function(params, outputs)` returns the further outputs by name.

    Returns:
      A network with the same variables and, since it computes the same answers, the same
      fingerprint.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> doubled = add_outputs(network, lambda params, outputs: {"twice": 2 * outputs["logits"]})
      >>> sorted(doubled(jnp.ones((2, 3))))
      ['logits', 'twice']
    """

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, state = network.apply(params, state, inputs, train=train, key=key)
        return {**outputs, **function(params, outputs)}, state

    return dataclasses.replace(network, apply=apply)


def without_logits(network: Network) -> Network:
    """The same network without its logits, which are then never computed under `jit`.

    For a student whose loss is fused with its head (`jaxkd.losses.fused_linear`): the train step
    would compute all logits for its accuracy alone. There is none without them. Evaluate with the
    network itself, whose variables are the same.

    Args:
      network: any network.

    Returns:
      A network with the same variables, and all outputs but `"logits"`.

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

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, state = network.apply(params, state, inputs, train=train, key=key)
        return {name: value for name, value in outputs.items() if name != "logits"}, state

    return dataclasses.replace(network, apply=apply)


def valid_classes(network: Network, num_classes: int) -> Network:
    """The network without the classes that pad its vocabulary.

    Vocabularies are padded to sizes that suit the hardware, each network's to another: 151,936 of
    152,064 logits, or of 151,936, are tokens. Wrap a student whose logits are more than what its
    teacher's cache keeps (`jaxkd.cache.build(..., valid_classes=...)`): its padding then takes no
    part in any loss, and nothing is ever predicted there.

    Args:
      network: one whose last axis of `"logits"` is the vocabulary.
      num_classes: how many of the logits are kept, the first ones.

    Returns:
      A network with the same variables and `"logits"` `[..., num_classes]`; an output `"head"`
      `[width, vocabulary]` is cut to `[width, num_classes]` alike.

    Raises:
      ValueError: num_classes below 1; when first called, fewer logits than that.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.ones((3, 8)))
      >>> valid_classes(network, 5)(jnp.ones((2, 3)))["logits"].shape
      (2, 5)
    """
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
    """The first classes of the last axis, or a ValueError that says what has fewer."""
    if values.shape[-1] < num_classes:
        raise ValueError(
            f"the vocabulary has {num_classes} valid classes, the {what} of shape {values.shape} "
            f"are {values.shape[-1]}: widen its output layer, or check which vocabulary it was "
            "made for"
        )
    return values[..., :num_classes]


def extend(network: Network, module: nnx.Module, output: str | tuple[str, ...]) -> Network:
    """A network with a module behind one of its outputs, trained and deployed together.

    Args:
      network: any network.
      module: an NNX module; what it returns joins the outputs, replacing those of the same names:
        a mapping by name, anything else as `"logits"`.
      output: name of the output (or names, passed as a tuple) that the module is called with.

    Returns:
      A network whose params and state are `{"network": …, "extension": …}`.

    Raises:
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

    return Network(
        apply,
        {"network": network.params, "extension": connector.params},
        {"network": network.state, "extension": connector.state},
        f"{network.name}+{connector.name}",
        f"{network.architecture}\n+ {output}: {_describe(module)}",
        vocab_size=network.vocab_size,
    )


def _describe(module: nnx.Module) -> str:
    return describe_modules({dotted(p): m for p, m in nnx.iter_modules(module)})
