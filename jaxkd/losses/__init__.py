"""Pure losses of knowledge distillation.

A loss is called `loss(student, teacher, *, temperature=1.0, axis=-1, where=None)` and returns one
number an example, float32 at least; `masked_mean` reduces them. No gradient flows to the teacher
unless `teacher_gradient=True` asks for it. The divergences and `kd` also take `SparseLogits`, a
teacher's k largest logits with the mass of the rest, as `teacher`.
"""

from jaxkd.losses._divergences import kl_divergence as kl_divergence
from jaxkd.losses._divergences import reverse_kl_divergence as reverse_kl_divergence
from jaxkd.losses._divergences import symmetric_kl_divergence as symmetric_kl_divergence
from jaxkd.losses._divergences import total_variation as total_variation
from jaxkd.losses._features import feature_cosine as feature_cosine
from jaxkd.losses._features import feature_mse as feature_mse
from jaxkd.losses._labels import cross_entropy as cross_entropy
from jaxkd.losses._logits import kd as kd
from jaxkd.losses._logits import logit_mse as logit_mse
from jaxkd.losses._mixtures import js_divergence as js_divergence
from jaxkd.losses._mixtures import skew_kl_divergence as skew_kl_divergence
from jaxkd.losses._mixtures import skew_reverse_kl_divergence as skew_reverse_kl_divergence
from jaxkd.losses._reduce import masked_mean as masked_mean
from jaxkd.losses._reduce import masked_sum_and_count as masked_sum_and_count
from jaxkd.losses._sparse import SparseLogits as SparseLogits
