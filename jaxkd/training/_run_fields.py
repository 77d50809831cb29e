"""What a run is made of, field by field: kept with its checkpoints, compared when it resumes."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxkd.cache import _contract
from jaxkd.data import Examples, raw_batch
from jaxkd.data._fields import map_arrays
from jaxkd.networks import PyTree
from jaxkd.networks._architecture import describe
from jaxkd.objective import Term, is_traced
from jaxkd.training._digests import digests
from jaxkd.training._programs import computations, optimizer_constants
from jaxkd.training._validation import is_allowed
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep
from jaxkd.views import Views

Fields = dict[str, Any]
# Of programs, and of numbers as a device computes them: compared where platform and JAX are the
# same, if both sides have them, and if no other field of the part says it in words.
_COMPUTED = tuple(
    f"{part}.{what}"
    for what in ("start", "computation")
    for part in ("student", "teacher", "objective", "optimizer")
)
# Parts that batches tell of, or do not: compared if both sides have some of their fields.
_TOLD = ("batches", "dataset", "teacher", "views")
# Examples by which transforms of the host are known.
_PREPARED_ROWS = 8
_SAMPLED_STEPS = (0, 1, 10, 100, 1_000, 10_000, 100_000)


def run_fields(step: TrainStep, state: TrainState, batches: Any, batch: Any) -> Fields:
    """Describes what decides the result of a run.

    The number of devices and processes, micro-batches, intervals and the number of steps are not
    among it.

    Args:
      step: the step that is to train.
      state: the state that `fit` was given.
      batches: batches by step number; described as far as they have the attributes of a `Loader`.
      batch: one of them, as far as programs are to be described too; None for the others.

    Returns:
      Field → plain data, as JSON returns it.
    """
    fields: Fields = {
        "student.network": step.student.name,
        "student.architecture": _sha(step.student.architecture),
        "seed": " ".join(map(str, np.ravel(jax.random.key_data(_addressable(state.key)))[:8])),
        "step.online_teacher": step.teacher is not None,
        **{f"step.{name}": value for name, value in step.options.items()},
        **_of_batches(batches, batch, step),
        **_of_teacher(step, batches),
        **_of_objective(step),
        "optimizer.constants": optimizer_constants(step, state),
    }
    if int(state.step) == 0:
        fields |= _of_start(state)
    fields |= computations(step, state, batch)
    return json.loads(json.dumps({k: v for k, v in fields.items() if v is not None}))


def as_document(fields: Fields) -> dict[str, Any]:
    """Returns the fields with the platform that some of them belong to, for a checkpoint."""
    return {"fields": fields, "platform": _platform()}


def check_run(
    workdir: Any, document: Mapping[str, Any] | None, fields: Fields, allow: Collection[str]
) -> Fields:
    """Refuses to go on with a run that was made of something else.

    Args:
      workdir: its directory, for the message.
      document: as `as_document` returned it when the checkpoint was saved; None of an earlier
        version, with which nothing can be compared.
      fields: of the present run.
      allow: names of fields or parts that may differ.

    Returns:
      The fields for the next checkpoint: those of the present run, and of the other one those that
      the present one does not know.

    Raises:
      ValueError: each field that differs, with both values.
    """
    if document is None:
        warnings.warn(
            f"the checkpoint in {workdir} is of an earlier version, which did not save what a run "
            "is made of: whether teacher, data, views, objective and optimizer are those that it "
            "began with is not checked this time",
            stacklevel=3,
        )
        return fields
    there, same_platform = dict(document["fields"]), document.get("platform") == _platform()
    differing = differences_of(document, fields)
    names = [name for name in differing if not is_allowed(name, allow)]
    if names:
        lines = [f"  {name}: {differing[name]}" for name in names]
        raise ValueError(
            f"the work directory {workdir} holds a run that was made of something else:\n"
            + "\n".join(lines)
            + "\nResume it with what it began with, choose another workdir, or delete this one. "
            f"To let fields differ, name them: allow={{{', '.join(map(repr, names))}}}"
        )
    told = {_part(name) for name in fields} - {"batches"}
    kept = [n for n in there if _part(n) not in told or (n in _COMPUTED and same_platform)]
    return {name: there[name] for name in kept} | fields


def differences_of(document: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    """Compares a run with what `as_document` returned of another.

    Args:
      document: of the other run.
      fields: of the present run.

    Returns:
      Field that differs → both values; programs where platform and JAX are the same.
    """
    there = dict(document["fields"])
    same_platform = document.get("platform") == _platform()
    differing = [
        name
        for name in _described(there, fields, same_platform)
        if not (same_platform and _is_only_a_name(name, there, fields))
    ]
    for name in _COMPUTED if same_platform else ():
        explained = {_part(other) for other in differing}
        # An optimizer may keep the student's parameters in its state, as moving averages do.
        parts = {_part(name), *(["student"] if name == "optimizer.start" else [])}
        both = name in there and name in fields
        if both and there[name] != fields[name] and not parts & explained:
            differing.append(name)
    return {name: _difference(there.get(name), fields.get(name)) for name in differing}


def _described(there: Fields, now: Fields, same_platform: bool) -> list[str]:
    """Returns the names of fields in words that differ, of what both sides tell."""
    computed = {*_COMPUTED, *(() if same_platform else ("optimizer.constants", "views.on_host"))}
    names = {*there, *now} - computed
    told = {_part(name) for name in there.keys() - computed} & {
        _part(name) for name in now.keys() - computed
    }
    return [
        name
        for name in sorted(names)
        if _as_compared(name, there) != _as_compared(name, now)
        and (_part(name) in told or _part(name) not in _TOLD)
        and (_part(name) != "batches" or (name in there and name in now))
    ]


def _as_compared(name: str, fields: Fields) -> Any:
    """A field's value; of an optimizer's numbers whatever their order, which its program has."""
    value = fields.get(name)
    return sorted(value) if name == "optimizer.constants" and value else value


def _is_only_a_name(name: str, there: Fields, now: Fields) -> bool:
    """Whether a field names what has the same program under another name."""
    program = f"{_part(name)}.computation"
    same = program in there and there[program] == now.get(program)
    return same and (name.endswith((".network", ".architecture")) or name.startswith("objective."))


def _part(name: str) -> str:
    return name.partition(".")[0]


def _of_batches(batches: Any, batch: Any, step: TrainStep) -> Fields:
    fields: Fields = {
        f"batches.{name}": getattr(batches, name)
        for name in ("batch_size", "seed")
        if isinstance(getattr(batches, name, None), int)
    }
    if hasattr(batches, "num_views"):
        fields["batches.num_views"] = batches.num_views or "a new one in each epoch"
    dataset, views = getattr(batches, "dataset", None), getattr(batches, "views", None)
    if isinstance(dataset, Examples):
        fields |= _contract.of_dataset(dataset)
        fields["dataset.ids"] = _contract.of_ids(dataset.ids)
        fields["dataset.labels"] = map_arrays(_of_labels, dataset.labels)
    elif batch is not None and "inputs" in batch:
        processes = step.partitioning.process[1] if step.partitioning else 1
        rows = {np.shape(leaf)[0] * processes for leaf in jax.tree.leaves(batch["inputs"])}
        fields["batches.batch_size"] = max(rows)
    views = step.views or (views if isinstance(views, Views) else None)
    if views is not None:
        fields |= {f"views.{name}": value for name, value in views.specification().items()}
    if views is not None and views.on_host and isinstance(dataset, Examples):
        fields["views.on_host"] = _of_host(views, dataset)
    return fields


def _of_labels(labels: np.ndarray) -> str:
    return f"{labels.shape} {_sha(np.ascontiguousarray(labels).tobytes())}"


def _of_host(views: Views, dataset: Examples) -> str:
    """Name of what transforms of NumPy, whose code no program shows, make of some examples."""
    ids = dataset.ids[np.linspace(0, len(dataset) - 1, _PREPARED_ROWS).astype(int)]
    batch = raw_batch(dataset, views, ids, np.arange(_PREPARED_ROWS, dtype=np.int32))
    leaves = jax.tree.leaves(batch["inputs"])
    return _sha(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves))


def _of_teacher(step: TrainStep, batches: Any) -> Fields:
    """The online teacher, or the one whose outputs the batches' cache holds."""
    if step.teacher is not None:
        return {f"teacher.{n}": value for n, value in step.teacher.fingerprint().items()}
    cache = getattr(batches, "cache", None)
    members = getattr(cache, "caches", None) or {"": cache}
    fields: Fields = {}
    for member, one in members.items():
        contract, prefix = getattr(one, "contract", None) or {}, f"{member}." if member else ""
        own = {n: v for n, v in contract.items() if n.startswith(("teacher.", "codec"))}
        document = getattr(one, "document", None) or {}
        # A cache that was built again has another id; the teacher's parameters say more, if known.
        if "teacher.parameters" not in own and "id" in document:
            own["teacher.cache"] = document["id"]
        fields |= {
            f"teacher.{prefix}{name.removeprefix('teacher.')}": value for name, value in own.items()
        }
    return fields


