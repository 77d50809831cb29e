"""Importers of single data sets, which the experiments train on.

What reads data of any name is in the library: `jaxkd.data.images` and `jaxkd.data.imagenet` for
image sets of tensorflow-datasets, `jaxkd.data.plain` for texts. Here is one module a data set that
has files of its own: `fashion_mnist` (the published IDX files, as Debian packages them), `austen`
(six novels), `spam` (emails, ham or spam) and `fortunes` (short texts by topic). Those that need it
are prepared once: `python -m experiments.datasets.austen prepare --help`.
"""
