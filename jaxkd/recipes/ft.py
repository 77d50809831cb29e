"""FT: factor transfer."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Term
from jaxkd.objective.term import at_step
from jaxkd.recipes._common import afterwards, at_first, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def ft(
    pair: Pair,
    *,
    rate: float = 0.5,
    weight: float = 200.0,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Matches factors of the last map, paraphrased from the teacher's (FT).

    Args:
      pair: the student and its teacher.
      rate: width of the factors as a share of the teacher's.
      weight: weight of the factors' distance.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the paraphraser and the translator.
      steps: number of steps of the whole training; in the first eighth the paraphraser learns to
        reconstruct the teacher's map while the student learns from labels alone, then it is frozen.
        Without it both happen at once.

    Returns:
      An objective with the terms `label` and `ft`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = ft(pair, rate=0.25, steps=240).terms["ft"]
      >>> term.student, term.teacher
      ('stage3', 'stage3')

    Reference:
      Kim et al., Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS
      2018.
    """
    student, teacher = pair.stages()[-1]
    widths = pair.width("student", student), pair.width("teacher", teacher)
    connector = connectors.FactorTransfer(*widths, rate=rate, rngs=nnx.Rngs(seed))
    reconstruct = at_first(1.0, steps, 1 / 8)
    transfer = afterwards(weight, steps, 1 / 8)

    def factor_transfer(student, teacher, reconstruction, target, *, step):
        error = jnp.mean(jnp.square(reconstruction - jax.lax.stop_gradient(target)), axis=(1, 2, 3))
        factors = losses.ft(student, teacher)
        return at_step(reconstruct, step) * error + at_step(transfer, step) * factors

    term = Term(factor_transfer, 1.0, None, student, teacher, connector)
    return with_labels(label_weight, ft=term)


FT = Recipe(
    "ft",
    ft,
    "Kim et al., Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS "
    "2018.",
    needs_pair=True,
)
