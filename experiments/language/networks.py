"""Decoders of the language experiment, and how they generate text."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

from flax import nnx

from experiments.language.config import Config, Size
from jaxkd import weights
from jaxkd.data import Tokenizer
from jaxkd.generation import CachedDecoder, from_decoder, generate
from jaxkd.models import Decoder


def make_decoder(size: Size, tokenizer: Tokenizer, seed: int) -> CachedDecoder:
    """Makes a decoder with random weights for the tokens of a tokenizer."""
    module = Decoder(
        tokenizer.vocab_size,
        size.width,
        size.layers,
        size.heads,
        hidden_width=size.hidden,
        rngs=nnx.Rngs(seed),
    )
    return from_decoder(module)


def read_decoder(folder: pathlib.Path, tokenizer: Tokenizer) -> CachedDecoder:
    """Reads a published decoder from the folder of its checkpoint.

    Args:
      folder: folder with `config.json` and `model.safetensors`.
      tokenizer: its tokenizer; logits beyond its tokens are padding, and left out.

    Returns:
      The decoder.

    Raises:
      FileNotFoundError: there is no configuration, or there are no weights.
      ValueError: an architecture that is not supported, weights that do not fit it, or fewer logits
        than tokens.
    """
    options = weights.decoder_config(folder)
    tokens, logits = tokenizer.vocab_size, options["vocab_size"]
    if logits < tokens:
        raise ValueError(
            f"the tokenizer in {folder} has {tokens} tokens, the network logits of {logits}"
        )
    decoder = from_decoder(
        Decoder(**options, rngs=nnx.Rngs(0)), valid_classes=tokens if tokens < logits else None
    )
    naming = (
        "gemma2" if '"gemma2"' in (folder / "config.json").read_text(encoding="utf-8") else "llama"
    )
    network, _ = weights.load(decoder.network, folder / "model.safetensors", naming=naming)
    return dataclasses.replace(decoder, network=network)


def generator(config: Config, tokenizer: Tokenizer, decoder: CachedDecoder) -> Callable[..., Any]:
    """Returns `generate` that continues prompts to the length of a row, at temperature 1."""
    return functools.partial(
        generate,
        decoder,
        max_new_tokens=config.length - config.prompt_length,
        stop_tokens=() if tokenizer.eos is None else (tokenizer.eos,),
    )
