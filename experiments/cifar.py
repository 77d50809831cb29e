"""CIFAR-10 and CIFAR-100: every method and strategy by name, every published pair, 240 epochs.

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
from typing import Any

import numpy as np
from flax import nnx

import jaxkd
from experiments import agreement_report, findings, launch, methods
from experiments.datasets import fashion_mnist
from experiments.protocol import ProtocolConfig
from experiments.published import PUBLISHED
from experiments.study import Study
from jaxkd import Network, models, weights
from jaxkd.data import Dataset, images
from jaxkd.metrics import Spread
from jaxkd.study import Report, Section, accuracy_bars
from jaxkd.training import is_first
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

# Mean and standard deviation of the channels, on the training images.
_CHANNELS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
_ELSE = ((0.5,), (0.25,))
_REDUCED = "runs of the reduced protocol for processors"


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `cifar100`, `cifar10`, another set of small images that tensorflow-datasets has, or
        `fashion_mnist` shaped as CIFAR.
      data_dir: of tensorflow-datasets, empty for its own default.
      mock: if positive, so many made-up training images instead.
      pair: names of teacher and student, see `jaxkd.models.names`.
      assistant: name of the network between, for the strategy `assistant`; empty for one that fits.
      method: methods by name, separated by commas; labels alone always come first.
      teacher_weights: a file with the trained teacher, see `jaxkd.weights.read`; empty to train it.
      teacher_naming: whose names it has: `repdistiller`, `torchvision`, `timm`; empty for our own.
      teacher_epochs: passes of the teacher, 0 for as many as a student's.
      norm: `batch` or `group`, empty for each network's own.
      num_views: different views of an example; 0 for new ones in every epoch.
      seeds: students of each method.
      reduced: 2,000 examples and 8 epochs under a cosine, teachers of 2 epochs on all examples, no
        augmentation, half-wide networks: for processors.
      protocol: of the training. A learning rate of 0 is each network's own: 0.01 for MobileNets and
        ShuffleNets, 0.05 for the others.
    """

    dataset: str = "cifar100"
    data_dir: str = ""
    mock: int = 0
    pair: str = "resnet32x4/resnet8x4"
    assistant: str = ""
    method: str = "kd"
    teacher_weights: str = ""
    teacher_naming: str = ""
    teacher_epochs: int = 0
    norm: str = ""
    num_views: int = 0
    seeds: int = 3
    reduced: bool = False
    protocol: ProtocolConfig = dataclasses.field(
        default_factory=lambda: ProtocolConfig(epochs=240, learning_rate=0.0, schedule="steps")
    )


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    config = _reduced(config) if config.reduced else config
    teacher_name, student_name, assistant_name = _names(config)
    chosen = [name for name in config.method.split(",") if name]
    for name in chosen:
        methods.check(name)
    rates = {
        name: config.protocol.learning_rate or _learning_rate(name)
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
    normalize = Normalize(*_CHANNELS.get(train.name, _ELSE))
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
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
        probe=_features,
    )
    features = agreement_report.features_of(compared.teacher, compared.study, compared.study.test)
    if not is_first():  # one writes for all
        return
    report = _report(config, compared, features, train)
    findings.save(report, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test examples, 32×32 with three channels."""
    directory = config.data_dir or None
    if config.dataset == "fashion_mnist" and not config.mock:
        train, test = (
            images.as_cifar(fashion_mnist.load(split, data_dir=directory))
            for split in ("train", "test")
        )
        return train, test
    train = images.load(config.dataset, "train", data_dir=directory, mock=config.mock)
    test = images.load(config.dataset, "test", data_dir=directory, mock=min(config.mock, 1_000))
    return train, test


def _reduced(config: Config) -> Config:
    """The short protocol, but for what has been chosen otherwise."""
    default = Config()
    short: dict[str, Any] = {
        "examples": 2_000,
        "epochs": 8,
        "schedule": "cosine",
        "evaluations": 2,
    }
    left = {
        k: v
        for k, v in short.items()
        if getattr(config.protocol, k) == getattr(default.protocol, k)
    }
    return dataclasses.replace(
        config,
        protocol=dataclasses.replace(config.protocol, **left),
        teacher_epochs=config.teacher_epochs or 2,
        pair="resnet20x0.5/resnet8x0.5" if config.pair == default.pair else config.pair,
    )


def _names(config: Config) -> tuple[str, str, str]:
    """Of teacher, student and assistant; unknown ones end here, before data are read."""
    parts = config.pair.split("/")
    if len(parts) != 2:
        raise ValueError(f"pair must be teacher/student, such as vgg13/vgg8, not {config.pair!r}")
    teacher, student = parts
    assistant = config.assistant or _between(teacher, student)
    for name in (teacher, student, assistant):
        if name:
            models.entry(name)
    if not config.assistant and not assistant and "assistant" in config.method.split(","):
        raise ValueError(
            f"nothing is known between {teacher} and {student}: name one with --config.assistant"
        )
    return teacher, student, assistant


def _learning_rate(name: str) -> float:
    return 0.01 if name.startswith(("mobilenet", "shufflenet")) else 0.05


def _between(teacher: str, student: str) -> str:
    """A network of the student's family whose size is nearest to the geometric mean."""
    own = models.entry(student)
    sizes = {name: models.entry(name).parameters for name in models.names(own.family)}
    if (teacher, student) == ("resnet20x0.5", "resnet8x0.5"):  # whose sizes nobody published
        return "resnet14x0.5"
    low, high = own.parameters, models.entry(teacher).parameters
    if not low or not high:
        return ""
    middle = np.sqrt(low * high)
    fitting = {
        name: abs(np.log(size / middle))
        for name, size in sizes.items()
        if size and low < size < high and models.entry(name).image_size == own.image_size
    }
    return min(fitting, key=lambda name: fitting[name]) if fitting else ""


def _features(study: Study, network: Network) -> dict[str, np.ndarray]:
    return agreement_report.features_of(network, study, study.test)


def _report(
    config: Config,
    compared: methods.Compared,
    teacher_features: dict[str, np.ndarray],
    train: Dataset,
) -> Report:
    results, labels = compared.results, compared.labels
    note = f"{_REDUCED}. " if config.reduced else ""
    published = PUBLISHED.get(config.pair, {}) if config.dataset == "cifar100" else {}
    table = compared.table(
        f"{config.pair} on {train.name}",
        f"{note}{config.protocol.epochs} epochs of {config.protocol.examples or len(train):,} "
        f"examples, batch {config.protocol.batch_size}, learning rate "
        f"{config.protocol.learning_rate:g}.",
    )
    if published and not config.mock and not config.reduced:
        rows = [[*row, published.get(str(row[0]), "")] for row in table.rows]
        columns = [*table.columns, "Published (best epoch)"]
        table = dataclasses.replace(table, columns=columns, rows=rows)
    bars = {r.arm.name: Spread.of(r.accuracies(labels)) for r in results}
    best = agreement_report.best_of(results, labels)
    seen = {
        result.arm.name: agreement_report.similarity(result.probed, teacher_features)
        for result in (results[0], best)
        if result is not None and result.probed
    }
    names = train.class_names or tuple(map(str, range(train.num_classes)))
    first = Section(
        "Methods",
        "All students see the same examples under the same optimizer and schedule, but for what a "
        "method is about: born_again and assistant train several networks one after the other (the "
        "steps are those of all), data_free makes its own examples, frozen_classifier leaves the "
        "last layer alone, stage_wise and dot have optimizers of their own, and teachers_* have "
        "two more teachers, trained like the first.",
        [
            jaxkd.study.compare(r.arm.name, r.accuracies(labels), results[0].accuracies(labels))
            for r in results[1:]
        ],
        [table],
        [
            accuracy_bars(
                bars, teacher=compared.teacher_accuracy, caption="Test accuracy by method."
            )
        ],
    )
    summary = (
        f"{config.pair} on {train.name}: the teacher reaches {compared.teacher_accuracy:.2%}, "
        f"labels alone {Spread.of(results[0].accuracies(labels)) * 100:.2f} %. {note}"
        f"jaxkd {jaxkd.__version__}, {config.seeds} seeds."
    )
    sections = [
        first,
        agreement_report.section(results, compared.teacher_logits, labels, names, seen),
    ]
    return Report(f"Distilling {config.pair}", summary, sections)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/cifar")
