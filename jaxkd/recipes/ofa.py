"""OFA: one-for-all distillation between families of networks."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def ofa(
    pair: Pair,
    *,
    epsilon: float = 1.0,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Teaches heads on the student's stages the teacher's logits (OFA).

    Made for networks of different families, whose features have nothing in common.

    Args:
      pair: the student and its teacher.
      epsilon: strength of the target class; 1.5 for ImageNet.
      temperature: temperature of all softmaxes.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the heads.

    Returns:
      An objective with the terms `label`, `ofa1`, `ofa2`, … of the stages and `ofa` of the logits.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = ofa(pair, epsilon=1.5)
      >>> {name: term.student for name, term in objective.terms.items()}
      {'label': 'logits', 'ofa': 'logits', 'ofa1': 'stage1', 'ofa2': 'stage2', 'ofa3': 'stage3'}
      >>> sorted(objective.teacher_outputs)
      ['logits']

    Reference:
      Hao et al., One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
      Distillation, NeurIPS 2023.
    """
    rngs = nnx.Rngs(seed)

    def loss(student, teacher, labels, *, temperature=1.0):
        return losses.ofa(student, teacher, labels, epsilon=epsilon, temperature=temperature)

    terms = {"ofa": Term(loss, weight, temperature)}
    for number, (student, _) in enumerate(pair.stages(), 1):
        width = pair.width("student", student)
        head = connectors.PooledLinear(width, pair.num_classes, rngs=rngs)
        terms[f"ofa{number}"] = Term(loss, weight, temperature, student, "logits", head)
    return with_labels(label_weight, **terms)


OFA = Recipe(
    "ofa",
    ofa,
    "Hao et al., One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge "
    "Distillation, NeurIPS 2023.",
    needs_pair=True,
)
