"""Data sets by `example_id`, and batches of them joined with a cache.

A data set names every example with a stable integer, under which a teacher's outputs are cached.

Data sets, all of them `Examples`, which is all that loaders, evaluation and caches need:

- `Dataset` holds arrays in memory.
- `EncodedImages` are photographs that are decoded when they are read, by a `RandomResizedCrop`, a
  `CenterCrop` or any other `Crop`.
- `Sequences` are rows of tokens. `Texts` are texts by id, a `Tokenizer` encodes them
  (`EncodedText`), and `pack` and `pad` lay them out in rows (`PackedRows`). `align` finds the
  tokens of two tokenizers that cover the same bytes (`TokenAlignment`).
- `split` divides a data set at random, by ids, classes or groups.
- `split_labels` picks a few labels of a data set, and leaves all others to an unlabeled pool.

Where they come from, besides arrays:

- `folder` opens a folder of images, class by folder; `from_table` images that a table lists.
- `from_huggingface` opens a data set of Hugging Face's `datasets`; `stream_huggingface` makes
  batches of one that is streamed.
- `from_sequence` takes any sequence of examples, such as a PyTorch `Dataset`.

Batches:

- `Loader` makes the batch of any training step, ahead of it if wanted.
- `GrainSource` gives Grain the same examples, joined with a cache.
- `eval_batches` yields every example once; `raw_batch` reads the examples that are named.

Modules that load known data sets, which import what they need only when they are called:

- `jaxkd.data.digits`: handwritten digits, part of scikit-learn: a data set without a download.
- `jaxkd.data.images`: CIFAR and other sets of small images, by tensorflow-datasets.
- `jaxkd.data.imagenet`: ImageNet and other sets of photographs, by tensorflow-datasets.
- `jaxkd.data.plain`: texts, from files or by tensorflow-datasets.
"""

from jaxkd.data import digits as digits
from jaxkd.data import imagenet as imagenet
from jaxkd.data import images as images
from jaxkd.data import plain as plain
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
from jaxkd.data._folder import folder as folder
from jaxkd.data._grain import GrainSource as GrainSource
from jaxkd.data._huggingface import from_huggingface as from_huggingface
from jaxkd.data._loader import Loader as Loader
from jaxkd.data._packing import PackedRows as PackedRows
from jaxkd.data._packing import pack as pack
from jaxkd.data._packing import pad as pad
from jaxkd.data._sequence import from_sequence as from_sequence
from jaxkd.data._sequences import Sequences as Sequences
from jaxkd.data._split import split as split
from jaxkd.data._stream import stream_huggingface as stream_huggingface
from jaxkd.data._table import from_table as from_table
from jaxkd.data._texts import Texts as Texts
from jaxkd.data._tokenizer import EncodedText as EncodedText
from jaxkd.data._tokenizer import Tokenizer as Tokenizer

__all__ = [
    "CenterCrop",
    "Crop",
    "Dataset",
    "EncodedImages",
    "EncodedText",
    "Examples",
    "GrainSource",
    "Loader",
    "PackedRows",
    "RandomResizedCrop",
    "Sequences",
    "Texts",
    "TokenAlignment",
    "Tokenizer",
    "align",
    "digits",
    "eval_batches",
    "folder",
    "from_huggingface",
    "from_sequence",
    "from_table",
    "imagenet",
    "images",
    "pack",
    "pad",
    "plain",
    "raw_batch",
    "split",
    "split_labels",
    "stream_huggingface",
]
