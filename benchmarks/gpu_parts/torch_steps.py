"""The cached step here and in PyTorch, in bfloat16, with the same weights."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxkd
from benchmarks.gpu_parts.results import Goal, Row, attempted, not_installed
from benchmarks.gpu_parts.sizes import Sizes, make_module
from benchmarks.side_by_side import interleaved
from jaxkd import weights
from jaxkd.networks import Network

# Logits in float32, over the largest; losses in bfloat16, over PyTorch's.
LOGITS_APART, LOSSES_APART = 1e-3, 2e-2


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """One row a student.

    Both take float32 images and a teacher's logits that lie on the device. PyTorch trains with
    autocast, channels last, AdamW in one kernel and, on a GPU, `torch.compile`. The twin's weights
    are loaded into the student: in float32 both must give the same logits of eight images in
    training mode, and in bfloat16 the same loss of the first batch.
    """
    if row := not_installed("PyTorch", "torch"):
        yield row
        return
    import torch

    gpu = jax.default_backend() == "gpu"
    if gpu and not torch.cuda.is_available():
        yield Row("PyTorch", note=f"PyTorch {torch.__version__} sees no GPU", failed=True)
        return
    device = "cuda" if gpu else "cpu"
    for name in sizes.compared:
        yield attempted(name, lambda name=name: _measure(name, sizes, device, until))
        if gpu:
            torch.cuda.empty_cache()


def _measure(name: str, sizes: Sizes, device: str, until: float) -> Row:
    import torch

    from benchmarks import pytorch
    from benchmarks.gpu_parts import twins

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    batches = _batches(sizes)
    twin, naming = twins.make(name, sizes)
    module = make_module(name, sizes)
    network, report = weights.load(jaxkd.from_nnx(module), twin.state_dict(), naming=naming)
    if not report.complete:
        raise ValueError(f"the twin of {name} has other weights: {report}")
    apart = _apart(network, twin.to(device), batches[0]["inputs"][:8], device)
    if not apart < LOGITS_APART:
        raise ValueError(f"{name}: logits differ by {apart:.1e} of the largest")
    half = jaxkd.from_nnx(module, dtype=jnp.bfloat16)
    student = half.replace(params=network.params, state=network.state)
    theirs = pytorch.torch_runner(twin, None, batches, device, fast=device == "cuda", mixed=True)
    ours = pytorch.jax_runner(student, None, batches, looped=False)
    losses_apart = abs(ours[0] - theirs[0]) / abs(theirs[0])
    if not losses_apart < LOSSES_APART:
        raise ValueError(f"{name}: losses differ, {ours[0]:.5f} and {theirs[0]:.5f}")
    ours[1](), theirs[1]()  # PyTorch compiles
    times = interleaved(ours[1], theirs[1], sizes.pairs, until=until)
    low, high = times.spread
    images = sizes.batch_size * sizes.steps
    numbers = {
        "PyTorch, images/s": images / times.medians[1],
        "jaxkd, images/s": images / times.medians[0],
        "Times faster": times.ratio,
        "10th percentile": low,
        "90th percentile": high,
        "Logits apart, float32": apart,
        "Losses apart, bfloat16": losses_apart,
    }
    how = "PyTorch compiled" if device == "cuda" else "PyTorch eager"
    return Row(f"{name} ({how})", numbers, (Goal("times faster", times.ratio, 1.3, at_least=True),))


def _batches(sizes: Sizes) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    shape = (sizes.batch_size, sizes.image_size, sizes.image_size, 3)
    return [
        {
            "inputs": generator.standard_normal(shape, np.float32),
            "labels": generator.integers(0, sizes.classes, sizes.batch_size),
            "teacher": generator.standard_normal((sizes.batch_size, sizes.classes), np.float32),
        }
        for _ in range(sizes.steps)
    ]


def _apart(network: Network, twin: Any, images: np.ndarray, device: str) -> float:
    """The largest difference of logits in float32 and training mode, over the largest logit."""
    import torch

    def forward(params: Any, state: Any, images: jax.Array) -> jax.Array:
        key = jax.random.key(0)
        return network.apply(params, state, images, train=True, key=key)[0]["logits"]

    with jax.default_matmul_precision("highest"):
        ours = np.asarray(jax.jit(forward)(network.params, network.state, images))
    given = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    # TensorFloat32 would round what is to be compared.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with torch.no_grad():
        theirs = twin.train()(given).cpu().numpy()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
