"""The same step in PyTorch."""

import argparse
import copy
import functools
import os
import time
from typing import Any

import jax
import numpy as np
import torch

import jaxkd
from benchmarks import pytorch
from benchmarks.convolution_parts import grouped_twins
from benchmarks.convolution_parts.cases import Case
from benchmarks.convolution_parts.steps import LEARNING_RATE, MOMENTUM, Runner, compared
from benchmarks.side_by_side import Pairs, interleaved
from jaxkd import weights

# Of the largest logit.
LOGITS_APART = 1e-3
# EfficientNet's, of dropout and of stochastic depth, as in `jaxkd.models`.
RATE = 0.2


def twin_of(
    case: Case, student: jaxkd.Network, batch: dict[str, np.ndarray]
) -> tuple[torch.nn.Module, jaxkd.Network]:
    """PyTorch's twin of a student, and the student with the twin's weights.

    Raises:
      ValueError: one lacks variables of the other, or they give different logits in training mode
        without dropout.
    """
    torch.manual_seed(0)
    if case.name == "cnn":
        twin = still = pytorch.Convolutions(student.params)
    else:
        # Dropout has no variables.
        twin, still = (
            grouped_twins.make(case.name, case.classes, rate=rate) for rate in (RATE, 0.0)
        )
        still.load_state_dict(twin.state_dict())
        student, _ = weights.load(student, twin.state_dict())
    network = case.student(dropout=False)

    @jax.jit
    def forward(params: Any, state: Any, images: jax.Array) -> jax.Array:
        return network.apply(params, state, images, train=True, key=jax.random.key(0))[0]["logits"]

    ours = np.asarray(forward(student.params, student.state, batch["inputs"]))
    with torch.no_grad():
        # A copy, whose statistics may move.
        theirs = copy.deepcopy(still)(torch.from_numpy(batch["inputs"]).permute(0, 3, 1, 2)).numpy()
    apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not apart < LOGITS_APART:
        raise ValueError(f"{case.name}: logits differ from PyTorch's by {apart:.1e} of the largest")
    return twin, student


def against(
    twin: torch.nn.Module,
    batch: dict[str, np.ndarray],
    ours: Runner,
    arguments: argparse.Namespace,
) -> tuple[Pairs, str]:
    """Times our step and PyTorch's in the faster of its memory layouts.

    Returns:
      The seconds of each pair, ours first, and the layout.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layouts = {}
    for name in ("contiguous", "channels last"):
        _, layouts[name] = pytorch.torch_runner(
            copy.deepcopy(twin),
            None,
            [batch],
            "cpu",
            fast=False,
            channels_last=name == "channels last",
            make_optimizer=functools.partial(torch.optim.SGD, lr=LEARNING_RATE, momentum=MOMENTUM),
        )
        layouts[name]()
    between = interleaved(
        *layouts.values(),
        arguments.repetitions,
        until=time.monotonic() + arguments.seconds / 4,
    )
    layout = list(layouts)[between.ratio < 1]
    longest = max(ours.seconds, min(between.medians))
    return compared(ours.one, layouts[layout], longest, arguments), layout
