"""Codecs: in how many bytes a teacher's answer is kept, and with what error.

A codec turns one output of the teacher, logits or features, into a *record*, a few small arrays
that the cache stores, and back into what losses take as `teacher`. Both directions are pure JAX;
decoding happens inside the student's compiled step. `Dense` keeps anything, `Pooled` feature maps,
`TopK`, `TopP` and `Sampled` logits of many classes.
"""

from jaxkd.targets._codec import Codec as Codec
from jaxkd.targets._codec import Layout as Layout
from jaxkd.targets._codec import bytes_per_record as bytes_per_record
from jaxkd.targets._dense import Dense as Dense
from jaxkd.targets._dense import Pooled as Pooled
from jaxkd.targets._encoded_outputs import EncodedOutputs as EncodedOutputs
from jaxkd.targets._sampled import Sampled as Sampled
from jaxkd.targets._specification import from_specification as from_specification
from jaxkd.targets._top_k import TopK as TopK
from jaxkd.targets._top_p import TopP as TopP
