"""The teacher of a cache by what it computes: its program, and its outputs on a few spots."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._contract import CacheError
from jaxkd.cache._encode import stored_values
from jaxkd.cache._sketch import choose_spots, packed, read_spots, unpacked
from jaxkd.cache._teacher import TeacherFn, make_teacher_fn
from jaxkd.data import raw_batch
from jaxkd.networks import Network
from jaxkd.networks._trace import Trace, trace

# Examples and views on which outputs are kept, and the fewest that are enough to compare.
SPOTS, _FEWEST = 64, 16
# The largest difference that is taken for rounding, relative to the spread of each number over the
# spots; and what is added for numbers of fewer bits, relative to their size. In float32 other batch
# sizes and programs differ by up to 4e-6 of the spread; in bfloat16 by 0.008 of the size.
TOLERANCE = 5e-3
# Of a number that hardly varies, relative to the spread of the others, which it is computed with.
_CONSTANT = 2.0**-16
_FLOAT32, _TF32, _BFLOAT16 = 2.0**-19, 2.0**-10, 2.0**-6
# Where numbers have fewer bits, one example may be off by so much more than all together.
_WORST = 4
# What a network is called, and what its layers are.
_DESCRIPTIONS = ("teacher.network", "teacher.architecture")

SpotOutputs = Callable[[np.ndarray, np.ndarray], dict[str, Any]]
"""(ids, views), int32 `[n]` each → what `encode_sketches` returns of the teacher's outputs."""


