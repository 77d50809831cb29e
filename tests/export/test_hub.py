import dataclasses
import json

import pytest

from jaxkd.export import ModelCard
from jaxkd.export._hub import hub_metadata


def fields_of(card):
    first, *lines, last = hub_metadata(dataclasses.asdict(card)).splitlines()
    assert first == last == "---"
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}


FULL = ModelCard(
    name='pets: "small"\n---',
    license="Apache-2.0",
    task="image-classification",
    tags=["pets", "jax"],
    datasets=["someone/pets"],
    accuracy={"pets, test": 0.5},
)


def test_what_is_stated_is_metadata_of_the_hub():
    assert fields_of(FULL) == {
        "library_name": "jaxkd",
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["jax", "flax", "knowledge-distillation", "pets"],
        "datasets": ["someone/pets"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": FULL.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": "pets, test", "type": "someone/pets"},
                        "metrics": [{"type": "accuracy", "name": "accuracy", "value": 0.5}],
                    }
                ],
            }
        ],
    }


def test_what_is_not_stated_is_left_out():
    assert list(fields_of(ModelCard())) == ["library_name", "tags"]
    unnamed = fields_of(ModelCard(license="MIT (Zalando SE)", accuracy={"a": 1.0}))
    assert (unnamed["license"], unnamed["license_name"]) == ("other", "mit-zalando-se")
    assert "model-index" not in unnamed and unnamed["metrics"] == ["accuracy"]


def test_the_library_of_the_hub_reads_it(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(
        hub_metadata(dataclasses.asdict(FULL)) + "\n\n# pets\n", encoding="utf-8"
    )
    data = hub.ModelCard.load(tmp_path / "README.md").data
    (result,) = data.eval_results
    assert (data.license, data.pipeline_tag, data.model_name) == (
        "apache-2.0",
        "image-classification",
        FULL.name,
    )
    assert (result.dataset_type, result.metric_value) == ("someone/pets", 0.5)


def test_names_with_spaces_are_refused():
    for wrong in ({"task": "image classification"}, {"tags": ["a b"]}, {"datasets": ["a\nb"]}):
        with pytest.raises(ValueError, match="names of the Hugging Face Hub"):
            ModelCard(**wrong)
    with pytest.raises(ValueError, match=r"tags is a list of names, tags=\['jax'\]"):
        ModelCard(tags="jax")
