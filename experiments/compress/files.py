"""What the networks of experiments.compress cost as files on a device, measured there or here."""

import dataclasses
import importlib.util
import json
import pathlib
from typing import Any

import jax
import numpy as np

import jaxkd
from experiments.compress.steps import LAST, labeled
from experiments.compress.training import Compressed, Steps
from jaxkd import Network, compression
from jaxkd.export import ModelCard, edge, export
from jaxkd.views import Normalize

TEACHER: Steps = ("teacher",)
"""Its name among the pipelines."""

_ROUNDS = 10
# Networks are judged here, not shipped: how far an int8 file agrees is a column of the table.
_AGREEMENT = 0.9

_LICENCES = {
    "fashion_mnist": "MIT (Zalando SE)",
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak)",
}


@dataclasses.dataclass(frozen=True)
class Files:
    """What a network costs.

    Attributes:
      parameters: numbers that are not zero.
      weights: bytes of the parameters, zeros left out.
      flops: of one example, dense.
      file: bytes of the file that is timed.
      runtime: what runs it.
      median_s: of a call with one example, in seconds.
      p10_s: its 10th percentile.
      p90_s: its 90th percentile.
      agreement: share of the test examples on which the file gives the network's class; of LiteRT's
        int8, which is made of floating weights, that network's.
      difference: largest absolute difference of a logit.
      accuracy: of the file on the test examples.
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
    """Whether LiteRT is installed, with what converts to it."""
    names = ("ai_edge_litert", "litert_converter", "litert_quantizer")
    return all(importlib.util.find_spec(name) is not None for name in names)


def measured(out: Compressed) -> dict[Steps, Files]:
    """Exports the teacher and the first seed's network of every pipeline, and times the files.

    Files that are there already are timed again, not exported again. All are timed in turns, so
    that whatever else the machine does slows all of them alike.
    """
    networks = {
        TEACHER: out.teacher,
        **{steps: point.network for steps, point in out.points.items()},
    }
    folders = {steps: _exported(out, steps, networks[steps]) for steps in networks}
    files = {steps: _program(folder) for steps, folder in folders.items()}
    runners = {steps: edge.load(file) for steps, file in files.items()}
    image = out.test.inputs[:1]
    times: dict[Steps, list[np.ndarray]] = {steps: [] for steps in runners}
    for _ in range(_ROUNDS):
        for steps, runner in runners.items():
            times[steps].append(
                edge.latency(runner, image, repeats=calls(out) // _ROUNDS, warmup=5)
            )
    found = {}
    for steps, network in networks.items():
        known = json.loads((folders[steps] / "card.json").read_text())
        check = known["checks"][files[steps].name]
        p10, median, p90 = map(float, np.percentile(np.concatenate(times[steps]), (10, 50, 90)))
        kept = [np.count_nonzero(np.asarray(x, np.float32)) for x in network.params.values()]
        found[steps] = Files(
            parameters=int(sum(kept)),
            weights=compression.sparse_bytes(network.params),
            flops=compression.flops(_floating(out, steps), normalized(image)),
            file=files[steps].stat().st_size,
            runtime=runners[steps].software,
            median_s=median,
            p10_s=p10,
            p90_s=p90,
            agreement=check["agreement"],
            difference=check["largest"],
            accuracy=check["accuracy"],
        )
    return found


def calls(out: Compressed) -> int:
    """How often each file is timed."""
    return _ROUNDS * -(-out.config.repeats // _ROUNDS)


def _exported(out: Compressed, steps: Steps, network: Network) -> pathlib.Path:
    """The directory of a network's files, made where it is not there."""
    test = out.test
    last = steps[-1]
    chosen = "stablehlo"
    if litert() and last != "int4":
        chosen = "litert_int8" if last in LAST else "litert"
    folder = out.study.workdir / "exported" / chosen / "-".join(steps)
    if folder.exists():
        return folder
    accuracy = out.reached if steps == TEACHER else float(out.accuracies(steps)[0])
    taught = "distil" in steps
    card = ModelCard(
        name="-".join(steps),
        teacher=f"{out.teacher.name}, {out.reached:.4f} on the test images" if taught else "none",
        data=f"{test.name} {test.version}, {len(out.train):,} training images",
        data_license=_LICENCES[test.name],
        method=labeled(steps),
        accuracy={f"{test.name}, {len(test):,} test images": accuracy},
        notes="Made by experiments.compress to compare ways of compressing.",
    )
    export(
        folder,
        _floating(out, steps) if chosen == "litert_int8" else network,
        test.inputs,
        labels=test.labels,
        # There are no four bits in safetensors.
        formats=(chosen,) if last == "int4" else (chosen, "safetensors"),
        card=card,
        preprocess=normalized,
        int8_agreement=_AGREEMENT,
    )
    return folder


def _floating(out: Compressed, steps: Steps) -> Network:
    """A network with floating weights, which runtimes quantize on their own."""
    if steps == TEACHER:
        return out.teacher
    point = out.points[steps]
    return point.network if point.floating is None else jaxkd.from_nnx(point.floating)


def normalized(images: Any) -> Any:
    """Images as the networks see them."""
    return Normalize()(jax.random.key(0), images)  # which is not used


def _program(folder: pathlib.Path) -> pathlib.Path:
    """The file of a directory that is run."""
    (program,) = (file for file in folder.iterdir() if file.suffix in (".tflite", ".stablehlo"))
    return program
