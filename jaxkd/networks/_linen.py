"""The adapter for Flax Linen modules."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxkd.networks._architecture import describe
from jaxkd.networks._network import (
    Network,
    captured_output,
    mode_arguments,
    named,
    vocabulary_of,
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
    mode = mode_arguments(type(module).__call__)
    collections = sorted(set(variables) - {"params"})

    def apply(params, state, inputs, *, train=False, key=None):
        options: dict[str, Any] = mode(train)
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
        outputs, updates = named(result), dict(updates)
        captured = updates.pop("intermediates", {})
        for name, path in features.items():
            outputs[name] = captured_output(captured, name, path.split("."))
        return outputs, {**state, **updates} if train else state

    state = {name: variables[name] for name in collections}
    return Network(
        apply,
        variables["params"],
        state,
        type(module).__name__,
        describe(module),
        vocab_size=vocabulary_of(module),
    )
