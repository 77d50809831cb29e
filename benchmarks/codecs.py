"""What each codec costs in bytes and in the accuracy of the student's gradient.

  python benchmarks/codecs.py [--rows 256]

Teachers of 10, 1,000 and 128,256 classes whose probabilities fall as rank^-2, with a most probable
class of 0.6 to 0.7 in the mean; the student has the teacher's logits and noise of deviation 1.
Each codec's record is decoded and compared with the dense teacher at temperature 1: the divergence
from the target that the student is then pulled toward, and the gradient of `kl_divergence` to the
student's logits. For samples, what is left of the error when many records are averaged. Writes both
tables to benchmarks/codecs.md.
"""

import argparse
import functools
import pathlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd import losses
from jaxkd.losses import SampledClasses, SparseLogits
from jaxkd.study import Column, Table
from jaxkd.targets import Codec, Dense, Sampled, TopK, TopP, bytes_per_record

Target = jax.Array | SparseLogits | SampledClasses

# Number of classes → how many of them are encoded or sampled.
CLASSES = {10: 4, 1_000: 16, 128_256: 64}
# Rows of the widest logits; they take 128,256 floats each.
MOST_WIDE_ROWS = 64


def codecs(k: int) -> dict[str, Codec]:
    types = ("float32", "bfloat16", "float16", "int8")
    return {
        **{f"Dense, {dtype}": Dense(dtype) for dtype in types},
        **{f"TopK({k}), {kind}": TopK(k, values=kind) for kind in ("float16", "int8")},
        **{f"TopP(0.99, {k}), {kind}": TopP(0.99, k, values=kind) for kind in ("float16", "int8")},
        f"Sampled({k})": Sampled(k),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--records", type=int, default=4096)
    arguments = parser.parse_args()
    measured: list[list[Any]] = []
    samples: list[list[Any]] = []
    for classes, k in CLASSES.items():
        wide = classes > 100_000
        rows = min(arguments.rows, MOST_WIDE_ROWS) if wide else arguments.rows
        teacher, student, keys = outputs(rows, classes)
        expected = gradients(student, teacher)
        for name, codec in codecs(k).items():
            arrays = encode(codec, teacher, keys)
            target = codec.decode(arrays, (classes,))
            declared = bytes_per_record(codec, (classes,))
            compressed = sum(len(zlib.compress(np.asarray(a).tobytes())) for a in arrays.values())
            apart = float(np.mean(divergence(teacher, student, target)))
            found = compare(gradients(student, target), expected)
            measured.append([name, classes, declared, compressed / rows, apart, *found])
        records = arguments.records // 32 if wide else arguments.records
        samples += [
            [f"Sampled({k})", classes, *row] for row in bias(k, teacher[:16], student[:16], records)
        ]
    small = "{:.1e}".format
    by = f"`python benchmarks/codecs.py`, jax {jax.__version__}."
    tables = [
        Table(
            "What codecs keep",
            [
                "Codec",
                Column("Classes", "count"),
                Column("Bytes a record", "count"),
                Column("Compressed", "count"),
                Column("KL from the dense target (nats)", small),
                Column("Gradient, relative error", small),
                Column("Gradient, cosine", "{:.5f}".format),
            ],
            measured,
            "Teachers with probabilities that fall as rank^-2, student = teacher + normal noise, "
            "temperature 1. Bytes as declared, and after zlib, as a stand-in for the zstd of a "
            "cache. KL: mean over records; infinite for samples, which leave classes out. "
            f"Gradient: of a batch of {arguments.rows:,} ({MOST_WIDE_ROWS} of the widest), to the "
            f"student's logits, against that of the dense target. {by}",
        ),
        Table(
            "The error of samples vanishes in the mean",
            [
                "Codec",
                Column("Classes", "count"),
                Column("Records averaged", "count"),
                Column("Gradient, relative error", small),
                Column("Error × √records", "{:.2f}".format),
                Column("Loss, error (nats)", small),
            ],
            samples,
            "Gradient and loss averaged over records of the same 16 outputs, sampled anew; root "
            f"mean square over all groups of that number of records. {by}",
        ),
    ]
    for table in tables:
        table.print()
    text = "\n".join(f"# {t.title}\n\n{t.to_markdown()}\n\n{t.caption}\n" for t in tables)
    pathlib.Path(__file__).with_name("codecs.md").write_text(text, encoding="utf-8")


def outputs(rows: int, classes: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits of teacher and student `[rows, classes]`, and keys `[rows]`."""
    peaks, noise, samples = jax.random.split(jax.random.key(0), 3)
    # exp(2 G) of Gumbel variables has the tail that makes the sorted fall as rank^-2.
    teacher = 2 * jax.random.gumbel(peaks, (rows, classes))
    student = teacher + jax.random.normal(noise, teacher.shape)
    return teacher, student, jax.random.split(samples, rows)


@functools.partial(jax.jit, static_argnums=0)
def encode(codec: Codec, teacher: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
    return codec.encode(teacher, **({"keys": keys} if "keys" in codec.needs else {}))


@jax.jit
def gradients(student: jax.Array, target: Target) -> jax.Array:
    return jax.grad(lambda x: jnp.sum(losses.kl_divergence(x, target)))(student)


def compare(found: jax.Array, expected: jax.Array) -> tuple[float, float]:
    """Relative error and cosine of two gradients of a batch."""
    one, other = (np.asarray(x, np.float64).ravel() for x in (found, expected))
    size = np.linalg.norm(other)
    error, cosine = np.linalg.norm(one - other) / size, one @ other / size / np.linalg.norm(one)
    return float(error), float(cosine)


def divergence(teacher: jax.Array, student: jax.Array, target: Target) -> np.ndarray:
    """KL from the dense teacher to the distribution whose cross entropy the loss is, in float64."""
    if isinstance(target, SampledClasses):
        return np.asarray(np.inf)
    log_p = log_softmax(teacher)
    if not isinstance(target, SparseLogits):
        log_r = log_softmax(target)
    else:
        log_r, log_q = np.array(log_softmax(student)), log_softmax(student)
        for row, indices in enumerate(np.asarray(target.indices)):
            used = indices < target.num_classes
            ids = indices[used]
            listed = np.asarray(target.logits, np.float64)[row, used]
            tail = float(target.tail[row, 0])
            total = np.logaddexp.reduce([*listed, tail])
            # The mass of the others as the student shares it.
            others = np.delete(log_q[row], ids)
            log_r[row] += tail - total - (np.logaddexp.reduce(others) if others.size else 0)
            log_r[row, ids] = listed - total
    return np.sum(np.exp(log_p) * (log_p - log_r), axis=-1)


def log_softmax(logits: jax.Array) -> np.ndarray:
    wide = np.asarray(logits, np.float64)
    return wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True)


def bias(k: int, teacher: jax.Array, student: jax.Array, records: int) -> list[list[float]]:
    """How far mean gradients and losses over more and more records are from the dense ones."""
    codec, rows = Sampled(k), len(teacher)
    expected = np.asarray(gradients(student, teacher), np.float64)
    exact = np.asarray(losses.kl_divergence(student, teacher), np.float64)

    @jax.jit
    def record(teacher, student, key):
        arrays = encode(codec, teacher, jax.random.split(key, rows))
        target = codec.decode(arrays, teacher.shape[1:])
        return losses.kl_divergence(student, target), gradients(student, target)

    counts = [records // 8**power for power in (3, 2, 1, 0) if records >= 8**power]
    sums = {count: [np.zeros(rows), np.zeros(expected.shape)] for count in counts}
    squares: dict[int, list[Any]] = {count: [] for count in counts}
    for number in range(1, records + 1):
        loss, gradient = record(teacher, student, jax.random.fold_in(jax.random.key(1), number))
        for count in counts:
            value, slope = sums[count]
            value += np.asarray(loss)
            slope += np.asarray(gradient)
            if number % count == 0:
                off = np.linalg.norm(slope / count - expected) / np.linalg.norm(expected)
                squares[count].append([off**2, np.square(value / count - exact).mean()])
                value[:], slope[:] = 0, 0
    found = {count: np.sqrt(np.mean(squares[count], axis=0)) for count in counts}
    return [[n, float(x), float(x * n**0.5), float(y)] for n, (x, y) in found.items()]


if __name__ == "__main__":
    main()
