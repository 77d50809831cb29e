"""Compression: what distilling, pruning, quantizing and factorizing give, alone and together.

`python -m experiments.compress --help` shows its commands, options and expected results.
"""
