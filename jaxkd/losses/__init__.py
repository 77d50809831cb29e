"""Pure losses of knowledge distillation, in packages by what they compare.

A loss is called `loss(student, teacher, *, temperature=1.0, axis=-1, where=None)` and returns one
number an example, float32 at least; `masked_mean` reduces them. Losses that couple the examples of
a batch return a scalar and say so. No gradient reaches the teacher; `cc`, `crd` and `info_nce`,
whose recipes train an embedding of it, let one through with `learned_teacher=True`. The
divergences, `kd`, `hard_kd` and `adaptive_kl` also take `SparseLogits` as `teacher`, its k largest
logits with the mass of all others; `kl_divergence` and `kd` also `SampledClasses`, classes sampled
from the teacher. Feature maps are `[batch, height, width, channels]`.

All losses are names of this module. Its packages, whose help also lists their helpers, hold:

- `divergences`, of class distributions: `kl_divergence`, `reverse_kl_divergence`,
  `symmetric_kl_divergence`, `js_divergence`, `skew_kl_divergence`, `skew_reverse_kl_divergence`,
  `total_variation`.
- `logits`: `kd`, `hard_kd`, `logit_mse`, `lskd`, `ttm`, `wttm`, `sinkhorn_distance`; with labels
  `dkd`, `nkd`, `uskd`, `ofa`, `rld`, `sdd`, `wkd_logit`, `wsld`; of whole batches `dist`, `mlkd`,
  `mlkd_batch`, `mlkd_class`, `mlkd_two_views`.
- `binary`, one number for each entry, with a sigmoid of its own: `binary_kd`,
  `binary_cross_entropy`.
- `regression`, one number for each value: `regression_kd`, `gaussian_kl`; with labels
  `squared_error`, `huber_loss`, `gaussian_nll`, `bounded_regression`.
- `features`, of single examples: `ab`, `afd`, `at`, `cat_kd`, `cwd`, `feature_cosine`,
  `feature_mse`, `fsp`, `ft`, `hcl`, `ickd`, `kdsvd`, `mgd`, `nst`, `ofd`, `pkd`, `semckd`, `srd`,
  `srd_correlation`, `srrl`, `sskd_similarity`, `sskd_transformed`, `vid`, `vkd`, `wkd_feature`.
- `relations`, among the examples of a batch: `cc`, `cc_kernel`, `cka`, `itrd`, `itrd_correlation`,
  `itrd_mutual`, `pkt`, `rkd`, `rkd_angle`, `rkd_distance`, `sp`.
- `contrastive`: `crd`, `info_nce`.
- `ranking`, of lists of candidates: `listnet`, `listwise_kl`, `margin_mse`.
- `language`, on tokens: `adaptive_kl`, `attention_kl`, `attention_mse`, `relation_kl`,
  `hidden_cosine`, `hidden_mse`, `uld`, `uld_from_log_probs`, `hybrid_uld`, `sampled_kl`,
  `sampled_reverse_kl`, `minillm_long`, `policy_gradient`.
- `fused`, of hidden states and a head, without logits in memory: `fused_linear`, `fused_kd`.

Beside them: `cross_entropy` with labels, `masked_mean`, `masked_sum_and_count`; `over_stages`, the
sum of a loss over several stages, `matryoshka`, that over prefixes of an embedding, and
`class_weighted`, which weighs examples, tokens or pixels by their class; `couples_examples` and
`returns_sum_and_count` declare what a loss of your own returns.
"""

from jaxkd.losses import (
    binary,
    contrastive,
    divergences,
    features,
    fused,
    language,
    logits,
    ranking,
    regression,
    relations,
)
from jaxkd.losses._kinds import couples_examples as couples_examples
from jaxkd.losses._kinds import returns_sum_and_count as returns_sum_and_count
from jaxkd.losses._reduce import masked_mean as masked_mean
from jaxkd.losses._reduce import masked_sum_and_count as masked_sum_and_count
from jaxkd.losses._sampled_classes import SampledClasses as SampledClasses
from jaxkd.losses._sparse_logits import SparseLogits as SparseLogits
from jaxkd.losses.binary import *  # noqa: F403
from jaxkd.losses.class_weighted import class_weighted as class_weighted
from jaxkd.losses.contrastive import *  # noqa: F403
from jaxkd.losses.cross_entropy import cross_entropy as cross_entropy
from jaxkd.losses.divergences import *  # noqa: F403
from jaxkd.losses.features import *  # noqa: F403
from jaxkd.losses.fused import *  # noqa: F403
from jaxkd.losses.language import *  # noqa: F403
from jaxkd.losses.logits import *  # noqa: F403
from jaxkd.losses.matryoshka import matryoshka as matryoshka
from jaxkd.losses.over_stages import over_stages as over_stages
from jaxkd.losses.ranking import *  # noqa: F403
from jaxkd.losses.regression import *  # noqa: F403
from jaxkd.losses.relations import *  # noqa: F403

__all__ = [
    "SampledClasses",
    "SparseLogits",
    "class_weighted",
    "couples_examples",
    "cross_entropy",
    "masked_mean",
    "masked_sum_and_count",
    "matryoshka",
    "over_stages",
    "returns_sum_and_count",
    *binary.__all__,
    *contrastive.__all__,
    *divergences.__all__,
    *features.__all__,
    *fused.__all__,
    *language.__all__,
    *logits.__all__,
    *ranking.__all__,
    *regression.__all__,
    *relations.__all__,
]
