"""The arguments of networks of text from published configurations."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxkd._files import local_path, read_json
from jaxkd.models import RopeScaling

Source = Mapping[str, Any] | str | os.PathLike[str]

_DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2")
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu"}
# Options that no network here has, and the values that switch them off.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "attention_bias": (None, False),
    "mlp_bias": (None, False),
    "partial_rotary_factor": (None, 1, 1.0),
    "use_bidirectional_attention": (None, False),
}


def decoder_config(source: Source) -> dict[str, Any]:
    """Reads the arguments of `jaxkd.models.Decoder` from a published configuration.

    For Llama, Mistral, Qwen2, Qwen3 (the naming `"llama"` of `load`), Gemma 1 (the same) and Gemma
    2 (`"gemma2"`). Some files of tied networks hold the output matrix twice: pass
    `ignore=("^lm_head",)` to `load` there.

    Args:
      source: folder of a checkpoint, path of its `config.json`, or the contents of that.

    Returns:
      Keywords of `Decoder`, without `rngs`.

    Raises:
      FileNotFoundError: there is no configuration.
      ValueError: `Decoder` does not have this kind of model or an option; the message names the
        field.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> options = decoder_config({
      ...     "model_type": "qwen2", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
      ...     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32,
      ...     "tie_word_embeddings": True})
      >>> options["num_kv_heads"], options["qkv_bias"], options["tied"]
      (2, True, True)
      >>> decoder = jaxkd.models.Decoder(**options, rngs=nnx.Rngs(0))
    """
    config = _mapping(source)
    kind = _kind(config, _DECODERS, "Decoder")
    for field, allowed in _UNSUPPORTED.items():
        _allow(config, field, allowed, "Decoder")
    gemma, gemma2 = kind.startswith("gemma"), kind == "gemma2"
    # The first configurations of Gemma have "gelu" for its approximation.
    named = "hidden_activation" if gemma and config.get("hidden_activation") else "hidden_act"
    activation = config.get(named, "gelu_pytorch_tanh" if gemma else "silu")
    if gemma and activation == "gelu":
        activation = "gelu_pytorch_tanh"
    _allow({named: activation}, named, tuple(_ACTIVATIONS), "Decoder")
    theta, scaling = _rope(config, 1e6 if kind == "qwen3" and "rope_theta" not in config else 1e4)
    layers = config["num_hidden_layers"]
    options = {
        "vocab_size": config["vocab_size"],
        "width": config["hidden_size"],
        "num_layers": layers,
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config.get("num_key_value_heads"),
        "head_dim": config.get("head_dim", 128 if kind == "qwen3" else 256 if gemma else None),
        "hidden_width": config["intermediate_size"],
        "rope_theta": theta,
        "rope_scaling": scaling,
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "tied": config.get("tie_word_embeddings", gemma),
        "qkv_bias": kind == "qwen2",
        "qk_norm": kind == "qwen3",
        "activation": _ACTIVATIONS[activation],
        "windows": _windows(config, kind, layers),
    }
    if gemma:
        options |= {"norm_offset": 1.0, "scale_embeddings": True}
    if gemma2:
        options |= {
            "post_norms": True,
            "attention_scale": config.get("query_pre_attn_scalar", 256) ** -0.5,
            "attention_soft_cap": config.get("attn_logit_softcapping", 50.0),
            "logit_soft_cap": config.get("final_logit_softcapping", 30.0),
        }
    return options


def encoder_config(source: Source) -> dict[str, Any]:
    """Reads the arguments of `jaxkd.models.Encoder` from a configuration of BERT's family.

    In a folder of a sentence encoder the kind of pooling is read as well, and from its
    `modules.json`, if there is one, whether embeddings are normalized.

    Args:
      source: folder of a checkpoint, path of its `config.json`, or the contents of that.

    Returns:
      Keywords of `Encoder`, without `rngs`, and for a classifier without `num_classes`,
      `pooler=True` and `pooling="cls"`. Dropout stays 0.

    Raises:
      FileNotFoundError: there is no configuration.
      ValueError: `Encoder` does not have this kind of model, an option, or a module after the
        transformer (such as a dense layer); the message names the field or the module.

    Example:
      >>> encoder_config({
      ...     "model_type": "bert", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
      ...     "num_attention_heads": 4, "intermediate_size": 32})["max_length"]
      512
    """
    config = _mapping(source)
    _kind(config, ("bert",), "Encoder")
    _allow(config, "hidden_act", (None, "gelu"), "Encoder")
    _allow(config, "position_embedding_type", (None, "absolute"), "Encoder")
    _allow(config, "is_decoder", (None, False), "Encoder")
    options = {
        "vocab_size": config["vocab_size"],
        "width": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_width": config["intermediate_size"],
        "max_length": config.get("max_position_embeddings", 512),
        "num_types": config.get("type_vocab_size", 2),
        "norm_eps": config.get("layer_norm_eps", 1e-12),
        "pad_id": config.get("pad_token_id", 0),
    }
    if not isinstance(source, Mapping):
        place = local_path(source)
        options |= _pooling_options(place if place.is_dir() else place.parent)
    return options


def _pooling_options(folder: pathlib.Path) -> dict[str, Any]:
    """How a sentence encoder pools its tokens, from the files of sentence-transformers."""
    pooling = folder / "1_Pooling"
    options: dict[str, Any] = {}
    if (file := folder / "modules.json").exists():
        modules = read_json(file)
        try:
            names = [module["type"].rpartition(".")[2] for module in modules]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no list of modules, each with its type") from error
        if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            raise ValueError(
                f"Encoder is a Transformer, a Pooling and, if wanted, a Normalize; {file} has "
                f"{', '.join(names)}. Use it through from_function, which takes any function, or "
                "choose an encoder without other modules"
            )
        options["normalize"] = "Normalize" in names
        pooling = folder / modules[1]["path"]
        options["pooling"] = _pooling(_mapping(pooling))  # an error where its file is missing
    elif (pooling / "config.json").exists():
        options["pooling"] = _pooling(_mapping(pooling))
    return options


def _mapping(source: Source) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    place = local_path(source)
    file = place / "config.json" if place.is_dir() else place
    if not file.exists():
        raise FileNotFoundError(f"no configuration at {file}")
    if not isinstance(found := read_json(file), Mapping):
        raise ValueError(f"{file} is no configuration, an object of fields: it is {found!r:.80}")
    return found


def _kind(config: Mapping[str, Any], known: tuple[str, ...], network: str) -> str:
    kind = config.get("model_type")
    if kind not in known:
        raise ValueError(f"{network} is for model_type {' or '.join(known)}, not {kind!r}")
    return kind


def _allow(config: Mapping[str, Any], field: str, values: tuple[Any, ...], network: str) -> None:
    if config.get(field) not in values:
        allowed = " or ".join(repr(value) for value in values if value is not None)
        raise ValueError(f"{network} has only {field} {allowed}, not {config[field]!r}")


def _rope(config: Mapping[str, Any], theta: float) -> tuple[float, RopeScaling | None]:
    # Newer configurations hold base and scaling together, some by kind of layer.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", theta))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if any(isinstance(value, Mapping) for value in rope.values()) or kind not in (
        "default",
        "llama3",
    ):
        raise ValueError(f"Decoder has only rope_type 'default' or 'llama3', not {rope}")
    if kind == "default":
        return theta, None
    return theta, RopeScaling(
        rope["factor"],
        rope["low_freq_factor"],
        rope["high_freq_factor"],
        rope["original_max_position_embeddings"],
    )


def _windows(config: Mapping[str, Any], kind: str, layers: int) -> tuple[int | None, ...] | None:
    window = config.get("sliding_window", 4096 if kind == "gemma2" else None)
    if window is None or kind in ("llama", "gemma"):
        return None
    if kind.startswith("qwen") and not config.get("use_sliding_window", False):
        return None
    if types := config.get("layer_types"):
        slides = [name == "sliding_attention" for name in types]
    elif kind == "gemma2":
        slides = [number % 2 == 0 for number in range(layers)]
    else:
        first = config.get("max_window_layers", 28) if kind.startswith("qwen") else 0
        slides = [number >= first for number in range(layers)]
    return tuple(window if slide else None for slide in slides)


def _pooling(config: Mapping[str, Any]) -> str:
    known = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
    modes = [name.removeprefix("pooling_mode_") for name, on in config.items() if on is True]
    modes = [mode for mode in modes if mode in known or mode.endswith(("tokens", "token"))]
    modes = modes or [str(config.get("pooling_mode"))]
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(f"Encoder has only the pooling 'mean' or 'cls', not {modes}")
    return known[modes[0]]
