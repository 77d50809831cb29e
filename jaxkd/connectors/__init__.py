"""Connectors: modules trained beside the student that fit its features to the teacher's.

A connector is a Flax NNX module. Give one to a `Term`; its parameters then live, train and are
saved with the student's. A connector returns the student's features, or a dictionary of arguments
for the loss.

Projections of the feature axis:

- `Linear`, `MLP`: vectors and tokens
- `Conv1x1`: feature maps, with normalization if wanted
- `OrthogonalProjection`: a matrix that preserves lengths (VkD)
- `PooledLinear`: a classifier or an embedding on a stage
- `ReducedTeacher`: the teacher's embedding at the student's width, along `PrincipalComponents` that
  `pca` computes; `Linear` may start from them, too

Connectors of one method, named after it:

- `AFD`, `SemCKD`: attention between all layers of both networks
- `CRD`: embeddings and memory banks
- `FactorTransfer`: paraphraser and translator
- `MGD`: generation from masked features
- `OFD`: projection and margin before the activation
- `ReviewKD`: fusion of stages
- `SimKD`, `SRRL`: the teacher's classifier on the student's features
- `VID`: mean and variance of the teacher's features

Combinations and further arguments of a loss:

- `PerStage`: one module for each of several outputs
- `PairedProjection`: one module for each network
- `LearnedScalar`: a learned number, such as a temperature
- `OnPolicyMask`, `TokenPairMask`: masks of rows and of pairs of tokens
"""

from jaxkd.connectors.afd import AFD as AFD
from jaxkd.connectors.composite import PairedProjection as PairedProjection
from jaxkd.connectors.composite import PerStage as PerStage
from jaxkd.connectors.crd import CRD as CRD
from jaxkd.connectors.factor_transfer import FactorTransfer as FactorTransfer
from jaxkd.connectors.learned_scalar import LearnedScalar as LearnedScalar
from jaxkd.connectors.mgd import MGD as MGD
from jaxkd.connectors.ofd import OFD as OFD
from jaxkd.connectors.pca import PrincipalComponents as PrincipalComponents
from jaxkd.connectors.pca import ReducedTeacher as ReducedTeacher
from jaxkd.connectors.pca import pca as pca
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
    "PrincipalComponents",
    "ReducedTeacher",
    "ReviewKD",
    "SRRL",
    "SemCKD",
    "SimKD",
    "TokenPairMask",
    "VID",
    "pca",
]
