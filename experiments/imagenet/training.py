"""The trainings of the ImageNet experiment: checked first, kept below one work directory."""

import dataclasses
import json
import math
import pathlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding

import jaxkd
from experiments.common import runner
from experiments.common.runner import Training, save
from experiments.common.runtime import Runtime
from experiments.imagenet.config import Config
from experiments.imagenet.protocols import NORMALS, PROTOCOLS, WEIGHT_DECAY, tenths
from experiments.imagenet.report import Score, hits, report, shown
from jaxkd import Network, Objective, TrainState, Views, models, recipes, weights
from jaxkd.cache import Cache
from jaxkd.data import CenterCrop, EncodedImages, RandomResizedCrop, eval_batches, imagenet
from jaxkd.recipes import AppliedRecipe, Pair
from jaxkd.study import Report
from jaxkd.targets import Dense
from jaxkd.training import (
    EvalStep,
    bind_config,
    is_first,
    make_eval_step,
    predict,
)
from jaxkd.views import RandomFlip

# What changes no run, or adds runs to those that are there.
_FREE = ("data_dir", "method", "seeds", "baseline", "ahead", "workers", "checkpoint_every")
_TEST_BATCH = 256
_LABELS = "labels"


def load(config: Config, split: str, mock: int) -> EncodedImages:
    """Loads one split, cropped as the protocol has it; mock images if `mock` is positive."""
    crop = RandomResizedCrop if split == "train" else CenterCrop
    return imagenet.load(
        config.dataset,
        split,
        image_size=config.image_size,
        crop=crop(config.image_size, interpolation=PROTOCOLS[config.protocol].interpolation),
        data_dir=config.data_dir or None,
        mock=mock,
    )


