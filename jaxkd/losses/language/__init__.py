"""Losses on tokens `[batch, tokens, vocabulary]` that the other rooms do not have."""
