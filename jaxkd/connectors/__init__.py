"""Connectors: what is trained beside the student so that its features fit the teacher's.

Flax NNX modules that act on the feature axis alone. Give one to a `Term`; its parameters then live,
train and are saved with the student's.
"""

from jaxkd.connectors.afd import AFD as AFD
from jaxkd.connectors.composite import PairedProjection as PairedProjection
from jaxkd.connectors.composite import PerStage as PerStage
from jaxkd.connectors.crd import CRD as CRD
from jaxkd.connectors.factor_transfer import FactorTransfer as FactorTransfer
from jaxkd.connectors.learned_scalar import LearnedScalar as LearnedScalar
from jaxkd.connectors.mgd import MGD as MGD
from jaxkd.connectors.ofd import OFD as OFD
from jaxkd.connectors.projections import MLP as MLP
from jaxkd.connectors.projections import Conv1x1 as Conv1x1
from jaxkd.connectors.projections import Linear as Linear
from jaxkd.connectors.projections import OrthogonalProjection as OrthogonalProjection
from jaxkd.connectors.projections import PooledLinear as PooledLinear
from jaxkd.connectors.review_kd import ReviewKD as ReviewKD
from jaxkd.connectors.semckd import SemCKD as SemCKD
from jaxkd.connectors.simkd import SimKD as SimKD
from jaxkd.connectors.srrl import SRRL as SRRL
from jaxkd.connectors.token_masks import OnPolicyMask as OnPolicyMask
from jaxkd.connectors.token_masks import TokenPairMask as TokenPairMask
from jaxkd.connectors.vid import VID as VID

__all__ = [
    "AFD",
    "CRD",
    "Conv1x1",
    "FactorTransfer",
    "LearnedScalar",
    "Linear",
    "MGD",
    "MLP",
    "OFD",
    "OnPolicyMask",
    "OrthogonalProjection",
    "PairedProjection",
    "PerStage",
    "PooledLinear",
    "ReviewKD",
    "SRRL",
    "SemCKD",
    "SimKD",
    "TokenPairMask",
    "VID",
]
