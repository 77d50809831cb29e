"""Training of experiments.cifar."""

import numpy as np

from experiments import datasets
from experiments.cifar.config import Config
from experiments.common import agreement_report
from experiments.common.study import Study
from jaxkd import Network
from jaxkd.data import Dataset, images

# Mean and standard deviation of the channels, on the training images.
CHANNELS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


OTHER_CHANNELS = ((0.5,), (0.25,))


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test examples, 32×32 with three channels."""
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir, mock=mock)
        for split, mock in (("train", config.mock), ("test", min(config.mock, 1_000)))
    )
    if config.dataset == "fashion_mnist" and not config.mock:
        return images.as_cifar(train), images.as_cifar(test)
    return train, test


def student_features(study: Study, network: Network) -> dict[str, np.ndarray]:
    """Features of the layers of a student on the test examples."""
    return agreement_report.features_of(network, study, study.test)
