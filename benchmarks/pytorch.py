"""The same distillation in PyTorch and here, side by side on the same cores.

  JAX_PLATFORMS=cpu python benchmarks/pytorch.py [--pairs 20] [--steps 50] [--batch_size 128]

Needs PyTorch (`pip install 'jaxkd-distill[torch]'`). The same networks with the same weights, the
same batches (in memory, on the device), `0.9 T² KL + 0.1 CE` and AdamW, once with the teacher's
logits at hand and once with the teacher in the step. PyTorch runs eagerly, as it does by default;
where both see a GPU, compiled as well. Before anything is timed, both must give the same
loss for the same weights and batch, else it ends with 1. Steps of jaxkd run one a call, and the
cached perceptron's also in one compiled loop, as its experiments run it.
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from benchmarks.side_by_side import interleaved, timed_steps
from jaxkd import make_train_step, recipes
from jaxkd.models import CNN, MLP
from jaxkd.study import Column, Table

try:
    import torch
    from torch.nn import functional
except ImportError:
    sys.exit("PyTorch is missing: pip install 'jaxkd-distill[torch]'")

ALPHA, TEMPERATURE, LEARNING_RATE, DECAY = 0.9, 4.0, 1e-3, 1e-4
TOLERANCE = 1e-4


class Perceptron(torch.nn.Module):
    """The twin of `jaxkd.models.MLP` with one hidden layer."""

    def __init__(self, params: Any):
        super().__init__()
        self.hidden = linear(params, "layers.0")
        self.head = linear(params, "head")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images `[batch, channels, height, width]`."""
        return self.head(functional.relu(self.hidden(x.flatten(1))))


