"""Losses that tell an example's own pair of embeddings from other pairs, and their memory banks."""

from jaxkd.losses.contrastive.crd import crd as crd
from jaxkd.losses.contrastive.info_nce import info_nce as info_nce
from jaxkd.ops.banks import NegativePool as NegativePool
from jaxkd.ops.banks import crd_normalizer as crd_normalizer
from jaxkd.ops.banks import draw_negatives as draw_negatives
from jaxkd.ops.banks import negative_pool as negative_pool
from jaxkd.ops.banks import update_bank as update_bank

__all__ = [
    "NegativePool",
    "crd",
    "crd_normalizer",
    "draw_negatives",
    "info_nce",
    "negative_pool",
    "update_bank",
]
