"""CRD: contrastive representation distillation."""

from typing import Any

import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import embedding_widths, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def crd(
    pair: Pair,
    *,
    num_examples: int,
    dim: int = 128,
    num_negatives: int = 16_384,
    temperature: float = 0.07,
    momentum: float = 0.5,
    classes: ArrayLike | None = None,
    weight: float | Schedule = 0.8,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Contrasts embeddings with memory banks of all examples (CRD).

    Batches need the field `id`, smaller than `num_examples`.

    Args:
      pair: the student and its teacher.
      num_examples: number of rows of the banks: the largest example id and one.
      dim: width of the embeddings.
      num_negatives: number of negatives of an example, K.
      temperature: temperature of the scores.
      momentum: momentum of the banks.
      classes: int `[num_examples]`, so that negatives come from other classes, as in the authors'
        code; None for all examples but the example itself.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial values of the embeddings and the banks.

    Returns:
      An objective with the terms `label` and `crd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = crd(pair, num_examples=60_000, num_negatives=1024)
      >>> list(objective.terms), sorted(objective.teacher_outputs)
      (['label', 'crd'], ['embedding'])

    Reference:
      Tian et al., Contrastive Representation Distillation, ICLR 2020.
    """
    connector = connectors.CRD(
        *embedding_widths(pair),
        num_examples,
        dim=dim,
        num_negatives=num_negatives,
        temperature=temperature,
        momentum=momentum,
        labels=classes,
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.crd, weight, None, "embedding", "embedding", connector)
    return with_labels(label_weight, crd=term)


def _banks_of(dataset: Any) -> dict[str, Any]:
    """Returns the size of the banks and the classes by id, as the banks are addressed.

    An id that is not among the examples is a class of its own, which no example belongs to.
    """
    classes = np.full(int(dataset.ids.max()) + 1, -1, np.int32)
    classes[dataset.ids] = dataset.labels
    return {"num_examples": len(classes), "classes": classes}


CRD = Recipe(
    "crd",
    crd,
    "Tian et al., Contrastive Representation Distillation, ICLR 2020.",
    needs_pair=True,
    batch_fields=("id",),
    dataset_options=_banks_of,
)
