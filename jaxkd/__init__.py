"""jaxkd: knowledge distillation in JAX and Flax.

A teacher answers once, its answers are cached for exact, replayable views, and students learn from
them in one compiled step. The names below are the ones that most programs need; the rooms
(`losses`, `connectors`, `views`, `targets`, `cache`, `data`, `training`, `generation`,
`strategies`, `models`, `ops`, `weights`, `compression`, `export`, `metrics`, `study`) hold the rest
and are imported when first used, so that `import jaxkd` stays as light as importing JAX and Flax.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxkd import losses as losses
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
    from jaxkd import training as training
    from jaxkd import views as views
    from jaxkd import weights as weights

_ROOMS = frozenset(
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
        "training",
        "views",
        "weights",
    ]
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("jaxkd-distill")
    if name in _ROOMS:
        return importlib.import_module(f"jaxkd.{name}")
    raise AttributeError(f"module 'jaxkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, "__version__"})
