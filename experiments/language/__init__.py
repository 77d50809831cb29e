"""Language models: what a small decoder learns from a larger one, on real text.

`python -m experiments.language --help` shows its commands, options and expected results.
"""
