"""The cache: a teacher's answers to replayable views, written once and never mistaken.

`build` runs the teacher over every view of a data set and stores its answers as Zarr 3 arrays
through TensorStore; it can be killed and called again. `open` checks that a cache belongs to this
teacher, this data set and these views before anyone reads from it.
"""

from jaxkd.cache._build import build as build
from jaxkd.cache._cache import Cache as Cache
from jaxkd.cache._cache import open as open
from jaxkd.cache._contract import CacheError as CacheError
