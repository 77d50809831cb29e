"""Pictures of single examples in a report."""

import base64
import dataclasses
import html
import io

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An example as a picture, with what is said about it.

    Attributes:
      image: uint8 `[height, width, 1 or 3]`.
      title: a few words above the text.
      lines: lines of text below the picture.

    Raises:
      ValueError: an image of another type or shape.

    Example:
      >>> picture = Picture(np.zeros((8, 8, 1), np.uint8), "Only the teacher is right", ["a bag"])
      >>> picture.to_html().startswith('<img src="data:image/png;base64,')
      True
    """

    image: np.ndarray
    title: str
    lines: tuple[str, ...] | list[str] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.image)
        if self.image.dtype != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3):
            raise ValueError(
                f"a picture must be uint8 [height, width, 1 or 3], got {self.image.dtype}"
                f"{list(shape)}"
            )

    @property
    def alt(self) -> str:
        """The picture in words, for those who cannot see it."""
        return ". ".join([self.title, *self.lines])

    def to_html(self) -> str:
        """Returns the image as an HTML fragment that needs no other file."""
        from PIL import Image

        image = self.image[..., 0] if self.image.shape[-1] == 1 else self.image
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        data = base64.b64encode(content.getvalue()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(self.alt)}">'
