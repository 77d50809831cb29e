"""The card of an exported network: `card.json` for programs and `README.md` for people."""

import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd._files import escape_markdown, read_json
from jaxkd.compression import profiling
from jaxkd.export._hub import hub_metadata
from jaxkd.export._inputs import Arrays, rows
from jaxkd.export._verify import FileCheck
from jaxkd.networks import Network

_PACKAGES = ("jaxkd-distill", "jax", "jaxlib", "flax")
_RUNTIMES = {
    ".tflite": ("ai-edge-litert", "litert-converter", "litert-quantizer"),
    ".onnx": ("jax2onnx", "onnxruntime"),
}
_CALLS = 20  # number of timed calls for each latency; networks may be slow
_MISSING = "not stated"
# Without a task, tags and names of data a card is complete: not every network goes to the Hub.
_EXPECTED = (
    "name",
    "teacher",
    "data",
    "data_license",
    "method",
    "accuracy",
    "license",
    "notes",
)
_TITLES = {
    "name": "Name",
    "teacher": "Teacher",
    "data": "Data",
    "data_license": "License of the data",
    "method": "Method",
    "license": "License of the weights",
    "notes": "Notes",
}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What only the author of a network can say of it. The card lists what is None as missing.

    Attributes:
      name: name of the network; by default its class.
      teacher: the teacher, and its accuracy.
      data: data that the network was trained on.
      data_license: license of that data.
      method: how the network was distilled and compressed.
      accuracy: data → share in [0, 1], `{"Fashion-MNIST, test": 0.898}`.
      license: license of the weights; an identifier such as `apache-2.0` where it has one.
      notes: what the network is intended for, and what not.
      task: task by its name on the Hugging Face Hub, `image-classification`.
      tags: further words to be found by there.
      datasets: names of the data there, `ylecun/fashion_mnist`.

    Raises:
      ValueError: an accuracy is outside of [0, 1], or is not a mapping from the data; a task, tag
        or data set has spaces in its name.

    Example:
      >>> card = ModelCard(
      ...     name="fashion-small", method="kd", accuracy={"Fashion-MNIST, test": 0.898},
      ...     license="apache-2.0", task="image-classification")
      >>> card.tags, card.accuracy
      ([], {'Fashion-MNIST, test': 0.898})
    """

    name: str | None = None
    teacher: str | None = None
    data: str | None = None
    data_license: str | None = None
    method: str | None = None
    accuracy: Mapping[str, float] | None = None
    license: str | None = None
    notes: str | None = None
    task: str | None = None
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()

    def __post_init__(self):
        for field in ("tags", "datasets"):
            if isinstance(names := getattr(self, field), str):
                raise ValueError(f"{field} is a list of names, {field}=[{names!r}]")
            object.__setattr__(self, field, list(names))
        for name in (self.task, *self.tags, *self.datasets):
            if name is not None and not re.fullmatch(r"[\w./:-]+", name):
                raise ValueError(
                    "task, tags and datasets are names of the Hugging Face Hub, such as "
                    f"'image-classification', of letters, digits and ./:-, not {name!r}"
                )
        if not isinstance(self.accuracy, Mapping | None):
            raise ValueError(
                f"accuracy maps data to a share, {{'test images': 0.9}}, and is {self.accuracy!r}"
            )
        shares = {}
        for what, share in (self.accuracy or {}).items():
            try:
                shares[str(what)] = float(share)
            except (TypeError, ValueError):
                shares[str(what)] = float("nan")
            if isinstance(share, str) or not 0 <= shares[str(what)] <= 1:
                raise ValueError(f"an accuracy is a share in [0, 1], {what!r} is {share!r}")
        if self.accuracy is not None:
            object.__setattr__(self, "accuracy", shares)  # plain numbers, for JSON

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "ModelCard":
        """Reads a card from a JSON file with some of the fields.

        Args:
          path: path of the file.

        Returns:
          The card.

        Raises:
          ValueError: the file is no JSON object, or has an unknown field; the message names it.
        """
        stated = read_json(path)
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(stated, dict) or set(stated) - set(known):
            wrong = sorted(set(stated) - set(known)) if isinstance(stated, dict) else stated
            raise ValueError(f"{path} is a JSON object with some of {known}, it has {wrong}")
        return cls(**stated)


def card_contents(
    card: ModelCard,
    network: Network,
    examples: Arrays,
    logits: np.ndarray,
    costs: Mapping[str, Any],
    files: Mapping[str, pathlib.Path],
    checks: Mapping[str, FileCheck],
    *,
    preprocessed: bool,
) -> dict[str, Any]:
    """Collects the contents of `card.json`.

    Args:
      card: what the author has stated.
      network: network that was exported.
      examples: inputs that the files were compared on.
      logits: outputs of the network for these.
      costs: cost of the network, from `cost_of`.
      files: name → path, of all files.
      checks: name of a file → how it compares with the network.
      preprocessed: whether the files take inputs as they are before preprocessing.

    Returns:
      A mapping for JSON.
    """
    stated = dataclasses.asdict(card) | {"name": card.name or network.name}
    return {
        "stated": stated,
        "missing": sorted(
            field for field, value in stated.items() if value is None and field in _EXPECTED
        ),
        "fingerprint": network.fingerprint(),
        "input": {
            "shape": jax.tree.map(lambda x: list(x.shape[1:]), examples),
            "dtype": jax.tree.map(lambda x: str(x.dtype), examples),
            "preprocessing": "inside the files" if preprocessed else "none",
        },
        "output": {"shape": list(logits.shape[1:]), "dtype": "float32", "what": "logits"},
        "cost": dict(costs),
        "checks": {file: dataclasses.asdict(check) for file, check in checks.items()},
        "files": {
            file: {
                "bytes": place.stat().st_size,
                "sha256": hashlib.sha256(place.read_bytes()).hexdigest(),
            }
            for file, place in files.items()
        },
        "versions": _versions({pathlib.Path(file).suffix for file in files}),
    }


def cost_of(network: Network, inputs: Any) -> dict[str, Any]:
    """Measures what a network costs in JAX.

    Args:
      network: the network.
      inputs: a batch of its inputs.

    Returns:
      A mapping for JSON; the FLOPs of networks with loops of unknown length are None.
    """
    try:
        flops = profiling.flops(network, inputs)
    except ValueError:
        flops = None
    single = profiling.latency(network, rows(inputs, 0, 1), repeats=_CALLS, warmup=2)
    batched = profiling.latency(network, inputs, repeats=_CALLS, warmup=2)
    device = jax.devices()[0]
    return {
        "parameters": profiling.count_parameters(network.all_params()),
        "parameter_bytes": profiling.parameter_bytes(network.all_params()),
        "flops_an_example": flops,
        "latency_s": dataclasses.asdict(single),
        "throughput": {
            "examples_per_second": batched.examples_per_second,
            "batch_size": batched.batch_size,
        },
        "device": f"{device.platform} ({device.device_kind}), {platform.platform()}",
    }


def markdown(known: Mapping[str, Any]) -> str:
    """Formats the card for people, from what `card_contents` returns; stated text is escaped."""
    stated, costs = known["stated"], known["cost"]
    lines = [hub_metadata(stated), "", f"# {escape_markdown(stated['name'])}", ""]
    lines += [
        f"- {title}: {escape_markdown(stated[field] or _MISSING)}"
        for field, title in _TITLES.items()
        if field != "name"
    ]
    if stated["accuracy"]:
        lines += [
            f"- Accuracy, {escape_markdown(what)}: {share:.2%}"
            for what, share in stated["accuracy"].items()
        ]
    else:
        lines.append(f"- Accuracy: {_MISSING}")
    given = known["input"]
    lines += [
        "",
        "## Use",
        "",
        f"Inputs: {_described(given['shape'], given['dtype'])}, preprocessing "
        f"{given['preprocessing']}. Outputs: logits, float32 "
        f"`[batch, {', '.join(map(str, known['output']['shape']))}]`.",
        "",
    ]
    if known["checks"]:
        several = isinstance(given["shape"], Mapping)
        call = f"run.py {next(iter(known['checks']))} inputs.{'npz' if several else 'npy'}"
        lines += [f"    python {call} --labels labels.npy", ""]
    single, flops = costs["latency_s"], costs["flops_an_example"]
    lines += [
        "## Cost",
        "",
        "| | |",
        "| :-- | --: |",
        f"| Parameters | {costs['parameters']:,} |",
        f"| Their bytes | {costs['parameter_bytes']:,} |",
        f"| FLOPs an example | {'not known' if flops is None else format(flops, ',.0f')} |",
        f"| Latency of one example, median (p10 to p90) | {single['median_s'] * 1e3:.3f} ms "
        f"({single['p10_s'] * 1e3:.3f} to {single['p90_s'] * 1e3:.3f}) |",
        f"| Examples a second, batch {costs['throughput']['batch_size']} | "
        f"{costs['throughput']['examples_per_second']:,.0f} |",
        "",
        f"The network in JAX, on {escape_markdown(costs['device'])}; without preprocessing, a "
        "multiply-add counts as two FLOPs.",
        "",
        "## Files",
        "",
        "| File | Bytes | sha256 |",
        "| :-- | --: | :-- |",
    ]
    for file, about in known["files"].items():
        lines.append(f"| {file} | {about['bytes']:,} | {about['sha256']} |")
    lines += ["", "## Compared with the network", ""]
    if known["checks"]:
        lines += [
            "Each file was run in a fresh process on CPU.",
            "",
            "| File | Examples | Largest difference of a logit | Equal classes | Accuracy |",
            "| :-- | --: | --: | --: | --: |",
        ]
        for file, check in known["checks"].items():
            right = "no labels" if check["accuracy"] is None else f"{check['accuracy']:.2%}"
            lines.append(
                f"| {file} | {check['examples']:,} | {check['largest']:.1e} | "
                f"{check['agreement']:.2%} | {right} |"
            )
    else:
        lines.append("There is no program among the files; the weights were read back and equal.")
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    return "\n".join([*lines, "", f"Made with {versions}.", ""])


def _described(shape: Any, dtype: Any) -> str:
    if isinstance(shape, Mapping):
        return ", ".join(f"`{name}` {_described(shape[name], dtype[name])}" for name in shape)
    return f"{dtype} `[{', '.join(map(str, ('batch', *shape)))}]`"


def _versions(suffixes: Iterable[str]) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    runtimes = [name for suffix in sorted(suffixes) for name in _RUNTIMES.get(suffix, ())]
    for package in (*_PACKAGES, *runtimes):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions
