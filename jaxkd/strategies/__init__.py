"""Who teaches whom, and when: strategies of distillation on the one train step.

Each is a `Network`, an `Objective`, an optimizer or a list of phases; the step, the loop and the
checkpoints are those of `jaxkd.training`.

- An ensemble of several teachers online: `joint_network`, with `multi_teacher` or `recipes.kd`.
- Students that teach each other: `joint_network`, with `mutual`.
- A student taught by its own moving average: `with_moving_average`, with `self_distillation`.
- Assistants, generations, a teacher's checkpoints, hints first: `teacher_assistants`, `born_again`,
  `progressive` and `stage_wise` make phases for `run_phases`.
- A teacher that is left out from some step on: `early_stopped`.
- A student made of the teacher's layers: `from_teacher_layers`, with `layer_mapping` or
  `evenly_spaced_layers`; parts that are not trained, or by an optimizer of their own: `freeze`,
  `multi_optimizer`.
- A student that learns from text that it generates itself: `on_policy`, with `recipes.language`.
- Text that a teacher generated, as data: `generate_targets`.
- No data at all: `data_free`, with `ImageGenerator`, `noise_dataset` and
  `differentiable_statistics`.

`member_networks` returns the networks to deploy of those that were trained together.
`multi_teacher_loss` and `peer_loss` make losses for several teachers, or for outputs of one
student, out of any others.

Function matching (Beyer et al., Knowledge Distillation: A Good Teacher Is Patient and Consistent,
CVPR 2022) needs no function of its own: the teacher alone is learned, at temperature 1, on the very
views that the student sees, mixed up with weights uniform in [0, 1], for very many epochs:
`recipes.kd(alpha=1.0, temperature=1.0)` with
`Views((RandomCrop(4), RandomFlip(), Normalize(), Mixup(num_classes, alpha=1.0)))`.
"""

from jaxkd.strategies._composite import CompositeNetwork as CompositeNetwork
from jaxkd.strategies._composite import member_networks as member_networks
from jaxkd.strategies.born_again import born_again as born_again
from jaxkd.strategies.data_free import data_free as data_free
from jaxkd.strategies.early_stopped import early_stopped as early_stopped
from jaxkd.strategies.generate_targets import GeneratedDataset as GeneratedDataset
from jaxkd.strategies.generate_targets import generate_targets as generate_targets
from jaxkd.strategies.image_generator import ImageGenerator as ImageGenerator
from jaxkd.strategies.image_generator import NormalNoise as NormalNoise
from jaxkd.strategies.image_generator import noise_dataset as noise_dataset
from jaxkd.strategies.joint_network import joint_network as joint_network
from jaxkd.strategies.moving_average import self_distillation as self_distillation
from jaxkd.strategies.moving_average import with_moving_average as with_moving_average
from jaxkd.strategies.multi_optimizer import freeze as freeze
from jaxkd.strategies.multi_optimizer import multi_optimizer as multi_optimizer
from jaxkd.strategies.multi_teacher import ConfidenceWeights as ConfidenceWeights
from jaxkd.strategies.multi_teacher import RandomTeacher as RandomTeacher
from jaxkd.strategies.multi_teacher import multi_teacher as multi_teacher
from jaxkd.strategies.multi_teacher import multi_teacher_loss as multi_teacher_loss
from jaxkd.strategies.mutual import mutual as mutual
from jaxkd.strategies.mutual import peer_loss as peer_loss
from jaxkd.strategies.on_policy import TextGenerator as TextGenerator
from jaxkd.strategies.on_policy import on_policy as on_policy
from jaxkd.strategies.phases import Phase as Phase
from jaxkd.strategies.phases import run_phases as run_phases
from jaxkd.strategies.progressive import progressive as progressive
from jaxkd.strategies.stage_wise import stage_wise as stage_wise
from jaxkd.strategies.statistics import differentiable_statistics as differentiable_statistics
from jaxkd.strategies.teacher_assistants import teacher_assistants as teacher_assistants
from jaxkd.strategies.teacher_layers import evenly_spaced_layers as evenly_spaced_layers
from jaxkd.strategies.teacher_layers import from_teacher_layers as from_teacher_layers
from jaxkd.strategies.teacher_layers import layer_mapping as layer_mapping

__all__ = [
    "CompositeNetwork",
    "ConfidenceWeights",
    "GeneratedDataset",
    "ImageGenerator",
    "NormalNoise",
    "Phase",
    "RandomTeacher",
    "TextGenerator",
    "born_again",
    "data_free",
    "differentiable_statistics",
    "early_stopped",
    "evenly_spaced_layers",
    "freeze",
    "from_teacher_layers",
    "generate_targets",
    "joint_network",
    "layer_mapping",
    "member_networks",
    "multi_optimizer",
    "multi_teacher",
    "multi_teacher_loss",
    "mutual",
    "noise_dataset",
    "on_policy",
    "peer_loss",
    "progressive",
    "run_phases",
    "self_distillation",
    "stage_wise",
    "teacher_assistants",
    "with_moving_average",
]
