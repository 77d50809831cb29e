"""Losses on tokens: logits, hidden states, attention and sampled responses, one loss per token.

The divergences of `jaxkd.losses.divergences` apply to tokens as well.

Logits:

- `adaptive_kl`: a mixture of forward and reverse divergence
- `sampled_kl`: an estimate from tokens that the teacher has sampled

Hidden states and attention:

- `hidden_mse`, `hidden_cosine`: hidden states of the same width
- `attention_mse`, `attention_kl`: attention scores of the same number of heads
- `relation_kl`: relations among queries, keys or values, of any number of heads

Models of different vocabularies:

- `uld`, `uld_from_log_probs`, `hybrid_uld`: sorted probabilities
- `align_by_position`, `align_by_bytes`, `chunk_log_probs`: alignment of two tokenizers

Responses that the student has sampled:

- `sampled_reverse_kl`: an estimate of the reverse divergence
- `minillm_long`: the long part of MiniLLM's gradient
- `policy_gradient`, `reverse_kl_advantage`, `length_normalized_returns`, `whiten`: the parts of a
  policy loss
"""

from jaxkd.losses.language.adaptive_kl import adaptive_kl as adaptive_kl
from jaxkd.losses.language.alignment import align_by_bytes as align_by_bytes
from jaxkd.losses.language.alignment import align_by_position as align_by_position
from jaxkd.losses.language.alignment import chunk_log_probs as chunk_log_probs
from jaxkd.losses.language.attention_kl import attention_kl as attention_kl
from jaxkd.losses.language.attention_mse import attention_mse as attention_mse
from jaxkd.losses.language.hidden_cosine import hidden_cosine as hidden_cosine
from jaxkd.losses.language.hidden_mse import hidden_mse as hidden_mse
from jaxkd.losses.language.hybrid_uld import hybrid_uld as hybrid_uld
from jaxkd.losses.language.minillm import length_normalized_returns as length_normalized_returns
from jaxkd.losses.language.minillm import minillm_long as minillm_long
from jaxkd.losses.language.minillm import whiten as whiten
from jaxkd.losses.language.policy_gradient import policy_gradient as policy_gradient
from jaxkd.losses.language.policy_gradient import reverse_kl_advantage as reverse_kl_advantage
from jaxkd.losses.language.relation_kl import relation_kl as relation_kl
from jaxkd.losses.language.sampled_kl import sampled_kl as sampled_kl
from jaxkd.losses.language.sampled_reverse_kl import sampled_reverse_kl as sampled_reverse_kl
from jaxkd.losses.language.uld import uld as uld
from jaxkd.losses.language.uld import uld_from_log_probs as uld_from_log_probs

__all__ = [
    "adaptive_kl",
    "align_by_bytes",
    "align_by_position",
    "attention_kl",
    "attention_mse",
    "chunk_log_probs",
    "hidden_cosine",
    "hidden_mse",
    "hybrid_uld",
    "length_normalized_returns",
    "minillm_long",
    "policy_gradient",
    "relation_kl",
    "reverse_kl_advantage",
    "sampled_kl",
    "sampled_reverse_kl",
    "uld",
    "uld_from_log_probs",
    "whiten",
]
