"""What a cache holds: outputs of a teacher, on views of a data set, in a format."""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._own_codecs import decoded_fields
from jaxkd.cache._record_format import Codecs, RecordFormat, by_output
from jaxkd.data import Examples, raw_batch
from jaxkd.data._examples import check_vocabulary, integer
from jaxkd.data._kinds import check_examples
from jaxkd.data._labels import class_ids
from jaxkd.networks import Network
from jaxkd.networks._trial import Trial
from jaxkd.targets import from_specification
from jaxkd.teachers import ForeignTeacher
from jaxkd.teachers._trial import check_teacher
from jaxkd.views import Views

_EMPTY = "the number of examples must be at least 1, not 0"
# Examples that a teacher is tried on before a cache is created; and the batch size that shapes are
# inferred with where one example is none that a network takes, and no other is known.
_TRIED, _BATCH = 8, 64


@dataclasses.dataclass(frozen=True, eq=False)
class CacheContents:
    """What a cache holds, or would hold: whose outputs, on which inputs, stored how.

    A build, a write-through cache, a forecast and a spot check all need the same four things, and
    none of the four can be checked without the others: shapes are those of this teacher on these
    views, a codec may want the labels of this data set, and the contract of the cache names them
    all. One object owns them, so that they are inferred and checked once and handed on together.

    Attributes:
      teacher: a network, a foreign teacher, or what the caller says of a teacher that is not at
        hand.
      dataset: the examples.
      views: how an example is rendered before the teacher sees it.
      record_format: codecs and shapes of the outputs.
      batch_size: examples in a forward pass, for a network that cannot take a single one, such as
        one that runs on all devices of a mesh.
    """

    teacher: Network | ForeignTeacher | Mapping[str, str]
    dataset: Examples
    views: Views
    record_format: RecordFormat
    batch_size: int = _BATCH

    @classmethod
    def of_teacher(
        cls,
        teacher: Network | ForeignTeacher,
        dataset: Examples,
        views: Views | None,
        codec: Codecs = None,
        valid_classes: int | None = None,
        batch_size: int = _BATCH,
    ) -> "CacheContents":
        """Infers the shapes of a teacher's outputs; a foreign one computes two examples for it.

        Args:
          teacher: the teacher.
          dataset: the examples.
          views: how an example is rendered; None: unchanged.
          codec: how an output is stored.
          valid_classes: number of logits that are classes, where a vocabulary is padded.
          batch_size: examples in a forward pass.

        Returns:
          The contents of a cache of these outputs.

        Raises:
          ValueError: an output that the teacher does not have, logits of the wrong rank, more valid
            classes than logits, more tokens than embeddings, no examples.
        """
        check_examples(dataset)
        views, codecs = _contract.checked_views(views), by_output(codec)
        inputs = cls(teacher, dataset, views, RecordFormat(codecs, {}), batch_size)
        outputs = inputs.output_shapes()
        if absent := [name for name in codecs if name not in outputs]:
            known = sorted(outputs)
            each = ", ".join(f"{name!r}: Dense()" for name in known)
            raise ValueError(
                f"the teacher has no output {absent}; it has {known}: say which are stored, "
                f"codec={{{each}}}, or name one of them so in its adapter, "
                f"outputs={{{absent[0]!r}: '…'}}"
            )
        if found := [n for n in codecs if outputs[n].dtype.kind == "c"]:
            raise ValueError(
                f"the teacher's outputs {found} are complex numbers, which no codec stores: return "
                "both parts, jnp.stack([x.real, x.imag], axis=-1)"
            )
        shapes = {name: tuple(outputs[name].shape[1:]) for name in codecs}
        num_logits = None
        if "logits" in shapes:
            shapes["logits"], num_logits = _without_padding(shapes["logits"], valid_classes)
        record_format = RecordFormat(codecs, shapes, num_logits)
        contents = cls(teacher, dataset, views, record_format, batch_size)
        contents.__dict__["input_shapes"] = inputs.input_shapes  # known already
        contents.__dict__["_render"] = inputs._render  # compiled already
        return contents

    @functools.cached_property
    def input_shapes(self) -> Any:
        """What one example is rendered to, or a batch where a network takes no single one."""
        if isinstance(self.teacher, Network):
            return self._of_network[0]
        return _input_shapes(self.dataset, self.views)

    @functools.cached_property
    def _of_network(self) -> tuple[Any, Mapping[str, Any]]:
        """Shapes and dtypes of a network's inputs and outputs."""
        network = self.teacher
        assert isinstance(network, Network)

        def forward(inputs: Any) -> Mapping[str, Any]:
            return network.apply(network.params, network.state, inputs)[0]

        inputs = _input_shapes(self.dataset, self.views)
        try:
            return inputs, jax.eval_shape(forward, inputs)
        except Exception as error:  # whatever a network raises that divides its batch
            larger = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((self.batch_size, *x.shape[1:]), x.dtype), inputs
            )
            try:
                return larger, jax.eval_shape(forward, larger)
            except Exception:
                raise error from None

    def output_shapes(self) -> Mapping[str, Any]:
        """Infers shape and dtype of each output of the teacher, with a leading axis of examples.

        Returns:
          Output → an object with `shape` and `dtype`.

        Raises:
          ValueError: more tokens than embeddings, no examples; a foreign teacher that does not
            return named arrays.
        """
        teacher = self.teacher
        if isinstance(teacher, ForeignTeacher):
            if not len(self.dataset):
                raise ValueError(_EMPTY)
            return teacher(self.rendered(self._raw_batch(2)))
        assert isinstance(teacher, Network)
        check_vocabulary(self.dataset, teacher=teacher.vocab_size)
        return self._of_network[1]

    def rendered(self, batch: Mapping[str, Any]) -> Any:
        """Returns the inputs of a raw batch as its views show them, in NumPy.

        Args:
          batch: as of `jaxkd.data.raw_batch`.
        """
        return jax.device_get(self._render(dict(batch)))

    @functools.cached_property
    def _render(self) -> Any:
        return jax.jit(lambda batch: self.views.render(batch)["inputs"])

    def _raw_batch(self, count: int) -> dict[str, Any]:
        """Examples from the whole of the data set, in view 0."""
        ids = self.dataset.ids[np.linspace(0, len(self.dataset) - 1, count).astype(int)]
        return raw_batch(self.dataset, self.views, ids, np.zeros(count, np.int32))

    def fields(self) -> dict[str, Any]:
        """All fields of the contract of a cache with these contents."""
        dataset = _contract.of_dataset(self.dataset)
        if "logits" not in self.record_format.shapes:
            dataset.pop("dataset.num_classes", None)  # embeddings serve any classes
        return {
            **_contract.of_teacher(self.teacher),
            **dataset,
            **_contract.of_views(self.dataset, self.views),
            **self.record_format.fields(),
            **decoded_fields(self.record_format),
            **_contract.of_versions(),
        }

    def check_mode(self, allow: Collection[str] = ()) -> None:
        """Tries the teacher on some examples, and refuses one that is not in evaluation mode.

        Args:
          allow: names of what is accepted as it is; `"teacher.mode"` turns the trial off.

        Raises:
          ValueError: it draws random numbers, moves its state, depends on the rest of the batch, or
            differs between two calls.
        """
        if isinstance(self.teacher, Mapping) or "teacher.mode" in allow:
            return
        if isinstance(self.teacher, ForeignTeacher):
            check_teacher(self.teacher, self.rendered(self._raw_batch(_TRIED)))
            return
        batch = self._raw_batch(max(_TRIED, jax.tree.leaves(self.input_shapes)[0].shape[0]))

        def render(batch: Any) -> Any:
            return self.views.render(batch)["inputs"]

        Trial(self.teacher, "teacher", render, (batch,)).check_evaluation()

    def check(self) -> None:
        """Refuses codecs that fit neither the teacher's outputs nor the examples.

        Raises:
          ValueError: no codec, an output without a shape or with a name that cannot become that of
            a folder, a codec that needs labels which there are not, fewer logits than classes.
        """
        codecs, shapes = self.record_format.codecs, self.record_format.shapes
        width = self.record_format.num_logits
        if not codecs:
            raise ValueError("no output of the teacher is stored: name one with its codec")
        for name, codec in codecs.items():
            if name not in shapes:
                raise ValueError(
                    f"the codecs store the teacher's output {name!r}, the teacher has "
                    f"{sorted(shapes)}"
                )
            if not name or "/" in name:
                raise ValueError(f"an output's name becomes that of a folder: {name!r} cannot")
            codec.layout(shapes[name])  # raises where it does not fit
            # A codec that cannot be made again from its specification could never be decoded.
            from_specification(codec.specification(), (type(codec),))
            if "labels" in codec.needs:
                self._check_labels(codec, shapes[name])
        if width is not None and width < (classes := shapes.get("logits", (width,))[-1]):
            raise ValueError(
                f"num_logits={width} are fewer than the {classes} classes of the shape of the "
                "logits: it is the width of padded logits; leave it out where there is no padding"
            )

    def _check_labels(self, codec: Any, shape: tuple[int, ...]) -> None:
        if self.views.mixes:
            raise ValueError(
                f"{codec} stores the label's class, and {self.views.transforms[-1]} gives an "
                "example two"
            )
        labels = self.dataset.labels
        by_place = not isinstance(labels, Mapping) and labels.dtype.kind == "i" and labels.ndim > 1
        if not by_place or labels.shape[1:] != tuple(shape[:-1]):
            labels = class_ids(self.dataset, str(codec))
        # Of tokens, the last one of a text has no next token; there the codec needs none.
        if labels.ndim == 1 and (labels < 0).any():
            count = int((labels < 0).sum())
            raise ValueError(
                f"{codec} stores the label's class, and {count} examples have no label"
            )


def _input_shapes(dataset: Examples, views: Views) -> Any:
    if not len(dataset):
        raise ValueError(_EMPTY)
    example = raw_batch(dataset, views, dataset.ids[:1], np.zeros(1, np.int32))
    return jax.eval_shape(lambda batch: views.render(batch)["inputs"], example)


def _without_padding(
    shape: tuple[int, ...], valid_classes: int | None
) -> tuple[tuple[int, ...], int]:
    """The shape of the logits that are stored, and the width of those that the teacher computes."""
    if not shape:
        raise ValueError("the teacher's logits must be [batch, ..., num_classes], not (1,)")
    width = shape[-1]
    if valid_classes is None:
        return shape, width
    if not 1 <= integer(valid_classes, "valid_classes") <= width:
        raise ValueError(f"valid_classes must lie between 1 and {width}, not {valid_classes}")
    return (*shape[:-1], valid_classes), width
