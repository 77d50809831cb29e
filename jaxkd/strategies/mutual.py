"""Mutual learning: students that teach each other."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.strategies.multi_teacher import check_names


def peer_loss(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes a loss between outputs of one network: the first learns from the others.

    Args:
      loss: loss of a `student` and a `teacher`.

    Returns:
      A loss without `teacher`, whose `student` is a tuple: the mean of `loss(first, other)` over
      the others, to which no gradient flows. Other arguments are passed to every call.

    Raises:
      ValueError: when called, not a tuple of at least two outputs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> loss = peer_loss(losses.logit_mse)
      >>> loss((jnp.zeros((1, 2)), jnp.ones((1, 2)), 3 * jnp.ones((1, 2))))
      Array([5.], dtype=float32)
    """

    @functools.wraps(loss)
    def compared(student: Sequence[Any], *arguments: Any, **keywords: Any) -> jax.Array:
        if not isinstance(student, tuple | list) or len(student) < 2:
            raise ValueError(
                "outputs of the student itself are compared: name at least two, as "
                'Term(…, student=("a.logits", "b.logits"))'
            )
        first, *others = student
        # Sparse or dense, whole trees of arrays.
        others = jax.lax.stop_gradient(others)
        values = [loss(first, other, *arguments, **keywords) for other in others]
        return jnp.mean(jnp.stack(values), axis=0)

    signature = inspect.signature(loss)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "teacher"]
    compared.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return compared


def mutual(
    names: Sequence[str],
    *,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float | Schedule = 1.0,
) -> Objective:
    """Trains students from scratch to imitate each other, without a teacher: deep mutual learning.

    For a student that is a `joint_network`, of equal architectures or not. It helps where there is
    no good teacher: each member ends better than alone since the others disagree with it in useful
    ways; members of equal initial weights have nothing to learn from each other. Examples without a
    label take part in the imitation alone.

    Args:
      names: names of the members.
      temperature: temperature of the divergences, with Hinton's factor T².
      weight: weight of each member's mean divergence from the others.
      label_weight: weight of each member's cross entropy with the labels.

    Returns:
      An objective with the terms `<name>.label` and `<name>.mutual` of each member. No gradient
      flows to the members that one imitates.

    Raises:
      ValueError: names that are fewer than two or repeat.

    Example:
      >>> list(mutual(("a", "b")).terms)
      ['a.label', 'a.mutual', 'b.label', 'b.mutual']

    Reference:
      Zhang, Xiang, Hospedales, Lu, Deep Mutual Learning, CVPR 2018. There the members are updated
      one after the other; here all at once.
    """
    names = check_names(names)
    terms: dict[str, Term] = {}
    for name in names:
        own, *others = (f"{one}.logits" for one in (name, *(o for o in names if o != name)))
        terms[f"{name}.label"] = Term(losses.cross_entropy, label_weight, student=own)
        terms[f"{name}.mutual"] = Term(peer_loss(losses.kd), weight, temperature, (own, *others))
    return Objective(**terms)
