"""Names in checkpoints of Llama, Mistral, Qwen2, Qwen3 and Gemma 1 as rules for `load`."""

from jaxkd.weights._layout import Rules

# Older files hold what is computed from the configuration.
IGNORED = r"\.rotary_emb\.inv_freq$"

PARTS: Rules = (
    (r"^model\.", ""),
    (r"^embed_tokens$", "embeddings"),
    (r"^lm_head$", "head"),
    (r"\.self_attn\.([qk])_norm$", r".attention.\1_norm"),
    (r"\.self_attn\.([qkvo])_proj$", r".attention.\1"),
    (r"\.attention\.q(?=$|_norm)", ".attention.query"),
    (r"\.attention\.k(?=$|_norm)", ".attention.key"),
    (r"\.attention\.v$", ".attention.value"),
    (r"\.attention\.o$", ".attention.out"),
    (r"\.mlp\.(gate|up|down)_proj$", r".mlp.\1"),
    (r"\.input_layernorm$", ".norm1"),
)

# By the class of the network in jaxkd.models.
RULES: dict[str, Rules] = {"Decoder": (*PARTS, (r"\.post_attention_layernorm$", ".norm2"))}
