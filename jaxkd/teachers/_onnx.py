"""Teachers in ONNX Runtime."""

import hashlib
import importlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.networks._arguments import shown
from jaxkd.networks._outputs import Selection
from jaxkd.teachers._foreign import ForeignTeacher
from jaxkd.teachers._layout import arranged, check_layout, fits_both, is_image

_DTYPES = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def from_onnx(
    model: str | pathlib.Path | Any,
    *,
    name: str | None = None,
    layout: str | None = None,
    providers: Sequence[Any] | None = None,
    inputs: Callable[[Any], Any] | None = None,
    outputs: Selection = None,
) -> ForeignTeacher:
    """Adapts an ONNX file or a session of ONNX Runtime, for `jaxkd.cache.build`.

    The graph says what it takes: inputs get its dtype, and where its batch has one fixed size,
    batches are padded to it. A graph of several inputs takes a dictionary by their names.

    Args:
      model: path of an ONNX file, or an `onnxruntime.InferenceSession`.
      name: what the teacher is called; None: the name of the file. A session needs one.
      layout: of images. `"NCHW"` moves the channels of the views, which are last, to the second
        axis; `"NHWC"` leaves them. None: the one that the graph's shapes say; if both fit, that is
        an error on the first batch.
      providers: those of the session that is made of a file; None: CUDA where ONNX Runtime has it,
        and the CPU.
      inputs: function of a batch of views, NumPy to NumPy, that makes of them what the graph takes.
      outputs: names of outputs → names in the graph, `{"logits": "output_0"}`, of which the others
        are not computed; or a function of all outputs, a dictionary by their names in the graph. By
        default the only output is `logits`, and several have their own names.

    Returns:
      A teacher whose fingerprint has a digest of the file. Weights in further files beside it, and
      those of a session, show in what the teacher computes.

    Raises:
      ImportError: ONNX Runtime is not installed.
      TypeError: neither a path nor a session.
      ValueError: a file that ONNX Runtime cannot open, another layout, a session without a name,
        outputs that the graph does not have; on
        the first batch, images of which both layouts fit or none.

    Example:
      >>> teacher = from_onnx("resnet50.onnx", layout="NCHW")  # doctest: +SKIP
      >>> teacher(np.zeros((2, 224, 224, 3), np.float32))["logits"].shape  # doctest: +SKIP
    """
    check_layout(layout)
    identity = {"framework": "onnx"}
    if isinstance(model, str | pathlib.PurePath):
        path = pathlib.Path(model)
        identity["file"] = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        session = _session(path, providers)
        name = path.name if name is None else name
    elif hasattr(model, "run") and hasattr(model, "get_inputs"):
        session = model
        if name is None:
            raise ValueError(
                "a session does not say which file it is of: write from_onnx('teacher.onnx'), or "
                "from_onnx(session, name='…')"
            )
    else:
        raise TypeError(
            f"the path of an ONNX file or an onnxruntime.InferenceSession is wanted, not "
            f"{shown(model)}"
        )
    call = _OnnxCall(session, name, layout, _requested(session, name, outputs))
    # A graph of one output needs no name for it: whatever it is called there, it is the logits.
    if outputs is None and len(call.requested) == 1:
        outputs = {"logits": call.requested[0]}
    return ForeignTeacher(call, name, inputs, outputs, call.batch_size, lambda: identity)


class _OnnxCall:
    """The call of a session with NumPy arrays.

    Attributes:
      requested: names of the outputs that are computed.
      batch_size: number of examples that the graph takes, None for any.
    """

    def __init__(self, session: Any, name: str, layout: str | None, requested: list[str]):
        self._session, self._name, self._layout = session, name, layout
        self._given = {node.name: node for node in session.get_inputs()}
        self.requested = requested
        sizes = {node.shape[0] for node in self._given.values() if node.shape}
        fixed = [size for size in sizes if isinstance(size, int) and size > 0]
        self.batch_size = max(fixed, default=None)

    def __call__(self, given: Any) -> dict[str, np.ndarray]:
        if not isinstance(given, Mapping):
            if len(self._given) != 1:
                raise ValueError(
                    f"the graph of the teacher {self._name} has the inputs {sorted(self._given)}, "
                    "and one array is given: give a dictionary by inputs="
                )
            given = {next(iter(self._given)): given}
        if set(given) != set(self._given):
            raise ValueError(
                f"the graph of the teacher {self._name} has the inputs {sorted(self._given)}, not "
                f"{sorted(given)}: name them by inputs="
            )
        feed = {name: self._converted(name, value) for name, value in given.items()}
        return dict(zip(self.requested, self._session.run(self.requested, feed), strict=True))

    def _converted(self, name: str, value: Any) -> np.ndarray:
        node = self._given[name]
        value = arranged(np.asarray(value), self._layout_of(node, value))
        dtype = _DTYPES.get(node.type)
        if dtype is None:
            return value
        kinds = [np.issubdtype(d, np.integer) for d in (value.dtype, dtype)]
        if kinds[0] != kinds[1]:
            raise TypeError(
                f"the input {name!r} of the teacher {self._name} is {node.type}, and the views are "
                f"{value.dtype}: convert them by inputs=, or change the views"
            )
        return value.astype(dtype)

    def _layout_of(self, node: Any, value: Any) -> str | None:
        if self._layout is not None or not is_image(value) or len(node.shape or ()) != 4:
            return self._layout
        last = np.shape(value)
        shapes = {"NHWC": last, "NCHW": (last[0], last[3], last[1], last[2])}
        fitting = [layout for layout, shape in shapes.items() if _fits(node.shape, shape)]
        if len(fitting) == 2:
            raise fits_both(self._name, last)
        if not fitting:
            raise ValueError(
                f"the input {node.name!r} of the teacher {self._name} has the shape {node.shape}; "
                f"the views are {list(last)}: bring them to its size by inputs="
            )
        return fitting[0]


def _fits(wanted: Sequence[Any], shape: Sequence[int]) -> bool:
    pairs = zip(wanted[1:], shape[1:], strict=True)
    return all(not isinstance(size, int) or size == own for size, own in pairs)


def _requested(session: Any, name: str, outputs: Selection) -> list[str]:
    known = [node.name for node in session.get_outputs()]
    if not isinstance(outputs, Mapping):
        return known
    if absent := sorted(set(outputs.values()) - set(known)):
        raise ValueError(f"the graph of the teacher {name} has no output {absent}; it has {known}")
    return [place for place in known if place in set(outputs.values())]


def _session(path: pathlib.Path, providers: Sequence[Any] | None) -> Any:
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "from_onnx needs ONNX Runtime: pip install 'jaxkd-distill[onnx]'"
        ) from error
    if providers is None:
        there = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in there]
    try:
        return onnxruntime.InferenceSession(str(path), providers=list(providers))
    except Exception as error:  # of ONNX Runtime, of many kinds
        raise ValueError(f"ONNX Runtime cannot open {path}: {error}") from error
