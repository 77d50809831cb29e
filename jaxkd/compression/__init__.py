"""What a network costs, and how to make it cost less.

[`measure`][jaxkd.compression.measure] counts the parameters, their bytes and the FLOPs of one
example, and times the compiled forward pass; its parts can be called alone.
[`memory`][jaxkd.compression.memory] and [`intensity`][jaxkd.compression.intensity] say what a call
needs of a [`machine`][jaxkd.compression.machine].
"""

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
from jaxkd.compression.limits import Intensity as Intensity
from jaxkd.compression.limits import Machine as Machine
from jaxkd.compression.limits import Memory as Memory
from jaxkd.compression.limits import intensity as intensity
from jaxkd.compression.limits import machine as machine
from jaxkd.compression.limits import memory as memory
