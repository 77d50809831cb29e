"""What the library's training loop costs over the same loop written by hand.

  JAX_PLATFORMS=cpu python benchmarks/handwritten.py [--pairs 20] [--steps 1000] [--batch_size 128]

By hand means the functions `perceptron`, `convolutions` and `train_by_hand` below: bare JAX and
optax, logits in an array, no views, no names, no checks. The library's side is what a user writes:
`Loader` and cache, `make_train_step` and `fit`. Both see the same batches, log the
same means every 100 steps, and must come to the same parameters, else it ends with 1. Prints the
ratio of the times of runs side by side: of the compiled step alone, on batches that lie on the
device, and of whole loops, one step a call and, for the perceptron, 100 steps a
call. All is counted: reading batches, logging, and the checks of `fit`, once a timed run. The data
are random images of Fashion-MNIST's shape; values make no difference to the time.
"""

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN, MLP
from jaxkd.study import Column, Table
from jaxkd.targets import Dense
from jaxkd.training import fit
from jaxkd.views import Normalize, Views

ALPHA, TEMPERATURE, LEARNING_RATE, LOG_EVERY = 0.9, 4.0, 1e-3, 100
TOLERANCE = 1e-5


def perceptron(params: Any, x: jax.Array) -> jax.Array:
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ params["layers.0.kernel"] + params["layers.0.bias"])
    return x @ params["head.kernel"] + params["head.bias"]


def convolutions(params: Any, x: jax.Array) -> jax.Array:
    for n in (0, 1):
        x = jax.lax.conv_general_dilated(
            x,
            params[f"convs.{n}.kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + params[f"convs.{n}.bias"])
        x = jnp.maximum(x[:, 0::2], x[:, 1::2])
        x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ params["hidden.kernel"] + params["hidden.bias"])
    return x @ params["head.kernel"] + params["head.bias"]


def update_by_hand(forward: Callable[..., jax.Array], a_call: int) -> Any:
    """The compiled step."""
    adam = optax.adamw(LEARNING_RATE)

    def one(params, opt_state, images, labels, outputs):
        def objective(params):
            logits = forward(params, images.astype(jnp.float32) / 255)
            hard = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            ours, theirs = (jax.nn.log_softmax(x / TEMPERATURE) for x in (logits, outputs))
            soft = (jnp.exp(theirs) * (theirs - ours)).sum(-1).mean() * TEMPERATURE**2
            loss = ALPHA * soft + (1 - ALPHA) * hard
            hits = (logits.argmax(-1) == labels).mean()
            return loss, jnp.stack([loss, hard, soft, hits])

        gradients, metrics = jax.grad(objective, has_aux=True)(params)
        updates, opt_state = adam.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, metrics

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt_state, *batches):
        if a_call == 1:
            return one(params, opt_state, *(x[0] for x in batches))

        def body(index, carry):
            params, opt_state, metrics = carry
            params, opt_state, added = one(params, opt_state, *(x[index] for x in batches))
            return params, opt_state, metrics + added

        return jax.lax.fori_loop(0, a_call, body, (params, opt_state, jnp.zeros(4)))

    return update


def train_by_hand(
    forward: Callable[..., jax.Array],
    params: Any,
    data: Dataset,
    outputs: np.ndarray,
    batch_size: int,
    a_call: int,
) -> Generator[Any, int, None]:
    """Trains for as many steps as it is sent, and yields the parameters after them."""
    images, labels = data.inputs, data.labels
    update, adam = update_by_hand(forward, a_call), optax.adamw(LEARNING_RATE)
    params = jax.tree.map(jnp.copy, params)
    opt_state, step, until, epoch, since_log, log = adam.init(params), 0, (yield), -1, [], []
    a_pass = len(images) // batch_size
    while True:
        rows = []
        for index in range(step, step + a_call):
            if epoch != index // a_pass:
                epoch = index // a_pass
                order = np.argsort(
                    np.random.PCG64((0, epoch)).random_raw(len(images)), kind="stable"
                )
            rows.append(order[index % a_pass * batch_size :][:batch_size])
        rows = np.stack(rows)
        params, opt_state, metrics = update(
            params, opt_state, images[rows], labels[rows], outputs[rows]
        )
        since_log.append(metrics)
        step += a_call
        if step % LOG_EVERY == 0:
            log.append(np.sum(jax.device_get(since_log), axis=0) / LOG_EVERY)
            since_log = []
        if step == until:
            until += yield params


def train_by_library(
    student: jaxkd.Network, loader: Loader, views: Views, a_call: int
) -> Generator[Any, int, None]:
    """The same with `fit`."""
    objective, adam = recipes.kd(alpha=ALPHA, temperature=TEMPERATURE), optax.adamw(LEARNING_RATE)
    step = make_train_step(student, objective, adam, views=views)
    state, until = step.init(), (yield)
    while True:
        state = fit(
            step,
            state,
            loader,
            steps=until,
            log_every=LOG_EVERY,
            steps_per_call=a_call,
            progress=None,
        ).state
        until += yield state.params["student"]


def steps_by_hand(
    forward: Callable[..., jax.Array], params: Any, batches: list[Any]
) -> Generator[Any, int, None]:
    """The compiled step by hand alone, on batches that lie on the device."""
    update, params = update_by_hand(forward, 1), jax.tree.map(jnp.copy, params)
    opt_state, count = optax.adamw(LEARNING_RATE).init(params), (yield)
    held = [tuple(b[n][None] for n in ("inputs", "labels")) for b in batches]
    held = jax.device_put([(*h, b["logits"][None]) for h, b in zip(held, batches, strict=True)])
    while True:
        for index in range(count):
            params, opt_state, _ = update(params, opt_state, *held[index % len(held)])
        count = yield params


