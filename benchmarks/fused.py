"""Memory, FLOPs and time of fused losses, against the same losses on all logits.

  TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python benchmarks/fused.py compile \
      [--output benchmarks/fused.md] [--topology v5e:2x2] [--tokens 4096 8192 16384 32768]
  python benchmarks/fused.py run [--output FILE] [--tokens 2048] [--width 256] [--classes 8192]

`compile` needs `pip install libtpu` and no TPU: one chip's program of the value and both gradients,
in bfloat16, by the TPU compiler itself. Nothing is run. `run` times the same on whatever device JAX
has, and in PyTorch if it is installed.
"""

import argparse
import functools
import importlib.metadata
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxkd import losses
from jaxkd.losses.fused._chunks import grid
from jaxkd.losses.fused.fused_linear import _default_chunk
from jaxkd.study import Column, Table

TEMPERATURE = 2.0
TOP_K = 64
KD = functools.partial(losses.kd, temperature=TEMPERATURE)
TARGETS = ("dense", "top-64", "sampled 64", "hidden + head")
BATCH = 4


def naive(hidden: jax.Array, head: jax.Array, teacher: Any) -> jax.Array:
    """The loss on all logits, which are in the network's dtype as those of a network are."""
    output = teacher[0] @ teacher[1] if isinstance(teacher, tuple) else teacher
    return losses.masked_mean(KD(hidden @ head, output))


def fused(chunk_size: int | None, hidden: jax.Array, head: jax.Array, teacher: Any) -> jax.Array:
    total, count = losses.fused_linear(KD, chunk_size=chunk_size)((hidden, head), teacher)
    return total / count


