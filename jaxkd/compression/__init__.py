"""What a network costs, and how to make it cost less.

[`measure`][jaxkd.compression.measure] counts the parameters, their bytes and the FLOPs of one
example, and times the compiled forward pass; its parts can be called alone.
[`memory`][jaxkd.compression.memory] and [`intensity`][jaxkd.compression.intensity] say what a call
needs of a [`machine`][jaxkd.compression.machine].

`quantize` keeps weights, and computes, in few bits; `calibrate` finds the ranges of activations
for it, and `fake_quantized` trains for it, with a teacher. `fold_batch_norm` makes normalisations
a part of the layers before them. `low_rank` makes of one layer two thin ones.
"""

from jaxkd.compression.batch_norm import fold_batch_norm as fold_batch_norm
from jaxkd.compression.calibration import calibrate as calibrate
from jaxkd.compression.communication import Collective as Collective
from jaxkd.compression.communication import collectives as collectives
from jaxkd.compression.cost import Cost as Cost
from jaxkd.compression.cost import Latency as Latency
from jaxkd.compression.cost import count_parameters as count_parameters
from jaxkd.compression.cost import flops as flops
from jaxkd.compression.cost import latency as latency
from jaxkd.compression.cost import measure as measure
from jaxkd.compression.cost import parameter_bytes as parameter_bytes
from jaxkd.compression.cost import program_flops as program_flops
from jaxkd.compression.cost import sparse_bytes as sparse_bytes
from jaxkd.compression.factored import factors as factors
from jaxkd.compression.factored import low_rank as low_rank
from jaxkd.compression.factored import plan_ranks as plan_ranks
from jaxkd.compression.limits import Intensity as Intensity
from jaxkd.compression.limits import Machine as Machine
from jaxkd.compression.limits import Memory as Memory
from jaxkd.compression.limits import intensity as intensity
from jaxkd.compression.limits import machine as machine
from jaxkd.compression.limits import memory as memory
from jaxkd.compression.quantized import Precision as Precision
from jaxkd.compression.quantized import fake_quantized as fake_quantized
from jaxkd.compression.quantized import from_fake_quantized as from_fake_quantized
from jaxkd.compression.quantized import quantize as quantize