def _of_objective(step: TrainStep) -> Fields:
    fields: Fields = {}
    for name, term in step.objective.terms.items():
        fields[f"objective.{name}.loss"] = describe(term.loss)
        fields[f"objective.{name}.outputs"] = f"{term.student} and {term.teacher}"
        # Left out where there are none, as in checkpoints from before there were any.
        if term.fields:
            fields[f"objective.{name}.fields"] = dict(sorted(term.fields.items()))
        fields[f"objective.{name}.weight"] = _number(term, "weight")
        fields[f"objective.{name}.temperature"] = _number(term, "temperature")
    return fields


def _number(term: Term, what: str) -> Any:
    value = getattr(term, what)
    if value is None or is_traced(value):
        return None
    if not callable(value):
        return float(value)
    with jax.ensure_compile_time_eval():
        return [float(f"{float(value(step)):.5g}") for step in _SAMPLED_STEPS]


def _of_start(state: TrainState) -> Fields:
    """The values of a new state: of a student of another seed, or of other hyperparameters."""
    tree = {"opt_state": state.opt_state, "params": state.params, "model": state.model_state}
    known = digests(_with_plain_keys(tree))

    def of(*prefixes: str) -> str:
        return _sha(json.dumps({k: v for k, v in known.items() if k.startswith(prefixes)}))

    return {
        "student.start": of("['params']['student']", "['model']['student']"),
        "objective.start": of("['params']['connectors']", "['model']['connectors']"),
        "optimizer.start": of("['opt_state']"),
    }


def _with_plain_keys(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        tree,
    )


def _addressable(key: jax.Array) -> jax.Array:
    return key if key.is_fully_addressable else key.addressable_data(0)


def _difference(there: Any, now: Any) -> str:
    """Both values; of two lists the entries that the other one lacks."""
    if isinstance(there, list) and isinstance(now, list):
        one, other = ([x for x in a if x not in b] for a, b in ((there, now), (now, there)))
        there, now = one or there, other or now
    return f"{_shown(there)} there, {_shown(now)} now"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]} …"


def _sha(content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    return f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"


def _platform() -> str:
    versions = {package.__name__: package.__version__ for package in (jax, flax, optax)}
    return ", ".join(f"{name} {version}" for name, version in versions.items()) + (
        f" on {jax.default_backend()}"
    )
