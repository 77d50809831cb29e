"""What a network and its programs need: parameters, bytes, FLOPs, time, memory, traffic.

`measure_cost` measures most of it at once; each part can be called alone. `arithmetic_intensity`
says whether a program is bound by computing or by memory on a device, whose peaks
`measure_device_peak` measures. `collectives` lists what a compiled program sends between devices.
"""

from jaxkd.compression.profiling.collectives import Collective as Collective
from jaxkd.compression.profiling.collectives import collectives as collectives
from jaxkd.compression.profiling.cost import NetworkCost as NetworkCost
from jaxkd.compression.profiling.cost import measure_cost as measure_cost
from jaxkd.compression.profiling.flops import flops as flops
from jaxkd.compression.profiling.flops import program_flops as program_flops
from jaxkd.compression.profiling.latency import Latency as Latency
from jaxkd.compression.profiling.latency import latency as latency
from jaxkd.compression.profiling.memory import MemoryUse as MemoryUse
from jaxkd.compression.profiling.memory import memory_use as memory_use
from jaxkd.compression.profiling.parameters import count_parameters as count_parameters
from jaxkd.compression.profiling.parameters import parameter_bytes as parameter_bytes
from jaxkd.compression.profiling.parameters import sparse_bytes as sparse_bytes
from jaxkd.compression.profiling.roofline import ArithmeticIntensity as ArithmeticIntensity
from jaxkd.compression.profiling.roofline import DevicePeak as DevicePeak
from jaxkd.compression.profiling.roofline import arithmetic_intensity as arithmetic_intensity
from jaxkd.compression.profiling.roofline import measure_device_peak as measure_device_peak

__all__ = [
    "ArithmeticIntensity",
    "Collective",
    "DevicePeak",
    "Latency",
    "MemoryUse",
    "NetworkCost",
    "arithmetic_intensity",
    "collectives",
    "count_parameters",
    "flops",
    "latency",
    "measure_cost",
    "measure_device_peak",
    "memory_use",
    "parameter_bytes",
    "program_flops",
    "sparse_bytes",
]