def arrays(make: Callable[..., Any], target: str, tokens: int, width: int, classes: int) -> Any:
    """Hidden states, head and teacher of `BATCH` sequences; `make(shape, dtype, limit)` an array.

    A `limit` is for integers from 0 up to it.
    """
    shape = (BATCH, tokens // BATCH)
    hidden, head = make((*shape, width), jnp.bfloat16), make((width, classes), jnp.bfloat16)
    if target == "dense":
        return hidden, head, make((*shape, classes), jnp.bfloat16)
    if target == "hidden + head":
        other = make((*shape, width), jnp.bfloat16), make((width, classes), jnp.bfloat16)
        return hidden, head, other
    indices = make((*shape, TOP_K), jnp.int32, classes)
    if target.startswith("sampled"):
        entropy = make(shape, jnp.float32)
        return hidden, head, losses.SampledClasses(indices, entropy, TEMPERATURE, classes)
    logits, tail = make((*shape, TOP_K), jnp.bfloat16), make((*shape, 1), jnp.float32)
    sparse = losses.SparseLogits(indices, logits, tail, (TEMPERATURE,), classes)
    return hidden, head, sparse


def compiled(arguments: argparse.Namespace) -> Table:
    """What the TPU compiler makes of each form."""
    try:
        libtpu = importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("the TPU compiler is not installed: pip install libtpu (484 MB on disk)")
    from jax.experimental import topologies

    width, classes = arguments.width or 4_096, arguments.classes or 128_256
    chip = topologies.get_topology_desc(arguments.topology, "tpu").devices[:1]
    whole = NamedSharding(Mesh(np.array(chip), ("chip",)), PartitionSpec())

    def make(shape, dtype, limit=None):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

    def measured(function, target, tokens, trips=1):
        given = arrays(make, target, tokens, width, classes)
        program = jax.jit(jax.value_and_grad(function, (0, 1))).lower(*given).compile()
        memory = program.memory_analysis().temp_size_in_bytes
        # The body of a loop counts once in the compiler's number, and all is in the loop.
        flops = trips * program.cost_analysis()["flops"]
        print(target, tokens, memory, flops, file=sys.stderr, flush=True)
        return memory, flops

    compared, nan = 8_192, float("nan")
    known = {
        target: measured(naive, target, compared) for target in TARGETS if target in arguments.naive
    }
    gradient = 4 * width * classes
    chunk = arguments.chunk_size or _default_chunk(classes)
    rows = [
        ["all logits", target, compared, memory / 1e9, nan, nan, flops / 1e12, nan]
        for target, (memory, flops) in known.items()
    ]
    for target in TARGETS:
        for tokens in arguments.tokens:
            _, columns, step = grid((BATCH, tokens // BATCH), chunk)
            form = functools.partial(fused, chunk)
            memory, flops = measured(form, target, tokens, -(-columns // step))
            beside = memory - gradient
            row: list[Any] = ["fused", target, tokens, memory / 1e9, beside / 1e9]
            if tokens == compared and target in known:
                all_memory, all_flops = known[target]
                row += [memory / all_memory, flops / 1e12, flops / all_flops]
            else:
                row += [nan, flops / 1e12, nan]
            rows.append(row)
    return Table(
        "Value and both gradients on one chip, compiled",
        [
            "Form",
            "Teacher",
            Column("Tokens", _integer),
            Column("Temporary, GB", _decimal),
            Column("… beside the head's gradient, GB", _decimal),
            Column("… over all logits", _ratio),
            Column("TFLOPs", _decimal),
            Column("… over all logits'", _ratio),
        ],
        rows,
        f"kd at temperature {TEMPERATURE:g}, bfloat16, width {width:,}, {classes:,} classes, "
        f"chunks of {chunk} tokens. Beside the head's gradient: less the {gradient / 1e9:.3f} GB "
        "in which it is added up in float32. The compiler counts the body of a loop once: FLOPs "
        "are its number times the chunks. jax "
        f"{jax.__version__}, libtpu {libtpu}, {arguments.topology}; nothing was run.",
    )


def timed(arguments: argparse.Namespace) -> Table:
    """Time and temporary memory where this runs."""
    width, classes = arguments.width or 256, arguments.classes or 8_192
    generator = np.random.default_rng(0)

    def make(shape, dtype, limit=None):
        if limit is not None:  # distinct in a row, as top-k classes are
            offsets = generator.integers(0, limit, (*shape[:-1], 1))
            return jnp.asarray((offsets + np.arange(shape[-1])) % limit, dtype)
        return jnp.asarray(generator.normal(size=shape), dtype)

    rows: list[list[Any]] = []
    for tokens in arguments.tokens:
        for target in TARGETS:
            given = arrays(make, target, tokens, width, classes)
            forms = {"all logits": naive, "fused": functools.partial(fused, arguments.chunk_size)}
            for name, form in forms.items():
                program = jax.jit(jax.value_and_grad(form, (0, 1))).lower(*given).compile()
                seconds = best(lambda p=program, g=given: jax.block_until_ready(p(*g)))
                memory = program.memory_analysis().temp_size_in_bytes
                rows.append([name, target, tokens, memory / 1e6, 1e3 * seconds])
        rows += _torch_rows(tokens, width, classes)
    device = jax.devices()[0]
    return Table(
        "Value and both gradients, run",
        [
            "Form",
            "Teacher",
            Column("Tokens", _integer),
            Column("Temporary, MB", _decimal),
            Column("Time, ms", _decimal),
        ],
        rows,
        f"kd at temperature {TEMPERATURE:g}, bfloat16, width {width:,}, {classes:,} classes, the "
        f"best of 5 runs on {device.device_kind}. Temporary memory is the compiler's number; "
        f"PyTorch's is its peak on a GPU. jax {jax.__version__}.",
    )


def _torch_rows(tokens: int, width: int, classes: int) -> list[list[Any]]:
    """All logits in PyTorch, with a dense teacher; nothing where it is not installed."""
    try:
        import torch
    except ImportError:
        return []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = {"dtype": torch.bfloat16, "device": device}
    hidden = torch.randn(tokens, width, requires_grad=True, **kind)
    head = torch.randn(width, classes, requires_grad=True, **kind)
    teacher = torch.log_softmax(torch.randn(tokens, classes, **kind).float() / TEMPERATURE, -1)

    def once() -> None:
        hidden.grad = head.grad = None
        student = torch.log_softmax((hidden @ head).float() / TEMPERATURE, -1)
        loss = torch.nn.functional.kl_div(student, teacher, reduction="sum", log_target=True)
        (TEMPERATURE**2 * loss / tokens).backward()
        if device == "cuda":
            torch.cuda.synchronize()

    memory = float("nan")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once()
        memory = (torch.cuda.max_memory_allocated() - before) / 1e6
    return [["all logits, PyTorch", "dense", tokens, memory, 1e3 * best(once)]]


def best(call: Callable[[], Any], times: int = 5) -> float:
    """The fewest seconds of some calls, after one that does not count."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def _integer(number: float) -> str:
    return f"{number:,.0f}"


def _decimal(number: float) -> str:
    return "" if np.isnan(number) else f"{number:,.3f}"


def _ratio(number: float) -> str:
    return "" if np.isnan(number) else f"{number:.2f} ×"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=("compile", "run"))
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--tokens", type=int, nargs="+", default=None)
    parser.add_argument("--width", type=int, default=None)
    parser.add_argument("--classes", type=int, default=None)
    parser.add_argument("--chunk_size", type=int, default=None)
    parser.add_argument(
        "--naive", nargs="*", default=("dense", "top-64"), help="teachers compared with all logits"
    )
    arguments = parser.parse_args()
    if arguments.mode == "compile":
        arguments.tokens = arguments.tokens or [4_096, 8_192, 16_384, 32_768]
        table = compiled(arguments)
    else:
        arguments.tokens = arguments.tokens or [2_048]
        table = timed(arguments)
    table.print()
    if arguments.output:
        arguments.output.write_text(
            f"# Fused losses\n\n## {table.title}\n\n{table.to_markdown()}\n\n{table.caption}\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
