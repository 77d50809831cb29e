"""A network as files for deployment, each compared with it before the directory appears."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd import weights
from jaxkd._files import local_path, writing
from jaxkd.export import _card, _inputs, _litert, _onnx, _programs, edge
from jaxkd.export._card import ModelCard
from jaxkd.export._programs import ExportError, Preprocess
from jaxkd.export._verify import FileCheck, Tolerance, compare, reference, run_in_fresh_process
from jaxkd.networks import Network
from jaxkd.networks._kinds import check_network

FORMATS = {
    "stablehlo": "model.stablehlo",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
    "onnx": "model.onnx",
    "safetensors": "weights.safetensors",
}
PROGRAM = "run.py"

_BATCH = 32  # number of examples that the cost is measured with


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What `export` has written.

    Attributes:
      directory: path of the directory.
      files: format → path of the file.
      checks: format → how the file compares with the network. Weights have none: they are read
        back and must be equal.
      card: contents of `card.json`.

    Example:
      >>> import tempfile
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
      >>> done = export(f"{tempfile.mkdtemp()}/linear", network, np.ones((5, 4), np.float32))
      >>> sorted(done.files), done.checks["stablehlo"].examples
      (['safetensors', 'stablehlo'], 5)
    """

    directory: pathlib.Path
    files: dict[str, pathlib.Path]
    checks: dict[str, FileCheck]
    card: dict[str, Any]


def export(
    directory: str | os.PathLike[str],
    network: Network,
    examples: Any,
    *,
    labels: Any = None,
    formats: Sequence[str] = ("stablehlo", "safetensors"),
    card: ModelCard | None = None,
    preprocess: Preprocess | None = None,
    stablehlo_batch: int | None = None,
    litert_batch: int | None = 1,
    onnx_batch: int | None = None,
    tolerance: float = 1e-4,
    int8_agreement: float = 0.995,
) -> ExportResult:
    """Exports the evaluation pass of a network, from inputs to logits, and verifies the files.

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
      needs calibrating. Layers of fewer than 1,024 weights stay float. The network is a float one,
      or one of `jaxkd.compression.quantize`, `fake_quantize` or `from_fake_quantized`, whose int8
      weights become those of the file (−128 becomes −127).
    - `"onnx"`, `model.onnx`: for ONNX Runtime and what else reads ONNX, made by jax2onnx; float
      networks only. Needs the extra `onnx-export`, in a fresh environment.
    - `"safetensors"`, `weights.safetensors`: the variables by name, for `jaxkd.weights.load`, with
      the network's fingerprint as metadata. Needs the extra `weights`.

    Every program is run in a fresh process on CPU, on all examples, and compared with the network;
    weights are read back. The directory also has `run.py`, which runs the files on a device without
    this library (`python run.py --help`), `card.json` and the same for people, `README.md`: the
    statements of `card`, cost, comparison, versions, sizes and checksums. The directory appears
    when everything is complete, and not at all if anything fails. In a job of several processes,
    one of them should call this function.

    Args:
      directory: path of a new directory; it must not exist.
      network: network whose arrays are addressable by this process.
      examples: `[examples, ...]`, real inputs as the files will take them: before `preprocess`. A
        (nested) dictionary of such arrays makes files with several inputs, named by dotted names.
      labels: integers `[examples, ...]` of the logits' shape without classes, for the accuracy of
        each file.
      formats: some of the above.
      card: what only the author can say of the network.
      preprocess: pure function from a batch like the examples to the network's inputs, which
        becomes part of the programs: `lambda x: jaxkd.views.Normalize(mean, std)(None, x)` for
        uint8 images.
      stablehlo_batch: batch size of the StableHLO program; None for any.
      litert_batch: batch size of the LiteRT programs; None for any, which vision transformers and
        `"litert_int8"` do not support.
      onnx_batch: batch size of the ONNX program; None for any.
      tolerance: greatest absolute difference of a logit in `"stablehlo"`, `"litert"` and `"onnx"`,
        whose most probable classes must all be the network's.
      int8_agreement: least share of the examples on which `"litert_int8"` gives the network's most
        probable class.

    Returns:
      The files, and how they compare.

    Raises:
      TypeError: a module in place of a network; says how to wrap it.
      FileExistsError: there is a file or directory at `directory`.
      ValueError: a format is unknown, examples or labels have a wrong shape, or a batch is below 1.
      ImportError: a package is missing; the message names the extra.
      ExportError: a format does not have an operation, or a file differs from the network by more
        than allowed; the message has both numbers.

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
      https://ai.google.dev/edge/litert. jax2onnx, https://github.com/enpasos/jax2onnx. Mitchell
      et al., Model Cards for Model Reporting, FAT* 2019.
    """
    check_network("network", network)
    directory = local_path(directory)
    batches = {
        "stablehlo_batch": stablehlo_batch,
        "litert_batch": litert_batch,
        "onnx_batch": onnx_batch,
    }
    _check_request(directory, formats, batches)
    if not tolerance >= 0 or not 0 <= int8_agreement <= 1:
        raise ValueError(
            "tolerance is a difference of at least 0 and int8_agreement a share in [0, 1], not "
            f"{tolerance} and {int8_agreement}"
        )
    inputs, nest = _inputs.flatten(examples)
    function = _programs.forward(network, preprocess, nest)
    labels = _checked_labels(labels, function, inputs)
    logits = reference(function, inputs)
    like = _inputs.like(inputs)
    exact = Tolerance(tolerance, 1.0)

    def programs() -> Iterator[tuple[str, bytes, Tolerance]]:
        """Makes the programs one by one: format, contents of the file, what it may differ by."""
        if "stablehlo" in formats:
            yield "stablehlo", _programs.serialize(function, like, stablehlo_batch), exact
        yield from _litert_programs()
        if "onnx" in formats:
            yield "onnx", _onnx.convert(function, like, onnx_batch), exact

    def _litert_programs() -> Iterator[tuple[str, bytes, Tolerance]]:
        convert = functools.cache(lambda program: _litert.convert(program, _inputs.names_of(like)))
        if "litert" in formats:
            yield "litert", convert(_litert.program(function, like, litert_batch)), exact
        if "litert_int8" in formats:
            # The same program as of "litert", unless the network is quantized.
            program = convert(_litert.program(function, like, litert_batch, floating=True))
            yield "litert_int8", _litert.quantize(program), Tolerance(np.inf, int8_agreement)

    with _appearing(directory) as partial:
        files = {name: partial / FORMATS[name] for name in formats}
        if "safetensors" in formats:  # first, since it takes no time and may be refused
            _save_weights(network, files["safetensors"])
        if set(formats) - {"safetensors"}:
            shutil.copyfile(edge.__file__, partial / PROGRAM)
        checks: dict[str, FileCheck] = {}
        for name, program, allowed in programs():
            files[name].write_bytes(program)
            outputs = run_in_fresh_process(partial / PROGRAM, files[name], inputs)
            checks[name] = compare(files[name].name, logits, outputs, labels, allowed)
        few = nest(_inputs.rows(inputs, 0, _BATCH))
        contents = _card.card_contents(
            card or ModelCard(),
            network,
            inputs,
            logits,
            _card.cost_of(network, few if preprocess is None else jax.jit(preprocess)(few)),
            {file.name: file for file in sorted(partial.iterdir())},
            {files[name].name: check for name, check in checks.items()},
            preprocessed=preprocess is not None,
        )
        (partial / "card.json").write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(_card.markdown(contents), encoding="utf-8")
    final = {name: directory / file.name for name, file in files.items()}
    return ExportResult(directory, final, checks, contents)


