"""Text that a network writes: sampling with a cache of keys and values, in one compiled program.

`from_decoder` makes a decoder a pure network that can be called token by token, `generate` writes
with it, and `sample` draws one token. All are pure functions of parameters and keys, to be used by
themselves or inside a train step, where the student writes what it then learns from.
"""

from jaxkd.generation.decoder import CachedDecoder as CachedDecoder
from jaxkd.generation.decoder import from_decoder as from_decoder
from jaxkd.generation.generate import Generated as Generated
from jaxkd.generation.generate import generate as generate
from jaxkd.generation.sample import sample as sample
