"""MiniLM and MiniLMv2: self-attention of the last layer."""

import functools

from jaxkd import losses
from jaxkd.connectors import TokenPairMask
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.language._common import check_heads, present


def minilm(
    pair: Pair,
    *,
    relation_heads: int | None = None,
    weight: float | Schedule = 1.0,
    causal: bool = False,
) -> Objective:
    """Matches self-attention of the last layer, without equal widths and without a projection.

    With `relation_heads` the relations of queries, keys and values (MiniLMv2). Without, the
    attention itself and the relations of values (MiniLM), for networks of as many heads.

    Args:
      pair: the student and its teacher; the outputs `queries`, `keys`, `values`, or `attention1`, …
        and `values`, are compared.
      relation_heads: a divisor of both widths; 48 for a teacher of BERT's base size in MiniLMv2.
      weight: weight of each term.
      causal: whether the networks are decoders.

    Returns:
      An objective with the terms `queries`, `keys` and `values`, or `attention` and `values`.

    Raises:
      ValueError: outputs that are missing, relation_heads that do not divide a width, another
        number of heads without them.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.Encoder(64, 16, 2, 4, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.Encoder(64, 32, 4, 4, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((2, 7), jnp.int32))
      >>> list(minilm(pair).terms), list(minilm(pair, relation_heads=8).terms)
      (['attention', 'values'], ['queries', 'keys', 'values'])

    Reference:
      Wang et al., MiniLM, NeurIPS 2020; Wang et al., MiniLMv2, Findings of ACL 2021.
    """
    mask = functools.partial(TokenPairMask, causal=causal)
    if relation_heads is None:
        student = f"attention{pair.depth('student', 'attention')}"
        teacher = f"attention{pair.depth('teacher', 'attention')}"
        check_heads(pair, student, teacher)
        check_heads(pair, "values", "values")
        values = Term(losses.relation_kl, weight, None, "values", "values", mask(), present)
        attention = Term(losses.attention_kl, weight, None, student, teacher, mask(), present)
        return Objective(attention=attention, values=values)
    terms = {}
    for name in ("queries", "keys", "values"):
        for side in ("student", "teacher"):
            _, heads, _, head_dim = pair.shape(side, name)
            if relation_heads < 1 or heads * head_dim % relation_heads:
                raise ValueError(
                    f"the {side}'s {name} are {heads * head_dim} wide, which relation_heads="
                    f"{relation_heads} does not divide: choose a divisor of both widths"
                )
        loss = functools.partial(losses.relation_kl, relation_heads=relation_heads)
        terms[name] = Term(loss, weight, None, name, name, mask(), present)
    return Objective(**terms)


MINILM = Recipe(
    "language.minilm",
    minilm,
    "Wang et al., MiniLM, NeurIPS 2020; Wang et al., MiniLMv2, Findings of ACL 2021.",
    needs_pair=True,
)
