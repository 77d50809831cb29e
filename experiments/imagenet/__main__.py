r"""Distillation at the scale of ImageNet: a teacher by its name and weights, three protocols.

The teacher's forward pass runs online on the very views that the student sees, or once for all
views, and its outputs are cached.
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
  # A quick look without data: 256 mock images, 20 steps.
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
a quarter of an hour. Look at one epoch (`--config.epochs=1`) or at `--profile=20` first. Disk of
the work directory: two checkpoints a run, each three times the student (SGD: twice); a cache takes
2 kB for each example and view (bfloat16), 2.6 GB a view.

Killed and started again with the same command, it resumes where it was.
"""

import pathlib

from experiments.common import launch
from experiments.imagenet import report
from experiments.imagenet.config import Config, complete
from experiments.imagenet.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    results = run(complete(config), workdir, runtime)
    launch.publish(lambda: report.write(results, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/imagenet")
