"""Texts by `example_id`, and rows of tokens made of them."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data._examples import refuse
from jaxkd.data._labels import check_fields
from jaxkd.data._packing import pack, pad
from jaxkd.data._sequences import Sequences
from jaxkd.data._tokenizer import EncodedText, Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Texts:
    """Texts in memory, each named by a stable integer; build them with `Texts.from_texts`.

    Attributes:
      name: name of the data set.
      version: its version.
      split: name of the split.
      texts: one string each, in the order of `ids`.
      ids: int32 `[n]`, unique, ascending.
      labels: int32 `[n]`, a class each; -1 means unlabeled.
      num_classes: number of classes; 0 where there are none.
      class_names: one name a class, or empty.

    Example:
      >>> from jaxkd.data import Texts, Tokenizer
      >>> texts = Texts.from_texts(["one", "two!"], name="two", split="train")
      >>> texts
      Texts('two' 1, split 'train': 2 texts of 7 characters)
      >>> texts.packed(Tokenizer.bytes(), 4)
      Sequences('two' 1, split 'train': 3 rows of 4 tokens of 257, 7 next tokens, 25.0% padding)
      >>> texts.padded(Tokenizer.bytes(), 6).tokens.tolist()
      [[111, 110, 101, 256, 0, 0], [116, 119, 111, 33, 256, 0]]
    """

    name: str
    version: str
    split: str
    texts: tuple[str, ...]
    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    num_classes: int = 0
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        labels: npt.ArrayLike | None = None,
        *,
        name: str,
        version: str = "1",
        split: str,
        num_classes: int = 0,
        ids: npt.ArrayLike | None = None,
        class_names: tuple[str, ...] = (),
    ) -> Self:
        """Checks texts and sorts them by id.

        Args:
          texts: strings.
          labels: integers `[n]` in `[-1, num_classes)`. None: all unlabeled.
          name: name of the data set.
          version: its version.
          split: name of the split.
          num_classes: number of classes, 0 for none.
          ids: unique integers `[n]` in `[0, 2**31)`. None: `0..n-1`.
          class_names: one name a class, or empty.

        Returns:
          The texts, in ascending order of ids.

        Raises:
          TypeError: a text that is no string, ids or labels that are not integers.
          ValueError: as of `Dataset.from_arrays`.
        """
        texts = tuple(texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {index} must be a string, got {type(text).__name__}")
        # Without classes, only -1 is a label: checked as if there were one class, then refused.
        ids, checked = check_fields(len(texts), ids, labels, num_classes or 1, class_names)
        if not num_classes and (checked >= 0).any():
            raise ValueError("labels need num_classes, the number of classes")
        order = np.argsort(ids, kind="stable")
        refuse(np.append(False, np.diff(ids[order]) == 0), "id", ids[order], "must be unique")
        return cls(
            name=name,
            version=version,
            split=split,
            texts=tuple(texts[row] for row in order),
            ids=ids[order].astype(np.int32),
            labels=checked[order],
            num_classes=num_classes,
            class_names=tuple(class_names),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        classes = f", {self.num_classes} classes" if self.num_classes else ""
        return (
            f"Texts({self.name!r} {self.version}, split {self.split!r}: {len(self)} texts of "
            f"{sum(map(len, self.texts))} characters{classes})"
        )

    def where(self, chosen: npt.ArrayLike, split: str | None = None) -> Self:
        """Returns some of the texts, by a mask.

        Args:
          chosen: bool `[n]`.
          split: name of the split that they form.

        Returns:
          These texts, with their ids.

        Raises:
          TypeError: numbers, such as ids, instead of a mask.
        """
        mask = np.asarray(chosen)
        if mask.dtype != bool:
            raise TypeError(
                f"chosen must be a mask, bool[{len(self)}], got {mask.dtype}{list(mask.shape)}: of "
                "ids, it is np.isin(texts.ids, ids)"
            )
        rows = np.flatnonzero(np.broadcast_to(mask, self.ids.shape))
        return dataclasses.replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            ids=self.ids[rows],
            labels=self.labels[rows],
            split=split or self.split,
        )

    def held_out(self, test_fraction: float, seed: int = 0) -> tuple[Self, Self]:
        """Splits by the content of the texts, class by class.

        The side of a text depends on its content, the seed, and, at the border, on the number of
        texts: equal texts are never separated, and neither order nor ids make a difference.

        Args:
          test_fraction: fraction of every class that is held out, in (0, 1).
          seed: seed of the split, not negative.

        Returns:
          The texts `"train"` and `"test"`.

        Raises:
          ValueError: a fraction outside (0, 1).
        """
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction must be in (0, 1), got {test_fraction}")
        hashes = np.array(
            [hashlib.sha256(f"{seed} {text}".encode()).digest()[:8] for text in self.texts], "S8"
        )
        held = np.zeros(len(self), bool)
        for label in np.unique(self.labels):
            own = self.labels == label
            count = round(test_fraction * np.count_nonzero(own))
            if count:
                held |= own & (hashes <= np.sort(hashes[own])[count - 1])
        held = np.isin(hashes, hashes[held])  # equal texts of another class, too
        return self.where(~held, "train"), self.where(held, "test")

    def packed(self, tokenizer: Tokenizer, length: int) -> Sequences:
        """Lays all texts one after the other into full rows, for a language model; see `pack`.

        Args:
          tokenizer: its `eos`, if it has one, ends every text.
          length: length of a row.

        Returns:
          Rows with next tokens as labels and the number of the row as id.

        Raises:
          ValueError: no text, or a length below 1.
        """
        encoded = tokenizer.encode(self.texts)
        rows = pack(
            [text.ids for text in encoded],
            length,
            eos=tokenizer.eos,
            offsets=[text.offsets for text in encoded],
        )
        return Sequences.from_packed(rows, **self._named(tokenizer))

    def padded(
        self,
        tokenizer: Tokenizer,
        length: int,
        *,
        labels: Literal["next", "class"] | None = "next",
        specials: bool = False,
    ) -> Sequences:
        """Makes each text a row of its own; see `pad`.

        Args:
          tokenizer: its `eos`, if it has one, ends every text that fits.
          length: length of a row; what does not fit is cut off, except for the tokens that the
            tokenizer puts at its end.
          labels: `"next"` for next tokens, `"class"` for the classes of the texts, None for rows
            without labels, whose outputs are those of whole texts, such as embeddings.
          specials: whether to add what the tokenizer puts around a text instead of its `eos`.

        Returns:
          Rows with the ids of the texts.

        Raises:
          ValueError: no text, a length below 1, classes of texts that have none.
        """
        if labels not in ("next", "class", None):
            raise ValueError(f"labels must be 'next', 'class' or None, got {labels!r}")
        named = self._named(tokenizer) | {"ids": self.ids}
        if labels == "class":
            if not self.num_classes:
                raise ValueError(f"{self.name} has no classes: labels='next' or labels=None")
            named |= {"num_classes": self.num_classes, "class_names": self.class_names}
        encoded = tokenizer.encode(self.texts, specials=specials)
        if specials:
            encoded = [_cut(text, length) for text in encoded]
        rows = pad(
            [text.ids for text in encoded],
            length,
            eos=None if specials else tokenizer.eos,
            offsets=[text.offsets for text in encoded],
        )
        own = {"next": None, "class": self.labels, None: np.full_like(self.labels, -1)}
        return Sequences.from_packed(rows, own[labels], **named)

    def _named(self, tokenizer: Tokenizer) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "split": self.split,
            "vocab_size": tokenizer.vocab_size,
            "tokenizer": tokenizer.fingerprint,
        }


def _cut(text: EncodedText, length: int) -> EncodedText:
    """Cuts a text to a length, but keeps the tokens behind it, as its network was trained."""
    wide = np.flatnonzero(text.offsets[:, 0] < text.offsets[:, 1])
    behind = len(text.ids) - (wide[-1] + 1 if len(wide) else 0)
    if len(text.ids) <= length or behind >= length:
        return text
    kept = np.delete(np.arange(len(text.ids)), np.s_[length - behind : len(text.ids) - behind])
    return EncodedText(text.ids[kept], text.offsets[kept])
