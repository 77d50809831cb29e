"""Distillation without data: a generator beside the student makes the images."""

import jax
import jax.numpy as jnp

from jaxkd import losses
from jaxkd.networks import Network
from jaxkd.objective import Objective, Schedule, Term, is_traced
from jaxkd.strategies._composite import CompositeNetwork, at_least_float32, layers_of
from jaxkd.strategies.mutual import peer_loss
from jaxkd.strategies.statistics import distance, kept_shares


def data_free(
    student: Network,
    generator: Network,
    teacher: Network,
    *,
    latent: int,
    temperature: float | Schedule = 1.0,
    one_hot: float | Schedule = 1.0,
    information: float | Schedule = 2.2,
    disagreement: float | Schedule = 0.0,
    statistics: float | Schedule = 0.0,
) -> tuple[Network, Objective]:
    """Distills without a single example: student and generator are one network in one step.

    The student learns the teacher's predictions for generated images. The generator learns images
    of which the teacher is sure (`one_hot`), that cover all classes (`information`), on which
    student and teacher disagree (`disagreement`) and whose statistics in the teacher's batch
    normalization are those of its training data (`statistics`). Both are updated at once from the
    same images; no gradient of the generator's terms reaches the student, and none of the student's
    the generator.

    For when the teacher's data are unavailable. With any unlabeled images of about the right kind
    plain distillation on these is simpler and usually better. The generator must make images in the
    range that the teacher knows (`ImageGenerator(mean=…, std=…)`), and the training must be long:
    on digits of a teacher of 89 % students had 74 ± 5 % of validation images after 1,700 steps and
    81 ± 2 % after 6,800 (`benchmarks/methods_stability.py`).

    The batches are noise, of `noise_dataset(examples, latent)`. Where generator and student need
    optimizers of their own: `multi_optimizer(sgd, {"generator": optax.adam(1e-3)})`. For a term on
    the teacher's features, such as DAFL's activations, add one on the output `teacher.<output>`.

    Args:
      student: the network to train.
      generator: a network whose `logits` are images; `from_nnx(ImageGenerator(…))`, or any other.
      teacher: the trained network. Its variables are part of the state, hence of checkpoints, and
        never trained.
      latent: number of noise values of an image.
      temperature: temperature of the student's divergence, with Hinton's factor T².
      one_hot: weight of the teacher's cross entropy with its own most likely class (DAFL; 0.05 for
        CIFAR).
      information: weight of the negative entropy, in nats, of the batch's mean prediction (DAFL; 5
        on the decimal logarithms of the authors' code, which is 2.2 here).
      disagreement: weight of minus the mean absolute difference of logits (DFAD; 1 with
        `one_hot=0, information=0` there). Costs a second forward pass of the student.
      statistics: weight of the distances of the images' batch statistics from the teacher's running
        ones, over all layers (DeepInversion). Costs a second forward pass of the teacher, in
        training mode, so that deeper layers see what the batch's own statistics normalized. An NNX
        teacher must be made with `differentiable_statistics`.

    Returns:
      The network, whose inputs are noise, whose params are `{"student": …, "generator": …}` and
      whose outputs are those of the student, `images` and `teacher.<output>`; and the objective
      with the terms `kd` and those whose weight is not 0. `member_networks` returns `student` and
      `generator`; score the student on true images by
      `evaluate(scorer, state.params["student"]["student"], …)`.

    Raises:
      ValueError: statistics of a teacher that has none or gives no gradient to them.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> from jaxkd.strategies import ImageGenerator, differentiable_statistics
      >>> model = jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0))
      >>> teacher = jaxkd.from_nnx(differentiable_statistics(model))
      >>> student = jaxkd.from_nnx(jaxkd.models.MLP(64, (8,), 10, rngs=nnx.Rngs(1)))
      >>> images = jaxkd.from_nnx(ImageGenerator(16, (8, 8, 1), width=8, rngs=nnx.Rngs(2)))
      >>> network, objective = data_free(student, images, teacher, latent=16, statistics=0.1)
      >>> list(objective.terms), network(jnp.ones((2, 16)))["images"].shape
      (['kd', 'one_hot', 'information', 'statistics'], (2, 8, 8, 1))

    References:
      Chen et al., Data-Free Learning of Student Networks, ICCV 2019 (DAFL); Fang et al., Data-Free
      Adversarial Distillation, 2019 (DFAD); Yin et al., Dreaming to Distill: Data-Free Knowledge
      Transfer via DeepInversion, CVPR 2020.
    """
    shares = None
    if _matters(statistics):
        noise = jax.ShapeDtypeStruct((2, latent), jnp.float32)
        shares = kept_shares(teacher, _images(generator, noise))

    def apply(params, state, inputs, *, train=False, key=None):
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        fixed = jax.lax.stop_gradient(state["teacher"])
        generated, generator_state = generator.apply(
            params["generator"], state["generator"], inputs, train=train, key=keys[0]
        )
        images = generated["logits"]

        def learn(own, seen):
            return student.apply(own, state["student"], seen, train=train, key=keys[1])

        outputs, student_state = learn(params["student"], jax.lax.stop_gradient(images))
        targets, _ = teacher.apply(fixed["params"], fixed["state"], images)
        outputs = {**outputs, "images": images}
        outputs |= {f"teacher.{name}": value for name, value in targets.items()}
        if train and _matters(disagreement):
            fixed_student = jax.lax.stop_gradient(params["student"])
            outputs["fixed.logits"] = learn(fixed_student, images)[0]["logits"]
        if train and shares is not None:
            moved = teacher.apply(fixed["params"], fixed["state"], images, train=True, key=keys[2])
            outputs["statistics"] = distance(fixed["state"], moved[1], shares)
        new_state = {"student": student_state, "generator": generator_state}
        return outputs, {**new_state, "teacher": state["teacher"]}

    def members(params, state):
        return {
            name: network.replace(params=params[name], state=state[name])
            for name, network in parts.items()
        }

    parts = {"student": student, "generator": generator}

    def whole(params, state):
        return {name: part.all_params(params[name], state[name]) for name, part in parts.items()}

    network = CompositeNetwork(
        apply,
        {"student": student.params, "generator": generator.params},
        {
            "student": student.state,
            "generator": generator.state,
            "teacher": {"params": teacher.params, "state": teacher.state},
        },
        f"{student.name} by {generator.name}",
        f"{student.architecture}\nfrom\n{generator.architecture}\nof\n{teacher.architecture}",
        members,
        **layers_of(parts),
        whole=whole if any(part.whole is not None for part in parts.values()) else None,
    )
    pair = ("logits", "teacher.logits")
    terms = {
        "kd": Term(peer_loss(losses.kd), 1.0, temperature, pair),
        "one_hot": Term(_one_hot, one_hot, None, "teacher.logits"),
        "information": Term(_information, information, None, "teacher.logits"),
        "disagreement": Term(_agreement, disagreement, None, ("fixed.logits", "teacher.logits")),
        "statistics": Term(_as_it_is, statistics, None, "statistics"),
    }
    return network, Objective(**{n: term for n, term in terms.items() if _matters(term.weight)})


