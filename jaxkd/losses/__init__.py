"""Pure losses of knowledge distillation, in packages by what they compare.

A loss is called `loss(student, teacher, *, temperature=1.0, axis=-1, where=None)` and returns one
number an example, float32 at least; `masked_mean` reduces them. Losses that couple the examples of
a batch return a scalar and say so. No gradient reaches the teacher; `cc`, `crd` and `info_nce`,
whose recipes train an embedding of it, let one through with `learned_teacher=True`. The divergences
and `kd` also take `SparseLogits`, a teacher's k largest logits with the mass of all others, as
`teacher`; `kl_divergence` and `kd` also `SampledClasses`, classes sampled from the teacher. Feature
maps are `[batch, height, width, channels]`.
"""

from jaxkd.losses._reduce import masked_mean as masked_mean
from jaxkd.losses._reduce import masked_sum_and_count as masked_sum_and_count
from jaxkd.losses._sampled_classes import SampledClasses as SampledClasses
from jaxkd.losses._sparse_logits import SparseLogits as SparseLogits
from jaxkd.losses.contrastive import *  # noqa: F403
from jaxkd.losses.cross_entropy import cross_entropy as cross_entropy
from jaxkd.losses.divergences import *  # noqa: F403
from jaxkd.losses.features import *  # noqa: F403
from jaxkd.losses.fused import *  # noqa: F403
from jaxkd.losses.language import *  # noqa: F403
from jaxkd.losses.logits import *  # noqa: F403
from jaxkd.losses.over_stages import over_stages as over_stages
from jaxkd.losses.relations import *  # noqa: F403
