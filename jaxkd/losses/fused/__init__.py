"""Losses on hidden states and head weights, which never hold logits `[tokens, vocabulary]`.

- `fused_linear`: converts a loss on logits
- `fused_kd`: distillation and cross entropy in one pass over the head
"""

from jaxkd.losses.fused.fused_kd import fused_kd as fused_kd
from jaxkd.losses.fused.fused_linear import fused_linear as fused_linear

__all__ = [
    "fused_kd",
    "fused_linear",
]
