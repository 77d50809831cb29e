"""The cache: a teacher's answers to replayable views, written once and never mistaken.

`build` runs the teacher over every view of a data set and stores its answers as Zarr 3 arrays
through TensorStore; it can be killed and called again. `Writer` takes the answers of any other
teacher as NumPy arrays. `open` checks that a cache belongs to this teacher, this data set and these
views before anyone reads from it. `python -m jaxkd.cache` looks after caches.
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
from jaxkd.cache._verify import DamagedBlock as DamagedBlock
from jaxkd.cache._verify import LogitStatistics as LogitStatistics
from jaxkd.cache._verify import SpotCheckResult as SpotCheckResult
from jaxkd.cache._verify import spot_check as spot_check
from jaxkd.cache._verify import stats as stats
from jaxkd.cache._verify import verify as verify
from jaxkd.cache._write_through import WriteThroughCache as WriteThroughCache
from jaxkd.cache._writer import Writer as Writer
