"""Ladders that are broken on purpose, and sound ones: what the gates say of each, and what each would have cost."""
