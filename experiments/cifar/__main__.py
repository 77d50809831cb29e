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
73.54, 74.81, 74.73; vgg13/vgg8 74.64, 70.36, 72.98, 74.68, 73.89. The report puts them beside what
came out. `--config.reduced` is a short protocol for processors, which proves nothing about methods.

Killed and started again with the same command, it goes on where it was; asked to stop, it saves.
"""

import dataclasses
import pathlib

from flax import nnx

import jaxkd
from experiments.cifar.config import Config, default_learning_rate, network_names, reduced_config
from experiments.cifar.report import make_report
from experiments.cifar.run import CHANNELS, OTHER_CHANNELS, load, student_features
from experiments.common import agreement_report, comparison_report, launch, methods
from experiments.common.runtime import Runtime
from experiments.common.validation import validate
from jaxkd import models, weights
from jaxkd.training import is_first
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    validate(config)
    config = reduced_config(config) if config.reduced else config
    teacher_name, student_name, assistant_name = network_names(config)
    chosen = [name for name in config.method.split(",") if name]
    for name in chosen:
        methods.check(name)
    rates = {
        name: config.protocol.learning_rate or default_learning_rate(name)
        for name in (teacher_name, student_name, assistant_name)
    }
    config = dataclasses.replace(
        config, protocol=dataclasses.replace(config.protocol, learning_rate=rates[student_name])
    )
    train, test = load(config)

    def maker(name: str):
        return lambda seed: jaxkd.from_nnx(
            models.create(
                name,
                num_classes=train.num_classes,
                in_channels=train.shape[-1],
                image_size=train.shape[0],
                norm=config.norm or None,
                rngs=nnx.Rngs(seed),
            )
        )

    teacher = None
    if config.teacher_weights:
        naming = config.teacher_naming or None
        fresh = maker(teacher_name)(0)
        teacher, _ = weights.load(fresh, config.teacher_weights, naming=naming)
    normalize = Normalize(*CHANNELS.get(train.name, OTHER_CHANNELS))
    augmented = () if config.reduced else (RandomCrop(4), RandomFlip())
    compared = methods.run(
        chosen,
        config.protocol,
        workdir,
        train,
        test,
        maker(teacher_name),
        maker(student_name),
        seeds=config.seeds,
        teacher_epochs=config.teacher_epochs or config.protocol.epochs,
        # More methods may join those that a directory already has.
        identity={k: v for k, v in dataclasses.asdict(config).items() if k != "method"},
        make_assistant=maker(assistant_name) if assistant_name else None,
        trained_teacher=teacher,
        teacher_rate=rates[teacher_name],
        assistant_rate=rates[assistant_name],
        views=Views((*augmented, normalize)),
        test_views=Views((normalize,)),
        num_views=config.num_views or (1 if config.reduced else None),
        runtime=runtime,
        probe=student_features,
    )
    features = agreement_report.features_of(compared.teacher, compared.study, compared.study.test)
    if not is_first():  # one writes for all
        return
    report = make_report(config, compared, features, train)
    comparison_report.save(report, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


if __name__ == "__main__":
    launch.run(main, Config(), "runs/cifar")
