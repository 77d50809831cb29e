"""A student that learns from its own moving average."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxkd import losses, recipes
from jaxkd.networks import Network, PyTree
from jaxkd.objective import Objective, Schedule
from jaxkd.strategies._composite import CompositeNetwork, at_least_float32, is_float
from jaxkd.strategies.mutual import peer_loss


def with_moving_average(network: Network, *, decay: float = 0.999, warmup: bool = True) -> Network:
    """Adds to a network the moving average of its variables, and the outputs of that average.

    In training the average is updated first, `average ← d · average + (1 - d) · variables`; then
    its outputs are computed in evaluation mode and without gradient. Batch statistics are averaged
    with the parameters; what is not floating is copied. The average is part of the state, hence of
    every checkpoint, in float32 at least; it includes all parameters but those of the very last
    update.

    The average is a better network than the student of the same step, more so while the learning
    rate is large; as a target (`self_distillation`) it helps with few labels and with noisy ones.
    It costs a forward pass a step while a term compares with it, and the arithmetic of the average
    otherwise; a compiled evaluation of `logits` alone costs nothing more. It does not work with
    `micro_batches`.

    Args:
      network: any network.
      decay: d, in [0, 1).
      warmup: whether d is `min(decay, (1 + t) / (10 + t))` in step t, so that the average forgets
        the initial weights soon.

    Returns:
      A network of the same params and outputs, with the further outputs `average.<output>`.
      `member_networks` returns `live` and `average`.

    Raises:
      ValueError: a decay outside of [0, 1).

    Example:
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> sorted(with_moving_average(network)(jnp.ones((2, 3))))
      ['average.logits', 'logits']

    References:
      Tarvainen and Valpola, Mean Teachers Are Better Role Models, NeurIPS 2017; Polyak and
      Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
    """
    if not (math.isfinite(decay) and 0 <= decay < 1):
        raise ValueError(f"decay must lie in [0, 1), not {decay}")

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, inner = network.apply(params, state["network"], inputs, train=train, key=key)
        average, count = state["average"], state["count"]
        if train:
            now = jax.lax.stop_gradient({"params": params, "state": state["network"]})
            average = _averaged(average, now, _rate(decay, warmup, count))
            count = count + 1
        like = {"params": params, "state": state["network"]}
        own = jax.tree.map(_as, jax.lax.stop_gradient(average), like)
        targets, _ = network.apply(own["params"], own["state"], inputs, train=False)
        targets = jax.lax.stop_gradient(targets)
        named = {f"average.{name}": value for name, value in targets.items()}
        return {**outputs, **named}, {"network": inner, "average": average, "count": count}

    def members(params, state):
        like = {"params": params, "state": state["network"]}
        return {
            "live": network.replace(**like),
            "average": network.replace(**jax.tree.map(_as, state["average"], like)),
        }

    def whole(params, state):
        return network.all_params(params, state["network"])

    variables = {"params": network.params, "state": network.state}
    state = {
        "network": network.state,
        "average": jax.tree.map(_wide, variables),
        "count": jnp.zeros((), jnp.int32),
    }
    return CompositeNetwork(
        apply,
        network.params,
        state,
        f"{network.name} with average",
        f"{network.architecture}\naverage {decay} {warmup}",
        members,
        vocab_size=network.vocab_size,
        random_layers=network.random_layers,
        # Of the live network: those of the average move in any case.
        statistics=tuple(f"network.{path}" for path in network.statistics),
        whole=None if network.whole is None else whole,
    )


def self_distillation(
    *, alpha: float | Schedule = 0.5, temperature: float | Schedule = 1.0
) -> Objective:
    """Distills the moving average into the student: `alpha T² KL + (1 - alpha) CE`.

    For a student of `with_moving_average`. No teacher is needed. Early in training the average is
    no better than the student: let alpha rise, as with `optax.linear_schedule(0.0, 0.5, steps)`,
    unless most examples have no label.

    Args:
      alpha: weight of the average, from 0 to 1; a number or an optax schedule.
      temperature: T.

    Returns:
      An objective with the terms `label` (unless alpha is 1) and `kd`.

    Raises:
      ValueError: alpha outside of [0, 1].

    Example:
      >>> self_distillation(alpha=0.5).terms["kd"].student
      ('logits', 'average.logits')

    Reference:
      Tarvainen and Valpola, Mean Teachers Are Better Role Models, NeurIPS 2017 (with a squared
      error of probabilities; they found the divergence close behind).
    """
    terms = recipes.kd(alpha=alpha, temperature=temperature).terms
    own = dataclasses.replace(
        terms["kd"], loss=peer_loss(losses.kd), student=("logits", "average.logits")
    )
    return Objective(**{**terms, "kd": own})


def _rate(decay: float, warmup: bool, count: jax.Array) -> jax.Array:
    limit = jnp.asarray(decay, jnp.float32)
    return jnp.minimum(limit, (1 + count) / (10 + count)) if warmup else limit


def _averaged(average: PyTree, now: PyTree, rate: jax.Array) -> PyTree:
    def one(old, new):
        if not is_float(new):
            return new
        return (rate * old + (1 - rate) * new.astype(old.dtype)).astype(old.dtype)

    return jax.tree.map(one, average, now)


def _wide(leaf: jax.Array) -> jax.Array:
    """Returns a leaf in float32 at least: in bfloat16 a decay of 0.999 would change nothing."""
    leaf = jnp.asarray(leaf)
    return at_least_float32(leaf) if is_float(leaf) else leaf


def _as(leaf: jax.Array, like: jax.Array) -> jax.Array:
    return leaf.astype(like.dtype) if is_float(like) else leaf
