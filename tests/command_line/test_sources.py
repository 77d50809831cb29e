"""What `--data`, `--teacher` and `--student` may name: folders, tables, data sets, functions."""

import shutil

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from calls import asked, status
from flax import nnx

from benchmarks.front_door_parts.objects import KINDS, write_images
from jaxkd import data, from_nnx, models, teachers, weights
from jaxkd._command_line import _data, _networks, distill
from jaxkd.views import Normalize, Views

SHAPE = (8, 8, 3)
VIEWS = Views((Normalize((0.5,), (0.25,)),))


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "pets", 60)


def parts_of(name, *more):
    given = distill.make_parser().parse_args(asked(name, "out", *more))
    return _data.open_parts(given)


def sizes(parts):
    return {name: len(part) for name, part in parts.items()}


DIVIDED = {"train": 48, "validation": 6, "test": 6}


def test_a_folder_is_divided_or_has_its_parts(pets, tmp_path):
    assert sizes(parts_of(pets)) == DIVIDED
    shutil.copytree(pets, tmp_path / "train")
    assert sizes(parts_of(tmp_path)) == {"train": 54, "validation": 6}
    shutil.copytree(pets, tmp_path / "val")
    parts = parts_of(tmp_path)
    assert sizes(parts) == {"train": 60, "validation": 60}
    assert parts["validation"].class_names == parts["train"].class_names == KINDS
    (tmp_path / "val").rename(tmp_path / "Test")
    parts = parts_of(tmp_path)
    assert sizes(parts) == {"train": 54, "validation": 6, "test": 60}
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert sizes(parts_of(tmp_path)) == sizes(parts)


def test_parts_and_what_lies_beside_them_are_not_taken_for_classes(pets, tmp_path):
    for name in ("train", "val", "annotations"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="the parts train, val, and beside them annotations: move"):
        parts_of(tmp_path)
    (tmp_path / "all").symlink_to(pets.parent)
    with pytest.raises(ValueError, match="are of one class, pets: name the folder that holds a"):
        parts_of(tmp_path / "all")


def test_tables_list_paths_and_labels(pets, tmp_path):
    files = sorted(pets.rglob("*.jpg"))
    rows = [f"{file},{file.parent.name}" for file in files]
    (tmp_path / "pets.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    parts = parts_of(tmp_path / "pets.csv")
    assert sizes(parts) == DIVIDED and parts["train"].class_names == KINDS
    (tmp_path / "pets.tsv").write_text(
        "\n".join(["file\tkind", *(row.replace(",", "\t") for row in rows)]), encoding="utf-8"
    )
    more = ["--path-column=file", "--label-column=kind"]
    assert sizes(parts_of(tmp_path / "pets.tsv", *more)) == DIVIDED
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "path": [str(f) for f in files],
        "label": [KINDS.index(f.parent.name) for f in files],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "pets.parquet")
    with pytest.raises(ValueError, match="how many classes there are is not known") as refused:
        parts_of(tmp_path / "pets.parquet")
    assert "--num-classes says it" in refused.value.__notes__[0]
    parts = parts_of(tmp_path / "pets.parquet", "--num-classes=3")
    assert sizes(parts) == DIVIDED and parts["train"].num_classes == 3


@pytest.mark.slow
def test_prepared_data_sets_of_one_size_or_of_photographs(tmp_path):
    from prepared import photos, prepare, small_pictures

    image = pytest.importorskip("PIL.Image")
    counts = {"train": 30, "test": 9}
    small = {k: [*map(image.fromarray, small_pictures(n, n))] for k, n in counts.items()}
    prepare(tmp_path, "tiny", small, shape=(32, 32, 3))
    here = f"--data-dir={tmp_path}"
    parts = parts_of("tiny", here)
    assert sizes(parts) == {"train": 27, "validation": 3, "test": 9}
    assert parts["train"].shape == (32, 32, 3)
    prepare(tmp_path, "snapshots", {"train": photos(30, 0), "validation": photos(9, 1)})
    parts = parts_of("snapshots", here)
    assert sizes(parts) == {"train": 30, "validation": 9} and parts["train"].shape == SHAPE


