"""TinyBERT: embeddings, attention scores and hidden states, layer by layer."""

from flax import nnx

from jaxkd import losses
from jaxkd.connectors import TokenPairMask
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.language._common import (
    check_heads,
    hidden_term,
    logits_mask,
    present,
    uniform_layers,
)


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
    """Matches embeddings, attention scores and hidden states of evenly spread layers.

    Each hidden state of the student goes through a linear map of its own (the authors' code shares
    one). The attention scores need as many heads as the teacher's. By default this is the authors'
    first stage; the second is the logits alone, `token_kd(alpha=1.0)`, as a phase of its own
    (`jaxkd.strategies.run_phases`), or here with weights that are schedules.

    Args:
      pair: the student and its teacher; `layer1`, …, `attention1`, … and `embeddings` are compared.
      hidden_weight: weight of each layer's hidden states.
      attention_weight: weight of each layer's attention scores.
      embedding_weight: weight of the embeddings.
      prediction_weight: weight of the logits' divergence; 0 leaves the term out.
      temperature: temperature of the logits, with the factor T².
      causal: whether the networks are decoders.
      seed: seed of the initial weights of the linear maps.

    Returns:
      An objective with the terms `embeddings`, `hidden1`, …, `attention1`, …, and `kd` if wanted.

    Raises:
      ValueError: outputs that are missing, a student of more layers, another number of heads.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.Encoder(64, 16, 2, 4, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.Encoder(64, 32, 4, 4, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((2, 7), jnp.int32))
      >>> objective = tinybert(pair)
      >>> [(term.student, term.teacher) for term in objective.terms.values()][:3]
      [('embeddings', 'embeddings'), ('layer1', 'layer2'), ('layer2', 'layer4')]

    Reference:
      Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
      2020.
    """
    rngs = nnx.Rngs(seed)
    mse = losses.hidden_mse
    terms = {
        "embeddings": hidden_term(mse, pair, "embeddings", "embeddings", embedding_weight, rngs)
    }
    for s, t in uniform_layers(pair.depth("student", "layer"), pair.depth("teacher", "layer")):
        terms[f"hidden{s}"] = hidden_term(mse, pair, f"layer{s}", f"layer{t}", hidden_weight, rngs)
    for s, t in uniform_layers(
        pair.depth("student", "attention"), pair.depth("teacher", "attention")
    ):
        names = f"attention{s}", f"attention{t}"
        check_heads(pair, *names)
        terms[f"attention{s}"] = Term(
            losses.attention_mse,
            attention_weight,
            None,
            *names,
            TokenPairMask(causal=causal),
            present,
        )
    if callable(prediction_weight) or prediction_weight:
        terms["kd"] = Term(losses.kd, prediction_weight, temperature, where=logits_mask(pair))
    return Objective(**terms)


TINYBERT = Recipe(
    "language.tinybert",
    tinybert,
    "Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP "
    "2020.",
    needs_pair=True,
)
