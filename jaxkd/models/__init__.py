"""Networks for teachers and students, in Flax NNX, channels last.

Each returns `(logits, features)`; what nobody uses is compiled away.

Of images, the features are the maps of the stages before (`preact1`, …) and after (`stage1`, …) the
activation, and `embedding`, what the last layer sees. `create` makes one by its name, `names` lists
them, and `entry` tells what was published.

Of text there are `Decoder` (Llama, Mistral, Qwen, Gemma), `Encoder` (BERT, MiniLM) and
`StaticEmbedder`, made from their sizes or from published configurations (`jaxkd.weights`).
"""

from jaxkd.models._all import create as create
from jaxkd.models._all import entry as entry
from jaxkd.models._all import names as names
from jaxkd.models._decoder import Decoder as Decoder
from jaxkd.models._decoder import KeyValueCache as KeyValueCache
from jaxkd.models._efficientnet import EfficientNet as EfficientNet
from jaxkd.models._encoder import Encoder as Encoder
from jaxkd.models._encoder import StaticEmbedder as StaticEmbedder
from jaxkd.models._inception_v3 import InceptionV3 as InceptionV3
from jaxkd.models._mobilenet_v1 import MobileNetV1 as MobileNetV1
from jaxkd.models._mobilenet_v2 import MobileNetV2 as MobileNetV2
from jaxkd.models._mobilenet_v2_cifar import CifarMobileNetV2 as CifarMobileNetV2
from jaxkd.models._mobilenet_v3 import MobileNetV3 as MobileNetV3
from jaxkd.models._registry import Entry as Entry
from jaxkd.models._resnet import BottleneckResNet as BottleneckResNet
from jaxkd.models._resnet import ResNet as ResNet
from jaxkd.models._resnet_imagenet import ImageNetResNet as ImageNetResNet
from jaxkd.models._rope import RopeScaling as RopeScaling
from jaxkd.models._shufflenet_v1 import CifarShuffleNetV1 as CifarShuffleNetV1
from jaxkd.models._shufflenet_v2 import CifarShuffleNetV2 as CifarShuffleNetV2
from jaxkd.models._shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
from jaxkd.models._small import CNN as CNN
from jaxkd.models._small import MLP as MLP
from jaxkd.models._small import ConvNet as ConvNet
from jaxkd.models._squeezenet import SqueezeNet as SqueezeNet
from jaxkd.models._vgg import VGG as VGG
from jaxkd.models._vision_transformer import VisionTransformer as VisionTransformer
from jaxkd.models._wide_resnet import WideResNet as WideResNet
