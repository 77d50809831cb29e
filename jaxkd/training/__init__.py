"""Training: one state, one pure compiled step, a loop that can be killed, and what it writes.

The step: `make_train_step` compiles the step of a student with an online teacher or cached outputs
as a `TrainStep`; its `init` creates the `TrainState`, which holds everything that trains or is
scheduled. `dot` is an optimizer for steps that split gradients, a `BatchTransform` changes a
batch within the step.

The loop: `fit` runs a step, logs, evaluates, saves and resumes, and returns a `FitResult`;
`Preempted` is raised when SIGTERM stopped it, `Interrupted` when Ctrl-C did. Its callbacks see a
`FitEvent`, its loggers are in `jaxkd.training.logs`. `Checkpoints` and `bind_config` are what it
uses for the state and the work directory, which one run at a time owns (`own_workdir`).

Evaluation: `make_eval_step` compiles an `EvalStep`; `evaluate` returns its metrics, `predict`
logits; `evaluator` makes the function that `fit` evaluates by.

Many devices: `make_mesh` arranges them, `Partitioning` places arrays on them; `initialize`,
`is_main_process` and `sync_processes` are for jobs of several processes.

Many students: a `Population` trains students that differ in numbers or seeds at once; `grid`
makes all combinations of numbers.
"""

from jaxkd.training import logs as logs
from jaxkd.training._callbacks import FitEvent as FitEvent
from jaxkd.training._evaluator import evaluator as evaluator
from jaxkd.training.checkpoints import Checkpoints as Checkpoints
from jaxkd.training.distributed import initialize as initialize
from jaxkd.training.distributed import is_main_process as is_main_process
from jaxkd.training.distributed import sync_processes as sync_processes
from jaxkd.training.dot import dot as dot
from jaxkd.training.evaluation import EvalStep as EvalStep
from jaxkd.training.evaluation import evaluate as evaluate
from jaxkd.training.evaluation import make_eval_step as make_eval_step
from jaxkd.training.evaluation import predict as predict
from jaxkd.training.loop import FitResult as FitResult
from jaxkd.training.loop import fit as fit
from jaxkd.training.make_step import BatchTransform as BatchTransform
from jaxkd.training.make_step import make_train_step as make_train_step
from jaxkd.training.members import grid as grid
from jaxkd.training.mesh import make_mesh as make_mesh
from jaxkd.training.ownership import own_workdir as own_workdir
from jaxkd.training.partitioning import Partitioning as Partitioning
from jaxkd.training.population import Population as Population
from jaxkd.training.preemption import Interrupted as Interrupted
from jaxkd.training.preemption import Preempted as Preempted
from jaxkd.training.state import TrainState as TrainState
from jaxkd.training.step import TrainStep as TrainStep
from jaxkd.training.workdir import bind_config as bind_config

__all__ = [
    "BatchTransform",
    "Checkpoints",
    "EvalStep",
    "FitEvent",
    "FitResult",
    "Interrupted",
    "Partitioning",
    "Population",
    "Preempted",
    "TrainState",
    "TrainStep",
    "bind_config",
    "dot",
    "evaluate",
    "evaluator",
    "fit",
    "grid",
    "initialize",
    "is_main_process",
    "logs",
    "make_eval_step",
    "make_mesh",
    "make_train_step",
    "own_workdir",
    "predict",
    "sync_processes",
]
