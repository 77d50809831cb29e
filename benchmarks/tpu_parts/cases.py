"""The train steps that are compiled for TPUs, and a batch for each."""

import dataclasses
import tempfile
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.common.protocol import ProtocolConfig, sgd
from experiments.fashion_mnist.config import Config, StudentConfig, TeacherConfig
from experiments.fashion_mnist.run import make_student, make_teacher
from jaxkd import Network, Objective, recipes
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN, MLP
from jaxkd.recipes import Pair
from jaxkd.targets import Dense, TopK
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views

PLAIN = Views((Normalize(),))
CHANGED = Views((RandomCrop(2), RandomFlip(), Normalize(), Mixup(10)))
CONFIG = Config()


@dataclasses.dataclass(frozen=True)
class Case:
    """One train step.

    Attributes:
      name: for the tables.
      student: what is trained.
      teacher: the network whose outputs are learned.
      objective: what is minimized.
      optimizer: of the student's parameters.
      codec: of the cache; None runs the teacher online.
      views: the transforms of a batch.
      coupled_by: what couples the examples of a batch; empty where nothing does.
      micro_batches: see `make_train_step`.
    """

    name: str
    student: Network
    teacher: Network
    objective: Objective
    optimizer: optax.GradientTransformation
    codec: Any
    views: Views = PLAIN
    coupled_by: str = ""
    micro_batches: int = 1


def cases() -> list[Case]:
    """The steps of all experiments."""
    kd = recipes.kd(alpha=CONFIG.alpha, temperature=CONFIG.temperature)
    pure = recipes.kd(alpha=1.0, temperature=CONFIG.temperature)
    cosine = optax.warmup_cosine_decay_schedule(0.0, CONFIG.learning_rate, 50, 1_000)
    adam = optax.adamw(cosine, weight_decay=1e-4)
    float32, top4 = Dense("float32"), TopK(4, temperatures=(CONFIG.temperature,))
    cnn, resnet20 = (make_teacher(TeacherConfig(name), 0) for name in ("cnn", "resnet20"))
    mlp, small_cnn, convnet = (
        make_student(StudentConfig(name, width), 0)
        for name, width in (("mlp", 128), ("cnn", 8), ("convnet", 32))
    )
    resnet8 = make_teacher(TeacherConfig("resnet8"), 1)
    digit_mlp = jaxkd.from_nnx(MLP(64, (32,), 10, rngs=nnx.Rngs(0)))
    digit_cnn = jaxkd.from_nnx(CNN((8, 8, 1), (16, 32), 64, 10, rngs=nnx.Rngs(0)))
    wide = jaxkd.from_nnx(MLP(784, (2048, 2048), 10, rngs=nnx.Rngs(0)))
    wider = jaxkd.from_nnx(MLP(784, (4096, 4096), 10, rngs=nnx.Rngs(0)))
    norm = "batch statistics"
    found = [
        Case("digits: MLP, cached", digit_mlp, digit_cnn, kd, adam, float32),
        Case("digits: MLP, online CNN", digit_mlp, digit_cnn, kd, adam, None),
        Case("fashion: MLP, labels alone", mlp, cnn, recipes.labels(), adam, None),
        Case("fashion: MLP, cached", mlp, cnn, kd, adam, float32),
        Case("fashion: MLP, cached top 4", mlp, cnn, kd, adam, top4),
        Case("fashion: MLP, cached, no labels", mlp, cnn, pure, adam, float32),
        Case("fashion: MLP, cached, crop, flip, mixup", mlp, cnn, kd, adam, float32, CHANGED),
        Case("fashion: MLP, cached, 4 parts", mlp, cnn, kd, adam, float32, micro_batches=4),
        Case("fashion: MLP, online CNN", mlp, cnn, kd, adam, None),
        Case("fashion: CNN, cached", small_cnn, cnn, kd, adam, float32),
        Case("fashion: CNN, online ResNet-20", small_cnn, resnet20, kd, adam, None),
        Case("fashion: ConvNet, cached", convnet, resnet20, kd, adam, float32, coupled_by=norm),
        Case("fashion: ResNet-8, cached", resnet8, resnet20, kd, adam, float32, coupled_by=norm),
        Case("wide MLP (6 M), cached", wide, wider, kd, adam, float32),
        Case("wide MLP (6 M), online MLP (20 M)", wide, wider, kd, adam, None),
    ]
    pair = Pair(small_cnn, cnn, jax.ShapeDtypeStruct((64, 28, 28, 1), np.float32))
    classes = np.arange(60_000) % 10
    for method, codec, coupled_by, options in (
        ("rkd", {"embedding": float32}, "a relation of the batch", {}),
        ("crd", None, "a bank of all examples", {"num_examples": 60_000, "classes": classes}),
    ):
        momentum = sgd(ProtocolConfig(), 1_000)
        objective = recipes.create(method, pair, steps=1_000, **options).objective
        name = f"methods: {method}, CNN, {'cached' if codec else 'online CNN'}"
        found.append(Case(name, small_cnn, cnn, objective, momentum, codec, coupled_by=coupled_by))
    return found


def example_batch(case: Case, size: int) -> dict[str, Any]:
    """The batch of one chip, from a loader and a cache that the teacher filled."""
    shape = (size, 8, 8, 1) if case.name.startswith("digits") else (size, 28, 28, 1)
    data = Dataset.from_arrays(
        np.zeros(shape, np.uint8),
        np.arange(size) % 10,
        name="zeros",
        split="train",
        num_classes=10,
    )
    cache = None
    if case.codec is not None:
        with tempfile.TemporaryDirectory() as path:
            cache = jaxkd.cache.build(
                path, case.teacher, data, case.views, codec=case.codec, progress=False
            )
            return Loader(data, case.views, size, cache=cache)[0]
    return Loader(data, case.views, size)[0]
