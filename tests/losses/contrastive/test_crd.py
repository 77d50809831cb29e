import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses
from jaxkd.ops import banks

N, BATCH, K, WIDTH = 20, 4, 7, 3


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def example():
    """Student, teacher and what else `crd` takes."""
    generator = np.random.default_rng(0)
    student, teacher = unit(generator.normal(size=(2, BATCH, WIDTH)))
    student_bank, teacher_bank = unit(generator.normal(size=(2, N, WIDTH)))
    return (
        student,
        teacher,
        {
            "student_bank": student_bank,
            "teacher_bank": teacher_bank,
            "ids": generator.permutation(N)[:BATCH],
            "negatives": generator.integers(0, N, (BATCH, K)),
            "student_normalizer": np.float32(3.0),
            "teacher_normalizer": np.float32(2.0),
        },
    )


def by_definition(embeddings, bank, arguments, log_z, temperature, num_examples):
    losses, noise = [], K / num_examples
    for v, positive_id, negative_ids in zip(
        embeddings, arguments["ids"], arguments["negatives"], strict=True
    ):
        positive, negative = (
            np.exp(bank[r] @ v / temperature - log_z) for r in (positive_id, negative_ids)
        )
        losses.append(-np.log(positive / (positive + noise + 1e-7)))
        losses[-1] -= np.sum(np.log(noise / (negative + noise + 1e-7)))
    return np.array(losses)


@jax.jit
def compiled(student, teacher, arguments):
    def total(student):
        values = losses.crd(student, teacher, **arguments)
        return jnp.sum(values), values

    gradient, values = jax.grad(total, has_aux=True)(student)
    return values, gradient


@pytest.mark.parametrize("num_examples", [None, 15])
@pytest.mark.parametrize("turn", [2 * BATCH * WIDTH, 2**21], ids=["by two and a rest", "at once"])
def test_is_the_definition_however_it_is_cut(turn, num_examples, monkeypatch):
    monkeypatch.setattr(banks, "_TURN", turn)
    student, teacher, arguments = example()
    value = losses.crd(student, teacher, **arguments, temperature=0.2, num_examples=num_examples)
    number = num_examples or N
    expected = by_definition(student, arguments["teacher_bank"], arguments, 3.0, 0.2, number)
    expected += by_definition(teacher, arguments["student_bank"], arguments, 2.0, 0.2, number)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_gradient_does_not_depend_on_the_cut(monkeypatch):
    student, teacher, arguments = example()
    grads = []
    for turn in (2 * BATCH * WIDTH, 2**21):
        monkeypatch.setattr(banks, "_TURN", turn)
        loss = lambda s: jnp.sum(losses.crd(s, teacher, **arguments))  # noqa: B023, E731
        grads.append(jax.jit(jax.grad(loss))(student))
    chex.assert_trees_all_close(*grads, rtol=1e-4)


@pytest.mark.parametrize("turn", [2 * BATCH * WIDTH, 2**21])
def test_normalizer_is_the_mean_times_the_number_of_examples(turn, monkeypatch):
    monkeypatch.setattr(banks, "_TURN", turn)
    student, _, arguments = example()
    indices = {name: arguments[name] for name in ("ids", "negatives")}
    bank = arguments["teacher_bank"]
    where = np.array([True, False, True, True])
    rows = np.concatenate([indices["ids"][:, None], indices["negatives"]], axis=1)
    scores = np.exp(np.einsum("bkd,bd->bk", bank[rows], student) / 0.2)
    broken = student.copy()
    broken[1] = np.nan
    value = losses.crd_normalizer(broken, bank, **indices, temperature=0.2, where=where)
    np.testing.assert_allclose(value, np.log(np.mean(scores[where]) * N), rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 10.0])
def test_small_temperatures(temperature):
    student, teacher, arguments = example()
    indices = {name: arguments[name] for name in ("ids", "negatives")}
    log_z = losses.crd_normalizer(
        student, arguments["teacher_bank"], **indices, temperature=temperature
    )
    arguments |= {"student_normalizer": log_z, "temperature": np.float32(temperature)}
    chex.assert_tree_all_finite((log_z, compiled(student, teacher, arguments)))


def test_padding_does_not_count():
    student, teacher, arguments = example()
    expected = compiled(student, teacher, arguments | {"where": np.ones(BATCH, bool)})
    where = np.array([True, False, True, True])
    student[1] = np.nan
    padded = {"ids": np.where(where, arguments["ids"], -5), "where": where}
    value, gradient = compiled(student, teacher, arguments | padded)
    np.testing.assert_allclose(value, np.where(where, expected[0], 0), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.where(where[:, None], expected[1], 0), rtol=1e-5)


def test_rows_that_no_bank_has_give_nan():
    student, teacher, arguments = example()
    arguments["ids"][1] = -1
    arguments["negatives"][2, 3] = N
    value, _ = compiled(student, teacher, arguments)
    np.testing.assert_array_equal(np.isnan(value), [False, True, True, False])


def test_a_gradient_reaches_the_teacher_only_if_it_is_learned():
    student, teacher, arguments = example()

    def gradient(**options):
        loss = lambda t: jnp.sum(losses.crd(student, t, **arguments, **options))  # noqa: E731
        return jax.jit(jax.grad(loss))(teacher)

    chex.assert_trees_all_equal(gradient(), jnp.zeros((BATCH, WIDTH)))
    assert jnp.all(jnp.any(gradient(learned_teacher=True) != 0, axis=1))


def test_explicitly_sharded_over_the_batch():
    devices = jax.devices()[: 2 if len(jax.devices()) >= 2 else 1]
    kind = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((len(devices),), ("data",), kind, devices=devices)
    student, teacher, arguments = example()
    expected = compiled(student, teacher, arguments)
    with jax.set_mesh(mesh):

        def place(value, *spec):
            spec = jax.sharding.PartitionSpec(*spec)
            return jax.device_put(value, jax.sharding.NamedSharding(mesh, spec))

        placed = {
            name: place(value, "data") if name in ("ids", "negatives") else place(value)
            for name, value in arguments.items()
        }
        got = compiled(place(student, "data"), place(teacher, "data"), placed)
    assert got[0].sharding.spec[0] == "data"
    chex.assert_trees_all_close(jax.device_get(got), expected, rtol=1e-5)


def test_vmap_over_students():
    student, teacher, arguments = example()
    students = np.stack([student, student[::-1]])
    values = jax.vmap(lambda s: losses.crd(s, teacher, **arguments))(students)
    one_by_one = [compiled(s, teacher, arguments)[0] for s in students]
    chex.assert_trees_all_close(values, jnp.stack(one_by_one), rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher_bank": np.zeros((N, 2))}, r"\[num_examples, 3\].*\(20, 2\)"),
        ({"teacher_bank": np.zeros((N + 1, WIDTH))}, r"\(20, 3\).*\(21, 3\)"),
        ({"ids": np.zeros(BATCH)}, "ids must be integers"),
        ({"ids": np.zeros(3, int)}, r"\(4,\).*\(3,\)"),
        ({"negatives": np.zeros((3, K), int)}, r"\(4, 7\).*\(3, 7\)"),
        ({"negatives": np.zeros((BATCH, 0), int)}, r"K at least 1.*\(4, 0\)"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_errors(changed, message):
    student, teacher, arguments = example()
    with pytest.raises(ValueError, match=message):
        losses.crd(student, teacher, **arguments | changed)
