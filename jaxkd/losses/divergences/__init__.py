"""Divergences between the two distributions over classes."""

from jaxkd.losses.divergences._kl import kl_divergence as kl_divergence
from jaxkd.losses.divergences._kl import reverse_kl_divergence as reverse_kl_divergence
from jaxkd.losses.divergences._kl import symmetric_kl_divergence as symmetric_kl_divergence
from jaxkd.losses.divergences._kl import total_variation as total_variation
from jaxkd.losses.divergences._mixtures import js_divergence as js_divergence
from jaxkd.losses.divergences._mixtures import skew_kl_divergence as skew_kl_divergence
from jaxkd.losses.divergences._mixtures import (
    skew_reverse_kl_divergence as skew_reverse_kl_divergence,
)
