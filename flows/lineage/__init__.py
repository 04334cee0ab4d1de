"""What was made from what: told, audited, pruned."""
