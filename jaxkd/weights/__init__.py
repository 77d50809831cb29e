"""Weights from elsewhere: other libraries' arrays in a network, and a report of what went where.

`load` fills a network from a file, a state dict or variables of Flax, translating names and turning
axes; `save` writes a network's variables for `load` and for other libraries; `read` gives the
arrays of a file by name; `decoder_config` and `encoder_config` tell what network of text a
published configuration describes.
"""

from jaxkd.weights._configs import decoder_config as decoder_config
from jaxkd.weights._configs import encoder_config as encoder_config
from jaxkd.weights._load import Report as Report
from jaxkd.weights._load import Rules as Rules
from jaxkd.weights._load import from_linen_variables as from_linen_variables
from jaxkd.weights._load import load as load
from jaxkd.weights._read import read as read
from jaxkd.weights._save import save as save
