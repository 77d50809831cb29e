"""Decoders of text: Llama, Mistral, Qwen and Gemma, by a few options."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._decoder_layers import ACTIVATIONS, Attention, GatedMLP, RMSNorm, dense, initial
from jaxkd.models._rope import RopeScaling, rotations
from jaxkd.models._text import positions_of, tokens_and_documents


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens that a decoder has processed, row by row.

    Attributes:
      keys: for each layer the keys, `[batch, max_length, kv_heads, head_dim]`; a row's tokens come
        first, each at its position, and what follows them is not read.
      values: for each layer the values, of the same shapes.
      lengths: number of tokens of each row, `[batch]`.

    Example:
      >>> cache = Decoder(64, 16, 2, 4, num_kv_heads=2, rngs=nnx.Rngs(0)).init_cache(3, 10)
      >>> len(cache.keys), cache.keys[0].shape, cache.lengths.tolist()
      (2, (3, 10, 2, 4), [0, 0, 0])
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    lengths: jax.Array


class _Layer(nnx.Module):
    """Attention and an MLP, each after a normalization and beside a shortcut."""

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: str,
        attention: Attention,
        *,
        post_norms: bool,
        norm_eps: float,
        norm_offset: float,
        rngs: nnx.Rngs,
    ):
        def norm() -> RMSNorm:
            return RMSNorm(width, epsilon=norm_eps, offset=norm_offset)

        self.norm1, self.norm2 = norm(), norm()
        self.attention = attention
        self.mlp = GatedMLP(width, hidden, activation, rngs)
        self.post_norms = post_norms
        if post_norms:
            self.post_norm1, self.post_norm2 = norm(), norm()

    def __call__(
        self,
        tokens: jax.Array,
        rotation: tuple[jax.Array, jax.Array],
        mask: jax.Array,
        cached: tuple[jax.Array, jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        """Returns the tokens, queries, keys and values; of the latter all, with those cached."""
        queries, keys, values = self.attention.project(self.norm1(tokens), rotation)
        if cached is not None:
            old_keys, old_values, lengths = cached
            keys, values = _append(old_keys, keys, lengths), _append(old_values, values, lengths)
        mixed = self.attention(queries, keys, values, mask)
        tokens = tokens + (self.post_norm1(mixed) if self.post_norms else mixed)
        changed = self.mlp(self.norm2(tokens))
        tokens = tokens + (self.post_norm2(changed) if self.post_norms else changed)
        return tokens, (queries, keys, values)


class Decoder(nnx.Module):
    """A causal transformer with rotary positions, RMSNorm, gated MLPs and grouped queries.

    The defaults make a Llama. Qwen2 has `qkv_bias`, Qwen3 `qk_norm`; Gemma has the activation
    `"gelu"`, `norm_offset=1` and `scale_embeddings`; Gemma 2 `post_norms`, both soft caps, an
    `attention_scale` and `windows` as well. `weights.decoder_config` reads all of it from a
    checkpoint's configuration. For long texts and deep networks pass `remat=True`.

    Args:
      vocab_size: number of tokens in the vocabulary.
      width: width of the tokens.
      num_layers: number of layers, at least 1.
      num_heads: number of heads of the queries.
      num_kv_heads: number of heads of keys and values, which divides that of the queries; by
        default as many.
      head_dim: width of a head, even; by default the width over the heads.
      hidden_width: hidden width of the MLPs, by default four times the width.
      rope_theta: base of the wavelengths of the rotary positions.
      rope_scaling: scaling of the rotary positions in Llama 3.1 and later.
      norm_eps: epsilon of the normalizations.
      norm_offset: number added to the normalizations' scales.
      tied: whether the output matrix is the embedding's.
      qkv_bias: whether queries, keys and values have biases.
      qk_norm: whether queries and keys are normalized, head by head.
      activation: `"silu"`, or `"gelu"` in its approximation by tanh.
      scale_embeddings: whether embeddings are multiplied by the root of the width.
      post_norms: whether attention and MLP have a normalization after them as well.
      attention_scale: factor of the products of queries and keys, by default one over the root of
        `head_dim`.
      attention_soft_cap: bound of the attention's scores, c tanh(score / c).
      logit_soft_cap: bound of the logits.
      windows: for each layer, how many tokens each token attends to, itself among them; None for
        all.
      remat: whether layers are computed again in the backward pass and only their inputs stored.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: sizes do not divide each other, the activation is unknown, or there are windows
        for another number of layers.

    Example:
      >>> model = Decoder(64, 16, 2, 4, num_kv_heads=2, rngs=nnx.Rngs(0))
      >>> logits, features = model(jnp.ones((2, 7), jnp.int32))
      >>> logits.shape, features["layer1"].shape, features["keys"].shape
      ((2, 7, 64), (2, 7, 16), (2, 2, 7, 4))

    References:
      Touvron et al., Llama 2, 2023; Grattafiori et al., The Llama 3 Herd of Models, 2024; Yang et
      al., Qwen2 Technical Report, 2024; Qwen3 Technical Report, 2025; Gemma Team, Gemma, 2024, and
      Gemma 2, 2024.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        num_layers: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        hidden_width: int | None = None,
        rope_theta: float = 10_000.0,
        rope_scaling: RopeScaling | None = None,
        norm_eps: float = 1e-6,
        norm_offset: float = 0.0,
        tied: bool = True,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        activation: str = "silu",
        scale_embeddings: bool = False,
        post_norms: bool = False,
        attention_scale: float | None = None,
        attention_soft_cap: float | None = None,
        logit_soft_cap: float | None = None,
        windows: Sequence[int | None] | None = None,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {num_layers}")
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(
                f"num_kv_heads must divide the {num_heads} heads, which share keys and values "
                f"alike, not be {num_kv_heads}"
            )
        if head_dim is None and width % num_heads:
            raise ValueError(
                f"width must be a multiple of the {num_heads} heads, not {width}, or pass head_dim"
            )
        head_dim = width // num_heads if head_dim is None else head_dim
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"head_dim must be even, for the rotary positions, not {head_dim}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {list(ACTIVATIONS)}, not {activation!r}")
        self.windows = (None,) * num_layers if windows is None else tuple(windows)
        if len(self.windows) != num_layers:
            raise ValueError(
                f"windows has {len(self.windows)} numbers for {num_layers} layers: one a layer"
            )
        self.width, self.num_kv_heads, self.head_dim = width, num_kv_heads, head_dim
        self.rope_theta, self.rope_scaling = rope_theta, rope_scaling
        self.tied, self.scale_embeddings, self.remat = tied, scale_embeddings, remat
        self.logit_soft_cap = logit_soft_cap
        norms = {"norm_eps": norm_eps, "norm_offset": norm_offset}
        self.embeddings = nnx.Embed(vocab_size, width, embedding_init=initial, rngs=rngs)
        self.layers = nnx.List(
            _Layer(
                width,
                4 * width if hidden_width is None else hidden_width,
                activation,
                Attention(
                    width,
                    num_heads,
                    num_kv_heads,
                    head_dim,
                    qkv_bias=qkv_bias,
                    qk_norm=qk_norm,
                    scale=head_dim**-0.5 if attention_scale is None else attention_scale,
                    soft_cap=attention_soft_cap,
                    rngs=rngs,
                    **norms,
                ),
                post_norms=post_norms,
                rngs=rngs,
                **norms,
            )
            for _ in range(num_layers)
        )
        self.norm = RMSNorm(width, epsilon=norm_eps, offset=norm_offset)
        if not tied:
            self.head = dense(width, vocab_size, rngs)

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.embeddings.num_embeddings

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Computes the logits of the next tokens, and features.

        Args:
          inputs: tokens `[batch, length]`, each row one text from the first position on, so that
            padding after it changes nothing; or `[batch, length, 2]` with the number of each
            token's document, 0 for padding. A token attends to those of its own document, in which
            positions start at 0.

        Returns:
          Logits `[batch, length, vocab_size]`, and the features

          - `embeddings`, the tokens before the first layer, `[batch, length, width]`;
          - `layer1`, …, after each layer;
          - `hidden`, after the last normalization;
          - `head`, the output matrix `[width, vocab_size]` as it is multiplied with `hidden`; a
            soft cap comes after it. It has no batch axis;
          - `queries`, `keys` and `values` of the last layer as its attention takes them,
            `[batch, heads, length, head_dim]`, with as many heads as each has.
        """
        tokens, documents = tokens_and_documents(inputs, "Decoder")
        columns = jnp.arange(tokens.shape[1])
        distance = (columns[:, None] - columns)[None]
        mask = distance >= 0
        positions = columns[None]
        if documents is not None:
            mask &= documents[:, :, None] == documents[:, None, :]
            positions = positions_of(documents)
        features = {}
        features["embeddings"] = hidden = self._embed(tokens)
        rotation = self._rotation(positions)
        run = nnx.remat(_Layer.__call__) if self.remat else _Layer.__call__
        for number, (layer, window) in enumerate(zip(self.layers, self.windows, strict=True), 1):
            hidden, parts = run(layer, hidden, rotation, _within(mask, distance, window))
            features[f"layer{number}"] = hidden
        features["hidden"] = hidden = self.norm(hidden)
        features["head"] = self._head(hidden.dtype)
        for name, part in zip(("queries", "keys", "values"), parts, strict=True):
            features[name] = jnp.swapaxes(part, 1, 2)
        return self._logits(hidden), features

    def init_cache(self, batch_size: int, max_length: int) -> KeyValueCache:
        """Makes an empty cache.

        Args:
          batch_size: number of rows.
          max_length: greatest number of tokens in a row.

        Returns:
          The cache.
        """
        # The number of heads is that of each layer's arrays: some may have been removed.
        heads = [layer.attention.key.kernel.shape[-1] // self.head_dim for layer in self.layers]
        shapes = [(batch_size, max_length, count, self.head_dim) for count in heads]
        empty = tuple(jnp.zeros(shape, self.embeddings.dtype) for shape in shapes)
        return KeyValueCache(empty, empty, jnp.zeros((batch_size,), jnp.int32))

    def decode(
        self, tokens: jax.Array, cache: KeyValueCache, counts: jax.Array | None = None
    ) -> tuple[jax.Array, KeyValueCache]:
        """Computes the logits of each row's next token from its new tokens and the cached ones.

        Args:
          tokens: new tokens of each row, `[batch, length]`, padded at the end.
          cache: keys and values of the rows so far; tokens beyond its `max_length` are lost.
          counts: number of new tokens of each row, `[batch]`; by default all. A row with none stays
            as it is and its logits have no meaning.

        Returns:
          Logits `[batch, vocab_size]` after each row's last token, and the new cache.
        """
        batch, length = tokens.shape
        counts = jnp.full((batch,), length, jnp.int32) if counts is None else counts
        positions = cache.lengths[:, None] + jnp.arange(length)
        distance = positions[:, :, None] - jnp.arange(cache.keys[0].shape[1])
        hidden, rotation = self._embed(tokens), self._rotation(positions)
        keys, values = [], []
        for layer, window, key, value in zip(
            self.layers, self.windows, cache.keys, cache.values, strict=True
        ):
            mask = _within(distance >= 0, distance, window)
            cached = (key, value, cache.lengths)
            hidden, (_, key, value) = layer(hidden, rotation, mask, cached)
            keys.append(key)
            values.append(value)
        last = jnp.maximum(counts - 1, 0)[:, None, None]
        hidden = self.norm(jnp.take_along_axis(hidden, last, axis=1)[:, 0])
        return self._logits(hidden), KeyValueCache(
            tuple(keys), tuple(values), cache.lengths + counts
        )

    def _embed(self, tokens: jax.Array) -> jax.Array:
        embedded = self.embeddings(tokens)
        if self.scale_embeddings:
            embedded = embedded * jnp.asarray(self.width**0.5, embedded.dtype)
        return embedded

    def _rotation(self, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        return rotations(positions, self.head_dim, self.rope_theta, self.rope_scaling)

    def _head(self, dtype: jnp.dtype) -> jax.Array:
        matrix = self.embeddings.embedding[...].T if self.tied else self.head.kernel[...]
        return matrix.astype(dtype)

    def _logits(self, hidden: jax.Array) -> jax.Array:
        logits = hidden @ self._head(hidden.dtype)
        if self.logit_soft_cap is None:
            return logits
        capped = jnp.tanh(logits.astype(jnp.float32) / self.logit_soft_cap) * self.logit_soft_cap
        return capped.astype(logits.dtype)


def _within(mask: jax.Array, distance: jax.Array, window: int | None) -> jax.Array:
    return mask if window is None else mask & (distance < window)


def _append(cached: jax.Array, new: jax.Array, lengths: jax.Array) -> jax.Array:
    """Writes new keys or values after the last of each row."""

    def row(cached: jax.Array, new: jax.Array, length: jax.Array) -> jax.Array:
        positions = length + jnp.arange(new.shape[0])
        # Padding of a row that is almost full goes past its end and is dropped; with clipped
        # positions it would overwrite tokens.
        return cached.at[positions].set(
            new.astype(cached.dtype), mode="drop", indices_are_sorted=True, unique_indices=True
        )

    return jax.vmap(row)(cached, new, lengths)
