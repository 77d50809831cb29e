"""Weights of other libraries in networks of this one, and saved weights.

| function | what it does |
| :-- | :-- |
| `load` | fills a network from a file, a state dict or variables of Flax; returns a `LoadReport` |
| `from_linen_variables` | fills a network from variables of a Linen module |
| `save` | writes the variables of a network, for `load` and for other libraries |
| `read` | reads the arrays of a file by name |
| `decoder_config`, `encoder_config` | the arguments of `jaxkd.models.Decoder` and `Encoder` |
| | from the configuration of a published checkpoint |

`load` translates names by the rules of `jaxkd.weights.namings`, or by your own `Rules`, and orders
axes as Flax does.
"""

from jaxkd.weights._configs import decoder_config as decoder_config
from jaxkd.weights._configs import encoder_config as encoder_config
from jaxkd.weights._load import LoadReport as LoadReport
from jaxkd.weights._load import Rules as Rules
from jaxkd.weights._load import from_linen_variables as from_linen_variables
from jaxkd.weights._load import load as load
from jaxkd.weights._read import read as read
from jaxkd.weights._save import save as save

__all__ = [
    "LoadReport",
    "Rules",
    "decoder_config",
    "encoder_config",
    "from_linen_variables",
    "load",
    "read",
    "save",
]
