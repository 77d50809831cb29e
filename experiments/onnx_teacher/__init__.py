"""A teacher in ONNX Runtime: its outputs fill a cache, a JAX student learns from it.

`python -m experiments.onnx_teacher --help` shows its commands, options and expected results.
"""
