"""Datasets by `example_id`, and batches of them joined with a cache.

A `Dataset` holds arrays in memory and names every example with a stable integer, the name under
which a teacher's answers are cached. `EncodedImages` are photographs that are decoded when they are
read, by a `RandomResizedCrop` or a `CenterCrop`. `Sequences` are rows of tokens that a `Tokenizer`
made of texts and `pack` or `pad` laid out. All are `Examples`, which is all that loaders,
evaluation and caches ask for. `split_labels` picks a few labels and leaves the rest as an unlabeled
pool. A `Loader` makes the batch of any training step, ahead of it if asked to; a `GrainSource`
gives Grain the same examples, joined with a cache. The submodules load real data and import what
they need only when asked to load: `jaxkd.data.digits` (scikit-learn), `jaxkd.data.images` (CIFAR
and other sets of small images) and `jaxkd.data.imagenet` (sets of photographs), the latter two by
tensorflow-datasets. `Texts` come from `jaxkd.data.plain`: files of one's own, or
tensorflow-datasets.
"""

from jaxkd.data._alignment import TokenAlignment as TokenAlignment
from jaxkd.data._alignment import align as align
from jaxkd.data._batches import eval_batches as eval_batches
from jaxkd.data._batches import raw_batch as raw_batch
from jaxkd.data._crops import CenterCrop as CenterCrop
from jaxkd.data._crops import Crop as Crop
from jaxkd.data._crops import RandomResizedCrop as RandomResizedCrop
from jaxkd.data._dataset import Dataset as Dataset
from jaxkd.data._dataset import split_labels as split_labels
from jaxkd.data._encoded_images import EncodedImages as EncodedImages
from jaxkd.data._examples import Examples as Examples
from jaxkd.data._grain import GrainSource as GrainSource
from jaxkd.data._loader import Loader as Loader
from jaxkd.data._packing import PackedRows as PackedRows
from jaxkd.data._packing import pack as pack
from jaxkd.data._packing import pad as pad
from jaxkd.data._sequences import Sequences as Sequences
from jaxkd.data._texts import Texts as Texts
from jaxkd.data._tokenizer import EncodedText as EncodedText
from jaxkd.data._tokenizer import Tokenizer as Tokenizer
