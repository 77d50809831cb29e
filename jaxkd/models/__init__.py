"""Networks for teachers and students, in Flax NNX, channels last.

Each returns logits; inner features are reached by the paths of its submodules, as in
`jaxkd.from_nnx(model, features={"stage3": "stages.2"})`.
"""

from jaxkd.models._resnet import ResNet as ResNet
from jaxkd.models._small import CNN as CNN
from jaxkd.models._small import MLP as MLP
from jaxkd.models._small import max_pool as max_pool
