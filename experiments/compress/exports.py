"""The exported networks of experiments.compress: size, latency and agreement of their files."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.compress.pipelines import FINAL_STEPS, last_step, title
from experiments.compress.run import TEACHER, CompressionResults
from jaxkd import Network, compression
from jaxkd._files import read_json
from jaxkd.export import ModelCard, edge, export
from jaxkd.views import Normalize

_ROUNDS = 10
# How often an int8 file must agree with its network: less than for a network that is shipped, since
# the agreement is a column of the table.
_AGREEMENT = 0.9

_LICENCES = {
    "fashion_mnist": "MIT (Zalando SE)",
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak)",
}


@dataclasses.dataclass(frozen=True)
class ExportedNetwork:
    """What an exported network costs.

    Attributes:
      parameters: number of parameters that are not zero.
      weights: bytes of the parameters, zeros left out.
      flops: FLOPs of one example, of dense kernels.
      file: bytes of the file that is timed.
      runtime: software that runs the file.
      median_s: median duration of a call with one example, in seconds.
      p10_s: tenth percentile of that duration.
      p90_s: ninetieth percentile of that duration.
      agreement: share of the test examples on which the file predicts the class of the network.
      difference: largest absolute difference of a logit.
      accuracy: accuracy of the file on the test examples.
    """

    parameters: int
    weights: int
    flops: float
    file: int
    runtime: str
    median_s: float
    p10_s: float
    p90_s: float
    agreement: float
    difference: float
    accuracy: float


def litert() -> bool:
    """Returns whether LiteRT is installed, with its converter and quantizer."""
    names = ("ai_edge_litert", "litert_converter", "litert_quantizer")
    return all(importlib.util.find_spec(name) is not None for name in names)


def export_all(out: CompressionResults) -> dict[str, ExportedNetwork]:
    """Exports the teacher and the first seed's network of every pipeline, and times the files.

    Files of an earlier run are timed again, not exported again. The calls of all files are
    interleaved, so that other load slows all of them alike.

    Returns:
      What each exported network costs, by its name.
    """
    folders = {name: _export(out, name, network) for name, network in out.networks.items()}
    files = {name: _program(folder) for name, folder in folders.items()}
    runners = {name: edge.load(file) for name, file in files.items()}
    durations = _durations(out, runners)
    exported = {}
    for name, network in out.networks.items():
        card = read_json(folders[name] / "card.json")
        check = card["checks"][files[name].name]
        p10, median, p90 = map(float, np.percentile(durations[name], (10, 50, 90)))
        nonzero = [np.count_nonzero(np.asarray(x, np.float32)) for x in network.params.values()]
        exported[name] = ExportedNetwork(
            parameters=int(sum(nonzero)),
            weights=compression.sparse_bytes(network.params),
            flops=_flops(out, name),
            file=files[name].stat().st_size,
            runtime=runners[name].software,
            median_s=median,
            p10_s=p10,
            p90_s=p90,
            agreement=check["agreement"],
            difference=check["largest"],
            accuracy=check["accuracy"],
        )
    return exported


def _durations(
    out: CompressionResults, runners: Mapping[str, edge.Runner]
) -> dict[str, np.ndarray]:
    """Returns the durations of all calls of each file with one image, in seconds."""
    image, repeats = out.test.inputs[:1], timed_calls(out) // _ROUNDS
    rounds = [
        {
            name: edge.latency(file, image, repeats=repeats, warmup=5)
            for name, file in runners.items()
        }
        for _ in range(_ROUNDS)
    ]
    return {name: np.concatenate([each[name] for each in rounds]) for name in runners}


def timed_calls(out: CompressionResults) -> int:
    """Returns the number of timed calls of each file."""
    return _ROUNDS * -(-out.config.repeats // _ROUNDS)


def _export(out: CompressionResults, name: str, network: Network) -> pathlib.Path:
    """Exports a network unless it is exported; returns the folder of its files."""
    test = out.test
    last = last_step(name)
    file_format = "stablehlo"
    if litert() and last != "int4":
        file_format = "litert_int8" if last in FINAL_STEPS else "litert"
    folder = out.study.workdir / "exported" / file_format / name
    if folder.exists():
        return folder
    accuracy = out.teacher_accuracy if name == TEACHER else float(out.results.values(name)[0])
    teacher = f"{out.networks[TEACHER].name}, {out.teacher_accuracy:.4f} on the test images"
    card = ModelCard(
        name=name,
        teacher=teacher if "distil" in name else "none",
        data=f"{test.name} {test.version}, {len(out.train):,} training images",
        data_license=_LICENCES[test.name],
        method=title(name),
        accuracy={f"{test.name}, {len(test):,} test images": accuracy},
        notes="Exported by experiments.compress to compare ways of compression.",
    )
    export(
        folder,
        network,
        test.inputs,
        labels=test.labels,
        # safetensors has no type of four bits.
        formats=(file_format,) if last == "int4" else (file_format, "safetensors"),
        card=card,
        preprocess=normalized,
        int8_agreement=_AGREEMENT,
    )
    return folder


def _flops(out: CompressionResults, name: str) -> float:
    """Returns the FLOPs of one example, without those of rounding."""
    if name != TEACHER:
        return float(out.results[name].costs["flops"][0])
    return compression.flops(out.networks[TEACHER], normalized(out.test.inputs[:1]))


def normalized(images: Any) -> Any:
    """Returns images as the networks see them."""
    return Normalize()(jax.random.key(0), images)  # the key has no effect


def _program(folder: pathlib.Path) -> pathlib.Path:
    """Returns the program among the files of a folder."""
    (program,) = (file for file in folder.iterdir() if file.suffix in (".tflite", ".stablehlo"))
    return program
