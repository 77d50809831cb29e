"""A study: several ways of training one student, each with a run for every seed."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from jaxkd.cache._foreign import runnable
from jaxkd.data import Examples, raw_batch
from jaxkd.metrics.in_step import Metric
from jaxkd.networks import Network
from jaxkd.objective import Objective
from jaxkd.recipes import Pair
from jaxkd.study import _study_arguments as arguments
from jaxkd.study._run_study import run_study
from jaxkd.study._teacher_caches import TeacherCaches, digest, fingerprint_of, teacher_source
from jaxkd.study._wording import budget_of, counted
from jaxkd.study.arms import WEIGHT_DECAY, Arm, ArmTraining, as_arms
from jaxkd.study.evaluator import Evaluator, make_evaluator_of
from jaxkd.study.measures import Measure, measure_of
from jaxkd.study.results import StudyResults
from jaxkd.study.runtime import Runtime
from jaxkd.study.tuning import Tuning, tune
from jaxkd.views import Views


class Study:
    """Arms over seeds: every way of training a student, with a run for each seed, on the same data.

    A run is resumed where it was killed and ends in the same numbers; a finished one is read from
    its folder. Outputs of the teacher are cached once for all arms and seeds. Runs of one seed
    start from the same weights and see the same batches whatever the arm, so that arms are compared
    by paired differences. What is chosen is chosen on `"validation"`; `"test"` is evaluated once,
    after the choice, and the work directory counts how often.

    Args:
      data: name → examples: `"train"`, `"validation"`, `"test"`, as `jaxkd.data.split` returns
        them, and any others that arms name, such as `"transfer"`, unlabeled examples for arms with
        a teacher. Without `"validation"` arms are compared on `"test"` and nothing is chosen. A
        single data set is split at random, 80, 10 and 10 %.
      make_student: function from a seed to an untrained student.
      teacher: a trained network, a teacher of `jaxkd.teachers`, or None where no arm needs one.
      arms: names of methods, or `Arm`s.
      seeds: the seeds, or their number, from 0 on.
      steps: number of updates of every student, whatever it trains on. Give one of these three.
      epochs: the same in passes over the training examples.
      seconds: the same as the time that one student may train on this machine, measured once for
        each arm, without compilation.
      workdir: folder of all runs; arms and metrics that are not those of the folder are refused.
      caches: folder of the caches, which studies may share; by default in `workdir`.
      batch_size: number of examples in a batch, at most as many as there are.
      learning_rate: peak of the default optimizer, AdamW with weight decay 1e-4 under a cosine that
        warms up over a twentieth of the steps.
      make_optimizer: function from the number of steps and the learning rate to an optimizer, in
        place of the default one.
      views: how networks see training examples; by default `Normalize()` for images of 8 bits, and
        as they are for others.
      eval_views: how networks see held-out examples; by default what of `views` is not random.
      num_views: number of different views of an example; by default 1 where views are not random,
        otherwise 10.
      metrics: name → metric; by default those that the labels call for (`jaxkd.make_eval_step`).
      metric: name of the metric that arms are compared by, or `(name, "max")`, `(name, "min")` for
        one of your own; by default the first one.
      make_evaluator: function from held-out examples, views and `runtime` to an `Evaluator` of your
        own, which measures in place of `metrics`; `metric` says which of its scores is better.
      codec: how cached logits are stored, or one codec for each output that is named, as of
        `jaxkd.cache.build`. Other outputs that a method compares are cached as float32 where that
        pays (`Arm.online`).
      population: whether the seeds of an arm, and arms that differ in numbers, train in one program
        and see one order of batches: faster for small networks. By default where all arms are
        recipes that compare no features, the student has no convolution and there is one device;
        True spreads them over those of one process. A number is the most that one program trains.
      evaluations: number of evaluations during each training, 1 to 20.
      steps_per_call: see `jaxkd.training.fit`.
      loader_options: further arguments of `jaxkd.data.Loader`.
      show: function from a batch of inputs to a text or an image of 8 bits each, as the report
        shows examples; by default images, rows of bytes and numbers are shown.
      runtime: devices and tracing.

    Raises:
      TypeError: an argument of another kind; says what to write.
      ValueError: data without training or held-out examples, arms of one name, no budget or two.
      NotADirectoryError: `workdir` or `caches` is a file.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> from jaxkd.data import Dataset, split
      >>> x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
      >>> data = Dataset.from_arrays(x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> study = Study(
      ...     split(data, {"train": 0.5, "validation": 0.25, "test": 0.25}),
      ...     lambda seed: jaxkd.from_function(linear, 0.1 * jnp.full((4, 4), float(seed))),
      ...     jaxkd.from_function(linear, 5.0 * jnp.eye(4)),
      ...     arms=["labels", "kd"], seeds=2, steps=4, workdir=tempfile.mkdtemp())
      >>> results = study.run(progress=False)
      >>> results.chosen in results.arms, results["kd"].validation["accuracy"].shape
      (True, (2,))
    """

    def __init__(
        self,
        data: Examples | Mapping[str, Examples],
        make_student: Callable[[int], Network],
        teacher: Any = None,
        *,
        arms: Sequence[str | Arm] = ("labels", "label smoothing", "kd"),
        seeds: int | Sequence[int] = 3,
        steps: int | None = None,
        epochs: float | None = None,
        seconds: float | None = None,
        workdir: str | pathlib.Path,
        caches: str | pathlib.Path | None = None,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        make_optimizer: Callable[[int, float], optax.GradientTransformation] | None = None,
        views: Views | None = None,
        eval_views: Views | None = None,
        num_views: int | None = None,
        metrics: Mapping[str, Metric] | None = None,
        metric: str | tuple[str, str] | None = None,
        make_evaluator: Callable[[Examples, Views, Runtime], Evaluator] | None = None,
        codec: Any = None,
        population: bool | int | None = None,
        evaluations: int = 10,
        steps_per_call: int | None = None,
        loader_options: Mapping[str, Any] | None = None,
        show: Callable[[Any], Sequence[Any]] | None = None,
        runtime: Runtime | None = None,
    ):
        given = dict(locals())
        self._given = {name: given[name] for name in given if name != "self"}
        self.data = arguments.checked_data(data)
        self.make_student = arguments.checked_make_student(make_student)
        self.teacher = None if teacher is None else runnable(teacher)
        self.arms = as_arms(arms)
        arguments.check_names([arm.name for arm in self.arms])
        self.seeds = arguments.checked_seeds(seeds)
        train = self.data["train"]
        self.batch_size = arguments.checked_batch_size(batch_size, train)
        an_epoch = max(1, len(train) // self.batch_size)
        self.steps = arguments.checked_steps(steps, epochs, seconds, an_epoch)
        self.seconds, self.workdir = seconds, arguments.checked_folder("workdir", workdir)
        self.learning_rate = arguments.checked_learning_rate(learning_rate)
        self._make_optimizer = make_optimizer
        arguments.check_kinds(self._given)
        self.views = arguments.default_views(train) if views is None else views
        self.eval_views = arguments.eval_views_of(self.views) if eval_views is None else eval_views
        self.num_views = arguments.checked_num_views(num_views, self.views)
        self.metrics, self._metric, self.make_evaluator = metrics, metric, make_evaluator
        self.codec, self.population = codec, population
        self.evaluations = arguments.checked_evaluations(evaluations)
        self.steps_per_call = steps_per_call
        self.loader_options = dict(loader_options or {})
        self.show = show
        self.runtime = Runtime() if runtime is None else runtime
        caches = self.workdir / "caches" if caches is None else caches
        folder = arguments.checked_folder("caches", caches)
        self.caches = TeacherCaches(folder, [*self.data.values()], codec, self.runtime.yes)
        self._evaluators: dict[str, Evaluator] = {}

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(part):,}" for name, part in self.data.items())
        runs = f"{counted(len(self.seeds), 'seed')}, {budget_of(self.steps, self.seconds)}"
        parts += "; " + ", ".join(arm.name for arm in self.arms)
        return f"Study({parts}; {runs}, {str(self.workdir)!r})"

    def replace(self, **changes: Any) -> Study:
        """Returns the same study with some arguments changed."""
        if {"steps", "epochs", "seconds"} & changes.keys():
            changes = {"steps": None, "epochs": None, "seconds": None, **changes}
        return Study(**{**self._given, **changes})

    @property
    def part(self) -> str:
        """Name of the data that arms are compared and chosen on."""
        return "validation" if "validation" in self.data else "test"

    @functools.cached_property
    def measure(self) -> Measure:
        """What arms are compared by."""
        name, direction = self._metric or "", ""
        if isinstance(name, tuple):
            name, direction = name
        others: Sequence[str] = ()
        if not name or self.make_evaluator is not None:
            others = self.evaluator(self.part).names(self.make_student(self.seeds[0]))
        return measure_of(name or others[0], self.metrics, direction, others=others)

    @property
    def metric_name(self) -> str:
        """Name of what arms are compared by."""
        return self.measure.name

    @functools.cached_property
    def fingerprints(self) -> dict[str, Any]:
        """What teacher, student and training examples are known by in the folders of runs."""
        train, student = self.data["train"], self.make_student(self.seeds[0]).name
        known = [train.fingerprint, digest(train.ids)]
        return {"teacher": fingerprint_of(self.teacher), "student": student, "train": known}

    @functools.cached_property
    def inputs(self) -> Any:
        """Shape and type of a batch as networks see it."""
        return jax.eval_shape(self.first_inputs)

    def first_inputs(self) -> Any:
        """Returns a batch of training inputs as networks see them."""
        train, ids = self.data["train"], self.data["train"].ids[: self.batch_size]
        return self.views.render(raw_batch(train, self.views, ids, 0 * ids))["inputs"]

    def evaluator(self, part: str) -> Evaluator:
        """Returns what measures networks on held-out examples, with its compiled programs."""
        if part not in self._evaluators:
            self._evaluators[part] = make_evaluator_of(self, part)
        return self._evaluators[part]

    def schedule(self, steps: int | None = None, rate: float | None = None) -> optax.Schedule:
        """Makes the default learning rate: a cosine that warms up over a twentieth of the steps."""
        steps, rate = steps or self.steps, self.learning_rate if rate is None else rate
        return optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 20), max(2, steps))

    def optimizer(
        self, steps: int | None = None, rate: float | None = None
    ) -> optax.GradientTransformation:
        """Makes the optimizer of a training, by default of the study's steps."""
        steps, rate = steps or self.steps, self.learning_rate if rate is None else rate
        if self._make_optimizer is not None:
            return self._make_optimizer(steps, rate)
        return optax.adamw(self.schedule(steps, rate), weight_decay=WEIGHT_DECAY)

    def network_teacher(self, who: str) -> Network:
        """Returns the teacher where it is a network; a method that needs one is named if not."""
        return arguments.as_network(self.teacher, who)

    def pair(self, seed: int, teacher: Network) -> Pair:
        """Returns the untrained student of a seed and a teacher, with the shape of a batch."""
        return Pair(self.make_student(seed), teacher, self.inputs)

    def training(
        self,
        seed: int,
        objective: Objective,
        *,
        data: str | None = None,
        teacher: Any = None,
        online: bool | None = None,
        steps: int | None = None,
        student: Network | None = None,
        views: Views | None = None,
        **changes: Any,
    ) -> ArmTraining:
        """Makes the training of the student by an objective.

        Args:
          seed: of the student.
          objective: what is minimized.
          data: name of the data to train on, as of an `Arm`.
          teacher: another teacher than the study's.
          online: whether its forward pass is made in every step, as of an `Arm`.
          steps: number of updates, by default the study's.
          student: network to train; by default `make_student(seed)`.
          views: how it sees the examples; by default the study's.
          **changes: further fields of `ArmTraining`: `optimizer`, `deploy`, a `cache` of one's own.

        Returns:
          The training.
        """
        steps, views = steps or self.steps, self.views if views is None else views
        teacher = self.teacher if teacher is None else runnable(teacher)
        needs, phases = objective.needs_teacher, changes.get("phases", ())
        examples = self.examples(data, needs)
        known: dict[str, Any] = {"examples": examples, "optimizer": self.optimizer(steps)}
        student = self.make_student(seed) if student is None else student
        if needs and not phases and "cache" not in changes:
            known |= teacher_source(
                self, objective, teacher, online, examples, views, student=student, steps=steps
            )
        known |= {"num_views": self.num_views, "views": views, **changes}
        return ArmTraining(student=student, objective=objective, steps=steps, **known)

    def run(self, *, test: bool = True, progress: bool = True) -> StudyResults:
        """Trains all students, or reads what finished runs gave, and measures them.

        Args:
          test: whether to evaluate on `"test"`, after the choice on `"validation"`; the work
            directory counts how often that was done for which arms.
          progress: whether to show progress bars.

        Returns:
          The results, which are also in `results.json` of the work directory.

        Raises:
          FloatingPointError: loss or parameters of a student are not finite.
          TypeError: a method that needs a teacher of JAX, and there is none.
          ValueError: an arm that does not fit the networks, a folder of another arm, and what
            `jaxkd.training.fit` refuses.
        """
        return run_study(self, test=test, progress=progress)

    def tune(
        self,
        method: str | Sequence[str] = "kd",
        *,
        samples: int | None = None,
        seeds: int | Sequence[int] = 2,
        steps: int | None = None,
        epochs: float | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Tuning:
        """Chooses options and method on validation, and confirms the choice on fresh seeds.

        Args:
          method: name of a recipe, or of several.
          samples: number of settings that are tried, at random; None for all combinations.
          seeds: seeds of the trainings that choose, or their number; the study's own confirm.
          steps: number of updates of each training that chooses; by default the study's budget.
          epochs: the same in passes over the training examples.
          progress: whether to show progress bars.
          **options: option → values to try, `temperature=[1.0, 2.0, 4.0]`; a method leaves out what
            it does not take. Numbers of one recipe train together where that is faster. A setting
            whose loss or parameters become infinite or nan has no number and is never chosen.

        Returns:
          All settings, the chosen one, and what it is worth against `kd` at its defaults (alpha
          0.9, temperature 4) and against labels.

        Raises:
          FloatingPointError: all settings diverge, or one that confirms.
          TypeError: a method that is no name.
          ValueError: no validation examples, an option that no method takes or without values, a
            single setting or two of one name, seeds that are the study's, or both steps and epochs.
        """
        budget = {"steps": steps, "epochs": epochs}
        return tune(
            self, method, options, samples=samples, seeds=seeds, budget=budget, progress=progress
        )

    def examples(self, name: str | None, needs_teacher: bool) -> Examples:
        """Returns the data of a name; without one, those that an objective trains on."""
        if name is None:
            name = "transfer" if needs_teacher and "transfer" in self.data else "train"
        if name not in self.data:
            raise ValueError(f"there is no data {name!r} in the study; there are {list(self.data)}")
        return self.data[name]
