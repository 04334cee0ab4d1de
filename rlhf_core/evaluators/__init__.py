"""Models asked on held-out data: the figures that gates judge."""
