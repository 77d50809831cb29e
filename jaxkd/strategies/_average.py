"""A student that learns from its own moving average."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxkd import losses, recipes
from jaxkd.networks import Network, PyTree
from jaxkd.objective import Objective, Schedule
from jaxkd.strategies._composite import Composite, at_least_float32, is_float
from jaxkd.strategies._mutual import between


def with_average(network: Network, *, decay: float = 0.999, warmup: bool = True) -> Network:
    """A network that carries the moving average of its variables and answers with both.

    In training the average first takes in the variables at hand,
    `average ← d · average + (1 - d) · variables`, then answers in evaluation mode and without
    gradient. Batch statistics are averaged with the parameters; what is not floating is copied. The
    average lies in the state, hence in every checkpoint, in float32 at least; it has seen all
    parameters but those of the very last update.

    The average is a better network than the student of the same step, more so while the learning
    rate is large; as a target (`self_distillation`) it helps with few labels and with noisy ones.
    It costs a forward pass a step while a term asks for it, and no more than the arithmetic of the
    average otherwise; a compiled evaluation that asks for `logits` alone costs nothing more.
    Not for `micro_batches`.

    Args:
      network: any network.
      decay: d, in [0, 1).
      warmup: whether d is `min(decay, (1 + t) / (10 + t))` in step t, so that the average forgets
        the initial weights soon.

    Returns:
      A network of the same params and outputs, with the outputs `average.<output>` besides. `split`
      takes out `live` and `average`.

    Raises:
      ValueError: a decay outside of [0, 1).

    Example:
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> sorted(with_average(network)(jnp.ones((2, 3))))
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
        answers, _ = network.apply(own["params"], own["state"], inputs, train=False)
        answers = jax.lax.stop_gradient(answers)
        named = {f"average.{name}": value for name, value in answers.items()}
        return {**outputs, **named}, {"network": inner, "average": average, "count": count}

    def members(params, state):
        like = {"params": params, "state": state["network"]}
        return {
            "live": network.replace(**like),
            "average": network.replace(**jax.tree.map(_as, state["average"], like)),
        }

    variables = {"params": network.params, "state": network.state}
    state = {
        "network": network.state,
        "average": jax.tree.map(_wide, variables),
        "count": jnp.zeros((), jnp.int32),
    }
    return Composite(
        apply,
        network.params,
        state,
        f"{network.name} with average",
        f"{network.architecture}\naverage {decay} {warmup}",
        members,
        vocab_size=network.vocab_size,
    )


def self_distillation(
    *, alpha: float | Schedule = 0.5, temperature: float | Schedule = 1.0
) -> Objective:
    """A student of `with_average` taught by its average: `alpha T² KL + (1 - alpha) CE`.

    No teacher is needed. Early on the average knows nothing: let alpha rise, as with
    `optax.linear_schedule(0.0, 0.5, steps)`, unless most examples have no label.

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
        terms["kd"], loss=between(losses.kd), student=("logits", "average.logits")
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
    """In bfloat16 a decay of 0.999 would change nothing."""
    leaf = jnp.asarray(leaf)
    return at_least_float32(leaf) if is_float(leaf) else leaf


def _as(leaf: jax.Array, like: jax.Array) -> jax.Array:
    return leaf.astype(like.dtype) if is_float(like) else leaf
