"""Generation of text: sampling with a cache of keys and values, in one compiled program.

All are pure functions of parameters and keys, to be used by themselves or inside a train step,
where the student learns from what it generates:

  from_decoder: makes a decoder a `CachedDecoder`, a pure network that can be called token by token
  generate: continues prompts, as `GeneratedTokens`
  sample: samples one token from logits
"""

from jaxkd.generation.decoder import CachedDecoder as CachedDecoder
from jaxkd.generation.decoder import from_decoder as from_decoder
from jaxkd.generation.generate import GeneratedTokens as GeneratedTokens
from jaxkd.generation.generate import generate as generate
from jaxkd.generation.sample import sample as sample

__all__ = ["CachedDecoder", "GeneratedTokens", "from_decoder", "generate", "sample"]
