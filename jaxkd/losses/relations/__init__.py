"""Losses that compare how the examples of a batch relate to each other."""

from jaxkd.losses.relations._congruence import cc as cc
from jaxkd.losses.relations._congruence import cc_kernel as cc_kernel
from jaxkd.losses.relations._information import itrd as itrd
from jaxkd.losses.relations._information import itrd_correlation as itrd_correlation
from jaxkd.losses.relations._information import itrd_mutual as itrd_mutual
from jaxkd.losses.relations._pkt import pkt as pkt
from jaxkd.losses.relations._rkd import rkd as rkd
from jaxkd.losses.relations._rkd import rkd_angle as rkd_angle
from jaxkd.losses.relations._rkd import rkd_distance as rkd_distance
from jaxkd.losses.relations._similarity import cka as cka
from jaxkd.losses.relations._similarity import sp as sp
