"""How networks of the language experiment are trained, and how they are judged."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from experiments.common.study import adamw
from experiments.language.corpus import Corpus
from jaxkd import Network, Objective, TrainState, Views, losses
from jaxkd.cache import Cache
from jaxkd.data import Loader, Sequences, eval_batches
from jaxkd.generation import CachedDecoder, from_decoder, generate
from jaxkd.models import Decoder
from jaxkd.training import Partitioning, evaluate, fit, make_eval_step

TEST_BATCH = 32
_STEPS_PER_CALL = 20
_EVALUATIONS = 5


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the networks of one kind are worth on held-out text, one number a seed.

    Attributes:
      bits: bits per byte.
      accuracy: of the next token.
      agreement: how often the likeliest token is the teacher's.
      kl: mean KL(teacher, student) a token, in nats.
      own_kl: mean KL(student, teacher) a token of what it writes itself.
      seconds: of training; nan where it was cut and taken up.
      curve_steps: `[points]`.
      curve: bits per byte on the way, `[seeds, points]`.
      written: tokens `[prompts, length]` of the first seed, prompts included.
      lengths: `[prompts]`, of what was written.
    """

    bits: np.ndarray
    accuracy: np.ndarray
    agreement: np.ndarray
    kl: np.ndarray
    own_kl: np.ndarray
    seconds: np.ndarray
    curve_steps: np.ndarray
    curve: np.ndarray
    written: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[Mapping[str, np.ndarray]]) -> "Judged":
        """The results of several seeds together."""
        first = {name: runs[0][name] for name in ("curve_steps", "written", "lengths")}
        fields = [field.name for field in dataclasses.fields(cls)]
        rest = {name: np.stack([run[name] for run in runs]) for name in fields if name not in first}
        return cls(**first, **rest)


