"""What a stage of a pipeline does to a student, and the training that follows."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxkd import compression
from jaxkd.compression._layers import check_rules, find_layers
from jaxkd.networks import Network, edit_module
from jaxkd.recipes import labels
from jaxkd.study.arms import ArmTraining
from jaxkd.study.pipelines import Pipeline
from jaxkd.study.stages import Stage

if TYPE_CHECKING:
    from jaxkd.study.study import Study

CALIBRATION_BATCHES = 8
_CALIBRATION_EXAMPLES = 128

Batches = Callable[[], Sequence[Any]]


def untrained_stage(study: Study, pipeline: Pipeline, seed: int) -> ArmTraining:
    """Makes the training of the last stage, of a student that no stage before has trained."""
    start = study.make_student(seed)
    batches = calibration_batches(study)
    *earlier, last = [
        Pipeline(pipeline.first, pipeline.stages[:number])
        for number in range(1, 1 + len(pipeline.stages))
    ]
    for each in earlier:
        training = stage_training(study, each, seed, start, lambda: batches)
        start = training.deploy(training.student)
    return stage_training(study, last, seed, start, lambda: batches)


def stage_training(
    study: Study, pipeline: Pipeline, seed: int, start: Network, batches: Batches
) -> ArmTraining:
    """Makes the training of the last stage of a pipeline.

    Args:
      study: gives data, teacher and defaults.
      pipeline: the pipeline.
      seed: of the order of the batches, and of dropout.
      start: student of the stage before.
      batches: returns inputs, for shapes and for ranges of activations.

    Returns:
      The training, of no steps for `"quantize"`; what is deployed is a plain network.

    Raises:
      ValueError: a stage that does not fit the student, a budget in seconds, or a training in
        phases.
    """
    stage = pipeline.last
    changed = changed_by(stage, start, batches)
    steps = stage_steps(study, pipeline)
    if not steps:
        return ArmTraining(
            student=changed,
            objective=labels(),
            examples=study.data["train"],
            steps=0,
            optimizer=optax.identity(),
            views=study.views,
        )
    of_stage = copy.copy(study)  # with its caches and evaluators
    of_stage.make_student = lambda _: changed
    of_stage.steps, of_stage.learning_rate = steps, stage_rate(study, stage)
    training = pipeline.trained_by.training(of_stage, seed)
    if training.phases:
        raise ValueError(
            f"the stage {stage.label!r} would be trained in phases, by "
            f'{pipeline.trained_by.name!r}: write Stage({stage.kind!r}, method="kd")'
        )
    optimizer, trained = training.optimizer, training.deploy
    if (pruning := _pruning(pipeline, steps)) is not None:
        optimizer = optax.chain(optimizer, pruning)

    def deploy(network: Network) -> Network:
        plain = with_variables(changed, trained(network))
        return edit_module(plain, compression.from_fake_quantized) if stage.kind == "qat" else plain

    return dataclasses.replace(training, optimizer=optimizer, deploy=deploy)


def changed_by(stage: Stage, network: Network, batches: Batches) -> Network:
    """Returns the network that a stage makes of another one, before its training."""
    given = stage.options
    if stage.kind in ("train", "sparsify"):
        return network
    if stage.kind == "prune":
        options = {name: given[name] for name in ("importance", "multiple_of", "protect")}

        def prune(module: nnx.Module) -> nnx.Module:
            keep = 1 - given["fraction"]
            return compression.shrink(module, batches()[0], keep=keep, **options)[0]

        return edit_module(network, prune)
    if stage.kind == "low_rank":
        whole = _whole_layers(stage, network, batches()[0])

        def factorize(module: nnx.Module) -> nnx.Module:
            layers = find_layers(module, (nnx.Linear, nnx.Conv))
            check_rules(given["without"] or (), layers, "layer")
            ranks = compression.choose_ranks(
                module, rank=given["rank"], where=lambda path, layer: not whole(path, layer)
            )
            return compression.factorize(module, ranks)

        return edit_module(network, factorize)
    quantize = compression.fake_quantize if stage.kind == "qat" else compression.quantize

    def quantized(module: nnx.Module) -> nnx.Module:
        fixed = given["activations"] is not None
        ranges = compression.calibrate(module, batches()) if fixed else None
        return quantize(module, **given, ranges=ranges)

    return edit_module(folded(network, batches), quantized)


def folded(network: Network, batches: Batches) -> Network:
    """Returns a network whose batch normalizations are a part of the layers before them."""
    return edit_module(network, lambda module: compression.fold_batch_norm(module, batches()[0]))


def with_variables(plain: Network, trained: Network) -> Network:
    """Returns a network with the variables of another one that was trained in its place.

    Raises:
      ValueError: a recipe that trains other variables, such as a second head.
    """
    shapes, given = (
        {
            jax.tree_util.keystr(path): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path((each.params, each.state))
        }
        for each in (plain, trained)
    )
    if shapes != given:
        other = sorted(shapes.items() ^ given.items())[0][0]
        raise ValueError(
            f"a pipeline goes on from the student that make_student returns, and {trained.name} "
            f"was trained with other variables ({other}): begin it with a method that leaves the "
            'student as it is, such as "kd"'
        )
    # What follows changes the network outside of any mesh.
    params, state = jax.tree.map(jnp.asarray, jax.device_get((trained.params, trained.state)))
    return plain.replace(params=params, state=state)


def stage_steps(study: Study, pipeline: Pipeline) -> int:
    """Returns the number of updates of the last stage.

    Raises:
      ValueError: a study whose budget is a time.
    """
    if not study.steps:
        raise ValueError(
            f"the stages of {pipeline.name!r} have steps, which do not follow from seconds: write "
            "steps= or epochs= in place of seconds="
        )
    stage, first = pipeline.last, pipeline.first.steps or study.steps
    if not stage.step_share:
        return 0
    return stage.steps or max(1, round(stage.step_share * first))


def stage_rate(study: Study, stage: Stage) -> float:
    """Returns the peak of the learning rate in a stage."""
    if stage.learning_rate is not None:
        return stage.learning_rate
    return stage.rate_share * study.learning_rate


def calibration_batches(study: Study) -> list[Any]:
    """Returns inputs of some batches, as the students see them in training."""
    train = study.data["train"]
    size = min(study.batch_size, len(train))
    count = max(CALIBRATION_BATCHES, -(-_CALIBRATION_EXAMPLES // size))
    loader = study.runtime.loader(
        train,
        study.views,
        size,
        seed=0,  # of all studies, whatever their seeds
        num_views=study.num_views,
        **study.loader_options,
    )
    with loader:
        batches = [loader[number] for number in range(count)]
    return [study.views.render(batch)["inputs"] for batch in batches]


def _pruning(pipeline: Pipeline, steps: int) -> optax.GradientTransformation | None:
    """Returns what keeps weights at zero in the last stage, None where none is masked."""
    before, after = pipeline.sparsities
    if not after:
        return None
    sparsity: Any = after
    scope = [s.options["scope"] for s in pipeline.stages if s.kind == "sparsify"][-1]
    if pipeline.last.kind == "sparsify":
        # In the last third of the steps the network recovers from its masks.
        begin = steps // 20
        end = max(begin + 1, 2 * steps // 3)
        sparsity = compression.cubic_sparsity(before, after, begin, end)
    return compression.magnitude_pruning(sparsity, every=max(1, steps // 100), scope=scope)


def _whole_layers(stage: Stage, network: Network, inputs: Any) -> Callable[[str, Any], bool]:
    """Returns which layers stay whole: those that are named, or those as wide as the logits."""
    rules = stage.options["without"]
    if rules is not None:
        return lambda path, layer: any(r == path or re.fullmatch(r, path) for r in rules)
    outputs = jax.eval_shape(
        lambda p, s, x: network.apply(p, s, x)[0], network.params, network.state, inputs
    )
    classes = outputs["logits"].shape[-1] if "logits" in outputs else None
    # A layer of a lower rank could not separate all classes.
    return lambda path, layer: layer.kernel.shape[-1] == classes