@dataclasses.dataclass(frozen=True, eq=False)
class TeacherBehavior:
    """What a teacher computes on the examples of a cache, to be kept or to be compared.

    Attributes:
      contents: the teacher, and what its outputs are computed of.
      outputs: computes them; None: the teacher, if it is at hand.
      always: whether outputs are compared where the program is the same too: if several processes
        compute together, none may leave it out; and of a foreign teacher there is no program.
    """

    contents: CacheContents
    outputs: SpotOutputs | None = None
    always: bool = False

    @property
    def known(self) -> bool:
        """Whether there are outputs to be compared, not a fingerprint alone."""
        return self.outputs is not None or not isinstance(self.contents.teacher, Mapping)

    def document(self, num_views: int, allow: Collection[str] = ()) -> dict[str, Any]:
        """Computes what a new cache keeps of its teacher.

        Args:
          num_views: number of views of each example.
          allow: names of fields; `"teacher.logits"` lets logits be of any kind.

        Returns:
          The document of identity of the kind `"teacher"`.

        Raises:
          CacheError: logits that are probabilities, or the same for all examples.
        """
        ids, views = choose_spots(self.contents.dataset.ids, num_views, SPOTS)
        found = self._computed(ids.tobytes(), views.tobytes())
        if "teacher.logits" not in allow:
            self._check_logits(found, ids, views)
        return {
            "jax_version": jax.__version__,
            "program": None if self._trace is None else self._trace.digest,
            "rounding": self._rounding,
            "spots": {"ids": ids.tolist(), "views": views.tolist()},
            "outputs": {name: packed(value) for name, value in found["outputs"].items()},
        }

    def check(
        self,
        path: str,
        contract: Mapping[str, Any],
        fields: Mapping[str, Any],
        allow: Collection[str] = (),
        changed: np.ndarray | None = None,
        compare_records: Callable[[], None] | None = None,
    ) -> None:
        """Refuses a teacher that computes other outputs than the cache keeps.

        Args:
          path: path of the cache, for the message.
          contract: its contract.
          fields: fields of this teacher; the others are not looked at.
          allow: names of fields that may differ; `"teacher.outputs"`: nothing is computed.
          changed: ids of examples with another content, of which outputs differ of course.
          compare_records: compares with stored records instead, where the examples on which
            outputs are kept are not at hand; raises where they differ.

        Raises:
          CacheError: names the worst example, with both outputs.
        """
        if not self.known or "teacher.outputs" in allow:
            return
        self._check_shapes(path, allow)
        stored = read_spots(path, contract, "teacher")
        if stored is not None and self._is_same_program(stored, contract["fields"], fields):
            return
        spots = {} if stored is None else stored["spots"]
        ids = np.asarray(spots.get("ids", ()), np.int32)
        views = np.asarray(spots.get("views", ()), np.int32)
        here = np.isin(ids, self.contents.dataset.ids)
        if changed is not None:
            here &= ~np.isin(ids, changed)
        if stored is not None and here.sum() >= max(1, min(_FEWEST, len(ids))):
            found = self._computed(ids[here].tobytes(), views[here].tobytes())["outputs"]
            rounding = max(stored["rounding"], self._rounding)
            for name, value in found.items():
                kept = unpacked(stored["outputs"][name])
                _compare(path, name, kept, here, np.asarray(value), (ids, views), rounding, allow)
        elif compare_records is not None:
            compare_records()
        elif stored is not None:
            raise CacheError(
                f"of the {len(np.unique(ids))} examples on which the cache {path} keeps outputs of "
                f"its teacher, {len(np.unique(ids[here]))} are in this data set, too few to "
                "compare this teacher, whose program is another one: give the data set with all "
                'examples, or leave the comparison out by allow={"teacher.outputs"}'
            )

    def described_otherwise(
        self, path: str, contract: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> set[str]:
        """Returns the fields in which only the description of the network differs.

        Names and a text of the architecture tell two networks apart at a glance, and also two that
        are the same: a function that was moved, or a class that was renamed. The program decides.

        Args:
          path: path of the cache.
          contract: its contract.
          fields: fields of this teacher.
        """
        differing = {n for n in _DESCRIPTIONS if contract["fields"].get(n) != fields.get(n)}
        if not differing or not isinstance(self.contents.teacher, Network):
            return set()
        stored = read_spots(path, contract, "teacher")
        same = stored is not None and self._is_same_program(stored, contract["fields"], fields)
        return differing if same else set()

    @functools.cached_property
    def _trace(self) -> Trace | None:
        network, contents = self.contents.teacher, self.contents
        if not isinstance(network, Network):
            return None

        def stored(params: Any, state: Any, inputs: Any) -> dict[str, jax.Array]:
            outputs = network.apply(params, state, inputs)[0]
            if absent := sorted(set(contents.record_format.codecs) - set(outputs)):
                raise ValueError(f"the teacher has no output {absent}; it has {sorted(outputs)}")
            return {
                name: stored_values(outputs, name, contents.record_format, None)
                for name in contents.record_format.codecs
            }

        return trace(stored, network.params, network.state, contents.input_shapes)

    @property
    def _rounding(self) -> float:
        """Rounding of the outputs, relative to their size."""
        platform = jax.default_backend()
        if self._trace is None or self._trace.coarse or platform == "tpu":
            return _BFLOAT16  # a TPU multiplies float32 in bfloat16, a foreign teacher unknown how
        return _FLOAT32 if platform == "cpu" else _TF32

    def _check_logits(self, found: Mapping[str, Any], ids: np.ndarray, views: np.ndarray) -> None:
        """Refuses logits that are probabilities, and logits that tell no example from another."""
        logits, probabilities = found["outputs"].get("logits"), found["probabilities"]
        allow = 'If that is meant, build with allow={"teacher.logits"}'
        if logits is None:
            return
        if probabilities.all():
            raise CacheError(
                f"the teacher's logits lie between 0 and 1 and add up to 1 for all {len(logits)} "
                "examples that were tried: they are probabilities, of which losses would take the "
                f"softmax again. Return their logarithms, jnp.log(probabilities), instead. {allow}"
            )
        if not _all_equal(logits) or len(logits) == 1:
            return
        inputs = jax.tree.leaves(self.contents.dataset.read(ids, views))
        if not all(_all_equal(np.asarray(leaf)) for leaf in inputs):
            raise CacheError(
                f"the teacher's logits are the same for all {len(logits)} examples that were "
                f"tried, {_contract.numbers(logits[0])}: a student would learn nothing from them. "
                f"Check the teacher's parameters and the value range of the views. {allow}"
            )

    def _check_shapes(self, path: str, allow: Collection[str]) -> None:
        if self._trace is None:
            return
        kept = {name: list(self.contents.record_format.shapes[name]) for name in self._trace.shapes}
        own = {name: list(shape.shape[1:]) for name, shape in self._trace.shapes.items()}
        _contract.check(path, {"teacher.outputs": kept}, {"teacher.outputs": own}, allow)

    def _is_same_program(
        self, stored: Mapping[str, Any], contract: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> bool:
        """Whether the outputs are the same without computing them."""
        parameters = "teacher.parameters"
        return (
            not self.always
            and stored["jax_version"] == jax.__version__
            and parameters in fields
            and contract.get(parameters) == fields[parameters]
            and self._trace is not None
            and self._trace.digest is not None
            and self._trace.digest == stored["program"]
        )

    @functools.cached_property
    def _computed(self) -> Callable[[bytes, bytes], dict[str, Any]]:
        outputs = self.outputs or outputs_of_teacher(self.contents)

        # Who creates a cache and then compares computes once.
        @functools.lru_cache(maxsize=1)
        def computed(ids: bytes, views: bytes) -> dict[str, Any]:
            return outputs(np.frombuffer(ids, np.int32), np.frombuffer(views, np.int32))

        return computed


def outputs_of_teacher(
    contents: CacheContents, teacher_fn: TeacherFn | None = None, batch_size: int = SPOTS
) -> SpotOutputs:
    """Returns a function that computes sketches of a teacher's outputs.

    Args:
      contents: the teacher and its inputs.
      teacher_fn: its compiled program; None: one that computes nothing else, compiled when needed.
      batch_size: number of examples that the program is called with.
    """

    def outputs(ids: np.ndarray, views: np.ndarray) -> dict[str, Any]:
        run = teacher_fn or make_teacher_fn(contents, records=False)
        parts = []
        for start in range(0, len(ids), batch_size):
            some = np.resize(ids[start : start + batch_size], batch_size)
            view = np.resize(views[start : start + batch_size], batch_size)
            parts.append(run(raw_batch(contents.dataset, contents.views, some, view))[2])
        count = len(ids)
        return jax.tree.map(lambda *p: np.concatenate(p)[:count], *jax.device_get(parts))

    return outputs


def _all_equal(rows: np.ndarray) -> bool:
    return bool((rows == rows[:1]).all())


def _compare(
    path: str,
    name: str,
    kept: np.ndarray,
    here: np.ndarray,
    own: np.ndarray,
    spots: tuple[np.ndarray, np.ndarray],
    rounding: float,
    allow: Collection[str],
) -> None:
    """Refuses outputs that differ by more than rounding from those that were kept.

    Args:
      path: path of the cache, for the message.
      name: name of the output.
      kept: sketches `[n, k]`, of all spots.
      here: bool `[n]`, the spots that were computed.
      own: sketches that were computed.
      spots: ids and views of all spots.
      rounding: of the outputs, relative to their size.
      allow: names of fields that may differ.
    """
    if not agree(kept, here, own, rounding):
        old, excess = kept[here].astype(np.float64), _excess(kept, here, own, rounding)
        worst = int(np.argmax(excess))
        ids, views = (array[here] for array in spots)
        what = f"{name} of example {ids[worst]} in view {views[worst]}: "
        off = (
            f" (they differ by {excess[worst]:.3g} times what is taken for rounding; of "
            f"{len(old)} examples {int((excess > 1).sum())} differ by more than that)"
        )
        _contract.check(
            path,
            {"teacher.outputs": what + _contract.numbers(old[worst])},
            {"teacher.outputs": what + _contract.numbers(own[worst]) + off},
            allow,
        )


def agree(kept: np.ndarray, rows: np.ndarray, own: np.ndarray, rounding: float) -> bool:
    """Returns whether outputs differ by no more than rounding from those that were kept.

    Args:
      kept: sketches `[n, k]`, of all spots.
      rows: the spots that were computed.
      own: their sketches.
      rounding: of the outputs, relative to their size.
    """
    excess = _excess(kept, rows, own, rounding)
    if rounding > _FLOAT32:
        return bool(np.sqrt(np.mean(excess**2)) <= 1 and excess.max() <= _WORST)
    return bool(excess.max() <= 1)


def _excess(kept: np.ndarray, rows: np.ndarray, own: np.ndarray, rounding: float) -> np.ndarray:
    """The root mean square difference of each example, in units of what is still rounding."""
    kept = kept.astype(np.float64)
    # Number by number: one that is large, or far apart, says nothing of how the others are rounded.
    spread, size = kept.std(axis=0), np.sqrt(np.mean(kept**2, axis=0))
    together = np.quantile(spread, 0.75)  # a few numbers in other units leave it as it is
    # Rounding goes with the size of numbers, not with how far apart they are.
    floor = max(rounding, _CONSTANT) * together
    limit = TOLERANCE * spread + np.maximum(rounding * size, floor)
    differences = np.abs(own - kept[rows]) / np.maximum(limit, np.finfo(np.float32).tiny)
    return np.sqrt(np.mean(differences**2, axis=1))
