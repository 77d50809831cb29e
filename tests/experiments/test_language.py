import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import kill_in, run, table, uninterrupted
from flax import nnx

import jaxkd
from experiments.language import __main__ as language
from experiments.language import corpus as language_corpus
from experiments.language import report as language_report
from experiments.language.arms import distillation
from experiments.language.config import ARMS, Config, Size, check
from experiments.language.networks import read_decoder
from jaxkd import targets
from jaxkd.data import Tokenizer
from jaxkd.networks import without_logits
from jaxkd.study import Arm, ArmResult
from jaxkd.study.runtime import Runtime

TINY = [
    "--config.mock=120000",
    "--config.vocabulary=0",
    "--config.length=16",
    "--config.prompt_length=4",
    "--config.teacher.width=32",
    "--config.teacher.layers=1",
    "--config.teacher.heads=2",
    "--config.teacher.hidden=64",
    "--config.student.width=8",
    "--config.student.layers=1",
    "--config.student.heads=2",
    "--config.student.hidden=16",
    "--config.teacher_steps=200",
    "--config.steps=60",
    "--config.seeds=1",
    "--config.test_rows=40",
    "--config.generated_rows=16",
]


@pytest.mark.slow
def test_from_end_to_end_killed_on_the_way(tmp_path):
    workdir = tmp_path / "w"
    first = [*TINY, "--config.arms=labels,top_k"]
    kill_in("students/top_k/seed0", 45, "language", workdir, *first)
    before = {f: f.stat().st_mtime_ns for f in workdir.glob("**/result.npz")}
    assert len(before) == 2 and not (workdir / "report.html").exists()

    resumed = run("language", workdir, *TINY)
    assert resumed.returncode == 0, resumed.stderr
    assert {f: f.stat().st_mtime_ns for f in before} == before
    students = {row["Network"]: row for row in table(workdir / "students.csv")}
    assert list(students) == ["teacher", *ARMS.values()]
    bits = {name: float(row["Bits per byte mean"]) for name, row in students.items()}
    assert bits["teacher"] < min(bits[name] for name in ARMS.values()) < 8
    closer = {name: float(row["KL to teacher mean"]) for name, row in students.items()}
    assert closer["teacher"] == 0 < closer["top-k alone"] < closer["generated texts"]
    assert float(students["teacher"]["Agrees with teacher mean"]) == 1
    assert float(students["labels alone"]["KL on generated text mean"]) > 0
    assert len(table(workdir / "samples.csv")) == 2 + len(ARMS)
    sizes = {row["Encoded output"]: float(row["Bytes a token"]) for row in table(
        workdir / "cache.csv"
    )}  # fmt: skip
    # A vocabulary of 257 takes two bytes an id; a logit takes two, a tail or an entropy four.
    assert sizes == {"16 likeliest tokens": 16 * 4 + 4, "12 samples": 12 * 2 + 4}
    page = " ".join((workdir / "report.html").read_text(encoding="utf-8").split())
    assert "At equal steps</h2>" in page and "Line chart of Bits per byte by Step" in page
    assert "beats labels only" in page or "does not beat labels only" in page

    # The interrupted run gives what an uninterrupted one does, and the others are read: the same
    # tables, but for how long it took.
    copy = uninterrupted("students/top_k/seed0", "language", workdir, *TINY)
    for file in workdir.glob("*.csv"):
        for one, other in zip(table(file), table(copy / file.name), strict=True):
            changed = {key for key in one if one[key] != other[key]}
            again = one.get("Work") == ARMS["top_k"]  # trained once more
            assert changed <= ({"Seconds mean", "Tokens a second mean"} if again else set())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"arms": "labels,top"},
            r"arms must be some of .*, not 'labels,top'; did you mean 'top_k'",
        ),
        ({"arms": "top_k"}, "arms must have labels"),
        ({"arms": "labels,top_k,top_k"}, "each once, not 'labels,top_k,top_k'"),
        ({"mock": 10, "text": "x"}, "choose one"),
        ({"mock": 10, "dataset": "lm1b"}, "several texts: dataset='lm1b'"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"student": Size(0, 1, 2, 4)}, "student.width must be at least 1, not 0"),
        ({"teacher": Size(12, 1, 4, 4)}, "teacher.width=12 must be a multiple of twice"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], not 1.5"),
        ({"share": float("nan")}, r"share must lie in \[0, 1\], not nan"),
        ({"temperature": 0.0}, "temperature must be a positive number, not 0.0"),
        ({"vocabulary": 100}, "vocabulary=100 must hold 256 bytes"),
        ({"mock": -1}, "mock must be at least 0, not -1"),
        ({"vocabulary": 0, "k": 300}, "k=300 must be less than the 257 tokens"),
        ({"prompt_length": 128}, "prompt_length=128 must be at least 1 and leave something"),
        ({"generated_rows": 2}, "generated_rows=2 rows do not fill a batch of batch_size=16"),
    ],
)
def test_a_bad_configuration_is_refused_before_data_are_read(tmp_path, options, message):
    config = Config(data_dir=str(tmp_path / "nothing"), **options)
    with pytest.raises(ValueError, match=message):
        language.main(config, tmp_path / "w", Runtime())
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mock": 5000}, "mock has 5,000 characters in 1 blocks"),
        (
            {"mock": 110_000, "batch_size": 10_000, "generated_rows": 10_000},
            "batch_size=10000 is more",
        ),
        ({"mock": 110_000, "generated_rows": 10_000}, "generated_rows=10000 is more than the"),
        ({}, "the novels are not prepared there"),
    ],
)
def test_texts_that_are_too_short_or_missing_are_refused_before_training(
    tmp_path, options, message
):
    config = Config(data_dir=str(tmp_path / "nothing"), vocabulary=0, **options)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        language.main(config, tmp_path / "w", Runtime())
    assert not (tmp_path / "w").exists()


