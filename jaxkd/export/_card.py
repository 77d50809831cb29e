"""What is known of an exported network, for machines and for people."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.compression import cost
from jaxkd.export._verify import Check
from jaxkd.networks import Network

_PACKAGES = ("jaxkd-distill", "jax", "jaxlib", "flax")
_LITERT = ("ai-edge-litert", "litert-converter", "litert-quantizer")
_CALLS = 20  # timed for each latency; networks may be slow
_MISSING = "not stated"
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
class Card:
    """What only its maker knows of a network. What is None is said to be missing.

    Attributes:
      name: of the network; by default its class.
      teacher: what it learned from, and how good that is.
      data: what it was trained on.
      data_license: of that data.
      method: how it was distilled and compressed.
      accuracy: what was measured → share in [0, 1], `{"Fashion-MNIST, test": 0.898}`.
      license: of the weights.
      notes: for what it is meant, and for what not.

    Raises:
      ValueError: an accuracy outside of [0, 1], or not said of what.
    """

    name: str | None = None
    teacher: str | None = None
    data: str | None = None
    data_license: str | None = None
    method: str | None = None
    accuracy: Mapping[str, float] | None = None
    license: str | None = None
    notes: str | None = None

    def __post_init__(self):
        if not isinstance(self.accuracy, Mapping | None):
            raise ValueError(
                f"accuracy says what was measured, {{'test images': 0.9}}, and is {self.accuracy!r}"
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
    def read(cls, path: str | os.PathLike[str]) -> "Card":
        """A card from a JSON file with some of the fields.

        Raises:
          ValueError: the file is no JSON object, or has a field that there is not; names it.
        """
        stated = json.loads(pathlib.Path(path).read_text())
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(stated, dict) or set(stated) - set(known):
            wrong = sorted(set(stated) - set(known)) if isinstance(stated, dict) else stated
            raise ValueError(f"{path} is a JSON object with some of {known}, it has {wrong}")
        return cls(**stated)


def facts(
    card: Card,
    network: Network,
    examples: np.ndarray,
    logits: np.ndarray,
    costs: Mapping[str, Any],
    files: Mapping[str, pathlib.Path],
    checks: Mapping[str, Check],
    *,
    preprocessed: bool,
) -> dict[str, Any]:
    """Everything that `card.json` says.

    Args:
      card: what was stated.
      network: that was exported.
      examples: that it was compared on.
      logits: its answers.
      costs: as `cost_of` gives them.
      files: name → place, of all files.
      checks: file → how it compares.
      preprocessed: whether the files take inputs as they are before preprocessing.
    """
    stated = dataclasses.asdict(card) | {"name": card.name or network.name}
    return {
        "stated": stated,
        "missing": sorted(field for field, value in stated.items() if value is None),
        "fingerprint": network.fingerprint(),
        "input": {
            "shape": list(examples.shape[1:]),
            "dtype": str(examples.dtype),
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
        "versions": _versions(litert=any(file.endswith(".tflite") for file in files)),
    }


def cost_of(network: Network, inputs: Any) -> dict[str, Any]:
    """What a network costs in JAX, on its own inputs.

    Of networks with loops of unknown length the FLOPs are None.
    """
    try:
        flops = cost.flops(network, inputs)
    except ValueError:
        flops = None
    single = cost.latency(network, inputs[:1], repeats=_CALLS, warmup=2)
    batched = cost.latency(network, inputs, repeats=_CALLS, warmup=2)
    device = jax.devices()[0]
    return {
        "parameters": cost.count_parameters(network.params),
        "parameter_bytes": cost.parameter_bytes(network.params),
        "flops_an_example": flops,
        "latency_s": dataclasses.asdict(single),
        "throughput": {
            "examples_per_second": batched.examples_per_second,
            "batch_size": batched.batch_size,
        },
        "device": f"{device.platform} ({device.device_kind}), {platform.platform()}",
    }


def markdown(known: Mapping[str, Any]) -> str:
    """The card for people, from what `facts` returns."""
    stated, costs = known["stated"], known["cost"]
    lines = [f"# {stated['name']}", ""]
    lines += [
        f"- {title}: {stated[field] or _MISSING}"
        for field, title in _TITLES.items()
        if field != "name"
    ]
    if stated["accuracy"]:
        lines += [f"- Accuracy, {what}: {share:.2%}" for what, share in stated["accuracy"].items()]
    else:
        lines.append(f"- Accuracy: {_MISSING}")
    given = known["input"]
    lines += [
        "",
        "## Use",
        "",
        f"Inputs: {given['dtype']} `[batch, {', '.join(map(str, given['shape']))}]`, preprocessing "
        f"{given['preprocessing']}. Outputs: logits, float32 "
        f"`[batch, {', '.join(map(str, known['output']['shape']))}]`.",
        "",
    ]
    if known["checks"]:
        lines += ["    python run.py FILE inputs.npy --labels labels.npy", ""]
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
        f"The network in JAX, on {costs['device']}; without preprocessing, a multiply-add counts "
        "as two FLOPs.",
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
        lines.append("There is no program among the files; the weights were read back.")
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    return "\n".join([*lines, "", f"Made with {versions}.", ""])


def _versions(*, litert: bool) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in (*_PACKAGES, *(_LITERT if litert else ())):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions
