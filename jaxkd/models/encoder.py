"""Encoders of text: BERT and its family, MiniLM among them, and the mean of token embeddings."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._text import positions_of, tokens_and_documents

_initial = nnx.initializers.truncated_normal(0.02)
POOLINGS = ("mean", "cls")


def _dense(in_features: int, out_features: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(in_features, out_features, kernel_init=_initial, rngs=rngs)


def _embed(count: int, width: int, rngs: nnx.Rngs) -> nnx.Embed:
    return nnx.Embed(count, width, embedding_init=_initial, rngs=rngs)


def _norm(width: int, epsilon: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # The fast variance, a difference of two means, would lose digits, as in vision transformers.
    return nnx.LayerNorm(width, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def _dropout(rate: float, rngs: nnx.Rngs) -> nnx.Dropout:
    # Without a random stream where nothing is random, so that training needs no key.
    return nnx.Dropout(rate, rngs=rngs if rate else None)


class _Embeddings(nnx.Module):
    """The sum of the embeddings of tokens, positions and types, normalized."""

    def __init__(
        self,
        vocab_size: int,
        width: int,
        max_length: int,
        num_types: int,
        norm_eps: float,
        dropout_rate: float,
        rngs: nnx.Rngs,
    ):
        self.tokens = _embed(vocab_size, width, rngs)
        self.positions = _embed(max_length, width, rngs)
        self.types = _embed(num_types, width, rngs)
        self.norm = _norm(width, norm_eps, rngs)
        self.dropout = _dropout(dropout_rate, rngs)

    def __call__(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        types = self.types(jnp.zeros_like(tokens))
        return self.dropout(self.norm(self.tokens(tokens) + self.positions(positions) + types))


class _Attention(nnx.Module):
    """Self-attention within documents."""

    def __init__(self, width: int, num_heads: int, dropout_rate: float, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.query = _dense(width, width, rngs)
        self.key = _dense(width, width, rngs)
        self.value = _dense(width, width, rngs)
        self.out = _dense(width, width, rngs)
        self.dropout = _dropout(dropout_rate, rngs)

    def __call__(
        self, tokens: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        """Returns the new tokens, the scores before the mask, and queries, keys and values."""
        batch, length, _ = tokens.shape
        queries, keys, values = (
            layer(tokens).reshape(batch, length, self.num_heads, -1).swapaxes(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = jnp.einsum("bhtd,bhsd->bhts", queries, keys, preferred_element_type=jnp.float32)
        # The width is that of the arrays: heads may have been removed.
        scores = scores * queries.shape[-1] ** -0.5
        # Finite, since padding attends to nothing, and the softmax of −inf alone is NaN.
        masked = jnp.where(mask[:, None], scores, 0.7 * jnp.finfo(scores.dtype).min)
        shares = self.dropout(jax.nn.softmax(masked, axis=-1).astype(values.dtype))
        mixed = (shares @ values).swapaxes(1, 2).reshape(batch, length, -1)
        return self.out(mixed), scores, (queries, keys, values)


class _Layer(nnx.Module):
    """Attention and an MLP, each normalized together with its shortcut."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden: int,
        norm_eps: float,
        dropout_rate: float,
        rngs: nnx.Rngs,
    ):
        self.attention = _Attention(width, num_heads, dropout_rate, rngs)
        self.norm1 = _norm(width, norm_eps, rngs)
        self.fc1 = _dense(width, hidden, rngs)
        self.fc2 = _dense(hidden, width, rngs)
        self.norm2 = _norm(width, norm_eps, rngs)
        self.dropout1 = _dropout(dropout_rate, rngs)
        self.dropout2 = _dropout(dropout_rate, rngs)

    def __call__(
        self, tokens: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        mixed, scores, parts = self.attention(tokens, mask)
        tokens = self.norm1(tokens + self.dropout1(mixed))
        changed = self.fc2(jax.nn.gelu(self.fc1(tokens), approximate=False))
        return self.norm2(tokens + self.dropout2(changed)), scores, parts


class Encoder(nnx.Module):
    """BERT: a transformer whose tokens attend to all others of their document.

    Without classes it embeds texts, as the sentence encoders of the MiniLM family do. The encoder
    all-MiniLM-L6-v2, with weights in the folder of its safetensors:

        options = weights.encoder_config(folder)
        network = jaxkd.from_nnx(nnx.eval_shape(lambda: Encoder(**options, rngs=nnx.Rngs(0))))
        network, report = weights.load(network, folder, "bert", ignore=("^pooler",))

    Args:
      vocab_size: number of tokens in the vocabulary.
      width: width of the tokens, a multiple of the heads.
      num_layers: number of layers, at least 1.
      num_heads: number of heads of each attention.
      hidden_width: hidden width of the MLPs, by default four times the width.
      max_length: greatest length of a document, since each position has an embedding of its own.
      num_types: number of types of segments; all tokens are of the first.
      norm_eps: epsilon of the normalizations.
      num_classes: number of classes, the width of the logits; None for the embedding instead.
      pooling: `"mean"` over the tokens of a text without its padding, or `"cls"`, its first token.
      pooler: whether a dense layer with tanh follows the pooling, as in BERT before a classifier.
      normalize: whether the embedding has length 1; with classes it is left as it is.
      pad_id: token that is padding where documents are not numbered; None if none is.
      dropout_rate: share set to zero in training: of embeddings, of attention, and after each
        attention, MLP and pooling.
      rngs: random streams for the initial weights and for dropout.

    Raises:
      ValueError: the width is no multiple of the heads, there are no layers, or the pooling is
        unknown.

    Example:
      >>> model = Encoder(64, 16, 2, 4, rngs=nnx.Rngs(0))
      >>> embedding, features = model(jnp.array([[5, 6, 7], [8, 9, 0]]))
      >>> embedding.shape, features["layer2"].shape, features["attention1"].shape
      ((2, 16), (2, 3, 16), (2, 4, 3, 3))

    References:
      Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, NAACL 2019. Wang et al.,
      MiniLM, NeurIPS 2020. Reimers and Gurevych, Sentence-BERT, EMNLP 2019.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        num_layers: int,
        num_heads: int,
        *,
        hidden_width: int | None = None,
        max_length: int = 512,
        num_types: int = 2,
        norm_eps: float = 1e-12,
        num_classes: int | None = None,
        pooling: str = "mean",
        pooler: bool = False,
        normalize: bool = True,
        pad_id: int | None = 0,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if width % num_heads:
            raise ValueError(f"width must be a multiple of the {num_heads} heads, not {width}")
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {num_layers}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {list(POOLINGS)}, not {pooling!r}")
        if pooler and pooling != "cls":
            raise ValueError(
                f"the pooler is a layer on the first token, and pooling={pooling!r}: give "
                "pooling='cls' with it"
            )
        self.max_length, self.pad_id, self.pooling = max_length, pad_id, pooling
        self.normalize, self.num_classes = normalize, num_classes
        self.embeddings = _Embeddings(
            vocab_size, width, max_length, num_types, norm_eps, dropout_rate, rngs
        )
        hidden = 4 * width if hidden_width is None else hidden_width
        self.layers = nnx.List(
            _Layer(width, num_heads, hidden, norm_eps, dropout_rate, rngs)
            for _ in range(num_layers)
        )
        self.pooler = _dense(width, width, rngs) if pooler else None
        self.dropout = _dropout(dropout_rate, rngs)
        self.head = None if num_classes is None else _dense(width, num_classes, rngs)

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.embeddings.tokens.num_embeddings

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Computes logits or embeddings, and features.

        Args:
          inputs: tokens `[batch, length]`, padded with `pad_id`; or `[batch, length, 2]` with the
            number of each token's document, 0 for padding. A token attends to those of its own
            document, in which positions start at 0; all documents of a row are pooled together.

        Returns:
          Logits `[batch, num_classes]` or embeddings `[batch, width]`, and the features

          - `embeddings`, the tokens before the first layer, `[batch, length, width]`;
          - `layer1`, …, after each layer;
          - `attention1`, …, the scores of each layer before mask and softmax,
            `[batch, heads, length, length]`, in float32;
          - `queries`, `keys` and `values` of the last layer, `[batch, heads, length, head_dim]`;
          - `hidden`, the same as the last layer's;
          - `embedding`, of each text: the input of the classifier, if there is one.

        Raises:
          ValueError: the inputs have another shape, or are longer than `max_length` where documents
            are not numbered.
        """
        tokens, documents = tokens_and_documents(inputs, "Encoder", self.pad_id)
        length = tokens.shape[1]
        if length > self.max_length and jnp.ndim(inputs) == 2:
            raise ValueError(
                f"the encoder has positions for {self.max_length} tokens, not for {length}: cut "
                "the texts, or make it with a larger max_length"
            )
        documents = jnp.ones_like(tokens) if documents is None else documents
        mask = documents[:, :, None] == documents[:, None, :]
        # Positions count from the first token, whatever is padding, as in BERT.
        counted = jnp.broadcast_to(jnp.arange(length), tokens.shape)
        positions = counted
        if jnp.ndim(inputs) == 3:
            # Padding may be longer than there are positions; nothing attends to it.
            positions = jnp.where(documents > 0, positions_of(documents), 0)
        features = {}
        features["embeddings"] = hidden = self.embeddings(tokens, positions)
        for number, layer in enumerate(self.layers, 1):
            hidden, features[f"attention{number}"], parts = layer(hidden, mask)
            features[f"layer{number}"] = hidden
        features.update(zip(("queries", "keys", "values"), parts, strict=True))
        features["hidden"] = hidden
        pooled = hidden[:, 0] if self.pooling == "cls" else mean_of_tokens(hidden, documents > 0)
        if self.pooler is not None:
            pooled = jnp.tanh(self.pooler(pooled))
        if self.head is None:
            features["embedding"] = pooled = unit(pooled) if self.normalize else pooled
            return pooled, features
        features["embedding"] = pooled
        return self.head(self.dropout(pooled)), features


class StaticEmbedder(nnx.Module):
    """The mean of the embeddings of a text's tokens, without any attention.

    Hundreds of times faster than a transformer, and a student for one.

    Args:
      vocab_size: number of tokens in the vocabulary.
      width: width of the embedding.
      table_width: width of the table of tokens, which a dense layer maps to the width; None for a
        table of the width itself.
      normalize: whether the embedding has length 1.
      pad_id: token that is padding where documents are not numbered; None if none is.
      rngs: random streams for the initial weights.

    Example:
      >>> model = StaticEmbedder(64, 16, table_width=8, rngs=nnx.Rngs(0))
      >>> embedding, features = model(jnp.array([[5, 6, 7], [8, 9, 0]]))
      >>> embedding.shape, features["embeddings"].shape
      ((2, 16), (2, 3, 8))

    References:
      Minish Lab, Model2Vec, 2024 (static embeddings distilled from sentence encoders).
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        *,
        table_width: int | None = None,
        normalize: bool = True,
        pad_id: int | None = 0,
        rngs: nnx.Rngs,
    ):
        self.normalize, self.pad_id = normalize, pad_id
        self.embeddings = _embed(vocab_size, table_width or width, rngs)
        self.projection = None if table_width is None else _dense(table_width, width, rngs)

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.embeddings.num_embeddings

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns embeddings `[batch, width]` of inputs as `Encoder` takes them, and features.

        The features are `embeddings`, of each token, `[batch, length, table_width]`, and
        `embedding`, of each text.
        """
        tokens, documents = tokens_and_documents(inputs, "StaticEmbedder", self.pad_id)
        documents = jnp.ones_like(tokens) if documents is None else documents
        embeddings = self.embeddings(tokens)
        pooled = mean_of_tokens(embeddings, documents > 0)
        pooled = pooled if self.projection is None else self.projection(pooled)
        pooled = unit(pooled) if self.normalize else pooled
        return pooled, {"embeddings": embeddings, "embedding": pooled}


def mean_of_tokens(tokens: jax.Array, where: jax.Array) -> jax.Array:
    """Computes the mean over selected tokens, in float32; zeros where there is none."""
    kept = jnp.where(where[..., None], tokens.astype(jnp.float32), 0)
    count = jnp.maximum(jnp.sum(where, axis=1)[:, None], 1)
    return (jnp.sum(kept, axis=1) / count).astype(tokens.dtype)


def unit(vectors: jax.Array) -> jax.Array:
    """Divides vectors by their lengths, in float32; zeros stay."""
    values = vectors.astype(jnp.float32)
    square = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
    # A bound on the square, so that the root has a gradient at zero.
    return (values * jax.lax.rsqrt(jnp.maximum(square, 1e-24))).astype(vectors.dtype)
