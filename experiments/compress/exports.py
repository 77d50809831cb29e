"""The exported networks of experiments.compress: size, latency and agreement of their files."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.compress.pipelines import FINAL_STEPS, Steps, title
from experiments.compress.run import CompressionResults
from jaxkd import Network, compression
from jaxkd._files import read_json
from jaxkd.export import ModelCard, edge, export
from jaxkd.views import Normalize

TEACHER: Steps = ("teacher",)
"""The teacher's name among the pipelines."""

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


def export_all(out: CompressionResults) -> dict[Steps, ExportedNetwork]:
    """Exports the teacher and the first seed's network of every pipeline, and times the files.

    Files of an earlier run are timed again, not exported again. The calls of all files are
    interleaved, so that other load slows all of them alike.

    Returns:
      What each exported network costs, by its steps.
    """
    networks = {TEACHER: out.teacher}
    networks |= {steps: stage.network for steps, stage in out.stages.items()}
    folders = {steps: _export(out, steps, network) for steps, network in networks.items()}
    files = {steps: _program(folder) for steps, folder in folders.items()}
    runners = {steps: edge.load(file) for steps, file in files.items()}
    durations = _durations(out, runners)
    image = normalized(out.test.inputs[:1])
    exported = {}
    for steps, network in networks.items():
        card = read_json(folders[steps] / "card.json")
        check = card["checks"][files[steps].name]
        p10, median, p90 = map(float, np.percentile(durations[steps], (10, 50, 90)))
        nonzero = [np.count_nonzero(np.asarray(x, np.float32)) for x in network.params.values()]
        exported[steps] = ExportedNetwork(
            parameters=int(sum(nonzero)),
            weights=compression.sparse_bytes(network.params),
            flops=_flops(out, steps, image),
            file=files[steps].stat().st_size,
            runtime=runners[steps].software,
            median_s=median,
            p10_s=p10,
            p90_s=p90,
            agreement=check["agreement"],
            difference=check["largest"],
            accuracy=check["accuracy"],
        )
    return exported


def _durations(
    out: CompressionResults, runners: Mapping[Steps, edge.Runner]
) -> dict[Steps, np.ndarray]:
    """Returns the durations of all calls of each file with one image, in seconds."""
    image, repeats = out.test.inputs[:1], timed_calls(out) // _ROUNDS
    rounds = [
        {
            steps: edge.latency(file, image, repeats=repeats, warmup=5)
            for steps, file in runners.items()
        }
        for _ in range(_ROUNDS)
    ]
    return {steps: np.concatenate([each[steps] for each in rounds]) for steps in runners}


def timed_calls(out: CompressionResults) -> int:
    """Returns the number of timed calls of each file."""
    return _ROUNDS * -(-out.config.repeats // _ROUNDS)


def _export(out: CompressionResults, steps: Steps, network: Network) -> pathlib.Path:
    """Exports a network unless it is exported; returns the folder of its files."""
    test = out.test
    last = steps[-1]
    file_format = "stablehlo"
    if litert() and last != "int4":
        file_format = "litert_int8" if last in FINAL_STEPS else "litert"
    folder = out.study.workdir / "exported" / file_format / "-".join(steps)
    if folder.exists():
        return folder
    accuracy = out.teacher_accuracy if steps == TEACHER else float(out.accuracies(steps)[0])
    teacher = f"{out.teacher.name}, {out.teacher_accuracy:.4f} on the test images"
    card = ModelCard(
        name="-".join(steps),
        teacher=teacher if "distil" in steps else "none",
        data=f"{test.name} {test.version}, {len(out.train):,} training images",
        data_license=_LICENCES[test.name],
        method=title(steps),
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


def _flops(out: CompressionResults, steps: Steps, image: Any) -> float:
    """Returns the FLOPs of one example, without those of rounding."""
    if steps == TEACHER:
        return compression.flops(out.teacher, image)
    stage = out.stages[steps]
    return compression.flops(stage.network, image) if stage.flops is None else stage.flops


def normalized(images: Any) -> Any:
    """Returns images as the networks see them."""
    return Normalize()(jax.random.key(0), images)  # the key has no effect


def _program(folder: pathlib.Path) -> pathlib.Path:
    """Returns the program among the files of a folder."""
    (program,) = (file for file in folder.iterdir() if file.suffix in (".tflite", ".stablehlo"))
    return program
