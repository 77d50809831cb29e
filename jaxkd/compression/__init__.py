"""What a network costs, and how to make it cost less.

`profiling`: what a network and its programs need.

| function | result |
| :-- | :-- |
| `measure_cost` | parameters, bytes, FLOPs an example, latency and throughput at once |
| `count_parameters`, `parameter_bytes`, `sparse_bytes` | the size of a tree of parameters |
| `flops`, `program_flops` | floating-point operations |
| `latency`, `memory_use` | time and memory of the forward pass |
| `arithmetic_intensity`, `measure_device_peak` | the roofline |
| `collectives` | what a program sends between devices |

`pruning`: fewer weights, channels or layers.

| function | what becomes of the network |
| :-- | :-- |
| `magnitude_pruning`, last in a chain of optax | weights become zero during training; same speed |
| `magnitude_masks`, `apply_masks`, `sparsity` | the same at once, and measured |
| `shrink`, `channel_groups` | channels, neurons and heads are removed; it gets faster |
| `drop_layers` | whole blocks are removed; it gets faster |

`quantization`: few bits (needs the extra `quantization`).

| function | what becomes of the network |
| :-- | :-- |
| `fold_batch_norm` | normalizations become a part of the layers before them |
| `calibrate` | (finds the ranges of activations) |
| `quantize` | weights are stored, and products computed, in few bits |
| `fake_quantize`, `from_fake_quantized` | it is trained for few bits, with a teacher |
| `floating_layers` | (a context in which quantized layers compute in floating point) |

`low_rank`: one layer becomes two: `choose_ranks`, `factorize`, `describe_factorization`.
"""

from jaxkd.compression.low_rank import LayerFactorization as LayerFactorization
from jaxkd.compression.low_rank import choose_ranks as choose_ranks
from jaxkd.compression.low_rank import describe_factorization as describe_factorization
from jaxkd.compression.low_rank import factorize as factorize
from jaxkd.compression.profiling import ArithmeticIntensity as ArithmeticIntensity
from jaxkd.compression.profiling import Collective as Collective
from jaxkd.compression.profiling import DevicePeak as DevicePeak
from jaxkd.compression.profiling import Latency as Latency
from jaxkd.compression.profiling import MemoryUse as MemoryUse
from jaxkd.compression.profiling import NetworkCost as NetworkCost
from jaxkd.compression.profiling import arithmetic_intensity as arithmetic_intensity
from jaxkd.compression.profiling import collectives as collectives
from jaxkd.compression.profiling import count_parameters as count_parameters
from jaxkd.compression.profiling import flops as flops
from jaxkd.compression.profiling import latency as latency
from jaxkd.compression.profiling import measure_cost as measure_cost
from jaxkd.compression.profiling import measure_device_peak as measure_device_peak
from jaxkd.compression.profiling import memory_use as memory_use
from jaxkd.compression.profiling import parameter_bytes as parameter_bytes
from jaxkd.compression.profiling import program_flops as program_flops
from jaxkd.compression.profiling import sparse_bytes as sparse_bytes
from jaxkd.compression.pruning import ChannelAxis as ChannelAxis
from jaxkd.compression.pruning import ChannelGroup as ChannelGroup
from jaxkd.compression.pruning import PruningState as PruningState
from jaxkd.compression.pruning import Sparsity as Sparsity
from jaxkd.compression.pruning import apply_masks as apply_masks
from jaxkd.compression.pruning import channel_groups as channel_groups
from jaxkd.compression.pruning import cubic_sparsity as cubic_sparsity
from jaxkd.compression.pruning import drop_layers as drop_layers
from jaxkd.compression.pruning import magnitude_masks as magnitude_masks
from jaxkd.compression.pruning import magnitude_pruning as magnitude_pruning
from jaxkd.compression.pruning import prunable as prunable
from jaxkd.compression.pruning import shrink as shrink
from jaxkd.compression.pruning import sparsity as sparsity
from jaxkd.compression.quantization import LayerPrecision as LayerPrecision
from jaxkd.compression.quantization import calibrate as calibrate
from jaxkd.compression.quantization import fake_quantize as fake_quantize
from jaxkd.compression.quantization import floating_layers as floating_layers
from jaxkd.compression.quantization import fold_batch_norm as fold_batch_norm
from jaxkd.compression.quantization import from_fake_quantized as from_fake_quantized
from jaxkd.compression.quantization import quantize as quantize

__all__ = [
    "ArithmeticIntensity",
    "ChannelAxis",
    "ChannelGroup",
    "Collective",
    "DevicePeak",
    "Latency",
    "LayerFactorization",
    "LayerPrecision",
    "MemoryUse",
    "NetworkCost",
    "PruningState",
    "Sparsity",
    "apply_masks",
    "arithmetic_intensity",
    "calibrate",
    "channel_groups",
    "choose_ranks",
    "collectives",
    "count_parameters",
    "cubic_sparsity",
    "describe_factorization",
    "drop_layers",
    "factorize",
    "fake_quantize",
    "floating_layers",
    "flops",
    "fold_batch_norm",
    "from_fake_quantized",
    "latency",
    "magnitude_masks",
    "magnitude_pruning",
    "measure_cost",
    "measure_device_peak",
    "memory_use",
    "parameter_bytes",
    "program_flops",
    "prunable",
    "quantize",
    "shrink",
    "sparse_bytes",
    "sparsity",
]
