r"""Language models: what a small decoder learns from a larger one, on real text.

A decoder is trained on text, or a published one is read from its checkpoint. One forward pass over
all training rows fills a cache, which keeps the k likeliest tokens with the probability of all
others, and randomly sampled tokens. Students of one size then learn for equally many steps, from
batches of the same size, with the same optimizer:
  labels: from the text alone.
  top_k: from the cached likeliest tokens and the text.
  top_k_alone: from the cached likeliest tokens alone.
  sampled: from the cached samples and the text.
  on_policy: half of the time from texts that they generate themselves, which the teacher scores
    online (GKD). These are worth scoring only when a student has learned something, so that this
    begins halfway.
  sequences: from texts that the teacher generated from beginnings of the training rows.
They are measured on held-out text by bits per byte, the accuracy of the next token, agreement with
the teacher and KL divergence to it; and by the divergence from the teacher of the texts that they
generate.

Commands:
  # Jane Austen's novels on two CPU cores: the cached arms take half an hour, on_policy as long.
  apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
  python -m experiments.datasets.austen prepare --data_dir=data \
      --source_dir=austen/usr/lib/R/site-library/janeaustenr/data
  JAX_PLATFORMS=cpu python -m experiments.language --config.data_dir=data --workdir=runs/language
  # A GPU or TPU: larger networks and batches, more steps, logits never held.
  python -m experiments.language --config.data_dir=data --config.teacher.width=512 \
      --config.teacher.layers=8 --config.teacher.heads=8 --config.teacher.hidden=1536 \
      --config.student.width=128 --config.student.layers=4 --config.student.hidden=384 \
      --config.vocabulary=4096 --config.length=256 --config.batch_size=64 --config.steps=3000 \
      --config.teacher_steps=3000 --config.fused=True --workdir=runs/language_large
  # Your own text files, or a data set of tensorflow-datasets; bytes instead of BPE.
  python -m experiments.language --config.text=FOLDER --config.vocabulary=0 --workdir=…
  python -m experiments.language --config.dataset=ag_news_subset --workdir=…
  # A published teacher: a folder with config.json, model.safetensors and tokenizer.json.
  python -m experiments.language --config.teacher_weights=Qwen3-0.6B \
      --config.eos='<|endoftext|>' --config.fused=True --workdir=…
  # Some of the arms; others may join them in the same directory later.
  python -m experiments.language --config.arms=labels,top_k --config.data_dir=data --workdir=…

Expected on the novels (bits per byte of held-out text, mean ± standard deviation of 3 seeds, 600
steps): teacher 1.780, labels 2.160 ± 0.031, top_k 1.868 ± 0.019, sampled 1.883 ± 0.032; they agree
with the teacher on 50.4, 71.7 and 70.3 % of the next tokens. on_policy: 1.906, 1.927 and 2.141
under a teacher of 1.773; it runs the teacher in every step and takes 2.7 times as long as labels.
The other arms have not been measured at this size.

Writes `report.html`, the tables as CSV, the figures and the tokenizer, and prints the tables. The
same command resumes a run that was interrupted.
"""

import pathlib

from experiments.common import launch
from experiments.language import report
from experiments.language.config import Config
from experiments.language.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment and writes its report."""
    out = run(config, workdir, runtime)
    launch.publish(lambda: report.write(out, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/language")
