"""The cache: a teacher's outputs on replayable views, computed once and never mistaken.

A cached record belongs to an example id and a view, and a cache to one teacher, data set and
sequence of views: whatever does not fit is refused before the first step.

Making one:

- `build` runs a network over every view of a data set and stores its encoded outputs as Zarr 3
  arrays through TensorStore; killed and called again, it goes on. `extend` adds views and examples.
- `Writer` takes the outputs of any other teacher as NumPy arrays.
- `forecast` predicts size and gain of a build (`BuildForecast`), `confirm_build` asks on the
  terminal before a large one.

Reading one:

- `open` checks that a cache belongs to this teacher, data set and views, and returns a `Cache`, or
  with `mode="fill"` a `WriteThroughCache` that the first training run fills.
- `EnsembleCache` reads several teachers together (`EnsembleOutputs`), `AlignedCache` a teacher of
  another tokenizer (`AlignedOutputs`). All are for `jaxkd.data.Loader`.

Maintaining one, here or by `python -m jaxkd.cache`:

- `verify` reads every checksum (`DamagedBlock`), `spot_check` runs the teacher again
  (`SpotCheckResult`), `stats` averages over the logits (`LogitStatistics`).
- `merge` unites caches, `subset` copies a part of one.

`CacheError` is every refusal: a cache that does not fit, is not complete, or is damaged.
"""

from jaxkd.cache._aligned import AlignedCache as AlignedCache
from jaxkd.cache._aligned import AlignedOutputs as AlignedOutputs
from jaxkd.cache._build import build as build
from jaxkd.cache._build import extend as extend
from jaxkd.cache._cache import Cache as Cache
from jaxkd.cache._combine import merge as merge
from jaxkd.cache._combine import subset as subset
from jaxkd.cache._contract import CacheError as CacheError
from jaxkd.cache._ensemble import EnsembleCache as EnsembleCache
from jaxkd.cache._ensemble import EnsembleOutputs as EnsembleOutputs
from jaxkd.cache._forecast import BuildForecast as BuildForecast
from jaxkd.cache._forecast import confirm_build as confirm_build
from jaxkd.cache._forecast import forecast as forecast
from jaxkd.cache._open import open as open
from jaxkd.cache._spot_check import SpotCheckResult as SpotCheckResult
from jaxkd.cache._spot_check import spot_check as spot_check
from jaxkd.cache._statistics import LogitStatistics as LogitStatistics
from jaxkd.cache._statistics import stats as stats
from jaxkd.cache._verify import DamagedBlock as DamagedBlock
from jaxkd.cache._verify import verify as verify
from jaxkd.cache._write_through import WriteThroughCache as WriteThroughCache
from jaxkd.cache._writer import Writer as Writer

__all__ = [
    "AlignedCache",
    "AlignedOutputs",
    "BuildForecast",
    "Cache",
    "CacheError",
    "DamagedBlock",
    "EnsembleCache",
    "EnsembleOutputs",
    "LogitStatistics",
    "SpotCheckResult",
    "WriteThroughCache",
    "Writer",
    "build",
    "confirm_build",
    "extend",
    "forecast",
    "merge",
    "open",
    "spot_check",
    "stats",
    "subset",
    "verify",
]
