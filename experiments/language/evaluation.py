"""What language models are measured by: held-out text, and the text that they generate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.language.config import Config
from experiments.language.corpus import Corpus
from experiments.language.networks import generator
from jaxkd import Network, Views, losses
from jaxkd.data import Examples
from jaxkd.generation import CachedDecoder
from jaxkd.networks import PyTree
from jaxkd.study import Evaluator
from jaxkd.study.runtime import Runtime

TEST_BATCH = 32

Variables = tuple[PyTree, PyTree]


class LanguageEvaluator(Evaluator):
    """Measures decoders on held-out text, alone and against the teacher.

    Args:
      examples: held-out rows of tokens.
      views: how networks see them.
      runtime: devices.
      config: configuration of the experiment.
      corpus: tokenizer, prompts and bytes of the held-out rows.
      decoder: how the networks that are measured compute token by token; they differ from its
        network in their variables alone.
      teacher: network that `results` compares with; None for the measured one itself.
    """

    def __init__(
        self,
        examples: Examples,
        views: Views,
        runtime: Runtime,
        *,
        config: Config,
        corpus: Corpus,
        decoder: CachedDecoder,
        teacher: Network | None = None,
    ):
        super().__init__(examples, views, runtime, batch_size=TEST_BATCH)
        self._corpus, self._decoder = corpus, decoder
        self._teacher = teacher
        self._generate = generator(config, corpus.tokenizer, decoder)
        jit = runtime.partitioning.jit if runtime.partitioning else jax.jit
        self._compare, self._continue = jit(self._sums), jit(self._generated)

    def names(self, network: Network) -> list[str]:
        """Returns the names of the scores."""
        return ["bits_per_byte", *super().names(network)]

    def scores(self, network: Network) -> dict[str, float]:
        """Returns the means over all tokens, and bits per byte."""
        scores = super().scores(network)
        return {**scores, "bits_per_byte": self._corpus.bits_per_byte(scores["cross_entropy"])}

    def results(self, network: Network) -> dict[str, np.ndarray]:
        """Returns what the report shows of a trained network.

        Args:
          network: a decoder of the architecture that this evaluator was made for.

        Returns:
          - `bits_per_byte`: of the held-out rows;
          - `accuracy`: share of the tokens for which the likeliest token is right;
          - `agreement`: share of the tokens for which it is the teacher's likeliest;
          - `kl`: mean KL(teacher‖student) a token, in nats;
          - `generated_kl`: mean KL(student‖teacher) a token of the text that it generates;
          - `generated`: this text, int `[prompts, length]`, prompts included;
          - `lengths`: number of tokens of each of its rows `[prompts]`.
        """
        teacher = network if self._teacher is None else self._teacher
        variables = (network.params, network.state), (teacher.params, teacher.state)
        sums: dict[str, Any] = {}
        for batch in self.batches():
            part = jax.device_get(self._compare(*variables, self._put(batch)))
            sums = jax.tree.map(np.add, sums, part) if sums else part
        means = {name: float(total / count) for name, (total, count) in sums.items()}
        prompts = self._put({"tokens": self._corpus.prompts})
        text, lengths, (kl, count) = jax.device_get(self._continue(*variables, prompts))
        return {
            "bits_per_byte": np.array(self._corpus.bits_per_byte(means.pop("cross_entropy"))),
            **{name: np.array(value) for name, value in means.items()},
            "generated_kl": np.array(kl / count),
            "generated": np.asarray(text),
            "lengths": np.asarray(lengths),
        }

    def _logits(self, student: Variables, teacher: Variables, inputs: Any) -> tuple[Any, Any]:
        outputs, _ = self._decoder.network.apply(*student, inputs)
        apply = (self._teacher or self._decoder.network).apply
        teacher_outputs, _ = apply(*teacher, inputs)
        return outputs["logits"], teacher_outputs["logits"]

    def _sums(self, student: Variables, teacher: Variables, batch: Any) -> Any:
        """Computes sums and counts over a batch of held-out rows."""
        logits, teacher_logits = self._logits(student, teacher, batch["inputs"])
        likeliest = jnp.argmax(logits, -1)
        values = {
            "cross_entropy": losses.cross_entropy(logits, batch["labels"]),
            "accuracy": likeliest == batch["labels"],
            "agreement": likeliest == jnp.argmax(teacher_logits, -1),
            "kl": losses.kl_divergence(logits, teacher_logits),
        }
        where = batch["where"]
        return {name: losses.masked_sum_and_count(v, where) for name, v in values.items()}

    def _generated(self, student: Variables, teacher: Variables, batch: Any) -> Any:
        """Continues prompts; computes sum and count of the divergence from the teacher."""
        prompts = batch["tokens"]
        prompt_lengths = jnp.full(len(prompts), prompts.shape[1])
        text = self._generate(*student, prompts, prompt_lengths, key=jax.random.key(0))
        valid = jnp.arange(text.tokens.shape[1]) < text.lengths[:, None]
        inputs = jnp.stack([text.tokens, valid.astype(jnp.int32)], axis=-1)
        values = losses.reverse_kl_divergence(*self._logits(student, teacher, inputs))
        # The logits at a position are those of the next token: it counts if that is generated.
        where = jnp.pad(text.where[:, 1:], ((0, 0), (0, 1)))
        return text.tokens, text.lengths, losses.masked_sum_and_count(values, where)

    def _put(self, batch: Any) -> Any:
        layout = self.runtime.for_batch(len(jax.tree.leaves(batch)[0]))
        return layout.put(batch, whole=True) if layout else batch
