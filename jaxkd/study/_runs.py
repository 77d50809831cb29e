"""The runs of a study: one for every arm and seed, each resumed where it was killed."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.networks import Network
from jaxkd.strategies import run_phases
from jaxkd.study.runner import Training, read_arrays, saved, timed, train

if TYPE_CHECKING:
    from jaxkd.data import Loader
    from jaxkd.study.arms import ArmTraining
    from jaxkd.study.study import Study
    from jaxkd.training import TrainStep


class Runs:
    """The runs of an arm, one for each seed; what they share is compiled once.

    Args:
      study: what all arms share.
      folder: folder of the runs.
      name: name of the arm.
      make_training: function from a seed to its training.
      progress: whether to show progress bars.
    """

    def __init__(
        self,
        study: Study,
        folder: pathlib.Path,
        name: str,
        make_training: Callable[[int], ArmTraining],
        progress: bool = True,
    ):
        self.folder = folder
        self._settings, self._name, self._progress = study, name, progress
        self._make_training = make_training
        self._compiled: TrainStep | None = None

    def seed_folder(self, seed: int) -> pathlib.Path:
        """Returns the folder of a run."""
        return self.folder / f"seed{seed}"

    def is_finished(self, seed: int) -> bool:
        """Whether the run of a seed has ended."""
        return (self.seed_folder(seed) / "result.npz").exists()

    def result(self, seed: int) -> dict[str, np.ndarray]:
        """Trains a student, or reads what it gave: scores, logits, its learning curve."""
        return saved(self.seed_folder(seed) / "result.npz", functools.partial(self._trained, seed))

    def test(self, seed: int) -> dict[str, np.ndarray]:
        """Evaluates a trained student on the test examples, or reads what that gave."""
        file = self.seed_folder(seed) / "test.npz"
        return saved(file, lambda: self.measured(self.network(seed), "test"))

    def network(self, seed: int) -> Network:
        """Returns the trained student of a seed, as it was deployed."""
        file = self.seed_folder(seed) / "network.npz"
        remedy = "delete it and result.npz beside it, and the study makes both again"
        if not file.exists():
            what = "the study has not trained this student"
            if self.is_finished(seed):
                what = "delete result.npz beside it, and the study makes both again"
            raise FileNotFoundError(f"{file} is not there: {what}")
        fresh = self.structure(seed)
        leaves, tree = jax.tree.flatten((fresh.params, fresh.state))
        stored = read_arrays(file, remedy)
        if len(stored) != len(leaves):
            raise ValueError(
                f"{file} has {len(stored)} arrays, and {fresh.name} has {len(leaves)}: {remedy}"
            )
        arrays = [_typed(stored[str(number)], leaf) for number, leaf in enumerate(leaves)]
        params, state = jax.tree.unflatten(tree, arrays)
        return fresh.replace(params=params, state=state)

    def structure(self, seed: int) -> Network:
        """Returns a student as it is deployed, before it is trained."""
        training = self._make_training(seed)
        return training.deploy(training.student)

    def keep(self, seed: int, network: Network, curve: Any, seconds: float) -> dict[str, Any]:
        """Saves a trained student, and returns what is kept of its run."""
        leaves = jax.tree.leaves((network.params, network.state))
        arrays = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
        saved(self.seed_folder(seed) / "network.npz", lambda: arrays)
        steps, values = curve
        return {
            **self.measured(network, self._settings.part),
            "curve_steps": steps,
            "curve": values,
            "seconds": np.array(seconds),
        }

    def measured(self, network: Network, part: str) -> dict[str, np.ndarray]:
        """Returns scores, as `metric.<name>`, and logits of a network where it has any."""
        evaluator = self._settings.evaluator(part)
        scores = {f"metric.{n}": np.array(v) for n, v in evaluator.scores(network).items()}
        return {**scores, **evaluator.results(network)}

    def loader(self, training: ArmTraining, seed: int) -> Loader:
        """Makes the batches of a training."""
        settings = self._settings
        return settings.runtime.loader(
            training.examples,
            training.views,
            min(settings.batch_size, len(training.examples)),
            seed=seed,
            cache=training.cache,
            num_views=training.num_views,
            **settings.loader_options,
        )

    def _trained(self, seed: int) -> dict[str, Any]:
        training = self._make_training(seed)
        run = self._in_phases if training.phases else self._in_one
        run = run if training.steps else self._without_training
        (network, curve), seconds = timed(self.seed_folder(seed), lambda: run(training, seed))
        return self.keep(seed, network, curve, seconds)

    def _in_one(self, training: ArmTraining, seed: int) -> tuple[Network, Any]:
        settings, student = self._settings, training.student
        trained = train(
            Training(
                workdir=self.seed_folder(seed),
                step=self._step(training, seed),
                loader=self.loader(training, seed),
                steps=training.steps,
                seed=seed,
                student=student,
                objective=training.objective,
                evaluate=lambda state: settings.evaluator(settings.part).scores(
                    training.deploy(state.network(student))
                ),
                logs_per_evaluation=20 // settings.evaluations,
                steps_per_call=settings.steps_per_call,
                tensorboard=has_tensorboard(),
                progress=self._title(seed),
            ),
            settings.runtime,
        )
        return training.deploy(trained.network), trained.curve(settings.metric_name)

    def _in_phases(self, training: ArmTraining, seed: int) -> tuple[Network, Any]:
        phases = training.phases
        log_every = max(1, min(phase.steps for phase in phases) // 10)
        with self.loader(training, seed) as loader:
            students = run_phases(
                phases,
                loader,
                student=training.student,
                workdir=self.seed_folder(seed),
                make_step=functools.partial(self._make_step, training),
                seed=seed,
                log_every=log_every,
                checkpoint_every=log_every * 5,
                tensorboard=has_tensorboard(),
                progress=self._title(seed) or None,
                profile=self._settings.runtime.profile,
            )
        network = training.deploy(list(students.values())[-1])
        return network, self._point(network, sum(phase.steps for phase in phases))

    def _without_training(self, training: ArmTraining, seed: int) -> tuple[Network, Any]:
        network = training.deploy(training.student)
        return network, self._point(network, 0)

    def _point(self, network: Network, step: int) -> tuple[np.ndarray, np.ndarray]:
        """A learning curve of the last step alone."""
        settings = self._settings
        score = settings.evaluator(settings.part).scores(network)[settings.metric_name]
        return np.array([step]), np.array([score])

    def _title(self, seed: int) -> str:
        return f"{self._name}, seed {seed}" if self._progress else ""

    def _step(self, training: ArmTraining, seed: int) -> TrainStep:
        """Returns the compiled step, that of the first seed for all."""
        if self._compiled is None:
            first = self._settings.seeds[0]
            training = training if seed == first else self._make_training(first)
            self._compiled = self.make_step(training)
        return self._compiled

    def make_step(self, training: ArmTraining) -> TrainStep:
        """Makes the step of a training."""
        return self._make_step(
            training,
            training.student,
            training.objective,
            training.optimizer,
            teacher=training.teacher,
            **training.step_options,
        )

    def _make_step(self, training: ArmTraining, *networks: Any, **options: Any) -> TrainStep:
        size = min(self._settings.batch_size, len(training.examples))
        return self._settings.runtime.train_step(
            *networks, batch_size=size, views=training.views, **options
        )


def _typed(stored: np.ndarray, leaf: Any) -> jax.Array:
    """Returns an array of a file; one of bfloat16, int4 and the like comes back as plain bytes."""
    return jnp.asarray(stored.view(leaf.dtype) if stored.dtype.kind == "V" else stored)


def has_tensorboard() -> bool:
    """Whether event files for TensorBoard can be written."""
    return importlib.util.find_spec("tensorboardX") is not None
