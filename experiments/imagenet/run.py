"""The trainings of experiments.imagenet: a teacher and its students, below one work directory."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from experiments.common.evaluation import Evaluator
from experiments.common.protocol import BASELINE
from experiments.common.runner import Training, saved, train
from experiments.common.runtime import Runtime
from experiments.common.teachers import cache_outputs
from experiments.imagenet.config import Config
from experiments.imagenet.protocols import PROTOCOLS, WEIGHT_DECAY, tenfold_decay
from experiments.imagenet.setup import ImageNetSetup, load, prepare
from jaxkd import Network, Views, recipes
from jaxkd.cache import Cache
from jaxkd.data import EncodedImages
from jaxkd.targets import Dense
from jaxkd.training import TrainStep, bind_config

# Fields that change no run, or add runs to those that are there.
_UNBOUND = ("data_dir", "method", "seeds", "baseline", "ahead", "workers", "checkpoint_every")
_TEST_BATCH = 256
# Test examples whose logits are kept for what the report shows beyond accuracy.
_SAMPLED = 10_000

Score = dict[str, np.ndarray]
"""What is kept of a trained network: `top1`, `top5`, and the `logits` of some test examples."""


@dataclasses.dataclass(frozen=True)
class ImageNetResults:
    """Everything that the report shows.

    Attributes:
      config: complete configuration.
      train: training examples.
      test: held-out examples.
      steps: number of updates of every student.
      scores: by name of the arm one score a seed; the teacher's comes first.
    """

    config: Config
    train: EncodedImages
    test: EncodedImages
    steps: int
    scores: dict[str, list[Score]]


class TopKEvaluator(Evaluator):
    """Measures classifiers by their top-1 and top-5 accuracies on held-out examples."""

    def scores(self, network: Network) -> dict[str, float]:
        """Returns both accuracies of a network."""
        top1, top5 = top_k_accuracies(self.logits(network), self.examples.labels)
        return {"accuracy": top1, "top5": top5}

    def results(self, network: Network) -> dict[str, Any]:
        """Returns what is kept of a trained network, a `Score`."""
        logits = self.logits(network)
        top1, top5 = top_k_accuracies(logits, self.examples.labels)
        return {"top1": top1, "top5": top5, "logits": logits[sampled_rows(len(self.examples))]}


def top_k_accuracies(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Computes the shares of labeled examples whose label is the first, and among the first five.

    Args:
      logits: `[examples, num_classes]`.
      labels: `[examples]`; -1 for an example without a label, which is left out.

    Returns:
      The top-1 and the top-5 accuracy.
    """
    labeled = labels >= 0
    logits, labels = logits[labeled], labels[labeled]
    of_label = np.take_along_axis(logits, labels[:, None], axis=-1)
    # A tie counts against the network: constant logits are right by no chance.
    rank = (logits >= of_label).sum(-1)
    return float((rank <= 1).mean()), float((rank <= 5).mean())


def sampled_rows(examples: int) -> np.ndarray:
    """Returns the rows of the test examples whose logits are kept, evenly spaced."""
    return np.linspace(0, examples - 1, min(_SAMPLED, examples)).round().astype(int)


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> ImageNetResults:
    """Trains what is not trained yet: a teacher without weights, and the students of every arm.

    Args:
      config: complete configuration.
      workdir: folder of all runs; an interrupted run is resumed, a finished one is read.
      runtime: devices, tracing and consent.

    Returns:
      The scores of all networks.

    Raises:
      ValueError: networks, weights or a method that do not fit each other or the images, before any
        data are read; a batch larger than the data; a work directory of another configuration.
    """
    setup = prepare(config)
    train_examples = load(config, "train", config.mock)
    test = load(config, config.test_split, math.ceil(config.mock / 4))
    if config.batch_size > len(train_examples):
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {len(train_examples)} examples"
        )
    bound = {k: v for k, v in dataclasses.asdict(config).items() if k not in _UNBOUND}
    bind_config(workdir, bound)
    size = min(_TEST_BATCH, config.batch_size)
    evaluator = TopKEvaluator(
        test, setup.test_views, runtime, batch_size=size, prefetch=config.ahead
    )
    runs = _Runs(setup, workdir, runtime, train_examples, evaluator)
    if not config.teacher_weights:
        runs = runs.with_teacher(runs.train_teacher())
    scores = {"teacher": [runs.score("teacher", lambda: runs.setup.teacher)]}
    cache = runs.cache_teacher() if config.cache else None
    for arm in dict.fromkeys([*([BASELINE] if config.baseline else []), config.method]):
        scores[arm] = [
            runs.score(f"{arm}/seed{seed}", functools.partial(runs.train_student, arm, seed, cache))
            for seed in range(config.seeds)
        ]
    steps = runs.steps(config.epochs)
    return ImageNetResults(config, train_examples, test, steps, scores)


