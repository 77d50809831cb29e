"""Running the arms of a study: a student for each seed, by one training or in phases."""

import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import jaxkd
from experiments.common.study import TEST_BATCH, Arm, Result, Study, once, optimizer, scorer
from jaxkd import Network, TrainState
from jaxkd.data import Loader, eval_batches
from jaxkd.strategies import run_phases
from jaxkd.training import TrainStep, evaluate, fit, predict


def run_arm(study: Study, arm: Arm, regime: str) -> Result:
    """Trains one student for each seed; runs that were finished before are read, not repeated."""
    course = _Course(study, arm, regime)
    runs = []
    for seed in study.seeds:
        file = course.directory(seed) / "result.npz"
        runs.append(once(file, functools.partial(course.result, seed)))
    return Result(
        arm=arm,
        logits=np.stack([run["logits"] for run in runs]),
        curve_steps=runs[0]["steps"],
        curve=np.stack([run["accuracy"] for run in runs]),
        seconds=np.array([float(run["seconds"]) for run in runs]),
        probed={
            name.removeprefix("probed."): value
            for name, value in runs[0].items()
            if name.startswith("probed.")
        },
    )


class _Course:
    """How the students of an arm are trained; what they share is compiled once."""

    def __init__(self, study: Study, arm: Arm, regime: str):
        self.study, self.arm, self.regime = study, arm, regime
        self.adam = arm.optimizer or optimizer(study.learning_rate, arm.steps)
        self.views = arm.views or study.views
        self.batch_size = min(study.batch_size, len(arm.train))
        self.spread, self.process = study.lay(self.batch_size)
        self.student = self.fresh(study.seeds[0])
        self.eval_step = study.eval_step
        if arm.extend or arm.deploy:
            self.eval_step = study.eval_step_of(self.deployed(self.student))

    def directory(self, seed: int) -> pathlib.Path:
        """Of one run."""
        return self.study.workdir / _slug(self.regime) / _slug(self.arm.name) / f"seed{seed}"

    def fresh(self, seed: int) -> Network:
        """The student before training."""
        student = self.study.make_student(seed)
        return self.arm.extend(student, seed) if self.arm.extend else student

    def deployed(self, network: Network) -> Network:
        """What is judged."""
        return self.arm.deploy(network) if self.arm.deploy else network

    def result(self, seed: int) -> dict[str, Any]:
        """What one training gives, as arrays."""
        directory, study = self.directory(seed), self.study
        resumed = directory.exists() and any(directory.rglob("checkpoints"))
        started = time.perf_counter()
        student, steps, accuracy = self.train(seed)
        seconds = float("nan") if resumed else time.perf_counter() - started
        probed = study.probe(student) if study.probe and seed == study.seeds[0] else {}
        return {
            "logits": predict(self.eval_step, student, eval_batches(study.test, TEST_BATCH)),
            "steps": np.array(steps),
            "accuracy": np.array(accuracy),
            "seconds": np.array(seconds),
            **{f"probed.{name}": value for name, value in probed.items()},
        }

    def train(self, seed: int) -> tuple[Network, list[int], list[float]]:
        """The trained student, and its accuracy on the way."""
        settings: dict[str, Any] = {
            "progress": f"{self.regime}: {self.arm.name}, seed {seed}",
            "profile": self.study.profile,
        }
        if self.arm.phases:
            return self._in_phases(seed, settings)
        fresh, arm = self.fresh(seed), self.arm
        objective = arm.objective_of(seed) if arm.objective_of else arm.objective
        log_every = max(1, arm.steps // 20)
        with self._loader(seed) as loader:
            fitted = fit(
                self.step,
                self.step.init(seed, student=fresh, objective=objective),
                loader,
                steps=arm.steps,
                log_every=log_every,
                eval_every=log_every * (20 // self.study.evaluations),
                evaluate=self._evaluate(fresh),
                checkpoint_every=log_every * 10,
                workdir=self.directory(seed),
                steps_per_call=self.study.steps_per_call,
                **settings,
            )
        student = self.deployed(fitted.state.network(fresh))
        rows = fitted.eval
        return student, [int(row["step"]) for row in rows], [row["accuracy"] for row in rows]

    @functools.cached_property
    def step(self) -> TrainStep:
        """Of a training without phases; seeds differ in variables alone."""
        return self._make_step(
            self.student,
            self.arm.objective,
            self.adam,
            teacher=self.arm.teacher,
            split_gradients=self.arm.split_gradients,
        )

    def _make_step(self, *networks: Any, **options: Any) -> TrainStep:
        return jaxkd.make_train_step(
            *networks, views=self.views, partitioning=self.spread, **options
        )

    def _loader(self, seed: int) -> Loader:
        return Loader(
            self.arm.train,
            self.views,
            self.batch_size,
            seed=seed,
            cache=self.arm.cache,
            # Views of an arm's own draw (mixtures, noise), anew in each epoch.
            num_views=None if self.arm.views else self.study.num_views,
            process=self.process,
        )

    def _in_phases(
        self, seed: int, settings: dict[str, Any]
    ) -> tuple[Network, list[int], list[float]]:
        assert self.arm.phases is not None
        fresh = self.fresh(seed)
        phases = list(self.arm.phases(fresh, seed))
        log_every = max(1, min(phase.steps for phase in phases) // 10)
        with self._loader(seed) as loader:
            left = run_phases(
                phases,
                loader,
                student=fresh,
                workdir=self.directory(seed),
                make_step=self._make_step,
                seed=seed,
                log_every=log_every,
                checkpoint_every=log_every * 5,
                **settings,
            )
        student = self.deployed(list(left.values())[-1])
        batches = eval_batches(self.study.test, TEST_BATCH)
        scores = evaluate(self.eval_step, student.params, student.state, batches)
        return student, [sum(phase.steps for phase in phases)], [float(scores["accuracy"])]

    def _evaluate(self, fresh: Network) -> Callable[[TrainState], dict[str, float]]:
        if self.arm.deploy is None:
            return scorer(self.study, self.eval_step)

        def score(state: TrainState) -> dict[str, float]:
            judged = self.deployed(state.network(fresh))
            batches = eval_batches(self.study.test, TEST_BATCH)
            return evaluate(self.eval_step, judged.params, judged.state, batches)

        return score


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())
