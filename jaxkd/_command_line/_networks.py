"""The student and the teacher that a command names."""

import hashlib
import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxkd import models, teachers, weights
from jaxkd._files import local_path
from jaxkd._named_function import named_function
from jaxkd._parser import meant
from jaxkd.data import Examples, raw_batch
from jaxkd.networks import Network, from_nnx
from jaxkd.networks._arguments import shown
from jaxkd.views import Normalize, Views


def make_student(name: str, classes: int, shape: tuple[int, ...]) -> Callable[[int], Network]:
    """Returns a function from a seed to an untrained network.

    Args:
      name: name of a network, or `module:function`.
      classes: number of classes.
      shape: of an image.

    Raises:
      ValueError: no such network or function.
    """
    if ":" not in name:
        models.entry(name)
        try:
            nnx.eval_shape(lambda: _created(name, classes, shape, 0))
        except ValueError as error:
            size = "×".join(map(str, shape))
            error.add_note(f"{name} was to be made for images of {size}; --size changes that.")
            raise
        return lambda seed: from_nnx(_created(name, classes, shape, seed))
    function = named_function(name)
    known = {"num_classes": classes, "image_size": shape[0]}
    taken = inspect.signature(function).parameters
    options = {key: value for key, value in known.items() if key in taken}

    def make(seed: int) -> Network:
        made = function(seed, **options)
        if isinstance(made, nnx.Module):
            made = from_nnx(made)
        if not isinstance(made, Network):
            raise ValueError(f"{name} must return a network, not {shown(made)}")
        return made

    make(0)  # What it raises, it raises before any work.
    return make


def open_teacher(name: str, classes: int, shape: tuple[int, ...], views: Views) -> Any:
    """Opens a trained teacher.

    Args:
      name: a network with its weights, a file of ONNX or of an exported program, or
        `module:function`.
      classes: number of classes.
      shape: of an image.
      views: how it will see the images.

    Returns:
      A network, or a teacher outside of JAX.

    Raises:
      FileNotFoundError: no such file.
      ValueError: something else; says what may be named.
    """
    suffix = pathlib.PurePath(name).suffix.lower()
    if suffix in (".onnx", ".stablehlo"):
        file = local_path(name)
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {name}")
        return teachers.from_onnx(file) if suffix == ".onnx" else _program(file, views)
    left, colon, right = name.partition(":")
    if colon and left in models.names():
        file = local_path(right)
        if not file.exists():
            raise FileNotFoundError(f"there is no file {right} of weights for {left}")
        network, _ = weights.load(
            from_nnx(nnx.eval_shape(lambda: _created(left, classes, shape, 0))), file
        )
        return network
    if colon and not suffix:
        return _of_function(name)
    if name in models.names():
        raise ValueError(
            f"name the weights of the teacher, {name}:weights.safetensors, or train it first, "
            f"train:{name}"
        )
    raise ValueError(
        f"there is no teacher {name!r}{meant(name.split(':')[0], models.names())}: name a network "
        "with its weights (resnet50:weights.safetensors), a .onnx or .stablehlo file, "
        "module:function, train:NAME or none"
    )


def check_teacher(teacher: Any, examples: Examples, views: Views, data: str) -> None:
    """Refuses a teacher of other classes than the data, before anything is trained.

    Args:
      teacher: the teacher.
      examples: training examples.
      views: how it sees them.
      data: what the data is called.

    Raises:
      ValueError: no logits, or another number of classes; says both.
      Exception: what a teacher outside of JAX raises, with what images it was given.
    """
    ids = examples.ids[:1]
    inputs = views.render(raw_batch(examples, views, ids, 0 * ids))["inputs"]
    if isinstance(teacher, Network):
        outputs = jax.eval_shape(teacher, inputs)
    else:
        try:
            outputs = teacher(np.asarray(inputs))
        except Exception as error:
            error.add_note("--size says how large it gets images, --mean and --std their range.")
            raise
    if "logits" not in outputs:
        raise ValueError(f"the teacher has no output logits; it has {', '.join(outputs)}")
    width = np.shape(outputs["logits"])[-1]
    if width != examples.num_classes:
        names = ", ".join(map(str, examples.class_names[:5]))
        raise ValueError(
            f"the teacher tells {width} classes apart, and {data} has {examples.num_classes} "
            f"({names}): choose another teacher, or train one first, --teacher train:resnet18"
        )


def _of_function(name: str) -> Any:
    """Calls module:function; a module of NNX becomes a network, a function of NumPy a teacher."""
    made = named_function(name)()
    if isinstance(made, nnx.Module):
        return from_nnx(made)
    if isinstance(made, Network | teachers.ForeignTeacher):
        return made
    if not callable(made):
        raise ValueError(
            f"{name} must return a network, a teacher of jaxkd.teachers or a function of NumPy "
            f"arrays, not {shown(made)}"
        )
    return teachers.from_callable(made, name=name)


def _created(name: str, classes: int, shape: tuple[int, ...], seed: int) -> nnx.Module:
    return models.create(
        name,
        num_classes=classes,
        in_channels=shape[-1],
        image_size=shape[0],
        rngs=nnx.Rngs(seed),
    )


def _program(file: pathlib.Path, views: Views) -> Any:
    """A teacher that is an exported program; one of pixels gets pixels."""
    import jax.export

    contents = file.read_bytes()
    try:
        program = jax.export.deserialize(bytearray(contents))
    except Exception as error:  # of flatbuffers, of any kind
        raise ValueError(f"{file} is no program of jax.export: {error}") from error
    dtype, size = program.in_avals[0].dtype, program.in_avals[0].shape[0]
    normalize = next((t for t in views.transforms if isinstance(t, Normalize)), Normalize())

    def inputs(images: Any) -> Any:
        if not np.issubdtype(dtype, np.integer):
            return np.asarray(images, dtype)
        pixels = (np.asarray(images) * normalize.std + normalize.mean) * normalize.scale
        return np.rint(pixels).astype(dtype)

    return teachers.from_callable(
        program.call,
        name=f"{file.name} {hashlib.sha256(contents).hexdigest()[:12]}",
        inputs=inputs,
        batch_size=size if isinstance(size, int) else None,
    )
