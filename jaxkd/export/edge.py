"""Runs an exported network on a device, and prints its accuracy and latency.

One file to copy beside the network: it needs neither jaxkd nor Flax.

    a .tflite        pip install numpy ai-edge-litert
    a .onnx          pip install numpy onnxruntime
    a .stablehlo     pip install jax flatbuffers

    python run.py model.tflite inputs.npy --labels labels.npy

The inputs are one array [examples, ...] as the network takes them (of images often uint8), or for a
network of several inputs a .npz with these by name; the labels are integers [examples]. Printed are
the first classes, the share of the labels that the largest logit hits, and the latency: the time of
one call from an input in memory to logits in memory, median, 10th and 90th percentile over many
calls. A .stablehlo runs on the device that JAX chooses; JAX_PLATFORMS=cpu chooses for it.
"""

import argparse
import io
import operator
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Number of examples in a call where the file takes any number.
_CHUNK = 64

_PACKAGES = {".tflite": "ai-edge-litert", ".onnx": "onnxruntime", ".stablehlo": "jax flatbuffers"}

# An array [examples, ...], or such arrays by name.
Inputs = Any


class Runner:
    """A network from a file.

    Attributes:
      run: function from a batch of inputs to logits.
      shape: shape of one input; name → shape where there are several.
      dtype: type of the inputs; name → type likewise.
      batch: batch size that the file is made for; None for any.
      software: name and version of the software that runs it.
    """

    def __init__(
        self,
        run: Callable[[Inputs], np.ndarray],
        shape: Any,
        dtype: Any,
        batch: int | None,
        software: str,
    ):
        self.run, self.shape, self.dtype = run, shape, dtype
        self.batch, self.software = batch, software

    def check(self, inputs: Inputs) -> None:
        """Refuses inputs of other names, another shape or type."""
        wanted, given = _by_name(self.shape), _by_name(inputs)
        dtypes = _by_name(self.dtype)
        fits = set(given) == set(wanted) and len({len(array) for array in given.values()}) == 1
        for name, array in given.items() if fits else ():
            fits &= array.shape[1:] == wanted[name] and array.dtype == dtypes[name]
            fits &= bool(len(array))
        if not fits:
            takes = ", ".join(
                " ".join([name, f"{dtypes[name]} {_list(('examples', *wanted[name]))}"]).strip()
                for name in wanted
            )
            are = ", ".join(
                " ".join([name, f"{array.dtype} {_list(array.shape)}"]).strip()
                for name, array in given.items()
            )
            raise ValueError(f"the network takes {takes}, the inputs are {are}")

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Computes logits of any number of inputs, in calls of the file's batch size."""
        count, chunk = len(next(iter(_by_name(inputs).values()))), self.batch or _CHUNK
        outputs = []
        for start in range(0, count, chunk):
            # A last call that is not full repeats the last example.
            size = min(chunk, count - start)
            rows = np.minimum(np.arange(start, start + (self.batch or size)), count - 1)
            outputs.append(self.run(_map(operator.itemgetter(rows), inputs))[:size])
        return np.concatenate(outputs)


def _by_name(inputs: Inputs) -> Mapping[str, Any]:
    """Returns inputs by name; of a single one the name is empty."""
    return inputs if isinstance(inputs, Mapping) else {"": inputs}


def _map(function: Callable[[Any], Any], inputs: Inputs) -> Inputs:
    """Applies a function to each array."""
    if isinstance(inputs, Mapping):
        return {name: function(array) for name, array in inputs.items()}
    return function(inputs)


