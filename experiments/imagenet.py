"""Distillation at the scale of ImageNet: a teacher by its name and weights, three protocols.

The teacher is asked online on the very views that the student sees, or once for all into a cache.
Data: `python -c "import tensorflow_datasets as tfds; tfds.builder('imagenet2012', data_dir='data',
file_format='array_record').download_and_prepare()"` on a machine with TensorFlow, with the two
archives of ILSVRC 2012 in `data/downloads/manual`: 150 GB prepared, and as much for the archives.

Commands:
  # One GPU or one TPU host, all of its devices. Weights: a state dict of torchvision.
  python -m experiments.imagenet --config.data_dir=data --config.teacher_weights=resnet34.pth \
      --config.bfloat16 --workdir=runs/r34_r18
  # Another method, and labels alone beside it.
  python -m experiments.imagenet … --config.method=dist --config.baseline
  python -m experiments.imagenet … --config.pair=resnet50/mobilenet_v1 --config.method=dkd \
      --config.options='{"dkd": {"beta": 2.0}}' --config.teacher_weights=resnet50.pth
  # Function matching: patience is the method.
  python -m experiments.imagenet … --config.protocol=function_matching --config.epochs=1200 \
      --config.pair=resnet152/resnet50 --config.teacher_weights=resnet152.pth
  # DeiT.
  python -m experiments.imagenet … --config.protocol=deit \
      --config.pair=resnet152/deit_tiny_distilled_patch16 --config.teacher_weights=resnet152.pth
  # TPU pod: the same command on every host; data and work directory are shared by all of them.
  gcloud compute tpus tpu-vm ssh NAME --worker=all --command="python -m experiments.imagenet …"
  # Several GPU machines: under SLURM `srun python -m experiments.imagenet …`; elsewhere on each
  python -m experiments.imagenet … --coordinator=first:1234 --num_processes=4 --process_id=0
  # A look without data: 256 made-up images, 20 steps.
  python -m experiments.imagenet --config.mock=256 --config.steps=20 --config.batch_size=32 \
      --config.image_size=64 --config.pair=squeezenet1_1/squeezenet1_1

What the papers reach and these commands aim at (top-1 on the validation images, %); nobody has run
them to the end yet:
  torchvision, R34 (73.31) → R18 (69.75): KD 71.03, DKD 71.70, DIST 72.07.
  torchvision, R50 (76.16) → MobileNetV1 (68.87): KD 70.50, DKD 72.05, DIST 73.24.
  function_matching, BiT R152x2 → R50: 82.8 at 224 pixels after 9,600 epochs. That teacher is not
    among the networks here: a weaker one teaches less.
  deit, DeiT-Ti distilled: 74.5, from a RegNetY-16GF, which is not here either, and with
    RandAugment, random erasing, repeated augmentation and stochastic depth, which are left out.

Time: big_vision's 300 epochs took 15 hours on 32 TPU v3 cores. A step needs `batch_size` decoded
JPEG files, some hundred a second and core of the host: 16 cores read an epoch in a few minutes to
a quarter of an hour. Look at one epoch (`--config.epochs=1`) or at `--profile=20` first. Disc of
the work directory: two checkpoints a run, each three times the student (SGD: twice); a cache takes
2 kB an answer (bfloat16), 2.6 GB a view.

Killed and started again with the same command, it goes on where it was.
"""

import dataclasses
import json
import pathlib

from experiments import findings, launch, methods
from experiments.imagenet_protocols import NORMALS, PROTOCOLS
from experiments.imagenet_runs import Runs
from experiments.refusals import at_least, fields
from jaxkd import models, recipes
from jaxkd.training import is_first


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
    if config.method != "deit":
        methods.check(config.method)
        if config.method != "dot" and not hasattr(recipes, config.method):
            raise ValueError(f"{config.method} is no recipe: see experiments.cifar for strategies")
    if config.method == "dot" and config.protocol != "torchvision":
        raise ValueError(f"dot is an optimizer with momentum, {config.protocol} has its own")
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


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    report = Runs(complete(config), workdir).run()
    if not is_first():  # one writes for all
        return
    findings.save(report, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


if __name__ == "__main__":
    launch.run(main, Config(), "runs/imagenet")
