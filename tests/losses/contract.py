"""How every public loss is called, and what it promises: the table behind the contract's tests."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import few

from jaxkd import losses

# Divisible by eight devices, and not too few for the hard rows.
BATCH = 16
CLASSES = 4
LOGITS = (CLASSES,)
VIEWS = (3, CLASSES)
VECTORS = (6,)
MAPS = (4, 4, 3)
SMALL_MAPS = (2, 2, 5)

# Public functions that are no losses: what they do is tested where they are.
HELPERS = {
    "align_by_bytes": "pairs tokens, on the host",
    "align_by_position": "pairs tokens, on the host",
    "chunk_log_probs": "prepares what uld_from_log_probs compares",
    "class_distances": "makes the cost of wkd_logit",
    "class_weighted": "makes a loss out of a loss",
    "couples_examples": "declares what a loss returns",
    "crd_normalizer": "a constant of crd",
    "curriculum_schedule": "a schedule",
    "sample_negatives": "samples the negatives of crd",
    "fsp_matrix": "one side of fsp",
    "fused_kd": "makes a loss on hidden states and head",
    "fused_linear": "makes a loss on hidden states and head out of one on logits",
    "length_normalized_returns": "rewards of sampled tokens, on one side",
    "masked_mean": "a reduction",
    "masked_sum_and_count": "a reduction",
    "matryoshka": "makes a loss out of a loss",
    "negative_pool": "prepares sample_negatives",
    "ofd_margin": "makes the margin of ofd",
    "over_stages": "makes a loss out of a loss",
    "policy_gradient": "reinforces sampled tokens by their advantage, whatever gave it",
    "returns_sum_and_count": "declares what a loss returns",
    "reverse_gradient": "the identity",
    "reverse_kl_advantage": "a constant of policy_gradient",
    "standardize_logits": "maps the logits of one side",
    "update_bank": "state of crd",
    "vid_log_scale": "initial value of a parameter of vid",
    "vid_variance": "maps a parameter of vid",
    "whiten": "maps rewards",
}

# Losses of whole sequences, one number a token, whose arguments all have an axis of tokens: they
# are held to the same in tests/losses/test_token_losses.py.
ON_TOKENS = ["attention_kl", "attention_mse", "minillm_long", "relation_kl", "sampled_reverse_kl"]

# No gradient reaches the teacher of any loss. These alone let one through for `learned_teacher`:
# recipes give them an embedding of the teacher that trains beside the student's.
LEARNED_TEACHER = {"cc", "crd", "info_nce"}

# Why a loss is not zero where the student is the teacher.
CROSS_ENTROPY = "a cross entropy includes the entropy of its target"
CROSS_LAYERS = "every layer of the teacher is compared with every layer of the student"
CONTRAST = "other examples remain as negatives"
ENTROPIC_PLAN = "the entropy spreads the plan off the diagonal"
MARGIN = "neurons within the margin cost"
LIKELIHOOD = "the logarithm of the variance remains"
OTHER_TARGET = "the teacher is transformed and the student is not"
LOGARITHM = "a logarithm of distances has its minimum there, below zero"
PRODUCT_SMALLER = "the product of two Gram matrices is smaller than either"
WEAK_HEAD = "the student has no teacher"


class Inputs(NamedTuple):
    """Arguments of a loss, NumPy arrays.

    Attributes:
      student: an array `[batch, ...]` or lists of such.
      teacher: likewise; None for a loss without one.
      each: other arguments with the batch in front.
      shared: other arguments for the whole batch.
    """

    student: Any
    teacher: Any
    each: dict[str, np.ndarray]
    shared: dict[str, Any]


def nothing(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    """For a loss of student and teacher alone."""
    return {}


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A loss under test.

    Attributes:
      name: of the loss in `jaxkd.losses`.
      shapes: of the student's array without the batch, or lists of such; also the teacher's.
      variant: distinguishes entries of one loss.
      fixed: keywords that stay as they are.
      each: makes arguments with the batch in front.
      shared: makes arguments for the whole batch.
      prepare: what is done to random numbers to make a student or a teacher.
      has_teacher: whether the second argument is a teacher.
      on_classes: whether the last axis is that of classes, so that -inf may stand there.
      scalar: whether the loss is one number for the batch.
      per_entry: whether it is one for each entry, of the shape of the student's first array.
      coupled: whether examples see each other.
      not_zero: why the loss is not zero at student = teacher; None if it is.
      still: whether its gradient is zero there.
      scale: what multiplies rounding errors, as a factor temperature**2 does.
    """

    name: str
    shapes: Any = LOGITS
    variant: str = ""
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    each: Callable[[np.random.Generator, int, int], dict[str, Any]] = nothing
    shared: Callable[[np.random.Generator, int, int], dict[str, Any]] = nothing
    prepare: Callable[[np.ndarray], np.ndarray] = np.asarray
    has_teacher: bool = True
    on_classes: bool = False
    scalar: bool = False
    per_entry: bool = False
    coupled: bool = False
    not_zero: str | None = None
    still: bool = False
    scale: float = 1.0

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the loss."""
        return inspect.signature(getattr(losses, self.name)).parameters

    @property
    def has_temperature(self) -> bool:
        return "temperature" in self.takes

    @property
    def may_learn_teacher(self) -> bool:
        return "learned_teacher" in self.takes

    @property
    def has_class_axis(self) -> bool:
        """Whether `axis` and masks of classes apply, for losses of one number an example."""
        return self.on_classes and "axis" in self.takes and not self.scalar

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of the value at the usual inputs."""
        if self.scalar:
            return ()
        first = jax.tree.leaves(self.shapes, is_leaf=lambda x: isinstance(x, tuple))[0]
        return (BATCH, *first) if self.per_entry else (BATCH,)

    @property
    def temperature(self) -> float:
        """The default, or that of the loss inside."""
        return self.takes["temperature"].default or 4.0

    def loss(self, student: Any, teacher: Any, each: Any, shared: Any, **keywords: Any):
        sides = (student, teacher) if self.has_teacher else (student,)
        return getattr(losses, self.name)(*sides, **each, **shared, **self.fixed, **keywords)

    def inputs(self, seed: int = 0, batch: int = BATCH, classes: int = CLASSES) -> Inputs:
        """Random arguments."""
        generator = np.random.default_rng(seed)

        def side() -> Any:
            def leaf(shape: tuple[int, ...]) -> np.ndarray:
                if self.on_classes:
                    shape = (*shape[:-1], classes)
                normal = generator.normal(size=(batch, *shape))
                return self.prepare(2 * normal).astype(np.float32)

            return jax.tree.map(leaf, self.shapes, is_leaf=lambda x: isinstance(x, tuple))

        student, teacher = side(), side() if self.has_teacher else None
        each, shared = (make(generator, batch, classes) for make in (self.each, self.shared))
        return Inputs(student, teacher, each, shared)