def _list(sizes: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def load(file: pathlib.Path, *, threads: int = 1) -> Runner:
    """Loads a .tflite or .onnx, which runs in this number of threads, or a .stablehlo."""
    if file.suffix == ".tflite":
        return _litert(file, threads)
    if file.suffix == ".onnx":
        return _onnx(file, threads)
    if file.suffix == ".stablehlo":
        return _stablehlo(file)
    raise ValueError(f"{file} is neither a .tflite, nor a .onnx, nor a .stablehlo")


def _stablehlo(file: pathlib.Path) -> Runner:
    import jax
    from jax import export

    exported = export.deserialize(bytearray(file.read_bytes()))
    (given,), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    call = jax.jit(exported.call)
    size = exported.in_avals[0].shape[0]
    device = jax.devices()[0]
    return Runner(
        lambda inputs: np.asarray(call(inputs)),
        _map(lambda aval: tuple(aval.shape[1:]), given),
        _map(lambda aval: np.dtype(aval.dtype), given),
        size if isinstance(size, int) else None,
        f"jax {jax.__version__} on {device.platform} ({device.device_kind})",
    )


def _litert(file: pathlib.Path, threads: int) -> Runner:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    (result,) = interpreter.get_output_details()
    # Without a name for the runner, which would refer to memory that is about to move.
    details = interpreter.get_signature_runner().get_input_details()
    places = {name: tensor["index"] for name, tensor in details.items()}
    shapes = {name: tuple(map(int, tensor["shape"][1:])) for name, tensor in details.items()}
    dtypes = {name: np.dtype(tensor["dtype"]) for name, tensor in details.items()}
    first = interpreter.get_input_details()[0]
    batch = None if first["shape_signature"][0] < 0 else int(first["shape"][0])
    interpreter.allocate_tensors()
    allocated = [int(first["shape"][0])]

    def run(inputs: Inputs) -> np.ndarray:
        arrays = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
        size = len(next(iter(arrays.values())))
        if size != allocated[0]:
            for name, array in arrays.items():
                interpreter.resize_tensor_input(places[name], array.shape)
            interpreter.allocate_tensors()
            allocated[0] = size
        for name, array in arrays.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])  # a copy

    return Runner(
        run,
        _single(shapes),
        _single(dtypes),
        batch,
        f"ai-edge-litert {version('ai-edge-litert')}, {threads} thread{'s' * (threads > 1)}",
    )


def _onnx(file: pathlib.Path, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    nodes = session.get_inputs()
    size = nodes[0].shape[0]

    def run(inputs: Inputs) -> np.ndarray:
        feed = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
        return session.run(None, feed)[0]

    return Runner(
        run,
        _single({node.name: tuple(node.shape[1:]) for node in nodes}),
        _single({node.name: _onnx_dtype(node.type) for node in nodes}),
        size if isinstance(size, int) else None,
        f"onnxruntime {onnxruntime.__version__}, {threads} thread{'s' * (threads > 1)}",
    )


def _onnx_dtype(name: str) -> np.dtype:
    """Returns the type that ONNX Runtime calls `tensor(float)` and the like."""
    short = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(short, short))


def _single(by_name: Mapping[str, Any]) -> Any:
    """Returns the value of `inputs`, the name that a single array has; else all by name."""
    return by_name["inputs"] if set(by_name) == {"inputs"} else dict(by_name)


def latency(runner: Runner, inputs: Inputs, *, repeats: int, warmup: int) -> np.ndarray:
    """Times single calls in seconds, after warmup calls that are not counted."""
    batch = _map(lambda x: np.resize(x, (runner.batch or 1, *x.shape[1:])), inputs)
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
    parser.add_argument("file", type=pathlib.Path, help="a .tflite, .onnx or .stablehlo")
    parser.add_argument("inputs", type=pathlib.Path, help="a .npy [examples, ...], or a .npz")
    parser.add_argument("--labels", type=pathlib.Path, help="a .npy file of integers")
    parser.add_argument("--outputs", type=pathlib.Path, help="a .npy file to write logits to")
    parser.add_argument(
        "--repeats", type=int, default=100, help="number of timed calls, 0 for none"
    )
    parser.add_argument("--warmup", type=int, default=10, help="calls before them, at least 1")
    parser.add_argument("--threads", type=int, default=1, help="of a .tflite or .onnx")
    given = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal's encoding may lack a character of a path or of the processor's name.
        sys.stdout.reconfigure(errors="replace")
    try:
        _run(given)
    except ImportError as error:
        needed = _PACKAGES[given.file.suffix]
        print(f"error: {error}: pip install numpy {needed}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.repeats < 0 or given.warmup < 1 or given.threads < 1:
        raise ValueError("repeats must be at least 0, warmup and threads at least 1")
    runner = load(given.file, threads=given.threads)
    inputs = _named_as(runner.shape, np.load(given.inputs))
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


def _named_as(wanted: Any, loaded: Any) -> Inputs:
    """Returns the arrays of a file; one array fits one input, whatever the names."""
    inputs = loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    if len(_by_name(inputs)) == 1 == len(_by_name(wanted)):
        (array,), (name,) = _by_name(inputs).values(), _by_name(wanted)
        return {name: array} if isinstance(wanted, Mapping) else array
    return inputs


if __name__ == "__main__":
    sys.exit(main())
