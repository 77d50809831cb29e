"""Networks for other places: StableHLO, LiteRT, weights, each checked before it is kept.

`export` writes a directory with what was asked for, a program that runs it on a device without this
library, and a card that says what it is. `python -m jaxkd.export` does it from the command line.
"""

from jaxkd.export._card import Card as Card
from jaxkd.export._export import Exported as Exported
from jaxkd.export._export import export as export
from jaxkd.export._programs import ExportError as ExportError
from jaxkd.export._verify import Check as Check
