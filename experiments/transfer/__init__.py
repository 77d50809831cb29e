"""What a teacher's knowledge is worth, and where it comes from.

`python -m experiments.transfer --help` shows its commands, options and expected results.
"""