def test_a_work_directory_of_another_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"alpha": 0.5}\n', encoding="utf-8")
    config = Config(mock=110_000, vocabulary=0, length=32, prompt_length=4)
    with pytest.raises(ValueError, match=r"alpha: 0.5 there, 0.7 now"):
        language.main(config, tmp_path, Runtime())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json"]


def test_one_program_serves_all_steps():
    """Variables of a weak type would change it in the first steps, and compile them anew."""
    network = jaxkd.from_nnx(jaxkd.models.Decoder(20, 8, 1, 2, rngs=nnx.Rngs(0)))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(network.params))


def test_mock_text_is_the_same_in_every_call_and_can_be_learned():
    text = language_corpus.mock_text(3000)
    assert len(text) == 3000 and text == language_corpus.mock_text(3000)
    assert text != language_corpus.mock_text(3000, seed=1)
    assert len(set(text.replace(".", "").split())) < 130  # whole words, and one that is cut


def test_every_tenth_block_is_held_out_and_no_character_is_lost():
    lines = [f"line {i}\n" for i in range(400)]
    train, test = language_corpus.split_blocks(
        ["".join(lines[:150]), "".join(lines[150:])], "x", 100
    )
    blocks = dict(zip(train.ids.tolist(), train.texts, strict=True))
    blocks |= dict(zip(test.ids.tolist(), test.texts, strict=True))
    assert "".join(blocks[i] for i in sorted(blocks)) == "".join(lines)
    assert test.ids.tolist() == list(range(9, len(blocks), 10))
    assert all(text.endswith("\n") for text in blocks.values())


@pytest.mark.parametrize("vocabulary", [0, 300])
def test_bits_per_byte_are_of_the_bytes_that_are_predicted(tmp_path, vocabulary):
    if vocabulary:
        pytest.importorskip("tokenizers")
    (tmp_path / "a.txt").write_text(
        "naïve café\nnaïve cafés, né à Nîmes\n" * 4000, encoding="utf-8"
    )
    config = Config(text=str(tmp_path), vocabulary=vocabulary, length=20, prompt_length=4, k=4)
    corpus = language_corpus.read_corpus(
        dataclasses.replace(config, test_rows=10**6), tmp_path / "w"
    )
    _, held_out = language_corpus.load_texts(config)
    firsts = [int(one.offsets[0, 1]) for one in corpus.tokenizer.encode(held_out.texts)]
    whole = sum(len(text.encode()) for text in held_out.texts)
    assert corpus.test_bytes == whole - sum(firsts)
    # A uniform distribution over all tokens.
    nats = np.log(corpus.tokenizer.vocab_size)
    expected = corpus.test_tokens * np.log2(corpus.tokenizer.vocab_size) / corpus.test_bytes
    assert corpus.bits_per_byte(nats) == pytest.approx(expected)
    some = language_corpus.read_corpus(dataclasses.replace(config, test_rows=7), tmp_path / "w")
    assert len(some.test) == 7 and some.test_bytes < corpus.test_bytes
    if not vocabulary:  # all but the ends of texts are one byte each
        ends = int((corpus.test.labels == 256).sum())
        assert corpus.test_bytes == corpus.test_tokens - ends


@pytest.mark.parametrize("alpha", [0.7, 1.0])
@pytest.mark.parametrize("output", ["logits", "samples"])
def test_fused_objectives_are_the_plain_ones(alpha, output):
    module = jaxkd.models.Decoder(20, 8, 1, 2, rngs=nnx.Rngs(0))
    network = jaxkd.from_nnx(module)
    tokens = jax.random.randint(jax.random.key(0), (2, 5), 0, 20)
    where = jnp.arange(5) < jnp.array([[5], [3]])
    batch = {"inputs": tokens, "labels": jnp.where(where, tokens, -1), "where": where}
    logits = 3 * jax.random.normal(jax.random.key(1), (2, 5, 20))
    keys = jax.random.split(jax.random.key(2), 2)
    codec = targets.Sampled(6, 2.0) if output == "samples" else targets.TopK(4, (1.0, 2.0))
    teacher = {output: codec.decode(codec.encode(logits, keys=keys), (5, 20))}

    def value(params, fused):
        config = Config(temperature=2.0, fused=fused)
        student = without_logits(network) if fused else network
        outputs = student.apply(params, network.state, tokens)[0]
        return distillation(config, output, alpha)(outputs, teacher, batch)[0]

    # Compiled: one by one, the operations take five times as long.
    compiled = jax.jit(jax.value_and_grad(value), static_argnums=1)
    plain, fused = (compiled(network.params, which) for which in (False, True))
    assert plain[0] > 0
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(fused), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def results(teacher, labels, cached):
    """The results of two arms from their bits per byte."""

    def result(bits):
        numbers = np.asarray(bits, float)
        values = dict.fromkeys(("bits_per_byte", "agreement"), numbers)
        curve = numbers, numbers
        arrays = {"test": values}
        return ArmResult(Arm("labels"), 10, values, None, *curve, numbers, {}, arrays=arrays)

    corpus = types.SimpleNamespace(train=range(100))
    return types.SimpleNamespace(
        config=Config(steps=10, batch_size=10),
        corpus=corpus,
        teacher=result([teacher]),
        students={"labels": result(labels), "top_k": result(cached)},
    )


