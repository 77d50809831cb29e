"""Losses that tell an example's own pair of embeddings from other pairs."""
