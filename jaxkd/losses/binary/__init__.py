"""Losses of decisions between yes and no: one logit an entry, each with a sigmoid of its own.

For networks with one logit (`[batch]` or `[batch, 1]`) and for several classes of which an example
may have any number (`[batch, num_classes]`); they return one number for each entry.

- `binary_cross_entropy`, with labels 0, 1 or -1 (unknown).
- `binary_kd`, with a teacher.
"""

from jaxkd.losses.binary.binary_cross_entropy import binary_cross_entropy as binary_cross_entropy
from jaxkd.losses.binary.binary_kd import binary_kd as binary_kd

__all__ = ["binary_cross_entropy", "binary_kd"]
