"""Losses that contrast an example's pair of embeddings with other pairs, and their memory banks.

- `crd`: contrastive representation distillation against rows of memory banks.
- `info_nce`: contrast within the batch, without a bank.

The banks of `crd`: `update_bank`, `crd_normalizer`, `NegativePool`, `negative_pool`,
`sample_negatives`.
"""

from jaxkd.losses.contrastive.crd import crd as crd
from jaxkd.losses.contrastive.info_nce import info_nce as info_nce
from jaxkd.ops.banks import NegativePool as NegativePool
from jaxkd.ops.banks import crd_normalizer as crd_normalizer
from jaxkd.ops.banks import negative_pool as negative_pool
from jaxkd.ops.banks import sample_negatives as sample_negatives
from jaxkd.ops.banks import update_bank as update_bank

__all__ = [
    "NegativePool",
    "crd",
    "crd_normalizer",
    "sample_negatives",
    "info_nce",
    "negative_pool",
    "update_bank",
]
