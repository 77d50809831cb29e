"""Single layers: every form that `jaxkd.ops` has for a convolution against XLA's own.

This is what the rule in `jaxkd.ops._choice` rests on.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.side_by_side import interleaved, timed
from jaxkd.ops._choice import form_of
from jaxkd.ops._forms import FORMS
from jaxkd.ops._problem import Problem
from jaxkd.study import Column, Table

KINDS = {"forward": "forward", "input": "gradient to input", "kernel": "gradient to kernel"}
# Of the largest number.
APART = 1e-4
# A form this much slower than the fastest is as good as that one.
TOLERANCE = 1.1
# Seconds: what is shorter is repeated within one measurement.
SHORTEST = 0.03


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution.

    Attributes:
      kernel: side of the kernel.
      inside: channels of the input.
      outside: channels of the output.
      size: height and width of the input.
      stride: in both directions.
      groups: of channels; as many as `inside` makes it depthwise.
      padding: on every side, by default half the kernel.
    """

    kernel: int
    inside: int
    outside: int
    size: int
    stride: int = 1
    groups: int = 1
    padding: int | None = None

    @property
    def name(self) -> str:
        """How the table calls it."""
        kind = f"{self.groups} groups "
        if self.groups == 1:
            kind = ""
        elif self.groups == self.inside:
            kind = "depthwise "
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        channels = f"{self.inside} → {self.outside}"
        return f"{kind}{self.kernel}×{self.kernel}, {channels}, {self.size}×{self.size}{stride}"

    @property
    def problem(self) -> Problem:
        """What `jaxkd.ops` calls it."""
        padding = self.kernel // 2 if self.padding is None else self.padding
        pad = (padding, padding)
        float32 = jnp.dtype(jnp.float32)
        return Problem(
            image=(self.size, self.size),
            kernel=(self.kernel, self.kernel),
            channels=(self.inside, self.outside),
            strides=(self.stride, self.stride),
            padding=(pad, pad),
            dilation=(1, 1),
            groups=self.groups,
            dtype=float32,
            out_dtype=float32,
        )


LAYERS = (
    # Stems.
    Layer(3, 3, 16, 32),
    Layer(3, 3, 32, 32),
    Layer(3, 3, 64, 32),
    Layer(3, 3, 32, 64, stride=2),
    Layer(3, 1, 16, 28),
    # 3×3, narrow and wide, on large and small images.
    Layer(3, 16, 32, 14),
    Layer(3, 16, 16, 32),
    Layer(3, 32, 32, 16),
    Layer(3, 64, 64, 8),
    Layer(3, 32, 64, 32),
    Layer(3, 64, 64, 32),
    Layer(3, 64, 128, 16),
    Layer(3, 128, 128, 16),
    Layer(3, 256, 256, 8),
    Layer(3, 512, 512, 4),
    Layer(3, 512, 512, 2),
    Layer(3, 16, 32, 32, stride=2),
    Layer(3, 64, 128, 32, stride=2),
    Layer(3, 128, 256, 16, stride=2),
    Layer(5, 32, 64, 16),
    # 1×1.
    Layer(1, 3, 24, 32),
    Layer(1, 24, 144, 32),
    Layer(1, 144, 24, 32),
    Layer(1, 116, 116, 16),
    Layer(1, 160, 1280, 4),
    Layer(1, 64, 128, 32, stride=2),
    # Patches of vision transformers, and what also reads every pixel once.
    Layer(4, 3, 192, 32, stride=4, padding=0),
    Layer(2, 64, 128, 16, stride=2, padding=0),
    # Depthwise.
    Layer(3, 48, 48, 16, groups=48),
    Layer(3, 96, 96, 32, stride=2, groups=96),
    Layer(3, 144, 144, 32, groups=144),
    Layer(3, 240, 240, 16, groups=240),
    Layer(3, 480, 480, 4, groups=480),
    Layer(5, 144, 144, 16, stride=2, groups=144),
    Layer(5, 240, 240, 8, groups=240),
    Layer(5, 672, 672, 4, groups=672),
    # In groups.
    Layer(1, 240, 60, 16, groups=3),
    Layer(1, 240, 240, 32, groups=3),
    Layer(1, 480, 480, 16, groups=3),
    Layer(3, 64, 64, 16, groups=4),
    Layer(3, 128, 128, 8, groups=32),
)


