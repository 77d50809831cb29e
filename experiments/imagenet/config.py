"""Configuration of experiments.imagenet."""

import dataclasses
import json
import pathlib

from experiments.common import methods, strategy_arms
from experiments.common.validation import at_least, fields
from experiments.imagenet.protocols import NORMALS, PROTOCOLS
from jaxkd import models, recipes


@dataclasses.dataclass
class Config:
    """The experiment. Where 0 or nothing stands, the protocol's own is taken.

    Attributes:
      dataset: a set of photographs of tensorflow-datasets with a split for training.
      data_dir: of tensorflow-datasets, empty for its own default.
      test_split: what is held out.
      mock: if positive, so many made-up JPEG files instead, and a quarter of them to test on.
      image_size: height and width that networks see.
      pixels: what the teacher's weights were trained with: `imagenet` for its mean and standard
        deviation, `symmetric` for values from -1 to 1.
      pair: teacher and student, names of `jaxkd.models.names()`.
      teacher_weights: a file that `jaxkd.weights.load` reads; empty to train the teacher here, by
        the protocol `torchvision`.
      teacher_naming: whose names the file has: `torchvision`, `timm`, `repdistiller`; empty for
        ours.
      teacher_epochs: of a teacher trained here.
      protocol: `torchvision`, `function_matching` or `deit`.
      method: a recipe by name.
      options: JSON with options of recipes by name, `{"kd": {"temperature": 2.0}}`.
      epochs: passes over the training examples.
      steps: of every training, instead of whole epochs: for a quick look.
      batch_size: of all devices together.
      seeds: students of each arm.
      baseline: whether to train students of labels alone as well.
      cache: ask the teacher once, for `num_views` views of each example; for methods that compare
        logits alone.
      num_views: different views of an example; 0 for new ones in every epoch.
      bfloat16: compute in bfloat16, with float32 parameters.
      ahead: batches that are made ahead of the step.
      workers: processes that make them, 0 for threads of this one.
      checkpoint_every: steps, about.
    """

    dataset: str = "imagenet2012"
    data_dir: str = ""
    test_split: str = "validation"
    mock: int = 0
    image_size: int = 224
    pixels: str = "imagenet"
    pair: str = "resnet34/resnet18"
    teacher_weights: str = ""
    teacher_naming: str = "torchvision"
    teacher_epochs: int = 0
    protocol: str = "torchvision"
    method: str = ""
    options: str = "{}"
    epochs: int = 0
    steps: int = 0
    batch_size: int = 0
    seeds: int = 1
    baseline: bool = False
    cache: bool = False
    num_views: int = 0
    bfloat16: bool = False
    ahead: int = 4
    workers: int = 0
    checkpoint_every: int = 2_000


def complete(config: Config) -> Config:
    """The configuration with the protocol's own for what it leaves open.

    Raises:
      ValueError: what cannot run on any data; names the field.
    """
    if config.protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {config.protocol!r}")
    own = PROTOCOLS[config.protocol]
    config = dataclasses.replace(
        config,
        method=config.method or own.method,
        epochs=config.epochs or own.epochs,
        teacher_epochs=config.teacher_epochs or PROTOCOLS["torchvision"].epochs,
        batch_size=config.batch_size or own.batch_size,
    )
    names = config.pair.split("/")
    if len(names) != 2:
        raise ValueError(f"pair must be teacher/student, not {config.pair!r}")
    for name in names:
        models.entry(name)
    if config.pixels not in NORMALS:
        raise ValueError(f"pixels must be one of {', '.join(NORMALS)}, not {config.pixels!r}")
    if config.method in strategy_arms.NAMES:
        raise ValueError(f"{config.method} is no recipe: see experiments.cifar for strategies")
    if config.method not in recipes.names(language=False):
        methods.check(config.method)
    if recipes.get(config.method).optimizer and config.protocol != "torchvision":
        raise ValueError(
            f"{config.method} is an optimizer with momentum, {config.protocol} has its own"
        )
    at_least(1, fields(config, "image_size", "epochs", "teacher_epochs", "batch_size", "seeds"))
    at_least(0, fields(config, "mock", "steps", "num_views", "ahead", "workers"))
    if config.cache and not config.num_views:
        raise ValueError("cache=True needs num_views, the number of views that are answered")
    try:
        options = json.loads(config.options)
    except json.JSONDecodeError as error:
        raise ValueError(f"options must be JSON, not {config.options!r}: {error}") from error
    if not isinstance(options, dict) or not all(isinstance(v, dict) for v in options.values()):
        raise ValueError(f"options must map recipes to their options, not {config.options!r}")
    file = config.teacher_weights
    inception = names[0].startswith("inception_v3") and config.teacher_naming == "torchvision"
    if file and inception and config.pixels == "imagenet":
        raise ValueError(
            "torchvision's Inception-v3 sees values from -1 to 1, whatever its transforms say (it "
            "scales them itself, `transform_input`): set pixels=symmetric"
        )
    if file and "://" not in file and not pathlib.Path(file).exists():
        raise ValueError(f"teacher_weights={file!r}: there is no such file")
    return config
