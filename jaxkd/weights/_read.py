"""Arrays by name from the files of several libraries."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd._files import local_path
from jaxkd.weights._names import flat_variables
from jaxkd.weights._shards import check_no_pointer, index_of, is_index, read_indexed, read_parts

# The keys under which training scripts save the state dict.
_WRAPPERS = ("model", "state_dict", "model_state", "net")
_TORCH = (".pt", ".pth", ".bin")
# From here on torch.load(weights_only=True) runs no code of a file.
_SAFE_TORCH = (2, 6)
# The item's name in a directory of numbered checkpoints: ours, and Orbax's own.
_ITEMS = ("state", "default")

_SAFETENSORS: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
}


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of weights by name.

    Only arrays are read: a file cannot run code.

    Args:
      path: a `.npz` or `.safetensors`; one of several files that a large network is split into is
        named by their index, `model.safetensors.index.json`, or by their directory; a PyTorch
        state dict (`.pt`, `.pth`, `.bin`), bare or under `"model"`, `"state_dict"`, `"model_state"`
        or `"net"`, without the `module.` of data parallelism; or a directory that Orbax wrote:
        variables of Linen or NNX, a train state, or numbered checkpoints, of which the newest is
        read. Of a `jaxkd.TrainState` the student's variables are read.

    Returns:
      Name → array, names with dots. Nested variables are named without their collection.

    Raises:
      FileNotFoundError: the file does not exist, or one that an index names.
      ValueError: the suffix is unknown, a directory is no checkpoint, a file has other contents, or
        is a pointer of git-LFS.
      ImportError: the package that a format needs is not installed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...   np.savez(f"{folder}/weights.npz", **{"head.bias": np.zeros(3)})
      ...   print(read(f"{folder}/weights.npz"))
      {'head.bias': array([0., 0., 0.])}
    """
    place = local_path(path)
    if not place.exists():
        raise FileNotFoundError(f"no weights at {place}")
    if place.is_dir():
        if index := index_of(place):
            return read_indexed(index, _file)
        parts = sorted(place.glob("*.safetensors"))
        return read_parts(parts, _file) if parts else _orbax(place)
    return read_indexed(place, _file) if is_index(place) else _file(place)


def _file(place: pathlib.Path) -> dict[str, np.ndarray]:
    check_no_pointer(place)
    if place.suffix == ".npz":
        return _npz(place)
    if place.suffix == ".safetensors":
        return _safetensors(place)
    if place.suffix in _TORCH:
        return _torch(place)
    raise ValueError(
        f"weights come in .npz, .safetensors, {', '.join(_TORCH)} or a directory of Orbax, not in "
        f"{place.suffix or 'a file without suffix'}: {place}"
    )


def to_numpy(value: Any) -> np.ndarray:
    """Converts an array of NumPy, JAX or PyTorch to one of NumPy, of the same numbers."""
    if hasattr(value, "detach"):  # a tensor, recognized without importing PyTorch
        value = value.detach().cpu().contiguous()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none of its own
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    return np.asarray(value)


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except OSError:
        raise
    except Exception as error:  # whatever a wrong byte leads zipfile and NumPy to
        raise ValueError(f"{path} is no whole .npz of arrays: {error}") from error


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise ImportError(
            "reading .safetensors needs the package safetensors: pip install "
            "'jaxkd-distill[weights]'"
        ) from error
    try:
        parts = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole file of safetensors: {error}") from error
    arrays = {}
    for name, part in parts:
        if part["dtype"] not in _SAFETENSORS:
            raise ValueError(f"{name!r} in {path} is of the type {part['dtype']}, not read here")
        dtype = np.dtype(_SAFETENSORS[part["dtype"]])
        arrays[name] = np.frombuffer(part["data"], dtype).reshape(part["shape"])
    return arrays


def load_torch(path: pathlib.Path) -> Any:
    """Reads a file of PyTorch that runs no code.

    Args:
      path: path of the file.

    Returns:
      What was saved, made of tensors and plain data.

    Raises:
      ImportError: PyTorch is not installed, or a version that a file can make run code.
      ValueError: the file holds more than tensors.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"reading {path.suffix} needs PyTorch: pip install 'jaxkd-distill[torch]', or save the "
            "state dict elsewhere with safetensors.torch.save_file"
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        raise ImportError(
            f"PyTorch {torch.__version__} can be made to run code by a file of weights, even with "
            "weights_only=True (CVE-2025-32434): pip install 'torch>=2.6', or save the state dict "
            "elsewhere with safetensors.torch.save_file"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and PyTorch's own
        raise ValueError(
            f"{path} is no file of tensors alone ({_first_line(error)}). If it is a checkpoint "
            "that you trust, save its state dict by itself: "
            "torch.save(torch.load(path, weights_only=False)['model'], other)"
        ) from error


def _torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    found = load_torch(path)
    while isinstance(found, Mapping):
        inner = [found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)]
        if not inner:
            break
        found = inner[0]
    tensors = {}
    if isinstance(found, Mapping):
        tensors = {str(k): v for k, v in found.items() if hasattr(v, "detach")}
    if not tensors:
        kind = f"a mapping of {list(found)[:10]}" if isinstance(found, Mapping) else type(found)
        raise ValueError(f"{path} holds {kind}, and no state dict, bare or under {list(_WRAPPERS)}")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {name: to_numpy(value) for name, value in tensors.items()}


def _orbax(directory: pathlib.Path) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    step = directory = directory.absolute()
    if numbers := [int(child.name) for child in directory.iterdir() if child.name.isdigit()]:
        step = directory / str(max(numbers))
    item = next((step / name for name in _ITEMS if (step / name).is_dir()), step)
    if not (item / "_METADATA").exists():
        raise ValueError(
            f"{directory} is no checkpoint of Orbax: it has {sorted(os.listdir(directory))[:10]}"
        )
    checkpointer = ocp.PyTreeCheckpointer()
    try:
        tree = checkpointer.metadata(item).item_metadata.tree
        # As NumPy arrays, on whichever devices they were when they were saved.
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        restored = checkpointer.restore(item, restore_args=how)
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file leads Orbax to
        raise ValueError(
            f"the checkpoint {item} cannot be read ({_first_line(error)}): it is damaged, or not "
            "one of arrays. Restore it from a copy, or name another step's directory"
        ) from error
    return flat_variables(restored)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
