"""Losses that compare what single examples look like inside the two networks."""

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