WORSE, EQUAL, BETTER = [2.4, 2.41, 2.39], [2.4, 2.38, 2.42], [2.305, 2.3, 2.295]


@pytest.mark.parametrize(
    ("numbers", "kind", "text"),
    [
        ((2.0, WORSE, BETTER), "gain", "Distilled beats labels only: top-k"),
        ((2.0, WORSE, EQUAL), "none", "does not beat labels only"),
        ((2.0, BETTER, WORSE), "loss", "labels only: it is worse"),
        ((2.5, WORSE, BETTER), "gain", "no better than its students"),
    ],
)
def test_the_report_says_whether_the_teacher_helped_and_why(numbers, kind, text):
    out = results(*numbers)
    finding = language_report.findings(out)["top_k"]
    assert finding.kind == kind and "bits per byte" in finding.text
    assert text in language_report.explanation(out)
    assert ("a row is seen once" in language_report.explanation(out)) == text.startswith(
        ("does not", "labels only")
    )
    if text.startswith("Distilled beats"):
        assert "closes 25% of the 0.400 bits per byte" in language_report.explanation(out)


def test_an_arm_with_a_shown_gain_stands_before_a_lucky_mean():
    out = results(2.0, [2.39, 2.4, 2.41], [2.39, 2.0, 2.36])
    sampled = results(2.0, [2.39, 2.4, 2.41], [2.295, 2.3, 2.305]).students["top_k"]
    out.students["sampled"] = sampled
    kinds = {arm: finding.kind for arm, finding in language_report.findings(out).items()}
    assert kinds == {"top_k": "none", "sampled": "gain"}
    assert language_report.explanation(out).startswith("Distilled beats labels only: samples")


def as_published(params):
    """Our names and axes of a tied decoder as those of a Llama's file."""
    names = {
        "embeddings.embedding": "model.embed_tokens",
        "norm.scale": "model.norm",
        ".norm1": ".input_layernorm",
        ".norm2": ".post_attention_layernorm",
        ".attention.query": ".self_attn.q_proj",
        ".attention.key": ".self_attn.k_proj",
        ".attention.value": ".self_attn.v_proj",
        ".attention.out": ".self_attn.o_proj",
        ".mlp.gate": ".mlp.gate_proj",
        ".mlp.up": ".mlp.up_proj",
        ".mlp.down": ".mlp.down_proj",
    }
    published = {}
    for name, value in params.items():
        kernel = name.endswith(".kernel")
        for ours, theirs in names.items():
            name = name.replace(ours, theirs) if not ours.startswith(".") else name
            name = name.replace(ours + ".", theirs + ".")
        name = name.replace("layers.", "model.layers.", 1) if name.startswith("layers") else name
        name = name.removesuffix(".kernel").removesuffix(".scale") + ".weight"
        published[name] = np.ascontiguousarray(np.asarray(value).T if kernel else value)
    return published


def test_a_published_teacher_is_read_and_its_padding_left_out(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    network = jaxkd.from_nnx(jaxkd.models.Decoder(264, 8, 2, 2, rngs=nnx.Rngs(3)))
    safetensors.save_file(as_published(network.params), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "vocab_size": 264, "hidden_size": 8, "num_hidden_layers": 2, '
        '"num_attention_heads": 2, "intermediate_size": 32, "tie_word_embeddings": true}',
        encoding="utf-8",
    )
    Tokenizer.bytes().save(tmp_path / "tokenizer.json")
    config = Config(mock=110_000, teacher_weights=str(tmp_path), length=16, prompt_length=4)
    check(config)
    corpus = language_corpus.read_corpus(config, tmp_path / "w")
    teacher = read_decoder(tmp_path, corpus.tokenizer)
    inputs = corpus.test.read(corpus.test.ids[:2])
    wanted = network(inputs)["logits"]
    np.testing.assert_allclose(teacher.network(inputs)["logits"], wanted[..., :257], rtol=1e-5)
    variables = teacher.network.params, teacher.network.state
    logits, _ = teacher.decode(*variables, inputs[..., 0], teacher.init_cache(2, 16), None)
    np.testing.assert_allclose(logits, wanted[:, -1, :257], rtol=1e-4, atol=1e-5)
