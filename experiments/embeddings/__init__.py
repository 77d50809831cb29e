"""A published sentence encoder into students that embed at a fraction of its cost.

`python -m experiments.embeddings --help` shows its commands, options and expected results.
"""
