"""Runnable experiments: `python -m experiments.digits --workdir=…`, from a checkout."""