class Runs:
    """One teacher and its students.

    Args:
      config: as `experiments.imagenet.complete` returns it.
      workdir: everything is kept below it.
      runtime: devices, tracing and consent.

    Raises:
      ValueError: networks, weights or a method that do not fit each other or the images; before any
        data are read.
    """

    def __init__(self, config: Config, workdir: pathlib.Path, runtime: Runtime):
        self.config, self.workdir = config, workdir
        self.protocol = PROTOCOLS[config.protocol]
        self.runtime, self.partitioning = runtime, runtime.partitioning
        # A made-up image knows the classes of its data set, and no file is opened.
        self.num_classes = load(config, "train", mock=1).num_classes
        teacher, self.student = config.pair.split("/")
        self.teacher = self.make(teacher, 100)
        if config.teacher_weights:
            self.teacher, _ = weights.load(
                self.teacher, config.teacher_weights, naming=config.teacher_naming or None
            )
        normal = NORMALS[config.pixels]
        mix = (self.protocol.mix(self.num_classes),) if self.protocol.mix else ()
        self.test_views, self.plain_views = Views((normal,)), Views((RandomFlip(), normal))
        self.views = Views((RandomFlip(), normal, *mix))
        self._eval_steps: dict[str, EvalStep] = {}
        self._check()

    def make(self, name: str, seed: int) -> Network:
        """A fresh network by its name."""
        config = self.config
        model = models.create(
            name, num_classes=self.num_classes, image_size=config.image_size, rngs=nnx.Rngs(seed)
        )
        return jaxkd.from_nnx(model, dtype=jnp.bfloat16 if config.bfloat16 else None)

    def applied(self, seed: int, steps: int, **known: Any) -> AppliedRecipe:
        """The method, applied to a fresh student and the teacher."""
        method = self.config.method
        options = {**self.protocol.options.get(method, {})}
        options |= json.loads(self.config.options).get(method, {})
        side = self.config.image_size
        inputs = jax.ShapeDtypeStruct((self.config.batch_size, side, side, 3), np.float32)
        pair = Pair(self.make(self.student, seed), self.teacher, inputs)
        return recipes.create(method, pair, seed=seed, steps=steps, **known, **options)

    def _check(self) -> None:
        """Traces what the runs will ask of the networks."""
        method, recipe = self.config.method, recipes.get(self.config.method)
        if "id" in recipe.batch_fields and self.views.mixes:
            raise ValueError(
                f"{method} remembers examples by id, and {self.config.protocol} mixes them: choose "
                "another method, or protocol=torchvision"
            )
        # Two examples of different classes stand for the data set, which is not read yet.
        two = types.SimpleNamespace(ids=np.arange(2), labels=np.arange(2))
        applied = self.applied(0, 100, dataset=two)
        pair, objective = applied.pair, applied.objective
        assert pair is not None
        for side in ("teacher", "student"):
            pair.shape(side, "logits")
        asked = {term.teacher for term in objective.terms.values() if term.needs_teacher}
        if self.config.cache and asked - {"logits"}:
            raise ValueError(
                f"{method} compares the teacher's {sorted(map(str, asked))}; a cache of its logits "
                "alone can stand in for it elsewhere: set cache=False"
            )
        self._trace(pair, objective)

    def _trace(self, pair: Pair, objective: Objective) -> None:
        """Traces a step on a batch of the protocol: labels may be mixtures, which not all take."""
        teacher = pair.teacher if objective.needs_teacher else None
        step = jaxkd.make_train_step(
            pair.student, objective, optax.identity(), teacher=teacher, views=self.views
        )
        number = jax.ShapeDtypeStruct((2,), np.int32)
        image = jax.ShapeDtypeStruct((2, *pair.inputs.shape[1:]), np.uint8)
        batch = {"id": number, "view": number, "inputs": image, "labels": number}
        if self.views.mixes:
            batch |= {"partner_inputs": image, "partner_labels": number}
        state = jax.eval_shape(step.init)
        try:
            jax.eval_shape(step.function, step.frozen, state, batch)
        except ValueError as error:
            raise ValueError(
                f"the method {self.config.method} does not fit the protocol "
                f"{self.config.protocol}: {error}"
            ) from error

    def run(self) -> Report:
        """Reads the data, trains what is not trained yet, and reports."""
        config = self.config
        train = load(config, "train", config.mock)
        test = load(config, config.test_split, math.ceil(config.mock / 4))
        if config.batch_size > len(train):
            raise ValueError(
                f"batch_size={config.batch_size} is more than the {len(train)} examples"
            )
        identity = {k: v for k, v in dataclasses.asdict(config).items() if k not in _FREE}
        bind_config(self.workdir, identity)
        steps = self._steps(config.epochs, train)
        scores = {"teacher": [self._teacher(train, test)]}
        cache = self._answers(train) if config.cache else None
        for arm in dict.fromkeys([*([_LABELS] if config.baseline else []), config.method]):
            scores[arm] = [
                self._student(arm, seed, train, test, steps, cache) for seed in range(config.seeds)
            ]
        return report(config, scores, train, test, steps)

    def _steps(self, epochs: int, train: EncodedImages) -> int:
        return self.config.steps or epochs * (len(train) // self.config.batch_size)

    def _teacher(self, train: EncodedImages, test: EncodedImages) -> Score:
        """Trains the teacher if it came without weights; what it scores."""
        config, plain = self.config, PROTOCOLS["torchvision"]
        if not config.teacher_weights:
            steps = self._steps(config.teacher_epochs, train)
            rate = plain.optimizer(steps, config.batch_size / plain.batch_size)
            self.teacher = self._fit(
                "teacher", self.teacher, recipes.labels(), rate, train, test, steps,
                views=self.plain_views, num_views=None,
            )  # fmt: skip
        return self._kept("teacher") or self._keep("teacher", self.teacher, test)

    def _student(
        self,
        arm: str,
        seed: int,
        train: EncodedImages,
        test: EncodedImages,
        steps: int,
        cache: Cache | None,
    ) -> Score:
        """Trains one student; what it scores. A run that was finished is read, not repeated."""
        name = f"{arm}/seed{seed}"
        if found := self._kept(name):
            return found
        config = self.config
        factor = config.batch_size / self.protocol.batch_size
        optimizer, split_gradients = self.protocol.optimizer(steps, factor), False
        if arm == _LABELS:
            student, teacher = self.make(self.student, seed), None
            objective = recipes.labels(**self.protocol.options.get(_LABELS, {}))
        else:
            applied = self.applied(seed, steps, dataset=train)
            student, teacher, objective = applied.student, applied.teacher, applied.objective
            if applied.make_optimizer is not None:
                optimizer = applied.make_optimizer(tenths(steps, factor), weight_decay=WEIGHT_DECAY)
                split_gradients = applied.split_gradients
        taught = objective.needs_teacher
        student = self._fit(
            name, student, objective, optimizer, train, test, steps,
            views=self.views,
            num_views=config.num_views or None,
            teacher=teacher if taught and cache is None else None,
            cache=cache if taught else None,
            seed=seed,
            split_gradients=split_gradients,
        )  # fmt: skip
        return self._keep(name, student, test)

    def _fit(
        self,
        name: str,
        fresh: Network,
        objective: Objective,
        optimizer: optax.GradientTransformation,
        train: EncodedImages,
        test: EncodedImages,
        steps: int,
        *,
        views: Views,
        num_views: int | None,
        cache: Cache | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Network:
        """One training, taken up where it was cut."""
        config = self.config
        step = self.runtime.train_step(
            fresh, objective, optimizer, batch_size=config.batch_size, views=views, **options
        )
        loader = self.runtime.loader(
            train,
            views,
            config.batch_size,
            seed=seed,
            cache=cache,
            num_views=num_views,
            ahead=config.ahead,
            workers=config.workers,
        )

        def score(state: TrainState) -> dict[str, float]:
            logits = self._predict(name, state.network(fresh), test)
            return dict(zip(("accuracy", "top5"), hits(logits, test.labels), strict=True))

        log_every = min(100, max(1, steps // 20))
        training = Training(
            workdir=self.workdir / name,
            step=step,
            loader=loader,
            steps=steps,
            seed=seed,
            evaluate=score,
            log_every=log_every,
            logs_per_evaluation=max(1, steps // 20 // log_every),
            logs_per_checkpoint=max(1, config.checkpoint_every // log_every),
            # A step takes long enough, and stacked batches would take the memory of many.
            steps_per_call=1,
            progress=name,
        )
        return runner.train(training, self.runtime).network

    def _predict(self, name: str, network: Network, test: EncodedImages) -> np.ndarray:
        """Logits on all held-out examples; one program for all seeds of an arm."""
        arm, size = name.partition("/")[0], min(_TEST_BATCH, self.config.batch_size)
        if arm not in self._eval_steps:
            spread = self.partitioning and self.partitioning.for_batch(size)
            self._eval_steps[arm] = make_eval_step(
                network, views=self.test_views, partitioning=spread
            )
        batches = eval_batches(test, size, prefetch=self.config.ahead)
        return predict(self._eval_steps[arm], network, batches)

    def _kept(self, name: str) -> Score | None:
        file = self.workdir / name / "result.npz"
        if not file.exists():
            return None
        with np.load(file) as stored:
            return dict(stored)

    def _keep(self, name: str, network: Network, test: EncodedImages) -> Score:
        """Writes `top1`, `top5` and the `logits` of some examples for all processes to read."""
        logits = self._predict(name, network, test)
        top1, top5 = hits(logits, test.labels)
        file = self.workdir / name / "result.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = logits[shown(test)]
        save(file, {"top1": top1, "top5": top5, "logits": kept})
        found = self._kept(name)
        assert found is not None
        return found

    def _answers(self, train: EncodedImages) -> Cache:
        """The teacher's answers to all views; what is there is not asked again."""
        asked = (self.workdir / "cache", self.teacher, train, self.views)
        kind: dict[str, Any] = {
            "codec": Dense("bfloat16"),
            "num_views": self.config.num_views,
        }
        predicted = jaxkd.cache.forecast(*asked[1:], **kind, student=self.make(self.student, 0))
        if is_first():
            print(f"cache: {predicted}")
        jaxkd.cache.confirm_build(predicted, yes=self.runtime.yes)
        # Each of several processes asks for its own share, on one device.
        alone = self.partitioning is not None and jax.process_count() == 1
        if alone and self.partitioning is not None:
            spread = self.partitioning.for_batch(_TEST_BATCH)
            kind["batch_sharding"] = NamedSharding(spread.mesh, spread.batch)
        return jaxkd.cache.build(*asked, batch_size=_TEST_BATCH, **kind)
