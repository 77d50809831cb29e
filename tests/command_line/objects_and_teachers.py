"""A folder of rendered objects, and ONNX teachers of one layer."""

import pathlib

import numpy as np

from benchmarks.front_door_parts import objects


def write_teacher(file: pathlib.Path, classes: int = 3, size: int = 8) -> pathlib.Path:
    """Writes a teacher of random weights, of some number of classes."""
    weights = np.random.default_rng(0).normal(size=(size * size, classes))
    return objects.write_teacher(file, [(weights, np.zeros(classes))], size)


def write_fitted_teacher(file: pathlib.Path, size: int) -> pathlib.Path:
    """Writes a teacher that least squares fit to other objects."""
    images, classes = objects.rendered(1000, size, seed=1)
    grey = images.mean(-1).reshape(len(images), -1)
    centered = np.concatenate([grey - grey.mean(), np.ones((len(grey), 1))], 1)
    penalty = 3.0 * np.eye(centered.shape[1])
    targets = 10.0 * (np.eye(len(objects.KINDS))[classes] - 1 / 3)
    solved = np.linalg.solve(centered.T @ centered + penalty, centered.T @ targets)
    bias = solved[-1] - grey.mean() * solved[:-1].sum(0)
    return objects.write_teacher(file, [(solved[:-1], bias)], size)
