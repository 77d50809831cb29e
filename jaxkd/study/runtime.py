"""What trainings run on: devices, tracing, and whether they may build large caches unasked."""

import dataclasses
from typing import Any

import optax

import jaxkd
from jaxkd import Network, Objective, Views
from jaxkd.data import Examples, Loader
from jaxkd.training import EvalStep, Partitioning, TrainStep, make_eval_step


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How trainings run; none of it changes what is computed.

    Its methods make what a training consists of, laid out over the devices.

    Attributes:
      partitioning: layout over all devices of all processes; None for a single device.
      profile: number of steps of every training to trace into its folder; None for no trace.
      yes: whether large caches are built without a question.

    Example:
      >>> runtime = Runtime()  # one device
      >>> runtime.for_batch(128), runtime.yes
      (None, False)
    """

    partitioning: Partitioning | None = None
    profile: int | None = None
    yes: bool = False

    def for_batch(self, batch_size: int) -> Partitioning | None:
        """Returns the layout for batches of a size; None for a single device."""
        return self.partitioning and self.partitioning.for_batch(batch_size)

    def train_step(
        self,
        student: Network,
        objective: Objective,
        optimizer: optax.GradientTransformation,
        *,
        batch_size: int,
        **options: Any,
    ) -> TrainStep:
        """Makes a train step for batches of a size; `options` as in `jaxkd.make_train_step`."""
        layout = self.for_batch(batch_size)
        return jaxkd.make_train_step(student, objective, optimizer, partitioning=layout, **options)

    def loader(self, examples: Examples, views: Views, batch_size: int, **options: Any) -> Loader:
        """Makes a loader of this process's share; `options` as in `jaxkd.data.Loader`."""
        layout = self.for_batch(batch_size)
        process = layout.process if layout else (0, 1)
        return Loader(examples, views, batch_size, process=process, **options)

    def eval_step(
        self, network: Network, views: Views, batch_size: int, **options: Any
    ) -> EvalStep:
        """Makes an evaluation step; `options` as in `jaxkd.make_eval_step`."""
        layout = self.for_batch(batch_size)
        return make_eval_step(network, views=views, partitioning=layout, **options)