def steps_by_library(
    student: jaxkd.Network, batches: list[Any], views: Views
) -> Generator[Any, int, None]:
    """The library's step alone, on the same batches."""
    objective, adam = recipes.kd(alpha=ALPHA, temperature=TEMPERATURE), optax.adamw(LEARNING_RATE)
    step = make_train_step(student, objective, adam, views=views)
    state, count = step.init(), (yield)
    held = jax.device_put([{k: v for k, v in b.items() if k != "logits"} for b in batches])
    while True:
        for index in range(count):
            state, _ = step(state, held[index % len(held)])
        count = yield state.params["student"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument(
        "--steps", type=int, default=1_000, help="steps of a timed run, the CNN's a fifth"
    )
    parser.add_argument("--batch_size", type=int, default=128)
    arguments = parser.parse_args()
    if arguments.steps % (5 * LOG_EVERY):
        parser.error(f"--steps must be a multiple of {5 * LOG_EVERY}, for whole log intervals")
    generator = np.random.default_rng(0)
    data = Dataset.from_arrays(
        generator.integers(0, 256, (12_800, 28, 28, 1), np.uint8),
        generator.integers(0, 10, 12_800),
        name="random",
        split="train",
        num_classes=10,
    )
    views = Views((Normalize(),))
    teacher = jaxkd.from_nnx(CNN((28, 28, 1), (16, 32), 64, 10, rngs=nnx.Rngs(1)))
    cache = jaxkd.cache.build(
        tempfile.mkdtemp(), teacher, data, views, codec=Dense("float32"), progress=False
    )
    outputs = np.asarray(cache.read(data.ids, 0).decode()["logits"])
    mlp = jaxkd.from_nnx(MLP(784, (128,), 10, rngs=nnx.Rngs(0)))
    cnn = jaxkd.from_nnx(CNN((28, 28, 1), (8, 8), 32, 10, rngs=nnx.Rngs(0)))
    rows = []
    for name, student, forward in (("MLP-128", mlp, perceptron), ("CNN-8-8", cnn, convolutions)):
        loader = Loader(data, views, arguments.batch_size, cache=cache)
        batches = [loader[index] for index in range(20)]
        batches = [{**b, "logits": outputs[b["id"]]} for b in batches]
        steps = arguments.steps if student is mlp else arguments.steps // 5
        pair = (
            steps_by_hand(forward, student.params, batches),
            steps_by_library(student, batches, views),
        )
        rows.append([f"{name}, the step alone", *compared(*pair, steps, 20, arguments.pairs)])
    for name, student, forward, steps, a_call, checked in (
        ("MLP-128, one step a call", mlp, perceptron, arguments.steps, 1, arguments.steps),
        ("MLP-128, 100 steps a call", mlp, perceptron, arguments.steps, 100, arguments.steps),
        # Rounding grows without bound where maxima flip: steps are equal, long runs are not.
        ("CNN-8-8, one step a call", cnn, convolutions, arguments.steps // 5, 1, 20),
    ):
        loader = Loader(data, views, arguments.batch_size, cache=cache)
        runs = (
            train_by_hand(forward, student.params, data, outputs, arguments.batch_size, a_call),
            train_by_library(student, loader, views, a_call),
        )
        rows.append([name, *compared(*runs, steps, checked, arguments.pairs)])
    Table(
        "The library's training loop against one written by hand",
        [
            "Student",
            Column("By hand, µs a step", lambda x: f"{1e6 * x:.0f}"),
            Column("Time", lambda x: f"{x:.3f}"),
            "10th to 90th percentile",
            Column("Largest difference of a parameter", lambda x: f"{x:.1e}"),
        ],
        rows,
        f"Time as a ratio to the loop by hand. Batch {arguments.batch_size}, {arguments.pairs} "
        f"pairs of {arguments.steps} steps (CNN {arguments.steps // 5}), logits of a teacher from "
        f"memory, {jax.device_count()} × {jax.devices()[0].device_kind}, jax {jax.__version__}.",
    ).print()
    sys.exit(int(any(row[-1] > TOLERANCE for row in rows)))


def compared(
    hand: Any, library: Any, steps: int, checked: int, pairs: int
) -> tuple[float, float, str, float]:
    """Seconds of a step by hand, the ratio, its spread, and how far the parameters are apart."""
    for run in (hand, library):
        next(run)
    apart = _apart(hand.send(checked), library.send(checked))  # compiles, too
    times = np.empty((pairs, 2))
    for turn in range(pairs):
        # The order alternates, since a machine's speed drifts.
        for side in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            params = (hand, library)[side].send(steps)
            jax.block_until_ready(params)
            times[turn, side] = time.perf_counter() - started
    low, middle, high = np.percentile(times[:, 1] / times[:, 0], [10, 50, 90])
    seconds = float(np.median(times[:, 0])) / steps
    return seconds, float(middle), f"{low:.3f} to {high:.3f}", apart


def _apart(one: Any, other: Any) -> float:
    gaps = jax.tree.map(
        lambda a, b: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))), one, other
    )
    return max(jax.tree.leaves(gaps))


if __name__ == "__main__":
    main()
