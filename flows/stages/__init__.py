"""One flow for each stage, and the runner that trains, reuses and registers. Start in `runner`."""
