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

from experiments.common.protocol import BASELINE
from experiments.common.teachers import cache_outputs
from experiments.imagenet.config import Config
from experiments.imagenet.protocols import PROTOCOLS, WEIGHT_DECAY, tenfold_decay
from experiments.imagenet.setup import ImageNetSetup, load, prepare
from jaxkd import Network, Views, recipes
from jaxkd.cache import Cache
from jaxkd.data import EncodedImages
from jaxkd.study.evaluator import Evaluator
from jaxkd.study.runner import Training, saved, train
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Dense
from jaxkd.training import TrainStep, bind_config

# Fields that change no run, or add runs to those that are there.
_UNBOUND = ("data_dir", "method", "seeds", "baseline", "prefetch", "workers", "checkpoint_every")
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
    """Returns the top-1 and the top-5 accuracy on the examples whose label is not -1."""
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
    """Trains what is not trained yet: a teacher without weights, and the students of every arm."""
    setup = prepare(config)
    train_examples = load(config, "train", config.mock)
    test = load(config, config.test_split, math.ceil(config.mock / 4))
    if config.batch_size > len(train_examples):
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {len(train_examples)} examples"
        )
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k not in _UNBOUND})
    size, prefetch = min(_TEST_BATCH, config.batch_size), config.prefetch
    evaluator = TopKEvaluator(test, setup.test_views, runtime, batch_size=size, prefetch=prefetch)
    runs = _Runs(setup, workdir, runtime, train_examples, evaluator)
    if not config.teacher_weights:
        setup = dataclasses.replace(setup, teacher=runs.train_teacher())
        runs = dataclasses.replace(runs, setup=setup)
    scores = {"teacher": [runs.score("teacher", lambda: setup.teacher)]}
    cache = runs.cache_teacher() if config.cache else None
    for arm in dict.fromkeys([*([BASELINE] if config.baseline else []), config.method]):
        scores[arm] = [
            runs.score(f"{arm}/seed{seed}", functools.partial(runs.train_student, arm, seed, cache))
            for seed in range(config.seeds)
        ]
    return ImageNetResults(config, train_examples, test, runs.steps(config.epochs), scores)


@dataclasses.dataclass(frozen=True)
class _Runs:
    """The trainings, and what they share."""

    setup: ImageNetSetup
    workdir: pathlib.Path
    runtime: Runtime
    examples: EncodedImages
    evaluator: TopKEvaluator

    def steps(self, epochs: int) -> int:
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
        return self._train("teacher", step, steps, setup.teacher_views, num_views=None)

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
        options |= {"batch_size": config.batch_size, "views": setup.views}
        step = self.runtime.train_step(student, objective, optimizer, **options)
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
        options: dict[str, Any] = {}
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
            codec=Dense("bfloat16"),
            num_views=setup.config.num_views,
            batch_size=_TEST_BATCH,
            **options,
        )

    def _train(
        self, name: str, step: TrainStep, steps: int, views: Views, *, seed: int = 0, **options: Any
    ) -> Network:
        """Trains one network; `options` are those of its loader."""
        config = self.setup.config
        options |= {"seed": seed, "prefetch": config.prefetch, "workers": config.workers}
        loader = self.runtime.loader(self.examples, views, config.batch_size, **options)
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
