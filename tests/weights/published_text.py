"""Small networks of text from transformers; run as a script, it writes tests/golden_models."""

import json
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "golden_models"
_SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "tie_word_embeddings": False}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# Name → naming of weights, class in transformers, options of its configuration.
CASES = {
    "bert": ("bert", "BertModel", _SIZES),
    "bert_classifier": ("bert", "BertForSequenceClassification", {**_SIZES, "num_labels": 3}),
    "llama": ("llama", "LlamaForCausalLM", {**_GROUPED, "rope_parameters": _LLAMA3}),
    "llama_tied": ("llama", "LlamaForCausalLM", {**_SIZES, "tie_word_embeddings": True}),
    "mistral": ("llama", "MistralForCausalLM", {**_GROUPED, "sliding_window": 4}),
    "qwen2": ("llama", "Qwen2ForCausalLM", {**_GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("llama", "Qwen3ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "gemma": (
        "llama",
        "GemmaForCausalLM",
        {**_GROUPED, "head_dim": 8, "tie_word_embeddings": True},
    ),
    "gemma2": (
        "gemma2",
        "Gemma2ForCausalLM",
        {
            **_GROUPED,
            "tie_word_embeddings": True,
            "head_dim": 8,
            "query_pre_attn_scalar": 12,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 1.5,
            "sliding_window": 4,
        },
    ),
}
LENGTHS = (12, 7)


def made(name):
    """Configuration, arrays by name, tokens and outputs of a network with random weights."""
    import torch
    import transformers

    _, class_name, options = CASES[name]
    torch.manual_seed(0)
    network = getattr(transformers, class_name)
    config = network.config_class(**options, attn_implementation="eager")
    model = network(config).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            # So large that every part of the network counts.
            scale = 0.3 if parameter.ndim > 1 else 0.2
            base = 1.0 if path.endswith("norm.weight") and "gemma" not in name else 0.0
            base = 1.0 if "LayerNorm.weight" in path else base
            parameter.copy_(base + scale * torch.randn(parameter.shape))
    tokens = torch.randint(1, 40, (2, max(LENGTHS)))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    tokens = torch.where(mask, tokens, 0)
    with torch.no_grad():
        outputs = model(tokens, attention_mask=mask.long(), output_hidden_states=True)
    found = {"hidden": outputs.hidden_states[-1], "layer1": outputs.hidden_states[1]}
    if "logits" in outputs:
        found["logits"] = outputs.logits
    arrays = {path: value.numpy() for path, value in model.state_dict().items()}
    if options.get("tie_word_embeddings"):
        del arrays["lm_head.weight"]  # as in files
    return (
        config.to_dict(),
        arrays,
        tokens.numpy(),
        {path: value.numpy() for path, value in found.items()},
    )


def golden(name):
    """What `made` returned when the file was written."""
    with np.load(GOLDEN / f"text_{name}.npz", allow_pickle=False) as file:
        content = dict(file)
    parts = [
        {key.partition("/")[2]: value for key, value in content.items() if key.startswith(part)}
        for part in ("param/", "output/")
    ]
    return json.loads(str(content["config"])), parts[0], content["tokens"], parts[1]


def main() -> None:
    """Writes the files."""
    for name in CASES:
        config, arrays, tokens, outputs = made(name)
        np.savez_compressed(
            GOLDEN / f"text_{name}.npz",
            config=np.array(json.dumps(config, default=str)),
            tokens=tokens.astype(np.int32),
            **{f"param/{path}": value for path, value in arrays.items()},
            **{f"output/{path}": value for path, value in outputs.items()},
        )


if __name__ == "__main__":
    main()
