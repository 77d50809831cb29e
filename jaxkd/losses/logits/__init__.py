"""Losses that compare logits and know about classes, labels and temperatures.

Of student and teacher alone:

- `kd`: Hinton's distillation loss.
- `hard_kd`: cross entropy with the teacher's likeliest class.
- `logit_mse`: squared differences of logits.
- `lskd`: standardized logits, from `standardize_logits`.
- `ttm`, `wttm`: transformed teacher matching, and weighted.
- `sinkhorn_distance`: Wasserstein distance, with costs from `class_distances`.

With labels:

- `dkd`: decoupled distillation.
- `nkd`: normalized distillation; `uskd`: the same without a teacher.
- `ofa`: one for all, with an enhanced label's class.
- `rld`: refined logits.
- `sdd`: any of these on regions of the image.
- `wkd_logit`: Wasserstein distance of the classes other than the label's.
- `wsld`: weighted soft labels.

Coupling the examples of a batch:

- `dist`: correlations of classes and of examples.
- `mlkd`, `mlkd_batch`, `mlkd_class`, `mlkd_two_views`: multi-level distillation.

For a temperature that is learned (CTKD): `reverse_gradient`, `curriculum_schedule`.
"""

from jaxkd.losses.logits.ctkd import curriculum_schedule as curriculum_schedule
from jaxkd.losses.logits.ctkd import reverse_gradient as reverse_gradient
from jaxkd.losses.logits.dist import dist as dist
from jaxkd.losses.logits.dkd import dkd as dkd
from jaxkd.losses.logits.hard_kd import hard_kd as hard_kd
from jaxkd.losses.logits.kd import kd as kd
from jaxkd.losses.logits.logit_mse import logit_mse as logit_mse
from jaxkd.losses.logits.lskd import lskd as lskd
from jaxkd.losses.logits.lskd import standardize_logits as standardize_logits
from jaxkd.losses.logits.mlkd import mlkd as mlkd
from jaxkd.losses.logits.mlkd import mlkd_batch as mlkd_batch
from jaxkd.losses.logits.mlkd import mlkd_class as mlkd_class
from jaxkd.losses.logits.mlkd import mlkd_two_views as mlkd_two_views
from jaxkd.losses.logits.nkd import nkd as nkd
from jaxkd.losses.logits.ofa import ofa as ofa
from jaxkd.losses.logits.rld import rld as rld
from jaxkd.losses.logits.sdd import sdd as sdd
from jaxkd.losses.logits.ttm import ttm as ttm
from jaxkd.losses.logits.ttm import wttm as wttm
from jaxkd.losses.logits.uskd import uskd as uskd
from jaxkd.losses.logits.wkd_logit import class_distances as class_distances
from jaxkd.losses.logits.wkd_logit import sinkhorn_distance as sinkhorn_distance
from jaxkd.losses.logits.wkd_logit import wkd_logit as wkd_logit
from jaxkd.losses.logits.wsld import wsld as wsld

__all__ = [
    "class_distances",
    "curriculum_schedule",
    "dist",
    "dkd",
    "hard_kd",
    "kd",
    "logit_mse",
    "lskd",
    "mlkd",
    "mlkd_batch",
    "mlkd_class",
    "mlkd_two_views",
    "nkd",
    "ofa",
    "reverse_gradient",
    "rld",
    "sdd",
    "sinkhorn_distance",
    "standardize_logits",
    "ttm",
    "uskd",
    "wkd_logit",
    "wsld",
    "wttm",
]
