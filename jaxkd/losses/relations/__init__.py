"""Losses that compare how the examples of a batch relate to each other.

They couple the examples of the batch and return a scalar; the widths of student and teacher may
differ unless it is said otherwise.

- `cc`, `cc_kernel`: correlation congruence, as in the authors' code and as in their paper.
- `cka`: centered kernel alignment.
- `itrd`, `itrd_correlation`, `itrd_mutual`: information-theoretic representation distillation.
- `pkt`: probabilistic knowledge transfer.
- `rkd`, `rkd_distance`, `rkd_angle`: relational knowledge distillation.
- `sp`: similarity-preserving distillation.
"""

from jaxkd.losses.relations.cc import cc as cc
from jaxkd.losses.relations.cc import cc_kernel as cc_kernel
from jaxkd.losses.relations.cka import cka as cka
from jaxkd.losses.relations.itrd import itrd as itrd
from jaxkd.losses.relations.itrd import itrd_correlation as itrd_correlation
from jaxkd.losses.relations.itrd import itrd_mutual as itrd_mutual
from jaxkd.losses.relations.pkt import pkt as pkt
from jaxkd.losses.relations.rkd import rkd as rkd
from jaxkd.losses.relations.rkd import rkd_angle as rkd_angle
from jaxkd.losses.relations.rkd import rkd_distance as rkd_distance
from jaxkd.losses.relations.sp import sp as sp

__all__ = [
    "cc",
    "cc_kernel",
    "cka",
    "itrd",
    "itrd_correlation",
    "itrd_mutual",
    "pkt",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "sp",
]