def _one_hot(student: jax.Array) -> jax.Array:
    return losses.cross_entropy(student, jnp.argmax(student, axis=-1))


@losses.couples_examples
def _information(student: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Returns minus the entropy of the mean prediction: it couples the examples of a batch."""
    logs = jax.nn.log_softmax(at_least_float32(student))
    mask = None if where is None else where[:, None]
    mean = jnp.mean(jnp.exp(logs), axis=0, where=mask)
    present = mean > 0
    return jnp.sum(jnp.where(present, mean * jnp.log(jnp.where(present, mean, 1)), 0))


def _agreement(student: tuple[jax.Array, jax.Array]) -> jax.Array:
    ours, theirs = map(at_least_float32, student)
    return -jnp.mean(jnp.abs(ours - theirs), axis=-1)


def _as_it_is(student: jax.Array) -> jax.Array:
    return student


def _matters(weight: float | Schedule) -> bool:
    return callable(weight) or is_traced(weight) or weight != 0


def _images(generator: Network, noise: jax.ShapeDtypeStruct) -> jax.Array:
    """Returns random images of the generator's shape."""
    shape = jax.eval_shape(
        lambda p, s, x: generator.apply(p, s, x)[0]["logits"],
        generator.params,
        generator.state,
        noise,
    )
    return jax.random.normal(jax.random.key(0), shape.shape, shape.dtype)
