"""Methods by name: losses, connectors, weights and schedules, with their authors' defaults.

`create` applies a method to a student and its teacher by name and returns all that a training
needs; `names` lists the methods, and `get` returns what is declared of one: its options, its
reference, and what it needs. Every method but `dot`, which is `kd` under `jaxkd.training.dot`, is
also a function (those for text in `language`) that returns the objective:

  >>> import jaxkd
  >>> objective = jaxkd.recipes.dkd(beta=2.0)
  >>> method = jaxkd.recipes.create("dkd", beta=2.0)
  >>> list(objective.terms) == list(method.objective.terms)
  True

Methods by what they compare:

- Nothing but labels: `labels` (the baseline), and `uskd`, the student with itself.
- Logits: `kd`, `dkd`, `dist`, `nkd`, `wsld`, `ttm`, `wttm`, `lskd`, `mlkd`, `rld`, `logit_mse`,
  `ctkd`, `sdd`, `wkd_logit`, `deit`, and `dot`, which is `kd` under an optimizer of its own.
- Feature maps: `fitnet`, `at`, `nst`, `vid`, `ab`, `ofd`, `reviewkd`, `simkd`, `srrl`, `cat_kd`,
  `mgd`, `ickd`, `cwd`, `pkd`, `wkd_feature`, `sp`, `semckd`, `afd`, `fsp`, `kdsvd`, `ft`, `ofa`.
- Embeddings: `srd`, `vkd`, `rkd`, `pkt`, `cka`, `cc`, `itrd`, `crd`, `info_nce`.
- Yes or no, one sigmoid or several: `binary_kd`. Values: `regression_kd`, `gaussian_kd`.
  Pixels: `dense_kd`. Lists of candidates: `ranking_kd`. Embeddings of any width: `embedding_kd`.
- Tokens, hidden states and attention: the methods for text in the package `language`, by name
  `language.gkd`, `language.tinybert`, and so on.

A method on logits needs nothing; one on features or relations takes the `Pair` of networks whose
outputs its connectors must fit. Weights of terms are the authors' for CIFAR; the cross entropy with
the labels is among the terms. Where the authors warm a loss up or have an initial stage, `steps=`
(of the whole training) gives it the share of the schedule that it has in theirs; without it there
is none. Where a method changes the networks, `create` does it; by hand it is
`Pair.with_class_maps` (`cat_kd`, `sdd`) or `with_teacher_classifier` (`simkd`).
"""

from jaxkd.recipes import language as language
from jaxkd.recipes._pair import Pair as Pair
from jaxkd.recipes._recipe import Recipe as Recipe
from jaxkd.recipes._registry import AppliedRecipe as AppliedRecipe
from jaxkd.recipes._registry import create as create
from jaxkd.recipes._registry import get as get
from jaxkd.recipes._registry import names as names
from jaxkd.recipes.ab import ab as ab
from jaxkd.recipes.afd import afd as afd
from jaxkd.recipes.at import at as at
from jaxkd.recipes.binary_kd import binary_kd as binary_kd
from jaxkd.recipes.cat_kd import cat_kd as cat_kd
from jaxkd.recipes.cc import cc as cc
from jaxkd.recipes.cka import cka as cka
from jaxkd.recipes.crd import crd as crd
from jaxkd.recipes.ctkd import ctkd as ctkd
from jaxkd.recipes.cwd import cwd as cwd
from jaxkd.recipes.deit import deit as deit
from jaxkd.recipes.dense_kd import dense_kd as dense_kd
from jaxkd.recipes.dist import dist as dist
from jaxkd.recipes.dkd import dkd as dkd
from jaxkd.recipes.embedding_kd import embedding_kd as embedding_kd
from jaxkd.recipes.fitnet import fitnet as fitnet
from jaxkd.recipes.fsp import fsp as fsp
from jaxkd.recipes.ft import ft as ft
from jaxkd.recipes.gaussian_kd import gaussian_kd as gaussian_kd
from jaxkd.recipes.ickd import ickd as ickd
from jaxkd.recipes.info_nce import info_nce as info_nce
from jaxkd.recipes.itrd import itrd as itrd
from jaxkd.recipes.kd import kd as kd
from jaxkd.recipes.kdsvd import kdsvd as kdsvd
from jaxkd.recipes.labels import labels as labels
from jaxkd.recipes.logit_mse import logit_mse as logit_mse
from jaxkd.recipes.lskd import lskd as lskd
from jaxkd.recipes.mgd import mgd as mgd
from jaxkd.recipes.mlkd import mlkd as mlkd
from jaxkd.recipes.nkd import nkd as nkd
from jaxkd.recipes.nkd import uskd as uskd
from jaxkd.recipes.nst import nst as nst
from jaxkd.recipes.ofa import ofa as ofa
from jaxkd.recipes.ofd import ofd as ofd
from jaxkd.recipes.pkd import pkd as pkd
from jaxkd.recipes.pkt import pkt as pkt
from jaxkd.recipes.ranking_kd import ranking_kd as ranking_kd
from jaxkd.recipes.regression_kd import regression_kd as regression_kd
from jaxkd.recipes.reviewkd import reviewkd as reviewkd
from jaxkd.recipes.rkd import rkd as rkd
from jaxkd.recipes.rld import rld as rld
from jaxkd.recipes.sdd import sdd as sdd
from jaxkd.recipes.semckd import semckd as semckd
from jaxkd.recipes.simkd import simkd as simkd
from jaxkd.recipes.simkd import with_teacher_classifier as with_teacher_classifier
from jaxkd.recipes.sp import sp as sp
from jaxkd.recipes.srd import srd as srd
from jaxkd.recipes.srrl import srrl as srrl
from jaxkd.recipes.ttm import ttm as ttm
from jaxkd.recipes.ttm import wttm as wttm
from jaxkd.recipes.vid import vid as vid
from jaxkd.recipes.vkd import vkd as vkd
from jaxkd.recipes.wkd import wkd_feature as wkd_feature
from jaxkd.recipes.wkd import wkd_logit as wkd_logit
from jaxkd.recipes.wsld import wsld as wsld

__all__ = [
    "AppliedRecipe",
    "Pair",
    "Recipe",
    "ab",
    "afd",
    "at",
    "binary_kd",
    "cat_kd",
    "cc",
    "cka",
    "crd",
    "create",
    "ctkd",
    "cwd",
    "deit",
    "dense_kd",
    "dist",
    "dkd",
    "embedding_kd",
    "fitnet",
    "fsp",
    "ft",
    "gaussian_kd",
    "get",
    "ickd",
    "info_nce",
    "itrd",
    "kd",
    "kdsvd",
    "labels",
    "language",
    "logit_mse",
    "lskd",
    "mgd",
    "mlkd",
    "names",
    "nkd",
    "nst",
    "ofa",
    "ofd",
    "pkd",
    "pkt",
    "ranking_kd",
    "regression_kd",
    "reviewkd",
    "rkd",
    "rld",
    "sdd",
    "semckd",
    "simkd",
    "sp",
    "srd",
    "srrl",
    "ttm",
    "uskd",
    "vid",
    "vkd",
    "with_teacher_classifier",
    "wkd_feature",
    "wkd_logit",
    "wsld",
    "wttm",
]
