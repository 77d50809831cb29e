"""Files that are written atomically."""

import os

from jaxkd._files import local_path, write_atomically


def write_file(path: str | os.PathLike[str], contents: str | bytes) -> None:
    """Writes a file atomically; an older one is replaced.

    Args:
      path: path of the file. Its folder is made if there is none.
      contents: bytes, or text to write as UTF-8.
    """
    path = local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, contents)
