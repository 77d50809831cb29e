"""Networks as pure functions with named outputs.

Whatever a teacher, a student or a connector is made of (Flax NNX, Linen, a bare function), the rest
of jaxkd sees a pure function from parameters, state and inputs to named outputs and the new state,
together with the variables it starts from.

- `Network`, from `from_nnx`, `from_linen` or `from_function`; `to_nnx` is the way back to a module,
  and `edit_module` makes another network of what is done to its module.
- Other outputs: `add_outputs`, `class_maps`, `region_logits`, `without_logits`, `valid_classes`.
- Other inputs, other classes: `with_inputs`, `select_classes`.
- A module after the network: `extend`. Less memory for the backward pass: `remat`.
- `Connector`, what is trained between student and teacher: `as_connector`.
- `head_weights`, kernel and bias of the last layer.
"""

from jaxkd.networks._compose import add_outputs as add_outputs
from jaxkd.networks._compose import extend as extend
from jaxkd.networks._compose import valid_classes as valid_classes
from jaxkd.networks._compose import without_logits as without_logits
from jaxkd.networks._connector import Connector as Connector
from jaxkd.networks._connector import as_connector as as_connector
from jaxkd.networks._edit_module import edit_module as edit_module
from jaxkd.networks._function import from_function as from_function
from jaxkd.networks._heads import class_maps as class_maps
from jaxkd.networks._heads import head_weights as head_weights
from jaxkd.networks._heads import region_logits as region_logits
from jaxkd.networks._linen import from_linen as from_linen
from jaxkd.networks._network import Network as Network
from jaxkd.networks._network import PyTree as PyTree
from jaxkd.networks._nnx import from_nnx as from_nnx
from jaxkd.networks._nnx import to_nnx as to_nnx
from jaxkd.networks._remat import remat as remat
from jaxkd.networks._select_classes import select_classes as select_classes
from jaxkd.networks._with_inputs import with_inputs as with_inputs

__all__ = [
    "Connector",
    "Network",
    "PyTree",
    "add_outputs",
    "as_connector",
    "class_maps",
    "edit_module",
    "extend",
    "from_function",
    "from_linen",
    "from_nnx",
    "head_weights",
    "region_logits",
    "remat",
    "select_classes",
    "to_nnx",
    "valid_classes",
    "with_inputs",
    "without_logits",
]
