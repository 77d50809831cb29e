"""Datasets by `example_id`, and batches of them joined with a cache.

A `Dataset` holds arrays in memory and names every example with a stable integer, the name under
which a teacher's answers are cached. `split_labels` picks a few labels and leaves the rest as an
unlabelled pool. A `Loader` makes the batch of any training step; a `Source` gives Grain the same
examples, joined with a cache. The submodules
`jaxkd.data.digits` and `jaxkd.data.fashion_mnist` load real data; they import scikit-learn and
tensorflow-datasets only when asked to load.
"""

from jaxkd.data._dataset import Dataset as Dataset
from jaxkd.data._dataset import split_labels as split_labels
from jaxkd.data._loader import Loader as Loader
from jaxkd.data._loader import eval_batches as eval_batches
from jaxkd.data._loader import raw_batch as raw_batch
from jaxkd.data._source import Source as Source
