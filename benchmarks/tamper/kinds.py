"""Kinds of tampers that count in a way of their own; needs no MLflow."""

BEYOND = "beyond signatures"
"""Those that no signature can know."""
