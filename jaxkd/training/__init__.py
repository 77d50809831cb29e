"""Training: one state, one pure compiled step, a loop that can be killed, and what it writes.

`TrainState` holds everything that trains or is scheduled; `make_train_step` compiles the student's
step with an online teacher or cached answers; `fit` runs it, logs, evaluates, checkpoints, resumes.
"""

from jaxkd.training._checkpoints import Checkpoints as Checkpoints
from jaxkd.training._dot import dot as dot
from jaxkd.training._evaluate import EvalStep as EvalStep
from jaxkd.training._evaluate import evaluate as evaluate
from jaxkd.training._evaluate import make_eval_step as make_eval_step
from jaxkd.training._evaluate import predict as predict
from jaxkd.training._logs import Logs as Logs
from jaxkd.training._members import grid as grid
from jaxkd.training._preemption import Preempted as Preempted
from jaxkd.training._workdir import bind_config as bind_config
from jaxkd.training.distributed import initialize as initialize
from jaxkd.training.distributed import is_first as is_first
from jaxkd.training.distributed import wait_for_all as wait_for_all
from jaxkd.training.loop import fit as fit
from jaxkd.training.partitioning import Partitioning as Partitioning
from jaxkd.training.partitioning import make_mesh as make_mesh
from jaxkd.training.population import Population as Population
from jaxkd.training.state import TrainState as TrainState
from jaxkd.training.step import BatchTransform as BatchTransform
from jaxkd.training.step import TrainStep as TrainStep
from jaxkd.training.step import make_train_step as make_train_step
