"""Networks as files for deployment: StableHLO, LiteRT and weights, each verified.

`export` writes a directory with the requested files, a program that runs them on a device without
this library (`jaxkd.export.edge`), and a `ModelCard`. Every file is compared with the network
before the directory appears (`FileCheck`); a file that differs is an `ExportError`. The
`ExportResult` says where everything is. `python -m jaxkd.export` exports from the command line.
"""

from jaxkd.export._card import ModelCard as ModelCard
from jaxkd.export._export import ExportResult as ExportResult
from jaxkd.export._export import export as export
from jaxkd.export._programs import ExportError as ExportError
from jaxkd.export._verify import FileCheck as FileCheck

__all__ = [
    "ExportError",
    "ExportResult",
    "FileCheck",
    "ModelCard",
    "export",
]
