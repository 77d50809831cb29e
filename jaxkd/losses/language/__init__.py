"""Losses on tokens: of logits, hidden states and attention."""

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
