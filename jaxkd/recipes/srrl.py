"""SRRL: softmax regression representation learning."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def srrl(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Passes the student's features through the teacher's classifier (SRRL).

    Args:
      pair: the student and its teacher.
      weight: weight of the term, which holds the regression of features and of the teacher's
        logits.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connector.

    Returns:
      An objective with the terms `label` and `srrl`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = srrl(pair).terms["srrl"]
      >>> term.student, term.teacher
      ('stage3', ('stage3', 'logits'))

    Reference:
      Yang et al., Knowledge Distillation via Softmax Regression Representation Learning, ICLR
      2021.
    """
    student, teacher = pair.stages()[-1]
    kernel, bias = pair.teacher_head()
    connector = connectors.SRRL(
        pair.width("student", student),
        pair.width("teacher", teacher),
        kernel=kernel,
        bias=bias,
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.srrl, weight, None, student, (teacher, "logits"), connector)
    return with_labels(label_weight, srrl=term)


SRRL = Recipe(
    "srrl",
    srrl,
    "Yang et al., Knowledge Distillation via Softmax Regression Representation Learning, ICLR "
    "2021.",
    needs_pair=True,
)
