"""Base models that are trained from scratch."""