def labels(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    return {"labels": generator.integers(0, classes, batch).astype(np.int32)}


def label_distributions(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    return {"labels": generator.dirichlet(np.ones(classes), batch).astype(np.float32)}


def multi_hot(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    return {"labels": generator.integers(-1, 2, (batch, classes)).astype(np.int32)}


def float_values(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    return {"labels": generator.normal(size=(batch, *VECTORS)).astype(np.float32)}


def relevances(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    relevance = generator.integers(-1, 3, (batch, classes)).astype(np.int32)
    relevance[:, :2] = generator.permuted(np.tile([0, 1], (batch, 1)), axis=1)
    return {"relevance": relevance}


def samples(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    return {
        "sample_ids": generator.integers(0, classes, (batch, 3)).astype(np.int32),
        "sample_weights": np.full((batch, 3), 1 / 3, np.float32),
    }


def cost(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    points = generator.normal(size=(classes, 3)).astype(np.float32)
    return {"cost": np.linalg.norm(points[:, None] - points, axis=-1) / 4}


def attention(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    return {"attention": generator.dirichlet(np.ones(2), (batch, 2)).astype(np.float32)}


def banks(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    student, teacher = generator.normal(size=(2, 20, *VECTORS)).astype(np.float32)
    return {
        "student_bank": to_unit(student),
        "teacher_bank": to_unit(teacher),
        "student_normalizer": np.float32(5.0),
        "teacher_normalizer": np.float32(4.0),
    }


def bank_rows(generator: np.random.Generator, batch: int, classes: int) -> dict[str, Any]:
    sampled = generator.integers(0, 20, (batch, 6)).astype(np.int32)
    return {"ids": sampled[:, 0], "negatives": sampled[:, 1:]}


def to_unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def to_log_probs(logits: np.ndarray) -> np.ndarray:
    return np.asarray(jax.nn.log_softmax(jnp.asarray(logits)))


def on_logits(name: str, shapes: Any = LOGITS, **traits: Any) -> Entry:
    return Entry(name, shapes, on_classes=True, **traits)


def on_entries(name: str, shapes: Any = VECTORS, **traits: Any) -> Entry:
    return Entry(name, shapes, per_entry=True, **traits)


def coupled(name: str, shapes: Any = VECTORS, **traits: Any) -> Entry:
    return Entry(name, shapes, scalar=True, coupled=True, **traits)


DIVERGENCES = [
    on_logits("kl_divergence"),
    on_logits("reverse_kl_divergence"),
    on_logits("symmetric_kl_divergence"),
    on_logits("js_divergence"),
    on_logits("skew_kl_divergence"),
    on_logits("skew_reverse_kl_divergence"),
    on_logits("total_variation"),
    on_logits("adaptive_kl"),
]

SAME_VOCABULARY = {"student_ids": np.array([1, 0]), "teacher_ids": np.array([1, 0])}

ON_LOGITS = [
    on_logits("kd", scale=16),
    on_logits("logit_mse"),
    on_logits("hard_kd", not_zero=CROSS_ENTROPY),
    on_logits("dkd", each=labels, scale=16 * 8),
    on_logits("nkd", each=labels, not_zero=CROSS_ENTROPY),
    on_logits("ofa", each=labels, not_zero=CROSS_ENTROPY),
    on_logits("rld", each=labels, scale=16 * 8),
    on_logits("rld", each=labels, variant="standardized", fixed={"standardize": True}, scale=128),
    on_logits("lskd", scale=4),
    on_logits("wsld", each=labels, not_zero=CROSS_ENTROPY, scale=16),
    on_logits("ttm", not_zero=OTHER_TARGET),
    on_logits("wttm", not_zero=OTHER_TARGET),
    on_logits("sinkhorn_distance", shared=cost, not_zero=ENTROPIC_PLAN),
    on_logits("wkd_logit", each=labels, shared=cost, not_zero=ENTROPIC_PLAN, scale=600),
    on_logits("sdd", VIEWS, each=labels, scale=16),
    on_logits("uld"),
    on_logits("uld_from_log_probs", prepare=to_log_probs),
    on_logits("hybrid_uld", prepare=to_log_probs, fixed=SAME_VOCABULARY),
    on_logits("sampled_kl", each=samples, has_teacher=False, not_zero=CROSS_ENTROPY),
    on_logits("cross_entropy", each=labels, has_teacher=False, not_zero=CROSS_ENTROPY),
    on_logits(
        "cross_entropy",
        each=label_distributions,
        variant="distribution",
        fixed={"label_smoothing": 0.1},
        has_teacher=False,
        not_zero=CROSS_ENTROPY,
    ),
]

ON_ENTRIES = [
    on_entries("binary_kd", LOGITS, on_classes=True, scale=16),
    on_entries(
        "binary_cross_entropy",
        LOGITS,
        on_classes=True,
        each=multi_hot,
        fixed={"pos_weight": 3.0},
        has_teacher=False,
        not_zero=CROSS_ENTROPY,
    ),
    on_entries(
        "binary_cross_entropy",
        LOGITS,
        on_classes=True,
        each=label_distributions,
        variant="distribution",
        fixed={"label_smoothing": 0.1},
        has_teacher=False,
        not_zero=CROSS_ENTROPY,
    ),
]

GAUSSIAN = [VECTORS, VECTORS]

ON_VALUES = [
    on_entries("regression_kd"),
    on_entries("bounded_regression", each=float_values),
    on_entries("squared_error", each=float_values, has_teacher=False),
    on_entries("huber_loss", each=float_values, has_teacher=False),
    on_entries("gaussian_kl", GAUSSIAN),
    on_entries("gaussian_nll", GAUSSIAN, each=float_values, has_teacher=False),
]

RANKING = [
    on_logits("listnet", each=relevances, has_teacher=False, not_zero=CROSS_ENTROPY),
    on_logits("listwise_kl"),
    on_logits("listwise_kl", each=relevances, variant="relevance"),
    on_logits("margin_mse"),
    on_logits("margin_mse", each=relevances, variant="relevance"),
]

ON_LOGITS_OF_BATCHES = [
    coupled("dist", LOGITS, on_classes=True, scale=16),
    coupled("mlkd", LOGITS, on_classes=True, scale=90),
    coupled("mlkd_batch", LOGITS, on_classes=True),
    coupled("mlkd_class", LOGITS, on_classes=True),
    coupled("mlkd_two_views", [LOGITS, LOGITS], on_classes=True, scale=90),
    coupled("sskd_transformed", VIEWS, on_classes=True, each=labels, scale=16),
    coupled(
        "uskd",
        [LOGITS, LOGITS],
        on_classes=True,
        each=labels,
        has_teacher=False,
        not_zero=WEAK_HEAD,
    ),
]

ON_FEATURES = [
    Entry("feature_mse", MAPS),
    Entry("feature_cosine", MAPS),
    Entry("hidden_mse", VECTORS),
    Entry("hidden_cosine", VECTORS),
    Entry("ab", MAPS, not_zero=MARGIN),
    Entry("afd", [MAPS, SMALL_MAPS], each=attention, not_zero=CROSS_LAYERS),
    Entry("at", MAPS),
    Entry("at", MAPS, variant="norm", fixed={"squared": False}),
    Entry("cat_kd", MAPS),
    Entry("cwd", MAPS, scale=16),
    Entry("fsp", [MAPS, SMALL_MAPS]),
    Entry("ft", MAPS),
    Entry("ft", MAPS, variant="flat", fixed={"flatten": True}),
    Entry("hcl", MAPS),
    Entry("ickd", MAPS),
    Entry("kdsvd", [MAPS, SMALL_MAPS]),
    Entry("mgd", MAPS),
    Entry("nst", MAPS),
    Entry("ofd", MAPS, fixed={"margin": np.array([-0.5, -1.0, -0.1], np.float32)}),
    Entry("semckd", [[MAPS, SMALL_MAPS], [MAPS, VECTORS]], each=attention),
    Entry("srrl", [MAPS, LOGITS]),
    Entry(
        "vid",
        MAPS,
        fixed={"variance": np.array([0.5, 1.0, 3.0], np.float32)},
        not_zero=LIKELIHOOD,
        still=True,
    ),
    Entry("vkd", MAPS, not_zero=OTHER_TARGET),
    Entry("wkd_feature", MAPS, scale=4),
    Entry("crd", VECTORS, each=bank_rows, shared=banks, prepare=to_unit, not_zero=CONTRAST),
    Entry("info_nce", VECTORS, coupled=True, not_zero=CONTRAST),
]

RELATIONS = [
    coupled("cc"),
    coupled("cc_kernel"),
    coupled("cc_kernel", variant="bilinear", fixed={"kernel": "bilinear"}),
    coupled("cka"),
    coupled("itrd", not_zero=LOGARITHM),
    coupled("itrd_correlation", not_zero=LOGARITHM, still=True),
    coupled("itrd_mutual", not_zero=PRODUCT_SMALLER),
    coupled("pkd", MAPS),
    coupled("pkt"),
    coupled("rkd", scale=75),
    coupled("rkd_angle"),
    coupled("rkd_distance"),
    coupled("rkd_distance", variant="squared", fixed={"squared": True}),
    coupled("sp"),
    coupled("sp", variant="l1", fixed={"norm": "l1"}),
    # Rounding errors beside a distance of 0, of which the logarithm is taken.
    coupled("srd", not_zero=LOGARITHM, still=True, scale=1000),
    coupled("srd_correlation", not_zero=LOGARITHM, still=True),
    coupled("sskd_similarity", (3, *VECTORS)),
]

ENTRIES = [
    *DIVERGENCES,
    *ON_LOGITS,
    *ON_ENTRIES,
    *RANKING,
    *ON_VALUES,
    *ON_LOGITS_OF_BATCHES,
    *ON_FEATURES,
    *RELATIONS,
]


def entangled(entry: Entry) -> bool:
    """Whether examples see each other, or have something of their own beside the two sides."""
    return entry.coupled or entry.each is not nothing


def entries(
    condition: Callable[[Entry], bool] = lambda entry: True,
    first: Callable[[Entry], bool] = lambda entry: True,
) -> pytest.MarkDecorator:
    """Runs a test once for each entry that meets the condition.

    Those that are not `first` are marked exhaustive.
    """
    chosen = sorted(filter(condition, ENTRIES), key=lambda entry: not first(entry))
    return few("entry", chosen, keep=sum(map(first, chosen)), ids=str)
