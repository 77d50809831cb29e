"""The runs of experiments.compress: a teacher, and for every seed a tree of networks.

Pipelines that begin alike share their beginnings: `distil-prune` and `distil-int8` compress the
same distilled student.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.common.evaluation import TEST_BATCH
from experiments.common.runner import saved
from experiments.common.study import Study, adamw
from experiments.common.teachers import train_teacher
from experiments.compress.steps import AFTER, Point, changed, deployed
from jaxkd import Network, compression
from jaxkd.cache import Cache
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.networks import to_nnx
from jaxkd.training import EvalStep, TrainStep, fit, predict

if TYPE_CHECKING:
    from experiments.compress.config import Config

Steps = tuple[str, ...]

CALIBRATION = 8  # batches


@dataclasses.dataclass(frozen=True)
class Compressed:
    """What came out.

    Attributes:
      config: the experiment.
      study: what all trainings have in common.
      train: labeled examples.
      test: held-out ones.
      teacher: trained.
      teacher_logits: on the test examples.
      logits: by pipeline, on the test examples, `[seeds, examples, num_classes]`.
      points: by pipeline the first seed's network.
    """

    config: "Config"
    study: Study
    train: Dataset
    test: Dataset
    teacher: Network
    teacher_logits: np.ndarray
    logits: dict[Steps, np.ndarray]
    points: dict[Steps, Point]

    def accuracies(self, steps: Steps) -> np.ndarray:
        """Test accuracy of each seed."""
        labels = self.test.labels
        return np.array([jaxkd.metrics.accuracy(x, labels) for x in self.logits[steps]])

    @property
    def reached(self) -> float:
        """Test accuracy of the teacher."""
        return jaxkd.metrics.accuracy(self.teacher_logits, self.test.labels)


def run(
    config: "Config",
    study: Study,
    train: Dataset,
    test: Dataset,
    make_teacher: Callable[[int], nnx.Module],
    make_student: Callable[[int], nnx.Module],
    pipelines: Sequence[Steps],
) -> Compressed:
    """Trains the teacher, asks it once, and goes all pipelines for every seed.

    What was finished before is read; what was cut goes on.
    """
    steps = config.teacher_epochs * max(1, len(train) // config.batch_size)
    teacher = train_teacher(study, jaxkd.from_nnx(make_teacher(100)), train, steps)
    cache = jaxkd.cache.build(
        study.workdir / "cache", teacher, train, study.views, num_views=config.views.num_views
    )
    tree = Tree(config, study, train, cache, make_student)
    logits = {}
    for pipeline in pipelines:
        logits[pipeline] = np.stack([tree.logits(pipeline, seed) for seed in study.seeds])
    return Compressed(
        config=config,
        study=study,
        train=train,
        test=test,
        teacher=teacher,
        teacher_logits=study.evaluator.logits(teacher),
        logits=logits,
        points={pipeline: tree.point(pipeline, study.seeds[0]) for pipeline in pipelines},
    )


class Tree:
    """The networks of all seeds by the steps that led to them, each made when it is asked for."""

    def __init__(
        self,
        config: "Config",
        study: Study,
        train: Dataset,
        cache: Cache,
        make: Callable[[int], nnx.Module],
    ):
        self.config, self.study, self.train, self.cache = config, study, train, cache
        self._make = make
        self._points: dict[tuple[Steps, int], Point] = {}
        # Seeds differ in variables alone, so they share the compiled programs.
        self._train_steps: dict[Steps, TrainStep] = {}
        self._eval_steps: dict[Steps, EvalStep] = {}

    def directory(self, steps: Steps, seed: int) -> pathlib.Path:
        """Of one training."""
        return self.study.workdir / f"seed{seed}" / "-".join(steps)

    def logits(self, steps: Steps, seed: int) -> np.ndarray:
        """Of a network on the test examples."""

        def result() -> dict[str, Any]:
            network = self.point(steps, seed).network
            if steps not in self._eval_steps:
                self._eval_steps[steps] = self.study.evaluator.step(network)
            batches = eval_batches(self.study.test, TEST_BATCH)
            return {"logits": predict(self._eval_steps[steps], network, batches)}

        return saved(self.directory(steps, seed) / "result.npz", result)["logits"]

    def point(self, steps: Steps, seed: int) -> Point:
        """A network after all its steps."""
        if (steps, seed) not in self._points:
            *before, last = steps
            if before:
                point = self.point(tuple(before), seed)
                point = changed(point, last, self.config, self._batches)
            else:
                point = Point(self._make(seed), last == "distil")
            if last not in AFTER:
                point = deployed(self._trained(point, steps, seed), last)
            self._points[steps, seed] = point
        return self._points[steps, seed]

    def _trained(self, point: Point, steps: Steps, seed: int) -> Point:
        count = self._updates(steps)
        if steps not in self._train_steps:
            self._train_steps[steps] = self._train_step(point, steps)
        step = self._train_steps[steps]
        log_every = max(1, count // 10)
        cache = self.cache if point.taught else None
        with self._loader(seed, cache=cache) as loader:
            fitted = fit(
                step,
                step.init(seed, student=point.network),
                loader,
                steps=count,
                log_every=log_every,
                checkpoint_every=log_every * 5,
                workdir=self.directory(steps, seed),
                progress=f"{'-'.join(steps)}, seed {seed}",
                profile=self.study.runtime.profile,
            )
        trained = fitted.state.network(point.network)
        params, state = jax.tree.map(jnp.asarray, jax.device_get((trained.params, trained.state)))
        trained = trained.replace(params=params, state=state)
        return dataclasses.replace(point, model=to_nnx(trained, point.model))

    def _train_step(self, point: Point, steps: Steps) -> TrainStep:
        config, count = self.config, self._updates(steps)
        objective = jaxkd.recipes.labels()
        if point.taught:
            objective = jaxkd.recipes.kd(alpha=config.alpha, temperature=config.temperature)
        rates = {"qat": config.qat_rate}
        rate = rates.get(steps[-1], config.tuning_rate) if steps[1:] else config.learning_rate
        updates = adamw(rate, count)
        if point.sparsity:
            share: Any = point.sparsity
            if steps[-1] == "sparse":
                # The last third of the steps mends what the masks have broken.
                share = compression.cubic_sparsity(0.0, share, count // 20, 2 * count // 3)
            pruned = compression.magnitude_pruning(share, every=max(1, count // 100))
            updates = optax.chain(updates, pruned)
        return self.study.runtime.train_step(
            point.network,
            objective,
            updates,
            views=self.study.views,
            batch_size=config.batch_size,
        )

    def _updates(self, steps: Steps) -> int:
        config = self.config
        epochs = {"qat": config.qat_epochs}.get(steps[-1], config.tuning_epochs)
        epochs = epochs if steps[1:] else config.epochs
        return epochs * max(1, len(self.train) // config.batch_size)

    def _loader(self, seed: int, **options: Any) -> Loader:
        return self.study.runtime.loader(
            self.train,
            self.study.views,
            self.config.batch_size,
            seed=seed,
            num_views=self.study.num_views,
            **options,
        )

    @functools.cached_property
    def _batches(self) -> list[Any]:
        """Views as the students see them in training."""
        views = self.study.views
        with self._loader(self.study.seeds[0]) as loader:
            return [views.render(loader[number])["inputs"] for number in range(CALIBRATION)]
