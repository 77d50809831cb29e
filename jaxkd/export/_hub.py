"""The head of a card, which the Hugging Face Hub reads."""

import json
import re
from collections.abc import Mapping
from typing import Any

# Identifiers of licenses that the Hub knows.
_LICENSES = frozenset(
    [
        "afl-3.0",
        "agpl-3.0",
        "apache-2.0",
        "artistic-2.0",
        "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigscience-openrail-m",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "c-uda",
        "cc",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "cdla-sharing-1.0",
        "creativeml-openrail-m",
        "deepfloyd-if-license",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "gemma",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "isc",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "lgpl-lr",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "lppl-1.3c",
        "mit",
        "mpl-2.0",
        "ms-pl",
        "ncsa",
        "odbl",
        "odc-by",
        "ofl-1.1",
        "openrail",
        "openrail++",
        "osl-3.0",
        "pddl",
        "postgresql",
        "unlicense",
        "unknown",
        "wtfpl",
        "zlib",
    ]
)
_TAGS = ("jax", "flax", "knowledge-distillation")


def hub_metadata(stated: Mapping[str, Any]) -> str:
    """Returns metadata of a model as YAML between lines of dashes.

    A license that the Hub has no identifier for is `other`, with its name. What the author has not
    stated is left out. Accuracies become a `model-index`, if the task is stated.

    Args:
      stated: fields of a `ModelCard`.

    Returns:
      The lines. Values are written as JSON, which is YAML as well.
    """
    fields: dict[str, Any] = {"library_name": "jaxkd"}
    if stated["license"]:
        identifier = stated["license"].strip().lower()
        if identifier in _LICENSES:
            fields["license"] = identifier
        else:
            fields |= {"license": "other", "license_name": _slug(identifier) or "other"}
    if stated["task"]:
        fields["pipeline_tag"] = stated["task"]
    fields["tags"] = list(dict.fromkeys([*_TAGS, *stated["tags"]]))
    if stated["datasets"]:
        fields["datasets"] = list(stated["datasets"])
    if stated["accuracy"]:
        fields["metrics"] = ["accuracy"]
        if stated["task"]:
            fields["model-index"] = [_results(stated)]
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _results(stated: Mapping[str, Any]) -> dict[str, Any]:
    names = stated["datasets"]
    return {
        "name": stated["name"],
        "results": [
            {
                "task": {"type": stated["task"]},
                "dataset": {"name": what, "type": names[0] if len(names) == 1 else _slug(what)},
                "metrics": [{"type": "accuracy", "name": "accuracy", "value": share}],
            }
            for what, share in stated["accuracy"].items()
        ],
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")
