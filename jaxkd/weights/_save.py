"""A network's variables as a file that other libraries read."""

import json
import os
import pathlib
import struct
from collections.abc import Mapping

import numpy as np

from jaxkd._files import local_path, replacing
from jaxkd.networks import Network
from jaxkd.networks._kinds import check_network
from jaxkd.weights._names import NetworkVariables


def save(
    network: Network,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Saves parameters and state under their own names, for `load` without a naming.

    The file is written under another name first, so that an older file is replaced atomically.

    Args:
      network: network whose arrays are addressable by this process; after training,
        `state.network(student)`.
      path: path of the file, with the suffix `.safetensors` or `.npz`. NumPy has no bfloat16 and
        the like: in a `.npz` these are float32, which holds them exactly.
      metadata: name → text, stored in the header of a `.safetensors`.

    Raises:
      ValueError: the suffix is another one, or there is metadata for a `.npz`.
      ImportError: the package safetensors is missing, for a `.safetensors`.

    Example:
      >>> import tempfile
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...   save(network, f"{folder}/linear.npz")
      ...   _, report = jaxkd.weights.load(network, f"{folder}/linear.npz")
      >>> print(report)
      2 arrays matched
    """
    check_network("network", network)
    place = local_path(path)
    if place.suffix not in (".npz", ".safetensors"):
        raise ValueError(
            f"weights are saved as .safetensors or .npz, not as "
            f"{place.suffix or 'a file without suffix'}: {place}"
        )
    if metadata and place.suffix == ".npz":
        raise ValueError(f"a .npz has no metadata: save {place} as .safetensors")
    variables = NetworkVariables(network).arrays
    arrays = {name: np.asarray(array, order="C") for name, array in variables.items()}
    with replacing(place) as partial:
        if place.suffix == ".npz":
            np.savez(partial, **{name: _native(array) for name, array in arrays.items()})  # type: ignore[arg-type]
        else:
            _save_safetensors(arrays, partial, dict(metadata or {}))


_NOT_IN_SAFETENSORS = ("int2", "uint2", "int4", "uint4")


def _native(array: np.ndarray) -> np.ndarray:
    # NumPy saves types that it does not know as bytes without a type.
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _save_safetensors(
    arrays: dict[str, np.ndarray], path: pathlib.Path, metadata: dict[str, str]
) -> None:
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError(
            "saving .safetensors needs the package safetensors: pip install "
            "'jaxkd-distill[weights]'; or save a .npz"
        ) from error
    types = {name: array.dtype.name for name, array in arrays.items()}
    if narrow := [name for name, dtype in types.items() if dtype in _NOT_IN_SAFETENSORS]:
        raise ValueError(
            f"safetensors has no type {types[narrow[0]]}, which {narrow[:3]} have: save a .npz, "
            "which stores the numbers as float32"
        )
    save_file(arrays, path, metadata or None)
    _order_header(path)


def _order_header(path: pathlib.Path) -> None:
    """Orders the metadata, so that the same variables are the same bytes; safetensors does not.

    A header that JSON writes in more bytes, as it may control characters, stays as it is.
    """
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:  # spaces may follow it
            file.seek(8)
            file.write(text.ljust(length))
