"""Losses on tokens that the other rooms do not have: of logits, hidden states and attention."""

from jaxkd.losses.language._adaptive import adaptive_kl as adaptive_kl
from jaxkd.losses.language._alignment import align_by_bytes as align_by_bytes
from jaxkd.losses.language._alignment import align_by_position as align_by_position
from jaxkd.losses.language._alignment import chunk_log_probs as chunk_log_probs
from jaxkd.losses.language._attention import attention_kl as attention_kl
from jaxkd.losses.language._attention import attention_mse as attention_mse
from jaxkd.losses.language._attention import relation_kl as relation_kl
from jaxkd.losses.language._hidden import hidden_cosine as hidden_cosine
from jaxkd.losses.language._hidden import hidden_mse as hidden_mse
from jaxkd.losses.language._policy import length_normalized_returns as length_normalized_returns
from jaxkd.losses.language._policy import policy_gradient as policy_gradient
from jaxkd.losses.language._policy import reverse_kl_advantage as reverse_kl_advantage
from jaxkd.losses.language._policy import whiten as whiten
from jaxkd.losses.language._sampled import sampled_kl as sampled_kl
from jaxkd.losses.language._universal import hybrid_uld as hybrid_uld
from jaxkd.losses.language._universal import uld as uld
from jaxkd.losses.language._universal import uld_from_log_probs as uld_from_log_probs
from jaxkd.losses.language._written import minillm_long as minillm_long
from jaxkd.losses.language._written import sampled_reverse_kl as sampled_reverse_kl
