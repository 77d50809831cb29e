"""Losses that tell an example's own pair of embeddings from other pairs, and their memory banks."""

from jaxkd.banks import NegativePool as NegativePool
from jaxkd.banks import crd_normalizer as crd_normalizer
from jaxkd.banks import draw_negatives as draw_negatives
from jaxkd.banks import negative_pool as negative_pool
from jaxkd.banks import update_bank as update_bank
from jaxkd.losses.contrastive._crd import crd as crd
from jaxkd.losses.contrastive._info_nce import info_nce as info_nce
