"""Students that teach each other."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.strategies._teachers import check_names


def between(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A loss between outputs of one and the same network: the first learns from the others.

    Args:
      loss: of a `student` and a `teacher`.

    Returns:
      A loss without `teacher`, whose `student` is a tuple: the mean of `loss(first, other)` over
      the others, to which no gradient flows. Other arguments are passed to every call.

    Raises:
      ValueError: when called, not a tuple of at least two outputs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> loss = between(losses.logit_mse)
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
    """Deep mutual learning: students from scratch that imitate each other, without a teacher.

    For a student that is a `join` of networks, alike or not. Helps where no good teacher is at
    hand: each ends better than alone since the others disagree with it in useful ways; networks of
    equal initial weights have nothing to tell each other. Examples without a label take part in the
    imitation alone.

    Args:
      names: of the members.
      temperature: of the divergences, with Hinton's factor T².
      weight: of each member's divergence from the others, their mean.
      label_weight: of each member's cross entropy.

    Returns:
      An objective with the terms `<name>.label` and `<name>.mutual` of each member. No gradient
      flows to whom a member imitates.

    Raises:
      ValueError: names that are fewer than two or repeat.

    Example:
      >>> list(mutual(("a", "b")).terms)
      ['a.label', 'a.mutual', 'b.label', 'b.mutual']

    Reference:
      Zhang, Xiang, Hospedales, Lu, Deep Mutual Learning, CVPR 2018. There the members are updated
      in turn, each after the others' last update; here all at once.
    """
    names = check_names(names)
    terms: dict[str, Term] = {}
    for name in names:
        own, *others = (f"{one}.logits" for one in (name, *(o for o in names if o != name)))
        terms[f"{name}.label"] = Term(losses.cross_entropy, label_weight, student=own)
        terms[f"{name}.mutual"] = Term(between(losses.kd), weight, temperature, (own, *others))
    return Objective(**terms)