@dataclasses.dataclass(frozen=True)
class _Runs:
    """The trainings, and what they share."""

    setup: ImageNetSetup
    workdir: pathlib.Path
    runtime: Runtime
    examples: EncodedImages
    evaluator: TopKEvaluator

    def with_teacher(self, teacher: Network) -> "_Runs":
        """Returns the same with a trained teacher."""
        return dataclasses.replace(self, setup=dataclasses.replace(self.setup, teacher=teacher))

    def steps(self, epochs: int) -> int:
        """Returns the number of updates of a training."""
        config = self.setup.config
        return config.steps or epochs * (len(self.examples) // config.batch_size)

    def score(self, name: str, trained: Callable[[], Network]) -> Score:
        """Scores the network that `trained` returns, or reads the score of a finished run."""
        file = self.workdir / name / "result.npz"
        return saved(file, lambda: self.evaluator.results(trained()))

    def train_teacher(self) -> Network:
        """Trains the teacher on labels, by the protocol `torchvision`."""
        setup, protocol = self.setup, PROTOCOLS["torchvision"]
        steps = self.steps(setup.config.teacher_epochs)
        step = self.runtime.train_step(
            setup.teacher,
            recipes.labels(),
            protocol.optimizer(steps, setup.config.batch_size / protocol.batch_size),
            batch_size=setup.config.batch_size,
            views=setup.teacher_views,
        )
        return self._train("teacher", step, steps, setup.teacher_views)

    def train_student(self, arm: str, seed: int, cache: Cache | None) -> Network:
        """Trains one student of labels alone or of the method."""
        setup, config, protocol = self.setup, self.setup.config, self.setup.protocol
        steps, scale = self.steps(config.epochs), config.batch_size / protocol.batch_size
        optimizer = protocol.optimizer(steps, scale)
        options: dict[str, Any] = {}
        if arm == BASELINE:
            student = setup.make_student(seed)
            objective = recipes.labels(**protocol.options.get(BASELINE, {}))
        else:
            applied = setup.apply_method(seed, steps, self.examples)
            student, objective = applied.student, applied.objective
            if applied.make_optimizer is not None:
                rate = tenfold_decay(steps, scale)
                optimizer = applied.make_optimizer(rate, weight_decay=WEIGHT_DECAY)
                options["split_gradients"] = applied.split_gradients
            if objective.needs_teacher and cache is None:
                options["teacher"] = applied.teacher
        step = self.runtime.train_step(
            student,
            objective,
            optimizer,
            batch_size=config.batch_size,
            views=setup.views,
            **options,
        )
        return self._train(
            f"{arm}/seed{seed}",
            step,
            steps,
            setup.views,
            seed=seed,
            cache=cache if objective.needs_teacher else None,
            num_views=config.num_views or None,
        )

    def cache_teacher(self) -> Cache:
        """Caches the teacher's logits of all views, after a forecast."""
        setup = self.setup
        options: dict[str, Any] = {
            "codec": Dense("bfloat16"),
            "num_views": setup.config.num_views,
            "batch_size": _TEST_BATCH,
        }
        # Each of several processes computes its own share, on one device.
        if jax.process_count() == 1 and (layout := self.runtime.for_batch(_TEST_BATCH)):
            options["batch_sharding"] = NamedSharding(layout.mesh, layout.batch)
        return cache_outputs(
            self.workdir / "cache",
            setup.teacher,
            self.examples,
            setup.views,
            self.runtime,
            student=setup.make_student(0),
            **options,
        )

    def _train(
        self,
        name: str,
        step: TrainStep,
        steps: int,
        views: Views,
        *,
        seed: int = 0,
        cache: Cache | None = None,
        num_views: int | None = None,
    ) -> Network:
        """Trains one network, from its newest checkpoint where there is one."""
        config = self.setup.config
        loader = self.runtime.loader(
            self.examples,
            views,
            config.batch_size,
            seed=seed,
            cache=cache,
            num_views=num_views,
            prefetch=config.ahead,
            workers=config.workers,
        )
        log_every = min(100, max(1, steps // 20))
        training = Training(
            workdir=self.workdir / name,
            step=step,
            loader=loader,
            steps=steps,
            seed=seed,
            evaluate=lambda state: self.evaluator.scores(state.network(step.student)),
            log_every=log_every,
            logs_per_evaluation=max(1, steps // 20 // log_every),
            logs_per_checkpoint=max(1, config.checkpoint_every // log_every),
            # A step takes long enough, and stacked batches would take the memory of many.
            steps_per_call=1,
            progress=name,
        )
        return train(training, self.runtime).network
