"""Tiny models of every causal family that `transformers` knows, and a table of what holds for each."""
