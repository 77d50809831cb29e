"""Teachers outside of JAX: models of other frameworks, servers, functions of NumPy arrays.

A foreign teacher is called with the very views that the student will see, as NumPy arrays, and
fills a cache by `jaxkd.cache.build`; it takes no part in a compiled step. What makes one:

- `from_torch` a PyTorch module, `from_onnx` an ONNX file or session of ONNX Runtime,
- `from_callable` any function of NumPy arrays: a client of a server, scikit-learn, NumPy itself.

`ForeignTeacher` is what they return. PyTorch and ONNX Runtime are imported when they are used.
"""

from jaxkd.teachers._foreign import ForeignTeacher as ForeignTeacher
from jaxkd.teachers._foreign import from_callable as from_callable
from jaxkd.teachers._onnx import from_onnx as from_onnx
from jaxkd.teachers._torch import from_torch as from_torch

__all__ = ["ForeignTeacher", "from_callable", "from_onnx", "from_torch"]
