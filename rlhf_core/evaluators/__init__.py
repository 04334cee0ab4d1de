"""Models evaluated on held-out data: the figures that gates judge. Start in the module of the stage."""
