"""Several networks on the same inputs as one: ensembles, and students that learn together."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxkd.networks import Network
from jaxkd.strategies._composite import CompositeNetwork, at_least_float32, layers_of

_WAYS = ("probabilities", "logits", None)


def joint_network(
    networks: Mapping[str, Network],
    *,
    combine: str | None = "probabilities",
    weights: Mapping[str, float] | None = None,
) -> Network:
    """Makes one network of several that see the same inputs.

    As a teacher: an ensemble that runs online, under the names that `cache.EnsembleCache` gives to
    cached outputs, so that an objective serves both. As a student: networks that learn together,
    one optimizer and one checkpoint for all; its accuracy is that of the ensemble.

    Args:
      networks: name → network. Each has PRNG keys of its own.
      combine: how `logits` are computed from theirs. `"probabilities"`: the logarithm of the mean
        of the probabilities at temperature 1; `"logits"`: the mean of the logits; None: there are
        none, for teachers of different classes (a student needs logits, hence one of the two).
      weights: name → positive weight in the mean, divided by their sum; None for equal ones.

    Returns:
      A network whose params and state are by name and whose outputs are `<name>.<output>` of each
      and `logits`. `member_networks` returns the members.

    Raises:
      ValueError: no network, weights that are not positive or of other names, an unknown `combine`;
        when called, logits that are to be combined and are missing or of different classes.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> one = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> sorted(joint_network({"a": one, "b": one})(jnp.ones((2, 3))))
      ['a.logits', 'b.logits', 'logits']
    """
    if not networks:
        raise ValueError("no networks to join: name at least one")
    if combine not in _WAYS:
        raise ValueError(f"combine must be one of {_WAYS}, not {combine!r}")
    weights = dict.fromkeys(networks, 1.0) if weights is None else weights
    if set(weights) != set(networks) or not all(w > 0 for w in weights.values()):
        raise ValueError(
            f"weights must be positive and one for each of {sorted(networks)}, not {dict(weights)}"
        )
    total = sum(weights.values())
    shares = {name: float(weights[name]) / total for name in networks}
    networks = dict(networks)

    def apply(params, state, inputs, *, train=False, key=None):
        outputs: dict[str, jax.Array] = {}
        logits, new_state = {}, {}
        for index, (name, network) in enumerate(networks.items()):
            own = None if key is None else jax.random.fold_in(key, index)
            given, new_state[name] = network.apply(
                params[name], state[name], inputs, train=train, key=own
            )
            outputs |= {f"{name}.{output}": value for output, value in given.items()}
            if combine is not None:
                if "logits" not in given:
                    raise ValueError(
                        f"the network {name!r} has no logits to combine, but {sorted(given)}: "
                        "use combine=None"
                    )
                logits[name] = given["logits"]
        if combine is not None:
            outputs["logits"] = _combined(logits, shares, combine)
        return outputs, new_state

    def members(params, state):
        return {
            name: network.replace(params=params[name], state=state[name])
            for name, network in networks.items()
        }

    def whole(params, state):
        return {n: member.all_params(params[n], state[n]) for n, member in networks.items()}

    known = [n.vocab_size for n in networks.values() if n.vocab_size is not None]
    return CompositeNetwork(
        apply,
        {name: network.params for name, network in networks.items()},
        {name: network.state for name, network in networks.items()},
        "&".join(network.name for network in networks.values()),
        f"join {combine} {sorted(shares.items())}\n"
        + "\n".join(f"{name}: {network.architecture}" for name, network in networks.items()),
        members,
        vocab_size=min(known, default=None),
        **layers_of(networks),
        whole=whole if any(n.whole is not None for n in networks.values()) else None,
    )


def _combined(
    logits: Mapping[str, jax.Array], shares: Mapping[str, float], combine: str
) -> jax.Array:
    shapes = {name: value.shape for name, value in logits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"logits of different shapes cannot be combined: {shapes}; use combine=None"
        )
    each = [(shares[name], at_least_float32(value)) for name, value in logits.items()]
    if combine == "logits":
        return jnp.sum(jnp.stack([share * value for share, value in each]), axis=0)
    logs = [jnp.log(share) + jax.nn.log_softmax(value) for share, value in each]
    return jax.nn.logsumexp(jnp.stack(logs), axis=0)
