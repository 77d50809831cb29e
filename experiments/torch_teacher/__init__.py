"""A teacher in PyTorch: its outputs fill a cache, a JAX student learns from it.

`python -m experiments.torch_teacher --help` shows its commands, options and expected results.
"""
