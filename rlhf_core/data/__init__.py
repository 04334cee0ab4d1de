"""Training data: records, and how they become rows of tokens. Start in `records`, then `tokenizer` and `packing`."""
