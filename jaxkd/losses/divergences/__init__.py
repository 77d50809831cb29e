"""Divergences between the two distributions over classes."""

from jaxkd.losses.divergences.js_divergence import js_divergence as js_divergence
from jaxkd.losses.divergences.kl_divergence import kl_divergence as kl_divergence
from jaxkd.losses.divergences.reverse_kl_divergence import (
    reverse_kl_divergence as reverse_kl_divergence,
)
from jaxkd.losses.divergences.skew_kl_divergence import skew_kl_divergence as skew_kl_divergence
from jaxkd.losses.divergences.skew_kl_divergence import (
    skew_reverse_kl_divergence as skew_reverse_kl_divergence,
)
from jaxkd.losses.divergences.symmetric_kl_divergence import (
    symmetric_kl_divergence as symmetric_kl_divergence,
)
from jaxkd.losses.divergences.total_variation import total_variation as total_variation

__all__ = [
    "js_divergence",
    "kl_divergence",
    "reverse_kl_divergence",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "symmetric_kl_divergence",
    "total_variation",
]
