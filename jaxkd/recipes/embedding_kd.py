"""Distillation of embeddings, to any width."""

from collections.abc import Sequence

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.connectors import PrincipalComponents
from jaxkd.connectors.pca import check_components
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def embedding_kd(
    pair: Pair,
    *,
    widths: Sequence[int] = (),
    components: PrincipalComponents | None = None,
    reduce_teacher: bool = False,
    relation_weight: float | Schedule = 500.0,
    output: str = "embedding",
    seed: int = 0,
) -> Objective:
    """Distills embeddings: cosines with the teacher's, and similarities among the examples.

    No labels are needed. A student of the teacher's width is compared with it as it is. For one of
    another width, either a linear map to the teacher's width trains beside it and is left behind,
    or the teacher's embeddings are reduced to the student's width along principal components.

    Args:
      pair: the student and its teacher.
      widths: widths of prefixes that are to be embeddings of their own (Matryoshka), ascending, the
        student's whole width last; for students of the teacher's width or with `reduce_teacher`.
      components: `connectors.pca(embeddings, width)` of the teacher's embeddings and the student's
        width: where the linear map starts, or what the teacher is reduced along.
      reduce_teacher: whether the teacher is reduced, so that the student's own entries are learned.
      relation_weight: weight of the similarities (`losses.sp`), which average over all pairs of the
        batch and are small; 0 for none.
      output: name of the output with the embedding, `[batch, width]`, of both networks.
      seed: seed of the initial weights of the linear map.

    Returns:
      An objective with the term `embedding_kd`, and `relation` where it has a weight.

    Raises:
      TypeError: components that are none.
      ValueError: a teacher to be reduced without components, components that do not fit, prefixes
        of a student that is neither as wide as the teacher nor compared with a reduced one.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> def embed(weights, x):
      ...     return {"embedding": x @ weights}
      >>> student = jaxkd.from_function(embed, jnp.ones((8, 2)))
      >>> teacher = jaxkd.from_function(embed, jnp.ones((8, 4)))
      >>> components = connectors.pca(jnp.eye(4), 2)
      >>> pair = Pair(student, teacher, jnp.ones((1, 8)))
      >>> method = embedding_kd(pair, widths=(1, 2), components=components, reduce_teacher=True)
      >>> list(method.terms)
      ['embedding_kd', 'relation']

    Reference:
      Reimers and Gurevych, Making Monolingual Sentence Embeddings Multilingual using Knowledge
      Distillation, EMNLP 2020, with cosines; Kusupati et al., Matryoshka Representation Learning,
      NeurIPS 2022 (the prefixes).
    """
    width, wide = (pair.width(side, output) for side in ("student", "teacher"))
    if components is not None:
        check_components("embedding_kd(…, components=)", components)
    connector: nnx.Module | None = None
    if reduce_teacher:
        if components is None:
            raise ValueError(
                "a teacher is reduced along components: pass components=connectors.pca("
                f"embeddings, {width}) of its embeddings"
            )
        if components.components.shape != (width, wide):
            raise ValueError(
                f"components {components.components.shape} do not lead from the teacher's width "
                f"{wide} to the student's {width}: write connectors.pca(embeddings, {width})"
            )
        connector = connectors.ReducedTeacher(components)
    elif width != wide or components is not None:
        connector = connectors.Linear(width, wide, initial=components, rngs=nnx.Rngs(seed))
    cosine, relation = losses.feature_cosine, losses.sp
    if widths:
        if isinstance(connector, connectors.Linear):
            raise ValueError(
                f"prefixes of a student of width {width} have no counterpart in a teacher of width "
                f"{wide}: write reduce_teacher=True, components=connectors.pca(embeddings, {width})"
            )
        cosine = losses.matryoshka(cosine, widths)
        relation = losses.matryoshka(relation, widths, whole_teacher=True)
    terms = {"embedding_kd": Term(cosine, 1.0, None, output, output, connector)}
    if callable(relation_weight) or relation_weight:
        terms["relation"] = Term(relation, relation_weight, None, output, output)
    return Objective(**terms)


EMBEDDING_KD = Recipe(
    "embedding_kd",
    embedding_kd,
    "Reimers and Gurevych, Making Monolingual Sentence Embeddings Multilingual using Knowledge "
    "Distillation, EMNLP 2020, with cosines; Kusupati et al., Matryoshka Representation Learning, "
    "NeurIPS 2022 (the prefixes).",
    needs_pair=True,
    task="embeddings",
)
