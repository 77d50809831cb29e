"""Connectors: what is trained beside the student so that its features fit the teacher's.

Flax NNX modules that act on the feature axis alone. Give one to a `Term`; its parameters then live,
train and are saved with the student's.
"""

from jaxkd.connectors._attention import AFD as AFD
from jaxkd.connectors._attention import SemCKD as SemCKD
from jaxkd.connectors._contrastive import CRD as CRD
from jaxkd.connectors._generation import MGD as MGD
from jaxkd.connectors._overhaul import OFD as OFD
from jaxkd.connectors._paraphraser import FactorTransfer as FactorTransfer
from jaxkd.connectors._projections import MLP as MLP
from jaxkd.connectors._projections import Conv1x1 as Conv1x1
from jaxkd.connectors._projections import Linear as Linear
from jaxkd.connectors._projections import Orthogonal as Orthogonal
from jaxkd.connectors._reuse import SRRL as SRRL
from jaxkd.connectors._reuse import SimKD as SimKD
from jaxkd.connectors._review import ReviewKD as ReviewKD
from jaxkd.connectors._scalar import LearnedScalar as LearnedScalar
from jaxkd.connectors._stages import Both as Both
from jaxkd.connectors._stages import Each as Each
from jaxkd.connectors._stages import PooledLinear as PooledLinear
from jaxkd.connectors._tokens import OnPolicyMask as OnPolicyMask
from jaxkd.connectors._tokens import TokenPairs as TokenPairs
from jaxkd.connectors._variational import VID as VID