@dataclasses.dataclass(frozen=True)
class Lessons:
    """What all trainings share.

    Attributes:
      config: of the experiment.
      workdir: everything is kept below it.
      corpus: the texts.
      partitioning: of all devices, None for a single one.
      profile: see `jaxkd.training.fit`.
    """

    config: Any
    workdir: pathlib.Path
    corpus: Corpus
    partitioning: Partitioning | None = None
    profile: int | None = None

    def make(self, size: Any, seed: int) -> CachedDecoder:
        """A fresh decoder."""
        module = Decoder(
            self.corpus.tokenizer.vocab_size,
            size.width,
            size.layers,
            size.heads,
            hidden_width=size.hidden,
            rngs=nnx.Rngs(seed),
        )
        return from_decoder(module)

    @functools.cached_property
    def student(self) -> CachedDecoder:
        """How students compute; they differ in variables alone."""
        return self.make(self.config.student, 0)

    def lay(self, batch_size: int) -> Partitioning | None:
        """Where a batch of a size lies."""
        return self.partitioning and self.partitioning.for_batch(batch_size)

    def train(
        self,
        name: str,
        network: Network,
        objective: Objective,
        rows: Sequences,
        *,
        steps: int,
        learning_rate: float,
        seed: int = 0,
        cache: Cache | None = None,
        trained: Network | None = None,
        **options: Any,
    ) -> tuple[Network, dict[str, np.ndarray]]:
        """Trains a network in a directory of its own, or takes up where that was cut.

        Args:
          name: of the directory.
          network: fresh.
          objective: what is minimized.
          rows: to learn from.
          steps: updates.
          learning_rate: the peak of the cosine.
          seed: of the order of the rows.
          cache: of the teacher's answers.
          trained: what is put into the step in the network's place, with the same variables.
          **options: of `make_train_step`.

        Returns:
          The trained network, seconds and learning curve.
        """
        workdir = self.workdir / name
        resumed = (workdir / "checkpoints").exists()
        spread = self.lay(self.config.batch_size)
        adam = adamw(learning_rate, steps)
        trained = trained or network
        # Students of an arm differ in variables alone, so one program serves them all.
        step = self._once(
            ("train", pathlib.Path(name).parts[:2]),
            lambda: jaxkd.make_train_step(trained, objective, adam, partitioning=spread, **options),
        )
        log_every = max(1, steps // 20)
        started = time.perf_counter()
        with Loader(
            rows,
            Views(),
            self.config.batch_size,
            seed=seed,
            cache=cache,
            process=spread.process if spread else (0, 1),
        ) as loader:
            fitted = fit(
                step,
                step.init(seed, student=network, objective=objective),
                loader,
                steps=steps,
                log_every=log_every,
                eval_every=log_every * max(1, 20 // _EVALUATIONS),
                evaluate=self._scorer(network),
                checkpoint_every=log_every * 10,
                workdir=workdir,
                steps_per_call=min(_STEPS_PER_CALL, log_every),
                progress=name,
                profile=self.profile,
            )
        seconds = math.nan if resumed else time.perf_counter() - started
        return fitted.state.network(network), {
            "seconds": np.array(seconds),
            "curve_steps": np.array([int(row["step"]) for row in fitted.eval]),
            "curve": np.array([row["bits_per_byte"] for row in fitted.eval]),
        }

    def _scorer(self, network: Network) -> Callable[[TrainState], dict[str, float]]:
        step = self._once(
            ("evaluate", network.apply),
            lambda: make_eval_step(network, partitioning=self.lay(TEST_BATCH)),
        )

        def score(state: TrainState) -> dict[str, float]:
            batches = eval_batches(self.corpus.test, TEST_BATCH)
            scores = evaluate(step, state.params["student"], state.model_state["student"], batches)
            return {**scores, "bits_per_byte": self.corpus.bits_per_byte(scores["cross_entropy"])}

        return score

    def judge(
        self, decoder: CachedDecoder, network: Network, teacher: CachedDecoder
    ) -> dict[str, Any]:
        """A trained network's results on held-out text, and what it writes."""
        sums: dict[str, Any] = {}
        variables = (network.params, network.state)
        there = (teacher.network.params, teacher.network.state)
        compare = self._comparison(network.apply, teacher.network.apply)
        for batch in eval_batches(self.corpus.test, TEST_BATCH):
            found = jax.device_get(compare(variables, there, self._put(batch)))
            sums = jax.tree.map(np.add, sums, found) if sums else found
        means = {name: float(total / count) for name, (total, count) in sums.items()}
        write = self._writing(decoder, network.apply, teacher.network.apply)
        prompts = {"tokens": self.corpus.prompts}
        text, lengths, (own, count) = jax.device_get(write(variables, there, self._put(prompts)))
        return {
            "bits": np.array(self.corpus.bits_per_byte(means.pop("nats"))),
            **{name: np.array(value) for name, value in means.items()},
            "own_kl": np.array(own / count),
            "written": np.asarray(text),
            "lengths": np.asarray(lengths),
        }

    @functools.cached_property
    def _made(self) -> dict[Any, Any]:
        return {}

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is made, and compiled, once for all networks of one architecture."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.partitioning.jit(function) if self.partitioning else jax.jit(function)

    def _put(self, batch: Any) -> Any:
        spread = self.lay(len(jax.tree.leaves(batch)[0]))
        return spread.put(batch, whole=True) if spread else batch

    def _comparison(self, own: Any, teacher: Any) -> Callable[..., Any]:
        def compare(variables: Any, there: Any, batch: Any) -> dict[str, Any]:
            logits = own(*variables, batch["inputs"])[0]["logits"]
            wanted = teacher(*there, batch["inputs"])[0]["logits"]
            likeliest = jnp.argmax(logits, -1)
            values = {
                "nats": losses.cross_entropy(logits, batch["labels"]),
                "accuracy": likeliest == batch["labels"],
                "agreement": likeliest == jnp.argmax(wanted, -1),
                "kl": losses.kl_divergence(logits, wanted),
            }
            where = batch["where"]
            return {k: losses.masked_sum_and_count(v, where) for k, v in values.items()}

        return self._once(("compare", own, teacher), lambda: self._jit(compare))

    def _writing(self, decoder: CachedDecoder, own: Any, teacher: Any) -> Callable[..., Any]:
        writes = self.writer(decoder)

        def write(variables: Any, there: Any, batch: Any) -> Any:
            prompts = batch["tokens"]
            given = jnp.full(len(prompts), prompts.shape[1])
            text = writes(*variables, prompts, given, key=jax.random.key(0))
            there_too = jnp.arange(text.tokens.shape[1]) < text.lengths[:, None]
            inputs = jnp.stack([text.tokens, there_too.astype(jnp.int32)], axis=-1)
            values = losses.reverse_kl_divergence(
                own(*variables, inputs)[0]["logits"], teacher(*there, inputs)[0]["logits"]
            )
            # A place counts where the token behind it was written.
            where = jnp.pad(text.where[:, 1:], ((0, 0), (0, 1)))
            return text.tokens, text.lengths, losses.masked_sum_and_count(values, where)

        return self._once(("write", own, teacher), lambda: self._jit(write))

    def writer(self, decoder: CachedDecoder) -> Callable[..., Any]:
        """Writes on from prompts to the length of a row, at temperature 1."""
        eos = self.corpus.tokenizer.eos
        return functools.partial(
            generate,
            decoder,
            max_new_tokens=self.config.length - self.config.prompt_length,
            stop_tokens=() if eos is None else (eos,),
        )
