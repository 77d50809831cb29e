"""One layer replaced by two of low rank, by the singular values of its kernel.

`choose_ranks` chooses the ranks where they save parameters, `describe_factorization` lists what
becomes of each layer and what is lost, and `factorize` makes the network.
"""

from jaxkd.compression.low_rank.choose_ranks import choose_ranks as choose_ranks
from jaxkd.compression.low_rank.factorize import LayerFactorization as LayerFactorization
from jaxkd.compression.low_rank.factorize import describe_factorization as describe_factorization
from jaxkd.compression.low_rank.factorize import factorize as factorize

__all__ = [
    "LayerFactorization",
    "choose_ranks",
    "describe_factorization",
    "factorize",
]
