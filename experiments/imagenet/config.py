"""Configuration of experiments.imagenet."""

import dataclasses

from experiments.common import methods, strategy_arms
from experiments.common.validation import field, recipe_options, validate
from experiments.imagenet.protocols import NORMALIZATIONS, PROTOCOLS
from jaxkd import models, recipes
from jaxkd._files import local_path


@dataclasses.dataclass
class Config:
    """The experiment. 0 or an empty text stands for the default of the protocol.

    Attributes:
      dataset: a set of photographs of tensorflow-datasets with a split for training.
      data_dir: folder of tensorflow-datasets, empty for its default.
      test_split: name of the held-out split.
      mock: if positive, number of mock JPEG files instead, and a quarter of them to test on.
      image_size: height and width that networks see.
      pixels: normalization that the teacher was trained with: `imagenet` for its mean and standard
        deviation, `symmetric` for values from -1 to 1.
      pair: teacher and student, names of `jaxkd.models.names()`.
      teacher_weights: a file that `jaxkd.weights.load` reads; empty to train the teacher here, by
        the protocol `torchvision`.
      teacher_naming: library whose names the file has: `torchvision`, `timm`, `repdistiller`; empty
        for those of jaxkd.
      teacher_epochs: number of passes of a teacher that is trained here.
      protocol: `torchvision`, `function_matching` or `deit`.
      method: name of a recipe.
      options: JSON with options of recipes by name, `{"kd": {"temperature": 2.0}}`.
      epochs: number of passes over the training examples.
      steps: number of updates of every training, instead of whole epochs: for a quick look.
      batch_size: number of examples in a batch, over all devices together.
      seeds: number of students of each arm.
      baseline: whether to train students of labels alone as well.
      cache: whether the teacher's logits are computed once, for `num_views` views of each example;
        for methods that compare logits alone.
      num_views: number of different views of an example; 0 for new ones in every epoch.
      bfloat16: whether to compute in bfloat16, with float32 parameters.
      prefetch: number of batches that are made ahead of the step.
      workers: number of processes that make them, 0 for threads of this one.
      checkpoint_every: approximate number of steps between two checkpoints.
    """

    dataset: str = "imagenet2012"
    data_dir: str = ""
    test_split: str = "validation"
    mock: int = field(0, ge=0)
    image_size: int = field(224, ge=1)
    pixels: str = field("imagenet", choices=NORMALIZATIONS)
    pair: str = "resnet34/resnet18"
    teacher_weights: str = ""
    teacher_naming: str = "torchvision"
    teacher_epochs: int = field(0, ge=1, unset=0)
    protocol: str = field("torchvision", choices=PROTOCOLS)
    method: str = ""
    options: str = "{}"
    epochs: int = field(0, ge=1, unset=0)
    steps: int = field(0, ge=0)
    batch_size: int = field(0, ge=1, unset=0)
    seeds: int = field(1, ge=1)
    baseline: bool = False
    cache: bool = False
    num_views: int = field(0, ge=0)
    bfloat16: bool = False
    prefetch: int = field(4, ge=0)
    workers: int = field(0, ge=0)
    checkpoint_every: int = field(2_000, ge=1)


def complete(config: Config) -> Config:
    """Checks the configuration and fills in the protocol's defaults for what it leaves open."""
    validate(config)
    protocol = PROTOCOLS[config.protocol]
    config = dataclasses.replace(
        config,
        method=config.method or protocol.method,
        epochs=config.epochs or protocol.epochs,
        teacher_epochs=config.teacher_epochs or PROTOCOLS["torchvision"].epochs,
        batch_size=config.batch_size or protocol.batch_size,
    )
    _check_networks(config)
    _check_method(config)
    if config.cache and not config.num_views:
        raise ValueError("cache=True needs num_views, the number of views that are cached")
    recipe_options("options", config.options, [config.method])
    return config


def _check_networks(config: Config) -> None:
    names = config.pair.split("/")
    if len(names) != 2:
        raise ValueError(f"pair must be teacher/student, not {config.pair!r}")
    for name in names:
        models.entry(name)
    file = config.teacher_weights
    inception = names[0].startswith("inception_v3") and config.teacher_naming == "torchvision"
    if file and inception and config.pixels == "imagenet":
        raise ValueError(
            "torchvision's Inception-v3 sees values from -1 to 1, whatever its transforms say (it "
            "scales them itself, `transform_input`): set pixels=symmetric"
        )
    if file and "://" not in file and not local_path(file).exists():
        raise ValueError(f"teacher_weights={file!r}: there is no such file")


def _check_method(config: Config) -> None:
    if config.method in strategy_arms.NAMES:
        raise ValueError(f"{config.method} is no recipe: see experiments.cifar for strategies")
    if config.method not in recipes.names(language=False, task="classes"):
        methods.check(config.method)
    if recipes.get(config.method).optimizer and config.protocol != "torchvision":
        raise ValueError(
            f"{config.method} is an optimizer with momentum, {config.protocol} has its own"
        )
