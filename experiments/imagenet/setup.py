"""What all runs of the ImageNet experiment are made from, checked before any data are read."""

import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.common.validation import recipe_options
from experiments.imagenet.config import Config
from experiments.imagenet.protocols import NORMALIZATIONS, PROTOCOLS, TrainingProtocol
from jaxkd import Network, Objective, Views, models, recipes, weights
from jaxkd.data import CenterCrop, EncodedImages, RandomResizedCrop, imagenet
from jaxkd.recipes import AppliedRecipe, Pair
from jaxkd.views import RandomFlip


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


@dataclasses.dataclass(frozen=True)
class ImageNetSetup:
    """Networks, views and method of all runs.

    Attributes:
      config: complete configuration.
      num_classes: number of classes of the data set.
      teacher: the teacher, trained or not.
    """

    config: Config
    num_classes: int
    teacher: Network

    @property
    def protocol(self) -> TrainingProtocol:
        """Protocol of the students."""
        return PROTOCOLS[self.config.protocol]

    @functools.cached_property
    def views(self) -> Views:
        """The views of training examples, of students and of their teacher."""
        mix = (self.protocol.mix(self.num_classes),) if self.protocol.mix else ()
        return Views((*self.teacher_views.transforms, *mix))

    @functools.cached_property
    def teacher_views(self) -> Views:
        """The views of training examples of a teacher that is trained here."""
        return Views((RandomFlip(), *self.test_views.transforms))

    @functools.cached_property
    def test_views(self) -> Views:
        """The views of held-out examples."""
        return Views((NORMALIZATIONS[self.config.pixels],))

    def make_student(self, seed: int) -> Network:
        """Makes an untrained student."""
        return make_network(self.config, self.config.pair.split("/")[1], self.num_classes, seed)

    def apply_method(self, seed: int, steps: int, dataset: Any) -> AppliedRecipe:
        """Applies the method to an untrained student and the teacher; recipes read the dataset."""
        config = self.config
        options = {**self.protocol.options.get(config.method, {})}
        options |= recipe_options("options", config.options).get(config.method, {})
        shape = (config.batch_size, config.image_size, config.image_size, 3)
        inputs = jax.ShapeDtypeStruct(shape, np.float32)
        pair = Pair(self.make_student(seed), self.teacher, inputs)
        return recipes.create(
            config.method, pair, seed=seed, steps=steps, dataset=dataset, **options
        )


def make_network(config: Config, name: str, num_classes: int, seed: int) -> Network:
    """Makes an untrained network by its name."""
    model = models.create(
        name, num_classes=num_classes, image_size=config.image_size, rngs=nnx.Rngs(seed)
    )
    return jaxkd.from_nnx(model, dtype=jnp.bfloat16 if config.bfloat16 else None)


def prepare(config: Config) -> ImageNetSetup:
    """Makes what all runs are made from, and checks that it fits before any data are read."""
    # A mock image has the classes of its data set, and no file is opened.
    num_classes = load(config, "train", mock=1).num_classes
    teacher = make_network(config, config.pair.split("/")[0], num_classes, 100)
    if config.teacher_weights:
        naming = config.teacher_naming or None
        teacher, _ = weights.load(teacher, config.teacher_weights, naming=naming)
    setup = ImageNetSetup(config, num_classes, teacher)
    _check(setup)
    return setup


def _check(setup: ImageNetSetup) -> None:
    """Traces the networks as the runs will use them."""
    config = setup.config
    if "id" in recipes.get(config.method).batch_fields and setup.views.mixes:
        raise ValueError(
            f"{config.method} remembers examples by id, and {config.protocol} mixes them: choose "
            "another method, or protocol=torchvision"
        )
    # Two examples of different classes stand for the data set, which is not read yet.
    two = types.SimpleNamespace(ids=np.arange(2), labels=np.arange(2))
    applied = setup.apply_method(0, 100, two)
    pair, objective = applied.pair, applied.objective
    assert pair is not None
    for side in ("teacher", "student"):
        pair.shape(side, "logits")
    needed = {term.teacher for term in objective.terms.values() if term.needs_teacher}
    if config.cache and needed - {"logits"}:
        raise ValueError(
            f"{config.method} compares the teacher's {sorted(map(str, needed))}, and a cache holds "
            "its logits alone: set cache=False"
        )
    _trace(setup, pair, objective)


def _trace(setup: ImageNetSetup, pair: Pair, objective: Objective) -> None:
    """Traces a step on a batch of the protocol: not every method takes mixtures of labels."""
    teacher = pair.teacher if objective.needs_teacher else None
    step = jaxkd.make_train_step(
        pair.student, objective, optax.identity(), teacher=teacher, views=setup.views
    )
    number = jax.ShapeDtypeStruct((2,), np.int32)
    image = jax.ShapeDtypeStruct((2, *pair.inputs.shape[1:]), np.uint8)
    batch = {"id": number, "view": number, "inputs": image, "labels": number}
    if setup.views.mixes:
        batch |= {"partner_inputs": image, "partner_labels": number}
    state = jax.eval_shape(step.init)
    try:
        jax.eval_shape(step.function, step.frozen, state, batch)
    except ValueError as error:
        raise ValueError(
            f"the method {setup.config.method} does not fit the protocol "
            f"{setup.config.protocol}: {error}"
        ) from error
