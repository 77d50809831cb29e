"""Data sets whose fingerprint is computed from all contents, once it is asked for."""

import abc
import functools
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data._digests import hash_arrays
from jaxkd.data._examples import Examples


class ByContent(Examples):
    """Examples that are read lazily: a fingerprint that was not given is made of their digests.

    A selection shares fingerprint and digests with what it was selected from. Neither is a field of
    the dataclass, so that `dataclasses.replace(images, source=...)` does not inherit them.

    Attributes:
      digest: fingerprint of the content, None where it is computed.
    """

    digest: str | None
    _selected_from: Self | None = None
    _known_digests: npt.NDArray[np.uint64] | None = None  # by row of the whole

    @abc.abstractmethod
    def _read_digests(self, ids: np.ndarray) -> npt.NDArray[np.uint64]:
        """Reads some examples, and returns a digest of each."""

    @property
    def fingerprint(self) -> str:
        """Name of the content as it is stored; a selection has that of its source."""
        return self.digest if self.digest is not None else self._whole._computed_fingerprint

    def example_digests(self, ids: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Returns a digest of the content of each of some examples.

        Those whose fingerprint was given are read for it.

        Args:
          ids: example ids `[n]`.

        Returns:
          uint64 `[n]`.

        Raises:
          KeyError: if an id is not among the examples.
        """
        rows = self.rows(ids)
        whole = self._whole
        if whole._known_digests is not None:
            return whole._known_digests[whole.rows(ids)]
        return self._read_digests(self.ids[rows])

    @property
    def _whole(self) -> Self:
        return self if self._selected_from is None else self._selected_from

    @functools.cached_property
    def _computed_fingerprint(self) -> str:
        digests = self.example_digests(self.ids)
        self._remember(digests)
        return hash_arrays(f"jaxkd.{type(self).__name__} 1", self.ids, digests)

    def _remember(self, digests: npt.NDArray[np.uint64] | None) -> None:
        object.__setattr__(self, "_known_digests", digests)

    def _of_same_source(self, **changes: Any) -> Self:
        part = super()._of_same_source(**changes)
        object.__setattr__(part, "_selected_from", self._whole)
        return part