class Convolutions(torch.nn.Module):
    """The twin of `jaxkd.models.CNN` with two convolutions, for images of 28×28 pixels."""

    def __init__(self, params: Any):
        super().__init__()
        self.convs = torch.nn.ModuleList(convolution(params, f"convs.{n}") for n in (0, 1))
        # Here channels come before pixels, there after them.
        self.hidden = linear(params, "hidden", rows=(7, 7, -1))
        self.head = linear(params, "head")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images `[batch, channels, height, width]`."""
        for conv in self.convs:
            x = functional.max_pool2d(functional.relu(conv(x)), 2)
        return self.head(functional.relu(self.hidden(x.flatten(1))))


def linear(params: Any, name: str, rows: tuple[int, ...] | None = None) -> torch.nn.Linear:
    kernel = np.asarray(params[f"{name}.kernel"])
    layer = torch.nn.Linear(*kernel.shape)
    if rows:
        kernel = kernel.reshape(*rows, kernel.shape[1]).transpose(2, 0, 1, 3)
        kernel = kernel.reshape(-1, kernel.shape[-1])
    return filled(layer, kernel.T, params[f"{name}.bias"])


def convolution(params: Any, name: str) -> torch.nn.Conv2d:
    kernel = np.asarray(params[f"{name}.kernel"])
    layer = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], kernel.shape[:2], padding="same")
    return filled(layer, kernel.transpose(3, 2, 0, 1), params[f"{name}.bias"])


def filled(layer: Any, weight: np.ndarray, bias: Any) -> Any:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        layer.bias.copy_(torch.from_numpy(np.array(bias)))
    return layer


def torch_runner(
    student: Any,
    teacher: Any,
    batches: list[dict[str, np.ndarray]],
    device: str,
    *,
    fast: bool,
    mixed: bool = False,
    channels_last: bool = False,
    make_optimizer: Callable[..., Any] | None = None,
) -> tuple[float, Callable[[], float]]:
    """The loss of the first batch, and a function that takes a step on every batch.

    Args:
      student: a module.
      teacher: one that is run in the step; None where batches hold its logits.
      batches: on the host.
      device: where to train.
      fast: whether the objective goes through `torch.compile`.
      mixed: whether to compute in bfloat16 by autocast, images with channels last, and AdamW in one
        kernel: what PyTorch's guide to tuning recommends on a GPU.
      channels_last: whether images and kernels have channels last in memory without `mixed`, too.
      make_optimizer: from the parameters to an optimizer, by default AdamW.

    Returns:
      The loss, and the function, which returns its seconds.
    """
    order = torch.channels_last if mixed or channels_last else torch.contiguous_format
    student = student.to(device, memory_format=order)
    adam = functools.partial(
        torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=DECAY, fused=mixed or None
    )
    optimizer = (make_optimizer or adam)(student.parameters())
    known = [
        {name: torch.from_numpy(value).to(device) for name, value in b.items()} for b in batches
    ]
    # Channels before pixels, once and for all.
    known = [
        {**b, "inputs": b["inputs"].permute(0, 3, 1, 2).contiguous(memory_format=order)}
        for b in known
    ]
    teacher = teacher.to(device).eval() if teacher is not None else None

    def objective(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            logits = student(batch["inputs"]).float()
            if teacher is None:
                outputs = batch["teacher"]
            else:
                with torch.no_grad():
                    outputs = teacher(batch["inputs"]).float()
        soft = functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, 1),
            functional.log_softmax(outputs / TEMPERATURE, 1),
            reduction="batchmean",
            log_target=True,
        )
        hard = functional.cross_entropy(logits, batch["labels"])
        return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * hard

    called = torch.compile(objective) if fast else objective

    def run() -> float:
        started = time.perf_counter()
        for batch in known:
            optimizer.zero_grad(set_to_none=True)
            called(batch).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return float(objective(known[0]).detach()), run


def jax_runner(
    student: jaxkd.Network,
    teacher: jaxkd.Network | None,
    batches: list[dict[str, np.ndarray]],
    *,
    looped: bool,
) -> tuple[float, Callable[[], float]]:
    """The same of jaxkd."""
    adam = optax.adamw(LEARNING_RATE, weight_decay=DECAY)
    objective = recipes.kd(alpha=ALPHA, temperature=TEMPERATURE)
    step = make_train_step(student, objective, adam, teacher=teacher)
    if teacher is not None:
        batches = [{k: v for k, v in batch.items() if k != "teacher"} for batch in batches]
    known = jax.device_put(batches)
    state = step.init()
    state, metrics = step(state, known[0])
    return float(metrics["loss"]), timed_steps(step, state, known, looped=looped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch_size", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(cores := len(os.sched_getaffinity(0)))
    gpu = torch.cuda.is_available() and jax.default_backend() == "gpu"
    teacher = jaxkd.from_nnx(CNN((28, 28, 1), (16, 32), 64, 10, rngs=nnx.Rngs(1)))
    output = jax.jit(lambda x: teacher.apply(teacher.params, teacher.state, x)[0]["logits"])
    generator = np.random.default_rng(0)
    batches = []
    for _ in range(arguments.steps):
        inputs = generator.random((arguments.batch_size, 28, 28, 1), np.float32)
        labels = generator.integers(0, 10, arguments.batch_size)
        batches.append(
            {"inputs": inputs, "labels": labels, "teacher": np.array(output(jnp.asarray(inputs)))}
        )
    students = {
        "MLP-128": (jaxkd.from_nnx(MLP(784, (128,), 10, rngs=nnx.Rngs(0))), Perceptron),
        "CNN-8-8": (
            jaxkd.from_nnx(CNN((28, 28, 1), (8, 8), 32, 10, rngs=nnx.Rngs(0))),
            Convolutions,
        ),
    }
    rows, apart = [], 0.0
    for name, (student, twin) in students.items():
        for how, online, looped in (
            ("cached", False, False),
            ("cached, loop", False, True),
            ("online", True, False),
        ):
            if looped and name != "MLP-128":
                continue  # on CPU, XLA compiles convolutions inside loops to slower code
            ours = jax_runner(student, teacher if online else None, batches, looped=looped)
            for fast in (False, True) if gpu else (False,):
                theirs = torch_runner(
                    twin(student.params),
                    Convolutions(teacher.params) if online else None,
                    batches,
                    "cuda" if gpu else "cpu",
                    fast=fast,
                )
                apart = max(apart, abs(ours[0] - theirs[0]))
                if apart > TOLERANCE:
                    sys.exit(f"{name}, {how}: losses differ, {ours[0]:.6f} and {theirs[0]:.6f}")
                label = f"{name}, {how}" + (" (PyTorch compiled)" if fast else "")
                rows.append([label, *compared(ours[1], theirs[1], arguments)])
    device = jax.devices()[0].device_kind
    Table(
        "Distillation here and in PyTorch",
        [
            "Student, teacher",
            Column("PyTorch, images/s", lambda x: f"{x:,.0f}"),
            Column("jaxkd, images/s", lambda x: f"{x:,.0f}"),
            Column("Times faster", lambda x: f"{x:.2f}"),
            "10th to 90th percentile",
        ],
        rows,
        f"Batch {arguments.batch_size}, {arguments.pairs} pairs of {arguments.steps} steps, "
        f"medians. Losses of the same weights and batch differ by {apart:.1e} at most. "
        f"{cores} cores, {device}, PyTorch {torch.__version__} "
        f"({'eager and compiled' if gpu else 'eager'}), jax {jax.__version__}.",
    ).print()


def compared(ours: Any, theirs: Any, arguments: Any) -> tuple[float, float, float, str]:
    """Images a second of PyTorch and of jaxkd, the ratio of a pair, and its spread."""
    ours(), theirs()
    times = interleaved(ours, theirs, arguments.pairs)
    images = arguments.batch_size * arguments.steps
    low, high = times.spread
    own, other = (images / seconds for seconds in times.medians)
    return other, own, times.ratio, f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
