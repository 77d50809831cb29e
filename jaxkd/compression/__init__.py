"""What a network costs, and how to make it cost less.

[`measure`][jaxkd.compression.measure] counts the parameters, their bytes and the FLOPs of one
example, and times the compiled forward pass; its parts can be called alone.
[`memory`][jaxkd.compression.memory] and [`intensity`][jaxkd.compression.intensity] say what a call
needs of a [`machine`][jaxkd.compression.machine].

`quantize` keeps weights, and computes, in few bits; `calibrate` finds the ranges of activations
for it, and `fake_quantized` trains for it, with a teacher. `fold_batch_norm` makes normalizations
a part of the layers before them. `low_rank` makes of one layer two thin ones.

| to prune | what becomes of the network |
| :-- | :-- |
| `pruning`, last in a chain of optax | weights become zero while it trains; it costs what it cost |
| `magnitude_masks`, `apply_masks`, `sparsity` | the same at once, and measured |
| `shrink`, `channel_groups` | channels, neurons and heads are cut out; it gets faster |
| `drop_layers` | whole blocks are left out; it gets faster |
"""

from jaxkd.compression.batch_norm import fold_batch_norm as fold_batch_norm
from jaxkd.compression.calibration import calibrate as calibrate
from jaxkd.compression.channels import Group as Group
from jaxkd.compression.channels import Place as Place
from jaxkd.compression.channels import channel_groups as channel_groups
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
from jaxkd.compression.factored import Factors as Factors
from jaxkd.compression.factored import factors as factors
from jaxkd.compression.factored import low_rank as low_rank
from jaxkd.compression.factored import plan_ranks as plan_ranks
from jaxkd.compression.gradual import PruningState as PruningState
from jaxkd.compression.gradual import cubic_sparsity as cubic_sparsity
from jaxkd.compression.gradual import pruning as pruning
from jaxkd.compression.layers import drop_layers as drop_layers
from jaxkd.compression.limits import Intensity as Intensity
from jaxkd.compression.limits import Machine as Machine
from jaxkd.compression.limits import Memory as Memory
from jaxkd.compression.limits import intensity as intensity
from jaxkd.compression.limits import machine as machine
from jaxkd.compression.limits import memory as memory
from jaxkd.compression.masks import Sparsity as Sparsity
from jaxkd.compression.masks import apply_masks as apply_masks
from jaxkd.compression.masks import magnitude_masks as magnitude_masks
from jaxkd.compression.masks import prunable as prunable
from jaxkd.compression.masks import sparsity as sparsity
from jaxkd.compression.quantized import Precision as Precision
from jaxkd.compression.quantized import fake_quantized as fake_quantized
from jaxkd.compression.quantized import from_fake_quantized as from_fake_quantized
from jaxkd.compression.quantized import quantize as quantize
from jaxkd.compression.structured import shrink as shrink
