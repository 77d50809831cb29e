r"""CIFAR-10 and CIFAR-100: every method and strategy by name, every published pair, 240 epochs.

The protocol of the CIFAR-100 tables in the literature: batches of 64, SGD with momentum 0.9 and
weight decay 5e-4, learning rate 0.05 (0.01 for MobileNets and ShuffleNets) divided by ten after
150, 180 and 210 of 240 epochs, crops of images padded by 4, flips. Last epoch, several seeds.

Commands:
  # One GPU; the teacher is trained first, by the same protocol, and kept in the work directory.
  python -m experiments.cifar --config.pair=resnet32x4/resnet8x4 --config.method=kd,dkd,dist \
      --config.data_dir=data --workdir=runs/cifar
  # A teacher from elsewhere: a state dict of RepDistiller's names.
  python -m experiments.cifar --config.pair=resnet56/resnet20 --config.method=kd \
      --config.teacher_weights=resnet56.pth --config.teacher_naming=repdistiller --workdir=…
  # A TPU slice or several GPUs: the batch is shared; larger batches want a larger learning rate.
  python -m experiments.cifar --config.protocol.batch_size=512 \
      --config.protocol.learning_rate=0.4 --workdir=…
  # Without any data, in a minute or two; and on Fashion-MNIST shaped as CIFAR.
  python -m experiments.cifar --config.mock=640 --config.protocol.epochs=1 \
      --config.teacher_epochs=1 --config.pair=resnet14/resnet8 --config.seeds=1
  python -m experiments.cifar --config.dataset=fashion_mnist --config.reduced=True \
      --config.method=kd,dkd,mutual,self_average --workdir=runs/fashion_as_cifar

Methods are the recipes of `jaxkd.recipes` and the strategies: several teachers (`teachers_mean`,
`teachers_confidence`, `teachers_random`), `mutual`, `self_average`, `born_again`, `assistant`,
`progressive`, `early_stopped`, `stage_wise`, `teacher_layers`, `frozen_classifier`, `data_free`,
`function_matching`; `simkd` is the reused classifier behind a projector.

Expected on CIFAR-100, the best epoch of published runs (about 0.3 points above the last epoch), in
the order teacher, student, KD, DKD, DIST: resnet56/resnet20 72.34, 69.06, 70.66, 71.97, 71.75;
resnet110/resnet32 74.31, 71.14, 73.08, 74.11, 73.69; resnet32x4/resnet8x4 79.42, 72.50, 73.33,
76.32, 76.31; wrn_40_2/wrn_16_2 75.61, 73.26, 74.92, 76.23, 75.51; wrn_40_2/wrn_40_1 75.61, 71.98,
73.54, 74.81, 74.73; vgg13/vgg8 74.64, 70.36, 72.98, 74.68, 73.89. The report puts them beside the
results. `--config.reduced` is a short protocol for CPUs, which proves nothing about methods.

Killed and started again with the same command, it resumes where it was; asked to stop, it saves.
"""

import pathlib

from experiments.cifar import report
from experiments.cifar.config import Config
from experiments.cifar.run import run
from experiments.common import launch
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    results = run(config, workdir, runtime)
    launch.publish(lambda: report.write(results, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/cifar")
