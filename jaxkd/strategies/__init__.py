"""Who teaches whom, and when: strategies of distillation on the one train step.

Each is a `Network`, an `Objective`, an optimizer or a list of phases; the step, the loop and the
checkpoints are those of `jaxkd.training`.

| strategy | piece |
| :-- | :-- |
| several teachers online: an ensemble | `join`, with `several_teachers` or `recipes.kd` |
| students that teach each other | `join`, with `mutual` |
| a student taught by its own average | `with_average`, with `self_distillation` |
| assistants, generations, a teacher's checkpoints, hints | `chain`, `born_again`, `progressive`, |
| | `stage_wise`: phases for `run_phases` |
| a teacher that falls silent | `early_stopped` |
| a student made of the teacher's layers | `from_teacher_layers`, with `spread_layers` or |
| | `pick_layers`; `freeze` |
| a student that learns from its own writing | `on_policy`, with `recipes.language` |
| a teacher's writing as data | `written` |
| no data at all | `data_free`, with `Generator`, `noise` and `open_statistics` |

`split` takes the networks to deploy out of those that were trained together. `over_teachers` and
`between` make losses for several teachers, or for outputs of one student, out of any others.

Function matching (Beyer et al., Knowledge Distillation: A Good Teacher Is Patient and Consistent,
CVPR 2022) needs no piece of its own: the teacher alone is learned, at temperature 1, on the very
views that the student sees, mixed up with weights uniform in [0, 1], for very many epochs:
`recipes.kd(alpha=1.0, temperature=1.0)` with
`Views((RandomCrop(4), RandomFlip(), Normalize(), Mixup(num_classes, alpha=1.0)))`.
"""

from jaxkd.strategies._average import self_distillation as self_distillation
from jaxkd.strategies._average import with_average as with_average
from jaxkd.strategies._composite import Composite as Composite
from jaxkd.strategies._composite import split as split
from jaxkd.strategies._data_free import data_free as data_free
from jaxkd.strategies._generated import GeneratedDataset as GeneratedDataset
from jaxkd.strategies._generated import generate_targets as generate_targets
from jaxkd.strategies._generator import Generator as Generator
from jaxkd.strategies._generator import Noise as Noise
from jaxkd.strategies._generator import noise as noise
from jaxkd.strategies._join import join as join
from jaxkd.strategies._layers import freeze as freeze
from jaxkd.strategies._layers import from_teacher_layers as from_teacher_layers
from jaxkd.strategies._layers import multi_optimizer as multi_optimizer
from jaxkd.strategies._layers import pick_layers as pick_layers
from jaxkd.strategies._layers import spread_layers as spread_layers
from jaxkd.strategies._mutual import between as between
from jaxkd.strategies._mutual import mutual as mutual
from jaxkd.strategies._on_policy import on_policy as on_policy
from jaxkd.strategies._phases import Phase as Phase
from jaxkd.strategies._phases import run_phases as run_phases
from jaxkd.strategies._sequences import born_again as born_again
from jaxkd.strategies._sequences import chain as chain
from jaxkd.strategies._sequences import early_stopped as early_stopped
from jaxkd.strategies._sequences import progressive as progressive
from jaxkd.strategies._sequences import stage_wise as stage_wise
from jaxkd.strategies._statistics import open_statistics as open_statistics
from jaxkd.strategies._teachers import ConfidenceWeights as ConfidenceWeights
from jaxkd.strategies._teachers import RandomTeacher as RandomTeacher
from jaxkd.strategies._teachers import over_teachers as over_teachers
from jaxkd.strategies._teachers import several_teachers as several_teachers
