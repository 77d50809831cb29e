"""Faults that would hurt a user without any error, for `mutations.py` to put into the code."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One change of the code that leaves it running and makes it wrong.

    Attributes:
      name: for tables and `--only`.
      file: path from the repository's root.
      old: text that occurs exactly once in the file.
      new: what stands in its place.
      tests: names for pytest of tests that should fail, quick ones.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = (
    # Losses.
    Fault(
        "direction of the divergence",
        "jaxkd/losses/divergences/kl_divergence.py",
        "kl_to_mixture(pair.teacher, pair.student, 0.0)",
        "kl_to_mixture(pair.student, pair.teacher, 0.0)",
        ("tests/losses/divergences/test_kl_divergence.py::test_directions",),
    ),
    Fault(
        "no factor of the squared temperature",
        "jaxkd/losses/logits/kd.py",
        "return jnp.square(jnp.asarray(temperature, divergence.dtype)) * divergence",
        "return divergence",
        ("tests/losses/logits/test_kd.py",),
    ),
    Fault(
        "softmax of cwd over channels",
        "jaxkd/losses/features/cwd.py",
        "temper(jnp.matrix_transpose(positions(x)), temperature, dtype)",
        "temper(positions(x), temperature, dtype)",
        ("tests/losses/features/test_cwd.py",),
    ),
    Fault(
        "padding counted in the masked mean",
        "jaxkd/losses/_reduce.py",
        "jnp.sum(jnp.where(mask, values, 0)), jnp.sum(mask, dtype=values.dtype)",
        "jnp.sum(jnp.where(mask, values, 0)), jnp.asarray(values.size, values.dtype)",
        ("tests/losses/test_reduce.py",),
    ),
    Fault(
        "gradient to the teacher of logits",
        "jaxkd/losses/_logit_pairs.py",
        "    teacher = jax.lax.stop_gradient(teacher)\n    student, teacher = (\n        mask",
        "    student, teacher = (\n        mask",
        ("tests/losses/test_loss_contract.py::test_no_gradient_reaches_the_teacher[kd]",),
    ),
    # Objectives and recipes.
    Fault(
        "weight of the teacher on the labels",
        "jaxkd/recipes/_common.py",
        "if callable(alpha) else 1 - alpha",
        "if callable(alpha) else alpha",
        ("tests/objective/test_objective.py::test_hintons_loss_by_hand",),
    ),
    Fault(
        "the student as its own teacher",
        "jaxkd/objective/objective.py",
        '_lookup(teacher, term.teacher, name, "teacher")',
        '_lookup(student, term.teacher, name, "teacher")',
        ("tests/objective/test_objective.py::test_hintons_loss_by_hand",),
    ),
    Fault(
        "padding in the terms of the teacher",
        "jaxkd/objective/_counting.py",
        'mask = counted(batch) if "labels" in term.requires else _mask(batch, "where")',
        'mask = counted(batch) if "labels" in term.requires else None',
        (
            "tests/objective/test_objective.py::test_padding_and_unlabeled_examples_count_for_nothing",
        ),
    ),
    Fault(
        "temperature of the first step for ever",
        "jaxkd/objective/objective.py",
        'arguments["temperature"] = at_step(term.temperature, step)',
        'arguments["temperature"] = at_step(term.temperature, 0)',
        ("tests/objective/test_objective.py::test_schedules_follow_the_step",),
    ),
    # Training.
    Fault(
        "online teacher in training mode",
        "jaxkd/training/_gradients.py",
        "self.teacher.apply(params, state, inputs, train=self.teacher_train, key=key)",
        "self.teacher.apply(params, state, inputs, train=True, key=key)",
        (
            "tests/training/test_step.py"
            "::test_the_teacher_is_outside_of_the_gradient_and_in_evaluation_mode",
        ),
    ),
    Fault(
        "the same random key in every step",
        "jaxkd/training/_gradients.py",
        "jax.random.fold_in(state.key, state.step)",
        "jax.random.fold_in(state.key, 0)",
        ("tests/training/test_step.py::test_dropout_has_other_samples_in_every_step",),
    ),
    Fault(
        "outputs of micro-batches in another order",
        "jaxkd/training/_gradients.py",
        "lambda values: jnp.swapaxes(values, 0, 1).reshape(-1, *values.shape[2:]), tree",
        "lambda values: values.reshape(-1, *values.shape[2:]), tree",
        (
            "tests/training/test_micro_batches.py"
            "::test_micro_batches_give_the_numbers_of_the_whole_batch[per example]",
        ),
    ),
    Fault(
        "the same dropout in every micro-batch",
        "jaxkd/training/_gradients.py",
        "key = jax.random.fold_in(keys.student, number)",
        "key = keys.student",
        ("tests/training/test_micro_batches.py::test_dropout_differs_between_micro_batches",),
    ),
    Fault(
        "members of a population with one key",
        "jaxkd/training/population.py",
        "create_state(student, objective, optimizer, seed=seed)",
        "create_state(student, objective, optimizer, seed=0)",
        ("tests/training/test_population.py::test_batch_statistics_dropout_and_an_online_teacher",),
    ),
    Fault(
        "optimizer's state not restored on resume",
        "jaxkd/training/checkpoints.py",
        "jax.tree.map(_as_before, like, TrainState(**saved))",
        'jax.tree.map(_as_before, like, TrainState(**saved | {"opt_state": like.opt_state}))',
        ("tests/training/test_loop.py::test_checkpoints_restore_the_whole_state",),
    ),
    # Convolutions.
    Fault(
        "phase of a strided convolution's gradient",
        "jaxkd/ops/_windows.py",
        "(k - 1 - at) % s for k, at, s in zip(problem.kernel, phase, strides, strict=True)",
        "(k - at) % s for k, at, s in zip(problem.kernel, phase, strides, strict=True)",
        (
            "tests/ops/test_convolution.py"
            "::test_values_and_gradients_are_those_of_xla[depthwise_strided]",
        ),
    ),
    # Views, targets and caches.
    Fault(
        "one view for all examples",
        "jaxkd/views/_views.py",
        "jax.random.fold_in(jax.random.fold_in(root, i), v)",
        "jax.random.fold_in(jax.random.fold_in(root, 0 * i), v)",
        ("tests/views/test_views.py::test_other_views_seeds_and_ids_look_different",),
    ),
    Fault(
        "label of the mixing partner left out",
        "jaxkd/views/_mixing.py",
        "jax.nn.one_hot(others, classes)",
        "jax.nn.one_hot(labels, classes)",
        ("tests/views/test_views.py::test_mixed_labels_follow_the_mixed_pixels",),
    ),
    Fault(
        "encoded classes in the tail as well",
        "jaxkd/targets/_truncated.py",
        "others = _without(logits, indices) - largest",
        "others = logits - largest",
        ("tests/targets/test_top_k.py::test_keeps_the_largest_and_the_exact_tail",),
    ),
    Fault(
        "records of another view",
        "jaxkd/cache/_segment.py",
        "where = (view - self.first_view, rows)",
        "where = (0, rows)",
        ("tests/cache/test_build.py::test_records_are_the_teachers_outputs",),
    ),
    Fault(
        "cache of another teacher accepted",
        "jaxkd/cache/_cache.py",
        "wanted |= _contract.of_teacher(teacher)",
        "_contract.of_teacher(teacher)",
        (
            "tests/cache/test_contract.py"
            "::test_a_cache_of_something_else_is_refused_by_field[another teacher]",
        ),
    ),
    Fault(
        "checksums of a checkpoint not compared",
        "jaxkd/training/checkpoints.py",
        "for name, own in digests(saved).items() if own != known.get(name)]",
        "for name, own in digests(saved).items() if name not in known]",
        ("tests/training/test_faults.py::test_whole_arrays_of_another_step_are_not_taken",),
    ),
    # Compression and export.
    Fault(
        "pruned weights keep their values",
        "jaxkd/compression/pruning/gradual.py",
        "moves[path] = jnp.where(mask, moves[path], -olds[path])",
        "moves[path] = jnp.where(mask, moves[path], 0)",
        (
            "tests/compression/pruning/test_gradual.py::test_parameters_are_exactly_masked_at_every_step",
        ),
    ),
    Fault(
        "one scale for all channels of a kernel",
        "jaxkd/compression/quantization/_quantized_layers.py",
        "channelwise_axes=(kernel.ndim - 1,)",
        "channelwise_axes=()",
        ("tests/compression/quantization/test_quantize.py::test_products_are_those_of_integers",),
    ),
    Fault(
        "export of any difference accepted",
        "jaxkd/export/_verify.py",
        "if not (largest <= tolerance.largest and agreement >= tolerance.agreement):",
        "if np.isnan(largest):",
        ("tests/export/test_export.py::test_comparisons",),
    ),
)
