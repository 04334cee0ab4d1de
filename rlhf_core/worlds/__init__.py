"""Worlds whose true reward is known."""
