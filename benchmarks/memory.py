"""How much memory those losses need whose public code needs too much.

  python benchmarks/memory.py

Compiles value and gradient of each loss, here and as public code writes it, and prints the bytes
that XLA allocates for temporaries. Nothing is run, so it does not matter that the latter would not
fit. Writes the table to benchmarks/memory.md as well. Sizes are those of the backend it runs on.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd import losses

BATCH = 1024


def temporary_bytes(loss: Callable[..., jax.Array], *arguments: Any) -> int:
    """The bytes of temporaries of value and gradient to the first argument."""
    evaluate = jax.jit(jax.value_and_grad(lambda *a: jnp.sum(loss(*a))))
    analysis: Any = evaluate.lower(*arguments).compile().memory_analysis()
    return analysis.temp_size_in_bytes


def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def all_angles(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """RKD's angles of all triples at once: `[batch, batch, batch]`."""

    def cosines(points: jax.Array) -> jax.Array:
        differences = points[None] - points[:, None]
        squares = jnp.sum(jnp.square(differences), axis=-1, keepdims=True)
        directions = differences / jnp.sqrt(jnp.maximum(squares, 1e-24))
        return jnp.einsum("ijd,ikd->ijk", directions, directions)

    size = jnp.abs(cosines(student) - cosines(teacher))
    return jnp.mean(jnp.where(size < 1, 0.5 * size**2, size - 0.5))


def all_negatives(
    student: jax.Array,
    teacher: jax.Array,
    student_bank: jax.Array,
    teacher_bank: jax.Array,
    ids: jax.Array,
    negatives: jax.Array,
) -> jax.Array:
    """CRD with all rows of the banks that a batch needs at once: `[batch, K + 1, width]`."""
    indices = jnp.concatenate([ids[:, None], negatives], axis=1)
    noise = negatives.shape[1] / len(student_bank)

    def one_way(embeddings: jax.Array, bank: jax.Array) -> jax.Array:
        scores = jnp.exp(jnp.einsum("bkd,bd->bk", bank[indices], embeddings) / 0.07)
        scores = scores / jax.lax.stop_gradient(jnp.mean(scores) * len(bank))
        positive, negative = scores[:, :1], scores[:, 1:]
        apart = jnp.sum(jnp.log(noise / (negative + noise + 1e-7)), axis=1)
        return -jnp.log(positive / (positive + noise + 1e-7))[:, 0] - apart

    return one_way(student, teacher_bank) + one_way(teacher, student_bank)


def crd(
    student: jax.Array,
    teacher: jax.Array,
    student_bank: jax.Array,
    teacher_bank: jax.Array,
    ids: jax.Array,
    negatives: jax.Array,
) -> jax.Array:
    """The library's, with the normalizers of the same batch."""
    indices: dict[str, Any] = {"ids": ids, "negatives": negatives}
    return losses.crd(
        student,
        teacher,
        student_bank=student_bank,
        teacher_bank=teacher_bank,
        student_normalizer=losses.crd_normalizer(student, teacher_bank, **indices),
        teacher_normalizer=losses.crd_normalizer(teacher, student_bank, **indices),
        **indices,
    )


def crd_arguments(batch: int, negatives: int, width: int, num_examples: int) -> tuple[Any, ...]:
    embeddings, bank = array(batch, width), array(num_examples, width)
    ids, rows = array(batch, dtype=jnp.int32), array(batch, negatives, dtype=jnp.int32)
    return embeddings, embeddings, bank, bank, ids, rows


def all_channel_pairs(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """NST with the kernel as the mean over an array of all products, before they are summed."""

    def channels(maps: jax.Array) -> jax.Array:
        rows = jnp.moveaxis(maps, -1, 1).reshape(maps.shape[0], maps.shape[-1], -1)
        return rows / jnp.sqrt(jnp.sum(jnp.square(rows), axis=-1, keepdims=True) + 1e-24)

    def kernel(left: jax.Array, right: jax.Array) -> jax.Array:
        products = jnp.sum(left[:, :, None] * right[:, None], axis=-1)
        return jnp.mean(jnp.square(products), axis=(1, 2))

    student, teacher = channels(student), channels(teacher)
    return kernel(teacher, teacher) + kernel(student, student) - 2 * kernel(student, teacher)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    embeddings = array(BATCH, 128)
    maps = array(BATCH, 8, 8, 256)
    rows: list[tuple[str, str, Any, Any, tuple[Any, ...]]] = [
        ("rkd_angle", "batch 1,024, width 128", losses.rkd_angle, all_angles, (embeddings,) * 2),
        (
            "crd",
            "batch 1,024, 16,384 negatives of 50,000 examples, width 128",
            crd,
            all_negatives,
            crd_arguments(BATCH, 16_384, 128, 50_000),
        ),
        ("nst", "1,024 maps of 8 × 8 × 256", losses.nst, all_channel_pairs, (maps,) * 2),
    ]
    lines = [
        f"Temporaries of value and gradient, compiled for {jax.default_backend()} by jax "
        f"{jax.__version__} (`python benchmarks/memory.py`).",
        "",
        "| loss | size | jaxkd (MB) | as public code writes it (MB) | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, size, ours, public, arguments in rows:
        here, there = (temporary_bytes(loss, *arguments) for loss in (ours, public))
        lines.append(
            f"| {name} | {size} | {here / 1e6:,.1f} | {there / 1e6:,.1f} | {there / here:,.0f} |"
        )
    table = "\n".join(lines) + "\n"
    print(table)
    pathlib.Path(__file__).with_name("memory.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
