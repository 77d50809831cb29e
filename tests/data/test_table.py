import pathlib

import numpy as np
import pytest
from test_folder import ids_of, labels_of, save

from jaxkd import data
from jaxkd.data import _columns


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("album")
    for number, file in enumerate(("a.png", "b.png", "deep/c.jpg")):
        save(root / file, (50 * number, 0, 0))
    return root


def table(root, *lines):
    path = root / "labels.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_csv_of_paths_and_names(root):
    path = table(
        root, "\ufeffpath,kind,key", "a.png,dog,7", './deep/c.jpg,"cat, wild",5', "b.png,,6", ""
    )
    photos = data.from_table(path, label="kind", id="key", size=8)
    assert (photos.name, photos.split) == ("labels", "all")
    assert photos.ids.tolist() == [5, 6, 7] and photos.labels.tolist() == [0, -1, 1]
    assert photos.class_names == ("cat, wild", "dog")
    assert photos.paths == ("deep/c.jpg", "b.png", "a.png")
    # The ids of a folder, where the table has none; the class names of another split.
    photos = data.from_table(path, label="kind", class_names=["dog", "owl", "cat, wild"], size=8)
    assert ids_of(photos) == ids_of(data.folder(root, size=8, labels=lambda path: None))
    assert labels_of(photos)["a.png"] == 0 and photos.num_classes == 3
    assert data.from_table(path, size=8).num_classes is None
    np.testing.assert_array_equal(photos.read(photos.ids[:1]).shape, (1, 8, 8, 3))


def test_separators_numbers_and_values(root):
    path = table(root, "path;a,b;age", "a.png;1;1.5", "b.png;;", "deep/c.jpg;0;2")
    with pytest.raises(ValueError, match="numbers up to 1.* write num_classes=2"):
        data.from_table(path, label="a,b")
    photos = data.from_table(path, label="a,b", num_classes=2)
    assert labels_of(photos) == {"a.png": 1, "b.png": -1, "deep/c.jpg": 0}
    photos = data.from_table(path, label="age")
    assert photos.num_classes is None
    assert np.isnan(labels_of(photos)["b.png"]) and labels_of(photos)["a.png"] == 1.5
    both = data.from_table(path, label=["age", "a,b"], num_classes={"a,b": 2})
    assert both.labels["age"].dtype == np.float32 and both.labels["a,b"].dtype == np.int32
    assert both.num_classes == {"age": None, "a,b": 2}
    with pytest.raises(TypeError, match="labels are values such as 1.5, which are no classes"):
        data.from_table(path, label="age", num_classes=3)


def test_tables_in_memory(root):
    columns = {"file": ["a.png", str(root / "b.png")], "y": np.array([1, 0])}
    photos = data.from_table(columns, path="file", label="y", num_classes=2, root=root)
    assert sorted(photos.paths) == ["a.png", "b.png"] and photos.name == "table"
    with pytest.raises(TypeError, match="a table is the path of .* not list"):
        data.from_table([1, 2])
    with pytest.raises(ValueError, match="not of one length"):
        data.from_table({"path": ["a.png"], "y": [0, 1]}, label="y", root=root)
    # Whole numbers with gaps, as of libraries that know no missing integers.
    gaps = {"path": ["a.png", "b.png"], "y": [1.0, float("nan")]}
    with pytest.raises(ValueError, match="write num_classes=2"):
        data.from_table(gaps, label="y", root=root)
    photos = data.from_table(gaps, label="y", num_classes=2, root=root)
    assert labels_of(photos) == {"a.png": 1, "b.png": -1}
    texts = {"path": ["a.png", "b.png"], "key": ["one", "two"]}
    named = data.from_table(texts, id="key", root=root)
    other = data.from_table(
        {name: column[::-1] for name, column in texts.items()}, id="key", root=root
    )
    assert ids_of(named) == ids_of(other)


def test_data_frames_and_parquet(root):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"path": ["a.png", "b.png"], "kind": ["dog", None], "more": [0.5, 1]})
    wanted = {"a.png": 0, "b.png": -1}
    assert labels_of(data.from_table(frame, label="kind", root=root)) == wanted
    frame.to_parquet(root / "labels.parquet")
    assert labels_of(data.from_table(root / "labels.parquet", label="kind")) == wanted
    with pytest.raises(ValueError, match="no column 'class', it has .'kind', 'more', 'path'"):
        data.from_table(root / "labels.parquet", label="class")


def test_what_does_not_fit_is_named(root, monkeypatch):
    path = table(root, "path,kind", "a.png,dog", "gone.png,cat")
    with pytest.raises(FileNotFoundError, match="1 of 2 files .* gone.png first: .*root="):
        data.from_table(path, label="kind")
    with pytest.warns(UserWarning, match="left out: 1 of 2 .*gone.png: No such file"):
        photos = data.from_table(path, label="kind", corrupt="skip")
    assert photos.paths == ("a.png",) and photos.class_names == ("cat", "dog")
    with pytest.raises(ValueError, match=r"has no column 'class', it has \['kind', 'path'\]"):
        data.from_table(path, label="class")
    with pytest.raises(ValueError, match="2 rows have the path a.png"):
        data.from_table(table(root, "path", "a.png", "a.png"))
    with pytest.raises(ValueError, match="line 2 of .*labels.csv has 3 values, and 2 columns"):
        data.from_table(table(root, "path,kind", "a.png,a,b"))
    with pytest.raises(ValueError, match="row 0 of the table has no path"):
        data.from_table(table(root, "path,kind", ",a"))
    keys = {"path": ["a.png", "b.png"], "key": ["one", "one"]}
    with pytest.raises(ValueError, match="every id must be unique, 'one' is given more than once"):
        data.from_table(keys, id="key", root=root)
    with pytest.raises(TypeError, match="all integers or all texts, got 'one'"):
        data.from_table(keys | {"key": [1, "one"]}, id="key", root=root)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "jaxkd-distill\[tables\]"'):
        _columns.read_columns(pathlib.Path("a.parquet"), ["path"])
