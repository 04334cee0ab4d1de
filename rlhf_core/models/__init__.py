"""Stock transformers models: loaded, read without padding, scored, adapted, saved. Start in `loading`."""
