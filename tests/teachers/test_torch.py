"""Teachers in PyTorch; most of it on a few functions in its place, so that it runs without."""

import contextlib
import sys
import types

import numpy as np
import pytest

from jaxkd.teachers import from_torch
from jaxkd.teachers._trial import check_teacher

IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)


class Tensor:
    """What is used of a tensor."""

    def __init__(self, array):
        self.array, self.shape = np.asarray(array), np.shape(array)
        self.dtype, self.device = self.array.dtype, "cpu"

    def to(self, device=None, dtype=None):
        return Tensor(self.array if dtype is None else self.array.astype(dtype))

    def is_floating_point(self):
        return self.array.dtype.kind == "f"

    def reshape(self, *shape):
        return Tensor(self.array.reshape(*shape))

    def view(self, dtype):
        return Tensor(self.array.view(dtype))

    def numpy(self):
        return self.array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)

    detach = cpu = contiguous = lambda self: self


class Module:
    """A convolution of one pixel and a head, with dropout in training."""

    channels = 1

    def __init__(self):
        self.weight, self.training, self.modes = Tensor(np.ones((3, 5), np.float32)), True, []

    def __call__(self, images, **others):
        self.modes.append((self.training, GRADIENTS[-1], images.array.dtype))
        array = images.array
        if array.shape[self.channels] != 3:
            raise RuntimeError(f"expected 3 channels, got {array.shape}")
        logits = array.mean(tuple({1, 2, 3} - {self.channels})) @ self.weight.array
        noise = np.random.default_rng().normal(size=logits.shape) if self.training else 0
        return Tensor(logits + noise)

    def eval(self):
        self.training = False

    def modules(self):
        return [self]

    def parameters(self):
        return iter([self.weight])

    def state_dict(self):
        return {"weight": self.weight, "_extra": b""}

    forward = __call__


class AnyLayout(Module):
    def __call__(self, images):
        return Tensor(images.array.reshape(len(images.array), -1)[:, :4])


GRADIENTS = [True]


@pytest.fixture
def torch(monkeypatch):
    @contextlib.contextmanager
    def inference_mode():
        GRADIENTS.append(False)
        yield
        GRADIENTS.pop()

    fake = types.SimpleNamespace(
        nn=types.SimpleNamespace(Module=Module),
        inference_mode=inference_mode,
        from_numpy=Tensor,
        uint8=np.uint8,
    )
    monkeypatch.setitem(sys.modules, "torch", fake)
    return fake


def test_a_module_runs_in_evaluation_mode_on_channels_first(torch):
    module = Module()
    teacher = from_torch(module)
    expected = IMAGES.mean((1, 2)) @ module.weight.array
    np.testing.assert_allclose(teacher(IMAGES)["logits"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        from_torch(module, layout="NCHW")(IMAGES)["logits"], expected, rtol=1e-5
    )
    assert set(module.modes) == {(False, False, np.dtype(np.float32))}
    assert module.training, "the mode that it was in"
    check_teacher(teacher, IMAGES)
    last = Module()
    last.channels = 3
    np.testing.assert_allclose(from_torch(last)(IMAGES)["logits"], expected, rtol=1e-5)


def test_a_layout_is_not_guessed(torch):
    teacher = from_torch(AnyLayout(), name="flat")
    with pytest.raises(ValueError, match=r"flat takes the images \(8, 6, 6, 3\) both.*'NCHW'"):
        teacher(IMAGES)
    first = from_torch(AnyLayout(), layout="NCHW")(IMAGES)["logits"]
    np.testing.assert_allclose(first, IMAGES[:, 0, :4, 0], rtol=1e-6)
    last = from_torch(AnyLayout(), layout="NHWC")(IMAGES)["logits"]
    np.testing.assert_allclose(last, IMAGES.reshape(8, -1)[:, :4], rtol=1e-6)
    with pytest.raises(RuntimeError, match="expected 3 channels, got"):
        from_torch(Module())(IMAGES[..., :2])
    with pytest.raises(ValueError, match="must be 'NCHW', 'NHWC' or None, not 'nchw'"):
        from_torch(Module(), layout="nchw")


def test_parameters_are_part_of_the_fingerprint(torch):
    module = Module()
    teacher = from_torch(module)
    before = teacher.fingerprint()
    assert before["name"] == "Module" and before["framework"] == "torch"
    assert before == from_torch(Module()).fingerprint()
    module.weight.array[0, 0] += 1e-6
    assert teacher.fingerprint()["parameters"] != before["parameters"]
    assert from_torch(module, name="v2").fingerprint()["name"] == "v2"


def test_dtypes_and_several_inputs(torch):
    module = Module()
    module.weight = Tensor(np.ones((3, 5), np.float16))
    from_torch(module, layout="NCHW")(IMAGES)
    from_torch(module, layout="NCHW", dtype=np.float32)(IMAGES)
    assert [dtype for *_, dtype in module.modes] == [np.float16, np.float32]
    kinds = []

    class Tokens(Module):
        def __call__(self, ids, *, mask):
            kinds.append((ids.array.dtype, mask.array.dtype))
            return {"logits": Tensor(np.zeros((len(ids.array), 2)))}

    both = from_torch(Tokens(), inputs=lambda x: {"ids": x.astype(np.int32), "mask": x > 0})
    assert both(np.ones((2, 4)))["logits"].shape == (2, 2)
    assert kinds == [(np.int64, bool)]


def test_what_is_no_module_and_a_torch_that_is_not_installed(torch, monkeypatch):
    with pytest.raises(TypeError, match="a torch.nn.Module is wanted, not the function <lambda>"):
        from_torch(lambda x: x)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"jaxkd-distill\[torch\]"):
        from_torch(Module())


@pytest.mark.slow
def test_with_pytorch_itself(tmp_path):
    torch = pytest.importorskip("torch")
    from conftest import random_images

    from jaxkd import cache as caches
    from jaxkd.views import Normalize, Views

    nn, images, views = torch.nn, random_images(), Views((Normalize(),))

    def network():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(144, 5))

    module = network()
    teacher = from_torch(module)
    cache = caches.build(tmp_path / "c", teacher, images, views, progress=False)
    with torch.inference_mode():
        module.eval()
        inputs = (images.inputs.transpose(0, 3, 1, 2) / 255).astype(np.float32)
        expected = module(torch.from_numpy(inputs)).numpy()
    decoded = cache.read(images.ids, 0).decode()["logits"]
    np.testing.assert_allclose(decoded, expected, atol=1e-5)
    own = {"dataset": images, "views": views}
    caches.open(tmp_path / "c", teacher=from_torch(network()), **own)
    half = from_torch(network().to(torch.bfloat16))
    with pytest.raises(caches.CacheError, match=r"teacher\.parameters"):
        caches.open(tmp_path / "c", teacher=half, **own)
    caches.open(tmp_path / "c", teacher=half, **own, allow={"teacher.parameters"})
    scalar = from_torch(nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.PReLU()), layout="NCHW")
    assert scalar(images.inputs[:2] / 255.0)["logits"].shape == (2, 5)
    assert scalar.fingerprint()["parameters"].startswith("sha256:")

    class Active(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x.flatten(1)[:, :5])

    with pytest.raises(ValueError, match="Active differs between two calls"):
        active = from_torch(Active(), layout="NCHW")
        caches.build(tmp_path / "active", active, images, views, progress=False)