@contextlib.contextmanager
def _appearing(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to write into, which becomes the directory at the end, or nothing on an error."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{directory.name}.partial.", dir=directory.parent
    ) as folder:
        # A folder inside, since a temporary directory is readable by its owner alone.
        partial = pathlib.Path(folder, directory.name)
        partial.mkdir()
        with writing(directory):
            yield partial
        _refuse_existing(directory)
        try:
            os.rename(partial, directory)
        except OSError:
            _refuse_existing(directory)  # made by another process meanwhile
            raise


def _checked_labels(
    labels: Any, function: _programs.Forward, inputs: _inputs.Arrays
) -> np.ndarray | None:
    """The labels as an array; traces the network, which refuses inputs that do not fit."""
    like = _inputs.batched(_inputs.like(inputs), _inputs.count(inputs))
    shape = jax.eval_shape(function, like).shape[:-1]
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise ValueError(f"labels must be {list(shape)}, not {list(labels.shape)}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are integers, not {labels.dtype}")
    return labels


def _check_request(
    directory: pathlib.Path, formats: Sequence[str], batches: Mapping[str, int | None]
) -> None:
    """Refuses requests that cannot be fulfilled, before any work."""
    _refuse_existing(directory)
    unknown = sorted(set(formats) - set(FORMATS))
    if isinstance(formats, str) or unknown or not formats:
        raise ValueError(f"formats are some of {list(FORMATS)}, not {formats!r}")
    for name, size in batches.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, or None for any, not {size}")
    if "litert_int8" in formats and batches["litert_batch"] is None:
        raise ValueError("litert_int8 is made for one batch size: give litert_batch, such as 1")
    if set(formats) - {"safetensors"}:
        _programs.require()
    if {"litert", "litert_int8"} & set(formats):
        _litert.require(int8="litert_int8" in formats)
    if "onnx" in formats:
        _onnx.require()


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
