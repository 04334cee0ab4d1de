"""Columns that a configuration maps: what their rows give, and a guess at the mapping of a file."""
