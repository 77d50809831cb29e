import numpy as np
import pytest

from experiments.datasets import fortunes


def test_fortunes_are_parted_by_percent_signs(tmp_path):
    (tmp_path / "law").write_text(
        "".join(f"Law {i}:\n\t100% so.\n%\n" for i in range(10)), encoding="utf-8"
    )
    (tmp_path / "art").write_text(
        "".join(f"Art {i}\n%\n" for i in range(20)) + "\n%\n", encoding="utf-8"
    )
    made = {
        split: fortunes.load(split, topics=("law", "art"), source_dir=tmp_path)
        for split in ("train", "test")
    }
    assert np.bincount(made["train"].labels).tolist() == [8, 16]
    assert np.bincount(made["test"].labels).tolist() == [2, 4]
    assert made["test"].class_names == ("law", "art")
    for one in made.values():
        for example_id, text in zip(one.ids, one.texts, strict=True):
            topic, number = divmod(int(example_id), 100_000)
            assert text == (f"Art {number}" if topic else f"Law {number}:\n\t100% so.")
    with pytest.raises(FileNotFoundError, match="apt-get install fortunes"):
        fortunes.load("train", topics=("tao",), source_dir=tmp_path)
    with pytest.raises(ValueError, match="each named once"):
        fortunes.load("train", topics=("law", "law"), source_dir=tmp_path)
    with pytest.raises(ValueError, match="split must be"):
        fortunes.load("all", source_dir=tmp_path)
