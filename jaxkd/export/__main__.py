"""Exports a network of jaxkd.models with saved weights, and verifies the files."""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from jaxkd import models, weights
from jaxkd._files import print_any_text
from jaxkd._guard import guarded
from jaxkd._parser import Parser, add_list
from jaxkd.export import ModelCard, export
from jaxkd.export._export import FORMATS
from jaxkd.export._programs import Preprocess
from jaxkd.networks import from_nnx
from jaxkd.views import Normalize


def main(arguments: Sequence[str] | None = None, prog: str = "python -m jaxkd.export") -> int:
    """Exports a network; returns the exit status, 1 after an error."""
    print_any_text()
    parser = Parser(
        prog=prog,
        description=__doc__,
        epilog="Networks of other kinds are exported from Python: jaxkd.export.export.",
    )
    parser.add_argument("model", help="a name in jaxkd.models.names()")
    parser.add_argument("weights", help="a file for jaxkd.weights.load, such as a .safetensors")
    parser.add_argument(
        "--examples", type=pathlib.Path, required=True, help=".npy [examples, height, width, c]"
    )
    parser.add_argument("--output", required=True, help="path of the new directory")
    parser.add_argument("--labels", type=pathlib.Path, help=".npy of integers [examples]")
    add_list(
        parser,
        "--formats",
        choices=list(FORMATS),
        default=_DEFAULT,
        help=f"some of {', '.join(FORMATS)}",
    )
    parser.add_argument("--card", help="JSON with some of the fields of jaxkd.export.ModelCard")
    parser.add_argument("--num_classes", type=int, help="by default as published")
    parser.add_argument("--norm", help="batch or group, by default as published")
    parser.add_argument("--naming", help="library whose names the weights have, if another one")
    add_list(parser, "--mean", float, help="mean of each channel, once scaled")
    add_list(parser, "--std", float, help="deviation of each channel, scaled")
    parser.add_argument("--scale", type=float, help="value that becomes 1; by default 255 of uint8")
    parser.add_argument("--litert_batch", type=int, default=1, help="batch size, 0 for any")
    parser.add_argument("--onnx_batch", type=int, default=0, help="batch size, 0 for any")
    given = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    return guarded(lambda: _export(given), [*prog.split(), *words])


_DEFAULT = ["stablehlo", "safetensors"]


def _export(given: argparse.Namespace) -> None:
    # The quick checks first, since the network may be large.
    card = ModelCard.read(given.card) if given.card else ModelCard()
    examples = np.load(given.examples)
    if examples.ndim != 4 or examples.shape[1] != examples.shape[2]:
        raise ValueError(f"examples must be [examples, side, side, c], not {list(examples.shape)}")
    preprocess = _normalization(given, examples.dtype)

    def create() -> nnx.Module:
        return models.create(
            given.model,
            num_classes=given.num_classes,
            in_channels=examples.shape[-1],
            image_size=examples.shape[1],
            norm=given.norm,
            rngs=nnx.Rngs(0),
        )

    network, report = weights.load(
        from_nnx(nnx.eval_shape(create)), given.weights, naming=given.naming
    )
    print(report)
    done = export(
        given.output,
        network,
        examples,
        labels=np.load(given.labels) if given.labels else None,
        formats=given.formats,
        card=dataclasses.replace(card, name=card.name or given.model),
        preprocess=preprocess,
        litert_batch=given.litert_batch or None,
        onnx_batch=given.onnx_batch or None,
    )
    for name, check in done.checks.items():
        right = "" if check.accuracy is None else f", accuracy {check.accuracy:.2%}"
        print(
            f"{done.files[name].name}: {check.examples:,} examples, largest difference "
            f"{check.largest:.1e}, {check.agreement:.2%} equal classes{right}"
        )
    print(
        f"written to {done.directory}; not stated: {', '.join(done.card['missing']) or 'nothing'}"
    )


def _normalization(given: argparse.Namespace, dtype: np.dtype) -> Preprocess | None:
    if given.mean is None and given.std is None and given.scale is None:
        if not np.issubdtype(dtype, np.floating):
            raise ValueError(
                f"the examples are {dtype}: say how they are normalized, --scale 255 --mean … "
                "--std …, or give normalized ones"
            )
        return None
    whole = 1.0 if np.issubdtype(dtype, np.floating) else float(np.iinfo(dtype).max)
    scale = whole if given.scale is None else given.scale
    normalize = Normalize(tuple(given.mean or (0.0,)), tuple(given.std or (1.0,)), scale)
    return lambda images: normalize(jax.random.key(0), images)


if __name__ == "__main__":
    sys.exit(main())
