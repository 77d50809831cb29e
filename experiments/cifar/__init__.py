"""CIFAR-10 and CIFAR-100: every method and strategy by name, every published pair, 240 epochs.

`python -m experiments.cifar --help` shows its commands, options and expected results.
"""
