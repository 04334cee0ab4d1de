"""What every training stage shares. Start in `stage` for its results, in `loop` and `optimiser` for its steps."""