def test_a_data_set_that_is_not_prepared_says_how_to_name_its_folder(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="cifar10 is not prepared in .*--data-dir DIR"):
        parts_of("cifar10", f"--data-dir={tmp_path}")
    with pytest.raises(ValueError, match="has no data set 'cifr10'") as refused:
        parts_of("cifr10", f"--data-dir={tmp_path}")
    assert "no folder or file cifr10 either" in refused.value.__notes__[0]


def examples(count=60, **options):
    images = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)
    known = {"name": "own", "split": "all", "num_classes": 3, **options}
    return data.Dataset.from_arrays(images, np.arange(count) % 3, **known)


def own_parts():
    return {"train": examples(30, split="train"), "test": examples(6, split="test")}


def values():
    inputs = np.zeros((6, 4), np.float32)
    return data.Dataset.from_arrays(inputs, np.arange(6) % 3, name="v", split="all", num_classes=3)


def own_student(seed, num_classes):
    return models.create("mlp", num_classes=num_classes, image_size=8, rngs=nnx.Rngs(seed))


def own_teacher():
    return own_student(1, 3)


def a_function():
    return lambda images: np.asarray(images).mean((1, 2))


def test_functions_make_data_teachers_and_students():
    here = __name__
    assert sizes(parts_of(f"{here}:examples")) == DIVIDED
    assert sizes(parts_of(f"{here}:own_parts")) == {"train": 27, "validation": 3, "test": 6}
    with pytest.raises(ValueError, match="are no images of 8 bits.*jaxkd.distill"):
        parts_of(f"{here}:values")
    with pytest.raises(ValueError, match="must return examples, .* by 'train'"):
        parts_of(f"{here}:a_function")
    student = _networks.make_student(f"{here}:own_student", 3, SHAPE)(5)
    assert student(jnp.zeros((2, *SHAPE)))["logits"].shape == (2, 3)
    teacher = _networks.open_teacher(f"{here}:own_teacher", 3, SHAPE, VIEWS)
    assert teacher(jnp.zeros((2, *SHAPE)))["logits"].shape == (2, 3)
    teacher = _networks.open_teacher(f"{here}:a_function", 3, SHAPE, VIEWS)
    assert isinstance(teacher, teachers.ForeignTeacher) and teacher.name == f"{here}:a_function"
    assert teacher(np.ones((2, *SHAPE)))["logits"].tolist() == [[1.0] * 3] * 2


def test_exported_programs_get_pixels_or_what_the_views_make(tmp_path):
    pixels = examples(4).inputs
    means = jax.jit(lambda x: x.astype(jnp.float32).mean((1, 2)))
    for dtype, expected in ((jnp.uint8, pixels), (jnp.float32, (pixels / 255 - 0.5) / 0.25)):
        program = jax.export.export(means)(jax.ShapeDtypeStruct((4, *SHAPE), dtype))
        (tmp_path / "means.stablehlo").write_bytes(program.serialize())
        name = str(tmp_path / "means.stablehlo")
        teacher = _networks.open_teacher(name, 3, SHAPE, VIEWS)
        images = VIEWS.render({"inputs": pixels, "id": np.arange(4), "view": np.zeros(4, int)})
        logits = teacher(np.asarray(images["inputs"]))["logits"]
        np.testing.assert_allclose(logits, expected.mean((1, 2)), rtol=1e-5, atol=1e-5)


def test_a_network_by_name_gets_its_weights(tmp_path):
    network = from_nnx(own_student(3, 3))
    weights.save(network, tmp_path / "mlp.npz")
    teacher = _networks.open_teacher(f"mlp:{tmp_path / 'mlp.npz'}", 3, SHAPE, VIEWS)
    inputs = jnp.ones((2, *SHAPE))
    np.testing.assert_array_equal(teacher(inputs)["logits"], network(inputs)["logits"])


@pytest.mark.slow
def test_a_command_of_functions_alone_goes_through(tmp_path, capsys):
    here = __name__
    names = {"teacher": f"{here}:a_function", "student": f"{here}:own_student"}
    words = asked(f"{here}:own_parts", tmp_path, "--steps=2", "--seeds=1", **names)
    assert status("distill", *words) == 0
    assert (tmp_path / "report.html").exists()
    assert "The student:" in capsys.readouterr().out
