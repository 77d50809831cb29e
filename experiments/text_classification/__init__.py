"""Few labeled texts and many without: what a published encoder teaches a small classifier.

`python -m experiments.text_classification --help` shows its commands, options and expected results.
"""
