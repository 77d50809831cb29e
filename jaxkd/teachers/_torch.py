"""Teachers in PyTorch."""

import contextlib
import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.networks._arguments import shown
from jaxkd.networks._outputs import Selection
from jaxkd.teachers._foreign import ForeignTeacher
from jaxkd.teachers._layout import arranged, check_layout, fits_both, is_image


def from_torch(
    module: Any,
    *,
    name: str | None = None,
    layout: str | None = None,
    device: Any = None,
    dtype: Any = None,
    inputs: Callable[[Any], Any] | None = None,
    outputs: Selection = None,
) -> ForeignTeacher:
    """Adapts a PyTorch module, for `jaxkd.cache.build`.

    It runs in evaluation mode and without gradients; afterwards its modules are in the mode that
    they were in. Tensors get the parameters' device and floating-point dtype; signed integers
    become int64, as PyTorch's embeddings want them. A dictionary of inputs is passed as keywords, a
    tuple (of `inputs=`) as several arguments.

    Args:
      module: the module, with its trained parameters.
      name: what the teacher is called; None: the name of its class.
      layout: of images. `"NCHW"` moves the channels of the views, which are last, to the second
        axis; `"NHWC"` leaves them. None: the one that the module runs on, found out on the first
        batch; if it runs on both, that is an error. Arrays without four axes stay as they are.
      device: where the module is moved to; None: it stays where it is.
      dtype: floating-point dtype of the inputs; None: that of the module's first parameter.
      inputs: function of a batch of views, NumPy to NumPy, that makes of them what the module
        takes: another normalization, size or layout. It returns an array, a tuple or a dictionary.
      outputs: names of what the module returns, as in `jaxkd.teachers.from_callable`.

    Returns:
      A teacher whose fingerprint has a digest of the module's `state_dict`.

    Raises:
      ImportError: PyTorch is not installed.
      TypeError: no PyTorch module.
      ValueError: another layout; on the first batch, images of which both layouts fit.

    Example:
      >>> import pytest
      >>> torch = pytest.importorskip("torch")
      >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
      >>> teacher = from_torch(module, layout="NCHW")
      >>> teacher(np.ones((2, 2, 2, 1), np.float32))["logits"].shape
      (2, 3)
    """
    check_layout(layout)
    torch = _import_torch()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"a torch.nn.Module is wanted, not {shown(module)}: for a function of NumPy arrays "
            "write jaxkd.teachers.from_callable(function, name='…')"
        )
    if device is not None:
        module.to(device)
    name = type(module).__name__ if name is None else name
    call = _TorchCall(torch, module, name, layout, dtype)

    def identity() -> dict[str, str]:
        return {"framework": "torch", "parameters": _digest(torch, module.state_dict())}

    return ForeignTeacher(call, name, inputs, outputs, None, identity)


class _TorchCall:
    """The call of a module with NumPy arrays, in evaluation mode and without gradients.

    Attributes:
      layout: of images; found out on the first batch if it is None.
    """

    def __init__(self, torch: Any, module: Any, name: str, layout: str | None, dtype: Any):
        self._torch, self._module, self._name = torch, module, name
        self.layout, self._dtype = layout, dtype

    def __call__(self, given: Any) -> Any:
        with _evaluating(self._module), self._torch.inference_mode():
            if self.layout is None and (images := [*filter(is_image, jax.tree.leaves(given))]):
                self.layout, result = self._first(given, images[0].shape)
                return result
            return self._forward(given, self.layout)

    def _first(self, given: Any, shape: tuple[int, ...]) -> tuple[str, Any]:
        """Runs the module on both layouts, and returns the one that it runs on."""
        results: dict[str, Any] = {}
        errors = []
        for layout in ("NHWC", "NCHW"):
            try:
                results[layout] = self._forward(given, layout)
            except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
                errors.append(error)
        if len(results) == 2:
            raise fits_both(self._name, shape)
        if not results:
            raise errors[-1]
        return next(iter(results.items()))

    def _forward(self, given: Any, layout: str | None) -> Any:
        if isinstance(given, Mapping):
            return self._module(**{key: self._tensor(v, layout) for key, v in given.items()})
        if isinstance(given, tuple | list):
            return self._module(*(self._tensor(value, layout) for value in given))
        return self._module(self._tensor(given, layout))

    def _tensor(self, value: Any, layout: str | None) -> Any:
        torch, array = self._torch, np.array(arranged(value, layout))
        parameter = next(iter(self._module.parameters()), None)
        device = None if parameter is None else parameter.device
        if np.issubdtype(array.dtype, np.signedinteger):
            return torch.from_numpy(array.astype(np.int64)).to(device)
        if array.dtype.kind in "ub":
            return torch.from_numpy(array).to(device)
        # Of half the bits only PyTorch has both kinds.
        tensor = torch.from_numpy(array.astype(np.float32))
        wanted = self._dtype
        if wanted is None and parameter is not None and parameter.is_floating_point():
            wanted = parameter.dtype
        return tensor.to(device=device, dtype=wanted)


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Sets evaluation mode, and afterwards the mode that every submodule was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _digest(torch: Any, tensors: Mapping[str, Any]) -> str:
    """Digest of the names, dtypes, shapes and bytes of tensors; other entries show in outputs."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if not hasattr(tensor, "detach"):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return "sha256:" + digest.hexdigest()


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError("from_torch needs PyTorch: pip install 'jaxkd-distill[torch]'") from error
