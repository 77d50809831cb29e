"""What convolutions cost on CPU: a network's training step here, by XLA's own, and in PyTorch.

  JAX_PLATFORMS=cpu python benchmarks/convolutions.py [--output benchmarks/convolutions.md]
      [--only cnn resnet] [--repetitions 20] [--seconds 10]
  JAX_PLATFORMS=cpu python benchmarks/convolutions.py --layers
      [--output benchmarks/convolution_layers.md] [--only depthwise] [--seconds 1]

The first command measures networks: a step of distillation from a teacher's cached logits
(`recipes.kd`, SGD with momentum, float32), then eight steps in one compiled loop and a population
of eight students, both against one step of one student. Times lie side by side, in alternation;
each comparison ends after `--repetitions` or `--seconds`, but not before three repetitions. XLA's
own convolutions are those within `jaxkd.ops.xla_convolutions`.

PyTorch is measured where it is installed (`pip install 'jaxkd-distill[torch]'`): eagerly, in the
faster of its two memory layouts. Twins and students have the same weights, and before anything is
timed both must give the same logits in training mode; so must both kinds of convolutions the same
loss.

The second command measures single layers, in every form that `jaxkd.ops` has for them, forward and
both gradients, beside the form that its rule takes.
"""

import argparse
import importlib.metadata
import os
import pathlib

import jax

from benchmarks.convolution_parts import layers, networks


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="a Markdown file for the tables")
    parser.add_argument("--only", nargs="+", default=[""], help="what has one of these in its name")
    parser.add_argument("--repetitions", type=int, default=20, help="of a comparison, at most")
    parser.add_argument("--seconds", type=float, help="of a comparison, roughly; 10, of layers 1")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--layers", action="store_true", help="single layers instead of networks")
    arguments = parser.parse_args(argv)
    if arguments.seconds is None:
        arguments.seconds = 1.0 if arguments.layers else 10.0

    def chosen(name: str) -> bool:
        return any(text in name for text in arguments.only)

    part = layers if arguments.layers else networks
    tables, conclusions = part.measured(chosen, arguments, _machine())
    if not tables:
        parser.error(f"nothing has one of {arguments.only} in its name")
    for table in tables:
        table.print()
    print("\n".join(conclusions))
    if arguments.output:
        parts = [f"## {t.title}\n\n{t.to_markdown()}\n\n{t.caption}\n" for t in tables]
        verdict = "\n".join(f"- {line}" for line in conclusions)
        arguments.output.write_text(
            "\n".join(["# Convolutions on CPU\n", verdict + "\n", *parts]), encoding="utf-8"
        )


def _machine() -> str:
    try:
        torch = f", PyTorch {importlib.metadata.version('torch')} (eager)"
    except importlib.metadata.PackageNotFoundError:
        torch = ""
    cores, device = len(os.sched_getaffinity(0)), jax.devices()[0].device_kind
    return f"{cores} cores, {device}, jax {jax.__version__}{torch}"


if __name__ == "__main__":
    main()
