"""Recipes on hidden states, attention and relations, as they are used for encoders."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair


def uniform_layers(student: int, teacher: int) -> list[tuple[int, int]]:
    """The teacher's layer for each of the student's, evenly spread, the last for the last.

    Args:
      student: number of layers of the student.
      teacher: of the teacher, at least as many.

    Returns:
      Pairs of numbers from 1 on: `(m, m * teacher / student)`, rounded up.

    Raises:
      ValueError: fewer than one layer, or more of the student than of the teacher.

    Example:
      >>> uniform_layers(4, 12)
      [(1, 3), (2, 6), (3, 9), (4, 12)]

    Reference:
      Jiao et al., TinyBERT, Findings of EMNLP 2020, section 3.
    """
    if not 1 <= student <= teacher:
        raise ValueError(
            f"a student of {student} layers cannot be matched with a teacher of {teacher}: it "
            "needs at least one, and no more than the teacher"
        )
    return [(m, -(-m * teacher // student)) for m in range(1, student + 1)]


def present(batch: Mapping[str, Any]) -> jax.Array | None:
    """Which tokens are there, whether or not they have a label.

    A `Loader` of token rows selects those with a next token, which losses that need no labels have
    no reason to keep to: they also learn from prompts, and from a text's last token.

    Args:
      batch: `"inputs"` `[batch, length, 2]` of (token, document number) or `[batch, length]`, and
        optionally `"where"`, `[batch]` or `[batch, length]`.

    Returns:
      bool `[batch, length]`: the tokens with a document number, in the rows that a `"where"` of
      rows selects. A `"where"` of tokens counts only where documents are not numbered, and is then
      what is returned, None included: padding is told by it alone.

    Example:
      >>> import jax.numpy as jnp
      >>> inputs = jnp.array([[[7, 1], [8, 1], [0, 0]]])
      >>> present({"inputs": inputs, "where": jnp.array([[True, False, False]])}).tolist()
      [[True, True, False]]
    """
    inputs, where = batch["inputs"], batch.get("where")
    if inputs.shape[2:] != (2,) or not jnp.issubdtype(inputs.dtype, jnp.integer):
        return where
    tokens = inputs[..., 1] > 0
    return tokens & where[:, None] if where is not None and where.ndim == 1 else tokens


def distilbert(
    pair: Pair,
    *,
    temperature: float | Schedule = 2.0,
    kd_weight: float | Schedule = 5.0,
    cosine_weight: float | Schedule = 1.0,
    label_weight: float = 2.0,
    seed: int = 0,
) -> Objective:
    """Soft logits, labels of masked tokens, and the direction of the last hidden states.

    Labels are -1 but for the masked tokens; the other two terms are over all tokens that are not
    padding (see `present`).

    Args:
      pair: the networks.
      temperature: of the logits.
      kd_weight: of the logits' divergence, with its factor T².
      cosine_weight: of the hidden states' cosine distance.
      label_weight: of the cross entropy.
      seed: of the projection's initial weights, where the widths differ.

    Returns:
      An objective with the terms `label`, `kd` and `cosine`.

    Raises:
      ValueError: networks without `hidden`.

    Reference:
      Sanh et al., DistilBERT, a distilled version of BERT, 2019; the weights are those of its code.
    """
    cosine = _hidden(losses.hidden_cosine, pair, "hidden", "hidden", cosine_weight, nnx.Rngs(seed))
    kd = Term(losses.kd, kd_weight, temperature, where=_of_logits(pair))
    return with_labels(label_weight, kd=kd, cosine=cosine)


def tinybert(
    pair: Pair,
    *,
    hidden_weight: float | Schedule = 1.0,
    attention_weight: float | Schedule = 1.0,
    embedding_weight: float | Schedule = 1.0,
    prediction_weight: float | Schedule = 0.0,
    temperature: float | Schedule = 1.0,
    causal: bool = False,
    seed: int = 0,
) -> Objective:
    """Embeddings, attention scores and hidden states of evenly spread layers.

    Each hidden state of the student goes through a linear map of its own (the authors' code shares
    one). The attention scores need as many heads as the teacher's. By default this is the authors'
    first stage; the second is the logits alone, `token_kd(alpha=1.0)`, as a phase of its own
    (`jaxkd.strategies.run_phases`), or here with weights that are schedules.

    Args:
      pair: the networks; `layer1`, …, `attention1`, … and `embeddings` are compared.
      hidden_weight: of each layer's hidden states.
      attention_weight: of each layer's attention scores.
      embedding_weight: of the embeddings.
      prediction_weight: of the logits' divergence; 0 leaves the term out.
      temperature: of the logits, with the factor T².
      causal: whether the networks are decoders.
      seed: of the linear maps' initial weights.

    Returns:
      An objective with the terms `embeddings`, `hidden1`, …, `attention1`, …, and `kd` if wanted.

    Raises:
      ValueError: outputs that are missing, a student of more layers, another number of heads.

    Reference:
      Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
      2020.
    """
    rngs = nnx.Rngs(seed)
    mse = losses.hidden_mse
    terms = {"embeddings": _hidden(mse, pair, "embeddings", "embeddings", embedding_weight, rngs)}
    for s, t in uniform_layers(pair.depth("student", "layer"), pair.depth("teacher", "layer")):
        terms[f"hidden{s}"] = _hidden(mse, pair, f"layer{s}", f"layer{t}", hidden_weight, rngs)
    for s, t in uniform_layers(
        pair.depth("student", "attention"), pair.depth("teacher", "attention")
    ):
        names = f"attention{s}", f"attention{t}"
        _check_heads(pair, *names)
        terms[f"attention{s}"] = Term(
            losses.attention_mse, attention_weight, None, *names, _pairs(causal), present
        )
    if callable(prediction_weight) or prediction_weight:
        terms["kd"] = Term(losses.kd, prediction_weight, temperature, where=_of_logits(pair))
    return Objective(**terms)


def minilm(
    pair: Pair,
    *,
    relation_heads: int | None = None,
    weight: float | Schedule = 1.0,
    causal: bool = False,
) -> Objective:
    """Self-attention of the last layer: relations, which need no equal widths and no projection.

    With `relation_heads` the relations of queries, keys and values (MiniLMv2). Without, the
    attention itself and the relations of values (MiniLM), for networks of as many heads.

    Args:
      pair: the networks; the outputs `queries`, `keys`, `values`, or `attention1`, … and `values`,
        are compared.
      relation_heads: a divisor of both widths; 48 for a teacher of BERT's base size in MiniLMv2.
      weight: of each term.
      causal: whether the networks are decoders.

    Returns:
      An objective with the terms `queries`, `keys` and `values`, or `attention` and `values`.

    Raises:
      ValueError: outputs that are missing, relation_heads that do not divide a width, another
        number of heads without them.

    Reference:
      Wang et al., MiniLM, NeurIPS 2020; Wang et al., MiniLMv2, Findings of ACL 2021.
    """
    if relation_heads is None:
        student = f"attention{pair.depth('student', 'attention')}"
        teacher = f"attention{pair.depth('teacher', 'attention')}"
        _check_heads(pair, student, teacher)
        _check_heads(pair, "values", "values")
        values = Term(losses.relation_kl, weight, None, "values", "values", _pairs(causal), present)
        attention = Term(
            losses.attention_kl, weight, None, student, teacher, _pairs(causal), present
        )
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
        terms[name] = Term(loss, weight, None, name, name, _pairs(causal), present)
    return Objective(**terms)


def _hidden(loss, pair: Pair, student: str, teacher: str, weight, rngs: nnx.Rngs) -> Term:
    """A term of hidden states, with a linear map where the widths differ."""
    widths = pair.width("student", student), pair.width("teacher", teacher)
    linear = connectors.Linear(*widths, rngs=rngs) if widths[0] != widths[1] else None
    return Term(loss, weight, None, student, teacher, linear, present)


def _of_logits(pair: Pair) -> Callable[[Mapping[str, Any]], jax.Array | None] | None:
    """`present` where logits are of tokens; those of whole texts are left to the batch."""
    return present if len(pair.shape("student", "logits")) == 3 else None


def _pairs(causal: bool) -> connectors.TokenPairMask:
    return connectors.TokenPairMask(causal=causal)


def _check_heads(pair: Pair, student: str, teacher: str) -> None:
    heads = pair.shape("student", student)[1], pair.shape("teacher", teacher)[1]
    if heads[0] != heads[1]:
        raise ValueError(
            f"the student's {student!r} has {heads[0]} heads, the teacher's {teacher!r} "
            f"{heads[1]}: build the student with as many, or use minilm with relation_heads"
        )
