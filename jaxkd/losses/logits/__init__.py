"""Losses that compare logits and know about classes, labels and temperatures."""

from jaxkd.losses.logits._correlation import dist as dist
from jaxkd.losses.logits._curriculum import curriculum_schedule as curriculum_schedule
from jaxkd.losses.logits._curriculum import reverse_gradient as reverse_gradient
from jaxkd.losses.logits._decoupled import dkd as dkd
from jaxkd.losses.logits._hard import hard_kd as hard_kd
from jaxkd.losses.logits._kd import kd as kd
from jaxkd.losses.logits._kd import logit_mse as logit_mse
from jaxkd.losses.logits._multi_level import mlkd as mlkd
from jaxkd.losses.logits._multi_level import mlkd_batch as mlkd_batch
from jaxkd.losses.logits._multi_level import mlkd_class as mlkd_class
from jaxkd.losses.logits._multi_level import mlkd_two_views as mlkd_two_views
from jaxkd.losses.logits._normalized import nkd as nkd
from jaxkd.losses.logits._normalized import uskd as uskd
from jaxkd.losses.logits._ofa import ofa as ofa
from jaxkd.losses.logits._refined import rld as rld
from jaxkd.losses.logits._scale_decoupled import sdd as sdd
from jaxkd.losses.logits._standardization import lskd as lskd
from jaxkd.losses.logits._standardization import standardize_logits as standardize_logits
from jaxkd.losses.logits._wasserstein import class_distances as class_distances
from jaxkd.losses.logits._wasserstein import sinkhorn_distance as sinkhorn_distance
from jaxkd.losses.logits._wasserstein import wkd_logit as wkd_logit
from jaxkd.losses.logits._weighted import ttm as ttm
from jaxkd.losses.logits._weighted import wsld as wsld
from jaxkd.losses.logits._weighted import wttm as wttm
