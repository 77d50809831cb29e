r"""Fashion-MNIST: few labels, long schedules, and an honest look at where a teacher helps.

The real data set through tensorflow-datasets, decoded once into memory. The outputs of a
convolutional teacher (or a ResNet) are cached; a perceptron (or a tiny convolutional network)
learns from them.

Commands:
  # Where there is internet and TensorFlow, tensorflow-datasets downloads the data itself. Elsewhere
  # prepare it from the files of Debian's package dataset-fashion-mnist:
  python -m experiments.datasets.fashion_mnist prepare --data_dir=data
  python -m experiments.fashion_mnist --config.data_dir=data --workdir=runs/fashion_mnist
  # Another student, another teacher, augmented views:
  python -m experiments.fashion_mnist --config.data_dir=data --config.student.name=cnn \
      --config.teacher.name=resnet20 --config.views.crop=2 --config.views.num_views=10 --workdir=…
  # Any method by its name on the same images: experiments.cifar --config.dataset=fashion_mnist

Expected (5 seeds, 2 cores): with 1,000 labels the student gains several points from the unlabeled
pool; with all labels and a short schedule the teacher adds next to nothing; docs/results.md
has the numbers. Killed and started again with the same command, it resumes where it was.
"""

import pathlib

from experiments.common import comparison_report, launch
from experiments.fashion_mnist.config import Config
from experiments.fashion_mnist.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    compared = run(config, workdir, runtime)
    title = (
        f"Distilling on Fashion-MNIST: {config.teacher.name} teaches "
        f"{config.student.name}-{config.student.width}"
    )
    launch.publish(lambda: comparison_report.write(compared, workdir, title), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/fashion_mnist")
