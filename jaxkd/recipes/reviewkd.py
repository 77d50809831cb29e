"""ReviewKD: knowledge review."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import warmed_up, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def reviewkd(
    pair: Pair,
    *,
    weight: float = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Compares stages that are fused from the last to the first (ReviewKD).

    Args:
      pair: the student and its teacher; their stages and `embedding` are used.
      weight: weight of the term, the sum over stages.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the fusion blocks.
      steps: number of steps of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `reviewkd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = reviewkd(pair, steps=240).terms["reviewkd"]
      >>> term.student
      ('stage1', 'stage2', 'stage3', 'embedding')
      >>> [float(term.weight(step)) for step in (0, 10, 20)]
      [0.0, 0.5, 1.0]

    Reference:
      Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021.
    """
    stages = [*pair.stages(), ("embedding", "embedding")]
    student, teacher = (tuple(names) for names in zip(*stages, strict=True))
    connector = connectors.ReviewKD(
        [pair.width("student", name) for name in student],
        [pair.width("teacher", name) for name in teacher],
        [pair.size("teacher", name) for name in teacher[:-1]],
        rngs=nnx.Rngs(seed),
    )
    scheduled = warmed_up(weight, steps, 20 / 240)
    term = Term(losses.over_stages(losses.hcl), scheduled, None, student, teacher, connector)
    return with_labels(label_weight, reviewkd=term)


REVIEWKD = Recipe(
    "reviewkd",
    reviewkd,
    "Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021.",
    needs_pair=True,
)