def measured(
    chosen: Callable[[str], bool], arguments: argparse.Namespace, machine: str
) -> tuple[list[Table], list[str]]:
    """Measures single layers.

    Args:
      chosen: whether what has this name is wanted.
      arguments: of the command line.
      machine: for the caption.

    Returns:
      The table, and how good the choices of the rule are.
    """
    rows = []
    for layer in filter(lambda layer: chosen(layer.name), LAYERS):
        for kind in KINDS:
            rows.append(_row(layer, kind, arguments))
            print(rows[-1], file=sys.stderr, flush=True)
    if not rows:
        return [], []
    times = [Column(name, lambda x: f"{x:.2f}") for name in FORMS]
    table = Table(
        "How many times as fast as XLA's own each form is",
        [
            "Layer",
            "What",
            Column("XLA's", "milliseconds"),
            *times,
            "The rule's",
            Column("Over the fastest", lambda x: f"{x:.2f}"),
        ],
        rows,
        f"Batch {arguments.batch_size}, float32, channels last; each form in alternation with "
        f"XLA's. The last column is the time of the rule's form over that of the fastest, XLA's "
        f"own among them. {machine}.",
    )
    return [table], _conclusions(rows)


def _row(layer: Layer, kind: str, arguments: argparse.Namespace) -> list[Any]:
    problem = layer.problem
    generator = np.random.default_rng(0)
    arrays = {
        "image": (arguments.batch_size, *problem.image, problem.channels[0]),
        "weights": problem.kernel_shape,
        "gradient": (arguments.batch_size, *problem.out, problem.channels[1]),
    }
    image, weights, gradient = (
        jnp.asarray(generator.standard_normal(shape, np.float32)) for shape in arrays.values()
    )
    pair = {
        "forward": (image, weights),
        "input": (gradient, weights),
        "kernel": (image, gradient),
    }[kind]
    plain = jax.jit(_xla(problem, kind, image, weights))
    right = plain(*pair)
    by_form, xla_seconds = {}, []
    for name in FORMS:
        if not applies(name, problem, kind):
            continue
        form = _jitted(name, problem, kind)
        apart = float(jnp.abs(form(*pair) - right).max() / jnp.abs(right).max())
        if not apart < APART:
            raise ValueError(f"{layer.name}, {kind}: {name} differs by {apart:.1e} of the largest")
        first, second = _bound(form, pair), _bound(plain, pair)
        longest = max(first(), second())
        calls = min(50, max(1, round(SHORTEST / longest)))
        pairs = interleaved(
            _repeated(first, calls),
            _repeated(second, calls),
            arguments.repetitions,
            until=time.monotonic() + arguments.seconds,
        )
        by_form[name] = pairs.ratio
        xla_seconds += list(pairs.seconds[:, 1])
    taken = form_of(problem, kind)
    fastest = max(1.0, *by_form.values())
    return [
        layer.name,
        KINDS[kind],
        float(np.median(xla_seconds)),
        *(by_form.get(name, float("nan")) for name in FORMS),
        taken,
        fastest / by_form[taken],
    ]


def applies(name: str, problem: Problem, kind: str) -> bool:
    """Whether a form can compute a convolution, or a gradient of it, in a way of its own."""
    if name == "canonical":
        return kind != "kernel"
    if name == "columns":
        return problem.groups == 1
    if name == "tiled":
        return problem.groups == 1 and problem.is_tiled and not problem.is_pointwise
    if name == "pointwise":
        return problem.groups == 1 and problem.is_pointwise
    if name == "shifts":
        return problem.is_depthwise
    if name == "grouped":
        return problem.groups > 1 and not problem.is_depthwise
    raise ValueError(f"it is not known which convolutions the form {name!r} computes")


def _xla(problem: Problem, kind: str, image: jax.Array, weights: jax.Array) -> Any:
    """XLA's own convolution or the gradient that JAX makes of it, of the same two arrays."""

    def convolution(image: jax.Array, weights: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            image,
            weights,
            problem.strides,
            problem.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=problem.groups,
        )

    if kind == "forward":
        return convolution
    if kind == "input":
        return lambda gradient, weights: jax.linear_transpose(
            lambda image: convolution(image, weights), image
        )(gradient)[0]
    return lambda image, gradient: jax.linear_transpose(
        lambda weights: convolution(image, weights), weights
    )(gradient)[0]


def _jitted(name: str, problem: Problem, kind: str) -> Any:
    return jax.jit(lambda a, b: FORMS[name](problem, kind, a, b))


def _bound(function: Any, pair: tuple[jax.Array, jax.Array]) -> Callable[[], float]:
    return timed(lambda: function(*pair))


def _repeated(run: Callable[[], float], calls: int) -> Callable[[], float]:
    return lambda: sum(run() for _ in range(calls)) / calls


def _conclusions(rows: list[list[Any]]) -> list[str]:
    good = [row for row in rows if row[-1] <= TOLERANCE]
    lines = [
        f"The rule takes the fastest form, or one at most {100 * (TOLERANCE - 1):.0f} % slower, in "
        f"{len(good)} of {len(rows)} cases."
    ]
    worst = sorted((row for row in rows if row not in good), key=lambda row: -row[-1])
    if worst:
        names = [f"{row[0]}, {row[1]} ({row[-1]:.2f})" for row in worst[:10]]
        lines.append(f"Farthest from the fastest: {'; '.join(names)}.")
    return lines
