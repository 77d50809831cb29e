"""Runs an exported network on a device, and prints its accuracy and latency.

One file to copy beside the network: it needs neither jaxkd nor Flax.

    a .tflite        pip install numpy ai-edge-litert
    a .stablehlo     pip install jax flatbuffers

    python run.py model.tflite inputs.npy --labels labels.npy

The inputs are one array [examples, ...] as the network takes them (of images often uint8), the
labels integers [examples]. Printed are the first classes, the share of the labels that the largest
logit hits, and the latency: the time of one call from an input in memory to logits in memory,
median, 10th and 90th percentile over many calls. A .stablehlo runs on the device that JAX chooses;
JAX_PLATFORMS=cpu chooses for it.
"""

import argparse
import io
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

# Number of examples in a call where the file takes any number.
_CHUNK = 64


class Runner:
    """A network from a file.

    Attributes:
      run: function from a batch of inputs to logits.
      shape: shape of one input.
      dtype: type of the inputs.
      batch: batch size that the file is made for; None for any.
      software: name and version of the software that runs it.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        dtype: np.dtype,
        batch: int | None,
        software: str,
    ):
        self.run, self.shape, self.dtype = run, shape, dtype
        self.batch, self.software = batch, software

    def check(self, inputs: np.ndarray) -> None:
        """Refuses inputs of another shape or type."""
        if inputs.shape[1:] != self.shape or inputs.dtype != self.dtype or not len(inputs):
            raise ValueError(
                f"the network takes {self.dtype} [examples, {', '.join(map(str, self.shape))}], "
                f"the inputs are {inputs.dtype} {list(inputs.shape)}"
            )

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Computes logits of any number of inputs, in calls of the file's batch size."""
        chunk = self.batch or _CHUNK
        outputs = []
        for start in range(0, len(inputs), chunk):
            part = inputs[start : start + chunk]
            missing = self.batch - len(part) if self.batch else 0
            full = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
            outputs.append(self.run(full)[: len(part)])
        return np.concatenate(outputs)


def load(file: pathlib.Path, *, threads: int = 1) -> Runner:
    """Loads a .tflite, which runs in this number of threads, or a .stablehlo."""
    if file.suffix == ".tflite":
        return _litert(file, threads)
    if file.suffix == ".stablehlo":
        return _stablehlo(file)
    raise ValueError(f"{file} is neither a .tflite nor a .stablehlo")


def _stablehlo(file: pathlib.Path) -> Runner:
    import jax
    from jax import export

    exported = export.deserialize(bytearray(file.read_bytes()))
    (given,) = exported.in_avals
    call = jax.jit(exported.call)
    batch = given.shape[0] if isinstance(given.shape[0], int) else None
    device = jax.devices()[0]
    return Runner(
        lambda inputs: np.asarray(call(inputs)),
        tuple(given.shape[1:]),
        np.dtype(given.dtype),
        batch,
        f"jax {jax.__version__} on {device.platform} ({device.device_kind})",
    )


def _litert(file: pathlib.Path, threads: int) -> Runner:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch = None if given["shape_signature"][0] < 0 else int(given["shape"][0])
    interpreter.allocate_tensors()
    allocated = [int(given["shape"][0])]

    def run(inputs: np.ndarray) -> np.ndarray:
        if len(inputs) != allocated[0]:
            interpreter.resize_tensor_input(given["index"], inputs.shape)
            interpreter.allocate_tensors()
            allocated[0] = len(inputs)
        interpreter.set_tensor(given["index"], inputs)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])  # a copy

    return Runner(
        run,
        tuple(int(size) for size in given["shape"][1:]),
        np.dtype(given["dtype"]),
        batch,
        f"ai-edge-litert {version('ai-edge-litert')}, {threads} thread{'s' * (threads > 1)}",
    )


def latency(runner: Runner, inputs: np.ndarray, *, repeats: int, warmup: int) -> np.ndarray:
    """Times single calls in seconds, after warmup calls that are not counted."""
    batch = np.resize(inputs, (runner.batch or 1, *inputs.shape[1:]))
    times = []
    for _ in range(warmup + repeats):
        start = time.perf_counter()
        runner.run(batch)
        times.append(time.perf_counter() - start)
    return np.asarray(times[warmup:])


def describe_machine() -> str:
    """Returns the operating system, the processor and the number of cores."""
    processor = platform.processor() or platform.machine()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    except OSError:
        pass
    return f"{platform.system()} {platform.machine()}, {processor}, {os.cpu_count()} cores"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a network; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=pathlib.Path, help="a .tflite or a .stablehlo")
    parser.add_argument("inputs", type=pathlib.Path, help="a .npy file [examples, ...]")
    parser.add_argument("--labels", type=pathlib.Path, help="a .npy file of integers")
    parser.add_argument("--outputs", type=pathlib.Path, help="a .npy file to write logits to")
    parser.add_argument(
        "--repeats", type=int, default=100, help="number of timed calls, 0 for none"
    )
    parser.add_argument("--warmup", type=int, default=10, help="calls before them, at least 1")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of a .tflite")
    given = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal's encoding may lack a character of a path or of the processor's name.
        sys.stdout.reconfigure(errors="replace")
    try:
        _run(given)
    except ImportError as error:
        needed = "ai-edge-litert" if given.file.suffix == ".tflite" else "jax flatbuffers"
        print(f"error: {error}: pip install numpy {needed}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.repeats < 0 or given.warmup < 1 or given.threads < 1:
        raise ValueError("repeats must be at least 0, warmup and threads at least 1")
    inputs = np.load(given.inputs)
    runner = load(given.file, threads=given.threads)
    runner.check(inputs)
    labels = None if given.labels is None else np.load(given.labels)
    logits = runner.logits(inputs)
    classes = logits.argmax(-1)
    if labels is not None and labels.shape != classes.shape:
        raise ValueError(f"there are labels {list(labels.shape)} for classes {list(classes.shape)}")
    if labels is not None and labels.dtype.kind not in "iu":
        raise ValueError(f"labels are integers, not {labels.dtype}")
    if given.outputs is not None:
        np.save(given.outputs, logits)
    print(f"file: {given.file}, {given.file.stat().st_size:,} bytes")
    print(f"machine: {describe_machine()}; Python {platform.python_version()}, {runner.software}")
    print(f"first classes: {' '.join(map(str, classes.ravel()[:10]))}")
    if labels is not None:
        known = labels >= 0  # -1 is no label
        print(f"top-1: {np.mean((classes == labels)[known]):.4f} of {known.sum():,}")
    if given.repeats:
        times = latency(runner, inputs, repeats=given.repeats, warmup=given.warmup)
        p10, median, p90 = np.percentile(times, (10, 50, 90)) * 1e3
        print(
            f"latency at batch {runner.batch or 1}: median {median:.3f} ms, p10 {p10:.3f} ms, "
            f"p90 {p90:.3f} ms ({given.repeats} calls after {given.warmup})"
        )


if __name__ == "__main__":
    sys.exit(main())
