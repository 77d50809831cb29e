"""Divergences between the class distributions of student and teacher.

Throughout, p is the teacher's softmax and q the student's, both at the given temperature. None of
them has Hinton's factor `temperature**2`, which keeps gradients comparable across temperatures:
`kd` has it.

- `kl_divergence`: forward, KL(p || q).
- `reverse_kl_divergence`: reverse, KL(q || p).
- `symmetric_kl_divergence`: the mean of both.
- `js_divergence`: generalized Jensen-Shannon divergence.
- `skew_kl_divergence`, `skew_reverse_kl_divergence`: bounded by a share of the other distribution.
- `total_variation`: half the sum of absolute differences.
"""

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
