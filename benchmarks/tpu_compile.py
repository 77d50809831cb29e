"""What the train steps send and hold on TPU pods, by the TPU compiler itself and without a TPU.

  TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python benchmarks/tpu_compile.py \
      [--output benchmarks/tpu_compile.md] [--only TEXT] [--batch_size 128]

Needs `pip install libtpu`. Compiles ahead of time the steps of every experiment, cached and online,
data-parallel and with parameters spread (fsdp), for 4, 64 and 256 chips with a fixed batch a chip,
and reads the collectives, the FLOPs and the memory of a chip from the compiled programs. Nothing is
run and no time is measured. The exit status is 1 where a step whose examples are not coupled grows
with the pod, or where the gradient is sent in more than one piece.
"""

import argparse
import pathlib
import sys

from benchmarks.tpu_parts.cases import cases, example_batch
from benchmarks.tpu_parts.programs import TOPOLOGIES, compiled
from benchmarks.tpu_parts.report import all_programs, conclusions, errors, growth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--batch_size", type=int, default=128, help="of a chip")
    arguments = parser.parse_args()
    programs = []
    for case in cases():
        if arguments.only in case.name:
            batch = example_batch(case, arguments.batch_size)
            for topology in TOPOLOGIES:
                programs += compiled(case, batch, topology)
                print(f"{case.name}, {topology}", file=sys.stderr, flush=True)
    tables = [all_programs(programs, arguments.batch_size), growth(programs)]
    wrong = errors(programs)
    verdict = "\n".join(f"- {line}" for line in [*conclusions(programs), *wrong])
    for table in tables:
        table.print()
    print(verdict)
    if arguments.output:
        parts = [f"## {table.title}\n\n{table.to_markdown()}\n" for table in tables]
        title = "# Train steps on TPU pods, compiled without one\n"
        arguments.output.write_text("\n".join([title, verdict + "\n", *parts]), encoding="utf-8")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
