"""Networks for teachers and students, in Flax NNX, channels last.

Each returns `(logits, features)`; features that nothing uses are compiled away.

Networks of images are made by name: `create` makes one, `names` lists them, and `entry` describes
what was published. Their features are the maps of the stages before (`preact1`, …) and after
(`stage1`, …) the activation, and `embedding`, the input of the last layer.

| family | classes |
| :-- | :-- |
| small | `MLP`, `CNN`, `ConvNet` |
| residual | `ResNet`, `BottleneckResNet`, `ImageNetResNet`, `WideResNet` |
| for mobile devices | `MobileNetV1`, `MobileNetV2`, `CifarMobileNetV2`, `MobileNetV3`, |
| | `CifarShuffleNetV1`, `ShuffleNetV2`, `CifarShuffleNetV2`, `SqueezeNet`, `EfficientNet` |
| other convolutional | `VGG`, `InceptionV3` |
| transformers | `VisionTransformer` |

Networks of text are `Decoder` (Llama, Mistral, Qwen, Gemma), with a `KeyValueCache` and
`RopeScaling`, `Encoder` (BERT, MiniLM) and `StaticEmbedder`, made from their sizes or from
published configurations (`jaxkd.weights`).
"""

from jaxkd.models._create import create as create
from jaxkd.models._create import entry as entry
from jaxkd.models._create import names as names
from jaxkd.models._registry import Entry as Entry
from jaxkd.models._rope import RopeScaling as RopeScaling
from jaxkd.models.decoder import Decoder as Decoder
from jaxkd.models.decoder import KeyValueCache as KeyValueCache
from jaxkd.models.efficientnet import EfficientNet as EfficientNet
from jaxkd.models.encoder import Encoder as Encoder
from jaxkd.models.encoder import StaticEmbedder as StaticEmbedder
from jaxkd.models.inception_v3 import InceptionV3 as InceptionV3
from jaxkd.models.mobilenet_v1 import MobileNetV1 as MobileNetV1
from jaxkd.models.mobilenet_v2 import MobileNetV2 as MobileNetV2
from jaxkd.models.mobilenet_v2_cifar import CifarMobileNetV2 as CifarMobileNetV2
from jaxkd.models.mobilenet_v3 import MobileNetV3 as MobileNetV3
from jaxkd.models.resnet import BottleneckResNet as BottleneckResNet
from jaxkd.models.resnet import ResNet as ResNet
from jaxkd.models.resnet_imagenet import ImageNetResNet as ImageNetResNet
from jaxkd.models.shufflenet_v1 import CifarShuffleNetV1 as CifarShuffleNetV1
from jaxkd.models.shufflenet_v2 import CifarShuffleNetV2 as CifarShuffleNetV2
from jaxkd.models.shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
from jaxkd.models.small import CNN as CNN
from jaxkd.models.small import MLP as MLP
from jaxkd.models.small import ConvNet as ConvNet
from jaxkd.models.squeezenet import SqueezeNet as SqueezeNet
from jaxkd.models.vgg import VGG as VGG
from jaxkd.models.vision_transformer import VisionTransformer as VisionTransformer
from jaxkd.models.wide_resnet import WideResNet as WideResNet

__all__ = [
    "CNN",
    "MLP",
    "VGG",
    "BottleneckResNet",
    "CifarMobileNetV2",
    "CifarShuffleNetV1",
    "CifarShuffleNetV2",
    "ConvNet",
    "Decoder",
    "EfficientNet",
    "Encoder",
    "Entry",
    "ImageNetResNet",
    "InceptionV3",
    "KeyValueCache",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "ResNet",
    "RopeScaling",
    "ShuffleNetV2",
    "SqueezeNet",
    "StaticEmbedder",
    "VisionTransformer",
    "WideResNet",
    "create",
    "entry",
    "names",
]
