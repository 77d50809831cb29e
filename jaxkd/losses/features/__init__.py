"""Losses that compare intermediate features of single examples, one loss per example.

Features are maps `[batch, height, width, channels]`, tokens `[batch, tokens, width]` or vectors
`[batch, width]`. Where widths differ, a connector maps the student's to the teacher's.

Features of the same shape:

- `feature_mse`, `feature_cosine`: hints
- `mgd`: features generated from masked ones
- `ab`, `ofd`: features before the activation (`ofd_margin` computes the margin)
- `hcl`: several resolutions (ReviewKD)
- `vid`: Gaussian likelihood (`vid_variance` and `vid_log_scale` map its parameter)

Statistics over positions or channels:

- `at`, `ft`, `cat_kd`: attention, factor and class activation maps
- `cwd`, `pkd`, `ickd`: channels as distributions, by correlation, and between each other
- `nst`, `wkd_feature`: distributions of features
- `srrl`, `vkd`: pooled features
- `srd`, `srd_correlation`: embeddings, normalized over the batch

Several layers or views:

- `fsp` (with `fsp_matrix`), `kdsvd`: the relation between two layers
- `semckd`, `afd`: all pairs of layers, weighted by attention
- `sskd_transformed`, `sskd_similarity`: transformed views of an image

`pkd`, `srd`, `srd_correlation` and the losses of SSKD couple the examples of a batch and return a
scalar.
"""

from jaxkd.losses.features.ab import ab as ab
from jaxkd.losses.features.afd import afd as afd
from jaxkd.losses.features.at import at as at
from jaxkd.losses.features.cat_kd import cat_kd as cat_kd
from jaxkd.losses.features.cwd import cwd as cwd
from jaxkd.losses.features.feature_cosine import feature_cosine as feature_cosine
from jaxkd.losses.features.feature_mse import feature_mse as feature_mse
from jaxkd.losses.features.fsp import fsp as fsp
from jaxkd.losses.features.fsp import fsp_matrix as fsp_matrix
from jaxkd.losses.features.ft import ft as ft
from jaxkd.losses.features.hcl import hcl as hcl
from jaxkd.losses.features.ickd import ickd as ickd
from jaxkd.losses.features.kdsvd import kdsvd as kdsvd
from jaxkd.losses.features.mgd import mgd as mgd
from jaxkd.losses.features.nst import nst as nst
from jaxkd.losses.features.ofd import ofd as ofd
from jaxkd.losses.features.ofd import ofd_margin as ofd_margin
from jaxkd.losses.features.pkd import pkd as pkd
from jaxkd.losses.features.semckd import semckd as semckd
from jaxkd.losses.features.srd import srd as srd
from jaxkd.losses.features.srd import srd_correlation as srd_correlation
from jaxkd.losses.features.srrl import srrl as srrl
from jaxkd.losses.features.sskd import sskd_similarity as sskd_similarity
from jaxkd.losses.features.sskd import sskd_transformed as sskd_transformed
from jaxkd.losses.features.vid import vid as vid
from jaxkd.losses.features.vid import vid_log_scale as vid_log_scale
from jaxkd.losses.features.vid import vid_variance as vid_variance
from jaxkd.losses.features.vkd import vkd as vkd
from jaxkd.losses.features.wkd_feature import wkd_feature as wkd_feature

__all__ = [
    "ab",
    "afd",
    "at",
    "cat_kd",
    "cwd",
    "feature_cosine",
    "feature_mse",
    "fsp",
    "fsp_matrix",
    "ft",
    "hcl",
    "ickd",
    "kdsvd",
    "mgd",
    "nst",
    "ofd",
    "ofd_margin",
    "pkd",
    "semckd",
    "srd",
    "srd_correlation",
    "srrl",
    "sskd_similarity",
    "sskd_transformed",
    "vid",
    "vid_log_scale",
    "vid_variance",
    "vkd",
    "wkd_feature",
]
