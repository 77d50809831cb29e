r"""Language models: what a small decoder learns from a larger one, on real text.

A decoder is trained on text, or a published one is read from its checkpoint. It answers once to all
training rows; its answers are cached as the k likeliest tokens with what the others weigh, and as
tokens drawn at random. Students of one size then learn for equally many steps, from batches of the
same size, with the same optimizer:
  labels: from the text alone.
  top_k: from the cached likeliest tokens and the text.
  top_k_alone: from the cached likeliest tokens alone.
  sampled: from the cached draws and the text.
  on_policy: half of the time from what they write themselves, which the teacher scores online
    (GKD). What a student writes is only worth scoring when it has learned something, so that this
    begins halfway.
  sequences: from what the teacher wrote behind beginnings of the training rows.
They are judged on held-out text: bits per byte, the next token's accuracy, agreement with the
teacher and KL divergence to it; and by the divergence from the teacher of what they write.

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
  # Text files of one's own, or a data set of tensorflow-datasets; bytes instead of BPE.
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
under a teacher of 1.773; it asks the teacher in every step and takes 2.7 times as long as labels.
The other arms have not been measured at this size.

Writes `report.html`, the tables as CSV, the figures, the tokenizer, and prints the tables. Killed
and started again with the same command, it goes on where it was.
"""

import pathlib

from experiments.common import launch
from experiments.common.runtime import Runtime
from experiments.language import report as language_report
from experiments.language.config import Config, check
from experiments.language.run import run
from jaxkd.training import is_first


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    check(config)
    told = run(config, workdir, runtime)
    if not is_first():  # one writes for all
        return
    report = language_report.write(told, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


if __name__ == "__main__":
    launch.run(main, Config(), "runs/language")
