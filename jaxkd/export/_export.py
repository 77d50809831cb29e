"""A network as files for other places, each compared with it before anything is kept."""

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd import weights
from jaxkd.export import _card, _litert, _programs, edge
from jaxkd.export._card import Card
from jaxkd.export._programs import ExportError, Preprocess
from jaxkd.export._verify import Check, Tolerance, compare, in_fresh_process, reference
from jaxkd.networks import Network

FORMATS = {
    "stablehlo": "model.stablehlo",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
    "safetensors": "weights.safetensors",
}
PROGRAM = "run.py"

_BATCH = 32  # of examples that the cost is measured with


@dataclasses.dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
      directory: where.
      files: format → file.
      checks: format → how the file compares with the network. Weights have none: they are read
        back and must be equal.
      card: what `card.json` says.
    """

    directory: pathlib.Path
    files: dict[str, pathlib.Path]
    checks: dict[str, Check]
    card: dict[str, Any]


def export(
    directory: str | os.PathLike[str],
    network: Network,
    examples: Any,
    *,
    labels: Any = None,
    formats: Sequence[str] = ("stablehlo", "safetensors"),
    card: Card | None = None,
    preprocess: Preprocess | None = None,
    stablehlo_batch: int | None = None,
    litert_batch: int | None = 1,
    tolerance: float = 1e-4,
    int8_agreement: float = 0.995,
) -> Exported:
    """Exports a network's evaluation pass, from inputs to logits, and checks what was exported.

    Formats:

    - `"stablehlo"`, `model.stablehlo`: the program with the weights inside, for CPU, CUDA and TPU.
      `jax.export.deserialize(bytearray(…)).call(inputs)` runs it, without Flax and jaxkd. Networks
      quantized by Qwix stay quantized. Needs the extra `export`.
    - `"litert"`, `model.tflite`: for LiteRT (formerly TensorFlow Lite), made without TensorFlow.
      Networks of images, encoders and decoders convert; loops (`lax.scan`), sorting, Fourier
      transforms, linear algebra and the int8 convolutions of Qwix do not and are refused by name.
      Needs the extra `litert`.
    - `"litert_int8"`, `model_int8.tflite`: the same with int8 weights, one scale a channel;
      activations are quantized when it runs, so that inputs and logits stay float32 and nothing
      needs calibrating. From the network's float weights; layers of fewer than 1,024 stay float.
    - `"safetensors"`, `weights.safetensors`: the variables by name, for `jaxkd.weights.load`, with
      the network's fingerprint as metadata. Needs the extra `weights`.

    There is no ONNX. Of the converters tried, jax2onnx 0.17 wants an older Orbax, and tflite2onnx
    0.4.1 converts neither the CNN, nor ResNet-20, nor the encoder of `jaxkd.models`.

    Every program is run in a fresh process on CPU, on all examples, and compared with the network;
    weights are read back. Beside the files lie `run.py`, which runs them on a device without this
    library (`python run.py --help`), `card.json` and the same for people, `README.md`: what was
    stated in `card`, cost, comparison, versions, sizes and checksums. The directory appears when
    all is whole, and not at all if anything fails. In a job of several processes, let one call it.

    Args:
      directory: to be made; it must not exist.
      network: whose arrays lie on this process.
      examples: `[examples, ...]`, real inputs as the files are to take them: before `preprocess`.
      labels: integers `[examples, ...]` of the logits' shape without classes, to say how accurate
        each file is.
      formats: some of the above.
      card: what only its maker knows of the network.
      preprocess: pure function from a batch as the examples are to the network's inputs, which
        becomes part of the programs: `lambda x: jaxkd.views.Normalize(mean, std)(None, x)` for
        uint8 images.
      stablehlo_batch: size of its batch; None for any.
      litert_batch: size of its batch; None for any, which vision transformers and `"litert_int8"`
        do not take.
      tolerance: largest absolute difference of a logit in `"stablehlo"` and `"litert"`, whose most
        probable classes must all be the network's.
      int8_agreement: share of the examples on which `"litert_int8"` must give the network's most
        probable class.

    Returns:
      The files, and how they compare.

    Raises:
      FileExistsError: there is something at `directory`.
      ValueError: an unknown format, examples or labels of the wrong shape, batches below 1.
      ImportError: a package is missing; names the extra.
      ExportError: an operation that a format does not have, or a file that differs from the network
        by more than allowed; names both numbers.

    Example:
      >>> import tempfile
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...   done = export(f"{folder}/linear", network, np.ones((5, 4), np.float32))
      ...   sorted(file.name for file in done.directory.iterdir())
      ['README.md', 'card.json', 'model.stablehlo', 'run.py', 'weights.safetensors']
      >>> done.checks["stablehlo"].agreement, done.card["missing"][:2]
      (1.0, ['accuracy', 'data'])

    References:
      jax.export and StableHLO, https://docs.jax.dev/en/latest/export. LiteRT,
      https://ai.google.dev/edge/litert. Mitchell et al., Model Cards for Model Reporting, FAT*
      2019.
    """
    directory = pathlib.Path(directory)
    _check_request(
        directory, formats, {"stablehlo_batch": stablehlo_batch, "litert_batch": litert_batch}
    )
    if not tolerance >= 0 or not 0 <= int8_agreement <= 1:
        raise ValueError(
            "tolerance is a difference of at least 0 and int8_agreement a share in [0, 1], not "
            f"{tolerance} and {int8_agreement}"
        )
    if "litert_int8" in formats and litert_batch is None:
        raise ValueError("litert_int8 is made for one batch size: give litert_batch, 1 for one")
    inputs = np.asarray(examples)
    if inputs.ndim < 2 or not len(inputs):
        raise ValueError(f"examples must be [examples, ...], not {list(inputs.shape)}")
    if (dtype := jax.dtypes.canonicalize_dtype(inputs.dtype)) != inputs.dtype:
        raise ValueError(
            f"examples are {inputs.dtype}, the program takes {dtype}: give "
            f"examples.astype({str(dtype)!r})"
        )
    function = _programs.forward(network, preprocess)
    answers = None if labels is None else np.asarray(labels)
    wanted = jax.eval_shape(function, jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)).shape[:-1]
    if answers is not None and answers.shape != wanted:
        raise ValueError(f"labels must be {list(wanted)}, not {list(answers.shape)}")
    if answers is not None and answers.dtype.kind not in "iu":
        raise ValueError(f"labels are integers, not {answers.dtype}")
    logits = reference(function, inputs)
    like = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    exactly = Tolerance(tolerance, 1.0)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{directory.name}.partial.", dir=directory.parent
    ) as folder:
        # Inside, since a temporary directory's own permissions are its maker's alone.
        partial = pathlib.Path(folder, directory.name)
        partial.mkdir()
        checks: dict[str, Check] = {}
        files = {name: partial / FORMATS[name] for name in formats}
        if "safetensors" in formats:  # first, since it takes no time and may be refused
            _save_weights(network, files["safetensors"])
        if set(formats) - {"safetensors"}:
            shutil.copyfile(edge.__file__, partial / PROGRAM)

        def keep(name: str, program: bytes, allowed: Tolerance) -> None:
            files[name].write_bytes(program)
            found = in_fresh_process(partial / PROGRAM, files[name], inputs)
            checks[name] = compare(files[name].name, logits, found, answers, allowed)

        if "stablehlo" in formats:
            keep("stablehlo", _programs.serialize(function, like, stablehlo_batch), exactly)
        if {"litert", "litert_int8"} & set(formats):
            program = _litert.convert(function, like, litert_batch)
            if "litert" in formats:
                keep("litert", program, exactly)
            if "litert_int8" in formats:
                keep("litert_int8", _litert.quantize(program), Tolerance(np.inf, int8_agreement))
        seen = inputs[:_BATCH]
        whole = {file.name: file for file in sorted(partial.iterdir())}
        known = _card.facts(
            card or Card(),
            network,
            inputs,
            logits,
            _card.cost_of(network, seen if preprocess is None else jax.jit(preprocess)(seen)),
            whole,
            {files[name].name: check for name, check in checks.items()},
            preprocessed=preprocess is not None,
        )
        (partial / "card.json").write_text(json.dumps(known, indent=2) + "\n")
        (partial / "README.md").write_text(_card.markdown(known))
        _refuse_existing(directory)
        try:
            os.rename(partial, directory)
        except OSError:
            _refuse_existing(directory)  # made by another process meanwhile
            raise
    return Exported(
        directory, {name: directory / file.name for name, file in files.items()}, checks, known
    )


def _check_request(
    directory: pathlib.Path, formats: Sequence[str], batches: Mapping[str, int | None]
) -> None:
    """Refuses what cannot be done, before any work."""
    _refuse_existing(directory)
    unknown = sorted(set(formats) - set(FORMATS))
    if isinstance(formats, str) or unknown or not formats:
        raise ValueError(f"formats are some of {list(FORMATS)}, not {formats!r}")
    for name, size in batches.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, or None for any, not {size}")
    if set(formats) - {"safetensors"}:
        _programs.require()
    if {"litert", "litert_int8"} & set(formats):
        _litert.require(int8="litert_int8" in formats)


def _refuse_existing(directory: pathlib.Path) -> None:
    if directory.exists():
        raise FileExistsError(f"{directory} exists: name another directory, or delete this one")


def _save_weights(network: Network, file: pathlib.Path) -> None:
    """Saves the variables and reads them back."""
    fingerprint = network.fingerprint()
    weights.save(network, file, metadata=fingerprint)
    back, _ = weights.load(network, file)
    if back.fingerprint() != fingerprint:
        raise ExportError(
            f"{file.name} is not the network: read back, its parameters are "
            f"{back.fingerprint()['parameters']}, the network's {fingerprint['parameters']}"
        )
