"""What was exported, run in a process of its own and compared with the network."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import numpy as np

from jaxkd.export._programs import ExportError, Forward
from jaxkd.ops import xla_convolutions

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Check:
    """How an exported file compares with the network that it was made of.

    Attributes:
      examples: number of examples that both answered.
      largest: largest absolute difference of a logit.
      agreement: share of the examples with the same most probable class.
      accuracy: share of the labels that the file's most probable class hits, those of -1 left out;
        None without labels.
    """

    examples: int
    largest: float
    agreement: float
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What a file may differ by; refused are a larger difference and a lower agreement.

    Attributes:
      largest: absolute difference of a logit; infinite where it does not matter.
      agreement: share of equal most probable classes.
    """

    largest: float
    agreement: float


def reference(function: Forward, examples: np.ndarray) -> np.ndarray:
    """Logits of the network, computed on CPU as the exported file's are.

    Raises:
      ExportError: they are not numbers, or JAX has no CPU.
    """
    try:
        (cpu, *_) = jax.local_devices(backend="cpu")
    except RuntimeError as error:
        raise ExportError(
            "what is exported is compared on CPU, which JAX was told to leave out: add it, as in "
            f"JAX_PLATFORMS=cuda,cpu ({error})"
        ) from error
    # A network of few bits rounds what differs in the last place to different numbers, so it is
    # computed with the convolutions that the file holds.
    with jax.default_device(cpu), xla_convolutions():
        compiled = jax.jit(function)
        parts = [examples[at : at + _BATCH] for at in range(0, len(examples), _BATCH)]
        logits = np.concatenate([np.asarray(compiled(part)) for part in parts])
    if np.isnan(logits).any():
        share = np.isnan(logits).mean()
        raise ExportError(f"{share:.1%} of the network's logits of the examples are NaN")
    return logits


def in_fresh_process(program: pathlib.Path, file: pathlib.Path, inputs: np.ndarray) -> np.ndarray:
    """Logits of a file, by the program that is copied to devices.

    Raises:
      ExportError: it does not run; with what the program said.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, outputs = pathlib.Path(folder, "inputs.npy"), pathlib.Path(folder, "logits.npy")
        np.save(given, inputs)
        command = [sys.executable, program, file, given, "--outputs", outputs, "--repeats", "0"]
        run = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        if run.returncode or not outputs.exists():
            raise ExportError(
                f"{file.name} does not run in a fresh process (exit status {run.returncode}):\n"
                + run.stderr[-2000:]
            )
        return np.load(outputs)


def compare(
    file: str,
    wanted: np.ndarray,
    found: np.ndarray,
    labels: np.ndarray | None,
    tolerance: Tolerance,
) -> Check:
    """Compares logits.

    Raises:
      ExportError: they differ by more than the tolerance.
    """
    if found.shape != wanted.shape:
        raise ExportError(f"{file} gives logits {found.shape}, the network {wanted.shape}")
    # Equal infinities, of classes that are masked, do not differ.
    same = found == wanted
    difference = np.abs(np.subtract(found, wanted, where=~same, out=np.zeros_like(wanted)))
    largest = float(difference.max())
    classes = found.argmax(-1)
    agreement = float(np.mean(classes == wanted.argmax(-1)))
    # Written so that NaN is refused.
    if not (largest <= tolerance.largest and agreement >= tolerance.agreement):
        allowed = [f"an agreement of at least {tolerance.agreement:.2%}"]
        if np.isfinite(tolerance.largest):
            allowed.insert(0, f"a difference of at most {tolerance.largest:.1e}")
        raise ExportError(
            f"{file} is not the network: over {len(wanted)} examples the largest difference of a "
            f"logit is {largest:.3g} and the most probable classes agree in {agreement:.2%}; "
            f"allowed: {' and '.join(allowed)}. Nothing was written"
        )
    accuracy = None
    if labels is not None and (known := labels >= 0).any():  # -1 is no label
        accuracy = float(np.mean((classes == labels)[known]))
    return Check(len(wanted), largest, agreement, accuracy)
