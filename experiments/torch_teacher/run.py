"""Training of experiments.torch_teacher."""

import pathlib
from typing import Any

import numpy as np

from experiments.common.external_teacher import VIEWS, rendered
from jaxkd.data import digits
from jaxkd.teachers import ForeignTeacher, from_torch
from jaxkd.weights._read import load_torch


def network() -> Any:
    """Makes an untrained teacher, channels first as PyTorch has them."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def train_teacher(file: pathlib.Path, epochs: int) -> None:
    """Trains a teacher, a new view of each image every epoch, and saves its parameters."""
    import torch

    torch.manual_seed(0)
    model, data = network(), digits.load("train")
    adam = torch.optim.AdamW(model.parameters(), lr=3e-3)
    labels = torch.from_numpy(data.labels.astype(np.int64))
    for epoch in range(epochs):
        images = _channels_first(rendered(data, VIEWS, data.ids, epoch))
        for rows in torch.randperm(len(data)).split(64):
            loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)


def teacher(file: pathlib.Path) -> ForeignTeacher:
    """Reads the teacher whose parameters are in a file."""
    model = network()
    model.load_state_dict(load_torch(file))
    return from_torch(model, name="CNN of PyTorch")


def _channels_first(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2)))
