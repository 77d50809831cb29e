"""Pure losses of knowledge distillation, in rooms by what they compare.

A loss is called `loss(student, teacher, *, temperature=1.0, axis=-1, where=None)` and returns one
number an example, float32 at least; `masked_mean` reduces them. Losses that couple the examples of
a batch return a scalar and say so. No gradient flows to the teacher unless `teacher_gradient=True`
asks for it. The divergences and `kd` also take `SparseLogits`, a teacher's k largest logits with
the mass of the rest, as `teacher`; `kl_divergence` and `kd` also `SampledClasses`, classes drawn
from the teacher. `fused_linear` makes of a loss on logits one on hidden states and head weights,
which returns a sum and a count. Feature maps are `[batch, height, width, channels]`.
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
