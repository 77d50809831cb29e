"""Distillation at the scale of ImageNet: a teacher by its name and weights, three protocols.

`python -m experiments.imagenet --help` shows its commands, options and expected results.
"""
