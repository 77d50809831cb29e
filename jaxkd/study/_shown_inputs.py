"""Inputs of examples as a report shows them: a picture, or a text."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd._files import write_atomically
from jaxkd.data import Examples, Sequences, Tokenizer
from jaxkd.study._wording import with_minus
from jaxkd.study.runner import read_arrays

Shown = np.ndarray | str
"""A picture, uint8 `[height, width, 1 or 3]`, or a text."""

SHOWN_INPUTS = "shown_inputs.npz"
"""Name of their file in the folder of a study."""

_LONGEST_SIDE = 160
_CHANNELS = ((), (1,), (3,))
_MOST_VALUES = 8
_MOST_LETTERS = 300


def shown_inputs(
    examples: Examples,
    positions: Sequence[int],
    show: Callable[[Any], Sequence[Any]] | None = None,
) -> dict[int, Shown]:
    """Reads some examples, and makes a picture or a text of each.

    Images of 8 bits are shown as they are, of floats scaled to the range of those that are shown,
    and smaller where a side is longer than 160 pixels. Rows of bytes are their text, other tokens
    their numbers; of other arrays the first values are shown. Of a dictionary it is the first
    image, or all of its arrays.

    Args:
      examples: the examples.
      positions: rows among them.
      show: function from a batch of inputs to texts or images of 8 bits, in place of all that.

    Returns:
      Row → picture or text.

    Raises:
      TypeError: `show` returns something else.
    """
    if not len(positions):
        return {}
    inputs = examples.read(examples.ids[np.asarray(positions)], 0)
    shown: Any
    if show is not None:
        shown = [_checked(each) for each in show(inputs)]
    elif isinstance(examples, Sequences):
        shown = _texts_of(np.asarray(inputs), examples.tokenizer)
    else:
        shown = _shown(inputs)
    return dict(zip(map(int, positions), shown, strict=True))


def save_inputs(file: pathlib.Path, inputs: Mapping[int, Shown]) -> None:
    """Writes pictures of any sizes, and texts, to a `.npz` file; without any there is no file."""
    if not inputs:
        file.unlink(missing_ok=True)
        return
    content = io.BytesIO()
    arrays: dict[str, Any] = {str(n): np.asarray(shown) for n, shown in inputs.items()}
    np.savez(content, positions=np.array(list(inputs)), **arrays)  # in their order
    write_atomically(file, content.getvalue())


def read_inputs(file: pathlib.Path) -> dict[int, Shown]:
    """Reads what `save_inputs` wrote; nothing where there is no file."""
    if not file.exists():
        return {}
    stored = read_arrays(file, "start the study's command again, which writes it")
    inputs = {n: stored[str(n)] for n in stored["positions"].tolist()}
    return {n: str(x) if x.dtype.kind == "U" else x for n, x in inputs.items()}


def _checked(shown: Any) -> Shown:
    if isinstance(shown, str):
        return _cut(" ".join(shown.split()))
    array = np.asarray(shown)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in _CHANNELS:
        raise TypeError(
            f"show must return texts or images, uint8 [height, width, 1 or 3], for each input, not "
            f"{array.dtype}{list(array.shape)}: write show=lambda rows: "
            "[tokenizer.decode(row[row[:, 1] > 0, 0]) for row in rows]"
        )
    return np.asarray(_pictures(array[None] if array.ndim == 3 else array[None, ..., None])[0])


def _shown(inputs: Any) -> list[Any]:
    """Pictures or texts of a batch of arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(inputs)
    for _, leaf in leaves:
        if _is_image(leaf):
            return list(_pictures(leaf))
    if len(leaves) == 1:
        return [_values(row) for row in leaves[0][1]]
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    rows = zip(*(leaf for _, leaf in leaves), strict=True)
    return [
        "; ".join(f"{name}: {_values(x)}" for name, x in zip(names, row, strict=True))
        for row in rows
    ]


def _is_image(leaf: np.ndarray) -> bool:
    kinds = leaf.dtype == np.uint8 or np.issubdtype(leaf.dtype, np.floating)
    if leaf.ndim == 3:
        return leaf.dtype == np.uint8
    return kinds and leaf.ndim == 4 and leaf.shape[-1] in (1, 3) and min(leaf.shape[1:3]) > 1


def _pictures(images: np.ndarray) -> np.ndarray:
    """Returns images of 8 bits, `[count, height, width, 1 or 3]`."""
    images = images[..., None] if images.ndim == 3 else images
    count, height, width, channels = images.shape
    scale = _LONGEST_SIDE / max(height, width)
    values = images.astype(np.float32)
    if images.dtype != np.uint8:
        values = np.nan_to_num(values)
        low, high = float(values.min()), float(values.max())
        values = 255.0 * (values - low) / max(high - low, 1e-12)
    if scale < 1.0:
        sides = max(1, round(height * scale)), max(1, round(width * scale))
        values = np.asarray(jax.image.resize(values, (count, *sides, channels), "linear"))
    return np.round(values).clip(0, 255).astype(np.uint8)


def _texts_of(rows: np.ndarray, tokenizer: str) -> list[str]:
    """Texts of rows of tokens, `[count, length, 2]`, without their padding."""
    tokens = [row[row[:, 1] > 0, 0] for row in rows]
    known = Tokenizer.bytes()
    if tokenizer == known.fingerprint:
        texts = [known.decode(row[row != known.eos]) for row in tokens]
        return [_cut(" ".join(text.split())) for text in texts]
    return [f"tokens {_values(row)}" for row in tokens]


def _values(row: Any) -> str:
    values = np.ravel(row)
    numbers = (
        f"{x:.4g}" if isinstance(x, int | float) else str(x) for x in values[:_MOST_VALUES].tolist()
    )
    shown = ", ".join(map(with_minus, numbers))
    return f"{shown}, …" if values.size > _MOST_VALUES else shown


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} …"
