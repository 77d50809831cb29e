"""Fewer weights, channels or layers.

Masks set single weights to zero and leave the arrays as large as they were: `magnitude_masks` and
`apply_masks` at once, `magnitude_pruning` during training. `shrink` removes whole channels, neurons
and heads, which makes arrays smaller; `channel_groups` lists beforehand which of them go together
and which cannot go. `drop_layers` removes whole layers.
"""

from jaxkd.compression.pruning.channels import ChannelAxis as ChannelAxis
from jaxkd.compression.pruning.channels import ChannelGroup as ChannelGroup
from jaxkd.compression.pruning.channels import channel_groups as channel_groups
from jaxkd.compression.pruning.drop_layers import drop_layers as drop_layers
from jaxkd.compression.pruning.gradual import PruningState as PruningState
from jaxkd.compression.pruning.gradual import cubic_sparsity as cubic_sparsity
from jaxkd.compression.pruning.gradual import magnitude_pruning as magnitude_pruning
from jaxkd.compression.pruning.masks import Sparsity as Sparsity
from jaxkd.compression.pruning.masks import apply_masks as apply_masks
from jaxkd.compression.pruning.masks import magnitude_masks as magnitude_masks
from jaxkd.compression.pruning.masks import prunable as prunable
from jaxkd.compression.pruning.masks import sparsity as sparsity
from jaxkd.compression.pruning.shrink import shrink as shrink

__all__ = [
    "ChannelAxis",
    "ChannelGroup",
    "PruningState",
    "Sparsity",
    "apply_masks",
    "channel_groups",
    "cubic_sparsity",
    "drop_layers",
    "magnitude_masks",
    "magnitude_pruning",
    "prunable",
    "shrink",
    "sparsity",
]
