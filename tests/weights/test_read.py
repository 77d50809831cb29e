import argparse
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import jaxkd
from jaxkd import recipes, weights
from jaxkd.training import Checkpoints


class Small(nnx.Module):
    def __init__(self, seed, param_dtype=jnp.float32):
        rngs = nnx.Rngs(seed)
        self.dense = nnx.Linear(2, 3, param_dtype=param_dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.scale = nnx.Param(jnp.float32(seed))

    def __call__(self, inputs):
        return self.norm(self.dense(inputs)) * self.scale[...]


def assert_same(one, other):
    leaves, others = (jax.tree.leaves((n.params, n.state)) for n in (one, other))
    for a, b in zip(leaves, others, strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_what_is_saved_comes_back_bit_by_bit(tmp_path):
    for suffix in ("npz", "safetensors"):
        if suffix == "safetensors":
            pytest.importorskip("safetensors")
        for dtype in (jnp.float32, jnp.bfloat16):
            saved, path = jaxkd.from_nnx(Small(1, dtype)), tmp_path / f"weights.{suffix}"
            weights.save(saved, path)
            loaded, report = weights.load(jaxkd.from_nnx(Small(2, dtype)), path)
            assert report.complete
            assert_same(loaded, saved)
        assert weights.read(path)["dense.kernel"].dtype == (
            np.float32 if suffix == "npz" else jnp.bfloat16
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.npz", "weights.safetensors"]


def test_linen_networks_are_saved_too(tmp_path):
    module = nn.Sequential([nn.Dense(3), nn.BatchNorm(use_running_average=True)])
    variables = module.init(jax.random.key(0), jnp.ones((1, 2)))
    saved = jaxkd.from_linen(module, variables)
    weights.save(saved, tmp_path / "linen.npz")
    assert {"layers_0.kernel", "layers_1.mean"} < set(weights.read(tmp_path / "linen.npz"))
    other = jaxkd.from_linen(module, module.init(jax.random.key(1), jnp.ones((1, 2))))
    loaded, _ = weights.load(other, tmp_path / "linen.npz")
    assert jax.tree.structure(loaded.params) == jax.tree.structure(saved.params)
    assert_same(loaded, saved)


def test_a_save_that_fails_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    weights.save(jaxkd.from_nnx(Small(1)), path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk is full"):
        weights.save(jaxkd.from_nnx(Small(2)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_safetensors_of_other_types(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {
        "half": np.array([1.5, -2.0], np.float16),
        "brain": np.array([[1.5], [3e38]], jnp.bfloat16),
        "number": np.array(3, np.int64),
        "none": np.zeros((0, 2), np.float32),
    }
    numpy.save_file(arrays, tmp_path / "mixed.safetensors")
    found = weights.read(tmp_path / "mixed.safetensors")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "mixed.safetensors").read_bytes()[:-3])
    with pytest.raises(ValueError, match="half.safetensors is no whole file of safetensors"):
        weights.read(tmp_path / "half.safetensors")


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_bare_and_wrapped(tmp_path, wrapper, prefix):
    torch = pytest.importorskip("torch")
    tensors = {
        f"{prefix}fc.weight": torch.tensor([[1.0, 2.0]], requires_grad=True),
        f"{prefix}fc.bias": torch.tensor([0.3], dtype=torch.bfloat16),
    }
    path = tmp_path / "weights.pth"
    torch.save({wrapper: tensors, "epoch": 3, "optimizer": {}} if wrapper else tensors, path)
    found = weights.read(path)
    assert set(found) == {"fc.weight", "fc.bias"}
    np.testing.assert_array_equal(found["fc.weight"], [[1.0, 2.0]])
    np.testing.assert_array_equal(found["fc.bias"], np.array([0.3], jnp.bfloat16))


def test_files_of_pytorch_that_hold_something_else(tmp_path):
    torch = pytest.importorskip("torch")
    arguments = argparse.Namespace(depth=8)
    torch.save({"model": {"w": torch.ones(1)}, "args": arguments}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="code.pt is no file of tensors alone.*save its"):
        weights.read(tmp_path / "code.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match=r"a mapping of \['epoch'\], and no state dict"):
        weights.read(tmp_path / "empty.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds <class 'list'>, and no state dict"):
        weights.read(tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("package", "suffix", "call"),
    [
        ("safetensors", "safetensors", weights.read),
        ("torch", "pth", weights.read),
        (
            "safetensors.numpy",
            "safetensors",
            lambda path: weights.save(jaxkd.from_nnx(Small(0)), path),
        ),
    ],
)
def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, package, suffix, call):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    extra = "torch" if package == "torch" else "weights"
    with pytest.raises(ImportError, match=rf"pip install 'jaxkd-distill\[{extra}\]'"):
        call(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at .*nothing.npz"):
        weights.read(tmp_path / "nothing.npz")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(ValueError, match="not in .h5"):
        weights.read(tmp_path / "weights.h5")
    with pytest.raises(ValueError, match="not as a file without suffix"):
        weights.save(jaxkd.from_nnx(Small(0)), tmp_path / "weights")
    with pytest.raises(ValueError, match=r"a .npz has no metadata: save .*weights\.npz as"):
        weights.save(jaxkd.from_nnx(Small(0)), tmp_path / "weights.npz", metadata={"of": "me"})
    with pytest.raises(ValueError, match=r"no checkpoint of Orbax: it has \['weights.h5'\]"):
        weights.read(tmp_path)
    np.savez(tmp_path / "objects.npz", w=np.array([{}]))
    with pytest.raises(ValueError, match="allow_pickle"):
        weights.read(tmp_path / "objects.npz")


def test_orbax_directories_of_either_flax(tmp_path):
    saved = Small(1)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "nnx", nnx.state(saved))
    loaded, report = weights.load(jaxkd.from_nnx(Small(2)), tmp_path / "nnx")
    assert report.complete
    assert_same(loaded, jaxkd.from_nnx(saved))

    module = nn.Sequential([nn.Dense(3), nn.BatchNorm(use_running_average=True)])
    variables = module.init(jax.random.key(0), jnp.ones((1, 2)))
    train_state = {**variables, "step": 3, "opt_state": [{"mu": variables["params"]}]}
    ocp.PyTreeCheckpointer().save(tmp_path / "linen", train_state)
    found = weights.read(str(tmp_path / "linen"))
    names = {f"layers_0.{n}" for n in ("kernel", "bias")}
    assert set(found) == names | {f"layers_1.{n}" for n in ("scale", "bias", "mean", "var")}
    assert all(type(array) is np.ndarray for array in found.values())
    np.testing.assert_array_equal(
        found["layers_0.kernel"], variables["params"]["layers_0"]["kernel"]
    )


def test_the_newest_of_numbered_checkpoints_is_read(tmp_path):
    with ocp.CheckpointManager(tmp_path) as manager:
        for step in (9, 10):
            manager.save(step, args=ocp.args.StandardSave({"params": {"w": np.full(2, step)}}))
    np.testing.assert_array_equal(weights.read(tmp_path)["w"], [10, 10])
    np.testing.assert_array_equal(weights.read(tmp_path / "9")["w"], [9, 9])


@pytest.mark.parametrize("stateless", [False, True])
def test_students_of_our_own_checkpoints(tmp_path, stateless):
    module = nnx.Linear(2, 3, rngs=nnx.Rngs(1)) if stateless else Small(1)
    saved = jaxkd.from_nnx(module)
    state = jaxkd.make_train_step(saved, recipes.labels(), optax.adam(0.1)).init()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
    other = nnx.Linear(2, 3, rngs=nnx.Rngs(2)) if stateless else Small(2)
    loaded, report = weights.load(jaxkd.from_nnx(other), tmp_path)
    assert report.complete
    assert_same(loaded, saved)


def test_safetensors_have_no_four_bits(tmp_path):
    narrow = jaxkd.from_function(lambda p, x: x @ p["w"], {"w": jnp.ones((2, 2), jnp.int4)})
    with pytest.raises(ValueError, match=r"no type int4, which \['w'\] have: save a .npz"):
        weights.save(narrow, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())
    weights.save(narrow, tmp_path / "w.npz")


def test_pytorch_that_a_file_can_make_run_code_is_refused_before_the_file_is_read(
    tmp_path, monkeypatch
):
    def load(*arguments, **options):
        raise AssertionError("read")

    (tmp_path / "w.pt").write_bytes(b"")
    for version in ("2.4.1", "2.5.1+cpu", "1.13.0"):
        old = types.SimpleNamespace(__version__=version, load=load)
        monkeypatch.setitem(sys.modules, "torch", old)
        with pytest.raises(ImportError, match=r"pip install 'torch>=2.6'"):
            weights.read(tmp_path / "w.pt")
    array = types.SimpleNamespace(load=lambda *a, **k: {}, __version__="2.10.0a0")
    monkeypatch.setitem(sys.modules, "torch", array)
    with pytest.raises(ValueError, match="and no state dict"):
        weights.read(tmp_path / "w.pt")


def test_a_damaged_checkpoint_of_orbax_is_named(tmp_path):
    ocp.PyTreeCheckpointer().save(tmp_path / "saved", {"w": np.ones(2)})
    (tmp_path / "saved/_METADATA").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match=r"the checkpoint .*saved cannot be read .*damaged"):
        weights.read(tmp_path / "saved")


def test_a_damaged_npz_is_named(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.arange(1000.0))
    whole = path.read_bytes()
    header = whole.index(b"(1000,)")
    huge = whole[:header] + b"(" + b"9" * 15 + b",)" + whole[header + 18 :]
    for content in (whole[:-30], whole[:200] + b"\1" + whole[201:], b"no archive", b"", huge):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"w.npz is no whole .npz of arrays"):
            weights.read(path)
    with open(path, "wb") as file:
        np.save(file, np.ones(2))
    with pytest.raises(ValueError, match=r"w.npz is no whole .npz of arrays"):
        weights.read(path)


def test_the_same_variables_are_the_same_bytes(tmp_path):
    """The library that writes the file puts metadata into another order each time."""
    safetensors = pytest.importorskip("safetensors")
    said = {name: f"“{name}”\n" for name in ("parameters", "network", "architecture", "date")}
    files = [tmp_path / f"{number}.safetensors" for number in range(6)]
    for file in files:
        weights.save(jaxkd.from_nnx(Small(0)), file, metadata=said)
    assert len({file.read_bytes() for file in files}) == 1
    with safetensors.safe_open(files[0], "numpy") as stored:
        assert stored.metadata() == said and len(stored.keys()) > 1
    weights.load(jaxkd.from_nnx(Small(1)), files[0])
