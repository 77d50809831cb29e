"""Logits of the teacher and of exported files on images, by the programs of others."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def held_out(images: pathlib.Path, size: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads the examples that a command with this folder holds out, as squares.

    Args:
      images: the folder.
      size: height and width.

    Returns:
      Part → pixels, uint8 `[examples, size, size, 3]`, and labels `[examples]`.
    """
    from jaxkd import data

    parts = data.split(data.folder(images, size=size), PARTS)
    return {
        name: (np.asarray(parts[name].read(parts[name].ids, 0)), np.asarray(parts[name].labels))
        for name in ("validation", "test")
    }


def of_teacher(file: pathlib.Path, pixels: np.ndarray) -> np.ndarray:
    """Returns the logits of an ONNX teacher of channels first, of pixels divided by 255."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    images = (pixels.astype(np.float32) / 255).transpose(0, 3, 1, 2)
    return np.asarray(session.run(None, {"images": images})[0])


def of_exported(file: pathlib.Path, pixels: np.ndarray) -> np.ndarray:
    """Returns the logits of an exported file, as the run.py beside it computes them from pixels."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = (pathlib.Path(folder, name) for name in ("inputs.npy", "outputs.npy"))
        np.save(inputs, pixels)
        words = [sys.executable, "-I", file.parent / "run.py", file, inputs, "--repeats", "0"]
        done = subprocess.run(
            [*words, "--outputs", outputs], capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise RuntimeError(f"{file.name} does not run: {done.stderr[-500:]}")
        return np.load(outputs)
