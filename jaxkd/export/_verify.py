"""Exported files, run in a separate process and compared with the network."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import jax
import numpy as np

from jaxkd.export._inputs import Arrays, count, rows
from jaxkd.export._programs import ExportError, Forward
from jaxkd.ops import xla_convolutions

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class FileCheck:
    """How an exported file compares with the network that it was made of.

    Attributes:
      examples: number of examples that were compared.
      largest: largest absolute difference of a logit.
      agreement: share of the examples with the same most probable class.
      accuracy: share of the examples whose most probable class, by the file, is the label; labels
        of −1 are left out. None without labels.

    Example:
      >>> check = FileCheck(examples=1000, largest=2e-5, agreement=1.0, accuracy=0.898)
      >>> check.agreement == 1.0 and check.largest < 1e-4
      True
    """

    examples: int
    largest: float
    agreement: float
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The difference from the network that a file may have.

    Attributes:
      largest: greatest absolute difference of a logit; infinite where it does not matter.
      agreement: least share of equal most probable classes.
    """

    largest: float
    agreement: float


def reference(function: Forward, examples: Arrays) -> np.ndarray:
    """Computes the logits of the network on CPU, as those of the exported file are.

    Args:
      function: logits of inputs.
      examples: the inputs.

    Returns:
      The logits.

    Raises:
      ExportError: logits are NaN, or JAX has no CPU.
    """
    try:
        (cpu, *_) = jax.local_devices(backend="cpu")
    except RuntimeError as error:
        raise ExportError(
            "exported files are compared on CPU, which JAX_PLATFORMS leaves out: add it, as in "
            f"JAX_PLATFORMS=cuda,cpu ({error})"
        ) from error
    # A quantized network rounds numbers that differ in the last digit to different numbers, so it
    # is computed with the same convolutions as the file.
    with jax.default_device(cpu), xla_convolutions():
        compiled = jax.jit(function)
        starts = range(0, count(examples), _BATCH)
        parts = [rows(examples, start, start + _BATCH) for start in starts]
        logits = np.concatenate([np.asarray(compiled(part)) for part in parts])
    if np.isnan(logits).any():
        share = np.isnan(logits).mean()
        raise ExportError(f"{share:.1%} of the network's logits of the examples are NaN")
    return logits


def run_in_fresh_process(program: pathlib.Path, file: pathlib.Path, inputs: Arrays) -> np.ndarray:
    """Computes the logits of a file by the program that is copied to devices.

    Args:
      program: the program.
      file: the exported file.
      inputs: inputs of the network.

    Returns:
      The logits.

    Raises:
      ExportError: the program fails; the message has its error output.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = pathlib.Path(folder, "logits.npy")
        if isinstance(inputs, Mapping):
            given = pathlib.Path(folder, "inputs.npz")
            np.savez(given, **inputs)
        else:
            given = pathlib.Path(folder, "inputs.npy")
            np.save(given, inputs)
        command = [sys.executable, program, file, given, "--outputs", outputs, "--repeats", "0"]
        run = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            encoding="utf-8",
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
) -> FileCheck:
    """Compares the logits of a file with those of the network.

    Args:
      file: name of the file, for the message.
      wanted: logits of the network.
      found: logits of the file.
      labels: labels of the examples, for the accuracy.
      tolerance: difference that is allowed.

    Returns:
      How they compare.

    Raises:
      ExportError: they differ by more than the tolerance.
    """
    if found.shape != wanted.shape:
        raise ExportError(f"{file} gives logits {found.shape}, the network {wanted.shape}")
    # Equal infinities, of masked classes, do not differ; their subtraction would be NaN.
    same = found == wanted
    difference = np.abs(np.subtract(found, wanted, where=~same, out=np.zeros_like(wanted)))
    largest = float(difference.max())
    classes = found.argmax(-1)
    agreement = float(np.mean(classes == wanted.argmax(-1)))
    # In this form, and not as `largest > …`, NaN is refused.
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
    return FileCheck(len(wanted), largest, agreement, accuracy)
