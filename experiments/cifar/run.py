"""The trainings of experiments.cifar."""

import dataclasses
import pathlib
from collections.abc import Callable

from flax import nnx

import jaxkd
from experiments import datasets
from experiments.cifar.config import Config, default_learning_rate, network_names, reduced_config
from experiments.common import methods
from experiments.common.methods import MethodResults
from experiments.common.protocol import MethodData, MethodNetworks
from experiments.common.validation import validate
from jaxkd import Network, models, weights
from jaxkd.data import Dataset, images
from jaxkd.study.runtime import Runtime
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

# Mean and standard deviation of the channels, on the training images.
CHANNELS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
OTHER_CHANNELS = ((0.5,), (0.25,))


@dataclasses.dataclass(frozen=True)
class CifarResults:
    """Everything that the report shows.

    Attributes:
      config: configuration, with the learning rate of the student.
      train: training examples.
      methods: results of all methods.
    """

    config: Config
    train: Dataset
    methods: MethodResults


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Loads training and test examples, 32×32 with three channels."""
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir, mock=mock)
        for split, mock in (("train", config.mock), ("test", min(config.mock, 1_000)))
    )
    if config.dataset == "fashion_mnist" and not config.mock:
        return images.as_cifar(train), images.as_cifar(test)
    return train, test


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> CifarResults:
    """Trains the teacher and the students of all methods; refuses what cannot run before that."""
    validate(config)
    config = reduced_config(config) if config.reduced else config
    chosen = [name for name in config.method.split(",") if name]
    for name in chosen:
        methods.check(name)
    networks = network_names(config)
    rates = [config.protocol.learning_rate or default_learning_rate(name) for name in networks]
    protocol = dataclasses.replace(config.protocol, learning_rate=rates[1])
    config = dataclasses.replace(config, protocol=protocol)
    train, test = load(config)
    results = methods.run(
        chosen,
        protocol,
        _networks(config, train, networks, rates),
        _data(config, train, test),
        workdir,
        runtime,
        seeds=config.seeds,
        teacher_epochs=config.teacher_epochs or protocol.epochs,
        # More methods may join those that a directory already has.
        identity={k: v for k, v in dataclasses.asdict(config).items() if k != "method"},
    )
    return CifarResults(config, train, results)


def _networks(
    config: Config, train: Dataset, names: tuple[str, str, str], rates: list[float]
) -> MethodNetworks:
    """Returns teacher, student and assistant, by their names and learning rates."""

    def maker(name: str) -> Callable[[int], Network]:
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

    teacher, student, assistant = names
    trained = None
    if config.teacher_weights:
        naming = config.teacher_naming or None
        trained, _ = weights.load(maker(teacher)(0), config.teacher_weights, naming=naming)
    return MethodNetworks(
        make_teacher=maker(teacher),
        make_student=maker(student),
        make_assistant=maker(assistant) if assistant else None,
        trained_teacher=trained,
        teacher_rate=rates[0],
        assistant_rate=rates[2],
    )


def _data(config: Config, train: Dataset, test: Dataset) -> MethodData:
    normalize = Normalize(*CHANNELS.get(train.name, OTHER_CHANNELS))
    augmented = () if config.reduced else (RandomCrop(4), RandomFlip())
    return MethodData(
        train,
        test,
        views=Views((*augmented, normalize)),
        test_views=Views((normalize,)),
        num_views=config.num_views or (1 if config.reduced else None),
    )
