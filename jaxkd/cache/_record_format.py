"""The format of a record: which outputs of a teacher are stored, in what shape, by which codec."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxkd.cache._contract import CacheError
from jaxkd.targets import Codec, Dense, Layout, bytes_per_record, from_specification

Codecs = Codec | Mapping[str, Codec] | None
"""How the outputs of a teacher are stored: one codec for the logits, or one for each output."""


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """How the outputs for one example in one view are stored.

    A codec is of no use without the shape that it encodes: what is stored, how many bytes it takes
    and how it is decoded follow from both. They are therefore kept together, from the inference of
    the teacher's shapes to the decoding of what was read.

    Attributes:
      codecs: output name → codec.
      shapes: output name → shape of the output for one example, without padding of the vocabulary.
      num_logits: width of the teacher's logits with that padding; None if no logits are stored.
    """

    codecs: Mapping[str, Codec]
    shapes: Mapping[str, tuple[int, ...]]
    num_logits: int | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], known: Sequence[type] = ()) -> "RecordFormat":
        """Returns the format that the fields of a contract describe.

        Args:
          fields: as of `fields`, read from a document.
          known: classes of codecs that are not part of `jaxkd.targets`.

        Raises:
          CacheError: fields that are missing, or describe no codecs or shapes.
          ValueError: a codec of an unknown name.
        """
        specifications, sizes = (_checked(fields, name) for name in ("codec", "shapes"))
        try:
            codecs = {name: from_specification(s, known) for name, s in specifications.items()}
        except (AttributeError, TypeError) as error:
            raise CacheError(
                f"the contract is damaged: its field 'codec' describes no codec ({error}), it is "
                f"{specifications!r}. Restore contract.json from a copy"
            ) from error
        if set(sizes) != set(codecs) or not all(map(_is_shape, sizes.values())):
            raise CacheError(
                "the contract is damaged: its field 'shapes' should give the shape of each of "
                f"{sorted(codecs)}, it is {sizes!r}. Restore contract.json from a copy"
            )
        shapes = {name: tuple(sizes[name]) for name in codecs}
        return cls(codecs, shapes, fields.get("num_logits"))

    def fields(self) -> dict[str, Any]:
        """Fields of a contract that describe the format."""
        fields: dict[str, Any] = {
            "codec": {name: codec.specification() for name, codec in self.codecs.items()},
            "shapes": {name: list(self.shapes[name]) for name in self.codecs},
        }
        if "logits" in self.shapes:
            fields["num_classes"] = self.shapes["logits"][-1]
            fields["num_logits"] = self.num_logits or self.shapes["logits"][-1]
        return fields

    @property
    def bytes_per_record(self) -> int:
        """Bytes of one record in all its arrays, before compression."""
        return sum(bytes_per_record(c, self.shapes[name]) for name, c in self.codecs.items())

    @property
    def layout(self) -> Layout:
        """`<output>.<array>` → (shape of one record, dtype name), for the arrays of all outputs."""
        return {
            # Sizes may be numbers of NumPy, which TensorStore does not take.
            f"{output}.{name}": (tuple(map(int, shape)), dtype)
            for output, codec in self.codecs.items()
            for name, (shape, dtype) in codec.layout(self.shapes[output]).items()
        }

    @property
    def compression(self) -> str | None:
        """Name of the Zarr codec that compresses the chunks; None if nothing is compressible."""
        names = {getattr(codec, "compression", None) for codec in self.codecs.values()} - {None}
        return names.pop() if names else None


def _checked(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that must have an entry for each output."""
    value = fields.get(name)
    if not isinstance(value, dict) or not value:
        raise CacheError(
            f"the contract is damaged: its field {name!r} should have an entry for each output, it "
            f"is {value!r}. Restore contract.json from a copy"
        )
    return value


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size > 0 for size in value)


def by_output(codec: Codecs) -> dict[str, Codec]:
    """Returns codecs by the name of the output that they encode.

    Args:
      codec: one for each output, or one for the logits; None: the logits as `Dense()`.

    Raises:
      TypeError: what is no codec, such as the name of a dtype, or the class of a codec.
    """
    if codec is None:
        codec = Dense()
    codecs = dict(codec) if isinstance(codec, Mapping) else {"logits": codec}
    for name, one in codecs.items():
        if isinstance(one, type) or not callable(getattr(one, "layout", None)):
            right = f"{one.__name__}(…)" if isinstance(one, type) else f"Dense({str(one)!r})"
            raise TypeError(f"{one!r} is no codec, for the output {name!r}: write {right} instead")
    return codecs
