"""How to choose temperature and weight: every setting and seed trained together, in one program.

`python -m experiments.sweep --help` shows its commands, options and expected results.
"""
