"""What every training stage shares: optimiser, loop, checkpoints, and what a stage returns."""
