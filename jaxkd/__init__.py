"""Knowledge distillation in JAX and Flax.

A teacher's outputs are computed once and cached for exact, replayable views, and students learn
from them in one compiled step. Most programs need the names at the bottom of this page and some
from the packages, which are imported when first used, so that `import jaxkd` stays as light as
importing JAX and Flax:

  losses: pure loss functions, one file a method
  connectors: modules that are trained beside the student
  recipes: objectives of published methods by name, with their authors' defaults
  objective: `Term` and `Objective`, a weighted sum of losses on named outputs
  networks: adapters from Flax NNX, Flax Linen and functions to a `Network` with named outputs
  views: augmentations that can be replayed
  targets: codecs, which encode a teacher's outputs in few bytes
  cache: the outputs of a teacher on disk, bound to its weights, the data and the views
  data: datasets by `example_id`, and loaders of batches
  teachers: teachers outside of JAX: PyTorch, ONNX, servers, functions of NumPy arrays
  training: the train step and its state, the loop, evaluation, checkpoints, meshes, populations
  strategies: who teaches whom, and when
  generation: sampling of text with a cache of keys and values
  models: networks by name
  weights: weights of other libraries in these networks
  ops: convolutions, pooling, resizing and memory banks, where XLA is slow or has none
  compression: profiling, pruning, quantization and factorization
  export: programs and weights for devices, each verified
  metrics: accuracy, agreement, calibration, CKA and statistics over seeds, in NumPy
  study: methods compared over seeds, with tables, figures and reports

`distill` does all of it in one call. `python -m jaxkd` (or `jaxkd`) is the command line.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxkd import losses as losses
from jaxkd import networks as networks
from jaxkd import objective as objective
from jaxkd.networks import Network as Network
from jaxkd.networks import from_function as from_function
from jaxkd.networks import from_linen as from_linen
from jaxkd.networks import from_nnx as from_nnx
from jaxkd.objective import Objective as Objective
from jaxkd.objective import Term as Term
from jaxkd.training.evaluation import make_eval_step as make_eval_step
from jaxkd.training.make_step import make_train_step as make_train_step
from jaxkd.training.state import TrainState as TrainState
from jaxkd.views import Views as Views

if TYPE_CHECKING:
    from jaxkd import cache as cache
    from jaxkd import compression as compression
    from jaxkd import connectors as connectors
    from jaxkd import data as data
    from jaxkd import export as export
    from jaxkd import generation as generation
    from jaxkd import metrics as metrics
    from jaxkd import models as models
    from jaxkd import ops as ops
    from jaxkd import recipes as recipes
    from jaxkd import strategies as strategies
    from jaxkd import study as study
    from jaxkd import targets as targets
    from jaxkd import teachers as teachers
    from jaxkd import training as training
    from jaxkd import views as views
    from jaxkd import weights as weights
    from jaxkd.study import distill as distill

# Imported when first used.
_LAZY_MODULES = frozenset(
    [
        "cache",
        "compression",
        "connectors",
        "data",
        "export",
        "generation",
        "metrics",
        "models",
        "ops",
        "recipes",
        "strategies",
        "study",
        "targets",
        "teachers",
        "training",
        "views",
        "weights",
    ]
)

__all__ = [
    "Network",
    "Objective",
    "Term",
    "TrainState",
    "Views",
    "cache",
    "compression",
    "connectors",
    "data",
    "distill",
    "export",
    "from_function",
    "from_linen",
    "from_nnx",
    "generation",
    "losses",
    "make_eval_step",
    "make_train_step",
    "metrics",
    "models",
    "networks",
    "objective",
    "ops",
    "recipes",
    "strategies",
    "study",
    "targets",
    "teachers",
    "training",
    "views",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("jaxkd-distill")
    if name == "distill":
        return importlib.import_module("jaxkd.study").distill
    if name in _LAZY_MODULES:
        return importlib.import_module(f"jaxkd.{name}")
    raise AttributeError(f"module 'jaxkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, "__version__", "distill"})
