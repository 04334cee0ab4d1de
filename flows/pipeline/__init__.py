"""The pipeline as a whole. Start in `ladder`."""
