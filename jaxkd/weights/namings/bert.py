"""Names in checkpoints of BERT and of sentence encoders made of it as rules for `load`."""

from jaxkd.weights._layout import Rules

IGNORED = r"(^|\.)embeddings\.position_ids$"

# By the class of the network in jaxkd.models.
RULES: dict[str, Rules] = {
    "Encoder": (
        # With a head the encoder has a name; sentence encoders are modules in a sequence.
        (r"^(bert|model|0\.auto_model)\.", ""),
        (r"^embeddings\.word_embeddings$", "embeddings.tokens"),
        (r"^embeddings\.position_embeddings$", "embeddings.positions"),
        (r"^embeddings\.token_type_embeddings$", "embeddings.types"),
        (r"^embeddings\.LayerNorm$", "embeddings.norm"),
        (r"^encoder\.layer\.", "layers."),
        (r"\.attention\.self\.", ".attention."),
        (r"\.attention\.output\.dense$", ".attention.out"),
        (r"\.attention\.output\.LayerNorm$", ".norm1"),
        (r"\.intermediate\.dense$", ".fc1"),
        (r"\.output\.dense$", ".fc2"),
        (r"\.output\.LayerNorm$", ".norm2"),
        (r"^pooler\.dense$", "pooler"),
        (r"^classifier$", "head"),
    ),
}
