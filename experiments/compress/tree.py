"""The networks of experiments.compress: for every seed, a tree of pipelines.

Pipelines that begin alike share their beginnings: `distil-prune` and `distil-int8` compress the
same distilled student. For this reason their trainings are no arms of a `Study`, whose students all
start from random weights; each is a `Training` of its own, with the step that its seeds share.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.common.study import Study, adamw
from experiments.compress.config import Config
from experiments.compress.pipelines import POST_TRAINING_STEPS, Steps
from experiments.compress.steps import Stage, apply_step, finish_step
from jaxkd import compression
from jaxkd.cache import Cache
from jaxkd.data import Dataset, Loader
from jaxkd.networks import to_nnx
from jaxkd.study.runner import Training, saved, train
from jaxkd.training import TrainStep

CALIBRATION_BATCHES = 8


class NetworkTree:
    """The networks of all seeds by the steps that led to them, each computed when it is needed.

    Args:
      config: configuration of the experiment.
      study: what all trainings share.
      train_examples: labeled examples.
      cache: cached logits of the teacher.
      make_student: function from a seed to an untrained student.
    """

    def __init__(
        self,
        config: Config,
        study: Study,
        train_examples: Dataset,
        cache: Cache,
        make_student: Callable[[int], nnx.Module],
    ):
        self._config, self._study, self._cache = config, study, cache
        self._examples, self._make_student = train_examples, make_student
        self._stages: dict[tuple[Steps, int], Stage] = {}
        # Seeds differ in variables alone, so they share the compiled programs.
        self._train_steps: dict[Steps, TrainStep] = {}

    def logits(self, steps: Steps, seed: int) -> np.ndarray:
        """Returns the logits of a network on the test examples."""
        return saved(
            self._folder(steps, seed) / "result.npz",
            lambda: {"logits": self._study.test_evaluator.logits(self.stage(steps, seed).network)},
        )["logits"]

    def stage(self, steps: Steps, seed: int) -> Stage:
        """Returns a network after all its steps."""
        if (steps, seed) not in self._stages:
            *before, last = steps
            if before:
                stage = self.stage(tuple(before), seed)
                stage = apply_step(stage, last, self._config, self._calibration)
            else:
                stage = Stage(self._make_student(seed), distilled=last == "distil")
            if last not in POST_TRAINING_STEPS:
                stage = finish_step(self._trained(stage, steps, seed), last)
            self._stages[steps, seed] = stage
        return self._stages[steps, seed]

    def _folder(self, steps: Steps, seed: int) -> pathlib.Path:
        return self._study.workdir / f"seed{seed}" / "-".join(steps)

    def _trained(self, stage: Stage, steps: Steps, seed: int) -> Stage:
        learning_rate, updates = self._schedule(steps)
        if steps not in self._train_steps:
            self._train_steps[steps] = self._train_step(stage, steps[-1], learning_rate, updates)
        training = Training(
            workdir=self._folder(steps, seed),
            step=self._train_steps[steps],
            loader=self._loader(seed, cache=self._cache if stage.distilled else None),
            steps=updates,
            seed=seed,
            student=stage.network,
            progress=f"{'-'.join(steps)}, seed {seed}",
        )
        network = train(training, self._study.runtime).network
        # Steps that follow change the network outside of any mesh.
        params, state = jax.tree.map(jnp.asarray, jax.device_get((network.params, network.state)))
        network = network.replace(params=params, state=state)
        return dataclasses.replace(stage, model=to_nnx(network, stage.model))

    def _schedule(self, steps: Steps) -> tuple[float, int]:
        """Returns the peak of the learning rate and the number of updates of the last step."""
        config = self._config
        learning_rate, epochs = config.learning_rate, config.epochs
        if steps[1:]:
            learning_rate, epochs = config.tuning_rate, config.tuning_epochs
        if steps[-1] == "qat":
            learning_rate, epochs = config.qat_rate, config.qat_epochs
        return learning_rate, epochs * max(1, len(self._examples) // config.batch_size)

    def _train_step(self, stage: Stage, last: str, learning_rate: float, count: int) -> TrainStep:
        config = self._config
        objective = jaxkd.recipes.labels()
        if stage.distilled:
            objective = jaxkd.recipes.kd(alpha=config.alpha, temperature=config.temperature)
        optimizer = adamw(learning_rate, count)
        if stage.sparsity:
            sparsity: Any = stage.sparsity
            if last == "sparse":
                # In the last third of the steps the network recovers from its masks.
                sparsity = compression.cubic_sparsity(0.0, sparsity, count // 20, 2 * count // 3)
            pruning = compression.magnitude_pruning(sparsity, every=max(1, count // 100))
            optimizer = optax.chain(optimizer, pruning)
        return self._study.runtime.train_step(
            stage.network,
            objective,
            optimizer,
            batch_size=config.batch_size,
            views=self._study.views,
        )

    def _loader(self, seed: int, cache: Cache | None = None) -> Loader:
        study = self._study
        return study.runtime.loader(
            self._examples,
            study.views,
            self._config.batch_size,
            seed=seed,
            num_views=study.num_views,
            cache=cache,
        )

    @functools.cached_property
    def _calibration(self) -> list[Any]:
        """Batches as the students see them in training."""
        with self._loader(self._study.seeds[0]) as loader:
            batches = [loader[number] for number in range(CALIBRATION_BATCHES)]
        return [self._study.views.render(batch)["inputs"] for batch in batches]
