"""Networks of text beside those that their published weights were trained with."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from published_text import CASES, LENGTHS, golden, made
from tiers import few

import jaxkd
from jaxkd import models, weights

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
LLAMA = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}


def outline(name, config):
    """The network without its arrays, which are about to be replaced."""
    if name.startswith("bert"):
        classes = {"num_classes": 3, "pooling": "cls", "pooler": True, "num_types": 2}
        options = weights.encoder_config(config) | (classes if name == "bert_classifier" else {})
        network = functools.partial(models.Encoder, **options)
    else:
        network = functools.partial(models.Decoder, **weights.decoder_config(config))
    return jaxkd.from_nnx(nnx.eval_shape(lambda: network(rngs=nnx.Rngs(0))))


def check(name, config, arrays, tokens, expected):
    ignore = ("^pooler",) if name == "bert" else ()
    network, report = weights.load(outline(name, config), arrays, CASES[name][0], ignore=ignore)
    assert report.complete
    assert len(report.matched) == len(network.params)
    outputs = compiled(network)(jnp.asarray(tokens))
    for row, length in enumerate(LENGTHS):
        for feature, values in expected.items():
            whole = values.ndim == 2
            mine, theirs = outputs[feature][row], values[row]
            np.testing.assert_allclose(
                mine if whole else mine[:length],
                theirs if whole else theirs[:length],
                atol=1e-4,
                rtol=0,
                err_msg=feature,
            )
    return outputs, report


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_transformers(name):
    config, arrays, tokens, expected = golden(name)
    outputs, report = check(name, config, arrays, tokens, expected)
    assert ("logits" in expected) == (name != "bert")
    assert np.abs(expected["hidden"]).max() > 0.5
    if name == "bert":
        assert sorted(report.ignored) == ["pooler.dense.bias", "pooler.dense.weight"]
        mean = np.stack([outputs["hidden"][r, :n].mean(0) for r, n in enumerate(LENGTHS)])
        mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
        np.testing.assert_allclose(outputs["logits"], mean, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_installed_transformers(name):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    check(name, *made(name))


def test_prefixes_and_old_names_of_bert_are_known():
    config, arrays, *_ = golden("bert")
    plain, _ = weights.load(outline("bert", config), arrays, "bert", ignore=("^pooler",))
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in arrays.items()
    }
    old["bert.embeddings.position_ids"] = np.arange(64)[None]
    old["cls.predictions.bias"] = np.zeros(40)
    loaded, report = weights.load(outline("bert", config), old, "bert", ignore=("pooler", "^cls"))
    assert len(report.ignored) == 3
    for path, value in plain.params.items():
        np.testing.assert_array_equal(loaded.params[path], value)
    with pytest.raises(ValueError, match=r"no variable in the network: cls\.predictions\.bias"):
        weights.load(outline("bert", config), old, "bert", ignore=("pooler",))


def test_folders_of_several_files_are_read_as_one(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    config, arrays, tokens, expected = golden("llama_tied")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    names = sorted(arrays)
    for part in range(2):
        contents = {name: arrays[name] for name in names[part::2]}
        save_file(contents, tmp_path / f"model-0000{part + 1}-of-00002.safetensors")
    network = outline("llama_tied", tmp_path)
    network, _ = weights.load(network, tmp_path, "llama")
    logits = compiled(network)(tokens)["logits"]
    np.testing.assert_allclose(logits[0], expected["logits"][0], atol=1e-4)
    save_file({names[0]: arrays[names[0]]}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is in other.safetensors and in another file"):
        weights.read(tmp_path)


def test_configurations_say_what_the_network_is(tmp_path):
    options = weights.decoder_config(LLAMA)
    assert options["tied"] is False
    assert options["windows"] is options["rope_scaling"] is None
    old = {"rope_theta": 5e5, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}}  # fmt: skip
    options = weights.decoder_config(LLAMA | old)
    assert options["rope_theta"] == 5e5
    assert options["rope_scaling"] == models.RopeScaling(8.0, 1.0, 4.0, 8192)
    gemma = {"model_type": "gemma2", "num_hidden_layers": 3}
    assert weights.decoder_config(LLAMA | gemma)["windows"] == (4096, None, 4096)
    gemma = weights.decoder_config(LLAMA | {"model_type": "gemma", "hidden_act": "gelu"})
    assert (gemma["tied"], gemma["activation"], gemma["head_dim"]) == (True, "gelu", 256)
    qwen = {"model_type": "qwen2", "sliding_window": 7, "max_window_layers": 1}
    assert weights.decoder_config(LLAMA | qwen)["windows"] is None
    slides = weights.decoder_config(LLAMA | qwen | {"use_sliding_window": True})
    assert slides["windows"] == (None, 7)
    bert = LLAMA | {"model_type": "bert", "layer_norm_eps": 1e-5}
    (tmp_path / "config.json").write_text(json.dumps(bert), encoding="utf-8")
    assert weights.encoder_config(tmp_path)["norm_eps"] == 1e-5
    (tmp_path / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps(modes), encoding="utf-8")
    assert weights.encoder_config(tmp_path / "config.json")["pooling"] == "cls"
    modes = {"pooling_mode_max_tokens": True}
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps(modes), encoding="utf-8")
    with pytest.raises(ValueError, match="only the pooling 'mean' or 'cls', not .*max"):
        weights.encoder_config(tmp_path)


def sentence_encoder(folder, *names):
    """A checkpoint's folder with these modules, the pooling in a folder of its own name."""
    (folder / "config.json").write_text(
        json.dumps(LLAMA | {"model_type": "bert"}), encoding="utf-8"
    )
    (folder / "pooled").mkdir()
    (folder / "pooled/config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True}), encoding="utf-8"
    )
    places = {"Transformer": "", "Pooling": "pooled"}
    modules = [
        {"idx": i, "path": places.get(name, name), "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    return folder


@few("last", [("Normalize",), ()])
def test_modules_of_a_sentence_encoder_say_how_it_ends(tmp_path, last):
    options = weights.encoder_config(sentence_encoder(tmp_path, "Transformer", "Pooling", *last))
    assert options["pooling"] == "cls"
    assert options["normalize"] is bool(last)
    embeddings = jaxkd.from_nnx(models.Encoder(**options, rngs=nnx.Rngs(0)))(
        jnp.array([[5, 6, 7]])
    )["logits"]
    assert (abs(jnp.linalg.norm(embeddings) - 1) < 1e-3) == bool(last)


def test_the_pooling_of_a_sentence_encoder_is_not_guessed(tmp_path):
    folder = sentence_encoder(tmp_path, "Transformer", "Pooling")
    (folder / "pooled/config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no configuration at .*pooled"):
        weights.encoder_config(folder)


@pytest.mark.parametrize(
    "names",
    [
        ("Transformer", "Pooling", "Dense"),
        ("Transformer", "Pooling", "Dense", "Normalize"),
        ("WordEmbeddings", "Pooling"),
        ("Transformer",),
        ("Transformer", "Normalize", "Pooling"),
    ],
)
def test_other_modules_of_a_sentence_encoder_are_refused_by_name(tmp_path, names):
    with pytest.raises(ValueError, match=f"modules.json has {', '.join(names)}"):
        weights.encoder_config(sentence_encoder(tmp_path, *names))


@pytest.mark.parametrize(
    ("read", "changes", "message"),
    [
        ("decoder", {"model_type": "mamba"}, "model_type llama or .* not 'mamba'"),
        ("encoder", {"model_type": "roberta"}, "model_type bert, not 'roberta'"),
        ("decoder", {"attention_bias": True}, "only attention_bias False, not True"),
        ("decoder", {"hidden_act": "relu"}, "only hidden_act 'silu' or .*, not 'relu'"),
        ("decoder", {"rope_scaling": {"rope_type": "yarn"}}, "rope_type .* not .*'yarn'"),
        (
            "encoder",
            {"model_type": "bert", "position_embedding_type": "relative_key"},
            "only position_embedding_type 'absolute', not 'relative_key'",
        ),
    ],
)
def test_configurations_of_other_networks_are_refused(read, changes, message):
    with pytest.raises(ValueError, match=message):
        getattr(weights, f"{read}_config")(LLAMA | changes)


def test_missing_configurations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no configuration at .*config.json"):
        weights.decoder_config(tmp_path)
