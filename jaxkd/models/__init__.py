"""Networks for teachers and students, in Flax NNX, channels last.

Each returns `(logits, features)`: the maps of its stages before (`preact1`, …) and after
(`stage1`, …) the activation, and `embedding`, what its last layer sees. What nobody uses is
compiled away.
"""

from jaxkd.models._resnet import ResNet as ResNet
from jaxkd.models._small import CNN as CNN
from jaxkd.models._small import MLP as MLP
from jaxkd.models._small import ConvNet as ConvNet
from jaxkd.models._small import max_pool as max_pool
