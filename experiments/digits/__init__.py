"""Digits: the demonstration. Ends in under two minutes on two cores; needs no download.

`python -m experiments.digits --help` shows its commands, options and expected results.
"""
