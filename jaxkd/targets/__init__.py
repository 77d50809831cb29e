"""Codecs: in how many bytes an output of the teacher is stored, and with what error.

A codec encodes one output of the teacher, logits or features, as a *record*, a few small arrays
that the cache stores, and decodes it to what losses take as `teacher`. Both directions are pure
JAX; decoding happens inside the student's compiled step.

- `Dense` stores all values of any output, in 32, 16 or 8 bits.
- `Pooled` stores feature maps, averaged to a smaller size.
- `TopK` and `TopP` store the most probable of many classes, and the exact mass of the others.
- `Sampled` stores classes that are sampled from the teacher.
- `EncodedOutputs` are the encoded outputs of a batch, a pytree that is decoded in the step.
- `Codec` is the protocol for codecs of one's own, `Layout` the arrays that one stores,
  `bytes_per_record` their size, and `from_specification` makes a codec from its description.
"""

from jaxkd.targets._codec import Codec as Codec
from jaxkd.targets._codec import Layout as Layout
from jaxkd.targets._codec import bytes_per_record as bytes_per_record
from jaxkd.targets._dense import Dense as Dense
from jaxkd.targets._encoded_outputs import EncodedOutputs as EncodedOutputs
from jaxkd.targets._pooled import Pooled as Pooled
from jaxkd.targets._sampled import Sampled as Sampled
from jaxkd.targets._specification import from_specification as from_specification
from jaxkd.targets._top_k import TopK as TopK
from jaxkd.targets._top_p import TopP as TopP

__all__ = [
    "Codec",
    "Dense",
    "EncodedOutputs",
    "Layout",
    "Pooled",
    "Sampled",
    "TopK",
    "TopP",
    "bytes_per_record",
    "from_specification",
]
