"""Objectives that people ask for by name, with their authors' defaults.

A recipe for logits needs nothing; one for features or relations takes the `Pair` of networks whose
outputs its connectors must fit. Weights of terms are the authors' for CIFAR; the label's cross
entropy is among the terms. Where a method changes the networks, a function `…_pair` returns them as
the recipe wants them. Where the authors warm a loss up or have an initial stage, `steps=` (of
the whole training) gives it the share of the schedule that it has in theirs; without it there is
none. Recipes for text are in the room `language`.
"""

from jaxkd.recipes import language as language
from jaxkd.recipes._adapted import ctkd as ctkd
from jaxkd.recipes._adapted import sdd as sdd
from jaxkd.recipes._adapted import sdd_pair as sdd_pair
from jaxkd.recipes._adapted import uskd as uskd
from jaxkd.recipes._adapted import wkd_logit as wkd_logit
from jaxkd.recipes._deit import deit as deit
from jaxkd.recipes._features import ab as ab
from jaxkd.recipes._features import at as at
from jaxkd.recipes._features import fitnet as fitnet
from jaxkd.recipes._features import nst as nst
from jaxkd.recipes._features import ofd as ofd
from jaxkd.recipes._features import vid as vid
from jaxkd.recipes._kd import kd as kd
from jaxkd.recipes._kd import labels as labels
from jaxkd.recipes._logits import dist as dist
from jaxkd.recipes._logits import dkd as dkd
from jaxkd.recipes._logits import logit_mse as logit_mse
from jaxkd.recipes._logits import lskd as lskd
from jaxkd.recipes._logits import mlkd as mlkd
from jaxkd.recipes._logits import nkd as nkd
from jaxkd.recipes._logits import rld as rld
from jaxkd.recipes._logits import ttm as ttm
from jaxkd.recipes._logits import wsld as wsld
from jaxkd.recipes._logits import wttm as wttm
from jaxkd.recipes._pair import Pair as Pair
from jaxkd.recipes._projected import cat_kd as cat_kd
from jaxkd.recipes._projected import cat_kd_pair as cat_kd_pair
from jaxkd.recipes._projected import cwd as cwd
from jaxkd.recipes._projected import ickd as ickd
from jaxkd.recipes._projected import mgd as mgd
from jaxkd.recipes._projected import pkd as pkd
from jaxkd.recipes._projected import reviewkd as reviewkd
from jaxkd.recipes._projected import simkd as simkd
from jaxkd.recipes._projected import simkd_pair as simkd_pair
from jaxkd.recipes._projected import srd as srd
from jaxkd.recipes._projected import srrl as srrl
from jaxkd.recipes._projected import vkd as vkd
from jaxkd.recipes._projected import wkd_feature as wkd_feature
from jaxkd.recipes._relations import cc as cc
from jaxkd.recipes._relations import cka as cka
from jaxkd.recipes._relations import crd as crd
from jaxkd.recipes._relations import info_nce as info_nce
from jaxkd.recipes._relations import itrd as itrd
from jaxkd.recipes._relations import pkt as pkt
from jaxkd.recipes._relations import rkd as rkd
from jaxkd.recipes._relations import sp as sp
from jaxkd.recipes._several import afd as afd
from jaxkd.recipes._several import fsp as fsp
from jaxkd.recipes._several import ft as ft
from jaxkd.recipes._several import kdsvd as kdsvd
from jaxkd.recipes._several import ofa as ofa
from jaxkd.recipes._several import semckd as semckd
