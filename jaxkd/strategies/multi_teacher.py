"""Several teachers of one student: a mean of losses, with weights that may be an example's own."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxkd import losses, recipes
from jaxkd.losses._arguments import to_rank
from jaxkd.objective import Objective, Schedule

_WAYS = ("mean", "confidence", "random")


def multi_teacher_loss(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes a loss that is the weighted sum over several teachers.

    Args:
      loss: loss of one output of the student and one of the teacher.

    Returns:
      A loss whose `teacher` is a tuple of K outputs, and with the further keyword `weights`: None
      for the mean; numbers `[K]`, fixed with `functools.partial`; or `[K, batch]`, from a connector
      such as `ConfidenceWeights` or `RandomTeacher`. Weights are taken as they are, without
      gradient. Other arguments are passed to every call.

    Raises:
      ValueError: when called, a teacher that is not a tuple, weights of another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> zero, one = jnp.zeros((2, 3)), jnp.ones((2, 3))
      >>> weights = jnp.array([[0.0, 0.5], [1.0, 0.5]])
      >>> multi_teacher_loss(losses.logit_mse)(zero, (zero, one), weights=weights)
      Array([1. , 0.5], dtype=float32)
    """

    @functools.wraps(loss)
    def weighted(
        student: Any,
        teacher: Sequence[Any],
        *arguments: Any,
        weights: ArrayLike | None = None,
        **keywords: Any,
    ) -> jax.Array:
        if not isinstance(teacher, tuple | list) or not teacher:
            raise ValueError(
                "a tuple of several teachers' outputs is needed: name them as "
                'Term(…, teacher=("a.logits", "b.logits"))'
            )
        values = jnp.stack([loss(student, one, *arguments, **keywords) for one in teacher])
        if weights is None:
            return jnp.mean(values, axis=0)
        factors = jax.lax.stop_gradient(jnp.asarray(weights, values.dtype))
        if factors.ndim < 1 or factors.shape != values.shape[: factors.ndim]:
            raise ValueError(
                f"weights of shape {factors.shape} do not fit {len(teacher)} teachers with losses "
                f"of shape {values.shape[1:]}: give [teachers] or [teachers, batch]"
            )
        return jnp.sum(to_rank(factors, values.ndim) * values, axis=0)

    signature = inspect.signature(loss)
    keyword = inspect.Parameter("weights", inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = list(signature.parameters.values())
    last = [p for p in parameters if p.kind is p.VAR_KEYWORD]
    parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    made = signature.replace(parameters=[*parameters, keyword, *last])
    weighted.__signature__ = made  # type: ignore[attr-defined]
    return weighted


class ConfidenceWeights(nnx.Module):
    """Weights each example's teachers by their cross entropy with its label (CA-MKD).

    A connector for a term with `multi_teacher_loss`: it returns the student's output and the
    weights `(1 - softmax_k(CE_k)) / (K - 1)`, CE_k the cross entropy of teacher k with the label.
    Teachers that are wrong about an example count less there. Where there is no label (-1) all
    weights are 1/K. The teachers' outputs must be dense logits.

    Raises:
      ValueError: when called, fewer than two teachers.
      TypeError: when called, sparse logits.

    Example:
      >>> teacher = jnp.array([[9.0, 0.0]]), jnp.array([[0.0, 9.0]])
      >>> made = ConfidenceWeights()(jnp.zeros((1, 2)), teacher=teacher, labels=jnp.array([0]))
      >>> [f"{float(weight):.2f}" for weight in made["weights"][:, 0]]
      ['1.00', '0.00']

    Reference:
      Zhang, Chen, Wang, Confidence-Aware Multi-Teacher Knowledge Distillation, ICASSP 2022. The
      authors' code divides the sum by K once more, which is a matter of the term's weight.
    """

    def __call__(
        self, student: Any, *, teacher: tuple[jax.Array, ...], labels: jax.Array
    ) -> dict[str, Any]:
        """The student's output, and weights `[K, batch]` of a tuple of K teachers' logits."""
        if not isinstance(teacher, tuple) or len(teacher) < 2:
            raise ValueError("confidence compares teachers: name at least two in the term")
        for logits in teacher:
            if isinstance(logits, losses.SparseLogits | losses.SampledClasses):
                raise TypeError(
                    "the teachers' cross entropies with the labels need dense logits, not "
                    f"{type(logits).__name__}: store them by a dense codec"
                )
        wrong = jnp.stack([losses.cross_entropy(logits, labels) for logits in teacher])
        # Without a label the cross entropies are 0 and the weights 1/K.
        weights = (1 - jax.nn.softmax(wrong, axis=0)) / (len(teacher) - 1)
        return {"student": student, "weights": weights}


class RandomTeacher(nnx.Module):
    """Samples one teacher for each example and step.

    A connector for a term with `multi_teacher_loss`: it returns the student's output and weights
    of 0 and 1. Its mean over steps is the weighted sum; each single target is as sharp as that of
    its teacher. The sample is a function of the train state's key and step.

    Args:
      probabilities: probability of each teacher, divided by their sum.
      rngs: any random streams; they are seeded anew in every step.

    Raises:
      ValueError: probabilities that are negative or add up to nothing; when called, another number
        of teachers.

    Example:
      >>> made = RandomTeacher((0.0, 1.0), rngs=nnx.Rngs(0))(
      ...     jnp.zeros((2, 3)), teacher=(jnp.zeros((2, 3)), jnp.zeros((2, 3))))
      >>> made["weights"].tolist()
      [[0.0, 0.0], [1.0, 1.0]]

    Reference:
      Fukuda et al., Efficient Knowledge Distillation from an Ensemble of Teachers, Interspeech
      2017 (teachers switched at random).
    """

    def __init__(self, probabilities: Sequence[float], *, rngs: nnx.Rngs):
        _check_weights(probabilities)
        self.probabilities = tuple(float(p) for p in probabilities)
        self.rngs = rngs.params.fork()

    def __call__(self, student: Any, *, teacher: tuple[Any, ...]) -> dict[str, Any]:
        """The student's output, and weights `[K, batch]` of a tuple of K teachers' outputs."""
        count = len(self.probabilities)
        if not isinstance(teacher, tuple) or len(teacher) != count:
            found = len(teacher) if isinstance(teacher, tuple) else "no tuple of"
            raise ValueError(f"{count} probabilities were given {found} teachers")
        batch = jax.tree.leaves(student)[0].shape[0]
        logs = jnp.log(jnp.asarray(self.probabilities, jnp.float32))
        chosen = jax.random.categorical(self.rngs(), logs, shape=(batch,))
        return {"student": student, "weights": jax.nn.one_hot(chosen, count, axis=0)}


def multi_teacher(
    names: Sequence[str],
    *,
    how: str = "mean",
    weights: Mapping[str, float] | None = None,
    alpha: float | Schedule = 0.9,
    temperature: float | Schedule = 4.0,
    seed: int = 0,
) -> Objective:
    """Distills from each of several teachers: `alpha Σ_k w_k KD_k + (1 - alpha) CE`.

    The teacher is a `joint_network`, online, or a `cache.EnsembleCache`. For the divergence
    from the *ensemble* instead, `recipes.kd` takes the combined `logits` as they are: smoother
    targets at the price of what only one teacher predicts. Weights help where teachers differ in
    quality; confidence where they differ in what they are good at and labels are trusted; one
    teacher at random where their mean would blur them.

    Args:
      names: names of the teachers, whose outputs are `<name>.logits`.
      how: `"mean"`; `"confidence"`, by the teachers' cross entropy with each label (see
        `ConfidenceWeights`); `"random"`, one teacher sampled for each example and step.
      weights: name → weight of the mean, or probability of the sample; divided by their sum; None
        for equal ones. Not for confidence.
      alpha: weight of the teachers together, from 0 to 1; a number or an optax schedule.
      temperature: temperature of the divergences.
      seed: seed of the connector for `"random"`; the samples depend on the train state alone.

    Returns:
      An objective with the terms `label` (unless alpha is 1) and `kd`.

    Raises:
      ValueError: names that are fewer than two or repeat, an unknown `how`, weights that do not
        fit, alpha outside of [0, 1].

    Example:
      >>> multi_teacher(("a", "b"), weights={"a": 3, "b": 1}).terms["kd"].teacher
      ('a.logits', 'b.logits')

    References:
      You et al., Learning from Multiple Teacher Networks, KDD 2017 (the mean); Zhang et al., ICASSP
      2022 (confidence); Fukuda et al., Interspeech 2017 (weights, random choice).
    """
    names = check_names(names)
    if how not in _WAYS:
        raise ValueError(f"how must be one of {_WAYS}, not {how!r}")
    if weights is not None and (how == "confidence" or set(weights) != set(names)):
        raise ValueError(
            f"weights {dict(weights)} fit neither confidence, which makes its own, nor other names "
            f"than those of the teachers, {list(names)}; got how={how!r}"
        )
    given = [float((weights or {}).get(name, 1.0)) for name in names]
    _check_weights(given)
    shares = tuple(weight / sum(given) for weight in given)
    loss: Callable[..., jax.Array] = multi_teacher_loss(losses.kd)
    connector: nnx.Module | None = None
    if how == "mean":
        loss = functools.partial(loss, weights=shares)
    elif how == "confidence":
        connector = ConfidenceWeights()
    else:
        connector = RandomTeacher(shares, rngs=nnx.Rngs(seed))
    terms = recipes.kd(alpha=alpha, temperature=temperature).terms
    outputs = tuple(f"{name}.logits" for name in names)
    several = dataclasses.replace(terms["kd"], loss=loss, teacher=outputs, connector=connector)
    return Objective(**{**terms, "kd": several})


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names as a tuple; refuses fewer than two, or some that repeat."""
    if isinstance(names, str) or len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"at least two networks of different names are needed, not {names!r}")
    return tuple(names)


def _check_weights(weights: Sequence[float]) -> None:
    total = sum(weights)
    if not (math.isfinite(total) and total > 0 and all(weight >= 0 for weight in weights)):
        raise ValueError(f"weights must not be negative, and not all zero: got {list(weights)}")
