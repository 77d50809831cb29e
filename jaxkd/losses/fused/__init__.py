"""Losses of hidden states and head weights, which never hold `[tokens, vocabulary]`."""

from jaxkd.losses.fused.fused_kd import fused_kd as fused_kd
from jaxkd.losses.fused.fused_linear import fused_linear as fused_linear

__all__ = [
    "fused_kd",
    "fused_linear",
]
