"""The options that `distill` and `tune` share."""

import argparse
import pathlib
from typing import Any

from jaxkd._files import local_path
from jaxkd._parser import Parser, add_list

AUGMENTATIONS = ("flip", "crop")


def add_study_options(parser: Parser, seeds: int) -> None:
    """Adds data, networks, budget and place of a study.

    Args:
      parser: the parser.
      seeds: default number of seeds.
    """
    what = parser.add_argument_group("what")
    what.add_argument(
        "--data",
        required=True,
        help="folder of images with a folder for each class (or train, validation and test with "
        "such folders), a .csv, .tsv or .parquet of paths and labels, a data set of "
        "tensorflow-datasets, or module:function",
    )
    what.add_argument(
        "--teacher",
        required=True,
        help="a network with its weights (resnet50:weights.safetensors), a .onnx file, an exported "
        "program (.stablehlo), module:function, train:NAME to train one of this name first, or "
        "none",
    )
    what.add_argument(
        "--student", required=True, help="name of a network (jaxkd.models.names()), module:function"
    )
    what.add_argument("--out", required=True, help="folder of everything that is written")

    long = parser.add_argument_group("how long (one of these)").add_mutually_exclusive_group()
    long.add_argument(
        "--epochs", type=float, help="passes over the training examples (default: 30)"
    )
    long.add_argument("--steps", type=int, help="number of updates")
    long.add_argument("--seconds", type=float, help="time of one training on this machine")

    how = parser.add_argument_group("how")
    add_list(how, "--seeds", int, default=[seeds], help="number of seeds, or a list of them")
    how.add_argument("--batch-size", type=int, default=128, help="examples in a batch")
    how.add_argument("--learning-rate", type=float, default=1e-3, help="peak of the learning rate")
    how.add_argument("--size", type=int, default=224, help="height and width of images of files")
    add_list(how, "--mean", float, default=[0.0], help="mean of each channel, of pixels in [0, 1]")
    add_list(how, "--std", float, default=[1.0], help="deviation of each channel, likewise")
    add_list(
        how,
        "--augment",
        choices=AUGMENTATIONS,
        default=[],
        help="random changes of training images: flip, crop (by up to an eighth); by default none",
    )
    how.add_argument("--num-views", type=int, help="views of an image (default: 1, or 10 random)")
    how.add_argument("--path-column", default="path", help="column of the paths in a table")
    how.add_argument("--label-column", default="label", help="column of the labels in a table")
    how.add_argument(
        "--num-classes", type=int, help="number of classes, of labels that are numbers"
    )
    how.add_argument("--data-dir", help="folder of prepared data sets of tensorflow-datasets")
    how.add_argument("--title", help="title of the report")
    how.add_argument("--yes", action="store_true", help="build large caches without a question")
    how.add_argument("--quiet", action="store_true", help="show no progress bars")


def study_options(given: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of a study that are plain numbers.

    Args:
      given: parsed options.
    """
    budget = {name: getattr(given, name) for name in ("epochs", "steps", "seconds")}
    if all(value is None for value in budget.values()):
        budget["epochs"] = 30.0
    seeds = given.seeds[0] if len(given.seeds) == 1 else tuple(given.seeds)
    return {
        **budget,
        "seeds": seeds,
        "batch_size": given.batch_size,
        "learning_rate": given.learning_rate,
        "num_views": given.num_views,
    }


def number_or_text(text: str) -> Any:
    """Returns the value of an option of a method: an integer, a number, yes or no, or a text."""
    known: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def named_value(text: str) -> tuple[str, str]:
    """Splits NAME=VALUE.

    Args:
      text: the text.

    Returns:
      Name and value.

    Raises:
      argparse.ArgumentTypeError: there is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"write NAME=VALUE, not {text!r}")
    return name.replace("-", "_"), value


def out_folder(given: argparse.Namespace) -> pathlib.Path:
    """Returns the folder of everything that is written.

    Args:
      given: parsed options.

    Raises:
      ValueError: a file has its name.
    """
    folder = local_path(given.out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {given.out} is a file: name a folder, which is made if need be")
    return folder
