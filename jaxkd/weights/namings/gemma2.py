"""Names in checkpoints of Gemma 2 as rules for `load`; Gemma 1 has those of Llama."""

from jaxkd.weights._layout import Rules
from jaxkd.weights.namings.llama import IGNORED as IGNORED
from jaxkd.weights.namings.llama import PARTS

# By the class of the network in jaxkd.models.
RULES: dict[str, Rules] = {
    "Decoder": (
        *PARTS,
        # In Llama this is what comes before the MLP.
        (r"\.post_attention_layernorm$", ".post_norm1"),
        (r"\.pre_feedforward_layernorm$", ".norm2"),
        (r"\.post_feedforward_layernorm$", ".post_norm2"),
    )
}
