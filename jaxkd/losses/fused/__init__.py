"""Losses of hidden states and head weights, which never hold `[tokens, vocabulary]`."""

from jaxkd.losses.fused._kd import fused_kd as fused_kd
from jaxkd.losses.fused._linear import fused_linear as fused_linear
