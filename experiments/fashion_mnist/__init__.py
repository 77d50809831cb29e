"""Fashion-MNIST: few labels, long schedules, and an honest look at where a teacher helps.

`python -m experiments.fashion_mnist --help` shows its commands, options and expected results.
"""
