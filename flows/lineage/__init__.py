"""Lineage, what was made from what: shown, audited, pruned. Start in `graph`."""
