"""The runs of experiments.embeddings: the teacher's answers, students by arm and seed, speeds."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

import jaxkd
from experiments.common.costs import Speed, interleaved_speeds
from experiments.common.evaluation import TEST_BATCH
from experiments.common.runner import saved
from experiments.common.runtime import Runtime
from experiments.common.sentence_encoders import Teacher
from experiments.common.study import adamw
from experiments.embeddings.evaluation import Pairs, judge, spearman, unit
from jaxkd import Network, Objective, Term, TrainState, Views, losses
from jaxkd.cache import Cache
from jaxkd.data import Loader, Sequences, eval_batches
from jaxkd.targets import Dense
from jaxkd.training import fit, make_eval_step, predict

if TYPE_CHECKING:
    from experiments.embeddings.config import Config

VIEWS = Views()
ARMS = {
    "encoder": "encoder",
    "encoder_cosine": "encoder, cosine alone",
    "static": "static",
    "static_cosine": "static, cosine alone",
}
"""Names of the arms for people."""

UNTRAINED = "static, untrained"

RELATIONS = {
    "sp": (losses.sp, 100.0),
    "pkt": (losses.pkt, 30_000.0),
    "rkd": (losses.rkd_distance, 1.0),
    "info_nce": (losses.info_nce, 0.2),
}
"""Losses on the similarities in a batch, with the weights that make them count about as much as the
cosines: the first two average over all pairs and are small."""

_EVALUATIONS = 10


def answers(workdir: pathlib.Path, teacher: Teacher, sentences: Sequences) -> Cache:
    """The teacher's embeddings of sentences, asked for where they are not there yet.

    Args:
      workdir: the cache goes below it.
      teacher: the network to ask.
      sentences: in its tokens.

    Returns:
      The cache.

    Raises:
      CacheError: there is one of another teacher, other sentences, or another tokenizer; names it.
    """
    return jaxkd.cache.build(
        workdir / f"answers_{sentences.split}",
        teacher.network,
        sentences,
        VIEWS,
        codec=Dense("float16"),
        batch_size=64,
    )


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What came out.

    Attributes:
      config: the experiment.
      teacher: who was asked.
      train: training sentences.
      test: held-out sentences.
      cache: the answers to the former.
      networks: what was timed and measured, by name, the teacher first.
      scores: by name of the arm what `judge` says, one number a seed.
      steps: by name the training steps of the evaluations.
      curves: by name the Spearman correlation at these `[seeds, points]`.
      speeds: by name of the network.
    """

    config: "Config"
    teacher: Teacher
    train: Sequences
    test: Sequences
    cache: Cache
    networks: dict[str, Network]
    scores: dict[str, dict[str, np.ndarray]]
    steps: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    speeds: dict[str, Speed]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What all arms have in common.

    Attributes:
      config: the experiment.
      workdir: everything is kept below it.
      teacher: who is asked.
      train: training sentences.
      test: held-out sentences.
      make: by kind of student, from a seed to a fresh one.
      runtime: devices and tracing.
    """

    config: "Config"
    workdir: pathlib.Path
    teacher: Teacher
    train: Sequences
    test: Sequences
    make: Mapping[str, Callable[[int], Network]]
    runtime: Runtime

    @functools.cached_property
    def cache(self) -> Cache:
        """The answers to the training sentences."""
        return answers(self.workdir, self.teacher, self.train)

    @functools.cached_property
    def wanted(self) -> np.ndarray:
        """The teacher's embeddings of the held-out sentences."""
        record = answers(self.workdir, self.teacher, self.test).read(self.test.ids, 0)
        return unit(np.asarray(record.decode()["logits"]))

    @functools.cached_property
    def pairs(self) -> Pairs:
        """The pairs that are compared."""
        return Pairs.of(self.wanted, self.config.pairs)

    def run(self, arms: Sequence[str]) -> Embedded:
        """All arms and their speeds."""
        scores, steps, curves = {}, {}, {}
        networks = {self.teacher.name: self.teacher.network}
        for arm in arms:
            runs = [self._result(arm, seed) for seed in range(self.config.seeds)]
            name = ARMS[arm]
            names = [key for key in runs[0] if key not in ("steps", "curve")]
            scores[name] = {key: np.array([float(run[key]) for run in runs]) for key in names}
            steps[name] = runs[0]["steps"]
            curves[name] = np.stack([run["curve"] for run in runs])
            networks[name] = self.make[_kind(arm)](0)
        if any(_kind(arm) == "static" for arm in arms):
            start = self._embed(self.make["static"](0))
            found = judge(start, self.wanted, self.pairs)
            scores[UNTRAINED] = {key: np.array([value]) for key, value in found.items()}
        return Embedded(
            config=self.config,
            teacher=self.teacher,
            train=self.train,
            test=self.test,
            cache=self.cache,
            networks=networks,
            scores=scores,
            steps=steps,
            curves=curves,
            speeds=self._speeds(networks),
        )

    def objective(self, arm: str) -> Objective:
        """What an arm minimizes: cosines, and similarities unless it goes without."""
        terms = {"cosine": Term(losses.feature_cosine)}
        if not arm.endswith("_cosine"):
            loss, weight = RELATIONS[self.config.relation]
            weight *= self.config.relation_weight
            terms["relation"] = Term(loss, weight=weight)
        return Objective(**terms)

    def _result(self, arm: str, seed: int) -> dict[str, np.ndarray]:
        """Of one run; read if it was finished before."""
        directory = self.workdir / arm / f"seed{seed}"

        def made() -> dict[str, np.ndarray]:
            student, rows = self._train(arm, seed, directory)
            scores = judge(self._embed(student), self.wanted, self.pairs)
            return {
                "steps": np.array([row["step"] for row in rows], np.int64),
                "curve": np.array([row["spearman"] for row in rows]),
                **{name: np.array(value) for name, value in scores.items()},
            }

        return saved(directory / "result.npz", made)

    def _train(
        self, arm: str, seed: int, directory: pathlib.Path
    ) -> tuple[Network, list[dict[str, float]]]:
        config, static = self.config, _kind(arm) == "static"
        fresh = self.make[_kind(arm)](seed)
        epochs = config.static_epochs if static else config.epochs
        steps = epochs * (len(self.train) // config.batch_size)
        rate = config.static_learning_rate if static else config.learning_rate
        objective, adam = self.objective(arm), adamw(rate, steps)
        spread = self.runtime.for_batch(config.batch_size)
        step = jaxkd.make_train_step(fresh, objective, adam, views=VIEWS, partitioning=spread)
        log_every = max(1, steps // (2 * _EVALUATIONS))
        process = spread.process if spread else (0, 1)

        def score(state: TrainState) -> dict[str, float]:
            embeddings = unit(self._embed(state.network(fresh)))
            return {"spearman": spearman(embeddings, self.wanted, self.pairs.random)}

        with Loader(
            self.train, VIEWS, config.batch_size, seed=seed, cache=self.cache, process=process
        ) as loader:
            fitted = fit(
                step,
                step.init(seed),
                loader,
                steps=steps,
                log_every=log_every,
                eval_every=2 * log_every,
                evaluate=score,
                checkpoint_every=4 * log_every,
                workdir=directory,
                progress=f"{ARMS[arm]}, seed {seed}",
                profile=self.runtime.profile,
            )
        rows = [{name: float(value) for name, value in row.items()} for row in fitted.eval]
        return fitted.state.network(fresh), rows

    def _embed(self, network: Network) -> np.ndarray:
        """A network's embeddings of the held-out sentences."""
        step = self._steps.get(network.architecture)
        if step is None:
            spread = self.runtime.for_batch(TEST_BATCH)
            step = make_eval_step(network, views=VIEWS, partitioning=spread)
            self._steps[network.architecture] = step
        return predict(step, network, eval_batches(self.test, TEST_BATCH))

    @functools.cached_property
    def _steps(self) -> dict[str, jaxkd.training.EvalStep]:
        # Students differ in variables alone, so one program serves them all.
        return {}

    def _speeds(self, networks: dict[str, Network]) -> dict[str, Speed]:
        # Equal networks are timed once.
        kinds = {network.architecture: name for name, network in reversed(networks.items())}
        timed = {name: network for name, network in networks.items() if name in kinds.values()}
        count = min(self.config.speed_batch, len(self.test))
        batch = self.test.read(self.test.ids[:count])
        speeds = interleaved_speeds(timed, batch, rounds=self.config.speed_rounds)
        return {name: speeds[kinds[network.architecture]] for name, network in networks.items()}


def _kind(arm: str) -> str:
    return arm.split("_")[0]
